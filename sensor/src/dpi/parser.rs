//! The closed list of dissectors, and the enum that is one of them, or a recognised name, at work.
//!
//! In: bytes and what is known about them. Out: the first dissector that is certain, and calls handed
//! on to it. A match over an enum rather than a trait object: the calls are on the packet's path, and
//! the compiler sees the whole set.

use super::first::First;
use super::recognise::{RECOGNISERS, Recogniser};
use super::{Carrier, Context, Dissector, Probe, Progress};
use std::fmt;
use std::sync::LazyLock;
use weir_common::app::App;
use weir_common::net::Direction;

/// Some of the dissectors, one bit each in the order of the list.
pub(super) type Dissectors = u128;
/// Words of the set of recognisers.
const RECOGNISER_WORDS: usize = 4;

/// The dissectors and recognisers that may still be right, one bit each in the order of their lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidates {
    dissectors: Dissectors,
    recognisers: [u64; RECOGNISER_WORDS],
}

impl Candidates {
    /// Nobody.
    pub(super) const NONE: Candidates = Candidates { dissectors: 0, recognisers: [0; RECOGNISER_WORDS] };
    /// Everybody.
    pub(super) const ALL: Candidates =
        Candidates { dissectors: Parser::ALL, recognisers: [u64::MAX; RECOGNISER_WORDS] };

    /// Whether nobody is left.
    pub(super) fn is_empty(&self) -> bool {
        *self == Candidates::NONE
    }

    /// Those that can begin with this byte, of those here.
    fn starting_with(&self, carrier: Carrier, byte: u8) -> Candidates {
        /// By carrier and first byte.
        static BY_START: LazyLock<Box<[[Candidates; 256]; 2]>> = LazyLock::new(|| {
            let mut table = Box::new([[Candidates::NONE; 256]; 2]);
            for (carrier, row) in [Carrier::Stream, Carrier::Datagram].into_iter().zip(table.iter_mut()) {
                for (byte, candidates) in row.iter_mut().enumerate() {
                    let byte = byte as u8;
                    candidates.dissectors = Parser::starting_with(carrier, byte);
                    for (at, recogniser) in RECOGNISERS.iter().enumerate() {
                        if recogniser.starts.has(carrier, byte) {
                            candidates.recognisers[at / 64] |= 1 << (at % 64);
                        }
                    }
                }
            }
            table
        });
        let can = &BY_START[usize::from(carrier == Carrier::Datagram)][usize::from(byte)];
        let mut both = *self;
        both.dissectors &= can.dissectors;
        for (left, can) in both.recognisers.iter_mut().zip(can.recognisers) {
            *left &= can;
        }
        both
    }
}

const _: () = assert!(RECOGNISERS.len() <= 64 * RECOGNISER_WORDS);

/// What the candidates said.
#[derive(Debug)]
pub(super) enum Found {
    /// One is certain.
    Certain(Parser),
    /// Nobody is, and this one would take it; whether nobody else is unsure.
    Likely(Parser, bool),
    /// Nobody.
    Nobody,
}

/// Asks the candidates what they think of a direction's first bytes, and strikes out those that say no. The
/// first that is certain begins its work.
pub(super) fn probe(candidates: &mut Candidates, first: &First<'_>) -> Found {
    let Some(byte) = first.bytes.first() else { return Found::Nobody };
    *candidates = candidates.starting_with(first.carrier, *byte);
    let (mut likely, mut is_alone) = (None, true);
    if let Some(parser) = Parser::probe(&mut candidates.dissectors, first, &mut likely, &mut is_alone) {
        return Found::Certain(parser);
    }
    for word in 0..RECOGNISER_WORDS {
        let mut left = candidates.recognisers[word];
        while left != 0 {
            let bit = left & left.wrapping_neg();
            left ^= bit;
            let at = word * 64 + bit.trailing_zeros() as usize;
            let Some(Recogniser { app, probe, .. }) = RECOGNISERS.get(at) else { break };
            match probe(first) {
                Probe::Certain => return Found::Certain(Parser::Named(*app)),
                Probe::Likely => {
                    likely.get_or_insert(Parser::Named(*app));
                }
                Probe::Unsure => is_alone = false,
                Probe::NotForUs => candidates.recognisers[word] &= !bit,
            }
        }
    }
    likely.map_or(Found::Nobody, |likely| Found::Likely(likely, is_alone))
}

macro_rules! dissectors {
    ($($module:ident::$name:ident,)*) => {
        #[repr(u8)]
        enum Place { $($name,)* }

        /// A dissector at work on one flow.
        pub(super) enum Parser {
            $($name(Box<super::$module::$name>),)*
            /// The application's name is all there is to learn.
            Named(App),
        }

        impl fmt::Debug for Parser {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.app().name())
            }
        }

        impl Parser {
            /// Every dissector.
            const ALL: Dissectors = $(1 << Place::$name as u8)|*;

            /// The dissectors that can begin with a byte.
            fn starting_with(carrier: Carrier, byte: u8) -> Dissectors {
                let mut can = 0;
                $(
                    if <super::$module::$name as Dissector>::STARTS.has(carrier, byte) {
                        can |= 1 << Place::$name as u8;
                    }
                )*
                can
            }

            /// Asks the candidates; the first that is certain begins its work.
            fn probe(
                candidates: &mut Dissectors,
                first: &First<'_>,
                likely: &mut Option<Parser>,
                is_alone: &mut bool,
            ) -> Option<Parser> {
                $(
                    let bit: Dissectors = 1 << Place::$name as u8;
                    if *candidates & bit != 0 {
                        let begin =
                            || Parser::$name(Box::new(<super::$module::$name as Dissector>::new()));
                        match <super::$module::$name as Dissector>::probe(first) {
                            Probe::Certain => return Some(begin()),
                            Probe::Likely => {
                                likely.get_or_insert_with(begin);
                            }
                            Probe::Unsure => *is_alone = false,
                            Probe::NotForUs => *candidates &= !bit,
                        }
                    }
                )*
                None
            }

            /// The dissector of an announced flow ([`Context::expect`]); its name alone where it has none.
            pub(super) fn expected(app: App, note: &[u8]) -> Option<Parser> {
                $(
                    if app == <super::$module::$name as Dissector>::APP {
                        let parser = <super::$module::$name as Dissector>::expected(note)?;
                        return Some(Parser::$name(Box::new(parser)));
                    }
                )*
                Some(Parser::Named(app))
            }

            /// The dissector of an application as it begins a flow, by a note where there is one, and what it
            /// thinks of a direction's first bytes.
            #[cfg(any(test, feature = "fuzzing"))]
            pub(super) fn of(app: App, first: &First<'_>, note: Option<&[u8]>) -> Option<(Parser, Probe)> {
                $(
                    if app == <super::$module::$name as Dissector>::APP {
                        let parser = match note {
                            Some(note) => <super::$module::$name as Dissector>::expected(note)?,
                            None => <super::$module::$name as Dissector>::new(),
                        };
                        let starts = <super::$module::$name as Dissector>::STARTS;
                        let said = match first.bytes.first() {
                            Some(byte) if starts.has(first.carrier, *byte) => {
                                <super::$module::$name as Dissector>::probe(first)
                            }
                            _ => Probe::NotForUs,
                        };
                        return Some((Parser::$name(Box::new(parser)), said));
                    }
                )*
                None
            }

            /// Every application, and the bit of its dissector where its handshake ends with ciphertext.
            pub(super) const WITH_HANDSHAKE: &'static [(App, Dissectors)] = &[$(
                (
                    <super::$module::$name as Dissector>::APP,
                    (<super::$module::$name as Dissector>::HAS_HANDSHAKE as Dissectors) << Place::$name as u8,
                ),
            )*];

            /// The bit that stands for this dissector.
            pub(super) const fn bit(&self) -> Dissectors {
                match self { $(Parser::$name(_) => 1 << Place::$name as u8,)* Parser::Named(_) => 0 }
            }

            /// The application it reads.
            pub(super) const fn app(&self) -> App {
                match self {
                    $(Parser::$name(_) => <super::$module::$name as Dissector>::APP,)*
                    Parser::Named(app) => *app,
                }
            }

            /// [`Dissector::inspect`].
            #[inline]
            pub(super) fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
                match self {
                    $(Parser::$name(parser) => parser.inspect(bytes, context),)*
                    Parser::Named(_) => Progress::Done,
                }
            }

            /// [`Dissector::gap`].
            pub(super) fn gap(&mut self, missing: u64, context: &mut Context<'_>) -> Progress {
                match self {
                    $(Parser::$name(parser) => parser.gap(missing, context),)*
                    Parser::Named(_) => Progress::Done,
                }
            }

            /// [`Dissector::close`].
            pub(super) fn close(&mut self, context: &mut Context<'_>) {
                match self {
                    $(Parser::$name(parser) => parser.close(context),)*
                    Parser::Named(_) => {}
                }
            }

            /// [`Dissector::ciphertext_after`].
            pub(super) fn ciphertext_after(&self, direction: Direction) -> Option<u32> {
                match self {
                    $(Parser::$name(parser) => parser.ciphertext_after(direction),)*
                    Parser::Named(_) => None,
                }
            }

            /// [`Dissector::describe`].
            pub(super) fn describe(&self, direction: Direction, transaction: u64, out: &mut Vec<u8>) {
                match self {
                    $(Parser::$name(parser) => parser.describe(direction, transaction, out),)*
                    Parser::Named(_) => {}
                }
            }
        }
    };
}

// In the order in which they are asked: what is told apart by its first bytes comes first. A protocol
// is one line here, besides the `mod` line of its file.
dissectors! {
    // What begins with a mark of its own.
    tls::Tls,
    ssh::Ssh,
    proxy::Proxy,
    tinc::Tinc,
    // The web.
    http2::Http2,
    websocket::WebSocket,
    http::Http,
    // Cryptography, tunnels, voice.
    dtls::Dtls,
    stun::Stun,
    quic::Quic,
    sip::Sip,
    rtsp::Rtsp,
    pptp::Pptp,
    openvpn::Openvpn,
    ike::Ike,
    rtp::Rtcp,
    rtp::Rtp,
    // Windows, identity, management.
    rfb::Rfb,
    rdp::Rdp,
    telnet::Telnet,
    syslog::Syslog,
    smb::Smb,
    krb5::Krb5,
    dcerpc::DceRpc,
    ldap::Ldap,
    snmp::Snmp,
    dhcp::Dhcp,
    netbios::Netbios,
    dhcpv6::Dhcpv6,
    radius::Radius,
    ntp::Ntp,
    // Mail, files, terminals.
    smtp::Smtp,
    pop3::Pop3,
    imap::Imap,
    nntp::Nntp,
    ftp::Ftp,
    ftp_data::FtpData,
    tftp::Tftp,
    nfs::Nfs,
    rpc::Rpc,
    pgsql::Pgsql,
    mqtt::Mqtt,
    redis::Redis,
    memcached::Memcached,
    mysql::Mysql,
    tds::Tds,
    mongodb::Mongodb,
    cassandra::Cassandra,
    tns::Tns,
    amqp::Amqp,
    irc::Irc,
    xmpp::Xmpp,
    // Data and messages.
    // Industry.
    bacnet::Bacnet,
    dnp3::Dnp3,
    enip::Enip,
    iec104::Iec104,
    opcua::Opcua,
    s7comm::S7comm,
    modbus::Modbus,
    coap::Coap,
    // Peers.
    bittorrent::Bittorrent,
    bittorrent_dht::BittorrentDht,
    socks::Socks,
    ssdp::Ssdp,
    // Names, which any bytes may resemble.
    dns::Mdns,
    dns::Llmnr,
    dns::Dns,
}

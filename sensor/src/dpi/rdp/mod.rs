//! Remote Desktop Protocol up to where encryption begins (MS-RDPBCGR), over TPKT and X.224.
//!
//! In: both directions of a stream. Out: the account in the cookie, the security that was negotiated, what the
//! client says of itself, its channels, and one event per message in EVE's form. Where TLS was chosen it is
//! handed over to; RDP over UDP is recognised by name.

mod client;

use super::wire::{Cursor, be16_at, is_text};
use super::{Context, Dissector, First, Probe, Progress, Starts};
use client::Client;
use weir_common::app::App;
use weir_common::metadata::Field;

/// Bytes of a TPKT header.
const TPKT_BYTES: usize = 4;
/// Most bytes of a packet that is waited for.
const PACKET_BYTES_MAX: usize = 16 << 10;
const PORT: u16 = 3389;
/// Most bytes of a cookie's account.
const COOKIE_BYTES_MAX: usize = 512;

const CONNECT_REQUEST: u8 = 0xe0;
const CONNECT_CONFIRM: u8 = 0xd0;
const DATA: u8 = 0xf0;

/// State of an RDP connection.
#[derive(Debug)]
pub(super) struct Rdp {
    transactions: u64,
    /// What the server chose, once it did.
    protocol: Option<u32>,
}

/// What X.224's connection packets negotiate.
enum Negotiation {
    None,
    Request(u8),
    Response(u8, u32),
    Failure(u32),
}

impl Negotiation {
    fn parse(bytes: &[u8]) -> Negotiation {
        let mut cursor = Cursor(bytes);
        match (cursor.array::<4>(), cursor.le32()) {
            (Some([1, flags, 8, 0]), Some(_)) => Negotiation::Request(flags),
            (Some([2, flags, 8, 0]), Some(protocol)) => Negotiation::Response(flags, protocol),
            (Some([3, _, 8, 0]), Some(code)) => Negotiation::Failure(code),
            _ => Negotiation::None,
        }
    }
}

/// The account and what follows the cookie of a connection request.
fn cookie(bytes: &[u8]) -> (Option<&[u8]>, &[u8]) {
    const MARK: &[u8] = b"Cookie: ";
    if !bytes.starts_with(MARK) {
        return (None, bytes);
    }
    let end = memchr::memmem::find(bytes, b"\r\n").unwrap_or(bytes.len());
    let line = bytes.get(..end).unwrap_or(bytes);
    (line.strip_prefix(b"Cookie: mstshash="), bytes.get(end + 2..).unwrap_or_default())
}

impl Dissector for Rdp {
    const APP: App = App::Rdp;

    const STARTS: Starts = Starts::stream(&[3]);

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        if bytes.get(1).is_some_and(|reserved| *reserved != 0) {
            return Probe::NotForUs;
        }
        let (Some(length), Some(&[inner, kind])) =
            (be16_at(bytes, 2), bytes.get(4..6).and_then(|two| two.first_chunk()))
        else {
            return Probe::Unsure;
        };
        let (length, inner) = (usize::from(length), usize::from(inner));
        if length < TPKT_BYTES + 3 {
            return Probe::NotForUs;
        }
        match kind {
            CONNECT_REQUEST | CONNECT_CONFIRM if inner + 1 + TPKT_BYTES == length && inner >= 6 => {
                let Some(packet) = bytes.get(..length) else { return Probe::Unsure };
                let rest = packet.get(11..).unwrap_or_default();
                match (cookie(rest), kind) {
                    ((Some(_), _), CONNECT_REQUEST) => Probe::Certain,
                    ((_, rest), CONNECT_REQUEST)
                        if matches!(Negotiation::parse(rest), Negotiation::Request(_)) =>
                    {
                        Probe::Certain
                    }
                    ((None, rest), CONNECT_CONFIRM)
                        if matches!(
                            Negotiation::parse(rest),
                            Negotiation::Response(..) | Negotiation::Failure(_)
                        ) =>
                    {
                        Probe::Certain
                    }
                    _ if rest.starts_with(b"Cookie: msts") => Probe::Certain,
                    _ if rest.is_empty() && first.has_port(PORT) => Probe::Certain,
                    _ => Probe::NotForUs,
                }
            }
            // A connect request of T.125 that carries a conference's creation.
            DATA if inner == 2 => match bytes.get(6..9) {
                Some([0x80, 0x7f, 0x65 | 0x66]) => {
                    // What follows the packet says nothing of it.
                    let packet = bytes.get(..length).unwrap_or(bytes);
                    let has = |key: &[u8]| memchr::memmem::find(packet, key).is_some();
                    if has(b"Duca") || has(b"McDn") {
                        Probe::Certain
                    } else if packet.len() < length {
                        Probe::Unsure
                    } else {
                        Probe::NotForUs
                    }
                }
                Some(_) => Probe::NotForUs,
                None => Probe::Unsure,
            },
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Rdp { transactions: 0, protocol: None }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let mut rest = bytes;
        while let Some([version, _, high, low]) = rest.first_chunk() {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if *version != 3 || !(TPKT_BYTES + 3..=PACKET_BYTES_MAX).contains(&length) {
                // TLS, whose confirmation was not seen; fast-path packets; or what a server says that never confirmed.
                const TLS_HANDSHAKE: u8 = 22;
                if *version == TLS_HANDSHAKE {
                    return Progress::Switch(bytes.len() - rest.len());
                }
                return Progress::Done;
            }
            let Some((packet, after)) = rest.split_at_checked(length) else { break };
            rest = after;
            match self.packet(packet.get(TPKT_BYTES..).unwrap_or_default(), context) {
                Progress::Used(_) => {}
                Progress::Switch(_) => return Progress::Switch(bytes.len() - rest.len()),
                other => return other,
            }
        }
        Progress::Used(bytes.len() - rest.len())
    }

    fn gap(&mut self, _: u64, _: &mut Context<'_>) -> Progress {
        Progress::Done
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

impl Rdp {
    fn next(&mut self) -> u64 {
        self.transactions += 1;
        self.transactions
    }

    /// One X.224 packet.
    fn packet(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        match bytes.get(1) {
            Some(&CONNECT_REQUEST) => self.request(bytes.get(7..).unwrap_or_default(), context),
            Some(&CONNECT_CONFIRM) => return self.confirm(bytes.get(7..).unwrap_or_default(), context),
            Some(&DATA) => match bytes.get(3..5) {
                Some([0x7f, 0x65]) => self.connect_request(bytes, context),
                Some([0x7f, 0x66]) => {
                    let id = self.next();
                    context.tell(context.direction, Some(id - 1), |object| {
                        object.number("tx_id", id).text("event_type", "connect_response");
                    });
                    // What follows is encrypted, or drawing.
                    return Progress::Done;
                }
                _ => {}
            },
            _ => {}
        }
        Progress::Used(0)
    }

    fn request(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        const FLAGS: [(u8, &str); 3] = [
            (0x01, "restricted_admin_mode_required"),
            (0x02, "redirected_authentication_mode_required"),
            (0x08, "correlation_info_present"),
        ];
        let (account, rest) = cookie(bytes);
        let account = account.map(|account| account.get(..COOKIE_BYTES_MAX).unwrap_or(account));
        if let Some(account) = account.filter(|account| is_text(account)) {
            context.metadata.add(Field::User, String::from_utf8_lossy(account).trim());
        }
        let id = self.next();
        context.tell(context.direction, Some(id - 1), |object| {
            object.number("tx_id", id).text("event_type", "initial_request");
            if let Some(account) = account {
                object.bytes("cookie", account);
            }
            if let Negotiation::Request(flags) = Negotiation::parse(rest)
                && flags != 0
            {
                object.texts("flags", FLAGS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| name));
            }
        });
    }

    fn confirm(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        const SUPPORTS: [(u8, &str); 4] = [
            (0x01, "extended_client_data"),
            (0x02, "dynvc_gfx"),
            (0x08, "restricted_admin"),
            (0x10, "redirected_authentication"),
        ];
        let negotiation = Negotiation::parse(bytes);
        let id = self.next();
        context.tell(context.direction, Some(id - 1), |object| {
            object.number("tx_id", id).text("event_type", "initial_response");
            match negotiation {
                Negotiation::Response(flags, protocol) => {
                    if flags != 0 {
                        let known = SUPPORTS.iter().filter(|(bit, _)| flags & bit != 0);
                        object.texts("server_supports", known.map(|(_, name)| name));
                    }
                    object.text("protocol", protocol_name(protocol));
                }
                Negotiation::Failure(code) => {
                    object.number("error_code", code).text("reason", failure_name(code));
                }
                _ => {}
            }
        });
        match negotiation {
            Negotiation::Response(_, protocol) => {
                context.metadata.add(Field::Status, protocol_name(protocol));
                self.protocol = Some(protocol);
                // Everything but RDP's own security begins with TLS.
                if protocol == 0 { Progress::Used(0) } else { Progress::Switch(0) }
            }
            Negotiation::Failure(code) => {
                context.metadata.add(Field::Status, failure_name(code));
                Progress::Used(0)
            }
            _ => {
                self.protocol = Some(0);
                Progress::Used(0)
            }
        }
    }

    fn connect_request(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        let Some(client) = Client::parse(bytes) else {
            context.anomaly("malformed_data", None);
            return;
        };
        if let Some(name) = client.name() {
            context.metadata.add(Field::EndpointName, &name);
        }
        if let Some(build) = client.build().filter(|build| build != "unknown") {
            context.metadata.set_text(Field::ClientSoftware, &build);
        }
        for channel in &client.channels {
            context.metadata.add(Field::RdpChannels, channel);
        }
        let id = self.next();
        context.tell(context.direction, Some(id - 1), |object| {
            object.number("tx_id", id).text("event_type", "connect_request");
            client.write(object);
        });
    }
}

fn protocol_name(protocol: u32) -> &'static str {
    match protocol {
        0 => "rdp",
        1 => "ssl",
        2 => "hybrid",
        4 => "rds_tls",
        8 => "hybrid_ex",
        _ => "unknown",
    }
}

fn failure_name(code: u32) -> &'static str {
    match code {
        1 => "ssl required by server",
        2 => "ssl not allowed by server",
        3 => "ssl cert not on server",
        4 => "inconsistent flags",
        5 => "hybrid required by server",
        6 => "ssl with user auth required by server",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};
    use weir_common::net::Direction;

    fn tpkt(kind: u8, rest: &[u8]) -> Vec<u8> {
        let fixed =
            if kind == DATA { vec![2, kind, 0x80] } else { vec![6 + rest.len() as u8, kind, 0, 0, 0, 0, 0] };
        let length = (TPKT_BYTES + fixed.len() + rest.len()) as u16;
        [&[3, 0][..], &length.to_be_bytes(), &fixed, rest].concat()
    }

    fn request() -> Vec<u8> {
        tpkt(CONNECT_REQUEST, b"Cookie: mstshash=bob\r\n\x01\x08\x08\0\x03\0\0\0")
    }

    fn connect() -> Vec<u8> {
        let mut core = vec![4, 0, 8, 0, 0, 4, 0, 3, 1, 0xca, 3, 0xaa, 9, 4, 0, 0, 0x28, 0x0a, 0, 0];
        core.extend_from_slice(b"P\0C\0");
        core.resize(212 - 4, 0);
        core[136] = 16;
        core[140] = 1;
        let core = [&[1, 0xc0, core.len() as u8 + 4, 0][..], &core].concat();
        let network = b"\x03\xc0\x14\0\x01\0\0\0cliprdr\0\0\0\0\0";
        let blocks = [&core[..], network].concat();
        tpkt(DATA, &[&[0x7f, 0x65, 0x82, 1, 0][..], b"Duca\x80\xe8", &blocks].concat())
    }

    #[test]
    fn a_conferences_key_counts_in_its_packet_only() {
        let probe = |bytes: &[u8]| Rdp::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        let (with, without) = (tpkt(DATA, b"\x7f\x65\x82Duca"), tpkt(DATA, b"\x7f\x65\x82None"));
        assert_eq!(probe(&with), Probe::Certain);
        assert_eq!(probe(&without), Probe::NotForUs);
        assert_eq!(probe(&[without, b"Duca".to_vec()].concat()), Probe::NotForUs);
    }

    #[test]
    fn a_connection_without_tls_is_told() {
        let confirm = tpkt(CONNECT_CONFIRM, &[]);
        let trial = Trial::<Rdp>::new().client(&request()).server(&confirm).client(&connect());
        let trial = trial.server(&tpkt(DATA, &[0x7f, 0x66, 1, 2]));
        assert_eq!(trial.end, Some(Progress::Done));
        assert_eq!(
            trial.learned(),
            "client_software Windows XP\nuser bob\nendpoint_name PC\nrdp_channels cliprdr\n\
            rdp {\"tx_id\":1,\"event_type\":\"initial_request\",\"cookie\":\"bob\",\"flags\":[\"correlation_info_present\"]}\n\
            rdp {\"tx_id\":2,\"event_type\":\"initial_response\"}\n\
            rdp {\"tx_id\":3,\"event_type\":\"connect_request\",\"client\":{\"version\":\"v5\",\"desktop_width\":1024,\"desktop_height\":768,\"color_depth\":16,\"keyboard_layout\":\"en-US\",\"build\":\"Windows XP\",\"client_name\":\"PC\",\"product_id\":0,\"capabilities\":[\"support_errinfo_pdf\"]},\"channels\":[\"cliprdr\"]}\n\
            rdp {\"tx_id\":4,\"event_type\":\"connect_response\"}\n"
        );
    }

    #[test]
    fn tls_begins_behind_its_confirmation() {
        let confirm = tpkt(CONNECT_CONFIRM, &[2, 0x1f, 8, 0, 2, 0, 0, 0]);
        let trial = Trial::<Rdp>::new().client(&request()).server(&[&confirm[..], &[22, 3, 1]].concat());
        assert_eq!(trial.end, Some(Progress::Switch(confirm.len())));
        let failed = Trial::<Rdp>::new().server(&tpkt(CONNECT_CONFIRM, &[3, 0, 8, 0, 5, 0, 0, 0]));
        assert_eq!(failed.event()["reason"], "hybrid required by server");
    }

    #[test]
    fn cuts_and_damage_are_borne() {
        let client = [request(), connect()].concat();
        let server = tpkt(CONNECT_CONFIRM, &[]);
        cuts_do_not_matter::<Rdp>(&client, &server);
        survives_damage::<Rdp>(&client, &server);
    }

    #[test]
    fn other_users_of_tpkt_are_not_taken() {
        let probe = |bytes: &[u8]| Rdp::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!((probe(&request()), probe(&connect())), (Probe::Certain, Probe::Certain));
        assert!((1..5).all(|cut| probe(&request()[..cut]) == Probe::Unsure));
        let s7 = tpkt(CONNECT_REQUEST, &[0xc1, 2, 1, 0, 0xc2, 2, 1, 2, 0xc0, 1, 10]);
        assert_eq!(probe(&s7), Probe::NotForUs);
        assert_eq!(probe(&tpkt(CONNECT_REQUEST, &[])), Probe::NotForUs);
        assert_eq!(probe(&[3, 0, 0, 50, 8, 2]), Probe::NotForUs);
    }
}

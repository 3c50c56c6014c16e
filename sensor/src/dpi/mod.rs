//! Deep packet inspection: recognises applications by content and reads their metadata.
//!
//! In: the payloads of one flow, in order per direction as far as the stream could be put together.
//! Out: the flow's [`App`], its [`Metadata`], and one [`Event`] per transaction. Knows no rule and no
//! destination; an event's body is the application's own description of itself in EVE's field names.
//!
//! A protocol with fields is one file (or folder) that implements [`Dissector`], one line in the list of
//! dissectors (`parser.rs`), and its rows in `weir_common::{app, metadata}`. A protocol that is only named is
//! one function in `recognise/` and one line in its table.

pub mod buffers;
pub mod events;
pub mod config;
pub mod overlap;
mod inspect;
mod probing;
mod first;
mod expect;
mod pending;
mod stream;
mod stream_event;
mod session;
mod parser;
pub mod file;
mod cut_off;
mod digest;
mod recognise;
mod server_ports;
mod services;
mod tls;
mod ssh;
mod proxy;
mod tinc;
// The web.
mod http;
mod http2;
mod websocket;
// Cryptography, tunnels, voice.
mod quic;
mod dtls;
mod stun;
mod rtp;
mod ike;
mod openvpn;
mod pptp;
mod sip;
mod rtsp;
// Windows, identity, management.
mod der;
mod wire;
mod ntlm;
mod dcerpc;
mod smb;
mod krb5;
mod ldap;
mod netbios;
mod dhcp;
mod dhcpv6;
mod ntp;
mod snmp;
mod radius;
mod rdp;
mod rfb;
mod telnet;
mod syslog;
// Mail, files, terminals.
mod scan;
mod mail;
mod smtp;
mod imap;
mod pop3;
mod nntp;
mod ftp;
mod ftp_data;
mod tftp;
mod rpc;
mod nfs;
mod pgsql;
mod mqtt;
mod mysql;
mod redis;
mod memcached;
mod tds;
mod mongodb;
mod cassandra;
mod tns;
mod amqp;
mod irc;
mod xmpp;
// Data and messages.
// Industry.
mod bacnet;
mod bytes;
mod coap;
mod dnp3;
mod enip;
mod iec104;
mod modbus;
mod opcua;
mod s7comm;
// Names.
mod dns;
// Peers.
mod bencode;
mod bittorrent;
mod bittorrent_dht;
mod socks;
mod ssdp;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod trial;

pub use cut_off::{CutOff, CutOffError};
pub use expect::Expectation;
pub use file::{FileBody, Files};
pub use first::{First, Glimpse, Starts};
pub use inspect::{Finished, Inspection, Inspector};
pub use services::{Services, ServicesError};
pub use session::{Session, Sessions};
pub use stream_event::StreamEvents;

/// The numbers that the name of an NFS procedure stands for in versions 2, 3 and 4.
pub(crate) use nfs::procedure_numbers as nfs_procedure_numbers;

use buffers::{Buffer, Frame, Number, Side, Sides, Stage, Wanted};
use config::EveConfig;
use expect::Expectations;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Metadata;
use weir_common::net::{Address, Direction};
use weir_common::time::Timestamp;

/// The applications that are read, not only named: those that have a dissector.
pub fn dissected() -> impl Iterator<Item = App> {
    parser::Parser::WITH_HANDSHAKE.iter().map(|(app, _)| *app)
}

/// One transaction or message of an application, or something else that inspection tells, as EVE tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which application.
    pub app: App,
    /// EVE's `event_type`, and the key of the body: the application's [`App::event_name`], `fileinfo` or
    /// `anomaly`.
    pub kind: &'static str,
    /// Time of the packet that completed it.
    pub time: Timestamp,
    /// Whose message it is: EVE's `src_ip` is the sender's. Requests and sessions are `Forward`.
    pub direction: Direction,
    /// Number of that packet in its capture, from 1; 0 where no packet completed it (the flow's timeout did).
    pub packet: u64,
    /// Number of the transaction in its flow, from 0, where the application has transactions.
    pub transaction: Option<u64>,
    /// A JSON object.
    pub body: Vec<u8>,
    /// Further members of the event beside its body, as JSON without the braces around them: what carried a
    /// file, the RPC call around an NFS operation. Mostly empty.
    pub beside: Vec<u8>,
}

impl Event {
    /// An event of an application under its own name.
    pub fn new(app: App, time: Timestamp, direction: Direction, body: Vec<u8>) -> Event {
        let (kind, beside) = (app.event_name(), Vec::new());
        Event { app, kind, time, direction, packet: 0, transaction: None, body, beside }
    }

    /// How many transactions its flow has by it: numbers begin at 0, and an application without numbers has one.
    fn transactions(&self) -> u64 {
        match self.transaction {
            Some(number) => number.saturating_add(1),
            None => u64::from(!matches!(self.kind, "anomaly" | "fileinfo")),
        }
    }
}

/// An end of a flow: its address and port.
pub type End = (Address, u16);

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// A TCP stream.
    Stream,
    /// A UDP datagram.
    Datagram,
}

/// How sure a dissector is that the first bytes of a direction are its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// They are.
    Certain,
    /// They look like it, but others' bytes may as well: right unless somebody else is certain. A stream's
    /// bytes are offered again as they grow while somebody is unsure.
    Likely,
    /// They may be: ask again with more bytes.
    Unsure,
    /// They are not.
    NotForUs,
}

/// What a dissector made of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Went as far as the bytes allow and used this many; the rest is offered again with what follows.
    /// More than were offered: the stream's bytes beyond are not wanted (a body, encrypted records).
    /// They pass without being put together, and holes in them are not told; once they have passed,
    /// `inspect` is called again, with no bytes where nothing follows yet.
    Used(usize),
    /// As `Used`, and behind these bytes another protocol begins (TLS after STARTTLS, anything behind a
    /// proxy): the search for a dissector starts anew, in both directions, unless the dissector has announced
    /// ([`Context::expect`]) what comes. The flow keeps its name until another is found. Without
    /// [`Dissector::close`]: the dissector tells what it has before.
    Switch(usize),
    /// Nothing more is to be learned from this flow; its streams need not be put together any longer.
    Done,
    /// The bytes contradict the protocol, in these words; the flow keeps its name and is left alone,
    /// after [`Dissector::close`].
    Broken(&'static str),
}

/// What a dissector works with while it looks at bytes.
pub struct Context<'a> {
    /// Application of the dissector.
    pub app: App,
    /// Time of the packet that brought the bytes.
    pub time: Timestamp,
    /// Who sent them.
    pub direction: Direction,
    /// What carries them.
    pub carrier: Carrier,
    /// The ends of the flow, by direction: the one that sends [`Direction::Forward`] first.
    pub ends: [End; 2],
    /// What is known about the flow; add to it.
    pub metadata: &'a mut Metadata,
    /// Where events go; `None` when nobody listens, so that they are not even written.
    pub events: Option<&'a mut Vec<Event>>,
    /// Counts messages that were malformed but could be got over; see [`Context::anomaly`].
    pub malformed: &'a mut u64,
    /// Somebody wants to know where the ciphertext begins: what is done with learning is not `Done` before
    /// the handshake is over.
    pub to_handshake_end: bool,
    /// What is to be done with files that pass ([`FileBody`]).
    pub files: &'a Files,
    /// Flows that are announced; see [`Context::expect`].
    pub expectations: &'a mut Expectations,
    /// The flow is to be named by what was found inside of the dissector's protocol, which goes on as before; the
    /// dissector's own name is kept as the original one.
    pub found_inside: Option<App>,
    /// What events tell beyond the usual.
    pub eve: EveConfig,
    /// Which parts of transactions signatures look into; none: nobody looks.
    pub wanted: Option<&'a Wanted>,
    /// Where those parts go; see [`Context::put`].
    pub sides: &'a mut Option<Box<Sides>>,
}

impl Context<'_> {
    /// Whether signatures look into a part: what only they need is not even made otherwise.
    #[inline]
    pub fn wants(&self, buffer: Buffer) -> bool {
        self.wanted.is_some_and(|wanted| wanted.has(buffer))
    }

    /// What an end says in a transaction, to be told part by part; none where no signatures look.
    pub fn side(&mut self, direction: Direction, transaction: u64) -> Option<&mut Side> {
        self.wanted?;
        Some(self.sides.get_or_insert_default().of(self.app, direction, transaction))
    }

    /// Tells a part of what an end says in a transaction, where signatures look into it.
    #[inline]
    pub fn put(&mut self, direction: Direction, transaction: u64, buffer: Buffer, bytes: &[u8]) {
        if self.wants(buffer)
            && let Some(side) = self.side(direction, transaction)
        {
            side.put(buffer, bytes);
        }
    }

    /// Tells a number of what an end says in a transaction, where signatures look at it.
    #[inline]
    pub fn put_number(&mut self, direction: Direction, transaction: u64, number: Number, value: u64) {
        if self.wanted.is_some_and(|wanted| wanted.has_number(number))
            && let Some(side) = self.side(direction, transaction)
        {
            side.put_number(number, value);
        }
    }

    /// So much is known of what an end says in a transaction: signatures may look into it. To be told of every
    /// side at its end ([`Stage::Body`]), also of one without any part, since rules may ask for nothing more
    /// than that it was there.
    #[inline]
    pub fn reached(&mut self, direction: Direction, transaction: u64, stage: Stage) {
        // An end that is told once more is nothing told behind it.
        if self.sides.as_ref().is_some_and(|sides| sides.is_closed(self.app, direction, transaction)) {
            return;
        }
        if let Some(side) = self.side(direction, transaction) {
            side.stage = side.stage.max(stage);
        }
    }

    /// Tells a whole frame, where signatures look into it: a part of the stream's own structure, be it of a transaction or
    /// not.
    #[inline]
    pub fn frame(&mut self, buffer: Buffer, transaction: Option<u64>, bytes: &[u8]) {
        let frame = Frame { length: bytes.len() as u64, transaction };
        if let Some(number) = self.begin_frame(buffer, frame) {
            self.frame_bytes(number, bytes);
            self.end_frame(number);
        }
    }

    /// A frame begins; its number, where signatures look into it.
    #[inline]
    pub fn begin_frame(&mut self, buffer: Buffer, frame: Frame) -> Option<u64> {
        if !self.wants(buffer) {
            return None;
        }
        let (app, direction) = (self.app, self.direction);
        self.sides.get_or_insert_default().begin_frame(app, direction, buffer, frame)
    }

    /// More bytes of a frame.
    pub fn frame_bytes(&mut self, number: u64, bytes: &[u8]) {
        if let Some(sides) = self.sides {
            sides.frame_bytes(number, bytes);
        }
    }

    /// A frame is over, or what follows of it is not to be seen.
    pub fn end_frame(&mut self, number: u64) {
        if let Some(sides) = self.sides {
            sides.end_frame(number);
        }
    }

    /// Tells an event under the application's name, whose body `write` fills.
    pub fn tell(
        &mut self,
        direction: Direction,
        transaction: Option<u64>,
        write: impl FnOnce(&mut Object<'_>),
    ) {
        let (app, time) = (self.app, self.time);
        let Some(events) = self.events.as_deref_mut() else { return };
        let mut body = Vec::with_capacity(256);
        write(&mut Object::begin(&mut body));
        events.push(Event { transaction, ..Event::new(app, time, direction, body) });
    }

    /// Counts a malformed message and tells of it as EVE's `anomaly` event: `event` is the name that
    /// Suricata gives the same thing where it knows it, in lower case with underscores, and stands in `events.rs`.
    pub fn anomaly(&mut self, event: &'static str, transaction: Option<u64>) {
        *self.malformed += 1;
        self.note(event, transaction);
        let (app, time, direction) = (self.app, self.time, self.direction);
        let Some(events) = self.events.as_deref_mut() else { return };
        let mut body = Vec::with_capacity(128);
        {
            let mut object = Object::begin(&mut body);
            object.text("app_proto", app.name()).text("type", "applayer");
            object.text("event", event).text("layer", "proto_parser");
        }
        events.push(Event { kind: "anomaly", transaction, ..Event::new(app, time, direction, body) });
    }

    /// Tells signatures alone of something odd: what is sound but notable, and what was told before.
    pub fn note(&mut self, event: &'static str, transaction: Option<u64>) {
        debug_assert!(events::tells(&[self.app], event), "dpi/events.rs lists no {event} of {:?}", self.app);
        if self.wanted.is_some_and(|wanted| wanted.anomalies) {
            let (app, direction) = (self.app, self.direction);
            let sides = self.sides.get_or_insert_default();
            sides.anomaly(app, direction, transaction.unwrap_or(buffers::NO_TRANSACTION), event);
        }
    }

    /// Tells signatures that something is odd that is not worth an event of its own.
    pub fn odd(&mut self, direction: Direction, transaction: u64, event: &'static str) {
        debug_assert!(events::tells(&[self.app], event), "dpi/events.rs lists no {event} of {:?}", self.app);
        if self.wanted.is_some_and(|wanted| wanted.anomalies) {
            let app = self.app;
            self.sides.get_or_insert_default().anomaly(app, direction, transaction, event);
        }
    }

    /// The end that sends in a direction.
    pub fn end(&self, direction: Direction) -> End {
        self.ends[direction.index()]
    }

    /// Announces a flow: the next one that has `end` as one of its ends is `app`, whatever its bytes say, and
    /// its dissector is given `note` ([`Dissector::expected`]).
    pub fn expect(&mut self, end: End, carrier: Carrier, app: App, note: &[u8]) {
        self.expectations.add(Expectation { end, carrier, app, note: note.into(), since: self.time });
    }
}

/// One protocol: how it is recognised, how it is read.
///
/// Bytes come as they were sent, each direction in order; a gap is told before the bytes after it.
/// An implementation never panics, holds no more than a named number of bytes, and treats what
/// contradicts the protocol as an outcome.
pub trait Dissector: Sized {
    /// The application.
    const APP: App;

    /// Whether its handshake ends where ciphertext begins, so that `ring.cut_off` may name it.
    const HAS_HANDSHAKE: bool = false;

    /// Which first bytes it can begin with: it is not even asked about others.
    const STARTS: Starts = Starts::ANY;

    /// Looks at the first bytes that a direction sent.
    fn probe(first: &First<'_>) -> Probe;

    /// State at the start of a flow.
    fn new() -> Self;

    /// State at the start of a flow that was announced ([`Context::expect`]) with this note. None: it is not
    /// for this dissector after all.
    fn expected(_note: &[u8]) -> Option<Self> {
        None
    }

    /// Looks at bytes of a stream, or at one whole datagram (`context.carrier`). With `Used(n)` the
    /// bytes from `n` on are offered again; a datagram's are not.
    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress;

    /// Is told that `missing` bytes of a stream, counted from the first that was not used, were never
    /// seen or are not to be had any more. The bytes after it begin with a segment. Told while bytes
    /// are being skipped, it means that the flow ends with so many of them unseen. `Used(n)` skips.
    fn gap(&mut self, missing: u64, context: &mut Context<'_>) -> Progress;

    /// The flow has ended: writes what was waiting for more.
    fn close(&mut self, context: &mut Context<'_>);

    /// Asked after `Done`: how many bytes of a direction may still be the handshake's, from its first that
    /// was neither used nor skipped; all behind them is ciphertext. None: that is not known.
    fn ciphertext_after(&self, _direction: Direction) -> Option<u32> {
        None
    }

    /// Asked when a signature has found something: what is known of a transaction whose event was not told yet, as
    /// the body of that event; what stands beside that in the event may follow, with a comma before it. `direction` is
    /// that of the side that was looked into. Writes nothing where it knows nothing of it (any more).
    fn describe(&self, _direction: Direction, _transaction: u64, _out: &mut Vec<u8>) {}
}

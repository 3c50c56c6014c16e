//! Deep packet inspection: recognises applications by content and reads their metadata.
//!
//! In: the payloads of one flow, in order per direction as far as the stream could be put together.
//! Out: the flow's [`App`], its [`Metadata`], and one [`Event`] per transaction. Knows no rule and no
//! destination; an event's body is the application's own description of itself in EVE's field names.
//!
//! A protocol is one file (or folder) that implements [`Dissector`], one line in the list of dissectors
//! (`parser.rs`), and its rows in `weir_common::{app, metadata}`.

pub mod config;
mod inspect;
mod probing;
mod stream;
mod parser;
mod cut_off;
mod digest;
mod dns;
mod http;
mod tls;
mod ssh;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod trial;

pub use cut_off::{CutOff, CutOffError};
pub use inspect::{Inspection, Inspector};

use weir_common::app::App;
use weir_common::metadata::Metadata;
use weir_common::net::Direction;
use weir_common::time::Timestamp;

/// One transaction or message of an application, as EVE tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which application; its name is the event's type and the key of its body.
    pub app: App,
    /// Time of the packet that completed it.
    pub time: Timestamp,
    /// Whose message it is: EVE's `src_ip` is the sender's. Requests and sessions are `Forward`.
    pub direction: Direction,
    /// Number of the transaction in its flow, from 0, where the application has transactions.
    pub transaction: Option<u64>,
    /// A JSON object.
    pub body: Vec<u8>,
}

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Nothing more is to be learned from this flow; its streams need not be put together any longer.
    Done,
    /// The bytes contradict the protocol, in these words; the flow keeps its name and is left alone,
    /// after [`Dissector::close`].
    Broken(&'static str),
}

/// What a dissector works with while it looks at bytes.
pub struct Context<'a> {
    /// Time of the packet that brought the bytes.
    pub time: Timestamp,
    /// Who sent them.
    pub direction: Direction,
    /// What carries them.
    pub carrier: Carrier,
    /// What is known about the flow; add to it.
    pub metadata: &'a mut Metadata,
    /// Where events go; `None` when nobody listens, so that they are not even written.
    pub events: Option<&'a mut Vec<Event>>,
    /// Counts messages that were malformed but could be got over.
    pub malformed: &'a mut u64,
    /// Somebody wants to know where the ciphertext begins: what is done with learning is not `Done` before
    /// the handshake is over.
    pub to_handshake_end: bool,
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

    /// Looks at the first bytes that `direction` sent.
    fn probe(carrier: Carrier, direction: Direction, bytes: &[u8]) -> Probe;

    /// State at the start of a flow.
    fn new() -> Self;

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
}

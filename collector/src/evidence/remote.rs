//! Asking the running collector for packets of a sensor that is connected to it.
//!
//! In: a question, and the path of the collector's local socket. Out: pcapng as it comes, and how the answer ended. The
//! wire is a message's length in four octets, then the message: [`Ask`] once, then [`Reply`]s up to the one that ends.
//! Deliberately absent: the sensor's connection, which the collector's control stage has.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use weir_common::control::messages::{EvidenceEnd, EvidenceRequest};

/// Longest message, in bytes: a part of packets and what surrounds it.
pub const REPLY_BYTES_MAX: usize = 512 << 10;
/// Longest question, in bytes.
pub const ASK_BYTES_MAX: usize = 64 << 10;

/// A question.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ask {
    /// The sensor's name.
    #[prost(string, tag = "1")]
    pub sensor: String,
    /// What is asked of it; its number and limits are the collector's to set.
    #[prost(message, optional, tag = "2")]
    pub request: Option<EvidenceRequest>,
}

/// A piece of the answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Reply {
    #[allow(missing_docs)]
    #[prost(oneof = "Piece", tags = "1, 2, 3")]
    pub piece: Option<Piece>,
}

/// What a [`Reply`] is.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Piece {
    /// The next bytes of pcapng.
    #[prost(bytes, tag = "1")]
    Packets(Vec<u8>),
    /// The last of it.
    #[prost(message, tag = "2")]
    End(EvidenceEnd),
    /// The sensor could not be asked, or was lost; why in words.
    #[prost(string, tag = "3")]
    Lost(String),
}

/// Why there is no answer.
#[derive(Debug)]
pub enum NotAnswered {
    /// No collector runs here, or it has no such sensor.
    Absent(String),
    /// It was lost on the way.
    Lost(String),
    /// The packets could not be written.
    Pass(io::Error),
}

/// Asks, and copies the packets to `out` as they come. `wait` is the longest time between two pieces.
pub fn ask(
    socket: &Path,
    ask: &Ask,
    wait: Duration,
    out: &mut dyn Write,
    octets: &mut u64,
) -> Result<EvidenceEnd, NotAnswered> {
    let absent = |error: io::Error| {
        NotAnswered::Absent(format!(
            "no collector runs here to ask it through ({}: {error})",
            socket.display()
        ))
    };
    let mut stream = UnixStream::connect(socket).map_err(absent)?;
    stream
        .set_read_timeout(Some(wait))
        .and_then(|()| stream.set_write_timeout(Some(wait)))
        .map_err(absent)?;
    let sent = send(&mut stream, ask);
    sent.map_err(|error| NotAnswered::Lost(format!("the collector does not listen: {error}")))?;
    let mut begun = false;
    loop {
        let reply: Reply = receive(&mut stream, REPLY_BYTES_MAX).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                NotAnswered::Lost(format!("nothing came for {} s", wait.as_secs()))
            }
            _ => NotAnswered::Lost(format!("the collector ended: {error}")),
        })?;
        match reply.piece {
            Some(Piece::Packets(packets)) => {
                begun = true;
                out.write_all(&packets).map_err(NotAnswered::Pass)?;
                *octets += packets.len() as u64;
            }
            Some(Piece::End(end)) => return Ok(end),
            Some(Piece::Lost(why)) if begun => return Err(NotAnswered::Lost(why)),
            Some(Piece::Lost(why)) => return Err(NotAnswered::Absent(why)),
            // A kind of a later version.
            None => {}
        }
    }
}

/// Writes one message.
pub fn send(stream: &mut impl Write, message: &impl prost::Message) -> io::Result<()> {
    stream.write_all(&framed(message))
}

/// A message as it is written.
pub fn framed(message: &impl prost::Message) -> Vec<u8> {
    let length = message.encoded_len() as u32;
    let mut bytes = Vec::with_capacity(4 + length as usize);
    bytes.extend(length.to_be_bytes());
    bytes.extend(message.encode_to_vec());
    bytes
}

/// Reads one message; its length is looked at before anything is allocated for it.
pub fn receive<M: prost::Message + Default>(stream: &mut impl Read, bytes_max: usize) -> io::Result<M> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > bytes_max {
        return Err(io::Error::other(format!("a message of {length} bytes is more than {bytes_max}")));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    M::decode(bytes.as_slice()).map_err(io::Error::other)
}

//! Calls and replies of ONC RPC (RFC 5531 section 9), who makes them, and the marks of records.

use crate::dpi::scan::Scan;
use crate::dpi::{Carrier, Context, First, Probe};
use weir_common::json::Object;
use weir_common::metadata::Field;

/// The program that NFS is.
pub(in crate::dpi) const NFS: u32 = 100_003;
/// Bytes of a record's mark.
pub(in crate::dpi) const MARK_BYTES: usize = 4;
/// Longest record that is taken for one.
const RECORD_BYTES_MAX: usize = 16 << 20;
/// Longest credentials and verifiers (RFC 5531 section 8.2).
const AUTH_BYTES_MAX: usize = 400;
/// Longest opaque that is taken for a name or a handle.
const OPAQUE_BYTES_MAX: usize = 1 << 20;

/// A call or a reply.
#[derive(Debug)]
pub(in crate::dpi) struct Message<'a> {
    pub(in crate::dpi) xid: u32,
    pub(in crate::dpi) kind: Kind<'a>,
}

#[derive(Debug)]
pub(in crate::dpi) enum Kind<'a> {
    Call(Call<'a>),
    Reply(Reply<'a>),
}

#[derive(Debug)]
pub(in crate::dpi) struct Call<'a> {
    pub(in crate::dpi) program: u32,
    pub(in crate::dpi) version: u32,
    pub(in crate::dpi) procedure: u32,
    pub(in crate::dpi) credentials: Credentials,
    pub(in crate::dpi) arguments: &'a [u8],
}

#[derive(Debug)]
pub(in crate::dpi) struct Reply<'a> {
    /// 0: accepted, 1: denied.
    pub(in crate::dpi) reply: u32,
    /// What became of an accepted call; 0: it was executed.
    pub(in crate::dpi) accept: Option<u32>,
    pub(in crate::dpi) body: &'a [u8],
}

/// Who calls.
#[derive(Clone, Debug, Default)]
pub(in crate::dpi) struct Credentials {
    flavor: u32,
    /// Machine, user, group.
    unix: Option<(Box<[u8]>, u32, u32)>,
}

impl<'a> Message<'a> {
    /// None: it is none.
    pub(in crate::dpi) fn parse(bytes: &'a [u8]) -> Option<Message<'a>> {
        let mut scan = Scan::new(bytes);
        let xid = scan.be32()?;
        let kind = match scan.be32()? {
            0 => Kind::Call(call(scan)?),
            1 => Kind::Reply(reply(scan)?),
            _ => return None,
        };
        Some(Message { xid, kind })
    }
}

impl Reply<'_> {
    /// As EVE tells it.
    pub(in crate::dpi) fn status(&self) -> &'static str {
        if self.reply == 0 { "ACCEPTED" } else { "DENIED" }
    }
}

fn call(mut scan: Scan<'_>) -> Option<Call<'_>> {
    if scan.be32()? != 2 {
        return None;
    }
    let (program, version, procedure) = (scan.be32()?, scan.be32()?, scan.be32()?);
    let (flavor, credentials) = auth(&mut scan)?;
    auth(&mut scan)?;
    let unix = (flavor == 1).then(|| unix(credentials)).flatten();
    let credentials = Credentials { flavor, unix };
    Some(Call { program, version, procedure, credentials, arguments: scan.rest() })
}

fn reply(mut scan: Scan<'_>) -> Option<Reply<'_>> {
    let reply = scan.be32()?;
    let mut accept = None;
    match reply {
        0 => {
            auth(&mut scan)?;
            accept = Some(scan.be32().filter(|accept| *accept <= 5)?);
        }
        1 => {
            scan.be32().filter(|reject| *reject <= 1)?;
        }
        _ => return None,
    }
    Some(Reply { reply, accept, body: scan.rest() })
}

/// Flavor and body of credentials or a verifier.
fn auth<'a>(scan: &mut Scan<'a>) -> Option<(u32, &'a [u8])> {
    let flavor = scan.be32()?;
    let body = opaque(scan)?;
    (body.len() <= AUTH_BYTES_MAX).then_some((flavor, body))
}

/// AUTH_UNIX (RFC 5531 appendix A).
fn unix(body: &[u8]) -> Option<(Box<[u8]>, u32, u32)> {
    let mut scan = Scan::new(body);
    scan.be32()?;
    let machine = opaque(&mut scan)?;
    Some((machine.into(), scan.be32()?, scan.be32()?))
}

/// Bytes with their length before them and filled up to whole words (RFC 4506 section 4.10).
pub(in crate::dpi) fn opaque<'a>(scan: &mut Scan<'a>) -> Option<&'a [u8]> {
    let length = usize::try_from(scan.be32()?).ok().filter(|length| *length <= OPAQUE_BYTES_MAX)?;
    let bytes = scan.take(length)?;
    // The last word may be cut off.
    let _ = scan.take(length.wrapping_neg() & 3);
    Some(bytes)
}

/// Size of a record's fragment behind its mark, and whether it is the last. None: the mark is not there yet.
pub(in crate::dpi) fn record(bytes: &[u8]) -> Option<(usize, bool)> {
    let mark = u32::from_be_bytes(*bytes.first_chunk()?);
    Some(((mark & 0x7fff_ffff) as usize, mark >> 31 == 1))
}

impl Credentials {
    /// As EVE's `rpc` object tells them.
    pub(in crate::dpi) fn describe(&self, object: &mut Object<'_>) {
        const FLAVORS: [&str; 7] = ["NULL", "UNIX", "SHORT", "DH", "KERB", "RSA", "GSS"];
        match FLAVORS.get(self.flavor as usize) {
            Some(flavor) => object.text("auth_type", flavor),
            None => object.display("auth_type", self.flavor),
        };
        if let Some((machine, user, group)) = &self.unix {
            let mut creds = object.object("creds");
            creds.bytes("machine_name", machine).number("uid", *user).number("gid", *group);
        }
    }

    pub(in crate::dpi) fn learn(&self, context: &mut Context<'_>) {
        if let Some((machine, user, _)) = &self.unix {
            if !machine.is_empty() {
                context.metadata.add(Field::EndpointName, &String::from_utf8_lossy(machine));
            }
            context.metadata.add(Field::User, &user.to_string());
        }
    }
}

/// Whether a flow begins with a call to a program that `is_known` knows by number and version. A reply does not
/// say whose it is; it counts with `port`.
pub(in crate::dpi) fn probe(first: &First<'_>, port: u16, is_known: impl Fn(u32, u32) -> bool) -> Probe {
    let bytes = match first.carrier {
        Carrier::Datagram => first.bytes,
        Carrier::Stream => {
            let Some((size, _)) = record(first.bytes) else { return Probe::Unsure };
            if !(24..=RECORD_BYTES_MAX).contains(&size) {
                return Probe::NotForUs;
            }
            first.bytes.get(MARK_BYTES..).unwrap_or_default()
        }
    };
    const CALL_BYTES_MIN: usize = 40;
    let mut scan = Scan::new(bytes);
    let (Some(_), Some(kind)) = (scan.be32(), scan.be32()) else {
        return if first.is_stream() { Probe::Unsure } else { Probe::NotForUs };
    };
    if kind == 1 {
        let is_reply = Message::parse(bytes)
            .is_some_and(|message| matches!(message.kind, Kind::Reply(reply) if reply.accept == Some(0)));
        return if is_reply && first.source_port == port { Probe::Likely } else { Probe::NotForUs };
    }
    if kind != 0 || scan.be32().is_some_and(|version| version != 2) {
        return Probe::NotForUs;
    }
    let (Some(program), Some(version)) = (scan.be32(), scan.be32()) else {
        return if first.is_stream() { Probe::Unsure } else { Probe::NotForUs };
    };
    if !is_known(program, version) {
        return Probe::NotForUs;
    }
    match Message::parse(bytes) {
        Some(_) => Probe::Certain,
        None if first.is_stream() && bytes.len() < CALL_BYTES_MIN + AUTH_BYTES_MAX => Probe::Unsure,
        None => Probe::NotForUs,
    }
}

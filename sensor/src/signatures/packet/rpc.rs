//! `rpc`: a call of ONC RPC (RFC 5531 section 9) at the beginning of a packet's payload.
//!
//! In: the numbers of program, version and procedure, of which the latter two may be `*` or missing; then a packet. Out:
//! whether it carries such a call. Over TCP the record mark stands before it. Deliberately absent: streams.

use super::number::shown;
use crate::decode::{Packet, Transport};
use weir_common::net::protocol;

const CALL: u32 = 0;
const RPC_VERSION: u32 = 2;
/// Record mark of TCP, in bytes.
const MARK_BYTES: usize = 4;

/// A call; `None`: any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::signatures) struct RpcTest {
    program: u32,
    version: Option<u32>,
    procedure: Option<u32>,
}

impl RpcTest {
    pub(super) fn parse(text: &str) -> Result<RpcTest, String> {
        let mut parts = text.split(',').map(str::trim);
        let number = |part: &str| {
            part.parse::<u32>().map_err(|_| format!("`{}` is not a number up to {}", shown(part), u32::MAX))
        };
        let or_any = |part: Option<&str>| match part {
            None | Some("*") => Ok(None),
            Some(part) => number(part).map(Some),
        };
        let program = number(parts.next().unwrap_or_default())?;
        let (version, procedure) = (or_any(parts.next())?, or_any(parts.next())?);
        match parts.next() {
            None => Ok(RpcTest { program, version, procedure }),
            Some(_) => Err("expected program, version and procedure, and no more".into()),
        }
    }

    pub(super) fn holds(&self, packet: &Packet<'_>) -> bool {
        let message = match packet.transport {
            Transport::Tcp(_) => packet.payload.get(MARK_BYTES..).unwrap_or_default(),
            Transport::Ports { .. } if packet.ip.protocol == protocol::UDP => packet.payload,
            _ => return false,
        };
        let Some(words) = message.first_chunk::<24>() else { return false };
        let word = |at: usize| {
            words.get(at * 4..).and_then(|rest| rest.first_chunk()).map(|b| u32::from_be_bytes(*b))
        };
        word(1) == Some(CALL)
            && word(2) == Some(RPC_VERSION)
            && word(3) == Some(self.program)
            && (self.version.is_none() || word(4) == self.version)
            && (self.procedure.is_none() || word(5) == self.procedure)
    }
}

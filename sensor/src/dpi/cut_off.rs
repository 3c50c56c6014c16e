//! Where ciphertext begins: which flows the ring may keep without it, and from which byte on.
//!
//! In: the names of `ring.cut_off`, and what a dissector knows of its handshake's end. Out: for a packet,
//! how much of its payload is worth keeping. The answer rests on packets before it alone, and it is "all"
//! wherever there is a doubt: before the handshake is known to be over, for a segment that begins before
//! that (a retransmission), for a new connection with the same ports. Never looks at a payload.
//!
//! Renegotiation and re-keying happen inside the encryption and are left out with it. Whoever speaks TLS
//! or SSH first and something else afterwards is cut off too; the ring's receipt still proves what it was.

use super::parser::{Dissectors, Parser};
use crate::decode::{Packet, Transport};
use weir_common::app::App;
use weir_common::config::nearest;
use weir_common::net::Direction;
use weir_common::record::tcp_flags;

/// Bytes kept of a payload that is ciphertext: a TLS record's header, and a little of what follows.
pub(super) const CIPHERTEXT_BYTES_KEPT: usize = 8;
/// How far sequence numbers go past the begin of the ciphertext before it is moved up, so that "before" and
/// "behind" in the circle of numbers stay what they are. Retransmissions lie nearer.
const BEGIN_DISTANCE_MAX: u32 = 1 << 30;

/// The applications whose ciphertext is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutOff(Dissectors);

/// Why a name cannot stand in `ring.cut_off`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutOffError {
    /// It is none of an application.
    #[error("no application is called `{name}`{hint}; expected some of {expected}")]
    Unknown {
        /// The name.
        name: String,
        /// The nearest one that can stand there.
        hint: String,
        /// All that can.
        expected: String,
    },
    /// It is an application without ciphertext.
    #[error("`{name}` has no handshake after which all is ciphertext; expected some of {expected}")]
    Clear {
        /// The name.
        name: String,
        /// All that can stand there.
        expected: String,
    },
}

impl CutOff {
    /// The applications that these names stand for.
    pub fn parse(names: &[String]) -> Result<CutOff, CutOffError> {
        let possible = || Parser::WITH_HANDSHAKE.iter().filter(|(_, bit)| *bit != 0);
        let mut cut_off = CutOff::default();
        for name in names {
            let found = possible().find(|(app, _)| app.name() == name);
            if let Some((_, bit)) = found {
                cut_off.0 |= bit;
                continue;
            }
            let known: Vec<&str> = possible().map(|(app, _)| app.name()).collect();
            let (name, expected) = (name.clone(), known.join(", "));
            return Err(match App::from_name(&name) {
                Some(app) if app != App::Unknown => CutOffError::Clear { name, expected },
                _ => {
                    let best = nearest(&name, &known);
                    let hint = best.map(|best| format!("; did you mean `{best}`?")).unwrap_or_default();
                    CutOffError::Unknown { name, hint, expected }
                }
            });
        }
        Ok(cut_off)
    }

    /// Whether nothing is to be left out.
    pub fn is_empty(self) -> bool {
        self == CutOff::default()
    }

    /// Whether it names the application of this dissector.
    pub(super) fn names(self, parser: &Parser) -> bool {
        self.0 & parser.bit() != 0
    }
}

/// Where each direction's ciphertext begins, as TCP sequence numbers, where it does and somebody knows. Every flow that is
/// inspected has one, so that it is kept small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ciphertext {
    begins: [u32; 2],
    is_known: [bool; 2],
}

impl Ciphertext {
    pub(super) fn from(begins: [Option<u32>; 2]) -> Ciphertext {
        Ciphertext {
            begins: begins.map(Option::unwrap_or_default),
            is_known: begins.map(|begin| begin.is_some()),
        }
    }

    /// [`super::Inspection::kept_of`]; `direction` is the dissector's view.
    #[inline]
    pub(super) fn kept_of(&mut self, packet: &Packet<'_>, direction: Direction) -> Option<usize> {
        if self.is_known == [false; 2] {
            return None;
        }
        let Transport::Tcp(tcp) = packet.transport else { return None };
        if tcp.flags & (tcp_flags::SYN | tcp_flags::RST) != 0 {
            if tcp.flags & tcp_flags::SYN != 0 {
                // A new connection may follow, with a handshake and sequence numbers of its own.
                self.is_known = [false; 2];
            }
            return None;
        }
        if !*self.is_known.get(direction.index())? {
            return None;
        }
        let begin = self.begins.get_mut(direction.index())?;
        let behind = tcp.sequence.wrapping_sub(*begin);
        if behind > i32::MAX as u32 {
            return None;
        }
        if behind > BEGIN_DISTANCE_MAX {
            *begin = tcp.sequence.wrapping_sub(BEGIN_DISTANCE_MAX / 2);
        }
        Some(CIPHERTEXT_BYTES_KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Ip, LinkHeader, Tcp};
    use weir_common::net::Address;

    fn names(list: &[&str]) -> Result<CutOff, String> {
        let list: Vec<String> = list.iter().map(|name| (*name).to_owned()).collect();
        CutOff::parse(&list).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_those_of_applications_with_ciphertext() {
        assert!(names(&[]).unwrap().is_empty());
        let (tls, both) = (names(&["tls"]).unwrap(), names(&["ssh", "tls", "ssh"]).unwrap());
        assert!(!tls.is_empty() && tls != both);
        assert_eq!(both, names(&["tls", "ssh"]).unwrap());
        let wrong = names(&["tls", "tlss"]).unwrap_err();
        assert_eq!(wrong, "no application is called `tlss`; did you mean `tls`?; expected some of tls, ssh");
        let clear = names(&["http"]).unwrap_err();
        assert!(clear.starts_with("`http` has no handshake"), "{clear}");
        assert!(names(&[""]).is_err() && names(&["unknown"]).is_err());
    }

    fn packet(sequence: u32, flags: u16) -> Packet<'static> {
        let address = Address::v4([192, 0, 2, 1]);
        let (source, destination) = (address, address);
        let ip = Ip { source, destination, protocol: 6, octets: 0, ttl: 1, tos: 0, is_fragment: false };
        let tcp = Tcp { source: 1, destination: 2, sequence, acknowledgement: 0, flags, window: 0 };
        let transport = Transport::Tcp(tcp);
        Packet {
            vlans: [0; 2],
            ip,
            transport,
            payload: &[0; 100],
            early: None,
            is_partial: false,
            is_cut: false,
            tunnel_depth: 0,
            payload_missing: 0,
            link: LinkHeader::NONE,
            frame_octets: 0,
            network: &[],
        }
    }

    #[test]
    fn only_what_begins_behind_the_handshake_is_cut_off_also_where_numbers_wrap() {
        for begin in [0, 1, 5000, u32::MAX, u32::MAX - 100, 1 << 31] {
            let mut ciphertext = Ciphertext::from([Some(begin), None]);
            let mut kept = |ahead: u32, direction| {
                ciphertext.kept_of(&packet(begin.wrapping_add(ahead), tcp_flags::ACK), direction)
            };
            assert_eq!(kept(0, Direction::Forward), Some(CIPHERTEXT_BYTES_KEPT));
            assert_eq!(kept(0_u32.wrapping_sub(1), Direction::Forward), None);
            assert_eq!(kept(0, Direction::Reverse), None);
            // Five gigabytes on it is still ciphertext.
            for megabytes in 0..5000u32 {
                assert!(kept(megabytes.wrapping_mul(1 << 20), Direction::Forward).is_some(), "{megabytes}");
            }
        }
    }

    #[test]
    fn a_new_connection_is_kept_whole_and_a_reset_is_kept() {
        let mut ciphertext = Ciphertext::from([Some(10), Some(10)]);
        assert_eq!(ciphertext.kept_of(&packet(20, tcp_flags::RST), Direction::Forward), None);
        assert!(ciphertext.kept_of(&packet(20, tcp_flags::FIN), Direction::Forward).is_some());
        assert_eq!(ciphertext.kept_of(&packet(20, tcp_flags::SYN), Direction::Reverse), None);
        assert_eq!(ciphertext.kept_of(&packet(20, tcp_flags::ACK), Direction::Forward), None);
    }
}

//! Point-to-Point Tunneling Protocol (RFC 2637): the control connection.
//!
//! In: both directions of a stream. Out: host names, vendors, what was asked for and how it was answered, and one
//! event per message. The tunnel itself is GRE, in another flow.

use crate::dpi::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

const MAGIC: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];
/// Length, type, magic, control type, reserved.
const HEADER_BYTES: usize = 12;
/// Most bytes of a control message (Outgoing-Call-Request has 168, Call-Disconnect-Notify 148 and Incoming 220).
const MESSAGE_BYTES_MAX: usize = 512;
const NAME_BYTES: usize = 64;

/// The dissector of a control connection.
#[derive(Debug, Default)]
pub(super) struct Pptp {
    messages: u64,
}

/// The message at the front, when its header is one: type and length.
fn header(bytes: &[u8]) -> Option<(u16, usize)> {
    let ([l0, l1, 0, 1, m0, m1, m2, m3, c0, c1, 0, 0], _) = bytes.split_first_chunk::<HEADER_BYTES>()? else {
        return None;
    };
    let (length, control) = (usize::from(u16::from_be_bytes([*l0, *l1])), u16::from_be_bytes([*c0, *c1]));
    let fits = [*m0, *m1, *m2, *m3] == MAGIC
        && (HEADER_BYTES..=MESSAGE_BYTES_MAX).contains(&length)
        && (1..=15).contains(&control);
    fits.then_some((control, length))
}

impl Dissector for Pptp {
    const APP: App = App::Pptp;

    const STARTS: Starts = Starts::stream(&[0]);

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        if bytes.len() < HEADER_BYTES {
            let is_possible = bytes.get(2..).is_none_or(|rest| {
                rest.iter().zip([0, 1].into_iter().chain(MAGIC)).all(|(have, want)| *have == want)
            });
            return if is_possible { Probe::Unsure } else { Probe::NotForUs };
        }
        if header(bytes).is_some() { Probe::Certain } else { Probe::NotForUs }
    }

    fn new() -> Self {
        Pptp::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| rest.len() >= HEADER_BYTES) {
            let Some((control, length)) = header(rest) else { return Progress::Broken("malformed_data") };
            let Some(message) = rest.get(..length) else { break };
            self.read(control, message, context);
            used += length;
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _missing: u64, _context: &mut Context<'_>) -> Progress {
        Progress::Switch(0)
    }

    fn close(&mut self, _context: &mut Context<'_>) {}
}

impl Pptp {
    fn read(&mut self, control: u16, message: &[u8], context: &mut Context<'_>) {
        const START_REPLY: u16 = 2;
        let name = control_name(control);
        context.metadata.add(Field::Command, name);
        let text = |at: usize| {
            let field = message.get(at..at + NAME_BYTES).unwrap_or_default();
            field.get(..memchr::memchr(0, field).unwrap_or(field.len())).filter(|text| !text.is_empty())
        };
        let names = if control <= START_REPLY { [text(28), text(92)] } else { [None; 2] };
        let [host, vendor] = names;
        if let Some(host) = host {
            context.metadata.add(Field::EndpointName, &String::from_utf8_lossy(host));
        }
        if let Some(vendor) = vendor {
            let field = match context.direction {
                Direction::Forward => Field::ClientSoftware,
                Direction::Reverse => Field::ServerSoftware,
            };
            context.metadata.set_bytes(field, vendor);
        }
        // Where a reply has its result code.
        let result = match control {
            START_REPLY => message.get(14),
            4 | 6 => message.get(13),
            8 | 10 => message.get(16),
            _ => None,
        };
        if let Some(result) = result {
            context.metadata.add(Field::Status, &result.to_string());
        }
        let number = self.messages;
        self.messages += 1;
        context.tell(context.direction, Some(number), |object| {
            object.text("message", name);
            if let Some(host) = host {
                object.bytes("host_name", host);
            }
            if let Some(vendor) = vendor {
                object.bytes("vendor", vendor);
            }
            if let Some(result) = result {
                object.number("result", *result);
            }
        });
    }
}

fn control_name(control: u16) -> &'static str {
    match control {
        1 => "Start-Control-Connection-Request",
        2 => "Start-Control-Connection-Reply",
        3 => "Stop-Control-Connection-Request",
        4 => "Stop-Control-Connection-Reply",
        5 => "Echo-Request",
        6 => "Echo-Reply",
        7 => "Outgoing-Call-Request",
        8 => "Outgoing-Call-Reply",
        9 => "Incoming-Call-Request",
        10 => "Incoming-Call-Reply",
        11 => "Incoming-Call-Connected",
        12 => "Call-Clear-Request",
        13 => "Call-Disconnect-Notify",
        14 => "WAN-Error-Notify",
        _ => "Set-Link-Info",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};

    fn start(control: u8) -> Vec<u8> {
        let mut message = vec![0, 156, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, control, 0, 0, 1, 0, 1, 0];
        message.resize(156, 0);
        message[28..33].copy_from_slice(b"local");
        message[92..97].copy_from_slice(b"cisco");
        message
    }

    #[test]
    fn both_ends_say_who_they_are() {
        let trial = Trial::<Pptp>::new().client(&start(1)).server(&start(2)).close();
        assert_eq!(trial.text(Field::EndpointName), "local");
        assert_eq!(trial.text(Field::ClientSoftware), "cisco");
        assert_eq!(trial.text(Field::ServerSoftware), "cisco");
        assert_eq!(trial.text(Field::Status), "1");
        assert_eq!(trial.events.len(), 2);
    }

    #[test]
    fn the_magic_decides() {
        let probe = |bytes: &[u8]| Pptp::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(probe(&start(1)), Probe::Certain);
        assert_eq!(probe(&start(1)[..5]), Probe::Unsure);
        assert_eq!(probe(b"\0\x9c\0\x02\x1a\x2b"), Probe::NotForUs);
        assert_eq!(probe(&start(16)), Probe::NotForUs);
    }

    #[test]
    fn cuts_and_damage_are_got_over() {
        cuts_do_not_matter::<Pptp>(&start(1), &start(2));
        survives_damage::<Pptp>(&start(1), &start(2));
    }
}

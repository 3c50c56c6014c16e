//! Network Time Protocol, versions 1 to 4 (RFC 5905, RFC 1305), with its control and private modes.
//!
//! In: datagrams. Out: version, mode, stratum and reference, for signatures as well, and one event per message in
//! EVE's form. Times are not compared.

use super::buffers::{Buffer, Number, Stage};
use super::wire::{be16_at, be32_at, hex};
use super::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;

const PORT: u16 = 123;
/// Bytes of a message without extensions.
const MESSAGE_BYTES: usize = 48;
/// Seconds of NTP's era at the beginning of 2000; a server that knows the time is behind it.
const YEAR_2000: u32 = 3_155_673_600;

/// State of an NTP flow.
#[derive(Debug)]
pub(super) struct Ntp {
    messages: u64,
}

const fn starts() -> [u8; 256] {
    let mut all = [0x23; 256];
    let mut byte = 0u8;
    loop {
        let (version, mode) = (byte >> 3 & 7, byte & 7);
        if version >= 1 && version <= 4 && mode >= 1 {
            all[byte as usize] = byte;
        }
        if byte == 255 {
            return all;
        }
        byte += 1;
    }
}

impl Dissector for Ntp {
    const APP: App = App::Ntp;

    const STARTS: Starts = Starts::datagram(&starts());

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        let [flags, stratum, poll, precision, ..] = *bytes else { return Probe::NotForUs };
        let (version, mode) = (flags >> 3 & 7, flags & 7);
        let has_port = first.has_port(PORT);
        let is_right = match mode {
            6 => {
                // Control: the data's length, padded, and perhaps an authenticator (RFC 9327).
                let data = usize::from(be16_at(bytes, 10).unwrap_or(u16::MAX));
                version >= 2 && bytes.len() >= 12 + data && bytes.len() <= 12 + data + 64
            }
            // Private: implementation 0, 2 or 3, a request's number.
            7 => bytes.len() >= 8 && matches!(poll, 0 | 2 | 3) && precision <= 60,
            1..=5 => {
                let (poll, precision) = (poll as i8, precision as i8);
                let is_length = bytes.len() >= MESSAGE_BYTES && bytes.len().is_multiple_of(4);
                is_length && stratum <= 16 && (-10..=24).contains(&poll) && (-40..=10).contains(&precision)
            }
            _ => false,
        };
        if !is_right {
            return Probe::NotForUs;
        }
        if has_port {
            return Probe::Certain;
        }
        // Elsewhere only a server's answer is sure: it says when it was asked and when it answers.
        let seconds = |at| be32_at(bytes, at).unwrap_or(0);
        let (received, sent) = (seconds(32), seconds(40));
        let is_answer = mode == 4
            && version >= 3
            && (1..=15).contains(&stratum)
            && bytes.len() == MESSAGE_BYTES
            && received > YEAR_2000
            && sent.wrapping_sub(received) <= 2;
        if is_answer { Probe::Certain } else { Probe::NotForUs }
    }

    fn new() -> Self {
        Ntp { messages: 0 }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let Some([flags, stratum, ..]) = bytes.first_chunk::<4>() else {
            context.anomaly("malformed_data", None);
            return Progress::Used(bytes.len());
        };
        let (version, mode) = (flags >> 3 & 7, flags & 7);
        context.metadata.set_text(Field::Version, digit(version));
        context.metadata.add(Field::Command, mode_name(mode));
        let reference = bytes.get(12..16).filter(|_| (1..=5).contains(&mode));
        if mode == 4
            && *stratum == 1
            && let Some(reference) = reference
        {
            let text = String::from_utf8_lossy(reference);
            context.metadata.add(Field::Object, text.trim_end_matches('\0'));
        }
        let number = self.messages;
        self.messages += 1;
        context.tell(context.direction, Some(number), |object| {
            object.number("version", version).number("mode", mode);
            if let Some(reference) = reference {
                object.number("stratum", *stratum).text("reference_id", &hex(reference, ":"));
            }
        });
        if context.wanted.is_some() {
            let direction = context.direction;
            context.put_number(direction, number, Number::NtpVersion, version.into());
            context.put_number(direction, number, Number::NtpMode, mode.into());
            if let Some(reference) = reference {
                context.put_number(direction, number, Number::NtpStratum, (*stratum).into());
                context.put(direction, number, Buffer::NtpReferenceId, reference);
            }
            context.reached(direction, number, Stage::Body);
        }
        Progress::Used(bytes.len())
    }

    fn gap(&mut self, _: u64, _: &mut Context<'_>) -> Progress {
        Progress::Used(0)
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

fn digit(version: u8) -> &'static str {
    ["0", "1", "2", "3", "4", "5", "6", "7"].get(usize::from(version)).unwrap_or(&"")
}

fn mode_name(mode: u8) -> &'static str {
    const NAMES: [&str; 8] = [
        "reserved",
        "symmetric_active",
        "symmetric_passive",
        "client",
        "server",
        "broadcast",
        "control",
        "private",
    ];
    NAMES.get(usize::from(mode)).unwrap_or(&"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, survives_damaged_datagrams};
    use weir_common::net::Direction;

    fn server() -> Vec<u8> {
        let time = [0xe0, 0, 0, 1, 0, 0, 0, 0];
        [&[0x24, 2, 6, 0xe9, 0, 0, 0, 0, 0, 0, 0, 0][..], b"LOCL", &time, &time, &time, &time].concat()
    }

    #[test]
    fn a_message_is_told() {
        let trial = Trial::<Ntp>::new().over_datagrams().server(&server());
        let want = serde_json::json!({"version": 4, "mode": 4, "stratum": 2, "reference_id": "4c:4f:43:4c"});
        assert_eq!(trial.event(), want);
        survives_damaged_datagrams::<Ntp>(&[(Direction::Forward, &server())]);
    }

    #[test]
    fn without_the_port_only_an_answer_is_sure() {
        let probe = |bytes: &[u8], port| {
            Ntp::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes).between(port, 5000))
        };
        assert_eq!(probe(&server(), 5001), Probe::Certain);
        let client = [&[0x23][..], &[0; 47]].concat();
        assert_eq!((probe(&client, 5001), probe(&client, 123)), (Probe::NotForUs, Probe::Certain));
        assert_eq!(probe(&client[..47], 123), Probe::NotForUs);
        let monlist = [0x17, 0, 3, 0x2a, 0, 0, 0, 0];
        assert_eq!(probe(&monlist, 123), Probe::Certain);
        assert!(!Ntp::STARTS.has(Carrier::Datagram, 0) && Ntp::STARTS.has(Carrier::Datagram, 0xe3));
    }

    #[test]
    fn signatures_are_told_version_mode_stratum_and_reference() {
        let mut trial = Trial::<Ntp>::new().over_datagrams().server(&server());
        expect_test::expect![[r#"
            server 0 ntp.reference_id LOCL
            server 0 NtpVersion 4
            server 0 NtpMode 4
            server 0 NtpStratum 2
        "#]]
        .assert_eq(&trial.told());
    }
}

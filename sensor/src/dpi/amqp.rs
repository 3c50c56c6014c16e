//! AMQP 0-9-1 (amqp.org, "AMQP 0-9-1 specification") and 1.0 (ISO/IEC 19464).
//!
//! In: both directions of a stream. Out: of 0-9-1 one event per method that is about something, with exchange,
//! queue and routing key; of 1.0 one for the opening of the connection. Account, host and products in metadata.
//! Contents pass unseen.

use super::scan::Scan;
use super::smtp::learn_account;
use super::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Bytes of the header that a connection begins with.
const PROTOCOL_BYTES: usize = 8;
/// Bytes before a frame's payload.
const FRAME_BYTES: usize = 7;
/// Most bytes of a payload that are looked at; the rest passes.
const PAYLOAD_BYTES_MAX: usize = 8 << 10;
/// Longest frame that is taken for one.
const LENGTH_MAX: u32 = 16 << 20;
/// Longest frame by which a stream is recognised: what comes first names capabilities, and no content.
const FIRST_FRAME_BYTES_MAX: u32 = 4096;
const FRAME_END: u8 = 0xce;

/// The dissector of one connection.
#[derive(Debug, Default)]
pub(super) struct Amqp {
    is_version_1: bool,
    transactions: u64,
    is_lost: [bool; 2],
}

/// The name of a method (AMQP 0-9-1 section 1).
fn method_name(class: u16, method: u16) -> Option<&'static str> {
    Some(match (class, method) {
        (10, 10) => "connection.start",
        (10, 11) => "connection.start-ok",
        (10, 20) => "connection.secure",
        (10, 21) => "connection.secure-ok",
        (10, 30) => "connection.tune",
        (10, 31) => "connection.tune-ok",
        (10, 40) => "connection.open",
        (10, 41) => "connection.open-ok",
        (10, 50) => "connection.close",
        (10, 51) => "connection.close-ok",
        (10, 60) => "connection.blocked",
        (10, 61) => "connection.unblocked",
        (20, 10) => "channel.open",
        (20, 11) => "channel.open-ok",
        (20, 20) => "channel.flow",
        (20, 21) => "channel.flow-ok",
        (20, 40) => "channel.close",
        (20, 41) => "channel.close-ok",
        (40, 10) => "exchange.declare",
        (40, 11) => "exchange.declare-ok",
        (40, 20) => "exchange.delete",
        (40, 21) => "exchange.delete-ok",
        (50, 10) => "queue.declare",
        (50, 11) => "queue.declare-ok",
        (50, 20) => "queue.bind",
        (50, 21) => "queue.bind-ok",
        (50, 30) => "queue.purge",
        (50, 31) => "queue.purge-ok",
        (50, 40) => "queue.delete",
        (50, 41) => "queue.delete-ok",
        (50, 50) => "queue.unbind",
        (50, 51) => "queue.unbind-ok",
        (60, 10) => "basic.qos",
        (60, 11) => "basic.qos-ok",
        (60, 20) => "basic.consume",
        (60, 21) => "basic.consume-ok",
        (60, 30) => "basic.cancel",
        (60, 31) => "basic.cancel-ok",
        (60, 40) => "basic.publish",
        (60, 50) => "basic.return",
        (60, 60) => "basic.deliver",
        (60, 70) => "basic.get",
        (60, 71) => "basic.get-ok",
        (60, 72) => "basic.get-empty",
        (60, 80) => "basic.ack",
        (60, 90) => "basic.reject",
        (60, 110 | 100) => "basic.recover",
        (60, 111) => "basic.recover-ok",
        (60, 120) => "basic.nack",
        (85, 10) => "confirm.select",
        (85, 11) => "confirm.select-ok",
        (90, 10) => "tx.select",
        (90, 11) => "tx.select-ok",
        (90, 20) => "tx.commit",
        (90, 21) => "tx.commit-ok",
        (90, 30) => "tx.rollback",
        (90, 31) => "tx.rollback-ok",
        _ => return None,
    })
}

/// Kind and payload length of a frame of 0-9-1.
fn frame(bytes: &[u8]) -> Option<(u8, u16, u32)> {
    let mut scan = Scan::new(bytes);
    Some((scan.u8()?, scan.be16()?, scan.be32()?))
}

/// What a method's arguments name.
#[derive(Default)]
struct Arguments<'a> {
    host: Option<&'a [u8]>,
    queue: Option<&'a [u8]>,
    exchange: Option<&'a [u8]>,
    /// The routing key.
    key: Option<&'a [u8]>,
    /// A code and its text.
    reply: Option<(u16, &'a [u8])>,
}

impl<'a> Arguments<'a> {
    /// Reads the arguments of a method (class and number), as far as they are told. None: they end too early.
    fn read(&mut self, method: (u16, u16), mut scan: Scan<'a>, context: &mut Context<'_>) -> Option<()> {
        let scan = &mut scan;
        match method {
            (10, 10) => {
                scan.take(2)?;
                if let Some(product) = product(long_text(scan)?) {
                    context.metadata.set_text(Field::ServerSoftware, &product);
                }
            }
            (10, 11) => {
                if let Some(product) = product(long_text(scan)?) {
                    context.metadata.set_text(Field::ClientSoftware, &product);
                }
                let mechanism = short_text(scan)?;
                let response = long_text(scan)?;
                if mechanism == b"PLAIN" {
                    learn_account(response, context);
                } else if mechanism == b"AMQPLAIN"
                    && let Some(user) = property(response, b"LOGIN")
                {
                    context.metadata.add(Field::User, &String::from_utf8_lossy(user));
                }
            }
            (10, 40) => {
                self.host = Some(short_text(scan)?);
            }
            (10, 50) | (20, 40) => {
                let code = scan.be16()?;
                self.reply = Some((code, short_text(scan)?));
            }
            (40, 10 | 20) => {
                scan.be16()?;
                self.exchange = Some(short_text(scan)?);
            }
            (50, 20 | 50) => {
                scan.be16()?;
                self.queue = Some(short_text(scan)?);
                self.exchange = Some(short_text(scan)?);
                self.key = Some(short_text(scan)?);
            }
            (50, 10 | 30 | 40) | (60, 20 | 70) => {
                scan.be16()?;
                self.queue = Some(short_text(scan)?);
            }
            (50, 11) => {
                self.queue = Some(short_text(scan)?);
            }
            (60, 40) => {
                scan.be16()?;
                self.exchange = Some(short_text(scan)?);
                self.key = Some(short_text(scan)?);
            }
            (60, 50) => {
                self.reply = Some((scan.be16()?, short_text(scan)?));
                self.exchange = Some(short_text(scan)?);
                self.key = Some(short_text(scan)?);
            }
            (60, 60) => {
                short_text(scan)?;
                scan.take(9)?;
                self.exchange = Some(short_text(scan)?);
                self.key = Some(short_text(scan)?);
            }
            (60, 71) => {
                scan.take(9)?;
                self.exchange = Some(short_text(scan)?);
                self.key = Some(short_text(scan)?);
            }
            _ => {}
        }
        Some(())
    }
}

impl Dissector for Amqp {
    const APP: App = App::Amqp;

    const STARTS: Starts = Starts::stream(b"A\x01\x02\x03\x08");

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        if bytes.first() == Some(&b'A') {
            let start = bytes.get(..4).unwrap_or(bytes);
            return match bytes.get(4..PROTOCOL_BYTES) {
                _ if !b"AMQP".starts_with(start) => Probe::NotForUs,
                None => Probe::Unsure,
                Some([0, 0, 9, 0 | 1] | [0 | 2 | 3, 1, 0, 0] | [1, 1, 0 | 8 | 9, _]) => Probe::Certain,
                Some(_) => Probe::NotForUs,
            };
        }
        let Some((kind, _, length)) = frame(bytes) else { return Probe::Unsure };
        if length > FIRST_FRAME_BYTES_MAX {
            return Probe::NotForUs;
        }
        let end = FRAME_BYTES + length as usize;
        let body = bytes.get(FRAME_BYTES..end.min(bytes.len())).unwrap_or_default();
        // What the frame begins with, as far as it is there.
        let mut scan = Scan::new(body);
        let (class, second) = (scan.be16(), scan.be16());
        let is_known = match kind {
            1 => class.zip(second).is_none_or(|(class, method)| method_name(class, method).is_some()),
            // A content's header: class, weight, size.
            2 => length >= 14 && matches!((class, second), (None | Some(60), None | Some(0))),
            8 => length == 0 && first.has_port(5672),
            _ => false,
        };
        match bytes.get(end) {
            _ if !is_known => Probe::NotForUs,
            None => Probe::Unsure,
            // A method is at least its class and its number.
            Some(&FRAME_END) if kind != 1 || length >= 4 => Probe::Certain,
            Some(_) => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Amqp::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if self.is_lost[index] {
                return Progress::Used(bytes.len());
            }
            if rest.first() == Some(&b'A') && b"AMQP".starts_with(rest.get(..4).unwrap_or(rest)) {
                let Some(head) = rest.get(4..PROTOCOL_BYTES) else { break };
                used += PROTOCOL_BYTES;
                self.is_version_1 = matches!(head, [_, 1, 0, 0]);
                let version = if self.is_version_1 { "1.0" } else { "0-9-1" };
                context.metadata.set_text(Field::Version, version);
                // TLS is asked for by the header itself, and begins when the server says the same.
                if matches!(head, [2, ..]) && context.direction == Direction::Reverse {
                    return Progress::Switch(used);
                }
                continue;
            }
            let step =
                if self.is_version_1 { self.frame_1(rest, context) } else { self.frame_0(rest, context) };
            match step {
                Ok(0) => break,
                Ok(more) => used = used.saturating_add(more),
                Err(()) => {
                    *context.malformed += 1;
                    self.is_lost[index] = true;
                }
            }
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        if self.is_lost == [true; 2] { Progress::Done } else { Progress::Used(0) }
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

fn short_text<'a>(scan: &mut Scan<'a>) -> Option<&'a [u8]> {
    let length = scan.u8()?;
    scan.take(length.into())
}

fn long_text<'a>(scan: &mut Scan<'a>) -> Option<&'a [u8]> {
    let length = scan.be32()?;
    scan.take(length as usize)
}

/// A text in a table of properties (AMQP 0-9-1 section 4.2.5.5), where everything before it is text too, or in
/// tables of their own.
fn property<'a>(table: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut scan = Scan::new(table);
    while !scan.is_empty() {
        let key = short_text(&mut scan)?;
        let value = match scan.u8()? {
            b'S' | b'F' | b'x' | b'A' => long_text(&mut scan)?,
            b't' | b'b' | b'B' => scan.take(1)?,
            b's' | b'u' => scan.take(2)?,
            b'I' | b'i' | b'f' => scan.take(4)?,
            b'l' | b'L' | b'd' | b'T' => scan.take(8)?,
            b'V' => &[],
            _ => return None,
        };
        if key == name {
            return Some(value);
        }
    }
    None
}

/// Product and version in a table of properties.
fn product(table: &[u8]) -> Option<String> {
    let product = property(table, b"product")?;
    let version = property(table, b"version").unwrap_or_default();
    Some(
        format!("{} {}", String::from_utf8_lossy(product), String::from_utf8_lossy(version))
            .trim_end()
            .to_owned(),
    )
}

impl Amqp {
    fn frame_0(&mut self, rest: &[u8], context: &mut Context<'_>) -> Result<usize, ()> {
        let Some((kind, channel, length)) = frame(rest) else { return Ok(0) };
        if !matches!(kind, 1..=3 | 8) || length > LENGTH_MAX {
            return Err(());
        }
        let size = FRAME_BYTES + length as usize + 1;
        if kind != 1 {
            return Ok(size);
        }
        let Some(payload) = rest.get(FRAME_BYTES..(size - 1).min(PAYLOAD_BYTES_MAX)) else { return Ok(0) };
        self.method(channel, payload, context);
        Ok(size)
    }

    fn method(&mut self, channel: u16, payload: &[u8], context: &mut Context<'_>) {
        let mut scan = Scan::new(payload);
        let (Some(class), Some(method)) = (scan.be16(), scan.be16()) else { return };
        let Some(name) = method_name(class, method) else {
            *context.malformed += 1;
            return;
        };
        context.metadata.add(Field::Command, name);
        let mut said = Arguments::default();
        if said.read((class, method), scan, context).is_none()
            && payload.len() < PAYLOAD_BYTES_MAX - FRAME_BYTES
        {
            *context.malformed += 1;
        }
        let Arguments { host, queue, exchange, key, reply } = said;
        for object in [host, queue, exchange, key].into_iter().flatten().filter(|object| !object.is_empty()) {
            context.metadata.add(Field::Object, &String::from_utf8_lossy(object));
        }
        if let Some((code, _)) = reply {
            context.metadata.add(Field::Status, &code.to_string());
        }
        // What only confirms is told by what it confirms.
        if matches!((class, method), (10, 20 | 21 | 30 | 31) | (60, 10 | 11 | 80 | 90 | 120))
            || name.ends_with("-ok") && queue.is_none() && key.is_none()
        {
            return;
        }
        let id = self.transactions;
        self.transactions += 1;
        context.tell(context.direction, Some(id), |object| {
            object.text("method", name).number("channel", channel);
            for (key, value) in
                [("vhost", host), ("queue", queue), ("exchange", exchange), ("routing_key", key)]
            {
                if let Some(value) = value {
                    object.bytes(key, value);
                }
            }
            if let Some((code, text)) = reply {
                object.number("reply_code", code).bytes("reply_text", text);
            }
        });
    }

    /// A frame of 1.0 (part 2.3): size, where the payload begins, kind, channel.
    fn frame_1(&mut self, rest: &[u8], context: &mut Context<'_>) -> Result<usize, ()> {
        let mut scan = Scan::new(rest);
        let (Some(size), Some(offset), Some(kind)) = (scan.be32(), scan.u8(), scan.u8()) else {
            return Ok(0);
        };
        if !(8..LENGTH_MAX).contains(&size) || offset < 2 || kind > 1 {
            return Err(());
        }
        let (size, start) = (size as usize, 4 * usize::from(offset));
        if start > size {
            return Err(());
        }
        let Some(payload) = rest.get(start..size.min(PAYLOAD_BYTES_MAX + start)) else { return Ok(0) };
        // A described list: its number, then its fields (part 1.6).
        if let [0, 0x53, number, list @ ..] = payload {
            let fields = match list {
                [0xc0, _, _, fields @ ..] => fields,
                [0xd0, _, _, _, _, _, _, _, _, fields @ ..] => fields,
                _ => &[],
            };
            self.performative(*number, fields, context);
        }
        Ok(size)
    }

    fn performative(&mut self, number: u8, fields: &[u8], context: &mut Context<'_>) {
        let mut fields = Scan::new(fields);
        let mut next = || {
            let length = match fields.u8()? {
                0xa0 | 0xa1 | 0xa3 => usize::from(fields.u8()?),
                0xb0 | 0xb1 | 0xb3 => fields.be32()? as usize,
                0x40 => 0,
                _ => return None,
            };
            fields.take(length)
        };
        match number {
            0x10 => {
                let (container, host) = (next(), next());
                if let Some(container) = container {
                    context.metadata.add(Field::EndpointName, &String::from_utf8_lossy(container));
                }
                let id = self.transactions;
                self.transactions += 1;
                context.tell(context.direction, Some(id), |object| {
                    object.text("method", "open");
                    for (key, value) in [("container_id", container), ("hostname", host)] {
                        if let Some(value) = value {
                            object.bytes(key, value);
                        }
                    }
                });
            }
            0x41 => {
                let (mechanism, response) = (next(), next());
                if mechanism == Some(b"PLAIN") {
                    learn_account(response.unwrap_or_default(), context);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};

    fn method(class: u16, method: u16, arguments: &[u8]) -> Vec<u8> {
        let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
        [&[1, 0, 1][..], &(payload.len() as u32).to_be_bytes(), &payload, &[FRAME_END]].concat()
    }

    fn client() -> Vec<u8> {
        let start_ok =
            [b"\0\0\0\x0e\x07productS\0\0\0\x01p\x05PLAIN\0\0\0\x06\0joe\0x".as_slice(), b"\x05en_US"]
                .concat();
        [b"AMQP\0\0\x09\x01".to_vec(), method(10, 11, &start_ok), method(60, 40, b"\0\0\x02ex\x03key\0")]
            .concat()
    }

    #[test]
    fn methods_are_told_with_what_they_are_about() {
        let trial = Trial::<Amqp>::new().client(&client());
        let learned = trial.learned();
        assert!(
            learned.contains(
                r#"amqp {"method":"basic.publish","channel":1,"exchange":"ex","routing_key":"key"}"#
            ),
            "{learned}"
        );
        assert_eq!((trial.text(Field::User), trial.text(Field::ClientSoftware)), ("joe", "p"));
        cuts_do_not_matter::<Amqp>(&client(), &method(60, 60, b"\x01c\0\0\0\0\0\0\0\0\0\x02ex\x03key"));
        survives_damage::<Amqp>(&client(), &client());
    }

    #[test]
    fn version_1_names_its_container() {
        let open = b"AMQP\0\x01\0\0\0\0\0\x16\x02\0\0\0\0\x53\x10\xc0\x09\x02\xa1\x02me\xa1\x02it";
        let trial = Trial::<Amqp>::new().client(open);
        assert_eq!(
            trial.event(),
            serde_json::json!({"method": "open", "container_id": "me", "hostname": "it"})
        );
        survives_damage::<Amqp>(open, b"");
    }

    #[test]
    fn headers_and_methods_are_recognised() {
        let probe = |bytes: &[u8]| Amqp::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(probe(&client()), Probe::Certain);
        assert_eq!(probe(b"AMQ"), Probe::Unsure);
        assert_eq!(probe(&method(60, 60, b"x")), Probe::Certain);
        assert_eq!(probe(&method(61, 60, b"x")), Probe::NotForUs);
        let whole = method(10, 10, &[0; 40]);
        for cut in 1..whole.len() {
            assert_eq!(probe(&whole[..cut]), Probe::Unsure, "{cut} bytes");
        }
        assert_eq!(probe(&whole), Probe::Certain);
        let most = FIRST_FRAME_BYTES_MAX as usize - 4;
        assert_eq!(probe(&method(60, 60, &vec![0; most])), Probe::Certain);
        assert_eq!(probe(&method(60, 60, &vec![0; most + 1])), Probe::NotForUs);
    }
}

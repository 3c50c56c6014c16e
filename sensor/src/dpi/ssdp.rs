//! Simple Service Discovery Protocol (UPnP Device Architecture 2.0 section 1): HTTP's form in datagrams.
//!
//! In: datagrams. Out: who searches for what, who offers what where, and one event per message. The
//! descriptions that locations point to pass as HTTP.

use crate::dpi::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;

/// Most header lines of a message that are read.
const LINES_MAX: usize = 64;

/// Headers that are told, and their keys.
const HEADERS: [(&str, &str); 13] = [
    ("host", "host"),
    ("st", "st"),
    ("nt", "nt"),
    ("nts", "nts"),
    ("usn", "usn"),
    ("location", "location"),
    ("server", "server"),
    ("user-agent", "user_agent"),
    ("man", "man"),
    ("mx", "mx"),
    ("cache-control", "cache_control"),
    ("bootid.upnp.org", "boot_id"),
    ("configid.upnp.org", "config_id"),
];

/// The dissector of one flow.
#[derive(Debug)]
pub(super) struct Ssdp {
    messages: u64,
}

impl Dissector for Ssdp {
    const APP: App = App::Ssdp;

    const STARTS: Starts = Starts::datagram(b"MNHm");

    fn probe(first: &First<'_>) -> Probe {
        const PORT: u16 = 1900;
        let bytes = first.bytes;
        if [&b"M-SEARCH * "[..], b"m-search * ", b"NOTIFY * "].iter().any(|start| bytes.starts_with(start)) {
            return Probe::Certain;
        }
        if !bytes.starts_with(b"HTTP/1.1 200") {
            return Probe::NotForUs;
        }
        let message = Message(bytes);
        let is_answer = message.header("st").is_some() && message.header("usn").is_some();
        if is_answer || first.has_port(PORT) { Probe::Certain } else { Probe::NotForUs }
    }

    fn new() -> Self {
        Ssdp { messages: 0 }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let transaction = self.messages;
        self.messages += 1;
        let message = Message(bytes);
        let Some((method, target)) = message.start() else {
            context.anomaly("malformed_message", Some(transaction));
            return Progress::Used(bytes.len());
        };
        let is_answer = method.starts_with("HTTP/");
        let metadata = &mut *context.metadata;
        if is_answer {
            if let Ok(status) = target.parse() {
                metadata.set_number(Field::HttpStatus, status);
            }
        } else {
            metadata.set_text(Field::HttpMethod, method);
            metadata.set_text(Field::HttpUri, target);
        }
        for (header, field) in
            [("host", Field::HttpHost), ("user-agent", Field::HttpUserAgent), ("server", Field::HttpServer)]
        {
            if let Some(value) = message.header(header) {
                metadata.set_bytes(field, value);
            }
        }
        for header in ["st", "nt"] {
            if let Some(value) = message.header(header) {
                metadata.add(Field::Object, &String::from_utf8_lossy(value));
            }
        }
        if let Some(location) = message.header("location") {
            metadata.add(Field::EndpointName, &String::from_utf8_lossy(location));
        }
        let direction = context.direction;
        context.tell(direction, Some(transaction), |object| {
            object.text("type", if is_answer { "response" } else { "request" });
            if !is_answer {
                object.text("method", method);
            }
            for (header, key) in HEADERS {
                if let Some(value) = message.header(header) {
                    object.bytes(key, value);
                }
            }
        });
        Progress::Used(bytes.len())
    }

    fn gap(&mut self, _: u64, _: &mut Context<'_>) -> Progress {
        Progress::Done
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

/// A message in HTTP's form.
struct Message<'a>(&'a [u8]);

impl<'a> Message<'a> {
    fn lines(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).take(LINES_MAX)
    }

    /// The two first words.
    fn start(&self) -> Option<(&'a str, &'a str)> {
        let line = std::str::from_utf8(self.lines().next()?).ok()?;
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        Some((words.next()?, words.next()?))
    }

    fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.lines().skip(1).take_while(|line| !line.is_empty()).find_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (key, value) = line.split_at_checked(colon)?;
            key.eq_ignore_ascii_case(name.as_bytes()).then(|| value.get(1..).unwrap_or_default().trim_ascii())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, survives_damaged_datagrams};
    use weir_common::net::Direction;

    const SEARCH: &[u8] =
        b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
        ST: urn:dial-multiscreen-org:service:dial:1\r\nUSER-AGENT: Chromium/100 Linux\r\n\r\n";
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nUSN: uuid:1::upnp:rootdevice\r\n\
        LOCATION: http://192.0.2.1:80/d.xml\r\nSERVER: Linux UPnP/1.0 x/1\r\n\r\n";

    #[test]
    fn searches_and_answers_are_told() {
        let trial = Trial::<Ssdp>::new().over_datagrams().client(SEARCH).server(ANSWER);
        assert_eq!(trial.text(Field::HttpUserAgent), "Chromium/100 Linux");
        assert_eq!(trial.text(Field::HttpServer), "Linux UPnP/1.0 x/1");
        let body = |at: usize| serde_json::from_slice::<serde_json::Value>(&trial.events[at].body).unwrap();
        let want = serde_json::json!({
            "type": "request", "method": "M-SEARCH", "host": "239.255.255.250:1900",
            "st": "urn:dial-multiscreen-org:service:dial:1", "user_agent": "Chromium/100 Linux",
            "man": "\"ssdp:discover\"", "mx": "1",
        });
        assert_eq!(body(0), want);
        assert_eq!(body(1)["location"], "http://192.0.2.1:80/d.xml");
        survives_damaged_datagrams::<Ssdp>(&[(Direction::Forward, SEARCH), (Direction::Reverse, ANSWER)]);
    }

    #[test]
    fn http_in_datagrams_is_discovery_only_with_its_headers() {
        let probe = |bytes: &[u8]| Ssdp::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes));
        assert_eq!(probe(SEARCH), Probe::Certain);
        assert_eq!(probe(ANSWER), Probe::Certain);
        assert_eq!(probe(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n"), Probe::NotForUs);
        assert_eq!(probe(b"NOTIFY sip:x SIP/2.0\r\n"), Probe::NotForUs);
    }
}

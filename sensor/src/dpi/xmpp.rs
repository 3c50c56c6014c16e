//! Extensible Messaging and Presence Protocol: how a stream begins (RFC 6120).
//!
//! In: both directions of a stream. Out: one event for the stream and how it was authenticated; the domain, the
//! account where it is said in the clear. What follows STARTTLS is another protocol's. What is said in the stream
//! is not read.

use super::scan;
use super::smtp::learn_account;
use super::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Most bytes of a stanza that are waited for; a longer one is passed over.
const STANZA_BYTES_MAX: usize = 16 << 10;
/// Most bytes of a side that are read before nothing more is expected.
const SIDE_BYTES_MAX: usize = 256 << 10;

/// The dissector of one stream.
#[derive(Debug, Default)]
pub(super) struct Xmpp {
    to: Option<String>,
    from: Option<String>,
    version: Option<String>,
    kind: Option<&'static str>,
    mechanism: Option<String>,
    outcome: Option<&'static str>,
    is_told: bool,
    passed: [usize; 2],
}

impl Dissector for Xmpp {
    const APP: App = App::Xmpp;

    const STARTS: Starts = Starts::stream(b"<");

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        let is_start = |start: &[u8]| {
            let length = start.len().min(bytes.len());
            bytes.get(..length) == start.get(..length)
        };
        if !is_start(b"<?xml ") && !is_start(b"<stream:stream") {
            return Probe::NotForUs;
        }
        // The tag stands near the start and names its spaces soon; what is behind that is not looked at.
        let head = bytes.get(..1024).unwrap_or(bytes);
        let start = head.get(..256).unwrap_or(head);
        match memchr::memmem::find(start, b"<stream:stream").and_then(|at| head.get(at..)) {
            Some(stream)
                if memchr::memmem::find(stream, b"http://etherx.jabber.org/streams").is_some()
                    || memchr::memmem::find(stream, b"jabber:").is_some() =>
            {
                Probe::Certain
            }
            Some(_) if bytes.len() < 1024 => Probe::Unsure,
            None if bytes.len() < 256 => Probe::Unsure,
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Xmpp::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            // A tag, with the text behind it.
            let Some(end) = memchr::memchr(b'>', rest) else {
                if rest.len() >= STANZA_BYTES_MAX {
                    used += rest.len();
                }
                break;
            };
            let tag = rest.get(..=end).unwrap_or(rest);
            let behind = rest.get(end + 1..).unwrap_or_default();
            let is_auth = tag.starts_with(b"<auth") && !tag.ends_with(b"/>");
            let text = match memchr::memchr(b'<', behind) {
                Some(at) => behind.get(..at).unwrap_or_default(),
                None if is_auth && rest.len() < STANZA_BYTES_MAX => break,
                None => b"",
            };
            used += end + 1;
            self.passed[index] += end + 1;
            match self.tag(tag, text, context) {
                After::Nothing => {}
                After::Tls => {
                    self.tell(context);
                    return Progress::Switch(used);
                }
                After::Session => {
                    self.tell(context);
                    return Progress::Done;
                }
            }
        }
        if self.passed[index] > SIDE_BYTES_MAX {
            self.tell(context);
            return Progress::Done;
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.tell(context);
        Progress::Done
    }

    fn close(&mut self, context: &mut Context<'_>) {
        self.tell(context);
    }
}

enum After {
    Nothing,
    Tls,
    Session,
}

/// The value of an attribute.
fn attribute(tag: &[u8], name: &str) -> Option<String> {
    let name = name.as_bytes();
    let at = memchr::memmem::find_iter(tag, name).find(|at| {
        let before = at.checked_sub(1).and_then(|before| tag.get(before));
        before.is_some_and(u8::is_ascii_whitespace) && tag.get(at + name.len()) == Some(&b'=')
    })?;
    let (quote, rest) = tag.get(at + name.len() + 1..)?.split_first()?;
    let end = memchr::memchr(*quote, rest).filter(|_| matches!(quote, b'"' | b'\''))?;
    rest.get(..end).map(|value| String::from_utf8_lossy(value).into_owned()).filter(|value| !value.is_empty())
}

impl Xmpp {
    fn tag(&mut self, tag: &[u8], text: &[u8], context: &mut Context<'_>) -> After {
        let is_client = context.direction == Direction::Forward;
        if tag.starts_with(b"<stream:stream") {
            let (to, from) = (attribute(tag, "to"), attribute(tag, "from"));
            if is_client {
                if let Some(to) = &to {
                    context.metadata.set_text(Field::Domain, to);
                }
                if let Some(from) = &from {
                    context.metadata.add(Field::EndpointName, from);
                }
                (self.to, self.from) = (to, from);
                self.version = attribute(tag, "version");
                self.kind = Some(if memchr::memmem::find(tag, b"jabber:server").is_some() {
                    "server"
                } else {
                    "client"
                });
                if let Some(version) = &self.version {
                    context.metadata.set_text(Field::Version, version);
                }
            } else if let Some(from) = from {
                context.metadata.set_text(Field::Domain, &from);
                self.to.get_or_insert(from);
            }
        } else if is_client && tag.starts_with(b"<auth") {
            self.mechanism = attribute(tag, "mechanism");
            if self.mechanism.as_deref() == Some("PLAIN") {
                learn_account(&scan::base64(text), context);
            }
        } else if tag.starts_with(b"<username") {
            // How it was before SASL (XEP-0078).
            if is_client && !text.is_empty() {
                context.metadata.add(Field::User, &String::from_utf8_lossy(text));
            }
        } else if !is_client && tag.starts_with(b"<proceed") {
            self.outcome = Some("tls");
            return After::Tls;
        } else if !is_client && tag.starts_with(b"<success") {
            self.outcome = Some("authenticated");
            return After::Session;
        } else if !is_client && tag.starts_with(b"<failure") {
            self.outcome = Some("refused");
            context.metadata.add(Field::Status, "failure");
        } else if tag.starts_with(b"<message") || tag.starts_with(b"<presence") {
            return After::Session;
        }
        After::Nothing
    }

    fn tell(&mut self, context: &mut Context<'_>) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        context.tell(Direction::Forward, Some(0), |object| {
            object
                .text_if("kind", self.kind)
                .text_if("to", self.to.as_deref())
                .text_if("from", self.from.as_deref());
            object
                .text_if("version", self.version.as_deref())
                .text_if("mechanism", self.mechanism.as_deref());
            object.text_if("outcome", self.outcome);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};

    const OPEN: &[u8] = b"<?xml version='1.0'?><stream:stream to='example.com' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

    #[test]
    fn a_stream_that_begins_late_is_none_wherever_it_was_cut_off() {
        let probe = |bytes: &[u8]| Xmpp::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        let stream = "<stream:stream xmlns='jabber:client'>";
        for (blanks, expected) in [(256 - 20 - 14, Probe::Certain), (256 - 20 - 13, Probe::NotForUs)] {
            let text = format!("<?xml version='1.0'?{}{stream}", " ".repeat(blanks));
            assert_eq!(probe(&text.as_bytes()[..255]), Probe::Unsure);
            assert_eq!(probe(text.as_bytes()), expected, "{blanks}");
            assert_eq!(probe(&[text.as_bytes(), stream.as_bytes()].concat()), expected, "{blanks}");
        }
    }

    #[test]
    fn a_stream_is_told_with_how_it_was_authenticated() {
        let client =
            [OPEN, b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGpvZQB4</auth>"]
                .concat();
        let server = b"<stream:stream from='example.com' xmlns='jabber:client'><success xmlns='x'/>";
        let trial = Trial::<Xmpp>::new().client(&client).server(server);
        assert_eq!(
            trial.event(),
            serde_json::json!({"kind": "client", "to": "example.com", "version": "1.0", "mechanism": "PLAIN", "outcome": "authenticated"})
        );
        assert_eq!((trial.text(Field::User), trial.end), ("joe", Some(Progress::Done)));
        cuts_do_not_matter::<Xmpp>(&client, server);
        survives_damage::<Xmpp>(&client, server);
    }

    #[test]
    fn tls_follows_proceed() {
        let trial = Trial::<Xmpp>::new().client(OPEN).client(b"<starttls/>").server(b"<proceed xmlns='x'/>");
        assert_eq!(trial.end, Some(Progress::Switch(20)));
    }

    #[test]
    fn streams_are_recognised_and_other_documents_are_not() {
        let probe = |bytes: &[u8]| Xmpp::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(probe(OPEN), Probe::Certain);
        assert_eq!(probe(b"<?xml version='1.0'?>"), Probe::Unsure);
        assert_eq!(probe(b"<html>"), Probe::NotForUs);
    }
}

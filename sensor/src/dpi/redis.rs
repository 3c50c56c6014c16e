//! Redis serialization protocol (RESP2 and RESP3, redis.io "Redis serialization protocol specification").
//!
//! In: both directions of a stream. Out: one event per command with its key and what kind of reply came; account
//! and commands in metadata. Values are not told, nor are passwords.

use super::scan::{self, decimal, line};
use super::{Context, Dissector, First, Probe, Progress, Starts};
use std::collections::VecDeque;
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Longest line that is waited for; longer is not RESP.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Most bytes of a string that are looked at; the rest passes.
const STRING_BYTES_MAX: usize = 256;
/// Most commands whose replies are awaited.
const PENDING_MAX: usize = 256;
/// Most strings kept of a command.
const WORDS_MAX: usize = 4;
/// Longest name of a command.
const NAME_BYTES_MAX: usize = 24;
const PORT: u16 = 6379;
/// Longest first line by which a stream is recognised, with its end.
const FIRST_LINE_BYTES_MAX: usize = 128;
/// What a server that wants a password says first.
const REFUSALS: [&[u8]; 2] = [b"-NOAUTH ", b"-WRONGPASS "];

/// The dissector of one session.
#[derive(Debug, Default)]
pub(super) struct Redis {
    sides: [Side; 2],
    words: Vec<Vec<u8>>,
    pending: VecDeque<(Vec<u8>, Option<Vec<u8>>)>,
    reply: Option<Reply>,
    transactions: u64,
    /// Commands that are not answered (CLIENT REPLY): none from now on, or so many.
    is_silent: bool,
    unanswered: u8,
}

#[derive(Debug, Default)]
struct Side {
    /// Elements of a value that are still to come.
    outstanding: u64,
    is_lost: bool,
}

/// The kind of a reply, and the text of a status or an error.
type Reply = (&'static str, Option<Vec<u8>>);

/// The next element of a value.
struct Element<'a> {
    kind: u8,
    /// A line, or the beginning of a string.
    text: &'a [u8],
    /// Elements that it announces.
    inner: u64,
    used: usize,
}

/// None: it is not there yet. Err: it is not RESP.
fn element(rest: &[u8]) -> Result<Option<Element<'_>>, ()> {
    let Some((text, used)) = line(rest) else {
        return if rest.len() < LINE_BYTES_MAX { Ok(None) } else { Err(()) };
    };
    let Some((kind, text)) = text.split_first() else { return Err(()) };
    let whole = Element { kind: *kind, text, inner: 0, used };
    let number = || if text.starts_with(b"-1") { Ok(None) } else { decimal(text).map(Some).ok_or(()) };
    match kind {
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => Ok(Some(whole)),
        b'*' | b'~' | b'>' => Ok(Some(Element { inner: number()?.unwrap_or(0), ..whole })),
        b'%' => Ok(Some(Element { inner: number()?.unwrap_or(0).saturating_mul(2), ..whole })),
        b'|' => {
            Ok(Some(Element { inner: number()?.unwrap_or(0).saturating_mul(2).saturating_add(1), ..whole }))
        }
        b'$' | b'=' | b'!' => {
            let Some(length) = number()? else { return Ok(Some(Element { kind: b'_', ..whole })) };
            let length = usize::try_from(length).map_err(drop)?;
            let size = used.saturating_add(length).saturating_add(2);
            let Some(text) = rest.get(used..used + length.min(STRING_BYTES_MAX)) else { return Ok(None) };
            if length <= STRING_BYTES_MAX && rest.len() < size {
                return Ok(None);
            }
            Ok(Some(Element { text, used: size, ..whole }))
        }
        _ => Err(()),
    }
}

impl Dissector for Redis {
    const APP: App = App::Redis;

    const STARTS: Starts = Starts::stream(b"*+-$:%ACDEGHIKLMPRSTacdeghiklmprst");

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        if bytes.first() == Some(&b'*') {
            let digits = |from: usize| {
                bytes
                    .get(from..)
                    .unwrap_or_default()
                    .iter()
                    .take(8)
                    .take_while(|byte| byte.is_ascii_digit())
                    .count()
            };
            let count = digits(1);
            let after = 1 + count;
            let mark = bytes.get(after..).unwrap_or_default();
            if count == 0 && bytes.len() > 1 || !b"\r\n$".starts_with(mark.get(..3).unwrap_or(mark)) {
                return Probe::NotForUs;
            }
            let at = after + 3;
            let length = digits(at);
            let Some(name) = bytes.get(at + length..).and_then(|rest| rest.strip_prefix(b"\r\n")) else {
                return if bytes.len() < at + 12 { Probe::Unsure } else { Probe::NotForUs };
            };
            let Some(length) =
                bytes.get(at..at + length).and_then(decimal).and_then(|length| usize::try_from(length).ok())
            else {
                return Probe::NotForUs;
            };
            let is_name = length > 0
                && length <= NAME_BYTES_MAX
                && name
                    .iter()
                    .take(length)
                    .all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'.' | b'_' | b'-'));
            return match name.get(length..) {
                Some(rest) if is_name && rest.starts_with(b"\r\n") => Probe::Certain,
                Some(rest) if is_name && rest.len() < 2 => Probe::Unsure,
                None if is_name => Probe::Unsure,
                _ => Probe::NotForUs,
            };
        }
        let is_refusal =
            REFUSALS.iter().any(|refusal| bytes.starts_with(refusal) || refusal.starts_with(bytes));
        let Some((text, used)) = line(bytes) else {
            let may_end = bytes.len() < FIRST_LINE_BYTES_MAX && (is_refusal || first.has_port(PORT));
            return if may_end { Probe::Unsure } else { Probe::NotForUs };
        };
        if is_refusal && used <= FIRST_LINE_BYTES_MAX {
            return Probe::Certain;
        }
        // A command as a line of words.
        let (word, _) = scan::word(text);
        let is_word =
            word.len() >= 3 && word.len() <= NAME_BYTES_MAX && word.iter().all(u8::is_ascii_alphabetic);
        if is_word && first.destination_port == PORT && scan::is_text(text) {
            return Probe::Likely;
        }
        let is_element = element(bytes).is_ok() && scan::is_text(text);
        if is_element && first.has_port(PORT) { Probe::Likely } else { Probe::NotForUs }
    }

    fn new() -> Self {
        Redis::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if self.sides[index].is_lost {
                return Progress::Used(bytes.len());
            }
            if context.direction == Direction::Forward
                && self.sides[0].outstanding == 0
                && rest.first() != Some(&b'*')
            {
                match line(rest) {
                    Some((text, more)) => {
                        self.inline(text, context);
                        used += more;
                        continue;
                    }
                    None if rest.len() < LINE_BYTES_MAX => break,
                    None => {}
                }
            }
            match element(rest) {
                Ok(Some(element)) => {
                    used = used.saturating_add(element.used);
                    self.take(&element, context);
                }
                Ok(None) => break,
                Err(()) => {
                    *context.malformed += 1;
                    self.sides[index].is_lost = true;
                }
            }
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.sides[context.direction.index()].is_lost = true;
        if self.sides.iter().all(|side| side.is_lost) { Progress::Done } else { Progress::Used(0) }
    }

    fn close(&mut self, context: &mut Context<'_>) {
        while !self.pending.is_empty() {
            self.answered(None, context);
        }
    }
}

impl Redis {
    /// A command as a line of words.
    fn inline(&mut self, text: &[u8], context: &mut Context<'_>) {
        self.words = text
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .take(WORDS_MAX)
            .map(<[u8]>::to_vec)
            .collect();
        self.command(context);
    }

    fn take(&mut self, element: &Element<'_>, context: &mut Context<'_>) {
        let side = &mut self.sides[context.direction.index()];
        let is_first = side.outstanding == 0;
        side.outstanding = side.outstanding.saturating_sub(1).saturating_add(element.inner);
        let is_last = side.outstanding == 0;
        if context.direction == Direction::Forward {
            if matches!(element.kind, b'$' | b'+' | b':') && self.words.len() < WORDS_MAX {
                self.words.push(element.text.to_vec());
            }
            if is_last {
                self.command(context);
            }
            return;
        }
        if is_first {
            let kind = match element.kind {
                b'+' => "status",
                b'-' | b'!' => "error",
                b':' | b'(' => "integer",
                b'_' => "null",
                b'#' => "boolean",
                b',' => "double",
                b'$' | b'=' => "string",
                b'>' => "push",
                b'%' | b'|' => "map",
                _ => "array",
            };
            let text = matches!(element.kind, b'+' | b'-' | b'!').then(|| element.text.to_vec());
            self.reply = Some((kind, text));
        }
        if is_last {
            let reply = self.reply.take();
            if reply.as_ref().is_some_and(|(kind, _)| *kind == "push") {
                return;
            }
            self.answered(reply, context);
        }
    }

    fn command(&mut self, context: &mut Context<'_>) {
        let mut words = std::mem::take(&mut self.words).into_iter();
        let Some(name) = words.next() else { return };
        let name = name.get(..NAME_BYTES_MAX).unwrap_or(&name).to_ascii_uppercase();
        context.metadata.add(Field::Command, &String::from_utf8_lossy(&name));
        let (first, second, third) = (words.next(), words.next(), words.next());
        let mut key = first;
        match &name[..] {
            b"AUTH" => {
                // With one word it is the password.
                key = key.filter(|_| second.is_some());
                if let Some(user) = &key {
                    context.metadata.add(Field::User, &String::from_utf8_lossy(user));
                }
            }
            b"HELLO" => {
                if let Some(user) =
                    third.filter(|_| second.is_some_and(|word| word.eq_ignore_ascii_case(b"AUTH")))
                {
                    context.metadata.add(Field::User, &String::from_utf8_lossy(&user));
                }
            }
            b"SELECT" | b"SUBSCRIBE" | b"PSUBSCRIBE" | b"PUBLISH" => {
                if let Some(key) = &key {
                    context.metadata.add(Field::Object, &String::from_utf8_lossy(key));
                }
            }
            b"CLIENT" if key.as_ref().is_some_and(|word| word.eq_ignore_ascii_case(b"REPLY")) => {
                let mode = second.unwrap_or_default().to_ascii_uppercase();
                self.is_silent = mode == b"OFF";
                // This one and the next.
                self.unanswered = if mode == b"SKIP" { 2 } else { 0 };
            }
            b"CLIENT" => {
                if key.as_ref().is_some_and(|word| word.eq_ignore_ascii_case(b"SETNAME"))
                    && let Some(client) = second
                {
                    context.metadata.set_bytes(Field::ClientSoftware, &client);
                }
            }
            _ => {}
        }
        if self.pending.len() >= PENDING_MAX {
            self.answered(None, context);
        }
        if self.is_silent || self.unanswered > 0 {
            self.unanswered = self.unanswered.saturating_sub(1);
            self.tell(&name, key.as_deref(), None, context);
            return;
        }
        self.pending.push_back((name, key));
    }

    fn answered(&mut self, reply: Option<Reply>, context: &mut Context<'_>) {
        if let Some((name, key)) = self.pending.pop_front() {
            self.tell(&name, key.as_deref(), reply, context);
        }
    }

    fn tell(&mut self, name: &[u8], key: Option<&[u8]>, reply: Option<Reply>, context: &mut Context<'_>) {
        let id = self.transactions;
        self.transactions += 1;
        if let Some(("error", Some(text))) = &reply {
            context.metadata.add(Field::Status, &String::from_utf8_lossy(scan::word(text).0));
        }
        context.tell(Direction::Forward, Some(id), |object| {
            object.bytes("command", name);
            if let Some(key) = key {
                object.bytes("key", key);
            }
            if let Some((kind, text)) = &reply {
                let mut response = object.object("response");
                response.text("type", kind);
                if let Some(text) = text {
                    response.bytes("text", text);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};

    const CLIENT: &[u8] = b"*3\r\n$4\r\nAUTH\r\n$3\r\njoe\r\n$1\r\nx\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n*1\r\n$4\r\nKEYS\r\n";
    const SERVER: &[u8] = b"+OK\r\n$3\r\nabc\r\n-ERR no\r\n*2\r\n$1\r\na\r\n*1\r\n:1\r\n";

    #[test]
    fn commands_are_told_with_the_kind_of_their_replies() {
        let trial = Trial::<Redis>::new().client(CLIENT).server(SERVER).close();
        let learned = trial.learned();
        assert_eq!(trial.text(Field::User), "joe");
        assert!(
            learned.contains(r#"redis {"command":"GET","key":"k","response":{"type":"string"}}"#),
            "{learned}"
        );
        assert!(
            learned.contains(r#"redis {"command":"PING","response":{"type":"error","text":"ERR no"}}"#),
            "{learned}"
        );
        assert!(learned.contains(r#"redis {"command":"KEYS","response":{"type":"array"}}"#), "{learned}");
        cuts_do_not_matter::<Redis>(CLIENT, SERVER);
    }

    #[test]
    fn commands_that_are_not_answered_take_no_answer() {
        let client =
            b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$4\r\nSKIP\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nINFO\r\n";
        let trial = Trial::<Redis>::new().client(client).server(b"$1\r\nx\r\n");
        assert!(
            trial.learned().ends_with("{\"command\":\"INFO\",\"response\":{\"type\":\"string\"}}\n"),
            "{}",
            trial.learned()
        );
    }

    #[test]
    fn long_values_pass() {
        let set = [
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n".as_slice(),
            &vec![b'x'; 100_000],
            b"\r\n*1\r\n$4\r\nPING\r\n",
        ]
        .concat();
        let trial = Trial::<Redis>::new();
        let trial = set.chunks(1000).fold(trial, |trial, bytes| trial.client(bytes)).close();
        assert_eq!(trial.text(Field::Command), "SET");
        assert_eq!(trial.events.len(), 2);
    }

    #[test]
    fn commands_are_recognised_and_replies_by_port() {
        let probe = |bytes: &[u8], port| {
            Redis::probe(&First::of(Carrier::Stream, Direction::Forward, bytes).between(port, 4000))
        };
        assert_eq!(probe(CLIENT, 9), Probe::Certain);
        assert_eq!(probe(&CLIENT[..9], 9), Probe::Unsure);
        assert_eq!(probe(b"* OK IMAP\r\n", 9), Probe::NotForUs);
        assert_eq!(probe(b"+OK\r\n", PORT), Probe::Likely);
        assert_eq!(probe(b"+OK\r\n", 110), Probe::NotForUs);
        let refusal = b"-NOAUTH Authentication required.\r\n";
        for cut in 1..refusal.len() {
            assert_eq!(probe(&refusal[..cut], 9), Probe::Unsure, "{cut} bytes");
        }
        assert_eq!(probe(refusal, 9), Probe::Certain);
        let text = |bytes| [b"-NOAUTH ".as_slice(), &vec![b'x'; bytes - 10], b"\r\n"].concat();
        assert_eq!(probe(&text(FIRST_LINE_BYTES_MAX), 9), Probe::Certain);
        assert_eq!(probe(&text(FIRST_LINE_BYTES_MAX + 1), 9), Probe::NotForUs);
        survives_damage::<Redis>(CLIENT, SERVER);
    }
}

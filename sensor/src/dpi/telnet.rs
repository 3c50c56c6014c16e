//! Telnet (RFC 854), recognised by its option negotiation.
//!
//! In: both directions of a stream. Out: the terminal's kind, the account that is typed at a prompt or given by
//! NEW-ENVIRON (RFC 1572), and one event per session. EVE has no such event. Passwords are never read: what
//! is typed behind a prompt for one is passed over.

use super::buffers::{Buffer, Frame};
use super::wire::is_text;
use super::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

const PORTS: [u16; 2] = [23, 2323];
/// Most bytes of a sub-negotiation that is waited for.
const OPTION_BYTES_MAX: usize = 512;
/// Most bytes kept of the server's last line, and of what the client types.
const LINE_BYTES_MAX: usize = 64;
/// Bytes of both directions after which a session is left alone: logins come first.
const SESSION_BYTES_MAX: usize = 64 << 10;

/// What asks for an account.
const PROMPTS: [&[u8]; 4] = [b"login:", b"username:", b"user:", b"user name:"];

const IAC: u8 = 255;
const SUB_BEGIN: u8 = 250;
const SUB_END: u8 = 240;
const WILL: u8 = 251;
const DONT: u8 = 254;
const TERMINAL_TYPE: u8 = 24;
const NEW_ENVIRON: u8 = 39;
const IS: u8 = 0;

/// State of a Telnet session.
#[derive(Debug)]
pub(super) struct Telnet {
    /// The last text of each side, without options.
    lines: [Vec<u8>; 2],
    /// Which side asks for an account.
    prompt: Option<Direction>,
    seen_bytes: usize,
    terminal: Option<String>,
    user: Option<String>,
    is_told: bool,
    /// By direction, the frames of a line of text that is not over.
    frames: [[Option<u64>; 2]; 2],
}

/// What stands behind the commands that the bytes begin with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    Nothing,
    /// The beginning of another, as far as it can be told.
    Cut,
    Other,
}

/// How many commands of options the bytes begin with; one that is not over counts once it names its option.
fn commands(bytes: &[u8]) -> (usize, Behind) {
    /// Highest option number assigned, besides the extended list.
    const OPTION_MAX: u8 = 49;
    let (mut rest, mut count) = (bytes, 0);
    loop {
        match rest {
            [IAC, WILL..=DONT, 0..=OPTION_MAX | 138..=141 | 255, after @ ..] => rest = after,
            [IAC, SUB_BEGIN, 0..=OPTION_MAX, ..] => {
                let option = rest.get(..OPTION_BYTES_MAX).unwrap_or(rest);
                let Some(end) = memchr::memmem::find(option, &[IAC, SUB_END]) else {
                    let is_cut = option.len() < OPTION_BYTES_MAX;
                    return (count + 1, if is_cut { Behind::Cut } else { Behind::Other });
                };
                rest = rest.get(end + 2..).unwrap_or_default();
            }
            [] => return (count, Behind::Nothing),
            [IAC] | [IAC, SUB_BEGIN..=DONT] => return (count, Behind::Cut),
            _ => return (count, Behind::Other),
        }
        count += 1;
    }
}

impl Dissector for Telnet {
    const APP: App = App::Telnet;

    const STARTS: Starts = Starts::stream(&[IAC]);

    fn probe(first: &First<'_>) -> Probe {
        let has_port = first.has_port_of(&PORTS);
        match (commands(first.bytes), has_port) {
            ((1.., _), true) | ((3.., _), _) | ((2, Behind::Nothing), _) => Probe::Certain,
            // One command alone is three bytes that anything may begin with.
            ((1, Behind::Nothing), false) => Probe::Likely,
            ((_, Behind::Cut), _) => Probe::Unsure,
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Telnet {
            lines: Default::default(),
            prompt: None,
            seen_bytes: 0,
            terminal: None,
            user: None,
            is_told: false,
            frames: [[None; 2]; 2],
        }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let mut rest = bytes;
        while let Some(byte) = rest.first() {
            if *byte != IAC {
                if context.wanted.is_some() {
                    self.frame_text(*byte, context);
                }
                self.text(*byte, context);
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let used = match rest {
                [_, SUB_BEGIN, ..] => match memchr::memmem::find(rest, &[IAC, SUB_END]) {
                    Some(end) => {
                        self.option(rest.get(2..end).unwrap_or_default(), context);
                        end + 2
                    }
                    None if rest.len() > OPTION_BYTES_MAX => 2,
                    None => break,
                },
                [_, WILL..=DONT, _, ..] => 3,
                [_, WILL..=DONT] | [_] => break,
                _ => 2,
            };
            if context.wanted.is_some() {
                self.end_text_frames(context.direction, context);
            }
            let command = rest.get(..used).unwrap_or(rest);
            context.frame(Buffer::FrameTelnetPdu, None, command);
            context.frame(Buffer::FrameTelnetCtl, None, command);
            rest = rest.get(used..).unwrap_or_default();
        }
        let used = bytes.len() - rest.len();
        self.seen_bytes = self.seen_bytes.saturating_add(used);
        if self.seen_bytes > SESSION_BYTES_MAX {
            self.tell(context);
            return Progress::Done;
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.lines[context.direction.index()].clear();
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        for direction in [Direction::Forward, Direction::Reverse] {
            self.end_text_frames(direction, context);
        }
        self.tell(context);
    }
}

impl Telnet {
    /// One byte of the frames of text: a line is one, with its end.
    fn frame_text(&mut self, byte: u8, context: &mut Context<'_>) {
        let open = &mut self.frames[context.direction.index()];
        for (open, buffer) in open.iter_mut().zip([Buffer::FrameTelnetPdu, Buffer::FrameTelnetData]) {
            if open.is_none() {
                *open = context.begin_frame(buffer, Frame::default());
            }
            if let Some(number) = *open {
                context.frame_bytes(number, &[byte]);
            }
        }
        if byte == b'\n' {
            self.end_text_frames(context.direction, context);
        }
    }

    fn end_text_frames(&mut self, direction: Direction, context: &mut Context<'_>) {
        for open in &mut self.frames[direction.index()] {
            if let Some(number) = open.take() {
                context.end_frame(number);
            }
        }
    }

    /// One byte of text. The client is who answers a prompt; what is echoed meanwhile does not matter.
    fn text(&mut self, byte: u8, context: &mut Context<'_>) {
        let (own, other) = (context.direction.index(), context.direction.flip().index());
        match byte {
            b'\r' | b'\n' | 0 => {
                let line = std::mem::take(&mut self.lines[own]);
                if self.prompt == Some(context.direction.flip()) && !line.is_empty() {
                    self.prompt = None;
                    if is_text(&line) {
                        let user = String::from_utf8_lossy(&line).trim().to_string();
                        context.metadata.add(Field::User, &user);
                        self.user.get_or_insert(user);
                    }
                }
            }
            // What is typed may be corrected.
            8 | 127 => drop(self.lines[own].pop()),
            byte => {
                let line = &mut self.lines[own];
                if line.len() >= LINE_BYTES_MAX {
                    line.remove(0);
                }
                line.push(byte);
                if byte == b':' {
                    let is_login = PROMPTS.iter().any(|prompt| {
                        let start = line.len().checked_sub(prompt.len());
                        start
                            .and_then(|start| line.get(start..))
                            .is_some_and(|end| end.eq_ignore_ascii_case(prompt))
                    });
                    self.prompt = is_login.then_some(context.direction);
                    self.lines[other].clear();
                }
            }
        }
    }

    fn option(&mut self, option: &[u8], context: &mut Context<'_>) {
        const VAR: u8 = 0;
        const VALUE: u8 = 1;
        match option {
            [TERMINAL_TYPE, IS, name @ ..] if is_text(name) => {
                let name = String::from_utf8_lossy(name).into_owned();
                context.metadata.set_text(Field::ClientSoftware, &name);
                self.terminal = Some(name);
            }
            [NEW_ENVIRON, IS, variables @ ..] => {
                let Some(value) = variables.strip_prefix(&[VAR, b'U', b'S', b'E', b'R', VALUE]) else {
                    return;
                };
                let end = value.iter().position(|byte| *byte < 4).unwrap_or(value.len());
                let user = String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned();
                if !user.is_empty() {
                    context.metadata.add(Field::User, &user);
                    self.user = Some(user);
                }
            }
            _ => {}
        }
    }

    fn tell(&mut self, context: &mut Context<'_>) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        context.tell(Direction::Forward, Some(0), |object| {
            object.text_if("terminal_type", self.terminal.as_deref()).text_if("user", self.user.as_deref());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, survives_damage};

    const CLIENT: &[u8] = b"\xff\xfb\x18\xff\xfa\x18\0xterm\xff\xf0";
    const SERVER: &[u8] = b"\xff\xfd\x18\xff\xfb\x01Welcome\r\nlogin: ";

    #[test]
    fn terminal_and_account_are_told_and_no_password() {
        let trial = Trial::<Telnet>::new().server(SERVER).client(CLIENT).client(b"bo").client(b"b\r\0");
        let trial =
            trial.server(b"bob\r\nPassword: ").client(b"secret\r\0").server(b"$ ").client(b"ls\r\0").close();
        assert_eq!(
            trial.learned(),
            "client_software xterm\nuser bob\ntelnet {\"terminal_type\":\"xterm\",\"user\":\"bob\"}\n"
        );
        survives_damage::<Telnet>(CLIENT, SERVER);
    }

    #[test]
    fn signatures_are_told_commands_and_lines_as_frames() {
        let mut trial =
            Trial::<Telnet>::new().server(SERVER).client(b"l").client(b"s\r").client(b"\n").close();
        assert_eq!(
            trial.framed(),
            "server frame:telnet.pdu \\xff\\xfd\\x18\nserver frame:telnet.ctl \\xff\\xfd\\x18\n\
            server frame:telnet.pdu \\xff\\xfb\\x01\nserver frame:telnet.ctl \\xff\\xfb\\x01\n\
            server frame:telnet.pdu Welcome\\r\\n\nserver frame:telnet.data Welcome\\r\\n\n\
            server frame:telnet.pdu login: \nserver frame:telnet.data login: \n\
            client frame:telnet.pdu ls\\r\\n\nclient frame:telnet.data ls\\r\\n\n"
        );
    }

    #[test]
    fn an_echo_does_not_hide_the_prompt() {
        let trial = Trial::<Telnet>::new().server(b"login: ");
        let trial = b"bob".iter().fold(trial, |trial, byte| trial.client(&[*byte]).server(&[*byte]));
        assert_eq!(trial.client(b"\r\n").close().text(Field::User), "bob");
        let environment = b"\xff\xfa\x27\0\0USER\x01eve\xff\xf0";
        assert_eq!(Trial::<Telnet>::new().client(environment).close().text(Field::User), "eve");
    }

    #[test]
    fn negotiation_tells() {
        let probe = |bytes: &[u8], port| {
            Telnet::probe(&First::of(Carrier::Stream, Direction::Reverse, bytes).between(port, 40_000))
        };
        assert_eq!(
            (probe(SERVER, 9), probe(CLIENT, 9), probe(&SERVER[..3], 23)),
            (Probe::NotForUs, Probe::Certain, Probe::Certain)
        );
        assert_eq!((probe(&SERVER[..3], 9), probe(&SERVER[..6], 9)), (Probe::Likely, Probe::Certain));
        assert_eq!((probe(b"\xff", 23), probe(b"\xff\xd8\xff", 23)), (Probe::Unsure, Probe::NotForUs));
        // Wherever it is cut, in a command or in an option's value.
        let one_and_value = b"\xff\xfd\x18\xff\xfa\x18\x00ansi\xff\xf0\xff\xfb\x03";
        let said: Vec<Probe> = (1..=one_and_value.len()).map(|to| probe(&one_and_value[..to], 9)).collect();
        assert!(!said.contains(&Probe::NotForUs), "{said:?}");
        assert_eq!(said.last(), Some(&Probe::Certain));
        let value = |bytes| [b"\xff\xfa\x18".as_slice(), &vec![0; bytes - 3]].concat();
        assert_eq!(probe(&value(OPTION_BYTES_MAX - 1), 9), Probe::Unsure);
        assert_eq!(probe(&value(OPTION_BYTES_MAX), 9), Probe::NotForUs);
        // What was too long to wait for is so when its end comes as well.
        let ended = [value(OPTION_BYTES_MAX), b"\xff\xf0\xff\xfb\x03\xff\xfb\x01".to_vec()].concat();
        assert_eq!(probe(&ended, 9), Probe::NotForUs);
    }
}

//! `http2.*`, `websocket.*`, `ftp.*`, `ftpbounce` and `ftpdata_command`: numbers that have names, or of which a
//! transaction has several.

use crate::dpi::buffers::{Number, Side, Wanted};
use crate::signatures::packet::{UintTest, UintsTest, Width};

/// A test of one of these keywords.
#[derive(Debug)]
pub(in crate::signatures) enum Test {
    /// Any of the numbers passes.
    Any(Number, UintTest),
    Several(Number, UintsTest),
    /// A setting of this number, and what its value must be.
    Setting(u64, Option<UintTest>),
}

type Names = &'static [(&'static str, u64)];

/// How a keyword's value is read.
type Read = Box<dyn FnOnce(&str) -> Result<Test, String>>;

/// RFC 9113 section 6.
const FRAMES: Names = &[
    ("DATA", 0),
    ("HEADERS", 1),
    ("PRIORITY", 2),
    ("RST_STREAM", 3),
    ("RSTSTREAM", 3),
    ("SETTINGS", 4),
    ("PUSH_PROMISE", 5),
    ("PUSHPROMISE", 5),
    ("PING", 6),
    ("GOAWAY", 7),
    ("WINDOW_UPDATE", 8),
    ("WINDOWUPDATE", 8),
    ("CONTINUATION", 9),
];

/// RFC 9113 section 7; the last also as Suricata's events spell it.
const ERRORS: Names = &[
    ("NO_ERROR", 0),
    ("PROTOCOL_ERROR", 1),
    ("INTERNAL_ERROR", 2),
    ("FLOW_CONTROL_ERROR", 3),
    ("SETTINGS_TIMEOUT", 4),
    ("STREAM_CLOSED", 5),
    ("FRAME_SIZE_ERROR", 6),
    ("REFUSED_STREAM", 7),
    ("CANCEL", 8),
    ("COMPRESSION_ERROR", 9),
    ("CONNECT_ERROR", 10),
    ("ENHANCE_YOUR_CALM", 11),
    ("INADEQUATE_SECURITY", 12),
    ("HTTP_1_1_REQUIRED", 13),
    ("HTTP11_REQUIRED", 13),
];

/// RFC 9113 section 6.5.2 and RFC 8441.
const SETTINGS: Names = &[
    ("SETTINGS_HEADER_TABLE_SIZE", 1),
    ("SETTINGS_ENABLE_PUSH", 2),
    ("SETTINGS_MAX_CONCURRENT_STREAMS", 3),
    ("SETTINGS_INITIAL_WINDOW_SIZE", 4),
    ("SETTINGS_MAX_FRAME_SIZE", 5),
    ("SETTINGS_MAX_HEADER_LIST_SIZE", 6),
    ("SETTINGS_ENABLE_CONNECT_PROTOCOL", 8),
];

/// RFC 6455 section 11.8.
const OPCODES: Names = &[
    ("continuation", 0),
    ("text", 1),
    ("binary", 2),
    ("connection_close", 8),
    ("close", 8),
    ("ping", 9),
    ("pong", 10),
];

/// Reads an option; none: it is none of these keywords.
pub(super) fn option<'v>(
    name: &str,
    value: impl FnOnce() -> Result<&'v str, String>,
) -> Option<Result<Test, String>> {
    let several = |number, width, names: Names| {
        move |value: &str| UintsTest::parse_named(value, width, names).map(|test| Test::Several(number, test))
    };
    let is = |number, value| Test::Any(number, UintTest::Range { from: value, to: value, is_negated: false });
    let read: Read = match name {
        "http2.frametype" => Box::new(several(Number::Http2FrameType, Width::U8, FRAMES)),
        "http2.errorcode" => Box::new(several(Number::Http2ErrorCode, Width::U32, ERRORS)),
        "http2.priority" => Box::new(several(Number::Http2Priority, Width::U8, &[])),
        "http2.window" => Box::new(several(Number::Http2Window, Width::U32, &[])),
        "http2.size_update" => Box::new(several(Number::Http2SizeUpdate, Width::U64, &[])),
        "http2.settings" => Box::new(setting),
        "websocket.opcode" => Box::new(|value| {
            let test = UintTest::parse_named(value, Width::U8, OPCODES)?;
            Ok(Test::Any(Number::WebsocketOpcode, test))
        }),
        "websocket.flags" => Box::new(|value| {
            let test = UintTest::parse_bits(value, Width::U8, &[("fin", 0x80), ("comp", 0x40)])?;
            Ok(Test::Any(Number::WebsocketFlags, test))
        }),
        "ftp.dynamic_port" => {
            Box::new(|value| Ok(Test::Any(Number::FtpDynamicPort, UintTest::parse(value, Width::U16)?)))
        }
        "ftp.mode" => Box::new(move |value| match value.to_ascii_lowercase().as_str() {
            "active" => Ok(is(Number::FtpMode, 1)),
            "passive" => Ok(is(Number::FtpMode, 0)),
            _ => Err("`ftp.mode` is `active` or `passive`".into()),
        }),
        "ftp.reply_received" => Box::new(move |value| match value.to_ascii_lowercase().as_str() {
            "yes" | "on" | "true" | "1" => Ok(is(Number::FtpReplyReceived, 1)),
            "no" | "off" | "false" | "0" => Ok(is(Number::FtpReplyReceived, 0)),
            _ => Err("`ftp.reply_received` is `yes` or `no`".into()),
        }),
        "ftpbounce" => Box::new(move |value| match value {
            "" => Ok(is(Number::FtpBounce, 1)),
            _ => Err("`ftpbounce` has no value".into()),
        }),
        "ftpdata_command" => Box::new(move |value| match value {
            "retr" => Ok(is(Number::FtpdataCommand, 1)),
            "stor" => Ok(is(Number::FtpdataCommand, 2)),
            _ => Err("`ftpdata_command` is `retr` or `stor`".into()),
        }),
        _ => return None,
    };
    Some(value().and_then(read))
}

/// `SETTINGS_ENABLE_PUSH=0`, `SETTINGS_MAX_FRAME_SIZE>100`, or a name alone.
fn setting(value: &str) -> Result<Test, String> {
    let end = value.find(|byte: char| !byte.is_ascii_alphanumeric() && byte != '_').unwrap_or(value.len());
    let (name, rest) = value.split_at_checked(end).unwrap_or((value, ""));
    let known = SETTINGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let Some((_, number)) = known else { return Err("no setting of HTTP/2 has this name".into()) };
    let rest = rest.trim();
    let test = if rest.is_empty() { None } else { Some(UintTest::parse(rest, Width::U32)?) };
    Ok(Test::Setting(*number, test))
}

impl Test {
    /// Whether the side is what the rule asks for.
    pub(super) fn holds(&self, side: &Side) -> bool {
        match self {
            Test::Any(number, test) => side.numbers_of(*number).any(|value| test.has(value)),
            Test::Several(number, test) => {
                let values = || side.numbers_of(*number);
                test.has(values().count(), |at| values().nth(at), true)
            }
            Test::Setting(number, test) => side
                .numbers_of(Number::Http2Setting)
                .filter(|setting| setting >> 32 == *number)
                .any(|setting| test.is_none_or(|test| test.has(setting & 0xffff_ffff))),
        }
    }

    /// What of sides it reads.
    pub(super) fn wants(&self, wanted: &mut Wanted) {
        wanted.want_number(match self {
            Test::Any(number, _) | Test::Several(number, _) => *number,
            Test::Setting(..) => Number::Http2Setting,
        });
    }

    /// A number without which it does not hold.
    pub(super) fn needs(&self) -> Option<Number> {
        match self {
            Test::Any(number, _) => Some(*number),
            Test::Setting(..) => Some(Number::Http2Setting),
            // What is counted may be none.
            Test::Several(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{holds, read};
    use super::*;

    #[test]
    fn numbers_have_names_and_places() {
        let windows: Vec<(Number, u64)> = [32768, 36001, 2].map(|value| (Number::Http2Window, value)).into();
        for (text, number, value, want) in [
            ("http2.frametype:GOAWAY", Number::Http2FrameType, 7, true),
            ("http2.frametype:GOAWAY", Number::Http2FrameType, 6, false),
            ("http2.errorcode:!NO_ERROR", Number::Http2ErrorCode, 0, false),
            ("http2.errorcode: HTTP_1_1_REQUIRED", Number::Http2ErrorCode, 13, true),
            ("http2.settings:SETTINGS_ENABLE_PUSH=0", Number::Http2Setting, 2 << 32, true),
            ("http2.settings:SETTINGS_ENABLE_PUSH=0", Number::Http2Setting, 2 << 32 | 1, false),
            ("http2.settings:SETTINGS_HEADER_TABLE_SIZE >4096", Number::Http2Setting, 1 << 32 | 4097, true),
            ("http2.settings:SETTINGS_MAX_FRAME_SIZE", Number::Http2Setting, 5 << 32, true),
            ("websocket.opcode:ping", Number::WebsocketOpcode, 9, true),
            ("websocket.flags:fin,!comp", Number::WebsocketFlags, 0x80, true),
            ("websocket.flags:fin,!comp", Number::WebsocketFlags, 0xc0, false),
            ("ftp.dynamic_port:>1024", Number::FtpDynamicPort, 1025, true),
            ("ftp.mode:passive", Number::FtpMode, 0, true),
            ("ftp.reply_received:no", Number::FtpReplyReceived, 1, false),
            ("ftpbounce", Number::FtpBounce, 1, true),
            ("ftpdata_command:stor", Number::FtpdataCommand, 1, false),
        ] {
            assert_eq!(holds(text, &[], &[(number, value)]), want, "{text} {value}");
        }
        assert!(holds("http2.window:>36000,nb<2", &[], &windows));
        assert!(holds("http2.window:count>2", &[], &windows));
        assert!(!holds("http2.window:2,0", &[], &windows));
        assert!(holds("http2.window:5,or_absent", &[], &[]));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "http2.frametype:GO",
            "http2.settings:SETTINGS_X=1",
            "http2.settings:SETTINGS_ENABLE_PUSH~1",
            "websocket.flags:x",
            "ftp.mode:both",
            "ftpbounce:1",
            "ftpdata_command:list",
        ] {
            assert!(read(text, "x").is_some_and(|read| read.is_err()), "{text}");
        }
        assert!(read("http.uri", "x").is_none());
    }
}

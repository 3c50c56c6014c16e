//! One HTTP/2 transaction as EVE describes it.
//!
//! In: what each side of a stream said. Out: JSON with Suricata's field names and value formats: an `http` object
//! of version 2, with `http2` in it for what HTTP/1 does not have.

use crate::dpi::http::event::write_range;
use weir_common::json::Object;

/// What one side of a stream said.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Elements of the list of headers, as JSON.
    pub(super) headers: Vec<u8>,
    /// Elements of the list of settings, as JSON.
    pub(super) settings: Vec<u8>,
    pub(super) error: Option<u32>,
    pub(super) priority: Option<u8>,
    /// What came more than once and is told as it came first: `error_code` or `priority`.
    pub(super) repeated: Option<&'static str>,
}

impl Said {
    /// The first code of an error is told.
    pub(super) fn note_error(&mut self, code: u32) {
        if self.error.is_some() {
            self.repeated.get_or_insert("error_code");
        }
        self.error.get_or_insert(code);
    }

    /// The first weight is told.
    pub(super) fn note_priority(&mut self, weight: u8) {
        if self.priority.is_some() {
            self.repeated.get_or_insert("priority");
        }
        self.priority.get_or_insert(weight);
    }

    /// Whether something of the stream itself was said.
    fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.error.is_none() && self.priority.is_none()
    }
}

/// Headers that have a place of their own.
#[derive(Debug, Default)]
pub(super) struct Common {
    pub(super) method: Vec<u8>,
    pub(super) path: Vec<u8>,
    pub(super) host: Vec<u8>,
    pub(super) user_agent: Vec<u8>,
    pub(super) length: Vec<u8>,
    pub(super) status: Vec<u8>,
    pub(super) content_range: Vec<u8>,
}

/// Writes the object; false where there is nothing to tell.
pub(super) fn write(stream: u32, common: &Common, said: [&Said; 2], body: &mut Vec<u8>) -> bool {
    let mut has_any = false;
    let mut object = Object::begin(body);
    object.text("version", "2");
    for (key, said) in [("request_headers", said[0]), ("response_headers", said[1])] {
        if !said.headers.is_empty() {
            object.raw(key, &list(&said.headers));
            has_any = true;
        }
    }
    let texts = [
        ("http_method", &common.method),
        ("url", &common.path),
        ("hostname", &common.host),
        ("http_user_agent", &common.user_agent),
    ];
    for (key, value) in texts {
        if !value.is_empty() {
            object.bytes(key, value);
        }
    }
    if !common.content_range.is_empty() {
        write_range(&common.content_range, &mut object.object("content_range"));
    }
    for (key, value) in [("length", &common.length), ("status", &common.status)] {
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
        if let Some(number) = number {
            object.number(key, number);
        }
    }
    let mut http2 = object.object("http2");
    http2.number("stream_id", stream);
    for (key, said) in [("request", said[0]), ("response", said[1])] {
        if said.is_empty() {
            continue;
        }
        has_any = true;
        let mut side = http2.object(key);
        if !said.settings.is_empty() {
            side.raw("settings", &list(&said.settings));
        }
        if let Some(error) = said.error {
            match ERRORS.get(error as usize) {
                Some(name) => side.text("error_code", name),
                None => side.display("error_code", format_args!("unknown-{error}")),
            };
        }
        if let Some(priority) = said.priority {
            side.number("priority", priority);
        }
        side.text_if("has_multiple", said.repeated);
    }
    has_any
}

fn list(elements: &[u8]) -> Vec<u8> {
    [b"[", elements, b"]"].concat()
}

/// RFC 9113 section 7, as Suricata writes them.
const ERRORS: [&str; 14] = [
    "NOERROR",
    "PROTOCOLERROR",
    "INTERNALERROR",
    "FLOWCONTROLERROR",
    "SETTINGSTIMEOUT",
    "STREAMCLOSED",
    "FRAMESIZEERROR",
    "REFUSEDSTREAM",
    "CANCEL",
    "COMPRESSIONERROR",
    "CONNECTERROR",
    "ENHANCEYOURCALM",
    "INADEQUATESECURITY",
    "HTTP11REQUIRED",
];

/// RFC 9113 section 6.5.2 and RFC 8441, as Suricata writes them.
pub(super) fn setting(id: u16) -> Option<&'static str> {
    Some(match id {
        1 => "SETTINGSHEADERTABLESIZE",
        2 => "SETTINGSENABLEPUSH",
        3 => "SETTINGSMAXCONCURRENTSTREAMS",
        4 => "SETTINGSINITIALWINDOWSIZE",
        5 => "SETTINGSMAXFRAMESIZE",
        6 => "SETTINGSMAXHEADERLISTSIZE",
        8 => "SETTINGSENABLECONNECTPROTOCOL",
        _ => return None,
    })
}

/// Appends an element to a list whose brackets come later.
pub(super) fn element(list: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
    if !list.is_empty() {
        list.push(b',');
    }
    write(&mut Object::begin(list));
}

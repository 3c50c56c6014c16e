//! What an RDP client says of itself when it connects (MS-RDPBCGR section 2.2.1.3).
//!
//! In: the MCS connect request. Out: views of the client's core data and its channels, and names for their
//! numbers.

use crate::dpi::wire::{Cursor, utf16};
use weir_common::json::Object;

/// Most channels read (MS-RDPBCGR section 2.2.1.3.4 allows 31).
const CHANNELS_MAX: usize = 31;
/// What stands before the client's blocks.
const KEY: &[u8] = b"Duca";
const CORE: u16 = 0xc001;
const NETWORK: u16 = 0xc003;

/// The blocks of a connect request.
#[derive(Debug, Default)]
pub(super) struct Client<'a> {
    core: Option<&'a [u8]>,
    pub(super) channels: Vec<String>,
}

impl<'a> Client<'a> {
    /// Reads a connect request. `None`: it is no RDP client's.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Client<'a>> {
        let at = memchr::memmem::find(bytes, KEY)? + KEY.len();
        let mut cursor = Cursor(bytes.get(at..)?);
        // A length of one or two bytes.
        if cursor.u8()? & 0x80 != 0 {
            cursor.skip(1)?;
        }
        let mut client = Client::default();
        while let (Some(kind), Some(length)) = (cursor.le16(), cursor.le16()) {
            let Some(block) = usize::from(length).checked_sub(4).and_then(|length| cursor.take(length))
            else {
                break;
            };
            match kind {
                CORE => client.core = Some(block),
                NETWORK => {
                    let mut list = Cursor(block);
                    let count = list.le32()? as usize;
                    for _ in 0..count.min(CHANNELS_MAX) {
                        let Some(definition) = list.take(12) else { break };
                        let name = definition.get(..8).unwrap_or_default();
                        let (name, _) = crate::dpi::wire::until_nul(name);
                        client.channels.push(String::from_utf8_lossy(name).into_owned());
                    }
                }
                _ => {}
            }
        }
        Some(client)
    }

    /// The client's host name.
    pub(super) fn name(&self) -> Option<String> {
        self.text(20, 32)
    }

    /// The client's build of Windows.
    pub(super) fn build(&self) -> Option<String> {
        self.u32(16).map(build_name)
    }

    fn text(&self, at: usize, length: usize) -> Option<String> {
        let text = self.core?.get(at..at + length)?;
        let (text, _) = crate::dpi::wire::until_wide_nul(text);
        Some(utf16(text)).filter(|text| !text.is_empty())
    }

    fn u16(&self, at: usize) -> Option<u16> {
        Cursor(self.core?.get(at..)?).le16()
    }

    fn u32(&self, at: usize) -> Option<u32> {
        Cursor(self.core?.get(at..)?).le32()
    }

    fn color_depth(&self) -> Option<u16> {
        if let Some(depth @ (4 | 8 | 15 | 16 | 24)) = self.u16(136) {
            return Some(depth);
        }
        match (self.u16(128), self.u16(8)) {
            (Some(0xca00), _) => Some(4),
            (Some(0xca01), _) => Some(8),
            (Some(0xca02), _) => Some(15),
            (Some(0xca03), _) => Some(16),
            (Some(0xca04), _) => Some(24),
            (_, Some(0xca00)) => Some(4),
            (_, Some(0xca01)) => Some(8),
            _ => None,
        }
    }

    /// Writes the client's members and its channels.
    pub(super) fn write(&self, object: &mut Object<'_>) {
        if self.core.is_some() {
            self.write_core(&mut object.object("client"));
        }
        if !self.channels.is_empty() {
            object.texts("channels", &self.channels);
        }
    }

    fn write_core(&self, client: &mut Object<'_>) {
        client.text("version", version_name(self.u32(0).unwrap_or(0)));
        client.number("desktop_width", self.u16(4).unwrap_or(0));
        client.number("desktop_height", self.u16(6).unwrap_or(0));
        if let Some(depth) = self.color_depth() {
            client.number("color_depth", depth);
        }
        client.text("keyboard_layout", layout_name(self.u32(12).unwrap_or(0)));
        client.text_if("build", self.build().as_deref());
        client.text_if("client_name", self.name().as_deref());
        if let Some(name) = self.u32(52).and_then(keyboard_name) {
            client.text("keyboard_type", name);
        }
        for (key, at) in [("keyboard_subtype", 56), ("function_keys", 60)] {
            if let Some(number) = self.u32(at).filter(|number| *number != 0) {
                client.number(key, number);
            }
        }
        client.text_if("ime", self.text(64, 64).as_deref());
        if let Some(product) = self.u16(130) {
            client.number("product_id", product);
        }
        if let Some(serial) = self.u32(132).filter(|serial| *serial != 0) {
            client.number("serial_number", serial);
        }
        let flags = self.u16(140).unwrap_or(0);
        const CAPABILITIES: [(u16, &str); 10] = [
            (0x0001, "support_errinfo_pdf"),
            (0x0002, "want_32bpp_session"),
            (0x0004, "support_statusinfo_pdu"),
            (0x0008, "strong_asymmetric_keys"),
            (0x0020, "valid_connection_type"),
            (0x0040, "support_monitor_layout_pdu"),
            (0x0080, "support_netchar_autodetect"),
            (0x0100, "support_dynvc_gfx_protocol"),
            (0x0200, "support_dynamic_time_zone"),
            (0x0400, "support_heartbeat_pdu"),
        ];
        if flags != 0 {
            let known = CAPABILITIES.iter().filter(|(bit, _)| flags & bit != 0);
            client.texts("capabilities", known.map(|(_, name)| name));
        }
        client.text_if("id", self.text(142, 64).as_deref());
        let hint = self.core.and_then(|core| core.get(206)).copied().unwrap_or(0);
        const HINTS: [&str; 7] =
            ["modem", "low_broadband", "satellite", "high_broadband", "wan", "lan", "autodetect"];
        if let Some(hint) = usize::from(hint).checked_sub(1).and_then(|hint| HINTS.get(hint)) {
            client.text("connection_hint", hint);
        }
        for (key, at) in [("physical_width", 212), ("physical_height", 216)] {
            if let Some(number) = self.u32(at) {
                client.number(key, number);
            }
        }
        if let Some(orientation) = self.u16(220) {
            client.number("desktop_orientation", orientation);
        }
        for (key, at) in [("scale_factor", 222), ("device_scale_factor", 226)] {
            if let Some(number) = self.u32(at) {
                client.number(key, number);
            }
        }
    }
}

fn version_name(version: u32) -> &'static str {
    match version {
        0x0008_0001 => "v4",
        0x0008_0004 => "v5",
        0x0008_0005 => "v10.0",
        0x0008_0006 => "v10.1",
        0x0008_0007 => "v10.2",
        0x0008_0008 => "v10.3",
        0x0008_0009 => "v10.4",
        0x0008_000a => "v10.5",
        0x0008_000b => "v10.6",
        0x0008_000c => "v10.7",
        _ => "unknown",
    }
}

fn build_name(build: u32) -> String {
    match build {
        528 => "Windows NT 3.1",
        807 => "Windows NT 3.5",
        1057 => "Windows NT 3.51",
        1381 => "Windows NT 4.0",
        2195 => "Windows 2000",
        2600 => "Windows XP",
        3790 => "Windows Server 2003",
        6000 => "Windows Vista RTM",
        6001 => "Windows Vista SP1",
        6002 => "Windows Vista SP2",
        7600 => "Windows 7 RTM",
        7601 => "Windows 7 SP1",
        9200 => "Windows 8",
        9600 => "Windows 8.1",
        10240 => "Windows 10 TH1",
        10586 => "Windows 10 TH2",
        14393 => "Windows 10 RS1",
        15063 => "Windows 10 RS2",
        16299 => "Windows 10 RS3",
        17134 => "Windows 10 RS4",
        17763 => "Windows 10 RS5",
        _ => "unknown",
    }
    .to_string()
}

fn keyboard_name(kind: u32) -> Option<&'static str> {
    const NAMES: [&str; 7] = ["xt", "ico", "at", "enhanced", "1050", "9140", "jp"];
    usize::try_from(kind.checked_sub(1)?).ok().and_then(|kind| NAMES.get(kind)).copied()
}

/// Names of keyboard layouts by language (MS-LCID); the common ones.
fn layout_name(layout: u32) -> &'static str {
    match layout {
        0x0401 => "ar-SA",
        0x0402 => "bg-BG",
        0x0403 => "ca-ES",
        0x0404 => "zh-TW",
        0x0405 => "cs-CZ",
        0x0406 => "da-DK",
        0x0407 => "de-DE",
        0x0408 => "el-GR",
        0x0409 => "en-US",
        0x040a => "es-ES_tradnl",
        0x040b => "fi-FI",
        0x040c => "fr-FR",
        0x040d => "he-IL",
        0x040e => "hu-HU",
        0x040f => "is-IS",
        0x0410 => "it-IT",
        0x0411 => "ja-JP",
        0x0412 => "ko-KR",
        0x0413 => "nl-NL",
        0x0414 => "nb-NO",
        0x0415 => "pl-PL",
        0x0416 => "pt-BR",
        0x0418 => "ro-RO",
        0x0419 => "ru-RU",
        0x041a => "hr-HR",
        0x041b => "sk-SK",
        0x041d => "sv-SE",
        0x041e => "th-TH",
        0x041f => "tr-TR",
        0x0421 => "id-ID",
        0x0422 => "uk-UA",
        0x0424 => "sl-SI",
        0x0425 => "et-EE",
        0x0426 => "lv-LV",
        0x0427 => "lt-LT",
        0x0429 => "fa-IR",
        0x042a => "vi-VN",
        0x0439 => "hi-IN",
        0x0804 => "zh-CN",
        0x0807 => "de-CH",
        0x0809 => "en-GB",
        0x080a => "es-MX",
        0x080c => "fr-BE",
        0x0810 => "it-CH",
        0x0813 => "nl-BE",
        0x0816 => "pt-PT",
        0x0c07 => "de-AT",
        0x0c09 => "en-AU",
        0x0c0a => "es-ES",
        0x0c0c => "fr-CA",
        0x100c => "fr-CH",
        0x1009 => "en-CA",
        0x1409 => "en-NZ",
        0x1809 => "en-IE",
        0x4009 => "en-IN",
        _ => "unknown",
    }
}

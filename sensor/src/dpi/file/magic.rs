//! What kind of file it is, in the words of file(1), which rules look for (`file.magic`).
//!
//! In: the beginning of a file. Out: a description that begins as libmagic's does, with a version and a target
//! where the beginning says them. Deliberately absent: most of libmagic's thousands of kinds, and what it reads from
//! farther inside; those are `data`, as libmagic says of what it does not know.

use super::kind;
use std::borrow::Cow;

/// A description, made once.
#[derive(Debug, Default)]
pub(super) struct Description(Option<Cow<'static, str>>);

impl Description {
    /// The description of a file that begins so; of the first beginning that was asked about.
    pub(super) fn of(&mut self, head: &[u8]) -> &str {
        self.0.get_or_insert_with(|| describe(head))
    }
}

fn describe(head: &[u8]) -> Cow<'static, str> {
    match kind::kind(head) {
        Some("application/pdf") => version(head, b"%PDF-", "PDF document, version "),
        Some("application/x-dosexec") => executable(head),
        Some("application/x-executable") => elf(head).into(),
        Some("image/gif") => version(head, b"GIF", "GIF image data, version "),
        Some("image/jpeg") => match head.get(6..10) {
            Some(b"JFIF") => "JPEG image data, JFIF standard 1.01".into(),
            Some(b"Exif") => "JPEG image data, Exif standard: [TIFF image data".into(),
            _ => "JPEG image data".into(),
        },
        Some("text/plain") => text(head).into(),
        Some("text/html") => format!("HTML document, {}", text(head)).into(),
        Some("application/xml") => format!("XML 1.0 document, {}", text(head)).into(),
        Some("application/rtf") => version(head, b"{\\rtf", "Rich Text Format data, version "),
        Some(kind) => {
            let told = KINDS.iter().find(|(have, _)| *have == kind);
            told.map_or("data", |(_, told)| told).into()
        }
        None if head.is_empty() => "empty".into(),
        None => "data".into(),
    }
}

/// Media types, and how libmagic begins to describe them.
const KINDS: &[(&str, &str)] = &[
    ("application/java-vm", "compiled Java class data"),
    ("application/x-mach-binary", "Mach-O"),
    ("application/vnd.android.dex", "Dalvik dex file"),
    ("application/wasm", "WebAssembly (wasm) binary module"),
    ("text/x-shellscript", "POSIX shell script, ASCII text executable"),
    ("application/x-ms-shortcut", "MS Windows shortcut"),
    ("application/x-shockwave-flash", "Macromedia Flash data"),
    ("application/postscript", "PostScript document text"),
    ("application/x-ole-storage", "Composite Document File V2 Document"),
    ("application/vnd.ms-htmlhelp", "MS Windows HtmlHelp Data"),
    ("application/vnd.openxmlformats-officedocument", "Microsoft OOXML"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "Microsoft Word 2007+"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "Microsoft Excel 2007+"),
    (
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "Microsoft PowerPoint 2007+",
    ),
    ("application/vnd.oasis.opendocument", "OpenDocument"),
    ("application/epub+zip", "EPUB document"),
    ("application/java-archive", "Java archive data (JAR)"),
    ("application/vnd.android.package-archive", "Android package (APK)"),
    ("application/zip", "Zip archive data"),
    ("application/vnd.rar", "RAR archive data"),
    ("application/x-7z-compressed", "7-zip archive data"),
    ("application/gzip", "gzip compressed data"),
    ("application/x-bzip2", "bzip2 compressed data"),
    ("application/x-xz", "XZ compressed data"),
    ("application/zstd", "Zstandard compressed data"),
    ("application/x-lz4", "LZ4 compressed data"),
    ("application/vnd.ms-cab-compressed", "Microsoft Cabinet archive data"),
    ("application/x-chrome-extension", "Google Chrome extension"),
    ("application/vnd.debian.binary-package", "Debian binary package"),
    ("application/x-archive", "current ar archive"),
    ("application/x-rpm", "RPM"),
    ("application/x-tar", "POSIX tar archive"),
    ("image/png", "PNG image data"),
    ("image/webp", "RIFF (little-endian) data, Web/P image"),
    ("image/tiff", "TIFF image data"),
    ("image/vnd.adobe.photoshop", "Adobe Photoshop Image"),
    ("image/x-icon", "MS Windows icon resource"),
    ("image/svg+xml", "SVG Scalable Vector Graphics image"),
    ("video/mp4", "ISO Media"),
    ("video/quicktime", "ISO Media, Apple QuickTime movie"),
    ("audio/mp4", "ISO Media, Apple iTunes ALAC/AAC-LC (.M4A) Audio"),
    ("video/x-matroska", "Matroska data"),
    ("video/x-flv", "Macromedia Flash Video"),
    ("audio/ogg", "Ogg data"),
    ("audio/flac", "FLAC audio bitstream data"),
    ("audio/mpeg", "Audio file with ID3"),
    ("audio/wav", "RIFF (little-endian) data, WAVE audio"),
    ("video/x-msvideo", "RIFF (little-endian) data, AVI"),
    ("video/x-ms-asf", "Microsoft ASF"),
    ("font/woff", "Web Open Font Format"),
    ("font/woff2", "Web Open Font Format (Version 2)"),
    ("font/ttf", "TrueType Font data"),
    ("font/otf", "OpenType font data"),
    ("application/vnd.sqlite3", "SQLite 3.x database"),
    ("application/x-windows-registry-hive", "MS Windows registry file, NT/2000 or above"),
    ("application/vnd.tcpdump.pcap", "pcap capture file, microsecond ts (little-endian)"),
    ("application/pgp-encrypted", "PGP message"),
    ("application/x-pem-file", "PEM certificate"),
    ("application/json", "JSON text data"),
    ("text/x-php", "PHP script, ASCII text"),
];

/// A mark with a version behind it.
fn version(head: &[u8], mark: &[u8], told: &'static str) -> Cow<'static, str> {
    let rest = head.get(mark.len()..).unwrap_or_default();
    let end = rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'.');
    let version = rest.get(..end.unwrap_or(rest.len()).min(8)).unwrap_or_default();
    format!("{told}{}", String::from_utf8_lossy(version)).into()
}

/// A program for DOS or Windows: where its second head lies among the bytes at hand, for which of them.
fn executable(head: &[u8]) -> Cow<'static, str> {
    let short = |at: usize| head.get(at..)?.first_chunk::<2>().map(|bytes| u16::from_le_bytes(*bytes));
    let at = head.get(60..).and_then(|rest| rest.first_chunk::<4>()).map(|at| u32::from_le_bytes(*at));
    let at = at.and_then(|at| usize::try_from(at).ok()).unwrap_or(usize::MAX);
    let mark = at.checked_add(4).and_then(|end| head.get(at..end));
    if mark != Some(b"PE\0\0") {
        let is_new = mark.is_some_and(|mark| mark.starts_with(b"NE") || mark.starts_with(b"LE"));
        return if is_new { "MS-DOS executable, NE for MS Windows 3.x" } else { "MS-DOS executable" }.into();
    }
    let name = if short(at + 24) == Some(0x20b) { "PE32+" } else { "PE32" };
    let is_library = short(at + 22).is_some_and(|flags| flags & 0x2000 != 0);
    let library = if is_library { " (DLL)" } else { "" };
    let subsystem = match short(at + 92) {
        Some(1) => " (native)",
        Some(2) => " (GUI)",
        Some(3) => " (console)",
        _ => "",
    };
    let machine = match short(at + 4) {
        Some(0x8664) => "x86-64",
        Some(0xaa64) => "Aarch64",
        Some(0x1c0 | 0x1c4) => "ARM",
        _ => "Intel 80386",
    };
    format!("{name} executable{library}{subsystem} {machine}, for MS Windows").into()
}

fn elf(head: &[u8]) -> &'static str {
    match (head.get(4), head.get(5)) {
        (Some(2), Some(2)) => "ELF 64-bit MSB executable",
        (Some(2), _) => "ELF 64-bit LSB executable",
        (_, Some(2)) => "ELF 32-bit MSB executable",
        _ => "ELF 32-bit LSB executable",
    }
}

fn text(head: &[u8]) -> &'static str {
    let ends = memchr::memmem::find(head, b"\r\n").is_some();
    match (head.is_ascii(), ends, head.contains(&b'\n')) {
        (true, true, _) => "ASCII text, with CRLF line terminators",
        (true, false, true) => "ASCII text",
        (true, false, false) => "ASCII text, with no line terminators",
        (false, true, _) => "UTF-8 Unicode text, with CRLF line terminators",
        (false, false, _) => "UTF-8 Unicode text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_described_as_libmagic_does() {
        let mut program = b"MZ".to_vec();
        program.resize(60, 0);
        program.extend_from_slice(&[64, 0, 0, 0]);
        program.extend_from_slice(b"PE\0\0\x64\x86");
        program.resize(64 + 22, 0);
        program.extend_from_slice(&[0, 0x20, 0x0b, 2]);
        program.resize(64 + 92, 0);
        program.extend_from_slice(&[3, 0]);
        for (head, want) in [
            (&b"%PDF-1.6\r%\xe2"[..], "PDF document, version 1.6"),
            (b"%PDF-", "PDF document, version "),
            (b"GIF89a\x01", "GIF image data, version 89a"),
            (&program, "PE32+ executable (DLL) (console) x86-64, for MS Windows"),
            (b"MZ", "MS-DOS executable"),
            (b"PK\x03\x04", "Zip archive data"),
            (b"hello", "ASCII text, with no line terminators"),
            (b"<html>\r\n", "HTML document, ASCII text, with CRLF line terminators"),
            (b"\x01\x02", "data"),
            (b"", "empty"),
        ] {
            assert_eq!(Description::default().of(head), want, "{}", head.escape_ascii());
        }
        let mut description = Description::default();
        assert_eq!(
            (description.of(b"MZ").to_owned(), description.of(b"PK\x03\x04")),
            ("MS-DOS executable".into(), "MS-DOS executable")
        );
    }

    #[test]
    fn every_kind_has_its_words() {
        for (at, (kind, _)) in KINDS.iter().enumerate() {
            assert!(KINDS.iter().skip(at + 1).all(|(other, _)| other != kind), "{kind} is there twice");
        }
    }
}

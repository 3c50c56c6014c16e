//! What kind of file it is, by its first bytes.
//!
//! In: the beginning of a file. Out: its media type, where it has a mark that says so. Deliberately absent:
//! guesses by name, and kinds that have no mark of their own; text is told from other bytes, no more.

/// Bytes of a file's beginning that are looked at.
pub(super) const HEAD_BYTES: usize = 512;

/// A mark: where it stands, what stands there, what that means. The first that fits counts.
type Mark = (usize, &'static [u8], &'static str);

/// Kinds in the order in which they are asked; longer marks before those that they begin with.
const MARKS: &[Mark] = &[
    // Programs.
    (0, b"MZ", "application/x-dosexec"),
    (0, b"\x7fELF", "application/x-executable"),
    (0, b"\xca\xfe\xba\xbe\x00\x00\x00", "application/java-vm"),
    (0, b"\xca\xfe\xba\xbe\x00\x00\x00\x02", "application/x-mach-binary"),
    (0, b"\xcf\xfa\xed\xfe", "application/x-mach-binary"),
    (0, b"\xce\xfa\xed\xfe", "application/x-mach-binary"),
    (0, b"\xfe\xed\xfa\xce", "application/x-mach-binary"),
    (0, b"\xfe\xed\xfa\xcf", "application/x-mach-binary"),
    (0, b"dex\n03", "application/vnd.android.dex"),
    (0, b"\0asm", "application/wasm"),
    (0, b"#!", "text/x-shellscript"),
    (0, b"L\0\0\0\x01\x14\x02\0", "application/x-ms-shortcut"),
    (0, b"FWS", "application/x-shockwave-flash"),
    (0, b"CWS", "application/x-shockwave-flash"),
    (0, b"ZWS", "application/x-shockwave-flash"),
    // Documents.
    (0, b"%PDF-", "application/pdf"),
    (0, b"%!PS", "application/postscript"),
    (0, b"{\\rtf", "application/rtf"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (0, b"ITSF", "application/vnd.ms-htmlhelp"),
    (0, b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d", "application/onenote"),
    (30, b"[Content_Types].xml", "application/vnd.openxmlformats-officedocument"),
    (30, b"word/", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    (30, b"xl/", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    (30, b"ppt/", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    (30, b"mimetypeapplication/vnd.oasis.opendocument", "application/vnd.oasis.opendocument"),
    (30, b"mimetypeapplication/epub+zip", "application/epub+zip"),
    (30, b"META-INF/", "application/java-archive"),
    (30, b"AndroidManifest.xml", "application/vnd.android.package-archive"),
    // Archives.
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"PK\x05\x06", "application/zip"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"\x1f\x8b\x08", "application/gzip"),
    (0, b"BZh", "application/x-bzip2"),
    (0, b"\xfd7zXZ\0", "application/x-xz"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (0, b"\x04\x22\x4d\x18", "application/x-lz4"),
    (0, b"LZIP", "application/x-lzip"),
    (0, b"MSCF\0\0\0\0", "application/vnd.ms-cab-compressed"),
    (0, b"Cr24", "application/x-chrome-extension"),
    (0, b"!<arch>\ndebian", "application/vnd.debian.binary-package"),
    (0, b"!<arch>\n", "application/x-archive"),
    (0, b"\xed\xab\xee\xdb", "application/x-rpm"),
    (257, b"ustar", "application/x-tar"),
    (0, b"conectix", "application/x-vhd"),
    (0, b"vhdxfile", "application/x-vhdx"),
    // Images.
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypheic", "image/heic"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (0, b"8BPS", "image/vnd.adobe.photoshop"),
    (0, b"\0\0\x01\0", "image/x-icon"),
    // Sound and pictures that move.
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftyp", "video/mp4"),
    (4, b"styp", "video/mp4"),
    (4, b"moof", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/x-matroska"),
    (0, b"FLV\x01", "video/x-flv"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"ID3", "audio/mpeg"),
    (8, b"WAVE", "audio/wav"),
    (8, b"AVI ", "video/x-msvideo"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf"),
    (0, b"#EXTM3U", "application/vnd.apple.mpegurl"),
    // Fonts, data, certificates.
    (0, b"wOFF", "font/woff"),
    (0, b"wOF2", "font/woff2"),
    (0, b"\0\x01\0\0\0", "font/ttf"),
    (0, b"OTTO", "font/otf"),
    (0, b"SQLite format 3\0", "application/vnd.sqlite3"),
    (0, b"regf", "application/x-windows-registry-hive"),
    (0, b"\xd4\xc3\xb2\xa1", "application/vnd.tcpdump.pcap"),
    (0, b"-----BEGIN PGP", "application/pgp-encrypted"),
    (0, b"-----BEGIN ", "application/x-pem-file"),
];

/// Marks of text, in lower case; white space and a byte order mark may stand before them.
const TEXT_MARKS: &[(&[u8], &str)] = &[
    (b"<?xml", "application/xml"),
    (b"<!doctype html", "text/html"),
    (b"<html", "text/html"),
    (b"<head", "text/html"),
    (b"<body", "text/html"),
    (b"<script", "text/html"),
    (b"<svg", "image/svg+xml"),
    (b"<?php", "text/x-php"),
];

/// The media type of a file that begins so; none where nothing says what it is.
pub(super) fn kind(head: &[u8]) -> Option<&'static str> {
    let is_at = |at: usize, mark: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(mark));
    let binary = MARKS.iter().find(|(at, mark, _)| {
        // What stands inside of an archive or a RIFF file counts only there.
        let is_in_place = match at {
            30 => is_at(0, b"PK\x03\x04"),
            8 => is_at(0, b"RIFF"),
            _ => true,
        };
        is_in_place && is_at(*at, mark)
    });
    if let Some((.., kind)) = binary {
        return Some(kind);
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let begins = |mark: &[u8]| text.get(..mark.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(mark));
    if let Some((_, kind)) = TEXT_MARKS.iter().find(|(mark, _)| begins(mark)) {
        return Some(kind);
    }
    let is_json =
        matches!(text, [b'{', b'"' | b'}' | b' ' | b'\n' | b'\r', ..] | [b'[', b'{' | b'"' | b']', ..]);
    match is_text(head) {
        true if is_json => Some("application/json"),
        true => Some("text/plain"),
        false => None,
    }
}

/// Whether bytes are text: UTF-8, perhaps cut at the end, without control characters.
fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(_) => head.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => return false,
    };
    let is_control = |byte: &u8| matches!(byte, 0..=8 | 14..=26 | 28..=31 | 0x7f);
    valid > 0 && !head.iter().take(valid).any(is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_their_marks() {
        let tar = [&[b'a'; 257][..], b"ustar"].concat();
        let docx = [&b"PK\x03\x04"[..], &[0; 26], b"word/document.xml"].concat();
        let webp = b"RIFF\x10\0\0\0WEBPVP8 ";
        let cases: [(&[u8], Option<&str>); 13] = [
            (b"MZ\x90\0", Some("application/x-dosexec")),
            (b"%PDF-1.7\n", Some("application/pdf")),
            (&tar, Some("application/x-tar")),
            (&docx, Some("application/vnd.openxmlformats-officedocument.wordprocessingml.document")),
            (webp, Some("image/webp")),
            (b"RIFX\x10\0\0\0WEBPVP8 ", None),
            (b"\xef\xbb\xbf \n<!DOCTYPE HTML>", Some("text/html")),
            (b"{\"a\": 1}", Some("application/json")),
            (b"hello\r\n", Some("text/plain")),
            ("caf\u{e9}".as_bytes().get(..4).unwrap_or_default(), Some("text/plain")),
            (b"\x01\x02\x03", None),
            (b"\xff\xfe", None),
            (b"", None),
        ];
        for (head, want) in cases {
            assert_eq!(kind(head), want, "{:?}", String::from_utf8_lossy(head));
        }
    }
}

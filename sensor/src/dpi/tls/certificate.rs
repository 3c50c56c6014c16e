//! What a server's certificate says of itself (X.509, RFC 5280).
//!
//! In: a certificate in DER. Out: its facts in the text forms that Suricata's EVE uses. Whether the
//! certificate is any good is not asked: no signature, chain or date is checked.
//!
//! The same few certificates come again and again, and reading one costs more than a whole
//! ClientHello, so each thread remembers those it read last.

use crate::dpi::digest::Hex;
use foldhash::quality::RandomState;
use sha1::{Digest, Sha1};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use weir_common::metadata::TEXT_BYTES_MAX;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Most alternative names kept of one certificate; later ones are left out.
const ALTERNATIVE_NAMES_MAX: usize = 64;
/// Most bytes of a serial number kept; RFC 5280 allows 20.
const SERIAL_BYTES_MAX: usize = 64;
/// Certificates remembered by each thread. Each takes at most about 40 kB, usually less than one. A
/// new one takes the place of the one in its slot.
const REMEMBERED: usize = 256;

/// The facts of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Distinguished name of the holder: `C=US, O=Example, CN=www.example.com`.
    pub subject: Box<str>,
    /// Distinguished name of the issuer.
    pub issuer: Box<str>,
    /// Serial number: hexadecimal pairs in upper case joined by colons, sign byte included.
    pub serial: Box<str>,
    /// SHA-1 of the DER: hexadecimal pairs in lower case joined by colons.
    pub fingerprint: Box<str>,
    /// Begin of validity.
    pub not_before: Moment,
    /// End of validity.
    pub not_after: Moment,
    /// DNS names, addresses, mail addresses and URIs of the subjectAltName extension.
    pub alternative_names: Vec<Box<str>>,
}

/// A point in time that may lie before the epoch or thousands of years ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Seconds since the epoch.
    pub seconds: i64,
    /// `2015-02-12T18:07:27`, in UTC.
    pub text: Box<str>,
}

impl Certificate {
    /// Reads a certificate; `None` when it is malformed.
    pub(crate) fn parse(der: &[u8]) -> Option<Certificate> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        Some(Certificate {
            subject: distinguished_name(certificate.subject()),
            issuer: distinguished_name(certificate.issuer()),
            serial: serial(certificate.raw_serial()),
            fingerprint: fingerprint(der),
            not_before: moment(&validity.not_before)?,
            not_after: moment(&validity.not_after)?,
            alternative_names: alternative_names(&certificate),
        })
    }

    /// Like [`Certificate::parse`], from memory where the thread has it.
    pub(crate) fn remembered(der: &[u8]) -> Option<Rc<Certificate>> {
        thread_local!(static MEMORY: RefCell<Memory> = RefCell::new(Memory::new()));
        MEMORY.with(|memory| match memory.try_borrow_mut() {
            Ok(mut memory) => memory.certificate(der),
            Err(_) => Certificate::parse(der).map(Rc::new),
        })
    }
}

/// The certificates read last, each in the slot that its hash names.
struct Memory {
    // Two keyed hashes, 128 bits together, stand for a certificate. Their keys are random, so that
    // nobody can make a certificate that is taken for another.
    slot_hash: RandomState,
    check_hash: RandomState,
    slots: Vec<Option<Remembered>>,
}

struct Remembered {
    key: (u64, u64, usize),
    certificate: Rc<Certificate>,
}

impl Memory {
    fn new() -> Memory {
        Memory {
            slot_hash: RandomState::default(),
            check_hash: RandomState::default(),
            slots: (0..REMEMBERED).map(|_| None).collect(),
        }
    }

    fn certificate(&mut self, der: &[u8]) -> Option<Rc<Certificate>> {
        let key = (self.slot_hash.hash_one(der), self.check_hash.hash_one(der), der.len());
        let slot = self.slots.get_mut((key.0 % REMEMBERED as u64) as usize)?;
        if let Some(known) = slot.as_ref().filter(|known| known.key == key) {
            return Some(Rc::clone(&known.certificate));
        }
        let certificate = Rc::new(Certificate::parse(der)?);
        *slot = Some(Remembered { key, certificate: Rc::clone(&certificate) });
        Some(certificate)
    }
}

/// The name in the order of the certificate: relative names joined by `, `, the parts of one by ` + `.
fn distinguished_name(name: &X509Name<'_>) -> Box<str> {
    let mut text = String::new();
    for relative in name.iter_rdn() {
        for (at, attribute) in relative.iter().enumerate() {
            text.push_str(match at {
                0 if text.is_empty() => "",
                0 => ", ",
                _ => " + ",
            });
            push_attribute(&mut text, attribute);
            if text.len() > TEXT_BYTES_MAX {
                // More is not kept anywhere: metadata cuts it there and marks the cut.
                return text.into();
            }
        }
    }
    text.into()
}

/// `CN=value`; a type without a short name by its number, a value that is no string in hexadecimal.
fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    match oid2abbrev(attribute.attr_type(), oid_registry()) {
        Ok(short) => text.push_str(short),
        Err(_) => _ = write!(text, "{:?}", attribute.attr_type()),
    }
    text.push('=');
    push_value(text, attribute.attr_value().tag().0, attribute.as_slice());
}

/// The value of a string type of ASN.1 (X.680 table 1) as text. Those that are older than UTF-8 are
/// mostly filled with Latin-1 where they are not ASCII.
fn push_value(text: &mut String, tag: u32, value: &[u8]) {
    const UTF8: u32 = 12;
    const UNIVERSAL: u32 = 28;
    const BMP: u32 = 30;
    let value = value.get(..TEXT_BYTES_MAX * 2).unwrap_or(value);
    match tag {
        UTF8 => text.push_str(&String::from_utf8_lossy(value)),
        7 | 18..=22 | 25..=27 => match str::from_utf8(value) {
            Ok(value) => text.push_str(value),
            Err(_) => text.extend(value.iter().map(|byte| char::from(*byte))),
        },
        BMP => {
            let units = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            text.extend(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
        }
        UNIVERSAL => {
            let units =
                value.chunks_exact(4).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
            text.extend(units.map(|unit| char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)));
        }
        _ => value.iter().for_each(|byte| _ = write!(text, "{byte:02X}")),
    }
}

fn serial(bytes: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(bytes.len().min(SERIAL_BYTES_MAX) * 3);
    for byte in bytes.iter().take(SERIAL_BYTES_MAX) {
        let separator = if text.is_empty() { "" } else { ":" };
        _ = write!(text, "{separator}{byte:02X}");
    }
    text.into()
}

fn fingerprint(der: &[u8]) -> Box<str> {
    let digits = Hex::<40>::of(&Sha1::digest(der));
    let mut text = String::with_capacity(59);
    for pair in digits.0.chunks_exact(2) {
        if !text.is_empty() {
            text.push(':');
        }
        text.extend(pair.iter().map(|digit| char::from(*digit)));
    }
    text.into()
}

/// In UTC, whatever zone the certificate wrote it in.
fn moment(time: &ASN1Time) -> Option<Moment> {
    let seconds = time.timestamp();
    let utc = ASN1Time::from_timestamp(seconds).ok()?.to_datetime();
    let text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        utc.year(),
        u8::from(utc.month()),
        utc.day(),
        utc.hour(),
        utc.minute(),
        utc.second()
    );
    Some(Moment { seconds, text: text.into() })
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<Box<str>> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter().filter_map(alternative_name);
    names.take(ALTERNATIVE_NAMES_MAX).collect()
}

fn alternative_name(name: &GeneralName<'_>) -> Option<Box<str>> {
    match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).map(Box::from)
        }
        GeneralName::IPAddress(bytes) => match **bytes {
            [a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d).to_string().into()),
            _ => Some(Ipv6Addr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string().into()),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &[u8] = include_bytes!("testdata/certificate.der");

    #[test]
    fn the_facts_are_written_as_eve_writes_them() {
        let certificate = Certificate::parse(CERTIFICATE).unwrap();
        assert_eq!(&*certificate.subject, "C=CZ, O=Weir, Inc., CN=www.example.com");
        assert_eq!(certificate.issuer, certificate.subject);
        assert_eq!(&*certificate.serial, "00:97:E6:47:09:8E:EA:C9:B4");
        assert_eq!(&*certificate.fingerprint, "8d:8c:23:bb:4b:7d:5a:49:fe:0a:a9:17:56:11:77:0b:91:48:b9:56");
        assert_eq!(
            certificate.not_before,
            Moment { seconds: 1_423_764_447, text: "2015-02-12T18:07:27".into() }
        );
        assert_eq!(&*certificate.not_after.text, "9999-12-31T23:59:59");
        let names = ["www.example.com", "*.example.com", "192.0.2.1", "2001:db8::1", "root@example.com"];
        assert_eq!(certificate.alternative_names, names.map(Box::from));
    }

    #[test]
    fn a_certificate_seen_again_comes_from_memory() {
        let first = Certificate::remembered(CERTIFICATE).unwrap();
        let second = Certificate::remembered(CERTIFICATE).unwrap();
        assert!(Rc::ptr_eq(&first, &second));
        let mut other = CERTIFICATE.to_vec();
        *other.last_mut().unwrap() ^= 1;
        assert_ne!(Certificate::remembered(&other).unwrap().fingerprint, first.fingerprint);
    }

    #[test]
    fn damage_is_refused_or_read_but_never_panics() {
        for cut in 0..CERTIFICATE.len() {
            assert_eq!(Certificate::parse(&CERTIFICATE[..cut]), None, "{cut}");
        }
        let mut damaged = CERTIFICATE.to_vec();
        for at in 0..damaged.len() {
            for change in [0x01, 0x20, 0x80, 0xff] {
                damaged[at] ^= change;
                let _ = Certificate::parse(&damaged);
                damaged[at] ^= change;
            }
        }
    }

    #[test]
    fn every_type_of_string_is_read() {
        for (tag, value, text) in [
            (12, &b"caf\xc3\xa9"[..], "café"),
            (12, b"caf\xff", "caf\u{fffd}"),
            (19, b"a\0b", "a\0b"),
            (20, b"caf\xe9", "café"),
            (22, b"a@b", "a@b"),
            (30, b"\0c\0\xe9\xd8", "cé"),
            (28, b"\0\0\0c\0\x01\xf3\x0a", "c🌊"),
            (3, b"\0\xab", "00AB"),
        ] {
            let mut out = String::new();
            push_value(&mut out, tag, value);
            assert_eq!(out, text, "{tag}");
        }
    }

    #[test]
    fn an_absurd_serial_number_is_cut() {
        assert_eq!(&*serial(&[]), "");
        assert_eq!(&*serial(&[0, 0xab]), "00:AB");
        assert_eq!(serial(&[7; 1000]).len(), SERIAL_BYTES_MAX * 3 - 1);
    }
}

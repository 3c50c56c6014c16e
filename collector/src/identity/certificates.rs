//! Certificates (X.509, RFC 5280): making them, and reading in them what Weir wrote there.
//!
//! In: names, keys, times. Out: certificates of the collector's authority. A sensor's name is the subject's common
//! name, and its pairing the subject's serial number; of a request only name and key are taken.

use super::refused::Refused;
use crypto::rand::{SecureRandom as _, SystemRandom};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKey,
    SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use std::net::IpAddr;
use std::time::Duration;
use time::OffsetDateTime;
use weir_common::enrolment::{COLLECTOR_SERVER_NAME, SensorName};
use weir_common::time::Timestamp;

/// How long before it is made a certificate begins to be valid, so that a peer whose clock is behind takes it.
pub const BACKDATED: Duration = Duration::from_secs(86_400);
/// How long the authority is valid: longer than the machine lives.
const AUTHORITY_VALID: Duration = Duration::from_secs(20 * 365 * 86_400);
/// How long the server certificate is valid; a new one is made when two thirds have passed, and at each start.
pub(super) const SERVER_VALID: Duration = Duration::from_secs(90 * 86_400);
/// Largest request for a certificate that is looked at, in octets.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// Octets of random numbers in certificates.
const SERIAL_BYTES: usize = 16;
/// The subject's attribute `serialNumber` (X.520).
const SUBJECT_SERIAL_NUMBER: &[u64] = &[2, 5, 4, 5];

/// When a certificate of `valid` from `now` is to be renewed.
pub(super) fn renew_at(now: Timestamp, valid: Duration) -> Timestamp {
    now.plus(valid / 3 * 2)
}

/// Random octets in hexadecimal.
pub(super) fn random_hex() -> Result<String, rcgen::Error> {
    Ok(random()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Random octets.
pub(super) fn random() -> Result<[u8; SERIAL_BYTES], rcgen::Error> {
    let mut octets = [0; SERIAL_BYTES];
    SystemRandom::new().fill(&mut octets).map_err(|_| rcgen::Error::RingUnspecified)?;
    Ok(octets)
}

fn params(now: Timestamp, valid: Duration, name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    let date = |time: Timestamp| {
        let seconds = i64::try_from(time.seconds()).unwrap_or(i64::MAX);
        OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| rcgen::Error::Time)
    };
    params.not_before = date(now.minus(BACKDATED))?;
    params.not_after = date(now.plus(valid))?;
    let mut serial = random()?;
    // RFC 5280 section 4.1.2.2: positive, so the first bit is clear; and not zero at the front, for DER.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// The authority's own certificate, signed by itself.
pub(super) fn authority(key: &KeyPair, now: Timestamp) -> Result<CertificateDer<'static>, rcgen::Error> {
    let mut params = params(now, AUTHORITY_VALID, "Weir collector authority")?;
    params.distinguished_name.push(DnType::from_oid(SUBJECT_SERIAL_NUMBER), random_hex()?);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Ok(params.self_signed(key)?.der().clone())
}

/// The collector's server certificate.
pub(super) fn server(
    issuer: &Issuer<'static, KeyPair>,
    key: &KeyPair,
    names: &[String],
    now: Timestamp,
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let mut params = params(now, SERVER_VALID, COLLECTOR_SERVER_NAME)?;
    params.subject_alt_names.push(SanType::DnsName(COLLECTOR_SERVER_NAME.try_into()?));
    for name in names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.as_str().try_into()?),
        });
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params.signed_by(key, issuer)?.der().clone())
}

/// A sensor's certificate.
pub(super) fn sensor(
    issuer: &Issuer<'static, KeyPair>,
    request: &Request,
    enrolment: &str,
    valid: Duration,
    now: Timestamp,
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let mut params = params(now, valid, request.name.as_str())?;
    params.distinguished_name.push(DnType::from_oid(SUBJECT_SERIAL_NUMBER), enrolment);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params.signed_by(&request.key, issuer)?.der().clone())
}

/// What is taken of a request for a certificate (PKCS #10, RFC 2986), whose signature proves that the key is theirs.
pub(super) struct Request {
    pub(super) name: SensorName,
    key: PublicKey,
}

impl Request {
    pub(super) fn read(csr_pem: &str) -> Result<Request, Refused> {
        if csr_pem.len() > REQUEST_BYTES_MAX {
            return Err(Refused::Request(format!("it has more than {REQUEST_BYTES_MAX} octets")));
        }
        let wrong = |error: rcgen::Error| Refused::Request(error.to_string());
        let read = CertificateSigningRequestParams::from_pem(csr_pem).map_err(wrong)?;
        if read.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(Refused::Request("its key is not on the curve P-256, as a sensor's is".into()));
        }
        let name = match read.params.distinguished_name.get(&DnType::CommonName) {
            Some(rcgen::DnValue::Utf8String(name)) => name.clone(),
            Some(rcgen::DnValue::PrintableString(name)) => name.as_str().to_owned(),
            _ => return Err(Refused::Request("it names no sensor".into())),
        };
        let name = SensorName::new(&name).map_err(|error| Refused::Request(error.to_string()))?;
        Ok(Request { name, key: read.public_key })
    }
}

/// The sensor and the pairing that a certificate of the authority is for.
pub(super) fn sensor_and_enrolment(certificate: &[u8]) -> Result<(SensorName, String), Refused> {
    let wrong = |what: &str| Refused::Certificate(what.to_owned());
    let (_, read) = x509_parser::parse_x509_certificate(certificate).map_err(|_| wrong("it is not X.509"))?;
    let subject = read.subject();
    let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
    let name = name.and_then(|name| SensorName::new(name).ok()).ok_or_else(|| wrong("it names no sensor"))?;
    let serial = x509_parser::oid_registry::OID_X509_SERIALNUMBER;
    let enrolment = subject.iter_by_oid(&serial).next().and_then(|serial| serial.as_str().ok());
    Ok((name, enrolment.ok_or_else(|| wrong("it names no pairing"))?.to_owned()))
}

/// The subject of a foreign exporter's certificate, as `CN=router-1, O=Example`: with its `=` never a sensor's name.
pub(super) fn subject(certificate: &[u8]) -> Result<String, Refused> {
    let (_, read) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| Refused::Certificate("it is not X.509".into()))?;
    let text = match read.subject().to_string() {
        empty if empty.is_empty() => format!("serial={}", read.raw_serial_as_string()),
        text => text,
    };
    // It is shown in status and logs: nothing in it may be more than text.
    Ok(text.chars().filter(|character| !character.is_control()).take(SUBJECT_CHARACTERS_MAX).collect())
}

/// Most characters of a foreign certificate's subject that are shown.
const SUBJECT_CHARACTERS_MAX: usize = 128;

/// When a certificate begins and ends to be valid.
pub(super) fn validity(certificate: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (_, read) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let time = |seconds: i64| Timestamp::from_parts(u64::try_from(seconds).unwrap_or(0), 0);
    Some((time(read.validity().not_before.timestamp()), time(read.validity().not_after.timestamp())))
}

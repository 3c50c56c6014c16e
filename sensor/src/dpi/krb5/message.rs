//! Kerberos 5 messages (RFC 4120 section 5): what is not encrypted in them.
//!
//! In: one message. Out: its kind, names, realm, encryption types, error. Also the ticket in an AP-REQ, which
//! other protocols carry.

use crate::dpi::der::{self, Header, INTEGER, SEQUENCE};
use crate::dpi::wire::cut;

/// Most parts read of a principal's name.
const PARTS_MAX: usize = 8;
const TICKET: u8 = 0x61;
pub(super) const AS_REQ: u8 = 10;
pub(super) const AS_REP: u8 = 11;
pub(super) const TGS_REQ: u8 = 12;
pub(super) const TGS_REP: u8 = 13;
pub(in crate::dpi) const AP_REQ: u8 = 14;
pub(super) const ERROR: u8 = 30;

/// A principal's name: its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::dpi) struct Principal(pub(in crate::dpi) Vec<String>);

impl Principal {
    fn parse(content: &[u8]) -> Option<Principal> {
        let mut rest = content;
        let mut name = der::next_of(&mut rest, SEQUENCE)?;
        der::next_of(&mut name, 0xa0)?;
        let mut list = der::next_of(&mut name, 0xa1)?;
        let parts = der::next_of(&mut list, SEQUENCE)?;
        let texts = der::elements(parts).take(PARTS_MAX);
        Some(Principal(texts.map(|part| String::from_utf8_lossy(cut(part.content)).into_owned()).collect()))
    }

    /// The parts joined by slashes.
    pub(super) fn text(&self) -> String {
        self.0.join("/")
    }
}

/// What a message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) client: Option<Principal>,
    pub(super) realm: Option<String>,
    pub(super) service: Option<Principal>,
    pub(super) encryption: Option<i64>,
    pub(super) ticket_encryption: Option<i64>,
    pub(super) error: Option<i64>,
    /// NetBIOS name of the client's host, where it gives one as its address.
    pub(super) host: Option<String>,
}

/// The kind of a message that `bytes` begin with, and its length: checks tag, version and kind, which have to
/// agree.
pub(super) fn kind(bytes: &[u8]) -> Kind {
    let Header::Of(tag, at, length) = der::header(bytes) else {
        return if der::header(bytes) == Header::Cut { Kind::Cut } else { Kind::Other };
    };
    let number = tag & 0x1f;
    let is_known = tag & 0xe0 == 0x60 && matches!(number, AS_REQ..=15 | 20..=22 | ERROR);
    if !is_known {
        return Kind::Other;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    match der::header(rest) {
        Header::Cut => return Kind::Cut,
        Header::Of(SEQUENCE, inner, content) if inner + content == length => {
            let Some(start) = rest.get(inner..inner + 10) else {
                return if bytes.len() < at + length && length >= 12 { Kind::Cut } else { Kind::Other };
            };
            // A request's fields count from 1, others' from 0.
            let first = 0xa0 + u8::from(matches!(number, AS_REQ | TGS_REQ));
            if start == [first, 3, INTEGER, 1, 5, first + 1, 3, INTEGER, 1, number] {
                return Kind::Of(number, at + length);
            }
        }
        _ => {}
    }
    Kind::Other
}

/// What the first bytes of a message say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Cut,
    Other,
    Of(u8, usize),
}

/// Reads a message. `None`: it is malformed.
pub(super) fn parse(bytes: &[u8]) -> Option<Message> {
    let mut rest = bytes;
    let element = der::next(&mut rest)?;
    let kind = element.tag & 0x1f;
    let mut content = element.content;
    let fields = der::next_of(&mut content, SEQUENCE)?;
    let mut message = Message { kind, ..Message::default() };
    let field = |number: u8| der::find(fields, 0xa0 + number);
    match kind {
        AS_REQ | TGS_REQ => {
            let mut body = field(4)?;
            let body = der::next_of(&mut body, SEQUENCE)?;
            message.client = der::find(body, 0xa1).and_then(Principal::parse);
            message.realm = der::find(body, 0xa2).and_then(text);
            message.service = der::find(body, 0xa3).and_then(Principal::parse);
            message.host = der::find(body, 0xa9).and_then(netbios_name);
        }
        AS_REP | TGS_REP => {
            message.realm = text(field(3)?);
            message.client = Principal::parse(field(4)?);
            let (_, service, encryption) = ticket(field(5)?)?;
            message.service = Some(service);
            message.ticket_encryption = encryption;
            message.encryption = encryption_type(field(6)?);
        }
        ERROR => {
            message.error = Some(der::next_number(&mut field(6)?)?);
            message.realm = field(7).and_then(text);
            message.client = field(8).and_then(Principal::parse);
            message.service = field(10).and_then(Principal::parse);
        }
        _ => {}
    }
    Some(message)
}

fn text(content: &[u8]) -> Option<String> {
    let mut rest = content;
    Some(String::from_utf8_lossy(cut(der::next(&mut rest)?.content)).into_owned())
}

/// Realm, service and encryption type of a ticket.
fn ticket(content: &[u8]) -> Option<(String, Principal, Option<i64>)> {
    let mut rest = content;
    let mut ticket = der::next_of(&mut rest, TICKET)?;
    let fields = der::next_of(&mut ticket, SEQUENCE)?;
    let realm = text(der::find(fields, 0xa1)?)?;
    let service = Principal::parse(der::find(fields, 0xa2)?)?;
    Some((realm, service, der::find(fields, 0xa3).and_then(encryption_type)))
}

fn encryption_type(content: &[u8]) -> Option<i64> {
    let mut rest = content;
    let fields = der::next_of(&mut rest, SEQUENCE)?;
    der::next_number(&mut der::find(fields, 0xa0)?)
}

fn netbios_name(content: &[u8]) -> Option<String> {
    const NETBIOS: i64 = 20;
    let mut rest = content;
    let addresses = der::next_of(&mut rest, SEQUENCE)?;
    let name = der::elements(addresses).find_map(|address| {
        let kind = der::next_number(&mut der::find(address.content, 0xa0)?)?;
        (kind == NETBIOS).then(|| der::next_of(&mut der::find(address.content, 0xa1)?, der::OCTETS)).flatten()
    })?;
    let name = String::from_utf8_lossy(name);
    let name = name.trim_end_matches([' ', '\0']);
    (!name.is_empty()).then(|| name.to_string())
}

/// Realm and service of the ticket in an AP-REQ.
pub(in crate::dpi) fn ticket_of_request(bytes: &[u8]) -> Option<(String, Principal)> {
    let mut rest = bytes;
    let mut content = der::next_of(&mut rest, 0x60 | AP_REQ)?;
    let fields = der::next_of(&mut content, SEQUENCE)?;
    let (realm, service, _) = ticket(der::find(fields, 0xa3)?)?;
    Some((realm, service))
}

/// The name EVE gives a kind of message.
pub(super) fn kind_name(kind: u8) -> &'static str {
    match kind {
        AS_REQ => "KRB_AS_REQ",
        AS_REP => "KRB_AS_REP",
        TGS_REQ => "KRB_TGS_REQ",
        TGS_REP => "KRB_TGS_REP",
        AP_REQ => "KRB_AP_REQ",
        15 => "KRB_AP_REP",
        20 => "KRB_SAFE",
        21 => "KRB_PRIV",
        22 => "KRB_CRED",
        ERROR => "KRB_ERROR",
        _ => "UNKNOWN",
    }
}

/// The name of an encryption type (IANA's registry of Kerberos parameters), and whether it is weak.
pub(super) fn encryption_name(number: i64) -> (String, bool) {
    let name = match number {
        1 => "des-cbc-crc",
        2 => "des-cbc-md4",
        3 => "des-cbc-md5",
        5 => "des3-cbc-md5",
        7 => "des3-cbc-sha1",
        9 => "dsaWithSHA1-CmsOID",
        10 => "md5WithRSAEncryption-CmsOID",
        11 => "sha1WithRSAEncryption-CmsOID",
        12 => "rc2CBC-EnvOID",
        13 => "rsaEncryption-EnvOID",
        14 => "rsaES-OAEP-ENV-OID",
        15 => "des-ede3-cbc-Env-OID",
        16 => "des3-cbc-sha1-kd",
        17 => "aes128-cts-hmac-sha1-96",
        18 => "aes256-cts-hmac-sha1-96",
        19 => "aes128-cts-hmac-sha256-128",
        20 => "aes256-cts-hmac-sha384-192",
        23 => "rc4-hmac",
        24 => "rc4-hmac-exp",
        25 => "camellia128-cts-cmac",
        26 => "camellia256-cts-cmac",
        other => return (format!("Unknown({other})"), true),
    };
    (name.to_string(), !matches!(number, 17..=20 | 25 | 26))
}

/// The name of an error (RFC 4120 section 7.5.9, RFC 4556 section 3.1.3).
pub(super) fn error_name(number: i64) -> String {
    const FIRST: [&str; 33] = [
        "KDC_ERR_NONE",
        "KDC_ERR_NAME_EXP",
        "KDC_ERR_SERVICE_EXP",
        "KDC_ERR_BAD_PVNO",
        "KDC_ERR_C_OLD_MAST_KVNO",
        "KDC_ERR_S_OLD_MAST_KVNO",
        "KDC_ERR_C_PRINCIPAL_UNKNOWN",
        "KDC_ERR_S_PRINCIPAL_UNKNOWN",
        "KDC_ERR_PRINCIPAL_NOT_UNIQUE",
        "KDC_ERR_NULL_KEY",
        "KDC_ERR_CANNOT_POSTDATE",
        "KDC_ERR_NEVER_VALID",
        "KDC_ERR_POLICY",
        "KDC_ERR_BADOPTION",
        "KDC_ERR_ETYPE_NOSUPP",
        "KDC_ERR_SUMTYPE_NOSUPP",
        "KDC_ERR_PADATA_TYPE_NOSUPP",
        "KDC_ERR_TRTYPE_NOSUPP",
        "KDC_ERR_CLIENT_REVOKED",
        "KDC_ERR_SERVICE_REVOKED",
        "KDC_ERR_TGT_REVOKED",
        "KDC_ERR_CLIENT_NOTYET",
        "KDC_ERR_SERVICE_NOTYET",
        "KDC_ERR_KEY_EXPIRED",
        "KDC_ERR_PREAUTH_FAILED",
        "KDC_ERR_PREAUTH_REQUIRED",
        "KDC_ERR_SERVER_NOMATCH",
        "KDC_ERR_MUST_USE_USER2USER",
        "KDC_ERR_PATH_NOT_ACCEPTED",
        "KDC_ERR_SVC_UNAVAILABLE",
        "KDC_ERR_30",
        "KRB_AP_ERR_BAD_INTEGRITY",
        "KRB_AP_ERR_TKT_EXPIRED",
    ];
    if let Some(name) = usize::try_from(number).ok().and_then(|number| FIRST.get(number)) {
        return (*name).to_string();
    }
    match number {
        33 => "KRB_AP_ERR_TKT_NYV",
        34 => "KRB_AP_ERR_REPEAT",
        35 => "KRB_AP_ERR_NOT_US",
        36 => "KRB_AP_ERR_BADMATCH",
        37 => "KRB_AP_ERR_SKEW",
        38 => "KRB_AP_ERR_BADADDR",
        39 => "KRB_AP_ERR_BADVERSION",
        40 => "KRB_AP_ERR_MSG_TYPE",
        41 => "KRB_AP_ERR_MODIFIED",
        42 => "KRB_AP_ERR_BADORDER",
        44 => "KRB_AP_ERR_BADKEYVER",
        45 => "KRB_AP_ERR_NOKEY",
        46 => "KRB_AP_ERR_MUT_FAIL",
        47 => "KRB_AP_ERR_BADDIRECTION",
        48 => "KRB_AP_ERR_METHOD",
        49 => "KRB_AP_ERR_BADSEQ",
        50 => "KRB_AP_ERR_INAPP_CKSUM",
        51 => "KRB_AP_PATH_NOT_ACCEPTED",
        52 => "KRB_ERR_RESPONSE_TOO_BIG",
        60 => "KRB_ERR_GENERIC",
        61 => "KRB_ERR_FIELD_TOOLONG",
        62 => "KDC_ERROR_CLIENT_NOT_TRUSTED",
        63 => "KDC_ERROR_KDC_NOT_TRUSTED",
        64 => "KDC_ERROR_INVALID_SIG",
        65 => "KDC_ERR_KEY_TOO_WEAK",
        66 => "KDC_ERR_CERTIFICATE_MISMATCH",
        67 => "KRB_AP_ERR_NO_TGT",
        68 => "KDC_ERR_WRONG_REALM",
        69 => "KRB_AP_ERR_USER_TO_USER_REQUIRED",
        70 => "KDC_ERR_CANT_VERIFY_CERTIFICATE",
        71 => "KDC_ERR_INVALID_CERTIFICATE",
        72 => "KDC_ERR_REVOKED_CERTIFICATE",
        73 => "KDC_ERR_REVOCATION_STATUS_UNKNOWN",
        74 => "KDC_ERR_REVOCATION_STATUS_UNAVAILABLE",
        75 => "KDC_ERR_CLIENT_NAME_MISMATCH",
        76 => "KDC_ERR_KDC_NAME_MISMATCH",
        other => return format!("Unknown({other})"),
    }
    .to_string()
}

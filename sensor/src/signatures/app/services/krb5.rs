//! `krb5.ticket_encryption`: how a Kerberos ticket is encrypted.
//!
//! In: `weak`, `!weak`, or names and numbers of encryption types; then a side. Out: whether its ticket is encrypted so.

use super::shown;
use crate::dpi::buffers::{Number, Side, Wanted};

/// How the ticket must be encrypted.
#[derive(Debug)]
pub(in crate::signatures) enum TicketEncryption {
    /// By a weak type, or by none of them.
    Weak(bool),
    /// By any of these.
    Any(Vec<i64>),
}

impl TicketEncryption {
    /// Reads `weak`, `!weak`, `des-cbc-crc , -128,2`.
    pub(super) fn parse(text: &str) -> Result<TicketEncryption, String> {
        match text {
            "weak" => return Ok(TicketEncryption::Weak(true)),
            "!weak" => return Ok(TicketEncryption::Weak(false)),
            _ => {}
        }
        let mut types = Vec::new();
        for item in text.split([',', ' ']).filter(|item| !item.is_empty()) {
            let named = TYPES.iter().find(|(name, _)| *name == item).map(|(_, number)| *number);
            let number = named.or_else(|| item.parse::<i32>().ok().map(i64::from));
            types.push(number.ok_or_else(|| format!("`{}` is not a type of encryption", shown(item)))?);
        }
        if types.is_empty() {
            return Err("expected `weak`, `!weak` or types of encryption".into());
        }
        Ok(TicketEncryption::Any(types))
    }

    /// Whether the side is what the rule asks for.
    pub(super) fn holds(&self, side: &Side) -> bool {
        // Numbers below zero come as the side's numbers hold them.
        side.numbers_of(Number::Krb5TicketEncryption).map(|number| number as i64).any(|number| match self {
            TicketEncryption::Weak(is_weak) => is_strong(number) != *is_weak,
            TicketEncryption::Any(types) => types.contains(&number),
        })
    }

    /// What of sides it reads.
    pub(super) fn wants(&self, wanted: &mut Wanted) {
        wanted.want_number(Number::Krb5TicketEncryption);
    }
}

/// Whether Suricata takes a type for strong: AES and Camellia.
fn is_strong(number: i64) -> bool {
    matches!(number, 17..=20 | 25 | 26)
}

const TYPES: &[(&str, i64)] = &[
    ("des-cbc-crc", 1),
    ("des-cbc-md4", 2),
    ("des-cbc-md5", 3),
    ("des3-cbc-md5", 5),
    ("des3-cbc-sha1", 7),
    ("dsaWithSHA1-CmsOID", 9),
    ("md5WithRSAEncryption-CmsOID", 10),
    ("sha1WithRSAEncryption-CmsOID", 11),
    ("rc2CBC-EnvOID", 12),
    ("rsaEncryption-EnvOID", 13),
    ("rsaES-OAEP-ENV-OID", 14),
    ("des-ede3-cbc-Env-OID", 15),
    ("des3-cbc-sha1-kd", 16),
    ("aes128-cts-hmac-sha1-96", 17),
    ("aes256-cts-hmac-sha1-96", 18),
    ("aes128-cts-hmac-sha256-128", 19),
    ("aes256-cts-hmac-sha384-192", 20),
    ("rc4-hmac", 23),
    ("rc4-hmac-exp", 24),
    ("camellia128-cts-cmac", 25),
    ("camellia256-cts-cmac", 26),
    ("subkey-keymaterial", 65),
    ("rc4-md4", -128),
    ("rc4-plain2", -129),
    ("rc4-lm", -130),
    ("rc4-sha", -131),
    ("des-plain", -132),
    ("rc4-hmac-OLD", -133),
    ("rc4-plain-OLD", -134),
    ("rc4-hmac-OLD-exp", -135),
    ("rc4-plain-OLD-exp", -136),
    ("rc4-plain", -140),
    ("rc4-plain-exp", -141),
];

#[cfg(test)]
mod tests {
    use super::super::testing::{holds, read};
    use super::*;

    #[test]
    fn tickets_are_asked_by_type_or_by_strength() {
        let holds = |ask: &str, kind: i64| holds(ask, &[], &[(Number::Krb5TicketEncryption, kind as u64)]);
        for (ask, kind, expected) in [
            ("krb5.ticket_encryption: weak", 23, true),
            ("krb5.ticket_encryption:weak", 18, false),
            ("krb5.ticket_encryption:!weak", 18, true),
            ("krb5.ticket_encryption:des-cbc-crc , -128,2 257", 1, true),
            ("krb5.ticket_encryption:des-cbc-crc , -128,2 257", -128, true),
            ("krb5.ticket_encryption:des-cbc-crc , -128,2 257", 257, true),
            ("krb5.ticket_encryption:rc4-hmac", 18, false),
        ] {
            assert_eq!(holds(ask, kind), expected, "{ask} {kind}");
        }
        for wrong in ["krb5.ticket_encryption", "krb5.ticket_encryption:strong", "krb5.ticket_encryption:1,x"]
        {
            assert!(matches!(read(wrong), Some(Err(_))), "{wrong}");
        }
    }
}

//! Names of what IKE negotiates, as Suricata's EVE writes them.
//!
//! In: numbers of IANA's registries. Out: names.

use std::borrow::Cow;

/// Attributes of a transform of version 1 (RFC 2409 appendix A): the name, and that of a value given by number.
pub(super) fn attribute(kind: u16, value: u16) -> (&'static str, &'static str) {
    const UNKNOWN: &str = "Unknown";
    let of = |names: &[&'static str]| names.get(usize::from(value)).copied().unwrap_or(UNKNOWN);
    match kind {
        1 => (
            "alg_enc",
            of(&[
                UNKNOWN,
                "EncDesCbc",
                "EncIdeaCbc",
                "EncBlowfishCbc",
                "EncRc5R16B64Cbc",
                "EncTripleDesCbc",
                "EncCastCbc",
                "EncAesCbc",
                "EncCamelliaCbc",
            ]),
        ),
        2 => (
            "alg_hash",
            of(&[UNKNOWN, "HashMd5", "HashSha", "HashTiger", "HashSha2_256", "HashSha2_384", "HashSha2_512"]),
        ),
        3 => (
            "alg_auth",
            of(&[
                UNKNOWN,
                "AuthPreSharedKey",
                "AuthDssSignatures",
                "AuthRsaSignatures",
                "AuthEncryptionWithRsa",
                "AuthRevisedEncryptionWithRsa",
                "AuthReserved",
                "AuthReserved",
                "AuthReserved",
                "AuthEcdsaSha256",
                "AuthEcdsaSha384",
                "AuthEcdsaSha512",
            ]),
        ),
        4 => ("alg_dh", group(value).unwrap_or(UNKNOWN)),
        5 => ("sa_group_type", UNKNOWN),
        6 => ("sa_group_prime", UNKNOWN),
        7 => ("sa_group_generator_one", UNKNOWN),
        8 => ("sa_group_generator_two", UNKNOWN),
        9 => ("sa_group_curve_a", UNKNOWN),
        10 => ("sa_group_curve_b", UNKNOWN),
        11 => ("sa_life_type", of(&[UNKNOWN, "LifeTypeSeconds", "LifeTypeKilobytes"])),
        12 => ("sa_life_duration", UNKNOWN),
        13 => ("alg_prf", UNKNOWN),
        14 => ("sa_key_length", UNKNOWN),
        15 => ("sa_field_size", UNKNOWN),
        16 => ("sa_group_order", UNKNOWN),
        _ => ("unknown", UNKNOWN),
    }
}

fn group(number: u16) -> Option<&'static str> {
    Some(match number {
        1 => "GroupDefault768BitModp",
        2 => "GroupAlternate1024BitModpGroup",
        3 => "GroupEc2nOnGp2p155",
        4 => "GroupEc2nOnGp2p185",
        5 => "GroupModp1536Bit",
        6 | 7 => "GroupEc2nOverGf2p163",
        8 | 9 => "GroupEc2nOverGf2p283",
        10 | 11 => "GroupEc2nOverGf2p409",
        12 | 13 => "GroupEc2nOverGf2p571",
        14 => "GroupModp2048Bit",
        15 => "GroupModp3072Bit",
        16 => "GroupModp4096Bit",
        17 => "GroupModp6144Bit",
        18 => "GroupModp8192Bit",
        19 => "GroupRandomEcp256",
        20 => "GroupRandomEcp384",
        21 => "GroupRandomEcp521",
        22 => "GroupModp1024With160BitPrime",
        23 => "GroupModp2048With224BitPrime",
        24 => "GroupModp2048With256BitPrime",
        25 => "GroupRandomEcp192",
        26 => "GroupRandomEcp224",
        27 => "GroupBrainpoolEcp224",
        28 => "GroupBrainpoolEcp256",
        29 => "GroupBrainpoolEcp384",
        30 => "GroupBrainpoolEcp512",
        _ => return None,
    })
}

/// Payloads of version 1.
pub(super) fn payload_1(kind: u8) -> Option<&'static str> {
    Some(match kind {
        0 => "None",
        1 => "SecurityAssociation",
        2 => "Proposal",
        3 => "Transform",
        4 => "KeyExchange",
        5 => "Identification",
        6 => "Certificate",
        7 => "CertificateRequest",
        8 => "Hash",
        9 => "Signature",
        10 => "Nonce",
        11 => "Notification",
        12 => "Delete",
        13 => "VendorID",
        15 => "SaKekPayload",
        16 => "SaTekPayload",
        17 => "KeyDownload",
        18 => "SequenceNumber",
        19 => "ProofOfPossession",
        20 => "NatDiscovery",
        21 => "NatOriginalAddress",
        22 => "GroupAssociatedPolicy",
        _ => return None,
    })
}

/// Payloads of version 2.
pub(super) fn payload_2(kind: u8) -> Cow<'static, str> {
    Cow::Borrowed(match kind {
        0 => "NoNextPayload",
        33 => "SecurityAssociation",
        34 => "KeyExchange",
        35 => "IDi",
        36 => "IDr",
        37 => "Certificate",
        38 => "CertificateRequest",
        39 => "Authentication",
        40 => "Nonce",
        41 => "Notify",
        42 => "Delete",
        43 => "VendorID",
        44 => "TrafficSelectorInitiator",
        45 => "TrafficSelectorResponder",
        46 => "EncryptedAndAuthenticated",
        47 => "Configuration",
        48 => "ExtensibleAuthentication",
        other => return Cow::Owned(format!("IkePayloadType({other})")),
    })
}

/// Transforms of version 2 (RFC 7296 section 3.3.2) by type: the key, and the name of the algorithm.
pub(super) fn transform(kind: u8, number: u16) -> Option<(&'static str, Cow<'static, str>)> {
    let (key, name) = match kind {
        1 => ("alg_enc", encryption(number)),
        2 => ("alg_prf", pseudorandom(number)),
        3 => ("alg_auth", integrity(number)),
        4 => ("alg_dh", exchange(number)),
        5 => ("alg_esn", ["NoESN", "ESN"].get(usize::from(number)).copied()),
        _ => return None,
    };
    Some((key, name.map_or_else(|| number.to_string().into(), Cow::Borrowed)))
}

fn encryption(number: u16) -> Option<&'static str> {
    Some(match number {
        1 => "ENCR_DES_IV64",
        2 => "ENCR_DES",
        3 => "ENCR_3DES",
        4 => "ENCR_RC5",
        5 => "ENCR_IDEA",
        6 => "ENCR_CAST",
        7 => "ENCR_BLOWFISH",
        8 => "ENCR_3IDEA",
        9 => "ENCR_DES_IV32",
        11 => "ENCR_NULL",
        12 => "ENCR_AES_CBC",
        13 => "ENCR_AES_CTR",
        14 => "ENCR_AES_CCM_8",
        15 => "ENCR_AES_CCM_12",
        16 => "ENCR_AES_CCM_16",
        18 => "ENCR_AES_GCM_8",
        19 => "ENCR_AES_GCM_12",
        20 => "ENCR_AES_GCM_16",
        21 => "ENCR_NULL_AUTH_AES_GMAC",
        23 => "ENCR_CAMELLIA_CBC",
        24 => "ENCR_CAMELLIA_CTR",
        25 => "ENCR_CAMELLIA_CCM_8",
        26 => "ENCR_CAMELLIA_CCM_12",
        27 => "ENCR_CAMELLIA_CCM_16",
        28 => "ENCR_CHACHA20_POLY1305",
        _ => return None,
    })
}

fn pseudorandom(number: u16) -> Option<&'static str> {
    Some(match number {
        0 => "PRF_NULL",
        1 => "PRF_HMAC_MD5",
        2 => "PRF_HMAC_SHA1",
        3 => "PRF_HMAC_TIGER",
        4 => "PRF_AES128_XCBC",
        5 => "PRF_HMAC_SHA2_256",
        6 => "PRF_HMAC_SHA2_384",
        7 => "PRF_HMAC_SHA2_512",
        8 => "PRF_AES128_CMAC",
        _ => return None,
    })
}

fn integrity(number: u16) -> Option<&'static str> {
    Some(match number {
        0 => "NONE",
        1 => "AUTH_HMAC_MD5_96",
        2 => "AUTH_HMAC_SHA1_96",
        3 => "AUTH_DES_MAC",
        4 => "AUTH_KPDK_MD5",
        5 => "AUTH_AES_XCBC_96",
        6 => "AUTH_HMAC_MD5_128",
        7 => "AUTH_HMAC_SHA1_160",
        8 => "AUTH_AES_CMAC_96",
        9 => "AUTH_AES_128_GMAC",
        10 => "AUTH_AES_192_GMAC",
        11 => "AUTH_AES_256_GMAC",
        12 => "AUTH_HMAC_SHA2_256_128",
        13 => "AUTH_HMAC_SHA2_384_192",
        14 => "AUTH_HMAC_SHA2_512_256",
        _ => return None,
    })
}

fn exchange(number: u16) -> Option<&'static str> {
    Some(match number {
        0 => "None",
        1 => "Modp768",
        2 => "Modp1024",
        5 => "Modp1536",
        14 => "Modp2048",
        15 => "Modp3072",
        16 => "Modp4096",
        17 => "Modp6144",
        18 => "Modp8192",
        19 => "Ecp256",
        20 => "Ecp384",
        21 => "Ecp521",
        22 => "Modp1024s160",
        23 => "Modp2048s224",
        24 => "Modp2048s256",
        25 => "Ecp192",
        26 => "Ecp224",
        27 => "BrainpoolP224r1",
        28 => "BrainpoolP256r1",
        29 => "BrainpoolP384r1",
        30 => "BrainpoolP512r1",
        31 => "Curve25519",
        32 => "Curve448",
        _ => return None,
    })
}

/// Notifications of version 2 (RFC 7296 section 3.10.1).
pub(super) fn notification(number: u16) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        1 => "UNSUPPORTED_CRITICAL_PAYLOAD",
        4 => "INVALID_IKE_SPI",
        5 => "INVALID_MAJOR_VERSION",
        7 => "INVALID_SYNTAX",
        9 => "INVALID_MESSAGE_ID",
        11 => "INVALID_SPI",
        14 => "NO_PROPOSAL_CHOSEN",
        17 => "INVALID_KE_PAYLOAD",
        24 => "AUTHENTICATION_FAILED",
        34 => "SINGLE_PAIR_REQUIRED",
        35 => "NO_ADDITIONAL_SAS",
        36 => "INTERNAL_ADDRESS_FAILURE",
        37 => "FAILED_CP_REQUIRED",
        38 => "TS_UNACCEPTABLE",
        39 => "INVALID_SELECTORS",
        43 => "TEMPORARY_FAILURE",
        44 => "CHILD_SA_NOT_FOUND",
        16384 => "INITIAL_CONTACT",
        16385 => "SET_WINDOW_SIZE",
        16386 => "ADDITIONAL_TS_POSSIBLE",
        16387 => "IPCOMP_SUPPORTED",
        16388 => "NAT_DETECTION_SOURCE_IP",
        16389 => "NAT_DETECTION_DESTINATION_IP",
        16390 => "COOKIE",
        16391 => "USE_TRANSPORT_MODE",
        16392 => "HTTP_CERT_LOOKUP_SUPPORTED",
        16393 => "REKEY_SA",
        16394 => "ESP_TFC_PADDING_NOT_SUPPORTED",
        16395 => "NON_FIRST_FRAGMENTS_ALSO",
        16430 => "IKEV2_FRAGMENTATION_SUPPORTED",
        16431 => "SIGNATURE_HASH_ALGORITHMS",
        other => return Cow::Owned(format!("NotifyType({other})")),
    })
}

/// Whether a transform of version 2 is known to be weak: the event that tells of it.
pub(super) fn weakness(kind: u8, number: u16) -> Option<&'static str> {
    match (kind, number) {
        (1, 11) => Some("no_encryption"),
        (1, 1..=9) => Some("weak_crypto_enc"),
        (2, 1..=2) => Some("weak_crypto_prf"),
        (3, 1..=4) => Some("weak_crypto_auth"),
        (4, 0) => Some("weak_crypto_no_dh"),
        (4, 1 | 2 | 5 | 22) => Some("weak_crypto_dh"),
        _ => None,
    }
}

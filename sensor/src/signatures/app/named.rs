//! Integer keywords whose values have names, or whose numbers a side has several of.
//!
//! In: a rule's option; then a transaction's side. Out: whether one of the side's numbers is what the rule asks for.
//! Names are Suricata's; their case does not matter. Deliberately absent: keywords of one plain number, which need only
//! a row of [`Number`].

use super::Refused;
use crate::dpi::buffers::{Number, Side, Stage, Wanted};
use crate::signatures::packet::{UintTest, UintsTest, Width};
use weir_common::rule::RuleOption;

/// Names of values.
type Names = &'static [(&'static str, u64)];

const RCODES: Names = &[
    ("NOERROR", 0),
    ("FORMERR", 1),
    ("SERVFAIL", 2),
    ("NXDOMAIN", 3),
    ("NOTIMP", 4),
    ("REFUSED", 5),
    ("YXDOMAIN", 6),
    ("YXRRSET", 7),
    ("NXRRSET", 8),
    ("NOTAUTH", 9),
    ("NOTZONE", 10),
    ("BADVERS", 16),
    ("BADSIG", 16),
    ("BADKEY", 17),
    ("BADTIME", 18),
    ("BADMODE", 19),
    ("BADNAME", 20),
    ("BADALG", 21),
    ("BADTRUNC", 22),
];

const RECORD_TYPES: Names = &[
    ("A", 1),
    ("NS", 2),
    ("MD", 3),
    ("MF", 4),
    ("CNAME", 5),
    ("SOA", 6),
    ("MB", 7),
    ("MG", 8),
    ("MR", 9),
    ("NULL", 10),
    ("WKS", 11),
    ("PTR", 12),
    ("HINFO", 13),
    ("MINFO", 14),
    ("MX", 15),
    ("TXT", 16),
    ("RP", 17),
    ("AFSDB", 18),
    ("X25", 19),
    ("ISDN", 20),
    ("RT", 21),
    ("NSAP", 22),
    ("NSAPPTR", 23),
    ("SIG", 24),
    ("KEY", 25),
    ("PX", 26),
    ("GPOS", 27),
    ("AAAA", 28),
    ("LOC", 29),
    ("NXT", 30),
    ("SRV", 33),
    ("ATMA", 34),
    ("NAPTR", 35),
    ("KX", 36),
    ("CERT", 37),
    ("A6", 38),
    ("DNAME", 39),
    ("OPT", 41),
    ("APL", 42),
    ("DS", 43),
    ("SSHFP", 44),
    ("IPSECKEY", 45),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("DHCID", 49),
    ("NSEC3", 50),
    ("NSEC3PARAM", 51),
    ("TLSA", 52),
    ("HIP", 55),
    ("CDS", 59),
    ("CDNSKEY", 60),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("SPF", 99),
    ("TKEY", 249),
    ("TSIG", 250),
    ("MAILA", 254),
    ("ANY", 255),
    ("URI", 256),
];

const NTP_MODES: Names = &[
    ("reserved", 0),
    ("symmetric_active", 1),
    ("symmetric_passive", 2),
    ("client", 3),
    ("server", 4),
    ("broadcast", 5),
    ("control", 6),
    ("private", 7),
];

const PDU_TYPES: Names = &[
    ("get_request", 0),
    ("get_next_request", 1),
    ("response", 2),
    ("set_request", 3),
    ("trap_v1", 4),
    ("get_bulk_request", 5),
    ("inform_request", 6),
    ("trap_v2", 7),
    ("report", 8),
];

const SECURITY_RESULTS: Names = &[("ok", 0), ("fail", 1), ("toomany", 2)];

/// Keyword, number, width, names. `rfb.secresult:unknown` is read apart.
const KEYWORDS: &[(&str, Number, Width, Names)] = &[
    ("dns.opcode", Number::DnsOpcode, Width::U8, &[]),
    ("dns.rcode", Number::DnsRcode, Width::U16, RCODES),
    ("ntp.mode", Number::NtpMode, Width::U8, NTP_MODES),
    ("ntp.version", Number::NtpVersion, Width::U8, &[]),
    ("ntp.stratum", Number::NtpStratum, Width::U8, &[]),
    ("snmp.pdu_type", Number::SnmpPduType, Width::U32, PDU_TYPES),
    ("rfb.secresult", Number::RfbSecresult, Width::U32, SECURITY_RESULTS),
    ("ike.exchtype", Number::IkeExchtype, Width::U8, &[]),
];

/// A test of numbers of a side.
#[derive(Debug)]
pub(in crate::signatures) enum Named {
    One(Number, UintTest),
    Several(Number, UintsTest),
}

impl Named {
    /// Reads an option; none: it is none of these keywords.
    pub(super) fn option(option: &RuleOption) -> Option<Result<Named, Refused>> {
        let text = String::from_utf8_lossy(option.value.as_deref().unwrap_or_default()).to_lowercase();
        let refused = |reason| (option.value_place, reason);
        if option.name == "dns.rrtype" {
            let test = UintsTest::parse_named(&text, Width::U16, RECORD_TYPES);
            return Some(test.map(|test| Named::Several(Number::DnsRrtype, test)).map_err(refused));
        }
        if option.name == "rfb.secresult"
            && let Some(is_negated) = unknown(&text)
        {
            // What has no name is not known.
            return Some(Ok(Named::One(
                Number::RfbSecresult,
                UintTest::Range { from: 0, to: 2, is_negated: !is_negated },
            )));
        }
        let (_, number, width, names) = KEYWORDS.iter().find(|(name, ..)| *name == option.name)?;
        let test = UintTest::parse_named(&text, *width, names);
        Some(test.map(|test| Named::One(*number, test)).map_err(refused))
    }

    /// Whether the side is what the rule asks for.
    pub(super) fn holds(&self, side: &Side) -> bool {
        match self {
            Named::One(number, test) => side.numbers_of(*number).any(|value| test.has(value)),
            Named::Several(number, test) => {
                let count = side.numbers_of(*number).count();
                test.has(count, |at| side.numbers_of(*number).nth(at), side.stage >= Stage::Body)
            }
        }
    }

    /// What of sides it reads.
    pub(super) fn wants(&self, wanted: &mut Wanted) {
        let (Named::One(number, _) | Named::Several(number, _)) = self;
        wanted.want_number(*number);
    }

    /// A number without which it does not hold.
    pub(super) fn needs(&self) -> Option<Number> {
        match self {
            Named::One(number, _) => Some(*number),
            // What is counted may be none.
            Named::Several(..) => None,
        }
    }

    /// When it can be asked.
    pub(super) fn stage(&self) -> Stage {
        match self {
            Named::One(..) => Stage::Head,
            Named::Several(..) => Stage::Body,
        }
    }
}

/// Whether the value is `unknown`, and then whether it was negated.
fn unknown(text: &str) -> Option<bool> {
    let text = text.trim();
    let bare = text.strip_prefix('!').unwrap_or(text);
    (bare.trim() == "unknown").then_some(bare.len() < text.len())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{holds, reason};
    use super::*;

    #[test]
    fn numbers_have_names_or_not() {
        for (option, values, expected) in [
            ("dns.rcode:3", &[3][..], true),
            ("dns.rcode:nxdomain", &[3], true),
            ("dns.rcode:!NXDOMAIN", &[3], false),
            ("dns.rcode:refused", &[3], false),
            ("dns.opcode:!7-15", &[0], true),
            ("dns.opcode:!7-15", &[9], false),
        ] {
            let number = if option.contains("rcode") { Number::DnsRcode } else { Number::DnsOpcode };
            let numbers: Vec<_> = values.iter().map(|value| (number, *value)).collect();
            assert_eq!(holds(option, &[], &numbers), expected, "{option} {values:?}");
        }
        let mode = [(Number::NtpMode, 3)];
        assert!(holds("ntp.mode:client", &[], &mode) && holds("ntp.mode:!server", &[], &mode));
        assert!(holds("snmp.pdu_type: get_next_request", &[], &[(Number::SnmpPduType, 1)]));
    }

    #[test]
    fn record_types_are_several() {
        let types = [(Number::DnsRrtype, 5), (Number::DnsRrtype, 1)];
        assert!(holds("dns.rrtype:A", &[], &types) && holds("dns.rrtype:5", &[], &types));
        assert!(!holds("dns.rrtype:a,all", &[], &types) && holds("dns.rrtype:cname,0", &[], &types));
        assert!(!holds("dns.rrtype:txt", &[], &types) && holds("dns.rrtype:count 2", &[], &types));
    }

    #[test]
    fn a_result_without_a_name_is_unknown() {
        for (value, result) in [(0, false), (2, false), (3, true)] {
            let numbers = [(Number::RfbSecresult, value)];
            assert_eq!(holds("rfb.secresult:unknown", &[], &numbers), result, "{value}");
            assert_eq!(holds("rfb.secresult:!unknown", &[], &numbers), !result, "{value}");
        }
        assert!(holds("rfb.secresult:ok", &[], &[(Number::RfbSecresult, 0)]));
        assert!(!holds("rfb.secresult:!0", &[], &[(Number::RfbSecresult, 0)]));
        assert!(!holds("rfb.secresult:ok", &[], &[]));
    }

    #[test]
    fn what_has_no_such_name_is_refused() {
        for wrong in
            ["dns.rrtype:nosuch", "dns.rcode:", "ntp.mode:9000", "snmp.pdu_type:get", "rfb.secresult:x"]
        {
            assert!(!reason(wrong).is_empty(), "{wrong}");
        }
    }
}

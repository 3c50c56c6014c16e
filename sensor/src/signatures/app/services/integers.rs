//! Comparisons of services' numbers, perhaps with names for their values or bits.
//!
//! In: an option of one of the keywords in the table; then a side. Out: whether its numbers pass. The grammar is the
//! one of all integer keywords; what a keyword adds to it is its row's [`Form`].

use super::shown;
use crate::dpi::buffers::{Number, Side, Stage, Wanted};
use crate::signatures::packet::{UintTest, UintsTest, Width};

/// A test of a number, or of several.
#[derive(Debug)]
pub(in crate::signatures) struct Test {
    number: Number,
    ask: Ask,
}

#[derive(Debug)]
enum Ask {
    /// One that passes is enough.
    One(UintTest),
    /// They are asked as a whole, by place, or counted.
    Many(UintsTest),
    /// How many there are, once that is known.
    Count(UintTest),
}

/// How a keyword's value is written.
#[derive(Clone, Copy)]
enum Form {
    /// A comparison, or a name.
    One(Width, &'static [(&'static str, u64)]),
    /// The same, with ranges whose ends belong to them.
    Inclusive(Width),
    /// A comparison or a name, and which of several numbers is meant.
    Many(Width, &'static [(&'static str, u64)]),
    /// A comparison, or names of bits.
    Bits(Width, &'static [(&'static str, u64)]),
    /// One of these words.
    Word(&'static [(&'static str, u64)]),
    /// A comparison with how many there are.
    Count(Width),
}

use Form::{Bits, Count, Inclusive, Many, One, Word};
use Width::{U8, U16, U32};

/// Stands for the number of one among several that has none.
const ABSENT: u64 = u64::MAX;

/// What a keyword asks for.
fn keyword(name: &str) -> Option<(Number, Form)> {
    Some(match name {
        "smb.version" => (Number::SmbVersion, Word(&[("1", 1), ("2", 2)])),
        "krb5_msg_type" => (Number::Krb5MsgType, One(U32, KRB5_MESSAGES)),
        "krb5_err_code" => (Number::Krb5ErrCode, One(U32, &[])),
        "ldap.request.operation" => (Number::LdapRequestOperation, One(U8, LDAP_OPERATIONS)),
        "ldap.responses.operation" => (Number::LdapResponsesOperation, Many(U8, LDAP_OPERATIONS)),
        "ldap.responses.result_code" => (Number::LdapResponsesResultCode, Many(U32, LDAP_RESULTS)),
        "ldap.responses.count" => (Number::LdapResponsesOperation, Count(U32)),
        "mqtt.protocol_version" => (Number::MqttProtocolVersion, One(U8, &[])),
        "mqtt.type" => (Number::MqttType, Many(U8, MQTT_TYPES)),
        "mqtt.flags" => (Number::MqttFlags, Bits(U8, &[("dup", 8), ("retain", 1)])),
        "mqtt.qos" => (Number::MqttQos, Word(&[("0", 0), ("1", 1), ("2", 2)])),
        "mqtt.reason_code" | "mqtt.connack.return_code" => (Number::MqttReasonCode, Many(U8, &[])),
        "mqtt.connack.session_present" => (Number::MqttConnackSessionPresent, Word(BOOLEANS)),
        "mqtt.connect.flags" => (Number::MqttConnectFlags, Bits(U8, MQTT_CONNECT_FLAGS)),
        "nfs.version" | "nfs_version" => (Number::NfsVersion, Inclusive(U32)),
        "dnp3_func" | "dnp3.func" => (Number::Dnp3Func, One(U8, DNP3_FUNCTIONS)),
        "dnp3_ind" | "dnp3.ind" => (Number::Dnp3Ind, Bits(U16, DNP3_INDICATIONS)),
        "enip_command" | "enip.command" => (Number::EnipCommand, One(U16, ENIP_COMMANDS)),
        "enip.status" => (Number::EnipStatus, One(U32, ENIP_STATUSES)),
        "enip.protocol_version" => (Number::EnipProtocolVersion, One(U16, &[])),
        "enip.revision" => (Number::EnipRevision, One(U16, &[])),
        "enip.identity_status" => (Number::EnipIdentityStatus, One(U16, &[])),
        "enip.state" => (Number::EnipState, One(U8, &[])),
        "enip.serial" => (Number::EnipSerial, One(U32, &[])),
        "enip.product_code" => (Number::EnipProductCode, One(U16, &[])),
        "enip.device_type" => (Number::EnipDeviceType, One(U16, &[])),
        "enip.vendor_id" => (Number::EnipVendorId, One(U16, &[])),
        "enip.capabilities" => (Number::EnipCapabilities, One(U16, &[])),
        "enip.cip_class" => (Number::EnipCipClass, Many(U32, &[])),
        "enip.cip_instance" => (Number::EnipCipInstance, Many(U32, &[])),
        "enip.cip_attribute" => (Number::EnipCipAttribute, Many(U32, &[])),
        "enip.cip_status" => (Number::EnipCipStatus, One(U8, &[])),
        "enip.cip_extendedstatus" => (Number::EnipCipExtendedstatus, One(U16, &[])),
        _ => return None,
    })
}

/// Reads an option; none: it is none of these keywords.
pub(super) fn option(name: &str, value: Result<&str, String>) -> Option<Result<Test, String>> {
    let (number, form) = keyword(name)?;
    Some(value.and_then(|text| Ok(Test { number, ask: form.parse(text)? })))
}

impl Form {
    fn parse(self, text: &str) -> Result<Ask, String> {
        match self {
            One(width, names) => UintTest::parse_named(text, width, names).map(Ask::One),
            Inclusive(width) => UintTest::parse_inclusive(text, width).map(Ask::One),
            Many(width, names) => UintsTest::parse_named(text, width, names).map(Ask::Many),
            Bits(width, names) => UintTest::parse_bits(text, width, names).map(Ask::One),
            Word(words) => match words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
                Some((_, value)) => {
                    Ok(Ask::One(UintTest::Range { from: *value, to: *value, is_negated: false }))
                }
                None => {
                    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                    Err(format!("`{}` is none of {}", shown(text), words.join(", ")))
                }
            },
            Count(width) => UintTest::parse(text, width).map(Ask::Count),
        }
    }
}

impl Test {
    /// Whether the side is what the rule asks for.
    pub(super) fn holds(&self, side: &Side) -> bool {
        let mut numbers = side.numbers_of(self.number);
        let is_complete = side.stage == Stage::Body;
        match &self.ask {
            Ask::One(test) => numbers.any(|number| test.has(number)),
            Ask::Many(test) => {
                let numbers: Vec<u64> = numbers.collect();
                let value = |at: usize| numbers.get(at).copied().filter(|number| *number != ABSENT);
                test.has(numbers.len(), value, is_complete)
            }
            Ask::Count(test) => is_complete && test.has(numbers.count() as u64),
        }
    }

    /// What of sides it reads.
    pub(super) fn wants(&self, wanted: &mut Wanted) {
        wanted.want_number(self.number);
    }

    /// A number without which it does not hold.
    pub(super) fn needs(&self) -> Option<Number> {
        // What is counted may be none.
        matches!(self.ask, Ask::One(_)).then_some(self.number)
    }
}

const BOOLEANS: &[(&str, u64)] = &[("yes", 1), ("true", 1), ("1", 1), ("no", 0), ("false", 0), ("0", 0)];

const KRB5_MESSAGES: &[(&str, u64)] =
    &[("AS_REQ", 10), ("AS_REP", 11), ("TGS_REQ", 12), ("TGS_REP", 13), ("ERROR", 30), ("KRB_ERROR", 30)];

const LDAP_OPERATIONS: &[(&str, u64)] = &[
    ("bind_request", 0),
    ("bind_response", 1),
    ("unbind_request", 2),
    ("search_request", 3),
    ("search_result_entry", 4),
    ("search_result_done", 5),
    ("modify_request", 6),
    ("modify_response", 7),
    ("add_request", 8),
    ("add_response", 9),
    ("del_request", 10),
    ("del_response", 11),
    ("mod_dn_request", 12),
    ("mod_dn_response", 13),
    ("compare_request", 14),
    ("compare_response", 15),
    ("abandon_request", 16),
    ("search_result_reference", 19),
    ("extended_request", 23),
    ("extended_response", 24),
    ("intermediate_response", 25),
];

const LDAP_RESULTS: &[(&str, u64)] = &[
    ("success", 0),
    ("operations_error", 1),
    ("protocol_error", 2),
    ("time_limit_exceeded", 3),
    ("size_limit_exceeded", 4),
    ("compare_false", 5),
    ("compare_true", 6),
    ("auth_method_not_supported", 7),
    ("stronger_auth_required", 8),
    ("referral", 10),
    ("admin_limit_exceeded", 11),
    ("unavailable_critical_extension", 12),
    ("confidentiality_required", 13),
    ("sasl_bind_in_progress", 14),
    ("no_such_attribute", 16),
    ("undefined_attribute_type", 17),
    ("inappropriate_matching", 18),
    ("constraint_violation", 19),
    ("attribute_or_value_exists", 20),
    ("invalid_attribute_syntax", 21),
    ("no_such_object", 32),
    ("alias_problem", 33),
    // As Suricata spells it.
    ("invalid_dns_syntax", 34),
    ("is_leaf", 35),
    ("alias_dereferencing_problem", 36),
    ("inappropriate_authentication", 48),
    ("invalid_credentials", 49),
    ("insufficient_access_rights", 50),
    ("busy", 51),
    ("unavailable", 52),
    ("unwilling_to_perform", 53),
    ("loop_detect", 54),
    ("sort_control_missing", 60),
    ("offset_range_error", 61),
    ("naming_violation", 64),
    ("object_class_violation", 65),
    ("not_allowed_on_non_leaf", 66),
    ("not_allowed_on_rdn", 67),
    ("entry_already_exists", 68),
    ("object_class_mods_prohibited", 69),
    ("results_too_large", 70),
    ("affects_multiple_dsas", 71),
    ("control_error", 76),
    ("other", 80),
    ("server_down", 81),
    ("local_error", 82),
    ("encoding_error", 83),
    ("decoding_error", 84),
    ("timeout", 85),
    ("auth_unknown", 86),
    ("filter_error", 87),
    ("user_canceled", 88),
    ("param_error", 89),
    ("no_memory", 90),
    ("connect_error", 91),
    ("not_supported", 92),
    ("control_not_found", 93),
    ("no_results_returned", 94),
    ("more_results_to_return", 95),
    ("client_loop", 96),
    ("referral_limit_exceeded", 97),
    ("invalid_response", 100),
    ("ambiguous_response", 101),
    ("tls_not_supported", 112),
    ("intermediate_response", 113),
    ("unknown_type", 114),
    ("canceled", 118),
    ("no_such_operation", 119),
    ("too_late", 120),
    ("cannot_cancel", 121),
    ("assertion_failed", 122),
    ("authorization_denied", 123),
    ("e_sync_refresh_required", 4096),
    ("no_operation", 16_654),
];

const MQTT_TYPES: &[(&str, u64)] = &[
    ("UNASSIGNED", 0),
    ("CONNECT", 1),
    ("CONNACK", 2),
    ("PUBLISH", 3),
    ("PUBACK", 4),
    ("PUBREC", 5),
    ("PUBREL", 6),
    ("PUBCOMP", 7),
    ("SUBSCRIBE", 8),
    ("SUBACK", 9),
    ("UNSUBSCRIBE", 10),
    ("UNSUBACK", 11),
    ("PINGREQ", 12),
    ("PINGRESP", 13),
    ("DISCONNECT", 14),
    ("AUTH", 15),
];

const MQTT_CONNECT_FLAGS: &[(&str, u64)] =
    &[("username", 0x80), ("password", 0x40), ("will_retain", 0x20), ("will", 4), ("clean_session", 2)];

const DNP3_FUNCTIONS: &[(&str, u64)] = &[
    ("confirm", 0),
    ("read", 1),
    ("write", 2),
    ("select", 3),
    ("operate", 4),
    ("direct_operate", 5),
    ("direct_operate_nr", 6),
    ("immed_freeze", 7),
    ("immed_freeze_nr", 8),
    ("freeze_clear", 9),
    ("freeze_clear_nr", 10),
    ("freeze_at_time", 11),
    ("freeze_at_time_nr", 12),
    ("cold_restart", 13),
    ("warm_restart", 14),
    ("initialize_data", 15),
    ("initialize_appl", 16),
    ("start_appl", 17),
    ("stop_appl", 18),
    ("save_config", 19),
    ("enable_unsolicited", 20),
    ("disable_unsolicited", 21),
    ("assign_class", 22),
    ("delay_measure", 23),
    ("record_current_time", 24),
    ("open_file", 25),
    ("close_file", 26),
    ("delete_file", 27),
    ("get_file_info", 28),
    ("authenticate_file", 29),
    ("abort_file", 30),
    ("activate_config", 31),
    ("authenticate_req", 32),
    ("authenticate_err", 33),
    ("response", 129),
    ("unsolicited_response", 130),
    ("authenticate_resp", 131),
];

const DNP3_INDICATIONS: &[(&str, u64)] = &[
    ("device_restart", 0x8000),
    ("device_trouble", 0x4000),
    ("local_control", 0x2000),
    ("need_time", 0x1000),
    ("class_3_events", 0x0800),
    ("class_2_events", 0x0400),
    ("class_1_events", 0x0200),
    ("all_stations", 0x0100),
    ("reserved_1", 0x0080),
    ("reserved_2", 0x0040),
    ("config_corrupt", 0x0020),
    ("already_executing", 0x0010),
    ("event_buffer_overflow", 0x0008),
    ("parameter_error", 0x0004),
    ("object_unknown", 0x0002),
    ("no_func_code_support", 0x0001),
];

const ENIP_COMMANDS: &[(&str, u64)] = &[
    ("nop", 0),
    ("list_services", 4),
    ("list_identity", 0x63),
    ("list_interfaces", 0x64),
    ("register_session", 0x65),
    ("unregister_session", 0x66),
    ("send_rr_data", 0x6f),
    ("send_unit_data", 0x70),
    ("indicate_status", 0x72),
    ("cancel", 0x73),
    ("ListServices", 4),
    ("ListIdentity", 0x63),
    ("ListInterfaces", 0x64),
    ("RegisterSession", 0x65),
    ("UnregisterSession", 0x66),
    ("SendRRData", 0x6f),
    ("SendUnitData", 0x70),
    ("IndicateStatus", 0x72),
];

const ENIP_STATUSES: &[(&str, u64)] = &[
    ("success", 0),
    ("invalid_cmd", 1),
    ("no_resources", 2),
    ("incorrect_data", 3),
    ("invalid_session", 0x64),
    ("invalid_length", 0x65),
    ("unsupported_prot_rev", 0x69),
    ("encap_header_error", 0x6a),
    ("InvalidCmd", 1),
    ("NoResources", 2),
    ("IncorrectData", 3),
    ("InvalidSession", 0x64),
    ("InvalidLength", 0x65),
    ("UnsupportedProtRev", 0x69),
    ("EncapHeaderError", 0x6a),
];

#[cfg(test)]
mod tests {
    use super::super::testing::{holds, holds_at, read};
    use super::*;

    #[test]
    fn names_stand_for_numbers() {
        for (ask, number, inside, outside) in [
            ("smb.version: 2", Number::SmbVersion, 2, 1),
            ("krb5_msg_type:AS_REP", Number::Krb5MsgType, 11, 10),
            ("krb5_msg_type:!AS_REQ", Number::Krb5MsgType, 11, 10),
            ("krb5_msg_type:!30", Number::Krb5MsgType, 11, 30),
            ("krb5_err_code:!0", Number::Krb5ErrCode, 25, 0),
            ("ldap.request.operation:search_request", Number::LdapRequestOperation, 3, 4),
            ("mqtt.flags: !retain,!dup", Number::MqttFlags, 0, 1),
            ("mqtt.flags:dup", Number::MqttFlags, 9, 1),
            ("mqtt.qos: 1", Number::MqttQos, 1, 0),
            ("mqtt.connack.session_present:no", Number::MqttConnackSessionPresent, 0, 1),
            ("mqtt.connect.flags:username,password,!will", Number::MqttConnectFlags, 0xc2, 0xc4),
            ("mqtt.protocol_version:5", Number::MqttProtocolVersion, 5, 4),
            ("nfs.version:2-3", Number::NfsVersion, 3, 4),
            ("dnp3_func:unsolicited_response", Number::Dnp3Func, 130, 129),
            ("dnp3.ind:device_restart,!need_time", Number::Dnp3Ind, 0x8000, 0x9000),
            ("dnp3_ind:!0", Number::Dnp3Ind, 1, 0),
            ("enip_command:list_identity", Number::EnipCommand, 0x63, 4),
            ("enip_command:99", Number::EnipCommand, 0x63, 4),
            ("enip.status:InvalidSession", Number::EnipStatus, 0x64, 0),
            ("enip.cip_class:>5", Number::EnipCipClass, 6, 5),
        ] {
            assert!(holds(ask, &[], &[(number, inside)]), "{ask}");
            assert!(!holds(ask, &[], &[(number, outside)]), "{ask}");
            assert!(!holds(ask, &[], &[]), "{ask}");
        }
    }

    #[test]
    fn several_numbers_are_asked_by_place_and_counted() {
        let responses = [4, 4, 5].map(|operation| (Number::LdapResponsesOperation, operation));
        for (ask, expected) in [
            ("ldap.responses.operation:search_result_done", true),
            ("ldap.responses.operation:search_result_done,-1", true),
            ("ldap.responses.operation:5,2", true),
            ("ldap.responses.operation:search_result_done,0", false),
            ("ldap.responses.operation:search_result_done,all", false),
            ("ldap.responses.count:3", true),
            ("ldap.responses.count:>3", false),
        ] {
            assert_eq!(holds(ask, &[], &responses), expected, "{ask}");
        }
        let early = |ask| holds_at(ask, &[], &responses[..1], Stage::Begun);
        assert!(early("ldap.responses.operation:4") && !early("ldap.responses.count:1"));
        let results = [ABSENT, 0, 32].map(|code| (Number::LdapResponsesResultCode, code));
        assert!(holds("ldap.responses.result_code:success,1", &[], &results));
        assert!(!holds("ldap.responses.result_code:>4095", &[], &results));
        let types = [1, 2].map(|kind| (Number::MqttType, kind));
        assert!(holds("mqtt.type:CONNECT,0", &[], &types) && holds("mqtt.type:CONNACK,1", &[], &types));
        assert!(!holds("mqtt.type:CONNACK,0", &[], &types));
    }

    #[test]
    fn what_is_not_understood_is_refused_in_words() {
        for wrong in [
            "smb.version:3",
            "smb.version",
            "mqtt.qos:3",
            "mqtt.type:PING",
            "mqtt.type:CONNECT,first",
            "mqtt.flags:dup,dup",
            "mqtt.connack.session_present:maybe",
            "krb5_msg_type:",
            "ldap.responses.count:x",
            "dnp3_func:jump",
            "dnp3_ind:restart",
            "enip.state:256",
        ] {
            assert!(matches!(read(wrong), Some(Err(_))), "{wrong}");
        }
        assert!(read("mqtt.publish.topic").is_none());
    }
}

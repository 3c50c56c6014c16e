//! Events: what the decoder, the streams and inspection found odd.
//!
//! In: an option with Suricata's name of an event. Out: a test for it. A name that Suricata does not know is refused; one
//! that it knows and nothing here tells is read ([`is_silent`], [`AppLayerEvent::is_told`]), and a rule that asks for it
//! cannot fire. Of inspection's events (`app-layer-event`) only the name is read here: they belong to transactions.

use super::app_protocol::suricata_apps;
use super::number::shown;
use super::{PacketTest, Refused, said, words};
use crate::decode::{DecodeEvent, Ip, LinkHeader, Packet, Transport};
use crate::dpi::events::tells;
use weir_common::app::App;
use weir_common::net::Address;
use weir_common::rule::RuleOption;

/// What [`crate::decode::events`] and what is asked beside it tell.
const DECODER: &[&str] = &[
    "decoder.arp.invalid_hardware_size",
    "decoder.arp.invalid_pkt",
    "decoder.arp.invalid_protocol_size",
    "decoder.arp.pkt_too_small",
    "decoder.arp.unsupported_hardware",
    "decoder.arp.unsupported_opcode",
    "decoder.arp.unsupported_protocol",
    "decoder.chdlc.pkt_too_small",
    "decoder.dce.pkt_too_small",
    "decoder.erspan.header_too_small",
    "decoder.erspan.unsupported_version",
    "decoder.esp.pkt_too_small",
    "decoder.etag.header_too_small",
    "decoder.etag.unknown_type",
    "decoder.ethernet.pkt_too_small",
    "decoder.ethernet.unknown_ethertype",
    "decoder.geneve.unknown_payload_type",
    "decoder.gre.pkt_too_small",
    "decoder.gre.version0_flags",
    "decoder.gre.version0_hdr_too_big",
    "decoder.gre.version0_malformed_sre_hdr",
    "decoder.gre.version0_recur",
    "decoder.gre.version1_chksum",
    "decoder.gre.version1_flags",
    "decoder.gre.version1_hdr_too_big",
    "decoder.gre.version1_no_key",
    "decoder.gre.version1_recur",
    "decoder.gre.version1_route",
    "decoder.gre.version1_ssr",
    "decoder.gre.version1_wrong_protocol",
    "decoder.gre.wrong_version",
    "decoder.icmpv4.ipv4_trunc_pkt",
    "decoder.icmpv4.ipv4_unknown_ver",
    "decoder.icmpv4.pkt_too_small",
    "decoder.icmpv4.unknown_code",
    "decoder.icmpv4.unknown_type",
    "decoder.icmpv6.experimentation_type",
    "decoder.icmpv6.ipv6_trunc_pkt",
    "decoder.icmpv6.ipv6_unknown_version",
    "decoder.icmpv6.mld_message_with_invalid_hl",
    "decoder.icmpv6.pkt_too_small",
    "decoder.icmpv6.unassigned_type",
    "decoder.icmpv6.unknown_code",
    "decoder.icmpv6.unknown_type",
    "decoder.ieee8021ah.header_too_small",
    "decoder.igmp.malformed",
    "decoder.igmp.pkt_too_small",
    "decoder.igmp.v3_pkt_too_small",
    "decoder.ipraw.invalid_ip_version",
    "decoder.ipv4.frag_overlap",
    "decoder.ipv4.frag_pkt_too_large",
    "decoder.ipv4.hlen_too_small",
    "decoder.ipv4.icmpv6",
    "decoder.ipv4.iplen_smaller_than_hlen",
    "decoder.ipv4.opt_duplicate",
    "decoder.ipv4.opt_eol_required",
    "decoder.ipv4.opt_invalid",
    "decoder.ipv4.opt_invalid_len",
    "decoder.ipv4.opt_malformed",
    "decoder.ipv4.opt_pad_required",
    "decoder.ipv4.pkt_too_small",
    "decoder.ipv4.trunc_pkt",
    "decoder.ipv4.unknown_protocol",
    "decoder.ipv4.wrong_ip_version",
    "decoder.ipv6.data_after_none_header",
    "decoder.ipv6.dstopts_only_padding",
    "decoder.ipv6.dstopts_unknown_opt",
    "decoder.ipv6.exthdr_ah_res_not_null",
    "decoder.ipv6.exthdr_dupl_ah",
    "decoder.ipv6.exthdr_dupl_dh",
    "decoder.ipv6.exthdr_dupl_fh",
    "decoder.ipv6.exthdr_dupl_hh",
    "decoder.ipv6.exthdr_dupl_rh",
    "decoder.ipv6.exthdr_invalid_optlen",
    "decoder.ipv6.exthdr_useless_fh",
    "decoder.ipv6.fh_non_zero_reserved_field",
    "decoder.ipv6.frag_invalid_length",
    "decoder.ipv6.frag_overlap",
    "decoder.ipv6.frag_pkt_too_large",
    "decoder.ipv6.hopopts_only_padding",
    "decoder.ipv6.hopopts_unknown_opt",
    "decoder.ipv6.icmpv4",
    "decoder.ipv6.ipv4_in_ipv6_too_small",
    "decoder.ipv6.ipv4_in_ipv6_wrong_version",
    "decoder.ipv6.ipv6_in_ipv6_too_small",
    "decoder.ipv6.ipv6_in_ipv6_wrong_version",
    "decoder.ipv6.pkt_too_small",
    "decoder.ipv6.rh_type_0",
    "decoder.ipv6.trunc_exthdr",
    "decoder.ipv6.trunc_pkt",
    "decoder.ipv6.unknown_next_header",
    "decoder.ipv6.wrong_ip_version",
    "decoder.ipv6.zero_len_padn",
    "decoder.ltnull.pkt_too_small",
    "decoder.ltnull.unsupported_type",
    "decoder.mpls.bad_label_implicit_null",
    "decoder.mpls.bad_label_reserved",
    "decoder.mpls.bad_label_router_alert",
    "decoder.mpls.header_too_small",
    "decoder.mpls.pkt_too_small",
    "decoder.mpls.unknown_payload_type",
    "decoder.nsh.bad_header_length",
    "decoder.nsh.header_too_small",
    "decoder.nsh.reserved_type",
    "decoder.nsh.unknown_payload",
    "decoder.nsh.unsupported_type",
    "decoder.nsh.unsupported_version",
    "decoder.ppp.ip4_pkt_too_small",
    "decoder.ppp.ip6_pkt_too_small",
    "decoder.ppp.pkt_too_small",
    "decoder.ppp.unsup_proto",
    "decoder.ppp.vju_pkt_too_small",
    "decoder.ppp.wrong_type",
    "decoder.pppoe.malformed_tags",
    "decoder.pppoe.pkt_too_small",
    "decoder.pppoe.wrong_code",
    "decoder.sctp.chunk_len_invalid",
    "decoder.sctp.chunk_too_small",
    "decoder.sctp.data_with_zero_vtag",
    "decoder.sctp.init_chunk_bundled",
    "decoder.sctp.init_with_non_zero_vtag",
    "decoder.sctp.pkt_too_small",
    "decoder.sll.pkt_too_small",
    "decoder.sll2.pkt_too_small",
    "decoder.tcp.hlen_too_small",
    "decoder.tcp.invalid_optlen",
    "decoder.tcp.opt_duplicate",
    "decoder.tcp.opt_invalid_len",
    "decoder.tcp.pkt_too_small",
    "decoder.too_many_layers",
    "decoder.udp.hlen_too_small",
    "decoder.udp.len_invalid",
    "decoder.udp.pkt_too_small",
    "decoder.vlan.header_too_small",
    "decoder.vlan.too_many_layers",
    "decoder.vlan.unknown_type",
    "decoder.vntag.header_too_small",
    "decoder.vntag.unknown_type",
    "decoder.vxlan.unknown_payload_type",
];

/// What Suricata knows by name and never tells, or of its own memory and capture only: a rule for it is no mistake, and
/// does not fire there either.
const DECODER_SILENT: &[&str] = &[
    "decoder.afpacket.trunc_pkt",
    "decoder.gre.version1_malformed_sre_hdr",
    "decoder.ipv4.frag_ignored",
    "decoder.ipv4.opt_unknown",
    "decoder.ipv6.exthdr_dupl_eh",
    "decoder.ipv6.frag_ignored",
    "decoder.udp.hlen_invalid",
];

/// What `dpi/stream_event.rs` tells.
const STREAM: &[&str] = &[
    "stream.3whs_right_seq_wrong_ack_evasion",
    "stream.3whs_syn_flood",
    "stream.3whs_syn_resend_diff_seq_on_syn_recv",
    "stream.3whs_syn_toclient_on_syn_recv",
    "stream.3whs_synack_flood",
    "stream.3whs_synack_in_wrong_direction",
    "stream.3whs_synack_resend_with_different_ack",
    "stream.3whs_synack_tfo_data_ignored",
    "stream.3whs_synack_toserver_on_syn_recv",
    "stream.3whs_synack_with_wrong_ack",
    "stream.3whs_wrong_seq_wrong_ack",
    "stream.4whs_invalid_ack",
    "stream.4whs_synack_with_wrong_ack",
    "stream.4whs_synack_with_wrong_syn",
    "stream.4whs_wrong_seq",
    "stream.closewait_ack_out_of_window",
    "stream.closewait_fin_out_of_window",
    "stream.closewait_invalid_ack",
    "stream.closewait_pkt_before_last_ack",
    "stream.closing_ack_wrong_seq",
    "stream.closing_invalid_ack",
    "stream.est_ack_zwp_data",
    "stream.est_invalid_ack",
    "stream.est_packet_out_of_window",
    "stream.est_pkt_before_last_ack",
    "stream.est_syn_resend",
    "stream.est_syn_resend_diff_seq",
    "stream.est_syn_toclient",
    "stream.est_synack_resend",
    "stream.est_synack_resend_with_diff_seq",
    "stream.est_synack_resend_with_different_ack",
    "stream.est_synack_toserver",
    "stream.fin1_ack_wrong_seq",
    "stream.fin1_fin_wrong_seq",
    "stream.fin1_invalid_ack",
    "stream.fin2_ack_wrong_seq",
    "stream.fin2_fin_wrong_seq",
    "stream.fin2_invalid_ack",
    "stream.fin_but_no_session",
    "stream.fin_invalid_ack",
    "stream.fin_out_of_window",
    "stream.fin_syn",
    "stream.lastack_ack_wrong_seq",
    "stream.lastack_invalid_ack",
    "stream.pkt_bad_window_update",
    "stream.pkt_broken_ack",
    "stream.pkt_invalid_ack",
    "stream.pkt_invalid_timestamp",
    "stream.pkt_retransmission",
    "stream.pkt_spurious_retransmission",
    "stream.reassembly_depth_reached",
    "stream.reassembly_overlap_different_data",
    "stream.reassembly_seq_gap",
    "stream.rst_but_no_session",
    "stream.rst_invalid_ack",
    "stream.rst_with_data",
    "stream.shutdown_syn_resend",
    "stream.suspected_rst_inject",
    "stream.timewait_ack_wrong_seq",
    "stream.timewait_invalid_ack",
];

/// What Suricata tells in inline mode, of one-sided captures where it is told of them, of its threads and of its memory,
/// and what it tells by another name first: bytes before those that it still puts together.
const STREAM_SILENT: &[&str] = &[
    "stream.3whs_ack_data_inject",
    "stream.3whs_ack_in_wrong_dir",
    "stream.3whs_async_wrong_seq",
    "stream.reassembly_insert_invalid",
    "stream.reassembly_insert_limit",
    "stream.reassembly_insert_memcap",
    "stream.reassembly_no_segment",
    "stream.reassembly_segment_before_base_seq",
    "stream.wrong_thread",
];

/// Events of recognition, which belong to a packet: Suricata's names for them have no protocol in front.
const RECOGNITION: &[&str] = &[
    "applayer_mismatch_protocol_both_directions",
    "applayer_wrong_direction_first_data",
    "applayer_detect_protocol_only_one_direction",
    "applayer_proto_detection_skipped",
    "applayer_no_tls_after_starttls",
    "applayer_unexpected_protocol",
];

/// Longest name of an application's event with the protocol before it, in bytes; as in Suricata a longer one is an error.
const NAME_BYTES_MAX: usize = 50;

/// Reads `ipv4.trunc_pkt`.
pub(super) fn decode_event(text: &str) -> Result<PacketTest, String> {
    decoder_told(&format!("decoder.{text}"))
}

/// Reads `reassembly_seq_gap`.
pub(super) fn stream_event(text: &str) -> Result<PacketTest, String> {
    stream_told(&format!("stream.{text}"))
}

/// Reads either with its full name.
pub(super) fn engine_event(text: &str) -> Result<PacketTest, String> {
    match text.get(..7) {
        Some(head) if head.eq_ignore_ascii_case("stream.") => stream_told(text),
        _ => decoder_told(text),
    }
}

fn decoder_told(wanted: &str) -> Result<PacketTest, String> {
    told(DECODER, DECODER_SILENT, wanted).map(PacketTest::DecodeEvent)
}

fn stream_told(wanted: &str) -> Result<PacketTest, String> {
    told(STREAM, STREAM_SILENT, wanted).map(PacketTest::StreamEvent)
}

fn told(names: &[&'static str], silent: &[&'static str], wanted: &str) -> Result<&'static str, String> {
    let found = names.iter().chain(silent).find(|name| name.eq_ignore_ascii_case(wanted));
    found.copied().ok_or_else(|| format!("cannot run: nothing here tells the event `{}`", shown(wanted)))
}

/// Whether nothing ever tells a decoder's or a stream's event.
pub(super) fn is_silent(name: &str) -> bool {
    !DECODER.contains(&name) && !STREAM.contains(&name)
}

/// What `app-layer-event` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::signatures) enum AppLayerEvent {
    /// An event of recognition, which belongs to a packet.
    Recognition(&'static str),
    /// An event of a transaction.
    Transaction {
        /// The application's name in the rule.
        protocol: String,
        /// The applications that it means; none for `file`.
        apps: Vec<App>,
        /// The event's name without the application's.
        event: String,
    },
}

/// Reads `app-layer-event`; `None` for other options. Whether anything tells the event is the caller's to know.
pub(in crate::signatures) fn app_layer_event(option: &RuleOption) -> Option<Result<AppLayerEvent, Refused>> {
    if option.name != "app-layer-event" {
        return None;
    }
    Some(words(option).and_then(|text| said(option, app_layer_event_of(&text))))
}

fn app_layer_event_of(text: &str) -> Result<AppLayerEvent, String> {
    if text.len() > NAME_BYTES_MAX {
        return Err(format!("the name of an event has at most {NAME_BYTES_MAX} bytes"));
    }
    let Some((protocol, event)) = text.split_once('.') else {
        let found = RECOGNITION.iter().find(|name| **name == text);
        return found
            .map(|name| AppLayerEvent::Recognition(name))
            .ok_or_else(|| "no event of recognition has this name".into());
    };
    if event.is_empty() {
        return Err("expected an event's name behind the dot".into());
    }
    let apps = match protocol {
        "file" => Vec::new(),
        // HTTP's events are those of its first version.
        "http" => vec![App::Http],
        _ => suricata_apps(protocol).ok_or_else(|| format!("`{protocol}` is no application"))?,
    };
    Ok(AppLayerEvent::Transaction { protocol: protocol.into(), apps, event: event.into() })
}

/// A packet with what could be read before a fault, for tests of frames that hold no packet otherwise.
pub(in crate::signatures) fn packet_of(event: &DecodeEvent) -> Packet<'static> {
    let [source, destination] = event.ends.unwrap_or([Address::v4([0; 4]); 2]);
    let transport = match (event.ports, event.icmp) {
        (Some([source, destination]), _) => Transport::Ports { source, destination },
        (None, Some([kind, code])) => Transport::Icmp { kind, code },
        (None, None) => Transport::None,
    };
    Packet {
        vlans: event.vlans,
        ip: Ip {
            source,
            destination,
            protocol: event.protocol.unwrap_or_default(),
            octets: 0,
            ttl: 0,
            tos: 0,
            is_fragment: false,
        },
        transport,
        payload: &[],
        early: None,
        is_partial: false,
        is_cut: true,
        tunnel_depth: 0,
        payload_missing: 0,
        link: LinkHeader::NONE,
        frame_octets: 0,
        network: &[],
    }
}

impl AppLayerEvent {
    /// The event's name without the application's.
    pub(in crate::signatures) fn name(&self) -> &str {
        match self {
            AppLayerEvent::Recognition(name) => name,
            AppLayerEvent::Transaction { event, .. } => event,
        }
    }

    /// Whether something tells it.
    pub(in crate::signatures) fn is_told(&self) -> bool {
        match self {
            AppLayerEvent::Recognition(name) => tells(&[], name),
            AppLayerEvent::Transaction { apps, event, .. } => tells(apps, event),
        }
    }

    /// Whether it may be an event of this application.
    pub(in crate::signatures) fn is_of(&self, app: App) -> bool {
        match self {
            AppLayerEvent::Recognition(_) => true,
            AppLayerEvent::Transaction { apps, .. } => apps.is_empty() || apps.contains(&app),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names in a source file that begin with this, in order and once each.
    fn names_in(source: &str, prefix: &str) -> Vec<String> {
        let (code, _) = source.split_once("#[cfg(test)]").unwrap_or((source, ""));
        let mut names: Vec<String> = code
            .split('"')
            .filter(|text| {
                text.starts_with(prefix) && text.len() > prefix.len() && !text.contains(char::is_whitespace)
            })
            .map(str::to_owned)
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    #[test]
    fn the_events_that_rules_may_ask_for_are_those_that_are_told() {
        let decoder = concat!(
            include_str!("../../decode/events/mod.rs"),
            include_str!("../../decode/events/link.rs"),
            include_str!("../../decode/events/network.rs"),
            include_str!("../../decode/events/transport.rs"),
            include_str!("../../decode/events/tunnel.rs"),
        );
        assert_eq!(names_in(&decoder.replace("#[cfg(test)]", ""), "decoder."), DECODER);
        assert_eq!(names_in(include_str!("../../dpi/stream_event.rs"), "stream."), STREAM);
    }

    #[test]
    fn events_are_named_in_either_case_and_with_their_source_where_it_is_not_clear() {
        let trunc = Ok(PacketTest::DecodeEvent("decoder.ipv4.trunc_pkt"));
        assert_eq!(decode_event("ipv4.trunc_pkt"), trunc);
        assert_eq!(decode_event("IPV4.Trunc_pkt"), trunc);
        assert_eq!(engine_event("decoder.ipv4.trunc_pkt"), trunc);
        assert_eq!(
            stream_event("reassembly_seq_gap"),
            Ok(PacketTest::StreamEvent("stream.reassembly_seq_gap"))
        );
        assert_eq!(engine_event("stream.reassembly_seq_gap"), stream_event("reassembly_seq_gap"));
        for wrong in ["", "ipv4", "decoder.ipv4.trunc_pkt", "ppp.no_such", "é"] {
            assert!(decode_event(wrong).is_err() && stream_event(wrong).is_err(), "{wrong}");
            assert!(wrong.starts_with("decoder") || engine_event(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn events_of_applications_are_read() {
        let transaction = |protocol: &str, apps: &[App], event: &str| {
            let (protocol, apps, event) = (protocol.to_owned(), apps.to_vec(), event.to_owned());
            Ok(AppLayerEvent::Transaction { protocol, apps, event })
        };
        assert_eq!(
            app_layer_event_of("tls.invalid_sni_type"),
            transaction("tls", &[App::Tls], "invalid_sni_type")
        );
        assert_eq!(app_layer_event_of("http.a"), transaction("http", &[App::Http], "a"));
        assert_eq!(app_layer_event_of("file.a"), transaction("file", &[], "a"));
        assert_eq!(
            app_layer_event_of("applayer_unexpected_protocol"),
            Ok(AppLayerEvent::Recognition("applayer_unexpected_protocol"))
        );
        for wrong in ["", "x", ".", "tls.", ".x", "nothing.x", &format!("tls.{}", "x".repeat(50))] {
            assert!(app_layer_event_of(wrong).is_err(), "{wrong}");
        }
    }
}

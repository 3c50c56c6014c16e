//! EVE JSON: flow records, application events and statistics with Suricata's names and value formats.
//!
//! In: records, events, counters. Out: one JSON object per line. As in Suricata, `bytes_toserver` and
//! `bytes_toclient` are octets of frames, where everything else in Weir counts those of IP packets, and a flow that TCP
//! has closed ends by `timeout` or `shutdown`. A slice of a flow that goes on, which Suricata does not have, says
//! `active`. Where packets are kept, a
//! `flow` event has a member `ring` that Suricata does not know: where they are and until when; and it has a member
//! `features`, what packets say beyond counts, with the keys that record lines have. `flow.action` is what rules would have
//! done with the flow, as in Suricata; a passive sensor does not do it, and alerts say `allowed`.

use super::lines::LineOutput;
use super::{ArpEvent, FlowEvent, FrameEvent};
use crate::counters::WorkerCounters;
use weir_common::app::App;
use weir_common::evidence::Evidence;
use weir_common::features::{DirectionFeatures, mac_text};
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::{Address, Direction, FlowKey, icmp_v4_counterpart, icmp_v6_counterpart, protocol};
use weir_common::record::{DirectionStats, EndReason, FlowRecord, FlowState, Tunnel, TunnelKind, tcp_flags};
use weir_common::record_line::{first_packets, hundredths};
use weir_common::text::{EveTimes, address_in_full, community_id};
use weir_common::time::Timestamp;

/// Writes EVE lines.
pub(super) struct EveWriter {
    pub(super) output: LineOutput,
    lines: EveLines,
}

/// The form of EVE lines, apart from where they go.
pub(super) struct EveLines {
    times: EveTimes,
    /// Names for `in_iface`, by index; empty for files.
    interfaces: Vec<String>,
    /// Link-layer addresses of flows are told.
    has_ether: bool,
}

impl EveWriter {
    pub(super) fn new(output: LineOutput, interfaces: Vec<String>, has_ether: bool) -> EveWriter {
        EveWriter { output, lines: EveLines { has_ether, ..EveLines::new(interfaces) } }
    }

    pub(super) fn flow(&mut self, record: &FlowRecord) {
        self.output.line(|out| self.lines.flow(record, out));
    }

    pub(super) fn event(&mut self, event: &FlowEvent) {
        self.output.line(|out| self.lines.event(event, out));
    }

    pub(super) fn arp(&mut self, arp: &ArpEvent) {
        self.output.line(|out| self.lines.arp(arp, out));
    }

    pub(super) fn fault(&mut self, event: &FrameEvent) {
        self.output.line(|out| self.lines.fault(event, out));
    }

    pub(super) fn stats(
        &mut self,
        now: Timestamp,
        uptime_s: u64,
        counters: &WorkerCounters,
        export: &[(&'static str, u64)],
    ) {
        self.output.line(|out| self.lines.stats(now, uptime_s, counters, export, out));
    }
}

/// What every event about a flow begins with.
pub(super) struct Head<'a> {
    pub(super) time: Timestamp,
    pub(super) flow_id: u64,
    pub(super) interface: u32,
    pub(super) event_type: &'static str,
    pub(super) vlans: [u16; 2],
    pub(super) key: &'a FlowKey,
    pub(super) direction: Direction,
}

impl EveLines {
    pub(super) fn new(interfaces: Vec<String>) -> EveLines {
        EveLines { times: EveTimes::default(), interfaces, has_ether: true }
    }

    /// A `flow` event; its time is that of the flow's last packet.
    pub(super) fn flow(&mut self, record: &FlowRecord, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        self.head(
            &mut object,
            &Head {
                time: record.end,
                flow_id: record.flow_id,
                interface: record.interface,
                event_type: "flow",
                vlans: record.vlans,
                key: &record.key,
                direction: Direction::Forward,
            },
        );
        if let Some((kind, code)) = record.icmp {
            object.number("icmp_type", kind).number("icmp_code", code);
            // What pairs with it is the counterpart by definition (Community ID), and those have code 0.
            let counterpart = match record.key.protocol {
                protocol::ICMP => icmp_v4_counterpart(kind),
                _ => icmp_v6_counterpart(kind),
            };
            if let Some(kind) = counterpart.filter(|_| record.reverse.packets > 0) {
                object.number("response_icmp_type", kind).number("response_icmp_code", 0u8);
            }
        }
        if record.app != App::Unknown {
            object.text("app_proto", record.app.name());
            for (key, field) in [
                ("app_proto_ts", Field::AppToServer),
                ("app_proto_tc", Field::AppToClient),
                ("app_proto_orig", Field::OriginalApp),
            ] {
                object.text_if(key, record.metadata().text(field));
            }
        } else if has_said_something(record) {
            object.text("app_proto", "failed");
        }
        {
            let mut flow = object.object("flow");
            flow.number("pkts_toserver", record.forward.packets)
                .number("pkts_toclient", record.reverse.packets);
            flow.number("bytes_toserver", record.forward.frame_octets)
                .number("bytes_toclient", record.reverse.frame_octets);
            flow.raw("start", self.times.json(record.start).json())
                .raw("end", self.times.json(record.end).json());
            flow.number("age", record.end.seconds().saturating_sub(record.start.seconds()));
            if record.end_reason == EndReason::LackOfResources {
                flow.bool("emergency", true);
            }
            let is_bypassed = record.signatures.as_ref().is_some_and(|signatures| signatures.is_bypassed);
            let state = if is_bypassed { "bypassed" } else { flow_state(record).name() };
            flow.text("state", state);
            if is_bypassed {
                flow.text("bypass", "local");
            }
            flow.text("reason", reason(record));
            flow.bool("alerted", record.signatures.as_ref().is_some_and(|signatures| signatures.has_alerted));
            flow.text_if("action", record.signatures.as_ref().and_then(|signatures| signatures.action));
            let transactions = record.metadata().transactions();
            if transactions > 0 {
                flow.number("tx_cnt", transactions);
            }
        }
        object.raw("community_id", community_id(&record.community_id).json());
        if let Some(signatures) = &record.signatures {
            object.members(&signatures.members);
        }
        if let Some(tunnel) = &record.tunnel {
            let mut outer = object.object("tunnel");
            outer.raw("src_ip", address_in_full(&tunnel.source.0).json()).number("src_port", tunnel.source.1);
            outer.raw("dest_ip", address_in_full(&tunnel.destination.0).json());
            outer.number("dest_port", tunnel.destination.1).text("proto", tunnel.kind.name());
            outer.number("depth", tunnel.depth);
            if let Some(id) = tunnel.id {
                outer.number("id", id);
            }
        }
        if let Some(evidence) = &record.evidence {
            ring(&mut object, evidence);
        }
        if record.key.protocol == protocol::TCP {
            tcp(&mut object, record);
        }
        if self.has_ether {
            ether(&mut object, record);
        }
        features(&mut object, record);
    }

    /// An application's event: its description of itself under the application's name.
    pub(super) fn event(&mut self, flow_event: &FlowEvent, out: &mut Vec<u8>) {
        let event = &flow_event.event;
        let mut object = Object::begin(out);
        self.head(
            &mut object,
            &Head {
                time: event.time,
                flow_id: flow_event.flow_id,
                interface: flow_event.interface,
                event_type: event.kind,
                vlans: flow_event.vlans,
                key: &flow_event.key,
                direction: event.direction,
            },
        );
        // Packets are numbered in files alone.
        if event.packet > 0 && self.interfaces.is_empty() {
            object.number("pcap_cnt", event.packet);
        }
        match (event.packet, flow_event.key.protocol) {
            (1.., _) => _ = object.text("pkt_src", flow_event.source),
            (0, protocol::TCP) => _ = object.text("pkt_src", FLOW_TIMEOUT),
            (0, _) => {}
        }
        // Of files, their own object tells it.
        if let Some(transaction) = event.transaction.filter(|_| event.kind != "fileinfo") {
            object.number("tx_id", transaction);
        }
        object.raw("community_id", community_id(&flow_event.community_id).json());
        object.members(&event.beside);
        object.raw(event.kind, &event.body);
    }

    /// An `arp` event.
    pub(super) fn arp(&mut self, event: &ArpEvent, out: &mut Vec<u8>) {
        let arp = &event.arp;
        let mut object = Object::begin(out);
        object.raw("timestamp", self.times.json(event.time).json());
        match self.interfaces.get(event.interface as usize) {
            Some(name) => object.text("in_iface", name),
            None => object.number("pcap_cnt", event.packet),
        };
        object.text("event_type", "arp");
        if arp.vlans[0] != 0 {
            let mut list = object.list("vlan");
            arp.vlans.iter().take_while(|vlan| **vlan != 0).for_each(|vlan| list.number(*vlan));
        }
        let mut body = object.object("arp");
        body.text("hw_type", "ethernet").text("proto_type", "ipv4").text("opcode", &arp.operation_name());
        body.bytes("src_mac", &mac_text(arp.sender.0)).display("src_ip", arp.sender.1);
        body.bytes("dest_mac", &mac_text(arp.target.0)).display("dest_ip", arp.target.1);
    }

    /// An `anomaly` event of a frame.
    pub(super) fn fault(&mut self, event: &FrameEvent, out: &mut Vec<u8>) {
        let fault = &event.fault;
        let mut object = Object::begin(out);
        object.raw("timestamp", self.times.json(event.time).json());
        match self.interfaces.get(event.interface as usize) {
            Some(name) => object.text("in_iface", name),
            None => object.number("pcap_cnt", event.packet),
        };
        object.text("event_type", event.alert.as_ref().map_or("anomaly", |alert| alert.kind));
        if fault.vlans[0] != 0 {
            let mut list = object.list("vlan");
            fault.vlans.iter().take_while(|vlan| **vlan != 0).for_each(|vlan| list.number(*vlan));
        }
        if let Some(ends) = &fault.ends {
            let names = [("src_ip", "src_port"), ("dest_ip", "dest_port")];
            for (index, (name, port_name)) in names.into_iter().enumerate() {
                object.raw(name, address_in_full(&ends[index]).json());
                if let Some(ports) = fault.ports {
                    object.number(port_name, ports[index]);
                }
            }
            object.number("ip_v", if ends[0].is_v4() { 4 } else { 6 });
        }
        if let Some(number) = fault.protocol {
            object.text("proto", &protocol::name(number));
        }
        if let Some([kind, code]) = fault.icmp {
            object.number("icmp_type", kind).number("icmp_code", code);
        }
        object.text("pkt_src", event.source);
        match &event.alert {
            Some(alert) => {
                object.members(&alert.beside);
                object.raw(alert.kind, &alert.body);
            }
            None => {
                object.object("anomaly").text("type", "decode").text("event", fault.name);
            }
        }
    }

    pub(super) fn head(&mut self, object: &mut Object<'_>, head: &Head<'_>) {
        object.raw("timestamp", self.times.json(head.time).json()).number("flow_id", head.flow_id);
        if let Some(name) = self.interfaces.get(head.interface as usize) {
            object.text("in_iface", name);
        }
        object.text("event_type", head.event_type);
        if head.vlans[0] != 0 {
            let mut list = object.list("vlan");
            head.vlans.iter().take_while(|vlan| **vlan != 0).for_each(|vlan| list.number(*vlan));
        }
        let key = head.key;
        let initiator = (&key.initiator, key.initiator_port);
        let responder = (&key.responder, key.responder_port);
        let (source, destination) = match head.direction {
            Direction::Forward => (initiator, responder),
            Direction::Reverse => (responder, initiator),
        };
        let has_ports = !matches!(key.protocol, protocol::ICMP | protocol::ICMPV6);
        let mut end = |names: [&'static str; 2], (address, port): (&Address, u16)| {
            object.raw(names[0], address_in_full(address).json());
            if has_ports {
                object.number(names[1], port);
            }
        };
        end(["src_ip", "src_port"], source);
        end(["dest_ip", "dest_port"], destination);
        object.number("ip_v", if key.initiator.is_v4() { 4 } else { 6 });
        object.text("proto", &protocol::name(key.protocol));
    }

    /// A `stats` event: the workers' counters by section, and export's own; beside them, for who reads Suricata's, those
    /// that Suricata has under its names: `capture.kernel_packets` and `kernel_drops`, `decoder`, `flow.total`,
    /// `tcp.reassembly_gap`, `detect`.
    pub(super) fn stats(
        &mut self,
        now: Timestamp,
        uptime_s: u64,
        counters: &WorkerCounters,
        export: &[(&'static str, u64)],
        out: &mut Vec<u8>,
    ) {
        let mut all = Vec::with_capacity(64);
        counters.each(&mut |section, name, value| all.push((section, name, value)));
        let capture = &counters.capture;
        let mut object = Object::begin(out);
        object.raw("timestamp", self.times.json(now).json()).text("event_type", "stats");
        let mut stats = object.object("stats");
        stats.number("uptime", uptime_s);
        for section in all.chunk_by(|a, b| a.0 == b.0) {
            let Some((name, ..)) = section.first() else { continue };
            let mut object = stats.object(name);
            if *name == "capture" {
                object.number("kernel_packets", capture.frames.saturating_add(capture.kernel_dropped));
                object.number("kernel_drops", capture.kernel_dropped);
            }
            for (_, name, value) in section {
                object.number(name, *value);
            }
            if *name == "flow" {
                object.number("total", counters.flow.created);
            }
            if *name == "export" {
                for (name, value) in export {
                    object.number(name, *value);
                }
            }
        }
        let decode = &counters.decode;
        let mut decoder = stats.object("decoder");
        decoder.number("pkts", capture.frames).number("bytes", capture.bytes);
        decoder.number("invalid", decode.truncated + decode.malformed);
        decoder.number("ipv4", decode.ipv4).number("ipv6", decode.ipv6).number("arp", decode.arp);
        decoder.number("unknown_ethertype", decode.other_ethertype);
        drop(decoder);
        stats.object("tcp").number("reassembly_gap", counters.dpi.gaps);
    }
}

/// EVE's `pkt_src` of what only a flow's end made known.
const FLOW_TIMEOUT: &str = "stream (flow timeout)";

/// EVE's `pkt_src`: where a packet came from. `tunnel` is the innermost that it came in. Tunnels that Suricata does not
/// know are named in the same way.
pub fn packet_source(tunnel: Option<&Tunnel>, is_reassembled: bool) -> &'static str {
    let Some(tunnel) = tunnel else {
        return if is_reassembled { "defrag" } else { "wire/pcap" };
    };
    match tunnel.kind {
        TunnelKind::IpInIp | TunnelKind::SixInFour if tunnel.source.0.is_v4() => "ipv4 tunnel",
        TunnelKind::IpInIp | TunnelKind::SixInFour => "ipv6 tunnel",
        TunnelKind::Gre | TunnelKind::Erspan => "gre tunnel",
        TunnelKind::Teredo => "teredo tunnel",
        TunnelKind::Geneve => "geneve encapsulation",
        TunnelKind::Vxlan => "vxlan encapsulation",
        TunnelKind::EtherIp => "etherip tunnel",
        TunnelKind::Mpls => "mpls tunnel",
        TunnelKind::Gtp => "gtp tunnel",
        TunnelKind::L2tp => "l2tp tunnel",
        TunnelKind::Ayiya => "ayiya tunnel",
        TunnelKind::Lisp => "lisp tunnel",
    }
}

/// Whether there was something to recognise an application by, as far as a record tells: datagrams, or data pushed both
/// ways.
fn has_said_something(record: &FlowRecord) -> bool {
    match record.key.protocol {
        protocol::UDP => true,
        protocol::TCP => record.forward.tcp_flags & record.reverse.tcp_flags & tcp_flags::PSH != 0,
        _ => false,
    }
}

/// Where the packets are; Suricata has nothing like it.
fn ring(object: &mut Object<'_>, evidence: &Evidence) {
    let mut ring = object.object("ring");
    ring.display("extents", &evidence.extents);
    ring.number("frames", evidence.frames_kept).number("missed", evidence.frames_missed);
    ring.bool("exact", evidence.extents.is_exact());
    if let Some(expires) = evidence.expires {
        ring.display("expires", expires);
    }
}

/// Link-layer addresses of the first packet of each direction, those seen from the initiator's first.
fn ether(object: &mut Object<'_>, record: &FlowRecord) {
    let (forward, reverse) = (&record.features.forward, &record.features.reverse);
    let lists = [
        ("dest_macs", [forward.destination_mac, reverse.source_mac]),
        ("src_macs", [forward.source_mac, reverse.destination_mac]),
    ];
    if lists.iter().all(|(_, macs)| *macs == [[0; 6]; 2]) {
        return;
    }
    let mut ether = object.object("ether");
    for (key, [first, second]) in lists {
        let second = Some(second).filter(|mac| *mac != first);
        let macs = [Some(first), second].into_iter().flatten().filter(|mac| *mac != [0; 6]);
        ether.texts(key, macs.map(mac_text));
    }
}

/// What packets say beyond counts; Suricata has nothing like it. What is zero or was not seen is left out.
fn features(object: &mut Object<'_>, record: &FlowRecord) {
    let features = &record.features;
    let Some(connection) = features.connection else { return };
    let mut all = object.object("features");
    all.text("conn_state", connection.name());
    all.text_if("history", Some(record.history().as_str()).filter(|history| !history.is_empty()));
    let round_trips = [("server_rtt_us", features.server_rtt_us), ("client_rtt_us", features.client_rtt_us)];
    for (key, time) in round_trips {
        if let Some(time) = time {
            all.number(key, time);
        }
    }
    if features.mpls[0] != 0 {
        let mut list = all.list("mpls");
        features.mpls.iter().take_while(|entry| **entry != 0).for_each(|entry| list.number(entry >> 4));
    }
    for (key, direction, stats) in
        [("toserver", Direction::Forward, &record.forward), ("toclient", Direction::Reverse, &record.reverse)]
    {
        if stats.packets > 0 {
            let mut object = all.object(key);
            direction_features(&mut object, record, features.direction(direction), stats);
        }
    }
    first_packets(&features.first_packets, &mut all);
}

fn direction_features(
    object: &mut Object<'_>,
    record: &FlowRecord,
    features: &DirectionFeatures,
    stats: &DirectionStats,
) {
    object.number("ttl_min", stats.ttl_min).number("ttl_max", stats.ttl_max).number("tos", stats.tos);
    if record.key.protocol == protocol::TCP {
        object.number("win", features.initial_window);
        let trouble = &features.trouble;
        for (key, count) in [
            ("retrans", trouble.retransmitted.into()),
            ("out_of_order", trouble.out_of_order.into()),
            ("dup_acks", trouble.duplicate_acks.into()),
            ("zero_windows", trouble.zero_windows.into()),
            ("missed_bytes", trouble.missed_octets),
        ] {
            if count > 0 {
                object.number(key, count);
            }
        }
    }
    if let Some(bits) = features.entropy_bits() {
        object.float("entropy", hundredths(bits));
    }
    if !record.features.has_statistics {
        return;
    }
    object.number("pkt_len_min", features.octets_min).number("pkt_len_max", features.octets_max);
    if let Some((mean, deviation)) = features.octets_mean_and_deviation(stats.packets, stats.octets) {
        object.float("pkt_len_mean", hundredths(mean)).float("pkt_len_stddev", hundredths(deviation));
    }
    if let Some((mean, deviation)) = features.gap_mean_and_deviation_us(stats.packets) {
        object.number("iat_min_us", features.gap_min_us).number("iat_max_us", features.gap_max_us);
        object.float("iat_mean_us", hundredths(mean)).float("iat_stddev_us", hundredths(deviation));
    }
}

/// Why the flow ended, in Suricata's words where it has one.
fn reason(record: &FlowRecord) -> &'static str {
    match record.end_reason {
        // The end of the input is Suricata's `shutdown`; its `forced` is a flow taken from a full table.
        EndReason::ForcedEnd => "shutdown",
        _ if record.at_shutdown => "shutdown",
        EndReason::LackOfResources => "forced",
        // What TCP has closed stays until its timeout.
        EndReason::EndOfFlow => "timeout",
        other => other.name(),
    }
}

fn tcp(object: &mut Object<'_>, record: &FlowRecord) {
    const NAMES: [(u16, &str); 8] = [
        (tcp_flags::SYN, "syn"),
        (tcp_flags::FIN, "fin"),
        (tcp_flags::RST, "rst"),
        (tcp_flags::PSH, "psh"),
        (tcp_flags::ACK, "ack"),
        (tcp_flags::URG, "urg"),
        (tcp_flags::ECE, "ecn"),
        (tcp_flags::CWR, "cwr"),
    ];
    let (there, back) = (record.forward.tcp_flags, record.reverse.tcp_flags);
    let mut tcp = object.object("tcp");
    for (key, flags) in [("tcp_flags", there | back), ("tcp_flags_ts", there), ("tcp_flags_tc", back)] {
        tcp.raw(key, &hex(flags as u8));
    }
    for (flag, name) in NAMES {
        if (there | back) & flag != 0 {
            tcp.bool(name, true);
        }
    }
    let state = match (record.state, flow_state(record)) {
        (FlowState::Established, FlowState::Closed) => "time_wait",
        (_, state) => tcp_state(state, there, back),
    };
    tcp.text("state", state);
    let missed = [
        ("ts_gap", record.features.forward.trouble.missed_octets),
        ("tc_gap", record.features.reverse.trouble.missed_octets),
    ];
    for (key, octets) in missed {
        if octets > 0 {
            tcp.bool(key, true);
        }
    }
    // Into how many regions Suricata's buffer of each stream was split at most; Weir's is never split.
    tcp.number("ts_max_regions", 1u8).number("tc_max_regions", 1u8);
}

/// The two hexadecimal digits of the flags' low eight bits, with quotes.
fn hex(flags: u8) -> [u8; 4] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    [b'"', HEX[usize::from(flags >> 4)], HEX[usize::from(flags & 15)], b'"']
}

/// A record's state as Suricata has it: a connection that was joined in its middle is established even where one side
/// alone was seen, and one that both ends have closed is so whether or not the last of them was told that it arrived.
fn flow_state(record: &FlowRecord) -> FlowState {
    let (there, back) = (record.forward.tcp_flags, record.reverse.tcp_flags);
    match record.state {
        _ if record.key.protocol != protocol::TCP => record.state,
        FlowState::New if (there | back) & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::ACK => {
            FlowState::Established
        }
        FlowState::Established if there & back & tcp_flags::FIN != 0 => FlowState::Closed,
        state => state,
    }
}

/// Suricata's name of the TCP state, as far as a record knows it.
fn tcp_state(state: FlowState, there: u16, back: u16) -> &'static str {
    match state {
        FlowState::Closed => "closed",
        FlowState::Established if there & tcp_flags::FIN != 0 => "close_wait",
        FlowState::Established if back & tcp_flags::FIN != 0 => "fin_wait1",
        FlowState::Established => "established",
        FlowState::New if back & tcp_flags::SYN != 0 => "syn_recv",
        FlowState::New if there & tcp_flags::SYN != 0 => "syn_sent",
        FlowState::New => "none",
    }
}

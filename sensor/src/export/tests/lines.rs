//! What a flow, an event and counts look like in EVE and in record lines.

use super::*;

#[test]
fn where_the_packets_are_stands_in_eve_and_in_record_lines() {
    let mut line = Vec::new();
    EveLines::new(Vec::new()).flow(&flow_in_ring(), &mut line);
    let eve: serde_json::Value = serde_json::from_slice(&line).unwrap();
    let expires = Timestamp::from_parts(BEGIN_S + 86_400, 0);
    assert_eq!(
        eve["ring"],
        serde_json::json!({
            "extents": "~3.0:120-122,140",
            "frames": 7,
            "missed": 2,
            "exact": false,
            "expires": expires.to_string(),
        })
    );
    line.clear();
    record_line::write(&flow_in_ring(), &mut line);
    let record: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(record["ring_extents"], "~3.0:120-122,140");
    assert_eq!(record["ring_missed"], 2);
    assert_eq!(record["ring_expires"], expires.unix().to_string());
    line.clear();
    record_line::write(&flow(0), &mut line);
    assert!(!String::from_utf8(line).unwrap().contains("ring"), "nothing is said without a ring");
}

fn check_line(expect: &Expect, write: impl FnOnce(&mut Vec<u8>)) {
    let mut line = Vec::new();
    write(&mut line);
    let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert!(value.is_object());
    expect.assert_eq(&String::from_utf8(line).unwrap());
}

#[test]
fn a_flow_in_eve_has_suricata_s_names_and_forms() {
    let record = FlowRecord { vlans: [10, 20], ..flow(2) };
    let mut lines = EveLines::new(vec!["eth0".into()]);
    let want = expect![[
        r#"{"timestamp":"2023-11-14T22:13:22.000001+0000","flow_id":2,"in_iface":"eth0","event_type":"flow","vlan":[10,20],"src_ip":"192.0.2.1","src_port":1026,"dest_ip":"198.51.100.2","dest_port":443,"ip_v":4,"proto":"TCP","app_proto":"tls","flow":{"pkts_toserver":5,"pkts_toclient":4,"bytes_toserver":0,"bytes_toclient":0,"start":"2023-11-14T22:13:20.123456+0000","end":"2023-11-14T22:13:22.000001+0000","age":2,"state":"established","reason":"shutdown","alerted":false},"community_id":"1:YPD37KG1XL0PGrNdQlCglhjtLLE=","tcp":{"tcp_flags":"1b","tcp_flags_ts":"1b","tcp_flags_tc":"12","syn":true,"fin":true,"psh":true,"ack":true,"state":"close_wait","ts_max_regions":1,"tc_max_regions":1}}"#
    ]];
    check_line(&want, |out| lines.flow(&record, out));
}

#[test]
fn an_icmpv6_flow_in_eve_has_type_and_code_and_addresses_in_full() {
    let key = FlowKey {
        initiator: "fe80::1".parse().unwrap(),
        responder: "ff02::2".parse().unwrap(),
        initiator_port: 0,
        responder_port: 0,
        protocol: 58,
    };
    let record = FlowRecord {
        key,
        icmp: Some((133, 0)),
        app: App::Unknown,
        reverse: DirectionStats::default(),
        state: FlowState::New,
        end_reason: EndReason::IdleTimeout,
        ..flow(1)
    };
    let mut lines = EveLines::new(Vec::new());
    let want = expect![[
        r#"{"timestamp":"2023-11-14T22:13:22.000001+0000","flow_id":1,"event_type":"flow","src_ip":"fe80:0000:0000:0000:0000:0000:0000:0001","dest_ip":"ff02:0000:0000:0000:0000:0000:0000:0002","ip_v":6,"proto":"IPv6-ICMP","icmp_type":133,"icmp_code":0,"flow":{"pkts_toserver":5,"pkts_toclient":0,"bytes_toserver":0,"bytes_toclient":0,"start":"2023-11-14T22:13:20.123456+0000","end":"2023-11-14T22:13:22.000001+0000","age":2,"state":"new","reason":"timeout","alerted":false},"community_id":"1:Me0f5YGKH0LlxaK+5PzhHKRa20I="}"#
    ]];
    check_line(&want, |out| lines.flow(&record, out));
}

#[test]
fn an_event_of_the_responder_has_the_responder_as_source() {
    let record = flow(1);
    let event = FlowEvent {
        key: record.key,
        flow_id: 1,
        community_id: record.community_id,
        vlans: [0, 0],
        interface: 0,
        source: packet_source(None, false),
        event: Event {
            transaction: Some(3),
            ..Event::new(App::Dns, record.start, Direction::Reverse, br#"{"type":"response"}"#.to_vec())
        },
    };
    let want = expect![[
        r#"{"timestamp":"2023-11-14T22:13:20.123456+0000","flow_id":1,"event_type":"dns","src_ip":"198.51.100.2","src_port":443,"dest_ip":"192.0.2.1","dest_port":1025,"ip_v":4,"proto":"TCP","pkt_src":"stream (flow timeout)","tx_id":3,"community_id":"1:Me0f5YGKH0LlxaK+5PzhHKRa20I=","dns":{"type":"response"}}"#
    ]];
    check_line(&want, |out| EveLines::new(Vec::new()).event(&event, out));
}

#[test]
fn stats_in_eve_have_every_counter_by_section() {
    let mut counters = WorkerCounters::default();
    counters.capture.frames = 90;
    counters.capture.kernel_dropped = 10;
    (counters.decode.ipv4, counters.decode.malformed, counters.decode.truncated) = (80, 1, 2);
    (counters.flow.created, counters.dpi.gaps, counters.detect.alert) = (6, 3, 4);
    let mut line = Vec::new();
    EveLines::new(Vec::new()).stats(
        Timestamp::from_parts(5, 0),
        4,
        &counters,
        &[("ipfix_records", 7)],
        &mut line,
    );
    let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!((&value["event_type"], &value["stats"]["uptime"]), (&"stats".into(), &4.into()));
    assert_eq!(value["stats"]["capture"]["kernel_packets"], 100);
    assert_eq!(value["stats"]["capture"]["kernel_drops"], 10);
    assert_eq!(value["stats"]["export"]["ipfix_records"], 7);
    let decoder = &value["stats"]["decoder"];
    let counts = ["pkts", "ipv4", "invalid"].map(|name| decoder[name].as_u64());
    assert_eq!(counts, [Some(90), Some(80), Some(3)]);
    assert_eq!(value["stats"]["flow"]["total"], 6);
    assert_eq!(value["stats"]["tcp"]["reassembly_gap"], 3);
    assert_eq!(value["stats"]["detect"]["alert"], 4);
    let mut names = 0;
    counters.each(&mut |section, name, count| {
        assert_eq!(value["stats"][section][name], count, "{section}.{name}");
        names += 1;
    });
    assert!(names > 20);
}

#[test]
fn a_record_line_has_the_contract_s_keys() {
    let want = expect![[
        r#"{"src_ip":"192.0.2.1","src_port":1026,"dst_ip":"198.51.100.2","dst_port":443,"proto":6,"pkts_toserver":5,"pkts_toclient":4,"bytes_toserver":500,"bytes_toclient":4000,"start":"1700000000.123456789","end":"1700000002.000001000","tcp_flags_ts":27,"tcp_flags_tc":18,"app_proto":"tls","community_id":"1:YPD37KG1XL0PGrNdQlCglhjtLLE=","flow_id":2,"state":"established","reason":"forced","ttl_min_ts":64,"ttl_max_ts":64,"tos_ts":0,"win_ts":0,"ttl_min_tc":50,"ttl_max_tc":51,"tos_tc":0,"win_tc":0,"sni":"example.org","tls_version":"0x0304","alpn":["h2","http/1.1"]}"#
    ]];
    check_line(&want, |out| record_line::write(&flow(2), out));
}

/// A flow of which everything is known that packets can say.
fn flow_with_features() -> FlowRecord {
    let mut record = FlowRecord { app: App::Unknown, metadata: None, ..flow(3) };
    let side = DirectionFeatures {
        initial_window: 64_240,
        trouble: TcpTrouble {
            retransmitted: 1,
            out_of_order: 2,
            duplicate_acks: 3,
            zero_windows: 4,
            missed_octets: 5,
        },
        octets_min: 40,
        octets_max: 200,
        octets_squared: 70_000,
        gap_min_us: 10,
        gap_max_us: 400,
        gap_sum_us: 800,
        gap_squared_us2: 250_000,
        entropy: Some(128),
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 0xfe],
    };
    record.features = Features {
        connection: Some(ConnectionState::Sf),
        history: History::from(&b"ShADadFf"[..]),
        server_rtt_us: Some(10_000),
        client_rtt_us: Some(200),
        forward: side,
        reverse: DirectionFeatures {
            trouble: TcpTrouble::NONE,
            entropy: None,
            source_mac: [2, 0, 0, 0, 0, 3],
            destination_mac: side.source_mac,
            ..side
        },
        has_statistics: true,
        first_packets: vec![
            PacketBrief { time_us: 10_300, payload: 517, tcp_flags: 24, direction: Direction::Forward },
            PacketBrief { time_us: 21_000, payload: 1400, tcp_flags: 16, direction: Direction::Reverse },
        ],
        mpls: [0x3e81 << 4 | 1, 0, 0],
    };
    record
}

#[test]
fn what_packets_say_stands_in_eve_beside_suricata_s_members() {
    let want = expect![[
        r#"{"timestamp":"2023-11-14T22:13:22.000001+0000","flow_id":3,"event_type":"flow","src_ip":"192.0.2.1","src_port":1027,"dest_ip":"198.51.100.2","dest_port":443,"ip_v":4,"proto":"TCP","flow":{"pkts_toserver":5,"pkts_toclient":4,"bytes_toserver":0,"bytes_toclient":0,"start":"2023-11-14T22:13:20.123456+0000","end":"2023-11-14T22:13:22.000001+0000","age":2,"state":"established","reason":"shutdown","alerted":false},"community_id":"1:jMQ5pj41dXbmgigBbnBafQLJ4aU=","tcp":{"tcp_flags":"1b","tcp_flags_ts":"1b","tcp_flags_tc":"12","syn":true,"fin":true,"psh":true,"ack":true,"state":"close_wait","ts_gap":true,"ts_max_regions":1,"tc_max_regions":1},"ether":{"dest_macs":["02:00:00:00:00:fe","02:00:00:00:00:03"],"src_macs":["02:00:00:00:00:01"]},"features":{"conn_state":"SF","history":"ShADadFf","server_rtt_us":10000,"client_rtt_us":200,"mpls":[16001],"toserver":{"ttl_min":64,"ttl_max":64,"tos":0,"win":64240,"retrans":1,"out_of_order":2,"dup_acks":3,"zero_windows":4,"missed_bytes":5,"entropy":4,"pkt_len_min":40,"pkt_len_max":200,"pkt_len_mean":100,"pkt_len_stddev":63.25,"iat_min_us":10,"iat_max_us":400,"iat_mean_us":200,"iat_stddev_us":150},"toclient":{"ttl_min":50,"ttl_max":51,"tos":0,"win":64240,"pkt_len_min":40,"pkt_len_max":200,"pkt_len_mean":1000,"pkt_len_stddev":0,"iat_min_us":10,"iat_max_us":400,"iat_mean_us":266.67,"iat_stddev_us":110.55},"splt_lengths":[517,1400],"splt_times_us":[10300,21000],"splt_flags":[24,16],"splt_directions":[1,-1]}}"#
    ]];
    check_line(&want, |out| EveLines::new(Vec::new()).flow(&flow_with_features(), out));
}

#[test]
fn what_packets_say_stands_in_a_record_line() {
    let want = expect![[
        r#"{"src_ip":"192.0.2.1","src_port":1027,"dst_ip":"198.51.100.2","dst_port":443,"proto":6,"pkts_toserver":5,"pkts_toclient":4,"bytes_toserver":500,"bytes_toclient":4000,"start":"1700000000.123456789","end":"1700000002.000001000","tcp_flags_ts":27,"tcp_flags_tc":18,"community_id":"1:jMQ5pj41dXbmgigBbnBafQLJ4aU=","flow_id":3,"state":"established","reason":"forced","conn_state":"SF","history":"ShADadFf","rtt_us":10200,"server_rtt_us":10000,"client_rtt_us":200,"ttl_min_ts":64,"ttl_max_ts":64,"tos_ts":0,"win_ts":64240,"retrans_ts":1,"out_of_order_ts":2,"dup_acks_ts":3,"zero_windows_ts":4,"missed_bytes_ts":5,"entropy_ts":4,"pkt_len_min_ts":40,"pkt_len_max_ts":200,"pkt_len_mean_ts":100,"pkt_len_stddev_ts":63.25,"iat_min_us_ts":10,"iat_max_us_ts":400,"iat_mean_us_ts":200,"iat_stddev_us_ts":150,"ttl_min_tc":50,"ttl_max_tc":51,"tos_tc":0,"win_tc":64240,"pkt_len_min_tc":40,"pkt_len_max_tc":200,"pkt_len_mean_tc":1000,"pkt_len_stddev_tc":0,"iat_min_us_tc":10,"iat_max_us_tc":400,"iat_mean_us_tc":266.67,"iat_stddev_us_tc":110.55,"src_mac":"02:00:00:00:00:01","dst_mac":"02:00:00:00:00:fe","mpls":[16001],"splt_lengths":[517,1400],"splt_times_us":[10300,21000],"splt_flags":[24,16],"splt_directions":[1,-1]}"#
    ]];
    check_line(&want, |out| record_line::write(&flow_with_features(), out));
}

#[test]
fn the_state_of_a_tcp_flow_is_suricata_s() {
    use FlowState::{Closed, Established, New};
    for (state, there, back, want) in [
        (New, 0x02, 0, ["new", "syn_sent"]),
        (New, 0x02, 0x12, ["new", "syn_recv"]),
        (New, 0x18, 0, ["established", "established"]),
        (New, 0x19, 0, ["established", "close_wait"]),
        (Established, 0x1a, 0x1b, ["established", "fin_wait1"]),
        (Established, 0x1b, 0x1a, ["established", "close_wait"]),
        (Established, 0x1b, 0x1b, ["closed", "time_wait"]),
        (Closed, 0x1b, 0x1b, ["closed", "closed"]),
    ] {
        let mut record = FlowRecord { state, ..flow(2) };
        (record.forward.tcp_flags, record.reverse.tcp_flags) = (there, back);
        let mut line = Vec::new();
        EveLines::new(Vec::new()).flow(&record, &mut line);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!([&value["flow"]["state"], &value["tcp"]["state"]], want, "{state:?} {there:x} {back:x}");
    }
}

//! `--records` of both programs: one JSON object per flow record, for scripts.
//!
//! In: flow records. Out: lines with the keys that the contract with users names. Keys that say nothing
//! are left out; metadata stands under [`Field::key`]. `src` is the initiator. What packets say beyond counts:
//! `conn_state` and `history` as Zeek has them; `server_rtt_us`, `client_rtt_us`, `rtt_us` of the handshake; per direction
//! (`_ts` to the server, `_tc` to the client) `win`, `retrans`, `out_of_order`, `dup_acks`, `zero_windows`,
//! `missed_bytes`, `entropy` (bits an octet), `ttl_min`, `ttl_max`, `tos`, `pkt_len_` and `iat_` (microseconds) with `min`,
//! `max`, `mean`, `stddev`; `src_mac`, `dst_mac` of the first packet; `mpls`; and the first packets as four lists of the same
//! length, `splt_lengths`, `splt_times_us`, `splt_flags`, `splt_directions` (1 from the initiator, -1 to it).

use crate::app::App;
use crate::features::{PacketBrief, mac_text};
use crate::json::Object;
use crate::metadata::{Field, Value};
use crate::net::{Direction, protocol};
use crate::record::FlowRecord;
use crate::text::{address, community_id, unix};
use std::borrow::Cow;

/// Appends the line of a record, without its end.
pub fn write(record: &FlowRecord, out: &mut Vec<u8>) {
    let key = &record.key;
    let mut object = Object::begin(out);
    object.raw("src_ip", address(&key.initiator).json()).number("src_port", key.initiator_port);
    object.raw("dst_ip", address(&key.responder).json()).number("dst_port", key.responder_port);
    object.number("proto", key.protocol);
    object.number("pkts_toserver", record.forward.packets).number("pkts_toclient", record.reverse.packets);
    object.number("bytes_toserver", record.forward.octets).number("bytes_toclient", record.reverse.octets);
    object.raw("start", unix(record.start).json()).raw("end", unix(record.end).json());
    if key.protocol == protocol::TCP {
        object
            .number("tcp_flags_ts", record.forward.tcp_flags)
            .number("tcp_flags_tc", record.reverse.tcp_flags);
    }
    if record.app != App::Unknown {
        object.text("app_proto", record.app.name());
    }
    object.raw("community_id", community_id(&record.community_id).json()).number("flow_id", record.flow_id);
    object.text("state", record.state.name()).text("reason", record.end_reason.name());
    if let Some((kind, code)) = record.icmp {
        object.number("icmp_type", kind).number("icmp_code", code);
    }
    features(record, &mut object);
    if record.vlans[0] != 0 {
        let mut list = object.list("vlan");
        record.vlans.iter().take_while(|vlan| **vlan != 0).for_each(|vlan| list.number(*vlan));
    }
    if let Some(tunnel) = &record.tunnel {
        let mut outer = object.object("tunnel");
        outer.text("kind", tunnel.kind.name()).number("depth", tunnel.depth);
        outer.raw("src_ip", address(&tunnel.source.0).json()).number("src_port", tunnel.source.1);
        outer.raw("dst_ip", address(&tunnel.destination.0).json()).number("dst_port", tunnel.destination.1);
        if let Some(id) = tunnel.id {
            outer.number("id", id);
        }
    }
    if let Some(evidence) = &record.evidence {
        object.display("ring_extents", &evidence.extents);
        if evidence.frames_missed > 0 {
            object.number("ring_missed", evidence.frames_missed);
        }
        if let Some(expires) = evidence.expires {
            object.raw("ring_expires", unix(expires).json());
        }
    }
    for (field, value) in record.metadata().iter() {
        // Where there are several values, they stand under the key of the first.
        if let Some(list) = list_of(field)
            && !record.metadata().list(list).is_empty()
        {
            continue;
        }
        match value {
            Value::Text(text) => self::text(&mut object, field, text),
            Value::Number(number) => {
                object.number(field.key(), *number);
            }
            Value::TextList(list) => {
                object.texts(key_of(field), list.iter().map(|text| text.as_bytes()));
            }
        }
    }
}

/// What packets say beyond counts.
fn features(record: &FlowRecord, object: &mut Object<'_>) {
    let features = &record.features;
    if let Some(connection) = features.connection {
        object.text("conn_state", connection.name());
    }
    object.text_if("history", Some(record.history().as_str()).filter(|history| !history.is_empty()));
    let round_trips = [
        ("rtt_us", features.rtt_us()),
        ("server_rtt_us", features.server_rtt_us.map(u64::from)),
        ("client_rtt_us", features.client_rtt_us.map(u64::from)),
    ];
    for (key, time) in round_trips {
        if let Some(time) = time {
            object.number(key, time);
        }
    }
    for (names, direction) in [(&TO_SERVER, Direction::Forward), (&TO_CLIENT, Direction::Reverse)] {
        self::direction(record, direction, names, object);
    }
    let forward = &features.forward;
    if forward.source_mac != [0; 6] || forward.destination_mac != [0; 6] {
        object.bytes("src_mac", &mac_text(forward.source_mac));
        object.bytes("dst_mac", &mac_text(forward.destination_mac));
    }
    if features.mpls[0] != 0 {
        let mut list = object.list("mpls");
        features.mpls.iter().take_while(|entry| **entry != 0).for_each(|entry| list.number(entry >> 4));
    }
    first_packets(&features.first_packets, object);
}

/// The first packets as four lists of the same length.
pub fn first_packets(packets: &[PacketBrief], object: &mut Object<'_>) {
    if packets.is_empty() {
        return;
    }
    let mut list = object.list("splt_lengths");
    packets.iter().for_each(|packet| list.number(packet.payload));
    drop(list);
    let mut list = object.list("splt_times_us");
    packets.iter().for_each(|packet| list.number(packet.time_us));
    drop(list);
    let mut list = object.list("splt_flags");
    packets.iter().for_each(|packet| list.number(packet.tcp_flags));
    drop(list);
    let mut list = object.list("splt_directions");
    packets
        .iter()
        .for_each(|packet| list.number(if packet.direction == Direction::Forward { 1i8 } else { -1 }));
}

/// Keys of one direction.
struct Names {
    ttl_min: &'static str,
    ttl_max: &'static str,
    tos: &'static str,
    window: &'static str,
    trouble: [&'static str; 5],
    entropy: &'static str,
    octets: [&'static str; 4],
    gaps: [&'static str; 4],
}

const TO_SERVER: Names = Names {
    ttl_min: "ttl_min_ts",
    ttl_max: "ttl_max_ts",
    tos: "tos_ts",
    window: "win_ts",
    trouble: ["retrans_ts", "out_of_order_ts", "dup_acks_ts", "zero_windows_ts", "missed_bytes_ts"],
    entropy: "entropy_ts",
    octets: ["pkt_len_min_ts", "pkt_len_max_ts", "pkt_len_mean_ts", "pkt_len_stddev_ts"],
    gaps: ["iat_min_us_ts", "iat_max_us_ts", "iat_mean_us_ts", "iat_stddev_us_ts"],
};

const TO_CLIENT: Names = Names {
    ttl_min: "ttl_min_tc",
    ttl_max: "ttl_max_tc",
    tos: "tos_tc",
    window: "win_tc",
    trouble: ["retrans_tc", "out_of_order_tc", "dup_acks_tc", "zero_windows_tc", "missed_bytes_tc"],
    entropy: "entropy_tc",
    octets: ["pkt_len_min_tc", "pkt_len_max_tc", "pkt_len_mean_tc", "pkt_len_stddev_tc"],
    gaps: ["iat_min_us_tc", "iat_max_us_tc", "iat_mean_us_tc", "iat_stddev_us_tc"],
};

fn direction(record: &FlowRecord, direction: Direction, names: &Names, object: &mut Object<'_>) {
    let stats = if direction == Direction::Forward { &record.forward } else { &record.reverse };
    let features = record.features.direction(direction);
    if stats.packets == 0 {
        return;
    }
    object.number(names.ttl_min, stats.ttl_min).number(names.ttl_max, stats.ttl_max);
    object.number(names.tos, stats.tos);
    if record.key.protocol == protocol::TCP {
        object.number(names.window, features.initial_window);
        let trouble = &features.trouble;
        let counts = [
            trouble.retransmitted.into(),
            trouble.out_of_order.into(),
            trouble.duplicate_acks.into(),
            trouble.zero_windows.into(),
            trouble.missed_octets,
        ];
        for (key, count) in names.trouble.into_iter().zip(counts) {
            if count > 0 {
                object.number(key, count);
            }
        }
    }
    if let Some(bits) = features.entropy_bits() {
        object.float(names.entropy, hundredths(bits));
    }
    if !record.features.has_statistics {
        return;
    }
    object.number(names.octets[0], features.octets_min).number(names.octets[1], features.octets_max);
    if let Some((mean, deviation)) = features.octets_mean_and_deviation(stats.packets, stats.octets) {
        object.float(names.octets[2], hundredths(mean)).float(names.octets[3], hundredths(deviation));
    }
    if let Some((mean, deviation)) = features.gap_mean_and_deviation_us(stats.packets) {
        object.number(names.gaps[0], features.gap_min_us).number(names.gaps[1], features.gap_max_us);
        object.float(names.gaps[2], hundredths(mean)).float(names.gaps[3], hundredths(deviation));
    }
}

/// A number with two digits behind the point, which is as exact as any of these is.
pub fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Fields of one value, and those of all values where there are several.
const LISTS: [(Field, Field); 5] = [
    (Field::HttpMethod, Field::HttpMethods),
    (Field::HttpHost, Field::HttpHosts),
    (Field::HttpUri, Field::HttpUris),
    (Field::HttpStatus, Field::HttpStatuses),
    (Field::HttpUserAgent, Field::HttpUserAgents),
];

fn list_of(field: Field) -> Option<Field> {
    LISTS.iter().find(|(one, _)| *one == field).map(|(_, list)| *list)
}

fn key_of(list: Field) -> &'static str {
    LISTS.iter().find(|(_, all)| *all == list).map_or(list, |(one, _)| *one).key()
}

fn text(object: &mut Object<'_>, field: Field, text: &str) {
    match field {
        Field::TlsVersion => object.text(field.key(), &tls_version(text)),
        Field::TlsAlpn => object.texts(field.key(), text.split(',')),
        _ => object.text(field.key(), text),
    };
}

/// The version's number as the wire has it, which is what scripts compare; other text stays.
fn tls_version(name: &str) -> Cow<'_, str> {
    Cow::Borrowed(match name {
        "SSLv2" => "0x0002",
        "SSLv3" => "0x0300",
        "TLSv1" | "TLS 1.0" => "0x0301",
        "TLS 1.1" => "0x0302",
        "TLS 1.2" => "0x0303",
        "TLS 1.3" => "0x0304",
        "DTLS 1.0 (OpenSSL)" => "0x0100",
        "DTLS 1.0" => "0xfeff",
        "DTLS 1.2" => "0xfefd",
        "DTLS 1.3" => "0xfefc",
        other => {
            let Some(draft) = other.strip_prefix("TLS 1.3 draft-") else { return Cow::Borrowed(other) };
            let (number, high) = draft.strip_suffix("-fb").map_or((draft, "7f"), |number| (number, "fb"));
            return match number.parse::<u8>() {
                Ok(number) => Cow::Owned(format!("0x{high}{number:02x}")),
                Err(_) => Cow::Borrowed(other),
            };
        }
    })
}

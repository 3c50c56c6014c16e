//! `--records`: one JSON object per flow record, for scripts.
//!
//! In: flow records. Out: lines with the keys that the contract with users names. Keys that say nothing
//! are left out; metadata stands under [`Field::key`]. `src` is the initiator.

use super::text::{address, community_id, unix};
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::{Field, Value};
use weir_common::net::protocol;
use weir_common::record::FlowRecord;

/// Appends the line of a record, without its end.
pub(super) fn write(record: &FlowRecord, out: &mut Vec<u8>) {
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
    if record.vlans[0] != 0 {
        let mut list = object.list("vlan");
        record.vlans.iter().take_while(|vlan| **vlan != 0).for_each(|vlan| list.number(*vlan));
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
        Field::TlsVersion => object.text(field.key(), tls_version(text)),
        Field::TlsAlpn => object.texts(field.key(), text.split(',')),
        _ => object.text(field.key(), text),
    };
}

/// The version's number as the wire has it, which is what scripts compare; other text stays.
fn tls_version(name: &str) -> &str {
    match name {
        "SSLv2" => "0x0002",
        "SSLv3" => "0x0300",
        "TLSv1" | "TLS 1.0" => "0x0301",
        "TLS 1.1" => "0x0302",
        "TLS 1.2" => "0x0303",
        "TLS 1.3" => "0x0304",
        other => other,
    }
}

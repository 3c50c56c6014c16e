//! EVE's `alert` events: that a signature matched, with Suricata's names and value formats.
//!
//! In: a [`FlowAlert`]. Out: one JSON object. Two things are Weir's own: `action` is always `allowed`, since
//! a passive sensor stops nothing, and an alert found in stored packets says `retrospective`.

use super::eve::{EveLines, Head};
use serde_json::{Map, Value};
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::net::{Address, CommunityId, Direction, FlowKey, protocol};
use weir_common::rule::{Description, Pairs, Target};
use weir_common::text::{address_in_full, community_id};
use weir_common::time::Timestamp;

/// A match of a signature, with the flow it was found in.
#[derive(Clone, Copy, Debug)]
pub struct FlowAlert<'a> {
    /// Time of the packet, or of the packet that completed the transaction.
    pub time: Timestamp,
    /// The flow's ends, initiator first.
    pub key: FlowKey,
    /// The flow's identifier.
    pub flow_id: u64,
    /// The flow's Community ID.
    pub community_id: CommunityId,
    /// 802.1Q identifiers, outermost first.
    pub vlans: [u16; 2],
    /// Who sent what matched.
    pub direction: Direction,
    /// Type and code, for ICMP.
    pub icmp: Option<(u8, u8)>,
    /// The flow's application, as far as it is known.
    pub app: App,
    /// Number of the transaction in its flow, where one matched.
    pub transaction: Option<u64>,
    /// The signature.
    pub signature: &'a Description,
    /// Whether the packets were stored ones.
    pub is_retrospective: bool,
}

/// Writes alerts as EVE lines.
pub struct AlertLines {
    lines: EveLines,
}

impl AlertLines {
    /// A writer; `interfaces` are the names for `in_iface`, by index, empty for stored packets.
    pub fn new(interfaces: Vec<String>) -> AlertLines {
        AlertLines { lines: EveLines::new(interfaces) }
    }

    /// Appends an alert as one object, without a line's end.
    pub fn write(&mut self, alert: &FlowAlert<'_>, interface: u32, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        self.lines.head(
            &mut object,
            &Head {
                time: alert.time,
                flow_id: alert.flow_id,
                interface,
                event_type: "alert",
                vlans: alert.vlans,
                key: &alert.key,
                direction: alert.direction,
            },
        );
        if let Some((kind, code)) = alert.icmp {
            object.number("icmp_type", kind).number("icmp_code", code);
        }
        object.raw("community_id", community_id(&alert.community_id).json());
        if let Some(transaction) = alert.transaction {
            object.number("tx_id", transaction);
        }
        let FlowAlert { key, direction, is_retrospective, .. } = alert;
        write_signature(&mut object.object("alert"), alert.signature, key, *direction, *is_retrospective);
        if alert.app != App::Unknown {
            object.text("app_proto", alert.app.name());
        }
        object.text(
            "direction",
            match alert.direction {
                Direction::Forward => "to_server",
                Direction::Reverse => "to_client",
            },
        );
    }
}

/// What an alert says of its signature: EVE's `alert` object.
pub fn write_signature(
    object: &mut Object<'_>,
    about: &Description,
    key: &FlowKey,
    direction: Direction,
    is_retrospective: bool,
) {
    object.text("action", "allowed").number("gid", about.gid).number("signature_id", about.sid);
    object.number("rev", about.rev).text("signature", &about.message);
    object.text("category", about.category).number("severity", about.severity);
    if let Some(target) = about.target {
        let initiator = (&key.initiator, key.initiator_port);
        let responder = (&key.responder, key.responder_port);
        let is_forward = direction == Direction::Forward;
        let is_initiator = is_forward == (target == Target::Source);
        let (victim, other) = if is_initiator { (initiator, responder) } else { (responder, initiator) };
        for (name, (address, port)) in [("source", other), ("target", victim)] {
            end(&mut object.object(name), address, port, key.protocol);
        }
    }
    if !about.metadata.is_empty() {
        object.raw("metadata", &metadata(&about.metadata));
    }
    if is_retrospective {
        object.bool("retrospective", true);
    }
}

/// Where more is to be read about a signature: addresses, made as Suricata's `reference.config` does.
pub fn write_references(object: &mut Object<'_>, about: &Description) {
    if about.references.is_empty() {
        return;
    }
    let address = |(system, value): (&str, &str)| {
        let known = REFERENCES.iter().find(|(name, _)| name.eq_ignore_ascii_case(system));
        [known.map_or("", |(_, prefix)| *prefix), value].concat()
    };
    object.texts("references", about.references.iter().map(address));
}

/// What stands before a reference, by its system.
const REFERENCES: [(&str, &str); 20] = [
    ("arachnids", "http://www.whitehats.com/info/IDS"),
    ("bid", "http://www.securityfocus.com/bid/"),
    ("bugtraq", "http://www.securityfocus.com/bid/"),
    ("cve", "http://cve.mitre.org/cgi-bin/cvename.cgi?name="),
    ("et", "http://doc.emergingthreats.net/"),
    ("etpro", "http://doc.emergingthreatspro.com/"),
    ("exploitdb", "http://www.exploit-db.com/exploits/"),
    ("mcafee", "http://vil.nai.com/vil/content/v_"),
    ("md5", "http://www.threatexpert.com/report.aspx?md5="),
    ("msft", "http://technet.microsoft.com/security/bulletin/"),
    ("nessus", "http://cgi.nessus.org/plugins/dump.php3?id="),
    ("openpacket", "https://www.openpacket.org/capture/grab/"),
    ("osvdb", "http://osvdb.org/show/osvdb/"),
    ("secunia", "http://www.secunia.com/advisories/"),
    ("securitytracker", "http://securitytracker.com/id?"),
    ("telus", "http://"),
    ("threatexpert", "http://www.threatexpert.com/report.aspx?md5="),
    ("url", "http://"),
    ("urlhaus", "https://urlhaus.abuse.ch/url/"),
    ("xforce", "http://xforce.iss.net/xforce/xfdb/"),
];

fn end(object: &mut Object<'_>, address: &Address, port: u16, protocol: u8) {
    object.raw("ip", address_in_full(address).json());
    if !matches!(protocol, protocol::ICMP | protocol::ICMPV6) {
        object.number("port", port);
    }
}

/// Each key with the list of its values.
fn metadata(entries: &Pairs) -> Vec<u8> {
    let mut map = Map::new();
    for (key, value) in entries.iter() {
        let list = map.entry(key).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(Value::String(value.to_owned()));
        }
    }
    Value::Object(map).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_common::rule::{RuleReader, Variables};

    fn line(options: &str, direction: Direction) -> Value {
        let rule = format!("alert tcp any any -> any any (msg:\"A \\\"b\\\"\"; sid:7; rev:2; {options})");
        let file = RuleReader::new(Variables::default()).read("x", rule.as_bytes());
        let key = FlowKey {
            initiator: "10.0.0.1".parse().unwrap(),
            responder: "2001:db8::1".parse().unwrap(),
            initiator_port: 1000,
            responder_port: 443,
            protocol: protocol::TCP,
        };
        let alert = FlowAlert {
            time: Timestamp::from_parts(1_763_640_000, 123_456_789),
            key,
            flow_id: 5,
            community_id: CommunityId::of(&key, None, 0),
            vlans: [0; 2],
            direction,
            icmp: None,
            app: App::Tls,
            transaction: Some(3),
            signature: &file.rules[0].description,
            is_retrospective: true,
        };
        let mut out = Vec::new();
        AlertLines::new(Vec::new()).write(&alert, 0, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn an_alert_has_suricatas_names() {
        let line = line("classtype:trojan-activity; metadata:tag A, tag B, x y;", Direction::Forward);
        let want = serde_json::json!({
            "timestamp": "2025-11-20T12:00:00.123456+0000",
            "flow_id": 5,
            "event_type": "alert",
            "src_ip": "10.0.0.1",
            "src_port": 1000,
            "dest_ip": "2001:0db8:0000:0000:0000:0000:0000:0001",
            "dest_port": 443,
            "ip_v": 4,
            "proto": "TCP",
            "community_id": line["community_id"],
            "tx_id": 3,
            "alert": {
                "action": "allowed", "gid": 1, "signature_id": 7, "rev": 2, "signature": "A \"b\"",
                "category": "A Network Trojan was detected", "severity": 1,
                "metadata": {"tag": ["A", "B"], "x": ["y"]}, "retrospective": true
            },
            "app_proto": "tls",
            "direction": "to_server"
        });
        assert_eq!(line, want);
    }

    #[test]
    fn the_target_is_the_packets_end_that_the_rule_names() {
        let there = line("target:dest_ip;", Direction::Forward);
        assert_eq!(
            (&there["alert"]["target"]["port"], &there["alert"]["source"]["port"]),
            (&443.into(), &1000.into())
        );
        let back = line("target:dest_ip;", Direction::Reverse);
        assert_eq!((&back["src_port"], &back["alert"]["target"]["port"]), (&443.into(), &1000.into()));
        let source = line("target:src_ip;", Direction::Reverse);
        assert_eq!(source["alert"]["target"]["port"], 443);
    }
}

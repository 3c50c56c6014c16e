//! One EVE event: the members that concern a flow record.

use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use weir_common::app::App;
use weir_common::evidence::Evidence;
use weir_common::features::Features;
use weir_common::metadata::{Field, Metadata};
use weir_common::net::{Address, CommunityId, FlowKey, protocol};
use weir_common::record::{DirectionStats, EndReason, FlowRecord, FlowState};
use weir_common::time::Timestamp;

/// The members of an event; unknown ones are skipped.
#[derive(Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow)]
    event_type: Option<Cow<'a, str>>,
    pub(super) flow_id: Option<u64>,
    #[serde(borrow)]
    pub(super) host: Option<Cow<'a, str>>,
    #[serde(borrow)]
    src_ip: Option<Cow<'a, str>>,
    #[serde(default)]
    src_port: u16,
    #[serde(borrow)]
    dest_ip: Option<Cow<'a, str>>,
    #[serde(default)]
    dest_port: u16,
    #[serde(borrow)]
    proto: Option<Cow<'a, str>>,
    #[serde(borrow)]
    app_proto: Option<Cow<'a, str>>,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
    #[serde(default)]
    vlan: Vec<u16>,
    #[serde(borrow)]
    community_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    flow: Option<Flow<'a>>,
    #[serde(borrow)]
    tcp: Option<Tcp<'a>>,
    ring: Option<Value>,
    dns: Option<Value>,
    http: Option<Value>,
    tls: Option<Value>,
    ssh: Option<Value>,
}

#[derive(Deserialize)]
struct Flow<'a> {
    #[serde(default)]
    pkts_toserver: u64,
    #[serde(default)]
    pkts_toclient: u64,
    #[serde(default)]
    bytes_toserver: u64,
    #[serde(default)]
    bytes_toclient: u64,
    #[serde(borrow)]
    start: Option<Cow<'a, str>>,
    #[serde(borrow)]
    end: Option<Cow<'a, str>>,
    #[serde(borrow)]
    state: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Tcp<'a> {
    #[serde(borrow)]
    tcp_flags_ts: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tcp_flags_tc: Option<Cow<'a, str>>,
}

impl Event<'_> {
    /// Whether it reports a whole flow.
    pub(super) fn is_flow(&self) -> bool {
        self.event_type.as_deref() == Some("flow")
    }

    /// The flow's record; `None` for a flow without addresses. The error says what was expected.
    pub(super) fn record(
        &self,
        flow_id: u64,
        metadata: Option<Box<Metadata>>,
    ) -> Result<Option<FlowRecord>, String> {
        let (Some(source), Some(destination)) = (&self.src_ip, &self.dest_ip) else { return Ok(None) };
        let flow = self.flow.as_ref().ok_or("no member `flow`: expected the flow's counters")?;
        let number = protocol_of(self.proto.as_deref().unwrap_or_default())?;
        let is_icmp = matches!(number, protocol::ICMP | protocol::ICMPV6);
        let key = FlowKey {
            initiator: address_of(source)?,
            responder: address_of(destination)?,
            initiator_port: if is_icmp { 0 } else { self.src_port },
            responder_port: if is_icmp { 0 } else { self.dest_port },
            protocol: number,
        };
        let icmp = if is_icmp { self.icmp_type.zip(self.icmp_code) } else { None };
        let start = time_of(flow.start.as_deref())?;
        // A flow that Suricata saw one packet of may lack its end.
        let end = if flow.end.is_some() { time_of(flow.end.as_deref())? } else { start };
        let community_id = self.community_id.as_deref().and_then(|text| text.parse().ok());
        let flags =
            |text: Option<&str>| text.and_then(|text| u16::from_str_radix(text, 16).ok()).unwrap_or(0);
        let tcp = self.tcp.as_ref();
        let direction = |packets, octets, flags| DirectionStats {
            packets,
            octets,
            frame_octets: 0,
            tcp_flags: flags,
            ..DirectionStats::default()
        };
        let to_server = flags(tcp.and_then(|tcp| tcp.tcp_flags_ts.as_deref()));
        let to_client = flags(tcp.and_then(|tcp| tcp.tcp_flags_tc.as_deref()));
        let vlan = |index: usize| self.vlan.get(index).copied().unwrap_or(0);
        Ok(Some(FlowRecord {
            tunnel: None,
            at_shutdown: false,
            signatures: None,
            key,
            flow_id,
            community_id: community_id.unwrap_or_else(|| CommunityId::of(&key, icmp, 0)),
            start,
            end,
            forward: direction(flow.pkts_toserver, flow.bytes_toserver, to_server),
            reverse: direction(flow.pkts_toclient, flow.bytes_toclient, to_client),
            icmp,
            vlans: [vlan(0), vlan(1)],
            interface: 0,
            end_reason: end_reason_of(flow.reason.as_deref()),
            state: state_of(flow.state.as_deref()),
            app: self.app_proto.as_deref().and_then(App::from_name).unwrap_or_default(),
            metadata,
            evidence: self.ring.as_ref().and_then(evidence_of).map(Box::new),
            features: Features::default(),
        }))
    }

    /// Adds what the event tells about its flow; whether it is of a kind that tells something.
    pub(super) fn tell(&self, metadata: &mut Metadata) -> bool {
        if let Some(dns) = &self.dns {
            tell_dns(dns, metadata);
        } else if let Some(http) = &self.http {
            tell_http(http, metadata);
        } else if let Some(tls) = &self.tls {
            tell_tls(tls, metadata);
        } else if let Some(ssh) = &self.ssh {
            tell_ssh(ssh, metadata);
        } else {
            return false;
        }
        true
    }
}

fn address_of(text: &str) -> Result<Address, String> {
    text.parse().map_err(|_| format!("`{text}` is not an address: expected IPv4 or IPv6"))
}

fn time_of(text: Option<&str>) -> Result<Timestamp, String> {
    let text = text.ok_or("no flow.start: expected a time")?;
    Timestamp::parse(text, Timestamp::MIN).map_err(|error| error.to_string())
}

fn protocol_of(name: &str) -> Result<u8, String> {
    let number = match name {
        "TCP" => Some(protocol::TCP),
        "UDP" => Some(protocol::UDP),
        _ => name.parse().ok().or_else(|| (0..=u8::MAX).find(|number| protocol::name(*number) == name)),
    };
    number.ok_or_else(|| format!("proto `{name}` is unknown: expected a name that EVE uses, or a number"))
}

/// Where the packets are, as Weir's sensor says it; what another program calls `ring` is nothing.
fn evidence_of(ring: &Value) -> Option<Evidence> {
    let number = |member: &str| ring.get(member).and_then(Value::as_u64).unwrap_or(0);
    let expires = ring.get("expires").and_then(Value::as_str);
    Some(Evidence {
        extents: ring.get("extents")?.as_str()?.parse().ok()?,
        frames_kept: number("frames"),
        frames_missed: number("missed"),
        expires: expires.and_then(|text| Timestamp::parse(text, Timestamp::MIN).ok()),
    })
}

fn end_reason_of(word: Option<&str>) -> EndReason {
    match word {
        Some("forced" | "shutdown") => EndReason::ForcedEnd,
        Some("active") => EndReason::ActiveTimeout,
        Some("closed" | "tcp_reuse") => EndReason::EndOfFlow,
        Some("emergency") => EndReason::LackOfResources,
        _ => EndReason::IdleTimeout,
    }
}

fn state_of(word: Option<&str>) -> FlowState {
    match word {
        Some("established" | "bypassed") => FlowState::Established,
        Some("closed") => FlowState::Closed,
        _ => FlowState::New,
    }
}

/// Copies texts of an object to fields.
fn texts(object: &Value, metadata: &mut Metadata, members: &[(&str, Field)]) {
    for (member, field) in members {
        if let Some(text) = object.get(member).and_then(Value::as_str) {
            metadata.set_text(*field, text);
        }
    }
}

fn tell_dns(dns: &Value, metadata: &mut Metadata) {
    let listed = dns.get("queries").and_then(Value::as_array);
    for query in listed.into_iter().flatten().chain(std::iter::once(dns)) {
        if let Some(name) = query.get("rrname").and_then(Value::as_str) {
            metadata.add(Field::DnsQuery, name);
        }
        texts(query, metadata, &[("rrtype", Field::DnsQueryType)]);
    }
    for answer in dns.get("answers").and_then(Value::as_array).into_iter().flatten() {
        if let Some(data) = answer.get("rdata").and_then(Value::as_str) {
            metadata.add(Field::DnsAnswers, data);
        }
    }
    if let Some(code) = dns.get("rcode").and_then(Value::as_str).and_then(rcode_of) {
        metadata.set_number(Field::DnsRcode, code);
    }
}

/// RFC 1035, RFC 2136 and RFC 6895: the response codes that EVE names.
fn rcode_of(name: &str) -> Option<u64> {
    const NAMES: [&str; 11] = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET",
        "NOTAUTH", "NOTZONE",
    ];
    NAMES.iter().position(|have| *have == name).map(|code| code as u64).or_else(|| name.parse().ok())
}

fn tell_http(http: &Value, metadata: &mut Metadata) {
    let members = [
        ("hostname", Field::HttpHost),
        ("url", Field::HttpUri),
        ("http_method", Field::HttpMethod),
        ("http_user_agent", Field::HttpUserAgent),
        ("http_content_type", Field::HttpContentType),
        ("http_server", Field::HttpServer),
    ];
    texts(http, metadata, &members);
    if let Some(status) = http.get("status").and_then(Value::as_u64) {
        metadata.set_number(Field::HttpStatus, status);
    }
}

fn tell_tls(tls: &Value, metadata: &mut Metadata) {
    let members = [
        ("sni", Field::TlsServerName),
        ("version", Field::TlsVersion),
        ("subject", Field::TlsSubject),
        ("issuerdn", Field::TlsIssuer),
        ("serial", Field::TlsSerial),
        ("fingerprint", Field::TlsFingerprint),
        ("ja4", Field::TlsJa4),
    ];
    texts(tls, metadata, &members);
    for (member, field) in [("ja3", Field::TlsJa3), ("ja3s", Field::TlsJa3s)] {
        if let Some(fingerprint) = tls.get(member) {
            texts(fingerprint, metadata, &[("hash", field)]);
        }
    }
    if let Some(offered) = tls.get("client_alpns").and_then(Value::as_array) {
        let names: Vec<_> = offered.iter().filter_map(Value::as_str).collect();
        metadata.set_text(Field::TlsAlpn, &names.join(","));
    }
    for (member, field) in [("notbefore", Field::TlsNotBefore), ("notafter", Field::TlsNotAfter)] {
        let time = tls
            .get(member)
            .and_then(Value::as_str)
            .and_then(|text| Timestamp::parse(text, Timestamp::MIN).ok());
        if let Some(time) = time {
            metadata.set_number(field, time.seconds());
        }
    }
}

fn tell_ssh(ssh: &Value, metadata: &mut Metadata) {
    let ends =
        [("client", Field::SshClient, Field::SshHassh), ("server", Field::SshServer, Field::SshHasshServer)];
    for (end, banner, fingerprint) in ends {
        let Some(end) = ssh.get(end) else { continue };
        texts(end, metadata, &[("software_version", banner)]);
        if let Some(hassh) = end.get("hassh") {
            texts(hassh, metadata, &[("hash", fingerprint)]);
        }
    }
}

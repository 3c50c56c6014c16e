//! The protocol of a rule's header: which packets it means, and which applications.

use super::FlowTest;
use crate::dpi::buffers::Stage;
use crate::signatures::packet::suricata_apps;
use weir_common::app::App;
use weir_common::net::{Direction, protocol};
use weir_common::rule::{AddressSet, End, PortSet};

/// Which packets the header's protocol means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::signatures) struct Carrier {
    /// IP version, when it matters.
    pub(in crate::signatures) version: Option<u8>,
    /// IP protocols; none: any.
    pub(in crate::signatures) protocols: &'static [u8],
    /// Not packets but frames of a link, with or without one.
    pub(in crate::signatures) frames: Option<Frames>,
    /// Of TCP, single packets (`Some(false)`, `tcp-pkt`) or the stream alone (`Some(true)`, `tcp-stream`).
    pub(in crate::signatures) is_stream: Option<bool>,
}

impl Carrier {
    /// Whether all that the header means has ports.
    pub(super) fn has_ports(&self) -> bool {
        let with_ports = [protocol::TCP, protocol::UDP, protocol::SCTP];
        !self.protocols.is_empty() && self.protocols.iter().all(|number| with_ports.contains(number))
    }
}

/// Which frames a rule about the link means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::signatures) enum Frames {
    /// Those that carry ARP.
    Arp,
    /// All of Ethernet.
    Ethernet,
}

/// Whom a signature means: what is asked of every candidate before anything is read. It stands apart from what few are
/// asked after, in two cache lines, since many candidates end here.
#[derive(Debug)]
#[repr(align(64))]
pub(in crate::signatures) struct Header {
    pub(in crate::signatures) source: End,
    pub(in crate::signatures) destination: End,
    pub(in crate::signatures) is_bidirectional: bool,
    pub(in crate::signatures) carrier: Carrier,
    /// The applications that the flow may be.
    pub(in crate::signatures) applications: Applications,
    pub(in crate::signatures) flow: FlowTest,
    /// Of a rule about both sides of a transaction (`=>`): whose side this signature is about. The other signature is
    /// about the other, and the rule matches when both have.
    pub(in crate::signatures) half: Option<Direction>,
}

impl Header {
    /// The ports of its ends.
    pub(in crate::signatures) fn ports(&self) -> [&PortSet; 2] {
        [&self.source.ports, &self.destination.ports]
    }

    /// The addresses of its ends.
    pub(in crate::signatures) fn addresses(&self) -> [&AddressSet; 2] {
        [&self.source.addresses, &self.destination.addresses]
    }
}

/// Most applications that a name in a header stands for.
const APPLICATIONS_MAX: usize = 3;

/// The applications that a flow may be; none: any, known or not. Behind the last stands [`App::Unknown`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::signatures) struct Applications([App; APPLICATIONS_MAX]);

impl Applications {
    /// Whether a flow of this application is meant.
    #[inline]
    pub(in crate::signatures) fn has(&self, app: App) -> bool {
        self.is_any() || app != App::Unknown && self.0.contains(&app)
    }

    /// Whether it may be any, known or not.
    #[inline]
    pub(in crate::signatures) fn is_any(&self) -> bool {
        self.0[0] == App::Unknown
    }

    /// The applications; none: any.
    pub(in crate::signatures) fn iter(&self) -> impl Iterator<Item = App> {
        self.0.iter().copied().take_while(|app| *app != App::Unknown)
    }

    /// The applications of a name in a header, as Suricata names them.
    pub(super) fn of(name: &str) -> Option<Applications> {
        let mut applications = Applications::default();
        for (place, app) in applications.0.iter_mut().zip(suricata_apps(name)?) {
            *place = app;
        }
        Some(applications)
    }
}

const TCP: &[u8] = &[protocol::TCP];
const UDP: &[u8] = &[protocol::UDP];
const BOTH: &[u8] = &[protocol::TCP, protocol::UDP];

/// What a protocol's name in a header means.
pub(super) fn carrier(name: &str) -> Option<(Carrier, Applications)> {
    let carrier = |version, protocols, is_stream| Carrier { version, protocols, frames: None, is_stream };
    let frames = |frames| {
        (
            Carrier { version: None, protocols: &[], frames: Some(frames), is_stream: None },
            Applications::default(),
        )
    };
    let plain =
        |version, protocols: &'static [u8]| (carrier(version, protocols, None), Applications::default());
    Some(match name {
        "ip" | "pkthdr" => plain(None, &[]),
        "ipv4" | "ip4" => plain(Some(4), &[]),
        "ipv6" | "ip6" => plain(Some(6), &[]),
        "tcp" => plain(None, TCP),
        "tcp-pkt" => (carrier(None, TCP, Some(false)), Applications::default()),
        "tcp-stream" => (carrier(None, TCP, Some(true)), Applications::default()),
        "udp" => plain(None, UDP),
        "icmp" => plain(None, &[protocol::ICMP, protocol::ICMPV6]),
        "icmpv4" => plain(None, &[protocol::ICMP]),
        "icmpv6" => plain(None, &[protocol::ICMPV6]),
        "sctp" => plain(None, &[protocol::SCTP]),
        "igmp" => plain(None, &[2]),
        "gre" => plain(None, &[47]),
        "esp" => plain(None, &[50]),
        "arp" => frames(Frames::Arp),
        "ether" => frames(Frames::Ethernet),
        name => (carrier(None, BOTH, None), Applications::of(name)?),
    })
}

/// When a rule is looked at, by what stands behind the protocol and a colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// At the first packet of a flow.
    FlowStart,
    /// At every packet.
    Packet,
    /// When so much is known of a side: whose, where the hook says it.
    Side(Option<Direction>, Stage),
}

/// What a hook means; none: it is not known.
pub(super) fn hook(name: &str) -> Option<Hook> {
    let (client, server) = (Some(Direction::Forward), Some(Direction::Reverse));
    Some(match name {
        "flow_start" => Hook::FlowStart,
        // The others are before Suricata looks up the flow, or the stream: what is asked of a packet there is asked of it
        // here.
        "all" | "pre_flow" | "pre_stream" => Hook::Packet,
        "request_started" | "request_line" | "request_headers" => Hook::Side(client, Stage::Head),
        "request_body" | "request_trailer" | "request_complete" => Hook::Side(client, Stage::Body),
        "response_started" | "response_line" | "response_headers" => Hook::Side(server, Stage::Head),
        "response_body" | "response_trailer" | "response_complete" => Hook::Side(server, Stage::Body),
        "client_in_progress" | "client_hello_done" => Hook::Side(client, Stage::Head),
        "client_cert_done" | "client_handshake_done" | "client_finished" => Hook::Side(client, Stage::Body),
        "server_in_progress" | "server_hello" => Hook::Side(server, Stage::Head),
        "server_cert_done" | "server_hello_done" | "server_handshake_done" | "server_finished" => {
            Hook::Side(server, Stage::Body)
        }
        // Of SSH, whose banners are its requests and responses.
        "request_in_progress" | "request_banner_wait_eol" | "request_banner_done" => {
            Hook::Side(client, Stage::Head)
        }
        "request_finished" => Hook::Side(client, Stage::Body),
        "response_in_progress" | "response_banner_wait_eol" | "response_banner_done" => {
            Hook::Side(server, Stage::Head)
        }
        "response_finished" => Hook::Side(server, Stage::Body),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_two_cache_lines() {
        assert!(size_of::<Header>() <= 128, "{}", size_of::<Header>());
    }

    #[test]
    fn applications_of_a_name_have_room() {
        let several = ["http", "http2", "dns", "dcerpc", "ssl", "jabber", "ikev1"];
        for name in several.into_iter().chain(App::ALL.iter().map(|app| app.name())) {
            let Some(apps) = suricata_apps(name) else { continue };
            assert!(Applications::of(name).is_some_and(|kept| kept.iter().eq(apps)), "{name}");
        }
        let dns = Applications::of("dns").unwrap();
        assert!(dns.has(App::Dns) && dns.has(App::Doh2) && !dns.has(App::Http) && !dns.has(App::Unknown));
        assert!(Applications::default().is_any() && Applications::default().has(App::Unknown));
    }
}

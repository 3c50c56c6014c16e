//! Dynamic Host Configuration Protocol (RFC 2131, options of RFC 2132), and BOOTP before it.
//!
//! In: datagrams. Out: who a host is (hardware address, host name, vendor class, the parameters it asks for,
//! which tell its operating system), which address it was given, and one event per message in EVE's extended
//! form.

use super::buffers::{Number, Stage};
use super::wire::{Cursor, escaped, hex};
use super::{Context, Dissector, First, Probe, Progress, Starts};
use std::net::Ipv4Addr;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;

/// Bytes before the options, without the cookie.
const HEADER_BYTES: usize = 236;
const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
const PORTS: [u16; 2] = [67, 68];
/// Most options read of one message.
const OPTIONS_MAX: usize = 128;

const BOOT_REPLY: u8 = 2;
const SUBNET_MASK: u8 = 1;
const ROUTERS: u8 = 3;
const DNS_SERVERS: u8 = 6;
const HOST_NAME: u8 = 12;
const DOMAIN_NAME: u8 = 15;
const REQUESTED_ADDRESS: u8 = 50;
const LEASE_TIME: u8 = 51;
const MESSAGE_TYPE: u8 = 53;
const PARAMETER_LIST: u8 = 55;
const RENEWAL_TIME: u8 = 58;
const REBINDING_TIME: u8 = 59;
const VENDOR_CLASS: u8 = 60;
const CLIENT_ID: u8 = 61;
const FQDN: u8 = 81;

/// State of a DHCP flow.
#[derive(Debug)]
pub(super) struct Dhcp {
    messages: u64,
}

/// A message.
struct Message<'a> {
    operation: u8,
    id: u32,
    /// Client's, assigned, next server's, relay's.
    addresses: [Ipv4Addr; 4],
    hardware: &'a [u8],
    options: &'a [u8],
    is_bootp: bool,
}

impl<'a> Message<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Message<'a>> {
        let mut cursor = Cursor(bytes);
        let [operation @ 1..=2, hardware, hardware_bytes @ 0..=16, _] = cursor.array()? else { return None };
        let is_hardware = (1..=64).contains(&hardware);
        let id = cursor.be32()?;
        cursor.skip(4)?;
        let mut addresses = [Ipv4Addr::UNSPECIFIED; 4];
        for address in &mut addresses {
            *address = Ipv4Addr::from(cursor.array::<4>()?);
        }
        let hardware = cursor.take(16)?.get(..usize::from(hardware_bytes))?;
        let rest = bytes.get(HEADER_BYTES..)?;
        let options = rest.strip_prefix(&COOKIE);
        if options.is_none() && !is_hardware {
            return None;
        }
        Some(Message {
            operation,
            id,
            addresses,
            hardware,
            options: options.unwrap_or_default(),
            is_bootp: options.is_none(),
        })
    }

    /// Whether the options stop without their end.
    fn is_cut(&self) -> bool {
        const PAD: u8 = 0;
        const END: u8 = 255;
        let mut rest = self.options;
        while let Some((code, after)) = rest.split_first() {
            rest = match *code {
                END => return false,
                PAD => after,
                _ => match after.split_first() {
                    Some((length, after)) => after.get(usize::from(*length)..).unwrap_or_default(),
                    None => return true,
                },
            };
        }
        !self.is_bootp
    }

    /// The options, as far as they can be read.
    fn options(&self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = self.options;
        std::iter::from_fn(move || {
            loop {
                let (code, after) = rest.split_first()?;
                match code {
                    0 => rest = after,
                    255 => return None,
                    code => {
                        let (length, after) = after.split_first()?;
                        let (value, after) = after.split_at_checked(usize::from(*length))?;
                        rest = after;
                        return Some((*code, value));
                    }
                }
            }
        })
        .take(OPTIONS_MAX)
    }
}

impl Dissector for Dhcp {
    const APP: App = App::Dhcp;

    const STARTS: Starts = Starts::datagram(&[1, 2]);

    fn probe(first: &First<'_>) -> Probe {
        match Message::parse(first.bytes) {
            Some(message) if !message.is_bootp => Probe::Certain,
            Some(_) if first.has_port_of(&PORTS) => Probe::Likely,
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Dhcp { messages: 0 }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let Some(message) = Message::parse(bytes) else {
            context.anomaly("malformed_options", None);
            return Progress::Used(bytes.len());
        };
        learn(&message, context);
        let number = self.messages;
        self.messages += 1;
        context.tell(context.direction, Some(number), |object| write(&message, object));
        if message.is_cut() {
            context.anomaly("truncated_options", Some(number));
        }
        if context.wanted.is_some() {
            tell_times(&message, number, context);
            context.reached(context.direction, number, Stage::Body);
        }
        Progress::Used(bytes.len())
    }

    fn gap(&mut self, _: u64, _: &mut Context<'_>) -> Progress {
        Progress::Used(0)
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

fn type_name(kind: u8) -> &'static str {
    match kind {
        1 => "discover",
        2 => "offer",
        3 => "request",
        4 => "decline",
        5 => "ack",
        6 => "nak",
        7 => "release",
        8 => "inform",
        _ => "unknown",
    }
}

fn learn(message: &Message<'_>, context: &mut Context<'_>) {
    let metadata = &mut *context.metadata;
    metadata.set_text(Field::DhcpClientMac, &hex(message.hardware, ":"));
    let assigned = message.addresses[1];
    if !assigned.is_unspecified() && message.operation == BOOT_REPLY {
        metadata.set_text(Field::DhcpAssignedIp, &assigned.to_string());
    }
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim_end_matches('\0').to_string();
    for (code, value) in message.options() {
        match code {
            MESSAGE_TYPE => metadata.add(Field::Command, type_name(value.first().copied().unwrap_or(0))),
            HOST_NAME if !value.is_empty() => metadata.add(Field::EndpointName, &text(value)),
            // Flags and two codes stand before the name.
            FQDN if value.len() > 3 => {
                let name = value.get(3..).unwrap_or_default();
                if name.iter().all(u8::is_ascii_graphic) {
                    metadata.add(Field::EndpointName, &text(name));
                }
            }
            DOMAIN_NAME => metadata.set_text(Field::Domain, &text(value)),
            VENDOR_CLASS => metadata.set_text(Field::ClientSoftware, &text(value)),
            PARAMETER_LIST => {
                let numbers: Vec<_> = value.iter().map(u8::to_string).collect();
                metadata.set_text(Field::DhcpParameters, &numbers.join(","));
            }
            _ => {}
        }
    }
}

/// Tells signatures how long an address is lent.
fn tell_times(message: &Message<'_>, transaction: u64, context: &mut Context<'_>) {
    for (code, value) in message.options() {
        let number = match code {
            LEASE_TIME => Number::DhcpLeasetime,
            REBINDING_TIME => Number::DhcpRebindingTime,
            RENEWAL_TIME => Number::DhcpRenewalTime,
            _ => continue,
        };
        if let Some(seconds) = value.first_chunk::<4>() {
            let seconds = u32::from_be_bytes(*seconds).into();
            context.put_number(context.direction, transaction, number, seconds);
        }
    }
}

fn address(value: &[u8]) -> Option<Ipv4Addr> {
    value.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
}

fn write(message: &Message<'_>, object: &mut Object<'_>) {
    let [client, assigned, next_server, relay] = message.addresses;
    let is_reply = message.operation == BOOT_REPLY;
    object.text("type", if is_reply { "reply" } else { "request" }).number("id", message.id);
    object.text("client_mac", &hex(message.hardware, ":"));
    object.display("assigned_ip", assigned).display("client_ip", client);
    if is_reply {
        object.display("relay_ip", relay).display("next_server_ip", next_server);
    }
    // A code that comes twice would make a key that does.
    let mut seen = [false; 256];
    for (code, value) in message.options() {
        if std::mem::replace(&mut seen[usize::from(code)], true) {
            continue;
        }
        let seconds = value.first_chunk::<4>().map(|seconds| u32::from_be_bytes(*seconds));
        match (code, seconds) {
            (MESSAGE_TYPE, _) => {
                if let Some(kind) = value.first() {
                    object.text("dhcp_type", type_name(*kind));
                }
            }
            // The first byte is the hardware's type.
            (CLIENT_ID, _) => drop(object.text("client_id", &hex(value.get(1..).unwrap_or_default(), ":"))),
            (LEASE_TIME, Some(seconds)) => drop(object.number("lease_time", seconds)),
            (REBINDING_TIME, Some(seconds)) => drop(object.number("rebinding_time", seconds)),
            (RENEWAL_TIME, Some(seconds)) => drop(object.number("renewal_time", seconds)),
            (SUBNET_MASK, _) => one_address("subnet_mask", value, object),
            (REQUESTED_ADDRESS, _) => one_address("requested_ip", value, object),
            (HOST_NAME, _) if !value.is_empty() => drop(object.text("hostname", &escaped(value))),
            (VENDOR_CLASS, _) if !value.is_empty() => {
                object.text("vendor_class_identifier", &escaped(value));
            }
            (PARAMETER_LIST, _) => {
                object.texts("params", value.iter().filter_map(|code| parameter_name(*code)));
            }
            (DNS_SERVERS, _) => addresses("dns_servers", value, object),
            (ROUTERS, _) => addresses("routers", value, object),
            _ => {}
        }
    }
}

fn one_address(key: &'static str, value: &[u8], object: &mut Object<'_>) {
    if let Some(address) = address(value) {
        object.display(key, address);
    }
}

fn addresses(key: &'static str, value: &[u8], object: &mut Object<'_>) {
    let mut list = object.list(key);
    value.chunks_exact(4).filter_map(address).for_each(|address| list.display(address));
}

/// The parameters that EVE names; it leaves out others.
fn parameter_name(code: u8) -> Option<&'static str> {
    Some(match code {
        SUBNET_MASK => "subnet_mask",
        ROUTERS => "router",
        DNS_SERVERS => "dns_server",
        DOMAIN_NAME => "domain",
        35 => "arp_timeout",
        42 => "ntp_server",
        66 => "tftp_server_name",
        150 => "tftp_server_ip",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, survives_damaged_datagrams};
    use weir_common::net::Direction;

    fn message(operation: u8, assigned: [u8; 4], options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![operation, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&assigned);
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&[0, 0x11, 0x32, 0x17, 0x49, 0xf0]);
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend_from_slice(&COOKIE);
        bytes.extend_from_slice(options);
        bytes.push(255);
        bytes
    }

    fn request() -> Vec<u8> {
        let id = [61, 7, 1, 0, 0x11, 0x32, 0x17, 0x49, 0xf0];
        message(
            1,
            [0; 4],
            &[&[53, 1, 3][..], &id, &[55, 4, 1, 3, 15, 6], b"\x0c\x05nas1\0", b"<\x04MSFT"].concat(),
        )
    }

    fn reply() -> Vec<u8> {
        message(
            2,
            [10, 0, 0, 4],
            &[53, 1, 5, 51, 4, 0, 0, 14, 16, 3, 4, 10, 0, 0, 1, 6, 8, 10, 0, 0, 1, 10, 0, 0, 2],
        )
    }

    #[test]
    fn a_lease_is_told() {
        let trial = Trial::<Dhcp>::new().over_datagrams().client(&request()).server(&reply()).close();
        assert_eq!(
            trial.learned(),
            "client_software MSFT\nendpoint_name nas1\ncommand request ack\ndhcp_client_mac 00:11:32:17:49:f0\ndhcp_assigned_ip 10.0.0.4\ndhcp_parameters 1,3,15,6\n\
            dhcp {\"type\":\"request\",\"id\":16909060,\"client_mac\":\"00:11:32:17:49:f0\",\"assigned_ip\":\"0.0.0.0\",\"client_ip\":\"0.0.0.0\",\"dhcp_type\":\"request\",\"client_id\":\"00:11:32:17:49:f0\",\"params\":[\"subnet_mask\",\"router\",\"domain\",\"dns_server\"],\"hostname\":\"nas1\\u0000\",\"vendor_class_identifier\":\"MSFT\"}\n\
            dhcp {\"type\":\"reply\",\"id\":16909060,\"client_mac\":\"00:11:32:17:49:f0\",\"assigned_ip\":\"10.0.0.4\",\"client_ip\":\"0.0.0.0\",\"relay_ip\":\"0.0.0.0\",\"next_server_ip\":\"0.0.0.0\",\"dhcp_type\":\"ack\",\"lease_time\":3600,\"routers\":[\"10.0.0.1\"],\"dns_servers\":[\"10.0.0.1\",\"10.0.0.2\"]}\n"
        );
    }

    #[test]
    fn options_without_their_end_are_told() {
        let mut bytes = request();
        assert_eq!(Trial::<Dhcp>::new().over_datagrams().client(&bytes).odd(), "");
        bytes.pop();
        let mut trial = Trial::<Dhcp>::new().over_datagrams().client(&bytes);
        assert_eq!(trial.odd(), "client truncated_options\n");
        assert_eq!(trial.events.len(), 2, "the message itself is told all the same");
    }

    #[test]
    fn the_cookie_tells() {
        let probe = |bytes: &[u8], port| {
            Dhcp::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes).between(port, 67))
        };
        assert_eq!(probe(&request(), 68), Probe::Certain);
        assert_eq!(probe(&request()[..HEADER_BYTES], 68), Probe::Likely);
        assert_eq!(probe(&request()[..HEADER_BYTES - 1], 68), Probe::NotForUs);
        let (one, two) = (request(), reply());
        survives_damaged_datagrams::<Dhcp>(&[(Direction::Forward, &one), (Direction::Reverse, &two)]);
    }

    #[test]
    fn signatures_are_told_times() {
        let mut trial = Trial::<Dhcp>::new().over_datagrams().client(&request()).server(&reply());
        expect_test::expect![[r#"
            server 1 DhcpLeasetime 3600
        "#]]
        .assert_eq(&trial.told());
    }
}

//! Alerts as syslog messages of RFC 5424, over UDP (RFC 5426) or TCP with octet counting (RFC 6587).
//!
//! In: alerts. Out: one message each, with the alert's fields as structured data and its reason as text.
//! Syslog acknowledges nothing: over UDP a lost datagram is lost, and over TCP what the kernel took just
//! before the receiver went away may be. Where that matters, use a webhook. TLS is not part of this version.

use super::config::Transport;
use super::{DeliveryError, Destination, Message};
use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;
use weir_common::alert::{Alert, Severity};

/// Longest connection attempt and longest wait for a receiver that takes nothing.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest message over UDP: what RFC 5426 section 3.2 asks receivers to take; longer text is cut.
const DATAGRAM_BYTES_MAX: usize = 2048;
/// Longest value of a structured data parameter.
const VALUE_CHARS_MAX: usize = 256;

/// A syslog receiver.
pub(super) struct SyslogDestination {
    name: String,
    address: String,
    transport: Transport,
    format: Format,
    connection: Option<TcpStream>,
}

/// What is the same in every message.
pub(super) struct Format {
    pub(super) facility: u8,
    pub(super) hostname: String,
    pub(super) enterprise_number: u32,
}

impl SyslogDestination {
    pub(super) fn new(name: &str, address: &str, transport: Transport, format: Format) -> SyslogDestination {
        SyslogDestination {
            name: name.to_owned(),
            address: address.to_owned(),
            transport,
            format,
            connection: None,
        }
    }

    fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<SocketAddr> = self.address.to_socket_addrs()?.collect();
        if found.is_empty() { Err(io::Error::other("the name has no address")) } else { Ok(found) }
    }

    fn send_udp(&self, message: &[u8]) -> io::Result<()> {
        let mut last = io::Error::other("the name has no address");
        for address in self.resolve()? {
            let from: SocketAddr =
                if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
            let sent = UdpSocket::bind(from).and_then(|socket| socket.send_to(message, address));
            match sent {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn send_tcp(&mut self, message: &[u8]) -> io::Result<()> {
        if self.connection.as_mut().is_some_and(closed_by_peer) {
            self.connection = None;
        }
        if self.connection.is_none() {
            self.connection = Some(self.connect()?);
        }
        let mut framed = format!("{} ", message.len()).into_bytes();
        framed.extend_from_slice(message);
        let sent = self.connection.as_mut().map_or(Ok(()), |connection| connection.write_all(&framed));
        if sent.is_err() {
            // Half a message may be out: only a new connection begins at a message's start.
            self.connection = None;
        }
        sent
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::other("the name has no address");
        for address in self.resolve()? {
            match TcpStream::connect_timeout(&address, TIMEOUT) {
                Ok(connection) => {
                    connection.set_write_timeout(Some(TIMEOUT))?;
                    connection.set_nodelay(true)?;
                    return Ok(connection);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Destination for SyslogDestination {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver(&mut self, message: &Message<'_>) -> Result<(), DeliveryError> {
        let mut text = self.format.message(message.alert).into_bytes();
        let sent = match self.transport {
            Transport::Udp => {
                let mut end = text.len().min(DATAGRAM_BYTES_MAX);
                while end > 0 && text.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
                    end -= 1;
                }
                text.truncate(end);
                self.send_udp(&text)
            }
            Transport::Tcp => self.send_tcp(&text),
        };
        sent.map_err(|error| DeliveryError::Later(format!("{}: {error}", self.address)))
    }
}

impl Format {
    /// One message: header, structured data `alert@PEN`, and the reason.
    pub(super) fn message(&self, alert: &Alert) -> String {
        let priority = u16::from(self.facility.min(23)) * 8 + severity(alert.severity);
        let mut out = String::new();
        let hostname = header_field(&self.hostname, 255);
        let _ = write!(
            out,
            "<{priority}>1 {} {hostname} weir-collector - {} ",
            time(alert),
            header_field(&alert.kind, 32)
        );
        let _ = write!(out, "[alert@{}", self.enterprise_number);
        let version = alert.version.to_string();
        let count = alert.count.to_string();
        let target_count = alert.target_count.to_string();
        let confidence = alert.confidence.to_string();
        let technique = alert.technique.join(",");
        let first_flow = alert.flows.first().map(|flow| flow.community_id.to_string());
        for (name, value) in [
            ("id", Some(alert.id.as_str())),
            ("version", Some(&version)),
            ("kind", Some(&alert.kind)),
            ("severity", Some(alert.severity.name())),
            ("confidence", Some(&confidence)),
            ("route", Some(alert.route.name())),
            ("actor", alert.actor.as_deref()),
            ("target", alert.targets.first().map(String::as_str)),
            ("targetCount", Some(&target_count)),
            ("count", Some(&count)),
            ("technique", Some(technique.as_str()).filter(|text| !text.is_empty())),
            ("sensor", alert.sensors.first().map(String::as_str)),
            ("communityId", first_flow.as_deref()),
            ("signature", alert.signature.as_deref()),
        ] {
            if let Some(value) = value {
                let _ = write!(out, " {name}=\"");
                escape(&mut out, value);
                out.push('"');
            }
        }
        // A byte order mark says that the text is UTF-8 (RFC 5424 section 6.4).
        out.push_str("] \u{feff}");
        out.extend(alert.reason.chars().map(|c| if c.is_control() { ' ' } else { c }));
        out
    }
}

/// RFC 5424 section 6.2.1: critical 2, error 3, warning 4, notice 5.
fn severity(severity: Severity) -> u16 {
    match severity {
        Severity::Critical => 2,
        Severity::High => 3,
        Severity::Medium => 4,
        Severity::Low => 5,
    }
}

/// RFC 3339 with the six decimals that RFC 5424 section 6.2.3 allows.
fn time(alert: &Alert) -> String {
    let text = alert.end.to_string();
    text.get(..26).map_or(text.clone(), |micros| format!("{micros}Z"))
}

/// Printable ASCII without spaces, or the nil value.
fn header_field(text: &str, length_max: usize) -> String {
    let field: String = text.chars().filter(char::is_ascii_graphic).take(length_max).collect();
    if field.is_empty() { "-".into() } else { field }
}

/// RFC 5424 section 6.3.3: `"`, `\` and `]` have a backslash before them.
fn escape(out: &mut String, value: &str) {
    for c in value.chars().take(VALUE_CHARS_MAX) {
        match c {
            '"' | '\\' | ']' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
}

/// Whether the receiver has closed: a write would still succeed once, and be lost.
fn closed_by_peer(connection: &mut TcpStream) -> bool {
    if connection.set_nonblocking(true).is_err() {
        return true;
    }
    let mut byte = [0; 64];
    let closed = match connection.read(&mut byte) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    };
    connection.set_nonblocking(false).is_err() || closed
}

#[cfg(test)]
mod tests {
    use super::super::testing::alert;
    use super::*;
    use std::net::TcpListener;

    fn format() -> Format {
        Format { facility: 4, hostname: "collector 1".into(), enterprise_number: 32473 }
    }

    fn destination(address: &str, transport: Transport) -> SyslogDestination {
        SyslogDestination::new("siem", address, transport, format())
    }

    fn deliver(destination: &mut SyslogDestination) -> Result<(), DeliveryError> {
        destination.deliver(&Message { key: "k", alert: &alert(), json: b"{}" })
    }

    #[test]
    fn a_message_has_the_parts_of_rfc_5424() {
        let alert = Alert { signature: Some("a\"b\\c]d\n".into()), ..alert() };
        let want = "<35>1 2026-11-20T12:00:01.000000Z collector1 weir-collector - intel.ip \
            [alert@32473 id=\"0123456789abcdef\" version=\"1\" kind=\"intel.ip\" severity=\"high\" confidence=\"0.9\" route=\"ticket\" \
            actor=\"10.0.0.5\" target=\"198.51.100.7\" targetCount=\"1\" count=\"1\" technique=\"T1071\" sensor=\"edge-1\" \
            communityId=\"1:jPOGCHb3PCNjm6mKzMX2YIQ3kOE=\" signature=\"a\\\"b\\\\c\\]d \"] \u{feff}Because."
            .to_owned();
        let community_id = alert.flows[0].community_id.to_string();
        assert_eq!(format().message(&alert), want.replace("1:jPOGCHb3PCNjm6mKzMX2YIQ3kOE=", &community_id));
    }

    #[test]
    fn messages_over_tcp_are_counted_in_octets() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut destination = destination(&listener.local_addr().unwrap().to_string(), Transport::Tcp);
        deliver(&mut destination).unwrap();
        deliver(&mut destination).unwrap();
        drop(destination);
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        let message = format().message(&alert());
        assert_eq!(text, format!("{0} {message}{0} {message}", message.len()));
    }

    #[test]
    fn a_receiver_that_went_away_is_found_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut destination = destination(&listener.local_addr().unwrap().to_string(), Transport::Tcp);
        deliver(&mut destination).unwrap();
        drop(listener.accept().unwrap());
        std::thread::sleep(Duration::from_millis(50));
        deliver(&mut destination).unwrap();
        let mut byte = [0];
        assert_eq!(listener.accept().unwrap().0.read(&mut byte).unwrap(), 1);
        drop(listener);
        destination.connection = None;
        assert!(matches!(deliver(&mut destination), Err(DeliveryError::Later(_))));
    }

    #[test]
    fn a_datagram_is_one_message_and_long_ones_are_cut() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut destination = destination(&receiver.local_addr().unwrap().to_string(), Transport::Udp);
        let mut buffer = [0; 4096];
        deliver(&mut destination).unwrap();
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], *format().message(&alert()).as_bytes());
        let long = Alert { reason: "é".repeat(3000), ..alert() };
        destination.deliver(&Message { key: "k", alert: &long, json: b"{}" }).unwrap();
        let length = receiver.recv(&mut buffer).unwrap();
        assert!((2047..=2048).contains(&length) && std::str::from_utf8(&buffer[..length]).is_ok());
    }
}

//! Where a destination is: the URL of `--export` and `export.destinations`.
//!
//! In: text. Out: a [`Target`], or what was expected instead. Resolves no name and opens nothing.

use super::ExportError;
use std::path::PathBuf;

/// IPFIX over TLS (RFC 7011 section 10.4; registered with IANA as `ipfixs`).
const TLS_PORT: u16 = 4740;

/// Where a destination is, as its URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `tcp://HOST:PORT`
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// `tls://HOST[:PORT]`
    Tls {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// `udp://HOST:PORT`
    Udp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// `file:PATH`
    File(PathBuf),
}

impl Target {
    /// Reads a destination's URL; what its parameters say is [`super::profile`]'s.
    pub fn parse(url: &str) -> Result<Target, ExportError> {
        let (url, _) = super::profile::split(url)?;
        let wrong = |expected: &'static str| ExportError::Destination { url: url.to_owned(), expected };
        if let Some(path) = url.strip_prefix("file:") {
            let path = if path.starts_with("///") { path.trim_start_matches("//") } else { path };
            let path = if path.starts_with("//") { return Err(wrong("file:PATH")) } else { path };
            return if path.is_empty() { Err(wrong("file:PATH")) } else { Ok(Target::File(path.into())) };
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(wrong("tls://HOST[:PORT], tcp://HOST:PORT, udp://HOST:PORT or file:PATH"));
        };
        match scheme {
            "tcp" => {
                let (host, port) = host_and_port(rest)
                    .ok_or_else(|| wrong("tcp://HOST:PORT with a port from 1 to 65535"))?;
                Ok(Target::Tcp { host, port })
            }
            "udp" => {
                let (host, port) = host_and_port(rest)
                    .ok_or_else(|| wrong("udp://HOST:PORT with a port from 1 to 65535"))?;
                Ok(Target::Udp { host, port })
            }
            "tls" => {
                let with_port = with_port(rest, TLS_PORT);
                let (host, port) = host_and_port(&with_port)
                    .ok_or_else(|| wrong("tls://HOST or tls://HOST:PORT with a port from 1 to 65535"))?;
                Ok(Target::Tls { host, port })
            }
            _ => Err(wrong("tls://HOST[:PORT], tcp://HOST:PORT, udp://HOST:PORT or file:PATH")),
        }
    }
}

/// Host and port, the usual one where the text names none.
fn with_port(text: &str, usual: u16) -> String {
    let text = text.trim_end_matches('/');
    let named = match text.rsplit_once(']') {
        Some((_, rest)) => rest.starts_with(':'),
        None => text.contains(':'),
    };
    if named { text.to_owned() } else { format!("{text}:{usual}") }
}

/// `HOST:PORT`, with an IPv6 address in brackets.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.trim_end_matches('/').rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').filter(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())?,
        None if host.contains([':', '/', '@', '[']) => return None,
        None => host,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

//! `enroll`, `sensors` and `revoke`: on the collector's register, whether the collector runs or not.

use super::{Failure, show};
use crate::config::CollectorConfig;
use crate::identity::{self, Authority, IdentityError, Refused};
use crate::ingest::clock;
use crate::pipeline::status::Status;
use std::io::{self, BufWriter, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use weir_common::control::PORT;
use weir_common::enrolment::{ADDRESSES_MAX, SensorName};
use weir_common::time::Timestamp;

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Failure {
        match error {
            IdentityError::NoSensor(_)
            | IdentityError::Address(_)
            | IdentityError::Roots { .. }
            | IdentityError::Refused(
                Refused::TokenUnknown | Refused::TokenUsed | Refused::TokenExpired | Refused::Request(_),
            ) => Failure::Input(error.to_string()),
            _ => Failure::System(error.to_string()),
        }
    }
}

fn open(config: &CollectorConfig) -> Result<Authority, Failure> {
    let directory = identity::directory(&config.identity, Path::new(&config.state_directory));
    Ok(Authority::open(&directory, &config.identity, clock())?)
}

fn name_of(text: &str) -> Result<SensorName, Failure> {
    SensorName::new(text).map_err(|error| Failure::Input(error.to_string()))
}

/// Prints a token, and how it is used.
pub(super) fn enroll(config: &CollectorConfig, name: &str, addresses: Vec<String>) -> Result<(), Failure> {
    let name = name_of(name)?;
    let addresses = match (addresses.is_empty(), config.identity.addresses.is_empty()) {
        (false, _) => addresses.into_iter().map(|address| with_port(address, control_port(config))).collect(),
        (true, false) => config.identity.addresses.clone(),
        (true, true) => own_addresses(control_port(config))?,
    };
    // Before anything is made: a wrong address is the command line's fault alone.
    weir_common::enrolment::check_addresses(&addresses).map_err(|error| Failure::Input(error.to_string()))?;
    let token = open(config)?.enroll(&name, &addresses, clock())?;
    let mut out = io::stdout().lock();
    writeln!(out, "{token}").and_then(|()| out.flush()).map_err(Failure::output)?;
    let first = addresses.first().map_or("", String::as_str);
    let hours = config.identity.token_valid_s / 3600;
    let valid = if hours >= 2 {
        format!("{hours} hours")
    } else {
        format!("{} seconds", config.identity.token_valid_s)
    };
    eprintln!("The token is good for one pairing within {valid}. On the sensor, as root:");
    eprintln!("  weir-sensor pair {first} --token '{token}'");
    Ok(())
}

/// The port that the control connection is taken on.
fn control_port(config: &CollectorConfig) -> u16 {
    let port = config.control.listen.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.filter(|port| *port != 0).unwrap_or(PORT)
}

/// The same address, with this port where it names none.
fn with_port(address: String, port: u16) -> String {
    match address.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) if address.contains(':') => address,
        Err(_) => format!("{address}:{port}"),
    }
}

/// The addresses to be tried when none is named: that by which this machine reaches others, else those of its
/// interfaces, else its name. No packet is sent for it.
fn own_addresses(port: u16) -> Result<Vec<String>, Failure> {
    // An address for documentation (RFC 5737): only the way to it is asked.
    const ANYWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);
    let local = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect(ANYWHERE)?;
        socket.local_addr()
    });
    let is_reached = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_unspecified() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unspecified() && !ip.is_unicast_link_local(),
    };
    let mut addresses: Vec<IpAddr> =
        local.map(|local| local.ip()).ok().filter(is_reached).into_iter().collect();
    if addresses.is_empty() {
        let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
        let of_interface = |storage: nix::sys::socket::SockaddrStorage| {
            let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        };
        addresses.extend(
            interfaces.filter_map(|interface| interface.address.and_then(of_interface)).filter(is_reached),
        );
        addresses.truncate(ADDRESSES_MAX);
    }
    if !addresses.is_empty() {
        return Ok(addresses.iter().map(|ip| SocketAddr::new(*ip, port).to_string()).collect());
    }
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok());
    let host = host.ok_or_else(|| {
        Failure::Input("this machine's address is not known: say it with --address HOST:PORT".into())
    })?;
    Ok(vec![format!("{host}:{port}")])
}

/// Lists sensors and the tokens that wait.
pub(super) fn sensors(config: &CollectorConfig, json: bool) -> Result<(), Failure> {
    let state = Path::new(&config.state_directory);
    let directory = identity::directory(&config.identity, state);
    if !directory.is_dir() {
        let why = "no sensor was enrolled and no collector has run with this state directory";
        return Err(Failure::Input(format!("{}: {why}", directory.display())));
    }
    let authority = open(config)?;
    let now = clock();
    // Without a status nothing is known of when they were seen.
    let exporters = Status::read(state).map(|status| status.exporters).unwrap_or_default();
    let seen = |name: &str| {
        let shown = format!("sensor {name}");
        let of_sensor = exporters.iter().filter(|exporter| exporter.certificate == shown);
        of_sensor.map(|exporter| exporter.last_seen.clone()).max().unwrap_or_default()
    };
    let is_past = |text: &str| Timestamp::parse(text, now).is_ok_and(|time| time <= now);
    let of_sensor = |(name, sensor): (String, identity::Sensor)| {
        let (seen, past) = (seen(&name), is_past(&sensor.expires));
        show::SensorLine::of(name, sensor, seen, past)
    };
    let mut lines: Vec<_> = authority.sensors().into_iter().map(of_sensor).collect();
    lines.extend(authority.tokens(now).into_iter().map(|(name, expires)| show::SensorLine {
        name,
        state: "waiting",
        enrolled: String::new(),
        expires: expires.to_string(),
        revoked: String::new(),
        last_seen: String::new(),
    }));
    let mut out = BufWriter::new(io::stdout().lock());
    let written = if json { show::lines(&lines, &mut out) } else { show::sensors(&lines, &mut out) };
    written.and_then(|()| out.flush()).map_err(Failure::output)
}

/// Revokes a sensor.
pub(super) fn revoke(config: &CollectorConfig, name: &str) -> Result<(), Failure> {
    let name = name_of(name)?;
    let was_enrolled = open(config)?.revoke(&name, clock())?;
    if was_enrolled {
        eprintln!("{name} is revoked: a collector that runs ends its sessions within a second");
    } else {
        eprintln!("{name} was not paired yet; its token is worth nothing now");
    }
    Ok(())
}

//! `weir-sensor pair`: a token of the collector becomes this sensor's certificate.

use super::{Failure, Outcome, PairArguments, load, now};
use crate::remote::pair;
use std::io::Read as _;
use weir_common::control::{PORT, clock_words};
use weir_common::enrolment::{TOKEN_BYTES_MAX, Token};

pub(super) fn pair(arguments: &PairArguments) -> Result<Outcome, Failure> {
    let config = load(&arguments.config)?;
    let token = token(&arguments.token)?;
    if let Some(name) = arguments.name.as_ref().filter(|name| name.as_str() != token.name.as_str()) {
        return Err(Failure::Input(anyhow::anyhow!(
            "the token is for sensor `{}`, and --name says `{name}`; `weir-collector enroll {name}` makes one for it",
            token.name
        )));
    }
    let address = arguments.collector.as_deref().map(with_port);
    let directory = &config.identity.directory;
    let paired =
        pair::pair(directory, &token, address.as_deref(), now).map_err(|error| match error.is_system() {
            true => Failure::System(error.into()),
            false => Failure::Input(error.into()),
        })?;
    eprintln!(
        "this sensor is paired as `{}` with the collector at {}; the certificate in {} is good until {} and renewed before",
        paired.name,
        paired.collector,
        directory.display(),
        paired.expires
    );
    if let Some(words) = clock_words(paired.clock_ahead_ms, "the collector's") {
        eprintln!("{words}");
    }
    if !config.name.is_empty() && config.name != paired.name {
        eprintln!(
            "the configuration calls this sensor `{}`: set `name` to `{}`, or leave it empty",
            config.name, paired.name
        );
    }
    eprintln!("start the sensor, or restart it if it runs");
    Ok(Outcome::Done)
}

/// The token, from the argument or standard input, where no list of processes shows it.
fn token(text: &str) -> Result<Token, Failure> {
    let mut read = String::new();
    let text = if text == "-" {
        let input = std::io::stdin().lock().take(TOKEN_BYTES_MAX as u64 + 1).read_to_string(&mut read);
        input.map_err(|error| Failure::System(anyhow::anyhow!("standard input: {error}")))?;
        &read
    } else {
        text
    };
    text.parse().map_err(|error| Failure::Input(anyhow::Error::new(error).context("--token")))
}

/// An address as people write it: the port is the control port unless it is said.
fn with_port(text: &str) -> String {
    let has_port = match text.rsplit_once(':') {
        Some((host, port)) => port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')),
        None => false,
    };
    match (has_port, text.parse::<std::net::Ipv6Addr>()) {
        (true, _) => text.to_owned(),
        (false, Ok(address)) => format!("[{address}]:{PORT}"),
        (false, Err(_)) => format!("{text}:{PORT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_without_a_port_is_at_the_control_port() {
        for (written, meant) in [
            ("collector.example", "collector.example:4741"),
            ("collector.example:99", "collector.example:99"),
            ("192.0.2.1", "192.0.2.1:4741"),
            ("2001:db8::1", "[2001:db8::1]:4741"),
            ("[2001:db8::1]", "[2001:db8::1]:4741"),
            ("[2001:db8::1]:99", "[2001:db8::1]:99"),
        ] {
            assert_eq!(with_port(written), meant);
        }
    }

    #[test]
    fn what_is_no_token_is_said_to_be_none() {
        let Err(Failure::Input(error)) = token("abc") else { panic!() };
        assert!(format!("{error:#}").contains("not a token"));
    }
}

//! What a destination's collector can take: the parameters of its URL.
//!
//! In: `udp://HOST:PORT?profile=plain&lists=yes`. Out: the URL without them, and a [`Profile`].

use super::ExportError;
use weir_common::ipfix::profile::{Profile, TimePrecision};

/// What is said to a parameter that is none.
const EXPECTED: &str = "after `?` one or more of profile=full|plain, enterprise=yes|no, lists=yes|no, biflow=yes|no, \
    times=seconds|milliseconds|microseconds|nanoseconds, tcp_flags=8|16, joined by `&`";

/// Splits a destination's URL into where it is and what its collector takes. A file's name may have a `?` in it as long
/// as no `=` comes after it.
pub(super) fn split(url: &str) -> Result<(&str, Profile), ExportError> {
    let Some((place, parameters)) = url.rsplit_once('?') else { return Ok((url, Profile::FULL)) };
    if place.starts_with("file:") && !parameters.contains('=') {
        return Ok((url, Profile::FULL));
    }
    let wrong = || ExportError::Destination { url: url.to_owned(), expected: EXPECTED };
    let pairs = parameters.split('&').map(|parameter| parameter.split_once('='));
    let pairs = pairs.collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
    let mut profile = Profile::FULL;
    // The whole before its parts, in whichever order they were written.
    for (_, value) in pairs.iter().filter(|(name, _)| *name == "profile") {
        profile = match *value {
            "full" => Profile::FULL,
            "plain" => Profile::PLAIN,
            _ => return Err(wrong()),
        };
    }
    for (name, value) in pairs {
        match name {
            "profile" => {}
            "enterprise" => profile.enterprise = yes(value).ok_or_else(wrong)?,
            "lists" => profile.lists = yes(value).ok_or_else(wrong)?,
            "biflow" => profile.biflow = yes(value).ok_or_else(wrong)?,
            "times" => profile.times = precision(value).ok_or_else(wrong)?,
            "tcp_flags" => {
                profile.wide_tcp_flags = match value {
                    "8" => false,
                    "16" => true,
                    _ => return Err(wrong()),
                }
            }
            _ => return Err(wrong()),
        }
    }
    Ok((place, profile))
}

fn yes(value: &str) -> Option<bool> {
    match value {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn precision(value: &str) -> Option<TimePrecision> {
    Some(match value {
        "seconds" => TimePrecision::Seconds,
        "milliseconds" => TimePrecision::Milliseconds,
        "microseconds" => TimePrecision::Microseconds,
        "nanoseconds" => TimePrecision::Nanoseconds,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_change_what_is_sent_and_not_where() {
        let full = Profile::FULL;
        for (url, place, profile) in [
            ("udp://a:4739", "udp://a:4739", full),
            ("udp://a:4739?profile=full", "udp://a:4739", full),
            ("udp://a:4739?profile=plain", "udp://a:4739", Profile::PLAIN),
            (
                "tcp://a:1?enterprise=no&lists=no",
                "tcp://a:1",
                Profile { enterprise: false, lists: false, ..full },
            ),
            ("tcp://a:1?biflow=yes&profile=plain", "tcp://a:1", Profile { biflow: true, ..Profile::PLAIN }),
            (
                "tcp://a:1?times=seconds&tcp_flags=8",
                "tcp://a:1",
                Profile { times: TimePrecision::Seconds, wide_tcp_flags: false, ..full },
            ),
            ("file:/tmp/who?", "file:/tmp/who?", full),
            ("file:/tmp/a?.ipfix?lists=no", "file:/tmp/a?.ipfix", Profile { lists: false, ..full }),
        ] {
            assert_eq!(split(url).unwrap(), (place, profile), "{url}");
        }
    }

    #[test]
    fn a_parameter_that_is_none_is_refused_with_those_that_are() {
        for url in [
            "udp://a:1?",
            "udp://a:1?plain",
            "udp://a:1?profile=nfdump",
            "udp://a:1?lists=true",
            "udp://a:1?times=days",
            "udp://a:1?tcp_flags=12",
            "udp://a:1?lists=no&",
            "udp://a:1?list=no",
            "file:/tmp/x?list=no",
        ] {
            let error = split(url).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{url}` is not a destination: expected after `?`")),
                "{error}"
            );
        }
    }
}

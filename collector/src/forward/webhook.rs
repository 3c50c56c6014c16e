//! Alerts as HTTP POSTs of JSON.
//!
//! In: alerts. Out: one request each, with `Idempotency-Key: ID-VERSION`, so that a receiver can tell a
//! repeated delivery. 2xx is taken as delivered; 408, 425, 429 and 5xx are tried later; any other answer
//! is a refusal, which a repetition would not change. Redirects are not followed. Logs and status name the
//! host alone: a webhook's path is often its password.

use super::{DeliveryError, Destination, Message};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{HeaderName, HeaderValue, Uri};

/// Most bytes read of an answer.
const ANSWER_BYTES_MAX: u64 = 1024;
/// Most characters told of an answer that says why it refuses.
const ANSWER_CHARS_MAX: usize = 200;

/// A web service that takes alerts.
pub(super) struct WebhookDestination {
    name: String,
    url: String,
    /// The part of the URL that may be told.
    shown: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    bearer_token_file: String,
    agent: Agent,
}

impl WebhookDestination {
    /// The error is the key and what is wrong with it.
    pub(super) fn new(
        name: &str,
        url: &str,
        headers: &BTreeMap<String, String>,
        bearer_token_file: &str,
        timeout: Duration,
    ) -> Result<WebhookDestination, String> {
        let shown = without_path(url);
        let web = |uri: &Uri| {
            matches!(uri.scheme_str(), Some("https" | "http"))
                && uri.host().is_some_and(|host| !host.is_empty())
        };
        if !Uri::try_from(url).is_ok_and(|uri| web(&uri)) {
            return Err(format!("url is `{shown}`: expected https://HOST/PATH or http://HOST/PATH"));
        }
        let mut checked = Vec::new();
        for (header, value) in headers {
            let parsed = HeaderName::try_from(header).ok().zip(HeaderValue::try_from(value).ok());
            checked.push(parsed.ok_or_else(|| format!("headers.{header} is not an HTTP header"))?);
        }
        let config = Agent::config_builder()
            .timeout_global(Some(timeout.max(Duration::from_millis(1))))
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("weir-collector/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(WebhookDestination {
            name: name.to_owned(),
            url: url.to_owned(),
            shown,
            headers: checked,
            bearer_token_file: bearer_token_file.to_owned(),
            agent: config.into(),
        })
    }

    /// A text of a library or of the other side, which may repeat the URL.
    fn told(&self, text: &str) -> String {
        let path = self.url.strip_prefix(&self.shown).unwrap_or(&self.url);
        let text = text.replace(&self.url, &self.shown);
        let text = if path.len() > 1 { text.replace(path, "/\u{2026}") } else { text };
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(ANSWER_CHARS_MAX).collect()
    }

    fn authorization(&self) -> Result<Option<String>, DeliveryError> {
        if self.bearer_token_file.is_empty() {
            return Ok(None);
        }
        // Read each time, so that a renewed token needs no restart.
        let token = std::fs::read_to_string(&self.bearer_token_file);
        let token =
            token.map_err(|error| DeliveryError::Later(format!("{}: {error}", self.bearer_token_file)))?;
        Ok(Some(format!("Bearer {}", token.trim())))
    }
}

impl Destination for WebhookDestination {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver(&mut self, message: &Message<'_>) -> Result<(), DeliveryError> {
        let mut request = self.agent.post(&self.url).header("Content-Type", "application/json");
        request = request.header("Idempotency-Key", message.key);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(authorization) = self.authorization()? {
            request = request.header("Authorization", authorization);
        }
        let mut answer = match request.send(message.json) {
            Ok(answer) => answer,
            Err(error) => {
                return Err(DeliveryError::Later(format!(
                    "{}: {}",
                    self.shown,
                    self.told(&error.to_string())
                )));
            }
        };
        let status = answer.status();
        // Read in any case: a connection whose answer was read to its end is used again.
        let mut text = Vec::new();
        let read = answer.body_mut().as_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut text);
        if status.is_success() {
            return Ok(());
        }
        // What came before a fault may say why.
        let _ = read;
        let text = String::from_utf8_lossy(&text);
        let line = self.told(text.lines().next().unwrap_or_default());
        let why = format!("{} answered {status}: {line}", self.shown);
        match status.as_u16() {
            408 | 425 | 429 | 500..=599 => Err(DeliveryError::Later(why)),
            _ => Err(DeliveryError::Refused(why)),
        }
    }
}

/// Scheme, host and port of a URL, as far as it has them: no user, no path.
fn without_path(url: &str) -> String {
    let (scheme, rest) = match url.find("://") {
        Some(at) => url.split_at(at + 3),
        None => ("", url),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}{host}")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{alert, http_server};
    use super::*;

    fn deliver(url: &str, headers: &[(&str, &str)], token_file: &str) -> Result<(), DeliveryError> {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut webhook =
            WebhookDestination::new("hook", url, &headers, token_file, Duration::from_millis(500)).unwrap();
        webhook.deliver(&Message { key: "0123456789abcdef-1", alert: &alert(), json: b"{\"id\":1}" })
    }

    #[test]
    fn an_alert_is_posted_with_its_key_and_headers() {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("token");
        std::fs::write(&token, "secret\n").unwrap();
        let (url, requests) = http_server(|_| "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n".into());
        deliver(&url, &[("X-Team", "blue")], token.to_str().unwrap()).unwrap();
        let request = requests.recv().unwrap();
        assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
        let lower = request.to_ascii_lowercase();
        for part in [
            "content-type: application/json\r\n",
            "idempotency-key: 0123456789abcdef-1\r\n",
            "x-team: blue\r\n",
            "authorization: bearer secret\r\n",
        ] {
            assert!(lower.contains(part), "{part} in {request}");
        }
        assert!(request.ends_with("\r\n\r\n{\"id\":1}"));
    }

    #[test]
    fn the_status_decides_between_done_later_and_refused() {
        for (status, later) in [
            ("200 OK", None),
            ("503 Busy", Some(true)),
            ("429 Slow", Some(true)),
            ("400 Wrong", Some(false)),
            ("302 Found", Some(false)),
        ] {
            let (url, _requests) = http_server(move |_| {
                format!("HTTP/1.1 {status}\r\nLocation: /x\r\nContent-Length: 3\r\n\r\nwhy")
            });
            let got = match deliver(&url, &[], "") {
                Ok(()) => None,
                Err(DeliveryError::Later(_)) => Some(true),
                Err(DeliveryError::Refused(why)) => {
                    assert!(why.ends_with(": why"), "{why}");
                    Some(false)
                }
            };
            assert_eq!(got, later, "{status}");
        }
    }

    #[test]
    fn a_server_that_is_away_or_silent_or_talks_nonsense_is_tried_later() {
        assert!(matches!(deliver("http://127.0.0.1:9/hook", &[], ""), Err(DeliveryError::Later(_))));
        let (url, _requests) = http_server(|_| "nonsense\r\n\r\n".into());
        assert!(matches!(deliver(&url, &[], ""), Err(DeliveryError::Later(_))));
        let (url, _requests) = http_server(|_| {
            std::thread::sleep(Duration::from_secs(2));
            String::new()
        });
        assert!(matches!(deliver(&url, &[], ""), Err(DeliveryError::Later(_))));
        assert!(matches!(
            deliver("http://127.0.0.1:9/hook", &[], "/nonexistent/token"),
            Err(DeliveryError::Later(_))
        ));
    }

    #[test]
    fn what_is_told_never_holds_the_path() {
        let why = |url: &str| match deliver(url, &[], "") {
            Err(DeliveryError::Later(why) | DeliveryError::Refused(why)) => why,
            Ok(()) => panic!("delivered"),
        };
        let (url, _requests) = http_server(|_| {
            let body = "Cannot POST /hook\u{7}".to_owned() + &"x".repeat(5000);
            format!("HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        });
        let told = why(&url);
        assert!(
            !told.contains("/hook") && told.contains("404 Not Found: Cannot POST /\u{2026} xxx"),
            "{told}"
        );
        assert!(told.chars().count() < 300, "{told}");
        let told = why("http://me:pass@127.0.0.1:9/hook?key=1");
        assert!(told.starts_with("http://127.0.0.1:9: "), "{told}");
        assert!(!["hook", "pass", "key"].iter().any(|secret| told.contains(secret)), "{told}");
    }

    #[test]
    fn wrong_keys_are_refused_when_the_destination_is_made() {
        let make = |url: &str, headers: &[(&str, &str)]| {
            let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            WebhookDestination::new("hook", url, &headers, "", Duration::from_secs(1)).err()
        };
        for (url, shown) in [
            ("ftp://host/secret", "ftp://host"),
            ("host/secret", "host"),
            ("https:///secret", "https://"),
            ("https://me:secret@ho st/", "https://ho st"),
        ] {
            assert!(make(url, &[]).unwrap().starts_with(&format!("url is `{shown}`: expected")), "{url}");
        }
        assert!(make("https://host/", &[("X Y", "z")]).unwrap().contains("headers.X Y"));
        assert!(make("https://host/", &[("X", "a\r\nb: c")]).is_some());
        assert!(make("https://host/hook", &[("X", "y")]).is_none());
    }
}

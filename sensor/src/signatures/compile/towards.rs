//! Whose words a keyword is about: the client's, the server's, or either's; and which applications have them.
//!
//! In: a keyword. Out: the direction in which Suricata's documentation has it, and the application that a rule with it
//! can be about. A keyword that either end may use has no direction here, and so has one whose direction the
//! documentation leaves open: a rule is only refused for what is certain.

use crate::signatures::packet::suricata_apps;
use weir_common::app::App;
use weir_common::net::Direction;

/// Keywords of what clients say.
const CLIENT: &[&str] = &[
    "http.uri",
    "http.uri.raw",
    "http.method",
    "http.request_line",
    "http.request_body",
    "http.request_header",
    "http.user_agent",
    "http.host",
    "http.host.raw",
    "http.accept",
    "http.accept_lang",
    "http.accept_enc",
    "http.referer",
    "dns.query",
    "tls.sni",
    "ja3.hash",
    "ja3.string",
    "ja4.hash",
    "ssh.hassh",
    "ssh.hassh.string",
    "smtp.helo",
    "smtp.mail_from",
    "smtp.rcpt_to",
    "ftp.command",
    "ftp.command_data",
    "ldap.request.dn",
    "ldap.request.operation",
    "ldap.request.attribute_type",
    "imap.request",
    "pgsql.query",
    "sip.method",
    "sip.uri",
    "sip.request_line",
    "quic.cyu.hash",
    "quic.cyu.string",
];

/// Keywords of what servers say.
const SERVER: &[&str] = &[
    "http.stat_code",
    "http.stat_msg",
    "http.response_line",
    "http.response_body",
    "http.response_header",
    "http.server",
    "http.location",
    "dns.response.rrname",
    "ja3s.hash",
    "ja3s.string",
    "ssh.hassh.server",
    "ssh.hassh.server.string",
    "ftp.reply",
    "ftp.completion_code",
    "ldap.responses.dn",
    "ldap.responses.operation",
    "ldap.responses.result_code",
    "ldap.responses.count",
    "ldap.responses.message",
    "ldap.responses.attribute_type",
    "imap.response",
    "rfb.name",
    "sip.stat_code",
    "sip.stat_msg",
    "sip.response_line",
];

/// The first words of keywords, and the names in rules' headers of the applications that have them.
const FAMILIES: &[(&str, &[&str])] = &[
    ("http.", &["http"]),
    ("http2.", &["http2"]),
    ("dns.", &["dns"]),
    ("mdns.", &["mdns"]),
    ("llmnr.", &["llmnr"]),
    ("ssh.", &["ssh"]),
    ("smtp.", &["smtp"]),
    ("email.", &["smtp", "imap"]),
    ("imap.", &["imap"]),
    ("ftp.", &["ftp", "ftp-data"]),
    ("ldap.", &["ldap"]),
    ("mqtt.", &["mqtt"]),
    ("snmp.", &["snmp"]),
    ("pgsql.", &["pgsql"]),
    ("sip.", &["sip"]),
    ("rfb.", &["rfb"]),
    ("ike.", &["ike"]),
    ("krb5.", &["krb5"]),
    ("enip.", &["enip"]),
    ("ntp.", &["ntp"]),
    ("smb.", &["smb"]),
];

/// Who says what the keyword is about; none: either end may.
pub(super) fn towards(keyword: &str) -> Option<Direction> {
    if CLIENT.contains(&keyword) {
        Some(Direction::Forward)
    } else if SERVER.contains(&keyword) {
        Some(Direction::Reverse)
    } else {
        None
    }
}

/// Who says it, in words.
pub(super) fn who(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "clients",
        Direction::Reverse => "servers",
    }
}

/// The applications that have a keyword; none: any may.
pub(super) fn family(keyword: &str) -> Option<Vec<App>> {
    let (_, names) = FAMILIES.iter().find(|(begin, _)| keyword.starts_with(begin))?;
    let apps: Vec<App> = names.iter().filter_map(|name| suricata_apps(name)).flatten().collect();
    (!apps.is_empty()).then_some(apps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::buffers::Buffer;

    #[test]
    fn a_keyword_is_of_one_end_at_most_and_known() {
        // Of numbers there is no list to ask.
        let numbers = ["ldap.request.operation", "ldap.responses.operation"];
        let more = ["ldap.responses.result_code", "ldap.responses.count"];
        for keyword in CLIENT.iter().chain(SERVER) {
            let is_buffer = Buffer::of(keyword).is_some_and(|buffer| buffer.keyword() == *keyword);
            assert!(is_buffer || numbers.contains(keyword) || more.contains(keyword), "{keyword}");
            assert!(!(CLIENT.contains(keyword) && SERVER.contains(keyword)), "{keyword}");
        }
        assert_eq!(towards("file.data"), None);
        assert_eq!(towards("http.uri"), Some(Direction::Forward));
        assert_eq!(towards("http.stat_code"), Some(Direction::Reverse));
    }

    #[test]
    fn every_family_is_of_an_application_that_is_known() {
        for (begin, names) in FAMILIES {
            assert!(names.iter().all(|name| suricata_apps(name).is_some()), "{begin} {names:?}");
        }
        assert_eq!(family("file.data"), None);
        assert_eq!(family("http.uri"), suricata_apps("http"));
    }
}

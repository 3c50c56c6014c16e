//! Known and legitimate traffic: which line of the owner's list a flow falls under.
//!
//! In: the lines, once; a flow's ends. Out: the line's note. A line is filed under the more specific of
//! its two networks, so that a look-up tries the few lines that concern the addresses at hand.

use crate::prefix::{Prefix, PrefixMap};
use std::collections::HashMap;
use weir_common::net::FlowKey;

/// One line; `None` stands for any. Source is the flow's initiator, port the responder's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The initiator's network.
    pub source: Option<Prefix>,
    /// The responder's network.
    pub destination: Option<Prefix>,
    /// IANA protocol number.
    pub protocol: Option<u8>,
    /// First and last port.
    pub ports: Option<(u16, u16)>,
    /// What the owner calls it.
    pub note: String,
}

impl Rule {
    fn matches(&self, key: &FlowKey) -> bool {
        self.protocol.is_none_or(|protocol| protocol == key.protocol)
            && self.ports.is_none_or(|(low, high)| (low..=high).contains(&key.responder_port))
            && self.source.is_none_or(|source| source.contains(key.initiator))
            && self.destination.is_none_or(|destination| destination.contains(key.responder))
    }
}

/// The list, indexed.
#[derive(Debug, Default)]
pub struct Legitimate {
    by_source: PrefixMap<Vec<Rule>>,
    by_destination: PrefixMap<Vec<Rule>>,
    anywhere: Vec<Rule>,
}

impl Legitimate {
    /// Files each line.
    pub fn build(rules: Vec<Rule>) -> Legitimate {
        let (mut by_source, mut by_destination) = (HashMap::new(), HashMap::new());
        let mut anywhere = Vec::new();
        for rule in rules {
            let specific = |prefix: Option<Prefix>| prefix.map_or(0, |prefix| prefix.bits() + 1);
            let file = match (rule.source, rule.destination) {
                (Some(source), _) if specific(rule.source) >= specific(rule.destination) => {
                    by_source.entry(source).or_insert_with(Vec::new)
                }
                (_, Some(destination)) => by_destination.entry(destination).or_insert_with(Vec::new),
                _ => &mut anywhere,
            };
            file.push(rule);
        }
        Legitimate {
            by_source: PrefixMap::build(by_source.into_iter().collect()),
            by_destination: PrefixMap::build(by_destination.into_iter().collect()),
            anywhere,
        }
    }

    /// The note of a line that declares the flow legitimate.
    #[inline]
    pub fn note(&self, key: &FlowKey) -> Option<&str> {
        let rules = self.by_source.all(key.initiator).flatten();
        let rules = rules.chain(self.by_destination.all(key.responder).flatten()).chain(&self.anywhere);
        rules.into_iter().find(|rule| rule.matches(key)).map(|rule| rule.note.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::lists::read_legitimate;

    fn note(list: &str, source: &str, destination: &str, protocol: u8, port: u16) -> Option<String> {
        let (rules, problems) = read_legitimate("l", list.as_bytes());
        let legitimate = Legitimate::build(rules);
        assert_eq!(problems, []);
        let key = FlowKey {
            initiator: source.parse().unwrap(),
            responder: destination.parse().unwrap(),
            initiator_port: 40_000,
            responder_port: port,
            protocol,
        };
        legitimate.note(&key).map(str::to_owned)
    }

    #[test]
    fn every_part_of_a_line_has_to_fit() {
        let list = "10.0.0.0/8,192.0.2.0/24,tcp,443,crm";
        assert_eq!(note(list, "10.9.9.9", "192.0.2.7", 6, 443).as_deref(), Some("crm"));
        assert_eq!(note(list, "11.9.9.9", "192.0.2.7", 6, 443), None);
        assert_eq!(note(list, "10.9.9.9", "192.0.3.7", 6, 443), None);
        assert_eq!(note(list, "10.9.9.9", "192.0.2.7", 17, 443), None);
        assert_eq!(note(list, "10.9.9.9", "192.0.2.7", 6, 444), None);
        assert_eq!(note(list, "192.0.2.7", "10.9.9.9", 6, 443), None, "a line has a direction");
    }

    #[test]
    fn lines_are_found_under_enclosing_networks_and_without_addresses() {
        let list =
            "10.0.0.0/8,*,*,*,wide\n10.1.0.0/16,*,udp,53,narrow\n*,198.51.100.9,*,*,target\n*,*,udp,123,time";
        assert_eq!(note(list, "10.1.0.1", "192.0.2.1", 17, 53).as_deref(), Some("narrow"));
        assert_eq!(note(list, "10.1.0.1", "192.0.2.1", 6, 80).as_deref(), Some("wide"));
        assert_eq!(note(list, "172.16.0.1", "198.51.100.9", 6, 80).as_deref(), Some("target"));
        assert_eq!(note(list, "2001:db8::1", "2001:db8::2", 17, 123).as_deref(), Some("time"));
        assert_eq!(note(list, "172.16.0.1", "192.0.2.1", 6, 123), None);
    }
}

//! Things by the ports that their signatures name: a packet is asked what any port may carry, and what its own two may.
//!
//! In: signatures with the ports of their headers. Out: one thing for the signatures that name no port, or too many of
//! them, and one for each kind of port that the others name: ports of which the same signatures speak share theirs.
//! Most rules about payloads are about a service at its port; without this what many of them look for, two or three bytes
//! that are common elsewhere, would be found in everything that goes over any other.

use foldhash::HashMap;
use weir_common::rule::PortSet;

/// Most ports that a signature is listed under; one that names more is asked about every port.
const PORTS_MAX: u32 = 1 << 12;
/// Most kinds of ports of one end; rules that make more are asked about every port.
const KINDS_MAX: usize = 512;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct PortIndex<G> {
    any: G,
    kinds: Vec<G>,
    /// The kind of a port, by the packet's end: source, destination.
    by_port: [HashMap<u16, u16>; 2],
}

/// Where in an index what concerns two ports is: the kinds of both. Of a flow it stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PortPlace([u16; 2]);

/// No kind.
const NONE: u16 = u16::MAX;
const _: () = assert!(2 * KINDS_MAX < NONE as usize, "a kind's number fits");

impl<G> PortIndex<G> {
    /// Where what concerns a packet between these ports is.
    pub(super) fn place(&self, ports: [u16; 2]) -> PortPlace {
        let kind = |end: usize| self.by_port[end].get(&ports[end]).copied().unwrap_or(NONE);
        PortPlace([kind(0), kind(1)])
    }

    /// What is there.
    pub(super) fn at(&self, place: PortPlace) -> impl Iterator<Item = &G> {
        let kinds = place.0.into_iter().filter_map(|kind| self.kinds.get(usize::from(kind)));
        std::iter::once(&self.any).chain(kinds)
    }

    /// What concerns a packet between these ports.
    #[cfg(test)]
    fn of(&self, ports: [u16; 2]) -> impl Iterator<Item = &G> {
        self.at(self.place(ports))
    }
}

/// Collects entries.
#[derive(Debug)]
pub(super) struct PortIndexBuilder<E> {
    entries: Vec<(E, Option<(usize, PortSet)>)>,
}

impl<E: Clone> PortIndexBuilder<E> {
    pub(super) fn new() -> PortIndexBuilder<E> {
        PortIndexBuilder { entries: Vec::new() }
    }

    /// Adds what stands for a signature with these ports, by that of its ends which names fewer. `is_of_any`: it is asked
    /// about every port all the same, as one is that means packets the other way as well.
    pub(super) fn add(&mut self, entry: E, ends: [&PortSet; 2], is_of_any: bool) {
        let sizes = ends.map(size);
        let end = usize::from(sizes[1] <= sizes[0]);
        let is_narrow = !is_of_any && sizes[end] <= PORTS_MAX;
        self.entries.push((entry, is_narrow.then(|| (end, ends[end].clone()))));
    }

    /// Makes the things, each from its entries in the order in which they came.
    pub(super) fn build<G>(self, mut make: impl FnMut(Vec<E>) -> G) -> PortIndex<G> {
        let mut ports: [HashMap<u16, Vec<u32>>; 2] = Default::default();
        for (number, (_, place)) in self.entries.iter().enumerate() {
            let Some((end, set)) = place else { continue };
            for port in set.ranges().iter().flat_map(|(from, to)| *from..=*to) {
                ports[*end].entry(port).or_default().push(number as u32);
            }
        }
        let mut is_listed = [true; 2];
        let mut kinds = Vec::new();
        let mut by_port = [HashMap::default(), HashMap::default()];
        let mut entries_of = |numbers: &[u32]| {
            let entry = |number: &u32| self.entries.get(*number as usize).map(|(entry, _)| entry.clone());
            make(numbers.iter().filter_map(entry).collect())
        };
        for (end, ports) in ports.into_iter().enumerate() {
            let mut known: HashMap<Vec<u32>, u32> = HashMap::default();
            for (port, numbers) in ports {
                let next = known.len() as u32;
                let kind = *known.entry(numbers).or_insert(next);
                let kind = kind as usize + kinds.len();
                // More kinds than this are thrown away below.
                by_port[end].insert(port, u16::try_from(kind).unwrap_or(NONE));
            }
            if known.len() > KINDS_MAX {
                is_listed[end] = false;
                by_port[end].clear();
                continue;
            }
            let mut of_end: Vec<(u32, Vec<u32>)> =
                known.into_iter().map(|(numbers, kind)| (kind, numbers)).collect();
            of_end.sort_unstable();
            kinds.extend(of_end.iter().map(|(_, numbers)| entries_of(numbers)));
        }
        let is_any =
            |place: &Option<(usize, PortSet)>| place.as_ref().is_none_or(|(end, _)| !is_listed[*end]);
        let all = self.entries.iter().zip(0..);
        let any: Vec<u32> = all.filter(|((_, place), _)| is_any(place)).map(|(_, number)| number).collect();
        PortIndex { any: entries_of(&any), kinds, by_port }
    }
}

/// How many ports a set holds.
fn size(ports: &PortSet) -> u32 {
    ports.ranges().iter().map(|(from, to)| u32::from(to - from) + 1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_common::rule::{Variables, group};

    /// The numbers of rules with these ports.
    fn index(headers: &[&str]) -> PortIndex<Vec<u32>> {
        let mut builder = PortIndexBuilder::new();
        for (header, number) in headers.iter().zip(0..) {
            let words: Vec<&str> = header.split(' ').collect();
            let ports = |word: &str| group::ports(word, &Variables::default()).unwrap();
            builder.add(number, [&ports(words[0]), &ports(words[2])], words[1] == "<>");
        }
        builder.build(|entries| entries)
    }

    fn find(index: &PortIndex<Vec<u32>>, ports: [u16; 2]) -> Vec<u32> {
        let mut found: Vec<u32> = index.of(ports).flatten().copied().collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn a_packet_leads_to_the_rules_about_its_ports_and_to_those_about_any() {
        let index = index(&[
            "any -> 80",
            "any -> any",
            "[80,443] -> any",
            "any -> [79:81,8080]",
            "any -> !80",
            "80 <> any",
            "1024: -> 80",
        ]);
        // Those that name too many ports, or mean both directions, are asked about every port.
        assert_eq!(index.any, [1, 4, 5]);
        assert_eq!(find(&index, [5000, 80]), [0, 1, 3, 4, 5, 6]);
        assert_eq!(find(&index, [80, 5000]), [1, 2, 4, 5]);
        assert_eq!(find(&index, [443, 81]), [1, 2, 3, 4, 5]);
        assert_eq!(find(&index, [444, 82]), [1, 4, 5]);
        // Ports of which the same rules speak share what stands for these.
        assert_eq!(index.kinds.len(), 3);
    }

    #[test]
    fn more_kinds_of_ports_than_the_limit_are_asked_about_every_port() {
        for (count, kinds) in [(KINDS_MAX, KINDS_MAX), (KINDS_MAX + 1, 0)] {
            let headers: Vec<String> = (1..=count).map(|port| format!("any -> {port}")).collect();
            let index = index(&headers.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(index.kinds.len(), kinds);
            let found = find(&index, [1, 7]);
            assert!(found.contains(&6) && found.len() == if kinds == 0 { count } else { 1 });
        }
    }
}

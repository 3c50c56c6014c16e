//! Things by the ports that their signatures name: a packet is asked what any port may carry, and what its own two may.
//!
//! In: signatures with the ports of their headers. Out: one thing for the signatures that name no port, or too many of
//! them, and one for each kind of port that the others name: ports of which the same signatures speak share theirs.
//! Most rules about payloads are about a service at its port; without this each of them would be looked for in
//! everything that goes over any other.

use super::compile::Signature;
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
    by_port: [HashMap<u16, u32>; 2],
}

impl<G> PortIndex<G> {
    /// What concerns a packet between these ports.
    pub(super) fn of(&self, ports: [u16; 2]) -> impl Iterator<Item = &G> {
        let ends = self.by_port.iter().zip(ports);
        let kinds = ends.filter_map(|(kinds, port)| self.kinds.get(*kinds.get(&port)? as usize));
        std::iter::once(&self.any).chain(kinds)
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

    /// Adds what stands for a signature, by that of its ends which names fewer ports.
    pub(super) fn add(&mut self, entry: E, signature: &Signature) {
        let ends = [&signature.source.ports, &signature.destination.ports];
        let sizes = ends.map(|ports| size(ports));
        let end = usize::from(sizes[1] <= sizes[0]);
        let is_narrow = !signature.is_bidirectional && sizes[end] <= PORTS_MAX;
        self.entries.push((entry, is_narrow.then(|| (end, (**ends[end]).clone()))));
    }

    /// Makes the things, each from its entries in the order in which they came.
    pub(super) fn build<G>(self, make: impl Fn(Vec<E>) -> G) -> PortIndex<G> {
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
        let entries_of = |numbers: &[u32]| {
            let entry = |number: &u32| self.entries.get(*number as usize).map(|(entry, _)| entry.clone());
            make(numbers.iter().filter_map(entry).collect())
        };
        for (end, ports) in ports.into_iter().enumerate() {
            let mut known: HashMap<Vec<u32>, u32> = HashMap::default();
            for (port, numbers) in ports {
                let next = known.len() as u32;
                let kind = *known.entry(numbers).or_insert(next);
                by_port[end].insert(port, kind + kinds.len() as u32);
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
        let is_any = |place: &Option<(usize, PortSet)>| place.as_ref().is_none_or(|(end, _)| !is_listed[*end]);
        let all = self.entries.iter().zip(0..);
        let any: Vec<u32> = all.filter(|((_, place), _)| is_any(place)).map(|(_, number)| number).collect();
        PortIndex { any: entries_of(&any), kinds, by_port }
    }
}

/// How many ports a set holds.
fn size(ports: &PortSet) -> u32 {
    ports.ranges().iter().map(|(from, to)| u32::from(to - from) + 1).sum()
}

//! Fragments: which flow each belongs to, and the datagram they make (RFC 791 section 3.2, RFC 8200
//! section 4.5).
//!
//! In: fragments in any order. Out: for each fragment, when it comes or as soon as the first one of its datagram
//! does, a packet with that one's ports; with the fragment that completes the datagram, its payload.
//!
//! Overlapping fragments: the bytes that came first win, and each fragment that overlaps counts as bad; a
//! fragment that repeats bytes exactly is a duplicate and counts as nothing. A fragment that exceeds 65,535 bytes
//! (ping of death), contradicts the datagram's end, or has a length that cannot be (RFC 791: all but the
//! last are multiples of eight) counts as bad and is not used; it is still metered.
//!
//! A first fragment that the capture cut off is handed out with the payload that there is of it.
//!
//! Bounded in bytes and in datagrams; at the limit the oldest datagram is given up. Nothing that is given up goes
//! unmetered: fragments whose first one never came are handed over by [`FragmentTable::expire`].

use super::pages::{PAGE_BYTES, PagePool, SparseBuffer};
use super::ranges::Ranges;
use super::{Ip, LinkHeader, Packet, Tcp, Transport, headers::WholeHeader, ipv6, transport};
use crate::counters::DecodeCounters;
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::time::Duration;
use weir_common::net::Address;
use weir_common::time::Timestamp;

/// Fewest datagrams the table has room for, whatever the limit in bytes.
const DATAGRAMS_MIN: usize = 16;
/// Most datagrams given up and waiting for [`FragmentTable::expire`]. At the limit no datagram is given up:
/// a fragment that finds no room is metered at once, without ports.
const ORPHANS_MAX: usize = 4096;
/// Most expired datagrams that one arriving fragment clears away.
const EXPIRED_PER_ARRIVAL_MAX: usize = 4;

/// What a fragment header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    pub(super) identification: u32,
    /// The protocol field beside it; of IPv6, the one in the fragment header.
    pub(super) protocol: u8,
    /// Place of the first byte in the datagram, in bytes.
    pub(super) offset: u32,
    /// Whether more fragments follow.
    pub(super) more: bool,
}

/// A fragment's frame and IP header, as far as metering needs them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) vlans: [u16; 2],
    pub(super) ip: Ip,
    pub(super) interface: u32,
    pub(super) time: Timestamp,
}

/// Fragments that came before the first one of their datagram, added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlyFragments {
    /// How many.
    pub packets: u32,
    /// Their octets from the IP header on.
    pub octets: u64,
    /// Time of the earliest.
    pub start: Timestamp,
}

/// What identifies a datagram (RFC 791 section 3.2). VLANs do not: see `weir_common::net::FlowKey`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct DatagramKey {
    source: Address,
    destination: Address,
    identification: u32,
    protocol: u8,
}

impl DatagramKey {
    fn of(arrival: &Arrival, fragment: &Fragment) -> DatagramKey {
        DatagramKey {
            source: arrival.ip.source,
            destination: arrival.ip.destination,
            identification: fragment.identification,
            protocol: fragment.protocol,
        }
    }
}

/// A datagram of which at least one fragment has come. It stays when it is whole, so that fragments that come
/// twice find their flow.
#[derive(Clone, Copy, Debug)]
struct Datagram {
    key: DatagramKey,
    hash: u64,
    /// Time of the fragment that came first.
    since: Timestamp,
    /// Protocol and transport header of the first fragment, once it came.
    first: Option<(u8, Transport)>,
    /// Its IP header.
    header: WholeHeader,
    /// Fragments that wait for the first one: the last of them, and the sum of those before.
    waiting: Option<(Arrival, EarlyFragments)>,
    payload: Payload,
    buffer: SparseBuffer,
    ranges: Ranges,
    /// Length of the whole, once the last fragment came.
    total: Option<u16>,
}

/// What became of a datagram's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Payload {
    /// More is to come.
    Incomplete,
    /// It was handed over.
    Whole,
    /// It will not be put together: bytes are missing in the capture, or a limit was reached.
    Abandoned,
}

/// A datagram that was given up before its first fragment came.
#[derive(Clone, Copy, Debug)]
struct Orphan {
    last: Arrival,
    before: EarlyFragments,
}

/// The table; see the module's documentation.
pub(super) struct FragmentTable {
    timeout: Duration,
    datagrams_max: usize,
    /// A ring: the datagram of sequence number n is at n modulo `datagrams_max`. `None` is vacant.
    datagrams: Vec<Option<Datagram>>,
    /// Sequence number of the oldest datagram, and of the next.
    oldest: u64,
    next: u64,
    /// Places in `datagrams` by key.
    index: HashTable<u32>,
    hasher: RandomState,
    pool: PagePool,
    orphans: VecDeque<Orphan>,
    /// What the last packet handed out borrows.
    whole: Vec<u8>,
    early: EarlyFragments,
}

impl FragmentTable {
    pub(super) fn new(bytes_max: u32, timeout: Duration) -> FragmentTable {
        FragmentTable {
            timeout,
            datagrams_max: (bytes_max as usize / PAGE_BYTES).max(DATAGRAMS_MIN),
            datagrams: Vec::new(),
            oldest: 0,
            next: 0,
            index: HashTable::new(),
            hasher: RandomState::default(),
            pool: PagePool::new(bytes_max),
            orphans: VecDeque::new(),
            whole: Vec::new(),
            early: EarlyFragments { packets: 0, octets: 0, start: Timestamp::MIN },
        }
    }

    /// Takes a fragment in: `network` from its IP header on. `is_cut` says that the capture lacks its end.
    #[inline(never)]
    pub(super) fn accept<'a>(
        &'a mut self,
        arrival: Arrival,
        network: &'a [u8],
        fragment: Fragment,
        payload: &'a [u8],
        is_cut: bool,
        counters: &mut DecodeCounters,
    ) -> Option<Packet<'a>> {
        counters.fragments += 1;
        self.give_up_expired(arrival.time, EXPIRED_PER_ARRIVAL_MAX, counters);
        let own = (fragment.offset == 0).then(|| {
            let (protocol, transport, _) = upper(&arrival.ip, fragment.protocol, payload, true, counters);
            (protocol, transport)
        });
        let Some(place) = self.place_of(&arrival, &fragment, counters) else {
            // No room: metered on its own, and of its datagram nothing is kept.
            counters.fragments_expired += 1;
            let (protocol, transport) = own.unwrap_or((arrival.ip.protocol, Transport::None));
            return Some(Packet { network, ..partial(&arrival, protocol, transport, None) });
        };
        self.make_room(place, &fragment, payload.len(), counters);
        let FragmentTable { datagrams, pool, whole, early, .. } = self;
        let datagram = datagrams.get_mut(place)?.as_mut()?;
        datagram.first = datagram.first.or(own);
        if own.is_some() {
            datagram.header = WholeHeader::of(network, fragment.protocol);
        }
        let is_whole = datagram.add(pool, &fragment, payload, is_cut, counters);
        let Some((protocol, transport)) = own.or(datagram.first) else {
            datagram.wait(arrival);
            return None;
        };
        let early = datagram.take_waiting().map(|sum| {
            *early = sum;
            &*early
        });
        if !is_whole && is_cut && own.is_some() {
            // The datagram will never be put together, since its beginning lacks bytes: what is there of that is all
            // that there will be to inspect.
            let (_, _, payload) =
                upper(&arrival.ip, fragment.protocol, payload, true, &mut DecodeCounters::default());
            let packet = partial(&arrival, protocol, transport, early);
            return Some(Packet { network, payload, is_partial: false, is_cut: true, ..packet });
        }
        if !is_whole {
            // Only the first fragment has the header; the others have its ports.
            let transport = if own.is_some() { transport } else { ports_only(transport) };
            return Some(Packet { network, ..partial(&arrival, protocol, transport, early) });
        }
        let len = usize::from(datagram.ranges.end());
        datagram.header.begin(len, whole);
        let header_len = whole.len();
        pool.read(&datagram.buffer, len, whole);
        pool.release(&mut datagram.buffer);
        counters.reassembled += 1;
        let upper_bytes = whole.get(header_len..).unwrap_or_default();
        let (protocol, transport, payload) =
            upper(&arrival.ip, fragment.protocol, upper_bytes, false, counters);
        datagram.first = Some((protocol, transport));
        let ip = Ip { protocol, ..arrival.ip };
        Some(Packet {
            vlans: arrival.vlans,
            ip,
            transport,
            payload,
            early,
            is_partial: false,
            is_cut: false,
            tunnel_depth: 0,
            payload_missing: 0,
            link: LinkHeader::NONE,
            frame_octets: 0,
            network: whole,
        })
    }

    /// See [`super::Decoder::expire`].
    pub(super) fn expire(
        &mut self,
        now: Timestamp,
        counters: &mut DecodeCounters,
        each: &mut impl FnMut(&Packet<'_>, Timestamp, u32),
    ) {
        self.hand_over(each);
        self.give_up_expired(now, ORPHANS_MAX, counters);
        self.hand_over(each);
    }

    /// See [`super::Decoder::drain`].
    pub(super) fn drain(
        &mut self,
        counters: &mut DecodeCounters,
        each: &mut impl FnMut(&Packet<'_>, Timestamp, u32),
    ) {
        self.hand_over(each);
        while self.oldest < self.next {
            self.give_up_oldest(counters);
            self.hand_over(each);
        }
    }

    fn hand_over(&mut self, each: &mut impl FnMut(&Packet<'_>, Timestamp, u32)) {
        for Orphan { last, before } in self.orphans.drain(..) {
            let early = (before.packets > 0).then_some(&before);
            each(&partial(&last, last.ip.protocol, Transport::None, early), last.time, last.interface);
        }
    }

    fn find(&self, hash: u64, key: &DatagramKey) -> Option<usize> {
        let at = |place: u32| self.datagrams.get(place as usize).and_then(Option::as_ref);
        let found = self.index.find(hash, |place| at(*place).is_some_and(|datagram| datagram.key == *key));
        found.map(|place| *place as usize)
    }

    /// Whether a fragment with so many bytes has some of those that came before it, the same or not.
    pub(super) fn is_overlap(&self, arrival: &Arrival, fragment: &Fragment, len: usize) -> bool {
        let key = DatagramKey::of(arrival, fragment);
        let place = self.find(self.hasher.hash_one(key), &key);
        let Some(Some(datagram)) = place.and_then(|place| self.datagrams.get(place)) else { return false };
        let bounds =
            u16::try_from(fragment.offset).ok().zip(u16::try_from(fragment.offset as usize + len).ok());
        // A datagram that is whole or given up has ended: what comes later under its number is another one.
        let is_open = datagram.payload != Payload::Whole && !datagram.is_expired(arrival.time, self.timeout);
        is_open && bounds.is_some_and(|(start, end)| datagram.ranges.covered(start, end) > 0)
    }

    /// Where the fragment's datagram is, made if it is new; `None` when there is no room.
    fn place_of(
        &mut self,
        arrival: &Arrival,
        fragment: &Fragment,
        counters: &mut DecodeCounters,
    ) -> Option<usize> {
        let key = DatagramKey::of(arrival, fragment);
        let hash = self.hasher.hash_one(key);
        if let Some(place) = self.find(hash, &key) {
            let datagram = self.datagrams.get(place).and_then(Option::as_ref)?;
            // The sender uses its numbers again: after the timeout, or with a new first fragment
            // after a datagram that is whole. A late duplicate of a first fragment looks the same and does no harm.
            let is_reused = datagram.is_expired(arrival.time, self.timeout)
                || (fragment.offset == 0 && datagram.payload == Payload::Whole);
            if !is_reused {
                return Some(place);
            }
            if !self.give_up(place, counters) {
                return None;
            }
        }
        self.insert(key, hash, arrival.time, counters)
    }

    fn insert(
        &mut self,
        key: DatagramKey,
        hash: u64,
        since: Timestamp,
        counters: &mut DecodeCounters,
    ) -> Option<usize> {
        if self.next - self.oldest >= self.datagrams_max as u64 && !self.give_up_oldest(counters) {
            return None;
        }
        let place = (self.next % self.datagrams_max as u64) as usize;
        if place == self.datagrams.len() {
            self.datagrams.push(None);
        }
        *self.datagrams.get_mut(place)? = Some(Datagram {
            key,
            hash,
            since,
            first: None,
            header: WholeHeader::NONE,
            waiting: None,
            payload: Payload::Incomplete,
            buffer: SparseBuffer::EMPTY,
            ranges: Ranges::EMPTY,
            total: None,
        });
        let datagrams = &self.datagrams;
        let hash_of = |place: &u32| {
            datagrams.get(*place as usize).and_then(Option::as_ref).map_or(0, |datagram| datagram.hash)
        };
        self.index.insert_unique(hash, place as u32, hash_of);
        self.next += 1;
        Some(place)
    }

    /// Gives up older datagrams until the pool has the pages that the fragment at `place` takes. Where
    /// that is not enough, the write fails and the datagram is abandoned.
    fn make_room(&mut self, place: usize, fragment: &Fragment, len: usize, counters: &mut DecodeCounters) {
        let Some(Some(datagram)) = self.datagrams.get(place) else { return };
        let needed = PagePool::needed(&datagram.buffer, fragment.offset as usize, len);
        let is_oldest = |table: &FragmentTable| table.oldest % table.datagrams_max as u64 == place as u64;
        while self.pool.available() < needed && !is_oldest(self) && self.give_up_oldest(counters) {}
    }

    fn give_up_expired(&mut self, now: Timestamp, most: usize, counters: &mut DecodeCounters) {
        for _ in 0..most {
            if self.oldest == self.next {
                return;
            }
            let place = (self.oldest % self.datagrams_max as u64) as usize;
            if let Some(Some(datagram)) = self.datagrams.get(place)
                && !datagram.is_expired(now, self.timeout)
            {
                return;
            }
            if !self.give_up_oldest(counters) {
                return;
            }
        }
    }

    /// Makes the oldest place vacant; false when it cannot be because too many orphans wait.
    fn give_up_oldest(&mut self, counters: &mut DecodeCounters) -> bool {
        let place = (self.oldest % self.datagrams_max as u64) as usize;
        let is_vacant = self.give_up(place, counters);
        if is_vacant {
            self.oldest += 1;
        }
        is_vacant
    }

    fn give_up(&mut self, place: usize, counters: &mut DecodeCounters) -> bool {
        let Some(entry) = self.datagrams.get_mut(place) else { return true };
        let Some(datagram) = entry else { return true };
        if let Some((last, before)) = datagram.waiting {
            if self.orphans.len() >= ORPHANS_MAX {
                return false;
            }
            self.orphans.push_back(Orphan { last, before });
        }
        if datagram.payload != Payload::Whole {
            counters.fragments_expired += 1;
        }
        self.pool.release(&mut datagram.buffer);
        let hash = datagram.hash;
        *entry = None;
        if let Ok(occupied) = self.index.find_entry(hash, |other| *other as usize == place) {
            occupied.remove();
        }
        true
    }
}

impl Datagram {
    /// Whether the timeout has passed, in whichever direction time went.
    fn is_expired(&self, now: Timestamp, timeout: Duration) -> bool {
        now.since(self.since) >= timeout || self.since.since(now) > timeout
    }

    /// Adds a fragment's payload; true when that makes the datagram whole.
    fn add(
        &mut self,
        pool: &mut PagePool,
        fragment: &Fragment,
        payload: &[u8],
        is_cut: bool,
        counters: &mut DecodeCounters,
    ) -> bool {
        if is_cut {
            self.abandon(pool);
        }
        let end = fragment.offset as usize + payload.len();
        let bounds = (u16::try_from(fragment.offset), u16::try_from(end));
        let (Ok(start), Ok(end)) = bounds else {
            counters.fragments_bad += 1;
            self.abandon(pool);
            return false;
        };
        let is_odd = payload.is_empty() || (fragment.more && !payload.len().is_multiple_of(8) && !is_cut);
        let exceeds = self.total.is_some_and(|total| end > total || (!fragment.more && end != total));
        if is_odd || exceeds || (!fragment.more && self.ranges.end() > end) {
            counters.fragments_bad += 1;
            return false;
        }
        if self.payload != Payload::Incomplete {
            return false;
        }
        let covered = self.ranges.covered(start, end);
        if covered > 0 {
            let is_duplicate =
                covered as usize == payload.len() && pool.matches(&self.buffer, usize::from(start), payload);
            if !is_duplicate {
                counters.fragments_bad += 1;
            }
        }
        if !fragment.more {
            self.total = Some(end);
        }
        let mut is_written = true;
        let Datagram { ranges, buffer, .. } = self;
        ranges.missing(start, end, |from, to| {
            let part = payload.get(usize::from(from - start)..usize::from(to - start)).unwrap_or_default();
            is_written &= pool.write(buffer, usize::from(from), part);
        });
        if !is_written || !ranges.insert(start, end) {
            self.abandon(pool);
            return false;
        }
        let is_whole = self.total.is_some_and(|total| self.ranges.is_whole(total));
        if is_whole {
            self.payload = Payload::Whole;
        }
        is_whole
    }

    fn abandon(&mut self, pool: &mut PagePool) {
        pool.release(&mut self.buffer);
        self.payload = Payload::Abandoned;
    }

    /// Holds a fragment back until the first one comes.
    fn wait(&mut self, arrival: Arrival) {
        let before = self.take_waiting();
        let nothing = EarlyFragments { packets: 0, octets: 0, start: arrival.time };
        self.waiting = Some((arrival, before.unwrap_or(nothing)));
    }

    /// The sum of the fragments held back, which wait no longer.
    fn take_waiting(&mut self) -> Option<EarlyFragments> {
        let (last, before) = self.waiting.take()?;
        Some(EarlyFragments {
            packets: before.packets.saturating_add(1),
            octets: before.octets + u64::from(last.ip.octets),
            start: before.start.min(last.time),
        })
    }
}

/// The transport header at the beginning of a datagram, behind what IPv6 may put before it.
fn upper<'a>(
    ip: &Ip,
    protocol: u8,
    bytes: &'a [u8],
    is_cut: bool,
    counters: &mut DecodeCounters,
) -> (u8, Transport, &'a [u8]) {
    if ip.source.is_v4() && ip.destination.is_v4() {
        let (transport, payload) = transport::parse(protocol, bytes, is_cut, counters);
        return (protocol, transport, payload);
    }
    let walk = ipv6::walk(protocol, bytes, is_cut);
    if walk.fragment.is_some() {
        // A fragment within a fragment is nobody's honest traffic; it has no ports.
        counters.fragments_bad += 1;
        return (walk.protocol, Transport::None, &[]);
    }
    let (transport, payload) = transport::parse(walk.protocol, walk.payload, walk.is_cut, counters);
    (walk.protocol, transport, payload)
}

fn partial<'a>(
    arrival: &Arrival,
    protocol: u8,
    transport: Transport,
    early: Option<&'a EarlyFragments>,
) -> Packet<'a> {
    let ip = Ip { protocol, ..arrival.ip };
    Packet {
        vlans: arrival.vlans,
        ip,
        transport,
        payload: &[],
        early,
        is_partial: true,
        is_cut: false,
        tunnel_depth: 0,
        payload_missing: 0,
        link: LinkHeader::NONE,
        frame_octets: 0,
        network: &[],
    }
}

/// What of a first fragment's header holds for the others.
fn ports_only(transport: Transport) -> Transport {
    match transport {
        Transport::Tcp(Tcp { source, destination, .. }) => Transport::Ports { source, destination },
        other => other,
    }
}

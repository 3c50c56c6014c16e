//! `xbits` and `hostbits`: marks of hosts, of pairs of hosts, and of transactions.
//!
//! In: an option; then a packet's ends and time. Out: a [`SharedTest`] or [`SharedAction`], and the tables
//! that one worker has of its flows' hosts. A mark lasts for its seconds from when it was last set, its
//! last moment included. `hostbits` and `xbits` with `track ip_src` or `ip_dst` share their names, so that
//! what one sets on a sender the other finds on a receiver.
//!
//! Each table holds [`SHARED_BITS_MAX`] marks. At it, those that are over make room, looked for once a
//! second; what then finds no room is not set, which is counted. Marks of one host that several workers
//! see are known to each only as far as it has set them.

use super::bits::{Change, Command};
use super::flow::TransactionBits;
use super::names::{Kind, NameId, Names};
use super::words::Value;
use super::{Ends, Refused, StateCounters};
use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;
use weir_common::net::Address;
use weir_common::time::Timestamp;

/// Most marks of hosts, and most of pairs.
pub(in super::super) const SHARED_BITS_MAX: usize = 1 << 18;
/// How long a mark of `xbits` lasts when the rule does not say, in seconds; Suricata's.
const XBITS_SECONDS: u32 = 30;
/// How long a mark of `hostbits` lasts, in seconds; Suricata's.
const HOSTBITS_SECONDS: u32 = 300;
/// How often a full table is searched for marks that are over.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Whose mark it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Track {
    Source,
    Destination,
    Pair,
    Transaction,
}

impl Track {
    pub(super) fn kind(self) -> Kind {
        match self {
            Track::Source | Track::Destination => Kind::HostBit,
            Track::Pair => Kind::PairBit,
            Track::Transaction => Kind::TransactionBit,
        }
    }
}

/// A test of such a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct SharedTest {
    pub(super) track: Track,
    pub(super) bit: NameId,
    pub(super) wants_set: bool,
}

impl SharedTest {
    #[inline]
    pub(super) fn passes(
        &self,
        shared: &SharedBits,
        ends: &Ends,
        transaction: Option<&TransactionBits>,
    ) -> bool {
        let is_set = match self.track {
            Track::Source => shared.hosts.is_set(&(ends.source, self.bit), ends.time),
            Track::Destination => shared.hosts.is_set(&(ends.destination, self.bit), ends.time),
            Track::Pair => shared.pairs.is_set(&pair(ends, self.bit), ends.time),
            Track::Transaction => transaction.is_some_and(|bits| bits.is_set(self.bit)),
        };
        is_set == self.wants_set
    }
}

/// A change of such a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct SharedAction {
    pub(super) track: Track,
    pub(super) bit: NameId,
    pub(super) change: Change,
    pub(super) seconds: u32,
}

impl SharedAction {
    pub(super) fn apply(
        &self,
        shared: &mut SharedBits,
        ends: &Ends,
        transaction: Option<&mut TransactionBits>,
        counters: &mut StateCounters,
    ) {
        let now = ends.time;
        let until = now.plus(Duration::from_secs(self.seconds.into()));
        let is_room = match self.track {
            Track::Source => shared.hosts.change((ends.source, self.bit), self.change, now, until),
            Track::Destination => shared.hosts.change((ends.destination, self.bit), self.change, now, until),
            Track::Pair => shared.pairs.change(pair(ends, self.bit), self.change, now, until),
            Track::Transaction => {
                if let Some(bits) = transaction {
                    bits.set(self.bit, counters);
                }
                true
            }
        };
        counters.shared_bits_refused += u64::from(!is_room);
    }
}

/// The marks that a worker has of hosts and pairs.
#[derive(Debug, Default)]
pub(in super::super) struct SharedBits {
    hosts: Table<(Address, NameId)>,
    pairs: Table<(Address, Address, NameId)>,
}

impl SharedBits {
    /// How many marks are kept, those that are over and not yet swept included.
    pub(in super::super) fn len(&self) -> usize {
        self.hosts.until.len() + self.pairs.until.len()
    }
}

/// The pair, whichever way the packet goes.
fn pair(ends: &Ends, bit: NameId) -> (Address, Address, NameId) {
    (ends.source.min(ends.destination), ends.source.max(ends.destination), bit)
}

/// Marks, and until when each is set.
#[derive(Debug)]
struct Table<K> {
    until: HashMap<K, Timestamp, RandomState>,
    swept: Option<Timestamp>,
}

impl<K> Default for Table<K> {
    fn default() -> Table<K> {
        Table { until: HashMap::default(), swept: None }
    }
}

impl<K: Eq + Hash> Table<K> {
    #[inline]
    fn is_set(&self, key: &K, now: Timestamp) -> bool {
        !self.until.is_empty() && self.until.get(key).is_some_and(|until| now <= *until)
    }

    /// Changes a mark; false when there was no room for it.
    fn change(&mut self, key: K, change: Change, now: Timestamp, until: Timestamp) -> bool {
        let was_set = self.is_set(&key, now);
        if change == Change::Unset || change == Change::Toggle && was_set {
            self.until.remove(&key);
            return true;
        }
        if self.until.len() >= SHARED_BITS_MAX && !self.until.contains_key(&key) {
            // A clock that was set back must not end the sweeps.
            let is_due = self.swept.is_none_or(|last| now < last || now.since(last) >= SWEEP_EVERY);
            if is_due {
                self.swept = Some(now);
                self.until.retain(|_, until| now <= *until);
            }
            if self.until.len() >= SHARED_BITS_MAX {
                return false;
            }
        }
        self.until.insert(key, until);
        true
    }
}

/// What `xbits` or `hostbits` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shared {
    Test(SharedTest),
    Action(SharedAction),
    NoAlert,
}

/// Reads `xbits`: `command,name,track whose[,expire seconds]`.
pub(super) fn xbits(value: Value<'_>, names: &mut Names) -> Result<Shared, Refused> {
    let words = value.words();
    let [first, rest @ ..] = words.as_slice() else {
        return Err(value.refused(0, "expected a command"));
    };
    let command = Command::read(value, *first)?;
    if command == Command::NoAlert {
        return match rest.first() {
            None => Ok(Shared::NoAlert),
            Some(more) => Err(value.refused(more.at, "nothing follows `noalert`")),
        };
    }
    let [name, options @ ..] = rest else {
        return Err(value.refused(first.at, "expected a name"));
    };
    let (mut track, mut seconds) = (None, None);
    for option in options {
        let (key, setting) = option.name_and_value();
        let text = setting.map_or("", |setting| setting.text);
        let at = setting.map_or(option.at, |setting| setting.at);
        let is_first = match key.text {
            "track" => {
                let read = match text {
                    "ip_src" => Track::Source,
                    "ip_dst" => Track::Destination,
                    "ip_pair" => Track::Pair,
                    "tx" => Track::Transaction,
                    _ => {
                        let reason = "expected `track` and `ip_src`, `ip_dst`, `ip_pair` or `tx`";
                        return Err(value.refused(at, reason));
                    }
                };
                track.replace(read).is_none()
            }
            "expire" => {
                let read = text.parse::<u32>().ok().filter(|seconds| *seconds > 0);
                let read = read.ok_or_else(|| value.refused(at, "expected `expire` and seconds above 0"))?;
                seconds.replace(read).is_none()
            }
            _ => {
                let reason = format!("`{}` is not known: expected `track` or `expire`", option.shown());
                return Err(value.refused(option.at, reason));
            }
        };
        if !is_first {
            return Err(value.refused(option.at, format!("`{}` stands twice", key.text)));
        }
    }
    let Some(track) = track else {
        return Err(value.refused(name.at, "without `track` it never matches"));
    };
    let is_simple = matches!(command, Command::Test { wants_set: true } | Command::Change(Change::Set));
    if track == Track::Transaction && !is_simple {
        return Err(value.refused(first.at, "`track tx` is only for `set` and `isset`"));
    }
    build(value, command, *name, track, seconds.unwrap_or(XBITS_SECONDS), names)
}

/// Reads `hostbits`: `command,name[,src|dst[,seconds]]`.
pub(super) fn hostbits(value: Value<'_>, names: &mut Names) -> Result<Shared, Refused> {
    let words = value.words();
    let [first, rest @ ..] = words.as_slice() else {
        return Err(value.refused(0, "expected a command"));
    };
    let command = Command::read(value, *first)?;
    let (name, side, seconds) = match (command, rest) {
        (Command::NoAlert, []) => return Ok(Shared::NoAlert),
        (Command::NoAlert, [more, ..]) => return Err(value.refused(more.at, "nothing follows `noalert`")),
        (_, []) => return Err(value.refused(first.at, "expected a name")),
        (_, [name]) => (*name, None, None),
        (_, [name, side]) => (*name, Some(*side), None),
        (_, [name, side, seconds]) => (*name, Some(*side), Some(*seconds)),
        (_, [_, _, _, more, ..]) => return Err(value.refused(more.at, "nothing follows the seconds")),
    };
    let track = match side.map(|side| (side.text, side.at)) {
        None | Some(("src", _)) => Track::Source,
        Some(("dst", _)) => Track::Destination,
        Some(("both", at)) => {
            let reason = "`both` has no meaning yet, in Suricata either: expected `src` or `dst`";
            return Err(value.refused(at, reason));
        }
        Some((_, at)) => return Err(value.refused(at, "expected `src` or `dst`")),
    };
    let seconds = match seconds {
        None => HOSTBITS_SECONDS,
        Some(word) => {
            let read = word.text.parse::<u32>().ok().filter(|seconds| *seconds > 0);
            read.ok_or_else(|| value.refused(word.at, "expected seconds above 0"))?
        }
    };
    build(value, command, name, track, seconds, names)
}

fn build(
    value: Value<'_>,
    command: Command,
    name: super::words::Word<'_>,
    track: Track,
    seconds: u32,
    names: &mut Names,
) -> Result<Shared, Refused> {
    if name.has_blank() {
        return Err(value.refused(name.at, "a name has no blanks"));
    }
    let bit = names.intern(track.kind(), name.text).map_err(|reason| value.refused(name.at, reason))?;
    Ok(match command {
        Command::Test { wants_set } => Shared::Test(SharedTest { track, bit, wants_set }),
        Command::Change(change) => Shared::Action(SharedAction { track, bit, change, seconds }),
        Command::NoAlert => Shared::NoAlert,
    })
}

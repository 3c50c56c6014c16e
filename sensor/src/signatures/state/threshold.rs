//! `threshold` and `detection_filter`: how often a rule that matches may alert.
//!
//! In: an option's value, or the same words of a configuration. Out: a [`Threshold`]. Counting is done in
//! `windows.rs`.

use super::Refused;
use super::words::{Value, Word};
use weir_common::rule::{Action, RuleOption};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// The first matches of a window alert.
    Limit,
    /// Every so-many-th match of a window alerts.
    Threshold,
    /// The so-many-th match of a window alerts, once.
    Both,
    /// Matches alert after so many of a window.
    Filter(Unique),
    /// The so-many-th match of a flow alerts, then the one after so many times as many, and so on.
    Backoff {
        /// How many times as many; above zero.
        multiplier: u32,
    },
    /// Matches have another action once there were more than so many, for so many seconds.
    Rate {
        /// The other action.
        action: Action,
        /// How long it is taken, in seconds.
        timeout: u32,
    },
}

/// What a filter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unique {
    /// Matches.
    Matches,
    /// Different source ports.
    SourcePorts,
    /// Different destination ports.
    DestinationPorts,
}

/// What matches are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Track {
    Source,
    Destination,
    Both,
    Rule,
    Flow,
}

impl Track {
    pub(super) fn read(word: &str) -> Option<Track> {
        Some(match word {
            "by_src" => Track::Source,
            "by_dst" => Track::Destination,
            "by_both" => Track::Both,
            "by_rule" => Track::Rule,
            "by_flow" => Track::Flow,
            _ => return None,
        })
    }
}

/// A rule's threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Threshold {
    pub(super) method: Method,
    pub(super) track: Track,
    /// Above zero.
    pub(super) count: u32,
    /// How long a window lasts.
    pub(super) seconds: u32,
}

impl Threshold {
    /// Reads `threshold` or `detection_filter`.
    pub(in super::super) fn read(option: &RuleOption) -> Result<Threshold, Refused> {
        let value = Value::of(option)?;
        let form = if option.name == "detection_filter" { Form::Filter } else { Form::Threshold };
        read(&value.words(), form).map_err(|(at, reason)| value.refused(at, reason))
    }

    /// Whether only packets with ports are counted as meant: Suricata asks that the rule's protocol is TCP, UDP
    /// or SCTP, and not `ip`.
    pub(in super::super) fn needs_ports(&self) -> bool {
        matches!(self.method, Method::Filter(Unique::SourcePorts | Unique::DestinationPorts))
    }
}

/// Where the words stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Threshold,
    Filter,
    Rate,
}

/// Reads `name value` pairs in any order.
pub(super) fn read(words: &[Word<'_>], form: Form) -> Result<Threshold, (usize, String)> {
    let mut parts = Parts::default();
    for word in words {
        let (name, value) = word.name_and_value();
        let Some(value) = value.filter(|value| !value.text.is_empty()) else {
            return Err((word.at, format!("expected a name and a value, not `{}`", word.shown())));
        };
        if !parts.take(name.text, value, form)? {
            return Err((word.at, format!("`{}` stands twice, or is not known here", name.shown())));
        }
    }
    parts.threshold(form).map_err(|reason| (words.first().map_or(0, |word| word.at), reason))
}

#[derive(Default)]
struct Parts<'a> {
    kind: Option<Word<'a>>,
    track: Option<(Track, usize)>,
    count: Option<u32>,
    seconds: Option<u32>,
    multiplier: Option<u32>,
    unique: Option<Unique>,
    action: Option<Action>,
    timeout: Option<u32>,
}

impl<'a> Parts<'a> {
    /// Takes up a pair; false when it has no place here.
    fn take(&mut self, name: &str, value: Word<'a>, form: Form) -> Result<bool, (usize, String)> {
        let wrong = |expected: &str| (value.at, format!("`{}`: expected {expected}", value.shown()));
        let number = |least: u32| {
            let read = value.text.parse::<u32>().ok().filter(|number| *number >= least);
            read.ok_or_else(|| wrong(&format!("a number of at least {least}")))
        };
        Ok(match (name, form) {
            ("type", Form::Threshold) => self.kind.replace(value).is_none(),
            ("track", _) => {
                let read = Track::read(value.text);
                let read =
                    read.ok_or_else(|| wrong("`by_src`, `by_dst`, `by_both`, `by_rule` or `by_flow`"))?;
                self.track.replace((read, value.at)).is_none()
            }
            ("count", _) => self.count.replace(number(1)?).is_none(),
            ("seconds", Form::Filter) => self.seconds.replace(number(1)?).is_none(),
            ("seconds", _) => self.seconds.replace(number(0)?).is_none(),
            ("multiplier", Form::Threshold) => self.multiplier.replace(number(1)?).is_none(),
            ("unique_on", Form::Filter) => {
                let read = match value.text {
                    "src_port" => Unique::SourcePorts,
                    "dst_port" => Unique::DestinationPorts,
                    _ => return Err(wrong("`src_port` or `dst_port`")),
                };
                self.unique.replace(read).is_none()
            }
            ("new_action", Form::Rate) => {
                let read = match value.text {
                    "alert" => Action::Alert,
                    "drop" => Action::Drop,
                    "reject" => Action::Reject,
                    "pass" => Action::Pass,
                    "log" | "sdrop" => {
                        return Err((
                            value.at,
                            format!("`{}` has no effect, in Suricata either", value.text),
                        ));
                    }
                    _ => return Err(wrong("`alert`, `drop`, `reject` or `pass`")),
                };
                self.action.replace(read).is_none()
            }
            ("timeout", Form::Rate) => self.timeout.replace(number(0)?).is_none(),
            _ => false,
        })
    }

    fn threshold(self, form: Form) -> Result<Threshold, String> {
        let (Some((track, _)), Some(count)) = (self.track, self.count) else {
            return Err("expected `track` and `count`".into());
        };
        let method = match (form, self.kind.map(|kind| kind.text)) {
            (Form::Filter, _) => Method::Filter(self.unique.unwrap_or(Unique::Matches)),
            (Form::Rate, _) => match (self.action, self.timeout) {
                (Some(action), Some(timeout)) => Method::Rate { action, timeout },
                _ => return Err("expected `new_action` and `timeout`".into()),
            },
            (Form::Threshold, Some("limit")) => Method::Limit,
            (Form::Threshold, Some("threshold")) => Method::Threshold,
            (Form::Threshold, Some("both")) => Method::Both,
            (Form::Threshold, Some("backoff")) => {
                let (Some(multiplier), None) = (self.multiplier, self.seconds) else {
                    return Err("`type backoff` takes `multiplier` and no `seconds`".into());
                };
                if track != Track::Flow {
                    return Err("`type backoff` is only for `track by_flow`".into());
                }
                return Ok(Threshold { method: Method::Backoff { multiplier }, track, count, seconds: 0 });
            }
            (Form::Threshold, _) => {
                return Err("expected `type` and `limit`, `threshold`, `both` or `backoff`".into());
            }
        };
        if self.multiplier.is_some() {
            return Err("`multiplier` is only for `type backoff`".into());
        }
        match self.seconds {
            Some(seconds) => Ok(Threshold { method, track, count, seconds }),
            None => Err("expected `seconds`".into()),
        }
    }
}

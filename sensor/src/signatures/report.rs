//! What signatures did and what they cost, for `status`, `rules top` and the summary.
//!
//! In: workers' engines. Out: counts of all together, and the rules whose evaluation took the most time.

use super::engine::{Cost, Engine, EngineCounters};
use super::rules::Built;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};

/// Most rules that are listed by their cost.
pub const TOP_RULES_MAX: usize = 100;

/// What a rule cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleCost {
    /// `gid`.
    pub gid: u32,
    /// `sid`.
    pub sid: u32,
    /// `msg`.
    pub message: String,
    /// How often, and how long.
    #[serde(flatten)]
    pub cost: Cost,
}

/// Most rules that are named because they cannot fire.
const SILENT_NAMED_MAX: usize = 100;

/// Rules that were loaded and are not looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NotRun {
    /// Rules that are wrong or cannot run.
    pub rules_refused: u64,
    /// Rules that are sound and cannot fire, because nothing here tells what they ask for.
    pub rules_silent: u64,
    /// Rules for another version of the language (`requires`).
    pub rules_set_aside: u64,
    /// The first 100 of those that cannot fire, and why.
    pub silent: Vec<String>,
}

impl NotRun {
    /// Of rules of which so many could not be read.
    pub fn of(built: &Built, wrong: usize) -> NotRun {
        NotRun {
            rules_refused: (wrong + built.problems.len()) as u64,
            rules_silent: built.silent.len() as u64,
            rules_set_aside: built.set_aside.len() as u64,
            silent: built.silent.iter().take(SILENT_NAMED_MAX).map(|rule| rule.reason.clone()).collect(),
        }
    }
}

impl SignaturesStatus {
    /// The same with the rules that are not looked for; none where there are no rules at all.
    pub fn with(status: Option<SignaturesStatus>, not_run: &NotRun) -> Option<SignaturesStatus> {
        let has_rules = status.is_some() || *not_run != NotRun::default();
        has_rules.then(|| SignaturesStatus { not_run: not_run.clone(), ..status.unwrap_or_default() })
    }
}

/// What signatures did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SignaturesStatus {
    /// Rules that are looked for.
    pub rules: u64,
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub not_run: NotRun,
    /// What searches for many patterns at once.
    pub matcher: &'static str,
    /// How often rules were loaded anew.
    pub reloads: u64,
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub counters: EngineCounters,
    /// Rules that are set aside until rules are loaded anew, because they cost so much that packets were lost
    /// (`signatures.set_aside_percent`).
    pub too_costly: Vec<RuleCost>,
    /// The rules that cost most, first of all.
    pub top: Vec<RuleCost>,
}

/// Where a worker shows what its signatures did.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<Mutex<SignaturesStatus>>);

impl Shown {
    /// Shows what an engine did so far.
    pub fn set(&self, engine: &Engine, reloads: u64) {
        let top = top_of(engine);
        let too_costly = described(engine, engine.too_costly().iter().copied());
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.rules = engine.rules().len() as u64;
        shown.matcher = super::library();
        shown.counters = engine.counters();
        (shown.reloads, shown.top, shown.too_costly) = (reloads, top, too_costly);
    }

    /// What it showed last.
    pub fn get(&self) -> SignaturesStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What all workers did together.
pub fn total<'s>(shown: impl Iterator<Item = &'s Shown>) -> SignaturesStatus {
    let mut all = SignaturesStatus::default();
    for status in shown.map(Shown::get) {
        all.rules = all.rules.max(status.rules);
        all.reloads = all.reloads.max(status.reloads);
        all.matcher = status.matcher;
        all.counters.add(&status.counters);
        join(&mut all.top, status.top);
        join(&mut all.too_costly, status.too_costly);
    }
    all.top.sort_by_key(|rule| std::cmp::Reverse(rule.cost.nanos));
    all.top.truncate(TOP_RULES_MAX);
    all
}

/// Adds what other workers' rules cost to those that are known.
fn join(all: &mut Vec<RuleCost>, rules: Vec<RuleCost>) {
    for rule in rules {
        match all.iter_mut().find(|known| (known.gid, known.sid) == (rule.gid, rule.sid)) {
            Some(known) => known.cost.add(&rule.cost),
            None => all.push(rule),
        }
    }
}

fn top_of(engine: &Engine) -> Vec<RuleCost> {
    let asked = engine.costs().iter().enumerate().filter(|(_, cost)| cost.checks > 0);
    let mut top: Vec<(usize, &Cost)> = asked.collect();
    top.sort_unstable_by_key(|(_, cost)| std::cmp::Reverse((cost.nanos, cost.checks)));
    top.truncate(TOP_RULES_MAX);
    described(engine, top.into_iter().map(|(number, _)| number as u32))
}

fn described(engine: &Engine, signatures: impl Iterator<Item = u32>) -> Vec<RuleCost> {
    let described = signatures.filter_map(|number| {
        let about = engine.rules().description(number)?;
        let cost = engine.costs().get(number as usize).copied().unwrap_or_default();
        Some(RuleCost { gid: about.gid, sid: about.sid, message: about.message.clone(), cost })
    });
    described.collect()
}

//! One session with the collector: what it says is taken, what it is to hear is said.
//!
//! In: the collector's messages, parts of evidence, what became of rules. Out: messages to the collector;
//! acknowledgements to export, rules to the main thread. One loop, which never waits for one thing only. A collector
//! that lies costs at most the session: what it says is verified where it can be, and bounded where it cannot.
//! Deliberately absent: how a connection comes about ([`super`]), and whether an acknowledged position exists, which
//! export knows.

use super::evidence::{Evidence, Jobs};
use super::health::health;
use super::link::words;
use super::rules::{Receiving, Refused};
use super::{Candidate, Seams, Shown};
use crate::export::Acknowledged;
use crossbeam::channel::{Sender, TrySendError};
use std::collections::{BTreeMap, VecDeque};
use std::error::Error as _;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tonic::{Code, Status, Streaming};
use weir_common::control::messages::{
    FromCollector, FromCollectorMessage as Said, FromSensor, FromSensorMessage as Say, Hello, RenewRequest,
    Renewed, RulesOffer, RulesOutcome, RulesPart, RulesResult, Welcome,
};
use weir_common::control::{HEALTH_INTERVAL_S, capability, clock_ahead_ms, clock_words};
use weir_common::delivery::Position;

/// Most messages that wait to be sent.
const OUTBOX_MAX: usize = 64;
/// Parts of evidence between its threads and the session.
pub(super) const EVIDENCE_QUEUE: usize = 4;
/// Longest wait for the collector to end its side when this one has ended its own.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// Longest that the collector may not read while something waits for it.
const UNREAD_MAX: Duration = Duration::from_secs(30);
/// How often times are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Most spools that are acknowledged in one session: a sensor has one per destination.
const EPOCHS_MAX: usize = 64;
/// Pause after a renewal that was refused, or could not be kept.
const RENEWAL_PAUSE: Duration = Duration::from_secs(3600);

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The collector ended it, or the connection was lost; the collector's reason.
    Lost(String),
    /// The collector broke a rule of the protocol.
    Broken(String),
    /// The collector did not read.
    Unread,
    /// There is a new certificate, to be shown in a new session.
    Renewed,
    /// The sensor stops.
    Stopping,
}

impl End {
    pub(super) fn words(&self) -> String {
        match self {
            End::Lost(why) => why.clone(),
            End::Broken(what) => format!("the collector broke the protocol: {what}"),
            End::Unread => format!("the collector read nothing for {} s", UNREAD_MAX.as_secs()),
            End::Renewed => "there is a new certificate".into(),
            End::Stopping => "the sensor stops".into(),
        }
    }
}

/// What a session works with, over all of them.
pub(super) struct Session<'a> {
    seams: &'a Seams,
    shown: &'a Shown,
    evidence: Option<&'a Evidence>,
    parts: mpsc::Sender<FromSensor>,
    jobs: Jobs,
    outbox: VecDeque<FromSensor>,
    greeted: bool,
    /// Positions acknowledged, by epoch.
    acknowledged: BTreeMap<u64, u64>,
    /// Of these, what export has not taken yet.
    untold: BTreeMap<u64, u64>,
    receiving: Option<Receiving>,
    /// Rules that wait until those before them are loaded or refused; newer ones take their place.
    waiting: Option<Receiving>,
    outcomes: mpsc::Sender<RulesOutcome>,
    candidates: &'a Sender<Candidate>,
    requested: bool,
    renew_after: Instant,
    unread: Option<Instant>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        seams: &'a Seams,
        shown: &'a Shown,
        evidence: Option<&'a Evidence>,
        parts: mpsc::Sender<FromSensor>,
        outcomes: mpsc::Sender<RulesOutcome>,
        candidates: &'a Sender<Candidate>,
    ) -> Session<'a> {
        Session {
            seams,
            shown,
            evidence,
            parts,
            jobs: Jobs::default(),
            outbox: VecDeque::new(),
            greeted: false,
            acknowledged: BTreeMap::new(),
            untold: BTreeMap::new(),
            receiving: None,
            waiting: None,
            outcomes,
            candidates,
            requested: false,
            renew_after: Instant::now(),
            unread: None,
        }
    }

    /// What the sensor says first.
    pub(super) fn hello(&self) -> FromSensor {
        let mut capabilities = vec![capability::ACKNOWLEDGEMENTS, capability::RENEWAL];
        if self.evidence.is_some() {
            capabilities.extend([capability::EVIDENCE, capability::EVIDENCE_PIN]);
        }
        if self.seams.rules.is_some() {
            capabilities.push(capability::RULES);
        }
        Say::Hello(Hello {
            version: env!("CARGO_PKG_VERSION").into(),
            sensor: self.seams.name.clone(),
            capabilities: capabilities.into_iter().map(str::to_owned).collect(),
            clock_ns: (self.seams.now)().0,
            rules_version: self.rules_version(),
        })
        .into()
    }

    fn rules_version(&self) -> u64 {
        self.seams.rules.as_ref().map_or(0, |kept| kept.version())
    }

    /// Runs until either side ends it. What this side ends by intention is ended in order, so that the collector does not
    /// take it for a line that failed.
    pub(super) async fn run(
        &mut self,
        mut from: Streaming<FromCollector>,
        to: mpsc::Sender<FromSensor>,
        parts: &mut mpsc::Receiver<FromSensor>,
        outcomes: &mut mpsc::Receiver<RulesOutcome>,
        stop: &mut watch::Receiver<bool>,
    ) -> End {
        let end = self.turns(&mut from, &to, parts, outcomes, stop).await;
        if matches!(end, End::Renewed | End::Stopping) {
            drop(to);
            let rest = async { while let Ok(Some(_)) = from.message().await {} };
            // A collector that does not end its side is left.
            let _ = tokio::time::timeout(CLOSE_MAX, rest).await;
        }
        end
    }

    async fn turns(
        &mut self,
        from: &mut Streaming<FromCollector>,
        to: &mpsc::Sender<FromSensor>,
        parts: &mut mpsc::Receiver<FromSensor>,
        outcomes: &mut mpsc::Receiver<RulesOutcome>,
        stop: &mut watch::Receiver<bool>,
    ) -> End {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut well = tokio::time::interval(Duration::from_secs(HEALTH_INTERVAL_S));
        well.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let waits = !self.outbox.is_empty();
            if waits {
                self.unread.get_or_insert_with(Instant::now);
            }
            let room = self.outbox.len() < OUTBOX_MAX;
            let outcome = tokio::select! {
                // In this order: what is to be sent has its turn before more is made, signs of life among it.
                biased;
                _ = stop.changed() => Err(End::Stopping),
                permit = to.reserve(), if waits => match permit {
                    Ok(permit) => {
                        self.unread = None;
                        if let Some(message) = self.outbox.pop_front() {
                            permit.send(message);
                        }
                        Ok(())
                    }
                    Err(_) => Err(End::Lost("the connection was lost".into())),
                },
                _ = tick.tick() => self.tick(),
                _ = well.tick(), if room => {
                    let health = health(&(self.seams.status)(), (self.seams.now)(), self.rules_version());
                    self.say(Say::Health(health));
                    Ok(())
                }
                message = from.message() => match message {
                    Ok(Some(message)) => self.take(message),
                    Ok(None) => Err(End::Lost("the collector ended the connection".into())),
                    Err(status) => Err(lost(&status)),
                },
                outcome = outcomes.recv(), if room => {
                    if let Some(outcome) = outcome {
                        self.say(Say::RulesOutcome(outcome));
                    }
                    Ok(())
                }
                part = parts.recv(), if self.outbox.len() < EVIDENCE_QUEUE => {
                    if let Some(part) = part {
                        if let Some(Say::EvidenceEnd(end)) = &part.message {
                            self.jobs.end(end.id);
                        }
                        self.outbox.push_back(part);
                    }
                    Ok(())
                }
            };
            if let Err(end) = outcome {
                return end;
            }
        }
    }

    fn say(&mut self, message: Say) {
        self.outbox.push_back(message.into());
    }

    fn tick(&mut self) -> Result<(), End> {
        if self.unread.is_some_and(|since| since.elapsed() > UNREAD_MAX) {
            return Err(End::Unread);
        }
        self.jobs.tick(std::time::Instant::now());
        self.tell_export();
        self.hand_over();
        if self.greeted
            && !self.requested
            && Instant::now() >= self.renew_after
            && let Some(csr_pem) = self.seams.paired.renewal((self.seams.now)())
        {
            self.requested = true;
            self.say(Say::Renew(RenewRequest { csr_pem }));
        }
        Ok(())
    }

    fn take(&mut self, message: FromCollector) -> Result<(), End> {
        // What answers the collector's requests waits here; one that asks and does not read is asked to leave.
        if self.outbox.len() >= OUTBOX_MAX {
            return Err(End::Broken("more requests than answers it takes".into()));
        }
        // A kind that this version does not know is passed over.
        let Some(message) = message.message else { return Ok(()) };
        match message {
            Said::Welcome(welcome) => self.welcome(&welcome),
            Said::Acknowledged(said) => {
                return self.acknowledge(Position { epoch: said.epoch, sequence: said.sequence });
            }
            Said::Evidence(request) => {
                let refused = match self.evidence {
                    Some(evidence) => evidence.begin(request, &mut self.jobs, self.parts.clone()).err(),
                    None => Some(super::evidence::not_served(request.id)),
                };
                self.outbox.extend(refused.map(|end| Say::EvidenceEnd(end).into()));
            }
            Said::EvidenceMore(more) => self.jobs.more(more.id, more.parts),
            Said::EvidenceCancel(cancel) => self.jobs.end(cancel.id),
            Said::RulesOffer(offer) => self.offered(&offer),
            Said::RulesPart(part) => self.rules_part(&part),
            Said::Renewed(renewed) => return self.renewed(&renewed),
        }
        Ok(())
    }

    fn welcome(&mut self, welcome: &Welcome) {
        self.greeted = true;
        let ahead_ms = clock_ahead_ms((self.seams.now)().0, welcome.clock_ns);
        if let Some(words) = clock_words(ahead_ms, "the collector's") {
            tracing::warn!("{words}");
        }
        let version: String =
            welcome.version.chars().filter(|letter| !letter.is_control()).take(40).collect();
        self.shown.change(|status| {
            status.clock_ahead_ms = ahead_ms;
            status.collector_version = version;
        });
    }

    fn acknowledge(&mut self, position: Position) -> Result<(), End> {
        let Position { epoch, sequence } = position;
        if !self.acknowledged.contains_key(&epoch) && self.acknowledged.len() >= EPOCHS_MAX {
            return Err(End::Broken(format!("acknowledgements of more than {EPOCHS_MAX} spools")));
        }
        let before = self.acknowledged.entry(epoch).or_insert(0);
        if sequence < *before {
            self.shown.change(|status| status.acknowledgements_refused += 1);
            return Ok(());
        }
        *before = sequence;
        self.untold.insert(epoch, sequence);
        self.tell_export();
        self.shown
            .change(|status| (status.acknowledged_epoch, status.acknowledged_sequence) = (epoch, sequence));
        Ok(())
    }

    /// Hands acknowledgements on as far as export takes them; only the newest of each epoch waits.
    fn tell_export(&mut self) {
        let Some(acknowledged) = &self.seams.acknowledged else {
            self.untold.clear();
            return;
        };
        while let Some((epoch, sequence)) = self.untold.pop_first() {
            // Whose spool it is, its epoch says.
            let said = Acknowledged { destination: None, position: Position { epoch, sequence } };
            if let Err(TrySendError::Full(_)) = acknowledged.try_send(said) {
                self.untold.insert(epoch, sequence);
                return;
            }
        }
    }

    fn offered(&mut self, offer: &RulesOffer) {
        let Some(kept) = &self.seams.rules else { return };
        let verify = |bytes: &[u8], signature: &[u8]| self.seams.paired.verify(bytes, signature);
        match Receiving::begin(offer, kept.version(), &verify) {
            Ok(receiving) => {
                self.receiving = Some(receiving);
                if self.receiving.as_ref().is_some_and(Receiving::is_whole) {
                    // Without contents there is no part to wait for.
                    let version = self.receiving.as_ref().map_or(0, |receiving| receiving.manifest.version);
                    self.rules_part(&RulesPart { version, contents: Vec::new() });
                }
            }
            Err(why) => self.refuse(super::rules::offered_version(offer), &why),
        }
    }

    fn rules_part(&mut self, part: &RulesPart) {
        let Some(receiving) = &mut self.receiving else { return };
        let version = receiving.manifest.version;
        match receiving.take(part) {
            Ok(false) => {}
            Ok(true) => {
                self.waiting = self.receiving.take();
                self.hand_over();
            }
            Err(why) => {
                self.receiving = None;
                self.refuse(version, &why);
            }
        }
    }

    /// Writes the files in a thread, which then gives them to the main thread to load.
    fn hand_over(&mut self) {
        let Some(kept) = self.seams.rules.clone() else { return };
        if self.waiting.is_none() {
            return;
        }
        let Some(turn) = kept.turn() else { return };
        let Some(received) = self.waiting.take() else { return };
        let version = received.manifest.version;
        let in_force = kept.version();
        if version <= in_force {
            return self.refuse(version, &Refused::Stale { offered: version, in_force });
        }
        let (outcomes, candidates) = (self.outcomes.clone(), self.candidates.clone());
        tracing::info!(version, "the collector sent rules");
        tokio::task::spawn_blocking(move || {
            let refuse = |reason: String| {
                tracing::error!(version, "the collector's rules are not taken: {reason}");
                // Who asked for them is gone when this cannot be sent.
                let _ = outcomes.try_send(outcome(version, RulesResult::Refused, reason));
            };
            match kept.write(&received) {
                Ok(directory) => {
                    let outcomes = outcomes.clone();
                    let is_empty = received.manifest.files.is_empty();
                    let candidate = Candidate { version, directory, is_empty, kept, _turn: turn, outcomes };
                    // One turn, one candidate: there is room unless the sensor stops.
                    let _ = candidates.try_send(candidate);
                }
                Err(error) => refuse(format!("they cannot be written: {error}; see control.rules_directory")),
            }
        });
    }

    fn refuse(&mut self, version: u64, why: &Refused) {
        tracing::error!(version, "the collector's rules are refused: {why}");
        self.shown.change(|status| status.rules_refused += 1);
        self.say(Say::RulesOutcome(outcome(version, RulesResult::Refused, why.to_string())));
    }

    fn renewed(&mut self, renewed: &Renewed) -> Result<(), End> {
        if !std::mem::take(&mut self.requested) {
            return Err(End::Broken("a certificate that nobody asked for".into()));
        }
        let kept = match renewed.chain_pem.is_empty() {
            true => Err(renewed.refused.clone()),
            false => self.seams.paired.renewed(&renewed.chain_pem, &renewed.authority_pem),
        };
        match kept {
            Ok(()) => {
                tracing::info!("the certificate was renewed");
                Err(End::Renewed)
            }
            Err(why) => {
                tracing::error!("the certificate was not renewed: {why}; it is tried again in an hour");
                self.renew_after = Instant::now() + RENEWAL_PAUSE;
                Ok(())
            }
        }
    }
}

/// What is said of rules.
pub(super) fn outcome(version: u64, result: RulesResult, reason: String) -> RulesOutcome {
    RulesOutcome { version, result: result.into(), reason, ..RulesOutcome::default() }
}

/// What the end of the stream means.
pub(super) fn lost(status: &Status) -> End {
    match status.code() {
        Code::OutOfRange => End::Broken(status.message().to_owned()),
        // What the connection says, its causes behind it: the last is the one that a person can act upon.
        _ if let Some(cause) = status.source() => {
            let words = words(cause);
            match words.contains("received fatal alert") {
                true => End::Lost(format!(
                    "the collector does not take this sensor's certificate ({words}): `weir-collector sensors` there says why; pair the sensor again with a new token"
                )),
                false => End::Lost(format!("the connection was lost: {words}")),
            }
        }
        // The collector's own words, made harmless for a terminal.
        _ if !status.message().is_empty() => {
            let words = status.message().chars().filter(|letter| !letter.is_control()).take(300);
            End::Lost(words.collect())
        }
        code => End::Lost(code.description().to_owned()),
    }
}

//! One sensor's session: what it says is taken, what it is to hear is said.
//!
//! In: the sensor's messages, acknowledgements, rules, requests for packets. Out: the sensor's state, pieces of
//! packets to whoever asked, messages to the sensor. One loop, which never waits for one thing only: nothing that a
//! sensor does or leaves undone holds more than the queues named here, and each way of it ends the session by name.
//! Deliberately absent: TLS and HTTP/2 ([`super::server`]), whom to trust ([`super::authority`]).

use super::Shared;
use super::authority::Issued;
use super::counters::count;
use super::rules::Bundle;
use super::sensors::{Command, Piece, Seat, text};
use super::server::Peer;
use crate::ingest::clock;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};
use weir_common::control::messages::{
    Acknowledged, EvidenceCancel, EvidenceEnd, EvidenceMore, EvidenceOutcome, EvidencePart, EvidenceRequest,
    FromCollector, FromCollectorMessage as Say, FromSensor, FromSensorMessage as Said, Hello, RenewRequest,
    Renewed, RulesOutcome, RulesPart, RulesResult, Welcome,
};
use weir_common::control::{PART_BYTES, capability, clock_ahead_ms};
use weir_common::delivery::Position;

/// Most messages that wait to be sent, besides acknowledgements and rules, which wait as themselves.
const OUTBOX_MAX: usize = 256;
/// How often the session looks at the clock and at whether the sensor is still trusted.
const TICK: Duration = Duration::from_secs(1);
/// Most renewals of one session; a certificate lasts longer than any session needs more.
const RENEWALS_MAX: u32 = 4;

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    Lost(String),
    Silent,
    Unread,
    Broken(String),
    Revoked(String),
    Displaced,
    Stopping,
}

impl End {
    /// In words, for the log, `status` and the sensor.
    fn words(&self) -> String {
        match self {
            End::Closed => "the sensor ended the connection".into(),
            End::Lost(why) => format!("the connection was lost: {why}"),
            End::Silent => "nothing was heard of the sensor for too long".into(),
            End::Unread => "the sensor read nothing of what waits for it".into(),
            End::Broken(what) => format!("the sensor broke the protocol: {what}"),
            End::Revoked(why) => format!("the sensor's certificate is not taken any more: {why}"),
            End::Displaced => "the same sensor connected again".into(),
            End::Stopping => "the collector stops".into(),
        }
    }

    /// What the sensor is told.
    fn status(&self) -> Status {
        let code = match self {
            End::Closed | End::Lost(_) | End::Stopping => Code::Unavailable,
            End::Silent | End::Unread => Code::DeadlineExceeded,
            End::Broken(_) => Code::InvalidArgument,
            End::Revoked(_) => Code::PermissionDenied,
            End::Displaced => Code::Aborted,
        };
        Status::new(code, self.words())
    }
}

/// An answer that is awaited.
struct Asked {
    pieces: mpsc::Sender<Piece>,
    bytes_left: u64,
}

/// Rules on their way.
struct Sending {
    bundle: Arc<Bundle>,
    /// Where the next part begins; none: the offer itself is next.
    at: Option<usize>,
}

struct Session {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    seat: Seat,
    greeted: Option<Hello>,
    outbox: VecDeque<FromCollector>,
    /// Positions not said yet, by epoch.
    positions: BTreeMap<u64, u64>,
    /// Positions said, by epoch.
    acknowledged: HashMap<u64, u64>,
    sending: Option<Sending>,
    /// The rules that were offered last, so that a refusal is not answered by the same offer.
    offered: u64,
    asked: HashMap<u64, Asked>,
    renewals: u32,
    renewing: Option<JoinHandle<Result<Issued, String>>>,
    heard: Instant,
    /// Since when something waits that the sensor does not read.
    unread: Option<Instant>,
}

/// Runs until either side ends it.
pub(super) async fn converse(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    from: Streaming<FromSensor>,
    to: mpsc::Sender<Result<FromCollector, Status>>,
) {
    let now = clock();
    let seat = shared.sensors.begin(peer.name(), &peer.address.to_string(), now);
    count(&shared.counters.sessions);
    let mut session = Session {
        shared: Arc::clone(&shared),
        peer: Arc::clone(&peer),
        seat,
        greeted: None,
        outbox: VecDeque::new(),
        positions: BTreeMap::new(),
        acknowledged: HashMap::new(),
        sending: None,
        offered: 0,
        asked: HashMap::new(),
        renewals: 0,
        renewing: None,
        heard: Instant::now(),
        unread: None,
    };
    let end = session.run(from, &to).await;
    let counters = &shared.counters;
    match &end {
        End::Silent => count(&counters.sessions_silent),
        End::Unread => count(&counters.sessions_unread),
        End::Broken(_) => count(&counters.sessions_broken),
        End::Revoked(_) => count(&counters.sessions_revoked),
        End::Displaced => count(&counters.sessions_displaced),
        End::Closed | End::Lost(_) | End::Stopping => {}
    }
    match &end {
        End::Stopping => {}
        End::Closed => tracing::info!(sensor = peer.name(), "{}", end.words()),
        _ => tracing::warn!(sensor = peer.name(), "the control connection is over: {}", end.words()),
    }
    session.seat.leave(&end.words(), clock());
    // A queue that is full is one that is not read: then the end of the connection has to say it.
    let _ = to.try_send(Err(end.status()));
    drop(to);
    peer.end_soon().await;
}

impl Session {
    async fn run(
        &mut self,
        mut from: Streaming<FromSensor>,
        to: &mpsc::Sender<Result<FromCollector, Status>>,
    ) -> End {
        let shared = Arc::clone(&self.shared);
        let mut acknowledgements = shared.acknowledgements.clone();
        acknowledgements.mark_changed();
        let mut rules = shared.rules.subscribe();
        rules.mark_changed();
        let mut stop = shared.stop.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.say(Say::Welcome(Welcome {
            version: env!("CARGO_PKG_VERSION").into(),
            capabilities: [
                capability::ACKNOWLEDGEMENTS,
                capability::EVIDENCE,
                capability::RULES,
                capability::RENEWAL,
            ]
            .map(str::to_owned)
            .to_vec(),
            clock_ns: clock().0,
        }));
        loop {
            let waits = self.waits();
            if waits {
                self.unread.get_or_insert_with(Instant::now);
            }
            let room = self.outbox.len() < OUTBOX_MAX;
            let greeted = self.greeted.is_some();
            let outcome = tokio::select! {
                message = from.message() => match message {
                    Ok(Some(message)) => self.take(message),
                    Ok(None) => Err(End::Closed),
                    Err(status) if status.code() == Code::OutOfRange => Err(End::Broken(text(status.message()))),
                    Err(status) => Err(End::Lost(text(status.message()))),
                },
                permit = to.reserve(), if waits => match permit {
                    Ok(permit) => {
                        self.unread = None;
                        if let Some(message) = self.next() {
                            permit.send(Ok(message));
                        }
                        Ok(())
                    }
                    Err(_) => Err(End::Lost("its end of the stream is gone".into())),
                },
                command = self.seat.command(), if room && greeted => match command {
                    Some(command) => { self.command(command); Ok(()) }
                    None => Err(End::Displaced),
                },
                changed = acknowledgements.changed(), if greeted => match changed {
                    Ok(()) => {
                        let said = acknowledgements.borrow_and_update().get(self.peer.name()).cloned().unwrap_or_default();
                        self.acknowledge(said);
                        Ok(())
                    }
                    Err(_) => Err(End::Stopping),
                },
                changed = rules.changed(), if greeted => match changed {
                    Ok(()) => { let bundle = rules.borrow_and_update().clone(); self.offer(bundle); Ok(()) }
                    Err(_) => Err(End::Stopping),
                },
                renewed = done(&mut self.renewing) => {
                    self.renewing = None;
                    self.renewed(renewed);
                    Ok(())
                }
                _ = tick.tick() => self.tick(),
                _ = stop.changed() => Err(End::Stopping),
            };
            if let Err(end) = outcome {
                return end;
            }
        }
    }

    fn tick(&mut self) -> Result<(), End> {
        if self.heard.elapsed() > self.shared.patience.silent {
            return Err(End::Silent);
        }
        if self.unread.is_some_and(|since| since.elapsed() > self.shared.patience.unread) {
            return Err(End::Unread);
        }
        if !self.seat.holds() {
            return Err(End::Displaced);
        }
        self.peer.still_trusted(clock()).map_err(End::Revoked)?;
        let gone: Vec<u64> =
            self.asked.iter().filter(|(_, asked)| asked.pieces.is_closed()).map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|id| self.cancel(id));
        Ok(())
    }

    fn say(&mut self, message: Say) {
        self.outbox.push_back(message.into());
    }

    fn waits(&self) -> bool {
        !self.outbox.is_empty() || !self.positions.is_empty() || self.sending.is_some()
    }

    /// The next message to send: answers first, then acknowledgements, then rules, which are many.
    fn next(&mut self) -> Option<FromCollector> {
        if let Some(message) = self.outbox.pop_front() {
            return Some(message);
        }
        if let Some((epoch, sequence)) = self.positions.pop_first() {
            self.acknowledged.insert(epoch, sequence);
            self.seat.update(|status| {
                status.acknowledged_epoch = epoch;
                status.acknowledged_sequence = sequence;
            });
            return Some(Say::Acknowledged(Acknowledged { epoch, sequence }).into());
        }
        let sending = self.sending.as_mut()?;
        let Some(at) = sending.at else {
            sending.at = Some(0);
            let offer = sending.bundle.offer.clone();
            if sending.bundle.contents.is_empty() {
                self.sending = None;
            }
            return Some(Say::RulesOffer(offer).into());
        };
        let rest = sending.bundle.contents.get(at..).unwrap_or_default();
        let contents = rest.get(..PART_BYTES).unwrap_or(rest).to_vec();
        let version = sending.bundle.version;
        sending.at = Some(at + contents.len());
        if contents.len() == rest.len() {
            self.sending = None;
        }
        Some(Say::RulesPart(RulesPart { version, contents }).into())
    }

    fn acknowledge(&mut self, said: Vec<Position>) {
        for Position { epoch, sequence } in said {
            // Zero says nothing, and a sensor that knows better would take it for a step back.
            if self.acknowledged.get(&epoch).copied().unwrap_or(0) < sequence {
                self.positions.insert(epoch, sequence);
            }
        }
    }

    fn offer(&mut self, bundle: Option<Arc<Bundle>>) {
        let Some((bundle, hello)) = bundle.zip(self.greeted.as_ref()) else { return };
        if !hello.capabilities.iter().any(|known| known == capability::RULES)
            || bundle.version == self.offered
        {
            return;
        }
        // Who never had any needs not be told that there are none.
        let never_had_any = hello.rules_version == 0 && self.offered == 0;
        if hello.rules_version == bundle.version || bundle.is_empty && never_had_any {
            return;
        }
        self.offered = bundle.version;
        self.sending = Some(Sending { bundle, at: None });
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Ask { request, pieces } => self.ask(request, pieces),
            Command::More { id } if self.asked.contains_key(&id) => {
                self.say(Say::EvidenceMore(EvidenceMore { id, parts: 1 }));
            }
            Command::More { .. } => {}
        }
    }

    fn ask(&mut self, mut request: EvidenceRequest, pieces: mpsc::Sender<Piece>) {
        let has_ring = |hello: &Hello| hello.capabilities.iter().any(|known| known == capability::EVIDENCE);
        let refused = if !self.greeted.as_ref().is_some_and(has_ring) {
            Some("the sensor keeps no packets: it has no ring")
        } else if self.asked.len() >= self.shared.config.evidence_requests_max as usize {
            Some(
                "the sensor has as many requests as control.evidence_requests_max allows; ask again when one is done",
            )
        } else {
            None
        };
        if let Some(why) = refused {
            count(&self.shared.counters.evidence_refused);
            end_with(&pieces, EvidenceOutcome::Refused, why.to_owned());
            return;
        }
        count(&self.shared.counters.evidence_requests);
        let bytes_max = u64::from(self.shared.config.evidence_mib_max) << 20;
        request.bytes_max = bytes_max;
        self.asked.insert(request.id, Asked { pieces, bytes_left: bytes_max });
        self.say(Say::Evidence(request));
    }

    /// Whoever asked is gone, or is to have no more.
    fn cancel(&mut self, id: u64) {
        self.asked.remove(&id);
        self.say(Say::EvidenceCancel(EvidenceCancel { id }));
    }

    fn take(&mut self, message: FromSensor) -> Result<(), End> {
        self.heard = Instant::now();
        let now = clock();
        let Some(message) = message.message else {
            count(&self.shared.counters.messages_unknown);
            return Ok(());
        };
        if self.greeted.is_none() && !matches!(message, Said::Hello(_)) {
            return Err(End::Broken("its first message is no greeting".into()));
        }
        self.seat.update(|status| status.heard = now.to_string());
        match message {
            Said::Hello(hello) if self.greeted.is_none() => self.greet(hello),
            Said::Hello(_) => return Err(End::Broken("it greeted twice".into())),
            Said::Health(health) => {
                let ahead = clock_ahead_ms(health.clock_ns, now.0);
                self.seat.update(|status| {
                    status.clock_ahead_ms = ahead;
                    status.take(health);
                });
            }
            Said::EvidencePart(part) => return self.part(part),
            Said::EvidenceEnd(end) => self.end(end),
            Said::RulesOutcome(outcome) => self.rules(&outcome),
            Said::Renew(request) => return self.renew(&request),
        }
        Ok(())
    }

    fn greet(&mut self, hello: Hello) {
        let ahead = clock_ahead_ms(hello.clock_ns, clock().0);
        self.seat.update(|status| {
            status.version = text(&hello.version);
            status.clock_ahead_ms = ahead;
            status.rules_version = hello.rules_version;
        });
        let name = self.peer.name();
        tracing::info!(
            sensor = name,
            address = %self.peer.address,
            version = text(&hello.version),
            "a sensor is connected"
        );
        if ahead.unsigned_abs() >= weir_common::control::CLOCK_DIFFERENCE_MAX_S * 1000 {
            tracing::warn!(
                sensor = name,
                "its clock is {} s {} ours; set both by NTP",
                ahead.unsigned_abs() / 1000,
                if ahead > 0 { "ahead of" } else { "behind" }
            );
        }
        if !hello.sensor.is_empty() && hello.sensor != name {
            tracing::warn!(
                sensor = name,
                "it calls itself `{}` in its records: set its `name` to `{name}`, or its packets and acknowledgements are not found",
                text(&hello.sensor)
            );
        }
        self.greeted = Some(hello);
    }

    fn part(&mut self, part: EvidencePart) -> Result<(), End> {
        let Some(asked) = self.asked.get_mut(&part.id) else {
            // What was under way when it was cancelled.
            count(&self.shared.counters.evidence_unasked);
            return Ok(());
        };
        let bytes = part.pcapng.len() as u64;
        if bytes > asked.bytes_left {
            end_with(
                &asked.pieces,
                EvidenceOutcome::Failed,
                "the sensor sent more than it was asked for".into(),
            );
            self.cancel(part.id);
            return Err(End::Broken("more packets than it was asked for".into()));
        }
        asked.bytes_left -= bytes;
        self.shared.counters.evidence_bytes.fetch_add(bytes, Ordering::Relaxed);
        match asked.pieces.try_send(Piece::Packets(part.pcapng)) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                self.cancel(part.id);
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.asked.remove(&part.id);
                Err(End::Broken("packets beyond the window it was given".into()))
            }
        }
    }

    fn end(&mut self, mut end: EvidenceEnd) {
        match self.asked.remove(&end.id) {
            Some(asked) => {
                end.statement.truncate(end.statement.floor_char_boundary(64 << 10));
                // Room for the end is kept beside the window; whoever asked may be gone.
                let _ = asked.pieces.try_send(Piece::End(end));
            }
            None => count(&self.shared.counters.evidence_unasked),
        }
    }

    fn rules(&mut self, outcome: &RulesOutcome) {
        let (name, version) = (self.peer.name(), outcome.version);
        let reason = text(&outcome.reason);
        let words = match RulesResult::try_from(outcome.result) {
            Ok(RulesResult::Loaded) => {
                count(&self.shared.counters.rules_loaded);
                tracing::info!(
                    sensor = name,
                    version,
                    rules = outcome.rules,
                    refused = outcome.rules_refused,
                    "the rules are in force"
                );
                match (outcome.rules, outcome.rules_refused) {
                    (rules, 0) => format!("loaded: {rules} rules are looked for"),
                    (rules, refused) => {
                        format!(
                            "loaded: {rules} rules are looked for, {refused} cannot be loaded, the first: {reason}"
                        )
                    }
                }
            }
            Ok(RulesResult::Refused) => {
                count(&self.shared.counters.rules_refused);
                tracing::warn!(sensor = name, version, "the rules were refused: {reason}");
                format!("refused: {reason}")
            }
            _ => format!("an outcome that this version does not know: {reason}"),
        };
        let loaded = outcome.result == RulesResult::Loaded as i32;
        self.seat.update(|status| {
            status.rules = format!("{version} {words}");
            if loaded {
                status.rules_version = version;
            }
        });
        if self.sending.as_ref().is_some_and(|sending| sending.bundle.version == version) {
            // Refused before all of it was sent: the rest would only be dropped.
            self.sending = None;
        }
    }

    fn renew(&mut self, request: &RenewRequest) -> Result<(), End> {
        self.renewals += 1;
        if self.renewals > RENEWALS_MAX || self.renewing.is_some() {
            return Err(End::Broken(format!(
                "more than {RENEWALS_MAX} renewals in one session, or two at once"
            )));
        }
        let (authority, name) = (Arc::clone(&self.shared.authority), self.peer.name().to_owned());
        let csr_pem = request.csr_pem.clone();
        // It writes to the disk.
        self.renewing = Some(spawn_blocking(move || authority.renew(&name, &csr_pem, clock())));
        Ok(())
    }

    fn renewed(&mut self, renewed: Result<Issued, String>) {
        let counters = &self.shared.counters;
        count(if renewed.is_ok() { &counters.renewed } else { &counters.renewals_refused });
        let renewed = match renewed {
            Ok(issued) => {
                tracing::info!(sensor = self.peer.name(), "its certificate was renewed");
                Renewed {
                    chain_pem: issued.chain_pem,
                    authority_pem: issued.authority_pem,
                    refused: String::new(),
                }
            }
            Err(refused) => {
                tracing::warn!(sensor = self.peer.name(), "its certificate was not renewed: {refused}");
                Renewed { refused, ..Renewed::default() }
            }
        };
        self.say(Say::Renewed(renewed));
    }
}

/// What a renewal came to; never, when there is none.
async fn done(renewing: &mut Option<JoinHandle<Result<Issued, String>>>) -> Result<Issued, String> {
    match renewing {
        Some(renewing) => {
            renewing.await.unwrap_or_else(|_| Err("the collector failed; its log says why".into()))
        }
        None => std::future::pending().await,
    }
}

/// Ends an answer from this side.
fn end_with(pieces: &mpsc::Sender<Piece>, outcome: EvidenceOutcome, statement: String) {
    // Whoever asked may be gone.
    let _ = pieces.try_send(Piece::End(EvidenceEnd {
        outcome: outcome.into(),
        statement,
        ..EvidenceEnd::default()
    }));
}

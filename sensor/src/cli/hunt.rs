//! `weir-sensor hunt`: signatures over the packets of the ring.
//!
//! The rules' hosts, ports and protocols choose the blocks that are read, and the expression narrows them
//! further; all packets of a flow that can matter are among them, its handshake too, because nothing is
//! narrowed by payload. Alerts own standard output; everything else goes to standard error.
//!
//! Three things can be outside of a narrowed hunt, and `--whole` has them: packets behind MPLS or PPPoE,
//! which the index does not open; later IPv4 fragments whose block holds no packet with the rule's ports
//! (their datagrams are counted as incomplete); and with EXPR, whatever it leaves out.

use super::flows::Flows;
use super::{Failure, HuntArguments, Outcome, load, now, output_failure, ring_directory, ring_key, rules};
use crate::control;
use crate::hunt::position::{OVERLAP, Position};
use crate::hunt::{Hunt, need};
use crate::query::plan::Cost;
use crate::query::{Answer, Explanation, Query, QueryError};
use crate::ring::custody::Signer;
use crate::signatures::{Built, Engine, RuleNames, Rules, Surroundings};
use serde_json::json;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use weir_common::time::Timestamp;

/// How often the position is written while the hunt goes on.
const SAVE_INTERVAL: Duration = Duration::from_secs(5);
/// How often the line about progress is written.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Alerts are written when they are this many bytes, and at every save.
const WRITE_BYTES: usize = 64 << 10;

pub(super) fn hunt(arguments: &HuntArguments) -> Result<Outcome, Failure> {
    hunt_until(arguments, control::stop_on_signals().map_err(|error| Failure::System(error.into()))?)
}

fn hunt_until(arguments: &HuntArguments, stop: Arc<AtomicBool>) -> Result<Outcome, Failure> {
    let config = load(&arguments.config)?;
    let read = rules::read(&arguments.rules, &arguments.variables)?;
    rules::warn(&read.problems, "are wrong", &arguments.rules);
    if let Some(file) = &read.unreadable {
        return Err(Failure::Input(anyhow::anyhow!("{file}: not one rule in this file can be read")));
    }
    let question = question(arguments, read.hash);
    let loaded = read.rules.len() + read.problems.len();
    let wrong = read.problems.len();
    let built = Rules::build(read.rules, &mut RuleNames::default(), &Surroundings::default(), None);
    let Built { rules: compiled, problems: refused, silent, .. } = built;
    let engine = Engine::new(Arc::new(compiled));
    rules::warn(&refused, "cannot run in this version", &arguments.rules);
    rules::warn(&silent, "load and cannot fire", &arguments.rules);
    if engine.rules().is_empty() {
        return Err(Failure::Input(anyhow::anyhow!("none of {loaded} rules can run")));
    }
    let now = now();
    let mut query = query(arguments, &config, now)?;
    query.need = if arguments.whole { None } else { need::need_of(engine.rules()) };
    let position = resume(arguments, &question)?;
    let begin = match arguments.resume {
        Some(_) => until_covered(&mut query, now, &Flows::new(&config))?,
        None => Timestamp::MIN,
    };
    let from = position.as_ref().map(|position| position.time);
    if let Some(time) = from {
        eprintln!("going on from {time}, reading from {} s before it", OVERLAP.as_secs());
        query.since = Some(query.since.unwrap_or(begin).max(time.minus(OVERLAP)));
        if query.until.is_some_and(|until| until <= time) {
            return nothing_new(&query, now, &Flows::new(&config));
        }
    }
    let explained = query.explain(now, &Flows::new(&config)).map_err(failure)?;
    eprintln!("{} of {loaded} rules can run; {}", engine.rules().len(), explained.cost);
    let is_by_ports = query.need.as_ref().is_some_and(need::is_by_ports);
    let narrowed_by_ports = is_by_ports && leaves_blocks_out(&query, &explained, now, &Flows::new(&config))?;
    let can_run = engine.rules().len();
    let mut run = Run {
        hunt: Hunt::new(&config, engine, position),
        out: output(arguments, from.is_some())?,
        lines: Vec::new(),
        question,
        resume: arguments.resume.as_deref(),
        reached: from,
        saved_at: Instant::now(),
        progress: Progress::new(arguments, &query, &explained),
        stop: Arc::clone(&stop),
        failure: None,
        is_stopped: false,
    };
    // Where nothing matches no frame comes by which the hunt could see it.
    query.reading.stop = Some(stop);
    let answer = query.run(now, &Flows::new(&config), &mut |found| run.frame(&found.frame));
    run.progress.clear();
    let answer = match answer {
        Ok(Answer { stopped: Some(stopped), .. }) => {
            run.is_stopped = true;
            run.reached = run.reached.max(Some(Timestamp(stopped.before.0.saturating_sub(1))));
            None
        }
        Ok(answer) => Some(answer),
        Err(_) if run.is_stopped => None,
        Err(error) => return Err(run.failure.take().unwrap_or_else(|| failure(error))),
    };
    if answer.is_some() {
        run.hunt.finish();
        // Everything up to the end of the range was looked at, whether or not there was a packet.
        run.reached = query.until.filter(|_| run.resume.is_some()).or(Some(run.hunt.now())).max(run.reached);
    }
    run.save()?;
    run.write(0)?;
    conclude(
        arguments,
        &run,
        answer.as_ref(),
        &explained.cost,
        (can_run, refused.len() + wrong),
        narrowed_by_ports,
    )
}

fn query(
    arguments: &HuntArguments,
    config: &crate::config::SensorConfig,
    now: Timestamp,
) -> Result<Query, Failure> {
    let time = |text: &Option<String>| {
        let parsed = text.as_deref().map(|text| Timestamp::parse(text, now)).transpose();
        parsed.map_err(|error| Failure::Input(error.into()))
    };
    let directory = ring_directory(arguments.ring.as_ref(), config)?;
    super::ring::must_be_ring(&directory)?;
    Ok(Query {
        directory,
        key: ring_key(config)?,
        since: time(&arguments.since)?,
        until: time(&arguments.until)?,
        signer: Signer::default(),
        expression: arguments.expression.join(" "),
        reads_bytes: true,
        ..Query::default()
    })
}

/// A hash of everything that decides which alerts there are. A range is part of it as it was written, so
/// that `--since '1d ago'` is the same question tomorrow.
fn question(arguments: &HuntArguments, rules: blake3::Hash) -> String {
    let asked = json!([
        rules.to_string(),
        arguments.expression.join(" "),
        arguments.since,
        arguments.until,
        arguments.whole,
        arguments.config.overrides,
    ]);
    blake3::hash(asked.to_string().as_bytes()).to_string()
}

/// The position to go on from, when there is one and the question is the same.
fn resume(arguments: &HuntArguments, question: &str) -> Result<Option<Position>, Failure> {
    let Some(path) = &arguments.resume else { return Ok(None) };
    let read = Position::read(path)
        .map_err(|error| Failure::Input(anyhow::anyhow!("{}: {error}", path.display())))?;
    let same = read.filter(|position| {
        let is_same = position.question == question;
        if !is_same {
            eprintln!(
                "{}: rules, expression or range have changed since; this hunt begins anew",
                path.display()
            );
        }
        is_same
    });
    Ok(same)
}

/// A hunt that is to be gone on with ends where every lane of the ring is on disk: what another lane still
/// holds would lie before the position, and be passed over for ever. Gives the ring's begin.
fn until_covered(query: &mut Query, now: Timestamp, flows: &Flows) -> Result<Timestamp, Failure> {
    let open = Query { since: None, until: None, ..query.clone() };
    let completeness = open.explain(now, flows).map_err(failure)?.completeness;
    let covered = completeness.until;
    query.until = Some(query.until.map_or(covered, |until| until.min(covered)));
    if query.since.is_some() && query.since > query.until {
        query.since = query.until;
    }
    Ok(completeness.from)
}

/// Whether the rules keep blocks from being read that the expression and the range do not.
fn leaves_blocks_out(
    query: &Query,
    explained: &Explanation,
    now: Timestamp,
    flows: &Flows,
) -> Result<bool, Failure> {
    let whole = Query { need: None, ..query.clone() }.explain(now, flows).map_err(failure)?;
    Ok(explained.cost.blocks_to_read < whole.cost.blocks_to_read)
}

/// Everything that is on disk was looked at by the runs before.
fn nothing_new(query: &Query, now: Timestamp, flows: &Flows) -> Result<Outcome, Failure> {
    let range = Query { since: query.since.min(query.until), ..query.clone() };
    let completeness = range.explain(now, flows).map_err(failure)?.completeness;
    eprintln!("nothing new is there\n{completeness}");
    Ok(if completeness.complete { Outcome::Done } else { Outcome::Lost })
}

fn output(arguments: &HuntArguments, is_resumed: bool) -> Result<Box<dyn Write>, Failure> {
    match arguments.eve.as_deref() {
        None | Some("-") => Ok(Box::new(io::stdout().lock())),
        Some(path) => {
            let mut options = OpenOptions::new();
            options.create(true).write(true).append(is_resumed).truncate(!is_resumed);
            let file =
                options.open(path).map_err(|error| Failure::System(anyhow::anyhow!("{path}: {error}")))?;
            Ok(Box::new(file))
        }
    }
}

/// A hunt on its way through the ring.
struct Run<'a> {
    hunt: Hunt,
    out: Box<dyn Write>,
    lines: Vec<u8>,
    question: String,
    resume: Option<&'a Path>,
    /// Everything up to and with this time was looked at.
    reached: Option<Timestamp>,
    saved_at: Instant,
    progress: Progress,
    stop: Arc<AtomicBool>,
    /// Why the hunt ended early, where it was not the query that failed.
    failure: Option<Failure>,
    is_stopped: bool,
}

impl Run<'_> {
    fn frame(&mut self, frame: &crate::capture::Frame<'_>) -> io::Result<()> {
        // Between two times a hunt can stop or be saved; among frames of the same time it cannot.
        if frame.time > self.hunt.now() {
            self.between().map_err(|failure| {
                self.failure = Some(failure);
                io::Error::from(io::ErrorKind::Other)
            })?;
            if self.stop.load(Ordering::Relaxed) {
                self.is_stopped = true;
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        self.hunt.frame(frame);
        Ok(())
    }

    fn between(&mut self) -> Result<(), Failure> {
        let done = self.hunt.now();
        if done > Timestamp::MIN {
            self.reached = self.reached.max(Some(done));
        }
        self.write(WRITE_BYTES)?;
        // A clock is asked for once in a while only.
        if !self.hunt.counters().frames.is_multiple_of(256) {
            return Ok(());
        }
        if self.progress.is_due() {
            self.write(0)?;
            self.progress.show(&self.hunt);
        }
        if self.resume.is_some() && self.saved_at.elapsed() >= SAVE_INTERVAL {
            self.saved_at = Instant::now();
            self.save()?;
        }
        Ok(())
    }

    /// Writes the alerts, when there are at least so many bytes.
    fn write(&mut self, bytes: usize) -> Result<(), Failure> {
        if self.hunt.lines_len() <= bytes {
            return Ok(());
        }
        self.hunt.take_lines(&mut self.lines);
        self.out.write_all(&self.lines).and_then(|()| self.out.flush()).map_err(output_failure)
    }

    /// Keeps the position, after the alerts up to it: a crash between the two tells some twice, none never.
    fn save(&mut self) -> Result<(), Failure> {
        self.write(0)?;
        let (Some(path), Some(reached)) = (self.resume, self.reached) else { return Ok(()) };
        let position = self.hunt.position(&self.question, reached);
        position.write(path).map_err(|error| Failure::System(anyhow::anyhow!("{}: {error}", path.display())))
    }
}

/// A line about how far the hunt is, and how long it may take.
struct Progress {
    is_shown: bool,
    is_terminal: bool,
    begun: Instant,
    shown: Instant,
    from: Timestamp,
    until: Timestamp,
}

impl Progress {
    fn new(arguments: &HuntArguments, query: &Query, explained: &Explanation) -> Progress {
        let is_terminal = io::stderr().is_terminal();
        Progress {
            is_shown: is_terminal || arguments.progress,
            is_terminal,
            begun: Instant::now(),
            shown: Instant::now(),
            from: explained.completeness.from,
            until: query.until.unwrap_or(explained.completeness.until).min(explained.completeness.until),
        }
    }

    fn is_due(&self) -> bool {
        self.is_shown && self.shown.elapsed() >= PROGRESS_INTERVAL
    }

    /// How much of the time range is done. Time stands for bytes, which are not spread evenly over it.
    fn done(&self, now: Timestamp) -> f64 {
        let all = self.until.0.saturating_sub(self.from.0).max(1);
        (now.0.saturating_sub(self.from.0) as f64 / all as f64).clamp(0.0, 1.0)
    }

    fn show(&mut self, hunt: &Hunt) {
        self.shown = Instant::now();
        let done = self.done(hunt.now());
        let elapsed = self.begun.elapsed().as_secs_f64();
        let left = if done > 0.0 { elapsed * (1.0 - done) / done } else { 0.0 };
        let (counters, alerts) = (hunt.counters(), hunt.teller_counters().alerts);
        let rate = counters.frames as f64 / elapsed.max(0.001);
        let line = format!(
            "{:3.0} %  {} packets, {rate:.0} packets/s, {alerts} alerts, about {left:.0} s left",
            done * 100.0,
            counters.frames,
        );
        if self.is_terminal { eprint!("\r\x1b[K{line}") } else { eprintln!("{line}") }
    }

    fn clear(&self) {
        if self.is_terminal && self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}

/// What was lost on the way besides packets, in words.
fn losses(run: &Run<'_>, narrowed_by_ports: bool) -> Vec<String> {
    let (counters, engine, teller) =
        (run.hunt.counters(), run.hunt.engine_counters(), run.hunt.teller_counters());
    let incomplete = if narrowed_by_ports { counters.decode.fragments_expired } else { 0 };
    let all = [
        (engine.given_up, "searches were given up at their limit"),
        (teller.threshold_resets, "times the thresholds began anew because there were too many"),
        (counters.flow.ended_full, "flows were let go because the table was full"),
        (counters.dpi.memory_gaps, "gaps in streams because their memory was full"),
        (incomplete, "fragmented datagrams were not complete in the blocks read; --whole reads all blocks"),
    ];
    all.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
}

fn conclude(
    arguments: &HuntArguments,
    run: &Run<'_>,
    answer: Option<&Answer>,
    cost: &Cost,
    (can_run, refused): (usize, usize),
    narrowed_by_ports: bool,
) -> Result<Outcome, Failure> {
    let (counters, teller) = (run.hunt.counters(), run.hunt.teller_counters());
    let seconds = run.progress.begun.elapsed().as_secs_f64();
    let losses = losses(run, narrowed_by_ports);
    let cost = answer.map_or(cost, |answer| &answer.cost);
    let is_complete = answer.is_some_and(|answer| answer.completeness.complete);
    if arguments.json {
        let summary = json!({
            "rules": can_run + refused,
            "rules_run": can_run,
            "rules_cannot_run": refused,
            "packets": counters.packets,
            "frames": counters.frames,
            "bytes": counters.bytes,
            "alerts": teller.alerts,
            "suppressed_by_limit": teller.suppressed_by_limit,
            "suppressed_by_threshold": teller.suppressed_by_threshold,
            "blocks": cost.blocks,
            "blocks_to_read": cost.blocks_to_read,
            "seconds": seconds,
            "reached": run.reached.map(|time| time.to_string()),
            "is_stopped": run.is_stopped,
            "losses": losses,
            "completeness": answer.map(|answer| &answer.completeness),
        });
        eprintln!("{summary}");
    } else {
        eprintln!(
            "{can_run} rules run, {refused} cannot run; {} packets looked at in {seconds:.2} s; {} alerts; {} of {} blocks {}",
            counters.packets,
            teller.alerts,
            cost.blocks_to_read,
            cost.blocks,
            if run.is_stopped { "were to be read" } else { "read" },
        );
        for (count, why) in [
            (teller.suppressed_by_limit, "matches not told: the most per rule and flow"),
            (teller.suppressed_by_threshold, "matches not told: the rules' thresholds"),
        ] {
            if count > 0 {
                eprintln!("{count} {why}");
            }
        }
        losses.iter().for_each(|loss| eprintln!("{loss}"));
        if let Some(answer) = answer {
            answer.link_types_refused.iter().for_each(|link| {
                eprintln!("the expression does not apply to link type {link}; its frames were left out");
            });
            eprintln!("{}", answer.completeness);
        }
    }
    if run.is_stopped {
        let reached = run.reached.unwrap_or(run.hunt.now());
        let left = 100.0 * (1.0 - run.progress.done(reached));
        let how = match run.resume {
            Some(path) => format!("the same command with --resume {} goes on", path.display()),
            None => "without --resume there is nothing to go on from".into(),
        };
        eprintln!("stopped at {reached}: {left:.0} % of the time range is left; {how}");
    }
    Ok(if is_complete && losses.is_empty() { Outcome::Done } else { Outcome::Lost })
}

fn failure(error: QueryError) -> Failure {
    match error {
        QueryError::Output(error) => output_failure(error),
        QueryError::Ring { .. } => Failure::System(error.into()),
        _ => Failure::Input(error.into()),
    }
}

#[cfg(test)]
#[path = "hunt_tests.rs"]
mod tests;

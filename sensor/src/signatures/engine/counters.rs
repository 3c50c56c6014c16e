//! What an engine did, and what each signature cost it.

use serde::Serialize;

/// What an engine did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EngineCounters {
    /// Alerts told.
    pub alerts: u64,
    /// Signatures evaluated.
    pub evaluated: u64,
    /// Matches not told because their rule's threshold or a suppression says so.
    pub suppressed: u64,
    /// Alerts not told because a packet had [`PACKET_ALERTS_MAX`].
    pub alerts_over_limit: u64,
    /// Signatures not evaluated because a packet had [`PACKET_CANDIDATES_MAX`].
    pub candidates_over_limit: u64,
    /// Evaluations left out because their signature was set aside for what it cost.
    pub too_costly_left_out: u64,
    /// Flows in which a `pass` rule ended the search.
    pub passed_flows: u64,
    /// Searches given up at a limit of steps, bytes or backtracking; each may have missed a match.
    pub given_up: u64,
    /// Sides of transactions that were told of after their end, and not looked into again.
    pub sides_late: u64,
    /// Frames of streams that were not looked into because there were too many at once.
    pub frames_left_out: u64,
    /// Marks, counters and variables not kept because their flow, transaction or host had its most: what a rule
    /// remembers so, another may miss.
    pub marks_refused: u64,
    /// Transactions of which signatures forgot what they knew because their flow had too many at once.
    pub transactions_forgotten: u64,
    /// Values not added to a data set because it, or all together, had their most bytes.
    pub data_refused: u64,
    /// Searches for patterns that their library gave up: all signatures were evaluated instead.
    pub pattern_scans_failed: u64,
}

/// What a signature cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// How often it was evaluated.
    pub checks: u64,
    /// How often it matched.
    pub matches: u64,
    /// Time that its evaluations took, in nanoseconds, projected from those that were timed.
    pub nanos: u64,
}

impl EngineCounters {
    /// Adds another worker's.
    pub fn add(&mut self, other: &EngineCounters) {
        let EngineCounters {
            alerts,
            evaluated,
            suppressed,
            alerts_over_limit,
            candidates_over_limit,
            too_costly_left_out,
            passed_flows,
            given_up,
            sides_late,
            frames_left_out,
            marks_refused,
            transactions_forgotten,
            data_refused,
            pattern_scans_failed,
        } = other;
        self.alerts += alerts;
        self.evaluated += evaluated;
        self.suppressed += suppressed;
        self.alerts_over_limit += alerts_over_limit;
        self.candidates_over_limit += candidates_over_limit;
        self.too_costly_left_out += too_costly_left_out;
        self.passed_flows += passed_flows;
        self.given_up += given_up;
        self.sides_late += sides_late;
        self.frames_left_out += frames_left_out;
        self.marks_refused += marks_refused;
        self.transactions_forgotten += transactions_forgotten;
        self.data_refused += data_refused;
        self.pattern_scans_failed += pattern_scans_failed;
    }
}

impl Cost {
    /// Adds another worker's.
    pub fn add(&mut self, other: &Cost) {
        self.checks += other.checks;
        self.matches += other.matches;
        self.nanos += other.nanos;
    }
}

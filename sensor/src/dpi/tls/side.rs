//! Where one side's stream stands between two looks.
//!
//! In: how much was passed, what was missing. Out: what to read next and when it is worth looking.
//! Knows no message.

use super::record::Content;

/// What is still looked for on one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its hello.
    #[default]
    Hello,
    /// The server's certificate.
    Certificate,
    /// Nothing.
    Over,
}

/// Where one side's stream stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Side {
    pub(super) phase: Phase,
    /// Any bytes or a gap came.
    pub(super) begun: bool,
    /// There was a gap: what is no record may be in the middle of one.
    pub(super) gapped: bool,
    /// A record was found.
    pub(super) synchronised: bool,
    /// Its certificate was seen.
    pub(super) certified: bool,
    /// The records cannot be found any more.
    pub(super) lost: bool,
    /// A handshake message that is not whole was looked into already.
    pub(super) peeked: bool,
    /// The record that is being read; what it has left follows.
    pub(super) content: Option<Content>,
    pub(super) record_left: usize,
    /// Bytes left of a handshake message that is passed over.
    pub(super) message_left: usize,
    /// There is nothing new to see before so many bytes are offered.
    pub(super) wait_bytes: usize,
    /// Bytes offered last and not used.
    pub(super) pending_bytes: usize,
    /// Bytes of application data passed.
    pub(super) application_bytes: usize,
    /// Signatures were told of its version, or will be with its hello.
    pub(super) is_version_told: bool,
    /// Signatures were told that its hello and certificate are complete.
    pub(super) is_head_reached: bool,
}

/// What came of one look.
pub(super) enum Step {
    /// So many bytes are done with.
    Used(usize),
    /// Nothing can be done before so many bytes are there.
    Wait(usize),
}

impl Side {
    /// Goes on behind a gap, which also swallows what was offered before it and not used.
    pub(super) fn skip_gap(&mut self, missing: u64) {
        let missing = usize::try_from(missing).unwrap_or(usize::MAX).saturating_add(self.pending_bytes);
        (self.begun, self.gapped, self.wait_bytes, self.pending_bytes) = (true, true, 0, 0);
        if missing > self.record_left {
            // Perhaps a record begins behind the gap; if not, the side is given up.
            (self.content, self.record_left, self.message_left) = (None, 0, 0);
            return;
        }
        self.record_left -= missing;
        if self.content == Some(Content::Handshake) {
            // Where the next message begins is known only if the gap lies in one that is passed over.
            self.message_left = self.message_left.checked_sub(missing).unwrap_or(self.record_left);
        }
    }

    /// Passes over as much of the record as is there.
    pub(super) fn pass_record(&mut self, rest: &[u8]) -> usize {
        let passed = rest.len().min(self.record_left);
        self.record_left -= passed;
        if self.content == Some(Content::ApplicationData) {
            self.application_bytes = self.application_bytes.saturating_add(passed);
        }
        passed
    }

    pub(super) fn is_settled(&self) -> bool {
        self.lost || self.phase == Phase::Over
    }

    /// What contradicts the protocol is an error, unless it is explained by a gap or by a capture that
    /// began in the middle of a record; then the side is given up.
    pub(super) fn give_up(&mut self, rest: &[u8], reason: &'static str) -> Result<Step, &'static str> {
        if !self.gapped && self.synchronised {
            return Err(reason);
        }
        self.lost = true;
        Ok(Step::Used(rest.len()))
    }
}

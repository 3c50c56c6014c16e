//! Templates of UDP exporters, kept over a restart of the collector.
//!
//! In: messages as they come. Out: per exporter its last templates, as IPFIX messages, in one file per listening address
//! that is replaced as a whole; and at a start their bytes again. Over TCP each session sends its own; over UDP an
//! exporter repeats them seldom, and until then nothing that it sends could be read.
//!
//! **Limits.** [`TEMPLATES_MAX`] templates and [`BYTES_MAX`] octets over all exporters; what comes past them is used and
//! not kept. Templates older than the exporter's last ones are replaced; a withdrawn one is forgotten.

use crate::files;
use crate::ingest::counters::add;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use weir_common::ipfix::{
    MESSAGE_BYTES_MAX, MESSAGE_HEADER_BYTES, OPTIONS_TEMPLATE_SET, SET_HEADER_BYTES, TEMPLATE_ID_MIN,
    TEMPLATE_SET, VERSION,
};

/// Most templates kept, of all exporters together.
const TEMPLATES_MAX: usize = 65_536;
/// Most octets of them.
const BYTES_MAX: usize = 16 << 20;
/// What a file begins with.
const MAGIC: [u8; 8] = *b"WEIRTPL1";
/// Octets in the file before each template: exporter, domain, set, length.
const RECORD_HEAD_BYTES: usize = 16 + 4 + 2 + 2;

/// A template: exporter, observation domain and identifier.
type Key = (u128, u32, u16);

/// The templates of one listening address's exporters.
#[derive(Default)]
pub(super) struct Templates {
    path: PathBuf,
    kept: BTreeMap<Key, (u16, Vec<u8>)>,
    bytes: usize,
    is_changed: bool,
    is_failing: bool,
}

impl Templates {
    /// What was kept in a file; nothing when there is none or it cannot be read.
    pub(super) fn open(path: PathBuf) -> Templates {
        let mut templates = Templates { path, ..Templates::default() };
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            let most = (BYTES_MAX + TEMPLATES_MAX * RECORD_HEAD_BYTES + MAGIC.len()) as u64;
            File::open(&templates.path)?.take(most).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => templates.load(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("{}: {error}; templates are waited for", templates.path.display()),
        }
        templates
    }

    fn load(&mut self, bytes: &[u8]) {
        let Some(mut rest) = bytes.strip_prefix(&MAGIC) else { return };
        while let Some((head, after)) = rest.split_first_chunk::<RECORD_HEAD_BYTES>() {
            let number = |from: usize, to: usize| {
                head.get(from..to)
                    .unwrap_or_default()
                    .iter()
                    .fold(0u128, |sum, octet| sum << 8 | u128::from(*octet))
            };
            let length = number(22, 24) as usize;
            let Some(template) = after.get(..length) else { return };
            let id = template.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
            self.keep(
                (number(0, 16), number(16, 20) as u32, id),
                number(20, 22) as u16,
                template,
                &AtomicU64::new(0),
            );
            rest = after.get(length..).unwrap_or_default();
        }
        self.is_changed = false;
    }

    /// Messages that bring an exporter's templates back, one per template.
    pub(super) fn messages_of(&self, exporter: u128) -> impl Iterator<Item = Vec<u8>> + '_ {
        let range = (exporter, 0, 0)..=(exporter, u32::MAX, u16::MAX);
        self.kept.range(range).map(|((_, domain, _), (set, template))| message(*domain, *set, template))
    }

    /// Notes the templates of a message that was read without a fault.
    pub(super) fn note(&mut self, exporter: u128, message: &[u8], not_kept: &AtomicU64) {
        let domain = message
            .get(12..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |domain| u32::from_be_bytes(*domain));
        let mut rest = message.get(MESSAGE_HEADER_BYTES..).unwrap_or_default();
        while let &[id_high, id_low, length_high, length_low, ..] = rest {
            let set = u16::from_be_bytes([id_high, id_low]);
            let length = usize::from(u16::from_be_bytes([length_high, length_low]));
            let Some(body) = rest.get(SET_HEADER_BYTES..length) else { return };
            if set == TEMPLATE_SET || set == OPTIONS_TEMPLATE_SET {
                self.note_set(exporter, domain, set, body, not_kept);
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }

    fn note_set(&mut self, exporter: u128, domain: u32, set: u16, mut body: &[u8], not_kept: &AtomicU64) {
        while let Some(length) = template_bytes(set, body) {
            let Some(template) = body.get(..length) else { return };
            let &[id_high, id_low, count_high, count_low, ..] = template else { return };
            let id = u16::from_be_bytes([id_high, id_low]);
            let key = (exporter, domain, id);
            if [count_high, count_low] == [0, 0] {
                if let Some((_, old)) = self.kept.remove(&key) {
                    self.bytes -= old.len();
                    self.is_changed = true;
                }
            } else if id >= TEMPLATE_ID_MIN {
                self.keep(key, set, template, not_kept);
            }
            body = body.get(length..).unwrap_or_default();
        }
    }

    fn keep(&mut self, key: Key, set: u16, template: &[u8], not_kept: &AtomicU64) {
        let old = self.kept.get(&key);
        if old.is_some_and(|(kind, bytes)| *kind == set && bytes == template) {
            return;
        }
        let bytes = self.bytes - old.map_or(0, |(_, bytes)| bytes.len()) + template.len();
        if bytes > BYTES_MAX || (old.is_none() && self.kept.len() >= TEMPLATES_MAX) {
            add(not_kept, 1u64);
            return;
        }
        self.bytes = bytes;
        self.kept.insert(key, (set, template.to_owned()));
        self.is_changed = true;
    }

    /// Whether something is to be written.
    pub(super) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Writes the file. An error is said once; it is tried again.
    pub(super) fn save(&mut self) {
        let mut bytes = MAGIC.to_vec();
        for ((exporter, domain, _), (set, template)) in &self.kept {
            bytes.extend_from_slice(&exporter.to_be_bytes());
            bytes.extend_from_slice(&domain.to_be_bytes());
            bytes.extend_from_slice(&set.to_be_bytes());
            bytes.extend_from_slice(&u16::try_from(template.len()).unwrap_or(0).to_be_bytes());
            bytes.extend_from_slice(template);
        }
        match files::replace(&self.path, &bytes) {
            Ok(()) => (self.is_changed, self.is_failing) = (false, false),
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::error!("{}: {error}; templates do not survive a restart", self.path.display());
                }
            }
        }
    }
}

/// The name of the file for a listening address.
pub(super) fn file_of(state: &Path, address: &str) -> PathBuf {
    let name: String =
        address.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    state.join(format!("udp-templates-{name}"))
}

/// Octets of the template that a set's rest begins with; `None` at padding or where it is cut.
fn template_bytes(set: u16, body: &[u8]) -> Option<usize> {
    let &[id_high, id_low, count_high, count_low, ..] = body else { return None };
    let (id, count) = (u16::from_be_bytes([id_high, id_low]), u16::from_be_bytes([count_high, count_low]));
    if id == 0 {
        return None;
    }
    let mut at = if set == OPTIONS_TEMPLATE_SET && count > 0 { 6 } else { 4 };
    for _ in 0..count {
        let has_enterprise = body.get(at)? & 0x80 != 0;
        at += if has_enterprise { 8 } else { 4 };
    }
    (at <= body.len()).then_some(at)
}

/// A message of one template.
fn message(domain: u32, set: u16, template: &[u8]) -> Vec<u8> {
    let length = MESSAGE_HEADER_BYTES + SET_HEADER_BYTES + template.len();
    let mut message = Vec::with_capacity(length.min(MESSAGE_BYTES_MAX));
    let short = |length: usize| u16::try_from(length).unwrap_or(0).to_be_bytes();
    message.extend_from_slice(&VERSION.to_be_bytes());
    message.extend_from_slice(&short(length));
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&domain.to_be_bytes());
    message.extend_from_slice(&set.to_be_bytes());
    message.extend_from_slice(&short(SET_HEADER_BYTES + template.len()));
    message.extend_from_slice(template);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::config::IngestConfig;
    use crate::ingest::counters::IngestCounters;
    use crate::ingest::session::Session;
    use crate::ingest::testing::{Exporting, NOON, record};
    use std::sync::Arc;

    #[test]
    fn what_an_exporter_sends_is_read_after_a_restart_without_its_templates() {
        let directory = tempfile::tempdir().unwrap();
        let path = file_of(directory.path(), "[::1]:4739");
        let mut exporting = Exporting::new(7);
        let mut templates = Templates::open(path.clone());
        let not_kept = AtomicU64::new(0);
        for message in [exporting.templates(), exporting.name("edge-1")] {
            templates.note(5, &message, &not_kept);
        }
        assert!(templates.is_changed());
        templates.save();
        let templates = Templates::open(path);
        let counters = Arc::new(IngestCounters::default());
        let mut session = Session::new("::1".into(), &IngestConfig::default(), counters.clone());
        templates.messages_of(5).for_each(|message| session.learn(&message));
        exporting.records(&[record(1)]);
        session.message(&exporting.records(&[record(2)]), NOON).unwrap();
        assert_eq!(session.take().unwrap().records, [record(2)]);
        assert_eq!(counters.exporters()[0].missing, 0, "what came before the start is nobody's loss");
        assert_eq!(templates.messages_of(6).count(), 0);
    }

    #[test]
    fn a_file_of_any_bytes_and_a_message_cut_anywhere_are_outcomes() {
        let directory = tempfile::tempdir().unwrap();
        let path = file_of(directory.path(), "a");
        let not_kept = AtomicU64::new(0);
        let message = Exporting::new(7).templates();
        let mut templates = Templates::open(path.clone());
        for end in 0..message.len() {
            templates.note(1, &message[..end], &not_kept);
        }
        templates.note(1, &message, &not_kept);
        templates.save();
        let bytes = std::fs::read(&path).unwrap();
        for end in (0..bytes.len()).step_by(7) {
            std::fs::write(&path, &bytes[..end]).unwrap();
            let cut = Templates::open(path.clone());
            assert!(cut.kept.len() <= templates.kept.len());
        }
    }

    #[test]
    fn endless_templates_are_bounded_and_a_withdrawn_one_is_forgotten() {
        let not_kept = AtomicU64::new(0);
        let mut templates = Templates::default();
        let template = [1, 0, 0, 1, 0, 8, 0, 4];
        for exporter in 0..TEMPLATES_MAX as u128 + 3 {
            templates.note(exporter, &message(1, TEMPLATE_SET, &template), &not_kept);
        }
        assert_eq!((templates.kept.len(), not_kept.into_inner()), (TEMPLATES_MAX, 3));
        templates.note(0, &message(1, TEMPLATE_SET, &[1, 0, 0, 0]), &AtomicU64::new(0));
        assert_eq!(templates.kept.len(), TEMPLATES_MAX - 1);
    }
}

//! All sets, and a rule's test of one.
//!
//! In: rules' options as they are loaded, and the table that was there before. Out: a [`DataTable`] that
//! workers share, and a [`DataTest`] for each option. A set that no rule changes is read without a lock.
//! Names are compared without regard to case, as in Suricata; the first rule that names a set defines it,
//! and others have to agree.

use super::super::Refused;
use super::super::StateCounters;
use super::super::words::Value;
use super::load::{DataSettings, LeftOut, READ_BYTES_MAX, Reading, load, locate};
use super::option::{Command, DataOption, Format, datarep, dataset};
use super::values::{Added, DataType, MEMCAP_DEFAULT, Note, TOTAL_BYTES_MAX, Values};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use weir_common::rule::{Problem, RuleOption};

/// Most sets.
pub(in super::super::super) const SETS_MAX: usize = 1 << 12;

/// The sets that rules look values up in.
#[derive(Debug, Default)]
pub(in super::super::super) struct DataTable {
    sets: Vec<Set>,
    /// Bytes of all sets together.
    bytes: AtomicU64,
}

#[derive(Debug)]
struct Set {
    name: String,
    kind: DataType,
    most: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// No rule changes it.
    Fixed(Values),
    /// Rules change it; it is shared with the table before it, so that it goes on.
    Changing(Arc<RwLock<Values>>),
}

/// A rule's test of a buffer.
#[derive(Clone, Debug)]
pub(in super::super::super) struct DataTest {
    set: usize,
    command: Command,
    context_key: Option<Arc<str>>,
    matches_subdomains: bool,
}

impl DataTest {
    /// Whether the buffer passes; `set` and `unset` change the set with that, and pass when it is changed.
    /// A buffer that is empty never passes; one that is no value of the set's type is not in the set.
    pub(in super::super::super) fn passes(
        &self,
        table: &DataTable,
        buffer: &[u8],
        counters: &mut StateCounters,
    ) -> bool {
        let Some(set) = table.sets.get(self.set).filter(|_| !buffer.is_empty()) else { return false };
        if self.changes_set() {
            return self.change(table, set, buffer, counters);
        }
        set.look(buffer, self.matches_subdomains, |note| match (self.command, note) {
            (Command::IsSet, note) => note.is_some(),
            (Command::IsNotSet, note) => note.is_none(),
            (Command::Reputation(comparison, wanted), Some(Note::Reputation(have))) => {
                comparison.holds(*have, wanted)
            }
            (Command::Reputation(comparison, wanted), Some(_)) => comparison.holds(0, wanted),
            (Command::Reputation(..) | Command::Set | Command::Unset, _) => false,
        })
    }

    fn change(&self, table: &DataTable, set: &Set, buffer: &[u8], counters: &mut StateCounters) -> bool {
        let Content::Changing(values) = &set.content else { return false };
        let mut room = [0; 16];
        let Some(key) = set.kind.key(buffer, &mut room) else { return false };
        // Most values that are seen were seen before: those need no lock of their own.
        let is_there = values.read().unwrap_or_else(PoisonError::into_inner).get(key).is_some();
        if is_there == (self.command == Command::Set) {
            return false;
        }
        let mut values = values.write().unwrap_or_else(PoisonError::into_inner);
        let before = values.bytes();
        let is_changed = if self.command == Command::Unset {
            values.remove(key)
        } else {
            let others = table.bytes.load(Ordering::Relaxed).saturating_sub(before);
            let added = values.add(key, Note::None, set.most.min(TOTAL_BYTES_MAX.saturating_sub(others)));
            counters.data_refused += u64::from(added == Added::NoRoom);
            added == Added::New
        };
        let after = values.bytes();
        // A table that was there before may have added what is taken away here.
        let changed = |bytes: u64| Some(bytes.saturating_add(after).saturating_sub(before));
        let _ = table.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
        is_changed
    }

    /// Whether it is `set` or `unset`.
    pub(in super::super::super) fn changes_set(&self) -> bool {
        matches!(self.command, Command::Set | Command::Unset)
    }

    /// The key and JSON that an alert carries of a buffer that passed.
    pub(in super::super::super) fn context(
        &self,
        table: &DataTable,
        buffer: &[u8],
    ) -> Option<(Arc<str>, Arc<str>)> {
        let key = self.context_key.as_ref().filter(|_| self.command == Command::IsSet)?;
        table.sets.get(self.set)?.look(buffer, self.matches_subdomains, |note| match note? {
            Note::Json(json) => Some((Arc::clone(key), Arc::clone(json))),
            Note::None | Note::Reputation(_) => None,
        })
    }
}

impl Set {
    /// Looks a buffer up.
    fn look<T>(&self, buffer: &[u8], matches_subdomains: bool, then: impl FnOnce(Option<&Note>) -> T) -> T {
        let mut room = [0; 16];
        let Some(key) = self.kind.key(buffer, &mut room) else { return then(None) };
        let changing;
        let values = match &self.content {
            Content::Fixed(values) => values,
            Content::Changing(values) => {
                changing = values.read().unwrap_or_else(PoisonError::into_inner);
                &*changing
            }
        };
        then(if matches_subdomains { values.get_domain(key) } else { values.get(key) })
    }
}

impl Content {
    fn bytes(&self) -> u64 {
        match self {
            Content::Fixed(values) => values.bytes(),
            Content::Changing(values) => values.read().unwrap_or_else(PoisonError::into_inner).bytes(),
        }
    }
}

impl DataTable {
    /// How many sets there are, and how many values they hold.
    pub(in super::super::super) fn size(&self) -> (usize, usize) {
        let values = self.sets.iter().map(|set| match &set.content {
            Content::Fixed(values) => values.len(),
            Content::Changing(values) => values.read().unwrap_or_else(PoisonError::into_inner).len(),
        });
        (self.sets.len(), values.sum())
    }
}

/// Builds a table while rules are loaded.
#[derive(Debug)]
pub(in super::super::super) struct DataLoader<'p> {
    settings: DataSettings,
    previous: Option<&'p DataTable>,
    sets: Vec<Draft>,
    by_name: HashMap<String, usize>,
    bytes: u64,
    /// How many bytes of files may yet be read.
    bytes_left: u64,
    warnings: Vec<Problem>,
}

#[derive(Debug)]
struct Draft {
    set: Set,
    definition: Definition,
    /// A rule adds to it or takes away.
    is_changed: bool,
}

/// What rules that name a set have to agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Definition {
    load: Option<PathBuf>,
    save: Option<String>,
    format: Format,
    value_key: String,
    array_key: String,
    removes_key: bool,
}

impl<'p> DataLoader<'p> {
    /// A loader; what changes while it runs goes on from the table before.
    pub(in super::super::super) fn new(
        settings: DataSettings,
        previous: Option<&'p DataTable>,
    ) -> DataLoader<'p> {
        let (sets, by_name, warnings) = (Vec::new(), HashMap::new(), Vec::new());
        let bytes_left = READ_BYTES_MAX;
        DataLoader { settings, previous, sets, by_name, bytes: 0, bytes_left, warnings }
    }

    /// Takes up `dataset` or `datarep` of a rule in this file. Both stand behind a sticky buffer, which the
    /// engine sees to.
    pub(in super::super::super) fn option(
        &mut self,
        option: &RuleOption,
        file: &Arc<str>,
    ) -> Result<DataTest, Refused> {
        let value = Value::of(option)?;
        let read = if option.name == "datarep" { datarep(value)? } else { dataset(value)? };
        let set = self.set(value, &read, file)?;
        if let Some(draft) = self.sets.get_mut(set) {
            draft.is_changed |= matches!(read.command, Command::Set | Command::Unset);
            if read.matches_subdomains && draft.set.kind != DataType::String {
                return Err(value.refused(read.name.at, "`match subdomain` is only for `type string`"));
            }
        }
        Ok(DataTest {
            set,
            command: read.command,
            context_key: read.context_key.map(|key| key.text.into()),
            matches_subdomains: read.matches_subdomains,
        })
    }

    /// What else is to be told: what is not written, and what was left out of files.
    pub(in super::super::super) fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The table.
    pub(in super::super::super) fn finish(self) -> DataTable {
        let sets: Vec<Set> = self
            .sets
            .into_iter()
            .map(|Draft { mut set, is_changed, .. }| {
                if let (Content::Fixed(values), true) = (&mut set.content, is_changed) {
                    let values = std::mem::take(values);
                    set.content = Content::Changing(Arc::new(RwLock::new(values)));
                }
                set
            })
            .collect();
        DataTable { sets, bytes: AtomicU64::new(self.bytes) }
    }

    /// The place of the set that an option names, which it may define.
    fn set(&mut self, value: Value<'_>, read: &DataOption<'_>, file: &Arc<str>) -> Result<usize, Refused> {
        let refused = |reason: &str| value.refused(read.name.at, reason);
        let name = read.name.text.to_ascii_lowercase();
        let definition = self.definition(value, read, file)?;
        if let Some((at, draft)) = self.by_name.get(&name).and_then(|at| Some((*at, self.sets.get(*at)?))) {
            if read.kind.is_some_and(|kind| kind != draft.set.kind) {
                return Err(refused("another rule defines this set with another type"));
            }
            let says = read.load.is_some() || read.save.is_some() || read.state.is_some();
            if says && definition != draft.definition {
                return Err(refused("another rule defines this set with other files or keys"));
            }
            return Ok(at);
        }
        let Some(kind) = read.kind else {
            return Err(refused("no rule before this one defines the set: expected `type`"));
        };
        if self.sets.len() == SETS_MAX {
            return Err(refused(&format!("more than {SETS_MAX} sets")));
        }
        let most = read.memcap.unwrap_or(MEMCAP_DEFAULT);
        let is_static = definition.load.is_some() && definition.save.is_none();
        let continued = self.continued(&name, kind).filter(|_| !is_static);
        let (content, left_out) = match continued {
            Some(values) => (Content::Changing(values), LeftOut::default()),
            None => {
                let at = read.load.or(read.state).map_or(read.name.at, |path| path.at);
                let loaded = self.load(kind, &definition, most);
                let (values, left_out) = loaded.map_err(|reason| value.refused(at, reason))?;
                (Content::Fixed(values), left_out)
            }
        };
        let place = refused("").0;
        self.warn(
            &Problem { file: Arc::clone(file), place, reason: read.name.text.to_owned() },
            &definition,
            left_out,
        );
        self.bytes += content.bytes();
        let at = self.sets.len();
        let set = Set { name: name.clone(), kind, most, content };
        self.sets.push(Draft { set, definition, is_changed: false });
        self.by_name.insert(name, at);
        Ok(at)
    }

    /// What an option says of its set's files.
    fn definition(
        &self,
        value: Value<'_>,
        read: &DataOption<'_>,
        file: &Arc<str>,
    ) -> Result<Definition, Refused> {
        let directory = Path::new(&**file).parent().unwrap_or(Path::new(""));
        let load = read.load.map(|path| {
            let located = locate(path.text, directory, self.settings.allows_absolute);
            located.map_err(|reason| value.refused(path.at, reason))
        });
        let saved = read.save.or(read.state);
        let state =
            saved.map(|path| self.state_file(path.text).map_err(|reason| value.refused(path.at, reason)));
        let state = state.transpose()?.flatten().filter(|_| read.state.is_some());
        Ok(Definition {
            load: load.transpose()?.or(state),
            save: saved.map(|path| path.text.to_owned()),
            format: read.format,
            value_key: read.value_key.map_or(String::new(), |key| key.text.to_owned()),
            array_key: read.array_key.map_or(String::new(), |key| key.text.to_owned()),
            removes_key: read.removes_key,
        })
    }

    /// Reads a set's file, when it has one.
    fn load(
        &mut self,
        kind: DataType,
        definition: &Definition,
        most: u64,
    ) -> Result<(Values, LeftOut), String> {
        let Some(path) = definition.load.as_deref() else { return Ok(Default::default()) };
        let reading = Reading {
            kind,
            format: definition.format,
            value_key: &definition.value_key,
            array_key: &definition.array_key,
            removes_key: definition.removes_key,
            most: most.min(TOTAL_BYTES_MAX.saturating_sub(self.bytes)),
        };
        load(path, reading, &mut self.bytes_left)
    }

    /// Tells what a set does not do; `about` has its name and place.
    fn warn(&mut self, about: &Problem, definition: &Definition, left_out: LeftOut) {
        let name = &about.reason;
        let mut tell = |reason: String| self.warnings.push(Problem { reason, ..about.clone() });
        if definition.save.is_some() {
            tell(format!("the set `{name}` is kept in memory only: nothing is written"));
        }
        if left_out != LeftOut::default() {
            let LeftOut { lines, json } = left_out;
            tell(format!(
                "of the set `{name}` were left out: {lines} lines with too many fields, {json} values with too much JSON"
            ));
        }
    }

    /// The values that a set of this name had, when rules changed it.
    fn continued(&self, name: &str, kind: DataType) -> Option<Arc<RwLock<Values>>> {
        let set = self.previous?.sets.iter().find(|set| set.name == name && set.kind == kind)?;
        match &set.content {
            Content::Changing(values) => Some(Arc::clone(values)),
            Content::Fixed(_) => None,
        }
    }

    /// The file of `state`, when there is one.
    fn state_file(&self, path: &str) -> Result<Option<PathBuf>, String> {
        // Checked even where nothing is read: a rule that wants to write elsewhere is not harmless.
        let directory = self.settings.state_directory.as_deref();
        let file = locate(path, directory.unwrap_or(Path::new("")), self.settings.allows_absolute)?;
        Ok(directory.map(|_| file).filter(|file| file.is_file()))
    }
}

//! The values of `dataset` and `datarep`.
//!
//! In: the option's value. Out: which set it names, what it asks of it, and how the set is defined where it
//! is. Paths are not looked at here.

use super::super::Refused;
use super::super::flowint::Comparison;
use super::super::words::{Value, Word};
use super::values::DataType;

/// Longest name of a set, in bytes; Suricata's.
pub(super) const NAME_BYTES_MAX: usize = 63;
/// Longest key into JSON, in bytes; Suricata's.
pub(super) const KEY_BYTES_MAX: usize = 32;
/// Largest `hashsize`; Suricata's. Sets grow as they need to here, so that its value has no further effect.
const HASHSIZE_MAX: u64 = 65_536;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    IsSet,
    IsNotSet,
    Set,
    Unset,
    /// `datarep`: there, with a reputation.
    Reputation(Comparison, u16),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    #[default]
    Csv,
    Json,
    Ndjson,
}

/// An option as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DataOption<'a> {
    pub(super) command: Command,
    pub(super) name: Word<'a>,
    pub(super) kind: Option<DataType>,
    pub(super) load: Option<Word<'a>>,
    pub(super) save: Option<Word<'a>>,
    pub(super) state: Option<Word<'a>>,
    pub(super) memcap: Option<u64>,
    pub(super) format: Format,
    pub(super) value_key: Option<Word<'a>>,
    pub(super) array_key: Option<Word<'a>>,
    pub(super) context_key: Option<Word<'a>>,
    pub(super) removes_key: bool,
    pub(super) matches_subdomains: bool,
}

impl<'a> DataOption<'a> {
    fn new(command: Command, name: Word<'a>) -> DataOption<'a> {
        DataOption {
            command,
            name,
            kind: None,
            load: None,
            save: None,
            state: None,
            memcap: None,
            format: Format::Csv,
            value_key: None,
            array_key: None,
            context_key: None,
            removes_key: false,
            matches_subdomains: false,
        }
    }
}

/// Reads `dataset`: `command,name[,key value]...`.
pub(super) fn dataset<'a>(value: Value<'a>) -> Result<DataOption<'a>, Refused> {
    let words = value.words();
    let [command, name, rest @ ..] = words.as_slice() else {
        return Err(value.refused(0, "expected a command and a name"));
    };
    let read = match command.text {
        "isset" => Command::IsSet,
        "isnotset" => Command::IsNotSet,
        "set" => Command::Set,
        "unset" => Command::Unset,
        _ => {
            let reason = format!("`{}`: expected `isset`, `isnotset`, `set` or `unset`", command.shown());
            return Err(value.refused(command.at, reason));
        }
    };
    let mut option = DataOption::new(read, set_name(value, *name)?);
    let mut format_at = None;
    for word in rest.iter().filter(|word| !word.text.is_empty()) {
        let (key, setting) = word.name_and_value();
        if key.text == "remove_key" && setting.is_none() {
            option.removes_key = true;
            continue;
        }
        let Some(setting) = setting.filter(|setting| !setting.text.is_empty()) else {
            return Err(value.refused(word.at, format!("`{}` needs a value", word.shown())));
        };
        let is_first = match key.text {
            "save" => option.save.replace(setting).is_none(),
            "state" => option.state.replace(setting).is_none(),
            "format" => {
                option.format = match setting.text {
                    "csv" => Format::Csv,
                    "json" => Format::Json,
                    // Its name before Suricata 8 was out.
                    "ndjson" | "jsonline" => Format::Ndjson,
                    _ => return Err(value.refused(setting.at, "expected `csv`, `json` or `ndjson`")),
                };
                format_at.replace(setting.at).is_none()
            }
            "value_key" => option.value_key.replace(json_key(value, setting)?).is_none(),
            "array_key" => option.array_key.replace(json_key(value, setting)?).is_none(),
            "context_key" | "enrichment_key" => {
                option.context_key.replace(json_key(value, setting)?).is_none()
            }
            "match" => {
                option.matches_subdomains = match setting.text {
                    "exact" => false,
                    "subdomain" => true,
                    _ => return Err(value.refused(setting.at, "expected `exact` or `subdomain`")),
                };
                true
            }
            _ => common(value, &mut option, key, setting)?,
        };
        if !is_first {
            return Err(value.refused(word.at, format!("`{}` stands twice", key.text)));
        }
    }
    check(value, &option)?;
    Ok(option)
}

/// Reads `datarep`: `name,operator,value[,key value]...`.
pub(super) fn datarep<'a>(value: Value<'a>) -> Result<DataOption<'a>, Refused> {
    let words = value.words();
    let [name, operator, reputation, rest @ ..] = words.as_slice() else {
        return Err(value.refused(0, "expected `name,operator,value`"));
    };
    let comparison = match operator.text {
        ">" => Comparison::Greater,
        "<" => Comparison::Less,
        "==" => Comparison::Equal,
        _ => return Err(value.refused(operator.at, "expected `>`, `<` or `==`")),
    };
    let number = reputation.text.parse::<u16>();
    let number = number.map_err(|_| value.refused(reputation.at, "expected a number up to 65535"))?;
    let command = Command::Reputation(comparison, number);
    let mut option = DataOption::new(command, set_name(value, *name)?);
    for word in rest.iter().filter(|word| !word.text.is_empty()) {
        let (key, setting) = word.name_and_value();
        let Some(setting) = setting.filter(|setting| !setting.text.is_empty()) else {
            return Err(value.refused(word.at, format!("`{}` needs a value", word.shown())));
        };
        if !common(value, &mut option, key, setting)? {
            return Err(value.refused(word.at, format!("`{}` stands twice", key.text)));
        }
    }
    check(value, &option)?;
    Ok(option)
}

/// Takes up what both keywords have; false when it stands twice.
fn common<'a>(
    value: Value<'a>,
    option: &mut DataOption<'a>,
    key: Word<'a>,
    setting: Word<'a>,
) -> Result<bool, Refused> {
    Ok(match key.text {
        "type" => {
            let read = DataType::read(setting.text);
            let read = read.ok_or_else(|| {
                value.refused(setting.at, "expected `string`, `md5`, `sha256`, `ipv4` or `ip`")
            })?;
            option.kind.replace(read).is_none()
        }
        "load" => option.load.replace(setting).is_none(),
        "memcap" => {
            let read = size(setting.text);
            let read = read.ok_or_else(|| value.refused(setting.at, "expected a size such as `10mb`"))?;
            option.memcap.replace(read).is_none()
        }
        "hashsize" => {
            if !size(setting.text).is_some_and(|size| (1..=HASHSIZE_MAX).contains(&size)) {
                return Err(value.refused(setting.at, format!("expected 1 to {HASHSIZE_MAX}")));
            }
            true
        }
        _ => return Err(value.refused(key.at, format!("`{}` is not known", key.shown()))),
    })
}

/// What only the whole option shows.
fn check(value: Value<'_>, option: &DataOption<'_>) -> Result<(), Refused> {
    if let Some(state) = option.state
        && (option.load.is_some() || option.save.is_some())
    {
        return Err(value.refused(state.at, "`state` does not go with `load` and `save`"));
    }
    if option.load.is_some() && option.kind.is_none() {
        return Err(value.refused(option.name.at, "`load` needs `type`"));
    }
    let is_json = option.format != Format::Csv;
    if is_json {
        if matches!(option.command, Command::Set | Command::Unset) {
            return Err(value.refused(0, "JSON is only for `isset` and `isnotset`"));
        }
        if let Some(path) = option.save.or(option.state) {
            return Err(value.refused(path.at, "JSON is only loaded"));
        }
        if option.context_key.is_none() || option.value_key.is_none() {
            return Err(value.refused(option.name.at, "JSON needs `value_key` and `context_key`"));
        }
    }
    let of_json = [option.value_key, option.context_key, option.array_key];
    if let Some(key) = of_json.into_iter().flatten().next().filter(|_| !is_json) {
        return Err(value.refused(key.at, "only for `format json` and `format ndjson`"));
    }
    if let Some(key) = option.array_key.filter(|_| option.format == Format::Ndjson) {
        return Err(value.refused(key.at, "`array_key` is only for `format json`"));
    }
    if option.removes_key && !is_json {
        return Err(value.refused(option.name.at, "`remove_key` is only for JSON"));
    }
    let is_lookup = matches!(option.command, Command::IsSet | Command::IsNotSet);
    if option.matches_subdomains && !is_lookup {
        return Err(value.refused(option.name.at, "`match subdomain` is only for `isset` and `isnotset`"));
    }
    Ok(())
}

fn set_name<'a>(value: Value<'a>, name: Word<'a>) -> Result<Word<'a>, Refused> {
    if name.text.is_empty() || name.has_blank() {
        return Err(value.refused(name.at, "expected a name without blanks"));
    }
    if name.text.len() > NAME_BYTES_MAX {
        return Err(value.refused(name.at, format!("a name of more than {NAME_BYTES_MAX} bytes")));
    }
    Ok(name)
}

fn json_key<'a>(value: Value<'a>, key: Word<'a>) -> Result<Word<'a>, Refused> {
    if key.text.len() > KEY_BYTES_MAX {
        return Err(value.refused(key.at, format!("a key of more than {KEY_BYTES_MAX} bytes")));
    }
    Ok(key)
}

/// A size such as `1024`, `10kb`, `1.5 GiB`, in bytes; units are of 1024.
fn size(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" => 1,
        "kb" | "kib" => 1 << 10,
        "mb" | "mib" => 1 << 20,
        "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * unit as f64;
    (0.0..1e18).contains(&bytes).then_some(bytes as u64)
}

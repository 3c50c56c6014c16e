//! TOML text and overrides into a config struct, with errors that say where and what was expected.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file's text is wrong; `message` quotes the line and names the nearest known key.
    #[error("{file}: {message}")]
    File {
        /// The file's path.
        file: String,
        /// What is wrong, with line and column.
        message: String,
    },
    /// An override of the command line is wrong.
    #[error("--set {text}: {message}")]
    Override {
        /// The override as given.
        text: String,
        /// What is wrong.
        message: String,
    },
}

/// Reads a config struct from a file's text and `section.key=value` overrides, later ones winning.
///
/// `file` is the name and text of a configuration file; without one the defaults are used.
pub fn load<T: DeserializeOwned>(file: Option<(&str, &str)>, overrides: &[String]) -> Result<T, ConfigError> {
    let mut table = Table::new();
    if let Some((name, text)) = file {
        let wrong =
            |error: toml::de::Error| ConfigError::File { file: name.to_owned(), message: explain(&error) };
        // The file alone first: errors then point into the user's text.
        toml::from_str::<T>(text).map_err(wrong)?;
        table = text.parse::<Table>().map_err(wrong)?;
    }
    for text in overrides {
        let wrong = |message: String| ConfigError::Override { text: text.clone(), message };
        apply(&mut table, text).map_err(wrong)?;
        table.clone().try_into::<T>().map_err(|error| wrong(explain(&error)))?;
    }
    table
        .try_into()
        .map_err(|error| ConfigError::Override { text: overrides.join(" "), message: explain(&error) })
}

fn apply(table: &mut Table, text: &str) -> Result<(), String> {
    let (path, value) = text.split_once('=').ok_or("expected section.key=value")?;
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    let last = keys.pop().filter(|key| !key.is_empty()).ok_or("expected section.key=value")?;
    let mut at = table;
    for key in keys {
        let entry = at.entry(key.to_owned()).or_insert_with(|| Value::Table(Table::new()));
        at = entry.as_table_mut().ok_or_else(|| format!("`{key}` is a value, not a section"))?;
    }
    // What is not TOML by itself is a bare string, so that quotes need no quoting in a shell.
    let parsed = format!("value = {value}").parse::<Table>().ok().and_then(|mut t| t.remove("value"));
    at.insert(last.to_owned(), parsed.unwrap_or_else(|| Value::String(value.to_owned())));
    Ok(())
}

/// The error's own text, and the nearest known key where a key is unknown.
fn explain(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let message = error.message();
    let hint = message.strip_prefix("unknown field `").and_then(|rest| {
        let (unknown, rest) = rest.split_once('`')?;
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        nearest(unknown, &known).map(|best| format!("did you mean `{best}`?"))
    });
    match hint {
        Some(hint) => format!("{}\n{hint}", text.trim_end()),
        None => text.trim_end().to_owned(),
    }
}

/// The known word with the smallest edit distance, when that is at most half of the word's length.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = known.iter().map(|candidate| (distance(word, candidate), *candidate)).min()?;
    (best.0 <= word.len().div_ceil(2)).then_some(best.1)
}

/// Levenshtein's distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Flow {
        idle_timeout_ms: u64,
        flows_max: u32,
    }

    #[derive(Debug, Deserialize, PartialEq, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Config {
        flow: Flow,
        name: String,
    }

    fn read(text: &str, overrides: &[&str]) -> Result<Config, String> {
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        load(Some(("weir.toml", text)), &overrides).map_err(|error| error.to_string())
    }

    #[test]
    fn overrides_win_over_the_file_and_strings_need_no_quotes() {
        let config =
            read("[flow]\nflows_max = 5\n", &["flow.idle_timeout_ms=30", "name=edge-1", "flow.flows_max=7"]);
        let flow = Flow { idle_timeout_ms: 30, flows_max: 7 };
        assert_eq!(config, Ok(Config { flow, name: "edge-1".into() }));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
        let error = read("[flow]\nflow_max = 5\n", &[]).unwrap_err();
        assert!(
            error.contains("weir.toml")
                && error.contains("line 2")
                && error.contains("did you mean `flows_max`?"),
            "{error}"
        );
        let error = read("", &["flow.idle_timeout=5"]).unwrap_err();
        assert!(
            error.contains("--set flow.idle_timeout=5") && error.contains("`idle_timeout_ms`"),
            "{error}"
        );
    }

    #[test]
    fn wrong_overrides_are_refused() {
        for wrong in ["flow", "=5", "flow.=1", "name.deep=1", "flow.flows_max=many", "flow.flows_max=-1"] {
            assert!(read("name = \"x\"", &[wrong]).is_err(), "{wrong}");
        }
    }
}

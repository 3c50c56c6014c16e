//! A config struct into the commented default file and the Markdown reference.
//!
//! Both come from the JSON schema that `schemars` derives (field docs) and from the serialised
//! default value, so that a key cannot exist without its text or with another default.

use schemars::{JsonSchema, schema_for};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// The default configuration as TOML: every key with its doc as a comment, commented out.
pub fn to_toml<T: JsonSchema + Serialize + Default>(title: &str) -> String {
    let mut out = format!(
        "# {title}\n# Every key has a working default, shown here. Remove the `#` before a key to change it.\n"
    );
    visit::<T>(&mut |entry| match entry {
        Entry::Section { path, doc } => {
            out.push('\n');
            comment(&mut out, doc);
            let _ = writeln!(out, "[{path}]");
        }
        Entry::Key { name, doc, default } => {
            out.push('\n');
            comment(&mut out, doc);
            let _ = writeln!(out, "#{name} = {}", toml_value(default));
        }
    });
    out
}

/// The configuration reference as Markdown.
pub fn reference_markdown<T: JsonSchema + Serialize + Default>(title: &str) -> String {
    let mut out = format!(
        "# {title}\n\nGenerated from the program's own definitions by `cargo xtask docs`; do not edit.\n"
    );
    visit::<T>(&mut |entry| match entry {
        Entry::Section { path, doc } => {
            let _ = writeln!(out, "\n## `[{path}]`\n\n{}", doc.trim());
        }
        Entry::Key { name, doc, default } => {
            let _ = writeln!(out, "\n### `{name}`\n\nDefault: `{}`\n\n{}", toml_value(default), doc.trim());
        }
    });
    out
}

enum Entry<'a> {
    Section { path: &'a str, doc: &'a str },
    Key { name: &'a str, doc: &'a str, default: &'a Value },
}

fn visit<T: JsonSchema + Serialize + Default>(each: &mut dyn FnMut(Entry<'_>)) {
    let schema = schema_for!(T).to_value();
    let defaults = serde_json::to_value(T::default()).unwrap_or_default();
    let definitions = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    visit_table("", &schema, &defaults, &definitions, each);
}

/// Keys of a table before its sub-tables, as TOML wants them.
fn visit_table(
    path: &str,
    schema: &Value,
    defaults: &Value,
    definitions: &Map<String, Value>,
    each: &mut dyn FnMut(Entry<'_>),
) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let mut tables = Vec::new();
    for (name, property) in properties {
        let default = defaults.get(name).unwrap_or(&Value::Null);
        let resolved = resolve(property, definitions);
        let doc = description(property).or_else(|| description(resolved)).unwrap_or("");
        if default.is_object() && resolved.get("properties").is_some() {
            let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            tables.push((inner, doc, resolved, default));
        } else {
            each(Entry::Key { name, doc, default });
        }
    }
    for (inner, doc, resolved, default) in tables {
        each(Entry::Section { path: &inner, doc });
        visit_table(&inner, resolved, default, definitions, each);
    }
}

fn resolve<'a>(property: &'a Value, definitions: &'a Map<String, Value>) -> &'a Value {
    let reference = property.get("$ref").and_then(Value::as_str);
    reference.and_then(|r| definitions.get(r.rsplit('/').next()?)).unwrap_or(property)
}

fn description(schema: &Value) -> Option<&str> {
    schema.get("description").and_then(Value::as_str)
}

fn comment(out: &mut String, doc: &str) {
    for line in doc.trim().lines() {
        let _ = writeln!(out, "{}", format!("# {line}").trim_end());
    }
}

/// A JSON default as TOML; what has no default shows as an empty string.
fn toml_value(value: &Value) -> String {
    match value {
        Value::Null => "\"\"".into(),
        Value::Array(values) => format!("[{}]", values.iter().map(toml_value).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let members: Vec<_> =
                map.iter().map(|(key, value)| format!("{key} = {}", toml_value(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    /// Limits of the table.
    #[derive(Serialize, JsonSchema)]
    #[serde(default)]
    struct Flow {
        /// Most flows tracked.
        ///
        /// More leave early.
        flows_max: u32,
    }

    impl Default for Flow {
        fn default() -> Self {
            Flow { flows_max: 7 }
        }
    }

    #[derive(Serialize, JsonSchema, Default)]
    #[serde(default)]
    struct Config {
        flow: Flow,
        /// Names the sensor.
        name: String,
        /// Interfaces.
        interfaces: Vec<String>,
    }

    #[test]
    fn docs_and_defaults_become_a_commented_file() {
        expect![[r##"
            # Weir
            # Every key has a working default, shown here. Remove the `#` before a key to change it.

            # Names the sensor.
            #name = ""

            # Interfaces.
            #interfaces = []

            # Limits of the table.
            [flow]

            # Most flows tracked.
            #
            # More leave early.
            #flows_max = 7
        "##]]
        .assert_eq(&to_toml::<Config>("Weir"));
    }
}

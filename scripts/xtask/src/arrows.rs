//! Which module may use which: the table in ARCHITECTURE.md, held against the code.
//!
//! A row reads `| module | may use |` between the markers `<!-- arrows:CRATE -->` and
//! `<!-- arrows end -->`. A module is a top-level module of the crate; what it may use are other
//! top-level modules of the same crate, found as `crate::NAME` outside of tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Modules of one crate, each with the modules it may use.
pub type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Reads a crate's table.
pub fn table(architecture: &str, name: &str) -> Arrows {
    let from = format!("<!-- arrows:{name} -->");
    let rows = architecture.split(&from).nth(1).and_then(|rest| rest.split("<!-- arrows end -->").next());
    let mut arrows = Arrows::new();
    for row in rows.unwrap_or_default().lines().filter(|line| line.starts_with("| `")) {
        let mut cells = row.split('|').skip(1).map(words);
        if let (Some(modules), Some(uses)) = (cells.next(), cells.next()) {
            for module in modules {
                arrows.entry(module).or_default().extend(uses.clone());
            }
        }
    }
    arrows
}

/// The words between backticks.
fn words(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Arrows in one source file that the table does not have.
pub fn check_file(arrows: &Arrows, crate_source: &Path, file: &Path, text: &str) -> Vec<String> {
    let relative = file.strip_prefix(crate_source).unwrap_or(file);
    let first = relative.components().next().map(|c| c.as_os_str().to_string_lossy().into_owned());
    let module = first.unwrap_or_default().trim_end_matches(".rs").to_owned();
    if matches!(module.as_str(), "lib" | "main") {
        return Vec::new();
    }
    let Some(allowed) = arrows.get(&module) else {
        return vec![format!(
            "{}: module `{module}` has no row in ARCHITECTURE.md's table of arrows",
            file.display()
        )];
    };
    let mut problems = Vec::new();
    for (number, line) in code_lines(text) {
        for target in targets(line) {
            if target != module && !allowed.contains(target) {
                problems.push(format!(
                    "{}:{number}: `{module}` may not use `{target}`: see the table of arrows in ARCHITECTURE.md",
                    file.display()
                ));
            }
        }
    }
    problems
}

/// Lines before the tests, without comments.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let code = text.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]");
    code.map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

/// The modules that a line names as `crate::NAME` or `crate::{NAME, NAME}`.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for rest in line.split("crate::").skip(1) {
        let inner = rest.strip_prefix('{').and_then(|list| list.split('}').next());
        let list = inner.unwrap_or(rest);
        let take = if inner.is_some() { usize::MAX } else { 1 };
        for part in list.split(',').take(take) {
            let name =
                part.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
            if name.starts_with(|c: char| c.is_lowercase()) && name != "self" {
                found.push(name);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "<!-- arrows:sensor -->\n| module | may use |\n|---|---|\n| `flow`, `dpi` | `decode` |\n| `decode` | nothing |\n<!-- arrows end -->";

    fn check(file: &str, text: &str) -> usize {
        check_file(&table(TEXT, "sensor"), Path::new("src"), Path::new(file), text).len()
    }

    #[test]
    fn an_arrow_of_the_table_passes_and_another_does_not() {
        assert_eq!(check("src/flow/table.rs", "use crate::decode::Packet;\nuse crate::flow::Key;\n"), 0);
        assert_eq!(check("src/decode/mod.rs", "use crate::flow::Flow;\n"), 1);
        assert_eq!(check("src/dpi.rs", "use crate::{decode::Packet, flow};\n"), 1);
        assert_eq!(check("src/new/mod.rs", ""), 1);
    }

    #[test]
    fn comments_and_tests_draw_no_arrows() {
        assert_eq!(
            check(
                "src/decode/mod.rs",
                "//! [`crate::flow`]\n#[cfg(test)]\nmod tests { use crate::flow::X; }\n"
            ),
            0
        );
    }
}

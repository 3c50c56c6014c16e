//! `cargo xtask new-dissector` and `cargo xtask fuzz-targets`: files and lines that a new protocol needs.
//!
//! In: a name, the group it stands in. Out: the dissector's file from a worked template that compiles and passes its
//! own tests, its lines in the lists, its fuzz target. Nothing that is there already is written over.

use anyhow::{Context, bail, ensure};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use weir_common::app::App;

const TEMPLATE: &str = include_str!("dissector.rs.template");
const APPS: &str = "common/src/app.rs";
const MODULES: &str = "sensor/src/dpi/mod.rs";
const DISSECTORS: &str = "sensor/src/dpi/parser.rs";
const EVENTS: &str = "sensor/src/dpi/events.rs";
const FUZZ_MANIFEST: &str = "sensor/fuzz/Cargo.toml";

/// The groups of protocols: what is typed, and the comment that stands over its lines in the lists.
pub const GROUPS: &[(&str, &str)] = &[
    ("web", "// The web."),
    ("crypto", "// Cryptography, tunnels, voice."),
    ("windows", "// Windows, identity, management."),
    ("files", "// Mail, files, terminals."),
    ("data", "// Data and messages."),
    ("industry", "// Industry."),
];

/// A protocol's spellings.
struct Names {
    /// As EVE has it: `some-thing`.
    app: String,
    /// The module: `some_thing`.
    module: String,
    /// The type: `SomeThing`.
    ty: String,
    /// The variant of `App`, which is another where the application has one already.
    variant: String,
}

impl Names {
    fn of(name: &str) -> anyhow::Result<Names> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        ensure!(
            name.bytes().all(is_plain) && name.starts_with(|first: char| first.is_ascii_lowercase()),
            "`{name}` is no name of an application: lower case, digits and hyphens, as EVE's app_proto"
        );
        let ty: String = name.split('-').map(capitalized).collect();
        let variant = App::from_name(name).map_or_else(|| ty.clone(), |app| format!("{app:?}"));
        Ok(Names { app: name.to_owned(), module: name.replace('-', "_"), ty, variant })
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// Makes what a protocol needs; says which files were written.
pub fn new_dissector(root: &Path, name: &str, group: &str) -> anyhow::Result<Vec<PathBuf>> {
    let names = Names::of(name)?;
    let Some((_, heading)) = GROUPS.iter().find(|(known, _)| *known == group) else {
        let known: Vec<&str> = GROUPS.iter().map(|(known, _)| *known).collect();
        bail!("no group `{group}`; there are {}", known.join(", "));
    };
    let file = PathBuf::from(format!("sensor/src/dpi/{}.rs", names.module));
    let folder = root.join(format!("sensor/src/dpi/{}", names.module));
    ensure!(!root.join(&file).exists() && !folder.exists(), "{} is there already", file.display());
    let read = |path: &str| std::fs::read_to_string(root.join(path)).with_context(|| path.to_owned());
    // Everything is made before anything is written.
    let mut written = vec![(file, dissector_source(&names))];
    if App::from_name(name).is_none() {
        written.push((APPS.into(), with_app(&read(APPS)?, &names)?));
    }
    let module = format!("mod {};\n", names.module);
    written.push((MODULES.into(), insert_in_group(&read(MODULES)?, heading, &module)?));
    let dissector = format!("    {}::{},\n", names.module, names.ty);
    written.push((DISSECTORS.into(), insert_in_group(&read(DISSECTORS)?, heading, &dissector)?));
    written.push((EVENTS.into(), with_events(&read(EVENTS)?, &names)?));
    let manifest = read(FUZZ_MANIFEST)?;
    written.extend(fuzz_target(&manifest, &names.app, &names.variant));
    for (path, text) in &written {
        std::fs::write(root.join(path), text).with_context(|| path.display().to_string())?;
    }
    Ok(written.into_iter().map(|(path, _)| path).collect())
}

/// Makes the fuzz targets that dissectors lack; says which files were written.
pub fn fuzz_targets(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for app in weir_sensor::dpi::dissected() {
        let manifest = std::fs::read_to_string(root.join(FUZZ_MANIFEST)).context(FUZZ_MANIFEST)?;
        for (path, text) in fuzz_target(&manifest, app.name(), &format!("{app:?}")) {
            std::fs::write(root.join(&path), text).with_context(|| path.display().to_string())?;
            written.push(path);
        }
    }
    written.sort();
    written.dedup();
    Ok(written)
}

fn dissector_source(names: &Names) -> String {
    let magic: String = names.ty.chars().chain("XXXX".chars()).take(4).collect();
    TEMPLATE
        .replace("{{TITLE}}", &names.ty)
        .replace("{{TYPE}}", &names.ty)
        .replace("{{APP}}", &names.variant)
        .replace("{{MAGIC}}", &magic)
        .replace("{{FIRST}}", magic.get(..1).unwrap_or_default())
}

/// The list of applications with one more, under the next number.
fn with_app(text: &str, names: &Names) -> anyhow::Result<String> {
    let number = App::ALL.iter().map(|app| *app as u16).max().unwrap_or(0) + 1;
    let start = text.find("\napps! {").context("app.rs has no list of applications")?;
    let end = text.get(start..).and_then(|list| list.find("\n}\n")).context("its list has no end")?;
    let (before, after) = text.split_at(start + end + 1);
    let line = format!("    /// {}.\n    {} = {number} \"{}\",\n", names.ty, names.variant, names.app);
    Ok(format!("{before}{line}{after}"))
}

/// The list of what dissectors tell to be odd, with what the example tells.
fn with_events(text: &str, names: &Names) -> anyhow::Result<String> {
    let start = text.find("const TOLD: ").context("events.rs has no list of events")?;
    let end = text.get(start..).and_then(|list| list.find("\n];\n")).context("its list has no end")?;
    let (before, after) = text.split_at(start + end + 1);
    let calls = ["anomaly(\"", "Err(\""].into_iter();
    let named = calls.flat_map(|call| TEMPLATE.split(call).skip(1));
    let mut told: Vec<&str> = named.filter_map(|rest| rest.split('"').next()).collect();
    told.sort_unstable();
    told.dedup();
    let told: Vec<String> = told.iter().map(|name| format!("\"{name}\"")).collect();
    let line = format!("    told!([{}] \"{}.rs\": {}),\n", names.variant, names.module, told.join(" "));
    Ok(format!("{before}{line}{after}"))
}

/// A list with one more line, at the end of the group under a comment.
fn insert_in_group(text: &str, heading: &str, line: &str) -> anyhow::Result<String> {
    let is_heading = |at: &&str| at.trim() == heading;
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let at = lines.iter().position(is_heading).with_context(|| format!("no group `{heading}`"))?;
    let follows = |at: &str| {
        let at = at.trim();
        at.starts_with("mod ") || at.ends_with(',') && at.contains("::")
    };
    let members = lines.get(at + 1..).unwrap_or_default().iter().take_while(|at| follows(at)).count();
    lines.insert(at + 1 + members, line);
    Ok(lines.concat())
}

/// The files of a dissector's fuzz target, when the manifest does not name it.
fn fuzz_target(manifest: &str, app: &str, variant: &str) -> Vec<(PathBuf, String)> {
    let name = format!("dpi_{}", app.replace('-', "_"));
    if manifest.contains(&format!("name = \"{name}\"")) {
        return Vec::new();
    }
    let mut manifest = manifest.trim_end().to_owned();
    let _ = write!(
        manifest,
        "\n\n[[bin]]\nname = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\ntest = false\ndoc = false\nbench = false\n"
    );
    let target = format!(
        "//! The dissector of `{app}`: any bytes in both directions, cut anywhere, with holes.\n#![no_main]\n\n\
         weir_sensor_fuzz::dissector!({variant});\n"
    );
    vec![(FUZZ_MANIFEST.into(), manifest), (format!("sensor/fuzz/fuzz_targets/{name}.rs").into(), target)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree with the files that are written to.
    fn tree() -> tempfile::TempDir {
        let (real, made) = (crate::root(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(made.path().join("sensor/fuzz/fuzz_targets")).unwrap();
        for path in [APPS, MODULES, DISSECTORS, EVENTS, FUZZ_MANIFEST] {
            std::fs::create_dir_all(made.path().join(path).parent().unwrap()).unwrap();
            std::fs::copy(real.join(path), made.path().join(path)).unwrap();
        }
        made
    }

    #[test]
    fn a_new_dissector_gets_its_file_its_lines_and_its_fuzz_target() {
        let tree = tree();
        let written = new_dissector(tree.path(), "night-owl", "industry").unwrap();
        assert_eq!(written.len(), 7, "{written:?}");
        let read = |path: &str| std::fs::read_to_string(tree.path().join(path)).unwrap();
        assert!(read("sensor/src/dpi/night_owl.rs").contains("const APP: App = App::NightOwl;"));
        assert!(!read("sensor/src/dpi/night_owl.rs").contains("{{"));
        let told = "    told!([NightOwl] \"night_owl.rs\": \"invalid_kind\" \"invalid_magic\" \"reply_without_request\" ";
        assert!(read(EVENTS).contains(told));
        assert!(read(APPS).contains(" \"night-owl\",\n}\n"));
        assert!(read(MODULES).contains("mod night_owl;\n// Names."));
        assert!(read(DISSECTORS).contains("    night_owl::NightOwl,\n    // Peers"));
        assert!(read(FUZZ_MANIFEST).ends_with(
            "path = \"fuzz_targets/dpi_night_owl.rs\"\ntest = false\ndoc = false\nbench = false\n"
        ));
        assert!(read("sensor/fuzz/fuzz_targets/dpi_night_owl.rs").contains("dissector!(NightOwl)"));
        let again = new_dissector(tree.path(), "night-owl", "industry").unwrap_err();
        assert!(again.to_string().contains("is there already"), "{again}");
    }

    #[test]
    fn an_application_that_has_a_number_keeps_it() {
        let tree = tree();
        let written = new_dissector(tree.path(), "java-rmi", "data").unwrap();
        assert_eq!(written.len(), 6, "{written:?}");
    }

    #[test]
    fn what_is_no_name_or_no_group_is_refused_and_nothing_is_written() {
        let tree = tree();
        for (name, group) in [("Owl", "data"), ("a b", "data"), ("", "data"), ("night-owl", "birds")] {
            assert!(new_dissector(tree.path(), name, group).is_err());
        }
        assert!(!tree.path().join("sensor/src/dpi/night_owl.rs").exists());
    }
}

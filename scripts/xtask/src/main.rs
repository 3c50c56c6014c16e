//! `cargo xtask`: the project's chores.
//!
//! `tidy` checks what no lint can; `docs` writes the generated documents; `new-dissector` begins a protocol, and
//! `fuzz-targets` makes what dissectors lack of theirs.

#![allow(clippy::print_stdout, reason = "the files that were written are what it prints")]

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's chores")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check module docs, the direction of arrows, unsafe's places and generated documents.
    Tidy,
    /// Write the generated documents below firmware-config.
    Docs,
    /// Begin a protocol: its file from a worked template, its lines in the lists, its fuzz target.
    NewDissector {
        /// Its name in EVE's app_proto: lower case, digits, hyphens.
        name: String,
        /// Where it stands in the lists: web, crypto, windows, files, data or industry.
        #[arg(long, default_value = "data")]
        group: String,
    },
    /// Make the fuzz targets that dissectors lack.
    FuzzTargets,
}

fn main() -> anyhow::Result<()> {
    let root = xtask::root();
    match Arguments::parse().chore {
        Chore::Docs => xtask::docs::write(&root),
        Chore::NewDissector { name, group } => {
            for path in xtask::scaffold::new_dissector(&root, &name, &group)? {
                println!("{}", path.display());
            }
            eprintln!(
                "now: `cargo test -p weir-sensor dpi::{}`, then replace the example",
                name.replace('-', "_")
            );
            Ok(())
        }
        Chore::FuzzTargets => {
            for path in xtask::scaffold::fuzz_targets(&root)? {
                println!("{}", path.display());
            }
            Ok(())
        }
        Chore::Tidy => {
            let problems = xtask::tidy::check(&root)?;
            for problem in &problems {
                eprintln!("{problem}");
            }
            anyhow::ensure!(problems.is_empty(), "{} problems", problems.len());
            eprintln!("tidy");
            Ok(())
        }
    }
}

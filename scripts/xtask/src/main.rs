//! `cargo xtask`: the project's chores.
//!
//! `tidy` checks what no lint can; `docs` writes the generated documents.

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
}

fn main() -> anyhow::Result<()> {
    let root = xtask::root();
    match Arguments::parse().chore {
        Chore::Docs => xtask::docs::write(&root),
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

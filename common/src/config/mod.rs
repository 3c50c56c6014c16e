//! Configuration: TOML into the programs' structs, and the structs into their reference.
//!
//! A section is the config struct of the stage it belongs to. Its field docs are the manual and its
//! `Default` the default file: [`render`] makes both, and a test compares them with
//! `firmware-config/`. Overrides of the command line (`--set section.key=value`) are merged into the
//! parsed TOML before the struct is read, so that one set of checks serves both.

mod load;
mod render;

pub use load::{ConfigError, load, nearest};
pub use render::{reference_markdown, to_toml};

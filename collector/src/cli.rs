//! The command line: arguments, configuration, start, exit code; nothing else.

use std::process::ExitCode;

/// Runs the program.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}

//! How a program ends.

use std::process::{ExitCode, Termination};

use crate::stderr::say;

/// Runs a program, and says what ended it, if that is an error: one line on stderr, and exit code 1.
///
/// `fn main() -> anyhow::Result<()>` would print several lines and, under `RUST_BACKTRACE=1`, a backtrace;
/// and it would wait for a stderr that is stuck. A user whose port is in use wants one line that names it.
pub fn run<T: Termination>(program: impl FnOnce() -> anyhow::Result<T>) -> ExitCode {
    match program() {
        Ok(end) => end.report(),
        Err(error) => {
            // The alternate form is the whole chain of causes, separated by colons.
            say(format_args!("Error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

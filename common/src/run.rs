//! How a program ends.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::{self, ExitCode, Termination};

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

/// Prints one line to stdout. A reader that has gone has read enough: `… | head -1`. Any other error ends the
/// program: without what it has to say it is of no use.
pub fn print(line: impl Display) {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            say(format_args!("Error: cannot write to stdout: {error}"));
            process::exit(1);
        }
        _ => {}
    }
}

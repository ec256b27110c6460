//! tracing, on stderr.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Sends log lines to stderr: `info` and above, unless `RUST_LOG` says otherwise.
///
/// stdout belongs to the one line that says where we listen. Colour is for terminals only: a pipe or a
/// file would keep the escape codes.
pub fn init() {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy(),
        )
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // When stderr is a pipe that nobody reads any more, a line that cannot be written is lost.
        // By default tracing says so with `eprintln!`, which then panics: the log would end the server.
        .log_internal_errors(false)
        .init();
}

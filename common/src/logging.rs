//! tracing, on stderr.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::stderr::{Log, say, wants_colour};

/// Sends log lines to stderr: `info` and above, unless `RUST_LOG` says otherwise.
///
/// stdout belongs to the one line that says where we listen. Colour is for terminals only: a pipe or a
/// file would keep the escape codes.
pub fn init() {
    let filter = std::env::var("RUST_LOG").unwrap_or_default();
    let levels = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    let levels = levels.parse(&filter).unwrap_or_else(|error| {
        say(format_args!("RUST_LOG={filter}: {error}; using info"));
        EnvFilter::new("info")
    });
    tracing_subscriber::fmt()
        .with_env_filter(levels)
        .with_writer(|| Log)
        .with_ansi(wants_colour(&io::stderr()))
        // A value that cannot be formatted is otherwise told with `eprintln!`, which panics if it fails.
        .log_internal_errors(false)
        .init();
}

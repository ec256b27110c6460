//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use common::cli::{parse_addr, parse_duration};

const HELP: &str = "\
Opens a connection to every peer at once and shakes hands with each: sends a line, and waits until the
peer has sent it back. Any of the six echo servers will do for a peer. Exit code 0: all connected.

{usage-heading} {usage}

{all-args}";

/// The options of all three programs.
#[derive(Args, Clone, Debug)]
#[command(help_template = HELP)]
pub(crate) struct Options {
    /// IP address and port of each peer
    #[arg(required = true, value_name = "ADDR", value_parser = parse_addr)]
    pub(crate) addrs: Vec<SocketAddr>,
    /// How long an attempt may take, from connect(2) to the end of the ack, e.g. 500ms, 1s
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub(crate) ack_timeout: Duration,
    /// How many times to try each peer
    #[arg(long, value_name = "N", default_value = "5", value_parser = parse_attempts)]
    pub(crate) attempts: u32,
    /// Start each line with the milliseconds since the start
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Fix the jitter of the pauses, so that a run can be repeated
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Print nothing. The command line cannot set this.
    #[arg(skip)]
    pub(crate) silent: bool,
}

impl Options {
    /// Reads the options from the command line. Anything wrong is one line on stderr, and exit 2.
    pub(crate) fn parse(program: &'static str) -> Self {
        common::cli::parse(program)
    }

    /// For the comparison, which measures the calls and needs no output.
    #[allow(dead_code)]
    pub(crate) fn silent(addrs: Vec<SocketAddr>) -> Self {
        let ack_timeout = Duration::from_secs(60);
        Self { addrs, ack_timeout, attempts: 1, verbose: false, seed: Some(0), silent: true }
    }
}

/// A thousand attempts take half an hour. A peer that is away for so long needs a person to look at it.
const MAX_ATTEMPTS: u32 = 1000;

fn parse_attempts(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(n) if (1..=MAX_ATTEMPTS).contains(&n) => Ok(n),
        _ => Err(format!("expected a number from 1 to {MAX_ATTEMPTS}")),
    }
}

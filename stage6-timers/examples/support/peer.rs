//! One peer, and what we print about it.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::options::Options;
use super::protocol::{Failure, first_line};

/// A peer that we want to connect with. This type counts the attempts and prints how each ends. How an
/// attempt is made differs between the three programs, and is theirs.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    /// How long one attempt may take.
    pub(crate) ack_timeout: Duration,
    /// How many attempts it may take, and which one this is.
    attempts: u32,
    attempt: u32,
    backoff: Backoff,
    /// When the last attempt was over, and its result.
    end: Option<(Duration, Result<(), Failure>)>,
    /// When the program started.
    start: Instant,
    verbose: bool,
    silent: bool,
}

impl Peer {
    /// A peer for each address.
    pub(crate) fn all(options: &Options) -> Vec<Self> {
        let start = Instant::now();
        let mut seeds = options.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let peer = |&addr| Self {
            addr,
            ack_timeout: options.ack_timeout,
            attempts: options.attempts,
            attempt: 0,
            backoff: Backoff::new(seeds.u64(..)),
            end: None,
            start,
            verbose: options.verbose,
            silent: options.silent,
        };
        options.addrs.iter().map(peer).collect()
    }

    /// Prints one line about this peer.
    pub(crate) fn say(&self, what: impl Display) {
        if self.silent {
            return;
        }
        let mut out = io::stdout().lock();
        // The reader of our output may have left. `println!` would panic, and end the handshakes.
        let _ = match self.verbose {
            true => writeln!(out, "{:>10.3} {}: {what}", millis(self.start.elapsed()), self.addr),
            false => writeln!(out, "{}: {what}", self.addr),
        };
    }

    /// Counts a new attempt.
    pub(crate) fn begin_attempt(&mut self) {
        self.attempt += 1;
        self.say(format_args!("connecting, attempt {} of {}", self.attempt, self.attempts));
    }

    /// After a failed attempt: how long to pause before the next one. `None`: it was the last.
    pub(crate) fn pause(&mut self) -> Option<Duration> {
        if self.attempt == self.attempts {
            return None;
        }
        let pause = self.backoff.next_pause();
        self.say(format_args!("pausing for {} ms", pause.as_millis()));
        Some(pause)
    }

    /// Prints the peer's line. It can hold any byte, so all but printable ASCII is escaped.
    pub(crate) fn talked(&self, heard: Result<Vec<u8>, Failure>) {
        match heard {
            Ok(so_far) => {
                let line = first_line(&so_far).unwrap_or_default();
                self.say(format_args!("heard \"{}\"", line.escape_ascii()));
            }
            Err(why) => self.say(format_args!("heard nothing: {why}")),
        }
    }

    /// Records the result.
    pub(crate) fn end(&mut self, end: Result<(), Failure>) {
        self.end = Some((self.start.elapsed(), end));
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.end, Some((_, Ok(()))))
    }

    fn summary(&self) -> String {
        let time = millis(self.end.as_ref().map_or(Duration::ZERO, |(time, _)| *time));
        let state = if self.is_connected() { "connected" } else { "failed" };
        let plural = if self.attempt == 1 { "" } else { "s" };
        format!("summary: {state}, {} attempt{plural}, {time:.3} ms", self.attempt)
    }
}

/// Prints a line for each peer. The exit code says whether all of them are connected.
pub(crate) fn summarize(peers: &[Peer]) -> ExitCode {
    for peer in peers {
        peer.say(peer.summary());
    }
    ExitCode::from(u8::from(!peers.iter().all(Peer::is_connected)))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

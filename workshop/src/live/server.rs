//! The server that is looked at: one that we have started, or one that runs already.

use std::collections::VecDeque;
use std::env;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, bail};

use super::process::{find_server, is_there};
use crate::bench::server as owned;
use crate::exercises::{Built, reached_at, root, run_cargo};

/// The stages by their keys, 1 to 6.
pub(super) const STAGES: [&str; 6] = [
    "stage1-blocking",
    "stage2-threads",
    "stage3-nonblocking-busy",
    "stage4-epoll",
    "stage5-mio",
    "stage6-timers",
];

/// How many lines of the log are kept.
const LOG_LINES: usize = 40;

/// Longer lines are cut: a log may be wrong.
const LONGEST_LINE: u64 = 4096;

/// A server, and what it says.
pub(super) struct Server {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) addr: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    /// `None`: it is not ours.
    process: Option<owned::Server>,
}

/// What a server has said on stderr.
#[derive(Debug, Default)]
struct Heard {
    log: VecDeque<String>,
    stats: Option<Stats>,
}

/// A line of `--stats`: what the loop has done in the last second.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stats {
    pub(super) reads: u64,
    pub(super) writes: u64,
    pub(super) would_blocks: u64,
    pub(super) bytes: u64,
    pub(super) longest_turn: String,
}

/// How to start a stage.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    /// Take what was built last.
    pub(super) no_build: bool,
    /// What the server gets.
    pub(super) options: Vec<String>,
}

impl Server {
    /// Builds a stage, starts it, and waits until it listens.
    pub(super) fn start(stage: usize, launch: &Launch) -> anyhow::Result<Self> {
        let name = STAGES[stage];
        let program = if launch.no_build { beside_us(name)? } else { build(name)? };
        let mut command = Command::new(program);
        command.arg("127.0.0.1:0").args(&launch.options).env("NO_COLOR", "1");
        if env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "debug"); // who comes, and who leaves
        }
        if has_stats(name) && !launch.options.iter().any(|option| option == "--stats") {
            command.arg("--stats");
        }
        let (process, stderr) = owned::Server::start_heard(command)
            .with_context(|| format!("{name} does not start"))?;
        let (pid, addr) = (process.pid, process.addr);
        let heard = Arc::default();
        let to = Arc::clone(&heard);
        // It ends with the server.
        thread::spawn(move || listen_to(stderr, &to));
        Ok(Self { name: name.to_owned(), pid, addr, heard, process: Some(process) })
    }

    /// A server that was started elsewhere.
    pub(super) fn attach(pid: u32) -> anyhow::Result<Self> {
        let (name, addr) = find_server(pid)?;
        let addr = reached_at(addr);
        Ok(Self { name, pid, addr, heard: Arc::default(), process: None })
    }

    pub(super) fn is_ours(&self) -> bool {
        self.process.is_some()
    }

    /// Says how it has ended, if it has.
    pub(super) fn has_ended(&mut self) -> Option<String> {
        let Some(process) = &mut self.process else {
            return (!is_there(self.pid)).then(|| format!("process {} has ended", self.pid));
        };
        let status = process.has_ended()?;
        Some(format!("{} has ended: {status}", self.name))
    }

    /// Ends it, if it is ours.
    pub(super) fn end(self) -> anyhow::Result<()> {
        self.process.map_or(Ok(()), owned::Server::end)
    }

    pub(super) fn stats(&self) -> Option<Stats> {
        lock(&self.heard).stats.clone()
    }

    /// The last lines of its log.
    pub(super) fn log(&self) -> Vec<String> {
        lock(&self.heard).log.iter().cloned().collect()
    }
}

/// Whether a stage knows `--stats`.
pub(super) fn has_stats(name: &str) -> bool {
    STAGES[2..].contains(&name)
}

/// Whether all that the server does for its clients is done by its first thread.
pub(super) fn is_one_thread(name: &str) -> bool {
    STAGES.contains(&name) && name != STAGES[1]
}

/// Builds a stage. cargo says where it is.
fn build(name: &str) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    command.args(["build", "--message-format=json", "--color=never", "-p", name]);
    command.current_dir(root()?).stdin(Stdio::null());
    let Built { succeeded, programs, diagnostics, said } = run_cargo(command)?;
    if !succeeded {
        let errors = diagnostics.iter().map(|diagnostic| &*diagnostic.rendered);
        let error = errors.chain([&*said]).find(|text| text.contains("error"));
        bail!("{name} cannot be built:\n{}", error.unwrap_or(&said).trim_end());
    }
    let program = programs.into_iter().find(|program| program.target == name);
    Ok(program.with_context(|| format!("cargo did not say where {name} is"))?.exe)
}

/// The programs of the workspace lie side by side.
fn beside_us(name: &str) -> anyhow::Result<PathBuf> {
    let us = env::current_exe().context("cannot tell where we are")?;
    let program = us.with_file_name(format!("{name}{}", env::consts::EXE_SUFFIX));
    anyhow::ensure!(program.exists(), "{name} was never built: leave out --no-build");
    Ok(program)
}

/// Reads what a server says, until it ends.
fn listen_to(stderr: ChildStderr, heard: &Mutex<Heard>) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    while let Ok(1..) = stderr.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
        lock(heard).take(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
}

/// One that has panicked while it held this has left a line out, no more.
fn lock(heard: &Mutex<Heard>) -> std::sync::MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Heard {
    fn take(&mut self, line: &str) {
        if let Some(stats) = Stats::parse(line) {
            self.stats = Some(stats);
        } else if !line.trim_start().starts_with("clients  wake-ups") {
            if self.log.len() == LOG_LINES {
                self.log.pop_front();
            }
            self.log.push_back(shortened(line));
        }
    }
}

impl Stats {
    /// `clients wake-ups reads writes WouldBlocks bytes longest-turn`
    fn parse(line: &str) -> Option<Self> {
        let (figures, longest_turn) = line.trim_end().rsplit_once(' ')?;
        let figures = figures.split_whitespace().map(|figure| figure.parse().ok());
        match figures.collect::<Option<Vec<u64>>>()?[..] {
            [_, _, reads, writes, would_blocks, bytes] => {
                let longest_turn = longest_turn.to_owned();
                Some(Self { reads, writes, would_blocks, bytes, longest_turn })
            }
            _ => None,
        }
    }
}

/// A line of the log without the day, the zone and the module: `18:42:35.372  INFO stopping connections=0`.
fn shortened(line: &str) -> String {
    let mut words = line.splitn(3, char::is_whitespace);
    let Some((_, time)) = words.next().and_then(|stamp| stamp.split_once('T')) else {
        return line.to_owned();
    };
    let rest = words.collect::<Vec<_>>().join(" ");
    let rest = rest.trim_start().split_once(": ").map_or(rest.clone(), |(level, rest)| {
        let level = level.split_whitespace().next().unwrap_or_default();
        format!("{level:>5} {rest}")
    });
    format!("{}  {rest}", time.get(..12).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stats_is_told_from_a_line_of_the_log() {
        let mut heard = Heard::default();
        heard.take("clients  wake-ups    reads   writes  WouldBlocks       bytes  longest turn");
        heard.take("      1    184058   184058        1       184057           6        13.5ms");
        heard.take("2026-11-26T18:42:35.372683Z  INFO stage5_mio::server: stopping connections=0");
        let stats = heard.stats.expect("stats");
        assert_eq!((stats.reads, stats.bytes, &*stats.longest_turn), (184_058, 6, "13.5ms"));
        assert_eq!(heard.log, ["18:42:35.372   INFO stopping connections=0"]);
    }

    #[test]
    fn the_log_is_bounded() {
        let mut heard = Heard::default();
        (0..100).for_each(|i| heard.take(&format!("line {i}")));
        assert_eq!((heard.log.len(), &*heard.log[0]), (LOG_LINES, "line 60"));
    }
}

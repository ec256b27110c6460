//! Runs one of the three programs and reads what it prints.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use common::testkit::client::allow_descriptors;
use common::testkit::deadline;
use common::watchdog::Watchdog;

pub(crate) const PROGRAMS: [&str; 3] = ["handshake", "handshake_async", "handshake_by_hand"];

/// A program that runs. One that hangs is killed after [`deadline`], and the test fails.
pub(crate) struct Running {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    deadline: Instant,
    _watchdog: Watchdog,
}

/// What a program has printed and how it ended.
pub(crate) struct Run {
    pub(crate) name: &'static str,
    pub(crate) lines: Vec<String>,
    pub(crate) stderr: String,
    pub(crate) exit: Option<i32>,
}

pub(crate) fn start(name: &'static str, addrs: &[SocketAddr], options: &[&str]) -> Running {
    let mut command = Command::new(find(name));
    command.args(addrs.iter().map(SocketAddr::to_string)).args(options);
    launch(name, command)
}

/// The same with a command that runs the program in its own way: see [`find`].
pub(crate) fn launch(name: &'static str, mut command: Command) -> Running {
    allow_descriptors(40); // for a test that has not asked for more
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (mut child, watchdog) = Watchdog::spawn(&mut command).unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let end = Instant::now() + deadline();
    Running { name, child, lines, seen: Vec::new(), deadline: end, _watchdog: watchdog }
}

impl Running {
    #[cfg(unix)]
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads until a line that ends like this has come.
    pub(crate) fn wait_for(&mut self, end: &str) {
        while let Some(line) = self.next_line() {
            if line.ends_with(end) {
                return;
            }
        }
        panic!("{}: it ended before it said \"{end}\":\n{}", self.name, self.seen.join("\n"));
    }

    /// Reads all that is left, until the end of the program.
    pub(crate) fn finish(mut self) -> Run {
        while self.next_line().is_some() {}
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let exit = self.child.wait().unwrap().code();
        Run { name: self.name, lines: std::mem::take(&mut self.seen), stderr, exit }
    }

    /// `None`: the program has closed its stdout.
    fn next_line(&mut self) -> Option<&str> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => self.seen.push(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let seen = self.seen.join("\n");
                panic!("{} hangs: nothing more in {:?} after\n{seen}", self.name, deadline())
            }
        }
        self.seen.last().map(String::as_str)
    }
}

impl Drop for Running {
    /// A test that has failed leaves no program behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Run {
    /// What was said about one peer, without its address in front.
    pub(crate) fn about(&self, addr: SocketAddr) -> Vec<&str> {
        let prefix = format!("{addr}: ");
        self.lines
            .iter()
            .filter_map(|line| line.split_once(&prefix))
            .map(|(_, what)| what)
            .collect()
    }
}

/// Cargo builds the examples of a package before it runs all of its tests, but not before it runs one
/// file of them; and it tells a test where the binaries are, but not where the examples are.
pub(crate) fn find(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let program = profile.join("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX));
    assert!(
        is_fresh(&program, &program.with_extension("d")),
        "{} is missing or older than its source: first `cargo build -p stage6-timers --examples`",
        program.display()
    );
    program
}

/// `listing` is what cargo writes beside each program: which sources it is made of.
fn is_fresh(program: &Path, listing: &Path) -> bool {
    let modified = |path: &Path| there(path, fs::metadata(path).and_then(|meta| meta.modified()));
    let listing = there(listing, fs::read_to_string(listing));
    let (Some(built), Some(listing)) = (modified(program), listing) else { return false };
    let sources = listing.split_once(": ").map_or("", |(_, sources)| sources);
    // A space in a path is written as "\ ".
    let sources = sources.replace("\\ ", "\0");
    sources.split_whitespace().all(|source| {
        modified(Path::new(&source.replace('\0', " "))).is_some_and(|changed| changed <= built)
    })
}

/// `None`: the file is missing. An error that has another reason, for example `EMFILE`, says nothing of that.
fn there<T>(path: &Path, found: io::Result<T>) -> Option<T> {
    match found {
        Err(e) if e.kind() != ErrorKind::NotFound => panic!("{}: {e}", path.display()),
        found => found.ok(),
    }
}

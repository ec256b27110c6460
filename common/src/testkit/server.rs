//! A server under test: the real binary, as a child process, on a port of its own.

mod failure;
mod launch;

pub use launch::{full_pipe, nameless_file, run_prepared, small_pipe, takes_more, terminal};

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::client::Client;
use super::patience::{Patience, in_a_hurry};
use super::{descriptors, eventually};
use crate::watchdog::Watchdog;

/// A running server. It is killed when this is dropped, and when we are killed.
pub struct Server {
    child: Child,
    addr: SocketAddr,
    stdout: BufReader<ChildStdout>,
    log: Arc<Mutex<String>>,
    _watchdog: Watchdog,
}

/// The clients of a server notice its end before it is over: first the kernel closes its sockets. And its last
/// words may be heard later still.
const LAST_MOMENTS: Duration = Duration::from_millis(500);

/// How long we wait for the end of its stderr, and for one that gets no CPU. Its end closes stderr, and then all that
/// is left is to read it; unless a child of its own has it open as well.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Signals that tests send.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// What `kill` sends.
    Terminate,
    /// The terminal is closed.
    HangUp,
    /// Ctrl-Z, but one that cannot be caught.
    Stop,
    /// `fg`.
    Continue,
    /// The terminal has another size.
    WindowChange,
}

/// What a process has used, as `/proc` tells it.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Time on a CPU, of all threads that are still there.
    pub cpu: Duration,
    /// How often a thread went to sleep and was woken: voluntary context switches.
    pub wakeups: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Memory of its own, in bytes: what it has written to. Not the pages of its file that the kernel
    /// happens to keep for it, unless that is all we can find out.
    pub rss: u64,
    /// Threads.
    pub threads: usize,
}

impl Server {
    /// Starts the binary on a free port of the loopback interface.
    #[track_caller]
    pub fn start(exe: &str) -> Self {
        Self::start_with(exe, &[])
    }

    /// The same, with options.
    #[track_caller]
    pub fn start_with(exe: &str, options: &[&str]) -> Self {
        let mut command = command(exe);
        command.args(arguments(exe, options, "127.0.0.1:0"));
        Self::spawn(command).with_log()
    }

    /// The same, on another address.
    #[track_caller]
    pub fn start_on(exe: &str, addr: &str) -> Self {
        let mut command = command(exe);
        command.args(arguments(exe, &[], addr));
        Self::spawn(command).with_log()
    }

    /// The same, with `RUST_LOG`.
    #[track_caller]
    pub fn start_with_log_level(exe: &str, level: &str, options: &[&str]) -> Self {
        let mut command = command(exe);
        command.args(arguments(exe, options, "127.0.0.1:0")).env("RUST_LOG", level);
        Self::spawn(command).with_log()
    }

    /// The same under `nohup(1)`, as a child that its terminal cannot end. Unix only.
    #[track_caller]
    pub fn start_under_nohup(exe: &str) -> Self {
        let mut command = command("nohup");
        command.arg(found(exe)).args(arguments(exe, &[], "127.0.0.1:0"));
        Self::spawn(command).with_log()
    }

    /// The same, and the reader of its stderr has gone: each line it logs is an `EPIPE`.
    #[track_caller]
    pub fn start_without_a_reader_of_its_log(exe: &str, options: &[&str]) -> Self {
        let mut command = command(exe);
        command.args(arguments(exe, options, "127.0.0.1:0")).env("RUST_LOG", "debug");
        let mut server = Self::spawn(command);
        drop(server.child.stderr.take());
        server
    }

    /// The same, with room for so many descriptors in all, for now. Unix only: elsewhere there is no limit.
    #[track_caller]
    pub fn start_with_descriptors(exe: &str, limit: usize) -> Self {
        // It may raise its soft limit when it starts. No client has come yet: afterwards is soon enough.
        let server = Self::start(exe);
        if server.raise_descriptors(limit) {
            return server;
        }
        drop(server);
        // A shell can lower both of its limits and then become the server. We cannot, without lowering ours.
        let mut command = command("sh");
        let script = "ulimit -n \"$0\" && exec \"$@\"";
        command.args(["-c", script, &limit.to_string(), &found(exe)]);
        command.args(arguments(exe, &[], "127.0.0.1:0"));
        let server = Self::spawn(command).with_log();
        server.raise_descriptors(limit); // again: it may have raised its soft limit to the hard one
        server
    }

    #[track_caller]
    fn spawn(mut command: Command) -> Self {
        // A child inherits our limit: the same one, whichever test comes first.
        descriptors::take_a_few();
        failure::tell_of_servers();
        let started = Watchdog::spawn(&mut command);
        let (mut child, watchdog) = started.expect("cannot start the server");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line).expect("cannot read the server's stdout");
        let addr = line.strip_prefix("listening on ").and_then(|addr| addr.trim_end().parse().ok());
        let Some(addr) = addr else {
            let _ = child.kill();
            let output = child.wait_with_output().expect("cannot read what it said");
            panic!("no word of where it listens: {line:?}, {output:?}");
        };
        failure::add(child.id());
        Self { child, addr, stdout, log: Arc::default(), _watchdog: watchdog }
    }

    /// Reads the log as it is written, so that the server never waits for us.
    fn with_log(mut self) -> Self {
        let stderr = self.child.stderr.take().expect("stderr is piped");
        self.read_log_from(stderr);
        self
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A new client. It is connected, which does not mean that it has been accepted.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.addr).expect("cannot connect"))
    }

    /// Every hostile test ends with this.
    #[track_caller]
    pub fn assert_still_serving(&self) {
        self.connect().round_trip(b"and it still serves\n");
    }

    /// What it has said on stderr so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("log").clone()
    }

    /// Waits until the log says so.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        eventually(&format!("the log says {text:?}"), || self.log().contains(text));
    }

    /// Sends a signal. False where there are none.
    #[cfg(unix)]
    #[track_caller]
    pub fn signal(&self, signal: Signal) -> bool {
        send_signal(self.child.id(), signal);
        if matches!(signal, Signal::Stop) && self.state().is_some() {
            eventually("it has stopped", || self.state() == Some('T'));
        }
        true
    }

    /// Sends a signal. False where there are none.
    #[cfg(not(unix))]
    pub fn signal(&self, _: Signal) -> bool {
        false
    }

    /// Gives a running server room for so many descriptors, or lowers its limit. False where there is no
    /// prlimit(1), and where the hard limit is lower.
    pub fn raise_descriptors(&self, limit: usize) -> bool {
        self.change_limit(&format!("--nofile={limit}:"))
    }

    /// Waits until it has ended, and returns how, what else it said on stdout, and how long it took. The time in
    /// which others had the CPU does not count: not the server's, and not ours, who have to notice.
    #[track_caller]
    pub fn wait_for_end(mut self) -> (ExitStatus, String, Duration) {
        let (start, waited) = (Instant::now(), self.waited_for_a_cpu() + queued("thread-self"));
        if self.state().is_some() {
            // A zombie still tells how long it has waited.
            let mut patience = Patience::new();
            while self.state() != Some('Z') {
                if let Some(why) = patience.is_over() {
                    panic!("it has not ended: {why}");
                }
                patience.pause();
            }
        }
        let elapsed = start.elapsed();
        let waited = (self.waited_for_a_cpu() + queued("thread-self")).saturating_sub(waited);
        let status = wait(&mut self.child).unwrap_or_else(|why| panic!("{why}"));
        (status, self.rest_of_stdout(), elapsed.saturating_sub(waited))
    }

    /// Kills it, and returns what it has said on stdout behind its first line.
    #[track_caller]
    pub fn kill(mut self) -> String {
        self.child.kill().expect("cannot kill");
        self.rest_of_stdout()
    }

    /// Kills it, and returns all that it has said on stderr.
    #[track_caller]
    pub fn whole_log(mut self) -> String {
        self.child.kill().expect("cannot kill");
        self.hear_it_out();
        self.log()
    }

    #[track_caller]
    fn rest_of_stdout(&mut self) -> String {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("stdout is text");
        rest
    }

    /// What it has used so far. `None` where there is no `/proc`.
    pub fn usage(&self) -> Option<Usage> {
        usage(self.child.id())
    }

    /// R: running, S: sleeping, T: stopped. `None` where there is no `/proc`.
    pub fn state(&self) -> Option<char> {
        state(self.child.id())
    }

    /// How long the main thread was ready to run and had no CPU, also after its end: proc(5), `schedstat`. Zero
    /// where there is no `/proc`.
    pub fn waited_for_a_cpu(&self) -> Duration {
        queued(&self.child.id().to_string())
    }

    /// Waits until its stderr has been read to the end: as long as a thread reads it, it shares the log with us.
    fn hear_it_out(&self) {
        let start = Instant::now();
        while Arc::strong_count(&self.log) > 1 && start.elapsed() < LAST_WORDS {
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Whether it has ended, and how, if the test has failed. Its clients may have noticed a little earlier.
    fn how_it_ended(&mut self) -> Option<String> {
        let start = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(format!("the server has ended: {status}"));
            }
            if failure::is_told(self.child.id()) || start.elapsed() > LAST_MOMENTS {
                return None;
            }
            thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Waits until the main thread sleeps: it has done all there was to do.
    #[track_caller]
    pub fn wait_until_it_sleeps(&self) {
        if self.state().is_some() {
            eventually("the server sleeps", || self.state() == Some('S'));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let has_failed = thread::panicking();
        let how_it_ended = if has_failed { self.how_it_ended() } else { None };
        failure::remove(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        if has_failed {
            self.hear_it_out();
            if let Some(how_it_ended) = how_it_ended {
                eprintln!("{how_it_ended}");
            }
            // In a hurry each line has been passed on when it came.
            if !in_a_hurry() {
                eprintln!("the server's log:\n{}", self.log());
            }
        }
    }
}

/// Runs a server that is expected to end by itself, and returns what it said.
#[track_caller]
pub fn run(exe: &str, args: &[&str]) -> Output {
    run_prepared(exe, args, |_| ())
}

/// Sends a signal to a process.
#[cfg(unix)]
#[track_caller]
pub fn send_signal(pid: u32, signal: Signal) {
    use nix::sys::signal::{Signal as Unix, kill};
    let unix = match signal {
        Signal::Interrupt => Unix::SIGINT,
        Signal::Terminate => Unix::SIGTERM,
        Signal::HangUp => Unix::SIGHUP,
        Signal::Stop => Unix::SIGSTOP,
        Signal::Continue => Unix::SIGCONT,
        Signal::WindowChange => Unix::SIGWINCH,
    };
    kill(nix::unistd::Pid::from_raw(pid.cast_signed()), unix).expect("cannot signal");
}

/// What a server is started with.
fn arguments<'a>(exe: &str, options: &[&'a str], addr: &'a str) -> Vec<&'a str> {
    let mut arguments = options.to_vec();
    arguments.extend(silence(exe, options));
    arguments.push(addr);
    arguments
}

/// Stage 6 and its steps (`step-6-1`) speak up every ten seconds if they are not told otherwise, and a test on a busy
/// machine may take that long: so only a test that asks for an interval hears the status.
pub(super) fn silence(exe: &str, options: &[&str]) -> &'static [&'static str] {
    let name = Path::new(exe).file_stem().unwrap_or_default().to_string_lossy();
    let speaks_up = name == "stage6-timers" || name.contains("-6-");
    match speaks_up && !options.contains(&"--status-interval") {
        true => &["--status-interval", "1h"],
        false => &[],
    }
}

/// A command whose output we get, that asks no questions, and is not helped by our environment.
fn command(exe: &str) -> Command {
    let us = std::env::current_exe().unwrap_or_default();
    let mut command = Command::new(where_it_is_now(exe, &us));
    command.env_remove("RUST_LOG").env("RUST_BACKTRACE", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The server as an argument, for a shell or another program that starts it.
pub(super) fn found(exe: &str) -> String {
    let us = std::env::current_exe().unwrap_or_default();
    where_it_is_now(exe, &us).to_string_lossy().into_owned()
}

/// A test is told where its server is when it is built (`CARGO_BIN_EXE_…`), and to cargo it stays up to date
/// when the checkout is renamed or copied. Where we are now, `deps`, is below the server's folder.
fn where_it_is_now(exe: &str, us: &Path) -> PathBuf {
    let now =
        us.parent().zip(Path::new(exe).file_name()).map(|(deps, name)| deps.with_file_name(name));
    now.filter(|path| path.exists()).unwrap_or_else(|| exe.into())
}

/// How long a thread was ready to run and had no CPU: proc(5), `schedstat`. Zero where there is no `/proc`.
fn queued(thread: &str) -> Duration {
    let schedstat = std::fs::read_to_string(format!("/proc/{thread}/schedstat"));
    let nanos = schedstat.ok().and_then(|text| text.split(' ').nth(1)?.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// The error is why there is no point in waiting any longer.
fn wait(child: &mut Child) -> Result<ExitStatus, String> {
    let mut patience = Patience::new();
    loop {
        if let Some(status) = child.try_wait().expect("cannot wait for the server") {
            return Ok(status);
        }
        if let Some(why) = patience.is_over() {
            return Err(format!("it has not ended: {why}"));
        }
        patience.pause();
    }
}

/// See [`Server::state`].
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

pub(super) fn usage(pid: u32) -> Option<Usage> {
    let proc = format!("/proc/{pid}");
    let mut usage = Usage {
        cpu: Duration::ZERO,
        wakeups: 0,
        descriptors: std::fs::read_dir(format!("{proc}/fd")).ok()?.count(),
        rss: 1024 * memory(&proc)?,
        threads: 0,
    };
    for task in std::fs::read_dir(format!("{proc}/task")).ok()? {
        // A thread may end between the listing and the reading.
        let task = task.ok()?.path();
        let (Ok(status), Ok(schedstat)) = (
            std::fs::read_to_string(task.join("status")),
            std::fs::read_to_string(task.join("schedstat")),
        ) else {
            continue;
        };
        usage.threads += 1;
        usage.wakeups += field(&status, "\nvoluntary_ctxt_switches:")?;
        usage.cpu += Duration::from_nanos(schedstat.split(' ').next()?.parse().ok()?);
    }
    Some(usage)
}

/// In KiB. Kernels before 4.14 do not sum it up.
fn memory(proc: &str) -> Option<u64> {
    let read = |file| std::fs::read_to_string(format!("{proc}/{file}")).ok();
    let own = read("smaps_rollup").and_then(|sums| field(&sums, "\nAnonymous:"));
    own.or_else(|| field(&read("status")?, "VmRSS:"))
}

/// The number behind a name in a file of `/proc`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.split_once(name)?.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_found_where_its_checkout_is_now() {
        let us = std::env::current_exe().expect("we run");
        let (deps, name) = (us.parent().expect("a folder"), us.file_name().expect("a name"));
        // As if we were a server in `deps`, and the test that asks in a folder below.
        let test = deps.join("deps/test");
        let built = Path::new("/where/it/was").join(name);
        let built = built.to_str().expect("cargo's names are UTF-8");
        assert_eq!(where_it_is_now(built, &test), us);
        // There is no such server beside us, so it is where it was built, or is found in the PATH.
        for exe in ["/where/it/was/other", "sh"] {
            assert_eq!(where_it_is_now(exe, &test), Path::new(exe));
        }
    }

    #[test]
    fn only_a_server_that_speaks_up_is_told_to_be_silent() {
        let hour = ["--status-interval", "1h"];
        for exe in ["/bin/stage6-timers", "stage6-timers.exe", "/bin/step-6-1"] {
            assert_eq!(silence(exe, &["--stats"]), hour, "{exe}");
            assert!(silence(exe, &["--status-interval", "1s"]).is_empty(), "{exe} is to speak up");
        }
        for exe in ["/bin/stage5-mio", "/bin/step-5-6", "sh"] {
            assert!(silence(exe, &[]).is_empty(), "{exe} knows no interval");
        }
    }

    #[cfg(unix)]
    #[test]
    fn through_another_program_a_server_is_found_as_well() {
        use crate::testkit::traced::{run_from_shell, start_from_shell};
        let us = std::env::current_exe().expect("we run");
        let here = us.parent().and_then(Path::parent).expect("a folder above deps");
        let here = here.join(format!("found-{}", std::process::id()));
        let name = here.file_name().and_then(|name| name.to_str()).expect("our own name");
        // Another process writes it: while one of our threads forks, we could not run what we have open.
        let script =
            r#"printf '#!/bin/sh\necho listening on 127.0.0.1:9\n' >"$0" && chmod +x "$0""#;
        let path = here.to_str().expect("cargo's names are UTF-8");
        assert!(run("sh", &["-c", script, path]).status.success());
        let exe = format!("/where/it/was/{name}");
        Server::start_under_nohup(&exe);
        Server::start_with_descriptors(&exe, 64);
        Server::prepared(&exe, &[], &["env"], |_| ());
        start_from_shell(&exe, &[], "true");
        assert_eq!(run_from_shell(&exe, &[], "true").0, Some(0));
        std::fs::remove_file(&here).expect("it is ours");
    }
}

//! Servers that are not started directly: a shell changes their limits first, or strace(1) counts their
//! system calls and makes them fail.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use super::eventually;
use super::server::{Server, found, run, silence};
#[cfg(unix)]
use super::server::{Signal, send_signal};

/// Starts a server from a shell that first runs `setup`, for example `ulimit -n 64`, and then becomes the
/// server. Unix only.
#[track_caller]
pub fn start_from_shell(exe: &str, options: &[&str], setup: &str) -> Server {
    Server::start_with("sh", &from_shell(&found(exe), options, &script(setup)))
}

/// The same for a server that is expected to end by itself: returns its exit code and its stderr.
#[track_caller]
pub fn run_from_shell(exe: &str, options: &[&str], setup: &str) -> (Option<i32>, String) {
    let (exe, script) = (found(exe), script(setup));
    let mut words = from_shell(&exe, options, &script);
    words.push("127.0.0.1:0");
    let output = run("sh", &words);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn script(setup: &str) -> String {
    format!("{setup} && exec \"$@\"")
}

/// The words behind `sh`.
fn from_shell<'a>(exe: &'a str, options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    let mut words = vec!["-c", script, "sh", exe];
    words.extend(options);
    words.extend(silence(exe, options));
    words
}

/// Why a test is skipped for which no server can be traced.
pub const NO_STRACE: &str = "needs strace, and to be allowed to trace";

/// A server that strace(1) can be attached to.
pub struct Traceable {
    /// The server itself. The first line of its log is its process ID.
    pub server: Server,
    pid: String,
}

impl Traceable {
    /// Starts it, behind `setup`. `None` where there is no strace, or where it may not trace.
    #[track_caller]
    pub fn start(exe: &str, options: &[&str], setup: &str) -> Option<Self> {
        // This first strace is here for its prctl(2): PR_SET_PTRACER allows the one that attaches later to
        // do so, which the security module Yama would forbid. The shell ends it, since there can be only one.
        const TRACE: [&str; 7] = ["-D", "-qq", "-o", "/dev/null", "-e", "trace=none", "--"];
        const UNTRACE: &str = "while pid=$(sed -n 's/^TracerPid:[[:space:]]*//p' /proc/$$/status); \
                               [ $pid != 0 ]; do kill -9 $pid; done";
        let trial = Command::new("strace").args(TRACE).arg("true").status();
        if !trial.is_ok_and(|status| status.success()) {
            return None;
        }
        let script = script(&format!("{setup} && {{ {UNTRACE}; }} && echo $$ >&2"));
        let exe = found(exe);
        let mut words = TRACE.to_vec();
        words.push("sh");
        words.extend(from_shell(&exe, options, &script));
        let server = Server::start_with("strace", &words);
        eventually("its process ID is told", || server.log().contains('\n'));
        let pid = server.log().lines().next().map(str::to_owned)?;
        Some(Self { server, pid })
    }

    /// How many lines the server has logged.
    pub fn log_lines(&self) -> usize {
        self.server.log().lines().count() - 1
    }

    /// Lets each call by this name fail, from now on, with an error that the kernel did not mean.
    #[track_caller]
    pub fn refuse(&self, call: &str, error: &str) -> Option<Trace> {
        self.trace(&[&format!("trace={call}"), &format!("inject={call}:error={error}")])
    }

    /// Attaches strace with these expressions (`-e`), which say what to trace and what to change. `None`
    /// where that is not permitted.
    #[track_caller]
    pub fn trace(&self, expressions: &[&str]) -> Option<Trace> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-p", &self.pid]).stdin(Stdio::null()).stderr(Stdio::piped());
        for expression in expressions {
            strace.args(["-e", expression]);
        }
        let mut strace = strace.spawn().ok()?;
        let mut stderr = BufReader::new(strace.stderr.take()?);
        let mut trace = Trace { strace, calls: None };
        let mut line = String::new();
        stderr.read_line(&mut line).ok().filter(|_| line.contains(" attached"))?;
        // A call that another thread's call interrupts has a second line: `<... read resumed>`.
        let begins = |line: &String| line.contains('(') && !line.contains(" resumed>");
        let count = move || stderr.lines().map_while(Result::ok).filter(begins).count();
        trace.calls = Some(thread::spawn(count));
        Some(trace)
    }
}

/// An strace(1) that is attached to a server. It lets go when this is dropped.
pub struct Trace {
    strace: Child,
    calls: Option<JoinHandle<usize>>,
}

impl Trace {
    /// Lets go, and returns how many calls there were.
    #[track_caller]
    pub fn calls(mut self) -> usize {
        self.let_go();
        self.calls.take().map_or(0, |calls| calls.join().expect("it only counts"))
    }

    fn let_go(&mut self) {
        // SIGTERM: then it first undoes what it has changed in a call that is under way.
        #[cfg(unix)]
        send_signal(self.strace.id(), Signal::Terminate);
        let _ = self.strace.wait();
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if matches!(self.strace.try_wait(), Ok(None)) {
            self.let_go();
        }
    }
}

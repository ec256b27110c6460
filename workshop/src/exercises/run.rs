//! Builds and runs the test of an exercise, with a deadline, and leaves no process behind.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use common::watchdog::Watchdog;

use super::observe::Observed;
use super::page::{Exercise, folder_of};
use super::screen::say;

/// More memory than any server here needs, and less than a machine has. A server that grows without
/// bound must not take the learner's machine with it.
const MEMORY_LIMIT: u64 = 1 << 30;

/// How often we look at the servers. Often enough that one that grows by a gigabyte a second is
/// stopped in time.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// When one of many tests has failed, and the others wait for a server that is as broken as its own, the verdict
/// is known: after so long we do not wait for the rest of it.
const ENOUGH: Duration = Duration::from_secs(13);

/// How much of a test's output is kept.
const OUTPUT_LIMIT: usize = 1 << 20;

/// How long the test kit waits for a server before it says what it waited for. Less than any deadline of ours.
const PATIENCE_MS: &str = "10000";

/// How many tests of a contract run at the same time: most of them wait.
const THREADS: &str = "8";

/// The tests of the handshake that run in its own process. The others start the examples as programs, and take
/// half a minute.
const PARTS: [&str; 3] = ["machine_tests", "part_tests", "executor_tests"];

/// Where a workspace is, and where what is built from it goes.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: Option<PathBuf>,
}

/// A built test.
pub(crate) struct Test {
    pub(crate) exe: PathBuf,
    pub(crate) package: PathBuf,
    pub(crate) args: Vec<String>,
    /// How many tests the arguments name.
    pub(crate) named: usize,
    /// How long the test kit waits for a server, in milliseconds. `None`: as long as it likes.
    pub(crate) patience_ms: Option<&'static str>,
    /// One failure is the verdict. Else each test has its own.
    pub(crate) ends_early: bool,
}

/// How a run of a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every named test was run, and passed.
    Green,
    /// A named test failed.
    Red,
    /// Still running when the deadline came; we killed it. Red, by other means.
    Hung,
    /// The server took more than [`MEMORY_LIMIT`]; we killed it. The same.
    Bloated,
    /// The name of a test was not found, so there is nothing to tell.
    NoSuchTest,
}

/// What a run has shown.
pub(crate) struct Run {
    pub(crate) verdict: Verdict,
    pub(crate) output: String,
    pub(crate) elapsed: Duration,
    pub(crate) observed: Observed,
}

impl Workspace {
    /// Builds the test of an exercise. The inner error is what the compiler says.
    pub(crate) fn build(&self, exercise: &Exercise) -> anyhow::Result<Result<Test, String>> {
        let mut args = exercise.test.args.clone();
        args.extend(["--nocapture".to_owned(), "--test-threads=1".to_owned()]);
        let named = exercise.test.names().count();
        self.build_target(&exercise.test.package, &exercise.test.target, args, named)
    }

    /// Builds the other tests of the stage that must be green, without those that take long.
    pub(crate) fn build_rest(
        &self,
        exercise: &Exercise,
        long: &[&str],
    ) -> anyhow::Result<Result<Test, String>> {
        let args = rest_of(exercise, long);
        let target = ["--test".to_owned(), exercise.rest().to_owned()];
        self.build_target(&exercise.package, &target, args, 1)
    }

    fn build_target(
        &self,
        package: &str,
        target: &[String],
        args: Vec<String>,
        named: usize,
    ) -> anyhow::Result<Result<Test, String>> {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        command.args(["test", "--no-run", "--message-format=json", "--color=never", "-p"]);
        command.arg(package).args(target).current_dir(&self.root).stdin(Stdio::null());
        // A quiet cargo does not say that it waits.
        command.env("CARGO_TERM_QUIET", "false");
        if let Some(target) = &self.target {
            command.env("CARGO_TARGET_DIR", target);
        }
        let Built { succeeded, mut programs, diagnostics, said } = run_cargo(command)?;
        let errors: String = diagnostics.iter().filter_map(Diagnostic::error).collect();
        if !errors.is_empty() {
            return Ok(Err(errors));
        }
        anyhow::ensure!(succeeded, "cargo cannot build {package}:\n{}", said.trim_end());
        programs.retain(|program| program.is_test);
        let program = programs.pop();
        let program =
            program.with_context(|| format!("cargo did not name the test's binary:\n{said}"))?;
        let (exe, package) = (program.exe, self.root.join(folder_of(package)));
        let patience_ms = Some(PATIENCE_MS);
        Ok(Ok(Test { exe, package, args, named, patience_ms, ends_early: true }))
    }
}

/// What is told to the other tests: which of them to run, and which not.
fn rest_of(exercise: &Exercise, long: &[&str]) -> Vec<String> {
    let mut args = vec![format!("--test-threads={THREADS}")];
    if exercise.rest() == "handshake" {
        args.extend(PARTS.map(str::to_owned));
    }
    args.extend_from_slice(&exercise.still_holds);
    // A drill's own test is red now, as it should be.
    let known = exercise.taken_back.iter().chain(exercise.test.names()).map(String::as_str);
    for name in long.iter().copied().chain(known) {
        args.extend(["--skip".to_owned(), name.to_owned()]);
    }
    args
}

/// What a run of cargo has come to.
pub(crate) struct Built {
    pub(crate) succeeded: bool,
    pub(crate) programs: Vec<Program>,
    /// What the compiler says.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// What cargo itself says, to people.
    pub(crate) said: String,
}

/// A program that was built, or that was up to date.
pub(crate) struct Program {
    pub(crate) exe: PathBuf,
    pub(crate) manifest: PathBuf,
    pub(crate) target: String,
    pub(crate) is_test: bool,
}

/// An error or a warning of the compiler.
pub(crate) struct Diagnostic {
    level: String,
    pub(crate) manifest: PathBuf,
    pub(crate) target: String,
    pub(crate) rendered: String,
}

impl Diagnostic {
    fn error(&self) -> Option<&str> {
        // An internal error has a level of its own, `error: internal compiler error`.
        self.level.starts_with("error").then_some(&self.rendered)
    }
}

/// A line of `--message-format=json`, as far as we read it: the Cargo Book, "External Tools".
#[derive(serde::Deserialize)]
#[serde(tag = "reason")]
enum Message {
    #[serde(rename = "compiler-artifact")]
    Artifact {
        executable: Option<PathBuf>,
        manifest_path: PathBuf,
        target: Target,
        profile: Profile,
    },
    #[serde(rename = "compiler-message")]
    Compiler { manifest_path: PathBuf, target: Target, message: Rendered },
    #[serde(other)]
    Other,
}

#[derive(serde::Deserialize)]
struct Target {
    name: String,
}

#[derive(serde::Deserialize)]
struct Profile {
    test: bool,
}

#[derive(serde::Deserialize)]
struct Rendered {
    level: String,
    rendered: Option<String>,
}

pub(crate) fn run_cargo(mut command: Command) -> anyhow::Result<Built> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // If we are killed, or leave, it does not go on without us.
    let (mut cargo, _watchdog) = Watchdog::spawn(&mut command).context("cannot start cargo")?;
    let stderr = cargo.stderr.take().context("cargo has no stderr")?;
    let said = thread::spawn(|| tell_if_it_waits(stderr));
    let output = cargo.wait_with_output()?;
    let (mut programs, mut diagnostics) = (Vec::new(), Vec::new());
    for line in output.stdout.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Message::Artifact { executable: Some(exe), manifest_path, target, profile }) => {
                let (target, is_test) = (target.name, profile.test);
                programs.push(Program { exe, manifest: manifest_path, target, is_test });
            }
            Ok(Message::Compiler { manifest_path, target, message }) => {
                let Rendered { level, rendered } = message;
                let (target, rendered) = (target.name, rendered.unwrap_or_default());
                diagnostics.push(Diagnostic { level, manifest: manifest_path, target, rendered });
            }
            _ => {}
        }
    }
    let (succeeded, said) = (output.status.success(), said.join().unwrap_or_default());
    Ok(Built { succeeded, programs, diagnostics, said })
}

/// We have said that the package list is locked.
static LOCKED: AtomicBool = AtomicBool::new(false);

/// What to say if this line of cargo is about a lock. The one on the package list is held for a moment, and asked for
/// several times.
fn waits_for(line: &str, has_said: &AtomicBool) -> Option<String> {
    let lock = line.strip_prefix("Blocking waiting for file lock")?;
    if lock.contains("package cache") || lock.contains("registry") {
        let is_news = !has_said.swap(true, Ordering::SeqCst);
        return is_news
            .then(|| "waiting for another cargo (your editor?); it goes on by itself".to_owned());
    }
    Some(format!("another cargo, your editor's perhaps, is building: {line}"))
}

/// Returns what cargo says, and passes on at once that it waits for another cargo: it may take minutes. No
/// JSON message says so. If the words change one day, we say nothing of it.
fn tell_if_it_waits(stderr: impl Read) -> String {
    let mut said = String::new();
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if let Some(word) = waits_for(line.trim(), &LOCKED) {
            say!("{word}");
        }
        said += &line;
        said.push('\n');
    }
    said
}

impl Test {
    /// Runs it. Whatever happens, nothing that it has started is left when this returns.
    pub(crate) fn run(&self, deadline: Duration) -> anyhow::Result<Run> {
        let mut command = Command::new(&self.exe);
        command.current_dir(&self.package).args(&self.args);
        match self.patience_ms {
            Some(patience) => command.env("TESTKIT_DEADLINE_MS", patience),
            None => command.env_remove("TESTKIT_DEADLINE_MS"),
        };
        // Where it failed it says anyway, and the rest of a backtrace is about the test.
        command.env("RUST_BACKTRACE", "0");
        // As under `cargo test`. Ours is the tool's.
        command.env("CARGO_MANIFEST_DIR", &self.package);
        let (mut group, output) = Group::spawn(command)?;
        let mut observed = Observed::default();
        let start = Instant::now();
        let end = loop {
            observed.look(group.id);
            if let Some(status) = group.leader.try_wait()? {
                break Ok(status);
            }
            if observed.most_memory() > MEMORY_LIMIT {
                break Err(Verdict::Bloated);
            }
            let is_known = self.ends_early && output.has_failed();
            let enough = if is_known { deadline.min(ENOUGH) } else { deadline };
            if start.elapsed() > enough {
                break Err(Verdict::Hung);
            }
            thread::park_timeout(LOOK_EVERY);
        };
        let elapsed = start.elapsed();
        if end.is_err() {
            observed.look_where_it_is();
        }
        drop(group);
        // Now that no process is left to say more, all has been said.
        let output = output.finish();
        let verdict = end.map_or_else(|killed| killed, |status| self.judge(status, &output));
        Ok(Run { verdict, output, elapsed, observed })
    }

    fn judge(&self, status: ExitStatus, output: &str) -> Verdict {
        let ran = output.lines().find_map(|line| {
            line.strip_prefix("running ")?.split_whitespace().next()?.parse::<usize>().ok()
        });
        match ran {
            Some(ran) if ran >= self.named && status.success() => Verdict::Green,
            Some(ran) if ran >= self.named => Verdict::Red,
            _ => Verdict::NoSuchTest,
        }
    }
}

/// The process group that runs now, 0 if none does. For the one who presses Ctrl-C: the group is not in
/// the foreground of the terminal, so it gets no signal of its own.
static RUNNING: AtomicU32 = AtomicU32::new(0);

/// A process in a group of its own. When this is dropped, or when we are killed, the whole group is killed:
/// the test, and the servers that it has started.
struct Group {
    leader: Child,
    id: u32,
    _watchdog: Watchdog,
}

/// What a group says, read as it is written, so that no writer waits for us.
struct Output {
    said: JoinHandle<Vec<u8>>,
    has_failed: Arc<AtomicBool>,
}

impl Group {
    fn spawn(mut command: Command) -> anyhow::Result<(Self, Output)> {
        catch_ctrl_c();
        // One pipe for both, so that what was said first comes first.
        let (pipe, end) = io::pipe().context("cannot make a pipe")?;
        command.stdin(Stdio::null()).stdout(end.try_clone()?).stderr(end);
        let started = Watchdog::spawn_group(&mut command);
        let (leader, watchdog) = started.context("cannot start the test")?;
        let id = leader.id();
        RUNNING.store(id, Ordering::SeqCst);
        let group = Self { leader, id, _watchdog: watchdog };
        let has_failed = Arc::<AtomicBool>::default();
        let failed = Arc::clone(&has_failed);
        let said = thread::spawn(move || collect(pipe, &failed));
        Ok((group, Output { said, has_failed }))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        kill_group(self.id);
        RUNNING.store(0, Ordering::SeqCst);
        let _ = self.leader.kill();
        let _ = self.leader.wait();
    }
}

/// killpg(2). The leader's id is the group's, and stays so while a member lives.
#[cfg(unix)]
fn kill_group(id: u32) {
    use nix::sys::signal::{Signal, killpg};
    // No process left to kill is what we want to hear.
    let _ = killpg(nix::unistd::Pid::from_raw(id as i32), Signal::SIGKILL);
}

/// Only the test itself: a server goes when the pipe to it breaks.
#[cfg(not(unix))]
fn kill_group(_: u32) {}

fn catch_ctrl_c() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Without a handler Ctrl-C ends us and leaves the servers: worse, but no reason not to begin.
        let _ = ctrlc::set_handler(|| {
            match RUNNING.load(Ordering::SeqCst) {
                0 => {}
                group => kill_group(group),
            }
            std::process::exit(130);
        });
    });
}

/// `failed`: set when a test has its verdict, and it is that one.
fn collect(mut pipe: impl Read, failed: &AtomicBool) -> Vec<u8> {
    const FAILED: &[u8] = b" ... FAILED\n";
    let (mut said, mut buf) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = pipe.read(&mut buf) {
        said.extend_from_slice(&buf[..n]);
        let new = &said[said.len().saturating_sub(n + FAILED.len())..];
        if new.windows(FAILED.len()).any(|window| window == FAILED) {
            failed.store(true, Ordering::SeqCst);
        }
        // What was said last tells most: something goes from the middle.
        if said.len() > OUTPUT_LIMIT {
            said.drain(OUTPUT_LIMIT / 4..OUTPUT_LIMIT / 2);
        }
    }
    said
}

impl Output {
    /// Whether one of several tests has failed already.
    fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::SeqCst)
    }

    /// Everything, once no process is left that could say more.
    fn finish(self) -> String {
        String::from_utf8_lossy(&self.said.join().unwrap_or_default()).into_owned()
    }
}

/// The compiler's first errors: as many lines as fit on a screen, and how many errors begin below.
pub(crate) fn first_errors(said: &str) -> String {
    const SCREEN: usize = 30;
    // The last one counts those before it.
    let is_error = |line: &&str| line.starts_with("error") && !line.starts_with("error: aborting");
    let mut lines = said.lines().skip_while(|line| !line.starts_with("error"));
    let mut errors: Vec<_> = lines.by_ref().take(SCREEN).map(str::to_owned).collect();
    if errors.is_empty() {
        return said.to_owned();
    }
    let more = lines.filter(is_error).count();
    errors.extend((more > 0).then(|| format!("and {more} more")));
    errors.join("\n")
}

/// The file below a directory, with `/` between its parts, as git and we name it.
pub(crate) fn relative(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use common::testkit::eventually;

    use super::*;

    /// A test that is a shell script, and that starts a process that would outlive it.
    fn script(text: &str) -> Test {
        let args = ["-c".to_owned(), text.to_owned()].to_vec();
        let (exe, package) = ("/bin/sh".into(), "/".into());
        Test { exe, package, args, named: 1, patience_ms: None, ends_early: true }
    }

    #[test]
    fn a_test_that_hangs_is_killed_with_everything_it_has_started() {
        let start = Instant::now();
        let run = script("sleep 60 & echo $!; echo running 1 test; wait")
            .run(Duration::from_millis(300))
            .expect("sh is there");
        assert_eq!(run.verdict, Verdict::Hung);
        assert!(start.elapsed() < Duration::from_secs(30));
        // The pipe has ended, and that is when no process is left that could write to it.
        let pid = run.output.lines().next().expect("a process ID");
        eventually("the sleeper has ended", || has_ended(pid));
    }

    fn has_ended(pid: &str) -> bool {
        let id = nix::unistd::Pid::from_raw(pid.parse().expect("a number"));
        match nix::sys::signal::kill(id, None) {
            Err(_) => true,
            // Killed, and its parent has not taken note of it yet: a zombie is no process that does anything.
            Ok(()) => fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| stat.contains(") Z ")),
        }
    }

    /// Only a process that is killed can show it, so this test starts itself as another one.
    #[test]
    fn a_group_is_killed_when_we_are() {
        const FILE: &str = "FILE_FOR_PROCESS_IDS";
        if let Some(file) = std::env::var_os(FILE) {
            return be_killed_with_a_group(Path::new(&file));
        }
        let file = std::env::temp_dir().join(format!("run-test-{}", std::process::id()));
        let mut us = Command::new(std::env::current_exe().expect("we run"));
        us.arg("a_group_is_killed_when_we_are").env(FILE, &file).stdout(Stdio::null());
        let (mut us, _watchdog) = Watchdog::spawn(&mut us).expect("we run");
        let mut pids = String::new();
        eventually("both have started", || {
            pids = fs::read_to_string(&file).unwrap_or_default();
            pids.ends_with(".\n")
        });
        us.kill().and_then(|()| us.wait()).expect("it is ours");
        let _ = fs::remove_file(&file);
        let (sleeper, leader) = pids.trim_end_matches(".\n").split_once('\n').expect("two lines");
        eventually("both have ended", || has_ended(sleeper) && has_ended(leader));
    }

    fn be_killed_with_a_group(file: &Path) {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 100 & echo $! >\"$0\"; wait"]).arg(file);
        let (group, output) = Group::spawn(command).expect("sh is there");
        let sleeper = || fs::read_to_string(file).unwrap_or_default();
        eventually("the sleeper has started", || sleeper().ends_with('\n'));
        fs::write(file, format!("{}{}.\n", sleeper(), group.id)).expect("it could be read");
        output.finish();
    }

    #[test]
    fn what_a_test_says_decides_together_with_how_it_ends() {
        let verdict =
            |text: &str| script(text).run(Duration::from_secs(30)).expect("sh is there").verdict;
        // One test has to run.
        assert_eq!(verdict("echo running 1 test"), Verdict::Green);
        assert_eq!(verdict("echo running 1 test; exit 101"), Verdict::Red);
        assert_eq!(verdict("echo running 0 tests"), Verdict::NoSuchTest);
        assert_eq!(verdict("exit 3"), Verdict::NoSuchTest);
    }

    #[test]
    fn what_is_said_on_stdout_and_stderr_is_read_in_the_order_it_was_said() {
        let text = "for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done";
        let said = script(text).run(Duration::from_secs(30)).expect("sh is there").output;
        let expected: String = (1..=9).map(|i| format!("out {i}\nerr {i}\n")).collect();
        assert_eq!(said, expected);
    }

    /// Whether the run of the other tests leaves this one out.
    fn skips(args: &[String], name: &str) -> bool {
        args.windows(2).any(|pair| pair[0] == "--skip" && pair[1] == name)
    }

    #[test]
    fn of_the_other_tests_those_that_are_known_to_be_red_are_left_out() {
        let page = |text| Exercise::parse(text).expect("it is a page");
        let mut drill = page(include_str!("../../../docs/src/exercises/4.1.md"));
        drill.taken_back = vec!["another_one".to_owned()];
        let args = rest_of(&drill, &["that_takes_long"]);
        for name in ["half_close_gets_every_byte_back", "another_one", "that_takes_long"] {
            assert!(skips(&args, name), "{name}: {args:?}");
        }
        let machine = page(include_str!("../../../docs/src/exercises/7.1.md"));
        let args = rest_of(&machine, &[]);
        assert!(args.contains(&"machine_tests".to_owned()), "{args:?}");
        assert!(skips(&args, machine.test.names().next().expect("it has a test")), "{args:?}");
    }

    #[test]
    fn a_verdict_is_found_wherever_the_pipe_breaks_what_was_said() {
        let failed = |said: &str| {
            let failed = AtomicBool::default();
            assert_eq!(collect(said.as_bytes(), &failed), said.as_bytes());
            failed.into_inner()
        };
        for before in [0, 4080, 4090, 4096, 5000] {
            let padding = "x".repeat(before);
            assert!(failed(&format!("{padding}\ntest a ... FAILED\nmore\n")), "{before}");
            assert!(!failed(&format!("{padding}\ntest a ... ok\nFAILED?\n")), "{before}");
        }
    }

    #[test]
    fn a_lock_on_the_package_list_is_told_once_and_one_on_the_build_folder_each_time() {
        let said = AtomicBool::default();
        let mut lines = ["package cache", "package cache", "build directory", "build directory"];
        let words = lines
            .each_mut()
            .map(|lock| waits_for(&format!("Blocking waiting for file lock on {lock}"), &said));
        assert!(words[0].as_ref().is_some_and(|word| word.ends_with("it goes on by itself")));
        assert_eq!(words[1], None);
        assert!(words[2].as_ref().is_some_and(|word| word.contains("is building")));
        assert!(words[2] == words[3] && waits_for("Compiling a", &said).is_none());
    }

    #[test]
    fn the_first_errors_of_the_compiler_fit_on_a_screen() {
        let said =
            format!("   Compiling x\nwarning: w\nerror[E1]: first\n{}", "more\n".repeat(100));
        let errors = first_errors(&said);
        assert!(errors.starts_with("error[E1]: first\nmore") && errors.lines().count() == 30);
        let more = "error[E2]: second\n  |\nerror: third\nerror: aborting due to 3 errors\n";
        let errors = first_errors(&(said + more));
        assert!(errors.lines().count() == 31 && errors.ends_with("\nand 2 more"), "{errors}");
        assert!(!first_errors(more).contains(" more"));
    }
}

//! `live`, at a terminal and without one, and what is left behind.
#![cfg(target_os = "linux")]

mod screen;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use common::testkit::server::terminal;
use common::testkit::{deadline, eventually, skipped};
use common::watchdog::Watchdog;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;

use screen::Screen;

const STAGES: [&str; 6] = [
    "stage1-blocking",
    "stage2-threads",
    "stage3-nonblocking-busy",
    "stage4-epoll",
    "stage5-mio",
    "stage6-timers",
];

/// The binaries of the workspace lie side by side.
fn binary(package: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_workshop")).with_file_name(package)
}

fn are_built() -> bool {
    let missing = STAGES.iter().find(|stage| !binary(stage).exists());
    if let Some(missing) = missing {
        skipped(&format!("{missing} is not built: cargo test --workspace builds it"));
    }
    missing.is_none()
}

fn live(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    command.arg("live").args(args);
    command
}

/// The tool while it runs, with all that it has started.
struct Running {
    child: Child,
    _watchdog: Watchdog,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let (child, watchdog) = Watchdog::spawn_group(&mut command).expect("cannot start the tool");
        Self { child, _watchdog: watchdog }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// It ends without an error, and nothing that it has started is left.
    #[track_caller]
    fn ends(&mut self) {
        let mut ended = None;
        eventually("it ends", || {
            ended = self.child.try_wait().expect("it is ours");
            ended.is_some()
        });
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
        self.leaves_nothing();
    }

    #[track_caller]
    fn leaves_nothing(&self) {
        eventually("nothing is left of its group", || killpg(self.pid(), None).is_err());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// A person at a pseudo-terminal of 120 columns and 36 rows.
struct Person {
    written: Arc<Mutex<Vec<u8>>>,
    keyboard: File,
    /// The other side, to see its settings.
    terminal: File,
}

impl Person {
    fn looks(args: &[&str]) -> (Self, Running) {
        Self::looks_after("stty cols 120 rows 36", args)
    }

    /// With a terminal that a command of the shell has set up.
    fn looks_after(command: &str, args: &[&str]) -> (Self, Running) {
        let (keyboard, terminal) = terminal().expect("Linux has them");
        let side = || terminal.try_clone().expect("a descriptor");
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{command}; exec \"$0\" live \"$@\"")]);
        shell.arg(env!("CARGO_BIN_EXE_workshop")).args(args).env("TERM", "xterm");
        shell.stdin(side()).stdout(side()).stderr(side());
        let running = Running::start(shell);
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let (to, mut reader) = (Arc::clone(&written), keyboard.try_clone().expect("a descriptor"));
        thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buf) {
                to.lock().expect("the screen").extend(&buf[..n]);
            }
        });
        (Self { written, keyboard, terminal }, running)
    }

    fn screen(&self) -> Screen {
        Screen::after(&String::from_utf8_lossy(&self.written.lock().expect("the screen")))
    }

    /// A row with all of these. Returns it.
    #[track_caller]
    fn sees(&self, texts: &[&str]) -> String {
        let row = || {
            let rows = self.screen().rows();
            rows.into_iter().find(|row| texts.iter().all(|text| row.contains(text)))
        };
        let start = std::time::Instant::now();
        loop {
            if let Some(row) = row() {
                return row;
            }
            let rows = || self.screen().rows().join("\n");
            assert!(start.elapsed() < deadline(), "no row with {texts:?}:\n{}", rows());
            thread::park_timeout(std::time::Duration::from_millis(20));
        }
    }

    fn types(&self, keys: &str) {
        (&self.keyboard).write_all(keys.as_bytes()).expect("it takes keys");
    }

    /// The old screen is back, keys are shown, and passed on line by line.
    #[track_caller]
    fn has_the_terminal_back(&self) {
        eventually("the old screen is back", || !self.screen().is_alternate);
        let flags = tcgetattr(&self.terminal).expect("a terminal").local_flags;
        assert!(flags.contains(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG));
    }
}

#[test]
fn keys_add_clients_and_a_digit_changes_the_stage_and_keeps_them() {
    if !are_built() {
        return;
    }
    let (person, mut running) = Person::looks(&["--no-build", "stage4-epoll"]);
    person.sees(&["stage4-epoll 127.0.0.1:", "pid", "[4]"]);
    person.sees(&["No clients yet"]);
    assert!(person.screen().is_alternate);
    person.types("fs");
    person.sees(&["flood served"]);
    person.sees(&["silent open"]);
    person.types("5");
    person.sees(&["stage5-mio 127.0.0.1:", "[5]"]);
    person.sees(&["flood served"]);
    person.sees(&["silent open"]);
    person.types("xx");
    person.sees(&["No clients yet"]);
    person.types("c?");
    person.sees(&["c 100 silent clients at once"]);
    person.types("?");
    person.sees(&["100 silent 100 open"]);
    person.types("t");
    person.sees(&["talk served"]);
    person.types("q");
    running.ends();
    person.has_the_terminal_back();
}

#[test]
fn however_it_ends_the_terminal_is_as_before_and_nothing_is_left() {
    if !are_built() {
        return;
    }
    for signal in [None, Some(Signal::SIGTERM), Some(Signal::SIGHUP)] {
        let (person, mut running) = Person::looks(&["--no-build", "--with", "t,n,f"]);
        person.sees(&["talk served"]);
        match signal {
            Some(signal) => kill(running.pid(), signal).expect("it runs"),
            None => person.types("\x03"),
        }
        running.ends();
        person.has_the_terminal_back();
    }
}

#[test]
fn a_tool_whose_terminal_is_closed_or_that_is_killed_leaves_no_server() {
    if !are_built() {
        return;
    }
    let (person, mut running) = Person::looks(&["--no-build", "--with", "t"]);
    person.sees(&["talk served"]);
    running.child.kill().and_then(|()| running.child.wait()).expect("it runs");
    running.leaves_nothing();

    // The reader of the other test holds its side open. Here a program takes the place of the person.
    let (keyboard, side) = terminal().expect("Linux has them");
    let copy = || side.try_clone().expect("a descriptor");
    let mut shell = Command::new("sh");
    shell.args(["-c", "stty cols 80 rows 24; exec \"$0\" live --no-build"]);
    shell.arg(env!("CARGO_BIN_EXE_workshop")).env("TERM", "xterm");
    shell.stdin(copy()).stdout(copy()).stderr(copy());
    let mut running = Running::start(shell);
    drop(side);
    let (mut written, mut buf) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&written).contains("epoll_wait") {
        let n = (&keyboard).read(&mut buf).expect("it draws");
        written.extend(&buf[..n]);
    }
    drop(keyboard);
    running.ends();
}

#[test]
fn a_server_that_is_killed_is_told_and_the_picture_stays() {
    if !are_built() {
        return;
    }
    let (person, mut running) = Person::looks(&["--no-build", "6"]);
    let title = person.sees(&["stage6-timers 127.0.0.1:", "[6]"]);
    let pid = title.split_once("pid ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    kill(Pid::from_raw(pid.expect("a pid")), Signal::SIGKILL).expect("it runs");
    person.sees(&["stage6-timers has ended: signal: 9 (SIGKILL)"]);
    person.types("1");
    person.sees(&["stage1-blocking 127.0.0.1:", "[1]"]);
    person.types("q");
    running.ends();
}

#[test]
fn the_last_of_several_digits_counts() {
    if !are_built() {
        return;
    }
    let (person, mut running) = Person::looks(&["--no-build", "5", "--", "--max-connections", "3"]);
    person.sees(&["stage5-mio 127.0.0.1:", "[5]"]);
    person.types("4166");
    person.sees(&["stage6-timers 127.0.0.1:", "[6]"]);
    person.types("1");
    person.sees(&["stage1-blocking does not start: error: unexpected argument"]);
    let title = person.screen().rows()[0].clone();
    assert!(title.trim_start().starts_with("live") && !title.contains("pid"), "{title}");
    person.types("q");
    running.ends();
}

#[test]
fn a_large_terminal_is_drawn_on_and_a_dumb_one_gets_lines() {
    if !are_built() {
        return;
    }
    // More cells than a u16 can count.
    let (person, mut running) = Person::looks_after("stty cols 300 rows 300", &["--no-build"]);
    eventually("it draws", || person.screen().is_alternate);
    person.types("q");
    running.ends();
    let dumb = "stty cols 120 rows 36; export TERM=dumb";
    let (person, mut running) = Person::looks_after(dumb, &["--no-build"]);
    person.sees(&["1.0 s; asleep in epoll_wait"]);
    assert!(!person.screen().is_alternate);
    kill(running.pid(), Signal::SIGTERM).expect("it runs");
    running.ends();
}

/// The tool without a terminal, and its lines.
fn lines_of(args: &[&str]) -> (Running, impl Iterator<Item = String> + use<>) {
    lines_from(live(args))
}

fn lines_from(mut command: Command) -> (Running, impl Iterator<Item = String> + use<>) {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = Running::start(command);
    let stdout = BufReader::new(running.child.stdout.take().expect("a pipe"));
    (running, stdout.lines().map_while(Result::ok))
}

/// The next line that has all of these. There is one each second.
#[track_caller]
fn line_with(lines: &mut impl Iterator<Item = String>, texts: &[&str]) -> String {
    let mut seen = String::new();
    for line in lines.take(60) {
        if texts.iter().all(|text| line.contains(text)) {
            return line;
        }
        seen += &line;
        seen.push('\n');
    }
    panic!("no line with {texts:?}:\n{seen}");
}

#[test]
fn without_a_terminal_each_stage_has_a_line_a_second() {
    if !are_built() {
        return;
    }
    for (i, stage) in STAGES.iter().enumerate() {
        let number = (i + 1).to_string();
        let (mut running, mut lines) = lines_of(&["--no-build", &number, "--with", "t,s"]);
        let head = lines.next().expect("a head");
        assert!(head.starts_with(&format!("{stage} on 127.0.0.1:")), "{head}");
        // Stage 1 serves the one that came first, which may be either.
        let talk = if i == 0 { "1 talk (" } else { "1 talk (served)" };
        let silent = if i == 0 { "1 silent (" } else { "1 silent (open)" };
        let doing = if i == 2 { "running" } else { "asleep" };
        // Only these say what they have done.
        let reads = if i >= 2 { ", reads " } else { "CPU " };
        let line = line_with(&mut lines, &[talk, silent, doing, reads, "memory ", "descriptors "]);
        assert_eq!(line.contains(", reads "), i >= 2, "{line}");
        kill(running.pid(), Signal::SIGTERM).expect("it runs");
        running.ends();
    }
}

#[test]
fn a_reader_that_leaves_ends_it() {
    if !are_built() {
        return;
    }
    let (mut running, mut lines) = lines_of(&["--no-build", "--with", "f"]);
    line_with(&mut lines, &["1 flood (served)"]);
    drop(lines);
    running.ends();
}

/// A server of another person, and where it listens.
struct Served {
    child: Child,
    addr: String,
    _watchdog: Watchdog,
}

impl Served {
    fn start(mut command: Command) -> Self {
        command.arg("127.0.0.1:0").stdout(Stdio::piped()).stderr(Stdio::null());
        let (mut child, _watchdog) = Watchdog::spawn(&mut command).expect("a server");
        let mut said = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        stdout.read_line(&mut said).expect("it says where it listens");
        let addr = said.trim_end().strip_prefix("listening on ").unwrap_or_default().to_owned();
        Self { child, addr, _watchdog }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_that_runs_already_is_looked_at_and_stays() {
    if !are_built() {
        return;
    }
    let mut server = Served::start(Command::new(binary("stage5-mio")));
    let (pid, addr) = (server.pid(), server.addr.clone());
    let (mut running, mut lines) = lines_of(&["--attach", &pid, "--with", "n"]);
    let head = lines.next().expect("a head");
    assert_eq!(head, format!("stage5-mio on {addr}, process {pid}"));
    line_with(&mut lines, &["1 never reads (waits)", "in server ", "back 0"]);
    kill(running.pid(), Signal::SIGTERM).expect("it runs");
    running.ends();
    assert!(server.child.try_wait().expect("it is ours").is_none(), "it was ended");

    let (mut running, mut lines) = lines_of(&["--attach", &pid]);
    line_with(&mut lines, &["asleep"]);
    server.child.kill().and_then(|()| server.child.wait()).expect("it is ours");
    line_with(&mut lines, &[&format!("process {pid} has ended")]);
    kill(running.pid(), Signal::SIGTERM).expect("it runs");
    running.ends();
}

#[test]
fn a_server_that_is_stopped_or_whose_parent_looks_away_is_told() {
    if !are_built() {
        return;
    }
    let mut server = Served::start(Command::new(binary("stage5-mio")));
    let pid = server.pid();
    let (mut running, mut lines) = lines_of(&["--attach", &pid]);
    line_with(&mut lines, &["asleep in epoll_wait 100 %"]);
    kill(Pid::from_raw(server.child.id().cast_signed()), Signal::SIGSTOP).expect("it runs");
    line_with(&mut lines, &["stopped, as by SIGSTOP 100 %"]);
    // It is still listed until we wait for it.
    server.child.kill().expect("it is ours");
    line_with(&mut lines, &[&format!("process {pid} has ended")]);
    kill(running.pid(), Signal::SIGTERM).expect("it runs");
    running.ends();
}

#[test]
fn few_descriptors_mean_few_clients_but_no_wrong_figures() {
    if !are_built() {
        return;
    }
    let server = Served::start(Command::new(binary("stage5-mio")));
    let pid = server.pid();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 64; exec \"$0\" live \"$@\""]);
    shell.arg(env!("CARGO_BIN_EXE_workshop")).args(["--attach", &pid, "--with", "c"]);
    let (mut running, mut lines) = lines_from(shell);
    line_with(&mut lines, &["asleep", "threads 1, ", "backlog 0; 32 silent (32 open)"]);
    kill(running.pid(), Signal::SIGTERM).expect("it runs");
    running.ends();
}

#[test]
fn a_server_in_another_network_is_told_from_one_that_does_not_listen() {
    let may = Command::new("unshare").args(["-rn", "true"]).output();
    if !are_built() || !may.is_ok_and(|may| may.status.success()) {
        skipped("unshare may not make a network");
        return;
    }
    let mut shell = Command::new("unshare");
    shell.arg("-rn").arg(binary("stage5-mio"));
    // There 127.0.0.1 can be listened on, though its interface is down.
    let server = Served::start(shell);
    let pid = server.pid();
    let expected = format!("Error: process {pid} (stage5-mio) has another network namespace");
    check_refused(&["--attach", &pid], &expected);
}

#[track_caller]
fn check_refused(args: &[&str], expected: &str) {
    let Output { status, stdout, stderr } = live(args).output().expect("cannot start the tool");
    let said = String::from_utf8_lossy(&stderr);
    assert!(said.starts_with(expected), "{said}");
    assert_eq!((status.success(), status.signal(), stdout.len()), (false, None, 0), "{said}");
}

#[test]
fn what_cannot_be_looked_at_is_told_in_one_line() {
    let us = std::process::id().to_string();
    check_refused(&["--attach", "4294967295"], "Error: there is no process 4294967295\n");
    let mut sleeper = Command::new("sleep");
    let (mut sleeper, _watchdog) = Watchdog::spawn(sleeper.arg("60")).expect("sleep is there");
    let pid = sleeper.id().to_string();
    let is_there =
        || fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("sleep"));
    eventually("it sleeps", is_there);
    let expected =
        format!("Error: process {pid} (sleep) is no server: it does not listen on a TCP");
    check_refused(&["--attach", &pid], &expected);
    sleeper.kill().and_then(|()| sleeper.wait()).expect("it is ours");
    check_refused(&["--attach", &us, "5"], "error: the argument '--attach <PID>' cannot be used");
    check_refused(&["7"], "error: invalid value '7' for '[STAGE]': there are: stage1-blocking, ");
    if are_built() {
        let wrong = ["--no-build", "5", "--", "--max-connections", "0"];
        check_refused(&wrong, "Error: stage5-mio does not start: error: invalid value '0' for");
    }
}

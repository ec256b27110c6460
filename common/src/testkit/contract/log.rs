//! The log is for people. However it fails, the clients do not notice.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::testkit::client::{Client, random_bytes};
use crate::testkit::contract::watching::figures;
use crate::testkit::server::{
    Server, full_pipe, nameless_file, run_prepared, small_pipe, takes_more, terminal,
};
use crate::testkit::{eventually, pass, skipped};

/// Long enough for three lines of `--stats`, of which the first comes after a second.
pub(super) const THREE_LINES_OF_STATS: Duration = Duration::from_millis(3_200);

/// The log is a full pipe, and its reader has stopped reading. At debug each client is two lines.
pub fn serves_on_when_its_log_is_stuck(exe: &str) {
    let Some((_unread, stderr)) = full_pipe() else { return skipped("needs a pipe to fill") };
    let server = Server::prepared(exe, &[], &[], |command| debug(command, stderr));
    come_and_go(&server, 20);
    server.assert_still_serving();
}

/// The same with `--stats`, whose thread has lines to write at the same time.
pub fn serves_on_when_its_stats_are_stuck(exe: &str) {
    let Some((unread, stderr)) = full_pipe() else { return skipped("needs a pipe to fill") };
    let server = Server::prepared(exe, &["--stats"], &[], |command| debug(command, stderr));
    serve_for(&server, THREE_LINES_OF_STATS);
    server.read_log_from(unread);
    eventually("its stats come again", || has_stats(&server.log()));
    server.assert_still_serving();
}

/// The pipe is stuck for two thousand lines, and then it is read. No line is half there, and those that are
/// not there at all have been counted.
pub fn says_how_many_lines_of_its_log_were_lost(exe: &str) {
    let Some((unread, stderr)) = small_pipe() else { return skipped("needs a small pipe") };
    let server = Server::prepared(exe, &[], &[], |command| debug(command, stderr));
    let mut clients = 1_000;
    come_and_go(&server, clients);
    server.read_log_from(unread);
    eventually("each line is there or counted", || {
        come_and_go(&server, 1); // what is lost is told with the next line
        clients += 1;
        // The last lines are on their way. If they are lost too, the next client makes it say so.
        (0..100).any(|_| {
            pass(Duration::from_millis(1));
            let log = server.log();
            log.contains(" of this log w") && lines_accounted_for(&log) >= 2 * clients
        })
    });
    assert_eq!(lines_accounted_for(&server.log()), 2 * clients);
    server.assert_still_serving();
}

/// The log is a file that has reached RLIMIT_FSIZE. write(2) says EFBIG then, and before that the kernel
/// sends SIGXFSZ, which kills a process that does nothing about it.
pub fn serves_on_when_its_log_may_not_grow(exe: &str) {
    if cfg!(not(unix)) {
        return skipped("there is no such limit here");
    }
    let (stderr, log) = nameless_file();
    let through = ["sh", "-c", "ulimit -f 1 && exec \"$0\" \"$@\""];
    let server = Server::prepared(exe, &[], &through, |command| debug(command, stderr));
    come_and_go(&server, 40);
    server.assert_still_serving();
    // 80 lines would be over 4 KiB. One block of `ulimit` is 512 bytes, or 1,024.
    let size = log.metadata().expect("metadata").len();
    assert!((1..=1024).contains(&size), "{size} bytes of log");
}

/// The file has reached the limit, and then the limit is raised: the stats are there again.
pub fn its_stats_come_back_when_their_file_may_grow_again(exe: &str) {
    if cfg!(not(target_os = "linux")) {
        return skipped("needs prlimit(1)");
    }
    let (mut stderr, mut log) = nameless_file();
    stderr.write_all(&[b'\n'; 1024]).expect("cannot fill the file");
    let through = ["sh", "-c", "ulimit -S -f 1 && exec \"$0\" \"$@\""];
    let server = Server::prepared(exe, &["--stats"], &through, |command| {
        command.stderr(stderr);
    });
    serve_for(&server, THREE_LINES_OF_STATS);
    assert_eq!(log.metadata().expect("metadata").len(), 1024);
    if !server.change_limit("--fsize=unlimited:") {
        return skipped("needs prlimit(1)");
    }
    eventually("its stats come again", || has_stats(&text(&mut log)));
    server.assert_still_serving();
}

/// A `RUST_LOG` that cannot be read: it says so, and what it does about it, and serves.
pub fn a_bad_filter_for_its_log_is_one_clear_line(exe: &str) {
    let server = Server::start_with_log_level(exe, "a=b=c", &[]);
    server.assert_still_serving();
    server.wait_for_log("\n");
    let log = server.log();
    assert_eq!(log.lines().count(), 1, "{log}");
    for part in ["RUST_LOG", "a=b=c", "info"] {
        assert!(log.contains(part), "no {part}: {log}");
    }
}

/// The disk is full: each write(2) to the log says ENOSPC, and the first would say that `RUST_LOG` is bad.
pub fn serves_although_its_log_cannot_be_written(exe: &str) {
    for filter in ["debug", "a=b=c"] {
        let Some(stderr) = full_disk() else { return skipped("needs /dev/full") };
        let server = Server::prepared(exe, &[], &[], |command| {
            command.env("RUST_LOG", filter).stderr(stderr);
        });
        come_and_go(&server, 20);
        server.assert_still_serving();
    }
}

/// An error that it cannot tell anyone of is the same error to the shell.
pub fn exits_with_the_same_code_when_its_error_cannot_be_written(exe: &str) {
    let (_taken, addr) = port_in_use();
    for (arg, code) in [("--nonsense", 2), (&addr, 1)] {
        let Some(stderr) = full_disk() else { return skipped("needs /dev/full") };
        let output = run_prepared(exe, &[arg], |command| {
            command.stderr(stderr);
        });
        assert_eq!(output.status.code(), Some(code), "{arg}");
    }
}

/// The port is in use, and what says so goes into a full pipe. It ends all the same.
pub fn exits_when_its_error_is_stuck(exe: &str) {
    let (_taken, addr) = port_in_use();
    for filter in ["info", "a=b=c"] {
        let Some((_unread, stderr)) = full_pipe() else { return skipped("needs a pipe to fill") };
        let output = run_prepared(exe, &[&addr], |command| {
            command.env("RUST_LOG", filter).stderr(stderr);
        });
        assert_eq!(output.status.code(), Some(1), "RUST_LOG={filter}");
    }
}

/// 30 clients that do not read, one after the other. The log says of the first ones who they were. (And a
/// minute later how many it has left out, which is too long for a test.)
pub fn clients_that_are_cut_off_do_not_fill_the_log(exe: &str) {
    const A_DOZEN: usize = 12;
    let server = Server::start(exe);
    let mut other = server.connect();
    let bytes = random_bytes(1024 * 1024);
    let mut addresses = Vec::new();
    for _ in 0..30 {
        let mut deaf = server.connect();
        addresses.push(deaf.stream.local_addr().expect("an address").to_string());
        eventually("it has been cut off", || {
            deaf.fill(&bytes, || other.round_trip(b"and I?")).is_err()
        });
    }
    server.wait_for_log("cut off");
    pass(Duration::from_millis(100)); // for those that would be too many
    let log = server.log();
    assert!(log.lines().count() <= A_DOZEN, "{log}");
    for line in log.lines().filter(|line| line.contains("cut off")) {
        let names = |address: &String| line.split([' ', '=', '(', ')']).any(|word| word == address);
        assert!(addresses.iter().any(names), "{line}");
    }
    server.assert_still_serving();
}

/// The log is a terminal, and the program behind it has stopped reading. poll(2) says of a terminal that it
/// takes more as long as there is room for one byte, and then write(2) sleeps in the middle of a line.
pub fn serves_on_when_its_terminal_is_stuck(exe: &str) {
    let Some((_unread, stderr)) = terminal() else { return skipped("needs a terminal of Linux") };
    let server = Server::prepared(exe, &[], &[], |command| debug(command, stderr));
    // Its buffer takes about 17 KB. These are more than 50.
    come_and_go(&server, 300);
    server.assert_still_serving();
}

/// Ctrl-S keeps the screen still for a person who reads it, until Ctrl-Q.
pub fn serves_on_when_its_terminal_is_stopped(exe: &str) {
    let Some((mut keys, screen)) = terminal() else { return skipped("needs a terminal of Linux") };
    let stderr = screen.try_clone().expect("clone");
    let server = Server::prepared(exe, &[], &[], |command| debug(command, stderr));
    server.read_log_from(keys.try_clone().expect("clone"));
    come_and_go(&server, 1);
    server.wait_for_log("closed");
    keys.write_all(b"\x13").expect("cannot press Ctrl-S");
    eventually("the terminal has stopped", || !takes_more(&screen));
    come_and_go(&server, 40);
    let before = server.log().len();
    keys.write_all(b"\x11").expect("cannot press Ctrl-Q");
    eventually("lines come again", || {
        come_and_go(&server, 1);
        server.log()[before..].contains("closed")
    });
    server.assert_still_serving();
}

/// Colours are for people, who look at a terminal.
pub fn puts_colour_into_a_log_that_is_a_terminal(exe: &str) {
    let Some(log) = log_on_a_terminal(exe, "TERM", "xterm") else {
        return skipped("needs a terminal of Linux");
    };
    assert!(log.contains("\x1b["), "{log}");
}

/// Some people want none: see no-color.org. And a dumb terminal would show the escape codes.
pub fn puts_no_colour_into_a_log_when_it_is_not_wanted(exe: &str) {
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let Some(log) = log_on_a_terminal(exe, name, value) else {
            return skipped("needs a terminal of Linux");
        };
        assert!(!log.contains('\x1b'), "{name}={value}: {log}");
    }
}

/// What it says of one client to a terminal.
#[track_caller]
fn log_on_a_terminal(exe: &str, name: &str, value: &str) -> Option<String> {
    let (screen, stderr) = terminal()?;
    let server = Server::prepared(exe, &[], &[], |command| {
        command.env("TERM", "xterm").env_remove("NO_COLOR").env(name, value);
        debug(command, stderr);
    });
    server.read_log_from(screen);
    come_and_go(&server, 1);
    server.wait_for_log("closed");
    Some(server.log())
}

/// A client resets its connection, and the next one comes from the same address and port. Each has a name of its
/// own in the log.
pub fn clients_from_the_same_port_have_different_names_in_its_log(exe: &str) {
    let server = Server::start_with_log_level(exe, "debug", &[]);
    let mut first = Client::connect_from(server.addr().ip(), server.addr()).expect("connect");
    first.round_trip(b"I was first");
    let source = first.stream.local_addr().expect("an address");
    first.reset();
    server.wait_for_log("gone");
    // A client of another test may have the port now, for a while.
    eventually("the port is free", || {
        let socket = Socket::new(Domain::for_address(source), Type::STREAM, None).expect("socket");
        let bound = socket.bind(&source.into());
        bound.and_then(|()| socket.connect(&server.addr().into())).is_ok()
    });
    let names = || {
        let log = server.log();
        let words =
            log.lines().filter(|line| line.contains("connected")).map(str::split_whitespace);
        let mut names = words.flatten().filter(|word| word.starts_with("client="));
        Some((names.next()?.to_owned(), names.next()?.to_owned()))
    };
    eventually("both have connected", || names().is_some());
    let (first, second) = names().expect("there are two");
    assert_ne!(first, second, "{}", server.log());
}

/// Clients that connect, say something and leave: two lines each at debug.
#[track_caller]
fn come_and_go(server: &Server, clients: usize) {
    for _ in 0..clients {
        server.connect().round_trip(b"connected and closed");
    }
}

/// Clients come and go, not too many of them, for so long.
#[track_caller]
pub(super) fn serve_for(server: &Server, time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        come_and_go(server, 1);
        pass(Duration::from_millis(20));
    }
}

fn debug(command: &mut Command, stderr: impl Into<Stdio>) {
    command.env("RUST_LOG", "debug").stderr(stderr);
}

/// How many lines of clients are there or have been counted as lost. Those that are there are whole.
#[track_caller]
fn lines_accounted_for(log: &str) -> usize {
    // The last one may be on its way.
    let ended = log.rsplit_once('\n').map_or("", |(ended, _)| ended);
    let mut sum = 0;
    for line in ended.lines() {
        let once = |part| line.matches(part).count() == 1;
        let whole = line.starts_with("20") && once(" DEBUG ") && once(" client=");
        let lost = lost(line);
        assert!(whole || lost.is_some(), "half a line, or two: {line:?}");
        sum += lost.unwrap_or(1);
    }
    sum
}

/// "7 lines of this log were lost": seven.
fn lost(line: &str) -> Option<usize> {
    let words = [" lines of this log were lost", " line of this log was lost"];
    let (before, _) = words.iter().find_map(|words| line.split_once(words))?;
    before.split_whitespace().next_back()?.parse().ok()
}

/// Whether there is a line of figures, whatever stands above it.
fn has_stats(log: &str) -> bool {
    log.lines().any(|line| figures(line).is_some())
}

#[track_caller]
fn text(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().expect("rewind");
    file.read_to_string(&mut text).expect("the log is text");
    text
}

/// A file on a disk that is full.
fn full_disk() -> Option<File> {
    File::options().write(true).open("/dev/full").ok()
}

#[track_caller]
fn port_in_use() -> (TcpListener, String) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("cannot bind");
    let addr = taken.local_addr().expect("an address").to_string();
    (taken, addr)
}

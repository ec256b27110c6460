//! The measuring program, seen from outside. `tokio` is the server that needs nothing built for it.

use std::env;
use std::fs;
use std::process::{Command, Output};

use common::testkit::self_connect::shell_with_ports;

fn bench(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    command.arg("bench").args(args);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_session_prints_a_table_and_keeps_the_results() {
    let file = env::temp_dir().join(format!("bench-test-{}.json", std::process::id()));
    let args = ["--quick", "--scene", "ask-64", "--server", "tokio", "--json"];
    let output = bench(&args).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("| tokio "), "{printed}");
    assert!(!printed.contains("tokio:"), "it was left out: {printed}");

    // What was kept is printed again, letter by letter.
    let again = bench(&["--from"]).arg(&file).output().unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(String::from_utf8(again.stdout).unwrap(), printed);
}

#[test]
fn results_that_cannot_be_written_are_not_measured() {
    let folder = env::temp_dir();
    for file in [folder.join("no-such-folder/results.json"), folder] {
        let args = ["--quick", "--scene", "ask-1", "--server", "tokio", "--json"];
        let output = bench(&args).arg(&file).output().unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]));
        assert!(stderr(&output).starts_with("Error: cannot write "), "{}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1);
    }
}

#[test]
fn a_foreign_server_is_told_its_address() {
    let us = env!("CARGO_BIN_EXE_workshop");
    let peer = format!("mine={us} peer {{addr}}");
    let args = ["--quick", "--scene", "ask-1", "--server", "mine", "--peer", &peer];
    let output = bench(&args).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("| mine "), "{printed}{}", stderr(&output));
    assert!(!printed.contains("mine:"), "it was left out: {printed}");
}

#[test]
fn a_server_that_ends_at_once_is_named_and_the_others_go_on() {
    let args = ["--quick", "--scene", "ask-1", "--server", "tokio", "--peer", "gone=false {addr}"];
    let output = bench(&args).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("gone: it ended at once"), "{printed}{}", stderr(&output));
    assert!(printed.contains("| tokio "), "{printed}");
}

/// It never listens, and the kernel has one port to give out: the one that we try again and again.
#[test]
fn our_own_end_is_not_taken_for_a_server_that_listens() {
    let script = "\"$1\" bench --quick --scene ask-1 --server mine --peer 'mine=timeout 1 tail -f /dev/null {addr}'";
    let Some(mut command) = shell_with_ports("40007 40007", script) else { return };
    let output = command.arg(env!("CARGO_BIN_EXE_workshop")).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("mine: it ended at once"), "{printed}{}", stderr(&output));
}

#[test]
fn an_unknown_scene_or_server_is_one_line_that_names_those_there_are() {
    let output = bench(&["--scene", "nonsense"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("Error: no scene 'nonsense'; there are: ask-1, "));
    assert_eq!(stderr(&output).lines().count(), 1);
    let output = bench(&["--server", "nonsense"]).output().unwrap();
    assert!(
        stderr(&output).starts_with("Error: no server 'nonsense'; there are: stage1-blocking, ")
    );
}

/// It stops at once and takes the server it has started along.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_ends_the_session_and_every_server_it_started() {
    use std::path::PathBuf;
    use std::process::Stdio;
    use std::thread;
    use std::time::{Duration, Instant};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    const PATIENCE: Duration = Duration::from_secs(20);

    // Five seconds of silence, in each of a thousand rounds: it would not be over by itself.
    let args = ["--scene", "idle", "--server", "tokio", "--runs", "1000"];
    let mut session = bench(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let list = PathBuf::from(format!("/proc/{0}/task/{0}/children", session.id()));
    let deadline = Instant::now() + PATIENCE;
    // The first children only find out which tools there are. We want one that serves.
    let server = loop {
        let children = fs::read_to_string(&list).unwrap();
        let serves = |pid: &&str| {
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline"));
            command.is_ok_and(|command| command.contains("peer"))
        };
        if let Some(pid) = children.split_whitespace().find(serves) {
            break pid.to_owned();
        }
        assert!(Instant::now() < deadline, "it has started no server");
        thread::park_timeout(Duration::from_millis(1)); // or we take the time it needs to start
    };
    kill(Pid::from_raw(session.id().cast_signed()), Signal::SIGINT).unwrap();
    let asked = Instant::now();
    let status = loop {
        if let Some(status) = session.try_wait().unwrap() {
            break status;
        }
        if asked.elapsed() > PATIENCE {
            session.kill().unwrap();
            panic!("it goes on");
        }
        thread::park_timeout(Duration::from_millis(1));
    };
    assert!(!status.success());
    assert!(!PathBuf::from(format!("/proc/{server}")).exists(), "the server is still there");
}

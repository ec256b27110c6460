//! The measuring program, seen from outside. `tokio` is the server that needs nothing built for it.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::testkit::client::allow_descriptors;
use common::testkit::self_connect::shell_with_ports;
use common::testkit::skipped;

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
    if !allow_descriptors(128) {
        return skipped("needs 128 descriptors");
    }
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

/// Without a server: the book's tables cannot differ from its results, nor stay behind them.
#[test]
fn the_tables_of_the_book_are_the_results_that_were_kept() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let output = bench(&["--from"]).arg(docs.join("measurements.json")).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let kept = fs::read_to_string(docs.join("measurements-tables.md")).unwrap();
    let differs = printed.lines().zip(kept.lines()).find(|(printed, kept)| printed != kept);
    assert_eq!(differs, None, "run `bench --from docs/measurements.json`");
    assert_eq!(printed.lines().count(), kept.lines().count());
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
    if !allow_descriptors(100) {
        return skipped("needs 100 descriptors");
    }
    let us = env!("CARGO_BIN_EXE_workshop");
    let peer = format!("mine={us} peer {{addr}}");
    let args = ["--quick", "--scene", "ask-1", "--server", "mine", "--peer", &peer];
    let output = bench(&args).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("| mine "), "{printed}{}", stderr(&output));
    assert!(!printed.contains("mine:"), "it was left out: {printed}");
}

/// With a target platform cargo builds in a folder of that name, also if it is the platform that we are on.
#[test]
fn a_stage_is_found_wherever_cargo_builds_it() {
    if !allow_descriptors(100) {
        return skipped("needs 100 descriptors");
    }
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-target");
    let _ = fs::remove_dir_all(&root);
    let package = root.join("stage1-blocking");
    fs::create_dir_all(root.join("docs/src/exercises")).unwrap();
    fs::create_dir_all(package.join("src")).unwrap();
    let manifest = "[package]\nname = \"stage1-blocking\"\nedition = \"2024\"\n";
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::write(package.join("src/main.rs"), SERVER).unwrap();
    fs::write(
        root.join("Cargo.toml"),
        "[workspace]\nresolver = \"3\"\nmembers = [\"stage1-blocking\"]\n",
    )
    .unwrap();
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let mut command = bench(&["--quick", "--scene", "ask-1", "--server", "stage1-blocking"]);
    command.current_dir(&root).env("CARGO_MANIFEST_DIR", &root);
    command.env_remove("CARGO_TARGET_DIR").env("CARGO_BUILD_TARGET", host);
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("| stage1-blocking "), "{printed}{}", stderr(&output));
    assert!(!printed.contains("stage1-blocking:"), "it was left out: {printed}");
    assert!(root.join("target").join(host).is_dir());
}

/// As little as a stage can be.
const SERVER: &str = r#"
use std::io;
fn main() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    println!("listening on {}", listener.local_addr().unwrap());
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nodelay(true).unwrap();
        let _ = io::copy(&mut &stream, &mut &stream);
    }
}
"#;

#[test]
fn a_server_that_ends_at_once_is_named_and_the_others_go_on() {
    if !allow_descriptors(100) {
        return skipped("needs 100 descriptors");
    }
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

#[cfg(target_os = "linux")]
mod ends {
    use std::process::{Child, Stdio};

    use common::testkit::eventually;
    use common::testkit::server::{Signal, send_signal};
    use common::watchdog::Watchdog;

    use super::*;

    /// A session that would not be over by itself, and the process ID of its server.
    struct Session {
        child: Child,
        server: String,
        _watchdog: Watchdog,
    }

    impl Session {
        /// `None`: it has no room for one client.
        fn start() -> Option<Self> {
            if !allow_descriptors(100) {
                skipped("needs 100 descriptors");
                return None;
            }
            let mut command = bench(&["--scene", "ask-1", "--server", "tokio"]);
            command.args(["--runs", "1000", "--times-only"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let (child, watchdog) = Watchdog::spawn(&mut command).expect("we are there");
            let list = format!("/proc/{0}/task/{0}/children", child.id());
            let mut session = Self { child, server: String::new(), _watchdog: watchdog };
            eventually("it has started a server", || {
                let children = fs::read_to_string(&list).expect("the session runs");
                let mut children = children.split_whitespace();
                let server = children.find(|pid| serves(pid) && works(pid));
                session.server = server.unwrap_or_default().to_owned();
                server.is_some()
            });
            Some(session)
        }
    }

    impl Drop for Session {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// Whether this is a server that has not ended. A process that has ended and was not waited for has no command line.
    fn serves(pid: &str) -> bool {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline"));
        command.is_ok_and(|command| command.contains("peer"))
    }

    /// Whether it has taken more time than to start: 200 ms of CPU, see proc_pid_schedstat(5).
    fn works(pid: &str) -> bool {
        let schedstat = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        let cpu = schedstat.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok());
        cpu.is_some_and(|ns| ns > 200_000_000)
    }

    #[test]
    fn a_signal_ends_the_session_and_every_server_it_started() {
        let Some(mut session) = Session::start() else { return };
        send_signal(session.child.id(), Signal::Interrupt);
        eventually("it stops", || session.child.try_wait().unwrap().is_some());
        assert!(!session.child.wait().unwrap().success());
        assert!(!serves(&session.server), "the server is still there");
    }

    #[test]
    fn a_session_that_is_killed_takes_its_server_along() {
        let Some(mut session) = Session::start() else { return };
        session.child.kill().unwrap();
        session.child.wait().unwrap();
        eventually("its server has ended", || !serves(&session.server));
    }
}

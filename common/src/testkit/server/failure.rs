//! What the servers of a test do at the moment when it fails.
//!
//! When a test panics, its clients are dropped before the server if they were connected later, and the server goes
//! on with that. A panic hook runs before anything is dropped, so this is where we look.

use std::cell::RefCell;
use std::io;
use std::panic;
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

use super::{LAST_MOMENTS, LAST_WORDS, state, usage};
use crate::blocked::blocked_in;

/// A server may sleep for a moment between two turns of a spin. One that sleeps for longer has nothing to do.
const FOR_GOOD: Duration = Duration::from_millis(20);

struct Living {
    pid: u32,
    /// Its state has been told.
    is_told: bool,
}

thread_local! {
    /// The servers that this thread has started and not dropped.
    static SERVERS: RefCell<Vec<Living>> = const { RefCell::new(Vec::new()) };
}

/// From now on a thread that panics says what its servers do, behind its message.
pub(super) fn tell_of_servers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let message = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // The message is written in parts. The lock keeps them in one piece: under it, each line of a server's
            // log is written as well.
            let whole = io::stderr().lock();
            message(info);
            drop(whole);
            tell();
        }));
    });
}

/// A server of this thread.
pub(super) fn add(pid: u32) {
    SERVERS.with_borrow_mut(|servers| servers.push(Living { pid, is_told: false }));
}

/// It is about to be killed.
pub(super) fn remove(pid: u32) {
    SERVERS.with_borrow_mut(|servers| servers.retain(|server| server.pid != pid));
}

/// Whether its state was told when the test failed. It was not if it had ended by then.
pub(super) fn is_told(pid: u32) -> bool {
    SERVERS.with_borrow(|servers| servers.iter().any(|server| server.pid == pid && server.is_told))
}

fn tell() {
    // While the list is changed, or the thread ends, there is nothing to tell.
    let _ = SERVERS.try_with(|servers| {
        let Ok(mut servers) = servers.try_borrow_mut() else { return };
        for server in servers.iter_mut() {
            if let Some(how_it_is) = how_it_is(server.pid) {
                eprintln!("{how_it_is}");
                server.is_told = true;
            }
        }
    });
}

/// What a server does right now. `None`: it has ended, or there is no `/proc`.
fn how_it_is(pid: u32) -> Option<String> {
    let (start, before) = (Instant::now(), cpu(pid));
    let mut asleep = None;
    // On a busy machine a server that is about to end may get no CPU to do it.
    let has_no_cpu = || {
        let has_run = cpu(pid).saturating_sub(before) > FOR_GOOD;
        state(pid) == Some('R') && !has_run && start.elapsed() < LAST_WORDS
    };
    while start.elapsed() < LAST_MOMENTS || has_no_cpu() {
        if has_ended(pid) {
            return None;
        }
        let call = first_call(pid);
        match (call, asleep) {
            (Some(name), Some((same, since))) if name == same => {
                let since: Instant = since;
                if since.elapsed() > FOR_GOOD {
                    return Some(format!("the server sleeps in {name}"));
                }
            }
            _ => asleep = call.map(|name| (name, Instant::now())),
        }
        thread::park_timeout(Duration::from_millis(5));
    }
    (!has_ended(pid)).then(|| "the server runs".to_owned())
}

fn first_call(pid: u32) -> Option<&'static str> {
    Some(blocked_in(pid)?.first()?.name)
}

/// Time on a CPU. Zero where there is no `/proc`.
fn cpu(pid: u32) -> Duration {
    usage(pid).map(|usage| usage.cpu).unwrap_or_default()
}

/// A zombie waits for its parent, who is us. Where there is no `/proc` we cannot tell.
fn has_ended(pid: u32) -> bool {
    state(pid).is_none_or(|state| state == 'Z')
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};
    use std::thread;

    use super::super::{Server, Signal, nameless_file, send_signal};
    use crate::testkit::patience::in_a_hurry;

    /// Names what a process of ours is to do: only another process can show what a failed test says.
    const FAILS: &str = "FAILS_WITH_A_SERVER";

    /// How many of its threads fail while the log of the server is printed.
    const PANICS: usize = 100;

    /// Ends a spin, as a client does that leaves.
    struct Client(u32);

    impl Drop for Client {
        fn drop(&mut self) {
            send_signal(self.0, Signal::Terminate);
        }
    }

    #[test]
    fn a_test_that_fails_says_what_its_server_did_before_its_clients_left() {
        if let Ok(script) = std::env::var(FAILS) {
            let server = Server::prepared("sh", &["-c", &script], &["env"], |_| ());
            let _client = Client(server.child.id());
            if in_a_hurry() {
                server.wait_for_log("a line");
                for _ in 0..PANICS {
                    // Longer than the buffer for it, so it is written in parts.
                    let fails = || panic!("so does this one{}", ", and says why".repeat(50));
                    let _ = thread::spawn(fails).join();
                }
            }
            panic!("this one fails");
        }
        let spins =
            "trap 'exec sleep 100' TERM; echo listening on 127.0.0.1:9; while :; do :; done";
        check(spins, "the server runs", "the server sleeps");
        let sleeps = "trap '' TERM; echo listening on 127.0.0.1:9; exec sleep 100";
        check(sleeps, "the server sleeps in sleep", "the server has ended");
        let ends = "echo listening on 127.0.0.1:9; exit 3";
        check(ends, "the server has ended: exit status: 3", "the server runs");
        let speaks_late = "echo listening on 127.0.0.1:9; (sleep 1; echo last words >&2) & exit 3";
        check(speaks_late, "last words", "the server runs");
    }

    #[test]
    fn the_log_of_a_server_does_not_come_between_the_words_of_the_test() {
        let talks = "echo listening on 127.0.0.1:9; exec yes a line >&2";
        let said = said_of(talks, true);
        let whole = |line: &&str| line.contains("' (") && line.contains(") panicked at common/");
        assert_eq!(said.lines().filter(whole).count(), PANICS + 1);
        let torn = said.lines().find(|line| line.contains("log: ") && !line.starts_with("log: a"));
        assert_eq!(torn, None);
    }

    /// What a test of ours says that fails. In a hurry it passes on each line of the log when it comes.
    fn said_of(script: &str, in_a_hurry: bool) -> String {
        let name = "a_test_that_fails_says_what_its_server_did_before_its_clients_left";
        let mut us = Command::new(std::env::current_exe().expect("we run"));
        us.args([name, "--nocapture"]).env(FAILS, script).env("RUST_BACKTRACE", "0");
        match in_a_hurry {
            true => us.env("TESTKIT_DEADLINE_MS", "1000"),
            false => us.env_remove("TESTKIT_DEADLINE_MS"),
        };
        // Into a file two threads write at the same time. Before a full pipe each would wait for the other.
        let (end, mut file) = nameless_file();
        us.stdout(Stdio::null()).stderr(end).status().expect("we run");
        let mut said = Vec::new();
        file.read_to_end(&mut said).expect("a file of ours");
        String::from_utf8_lossy(&said).into_owned()
    }

    #[track_caller]
    fn check(script: &str, expected: &str, not: &str) {
        let said = said_of(script, false);
        let behind = said.split_once("this one fails").map_or("", |(_, behind)| behind);
        assert!(behind.contains(expected) && !said.contains(not), "{said}");
    }
}

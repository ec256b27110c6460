//! What the servers of a test do at the moment when it fails.
//!
//! When a test panics, its clients are dropped before the server if they were connected later, and the server goes
//! on with that. A panic hook runs before anything is dropped, so this is where we look.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

use super::LAST_MOMENTS;
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
            message(info);
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
    let start = Instant::now();
    let mut asleep = None;
    while start.elapsed() < LAST_MOMENTS {
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

/// A zombie waits for its parent, who is us. Where there is no `/proc` we cannot tell.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let state =
        stat.as_deref().and_then(|stat| stat.rsplit(')').next()?.trim_start().chars().next());
    state.is_none_or(|state| state == 'Z')
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;

    use super::super::{Server, Signal, send_signal};

    /// Names what a process of ours is to do: only another process can show what a failed test says.
    const FAILS: &str = "FAILS_WITH_A_SERVER";

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
            panic!("this one fails");
        }
        let spins =
            "trap 'exec sleep 100' TERM; echo listening on 127.0.0.1:9; while :; do :; done";
        check(spins, "the server runs", "the server sleeps");
        let sleeps = "trap '' TERM; echo listening on 127.0.0.1:9; exec sleep 100";
        check(sleeps, "the server sleeps in sleep", "the server has ended");
        let ends = "echo listening on 127.0.0.1:9; exit 3";
        check(ends, "the server has ended: exit status: 3", "the server runs");
    }

    #[track_caller]
    fn check(script: &str, expected: &str, not: &str) {
        let name = "a_test_that_fails_says_what_its_server_did_before_its_clients_left";
        let mut us = Command::new(std::env::current_exe().expect("we run"));
        let output = us.arg(name).arg("--nocapture").env(FAILS, script).output().expect("we run");
        let said = String::from_utf8_lossy(&output.stderr);
        let behind = said.split_once("this one fails").map_or("", |(_, behind)| behind);
        assert!(behind.contains(expected) && !said.contains(not), "{said}");
    }
}

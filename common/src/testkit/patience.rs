//! How long a test waits, and why it stops waiting.

use std::env;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::blocked::blocked_in;

/// How long anything may take before a test calls it broken. No test is slower for it: only a server that has
/// failed reaches it. Generous, because the machine may be busy with other tests.
const DEADLINE: Duration = Duration::from_secs(60);

/// In milliseconds, for a person who waits for the verdict on a server that is likely to be broken.
const HURRY: &str = "TESTKIT_DEADLINE_MS";

/// A server that has slept for so long, with no timeout that could wake it, sleeps for good.
const ASLEEP: Duration = Duration::from_millis(1500);

/// Looking into `/proc` is not free.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long anything may take before a test calls it broken: a minute, or less if the environment says so.
pub fn deadline() -> Duration {
    hurry().unwrap_or(DEADLINE)
}

fn hurry() -> Option<Duration> {
    static HURRY_MS: OnceLock<Option<u64>> = OnceLock::new();
    HURRY_MS.get_or_init(|| env::var(HURRY).ok()?.parse().ok()).map(Duration::from_millis)
}

/// Whether a person waits for the verdict.
pub(crate) fn in_a_hurry() -> bool {
    hurry().is_some()
}

/// One wait of a test.
pub(crate) struct Patience {
    start: Instant,
    looked: Instant,
    /// Since when the servers sleep, and how often they had been woken by then.
    asleep: Option<(Instant, u64)>,
}

impl Patience {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { start: now, looked: now, asleep: None }
    }

    /// Why there is no point in waiting any longer. In a hurry that is also when nothing can happen any more.
    pub(crate) fn is_over(&mut self) -> Option<String> {
        let now = Instant::now();
        if now - self.start >= deadline() {
            return Some(format!("timed out after {:?}", deadline()));
        }
        if !in_a_hurry() || now - self.looked < LOOK_EVERY {
            return None;
        }
        self.looked = now;
        self.asleep = wakeups_of_sleepers().map(|wakeups| match self.asleep {
            Some((since, before)) if before == wakeups => (since, before),
            _ => (now, wakeups),
        });
        let (since, _) = self.asleep?;
        (now - since >= ASLEEP).then(|| {
            format!(
                "timed out after {:.1?}: the server sleeps, and nothing is due",
                now - self.start
            )
        })
    }

    /// Sleeps for a moment, for what sends no event.
    pub(crate) fn pause(&self) {
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// How often the servers that this test waits for have been woken, if each sleeps in a call that no clock ends.
fn wakeups_of_sleepers() -> Option<u64> {
    let mut wakeups = None;
    for pid in children() {
        let calls = blocked_in(pid)?;
        if !calls.iter().all(|call| call.has_no_timeout) {
            return None;
        }
        *wakeups.get_or_insert(0) += super::server::usage(pid)?.wakeups;
    }
    wakeups
}

/// The child processes of this thread that have not ended: a test starts its servers, and other tests are none of
/// its business. A thread without any helps a test, we do not know which: it gets the children of all of them.
fn children() -> Vec<u32> {
    let own = children_of(Path::new("/proc/thread-self"));
    if !own.is_empty() {
        return own;
    }
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.flat_map(|task| children_of(&task.path())).collect()
}

/// proc_pid_task_children(5)
fn children_of(task: &Path) -> Vec<u32> {
    let all = fs::read_to_string(task.join("children")).unwrap_or_default();
    let is_alive = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    };
    all.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(is_alive).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Read;
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc;

    use super::*;
    use crate::testkit::eventually;

    /// A child that sleeps in `read(2)` until we end.
    fn reader() -> Child {
        let mut cat = Command::new("cat");
        cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("cat is there")
    }

    #[test]
    fn a_test_does_not_wait_for_the_server_of_another_one() {
        let mut ours = reader();
        thread::scope(|scope| {
            let (started, wait) = mpsc::channel();
            let (over, end) = mpsc::channel::<()>();
            scope.spawn(move || {
                let mut theirs = Command::new("sleep").arg("60").spawn().expect("sleep is there");
                started.send(()).expect("it waits for us");
                let _ = end.recv(); // a thread that ends leaves its children to another one
                theirs.kill().and_then(|()| theirs.wait()).expect("it is ours");
            });
            wait.recv().expect("it has started one");
            assert_eq!(children(), [ours.id()]);
            eventually("ours sleeps", || wakeups_of_sleepers().is_some());
            drop(over);
        });
        drop(ours.stdin.take());
        ours.stdout.take().expect("a pipe").read_to_end(&mut Vec::new()).expect("it ends");
        ours.wait().expect("it has ended");
    }
}

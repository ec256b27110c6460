//! Descriptors are counted for each process, and a process runs many tests at the same time. So each test
//! has a share of them, and waits until the other tests have left enough for it.

use std::cell::RefCell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The share of a test that does not ask: enough for the pipes of its servers and for 30 clients.
const FEW: u64 = 48;

/// Descriptors that are in no share: the standard streams, what we have inherited, a log whose server has
/// just ended.
const SPARE: u64 = 24;

/// How long a test waits for its share. After that it goes on and may find out that it needed all of it.
const PATIENCE: Duration = Duration::from_secs(600);

/// The sum of all shares.
static TAKEN: Mutex<u64> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

thread_local! {
    /// A test has a thread of its own, which drops this at its end, whether the test has passed or not.
    static SHARE: RefCell<Share> = const { RefCell::new(Share(0)) };
}

/// Whether this process, and each server that it starts, may have so many descriptors. If they may, these
/// are now the share of the test that asks. It asks once, before it starts a server.
pub fn allow_descriptors(n: u64) -> bool {
    let limit = raise_limit();
    if n <= limit {
        SHARE.with_borrow_mut(|share| share.grow(n, limit));
    }
    n <= limit
}

/// For a test that does not ask.
pub(super) fn take_a_few() {
    allow_descriptors(FEW.min(raise_limit()));
}

/// How many descriptors a test may use.
struct Share(u64);

impl Share {
    fn grow(&mut self, n: u64, limit: u64) {
        if n <= self.0 {
            return;
        }
        // First it gives back what it has: two tests that keep theirs would wait for each other.
        *self = Self(0);
        let all_shares = limit.saturating_sub(SPARE);
        // A test that is alone may have all there is.
        let too_many = |taken: &mut u64| *taken > 0 && *taken + n > all_shares;
        let waited = GIVEN_BACK.wait_timeout_while(taken(), PATIENCE, too_many);
        let (mut taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *taken += n;
        self.0 = n;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *taken() -= self.0;
        GIVEN_BACK.notify_all();
    }
}

fn taken() -> MutexGuard<'static, u64> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The limit belongs to the process, and so to all tests in it: it is raised to the same value for each of
/// them. Returns it.
#[cfg(unix)]
fn raise_limit() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
    /// Enough for every test.
    const PLENTY: rlim_t = 20_000;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 0 };
    let raised = PLENTY.min(hard).max(soft);
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, raised, hard) {
        Ok(()) => raised,
        Err(_) => soft,
    };
    // i64 on FreeBSD.
    limit as u64
}

/// There is no such limit here.
#[cfg(not(unix))]
fn raise_limit() -> u64 {
    u64::MAX
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::super::deadline;
    use super::*;

    fn take(n: u64) -> Share {
        let mut share = Share(0);
        share.grow(n, 1024);
        share
    }

    #[test]
    fn a_test_waits_until_the_others_have_left_enough() {
        let first = take(900);
        let (say, said) = mpsc::channel();
        let second = thread::spawn(move || {
            let _share = take(900);
            say.send(()).expect("the test waits for it");
        });
        let early = said.recv_timeout(Duration::from_millis(50));
        assert!(early.is_err(), "1,800 of 1,024 descriptors are taken");
        drop(first);
        said.recv_timeout(deadline()).expect("it still waits");
        second.join().expect("it only waits");
    }

    #[test]
    fn two_tests_that_ask_for_more_do_not_wait_for_each_other() {
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| take(400).grow(900, 1024));
            }
        });
    }

    #[test]
    fn a_share_is_given_back_at_the_end_of_its_thread() {
        let asks = || SHARE.with_borrow_mut(|share| share.grow(900, 1024));
        for _ in 0..3 {
            let test = thread::spawn(move || {
                asks();
                panic!("as a test that fails");
            });
            test.join().expect_err("it has failed");
        }
    }
}

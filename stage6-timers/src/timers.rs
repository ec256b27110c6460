//! Deadlines, soonest first.
//!
//! Time is an argument everywhere and never read in here. So the tests need no clock and no sleep.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// What is due when. `K` says what to do, and which of two equal deadlines comes first.
///
/// A sorted set: adding and taking cost O(log n), a few hundred nanoseconds with a hundred thousand
/// timers. Other loops keep an unsorted list (redis: it has a handful), a heap (libuv) or a wheel of
/// time slots (the kernel, tokio), which is cheaper for millions of timers and only as exact as a slot.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    due: BTreeSet<(Instant, K)>,
}

impl<K: Ord> Timers<K> {
    pub(crate) fn new() -> Self {
        Self { due: BTreeSet::new() }
    }

    pub(crate) fn schedule(&mut self, at: Instant, what: K) {
        self.due.insert((at, what));
    }

    /// How long the loop may sleep. `None`: nothing is scheduled.
    ///
    /// Never less than what is left, so no timer is early; and a poller that counts in milliseconds
    /// must round this up, or it would wake up to find nothing due, over and over. mio does.
    pub(crate) fn sleep_for(&self, now: Instant) -> Option<Duration> {
        self.due.first().map(|(at, _)| at.saturating_duration_since(now))
    }

    /// Takes the soonest timer, if its time has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Instant, K)> {
        if self.due.first()?.0 <= now { self.due.pop_first() } else { None }
    }

    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }

    /// Drops every timer for which `keep` is false.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.due.retain(|(_, what)| keep(what));
    }
}

/// The next tick after `now` on the grid that `due` is on.
///
/// It counts from the tick that was due, not from the moment we got round to it: so lateness is not
/// carried over, and there is no drift. Ticks that we slept through are skipped.
pub(crate) fn next_tick(due: Instant, interval: Duration, now: Instant) -> Instant {
    assert!(!interval.is_zero(), "a zero interval never gets past `now`");
    let late = now.saturating_duration_since(due);
    // How far we are past the last tick that should have been.
    let past = Duration::from_nanos((late.as_nanos() % interval.as_nanos()) as u64);
    due + (late - past) + interval
}

#[cfg(test)]
mod tests;

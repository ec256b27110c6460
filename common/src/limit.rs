//! How many lines of one kind a log gets.

use std::mem;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// A limit for lines that a stranger can cause. A client can cause thousands of them in a second, and a full
/// disk is one more way to stop a server.
#[derive(Debug)]
pub(crate) struct Limit {
    /// How many lines there may be in [`Limit::WINDOW`].
    most: u32,
    window: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Limit {
    pub(crate) const WINDOW: Duration = Duration::from_secs(60);

    pub(crate) const fn new(most: u32) -> Self {
        Self { most, window: None, lines: 0, left_out: 0 }
    }

    /// Asks for one line. `Some`: it may be written, and says how many were left out since the last one.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<Option<NonZeroU64>> {
        if self.window.is_none_or(|began| now.duration_since(began) >= Self::WINDOW) {
            (self.window, self.lines) = (Some(now), 0);
        }
        if self.lines == self.most {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(NonZeroU64::new(mem::take(&mut self.left_out)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_pass_in_a_minute_and_the_next_says_how_many_did_not() {
        let t0 = Instant::now();
        let at = |seconds| t0 + Duration::from_secs(seconds);
        let mut limit = Limit::new(2);
        assert_eq!([0, 0, 0, 59].map(|s| limit.pass(at(s))), [Some(None), Some(None), None, None]);
        let two = NonZeroU64::new(2);
        assert_eq!([60, 61, 62].map(|s| limit.pass(at(s))), [Some(two), Some(None), None]);
        assert_eq!(limit.pass(at(1000)), Some(NonZeroU64::new(1)));
    }
}

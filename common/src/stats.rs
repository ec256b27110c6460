//! `--stats`: what the loop does, told once a second while it does it.
//!
//! The loop counts, and a thread of its own tells. So being watched does not wake the loop, and
//! a line comes also while it is stuck in the middle of a turn. What each column means:
//!
//! | column       | in the last second                                                            |
//! | ------------ | ----------------------------------------------------------------------------- |
//! | clients      | how many there were when a turn of the loop last ended                        |
//! | wake-ups     | how often the loop came back from waiting, whether it had to wait or not      |
//! | reads        | calls of `read(2)`                                                            |
//! | writes       | calls of `write(2)`                                                           |
//! | WouldBlocks  | how many of these said `EAGAIN`: asked for nothing                            |
//! | bytes        | how many went back to clients                                                 |
//! | longest turn | from one wait of the loop to the next, including one that is not over yet     |

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::stderr::say;

/// How often a line comes.
const EVERY: Duration = Duration::from_secs(1);

/// After so many lines the heads of the columns come again: about a screenful.
const LINES_PER_HEAD: usize = 20;

/// Counts up. Only the loop's thread does that, so a load and a store are enough: two instructions in place
/// of one that locks the memory bus. The thread that tells only looks.
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: usize) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n as u64), Relaxed);
    }
}

pub(crate) static READS: Counter = Counter(AtomicU64::new(0));
pub(crate) static WRITES: Counter = Counter(AtomicU64::new(0));
pub(crate) static WOULD_BLOCKS: Counter = Counter(AtomicU64::new(0));
pub(crate) static BYTES: Counter = Counter(AtomicU64::new(0));
static WAKE_UPS: Counter = Counter(AtomicU64::new(0));
static CLIENTS: AtomicU64 = AtomicU64::new(0);

/// When watching began. Empty while no one watches: then no clock is read.
static WATCHED_SINCE: OnceLock<Instant> = OnceLock::new();
/// In nanoseconds from then. 0 while the loop waits.
static TURN_BEGAN: AtomicU64 = AtomicU64::new(0);
/// In nanoseconds, of the turns that have ended since the last line.
static LONGEST_TURN: AtomicU64 = AtomicU64::new(0);

/// To be called by a loop when it has nothing more to do and is about to wait.
pub fn turn_ends(clients: usize) {
    let Some(since) = WATCHED_SINCE.get() else { return };
    CLIENTS.store(clients as u64, Relaxed);
    let began = TURN_BEGAN.swap(0, Relaxed);
    if began != 0 {
        // A coarse clock may still stand at the 0 that we call 1.
        LONGEST_TURN.fetch_max(nanos(since.elapsed()).saturating_sub(began), Relaxed);
    }
}

/// To be called by a loop when its wait is over.
pub fn turn_begins() {
    WAKE_UPS.add(1);
    let Some(since) = WATCHED_SINCE.get() else { return };
    TURN_BEGAN.store(nanos(since.elapsed()).max(1), Relaxed);
}

/// With `--stats`: from now on tells on stderr, once a second, what the loop has done.
///
/// # Errors
///
/// If there is no thread for it (`EAGAIN`).
pub fn tell_if(asked: bool) -> anyhow::Result<()> {
    if asked {
        let since = *WATCHED_SINCE.get_or_init(Instant::now);
        let tell = move || tell(since);
        thread::Builder::new().spawn(tell).context("cannot start a thread for --stats")?;
    }
    Ok(())
}

fn tell(since: Instant) {
    let mut last = Totals::default();
    for line in 0_usize.. {
        let due = since + next_line(since.elapsed());
        while let Some(left) = due.checked_duration_since(Instant::now()) {
            thread::park_timeout(left); // it may return too early
        }
        let now = Totals::now();
        if line.is_multiple_of(LINES_PER_HEAD) {
            say(HEAD);
        }
        say(now.line(&last, CLIENTS.load(Relaxed), longest_turn(since.elapsed())));
        last = now;
    }
}

/// When the next line is due. On the grid: however late a line is, the next one is not later for it, and
/// those that were missed (Ctrl-Z and, a minute later, `fg`) do not come all at once.
fn next_line(now: Duration) -> Duration {
    let lines = now.as_nanos() / EVERY.as_nanos();
    EVERY * (lines as u32 + 1)
}

/// Since the last line. A turn that has not ended is at least as long as it has taken until now.
fn longest_turn(now: Duration) -> Duration {
    let under_way = match TURN_BEGAN.load(Relaxed) {
        0 => 0,
        began => nanos(now).saturating_sub(began),
    };
    Duration::from_nanos(LONGEST_TURN.swap(0, Relaxed).max(under_way))
}

/// Enough for 584 years.
fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

const HEAD: &str = "clients  wake-ups    reads   writes  WouldBlocks       bytes  longest turn";

/// What has been counted since the server began.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    wake_ups: u64,
    reads: u64,
    writes: u64,
    would_blocks: u64,
    bytes: u64,
}

impl Totals {
    fn now() -> Self {
        let read = |counter: &Counter| counter.0.load(Relaxed);
        Self {
            wake_ups: read(&WAKE_UPS),
            reads: read(&READS),
            writes: read(&WRITES),
            would_blocks: read(&WOULD_BLOCKS),
            bytes: read(&BYTES),
        }
    }

    /// The line under [`HEAD`] that says what has come since `last`.
    fn line(&self, last: &Self, clients: u64, longest_turn: Duration) -> String {
        let wake_ups = self.wake_ups - last.wake_ups;
        let reads = self.reads - last.reads;
        let writes = self.writes - last.writes;
        let would_blocks = self.would_blocks - last.would_blocks;
        let bytes = self.bytes - last.bytes;
        let longest = match longest_turn {
            Duration::ZERO => "-".to_owned(), // nothing but sleep
            turn => format!("{turn:.1?}"),
        };
        format!(
            "{clients:>7} {wake_ups:>9} {reads:>8} {writes:>8} {would_blocks:>12} {bytes:>11} {longest:>13}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_has_come_since_the_last_and_stands_under_its_heads() {
        let last = Totals { wake_ups: 5, reads: 7, writes: 1, would_blocks: 2, bytes: 100 };
        let now = Totals { wake_ups: 6, reads: 9, writes: 4, would_blocks: 6, bytes: 105 };
        let line = now.line(&last, 12, Duration::from_micros(1500));
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words, ["12", "1", "2", "3", "4", "5", "1.5ms"]);
        // Each figure ends where its head does.
        let ends = |text: &str, words: &[&str]| {
            let mut from = 0;
            let mut end = |word: &&str| {
                from += text[from..].find(word).expect("a column") + word.len();
                from
            };
            words.iter().map(&mut end).collect::<Vec<_>>()
        };
        let heads =
            ["clients", "wake-ups", "reads", "writes", "WouldBlocks", "bytes", "longest turn"];
        assert_eq!(ends(HEAD, &heads), ends(&line, &words));
    }

    #[test]
    fn lines_keep_their_grid_and_those_that_were_missed_are_skipped() {
        let millis = Duration::from_millis;
        assert_eq!(next_line(millis(0)), millis(1000));
        assert_eq!(next_line(millis(1000)), millis(2000));
        assert_eq!(next_line(millis(1300)), millis(2000));
        assert_eq!(next_line(millis(61_500)), millis(62_000));
    }

    #[test]
    fn a_turn_that_is_not_over_counts_as_long_as_it_has_taken() {
        WATCHED_SINCE.get_or_init(Instant::now);
        turn_begins();
        let began = Duration::from_nanos(TURN_BEGAN.load(Relaxed));
        assert_eq!(longest_turn(began + Duration::from_secs(7)), Duration::from_secs(7));
        turn_ends(1);
        let ended = longest_turn(began + Duration::from_secs(7));
        assert!(ended > Duration::ZERO && ended < Duration::from_secs(7), "{ended:?}");
        assert_eq!(longest_turn(began + Duration::from_secs(8)), Duration::ZERO);
        // One that seems to end before it began: a coarse clock, and the 0 that we call 1.
        TURN_BEGAN.store(u64::MAX, Relaxed);
        turn_ends(1);
        assert_eq!(longest_turn(began), Duration::ZERO);
    }
}

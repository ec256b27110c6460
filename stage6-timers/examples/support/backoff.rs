//! How long to wait before trying again.

use std::time::Duration;

/// Pauses that double until they reach a limit, each with a random part.
///
/// *Doubling*: a peer that has been gone for a while will probably be gone for a while yet. *A limit*:
/// once it is back, we should notice soon. *Random*: a thousand clients that have lost the same server
/// at the same moment would otherwise all come back at the same moment, again and again.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// The next pause is at most this long, and at least half of it.
    ceiling: Duration,
    rng: fastrand::Rng,
}

impl Backoff {
    /// A server that restarts is back after about this long.
    pub(crate) const FIRST: Duration = Duration::from_millis(100);
    /// One attempt in two seconds is no load for the peer, and we notice soon that the peer is back.
    pub(crate) const LONGEST: Duration = Duration::from_secs(2);

    /// The same seed gives the same pauses.
    pub(crate) fn new(seed: u64) -> Self {
        Self { ceiling: Self::FIRST, rng: fastrand::Rng::with_seed(seed) }
    }

    pub(crate) fn next_pause(&mut self) -> Duration {
        let ceiling = self.ceiling.as_millis() as u64;
        self.ceiling = Self::LONGEST.min(self.ceiling * 2);
        Duration::from_millis(self.rng.u64(ceiling / 2..=ceiling))
    }
}

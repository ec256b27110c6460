//! The clock.

use std::time::Instant;

/// The monotonic clock, clock_gettime(2). Stages 5 and 6 and the example `handshake` read it here and nowhere else,
/// so that a simulation can give them another one.
#[inline(always)]
pub fn now() -> Instant {
    Instant::now()
}

//! How long replies took.

use std::time::Duration;

use hdrhistogram::Histogram;

/// A minute: longer than we wait for anything.
const LONGEST_NANOS: u64 = 60_000_000_000;

/// Latencies of one run, to three digits, from nanoseconds to a minute.
pub(crate) struct Latencies {
    nanos: Histogram<u64>,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        let nanos = Histogram::new_with_bounds(1, LONGEST_NANOS, 3);
        Self { nanos: nanos.expect("these bounds are constants, and in order") }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.nanos.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn count(&self) -> u64 {
        self.nanos.len()
    }

    /// In microseconds: the latency that this share of the replies kept within.
    pub(crate) fn micros_at(&self, quantile: f64) -> f64 {
        self.nanos.value_at_quantile(quantile) as f64 / 1e3
    }

    pub(crate) fn max_micros(&self) -> f64 {
        self.nanos.max() as f64 / 1e3
    }
}

//! What is measured, and how it is written.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::load::Latencies;
use super::os::{self, Usage};
use super::server::Server;

/// One run's figures.
pub(super) type Figures = BTreeMap<Figure, f64>;

/// A quantity, in the unit that its name or its title says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Figure {
    PerSecond,
    MegabytesPerSecond,
    TotalMillis,
    P50Micros,
    P99Micros,
    P999Micros,
    MaxMicros,
    CpuMicrosPerMessage,
    CpuMillisPerSecond,
    SwitchesPerMessage,
    SwitchesPerSecond,
    SyscallsPerMessage,
    InstructionsPerMessage,
    Threads,
    RssKib1,
    RssKib1000,
    RssKib10000,
    RssBytesPerClient,
    RssKibMore,
    SentMegabytes,
    ServerPercent,
    GeneratorPercent,
}

impl Figure {
    /// The head of its column.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::PerSecond => "per s",
            Self::MegabytesPerSecond => "MB/s",
            Self::TotalMillis => "ms in all",
            Self::P50Micros => "p50 µs",
            Self::P99Micros => "p99 µs",
            Self::P999Micros => "p99.9 µs",
            Self::MaxMicros => "max µs",
            Self::CpuMicrosPerMessage => "CPU µs each",
            Self::CpuMillisPerSecond => "CPU ms/s",
            Self::SwitchesPerMessage => "switches each",
            Self::SwitchesPerSecond => "switches/s",
            Self::SyscallsPerMessage => "syscalls each",
            Self::InstructionsPerMessage => "instructions each",
            Self::Threads => "threads",
            Self::RssKib1 => "KiB with 1",
            Self::RssKib1000 => "KiB with 1,000",
            Self::RssKib10000 => "KiB with 10,000",
            Self::RssBytesPerClient => "bytes per client",
            Self::RssKibMore => "KiB more",
            Self::SentMegabytes => "MB taken",
            Self::ServerPercent => "server %",
            Self::GeneratorPercent => "generator %",
        }
    }

    /// Whether it makes sense to divide it by another server's: not when nothing at all is a good value.
    pub(super) fn has_ratio(self) -> bool {
        matches!(
            self,
            Self::PerSecond
                | Self::MegabytesPerSecond
                | Self::TotalMillis
                | Self::P99Micros
                | Self::CpuMicrosPerMessage
        )
    }

    /// With as many digits as mean something.
    pub(super) fn write(self, value: f64) -> String {
        match self {
            Self::SyscallsPerMessage | Self::SwitchesPerMessage | Self::CpuMicrosPerMessage => {
                format!("{value:.2}")
            }
            _ if value.abs() < 9.95 && value.fract() != 0.0 => format!("{value:.1}"),
            _ => with_commas(value.round()),
        }
    }
}

/// 12345678 as 12,345,678.
fn with_commas(whole: f64) -> String {
    let digits = format!("{:.0}", whole.abs());
    let mut text = String::from(if whole < 0.0 { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A stretch of time over which a server is watched, and we with it.
pub(super) struct Watch<'a> {
    server: &'a Server,
    before: Option<Usage>,
    own_before: Option<Duration>,
    started: std::time::Instant,
}

impl<'a> Watch<'a> {
    pub(super) fn start(server: &'a Server) -> Self {
        let before = server.usage();
        // The clocks last: reading the usage of ten thousand threads takes a while.
        Self { server, before, own_before: os::own_cpu(), started: std::time::Instant::now() }
    }

    /// What happened since the start, during which `messages` came back.
    pub(super) fn stop(self, messages: u64) -> Figures {
        let elapsed = self.started.elapsed().as_secs_f64();
        let own = os::own_cpu();
        let after = self.server.usage();
        let messages = messages as f64;
        let mut figures = Figures::from([(Figure::PerSecond, messages / elapsed)]);
        if let (Some(before), Some(after)) = (self.own_before, own) {
            let share = (after - before).as_secs_f64() / elapsed;
            figures.insert(Figure::GeneratorPercent, 100.0 * share);
        }
        if let (Some(before), Some(after)) = (self.before, after) {
            let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
            let switches = after.switches.saturating_sub(before.switches) as f64;
            figures.insert(Figure::Threads, after.threads as f64);
            figures.insert(Figure::CpuMillisPerSecond, 1e3 * cpu / elapsed);
            figures.insert(Figure::ServerPercent, 1e2 * cpu / elapsed);
            figures.insert(Figure::SwitchesPerSecond, switches / elapsed);
            if messages > 0.0 {
                figures.insert(Figure::CpuMicrosPerMessage, 1e6 * cpu / messages);
                figures.insert(Figure::SwitchesPerMessage, switches / messages);
            }
        }
        figures
    }
}

impl Latencies {
    /// Writes down how the latencies are spread.
    pub(super) fn tell(&self, figures: &mut Figures) {
        if self.count() == 0 {
            return;
        }
        figures.insert(Figure::P50Micros, self.micros_at(0.5));
        figures.insert(Figure::P99Micros, self.micros_at(0.99));
        figures.insert(Figure::P999Micros, self.micros_at(0.999));
        figures.insert(Figure::MaxMicros, self.max_micros());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_figures_are_written_with_commas_and_small_ones_with_a_digit_more() {
        assert_eq!(Figure::PerSecond.write(1_234_567.4), "1,234,567");
        assert_eq!(Figure::PerSecond.write(999.6), "1,000");
        assert_eq!(Figure::P50Micros.write(7.26), "7.3");
        assert_eq!(Figure::SyscallsPerMessage.write(3.0), "3.00");
        assert_eq!(Figure::RssKibMore.write(-12.0), "-12");
    }
}

//! Figures as people read them from the back of a room: few digits, and a unit.

use std::time::Duration;

use super::process::Doing;
use super::state::{Row, Standing, Who};

/// At most five characters: 9,999 becomes `9999`, and 4,164,235 becomes `4.16M`.
pub(super) fn short(n: u64) -> String {
    let (n, unit) = match n {
        ..10_000 => return n.to_string(),
        10_000..999_500 => (n as f64 / 1e3, "K"),
        999_500..999_500_000 => (n as f64 / 1e6, "M"),
        999_500_000..999_500_000_000 => (n as f64 / 1e9, "G"),
        _ => (n as f64 / 1e12, "T"),
    };
    let digits = if n < 9.995 {
        2
    } else if n < 99.95 {
        1
    } else {
        0
    };
    format!("{n:.digits$}{unit}")
}

/// At most seven characters.
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match time.as_micros() {
        ..1_000 => format!("{} µs", time.as_micros()),
        1_000..9_950 => format!("{:.1} ms", seconds * 1e3),
        9_950..999_500 => format!("{:.0} ms", seconds * 1e3),
        999_500..99_950_000 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    }
}

/// `12/s`, or a dash for what is not known.
pub(super) fn rate(n: Option<u64>) -> String {
    n.map_or_else(unknown, |n| format!("{}/s", short(n)))
}

/// KiB, as `ps` has it.
pub(super) fn memory(bytes: Option<u64>) -> String {
    match bytes.map(|bytes| bytes / 1024) {
        None => unknown(),
        Some(kib @ ..10_000) => format!("{kib}K"),
        Some(kib) => format!("{}M", kib / 1024),
    }
}

pub(super) fn unknown() -> String {
    "–".to_owned()
}

impl Doing {
    pub(super) fn words(self) -> String {
        match self {
            Self::Runs => "running".to_owned(),
            Self::In(call) => format!("asleep in {call}"),
            Self::Asleep => "asleep".to_owned(),
            Self::Stopped => "stopped, as by SIGSTOP".to_owned(),
        }
    }
}

impl Row {
    pub(super) fn name(&self) -> String {
        match (self.who, self.clients) {
            (Who::Ours(kind), 1) => kind.name().to_owned(),
            (Who::Ours(kind), n) => format!("{n} {}", kind.name()),
            (Who::Other(port), 1) => format!("port {port}"),
            (Who::Other(_), n) => format!("{n} others"),
        }
    }
}

impl Standing {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Served => "served",
            Self::Sends => "sends",
            Self::Connecting => "connects",
            Self::InBacklog => "backlog",
            Self::Waits => "waits",
            Self::Refused => "refused",
            Self::CutOff => "cut off",
        }
    }
}

/// What the threads are in, in one line.
pub(super) fn doing(doing: &[(Doing, usize)], threads: usize) -> Vec<(Doing, String)> {
    let word = |(doing, count): &(Doing, usize)| match threads {
        1 => (*doing, format!("{} {count} %", doing.words())),
        _ => (*doing, format!("{count} {}", doing.words())),
    };
    doing.iter().map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let examples = [
            (7, "7"),
            (9_999, "9999"),
            (10_000, "10.0K"),
            (128_513, "129K"),
            (999_499, "999K"),
            (999_500, "1.00M"),
            (4_164_235, "4.16M"),
            (1_279_328_284, "1.28G"),
        ];
        for (n, expected) in examples {
            assert_eq!(short(n), expected);
        }
        assert!(
            [u64::MAX / 1_000_000, 99_949_999, 99_950_001].iter().all(|n| short(*n).len() <= 5)
        );
    }

    #[test]
    fn times_have_a_unit_that_fits_them() {
        let examples =
            [(87, "87 µs"), (4_520, "4.5 ms"), (120_000, "120 ms"), (3_210_000, "3.2 s")];
        for (micros, expected) in examples {
            assert_eq!(time(Duration::from_micros(micros)), expected);
        }
    }
}

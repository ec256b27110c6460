//! What a server does while it is tested, as `/proc` tells it: the only witness when a test hangs.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::screen::grouped;

/// How far back the rates look: "in the last second".
const WINDOW: Duration = Duration::from_secs(1);

/// What one server has used so far.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    cpu: Duration,
    /// How long it was to run and did not: others had the core.
    queued: Duration,
    wakeups: u64,
    descriptors: usize,
    rss: u64,
    threads: usize,
}

/// Everything seen of the servers that one test has started.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    servers: BTreeMap<u32, VecDeque<(Instant, Sample)>>,
    most: Sample,
    last: Option<u32>,
    /// The call that its first thread was in when we had had enough of it.
    call: Option<&'static str>,
}

/// What the server did in its last second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rates {
    /// Of one core, so several threads can have more than 1.
    pub(crate) cpu: f64,
    /// What it would have used of one core that it need not share.
    pub(crate) wanted: f64,
    pub(crate) wakeups_per_second: f64,
}

impl Observed {
    /// Looks at every server in a process group. Does nothing where there is no `/proc`.
    pub(crate) fn look(&mut self, group: u32) {
        let Ok(processes) = fs::read_dir("/proc") else { return };
        for process in processes.flatten() {
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if is_server(&process.path(), group)
                && let Some(sample) = sample(&process.path())
            {
                self.add(pid, Instant::now(), sample);
            }
        }
    }

    fn add(&mut self, pid: u32, now: Instant, sample: Sample) {
        let samples = self.servers.entry(pid).or_default();
        samples.push_back((now, sample));
        while samples.get(1).is_some_and(|(at, _)| now - *at >= WINDOW) {
            samples.pop_front();
        }
        let most = &mut self.most;
        most.cpu = most.cpu.max(sample.cpu);
        most.wakeups = most.wakeups.max(sample.wakeups);
        most.descriptors = most.descriptors.max(sample.descriptors);
        most.rss = most.rss.max(sample.rss);
        most.threads = most.threads.max(sample.threads);
        self.last = Some(pid);
    }

    /// Looks in which call the last server is. It is about to be killed.
    pub(crate) fn look_where_it_is(&mut self) {
        let calls = self.last.and_then(common::blocked::blocked_in);
        self.call = calls.and_then(|calls| Some(calls.first()?.name));
    }

    /// In which call it slept at the end. `None` if it ran, and where we may not look.
    pub(crate) fn call(&self) -> Option<&'static str> {
        self.call
    }

    /// The most memory that a server has had, in bytes.
    pub(crate) fn most_memory(&self) -> u64 {
        self.most.rss
    }

    /// Of the server that was seen last. `None` if none was, or not for long enough.
    pub(crate) fn rates(&self) -> Option<Rates> {
        let (first, last, seconds) = self.end()?;
        // A few ticks of the scheduler tell nothing.
        if seconds < 0.2 {
            return None;
        }
        let cpu = last.cpu.saturating_sub(first.cpu).as_secs_f64() / seconds;
        let wanted = cpu + last.queued.saturating_sub(first.queued).as_secs_f64() / seconds;
        let wakeups_per_second = last.wakeups.saturating_sub(first.wakeups) as f64 / seconds;
        Some(Rates { cpu, wanted, wakeups_per_second })
    }

    /// The first and the last look at the server that was seen last, and the seconds between: one, or less.
    fn end(&self) -> Option<(Sample, Sample, f64)> {
        let samples = self.servers.get(&self.last?)?;
        let ((start, first), (end, last)) = (samples.front()?, samples.back()?);
        Some((*first, *last, (*end - *start).as_secs_f64()))
    }

    /// The counters in two sentences. `None` if no server was seen for long enough: "at most", of one that
    /// was looked at once, is not true.
    pub(crate) fn in_words(&self) -> Option<String> {
        let Rates { cpu: share, wanted, .. } = self.rates()?;
        let (first, last, seconds) = self.end()?;
        let woken = last.wakeups.saturating_sub(first.wakeups);
        // One that was seen for less has not been woken as often as it would have been in a second.
        let time = match seconds {
            0.95.. => "second".to_owned(),
            _ => format!("{seconds:.1} s"),
        };
        let Sample { cpu, wakeups, descriptors, rss, threads, .. } = self.most;
        let queued = match wanted - share {
            0.1.. => format!(" (of the {:.0} % it wanted: the machine is busy)", wanted * 100.0),
            _ => String::new(),
        };
        Some(format!(
            "The server used {:.2} s of CPU in all, with {} wake-up(s); at most {descriptors} descriptors, \
             {threads} thread(s), {:.1} MB.\n\
             In the last {time} that we saw of it: {:.0} % of a core{queued}, {} wake-up(s).",
            cpu.as_secs_f64(),
            grouped(wakeups),
            rss as f64 / 1e6,
            share * 100.0,
            grouped(woken),
        ))
    }
}

/// Whether it is one of our programs, a stage or an example, and started by the test that leads this group.
fn is_server(process: &Path, group: u32) -> bool {
    let Ok(stat) = fs::read_to_string(process.join("stat")) else { return false };
    // `pid (name) state ppid pgrp …`, and the name may contain anything: proc_pid_stat(5).
    let pgrp = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(2));
    let exe = |process: &Path| fs::read_link(process.join("exe")).ok();
    pgrp.and_then(|field| field.parse().ok()) == Some(group)
        && exe(&Path::new("/proc").join(group.to_string()))
            .zip(exe(process))
            .is_some_and(|(test, exe)| is_built_beside(&exe, &test))
}

/// The test is in `target/debug/deps`, a stage in `target/debug` and an example in `target/debug/examples`.
fn is_built_beside(exe: &Path, test: &Path) -> bool {
    let built = test.parent().and_then(Path::parent);
    built.is_some_and(|built| {
        exe.parent().is_some_and(|folder| folder == built || folder == built.join("examples"))
    })
}

fn sample(process: &Path) -> Option<Sample> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let mut sample = Sample {
        descriptors: fs::read_dir(process.join("fd")).ok()?.count(),
        rss: 1024 * field(&status, "VmRSS:")?,
        ..Sample::default()
    };
    for task in fs::read_dir(process.join("task")).ok()?.flatten() {
        // A thread may end between the listing and the reading.
        let (Ok(status), Ok(schedstat)) = (
            fs::read_to_string(task.path().join("status")),
            fs::read_to_string(task.path().join("schedstat")),
        ) else {
            continue;
        };
        sample.threads += 1;
        sample.wakeups += field(&status, "\nvoluntary_ctxt_switches:")?;
        // `running queued slices`, the first two in ns: the kernel's sched-stats.rst.
        let mut ns =
            schedstat.split_whitespace().map(|field| field.parse().map(Duration::from_nanos));
        sample.cpu += ns.next()?.ok()?;
        sample.queued += ns.next()?.ok()?;
    }
    Some(sample)
}

/// The number behind a name in a file of `/proc`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.split_once(name)?.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_look_back_one_second_and_no_further() {
        let t0 = Instant::now();
        let mut observed = Observed::default();
        let seconds = Duration::from_secs_f64;
        for tenth in 0..=50 {
            // Four quiet seconds, and then it spins.
            let busy = f64::from(tenth.max(40) - 40) / 10.0;
            let wakeups = (busy * 40_000.0) as u64;
            // It has half of the core, and would have taken the other half.
            let (cpu, queued) = (seconds(busy / 2.0), seconds(busy / 2.0));
            let sample = Sample { cpu, queued, wakeups, ..Sample::default() };
            observed.add(7, t0 + seconds(f64::from(tenth) / 10.0), sample);
        }
        let rates = observed.rates().unwrap();
        assert!((rates.cpu - 0.5).abs() < 0.01, "{rates:?}");
        assert!((rates.wanted - 1.0).abs() < 0.01, "{rates:?}");
        assert!(observed.in_words().unwrap().contains("50 % of a core (of the 100 % it wanted"));
        assert!((rates.wakeups_per_second - 40_000.0).abs() < 400.0, "{rates:?}");
    }

    #[test]
    fn of_a_server_that_was_seen_for_less_than_a_second_the_time_and_the_wake_ups_are_told() {
        let t0 = Instant::now();
        let mut observed = Observed::default();
        for tenth in 0..=4 {
            let sample = Sample { wakeups: 100 * tenth, ..Sample::default() };
            observed.add(7, t0 + Duration::from_millis(100 * tenth), sample);
        }
        let said = observed.in_words().unwrap();
        assert!(
            said.contains("In the last 0.4 s that we saw of it: 0 % of a core, 400 wake-up"),
            "{said}"
        );
    }

    #[test]
    fn stages_and_examples_are_observed_and_neither_the_test_nor_the_shell() {
        let is_observed = |exe: &str| {
            is_built_beside(Path::new(exe), Path::new("/a/target/debug/deps/handshake-0123"))
        };
        assert!(is_observed("/a/target/debug/stage6-timers"));
        assert!(is_observed("/a/target/debug/examples/handshake_by_hand"));
        for other in ["/a/target/debug/deps/handshake-0123", "/bin/sh", "/a/debug/stage6-timers"] {
            assert!(!is_observed(other), "{other}");
        }
    }

    #[test]
    fn of_a_server_that_lived_too_briefly_nothing_is_told() {
        let mut observed = Observed::default();
        assert_eq!(observed.in_words(), None);
        observed.add(7, Instant::now(), Sample::default());
        assert_eq!((observed.rates(), observed.in_words()), (None, None));
    }
}

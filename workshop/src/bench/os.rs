//! What only the operating system can tell or do: cores, limits, and what a process has used up.
//!
//! Everything here answers "don't know" where a system has no such thing, and the table shows a dash.

use std::time::Duration;

/// What a process has used since it started, and what it holds now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// CPU time of all its threads, in user code and in the kernel, also of those that have ended.
    pub(crate) cpu: Duration,
    /// How often its threads were taken off a core, because they slept or because their time was up.
    pub(crate) switches: u64,
    pub(crate) threads: u64,
    /// Memory that is really there.
    pub(crate) rss_bytes: u64,
    /// Of that, what is not a copy of a file: stacks and the heap. `None` where only the sum is told.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "no other system tells"))]
    pub(crate) anonymous_bytes: Option<u64>,
}

/// Who runs where: the generator has the last core to itself, the server has all the others.
#[derive(Clone, Debug, Default)]
pub(super) struct Cores {
    pub(super) server: Vec<usize>,
    pub(super) generator: Vec<usize>,
}

impl Cores {
    /// The cores we may use. Both lists are empty where there is only one, or where we cannot tell.
    pub(super) fn split() -> Self {
        let mut cores = system::cores();
        match cores.pop() {
            Some(last) if !cores.is_empty() => Self { server: cores, generator: vec![last] },
            _ => Self::default(),
        }
    }
}

#[cfg(target_os = "linux")]
pub(crate) use self::system::field;
pub(crate) use self::system::usage;
pub(super) use self::system::{children, kill, own_cpu, stay_on, terminate};

#[cfg(unix)]
mod descriptors {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    /// Asks for as many descriptors as we may have, for us and for the servers we start. Returns how
    /// many that are.
    pub(crate) fn raise_limit() -> u64 {
        let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 0 };
        let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(_) => soft,
        };
        // i64 on FreeBSD.
        limit as u64
    }
}

#[cfg(not(unix))]
mod descriptors {
    /// Sockets are no descriptors here, and are not counted.
    pub(crate) fn raise_limit() -> u64 {
        u64::MAX
    }
}

pub(crate) use self::descriptors::raise_limit;

#[cfg(target_os = "linux")]
mod system {
    use std::fs;
    use std::time::Duration;

    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::sys::signal::{self, Signal};
    use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
    use nix::unistd::Pid;

    use super::Usage;

    const THIS_THREAD: Pid = Pid::from_raw(0);

    pub(in super::super) fn cores() -> Vec<usize> {
        let Ok(set) = sched_getaffinity(THIS_THREAD) else { return Vec::new() };
        (0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false)).collect()
    }

    /// Keeps this thread, and every process it starts from now on, on these cores.
    pub(in super::super) fn stay_on(cores: &[usize]) {
        let mut set = CpuSet::new();
        let fit = cores.iter().all(|&core| set.set(core).is_ok());
        if fit && !cores.is_empty() {
            // If it is refused, we measure all the same; the spread will be wider.
            let _ = sched_setaffinity(THIS_THREAD, &set);
        }
    }

    /// SIGTERM, the polite way.
    pub(in super::super) fn terminate(pid: u32) {
        // ESRCH: it has ended by itself.
        let _ = signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
    }

    /// SIGKILL, for a process that is not our own child.
    pub(in super::super) fn kill(pid: u32) {
        let _ = signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    }

    /// The CPU time of the thread that asks.
    pub(in super::super) fn own_cpu() -> Option<Duration> {
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok().map(Duration::from)
    }

    pub(crate) fn usage(pid: u32) -> Option<Usage> {
        // To the nanosecond, and with the threads that have ended. /proc/PID/stat counts in ticks of
        // 10 ms, and /proc/PID/schedstat forgets the dead.
        let clock = clock_getcpuclockid(Pid::from_raw(pid.cast_signed())).ok()?;
        let cpu = Duration::from(clock_gettime(clock).ok()?);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        // This counts page by page; `VmRSS` may be dozens of pages behind.
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        Some(Usage {
            cpu,
            switches: switches(pid),
            threads: field(&status, "Threads:")?,
            rss_bytes: field(&rollup, "Rss:").or_else(|| field(&status, "VmRSS:"))? * 1024,
            anonymous_bytes: field(&rollup, "Anonymous:").map(|kib| kib * 1024),
        })
    }

    /// Of all threads. Each thread has a count of its own and takes it along when it ends.
    fn switches(pid: u32) -> u64 {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
        let statuses =
            tasks.flatten().flat_map(|task| fs::read_to_string(task.path().join("status")));
        statuses.map(|status| switches_of_thread(&status)).sum()
    }

    fn switches_of_thread(status: &str) -> u64 {
        field(status, "voluntary_ctxt_switches:").unwrap_or(0)
            + field(status, "nonvoluntary_ctxt_switches:").unwrap_or(0)
    }

    pub(crate) fn field(text: &str, name: &str) -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// The processes that this one has started.
    pub(in super::super) fn children(pid: u32) -> Vec<u32> {
        let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        list.unwrap_or_default().split_whitespace().flat_map(str::parse).collect()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_field_is_found_by_its_whole_name() {
            let status =
                "Threads:\t3\nnonvoluntary_ctxt_switches:\t2\nvoluntary_ctxt_switches:\t5\n";
            assert_eq!(field(status, "Threads:"), Some(3));
            assert_eq!(switches_of_thread(status), 7);
            assert_eq!(field(status, "VmRSS:"), None);
        }

        #[test]
        fn our_own_usage_can_be_read() {
            let usage = usage(std::process::id()).unwrap();
            assert!(usage.cpu > Duration::ZERO);
            assert!(usage.threads >= 1);
            assert!(usage.rss_bytes > 64 * 1024);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::time::Duration;

    use super::Usage;

    pub(in super::super) fn cores() -> Vec<usize> {
        Vec::new()
    }

    pub(in super::super) fn stay_on(_: &[usize]) {}

    /// SIGTERM, the polite way.
    #[cfg(unix)]
    pub(in super::super) fn terminate(pid: u32) {
        let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
        // ESRCH: it has ended by itself.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    }

    /// Every process here is started by us: see [`children`].
    pub(in super::super) fn kill(_: u32) {}

    /// There is no polite way.
    #[cfg(not(unix))]
    pub(in super::super) fn terminate(_: u32) {}

    pub(in super::super) fn own_cpu() -> Option<Duration> {
        None
    }

    pub(crate) fn usage(_: u32) -> Option<Usage> {
        None
    }

    pub(in super::super) fn children(_: u32) -> Vec<u32> {
        Vec::new()
    }
}

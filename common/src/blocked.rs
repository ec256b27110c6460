//! Which system call a process sleeps in, as `/proc` tells it. A test or a tool that waits for a server learns
//! from it whether there is anything left to wait for.

/// A system call that a thread sleeps in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// As strace(1) writes it.
    pub name: &'static str,
    /// No clock ends it: only a byte, a client, a signal or another thread.
    pub has_no_timeout: bool,
}

/// The call of each thread. `None` if one of them runs, if the process has ended, and where we may not look: it
/// takes Linux, and the rights that strace(1) needs. See proc_pid_syscall(5).
pub fn blocked_in(pid: u32) -> Option<Vec<Call>> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    tasks
        .map(|task| call(&std::fs::read_to_string(task.ok()?.path().join("syscall")).ok()?))
        .collect()
}

/// The call of one thread. `None`: it runs.
///
/// # Errors
///
/// If the thread has ended, and if we may not look.
pub fn call_of(pid: u32, thread: u32) -> std::io::Result<Option<Call>> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/syscall")).map(|line| call(&line))
}

/// `running`, or the call's number and its six arguments.
fn call(line: &str) -> Option<Call> {
    let mut fields = line.split_whitespace();
    let number = fields.next()?.parse().ok()?;
    let args: Vec<u64> = fields
        .map_while(|field| u64::from_str_radix(field.strip_prefix("0x")?, 16).ok())
        .take(6)
        .collect();
    let (name, has_no_timeout) = named(number, &args.try_into().ok()?)?;
    Some(Call { name, has_no_timeout })
}

/// A timeout of so many milliseconds is one that no test sees the end of.
#[cfg(target_os = "linux")]
const FOR_GOOD: i32 = 10 * 60 * 1000;

/// A `read` may have an `SO_RCVTIMEO`, which is not in its arguments: so the caller looks for wake-ups, too.
#[cfg(target_os = "linux")]
fn named(number: libc::c_long, args: &[u64; 6]) -> Option<(&'static str, bool)> {
    let long = |ms: u64| !(0..FOR_GOOD).contains(&(ms as i32));
    #[cfg(target_arch = "x86_64")]
    match number {
        libc::SYS_epoll_wait => return Some(("epoll_wait", long(args[3]))),
        libc::SYS_poll => return Some(("poll", long(args[2]))),
        _ => {}
    }
    Some(match number {
        libc::SYS_epoll_pwait => ("epoll_wait", long(args[3])),
        libc::SYS_ppoll => ("poll", args[2] == 0),
        libc::SYS_futex => ("futex", args[3] == 0),
        libc::SYS_accept | libc::SYS_accept4 => ("accept", true),
        libc::SYS_read | libc::SYS_recvfrom | libc::SYS_recvmsg => ("read", true),
        libc::SYS_write | libc::SYS_sendto | libc::SYS_sendmsg => ("write", true),
        libc::SYS_nanosleep | libc::SYS_clock_nanosleep => ("sleep", false),
        0.. => ("another system call", false),
        // In a page fault, or about to run.
        _ => return None,
    })
}

#[cfg(not(target_os = "linux"))]
fn named(_: i64, _: &[u64; 6]) -> Option<(&'static str, bool)> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn line(number: libc::c_long, args: [u64; 6]) -> Option<Call> {
        let args: Vec<_> = args.iter().map(|arg| format!("{arg:#x}")).collect();
        call(&format!("{number} {} 0x7ffd00 0x7f11\n", args.join(" ")))
    }

    #[test]
    fn a_wait_without_a_timeout_is_told_from_one_with_a_timeout() {
        let wait = |ms: i32| line(libc::SYS_epoll_pwait, [3, 0, 1024, u64::from(ms as u32), 0, 0]);
        assert_eq!(wait(-1), Some(Call { name: "epoll_wait", has_no_timeout: true }));
        assert_eq!(wait(3_600_000), Some(Call { name: "epoll_wait", has_no_timeout: true }));
        assert_eq!(wait(500), Some(Call { name: "epoll_wait", has_no_timeout: false }));
        let futex = |timeout| line(libc::SYS_futex, [1, 128, 2, timeout, 0, 0]).expect("a futex");
        assert!(futex(0).has_no_timeout && !futex(0x7ffe).has_no_timeout);
        assert!(!line(libc::SYS_clock_nanosleep, [0; 6]).expect("a sleep").has_no_timeout);
    }

    #[test]
    fn a_thread_that_runs_is_in_no_call() {
        assert_eq!(call("running\n"), None);
        assert_eq!(call("-1 0x7ffd00 0x7f11\n"), None);
    }

    #[test]
    fn a_process_that_reads_from_a_pipe_is_blocked_in_read() {
        use std::process::{Command, Stdio};
        let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat is there");
        let read = Some(vec![Call { name: "read", has_no_timeout: true }]);
        // Where it may not be looked at, nothing is said, for as long as one likes to wait.
        for _ in 0..2_000 {
            if blocked_in(cat.id()) == read {
                break;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(1));
        }
        let seen = blocked_in(cat.id());
        drop(cat.stdin.take());
        cat.wait().expect("it ends with its input");
        assert!(seen == read || seen.is_none(), "{seen:?}");
    }
}

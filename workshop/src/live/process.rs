//! What `/proc` tells of a server: what its threads are in, what it uses up, and the queues of its sockets.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

/// What a thread is in at one moment.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "no other system tells"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Doing {
    Runs,
    /// Asleep in this system call.
    In(&'static str),
    /// Asleep, and we may not see in which call.
    Asleep,
    /// It does nothing until SIGCONT, whatever comes.
    Stopped,
}

/// What a process has used up, and what it holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Used {
    pub(super) cpu: Duration,
    /// How often each of its threads has gone to sleep of itself, by thread.
    pub(super) wakeups: HashMap<u32, u64>,
    pub(super) threads: u64,
    /// What is not a copy of a file. `None` where the kernel does not say.
    pub(super) memory: Option<u64>,
    pub(super) descriptors: Option<u64>,
}

/// The bytes that wait in the kernel for one client.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Queues {
    pub(super) client_out: u64,
    pub(super) server_in: u64,
    pub(super) server_out: u64,
    pub(super) client_in: u64,
    /// The server has not accepted the connection.
    pub(super) in_backlog: bool,
    /// The server's end is there, and has not been closed.
    pub(super) is_open: bool,
}

/// The sockets of a server.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sockets {
    /// By the client's port.
    pub(super) queues: HashMap<u16, Queues>,
    /// How many connections wait to be accepted. `None`: it does not listen any more.
    pub(super) backlog: Option<u64>,
}

/// Reads the kernel's table of sockets in a thread of its own. The table has the sockets of all programs: with
/// thousands of them it takes a tenth of a second, in which the picture would stand still.
pub(super) struct Table {
    ask: Sender<SocketAddr>,
    told: Receiver<(SocketAddr, Option<Sockets>)>,
    is_asked: bool,
}

impl Table {
    pub(super) fn new() -> Self {
        let (ask, asked) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        // It ends with the value that asks.
        thread::spawn(move || {
            for server in asked {
                if tell.send((server, sockets(server))).is_err() {
                    return;
                }
            }
        });
        Self { ask, told, is_asked: false }
    }

    /// Has it read, unless it is being read already.
    pub(super) fn ask(&mut self, server: SocketAddr) {
        if !self.is_asked {
            self.is_asked = self.ask.send(server).is_ok();
        }
    }

    /// The sockets of that server, once each time that it has been read. Inside: what this system tells.
    pub(super) fn told(&mut self, server: SocketAddr) -> Option<Option<Sockets>> {
        let (of, sockets) = self.told.try_recv().ok()?;
        self.is_asked = false;
        (of == server).then_some(sockets)
    }
}

use self::system::sockets;
pub(super) use self::system::{MISSING, doing, find_server, is_there, threads, used};

#[cfg(target_os = "linux")]
mod system {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use anyhow::{Context, bail, ensure};
    use common::blocked::call_of;
    use common::sockets::{CLOSE_WAIT, ESTABLISHED, ends, listeners};

    use super::{Doing, SocketAddr, Sockets, Used};
    use crate::bench::os;

    /// What this system does not tell.
    pub(in super::super) const MISSING: Option<&str> = None;

    /// The threads of a process.
    pub(in super::super) fn threads(pid: u32) -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
    }

    /// Whether a process runs. `/proc` still lists one that has ended until its parent has heard of that.
    pub(in super::super) fn is_there(pid: u32) -> bool {
        match state(pid, pid) {
            // The first thread may end before the others.
            Some('Z') => threads(pid).len() > 1,
            Some(_) => true,
            // To open the file takes a descriptor, and we may be out of them. To look for it takes none.
            None => Path::new(&format!("/proc/{pid}")).exists(),
        }
    }

    /// As `ps` has it: `R` runs, `S` is asleep, `T` is stopped, `Z` has ended.
    fn state(pid: u32, thread: u32) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).ok()?;
        stat.rsplit(')').next()?.trim_start().chars().next()
    }

    /// `None`: the thread has ended.
    pub(in super::super) fn doing(pid: u32, thread: u32) -> Option<Doing> {
        let state = state(pid, thread)?;
        // It would still be listed in the call in which the signal came.
        if state == 'T' {
            return Some(Doing::Stopped);
        }
        match call_of(pid, thread) {
            Ok(Some(call)) => return Some(Doing::In(call.name)),
            Ok(None) => return Some(Doing::Runs),
            Err(_) => {}
        }
        // We may not see the call. The state, and the function of the kernel that it waits in, are for all.
        if state == 'R' {
            return Some(Doing::Runs);
        }
        let function = fs::read_to_string(format!("/proc/{pid}/task/{thread}/wchan"));
        let function = function.unwrap_or_default();
        Some(call_behind(&function).map_or(Doing::Asleep, Doing::In))
    }

    /// The call whose thread waits in this function of the kernel. The names are those of Linux 5 and 6.
    pub(super) fn call_behind(function: &str) -> Option<&'static str> {
        const CALLS: [(&str, &str); 8] = [
            ("ep_poll", "epoll_wait"),
            ("inet_csk_accept", "accept"),
            ("inet_csk_wait_for_connect", "accept"),
            ("wait_woken", "read or write"),
            ("sk_wait_data", "read"),
            ("sk_stream_wait_memory", "write"),
            ("futex", "futex"),
            ("poll_schedule_timeout", "poll"),
        ];
        CALLS.into_iter().find(|(begin, _)| function.contains(begin)).map(|(_, call)| call)
    }

    /// `None`: the process has ended.
    pub(in super::super) fn used(pid: u32) -> Option<Used> {
        let usage = os::usage(pid)?;
        let wakeups = threads(pid).into_iter().filter_map(|thread| {
            let status = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).ok()?;
            Some((thread, os::field(&status, "voluntary_ctxt_switches:")?))
        });
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
        Some(Used {
            cpu: usage.cpu,
            wakeups: wakeups.collect(),
            threads: usage.threads,
            memory: usage.anonymous_bytes,
            descriptors: descriptors.ok().map(|all| all.count() as u64),
        })
    }

    /// The whole table of the kernel is read for this: with thousands of sockets that takes a tenth of a second.
    pub(in super::super) fn sockets(server: SocketAddr) -> Option<Sockets> {
        let table = fs::read_to_string(table_of(server)).ok()?;
        let mut sockets = Sockets::default();
        let port = server.port();
        let listener = listeners(&table).find(|listener| listener.addr.port() == port);
        sockets.backlog = listener.map(|listener| listener.backlog as u64);
        for (local, remote, end) in ends(&table, port) {
            let of_server = local == port;
            let queues = sockets.queues.entry(if of_server { remote } else { local }).or_default();
            let (out, into) = (end.unacknowledged as u64, end.unread as u64);
            if of_server {
                (queues.server_out, queues.server_in) = (out, into);
                queues.in_backlog = end.is_in_backlog();
                queues.is_open = matches!(end.state, ESTABLISHED | CLOSE_WAIT);
            } else {
                (queues.client_out, queues.client_in) = (out, into);
            }
        }
        Some(sockets)
    }

    fn table_of(server: SocketAddr) -> &'static str {
        if server.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" }
    }

    /// The name of the program of a process, and where it listens.
    pub(in super::super) fn find_server(pid: u32) -> anyhow::Result<(String, SocketAddr)> {
        let owner = |process: &str| fs::metadata(format!("/proc/{process}")).map(|file| file.uid());
        let theirs =
            owner(&pid.to_string()).ok().with_context(|| format!("there is no process {pid}"))?;
        let name = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // What was built anew since.
        let name = name.strip_suffix(" (deleted)").unwrap_or(&name).to_owned();
        let sockets = fs::read_dir(format!("/proc/{pid}/fd"));
        let Ok(sockets) = sockets else {
            let ours = owner("self").context("no /proc/self")?;
            ensure!(theirs == ours, "process {pid} belongs to another user (uid {theirs})");
            bail!("we may not look into process {pid}");
        };
        let links = sockets.flatten().filter_map(|socket| fs::read_link(socket.path()).ok());
        let inodes: Vec<u64> = links.filter_map(|link| inode(&link)).collect();
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
        let mut listening = tables.iter().flatten().flat_map(|table| listeners(table));
        let found = listening.find(|listener| inodes.contains(&listener.inode));
        let found = found.with_context(|| {
            let what = if name.is_empty() { String::new() } else { format!(" ({name})") };
            let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
            match network(&pid.to_string()) == network("self") {
                true => format!("process {pid}{what} is no server: it does not listen on a TCP port"),
                false => format!(
                    "process {pid}{what} has another network namespace, as in a container, and we do not see its \
                     sockets. Start live in that one: nsenter -t {pid} -n"
                ),
            }
        })?;
        Ok((name, found.addr))
    }

    /// `socket:[1234]`
    fn inode(link: &Path) -> Option<u64> {
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use anyhow::bail;

    use super::{Doing, SocketAddr, Sockets, Used};

    pub(in super::super) const MISSING: Option<&str> = Some(
        "This system has no /proc: what the server does, and the queues, can only be seen on Linux.",
    );

    pub(in super::super) fn threads(_: u32) -> Vec<u32> {
        Vec::new()
    }

    pub(in super::super) fn is_there(_: u32) -> bool {
        true
    }

    pub(in super::super) fn doing(_: u32, _: u32) -> Option<Doing> {
        None
    }

    pub(in super::super) fn used(_: u32) -> Option<Used> {
        None
    }

    pub(in super::super) fn sockets(_: SocketAddr) -> Option<Sockets> {
        None
    }

    pub(in super::super) fn find_server(_: u32) -> anyhow::Result<(String, SocketAddr)> {
        bail!("--attach reads /proc, which only Linux has")
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_server_is_found_by_its_process_and_its_backlog_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(addr).unwrap();
        std::io::Write::write_all(&mut client, b"me too\n").unwrap();
        let port = client.local_addr().unwrap().port();
        let before = sockets(addr).unwrap();
        let (queues, backlog) = (before.queues[&port], before.backlog);
        assert_eq!((queues.server_in, queues.in_backlog, backlog), (7, true, Some(1)));
        let _accepted = listener.accept().unwrap();
        let after = sockets(addr).unwrap();
        assert_eq!((after.queues[&port].in_backlog, after.backlog), (false, Some(0)));
        // Other tests of this process listen as well.
        assert!(find_server(std::process::id()).is_ok());
    }

    #[test]
    fn a_process_that_is_no_server_is_told_in_one_line() {
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let error = find_server(sleeper.id()).unwrap_err().to_string();
        sleeper.kill().and_then(|()| sleeper.wait()).unwrap();
        assert!(error.ends_with(" is no server: it does not listen on a TCP port"), "{error}");
        let error = find_server(u32::MAX).unwrap_err().to_string();
        assert_eq!(error, "there is no process 4294967295");
    }

    #[test]
    fn what_we_are_in_and_have_used_up_can_be_read() {
        let us = std::process::id();
        assert!(threads(us).iter().any(|thread| doing(us, *thread) == Some(Doing::Runs)));
        let used = used(us).unwrap();
        assert!(used.threads >= 1 && used.wakeups.contains_key(&us) && used.descriptors > Some(2));
    }

    #[test]
    fn the_function_of_the_kernel_names_the_call() {
        let expected = [("ep_poll", Some("epoll_wait")), ("do_epoll_wait", None), ("0", None)];
        for (function, call) in expected {
            assert_eq!(system::call_behind(function), call);
        }
        assert_eq!(system::call_behind("futex_wait_queue"), Some("futex"));
    }
}

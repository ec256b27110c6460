//! What an error of `accept(2)` means, and what is said about it.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::limit::Limit;
use crate::report::{is_theirs, report};

/// How long to wait before asking again when there was no descriptor for a new client and none has
/// left since. The limit may have been raised, or another process may have given one back if the machine was
/// out of them (`ENFILE`), and no event says so. Once a second is soon enough for those who wait and no load
/// for the machine.
pub const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How many connections a server holds when `--max-connections` does not say.
///
/// From stage 5 on a client can be owed 64 KiB. 16,384 of them are 1 GiB: the most that strangers can
/// make us hold.
pub const DEFAULT_MAX_CONNECTIONS: usize = 16_384;

// ANCHOR: classify
/// What to do after `accept(2)` has failed.
#[derive(Debug)]
pub enum AcceptError {
    /// No client is waiting (`EAGAIN`; only a non-blocking listener says it). Wait for the next event.
    NoneWaiting,
    /// This client was gone before we got to it, or a signal interrupted us. Take the next one.
    Gone,
    /// No descriptor or no memory for a new client, who stays in the backlog. Asking again at once
    /// would get the same answer: wait until a client leaves, or for [`RETRY_PAUSE`].
    OutOfResources,
    /// The listening socket itself is unusable. There is nothing left to serve.
    Fatal(io::Error),
}

/// Sorts an error of `accept(2)` by what to do about it.
///
/// Only what says that the *listener* is broken is fatal. An errno that is not in the man page is met
/// with a pause: then it can neither end the server nor make it spin.
fn classify(error: &io::Error) -> AcceptError {
    match error.kind() {
        ErrorKind::WouldBlock => AcceptError::NoneWaiting,
        // Linux hands over errors that are waiting on the new connection as accept's own (accept(2),
        // "Error handling"); EPERM: a firewall has refused this one client.
        ErrorKind::Interrupted
        | ErrorKind::ConnectionAborted
        | ErrorKind::ConnectionReset
        | ErrorKind::PermissionDenied
        | ErrorKind::NetworkDown
        | ErrorKind::NetworkUnreachable
        | ErrorKind::HostUnreachable
        | ErrorKind::TimedOut => AcceptError::Gone,
        // Without an errno it is `std` that complains: of a client who reset so early that macOS gave out
        // its connection with no address.
        _ => error.raw_os_error().map_or(AcceptError::Gone, classify_errno),
    }
}

/// The errno values that `std` has no stable word for.
#[cfg(unix)]
fn classify_errno(errno: i32) -> AcceptError {
    match errno {
        libc::EPROTO | libc::ENOPROTOOPT | libc::EOPNOTSUPP | libc::EHOSTDOWN => AcceptError::Gone,
        #[cfg(any(target_os = "linux", target_os = "android"))]
        libc::ENONET => AcceptError::Gone,
        libc::EBADF | libc::EFAULT | libc::EINVAL | libc::ENOTSOCK => {
            AcceptError::Fatal(io::Error::from_raw_os_error(errno))
        }
        // EMFILE: this process is out of descriptors. ENFILE: the machine is. ENOBUFS, ENOMEM: memory.
        _ => AcceptError::OutOfResources,
    }
}
// ANCHOR_END: classify

/// The same for Winsock: see accept, "Return value".
#[cfg(windows)]
fn classify_errno(errno: i32) -> AcceptError {
    const WSAEBADF: i32 = 10009;
    const WSAEFAULT: i32 = 10014;
    const WSAEINVAL: i32 = 10022;
    const WSAENOTSOCK: i32 = 10038;
    match errno {
        WSAEBADF | WSAEFAULT | WSAEINVAL | WSAENOTSOCK => {
            AcceptError::Fatal(io::Error::from_raw_os_error(errno))
        }
        // WSAEMFILE, WSAENOBUFS.
        _ => AcceptError::OutOfResources,
    }
}

/// The attempts to accept: how many have failed in a row, and what has been said about it.
///
/// The trouble comes back every time a client leaves and the next one takes its place, and a stranger can
/// connect and leave a thousand times a second. So all of this gets one line a minute.
#[derive(Debug)]
pub struct Attempts {
    failed: u32,
    complaints: Limit,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { failed: 0, complaints: Limit::new(1) }
    }
}

impl Attempts {
    /// After so many failures in a row the clients are not to blame. A security module, seccomp(2) or a
    /// firewall fails each call before it takes a client from the backlog, and would do so for ever.
    const MOST_FAILURES: u32 = 64;

    // ANCHOR: sort
    /// Counts an attempt to accept, and sorts its error by what to do about it.
    ///
    /// # Errors
    ///
    /// See [`AcceptError`]. A lack of resources has been complained about.
    pub fn sort<T>(&mut self, accepted: io::Result<T>) -> Result<T, AcceptError> {
        let error = match accepted {
            Ok(client) => {
                self.failed = 0;
                return Ok(client);
            }
            Err(error) => error,
        };
        self.failed = self.failed.saturating_add(1); // stage 3 may fail a million times a second
        let sorted = classify(&error);
        match sorted {
            AcceptError::NoneWaiting => self.failed = 0,
            AcceptError::OutOfResources => self.out_of_resources(&error),
            AcceptError::Gone if self.failed >= Self::MOST_FAILURES => {
                self.out_of_resources(&error);
                return Err(AcceptError::OutOfResources);
            }
            AcceptError::Gone | AcceptError::Fatal(_) => {}
        }
        Err(sorted)
    }
    // ANCHOR_END: sort

    /// Sorts an error of the calls that follow accept(2). If the client has left meanwhile, that is its own
    /// affair. Otherwise the kernel has no memory to watch one more (`ENOSPC`, `ENOMEM`, `ENOBUFS`): this
    /// client is turned away, and the next one would fare no better.
    pub fn turned_away(&mut self, client: impl Display, error: io::Error) -> AcceptError {
        if is_theirs(&error) {
            report(client, Err(error));
            return AcceptError::Gone;
        }
        if let Some(left_out) = self.complaints.pass(Instant::now()) {
            warn!(%client, %error, left_out, "turned away: cannot watch a new client");
        }
        AcceptError::OutOfResources
    }

    /// Says that the server holds as many connections as it was told to.
    pub fn full(&mut self, max_connections: usize) {
        // Not how often: a server that asks without a pause has found it full a million times a second.
        if self.complaints.pass(Instant::now()).is_some() {
            warn!(max_connections, "full: new clients wait until one leaves");
        }
    }

    /// Says that there is no thread for a new client, who has been turned away.
    pub fn out_of_threads(&mut self, error: &io::Error) {
        if let Some(left_out) = self.complaints.pass(Instant::now()) {
            warn!(%error, left_out, "cannot start a thread: new clients are turned away");
        }
    }

    fn out_of_resources(&mut self, error: &io::Error) {
        if self.complaints.pass(Instant::now()).is_some() {
            warn!(%error, "cannot accept: new clients wait until one leaves");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name of what an error is sorted as.
    fn sorted(error: impl Into<io::Error>) -> String {
        let name = format!("{:?}", classify(&error.into()));
        name.split('(').next().unwrap_or_default().to_owned()
    }

    #[cfg(unix)]
    #[track_caller]
    fn check(errnos: &[i32], expected: &str) {
        for &errno in errnos {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(sorted(io::Error::from_raw_os_error(errno)), expected, "{error}");
        }
    }

    #[test]
    fn none_waiting_is_told_from_one_that_has_gone() {
        assert_eq!(sorted(ErrorKind::WouldBlock), "NoneWaiting");
        assert_eq!(sorted(ErrorKind::ConnectionAborted), "Gone");
        assert_eq!(sorted(ErrorKind::Interrupted), "Gone");
    }

    #[test]
    fn the_same_error_64_times_in_a_row_is_no_longer_the_clients_affair() {
        let mut attempts = Attempts::default();
        let mut fails = |times: u32, expected: &str| {
            for _ in 0..times {
                let error = attempts.sort(Err::<(), _>(ErrorKind::PermissionDenied.into()));
                assert_eq!(format!("{:?}", error.unwrap_err()), expected);
            }
        };
        fails(63, "Gone");
        fails(1000, "OutOfResources");
        assert!(attempts.sort(Ok(())).is_ok());
        assert_eq!(attempts.failed, 0, "a client who could be accepted ends the row");
        let none = attempts.sort(Err::<(), _>(ErrorKind::WouldBlock.into()));
        assert!(matches!(none, Err(AcceptError::NoneWaiting)));
        assert_eq!(attempts.failed, 0, "that there is none to accept is no failure");
    }

    #[cfg(unix)]
    #[test]
    fn the_failures_may_be_more_than_can_be_counted() {
        let mut attempts = Attempts { failed: u32::MAX, ..Attempts::default() };
        for errno in [libc::EMFILE, libc::EPERM] {
            let failed = Err::<(), _>(io::Error::from_raw_os_error(errno));
            assert!(matches!(attempts.sort(failed), Err(AcceptError::OutOfResources)), "{errno}");
        }
    }

    #[test]
    fn a_client_that_has_left_and_a_kernel_without_memory_are_told_apart() {
        let mut attempts = Attempts::default();
        let mut sort = |kind: ErrorKind| format!("{:?}", attempts.turned_away("it", kind.into()));
        assert_eq!(sort(ErrorKind::ConnectionReset), "Gone");
        assert_eq!(sort(ErrorKind::StorageFull), "OutOfResources", "ENOSPC");
        assert_eq!(sort(ErrorKind::OutOfMemory), "OutOfResources", "ENOMEM");
    }

    #[cfg(unix)]
    #[test]
    fn an_error_of_one_client_is_not_an_error_of_the_listener() {
        check(&[libc::EAGAIN, libc::EWOULDBLOCK], "NoneWaiting");
        check(
            &[libc::EINTR, libc::ECONNABORTED, libc::ECONNRESET, libc::EPERM, libc::EPROTO],
            "Gone",
        );
        check(&[libc::ENETDOWN, libc::ENETUNREACH, libc::EHOSTDOWN, libc::EHOSTUNREACH], "Gone");
        check(&[libc::ENOPROTOOPT, libc::EOPNOTSUPP, libc::ETIMEDOUT], "Gone");
        #[cfg(any(target_os = "linux", target_os = "android"))]
        check(&[libc::ENONET], "Gone");
    }

    #[test]
    fn what_has_no_errno_is_about_a_client_who_has_gone() {
        assert_eq!(sorted(ErrorKind::InvalidInput), "Gone");
    }

    #[cfg(unix)]
    #[test]
    fn without_descriptors_or_memory_the_client_stays_in_the_backlog() {
        check(&[libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM], "OutOfResources");
    }

    #[cfg(unix)]
    #[test]
    fn only_a_broken_listener_is_fatal() {
        check(&[libc::EBADF, libc::EFAULT, libc::EINVAL, libc::ENOTSOCK], "Fatal");
        for errno in 1..200 {
            let error = io::Error::from_raw_os_error(errno);
            let named = [libc::EBADF, libc::EFAULT, libc::EINVAL, libc::ENOTSOCK].contains(&errno);
            assert_eq!(matches!(classify(&error), AcceptError::Fatal(_)), named, "{error}");
        }
    }
}

//! What an error of `accept(2)` means, and what is said about it.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use tracing::warn;

/// How long to wait before asking again when there was no descriptor for a new client and nobody has
/// left since. Somebody else on the machine may have given one back, and no event says so. Once a
/// second is soon enough for those who wait and no load for the machine.
pub const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How many connections a server holds when `--max-connections` does not say.
///
/// From stage 5 on a client can be owed 64 KiB. 16,384 of them are 1 GiB: the most that strangers can
/// make us hold.
pub const DEFAULT_MAX_CONNECTIONS: usize = 16_384;

// ANCHOR: classify
/// What to do after `accept(2)` has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptError {
    /// Nobody is waiting (`EAGAIN`; only a non-blocking listener says it). Wait for the next event.
    NobodyWaiting,
    /// This client was gone before we got to it, or a signal interrupted us. Take the next one.
    Gone,
    /// No descriptor or no memory for a new client, who stays in the backlog. Asking again at once
    /// would get the same answer: wait until somebody leaves, or for [`RETRY_PAUSE`].
    OutOfResources,
    /// The listening socket itself is unusable. There is nothing left to serve.
    Fatal,
}

/// Sorts an error of `accept(2)` by what to do about it.
///
/// Only what says that the *listener* is broken is fatal. An errno that is not in the man page is met
/// with a pause: then it can neither end the server nor make it spin.
pub fn classify(error: &io::Error) -> AcceptError {
    match error.kind() {
        ErrorKind::WouldBlock => AcceptError::NobodyWaiting,
        // Linux hands over errors that are waiting on the new connection as accept's own (accept(2),
        // "Error handling"); EPERM is a firewall's word about this one client.
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
        libc::EBADF | libc::EFAULT | libc::EINVAL | libc::ENOTSOCK => AcceptError::Fatal,
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
        WSAEBADF | WSAEFAULT | WSAEINVAL | WSAENOTSOCK => AcceptError::Fatal,
        // WSAEMFILE, WSAENOBUFS.
        _ => AcceptError::OutOfResources,
    }
}

/// Complaints about not being able to accept: at most one line a minute.
///
/// The trouble comes back every time somebody leaves and the next client takes the place, and whoever
/// likes can connect and leave a thousand times a second. A full log is one more way to stop a server.
#[derive(Debug, Default)]
pub struct Complaints {
    last: Option<Instant>,
}

impl Complaints {
    const PAUSE: Duration = Duration::from_secs(60);

    /// Says that there is no descriptor or no memory for a new client.
    pub fn out_of_resources(&mut self, error: &io::Error) {
        if self.is_due(Instant::now()) {
            warn!(%error, "cannot accept: new clients wait until somebody leaves");
        }
    }

    /// Says that the server holds as many connections as it was told to.
    pub fn full(&mut self, max_connections: usize) {
        if self.is_due(Instant::now()) {
            warn!(max_connections, "full: new clients wait until somebody leaves");
        }
    }

    /// Says that there is no thread for a new client, who has been turned away.
    pub fn out_of_threads(&mut self, error: &io::Error) {
        if self.is_due(Instant::now()) {
            warn!(%error, "cannot start a thread: new clients are turned away");
        }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.duration_since(last) >= Self::PAUSE);
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_come_at_most_once_a_minute() {
        let t0 = Instant::now();
        let mut complaints = Complaints::default();
        assert!(complaints.is_due(t0));
        assert!(!complaints.is_due(t0 + Duration::from_secs(59)));
        assert!(complaints.is_due(t0 + Duration::from_secs(60)));
        assert!(!complaints.is_due(t0 + Duration::from_secs(61)));
    }

    #[test]
    fn nobody_waiting_is_told_from_somebody_gone() {
        assert_eq!(classify(&ErrorKind::WouldBlock.into()), AcceptError::NobodyWaiting);
        assert_eq!(classify(&ErrorKind::ConnectionAborted.into()), AcceptError::Gone);
        assert_eq!(classify(&ErrorKind::Interrupted.into()), AcceptError::Gone);
    }

    #[cfg(unix)]
    #[track_caller]
    fn check(errnos: &[i32], expected: AcceptError) {
        for &errno in errnos {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(classify(&error), expected, "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_error_of_one_client_is_not_an_error_of_the_listener() {
        check(&[libc::EAGAIN, libc::EWOULDBLOCK], AcceptError::NobodyWaiting);
        check(
            &[libc::EINTR, libc::ECONNABORTED, libc::ECONNRESET, libc::EPERM, libc::EPROTO],
            AcceptError::Gone,
        );
        check(
            &[libc::ENETDOWN, libc::ENETUNREACH, libc::EHOSTDOWN, libc::EHOSTUNREACH],
            AcceptError::Gone,
        );
        check(&[libc::ENOPROTOOPT, libc::EOPNOTSUPP, libc::ETIMEDOUT], AcceptError::Gone);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        check(&[libc::ENONET], AcceptError::Gone);
    }

    #[test]
    fn what_has_no_errno_is_about_a_client_who_has_gone() {
        assert_eq!(classify(&ErrorKind::InvalidInput.into()), AcceptError::Gone);
    }

    #[cfg(unix)]
    #[test]
    fn without_descriptors_or_memory_the_client_stays_in_the_backlog() {
        check(
            &[libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM],
            AcceptError::OutOfResources,
        );
    }

    #[cfg(unix)]
    #[test]
    fn only_a_broken_listener_is_fatal() {
        check(&[libc::EBADF, libc::EFAULT, libc::EINVAL, libc::ENOTSOCK], AcceptError::Fatal);
        for errno in 1..200 {
            let error = io::Error::from_raw_os_error(errno);
            let named = [libc::EBADF, libc::EFAULT, libc::EINVAL, libc::ENOTSOCK].contains(&errno);
            assert_eq!(classify(&error) == AcceptError::Fatal, named, "{error}");
        }
    }
}

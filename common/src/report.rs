//! How the end of a connection is told.

use std::fmt::{self, Display};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::{debug, warn};

use crate::limit::Limit;

// ANCHOR: report
/// Logs how a client left. This is where the trouble of one client ends: nothing is returned.
///
/// That a client hangs up, politely or not, is its own affair and a `debug` line: a flood of resets
/// is not a flood of log lines. What is left is worth a `warn`, ten times a minute at most, since a client
/// may come back and do the same again.
pub fn report(client: impl Display, end: io::Result<()>) {
    static WARNINGS: Mutex<Limit> = Mutex::new(Limit::new(10));
    match end {
        Ok(()) => debug!(%client, "closed"),
        Err(error) if is_theirs(&error) => debug!(%client, %error, "gone"),
        Err(error) => {
            let mut warnings = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(left_out) = warnings.pass(Instant::now()) {
                warn!(%client, %error, left_out, "cut off");
            }
        }
    }
}

/// Whether the client, or the network between us, ended the connection.
pub(crate) fn is_theirs(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset // ECONNRESET: it closed, or was killed, with our bytes unread
            | ErrorKind::BrokenPipe // EPIPE: we wrote after its reset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected // a socket option on a connection that was reset before we looked
            | ErrorKind::InvalidInput // the same on macOS: EINVAL
            | ErrorKind::TimedOut // nothing came, or the peer did not acknowledge what we sent
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
    )
}
// ANCHOR_END: report

/// A client that has a number, in a line of the log: its number, and the address it comes from. The address
/// is asked for (getpeername(2)) only if the line is written. After a reset the kernel has forgotten it.
#[derive(Debug)]
pub struct Numbered<F>(pub usize, pub F);

impl<F: Fn() -> io::Result<SocketAddr>> Display for Numbered<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1() {
            Ok(peer) => write!(f, "{} ({peer})", self.0),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_the_clients_own_affair() {
        for kind in [
            ErrorKind::ConnectionReset,
            ErrorKind::BrokenPipe,
            ErrorKind::ConnectionAborted,
            ErrorKind::NotConnected,
            ErrorKind::InvalidInput,
            ErrorKind::TimedOut,
            ErrorKind::HostUnreachable,
            ErrorKind::NetworkUnreachable,
            ErrorKind::NetworkDown,
        ] {
            assert!(is_theirs(&kind.into()), "{kind}");
        }
    }

    #[test]
    fn a_numbered_client_is_named_with_its_address_while_it_has_one() {
        let peer = || Ok(SocketAddr::from(([127, 0, 0, 1], 50001)));
        assert_eq!(Numbered(7_000_003, peer).to_string(), "7000003 (127.0.0.1:50001)");
        let gone = || Err(ErrorKind::NotConnected.into());
        assert_eq!(Numbered(7_000_003, gone).to_string(), "7000003");
    }

    #[test]
    fn cutting_a_client_off_is_not() {
        assert!(!is_theirs(&io::Error::other("nowhere to keep its bytes")));
        assert!(!is_theirs(&ErrorKind::PermissionDenied.into()));
        assert!(!is_theirs(&ErrorKind::OutOfMemory.into()));
    }
}

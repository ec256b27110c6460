//! How the end of a connection is told.

use std::fmt::Display;
use std::io::{self, ErrorKind};

use tracing::{debug, warn};

// ANCHOR: report
/// Logs how a client left. This is where the trouble of one client ends: nothing is returned.
///
/// That a client hangs up, politely or not, is its own affair and a `debug` line: a flood of resets
/// is not a flood of log lines. What is left is worth a `warn`.
pub fn report(client: impl Display, end: io::Result<()>) {
    match end {
        Ok(()) => debug!(%client, "closed"),
        Err(error) if is_theirs(&error) => debug!(%client, %error, "gone"),
        Err(error) => warn!(%client, %error, "cut off"),
    }
}

/// Whether the client, or the network between us, ended the connection.
fn is_theirs(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset // ECONNRESET: it closed, or was killed, with our bytes unread
            | ErrorKind::BrokenPipe // EPIPE: we wrote after its reset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected // a socket option on a connection that was reset before we looked
            | ErrorKind::InvalidInput // the same on macOS: EINVAL
            | ErrorKind::TimedOut // nothing came, or nobody acknowledged what we sent
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
    )
}
// ANCHOR_END: report

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
    fn cutting_somebody_off_is_not() {
        assert!(!is_theirs(&io::Error::other("nowhere to keep its bytes")));
        assert!(!is_theirs(&ErrorKind::PermissionDenied.into()));
        assert!(!is_theirs(&ErrorKind::OutOfMemory.into()));
    }
}

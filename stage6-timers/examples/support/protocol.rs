//! The protocol: we send a line, and the peer sends it back. That is the ack.
//!
//! Why is an echo an acknowledgement? `connect(2)` succeeds as soon as the peer's *kernel* has answered,
//! and the kernel answers even if its program is stopped, or never calls `accept(2)`. The line comes
//! back only if a program has read it and written it. That program must not be ours: a socket that is
//! connected with itself reads what it has written, so each attempt first compares both ends
//! (`common::refuse_self`). An echo proves no more than that. A real protocol adds what the two sides
//! must agree on: a line of the peer's own that says who it is and which versions it speaks; a number
//! that an attacker cannot guess, so that the answer to an earlier question is not taken for the answer
//! to this one; and a way to say no.

use std::fmt;
use std::io::{self, ErrorKind};

/// What we say first, and what has to come back.
pub(crate) const HELLO: &[u8] = b"hello, version 1\n";

/// What we say over the connection once it is established.
pub(crate) const QUESTION: &[u8] = b"how are you?\n";

/// How much we ask `read(2)` for. Our lines are shorter.
pub(crate) const READ_SIZE: usize = 64;

/// The longest line we accept, so that a peer that never sends a newline cannot fill our memory.
pub(crate) const LINE_LIMIT: usize = 256;

/// Why an attempt failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The deadline passed first.
    TimedOut,
    /// What came back is not what we sent.
    WrongAck,
    /// The peer has sent its FIN before the answer was complete.
    Closed,
    /// A system call failed.
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => write!(f, "no answer in time"),
            Self::WrongAck => write!(f, "the answer is no ack"),
            Self::Closed => write!(f, "closed by the peer"),
            Self::Io(error) => match error.kind() {
                ErrorKind::ConnectionRefused => write!(f, "connection refused"),
                // After a reset, one call says ECONNRESET and the next EPIPE. Which we see is chance.
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                    write!(f, "reset by the peer")
                }
                _ => write!(f, "{error}"),
            },
        }
    }
}

/// Whether what has come so far is the whole ack. More may have come behind it, and those bytes belong
/// to what follows the handshake.
///
/// A wrong byte fails the attempt when it comes. If we waited for the end of the line, a peer that never
/// ends its line would keep us until the deadline.
pub(crate) fn check_ack(so_far: &[u8]) -> Result<bool, Failure> {
    let n = so_far.len().min(HELLO.len());
    if so_far[..n] == HELLO[..n] { Ok(n == HELLO.len()) } else { Err(Failure::WrongAck) }
}

/// The first line of what has come so far, without its end. `None`: it is not complete.
pub(crate) fn first_line(so_far: &[u8]) -> Option<&[u8]> {
    match so_far.iter().position(|&byte| byte == b'\n') {
        Some(end) => Some(&so_far[..end.min(LINE_LIMIT)]),
        None if so_far.len() >= LINE_LIMIT => Some(&so_far[..LINE_LIMIT]),
        None => None,
    }
}

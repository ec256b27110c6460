//! One client, as a value instead of a stack.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use common::stream::{ReadOutcome, WriteOutcome, read_from_stream, write_to_stream};

/// How much we ask `read(2)` for. Any size is correct; a larger one means fewer system calls.
pub(crate) const READ_SIZE: usize = 4096;

/// One client: its socket, and what its last turn found out.
///
/// ```text
///             read → bytes              read → EAGAIN
///   Ready ──────────────────▶ Ready ──────────────────▶ Drained
///     ▲                                                    │
///     └──────────────────── read → bytes ──────────────────┘
///   read → 0 (FIN), or any error, in either of them ──▶ Ended
/// ```
pub(crate) struct Connection<S> {
    stream: S,
    pub(crate) peer: SocketAddr,
    pub(crate) state: State,
}

/// What a turn has found out about a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Bytes came, and more may be waiting.
    Ready,
    /// `read(2)` said `EAGAIN`: there are no bytes until more come.
    Drained,
    /// The client has left, or had to be cut off.
    Ended,
}

impl<S: Read + Write> Connection<S> {
    pub(crate) fn new(stream: S, peer: SocketAddr) -> Self {
        Self { stream, peer, state: State::Ready }
    }

    /// One turn: one `read(2)`, and the echo of what it brought.
    pub(crate) fn turn(&mut self, buf: &mut [u8]) -> io::Result<State> {
        match read_from_stream(&mut self.stream, buf)? {
            ReadOutcome::Bytes(n) => self.send(&buf[..n]),
            ReadOutcome::NotReady => Ok(State::Drained),
            ReadOutcome::End => Ok(State::Ended),
        }
    }

    /// Sends bytes, all of them or it is over. The kernel's buffers hold a few megabytes for a client
    /// that does not read. Then we have nowhere to keep the rest, and a stream that went on without
    /// them would be a lie: better to cut the client off, and to say so. Stage 5 lifts this.
    fn send(&mut self, bytes: &[u8]) -> io::Result<State> {
        match write_to_stream(&mut self.stream, bytes)? {
            WriteOutcome::All => Ok(State::Ready),
            WriteOutcome::NotReady { taken } => {
                let left = bytes.len() - taken;
                Err(io::Error::other(format!("it does not read, and {left} bytes have no place")))
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! A socket, together with what the poller has said about it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use common::stream::{ReadOutcome, WriteOutcome, read_from_stream, write_to_stream};

use super::support::{Failure, READ_SIZE};

/// What we ask of a socket. A test can play it.
pub(crate) trait Socket: Read + Write {
    /// What has gone wrong since we last asked: getsockopt(2), `SO_ERROR`. Asking clears it.
    fn take_error(&self) -> io::Result<Option<io::Error>>;
    /// Who is at the other end: getpeername(2). `NotConnected` until a peer is, `ConnectionRefused` if it
    /// is this very socket: see [`common::refuse_self`].
    fn peer_addr(&self) -> io::Result<SocketAddr>;
}

impl Socket for mio::net::TcpStream {
    fn take_error(&self) -> io::Result<Option<io::Error>> {
        mio::net::TcpStream::take_error(self)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        let peer = mio::net::TcpStream::peer_addr(self)?;
        common::refuse_self(self).map(|()| peer)
    }
}

/// What an event says. It is a hint: only the next system call knows for certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

impl Said {
    /// A call that is out of time looks at its socket once more, even if no event has come. The event may
    /// be still to come: a signal ends the poller's sleep without events, and it takes only so many at once.
    pub(crate) const OUT_OF_TIME: Self = Self { readable: true, writable: true };
}

impl From<&mio::event::Event> for Said {
    fn from(event: &mio::event::Event) -> Self {
        // A connection that has ended can be read and written: both calls say at once how it ended.
        let over = event.is_error() || event.is_read_closed() || event.is_write_closed();
        Self { readable: event.is_readable() || over, writable: event.is_writable() || over }
    }
}

// ANCHOR: Watched
/// A socket, and what the poller has said about it. The poller says each thing only once, so we keep it
/// until a call returns `EAGAIN`.
pub(crate) struct Watched<S> {
    socket: S,
    /// There may be bytes to read. Turns false when read(2) says `EAGAIN`.
    may_read: bool,
    /// There may be room to write. Turns false when write(2) says `EAGAIN`, or when we are not
    /// connected yet.
    may_write: bool,
}
// ANCHOR_END: Watched

impl<S: Socket> Watched<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self { socket, may_read: false, may_write: false }
    }

    /// Takes note of an event.
    pub(crate) fn note(&mut self, said: Said) {
        self.may_read |= said.readable;
        self.may_write |= said.writable;
    }

    // ANCHOR: is_connected
    /// Whether connect(2), which did not wait, has got there. An error is its error.
    ///
    /// The order matters. Before the socket is writable there is nothing to learn. Then `SO_ERROR`
    /// says whether connecting failed. No error is not yet success: an event is only a hint, and some
    /// systems send one too many. Only getpeername(2) knows whether there is a peer.
    pub(crate) fn is_connected(&mut self) -> io::Result<bool> {
        if !self.may_write {
            return Ok(false);
        }
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotConnected => {
                self.may_write = false;
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
    // ANCHOR_END: is_connected

    // ANCHOR: send
    /// Sends as much as the kernel takes, and moves `left` behind it. True if nothing is left.
    pub(crate) fn send(&mut self, left: &mut &[u8]) -> io::Result<bool> {
        if !left.is_empty() && self.may_write {
            match write_to_stream(&mut self.socket, left)? {
                WriteOutcome::All => *left = &[],
                WriteOutcome::NotReady { taken } => {
                    *left = &left[taken..];
                    self.may_write = false;
                }
            }
        }
        Ok(left.is_empty())
    }
    // ANCHOR_END: send

    /// One read(2), behind what has come so far. False if nothing has come.
    pub(crate) fn receive(&mut self, so_far: &mut Vec<u8>) -> Result<bool, Failure> {
        if !self.may_read {
            return Ok(false);
        }
        let mut buf = [0; READ_SIZE];
        match read_from_stream(&mut self.socket, &mut buf)? {
            ReadOutcome::Bytes(n) => so_far.extend_from_slice(&buf[..n]),
            ReadOutcome::NotReady => self.may_read = false,
            ReadOutcome::End => return Err(Failure::Closed),
        }
        Ok(self.may_read)
    }
}

//! One client: its socket, what we owe it, and what the kernel has told us about it.

use std::io::{self, Read, Write};

use common::stream::{ReadOutcome, WriteOutcome, read_from_stream, write_to_stream};

use crate::outbox::Outbox;

/// How much we ask `read(2)` for, and so how much one turn can bring. At 4 KiB moving a lot of bytes
/// takes five times as long; with more than 64 KiB a turn the other clients begin to notice. And one
/// byte more, since people send round numbers: a read that fills the buffer to the brim cannot tell
/// whether it was the last, and has to be followed by one that says `EAGAIN`.
pub(crate) const READ_SIZE: usize = 64 * 1024 + 1;

/// Whether a read that did not fill the buffer has emptied the socket, so that more bytes are a new
/// event. So it is with epoll: see epoll(7), "Questions and answers". What else may cut a read short
/// is told by an event on Linux, and then we read on ([`Marks::must_drain`]). Elsewhere it is not told,
/// or only `WouldBlock` arms the next event.
const SHORT_READ_MEANS_DRAINED: bool = cfg!(target_os = "linux");

/// One client.
///
/// ```text
///                 the kernel does not take all
///   owes nothing ─────────────────────────────▶ owes some
///    │    ▲                                         │
///    │    └──────────────── all is paid ────────────┘
///    └─ read → 0 (FIN) ─▶ Next::Done       in both: any error ─▶ Err
/// ```
///
/// We read only from those to whom we owe nothing. So when the client's FIN is read, all is paid.
pub(crate) struct Connection<S> {
    pub(crate) stream: S,
    /// What the kernel would not take yet. Mostly there is none, so it is a pointer and not a buffer:
    /// an idle client costs tens of bytes.
    pub(crate) outbox: Option<Box<Outbox>>,
    pub(crate) marks: Marks,
}

/// What we have been told about a client and have not used up. It is told only once.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// There may be bytes to read. Turns false when a read has emptied the socket.
    pub(crate) may_read: bool,
    /// There may be room to write. Turns false when a write was refused.
    pub(crate) may_write: bool,
    /// A short read is not the last: the end of the stream, an error or an urgent byte is behind the
    /// bytes, and no event will come for it again. So we read on until there is nothing, and then it is false.
    pub(crate) must_drain: bool,
    /// It is in the server's list of those who are due a turn. Turns false when it gets its turn.
    pub(crate) due: bool,
    /// We are letting it go: there are no more answers.
    pub(crate) parting: bool,
    /// And our FIN is on its way.
    pub(crate) fin_sent: bool,
}

/// What the server should do with a client after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing can move: no bytes to read, or no room to write. Wait for an event.
    Wait,
    /// Its turn is over, but more could move, and no event will say so. Come back.
    Again,
    /// It has sent its last byte, and has it back. Close.
    Done,
}

impl<S: Read + Write> Connection<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, outbox: None, marks: Marks::default() }
    }

    /// One turn: pay what we owe, then at most one `read(2)` and the echo of it. So no client keeps the
    /// turn, however fast it sends.
    #[inline(always)]
    pub(crate) fn turn(&mut self, buf: &mut [u8]) -> io::Result<Next> {
        // While we owe bytes we read none. They stay in the kernel, its buffer fills up, TCP closes the
        // window, and the client's write(2) has to wait. That is back-pressure, and it cost us an `if`.
        if (self.outbox.is_some() && !self.flush()?) || !self.marks.may_read {
            return Ok(Next::Wait);
        }
        match read_from_stream(&mut self.stream, buf)? {
            ReadOutcome::Bytes(n) => {
                let drained = SHORT_READ_MEANS_DRAINED && n < buf.len();
                self.marks.may_read = self.marks.must_drain || !drained;
                self.send(&buf[..n])?;
                let more = self.marks.may_read && self.outbox.is_none();
                Ok(if more { Next::Again } else { Next::Wait })
            }
            ReadOutcome::NotReady => {
                self.marks.may_read = false;
                self.marks.must_drain = false; // it was an urgent byte, and it has been read
                Ok(Next::Wait)
            }
            ReadOutcome::End => Ok(Next::Done),
        }
    }

    /// Sends what we owe, if there may be room for it. True if we owe nothing any more.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        let Some(outbox) = &mut self.outbox else { return Ok(true) };
        if !self.marks.may_write {
            return Ok(false);
        }
        match write_to_stream(&mut self.stream, outbox.pending())? {
            WriteOutcome::All => self.outbox = None,
            WriteOutcome::NotReady { taken } => outbox.consume(taken),
        }
        self.marks.may_write = self.outbox.is_none();
        Ok(self.marks.may_write)
    }

    /// Sends bytes behind those that we owe already. If we owe none, they go out straight from the caller's
    /// buffer, and only those that the kernel does not take are kept.
    ///
    /// # Errors
    ///
    /// The connection is over; or we would owe more than an outbox holds.
    ///
    /// Inlined, since as a call it makes each message cost 40 instructions more in stage 6.
    #[inline(always)]
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        if self.outbox.is_none() {
            match write_to_stream(&mut self.stream, bytes)? {
                WriteOutcome::All => return Ok(()),
                WriteOutcome::NotReady { taken } => left = &bytes[taken..],
            }
            self.marks.may_write = false;
        }
        self.outbox.get_or_insert_default().push(left)
    }
}

#[cfg(test)]
mod tests;

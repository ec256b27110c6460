//! One client: its socket, what we owe it, and what the kernel has told us about it.

use std::io::{self, Read, Write};
use std::time::Instant;

use common::stream::{ReadOutcome, WriteOutcome, read_from_stream, write_to_stream};

use crate::outbox::Outbox;

/// How much we ask `read(2)` for, and so how much one turn can bring. At 4 KiB moving a lot of bytes
/// takes five times as long; with more than 64 KiB a turn the other clients begin to notice. And one
/// byte more, since people send round numbers: a read that fills the buffer to the brim cannot tell
/// whether it was the last, and has to be followed by one that says `EAGAIN`.
pub(crate) const READ_SIZE: usize = 64 * 1024 + 1;

/// Whether a read that did not fill the buffer has emptied the socket, so that more bytes are a new
/// event. So it is where mio sits on an edge-triggered poller: epoll(7), question 9. Elsewhere only
/// `WouldBlock` arms the next event.
const SHORT_READ_MEANS_DRAINED: bool =
    cfg!(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple"));

/// One client.
///
/// ```text
///            read → 0 (FIN)                  nothing owed
///   Open ───────────────────────▶ Draining ───────────────▶ Next::Done
///     └──────────────── any error: `turn` returns Err ─────────┘
/// ```
pub(crate) struct Connection<S> {
    pub(crate) stream: S,
    /// What the kernel would not take yet. Mostly there is none, so it is a pointer and not a buffer:
    /// an idle client costs tens of bytes.
    pub(crate) outbox: Option<Box<Outbox>>,
    phase: Phase,
    pub(crate) marks: Marks,
}

/// How far through its life a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Bytes may come.
    Open,
    /// The client has sent its FIN and may still be reading. We pay what we owe, and then close.
    Draining,
}

/// What we have been told about a client and have not used up. It is told only once.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// There may be bytes to read. Turns false when a read has emptied the socket.
    pub(crate) may_read: bool,
    /// The end of the stream, or an error, is behind the bytes. No event will come for it again, so
    /// we must read up to it.
    pub(crate) end_in_sight: bool,
    /// It is in the server's list of those who are due a turn. Turns false when it gets its turn.
    pub(crate) due: bool,
    /// We have said goodbye while it was still sending.
    pub(crate) parting: bool,
    /// It is to be told the status as soon as it is not in the middle of a line.
    pub(crate) status_due: bool,
    /// When the last event came. Only its idle timer looks at this.
    pub(crate) last_event: Option<Instant>,
}

/// What the server should do with a client after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing can move. Wait for an event.
    Wait,
    /// Its turn is over, but more could move, and no event will say so. Come back.
    Again,
    /// It has sent its last byte, and so have we. Close.
    Done,
}

impl<S: Read + Write> Connection<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, outbox: None, phase: Phase::Open, marks: Marks::default() }
    }

    /// One turn: pay what we owe, then at most one `read(2)` and the echo of it. So nobody keeps the
    /// turn, however fast it sends.
    pub(crate) fn turn(&mut self, buf: &mut [u8]) -> io::Result<Next> {
        // While we owe bytes we read none. They stay in the kernel, its buffer fills up, TCP closes the
        // window, and the client's write(2) has to wait. That is back-pressure, and it cost us an `if`.
        if self.flush()? && self.phase == Phase::Open && self.marks.may_read {
            self.echo(buf)?;
        }
        Ok(match self.phase {
            _ if self.outbox.is_some() => Next::Wait, // for room in the kernel's buffer
            Phase::Draining => Next::Done,
            Phase::Open if self.marks.may_read => Next::Again,
            Phase::Open => Next::Wait, // for bytes
        })
    }

    /// Sends what we owe. True if we owe nothing any more.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        let Some(outbox) = &mut self.outbox else { return Ok(true) };
        match write_to_stream(&mut self.stream, outbox.pending())? {
            WriteOutcome::All => self.outbox = None,
            WriteOutcome::NotReady { taken } => outbox.consume(taken),
        }
        Ok(self.outbox.is_none())
    }

    /// One `read(2)`, and the bytes back. They go to the kernel straight from the shared buffer; only
    /// those it does not take are kept.
    fn echo(&mut self, buf: &mut [u8]) -> io::Result<()> {
        match read_from_stream(&mut self.stream, buf)? {
            ReadOutcome::Bytes(n) => {
                let drained = SHORT_READ_MEANS_DRAINED && n < buf.len();
                self.marks.may_read = self.marks.end_in_sight || !drained;
                if let WriteOutcome::NotReady { taken } =
                    write_to_stream(&mut self.stream, &buf[..n])?
                {
                    self.outbox.get_or_insert_default().push(&buf[taken..n]);
                }
            }
            ReadOutcome::NotReady => self.marks.may_read = false,
            ReadOutcome::End => self.phase = Phase::Draining,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

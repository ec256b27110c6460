//! One client of the generator: what it has sent, and what has come back.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use anyhow::{Context, bail};
use mio::event::Event;
use mio::net::TcpStream;

use super::pattern::{LONGEST, Pattern};

/// A read that does not fill the buffer has emptied the socket, where mio sits on an edge-triggered
/// poller. Without this each reply would cost us a second read(2), and we would be slower than those
/// whom we measure.
const SHORT_READ_MEANS_DRAINED: bool = cfg!(not(windows));

/// One connection, and the messages that are under way on it.
pub(crate) struct Client {
    stream: TcpStream,
    message_size: usize,
    /// Where in the pattern its stream starts.
    seed: u64,
    /// How many bytes it has asked to be echoed. Never less than `sent`.
    asked: u64,
    /// How many of them the kernel has taken.
    sent: u64,
    /// How many have come back, each of them compared.
    received: u64,
    /// When each message that is not back yet was asked for, oldest first.
    under_way: VecDeque<Instant>,
    /// There may be bytes to read. The poller says so only once.
    pub(crate) may_read: bool,
    /// The end of the stream is behind the bytes, and no other event will come for it.
    end_in_sight: bool,
    /// It is in the generator's list of those who are due a turn.
    pub(crate) due: bool,
}

impl Client {
    pub(crate) fn new(stream: TcpStream, seed: u64) -> Self {
        Self {
            stream,
            message_size: 1,
            seed,
            asked: 0,
            sent: 0,
            received: 0,
            under_way: VecDeque::new(),
            may_read: false,
            end_in_sight: false,
            due: false,
        }
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Writes down what an event says.
    pub(crate) fn mark(&mut self, event: &Event) {
        self.end_in_sight |= event.is_read_closed() || event.is_error();
        self.may_read |= event.is_readable() || self.end_in_sight;
    }

    /// From now on its messages are this long. Nothing may be under way.
    pub(crate) fn set_message_size(&mut self, size: usize) {
        debug_assert!(self.under_way.is_empty(), "the messages under way have another size");
        self.message_size = size;
    }

    /// Asks for one more message to be echoed. Its time counts from `since`, which for a given rate is
    /// the moment it should have been sent at: so our own lateness is not hidden.
    pub(crate) fn ask(&mut self, since: Instant) {
        self.asked += self.message_size as u64;
        self.under_way.push_back(since);
    }

    /// When the messages still under way were asked for.
    pub(crate) fn under_way(&self) -> impl Iterator<Item = Instant> {
        self.under_way.iter().copied()
    }

    /// Sends what was asked for, one write(2)'s worth. True if more could be sent at once.
    pub(crate) fn send(&mut self, pattern: &Pattern) -> anyhow::Result<bool> {
        while self.sent < self.asked {
            let len = (self.asked - self.sent).min(LONGEST as u64) as usize;
            match self.stream.write(pattern.piece(self.seed + self.sent, len)) {
                Ok(n) => {
                    self.sent += n as u64;
                    return Ok(n == len && self.sent < self.asked);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => bail!("the server cut us off after {} bytes: {e}", self.received),
            }
        }
        Ok(false)
    }

    /// One read(2), and the check of what it brought. Returns how many bytes came.
    pub(crate) fn receive(&mut self, pattern: &Pattern, buf: &mut [u8]) -> anyhow::Result<usize> {
        if !self.may_read {
            return Ok(0);
        }
        let n = match self.stream.read(buf) {
            Ok(0) => bail!("the server closed the connection after {} bytes", self.received),
            Ok(n) => n,
            Err(e) if is_nothing_yet(&e) => {
                self.may_read = e.kind() == ErrorKind::Interrupted;
                return Ok(0);
            }
            Err(e) => bail!("the server cut us off after {} bytes: {e}", self.received),
        };
        if self.received == 0 {
            common::refuse_self(&self.stream)
                .context("the server is gone, and we are connected with ourselves")?;
        }
        self.may_read = self.end_in_sight || !SHORT_READ_MEANS_DRAINED || n == buf.len();
        let at = self.seed + self.received;
        if self.received + n as u64 > self.sent || buf[..n] != *pattern.piece(at, n) {
            bail!("what came back after {} bytes is not what was sent", self.received);
        }
        self.received += n as u64;
        Ok(n)
    }

    /// Takes one message off the list whose last byte has come back: when it was asked for.
    pub(crate) fn take_reply(&mut self) -> Option<Instant> {
        let missing = self.asked - self.received;
        let whole_missing = missing.div_ceil(self.message_size as u64);
        if self.under_way.len() as u64 > whole_missing { self.under_way.pop_front() } else { None }
    }
}

fn is_nothing_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

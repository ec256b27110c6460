//! The bytes we owe a client.

use std::io;

use crate::connection::READ_SIZE;

/// The most bytes an outbox holds: as many as one read brings, since while we owe a client anything
/// we do not read from it. A client that never reads is owed this much, and no more.
pub(crate) const OUTBOX_LIMIT: usize = READ_SIZE;

/// Bytes waiting for `write(2)`: a `Vec`, and how far into it we have got.
///
/// ```text
///   bytes:  [ gone out already | still to go ]
///           0                 sent           bytes.len()
/// ```
///
/// A partial write moves `sent`. Removing the bytes in front with `drain(..n)` would move everything
/// behind them instead: flushing 64 MiB in writes of 256 KiB that way copies 8 GiB.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    /// `bytes[..sent]` has gone out. Never more than `bytes.len()`.
    sent: usize,
}

impl Outbox {
    /// The bytes still to go, oldest first.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// How many more bytes it may hold.
    pub(crate) fn room(&self) -> usize {
        OUTBOX_LIMIT - self.pending().len()
    }

    /// Adds bytes behind those already waiting.
    ///
    /// # Errors
    ///
    /// If there is no room for all of them. None of them is kept then.
    pub(crate) fn push(&mut self, new: &[u8]) -> io::Result<()> {
        if new.len() > self.room() {
            return Err(io::Error::other("it does not read, and its outbox is full"));
        }
        // Slide down only when at least half is gone, so that a byte is moved once on average. After
        // this, `bytes` is never more than twice as long as what is pending.
        if self.sent >= self.pending().len() {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        self.bytes.extend_from_slice(new);
        Ok(())
    }

    /// Notes that the kernel has taken the first `n` of the pending bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        assert!(n <= self.pending().len(), "more bytes taken than there were");
        self.sent += n;
    }
}

#[cfg(test)]
mod tests;

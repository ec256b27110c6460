//! The two helpers: one `read(2)` and as many `write(2)` as it takes, told in words.
//!
//! A non-blocking call has more than two outcomes, and most of them are not errors. Here is the whole
//! table, once, so that a stage matches on words and `Err` always means: this connection is over.
//!
//! | the kernel says             | `read_from_stream`  | `write_to_stream`        |
//! | --------------------------- | ------------------- | ------------------------ |
//! | n bytes                     | `Bytes(n)`          | goes on, `All` at the end |
//! | 0 bytes                     | `End`               | `Err(WriteZero)`         |
//! | `EAGAIN`, `EWOULDBLOCK`     | `NotReady`          | `NotReady { taken }`     |
//! | `EINTR`                     | asks again          | asks again               |
//! | `ECONNRESET`, `EPIPE`, …    | `Err`               | `Err`                    |
//!
//! Both are generic over `Read` and `Write`, so a test can play the kernel. Both count what they do, for
//! `--stats`. And both are always inlined: as calls, with their results in memory, they would make a message
//! of 64 bytes cost 50 instructions more in stage 5.

use std::io::{self, ErrorKind, Read, Write};

use crate::stats;

/// What one `read(2)` brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// This many bytes, at least one, are at the start of the buffer.
    Bytes(usize),
    /// No bytes for now. More may come.
    NotReady,
    /// The other side has sent its FIN: no more bytes will come. It may still be reading.
    End,
}

/// How far a write got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The kernel took every byte.
    All,
    /// The kernel took this many, perhaps none, and then said that its buffer is full.
    NotReady {
        /// How many bytes of the offered ones are on their way.
        taken: usize,
    },
}

/// Reads once, as much as there is room for in `buf`, which must not be empty.
///
/// # Errors
///
/// See read(2) and tcp(7). The connection cannot be used any more.
#[inline(always)]
pub fn read_from_stream(stream: &mut impl Read, buf: &mut [u8]) -> io::Result<ReadOutcome> {
    debug_assert!(!buf.is_empty(), "reading into no room looks like the end");
    loop {
        stats::READS.add(1);
        return match stream.read(buf) {
            Ok(0) => Ok(ReadOutcome::End),
            Ok(n) => Ok(ReadOutcome::Bytes(n)),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                stats::WOULD_BLOCKS.add(1);
                Ok(ReadOutcome::NotReady)
            }
            // A signal came first. Nothing was read and nothing is wrong, however often it happens.
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => Err(e),
        };
    }
}

/// Writes until every byte is taken or the kernel's send buffer is full.
///
/// It does not stop at a short write: mio promises to tell us of new room only after `EAGAIN` ("Draining
/// readiness"). epoll(7) promises more.
///
/// # Errors
///
/// See write(2) and tcp(7). The connection cannot be used any more.
#[inline(always)]
pub fn write_to_stream(stream: &mut impl Write, bytes: &[u8]) -> io::Result<WriteOutcome> {
    let mut taken = 0;
    while taken < bytes.len() {
        stats::WRITES.add(1);
        match stream.write(&bytes[taken..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                stats::BYTES.add(n);
                taken += n;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                stats::WOULD_BLOCKS.add(1);
                return Ok(WriteOutcome::NotReady { taken });
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(WriteOutcome::All)
}

#[cfg(test)]
mod tests;

//! What stage 6 wants to know about a client, seen while its bytes go by.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;

/// A stream like any other that looks at what goes through it.
///
/// What a client has sent so far is what we send back, so if its last byte was not a newline, whatever we
/// add now would cut a line of its own in two.
///
/// And a client is active if bytes come from it, or if it makes room for those that it would not take
/// before. That we send something is no sign of life: the kernel takes a status line for anybody.
pub(crate) struct Observed<S> {
    pub(crate) inner: S,
    pub(crate) mid_line: bool,
    /// Whether it has been active since we last looked. To have connected counts.
    pub(crate) active: bool,
    /// The kernel would not take more: the client does not read, or not fast enough.
    refused: bool,
}

impl<S> Observed<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, mid_line: false, active: true, refused: false }
    }
}

impl<S: Read> Read for Observed<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        if let Some(last) = buf[..n].last() {
            self.mid_line = *last != b'\n';
            self.active = true;
        }
        Ok(n)
    }
}

impl<S: Write> Write for Observed<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let result = self.inner.write(buf);
        self.active |= result.is_ok() && mem::take(&mut self.refused);
        self.refused |= matches!(&result, Err(e) if e.kind() == ErrorKind::WouldBlock);
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;

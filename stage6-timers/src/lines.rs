//! Where the lines of a client end.

use std::io::{self, Read, Write};

/// A stream like any other that knows, on the way, whether the client is in the middle of a line.
///
/// What it has sent so far is what we send back, so if its last byte was not a newline, whatever we add
/// now would cut a line of its own in two.
pub(crate) struct Lines<S> {
    pub(crate) stream: S,
    pub(crate) mid_line: bool,
}

impl<S> Lines<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, mid_line: false }
    }
}

impl<S: Read> Read for Lines<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.read(buf)?;
        if let Some(last) = buf[..n].last() {
            self.mid_line = *last != b'\n';
        }
        Ok(n)
    }
}

impl<S: Write> Write for Lines<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests;

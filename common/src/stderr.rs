//! stderr, one line at a time: the log, `--stats`, and the error that ends a program.
//!
//! stderr can be stuck: a pipe that its reader has stopped reading, a terminal after Ctrl-S, a disk that is
//! full. write(2) then waits, possibly for ever, and with it the one thread that serves every client. So a
//! line that cannot be written *now* is dropped and counted, and the count is told as soon as there is room
//! again.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
#[cfg(unix)]
use std::sync::{Arc, atomic::AtomicBool};
use std::sync::{LazyLock, Mutex, PoisonError};

/// The longest line, in bytes. Up to `PIPE_BUF` (pipe(7)) a line goes into a pipe whole or not at all, and
/// lines of two threads or processes do not mix. POSIX guarantees 512; Linux has 4,096.
const LONGEST_LINE: usize = if cfg!(target_os = "linux") { 4096 } else { 512 };

/// Writes one line to stderr if that is possible without waiting. Never fails and never waits.
pub fn say(line: impl Display) {
    write(&format!("{line}\n"));
}

/// The same for a line that brings its own newline.
fn write(line: &str) {
    static STDERR: LazyLock<Mutex<Lines<Now>>> = LazyLock::new(|| {
        survive_a_full_file();
        Mutex::new(Lines::on(Now { ours: reopened() }))
    });
    STDERR.lock().unwrap_or_else(PoisonError::into_inner).write(line);
}

/// Whether to use colour on this stream: it is a terminal that can (`TERM`), and its user has not
/// declined (`NO_COLOR`, see no-color.org).
pub fn wants_colour(stream: &impl IsTerminal) -> bool {
    let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    stream.is_terminal() && !declined && !dumb
}

/// What tracing writes to: it hands over one whole line with each call.
#[derive(Debug)]
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        write(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines on their way out, and how many did not get there.
struct Lines<W> {
    out: W,
    lost: u64,
    /// The last write was cut short, so the next one has to begin a new line.
    torn: bool,
}

impl<W: Write> Lines<W> {
    fn on(out: W) -> Self {
        Self { out, lost: 0, torn: false }
    }

    fn write(&mut self, line: &str) {
        let told = match self.lost {
            0 => true,
            1 => self.put("1 line of this log was lost\n"),
            n => self.put(&format!("{n} lines of this log were lost\n")),
        };
        if told {
            self.lost = 0;
        }
        if !told || !self.put(&shortened(line)) {
            self.lost += 1;
        }
    }

    /// One write(2). True if the whole line has gone out.
    fn put(&mut self, line: &str) -> bool {
        let bytes = if self.torn { format!("\n{line}") } else { line.to_owned() };
        let written = self.out.write(bytes.as_bytes()).unwrap_or(0);
        // A terminal and a file take as much as there is room for.
        self.torn = if written == 0 { self.torn } else { written < bytes.len() };
        written == bytes.len()
    }
}

/// A line that is too long ends in an ellipsis.
fn shortened(line: &str) -> String {
    const END: &str = "…\n";
    if line.len() < LONGEST_LINE {
        return line.to_owned(); // and one byte is left for a newline in front
    }
    let mut end = LONGEST_LINE - 1 - END.len();
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line[..end].to_owned() + END
}

/// stderr, without waiting.
struct Now {
    /// A description of our own, if we could have one.
    ours: Option<File>,
}

impl Write for Now {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &mut self.ours {
            Some(ours) => ours.write(line),
            None if has_room() => io::stderr().write(line),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens the pipe or terminal behind stderr once more, for an open file description (open(2)) that is ours
/// alone. `O_NONBLOCK` belongs to the description: set on the inherited one, it would change stderr for
/// the shell and for everyone else who writes to it. Only Linux opens anew here; other systems duplicate
/// the old description (fd(4)).
#[cfg(target_os = "linux")]
fn reopened() -> Option<File> {
    use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

    const STDERR: &str = "/proc/self/fd/2";
    let is_pipe = std::fs::metadata(STDERR).is_ok_and(|about| about.file_type().is_fifo());
    if !is_pipe && !io::stderr().is_terminal() {
        return None;
    }
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    File::options().write(true).custom_flags(flags).open(STDERR).ok()
}

#[cfg(not(target_os = "linux"))]
fn reopened() -> Option<File> {
    None
}

/// At the limit of a file's size (`ulimit -f`) the kernel sends SIGXFSZ, which ends a process that has no
/// handler for it. With one, any, write(2) fails with `EFBIG`, and a line is lost.
#[cfg(unix)]
fn survive_a_full_file() {
    let never_read = Arc::new(AtomicBool::new(false));
    let _ = signal_hook::flag::register(libc::SIGXFSZ, never_read);
}

#[cfg(not(unix))]
fn survive_a_full_file() {}

/// Whether a line can be written without waiting: poll(2) with a timeout of zero. A pipe and a socket then
/// take a line of [`LONGEST_LINE`] bytes; a file always does, in the sense of poll(2).
#[cfg(unix)]
fn has_room() -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;

    let stderr = io::stderr();
    let mut wanted = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let polled = poll(&mut wanted, PollTimeout::ZERO);
    polled.is_ok() && wanted[0].revents().is_some_and(|found| found.contains(PollFlags::POLLOUT))
}

#[cfg(not(unix))]
fn has_room() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stderr that takes so many bytes with each call.
    struct Room(Vec<usize>, Vec<u8>);

    impl Write for Room {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let n = if self.0.is_empty() { line.len() } else { self.0.remove(0).min(line.len()) };
            self.1.extend(&line[..n]);
            if n == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(n) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Writes these lines where each call has so much room, and returns what has arrived.
    fn written(room: &[usize], lines: &[&str]) -> String {
        let mut out = Lines::on(Room(room.to_vec(), Vec::new()));
        lines.iter().for_each(|line| out.write(line));
        String::from_utf8(out.out.1).unwrap()
    }

    #[test]
    fn a_line_that_cannot_be_written_is_lost_and_counted_and_the_count_is_told_later() {
        assert_eq!(written(&[], &["a\n", "b\n"]), "a\nb\n");
        let one = "1 line of this log was lost\nb\n";
        assert_eq!(written(&[0], &["a\n", "b\n"]), one);
        let three = "3 lines of this log were lost\nd\n";
        assert_eq!(written(&[0, 0, 0], &["a\n", "b\n", "c\n", "d\n"]), three);
    }

    #[test]
    fn there_may_be_room_for_the_count_and_not_for_the_line() {
        let told = "1 line of this log was lost\n1 line of this log was lost\nc\n";
        assert_eq!(written(&[0, 100, 0], &["a\n", "b\n", "c\n"]), told);
    }

    #[test]
    fn what_follows_half_a_line_begins_a_new_one() {
        let told = "hal\n1 line of this log was lost\nb\n";
        assert_eq!(written(&[3], &["half\n", "b\n"]), told);
        assert_eq!(written(&[3, 0, 0], &["half\n", "b\n"]), "hal");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_two_characters() {
        let long = "ä".repeat(LONGEST_LINE);
        let cut = shortened(&long);
        assert!(cut.len() < LONGEST_LINE && cut.ends_with("ä…\n"), "{} bytes", cut.len());
        assert_eq!(shortened("short\n"), "short\n");
    }
}

//! The errno table, row by row.
//!
//! The kernel here is simpler than the scripted socket of the testkit and says more: any error, and a
//! write of 0 bytes.

use std::collections::VecDeque;
use std::io::ErrorKind::{BrokenPipe, ConnectionReset, Interrupted, WouldBlock, WriteZero};

use super::*;

/// Gives these answers, one to each call: how many bytes moved, or what went wrong.
struct Kernel {
    answers: VecDeque<io::Result<usize>>,
    taken: Vec<u8>,
}

impl Kernel {
    fn new(answers: impl IntoIterator<Item = Result<usize, ErrorKind>>) -> Self {
        let answers = answers.into_iter().map(|answer| answer.map_err(io::Error::from)).collect();
        Self { answers, taken: Vec::new() }
    }

    fn answer(&mut self) -> io::Result<usize> {
        self.answers.pop_front().expect("one call too many")
    }
}

impl Read for Kernel {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.answer()?;
        buf[..n].fill(b'x');
        Ok(n)
    }
}

impl Write for Kernel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.answer()?;
        self.taken.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a read says to these answers, all of which it must have asked for.
#[track_caller]
fn check_read(answers: &[Result<usize, ErrorKind>], expected: Result<ReadOutcome, ErrorKind>) {
    let mut kernel = Kernel::new(answers.iter().copied());
    let outcome = read_from_stream(&mut kernel, &mut [0; 8]).map_err(|e| e.kind());
    assert_eq!(outcome, expected);
    assert!(kernel.answers.is_empty(), "not asked: {:?}", kernel.answers);
}

/// What a write of `abcdefgh` says to these answers, all of which it must have asked for, and what went out.
#[track_caller]
fn check_write(
    answers: &[Result<usize, ErrorKind>],
    expected: Result<WriteOutcome, ErrorKind>,
    taken: &str,
) {
    let mut kernel = Kernel::new(answers.iter().copied());
    let outcome = write_to_stream(&mut kernel, b"abcdefgh").map_err(|e| e.kind());
    assert_eq!(outcome, expected);
    assert_eq!(kernel.taken, taken.as_bytes());
    assert!(kernel.answers.is_empty(), "not asked: {:?}", kernel.answers);
}

#[test]
fn a_read_says_how_many_bytes_came() {
    check_read(&[Ok(8)], Ok(ReadOutcome::Bytes(8)));
    check_read(&[Ok(1)], Ok(ReadOutcome::Bytes(1)));
}

#[test]
fn a_write_goes_on_until_all_is_taken() {
    check_write(&[Ok(8)], Ok(WriteOutcome::All), "abcdefgh");
    check_write(&[Ok(1), Ok(2), Ok(5)], Ok(WriteOutcome::All), "abcdefgh");
}

#[test]
fn a_write_of_nothing_asks_the_kernel_nothing() {
    let mut kernel = Kernel::new([]);
    assert_eq!(write_to_stream(&mut kernel, b"").unwrap(), WriteOutcome::All);
}

#[test]
fn a_read_of_0_bytes_is_the_end_and_no_error() {
    check_read(&[Ok(0)], Ok(ReadOutcome::End));
}

#[test]
fn a_write_of_0_bytes_is_an_error_and_not_a_spin() {
    check_write(&[Ok(0)], Err(WriteZero), "");
    check_write(&[Ok(3), Ok(0)], Err(WriteZero), "abc");
}

#[test]
fn eagain_on_a_read_is_not_ready() {
    check_read(&[Err(WouldBlock)], Ok(ReadOutcome::NotReady));
}

#[test]
fn eagain_on_a_write_says_how_many_bytes_are_on_their_way() {
    check_write(&[Err(WouldBlock)], Ok(WriteOutcome::NotReady { taken: 0 }), "");
    check_write(&[Ok(3), Err(WouldBlock)], Ok(WriteOutcome::NotReady { taken: 3 }), "abc");
    let twice = &[Ok(3), Ok(4), Err(WouldBlock)];
    check_write(twice, Ok(WriteOutcome::NotReady { taken: 7 }), "abcdefg");
}

#[test]
fn eintr_asks_again_however_often_it_comes() {
    check_read(&[Err(Interrupted), Ok(5)], Ok(ReadOutcome::Bytes(5)));
    check_read(&[Err(Interrupted), Err(Interrupted), Ok(0)], Ok(ReadOutcome::End));
    check_read(&[Err(Interrupted), Err(WouldBlock)], Ok(ReadOutcome::NotReady));
    let answers = &[Err(Interrupted), Ok(3), Err(Interrupted), Err(Interrupted), Ok(5)];
    check_write(answers, Ok(WriteOutcome::All), "abcdefgh");
    let mut kernel = Kernel::new(std::iter::repeat_n(Err(Interrupted), 1000).chain([Ok(1)]));
    let outcome = read_from_stream(&mut kernel, &mut [0; 8]).unwrap();
    assert_eq!(outcome, ReadOutcome::Bytes(1));
}

#[test]
fn everything_else_is_an_error_and_keeps_its_kind() {
    for kind in [ConnectionReset, BrokenPipe, ErrorKind::TimedOut, ErrorKind::NotConnected] {
        check_read(&[Err(kind)], Err(kind));
        check_write(&[Ok(2), Err(kind)], Err(kind), "ab");
    }
}

/// The rows of the table are errno values, and std has given them the names that we match on.
#[cfg(unix)]
#[test]
fn the_errno_of_each_row_has_the_name_we_match_on() {
    for (errno, kind) in [
        (libc::EAGAIN, WouldBlock),
        (libc::EWOULDBLOCK, WouldBlock),
        (libc::EINTR, Interrupted),
        (libc::ECONNRESET, ConnectionReset),
        (libc::EPIPE, BrokenPipe),
    ] {
        assert_eq!(io::Error::from_raw_os_error(errno).kind(), kind);
    }
}

#[test]
#[should_panic(expected = "reading into no room looks like the end")]
#[cfg(debug_assertions)]
fn reading_into_no_room_is_a_fault_of_the_caller() {
    let _ = read_from_stream(&mut Kernel::new([Ok(0)]), &mut []);
}

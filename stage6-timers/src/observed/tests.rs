//! What is seen of a client, byte by byte.

use common::testkit::script::Answer::{self, *};
use common::testkit::script::{Script, Socket};

use super::*;

/// Reads `input` in pieces of `size` and says after each whether it is in the middle of a line.
fn mid_lines(input: &[u8], size: usize) -> Vec<bool> {
    let mut stream = Observed::new(input);
    let mut buf = vec![0; size];
    let mut seen = Vec::new();
    while stream.read(&mut buf).unwrap() > 0 {
        seen.push(stream.mid_line);
    }
    seen
}

#[test]
fn a_client_that_has_said_nothing_is_not_in_the_middle_of_a_line() {
    assert!(!Observed::new(&b""[..]).mid_line);
}

#[test]
fn the_last_byte_of_a_read_decides() {
    assert_eq!(mid_lines(b"ab\ncd", 5), [true]);
    assert_eq!(mid_lines(b"ab\ncd\n", 6), [false]);
    assert_eq!(mid_lines(b"\n", 1), [false]);
}

#[test]
fn a_line_may_come_in_pieces() {
    assert_eq!(mid_lines(b"ab\ncd\n", 2), [true, true, false]);
    assert_eq!(mid_lines(b"a\n\nb\n", 1), [true, false, false, true, false]);
}

#[test]
fn the_rest_of_the_buffer_does_not_count() {
    let mut stream = Observed::new(&b"ab"[..]);
    assert_eq!(stream.read(&mut [b'\n'; 8]).unwrap(), 2);
    assert!(stream.mid_line, "the newline is what an earlier client has left in the buffer");
}

#[test]
fn the_end_leaves_a_line_where_it_was() {
    for input in [&b"ab"[..], b"ab\n"] {
        let mut stream = Observed::new(input);
        let mut buf = [0; 8];
        assert_eq!(stream.read(&mut buf).unwrap(), input.len());
        let before = stream.mid_line;
        assert_eq!(stream.read(&mut buf).unwrap(), 0);
        assert_eq!(stream.mid_line, before);
    }
}

#[test]
fn an_error_is_passed_on_and_leaves_a_line_where_it_was() {
    for before in [false, true] {
        let mut stream = Observed::new(Socket::new(Script::new(&[WouldBlock, Interrupted, Reset])));
        stream.mid_line = before;
        for kind in
            [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted, io::ErrorKind::ConnectionReset]
        {
            assert_eq!(stream.read(&mut [0; 4]).unwrap_err().kind(), kind);
            assert_eq!(stream.mid_line, before);
        }
    }
}

#[test]
fn what_is_written_goes_through_and_ends_no_line_of_the_client() {
    let mut stream = Observed::new(Socket::new(Script::new(&[Bytes, Short, Reset])));
    stream.mid_line = true;
    assert_eq!(stream.write(b"status\n").unwrap(), 7);
    assert_eq!(stream.write(b"ab\n").unwrap(), 1);
    assert_eq!(stream.write(b"b\n").unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    stream.flush().unwrap();
    assert_eq!(stream.inner.taken(), b"status\na");
    assert!(stream.mid_line);
}

/// Writes a line of a status to a client for which the kernel has these answers.
fn signs_of_life(answers: &[Answer]) -> Vec<bool> {
    let mut stream = Observed::new(Socket::new(Script::new(answers)));
    let mut see = |_| {
        let _ = stream.write(b"status\n");
        mem::take(&mut stream.active)
    };
    answers.iter().map(&mut see).collect()
}

#[test]
fn to_have_connected_is_a_sign_of_life_and_to_be_written_to_is_none() {
    assert_eq!(signs_of_life(&[Bytes, Bytes, Short, Interrupted]), [true, false, false, false]);
}

#[test]
fn to_take_what_was_refused_is_a_sign_of_life() {
    assert_eq!(signs_of_life(&[WouldBlock, WouldBlock, Short, Bytes]), [true, false, true, false]);
    assert_eq!(signs_of_life(&[WouldBlock, Reset]), [true, false]);
}

#[test]
fn bytes_are_a_sign_of_life_and_their_absence_is_none() {
    let mut stream =
        Observed::new(Socket::new(Script::new(&[Short, WouldBlock, Interrupted, End])));
    stream.active = false;
    assert!(stream.read(&mut [0; 4]).is_ok() && mem::take(&mut stream.active));
    for _ in 0..3 {
        let _ = stream.read(&mut [0; 4]);
        assert!(!stream.active);
    }
}

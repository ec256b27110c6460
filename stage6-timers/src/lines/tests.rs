//! Where the lines end, read in pieces.

use common::testkit::script::Answer::*;
use common::testkit::script::{Script, Socket};

use super::*;

/// Reads `input` in pieces of `size` and says after each whether it is in the middle of a line.
fn mid_lines(input: &[u8], size: usize) -> Vec<bool> {
    let mut lines = Lines::new(input);
    let mut buf = vec![0; size];
    let mut seen = Vec::new();
    while lines.read(&mut buf).unwrap() > 0 {
        seen.push(lines.mid_line);
    }
    seen
}

#[test]
fn whoever_has_said_nothing_is_not_in_the_middle_of_a_line() {
    assert!(!Lines::new(&b""[..]).mid_line);
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
    let mut lines = Lines::new(&b"ab"[..]);
    assert_eq!(lines.read(&mut [b'\n'; 8]).unwrap(), 2);
    assert!(lines.mid_line, "the newline is what an earlier client has left in the buffer");
}

#[test]
fn the_end_leaves_a_line_where_it_was() {
    for input in [&b"ab"[..], b"ab\n"] {
        let mut lines = Lines::new(input);
        let mut buf = [0; 8];
        assert_eq!(lines.read(&mut buf).unwrap(), input.len());
        let before = lines.mid_line;
        assert_eq!(lines.read(&mut buf).unwrap(), 0);
        assert_eq!(lines.mid_line, before);
    }
}

#[test]
fn an_error_is_passed_on_and_leaves_a_line_where_it_was() {
    for before in [false, true] {
        let mut lines = Lines::new(Socket::new(Script::new(&[WouldBlock, Interrupted, Reset])));
        lines.mid_line = before;
        for kind in
            [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted, io::ErrorKind::ConnectionReset]
        {
            assert_eq!(lines.read(&mut [0; 4]).unwrap_err().kind(), kind);
            assert_eq!(lines.mid_line, before);
        }
    }
}

#[test]
fn what_is_written_goes_through_and_ends_no_line_of_the_client() {
    let mut lines = Lines::new(Socket::new(Script::new(&[Bytes, Short, Reset])));
    lines.mid_line = true;
    assert_eq!(lines.write(b"status\n").unwrap(), 7);
    assert_eq!(lines.write(b"ab\n").unwrap(), 1);
    assert_eq!(lines.write(b"b\n").unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    lines.flush().unwrap();
    assert_eq!(lines.stream.taken(), b"status\na");
    assert!(lines.mid_line);
}

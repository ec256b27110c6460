//! A connection against everything a kernel can say.

use std::io::ErrorKind;

use common::testkit::script::Answer::{self, *};
use common::testkit::script::{Call, Script, Socket, Step, every_script};

use super::*;

/// Room for one read, small enough to be filled in every way: a full read brings 4 bytes, a short one 3.
const SMALL: usize = 4;

fn connect(script: Script) -> Connection<Socket> {
    Connection::new(Socket::new(script), SocketAddr::from(([127, 0, 0, 1], 9)))
}

fn turn(connection: &mut Connection<Socket>) -> io::Result<State> {
    connection.turn(&mut [0; SMALL])
}

/// Plays one script to the end and checks every turn of it.
#[track_caller]
fn play(script: &[Answer]) -> io::Result<()> {
    let mut connection = connect(Script::new(script));
    loop {
        let before = connection.stream.steps().len();
        let result = turn(&mut connection);
        let socket = &connection.stream;
        check_turn(&socket.steps()[before..], &result, socket);
        assert!(socket.fed().starts_with(socket.taken()), "not what came: {socket:?}");
        let state = result?;
        assert_eq!(socket.taken(), socket.fed(), "goes on, and bytes are missing: {socket:?}");
        if state == State::Ended {
            return Ok(());
        }
    }
}

/// One turn is one read and the echo of it, and what it says is what the kernel's last answer means.
#[track_caller]
fn check_turn(steps: &[Step], result: &io::Result<State>, socket: &Socket) {
    let reads = |step: &&Step| step.call == Call::Read && step.answer != Interrupted;
    assert_eq!(steps.iter().filter(reads).count(), 1, "one read in a turn: {socket:?}");
    let Some(last) = steps.last() else { panic!("a turn without a call: {socket:?}") };
    let expected = match (last.call, last.answer) {
        (Call::Read, WouldBlock) => Ok(State::Drained),
        (Call::Read, End) => Ok(State::Ended),
        (_, Reset) => Err(ErrorKind::ConnectionReset),
        (Call::Write, End) => Err(ErrorKind::BrokenPipe),
        (Call::Write, WouldBlock) => Err(ErrorKind::Other), // cut off: there is nowhere to keep the rest
        (Call::Write, Bytes | Short) => Ok(State::Ready),
        answer => panic!("stopped after {answer:?}: {socket:?}"),
    };
    let result = result.as_ref().map_err(io::Error::kind).copied();
    assert_eq!(result, expected, "{socket:?}");
}

#[test]
fn no_byte_is_lost_moved_or_invented_whatever_the_kernel_says() {
    let (mut ended, mut failed) = (0, 0);
    for script in every_script(6) {
        match play(&script) {
            Ok(()) => ended += 1,
            Err(_) => failed += 1,
        }
    }
    assert_eq!(ended + failed, 55_987);
    assert!(ended > 10_000 && failed > 10_000, "{ended} ended, {failed} failed");
}

#[test]
fn half_close_gets_every_byte_back() {
    let mut connection = connect(Script::new(&[Short, Bytes, End]));
    assert_eq!(turn(&mut connection).unwrap(), State::Ready);
    assert_eq!(turn(&mut connection).unwrap(), State::Ended);
    assert_eq!(connection.stream.taken(), connection.stream.fed());
    assert_eq!(connection.stream.fed().len(), SMALL - 1);
}

#[test]
fn a_short_write_is_no_reason_to_stop() {
    let mut connection = connect(Script::new(&[Bytes, Short, Short, Short, Short]));
    assert_eq!(turn(&mut connection).unwrap(), State::Ready);
    assert_eq!(connection.stream.taken(), connection.stream.fed());
}

#[test]
fn a_client_that_does_not_read_is_cut_off_and_the_log_says_what_is_lost() {
    let mut connection = connect(Script::new(&[Bytes, Short, WouldBlock]));
    let error = turn(&mut connection).unwrap_err();
    assert_eq!(error.to_string(), "it does not read, and 3 bytes have no place");
    assert_eq!(connection.stream.taken().len(), 1, "and nothing behind the gap");
}

#[test]
fn a_client_that_never_stops_sending_is_never_drained() {
    let mut connection = connect(Script::endless(Bytes));
    for turns in 1..=1000 {
        assert_eq!(turn(&mut connection).unwrap(), State::Ready);
        assert_eq!(connection.stream.taken().len(), turns * SMALL);
    }
}

#[test]
fn a_short_read_does_not_say_that_it_was_the_last() {
    let mut connection = connect(Script::new(&[Short, Bytes, WouldBlock]));
    assert_eq!(turn(&mut connection).unwrap(), State::Ready);
    assert_eq!(turn(&mut connection).unwrap(), State::Drained);
}

#[test]
fn a_drained_client_may_speak_again() {
    let mut connection = connect(Script::new(&[WouldBlock, Bytes, Bytes]));
    assert_eq!(turn(&mut connection).unwrap(), State::Drained);
    assert_eq!(turn(&mut connection).unwrap(), State::Ready);
}

#[test]
fn signals_may_interrupt_a_call_any_number_of_times() {
    let mut script = vec![Interrupted; 100];
    script.push(Bytes);
    script.extend([Interrupted; 100]);
    let mut connection = connect(Script::new(&script));
    assert_eq!(turn(&mut connection).unwrap(), State::Ready);
    assert_eq!(connection.stream.taken().len(), SMALL);
    assert_eq!(connection.stream.steps().len(), 202);
}

#[test]
fn a_reset_behind_the_bytes_is_found_after_they_were_sent_back() {
    let mut connection = connect(Script::new(&[Bytes, Bytes, Reset]));
    assert_eq!(turn(&mut connection).unwrap(), State::Ready);
    assert_eq!(connection.stream.taken().len(), SMALL);
    assert_eq!(turn(&mut connection).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_new_client_is_ready_since_its_bytes_may_be_here_already() {
    assert_eq!(connect(Script::new(&[])).state, State::Ready);
}

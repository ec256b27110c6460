//! A connection against everything a kernel can say, and against a poller that says it only once.

use std::mem::size_of;

use common::testkit::script::Answer::{self, *};
use common::testkit::script::{Call, Script, Socket, Step, every_script};
use proptest::prelude::*;

use super::*;
use crate::outbox::OUTBOX_LIMIT;

/// Room for one read, small enough to be filled in every way: a full read brings 4 bytes, a short one 3.
const SMALL: usize = 4;

/// What an edge-triggered poller has promised: the next event, and whether one will come at all.
struct Poller {
    manner: Manner,
    /// A read has emptied the socket, so the next bytes will be an event.
    tells_of_bytes: bool,
    /// A write was refused, so room for it will be an event.
    tells_of_room: bool,
    /// The end has been told. It is not told twice.
    end_told: bool,
}

/// Different pollers, and different luck, put different things into one event. All of it is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Each event says one thing: room, or bytes, or the end when it is next.
    OneThing,
    /// The first event says it all: room, bytes, and that the end is behind them.
    AllAtOnce,
    /// Each event says that there is room and that there are bytes, true or not.
    Exaggerates,
}

const MANNERS: [Manner; 3] = [Manner::OneThing, Manner::AllAtOnce, Manner::Exaggerates];

impl Poller {
    fn new(manner: Manner) -> Self {
        Self { manner, tells_of_bytes: true, tells_of_room: true, end_told: false }
    }

    /// Names the connection as the server would be told, if the kernel owes it an event.
    #[track_caller]
    fn name(&mut self, connection: &mut Connection<Socket>) {
        let owes = connection.outbox.is_some();
        let will_come = if owes { self.tells_of_room } else { self.tells_of_bytes };
        assert!(will_come, "waits for an event that never comes: {:?}", connection.stream);
        let room_only = self.manner == Manner::OneThing && self.tells_of_room;
        connection.marks.may_write |= self.tells_of_room || self.manner == Manner::Exaggerates;
        self.tells_of_room = false;
        if room_only {
            return;
        }
        self.tells_of_bytes = false;
        let next = connection.stream.upcoming(Call::Read);
        self.end_told |= self.manner == Manner::AllAtOnce || matches!(next, End | Reset);
        connection.marks.may_read = true;
        connection.marks.must_drain |= self.end_told;
    }

    /// Sees what the kernel has just said, and so what it will be an event to change.
    fn watch(&mut self, steps: &[Step]) {
        for step in steps {
            let short = SHORT_READ_MEANS_DRAINED && (1..step.asked).contains(&step.moved);
            match (step.call, step.answer) {
                (_, Interrupted) => {}
                (Call::Read, answer) => {
                    self.tells_of_bytes = answer == WouldBlock || (short && !self.end_told);
                }
                (Call::Write, answer) => self.tells_of_room |= answer == WouldBlock,
            }
        }
    }
}

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Paid,
    Broken,
}

/// Plays one script to the end and checks every turn of it.
#[track_caller]
fn play(script: Script, buf: &mut [u8], manner: Manner) -> Ending {
    let mut connection = Connection::new(Socket::new(script));
    let mut poller = Poller::new(manner);
    poller.name(&mut connection);
    loop {
        let before = connection.stream.steps().len();
        let next = connection.turn(buf);
        let steps = &connection.stream.steps()[before..];
        poller.watch(steps);
        check_calls(steps, next.is_err(), &connection);
        check_bytes(&connection);
        match next {
            Err(_) => return Ending::Broken,
            Ok(Next::Done) => {
                check_paid(&connection);
                return Ending::Paid;
            }
            Ok(Next::Wait) => poller.name(&mut connection),
            Ok(Next::Again) => {
                let needless = steps.is_empty() || poller.tells_of_bytes;
                assert!(!needless, "asks for a turn without need: {:?}", connection.stream);
            }
        }
    }
}

/// One turn asks at most once for bytes, and not while it owes any; and it fails exactly if the kernel
/// has said that it is over.
#[track_caller]
fn check_calls(steps: &[Step], failed: bool, connection: &Connection<Socket>) {
    let socket = &connection.stream;
    let reads = steps.iter().filter(|step| step.call == Call::Read);
    assert!(reads.clone().all(|read| read.owed == 0), "reads while it owes bytes: {socket:?}");
    let answered = reads.filter(|read| read.answer != Interrupted).count();
    assert!(answered <= 1, "{answered} reads in one turn: {socket:?}");
    let broken =
        |step: &Step| step.answer == Reset || (step.call == Call::Write && step.answer == End);
    assert_eq!(failed, steps.iter().any(broken), "fails if and only if it is over: {socket:?}");
}

/// Every byte that came is either back or in the outbox, in order.
#[track_caller]
fn check_bytes(connection: &Connection<Socket>) {
    let socket = &connection.stream;
    let pending = connection.outbox.as_ref().map_or(&[][..], |outbox| outbox.pending());
    assert!(socket.fed().starts_with(socket.taken()), "not what came: {socket:?}");
    // What a broken connection still owed is not owed any more.
    let over = socket.steps().last().is_some_and(|step| matches!(step.answer, End | Reset));
    if !over {
        let owed = &socket.fed()[socket.taken().len()..];
        assert_eq!(pending, owed, "the outbox is not what is owed: {socket:?}");
    }
    let empty = connection.outbox.as_ref().is_some_and(|outbox| outbox.pending().is_empty());
    assert!(!empty, "keeps an empty outbox: {socket:?}");
    assert!(pending.len() <= OUTBOX_LIMIT, "an outbox of {} bytes", pending.len());
}

/// Done is said when the other side has sent everything and has got everything back.
#[track_caller]
fn check_paid(connection: &Connection<Socket>) {
    let socket = &connection.stream;
    let last = socket.steps().last().map(|step| (step.call, step.answer));
    assert_eq!(last, Some((Call::Read, End)), "done before the end: {socket:?}");
    assert_eq!(socket.taken(), socket.fed(), "done, and bytes are missing: {socket:?}");
}

#[test]
fn no_byte_is_lost_moved_or_invented_whatever_the_kernel_says() {
    for manner in MANNERS {
        let (mut paid, mut broken) = (0, 0);
        for script in every_script(6) {
            match play(Script::new(&script), &mut [0; SMALL], manner) {
                Ending::Paid => paid += 1,
                Ending::Broken => broken += 1,
            }
        }
        assert_eq!(paid + broken, 55_987);
        assert!(paid > 10_000 && broken > 10_000, "{manner:?}: {paid} paid, {broken} broken");
    }
}

fn answers(longest: usize) -> impl Strategy<Value = Vec<Answer>> {
    // A stream that lives long: the end and the reset would make most scripts short.
    let alive = prop::sample::select(vec![Bytes, Short, WouldBlock, Interrupted]);
    let last = prop::sample::select(Answer::ALL.to_vec());
    (prop::collection::vec(alive, 0..longest), last).prop_map(|(mut answers, last)| {
        answers.push(last);
        answers
    })
}

fn manner() -> impl Strategy<Value = Manner> {
    prop::sample::select(MANNERS.to_vec())
}

proptest! {
    // The exercises break this code on purpose: no files for that.
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_long_life_with_a_small_buffer(answers in answers(400), size in 1..64_usize, manner in manner()) {
        play(Script::new(&answers), &mut vec![0; size], manner);
    }

    #[test]
    fn a_shorter_life_with_a_large_buffer(answers in answers(12), manner in manner()) {
        play(Script::new(&answers), &mut vec![0; READ_SIZE], manner);
    }
}

/// A connection that has been told that there are bytes, and room.
fn readable(script: Script) -> Connection<Socket> {
    let mut connection = Connection::new(Socket::new(script));
    connection.marks.may_read = true;
    connection.marks.may_write = true;
    connection
}

/// A turn after an event that says that there is room to write.
fn turn_with_room(connection: &mut Connection<Socket>) -> Next {
    connection.marks.may_write = true;
    turn(connection)
}

fn turn(connection: &mut Connection<Socket>) -> Next {
    connection.turn(&mut [0; SMALL]).unwrap()
}

fn owed(connection: &Connection<Socket>) -> usize {
    connection.outbox.as_ref().map_or(0, |outbox| outbox.pending().len())
}

#[test]
fn without_an_event_nothing_is_asked() {
    let mut connection = Connection::new(Socket::new(Script::new(&[Bytes])));
    assert_eq!(turn(&mut connection), Next::Wait);
    assert_eq!(connection.stream.steps(), []);
}

#[test]
fn a_short_read_means_drained_where_the_poller_is_edge_triggered() {
    let mut connection = readable(Script::new(&[Short, Bytes, WouldBlock]));
    let expected = if SHORT_READ_MEANS_DRAINED { Next::Wait } else { Next::Again };
    assert_eq!(turn(&mut connection), expected);
    assert_eq!(connection.stream.taken().len(), SMALL - 1);
}

#[test]
fn a_full_read_may_have_left_bytes_behind() {
    let mut connection = readable(Script::new(&[Bytes, Bytes, WouldBlock]));
    assert_eq!(turn(&mut connection), Next::Again);
    assert_eq!(turn(&mut connection), Next::Wait, "now EAGAIN has said that it is empty");
    assert_eq!(connection.stream.steps().len(), 3);
}

#[test]
fn with_the_end_in_sight_a_short_read_is_followed_by_another() {
    let mut connection = readable(Script::new(&[Short, Bytes, End]));
    connection.marks.must_drain = true;
    assert_eq!(turn(&mut connection), Next::Again);
    assert_eq!(turn(&mut connection), Next::Done);
}

#[test]
fn after_an_urgent_byte_has_been_read_a_message_is_one_read_again() {
    let mut connection = readable(Script::new(&[Short, Bytes, WouldBlock, Short, Bytes, Bytes]));
    connection.marks.must_drain = true;
    assert_eq!(turn(&mut connection), Next::Again);
    assert_eq!(turn(&mut connection), Next::Wait, "there was nothing behind it");
    connection.marks.may_read = true;
    assert_eq!(
        turn(&mut connection),
        if SHORT_READ_MEANS_DRAINED { Next::Wait } else { Next::Again }
    );
}

#[test]
fn half_close_gets_every_byte_back_and_then_is_done() {
    // "abcd" and FIN came together, and the kernel takes one byte, then none, then the rest.
    let mut connection = readable(Script::new(&[Bytes, Short, WouldBlock, WouldBlock, Bytes, End]));
    connection.marks.must_drain = true;
    assert_eq!(turn(&mut connection), Next::Wait);
    assert_eq!(turn_with_room(&mut connection), Next::Wait, "named for nothing");
    assert_eq!(owed(&connection), SMALL - 1);
    assert_eq!(turn_with_room(&mut connection), Next::Done);
    assert_eq!(connection.stream.taken(), connection.stream.fed());
}

#[test]
fn what_a_partial_write_leaves_is_kept_and_goes_out_first() {
    let mut connection = readable(Script::new(&[Bytes, Short, WouldBlock, Bytes, Bytes, Bytes]));
    assert_eq!(turn(&mut connection), Next::Wait);
    assert_eq!(owed(&connection), SMALL - 1);
    assert_eq!(turn_with_room(&mut connection), Next::Again);
    assert_eq!(owed(&connection), 0);
    assert_eq!(connection.stream.taken().len(), 2 * SMALL);
    assert_eq!(connection.stream.taken(), connection.stream.fed());
}

#[test]
fn a_client_that_never_reads_costs_one_buffer_and_is_not_read_from() {
    let mut connection = readable(Script::followed_by(&[Bytes], WouldBlock));
    let mut buf = vec![0; READ_SIZE];
    for _ in 0..100 {
        assert_eq!(connection.turn(&mut buf).unwrap(), Next::Wait);
        assert_eq!(owed(&connection), OUTBOX_LIMIT);
        connection.marks.may_read = true;
        connection.marks.may_write = true;
    }
    let reads = connection.stream.steps().iter().filter(|step| step.call == Call::Read).count();
    assert_eq!(reads, 1, "back-pressure: the rest stays in the kernel");
}

#[test]
fn a_write_that_was_refused_is_not_tried_again_before_there_is_room() {
    let mut connection = readable(Script::new(&[Bytes, WouldBlock, Bytes, WouldBlock]));
    assert_eq!(turn(&mut connection), Next::Wait);
    connection.marks.may_read = true; // more bytes have come, and that is all
    assert_eq!(turn(&mut connection), Next::Wait);
    assert_eq!(connection.stream.steps().len(), 2, "one read, one write that was refused");
    turn_with_room(&mut connection);
    assert_eq!(connection.stream.taken(), connection.stream.fed());
}

#[test]
fn a_client_that_never_stops_sending_gives_up_its_turn() {
    // More than it sends in all these turns. Behind that `EAGAIN` and the end: a turn that drains ends, too.
    let mut script = vec![Bytes; 4_000];
    script.push(WouldBlock);
    let mut connection = readable(Script::new(&script));
    for turns in 1..=1000 {
        let next = turn(&mut connection);
        let reads = connection.stream.fed().len() / SMALL - (turns - 1);
        assert_ne!(next, Next::Done, "it reads on when there is nothing to read");
        assert!(reads <= 1000, "{reads} reads in one turn, and only the script has ended it");
        assert_eq!((reads, next), (1, Next::Again), "reads in a turn, and what comes next");
        assert_eq!(connection.stream.taken().len(), turns * SMALL);
    }
}

#[test]
fn signals_may_interrupt_a_call_any_number_of_times() {
    let mut script = vec![Interrupted; 100];
    script.push(Short);
    script.extend([Interrupted; 100]);
    let mut connection = readable(Script::new(&script));
    turn(&mut connection);
    assert_eq!(connection.stream.taken().len(), SMALL - 1);
    assert_eq!(connection.stream.steps().len(), 202);
}

#[test]
fn a_reset_behind_the_bytes_is_found_after_they_were_sent_back() {
    let mut connection = readable(Script::new(&[Short, Bytes, Reset]));
    connection.marks.must_drain = true;
    assert_eq!(turn(&mut connection), Next::Again);
    assert_eq!(connection.stream.taken().len(), SMALL - 1);
    let error = connection.turn(&mut [0; SMALL]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn an_error_while_paying_is_the_end_even_if_there_are_bytes_to_read() {
    let mut connection = readable(Script::new(&[Bytes, WouldBlock, End, Bytes]));
    assert_eq!(turn(&mut connection), Next::Wait);
    connection.marks.may_write = true;
    let error = connection.turn(&mut [0; SMALL]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn what_the_server_adds_to_the_outbox_goes_out_in_the_next_turn_before_any_echo() {
    let mut connection = readable(Script::new(&[Bytes, Short, Bytes]));
    connection.outbox.get_or_insert_default().push(b"status\n").unwrap();
    turn(&mut connection);
    assert_eq!(&connection.stream.taken()[..7], b"status\n");
    assert_eq!(&connection.stream.taken()[7..], connection.stream.fed());
    assert!(connection.outbox.is_none(), "an empty outbox is given back");
}

/// A protocol that greets, or whose answers are longer than what is asked.
#[test]
fn what_is_sent_goes_behind_what_is_owed() {
    let mut connection = readable(Script::new(&[Short, WouldBlock, Bytes]));
    connection.send(b"greetings, ").unwrap();
    connection.send(b"and welcome").unwrap();
    assert_eq!(connection.stream.taken(), b"g", "the second does not overtake the first");
    connection.marks.may_write = true;
    assert!(connection.flush().unwrap());
    assert_eq!(connection.stream.taken(), b"greetings, and welcome");
}

#[test]
fn an_answer_that_has_no_place_is_the_end_of_this_client_and_of_no_other() {
    let mut connection = readable(Script::endless(WouldBlock));
    connection.send(&[7; OUTBOX_LIMIT]).unwrap();
    let error = connection.send(b"x").unwrap_err();
    assert_eq!(error.to_string(), "it does not read, and its outbox is full");
    let error = readable(Script::endless(WouldBlock)).send(&[7; OUTBOX_LIMIT + 1]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Other);
}

#[test]
fn flush_tells_whether_everything_is_paid_and_never_reads() {
    let mut connection = readable(Script::new(&[Short, WouldBlock, Bytes, Bytes]));
    assert!(connection.flush().unwrap(), "nothing was owed");
    connection.outbox.get_or_insert_default().push(b"abc").unwrap();
    assert!(!connection.flush().unwrap());
    assert_eq!(owed(&connection), 2);
    connection.marks.may_write = true;
    assert!(connection.flush().unwrap());
    assert_eq!(connection.stream.taken(), b"abc");
    assert_eq!(connection.stream.fed(), b"");
}

#[test]
fn an_idle_client_costs_tens_of_bytes() {
    assert!(size_of::<Connection<()>>() < 100, "{} bytes", size_of::<Connection<()>>());
    let mut connection = readable(Script::new(&[Short, Bytes]));
    turn(&mut connection);
    assert!(connection.outbox.is_none());
}

//! The state machine against a kernel that the test plays.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::testkit::self_connect::connected_with_itself;

use crate::machine::{Handshake, State};
use crate::support::{Failure, HELLO, QUESTION};
use crate::talk::Talk;
use crate::watched::{Said, Socket, Watched};

/// What the kernel knows of one connection. Like an edge-triggered poller it says once what is new.
#[derive(Default)]
struct Kernel {
    connected: Cell<bool>,
    /// The peer is this very socket.
    itself: Cell<bool>,
    /// What `SO_ERROR` says, once.
    error: Cell<Option<ErrorKind>>,
    /// How many bytes a write takes before it says `EAGAIN`.
    room: Cell<usize>,
    sent: RefCell<Vec<u8>>,
    inbox: RefCell<VecDeque<u8>>,
    /// The peer has sent its FIN.
    fin: Cell<bool>,
    reset: Cell<bool>,
    /// What has changed since the last event.
    news: Cell<Said>,
    calls: RefCell<Vec<&'static str>>,
}

impl Kernel {
    fn news(&self, readable: bool, writable: bool) {
        let old = self.news.get();
        let (readable, writable) = (old.readable || readable, old.writable || writable);
        self.news.set(Said { readable, writable });
    }

    /// Whether the call that is made in this state would get something from the kernel now.
    fn has_something_for(&self, state: &str) -> bool {
        let over = self.reset.get() || self.fin.get();
        match state {
            "connecting" => self.connected.get() || self.error.get().is_some(),
            "sending" => self.reset.get() || self.room.get() > 0,
            "expecting" => over || !self.inbox.borrow().is_empty(),
            _ => false,
        }
    }
}

/// The machine's end of it.
#[derive(Clone, Default)]
struct Scripted(Rc<Kernel>);

impl Read for Scripted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        assert!(self.0.connected.get(), "read before it was connected");
        self.0.calls.borrow_mut().push("read");
        let n = self.0.inbox.borrow_mut().read(buf)?;
        match n {
            0 if self.0.reset.get() => Err(ErrorKind::ConnectionReset.into()),
            0 if self.0.fin.get() => Ok(0),
            0 => Err(ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Write for Scripted {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        assert!(self.0.connected.get(), "written before it was connected");
        self.0.calls.borrow_mut().push("write");
        let n = buf.len().min(self.0.room.get());
        if self.0.reset.get() {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.0.room.set(self.0.room.get() - n);
        self.0.sent.borrow_mut().extend_from_slice(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Scripted {
    fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.calls.borrow_mut().push("take_error");
        Ok(self.0.error.take().map(io::Error::from))
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.calls.borrow_mut().push("peer_addr");
        match self.0.connected.get() {
            true if self.0.itself.get() => Err(ErrorKind::ConnectionRefused.into()),
            true => Ok(SocketAddr::from(([127, 0, 0, 1], 9000))),
            false => Err(ErrorKind::NotConnected.into()),
        }
    }
}

/// What can happen to a connection between two looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    Connects,
    Refuses,
    /// Room for 10 more of our 17 bytes.
    MakesRoom,
    /// The first half of the ack, then the second, then bytes of the talk.
    Answers,
    AnswersWrongly,
    Closes,
    Resets,
    /// The poller says "readable and writable", and nothing is.
    CriesWolf,
}

impl Move {
    const ALL: [Self; 8] = [
        Self::Connects,
        Self::Refuses,
        Self::MakesRoom,
        Self::Answers,
        Self::AnswersWrongly,
        Self::Closes,
        Self::Resets,
        Self::CriesWolf,
    ];

    /// Makes this move. False: the rules of TCP do not allow it here.
    fn make(self, kernel: &Kernel, answers: &mut usize) -> bool {
        let open = kernel.connected.get() && !kernel.reset.get();
        let says = |bytes: &[u8]| kernel.inbox.borrow_mut().extend(bytes);
        match self {
            Self::Connects | Self::Refuses if kernel.connected.get() => return false,
            Self::Connects => kernel.connected.set(true),
            Self::Refuses => kernel.error.set(Some(ErrorKind::ConnectionRefused)),
            Self::CriesWolf => {}
            _ if !open => return false,
            Self::Answers | Self::AnswersWrongly | Self::Closes if kernel.fin.get() => {
                return false;
            }
            Self::MakesRoom => kernel.room.set(kernel.room.get() + 10),
            Self::Answers => {
                says([&HELLO[..9], &HELLO[9..], b"more"][*answers]);
                *answers = 2.min(*answers + 1);
            }
            Self::AnswersWrongly => says(b"no"),
            Self::Closes => kernel.fin.set(true),
            Self::Resets => kernel.reset.set(true),
        }
        let writable = !matches!(self, Self::Answers | Self::AnswersWrongly | Self::Closes);
        let readable = !matches!(self, Self::Connects | Self::MakesRoom);
        kernel.news(readable, writable);
        true
    }
}

/// A handshake, and what it has gone through.
struct Run {
    kernel: Scripted,
    handshake: Option<Handshake<Scripted>>,
    states: Vec<&'static str>,
    start: Instant,
}

const TIMEOUT: Duration = Duration::from_secs(1);

impl Run {
    fn new() -> Self {
        let (kernel, start) = (Scripted::default(), Instant::now());
        let handshake = Some(Handshake::new(kernel.clone(), start + TIMEOUT));
        Self { kernel, handshake, states: Vec::new(), start }
    }

    fn connected() -> Self {
        let run = Self::new();
        run.kernel.0.connected.set(true);
        run.kernel.0.room.set(usize::MAX);
        run.kernel.0.news(false, true);
        run
    }

    /// Delivers one event with all that is new, `late` after the start.
    fn event(&mut self, late: Duration) {
        let said = self.kernel.0.news.take();
        self.hear(said, late);
    }

    /// The timer of the deadline goes off, and no event has reported what is new.
    fn timer(&mut self) {
        self.hear(Said::default(), TIMEOUT);
    }

    fn hear(&mut self, said: Said, late: Duration) {
        let states = &mut self.states;
        let handshake = self.handshake.as_mut().expect("it has not been taken");
        handshake.handle(said, self.start + late, |state| {
            states.push(match state {
                State::Connecting => "connecting",
                State::SendingHandshake { .. } => "sending",
                State::ExpectingAck { .. } => "expecting",
                State::Connected { .. } => "connected",
                State::Failed { .. } => "failed",
                #[allow(unreachable_patterns, reason = "exercise 7.3 adds a state")]
                _ => "another state",
            });
        });
    }

    fn gives(&self, bytes: &[u8]) {
        self.kernel.0.inbox.borrow_mut().extend(bytes);
        self.kernel.0.news(true, false);
    }

    fn outcome(&mut self) -> Result<(Watched<Scripted>, Vec<u8>), Failure> {
        self.handshake.take().expect("it is asked once").into_outcome()
    }

    #[track_caller]
    fn assert_fails_with(&mut self, expected: &str) {
        let why = self.outcome().err().expect("it should have failed");
        assert_eq!(why.to_string(), expected);
    }
}

/// Goal: the machine never waits for an event about something that the kernel has already.
/// Method: every sequence of up to five things that can happen, and every way to put them in events.
#[test]
fn whatever_happens_in_whatever_events_nothing_is_left_lying() {
    let (mut runs, mut connected) = (0, 0);
    for length in 0..=5 {
        for n in 0..8_usize.pow(length) {
            let moves: Vec<_> =
                (0..length).map(|place| Move::ALL[n / 8_usize.pow(place) % 8]).collect();
            // Bit by bit: is there an event after this move, or does it come together with the next?
            for events in 0..1_usize << length {
                if let Some(states) = play(&moves, events) {
                    runs += 1;
                    connected += usize::from(states.last() == Some(&"connected"));
                }
            }
        }
    }
    assert!(runs > 10_000 && connected > 100, "{runs} runs, {connected} connected");
}

/// `None`: TCP does not allow these moves.
fn play(moves: &[Move], events: usize) -> Option<Vec<&'static str>> {
    let mut run = Run::new();
    let mut answers = 0;
    for (place, step) in moves.iter().enumerate() {
        if !step.make(&run.kernel.0, &mut answers) {
            return None;
        }
        if events & (1 << place) != 0 || place + 1 == moves.len() {
            run.event(Duration::ZERO);
            check_nothing_is_left_lying(&run, moves, events);
        }
    }
    check_order(&run, moves);
    let states = run.states.clone();
    run.event(TIMEOUT);
    let handshake = run.handshake.as_ref().expect("it has not been taken");
    assert!(handshake.is_over(), "{moves:?} in events {events:b}: it outlives its deadline");
    Some(states)
}

#[track_caller]
fn check_nothing_is_left_lying(run: &Run, moves: &[Move], events: usize) {
    let state = run.states.last().unwrap_or(&"connecting");
    assert!(
        !run.kernel.0.has_something_for(state),
        "{moves:?} in events {events:b}: it waits while {state}, and what it waits for is there"
    );
}

/// States come in the order of the diagram, our line has gone out from its first byte on, and a machine
/// that is connected has sent all of its line and has read the whole ack.
#[track_caller]
fn check_order(run: &Run, moves: &[Move]) {
    let order = ["sending", "expecting", "connected"];
    let happy = run.states.strip_suffix(&["failed"]).unwrap_or(&run.states);
    assert_eq!(happy, &order[..happy.len()], "{moves:?}");
    let sent = run.kernel.0.sent.borrow();
    assert!(HELLO.starts_with(&sent), "{moves:?}");
    if happy.len() == 3 {
        assert_eq!(*sent, HELLO, "{moves:?}");
        assert!(moves.iter().filter(|step| **step == Move::Answers).count() >= 2, "{moves:?}");
    }
}

/// The article's machine hangs here: it takes one step per event, and there is one event.
#[test]
fn an_ack_that_comes_in_the_same_event_as_writable_is_read() {
    let mut run = Run::connected();
    run.gives(HELLO);
    run.event(Duration::ZERO);
    assert_eq!(run.states, ["sending", "expecting", "connected"], "one event has said it all");
}

#[test]
fn before_the_socket_is_writable_nothing_is_asked() {
    let mut run = Run::new();
    run.event(Duration::ZERO);
    assert!(run.states.is_empty());
    assert!(run.kernel.0.calls.borrow().is_empty());
}

#[test]
fn writable_then_the_error_then_the_peer() {
    let mut run = Run::connected();
    run.event(Duration::ZERO);
    let calls = run.kernel.0.calls.borrow().clone();
    assert_eq!(calls, ["take_error", "peer_addr", "write"]);
}

#[test]
fn writable_and_not_connected_means_not_yet() {
    let mut run = Run::new();
    run.kernel.0.news(true, true);
    run.event(Duration::ZERO);
    assert!(run.states.is_empty());
    run.kernel.0.connected.set(true);
    run.kernel.0.room.set(100);
    run.kernel.0.news(false, true);
    run.event(Duration::ZERO);
    assert_eq!(run.states, ["sending", "expecting"]);
}

#[test]
fn a_refusal_is_found_in_the_socket() {
    let mut run = Run::new();
    run.kernel.0.error.set(Some(ErrorKind::ConnectionRefused));
    run.kernel.0.news(true, true);
    run.event(Duration::ZERO);
    assert_eq!(run.states, ["failed"]);
    run.assert_fails_with("connection refused");
}

#[test]
fn a_peer_that_is_the_socket_itself_has_refused_and_is_sent_nothing() {
    let mut run = Run::connected();
    run.kernel.0.itself.set(true);
    run.event(Duration::ZERO);
    assert_eq!(run.states, ["failed"]);
    assert_eq!(*run.kernel.0.calls.borrow(), ["take_error", "peer_addr"]);
    run.assert_fails_with("connection refused");
}

/// The same with a socket of the kernel's. Whatever is sent there comes back, so it would look like an
/// ack.
#[test]
fn a_socket_that_is_connected_with_itself_is_a_refusal() {
    let Some(stream) = connected_with_itself() else { return };
    stream.set_nonblocking(true).expect("it is a socket");
    let now = Instant::now();
    let stream = mio::net::TcpStream::from_std(stream);
    let mut handshake = Handshake::new(stream, now + TIMEOUT);
    handshake.handle(Said { readable: true, writable: true }, now, |_| {});
    let why = handshake.into_outcome().err().expect("it took itself for its peer");
    assert_eq!(why.to_string(), "connection refused");
}

#[test]
fn a_line_that_goes_out_in_pieces_goes_out_once() {
    let mut run = Run::connected();
    for room in [5, 0, 1, 11] {
        run.kernel.0.room.set(room);
        run.kernel.0.news(false, true);
        run.event(Duration::ZERO);
    }
    assert_eq!(run.states, ["sending", "expecting"]);
    assert_eq!(*run.kernel.0.sent.borrow(), HELLO);
}

#[test]
fn a_reset_while_we_send_is_the_end() {
    let mut run = Run::connected();
    run.kernel.0.room.set(5);
    run.event(Duration::ZERO);
    run.kernel.0.reset.set(true);
    run.kernel.0.news(true, true);
    run.event(Duration::ZERO);
    assert_eq!(run.states, ["sending", "failed"]);
    run.assert_fails_with("reset by the peer");
}

#[test]
fn an_ack_may_come_byte_by_byte() {
    let mut run = Run::connected();
    for byte in HELLO {
        assert_ne!(run.states.last(), Some(&"connected"));
        run.gives(&[*byte]);
        run.event(Duration::ZERO);
    }
    assert_eq!(run.states, ["sending", "expecting", "connected"]);
}

#[test]
fn what_comes_behind_the_ack_is_handed_on() {
    let mut run = Run::connected();
    run.gives(&[HELLO, b"and more"].concat());
    run.event(Duration::ZERO);
    let (_, early) = run.outcome().expect("connected");
    assert_eq!(early, b"and more");
}

#[test]
fn a_wrong_ack_is_found_at_its_first_wrong_byte() {
    let mut run = Run::connected();
    run.gives(b"hex");
    run.event(Duration::ZERO);
    assert_eq!(run.states, ["sending", "expecting", "failed"]);
    run.assert_fails_with("the answer is no ack");
}

#[test]
fn half_an_ack_and_then_the_end_is_a_failure() {
    let mut run = Run::connected();
    run.gives(&HELLO[..5]);
    run.kernel.0.fin.set(true);
    run.event(Duration::ZERO);
    run.assert_fails_with("closed by the peer");
}

#[test]
fn the_deadline_is_kept_to_the_nanosecond_in_every_state() {
    let mut connecting = Run::new();
    let mut sending = Run::connected();
    sending.kernel.0.room.set(3);
    let mut expecting = Run::connected();
    for run in [&mut connecting, &mut sending, &mut expecting] {
        run.event(TIMEOUT - Duration::from_nanos(1));
        assert_ne!(run.states.last(), Some(&"failed"));
        run.event(TIMEOUT);
        assert_eq!(run.states.last(), Some(&"failed"));
        run.assert_fails_with("no answer in time");
    }
}

#[test]
fn an_ack_that_is_there_at_the_deadline_counts() {
    let mut run = Run::connected();
    run.event(Duration::ZERO);
    run.gives(HELLO);
    run.event(TIMEOUT * 2);
    assert_eq!(run.states, ["sending", "expecting", "connected"]);
}

/// A signal ends the poller's sleep without events, and in one turn the poller names only so many
/// sockets. So the timer can come before the event.
#[test]
fn at_the_deadline_what_is_there_counts_though_no_event_has_said_so() {
    let mut run = Run::connected();
    run.event(Duration::ZERO);
    run.gives(HELLO);
    run.timer();
    assert_eq!(run.states, ["sending", "expecting", "connected"]);

    let mut run = Run::connected();
    run.gives(HELLO);
    run.timer();
    assert_eq!(run.states, ["sending", "expecting", "connected"]);

    let mut run = Run::new();
    run.kernel.0.error.set(Some(ErrorKind::ConnectionRefused));
    run.timer();
    run.assert_fails_with("connection refused");
}

#[test]
fn after_the_end_nothing_moves_any_more() {
    let mut run = Run::connected();
    run.gives(&[HELLO, b"and more"].concat());
    run.event(Duration::ZERO);
    let calls = run.kernel.0.calls.borrow().len();
    run.kernel.0.news(true, true);
    run.event(TIMEOUT * 2);
    assert_eq!(run.states.len(), 3);
    assert_eq!(run.kernel.0.calls.borrow().len(), calls);
}

/// A talk over a connection whose handshake is done, with what the poller has said so far.
fn talk_after(run: &mut Run) -> Talk<Scripted> {
    let (socket, early) = run.outcome().expect("connected");
    Talk::new(socket, early, run.start + TIMEOUT)
}

#[test]
fn the_talk_begins_with_what_the_handshake_was_told_and_had_no_use_for() {
    let mut run = Run::connected();
    // More than one read brings: so "readable" is not used up when the ack is complete.
    let line = [b'x'; 100];
    run.gives(&[HELLO, &line, b"\n"].concat());
    run.event(Duration::ZERO);
    let heard = talk_after(&mut run).handle(Said::default(), run.start);
    let heard = heard.expect("it is over without an event").expect("heard");
    assert_eq!(heard, [&line[..], b"\n"].concat());
    assert!(run.kernel.0.sent.borrow().ends_with(QUESTION));
}

#[test]
fn a_talk_waits_for_the_whole_line_and_no_longer_than_its_deadline() {
    let mut run = Run::connected();
    run.gives(&[HELLO, b"half"].concat());
    run.event(Duration::ZERO);
    let mut talk = talk_after(&mut run);
    assert!(talk.handle(Said::default(), run.start).is_none());
    assert!(talk.handle(Said::default(), run.start + TIMEOUT - Duration::from_nanos(1)).is_none());
    let end = talk.handle(Said::default(), run.start + TIMEOUT);
    assert!(matches!(end, Some(Err(Failure::TimedOut))));
}

#[test]
fn at_its_deadline_a_talk_hears_what_is_there_though_no_event_has_said_so() {
    let mut run = Run::connected();
    run.gives(HELLO);
    run.event(Duration::ZERO);
    let mut talk = talk_after(&mut run);
    // The first look uses up "readable".
    assert!(talk.handle(Said::default(), run.start).is_none());
    run.gives(b"well\n");
    let heard = talk.handle(Said::default(), run.start + TIMEOUT);
    assert_eq!(heard.expect("it is over").expect("heard"), b"well\n");
}

//! What is still to be built. Each test is red until you have built it: see the exercises in the book.

#[allow(dead_code)]
#[path = "../examples/handshake/machine.rs"]
mod machine;
#[allow(dead_code, unused_imports)]
#[path = "../examples/support/mod.rs"]
mod support;
#[allow(dead_code)]
#[path = "../examples/handshake/watched.rs"]
mod watched;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use common::testkit::client::{Client, random_bytes, stream_through};
use common::testkit::server::{Server, Signal, Usage};
use common::testkit::{eventually, pass, skipped};

use machine::Handshake;
use support::HELLO;
use support::backoff::Backoff;
use watched::{Said, Socket};

const EXE: &str = env!("CARGO_BIN_EXE_stage6-timers");

/// A line in the log each second with the worst lateness, which is what a stop of the whole server makes it, and
/// no wake-up besides those of the ten measurements.
#[test]
#[ignore = "exercise 6.4: cargo test -p stage6-timers --test exercises -- --ignored e6_4"]
fn e6_4_the_log_says_once_a_second_how_late_the_loop_is() {
    const SAYS: &str = "the log says lateness, with worst_us=";
    let server = Server::start_with(EXE, &["--idle-timeout", "1h"]);
    let start = Instant::now();
    let first = next_worst(&server, SAYS);
    let before = server.usage();
    let idle = [first, next_worst(&server, SAYS), next_worst(&server, SAYS)];
    let elapsed = start.elapsed();
    if elapsed < Duration::from_millis(2_900) {
        drop(server); // or a flood of its lines would wash ours away
        panic!("three lines in {elapsed:?}");
    }
    assert_sleeps_between_20_measurements(&server, before);
    // A busy machine makes it late, but not each time.
    let mut least = *idle.iter().min().expect("there are three");
    eventually("an idle loop is in time", || {
        least = least.min(if least < 90_000 { least } else { next_worst(&server, SAYS) });
        assert!(start.elapsed() < Duration::from_secs(6), "late by {least} µs without a client");
        least < 90_000
    });
    if let Some(worst) = worst_of_a_stop(&server, Duration::from_millis(700)) {
        eprintln!("seen: late by {idle:?} µs when idle, and by {worst} µs after a stop of 700 ms");
    }
    // Their idle timers are swept away.
    (0..1_200).for_each(|_| {
        let mut client = server.connect();
        client.round_trip(b"hello");
        client.reset();
    });
    let says = "after 1,200 clients have come and gone the log still says lateness";
    let calm = (0..3).any(|_| next_worst(&server, says) < 300_000);
    assert!(calm, "late by more than 300 ms, three seconds after the stop");
}

/// What the next line in the log says.
#[track_caller]
fn next_worst(server: &Server, says: &str) -> u64 {
    let values = || -> Vec<u64> {
        let log = server.log();
        let lines = log.lines().filter(|line| line.contains(" INFO ") && line.contains("lateness"));
        let values = lines.filter_map(|line| line.split_once("worst_us=")?.1.trim().parse().ok());
        values.collect()
    };
    let known = values().len();
    eventually(says, || values().len() > known);
    values()[known]
}

#[track_caller]
fn assert_sleeps_between_20_measurements(server: &Server, before: Option<Usage>) {
    let (Some(before), Some(after)) = (before, server.usage()) else {
        return skipped("wake-ups need /proc");
    };
    let (wakeups, cpu) = (after.wakeups - before.wakeups, after.cpu - before.cpu);
    eprintln!("seen: {wakeups} wake-ups and {cpu:.1?} of CPU in two idle seconds");
    assert!((10..=60).contains(&wakeups), "{wakeups} wake-ups for 20 measurements");
    assert!(cpu < Duration::from_millis(100), "{cpu:.1?} of CPU for 20 measurements");
}

/// What the log says when the server was stopped for so long: that, less the time to the tick that was due
/// next. `None` where there are no signals.
#[track_caller]
fn worst_of_a_stop(server: &Server, time: Duration) -> Option<u64> {
    let stopped = Instant::now();
    if !server.signal(Signal::Stop) {
        skipped("needs SIGSTOP");
        return None;
    }
    pass(time);
    server.signal(Signal::Continue);
    // A line that was on its way does not count.
    let says = "the log says lateness after a stop";
    let at_least = (time - Duration::from_millis(200)).as_micros() as u64;
    let mut worst = next_worst(server, says);
    if worst < at_least {
        worst = worst.max(next_worst(server, says));
    }
    let at_most = stopped.elapsed().as_micros() as u64;
    assert!(
        (at_least..=at_most).contains(&worst),
        "it was stopped for {time:?}, and says that it was late by {worst} µs at worst"
    );
    Some(worst)
}

/// How much a client may send in a second, and how much more a read may bring.
const SECONDS_WORTH: usize = 256 * 1024;
const ONE_READ: usize = 64 * 1024 + 1;

/// 256 KiB in a second, and no more.
#[test]
#[ignore = "exercise 6.5: cargo test -p stage6-timers --test exercises -- --ignored e6_5"]
fn e6_5_a_client_may_send_256_kib_in_a_second() {
    assert_takes_its_time_and_others_do_not_notice();
    assert_is_held_back_and_costs_nothing();
    assert_a_new_second_is_a_new_share();
    assert_to_be_held_back_is_no_silence();
}

#[test]
#[ignore = "exercise 6.5, step 1: cargo test -p stage6-timers --test exercises -- --ignored s6_5_1"]
fn s6_5_1_a_client_that_has_sent_its_share_is_not_read() {
    assert_is_held_back_and_costs_nothing();
}

#[test]
#[ignore = "exercise 6.5, step 2: cargo test -p stage6-timers --test exercises -- --ignored s6_5_2"]
fn s6_5_2_when_its_second_is_over_it_has_a_new_share() {
    let server = Server::start(EXE);
    let elapsed = time_through(server.connect(), &random_bytes(640 * 1024));
    eprintln!("seen: 640 KiB took {elapsed:.1?}");
    assert!(elapsed > Duration::from_millis(900), "too fast: 640 KiB in {elapsed:.1?}");
    assert_a_new_second_is_a_new_share();
}

#[test]
#[ignore = "exercise 6.5, step 3: cargo test -p stage6-timers --test exercises -- --ignored s6_5_3"]
fn s6_5_3_a_client_that_is_held_back_is_not_taken_for_silent() {
    assert_to_be_held_back_is_no_silence();
}

#[track_caller]
fn assert_takes_its_time_and_others_do_not_notice() {
    let server = Server::start(EXE);
    let mut polite = server.connect();
    polite.round_trip(b"hello");
    let bytes = random_bytes(896 * 1024);
    let (elapsed, waits) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| time_through(server.connect(), &bytes));
        let mut waits = Vec::new();
        while !flood.is_finished() {
            let start = Instant::now();
            polite.round_trip(b"and I?");
            waits.push(start.elapsed());
            pass(Duration::from_millis(20));
        }
        (flood.join().unwrap_or_else(|panic| resume_unwind(panic)), waits)
    });
    let slowest = waits.iter().max().copied().unwrap_or_default();
    eprintln!(
        "seen: 896 KiB took {elapsed:.1?}; an answer to another client at most {slowest:.1?}"
    );
    // A busy machine may be slow once.
    let long = waits.iter().filter(|wait| **wait > Duration::from_millis(500)).count();
    assert!(long < 2, "another client waited for up to {slowest:.1?}, {long} times");
    assert!(elapsed > Duration::from_millis(1_900), "too fast: 896 KiB in {elapsed:.1?}");
}

/// How long it takes until all bytes have come back.
#[track_caller]
fn time_through(mut client: Client, bytes: &[u8]) -> Duration {
    const PATIENCE: Duration = Duration::from_secs(4);
    client.stream.set_read_timeout(Some(PATIENCE)).expect("read timeout");
    client.stream.set_write_timeout(Some(PATIENCE)).expect("write timeout");
    let mut writer = client.stream.try_clone().expect("clone");
    let start = Instant::now();
    std::thread::scope(|scope| {
        // If the server has closed, the reader finds out.
        scope
            .spawn(move || writer.write_all(bytes).and_then(|()| writer.shutdown(Shutdown::Write)));
        for (i, piece) in bytes.chunks(32 * 1024).enumerate() {
            client.expect(piece);
            let (elapsed, n) = (start.elapsed(), 32 * (i + 1));
            assert!(elapsed < Duration::from_secs(6), "too slow: {n} KiB in {elapsed:.1?}");
        }
    });
    let elapsed = start.elapsed();
    assert_eq!(client.read_to_end(), b"", "behind the bytes that were sent");
    elapsed
}

/// A client sends more than its share, and reads that. The rest stays in the kernel, and the server sleeps.
#[track_caller]
fn assert_is_held_back_and_costs_nothing() {
    let server = Server::start(EXE);
    let mut client = server.connect();
    client.round_trip(b"hello");
    let before = server.usage();
    let start = Instant::now();
    let mut writer = client.stream.try_clone().expect("clone");
    let writing = std::thread::spawn(move || writer.write_all(&[b'f'; 8 * 1024 * 1024]));
    client.expect(&[b'f'; SECONDS_WORTH - b"hello".len()]);
    pass(Duration::from_millis(100));
    let held = server.usage();
    pass(Duration::from_millis(300));
    let after = server.usage();
    client.stream.set_nonblocking(true).expect("nonblocking");
    let mut more = Vec::new();
    let _ = client.stream.read_to_end(&mut more);
    let seconds = start.elapsed().as_secs() as usize;
    let _ = client.stream.shutdown(Shutdown::Both);
    let _ = writing.join();
    assert!(
        more.len() <= ONE_READ + seconds * (SECONDS_WORTH + ONE_READ),
        "too fast: {} bytes came back beyond the 256 KiB of the first second",
        more.len()
    );
    server.assert_still_serving();
    let (Some(before), Some(held), Some(after)) = (before, held, after) else {
        return skipped("CPU and memory need /proc");
    };
    let (cpu, wakeups) = (after.cpu - held.cpu, after.wakeups - held.wakeups);
    eprintln!("seen: in 300 ms of waiting {cpu:.1?} of CPU and {wakeups} wake-up(s)");
    assert!(
        cpu < Duration::from_millis(15),
        "it spins while a client has to wait: {cpu:.1?} of CPU"
    );
    assert!(wakeups < 30, "{wakeups} wake-ups in 300 ms while a client has to wait");
    let grown = after.rss.saturating_sub(before.rss);
    assert!(grown <= 1024 * 1024, "{grown} bytes of memory for a client that has to wait");
}

/// Each time less than its share, and each time in a second of its own.
#[track_caller]
fn assert_a_new_second_is_a_new_share() {
    let server = Server::start(EXE);
    let bytes = random_bytes(200 * 1024);
    // A busy machine may be slow, but not three times.
    let in_time = (0..3).any(|_| {
        let mut client = server.connect();
        client.round_trip(&bytes);
        pass(Duration::from_millis(1_200));
        let start = Instant::now();
        client.round_trip(&bytes);
        start.elapsed() < Duration::from_millis(700)
    });
    assert!(in_time, "200 KiB were held back, although the second of those before was over");
}

/// The idle timeout is shorter than the wait for the next second. A client that is held back would speak if it
/// were let, so it stays, and has every byte back.
#[track_caller]
fn assert_to_be_held_back_is_no_silence() {
    let server = Server::start_with(EXE, &["--idle-timeout", "500ms"]);
    let bytes = random_bytes(640 * 1024);
    let start = Instant::now();
    let back = stream_through(&mut server.connect(), &bytes);
    let (elapsed, n) = (start.elapsed(), back.len() / 1024);
    eprintln!("seen: {n} of 640 KiB came back in {elapsed:.1?}, with an idle timeout of 500 ms");
    assert!(back == bytes, "taken for silent while it had to wait: {n} of 640 KiB came back");
    assert!(elapsed > Duration::from_millis(900), "too fast: 640 KiB in {elapsed:.1?}");
}

/// Each pause is random between the first and three times the one before it.
#[test]
#[ignore = "exercise 7.2: cargo test -p stage6-timers --test exercises -- --ignored e7_2"]
fn e7_2_a_pause_is_up_to_three_times_as_long_as_the_last() {
    let (mut all, mut shorter, mut middle, mut longest) = (0, 0, 0, Duration::ZERO);
    let first = Backoff::FIRST..=3 * Backoff::FIRST;
    for pause in (0..100).map(|seed| Backoff::new(seed).next_pause()) {
        assert!(first.contains(&pause), "the first pause is {pause:?}, not within {first:?}");
    }
    for seed in 0..100 {
        let mut backoff = Backoff::new(seed);
        let mut last = backoff.next_pause();
        for _ in 0..50 {
            let pause = backoff.next_pause();
            let range = Backoff::FIRST..=Backoff::LONGEST.min(3 * last);
            assert!(pause <= Backoff::LONGEST, "a pause of {pause:?} is longer than the longest");
            assert!(range.contains(&pause), "after a pause of {last:?}: {pause:?}");
            (all, shorter) = (all + 1, shorter + u32::from(pause < last));
            let quarter = (*range.end() - *range.start()) / 4;
            let half = *range.start() + quarter..=*range.end() - quarter;
            middle += u32::from(half.contains(&pause));
            longest = longest.max(pause);
            last = pause;
        }
    }
    eprintln!(
        "seen: of {all} pauses {shorter} are shorter than the one before, and {middle} lie in the middle half of \
         their range; at most {longest:?}"
    );
    assert!(shorter > all / 5, "pauses are never shorter than the one before, or hardly ever");
    assert!(longest > Backoff::LONGEST * 9 / 10, "the longest pause is never reached: {longest:?}");
    // Half of them should. Where the range is one millisecond, or two, there is no middle.
    let share = f64::from(middle) / f64::from(all);
    assert!(
        (0.35..0.65).contains(&share),
        "not evenly spread: {middle} of {all} in the middle half"
    );
}

/// A peer's kernel that does as it is told: how much it takes, and what it has to give.
#[derive(Clone, Default)]
struct Kernel {
    room: Rc<Cell<usize>>,
    sent: Rc<RefCell<Vec<u8>>>,
    inbox: Rc<RefCell<VecDeque<u8>>>,
}

impl Read for Kernel {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.inbox.borrow_mut().read(buf)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Write for Kernel {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(self.room.get());
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room.set(self.room.get() - n);
        self.sent.borrow_mut().extend_from_slice(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Kernel {
    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 9000)))
    }
}

const BOTH: Said = Said { readable: true, writable: true };
const WRITABLE: Said = Said { readable: false, writable: true };

const READABLE: Said = Said { readable: true, writable: false };

/// What we say when the ack has come.
const CONFIRM: &[u8] = b"agreed\n";

/// How long an attempt may take.
const ATTEMPT: Duration = Duration::from_secs(1);

/// A handshake with the kernel that it talks to, and the states that it has entered.
struct Played {
    kernel: Kernel,
    handshake: Handshake<Kernel>,
    states: Vec<String>,
    start: Instant,
}

impl Played {
    /// The kernel has room for our line and for so many bytes more. Nothing has come from the peer.
    fn new(room: usize) -> Self {
        let (kernel, start) = (Kernel::default(), Instant::now());
        kernel.room.set(HELLO.len() + room);
        let handshake = Handshake::new(kernel.clone(), start + ATTEMPT);
        Self { kernel, handshake, states: Vec::new(), start }
    }

    /// The same, and the ack is there already, with something behind it: one event says it all.
    fn with_the_ack(room: usize) -> Self {
        let mut played = Self::new(room);
        played.kernel.inbox.borrow_mut().extend(HELLO);
        played.kernel.inbox.borrow_mut().extend(b"early");
        played.hear(BOTH, Duration::ZERO);
        played
    }

    fn hear(&mut self, said: Said, late: Duration) {
        let states = &mut self.states;
        self.handshake.handle(said, self.start + late, |state| {
            states.push(state.to_string());
            assert!(states.len() < 10, "it steps on and on within one event: {states:?}");
        });
    }

    fn sent(&self) -> Vec<u8> {
        self.kernel.sent.borrow().clone()
    }

    /// It is connected, and has said all that there is to say.
    #[track_caller]
    fn assert_confirmed(self) {
        let sent = self.sent();
        let words = format!("\"{}\" in the states {:?}", sent.escape_ascii(), self.states);
        assert!(sent != HELLO, "no confirmation was sent, only {words}");
        assert!(sent == [HELLO, CONFIRM].concat(), "something else was sent: {words}");
        assert!(self.handshake.is_over(), "all is sent, and it waits: {words}");
        self.assert_hands_on();
    }

    #[track_caller]
    fn assert_hands_on(self) {
        let (_, early) = self.handshake.into_outcome().expect("it is connected");
        let early = early.escape_ascii().to_string();
        assert_eq!(early, "early", "what came behind the ack was not handed on");
    }
}

/// A machine that steps on and on never returns. So it plays in a thread of its own, and we wait for a while.
#[track_caller]
fn in_time(play: impl FnOnce() + Send + 'static) {
    let (playing, over) = mpsc::channel::<()>();
    let thread = std::thread::Builder::new().name("the machine".to_owned());
    let player = thread.spawn(move || {
        let _playing = playing; // dropped at the end, however that is reached
        play();
    });
    let player = player.expect("cannot start a thread");
    let waited = over.recv_timeout(Duration::from_secs(5));
    assert!(waited != Err(RecvTimeoutError::Timeout), "timed out: it steps on and on in one event");
    if let Err(panic) = player.join() {
        resume_unwind(panic);
    }
}

#[test]
#[ignore = "exercise 7.3, step 1: cargo test -p stage6-timers --test exercises -- --ignored s7_3_1"]
fn s7_3_1_there_is_a_state_between_the_ack_and_the_end() {
    in_time(|| {
        let played = Played::with_the_ack(CONFIRM.len());
        let states = &played.states;
        assert!(states.len() == 4, "not one state more between the ack and the end: {states:?}");
        assert_eq!(states.last().map(String::as_str), Some("connected"));
        played.assert_hands_on();
    });
}

#[test]
#[ignore = "exercise 7.3, step 2: cargo test -p stage6-timers --test exercises -- --ignored s7_3_2"]
fn s7_3_2_the_confirmation_is_sent() {
    in_time(|| Played::with_the_ack(CONFIRM.len()).assert_confirmed());
}

#[test]
#[ignore = "exercise 7.3, step 3: cargo test -p stage6-timers --test exercises -- --ignored s7_3_3"]
fn s7_3_3_it_is_over_when_the_kernel_has_taken_all() {
    in_time(|| {
        for room in 0..CONFIRM.len() {
            confirms_byte_by_byte(room);
        }
    });
}

/// Our line, its ack, and then a confirmation, of which the kernel takes as much as it likes.
#[test]
#[ignore = "exercise 7.3: cargo test -p stage6-timers --test exercises -- --ignored e7_3"]
fn e7_3_the_ack_is_confirmed() {
    in_time(|| {
        Played::with_the_ack(CONFIRM.len()).assert_confirmed();
        for room in 0..CONFIRM.len() {
            confirms_byte_by_byte(room);
        }
        confirms_nothing_before_the_ack();
        keeps_the_deadline();
    });
}

/// There is room for so many bytes of the confirmation, and then for one more each time.
#[track_caller]
fn confirms_byte_by_byte(room: usize) {
    let mut played = Played::with_the_ack(room);
    for _ in room..CONFIRM.len() {
        let sent = played.sent().escape_ascii().to_string();
        assert!(
            !played.handshake.is_over(),
            "connected before all of it was sent, with \"{sent}\""
        );
        played.kernel.room.set(1);
        played.hear(WRITABLE, Duration::ZERO);
    }
    played.assert_confirmed();
}

/// There is room for everything, and the ack comes byte by byte.
#[track_caller]
fn confirms_nothing_before_the_ack() {
    let mut played = Played::new(usize::MAX - HELLO.len());
    played.hear(WRITABLE, Duration::ZERO);
    for byte in HELLO {
        let sent = played.sent().escape_ascii().to_string();
        assert!(played.sent() == HELLO, "sent before the whole ack had come: \"{sent}\"");
        played.kernel.inbox.borrow_mut().extend([byte]);
        played.hear(READABLE, Duration::ZERO);
    }
    assert!(played.handshake.is_over(), "the ack came byte by byte, and it waits");
    assert_eq!(played.sent(), [HELLO, CONFIRM].concat());
}

/// Room for three bytes, and no more until it is too late.
#[track_caller]
fn keeps_the_deadline() {
    let mut played = Played::with_the_ack(3);
    played.hear(Said::default(), ATTEMPT - Duration::from_nanos(1));
    assert!(!played.handshake.is_over(), "it has given up before the deadline");
    played.hear(Said::default(), ATTEMPT);
    assert!(played.handshake.is_over(), "it still waits after the deadline");
    assert!(played.handshake.into_outcome().is_err(), "connected after the deadline");
}

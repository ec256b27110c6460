//! What is still to be built. Each test is red until somebody has built it: see the exercises in the book.

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
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::testkit::client::{Flood, random_bytes, stream_through};
use common::testkit::server::Server;
use common::testkit::{eventually, skipped};

use machine::Handshake;
use support::HELLO;
use support::backoff::Backoff;
use watched::{Said, Socket};

const EXE: &str = env!("CARGO_BIN_EXE_stage6-timers");

/// A line in the log each second with the worst lateness, idle and under load, and no wake-up besides
/// those of the ten measurements.
#[test]
#[ignore = "exercise 6.4: cargo test -p stage6-timers --test exercises -- --ignored e6_4"]
fn e6_4_the_log_says_once_a_second_how_late_the_loop_is() {
    let server = Server::start(EXE);
    let start = Instant::now();
    let lines = || -> Vec<u64> {
        let log = server.log();
        let values = log.lines().filter(|line| line.contains("lateness"));
        values.filter_map(|line| line.split_once("worst_us=")?.1.trim().parse().ok()).collect()
    };
    let wait_for = |n: usize| {
        eventually("a line of the log says lateness and worst_us=", || {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "no line lateness worst_us=… in time"
            );
            lines().len() >= n
        });
    };
    wait_for(1);
    let before = server.usage();
    wait_for(3);
    let elapsed = start.elapsed();
    assert!(elapsed > Duration::from_millis(2_900), "three lines in {elapsed:?}");
    if let (Some(before), Some(after)) = (before, server.usage()) {
        let wakeups = after.wakeups - before.wakeups;
        eprintln!("seen: {wakeups} wake-ups in two seconds with nobody there");
        assert!((10..=60).contains(&wakeups), "{wakeups} wake-ups for 20 measurements");
    } else {
        skipped("wake-ups need /proc");
    }
    let flood = Flood::start(server.addr());
    wait_for(5);
    drop(flood);
    eprintln!("seen: late by {:?} µs, the last two of them while somebody floods", lines());
}

/// 256 KiB in a second, and no more; and others, and the CPU, do not notice.
#[test]
#[ignore = "exercise 6.5: cargo test -p stage6-timers --test exercises -- --ignored e6_5"]
fn e6_5_a_client_may_send_256_kib_in_a_second() {
    let server = Server::start(EXE);
    let mut polite = server.connect();
    polite.round_trip(b"hello");
    let before = server.usage();
    let bytes = random_bytes(896 * 1024);
    let (elapsed, slowest) = std::thread::scope(|scope| {
        let mut client = server.connect();
        let bytes = &bytes;
        let flood = scope.spawn(move || {
            let start = Instant::now();
            assert!(stream_through(&mut client, bytes) == *bytes, "bytes are missing or moved");
            start.elapsed()
        });
        let mut slowest = Duration::ZERO;
        while !flood.is_finished() {
            let start = Instant::now();
            polite.round_trip(b"and I?");
            slowest = slowest.max(start.elapsed());
            std::thread::park_timeout(Duration::from_millis(20));
        }
        (flood.join().expect("every byte came back"), slowest)
    });
    eprintln!("seen: 896 KiB took {elapsed:.1?}; an answer to somebody else at most {slowest:.1?}");
    assert!(elapsed > Duration::from_millis(1_900), "too fast: 896 KiB in {elapsed:?}");
    assert!(elapsed < Duration::from_secs(8), "too slow: 896 KiB in {elapsed:?}");
    assert!(slowest < Duration::from_millis(500), "somebody else waited for {slowest:?}");
    let (Some(before), Some(after)) = (before, server.usage()) else {
        return skipped("the CPU needs /proc");
    };
    let cpu = after.cpu - before.cpu;
    eprintln!("seen: {cpu:.1?} of CPU, {} wake-ups", after.wakeups - before.wakeups);
    assert!(cpu < elapsed / 4, "it spins while the client has to wait: {cpu:?} of CPU");
}

/// The idle timeout is shorter than the wait for the next second. Whoever is held back would speak if it
/// were let, so it stays, and has every byte back.
#[test]
#[ignore = "exercise 6.5: cargo test -p stage6-timers --test exercises -- --ignored e6_5"]
fn e6_5_a_client_that_is_held_back_is_not_taken_for_silent() {
    let server = Server::start_with(EXE, &["--idle-timeout", "500ms"]);
    let bytes = random_bytes(640 * 1024);
    let start = Instant::now();
    let mut back = Vec::new();
    let end = std::thread::scope(|scope| {
        let bytes = &bytes;
        let mut reader = server.connect().stream;
        let mut writer = reader.try_clone().expect("clone");
        // If the server has closed, the reader finds out.
        scope
            .spawn(move || writer.write_all(bytes).and_then(|()| writer.shutdown(Shutdown::Write)));
        reader.read_to_end(&mut back)
    });
    let (elapsed, n) = (start.elapsed(), back.len() / 1024);
    eprintln!(
        "seen: {n} of 640 KiB came back within {elapsed:.1?}, with an idle timeout of 500 ms"
    );
    assert!(end.is_ok() && back == bytes, "taken for silent while it had to wait: {end:?}");
    assert!(elapsed > Duration::from_millis(900), "too fast: 640 KiB in {elapsed:?}");
}

/// Each pause is random between the first and three times the one before it.
#[test]
#[ignore = "exercise 7.2: cargo test -p stage6-timers --test exercises -- --ignored e7_2"]
fn e7_2_a_pause_is_up_to_three_times_as_long_as_the_last() {
    let (mut all, mut shorter, mut longest) = (0, 0, Duration::ZERO);
    for seed in 0..100 {
        let mut backoff = Backoff::new(seed);
        let mut last = backoff.next_pause();
        let first = Backoff::FIRST..=3 * Backoff::FIRST;
        assert!(first.contains(&last), "the first pause is {last:?}, not within {first:?}");
        for _ in 0..50 {
            let pause = backoff.next_pause();
            let range = Backoff::FIRST..=Backoff::LONGEST.min(3 * last);
            assert!(range.contains(&pause), "after a pause of {last:?}: {pause:?}");
            (all, shorter) = (all + 1, shorter + u32::from(pause < last));
            longest = longest.max(pause);
            last = pause;
        }
    }
    eprintln!(
        "seen: {shorter} of {all} pauses are shorter than the one before; at most {longest:?}"
    );
    assert!(shorter > all / 5, "pauses are never shorter than the one before, or hardly ever");
    assert!(longest > Backoff::LONGEST * 9 / 10, "the longest pause is never reached: {longest:?}");
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

/// A kernel that has taken our line and given back the ack, with something behind it, in one event.
fn after_the_ack(room: usize, now: Instant, deadline: Instant) -> (Kernel, Handshake<Kernel>) {
    let kernel = Kernel::default();
    kernel.room.set(HELLO.len() + room);
    kernel.inbox.borrow_mut().extend(HELLO);
    kernel.inbox.borrow_mut().extend(b"early");
    let mut handshake = Handshake::new(kernel.clone(), deadline);
    handshake.handle(BOTH, now, |state| eprintln!("seen: {state}"));
    (kernel, handshake)
}

/// Our line, its ack, and then a confirmation, of which the kernel takes as much as it likes.
#[test]
#[ignore = "exercise 7.3: cargo test -p stage6-timers --test exercises -- --ignored e7_3"]
fn e7_3_the_ack_is_confirmed() {
    let confirmed = [HELLO, b"agreed\n"].concat();
    let now = Instant::now();
    let deadline = now + Duration::from_secs(1);
    for room in 0..=b"agreed\n".len() {
        let (kernel, mut handshake) = after_the_ack(room, now, deadline);
        for _ in room..b"agreed\n".len() {
            assert!(!handshake.is_over(), "connected before all of it was sent, with {room} bytes");
            kernel.room.set(1);
            handshake.handle(WRITABLE, now, |_| {});
        }
        assert_eq!(*kernel.sent.borrow(), confirmed, "no confirmation, or something else was sent");
        assert!(handshake.is_over(), "all is sent, and it waits");
        let (_, early) = handshake.into_outcome().expect("it is connected");
        assert_eq!(early, b"early", "what came behind the ack was not handed on");
    }
    let (_, mut handshake) = after_the_ack(3, now, deadline);
    handshake.handle(Said::default(), deadline, |_| {});
    assert!(handshake.is_over(), "it still waits after the deadline");
    assert!(handshake.into_outcome().is_err(), "connected after the deadline");
}

//! What is still to be built. Each test is red until you have built it: see the exercises in the book.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::testkit::client::{Client, random_bytes, stream_through};
use common::testkit::server::Server;
use common::testkit::{eventually, skipped};

const EXE: &str = env!("CARGO_BIN_EXE_stage4-epoll");

/// `EPOLLET` in the event mask of epoll_ctl(2).
const EDGE_TRIGGERED: u32 = 1 << 31;

/// Level-triggered, a client may be left with bytes unread: the kernel names it again.
#[test]
#[ignore = "exercise 4.2: cargo test -p stage4-epoll --test exercises -- --ignored e4_2"]
fn e4_2_level_triggered_a_flood_takes_turns_with_the_others() {
    let server = Server::start(EXE);
    let mut client = server.connect();
    client.round_trip(b"hello");
    assert_eq!(edges(), 0, "a client is still watched with an edge trigger");
    takes_turns(&server);
    every_byte_comes_back(&server);
    costs_nothing_while_all_are_silent(&server, &client);
    assert_eq!(edges(), 0, "a client is still watched with an edge trigger");
}

/// Edge-triggered, a client that is left with bytes unread has to be watched anew.
#[test]
#[ignore = "exercise 4.3: cargo test -p stage4-epoll --test exercises -- --ignored e4_3"]
fn e4_3_edge_triggered_a_flood_takes_turns_with_the_others() {
    let server = Server::start(EXE);
    let mut client = server.connect();
    client.round_trip(b"hello");
    assert_eq!(edges(), 1, "the client is not watched with an edge trigger any more");
    takes_turns(&server);
    every_byte_comes_back(&server);
    costs_nothing_while_all_are_silent(&server, &client);
    // Again, after turns that were cut short.
    client.round_trip(&random_bytes(256 * 1024));
    assert_eq!(edges(), 1, "the client is not watched with an edge trigger any more");
}

/// How many clients are watched with an edge trigger, while one client is connected.
#[track_caller]
fn edges() -> usize {
    let mut masks = Vec::new();
    eventually("the listener and one client are watched", || {
        masks = event_masks();
        masks.len() == 2
    });
    eprintln!("seen: the kernel watches with the masks {masks:x?}");
    masks.iter().filter(|&mask| mask & EDGE_TRIGGERED != 0).count()
}

/// The event masks of everything that our server's epoll instance watches: proc_pid_fdinfo(5).
#[track_caller]
fn event_masks() -> Vec<u32> {
    let children = fs::read_to_string("/proc/thread-self/children").expect("needs /proc");
    let pid =
        children.split_whitespace().next_back().expect("the server is a child of this thread");
    let mut masks = Vec::new();
    for info in fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("needs /proc").flatten() {
        let info = fs::read_to_string(info.path()).unwrap_or_default();
        for line in info.lines().filter(|line| line.starts_with("tfd:")) {
            let mask =
                line.split_once("events:").and_then(|(_, rest)| rest.split_whitespace().next());
            masks.extend(mask.and_then(|mask| u32::from_str_radix(mask, 16).ok()));
        }
    }
    masks
}

/// While one client floods, others get a byte back before the flood gets much.
///
/// One thread plays both clients, so nothing depends on who gets a CPU: between the question and the
/// answer a fair server can send the flood no more than what was on its way, and that is bounded. An
/// unfair one goes on as long as we keep it busy.
#[track_caller]
fn takes_turns(server: &Server) {
    /// With fair turns it is what was on its way, and one write more: 2,304 KiB.
    const MUCH: usize = FloodInHand::ON_ITS_WAY / 2 * 3;
    /// If the flood does not move either, it is no use to keep it busy: then the polite client only waits.
    const STUCK: Duration = Duration::from_secs(1);
    let (mut polite, mut flood) = (server.connect(), FloodInHand::start(server));
    polite.round_trip(b"hello");
    let start = Instant::now();
    let mut most = 0;
    while most < MUCH && start.elapsed() < Duration::from_secs(5) {
        polite.send(b"?");
        let (mut back, mut moved) = (0, Instant::now());
        while polite.has_heard_nothing() && back < MUCH && moved.elapsed() < STUCK {
            let n = flood.pump();
            if n > 0 {
                (back, moved) = (back + n, Instant::now());
            }
        }
        most = most.max(back);
        if back < MUCH {
            polite.expect(b"?");
        }
    }
    eprintln!("seen: while one byte went to and fro, the flood got up to {} KiB", most / 1024);
    assert!(most < MUCH, "a client that never stops sending keeps the turn");
}

/// A client that always has more, but moves only when told to.
struct FloodInHand {
    stream: TcpStream,
    buf: Vec<u8>,
    sent: usize,
    back: usize,
}

impl FloodInHand {
    /// How much it has sent and not got back, at most: less than the kernel's buffers hold, or stage 4
    /// would cut it off.
    const ON_ITS_WAY: usize = 2 * 1024 * 1024;

    fn start(server: &Server) -> Self {
        let stream = server.connect().stream;
        stream.set_nonblocking(true).expect("nonblocking");
        Self { stream, buf: vec![b'f'; 256 * 1024], sent: 0, back: 0 }
    }

    /// One write(2) and one read(2). Returns how many bytes came back.
    #[track_caller]
    fn pump(&mut self) -> usize {
        let most = self.buf.len().min(self.back + Self::ON_ITS_WAY - self.sent);
        self.sent += moved(self.stream.write(&self.buf[..most]));
        let back = moved(self.stream.read(&mut self.buf));
        self.back += back;
        back
    }
}

#[track_caller]
fn moved(result: io::Result<usize>) -> usize {
    match result {
        Ok(n) => n,
        Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
        Err(e) => panic!("the flood was cut off: {e}"),
    }
}

#[track_caller]
fn every_byte_comes_back(server: &Server) {
    for size in [1, 4096, 4097, 65_536, 65_537, 1024 * 1024] {
        let bytes = random_bytes(size);
        let back = stream_through(&mut server.connect(), &bytes);
        assert!(back == bytes, "{} of {size} bytes came back", back.len());
    }
}

/// A level trigger that is not silenced, or a loop that asks: both cost CPU, and no client notices.
#[track_caller]
fn costs_nothing_while_all_are_silent(server: &Server, silent: &Client) {
    const SECOND: Duration = Duration::from_secs(1);
    let Some(before) = server.usage() else { return skipped("the CPU needs /proc") };
    assert!(silent.hears_nothing_for(SECOND), "a client that says nothing gets something");
    let after = server.usage().expect("/proc was there");
    let (wakeups, cpu) = (after.wakeups - before.wakeups, after.cpu - before.cpu);
    eprintln!("seen: {wakeups} wake-ups and {cpu:.1?} of CPU in a quiet second");
    // A few are for the clients of a moment ago, whose end may still be on its way.
    assert!(
        wakeups < 20 && cpu < SECOND / 20,
        "it does not sleep: {wakeups} wake-ups and {cpu:.1?} of CPU in a second in which no client speaks"
    );
}

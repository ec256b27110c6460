//! Every byte comes back.

use std::time::{Duration, Instant};

use crate::testkit::client::{Client, random_bytes, stream_through};
use crate::testkit::server::{Server, Signal};
use crate::testkit::{eventually, skipped};

const MIB: usize = 1024 * 1024;

/// 64 MiB, each piece read back before the next is sent: no buffer fills up.
pub fn echoes_64_mib_sent_in_pieces(exe: &str) {
    // Before the client comes: it takes a second, and the client is not to be taken for a silent one.
    let bytes = random_bytes(64 * MIB);
    let server = Server::start(exe);
    let mut client = server.connect();
    for piece in bytes.chunks(64 * 1024) {
        client.round_trip(piece);
    }
}

/// 64 MiB at once, from a client that reads while it writes. The slower one makes the other wait.
pub fn echoes_64_mib_sent_in_one_stream(exe: &str) {
    let server = Server::start(exe);
    let bytes = random_bytes(64 * MIB);
    assert!(stream_through(&mut server.connect(), &bytes) == bytes);
}

/// Bytes that come one by one go back one by one, and none waits for the next.
pub fn echoes_single_bytes(exe: &str) {
    let server = Server::start(exe);
    let mut client = server.connect();
    for byte in random_bytes(2_000) {
        client.round_trip(&[byte]);
    }
}

/// The client sends, says that it will send no more (FIN), and only then begins to read.
pub fn half_close_gets_every_byte_back(exe: &str) {
    let server = Server::start(exe);
    for size in [1, 2, 1023, 1024, 4095, 4096, 4097, 8192, 65_535, 65_536] {
        let mut client = server.connect();
        let bytes = random_bytes(size);
        client.send(&bytes);
        client.half_close();
        assert!(client.read_to_end() == bytes, "after {size} bytes");
    }
}

/// The same with more than a read or a kernel buffer holds.
pub fn half_close_after_8_mib_gets_every_byte_back(exe: &str) {
    let server = Server::start(exe);
    for size in [65_537, 65_538, 131_074, MIB, 8 * MIB] {
        let bytes = random_bytes(size);
        let mut client = server.connect();
        assert!(stream_through(&mut client, &bytes) == bytes, "after {size} bytes");
    }
}

/// The client connects, sends and half-closes while the server cannot look. When it does, bytes and FIN
/// are there together: one event, and no other will come.
pub fn bytes_that_come_together_with_the_fin_come_back(exe: &str) {
    let server = Server::start(exe);
    for size in [1, 4096, 65_536] {
        if !server.signal(Signal::Stop) {
            return skipped("needs SIGSTOP");
        }
        let mut client = server.connect();
        let bytes = random_bytes(size);
        client.send(&bytes);
        client.half_close();
        server.signal(Signal::Continue);
        assert!(client.read_to_end() == bytes, "after {size} bytes");
    }
}

/// `telnet` sends an urgent byte on Ctrl-C. A read stops short in front of it, whatever is behind; apart
/// from that it is a byte like any other.
pub fn an_urgent_byte_and_those_behind_it_come_back(exe: &str) {
    let server = Server::start(exe);
    for round in 0..40 {
        let mut client = server.connect();
        client.round_trip(b"hello");
        // All three at once, or one after the other.
        let stopped = round % 2 == 0 && server.signal(Signal::Stop);
        client.send(b"before");
        client.send_urgent(b'!');
        client.send(b"behind");
        if stopped {
            server.signal(Signal::Continue);
        }
        client.expect(b"before!behind");
        client.round_trip(b"and on it goes");
    }
}

/// A client that connects and leaves without a word.
pub fn a_client_that_says_nothing_gets_nothing(exe: &str) {
    let server = Server::start(exe);
    let mut client = server.connect();
    client.half_close();
    assert_eq!(client.read_to_end(), b"");
    server.assert_still_serving();
}

/// Without `TCP_NODELAY` a piece of an answer waits until the client has acknowledged the one before,
/// which it delays: 40 ms. Seen with a message that takes two reads of 4 KiB, and with one that is sent
/// in a hundred pieces, so that it takes several reads of any size.
pub fn answers_without_delay(exe: &str) {
    let server = Server::start(exe);
    for (piece, pieces) in [(5_000, 1), (100, 100)] {
        let mut client = server.connect();
        let piece = random_bytes(piece);
        // A machine that is busy may delay most of them once, but not three times.
        let in_time =
            (0..3).any(|_| median_round_trip(&mut client, &piece, pieces).as_millis() < 38);
        assert!(in_time, "half of the messages took 38 ms or more, three times");
    }
}

/// The median, since a busy machine delays some, but not half of them.
fn median_round_trip(client: &mut Client, piece: &[u8], pieces: usize) -> Duration {
    let mut times: Vec<_> = (0..31)
        .map(|_| {
            let start = Instant::now();
            (0..pieces).for_each(|_| client.send(piece));
            client.expect(&piece.repeat(pieces));
            start.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// Ctrl-Z and `fg`: `epoll_wait(2)` fails with `EINTR`, and no client that is connected notices. The same
/// for a terminal that changes its size.
pub fn survives_ctrl_z_and_fg(exe: &str) {
    let server = Server::start(exe);
    let mut client = server.connect();
    client.round_trip(b"before");
    for _ in 0..20 {
        server.wait_until_idle();
        if !server.signal(Signal::Stop) {
            return skipped("needs SIGSTOP");
        }
        client.send(b"meanwhile");
        server.signal(Signal::Continue);
        client.expect(b"meanwhile");
        server.signal(Signal::WindowChange);
        client.round_trip(b"after");
    }
    drop(client);
    server.assert_still_serving();
}

impl Server {
    /// Waits until it sleeps, unless it is one that never does.
    fn wait_until_idle(&self) {
        let Some(before) = self.usage() else { return };
        eventually("the server sleeps, or burns CPU for nothing", || {
            self.state() == Some('S')
                || self.usage().is_some_and(|now| (now.cpu - before.cpu).as_millis() >= 5)
        });
    }
}

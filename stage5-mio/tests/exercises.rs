//! What is still to be built. Each test is red until somebody has built it: see the exercises in the book.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use common::testkit::client::{Client, random_bytes, stream_through};
use common::testkit::server::Server;
use common::testkit::{eventually, skipped};

const EXE: &str = env!("CARGO_BIN_EXE_stage5-mio");

/// How long we wait for what should come at once.
const SOON: Duration = Duration::from_secs(3);

/// Every byte value, one by one and from a client that reads late: letters of ASCII come back in upper case, the rest as it is.
#[test]
#[ignore = "exercise 5.7: cargo test -p stage5-mio --test exercises -- --ignored e5_7"]
fn e5_7_letters_come_back_in_upper_case() {
    let server = Server::start(EXE);
    let mut client = server.connect();
    for byte in 0..=255_u8 {
        client.send(&[byte]);
        eventually("a byte comes back", || !client.has_heard_nothing());
        let mut back = [0];
        client.stream.read_exact(&mut back).expect("it has come");
        let expected = byte.to_ascii_uppercase();
        assert_eq!(back, [expected], "{byte} came back as {back:?}, expected {expected}");
    }
    // The client reads only when the server cannot send any more: by then some bytes wait in its outbox.
    let mut deaf = server.connect();
    let bytes = random_bytes(1024 * 1024);
    let sent = deaf.fill(&bytes, || say(&mut client, b"and I?")).expect("cannot fill");
    deaf.half_close();
    let back = deaf.read_to_end();
    let expected: Vec<u8> = bytes.to_ascii_uppercase().into_iter().cycle().take(sent).collect();
    assert!(
        back == expected,
        "{sent} bytes were sent before any was read, and other ones are back"
    );
}

/// A byte takes the work of a byte, and a client that has been served leaves no memory behind.
#[test]
#[ignore = "exercise 5.7: cargo test -p stage5-mio --test exercises -- --ignored e5_7"]
fn e5_7_and_it_costs_next_to_nothing() {
    const CLIENTS: u64 = 100;
    const MESSAGES: usize = 300;
    let server = Server::start(EXE);
    if server.usage().is_none() {
        return skipped("CPU and memory need /proc");
    }
    let usage = || server.usage().expect("/proc was there");
    let cpu = |message: &[u8]| {
        let mut client = server.connect();
        let before = usage().cpu;
        (0..MESSAGES).for_each(|_| say(&mut client, message));
        usage().cpu - before
    };
    // Both take a wake-up and two calls. Only the bytes make a difference.
    let (small, large) = (cpu(b"x"), cpu(&[b'x'; 64 * 1024]));
    eprintln!("seen: {small:.1?} of CPU for {MESSAGES} messages of 1 byte, {large:.1?} of 64 KiB");
    assert!(small * 2 < large, "one byte takes as much CPU as 64 KiB: {small:?}, {large:?}");
    let before = usage().rss;
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| say(client, &[b'x'; 16 * 1024]));
    let each = usage().rss.saturating_sub(before) / CLIENTS;
    assert!(each <= 4096, "{each} bytes of memory for each client that was served");
}

#[track_caller]
fn say(client: &mut Client, bytes: &[u8]) {
    client.send(bytes);
    client.expect(&bytes.to_ascii_uppercase());
}

/// A client that never reads: its bytes are kept, up to a mebibyte, and then it is cut off.
#[test]
#[ignore = "exercise 5.8: cargo test -p stage5-mio --test exercises -- --ignored e5_8"]
fn e5_8_a_client_that_owes_us_its_attention_for_a_mebibyte_is_cut_off() {
    const MIB: usize = 1024 * 1024;
    const READ_SIZE: usize = 64 * 1024 + 1;
    let server = Server::start(EXE);
    let mut other = server.connect();
    let mut deaf = server.connect();
    let bytes = random_bytes(MIB);
    let start = Instant::now();
    let filled = deaf.fill(&bytes, || {
        other.round_trip(b"and I?");
        assert!(
            start.elapsed() < SOON * 3,
            "it takes bytes from a client that never reads, for ever"
        );
    });
    assert!(filled.is_err(), "it is kept, and not read from: that is the policy we had");
    server.wait_for_log("it does not read, and ");
    let log = server.log();
    let owed = log
        .split_once("it does not read, and ")
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<usize>().ok());
    let owed = owed.unwrap_or_else(|| panic!("the log does not say how many bytes: {log}"));
    eprintln!("seen: cut off with {owed} bytes owed");
    assert!((MIB - READ_SIZE..=MIB).contains(&owed), "cut off with {owed} bytes owed");
    other.round_trip(b"I am served");
    // Whoever reads late gets every byte, also those that were owed when its FIN came. Or is cut off.
    for quarters in 1..128 {
        let mut late = server.connect();
        let bytes = random_bytes(quarters * MIB / 4);
        let sent = late.stream.write_all(&bytes);
        if sent.and_then(|()| late.stream.shutdown(Shutdown::Write)).is_err() {
            break; // cut off while it wrote: the policy
        }
        for _ in 0..30 {
            other.round_trip(b"and I?"); // the server gets turns, to read all that it wants to
        }
        let mut back = Vec::new();
        let _ = late.stream.read_to_end(&mut back);
        if back != bytes {
            soon(
                "bytes are missing or moved, and the log does not say that it was cut off",
                || server.log().matches("it does not read, and ").count() > 1,
            );
            break;
        }
    }
}

/// Four clients of one address are in. The fifth is turned away, until one of the four leaves.
#[test]
#[ignore = "exercise 5.9: cargo test -p stage5-mio --test exercises -- --ignored e5_9"]
fn e5_9_an_address_may_hold_four_connections() {
    // Both kinds of loopback address reach a socket that listens on all addresses of IPv6.
    let both = std::net::TcpListener::bind("[::1]:0").is_ok();
    let server = Server::start_on(EXE, if both { "[::]:0" } else { "0.0.0.0:0" });
    let port = server.addr().port();
    let connect = || Client::new(TcpStream::connect(("127.0.0.1", port)).expect("cannot connect"));
    let mut inside: Vec<_> = (0..4).map(|_| connect()).collect();
    inside.iter_mut().for_each(|client| client.round_trip(b"I am in"));
    for _ in 0..20 {
        assert!(is_turned_away(connect()), "a fifth client of one address is served");
    }
    inside.iter_mut().for_each(|client| client.round_trip(b"I am still in"));
    if both {
        let other = TcpStream::connect(("::1", port)).expect("cannot connect");
        assert!(!is_turned_away(Client::new(other)), "a client of another address is turned away");
    } else {
        skipped("a second address needs IPv6");
    }
    for _ in 0..10 {
        inside.remove(0).reset();
        soon("there is room again when one of the four has left", || {
            let client = connect();
            let turned_away =
                is_turned_away(Client::new(client.stream.try_clone().expect("clone")));
            if !turned_away {
                inside.push(client);
            }
            !turned_away
        });
    }
}

/// Waits for what should come at once. `check` kills a test after 20 s, and then it can say nothing.
#[track_caller]
fn soon(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < 3 * SOON, "still not true after {:?}: {what}", 3 * SOON);
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn is_turned_away(mut client: Client) -> bool {
    client.stream.set_read_timeout(Some(SOON)).expect("timeout");
    let sent = std::io::Write::write_all(&mut client.stream, b"?");
    sent.is_err() || client.stream.read_exact(&mut [0]).is_err()
}

/// A length in four bytes, the most significant first, and then that many bytes.
fn frame(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// Frames come back when they are complete and not before; one that is too long is the end.
#[test]
#[ignore = "exercise 5.10: cargo test -p stage5-mio --test exercises -- --ignored e5_10"]
fn e5_10_frames_come_back_whole() {
    let server = Server::start(EXE);
    let (mut client, mut other) = (server.connect(), server.connect());
    client.stream.set_read_timeout(Some(SOON)).expect("timeout");
    let hello = frame(b"hello");
    for cut in 1..hello.len() {
        client.send(&hello[..cut]);
        other.round_trip(&frame(b"the server has had a turn"));
        other.round_trip(&frame(b"and another"));
        assert!(client.has_heard_nothing(), "half a frame came back, cut after {cut} bytes");
        client.send(&hello[cut..]);
        client.expect(&hello);
    }
    client.round_trip(&[frame(b""), frame(b"two"), frame(b"three")].concat());
    let largest = frame(&random_bytes(16 * 1024));
    let many = largest.repeat(256);
    let back = stream_through(&mut server.connect(), &[&many[..], &hello[..3]].concat());
    assert!(back == many, "256 frames of 16 KiB: {} of {} bytes came back", back.len(), many.len());
    other.send(&(16 * 1024 + 1_u32).to_be_bytes());
    other.stream.set_read_timeout(Some(SOON)).expect("timeout");
    let end = other.stream.read(&mut [0]);
    assert!(is_end(&end), "a frame that is too long is not the end: {end:?}");
    client.round_trip(&hello);
}

fn is_end(read: &std::io::Result<usize>) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    match read {
        Ok(n) => *n == 0,
        Err(e) => !matches!(e.kind(), WouldBlock | TimedOut),
    }
}

/// Silent for a second: closed. Talking: not. Nobody here, or one who is silent: next to no wake-ups.
#[test]
#[ignore = "exercise 6.2: cargo test -p stage5-mio --test exercises -- --ignored e6_2"]
fn e6_2_a_silent_client_is_closed_after_a_second_and_nothing_spins() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let server = Server::start(EXE);
    let mut talking = server.connect();
    let mut silent = server.connect();
    talking.round_trip(b"hello");
    silent.round_trip(b"my last word");
    let start = Instant::now();
    while silent.has_heard_nothing() && start.elapsed() < 4 * TIMEOUT {
        talking.round_trip(b"blah");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let elapsed = start.elapsed();
    eprintln!("seen: the silent client was closed after {elapsed:.1?}");
    assert!(!silent.has_heard_nothing(), "the silent client is still there");
    assert!(elapsed >= TIMEOUT, "closed too soon, after {elapsed:?}");
    assert!(elapsed < 2 * TIMEOUT, "closed too late, after {elapsed:?}");
    assert_eq!(silent.read_to_end(), b"", "a clean end");
    talking.round_trip(b"I am still here");
    // Now it says nothing any more. The server has one second to wait for and then nothing at all.
    let before = server.usage();
    talking.stream.set_read_timeout(Some(3 * TIMEOUT)).expect("timeout");
    assert_eq!(talking.read_to_end(), b"", "a clean end");
    talking.stream.set_read_timeout(Some(TIMEOUT)).expect("timeout");
    let (Some(before), Some(after)) = (before, server.usage()) else {
        return skipped("wake-ups need /proc");
    };
    let wakeups = after.wakeups - before.wakeups;
    eprintln!("seen: {wakeups} wake-ups while one client was silent until its end");
    assert!(wakeups <= 50, "{wakeups} wake-ups while one client was silent");
}

//! Who has to wait for whom.

use std::time::Duration;

use crate::testkit::client::{Client, Flood, allow_descriptors, random_bytes};
use crate::testkit::contract::watching::{Line, totals};
use crate::testkit::server::{Server, Signal, Usage};
use crate::testkit::traced::{NO_STRACE, Traceable};
use crate::testkit::{eventually, skipped};

const MIB: u64 = 1024 * 1024;

/// While the first client is connected the server is not in `accept(2)`.
pub fn the_second_client_waits_while_the_first_is_silent(exe: &str) {
    let server = Server::start(exe);
    let mut first = server.connect();
    first.round_trip(b"I was first");
    let mut second = server.connect();
    second.send(b"and I?");
    (0..100).for_each(|_| first.round_trip(b"the server is doing well"));
    if !second.hears_nothing_for(Duration::from_millis(200)) {
        second.expect(b"and I?"); // or it was turned away
        panic!("the second client was served while the first was in");
    }
    drop(first);
    second.expect(b"and I?");
}

/// The first is connected and says nothing; the second does not notice.
pub fn the_second_client_is_served_while_the_first_is_silent(exe: &str) {
    let server = Server::start(exe);
    let mut first = server.connect();
    let mut second = server.connect();
    for _ in 0..100 {
        second.round_trip(b"and I?");
    }
    first.round_trip(b"I am still here");
}

/// It writes, and does not read what comes back. So the server cannot write, and so it does not read,
/// and so it does not accept.
pub fn a_client_that_does_not_read_stalls_all(exe: &str) {
    let server = Server::start(exe);
    let mut deaf = server.connect();
    let mut other = server.connect();
    other.send(b"and I?");
    let bytes = random_bytes(MIB as usize);
    let sent = deaf.fill(&bytes, || server.wait_until_it_sleeps()).expect("cannot fill");
    assert!(other.has_heard_nothing());
    read_back(&mut deaf, &bytes, sent);
    assert!(other.has_heard_nothing());
    drop(deaf);
    other.expect(b"and I?");
}

/// The thread of a client that does not read waits in `write(2)`; the others go on.
pub fn a_client_that_does_not_read_stalls_only_its_thread(exe: &str) {
    let server = Server::start(exe);
    let mut other = server.connect();
    let mut deaf = server.connect();
    let bytes = random_bytes(MIB as usize);
    let sent = deaf.fill(&bytes, || other.round_trip(b"and I?")).expect("cannot fill");
    other.round_trip(b"I am served");
    read_back(&mut deaf, &bytes, sent);
    server.assert_still_serving();
}

/// The server has nowhere to keep its bytes. So the client is cut off, which it sees, and which the
/// log says: no byte is ever left out of a stream that goes on.
pub fn a_client_that_does_not_read_is_cut_off_and_the_log_says_so(exe: &str) {
    /// After each of these we look at what has become of it.
    const A_PIECE: usize = 32 << 20;
    let server = Server::start(exe);
    let mut other = server.connect();
    other.round_trip(b"hello");
    let before = server.usage();
    let mut deaf = server.connect();
    let bytes = random_bytes(MIB as usize);
    let mut sent = 0;
    eventually("it has been cut off", || {
        let filled = deaf.fill_up_to(A_PIECE, &bytes, || other.round_trip(b"and I?"));
        sent += filled.as_ref().unwrap_or(&0);
        assert_has_room(&server, before, sent);
        filled.is_err()
    });
    server.wait_for_log("it does not read");
    other.round_trip(b"I am served");
    server.assert_still_serving();
}

/// A server that goes on taking bytes although its client reads none has to keep them, or to lose some.
#[track_caller]
fn assert_has_room(server: &Server, before: Option<Usage>, sent: usize) {
    /// More than the kernel's queues hold, in both directions together.
    const QUEUES: usize = 256 << 20;
    let rss = |usage: Option<Usage>| usage.map_or(0, |usage| usage.rss);
    let grown = rss(server.usage()).saturating_sub(rss(before));
    assert!(grown < 32 * MIB, "it keeps {grown} bytes for a client that does not read");
    assert!(
        sent < QUEUES,
        "of {sent} bytes we have read none, and the server keeps {grown}: some are lost"
    );
}

/// It is kept, at the price of one outbox, and finds all its bytes when it does read.
pub fn a_client_that_does_not_read_is_kept_and_bounded(exe: &str) {
    let server = Server::start(exe);
    let mut other = server.connect();
    other.round_trip(b"hello");
    let before = server.usage();
    let mut deaf = server.connect();
    let bytes = random_bytes(MIB as usize);
    let sent = deaf.fill(&bytes, || other.round_trip(b"and I?")).expect("cannot fill");
    let after = server.usage();
    other.round_trip(b"I am served");
    // First the bytes: a server that loses some needs no memory for them.
    read_back(&mut deaf, &bytes, sent);
    if let (Some(before), Some(after)) = (before, after) {
        let grown = after.rss.saturating_sub(before.rss);
        assert!(grown <= MIB, "{grown} bytes for one client that does not read");
    } else {
        skipped("the memory needs /proc");
    }
    deaf.half_close();
    assert_eq!(deaf.read_to_end(), b"");
    server.assert_still_serving();
}

/// A client that reads little by little gets 32 MiB back, byte for byte.
pub fn a_slow_reader_gets_every_byte_back(exe: &str) {
    let server = Server::start(exe);
    let mut other = server.connect();
    let bytes = random_bytes(32 * MIB as usize);
    let mut slow = server.connect();
    let mut writer = Client::new(slow.stream.try_clone().expect("clone"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.send(&bytes);
            writer.half_close();
        });
        for piece in bytes.chunks(40_000) {
            slow.expect(piece);
            other.round_trip(b"meanwhile");
        }
    });
    assert_eq!(slow.read_to_end(), b"");
}

/// How many reads of one client a fair server makes before it goes back to ask who else is there. Each is of
/// 64 KiB at most.
const READS_PER_TURN: u64 = 8;

/// A client that has more is served on, and meanwhile no other is. Seen as: a mebibyte waits for the server,
/// and it takes all of it without going back to ask who else is there.
pub fn a_client_that_never_stops_sending_keeps_the_turn(exe: &str) {
    let server = Server::start_with(exe, &["--stats"]);
    let mut flood = server.connect();
    flood.round_trip(b"hello");
    let before = told(&server, 5);
    if !server.signal(Signal::Stop) {
        return skipped("needs signals");
    }
    // Not more than the kernel keeps in either direction while the client does not read.
    let bytes = random_bytes(MIB as usize);
    flood.send(&bytes);
    server.signal(Signal::Continue);
    flood.expect(&bytes);
    let (reads, turns) = told(&server, 5 + MIB).since(before);
    assert!(reads > READS_PER_TURN * turns, "{reads} reads in {turns} turns");
    server.assert_still_serving();
}

/// The reverse: however much of a client's input is there, the server goes back after a few reads to ask who
/// else is. Here these are several mebibytes that came while it was stopped.
pub fn a_client_that_has_more_gets_a_bounded_turn(exe: &str) {
    let server = Server::start_with(exe, &["--stats"]);
    let mut client = server.connect();
    // The kernel keeps most for a client who has moved a lot already.
    let (bytes, times) = (random_bytes(MIB as usize), 32);
    let mut writer = Client::new(client.stream.try_clone().expect("clone"));
    std::thread::scope(|scope| {
        scope.spawn(|| (0..times).for_each(|_| writer.send(&bytes)));
        (0..times).for_each(|_| client.expect(&bytes));
    });
    let before = told(&server, times * MIB);
    if !server.signal(Signal::Stop) {
        return skipped("needs signals");
    }
    let sent = client.fill(&bytes, || ()).expect("cannot fill");
    server.signal(Signal::Continue);
    read_back(&mut client, &bytes, sent);
    let (reads, turns) = told(&server, times * MIB + sent as u64).since(before);
    assert!(reads <= READS_PER_TURN * turns, "{reads} reads in {turns} turns");
    server.assert_still_serving();
}

/// 2,000 clients have said something while it was stopped. It does not serve all of them before it looks at
/// the poller again: that would be a long wait for a client that speaks next.
pub fn a_turn_is_bounded_in_clients_too(exe: &str) {
    const CLIENTS: u64 = 2_000;
    /// In one turn.
    const MOST: u64 = 256;
    if !allow_descriptors(CLIENTS + 1_000) {
        return skipped("needs 3,000 descriptors");
    }
    let server = Server::start_with(exe, &["--stats"]);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.round_trip(b"!"));
    let before = told(&server, CLIENTS);
    if !server.signal(Signal::Stop) {
        return skipped("needs signals");
    }
    clients.iter_mut().for_each(|client| client.send(b"!"));
    server.signal(Signal::Continue);
    clients.iter_mut().for_each(|client| client.expect(b"!"));
    let (_, turns) = told(&server, 2 * CLIENTS).since(before);
    assert!(turns >= CLIENTS / MOST, "{turns} turns for {CLIENTS} clients");
    clients.into_iter().for_each(Client::reset);
}

/// 1,000 clients have connected while it was stopped. It takes in so many at a time, and the clients that it
/// has already get their turns in between.
pub fn a_crowd_is_taken_in_by_several_turns(exe: &str) {
    const CLIENTS: u64 = 1_000;
    /// In one turn.
    const MOST: u64 = 128;
    if !allow_descriptors(CLIENTS + 1_000) {
        return skipped("needs 2,000 descriptors");
    }
    let server = Server::start_with(exe, &["--stats"]);
    server.connect().round_trip(b"!");
    let before = told(&server, 1);
    if !server.signal(Signal::Stop) {
        return skipped("needs signals");
    }
    let clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    server.signal(Signal::Continue);
    eventually("all of them are in", || totals(&server).clients == CLIENTS);
    let (_, turns) = totals(&server).since(before);
    assert!(turns >= CLIENTS / MOST, "{turns} turns for {CLIENTS} new clients");
    clients.into_iter().for_each(Client::reset);
    server.assert_still_serving();
}

/// 40 clients connect while each read(2) takes 5 ms. A server that takes in one of them in each pass, and asks all who
/// are in before it takes in the next, has made 820 reads when the last one is served.
pub fn a_crowd_does_not_come_in_one_by_one(exe: &str) {
    const CLIENTS: usize = 40;
    let Some(traced) = Traceable::start(exe, &[], "true") else { return skipped(NO_STRACE) };
    let Some(trace) = traced.trace(&["trace=recvfrom", "inject=recvfrom:delay_enter=5000"]) else {
        return skipped(NO_STRACE);
    };
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| traced.server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(b"!"));
    clients.iter_mut().for_each(|client| client.expect(b"!"));
    let reads = trace.calls();
    eprintln!("{reads} reads until {CLIENTS} clients were served");
    assert!(reads <= 10 * CLIENTS, "{reads} reads until {CLIENTS} clients were served");
    traced.server.assert_still_serving();
}

/// 32 KiB are there at once. A server that reads 4 KiB at a time knows after each read that there may be more, and
/// does not go back to the poller to be told so: that would be eight wake-ups for each message.
pub fn a_message_of_eight_reads_is_one_wake_up(exe: &str) {
    const MESSAGES: u64 = 20;
    let server = Server::start_with(exe, &["--stats"]);
    let mut client = server.connect();
    client.round_trip(b"hello");
    let message = random_bytes(32 * 1024);
    let before = told(&server, 5);
    for _ in 0..MESSAGES {
        if !server.signal(Signal::Stop) {
            return skipped("needs signals");
        }
        client.send(&message);
        server.signal(Signal::Continue);
        client.expect(&message);
    }
    let (_, turns) = told(&server, 5 + MESSAGES * message.len() as u64).since(before);
    // To stop it is a wake-up as well: epoll_wait(2) fails with EINTR.
    assert!(turns <= 4 * MESSAGES, "{turns} wake-ups for {MESSAGES} messages");
}

impl Line {
    /// How many reads there were since then, in how many turns.
    fn since(self, before: Self) -> (u64, u64) {
        let difference = (self.reads - before.reads, self.wake_ups - before.wake_ups);
        eprintln!("{} reads in {} turns", difference.0, difference.1);
        difference
    }
}

/// What the stats come to when so many bytes have gone back.
#[track_caller]
fn told(server: &Server, bytes: u64) -> Line {
    eventually("all has been told", || totals(server).bytes == bytes);
    totals(server)
}

/// One client at a time: so as long as the flood lasts no other is served.
pub fn a_client_that_never_stops_sending_stalls_all(exe: &str) {
    let server = Server::start(exe);
    let flood = Flood::start(server.addr());
    let mut polite = server.connect();
    polite.send(b"and I?");
    flood.wait_for_more(64 * MIB);
    assert!(polite.has_heard_nothing());
    drop(flood);
    polite.expect(b"and I?");
}

/// Everyone else is served while one client sends at full speed, and so is the flood.
pub fn a_client_that_never_stops_sending_keeps_no_other_waiting(exe: &str) {
    let server = Server::start(exe);
    let mut polite = server.connect();
    let flood = Flood::start(server.addr());
    for _ in 0..100 {
        polite.round_trip(b"and I?");
    }
    flood.wait_for_more(MIB);
    server.assert_still_serving();
}

/// Reads back what [`Client::fill`] has sent.
#[track_caller]
fn read_back(client: &mut Client, pattern: &[u8], mut n: usize) {
    while n > 0 {
        let piece = n.min(pattern.len());
        client.expect(&pattern[..piece]);
        n -= piece;
    }
}

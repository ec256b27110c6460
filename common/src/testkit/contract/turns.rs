//! Who has to wait for whom.

use crate::testkit::client::{Client, Flood, random_bytes};
use crate::testkit::contract::watching::totals;
use crate::testkit::server::{Server, Signal};
use crate::testkit::{eventually, skipped};

const MIB: u64 = 1024 * 1024;

/// While the first client is connected nobody is in `accept(2)`.
pub fn the_second_client_waits_while_the_first_is_silent(exe: &str) {
    let server = Server::start(exe);
    let mut first = server.connect();
    first.round_trip(b"I was first");
    let mut second = server.connect();
    second.send(b"and I?");
    for _ in 0..100 {
        first.round_trip(b"the server is doing well");
        assert!(second.has_heard_nothing());
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
    let server = Server::start(exe);
    let mut other = server.connect();
    let mut deaf = server.connect();
    let bytes = random_bytes(MIB as usize);
    eventually("it has been cut off", || {
        let end = deaf.fill(&bytes, || other.round_trip(b"and I?"));
        end.is_err()
    });
    server.wait_for_log("it does not read");
    other.round_trip(b"I am served");
    server.assert_still_serving();
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
    if let (Some(before), Some(after)) = (before, server.usage()) {
        let grown = after.rss.saturating_sub(before.rss);
        assert!(grown <= MIB, "{grown} bytes for one client that does not read");
    } else {
        skipped("the memory needs /proc");
    }
    other.round_trip(b"I am served");
    read_back(&mut deaf, &bytes, sent);
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

/// Whoever has more is served on, and meanwhile nobody else is. Seen as: a mebibyte waits for the server,
/// and it takes all of it without going back to ask who else is there.
pub fn a_client_that_never_stops_sending_keeps_the_turn(exe: &str) {
    /// One for the mebibyte, and a few since the kernel moves it in pieces. With fair turns of 64 KiB it
    /// would be 16, with turns of one read 256.
    const FEW: u64 = 8;
    let Some(turns) = turns_for_a_mebibyte(exe) else { return skipped("needs signals") };
    assert!(turns <= FEW, "{turns} turns for a mebibyte");
}

/// The reverse: whoever has more is served on after the others. A mebibyte waits for the server, which goes
/// back again and again to ask who else is there.
pub fn a_client_that_has_more_gets_a_bounded_turn(exe: &str) {
    /// 64 KiB are the longest turn.
    const MANY: u64 = 16;
    let Some(turns) = turns_for_a_mebibyte(exe) else { return skipped("needs signals") };
    assert!(turns >= MANY, "{turns} turns for a mebibyte");
}

/// How often the server wakes up for a mebibyte that has come while it was stopped.
fn turns_for_a_mebibyte(exe: &str) -> Option<u64> {
    let server = Server::start_with(exe, &["--stats"]);
    let mut flood = server.connect();
    flood.round_trip(b"hello");
    eventually("that has been told", || totals(&server).bytes == 5);
    let before = totals(&server).wake_ups;
    if !server.signal(Signal::Stop) {
        return None;
    }
    // Not more than the kernel keeps in either direction while nobody reads.
    let bytes = random_bytes(MIB as usize);
    flood.send(&bytes);
    server.signal(Signal::Continue);
    flood.expect(&bytes);
    eventually("all has been told", || totals(&server).bytes == 5 + MIB);
    let turns = totals(&server).wake_ups - before;
    server.assert_still_serving();
    Some(turns)
}

/// One client at a time: so as long as the flood lasts nobody else is served.
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
pub fn a_client_that_never_stops_sending_keeps_nobody_waiting(exe: &str) {
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

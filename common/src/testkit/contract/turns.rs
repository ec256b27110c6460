//! Who has to wait for whom.

use crate::testkit::client::{Client, Flood, random_bytes};
use crate::testkit::server::Server;
use crate::testkit::skipped;

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
    crate::testkit::eventually("it has been cut off", || {
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

/// A server that serves one client until it has nothing more is kept busy by one that always has more.
/// Seen as: while somebody else waits for one byte, the flood gets a hundred megabytes back. (Beside a
/// server that is fair it was never seen to get more than thirty, with six programs on two cores.)
pub fn a_client_that_never_stops_sending_keeps_the_turn(exe: &str) {
    const A_LONG_TURN: u64 = 100 * MIB;
    let server = Server::start(exe);
    let mut polite = server.connect();
    polite.round_trip(b"hello");
    let flood = Flood::start(server.addr());
    // Now and then the flood's own threads do not get a CPU, and it loses the turn. So look again.
    crate::testkit::eventually("somebody waits while the flood gets 100 MiB", || {
        let before = flood.bytes_back();
        polite.round_trip(b"?");
        flood.bytes_back() - before >= A_LONG_TURN
    });
    drop(flood);
    server.assert_still_serving();
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

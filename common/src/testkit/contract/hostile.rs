//! What one client does cannot hurt another.

use std::io::Write;

use crate::testkit::server::{Server, Signal};
use crate::testkit::skipped;

/// How many lines a flood of errors may leave in the log. Each could be ten thousand clients.
const FEW_LINES: usize = 20;

/// A reset in the middle of a stream, with bytes on their way in both directions.
pub fn a_reset_in_mid_stream_hurts_no_other_client(exe: &str) {
    let server = Server::start(exe);
    for _ in 0..20 {
        let mut client = server.connect();
        client.round_trip(b"all is well");
        client.send(&[7; 60_000]);
        client.reset();
    }
    server.assert_still_serving();
}

/// 500 resets in a row, and they do not fill the log either.
pub fn resets_by_the_hundred_hurt_no_other_client_and_do_not_fill_the_log(exe: &str) {
    let server = Server::start(exe);
    for i in 0..500 {
        let mut client = server.connect();
        if i % 2 == 0 {
            // It may be refused: the server may be about to find out about another one's reset.
            let _ = client.stream.write_all(b"half of them say something first");
        }
        client.reset();
    }
    server.assert_still_serving();
    let log = server.whole_log(); // or the last lines may still be on their way to us
    assert!(log.lines().count() <= FEW_LINES, "{log}");
}

/// A client that has come and gone before the server looks into its backlog.
pub fn a_reset_before_accept_hurts_no_other_client(exe: &str) {
    let server = Server::start(exe);
    for bytes in [0, 100] {
        if !server.signal(Signal::Stop) {
            return skipped("needs SIGSTOP");
        }
        for _ in 0..20 {
            let mut client = server.connect();
            client.send(&[7; 100][..bytes]);
            client.reset();
        }
        server.signal(Signal::Continue);
        server.assert_still_serving();
    }
}

/// Twenty clients are news at the same time, and every second of them has ended with a reset. The others
/// have sent something, and it comes back.
pub fn a_reset_leaves_the_others_of_its_batch_alone(exe: &str) {
    let server = Server::start(exe);
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.round_trip(b"here I am"));
    if !server.signal(Signal::Stop) {
        return skipped("needs SIGSTOP");
    }
    let mut stayed = Vec::new();
    for (i, mut client) in clients.into_iter().enumerate() {
        if i % 2 == 0 {
            client.reset();
        } else {
            client.send(b"and I?");
            stayed.push(client);
        }
    }
    server.signal(Signal::Continue);
    stayed.iter_mut().for_each(|client| client.expect(b"and I?"));
    stayed.iter_mut().for_each(|client| client.round_trip(b"I am still here"));
    server.assert_still_serving();
}

/// 2,000 clients that come and go, politely and not, leave no descriptor, no thread and no memory.
pub fn comings_and_goings_leave_nothing_behind(exe: &str) {
    let server = Server::start(exe);
    let come_and_go = |clients: usize| {
        for i in 0..clients {
            let mut client = server.connect();
            client.round_trip(b"here I am");
            match i % 3 {
                0 => client.reset(),
                1 => drop(client),
                _ => {
                    client.half_close();
                    assert_eq!(client.read_to_end(), b"");
                }
            }
        }
        server.assert_still_serving();
    };
    come_and_go(200); // whatever is allocated once, is now
    let Some(before) = server.usage() else { return skipped("needs /proc") };
    come_and_go(2_000);
    crate::testkit::eventually("descriptors and threads are as before", || {
        let now = server.usage().expect("/proc was there");
        now.descriptors <= before.descriptors && now.threads <= before.threads
    });
    let after = server.usage().expect("/proc was there");
    let grown = after.rss.saturating_sub(before.rss);
    assert!(grown <= 256 * 1024, "{grown} bytes more after 2,000 clients");
}

/// The log goes to a pipe, and its reader is gone. A log that cannot be written is no reason to end.
pub fn serves_on_when_its_log_is_not_read_any_more(exe: &str) {
    let server = Server::start_without_a_reader_of_its_log(exe, &[]);
    for _ in 0..10 {
        let mut client = server.connect();
        client.round_trip(b"connected and closed: two lines at debug");
    }
    server.assert_still_serving();
}

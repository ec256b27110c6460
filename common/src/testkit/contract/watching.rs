//! What `--stats` tells.

use crate::testkit::client::Client;
use crate::testkit::contract::log::{THREE_LINES_OF_STATS, serve_for};
use crate::testkit::eventually;
use crate::testkit::server::Server;

/// The figures of one line, or of several put together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Line {
    pub(super) clients: u64,
    pub(super) wake_ups: u64,
    pub(super) reads: u64,
    pub(super) writes: u64,
    pub(super) would_blocks: u64,
    pub(super) bytes: u64,
}

/// A hundred messages of 64 bytes: each of them, each byte, and who is there. Every stage has the same
/// columns.
pub fn its_stats_count_every_message_and_byte(exe: &str) {
    let server = Server::start_with(exe, &["--stats"]);
    let client = a_hundred_messages(&server);
    eventually("a line with one client", || lines(&server).last().is_some_and(|l| l.clients == 1));
    let Line { wake_ups, reads, writes, would_blocks, bytes, .. } = totals(&server);
    assert_eq!((writes, bytes), (100, 6400));
    // It does not stand still while it is looked at: a read may be counted of which the end is not yet.
    assert!(reads.abs_diff(would_blocks + 100) <= 1 && wake_ups > 0, "{}", server.log());
    drop(client);
    eventually("a line with none", || lines(&server).last().is_some_and(|l| l.clients == 0));
    server.assert_still_serving();
}

/// It does not ask again to be told `EAGAIN`: one read, one write.
pub fn its_stats_show_one_read_per_message(exe: &str) {
    let server = Server::start_with(exe, &["--stats"]);
    let _client = a_hundred_messages(&server);
    let Line { wake_ups, reads, would_blocks, .. } = totals(&server);
    assert_eq!((reads, would_blocks), (100, 0));
    // One more for the client's first event, for accept, and a few for the status lines.
    assert!((100..110).contains(&wake_ups), "{}", server.log());
}

/// No client, not one wake-up: to be watched does not wake it either.
pub fn its_stats_show_that_it_sleeps(exe: &str) {
    let server = Server::start_with(exe, &["--stats"]);
    eventually("a quiet second", || lines(&server).contains(&Line::default()));
}

/// No client, and it asks and asks.
pub fn its_stats_show_that_it_never_sleeps(exe: &str) {
    let server = Server::start_with(exe, &["--stats"]);
    eventually("two lines", || lines(&server).len() >= 2);
    for line in lines(&server) {
        assert!(line.clients == 0 && line.wake_ups > 1000, "{}", server.log());
    }
}

/// Each of its lines is an `EPIPE`.
pub fn it_serves_on_when_its_stats_are_not_read_any_more(exe: &str) {
    let server = Server::start_without_a_reader_of_its_log(exe, &["--stats"]);
    serve_for(&server, THREE_LINES_OF_STATS);
    server.assert_still_serving();
}

/// Sends them one after the other, and waits until they have been told of. Returns the client.
#[track_caller]
fn a_hundred_messages(server: &Server) -> Client {
    let mut client = server.connect();
    for _ in 0..100 {
        client.round_trip(&[b'x'; 64]);
    }
    eventually("all of them have been told of", || {
        let Line { reads, writes, bytes, .. } = totals(server);
        reads >= 100 && writes >= 100 && bytes >= 6400
    });
    client
}

/// What all lines so far come to, with the clients of the last.
pub(super) fn totals(server: &Server) -> Line {
    lines(server).into_iter().fold(Line::default(), |sum, line| Line {
        clients: line.clients,
        wake_ups: sum.wake_ups + line.wake_ups,
        reads: sum.reads + line.reads,
        writes: sum.writes + line.writes,
        would_blocks: sum.would_blocks + line.would_blocks,
        bytes: sum.bytes + line.bytes,
    })
}

/// The lines so far, each of which stands below the heads of its columns.
pub(super) fn lines(server: &Server) -> Vec<Line> {
    let log = server.log();
    let heads = "clients  wake-ups    reads   writes  WouldBlocks       bytes  longest turn";
    let below = log.lines().skip_while(|line| *line != heads).skip(1);
    below.filter_map(figures).collect()
}

/// The figures of one line, if it is such a line.
pub(super) fn figures(line: &str) -> Option<Line> {
    let mut figures = line.split_whitespace().map_while(|word| word.parse().ok());
    let mut next = || figures.next().filter(|_| line.ends_with(['s', '-']));
    Some(Line {
        clients: next()?,
        wake_ups: next()?,
        reads: next()?,
        writes: next()?,
        would_blocks: next()?,
        bytes: next()?,
    })
}

//! What is still to be built. Each test is red until you have built it: see the exercises in the book.

use std::time::Duration;

use common::testkit::client::Client;
use common::testkit::server::{Server, Usage};
use common::testkit::traced::{NO_STRACE, Traceable};
use common::testkit::{eventually, skipped};

const EXE: &str = env!("CARGO_BIN_EXE_stage2-threads");

/// How many clients the server serves at a time.
const MAX_CLIENTS: usize = 8;

/// Twenty clients come at once. Eight have a thread, twelve wait, and as one leaves one is let in.
#[test]
#[ignore = "exercise 2.1: cargo test -p stage2-threads --test exercises -- --ignored e2_1"]
fn e2_1_eight_clients_are_served_at_a_time_and_the_others_wait() {
    let server = Server::start(EXE);
    let empty = server.usage();
    let mut waiting: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    waiting.iter_mut().for_each(|client| client.send(b"!"));
    // Those that came first, if the server has no other order.
    let mut inside = Vec::new();
    while inside.len() < MAX_CLIENTS {
        inside.push(let_one_in(&mut waiting, "eight clients are served"));
    }
    (0..100).for_each(|_| assert_others_wait(&mut inside, &waiting));
    match empty.zip(server.usage()) {
        Some((empty, full)) => assert_only_those_inside_cost(empty, full),
        None => skipped("threads and descriptors need /proc"),
    }
    assert_sleeps(&server, &inside[0]);
    while !waiting.is_empty() {
        let leaves = inside.swap_remove(0);
        // A client that leaves without a FIN has left as well.
        match waiting.len().is_multiple_of(2) {
            true => leaves.reset(),
            false => drop(leaves),
        }
        inside.push(let_one_in(&mut waiting, "a client that waited is served when one leaves"));
        assert_others_wait(&mut inside, &waiting);
    }
}

/// The clients inside prove that the server does its work. The others have heard nothing meanwhile.
#[track_caller]
fn assert_others_wait(inside: &mut [Client], waiting: &[Client]) {
    inside.iter_mut().for_each(|client| client.round_trip(b"I am in"));
    if let Some(client) = waiting.iter().find(|client| !client.has_heard_nothing()) {
        assert_was_not_turned_away(client);
        panic!("a ninth was served although eight were in");
    }
}

#[track_caller]
fn assert_was_not_turned_away(client: &Client) {
    let peeked = client.stream.peek(&mut [0]);
    assert!(matches!(peeked, Ok(1..)), "a client was turned away: {peeked:?}");
}

fn assert_only_those_inside_cost(empty: Usage, full: Usage) {
    let descriptors = full.descriptors.saturating_sub(empty.descriptors);
    eprintln!("seen: {} threads and {descriptors} connections with 20 clients", full.threads);
    assert!(full.threads <= 1 + MAX_CLIENTS, "more threads than clients who are in");
    assert!(descriptors <= MAX_CLIENTS, "a client that waits was accepted");
}

/// What a server does in a second in which no client speaks and none leaves.
#[derive(Debug)]
struct QuietSecond {
    wakeups: u64,
    cpu: Duration,
    /// How long the acceptor was ready to run and had no CPU: one that spins on a busy machine.
    waited: Duration,
}

/// A machine that is frozen for a moment wakes everybody up (`EINTR`), but not three times.
#[track_caller]
fn assert_sleeps(server: &Server, client: &Client) {
    let mut seen = QuietSecond::watch(server, client);
    for _ in 0..2 {
        if seen.as_ref().is_some_and(|seen| !seen.is_quiet()) {
            seen = QuietSecond::watch(server, client);
        }
    }
    let Some(seen) = seen else { return skipped("the wake-ups need /proc") };
    eprintln!("seen: while no client leaves: {seen:?}");
    assert!(!seen.polls(), "it polls while no client leaves: {seen:?}");
    assert!(!seen.spins(), "it spins while no client leaves: {seen:?}");
}

impl QuietSecond {
    #[track_caller]
    fn watch(server: &Server, client: &Client) -> Option<Self> {
        let (before, waited) = (server.usage()?, server.waited_for_a_cpu());
        assert!(client.hears_nothing_for(Duration::from_secs(1)));
        let after = server.usage()?;
        Some(Self {
            wakeups: after.wakeups.saturating_sub(before.wakeups),
            cpu: after.cpu.saturating_sub(before.cpu),
            waited: server.waited_for_a_cpu().saturating_sub(waited),
        })
    }

    fn polls(&self) -> bool {
        self.wakeups > 5
    }

    fn spins(&self) -> bool {
        self.cpu.as_millis() >= 10 || self.waited.as_millis() >= 300
    }

    fn is_quiet(&self) -> bool {
        !self.polls() && !self.spins()
    }
}

/// Waits until one of them is served, and takes it out.
#[track_caller]
fn let_one_in(waiting: &mut Vec<Client>, what: &str) -> Client {
    let mut next = None;
    eventually(what, || {
        next = waiting.iter().position(|client| !client.has_heard_nothing());
        next.is_some()
    });
    let mut client = waiting.swap_remove(next.expect("one is served"));
    assert_was_not_turned_away(&client);
    client.expect(b"!");
    client
}

/// For a while the kernel refuses to start a thread. The clients that come then are closed, and none of them keeps
/// one of the eight places.
#[test]
#[ignore = "exercise 2.1: cargo test -p stage2-threads --test exercises -- --ignored e2_1"]
fn e2_1_a_client_that_has_no_thread_keeps_no_place() {
    let Some(traced) = Traceable::start(EXE, &[], "true") else { return skipped(NO_STRACE) };
    let mut inside = vec![traced.server.connect()];
    inside[0].round_trip(b"I am in");
    let trace = traced.refuse("/^clone3?$", "EAGAIN");
    let Some(trace) = trace else { return skipped(NO_STRACE) };
    for _ in 1..MAX_CLIENTS {
        let mut client = traced.server.connect();
        client.half_close();
        assert_eq!(client.read_to_end(), b"", "it is closed, or served by a thread that was there");
    }
    drop(trace);
    inside.extend((1..MAX_CLIENTS).map(|_| traced.server.connect()));
    inside.iter_mut().for_each(|client| client.send(b"!"));
    eventually("the places of clients that had no thread are free again", || {
        inside.iter().all(|client| !client.has_heard_nothing())
    });
    inside.iter_mut().for_each(|client| client.expect(b"!"));
}

//! What is still to be built. Each test is red until somebody has built it: see the exercises in the book.

use std::thread;
use std::time::{Duration, Instant};

use common::testkit::client::Client;
use common::testkit::server::Server;

const EXE: &str = env!("CARGO_BIN_EXE_stage2-threads");

/// How many clients the server serves at a time.
const MAX_CLIENTS: usize = 8;

/// How long we wait for what should come at once. `check` kills a test after 20 s, and then it can say nothing.
const SOON: Duration = Duration::from_secs(9);

/// Twenty clients come at once. Eight have a thread, twelve wait, and as one leaves one is let in.
#[test]
#[ignore = "exercise 2.1: cargo test -p stage2-threads --test exercises -- --ignored e2_1"]
fn e2_1_eight_clients_are_served_at_a_time_and_the_others_wait() {
    let server = Server::start(EXE);
    let mut waiting: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    waiting.iter_mut().for_each(|client| client.send(b"!"));
    let mut inside: Vec<Client> = waiting.drain(..MAX_CLIENTS).collect();
    inside.iter_mut().for_each(|client| client.expect(b"!"));
    for _ in 0..100 {
        inside.iter_mut().for_each(|client| client.round_trip(b"I am in"));
        let served = waiting.iter().filter(|client| !client.has_heard_nothing()).count();
        assert_eq!(served, 0, "somebody was served although eight were in");
    }
    if let Some(usage) = server.usage() {
        eprintln!("seen: {} threads with 20 clients", usage.threads);
        assert!(usage.threads <= 1 + MAX_CLIENTS, "more threads than clients who are in");
    }
    while !waiting.is_empty() {
        drop(inside.swap_remove(0));
        let start = Instant::now();
        let next = loop {
            let served = waiting.iter().position(|client| !client.has_heard_nothing());
            if let Some(next) = served {
                break next;
            }
            assert!(
                start.elapsed() < SOON,
                "not true: a client that waited is served when one leaves"
            );
            thread::park_timeout(Duration::from_millis(1));
        };
        let mut client = waiting.swap_remove(next);
        client.expect(b"!");
        inside.push(client);
    }
}

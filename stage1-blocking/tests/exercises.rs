//! What is still to be built. Each test is red until somebody has built it: see the exercises in the book.

use std::io::Read;
use std::time::{Duration, Instant};

use common::testkit::client::Client;
use common::testkit::server::Server;

const EXE: &str = env!("CARGO_BIN_EXE_stage1-blocking");

/// One client says nothing. Whoever comes after it waits for a second or so, and then is served.
#[test]
#[ignore = "exercise 1.3: cargo test -p stage1-blocking --test exercises -- --ignored e1_3"]
fn e1_3_a_silent_client_keeps_the_others_waiting_for_a_second_and_no_longer() {
    let server = Server::start(EXE);
    let mut first = server.connect();
    for _ in 0..4 {
        first.round_trip(b"I talk, so I may stay");
        silence(&first, Duration::from_millis(400));
    }
    first.round_trip(b"and now I say nothing");
    let start = Instant::now();
    let mut second = server.connect();
    second.send(b"and I?");
    second.stream.set_read_timeout(Some(Duration::from_secs(4))).expect("timeout");
    let answer = second.stream.read_exact(&mut [0; 6]);
    let waited = start.elapsed();
    eprintln!("seen: the second client has waited for {waited:.1?}");
    assert!(answer.is_ok(), "the second client was not served: {answer:?}");
    assert!(waited >= Duration::from_millis(900), "the first was let go too soon");
    assert_eq!(first.read_to_end(), b"", "the first has a clean end");
}

/// Nobody speaks for a while, and nothing is expected to come.
fn silence(client: &Client, duration: Duration) {
    client.stream.set_read_timeout(Some(duration)).expect("timeout");
    let heard = client.stream.peek(&mut [0]);
    assert!(heard.is_err(), "somebody who talks now and then was let go");
    client.stream.set_read_timeout(Some(common::testkit::deadline())).expect("timeout");
}

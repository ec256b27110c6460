//! What is still to be built. Each test is red until somebody has built it: see the exercises in the book.

use std::time::{Duration, Instant};

use common::testkit::client::{Client, random_bytes};
use common::testkit::server::Server;
use common::testkit::skipped;

const EXE: &str = env!("CARGO_BIN_EXE_stage3-nonblocking-busy");

/// A pause of a millisecond in each pass: what it saves while nobody speaks, and what it costs when
/// somebody does.
#[test]
#[ignore = "exercise 3.1: cargo test -p stage3-nonblocking-busy --test exercises -- --ignored e3_1"]
fn e3_1_a_pause_in_each_pass_saves_the_core_and_delays_every_answer() {
    let server = Server::start(EXE);
    let mut client = server.connect();
    client.round_trip(b"hello");
    let latency = median((0..101).map(|_| time(|| client.round_trip(b"?"))).collect());
    let bulk = time(|| random_bytes(1024 * 1024).chunks(4096).for_each(|b| client.round_trip(b)));
    eprintln!("seen: an answer takes {latency:.1?}; 1 MiB in pieces of 4 KiB takes {bulk:.1?}");
    assert!(latency < Duration::from_millis(8), "an answer takes {latency:?}");
    let Some(before) = server.usage() else { return skipped("the CPU needs /proc") };
    let start = Instant::now();
    silence(&client, Duration::from_secs(1));
    let after = server.usage().expect("/proc was there");
    let share = (after.cpu - before.cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    let wakeups = after.wakeups - before.wakeups;
    eprintln!("seen: {:.0} % of a core, {wakeups} wake-ups in a second of silence", share * 100.0);
    // On a busy machine a server that spins gets a small share, too. But it never goes to sleep.
    assert!(wakeups > 50, "it does not pause: it was woken {wakeups} times in a second");
    assert!(share < 0.25, "it does not pause: it still asks, and asks, and asks");
}

fn time(what: impl FnOnce()) -> Duration {
    let start = Instant::now();
    what();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Nobody speaks for a while, and nothing is expected to come.
fn silence(client: &Client, duration: Duration) {
    client.stream.set_read_timeout(Some(duration)).expect("timeout");
    let _ = client.stream.peek(&mut [0]);
}

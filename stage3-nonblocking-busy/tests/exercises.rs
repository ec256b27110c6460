//! What is still to be built. Each test is red until you have built it: see the exercises in the book.

use std::time::{Duration, Instant};

use common::testkit::client::{Client, random_bytes};
use common::testkit::server::Server;
use common::testkit::{pass, skipped};

const EXE: &str = env!("CARGO_BIN_EXE_stage3-nonblocking-busy");

/// What an answer may take with a pause of a millisecond in each pass, on a machine that does other things too.
const SLOW: Duration = Duration::from_millis(8);

/// A pause of a millisecond in each pass: what it saves while all are silent, and what it costs when
/// a client speaks.
#[test]
#[ignore = "exercise 3.1: cargo test -p stage3-nonblocking-busy --test exercises -- --ignored e3_1"]
fn e3_1_a_pause_in_each_pass_saves_the_core_and_delays_every_answer() {
    let server = Server::start(EXE);
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.round_trip(b"hello"));
    let client = &mut clients[0];
    let mut latency = || median((0..11).map(|_| time(|| client.round_trip(b"?"))).collect());
    // A machine that is busy may delay most of them once, but not three times.
    let tries = [latency(), latency(), latency()];
    let latency = tries.into_iter().min().expect("there are three");
    assert!(latency < SLOW, "an answer takes {latency:.1?}");
    let bytes = random_bytes(1024 * 1024);
    let bulk = time(|| bytes.chunks(4096).for_each(|piece| client.round_trip(piece)));
    eprintln!("seen: an answer takes {latency:.1?}; 1 MiB in pieces of 4 KiB takes {bulk:.1?}");
    assert_pauses(&server, "with 20 silent clients");
    clients.into_iter().for_each(Client::reset);
    server.assert_still_serving();
    assert_pauses(&server, "without a client");
}

/// In a second in which no client speaks.
#[track_caller]
fn assert_pauses(server: &Server, with: &str) {
    let Some(before) = server.usage() else { return skipped("the CPU needs /proc") };
    let start = Instant::now();
    pass(Duration::from_secs(1));
    let after = server.usage().expect("/proc was there");
    let share = (after.cpu - before.cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    let wakeups = after.wakeups - before.wakeups;
    eprintln!("seen: {:.0} % of a core, {wakeups} wake-ups in a second, {with}", share * 100.0);
    // On a busy machine a server that spins gets a small share, too. But it never goes to sleep.
    assert!(wakeups > 50, "{with} it does not pause: {wakeups} wake-ups in a second");
    assert!(share < 0.25, "{with} it does not pause: {:.0} % of a core", share * 100.0);
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

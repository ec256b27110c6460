//! What is still to be built. Each test is red until you have built it: see the exercises in the book.

use std::time::{Duration, Instant};

use common::testkit::client::Client;
use common::testkit::server::{Server, Usage};
use common::testkit::{eventually, skipped};

const EXE: &str = env!("CARGO_BIN_EXE_stage1-blocking");

/// How long we wait for what takes a second at most.
const SOON: Duration = Duration::from_secs(4);

/// One client says nothing. A second one waits for a second or so, and then it is served. Meanwhile the server sleeps.
#[test]
#[ignore = "exercise 1.3: cargo test -p stage1-blocking --test exercises -- --ignored e1_3"]
fn e1_3_a_silent_client_keeps_the_others_waiting_for_a_second_and_no_longer() {
    let server = Server::start_with_log_level(EXE, "debug", &[]);
    let mut first = server.connect();
    for _ in 0..4 {
        first.round_trip(b"I talk, so I may stay");
        let stays = first.hears_nothing_for(Duration::from_millis(400));
        assert!(stays, "a client that talks now and then was let go");
    }
    let start = Instant::now();
    first.round_trip(b"and now I say nothing");
    let before = used(&server);
    let mut second = server.connect();
    second.send(b"and I?");
    assert_hears(&second, "the second client was not served");
    let (waited, after) = (start.elapsed(), used(&server));
    eprintln!("seen: the second client has waited for {waited:.1?}");
    assert!(waited >= Duration::from_millis(900), "the first was let go too soon");
    assert_eq!(first.read_to_end(), b"", "the first has a clean end");
    assert_slept(before, after, waited);
    second.expect(b"and I?");
    second.half_close();
    assert_hears(&second, "the second client has half-closed and sees no end");
    assert_eq!(second.read_to_end(), b"", "the second has a clean end");
    // What it says of the first client comes before that.
    server.wait_for_log("closed");
    let log = server.log();
    assert!(!log.contains("WARN"), "the log complains of a client that was let go");
    assert_a_reset_is_told(&server);
}

/// Two clients have left with a clean end. A third one resets its connection, and the log has to tell the difference.
#[track_caller]
fn assert_a_reset_is_told(server: &Server) {
    let ends = |how: &str| server.log().matches(how).count();
    let mut third = server.connect();
    third.round_trip(b"I leave with a reset");
    third.reset();
    eventually("the log tells how the third client left", || ends(" closed ") + ends(" gone ") > 2);
    assert_eq!(ends(" closed "), 2, "a reset is logged as a normal end");
}

#[track_caller]
fn assert_hears(client: &Client, or_else: &str) {
    assert!(!client.hears_nothing_for(SOON), "{or_else}: timed out after {SOON:?}");
}

/// Also how long its first thread was ready to run and had no CPU: a server that spins on a busy machine.
fn used(server: &Server) -> Option<(Usage, Duration)> {
    Some((server.usage()?, server.waited_for_a_cpu()))
}

/// Between the two no client has said anything, and in the end one client left and one was served.
#[track_caller]
fn assert_slept(
    before: Option<(Usage, Duration)>,
    after: Option<(Usage, Duration)>,
    elapsed: Duration,
) {
    let (Some((before, waited_before)), Some((after, waited_after))) = (before, after) else {
        return skipped("the CPU and the wake-ups need /proc");
    };
    let (wakeups, cpu) =
        (after.wakeups.saturating_sub(before.wakeups), after.cpu.saturating_sub(before.cpu));
    let wanted = cpu + waited_after.saturating_sub(waited_before);
    eprintln!("seen: {wakeups} wake-ups and {cpu:.1?} of CPU meanwhile");
    assert!(wakeups <= 20, "it polls: {wakeups} wake-ups while all were silent");
    let spins = cpu > Duration::from_millis(20) || wanted > elapsed / 2;
    assert!(!spins, "it spins: {cpu:.1?} of CPU, and {wanted:.1?} wanted, while all were silent");
}

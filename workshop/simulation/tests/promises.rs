//! The promises of stage 5, one test for each. Exercise 8.1 plants a fault, and asks which of them goes red.
//!
//! Thousands of histories are played once, and each test looks for its promise among those that were broken.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::thread;

use simulation::{Choices, PROMISES, Stage, Violation, play};

/// How many seeds are played.
const SEEDS: u64 = 2_000;

/// A test for each promise: its name in other letters.
macro_rules! contract {
    ($(fn $name:ident,)*) => {
        $(
            #[test]
            fn $name() {
                check_promise(stringify!($name));
            }
        )*

        /// All that have a test here.
        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

contract! {
    fn the_echo_is_an_exact_prefix,
    fn the_echo_is_complete_after_a_half_close,
    fn the_end_comes_behind_the_last_byte,
    fn no_client_is_let_go_of_without_a_reason,
    fn no_client_that_could_be_served_waits,
    fn a_turn_between_two_turns_of_another,
    fn the_loop_comes_back_to_the_poller_in_time,
    fn a_turn_has_an_end,
    fn no_spin,
    fn no_client_waits_in_the_backlog_while_there_is_room,
    fn never_more_clients_than_the_limit,
    fn the_table_holds_those_who_are_here,
    fn no_outbox_over_its_limit,
    fn a_stop_ends_in_time,
    fn a_stop_ends_when_the_last_client_has_left,
    fn a_stop_tells_every_client,
    fn a_stop_waits_for_those_who_are_here,
    fn no_client_is_taken_in_by_a_server_that_stops,
    fn what_had_come_before_the_stop_is_answered,
    fn whatever_was_read_is_delivered_when_it_stops,
    fn no_panic,
    fn the_server_does_not_end_by_itself,
}

/// What is broken, and by which seed first.
static BROKEN: LazyLock<BTreeMap<String, (u64, Violation)>> = LazyLock::new(|| {
    let mut broken = BTreeMap::new();
    let mut failed = failed_seeds();
    failed.sort_by_key(|(seed, _)| *seed);
    for (seed, violation) in failed {
        broken.entry(as_test(violation.property)).or_insert((seed, violation));
    }
    broken
});

/// Plays all seeds, on all cores.
fn failed_seeds() -> Vec<(u64, Violation)> {
    simulation::quiet_panics();
    let cores = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let of_core = |core: u64| {
        let seeds = (core..SEEDS).step_by(cores as usize);
        let broken = |seed| play(Stage::Five, Choices::from_seed(seed), false).violation;
        seeds.filter_map(|seed| Some((seed, broken(seed)?))).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let players: Vec<_> = (0..cores).map(|core| scope.spawn(move || of_core(core))).collect();
        let failed = players.into_iter().map(|player| player.join());
        failed.flat_map(|failed| failed.expect("a player does not panic")).collect()
    })
}

/// The name of a promise as that of a test: letters, and `_` between the words.
fn as_test(promise: &str) -> String {
    let words = promise.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_")
}

#[track_caller]
fn check_promise(name: &str) {
    if let Some((seed, Violation { property, seen })) = BROKEN.get(name) {
        panic!(
            "{property}: {seen}\n\
             seed {seed} breaks it: cargo run -p simulation -- stage5 --seed {seed}"
        );
    }
}

#[test]
fn no_promise_without_a_test_is_broken() {
    let others: Vec<_> =
        BROKEN.iter().filter(|(name, _)| !NAMES.contains(&name.as_str())).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn each_test_is_about_a_promise_that_there_is() {
    for name in NAMES {
        assert!(PROMISES.iter().any(|promise| as_test(promise.name) == **name), "{name}");
    }
}

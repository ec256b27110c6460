//! The exercises of the simulation: each test is red until what it asks for is built.

use simulated_planted::{PLANTED, Planted};
use simulation::yours::a_client_that_waits_is_taken_in;
use simulation::{Call, Choices, Stage, Turn, play_with, turns, turns_with};

/// So many histories of the clean code, of each stage, must be without blame.
const CLEAN: u64 = 1_000;

/// A fault must be found within so many histories.
const FAULTY: u64 = 1_000;

/// A turn that the learner's promise calls wrong.
struct Blamed {
    seed: u64,
    turn: Turn,
    said: String,
}

/// The first turn that is called wrong.
fn first_blamed(seeds: u64, play: impl Fn(Choices) -> Vec<Turn>) -> Option<Blamed> {
    (0..seeds).find_map(|seed| {
        play(Choices::from_seed(seed)).into_iter().find_map(|turn| {
            let said = a_client_that_waits_is_taken_in(&turn).err()?;
            Some(Blamed { seed, turn, said })
        })
    })
}

#[test]
#[ignore = "exercise 8.2: cargo test -p simulation --test exercises -- --ignored e8_2"]
fn e8_2_the_clean_code_keeps_the_promise_and_each_fault_breaks_it() {
    for (stage, name) in [(Stage::Five, "stage5"), (Stage::Six, "stage6")] {
        if let Some(Blamed { seed, turn, said }) = first_blamed(CLEAN, |all| turns(stage, all)) {
            panic!(
                "the clean code is blamed, in a turn in which {}\n\
                 your words: {said}\n\
                 the turn: {turn:?}\n\
                 its history: cargo run -p simulation -- {name} --seed {seed}",
                why_it_is_right(&turn)
            );
        }
    }
    for Planted { what, is_planted, run } in PLANTED {
        assert!(is_planted, "stage 5 has changed: there is no place for a server that {what}");
        let server = |all| {
            turns_with(Stage::Five, all, |listener, options| run(listener, options.max_connections))
        };
        let blamed = first_blamed(FAULTY, server);
        let Blamed { seed, said, .. } =
            blamed.unwrap_or_else(|| panic!("not a word about a server that {what}"));
        eprintln!("seen: a server that {what}: seed {seed}: {said}");
    }
}

/// Why a turn of the clean code need not take a client in.
fn why_it_is_right(turn: &Turn) -> &'static str {
    let calls = |is_it: fn(&Call) -> bool| turn.calls.iter().any(is_it);
    if turn.waiting == 0 {
        "no client waited when it began"
    } else if calls(|call| matches!(call, Call::Accept(_) | Call::NoAccept(_))) {
        "the server did call accept(2)"
    } else if calls(|call| *call == Call::StopListening) {
        "the server stopped listening"
    } else if turn.clients >= turn.max_connections {
        "the server was full"
    } else if turn.may_pause {
        "accept(2) may pause"
    } else {
        "it should have called accept(2)"
    }
}

/// Why exercise 8.2 is worth the while.
#[test]
fn no_promise_of_the_simulator_is_about_clients_that_wait_while_others_are_due() {
    let starved = PLANTED[0];
    assert!(starved.is_planted, "stage 5 has changed");
    let broken = (0..FAULTY).find_map(|seed| {
        play_with(Stage::Five, Choices::from_seed(seed), false, |listener, options| {
            (starved.run)(listener, options.max_connections)
        })
        .violation
    });
    assert_eq!(broken, None);
}

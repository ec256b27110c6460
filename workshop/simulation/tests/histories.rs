//! Stages 5 and 6, and the handshake, over thousands of histories.

use std::collections::BTreeMap;
use std::thread;

use simulation::explore::{Bounds, Explored, explore, play_small, small_worlds};
use simulation::shrink::shrink;
use simulation::{Choices, Decisions, History, Stage, Violation, handshake, play};

/// Plays many seeds, on all cores.
#[track_caller]
fn check_seeds(seeds: u64, play: impl Fn(Choices, bool) -> History + Sync) {
    let cores = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let broken: BTreeMap<_, _> = thread::scope(|scope| {
        let players = (0..cores).map(|core| {
            let play = &play;
            scope.spawn(move || {
                let seeds = (core..seeds).step_by(cores as usize);
                seeds
                    .filter_map(|seed| {
                        Some((seed, play(Choices::from_seed(seed), false).violation?))
                    })
                    .collect()
            })
        });
        let players: Vec<_> = players.collect();
        players
            .into_iter()
            .flat_map(|player| -> Vec<_> { player.join().expect("a player does not panic") })
            .collect()
    });
    assert!(broken.is_empty(), "seeds that break a promise: {broken:#?}");
}

#[test]
fn stage_5_keeps_its_promises() {
    check_seeds(2_000, |choices, tell| play(Stage::Five, choices, tell));
}

#[test]
fn stage_6_keeps_its_promises() {
    check_seeds(2_000, |choices, tell| play(Stage::Six, choices, tell));
}

/// A thousand clients are let go of at once, and one that waited in the backlog comes in: their names are still on the
/// server's list before its own. Or a stop puts a thousand on the list who are on it. That breaks no promise.
#[test]
fn a_crowd_that_has_left_at_once_still_takes_turns() {
    for seed in [3_326_509, 3_525_927, 3_715_627, 3_834_705, 3_880_803] {
        let broken = play(Stage::Six, Choices::from_seed(seed), false).violation;
        assert!(broken.is_none(), "seed {seed}: {broken:?}");
    }
}

#[test]
fn the_handshake_keeps_its_promises() {
    check_seeds(2_000, handshake::play);
}

/// Explores some of the small worlds, each up to one departure from the calmest schedule.
#[track_caller]
fn check_small_worlds(stage: Stage, one_in: usize) {
    let worlds = (0..small_worlds(stage)).step_by(one_in);
    let all = worlds.map(|world| explore(stage, world, Bounds::departures(1), || true));
    let all = all.fold(Explored::default(), Explored::and);
    assert_eq!(all.wrong.map(|decisions| decisions.to_string()), None);
    assert!(all.schedules > 10_000, "{} are hardly all", all.schedules);
}

#[test]
fn two_clients_of_stage_5_cannot_break_a_promise_with_one_departure() {
    check_small_worlds(Stage::Five, 5);
}

#[test]
fn two_clients_of_stage_6_cannot_break_a_promise_with_one_departure() {
    check_small_worlds(Stage::Six, 17);
}

#[test]
fn an_exploration_without_a_limit_comes_to_an_end() {
    // Two clients that only connect and half-close, and nothing out of the ordinary.
    let mut schedules = 0;
    let all = explore(Stage::Five, 0, Bounds::NONE, || {
        schedules += 1;
        schedules < 1_000_000
    });
    assert_eq!((all.wrong, all.beyond), (None, 0));
    assert!(all.schedules < 1_000_000 && all.known > 0, "{} {}", all.schedules, all.known);
}

#[test]
fn a_bound_on_the_decisions_is_reached_step_by_step() {
    let explored = |decisions| {
        let bounds = Bounds { decisions, ..Bounds::NONE };
        explore(Stage::Five, 9, bounds, || true)
    };
    let (none, few, more) = (explored(0), explored(4), explored(8));
    assert_eq!((none.schedules, few.wrong, more.wrong), (1, None, None));
    assert!(none.schedules < few.schedules && few.schedules < more.schedules);
    assert!(few.beyond > 0 && more.beyond > 0, "there is more than that");
}

#[test]
fn the_same_decisions_are_the_same_history() {
    let stage_5 = |choices| play(Stage::Five, choices, true);
    let stage_6 = |choices| play(Stage::Six, choices, true);
    check_repeated(stage_5);
    check_repeated(stage_6);
    check_repeated(|choices| handshake::play(choices, true));
}

#[track_caller]
fn check_repeated(play: impl Fn(Choices) -> History) {
    for seed in 0..50 {
        let drawn = play(Choices::from_seed(seed));
        let again = play(Choices::from_seed(seed));
        let decisions = drawn.choices.decisions();
        let written: Decisions =
            decisions.clone().trimmed().to_string().parse().expect("what is written can be read");
        let given = play(Choices::repeat(written));
        for other in [again, given] {
            assert_eq!((&other.head, &other.story), (&drawn.head, &drawn.story), "seed {seed}");
            assert_eq!(other.choices.decisions(), decisions, "seed {seed}");
        }
    }
}

#[test]
fn the_same_decisions_are_the_same_history_of_a_small_world() {
    let told = |given: &str| {
        let choices = Choices::repeat(given.parse().unwrap());
        let History { story, choices, .. } = play_small(Stage::Six, choices, true);
        (story, choices.decisions().trimmed().to_string())
    };
    let (story, choices) = told("1,2,3,1/5x0,1,0,1/5x0,1,1/6x0,1");
    assert_eq!(told(&choices), (story, choices));
}

/// A history in which it counts as a broken promise if lines with these words come one after the other.
fn wrong_if(stage: Stage, words: &[&str], choices: Choices) -> History {
    let mut history = play(stage, choices, true);
    let mut lines = history.story.iter();
    let all = words.iter().all(|word| lines.any(|line| line.contains(word)));
    // As with a real one, the story ends there.
    let (all_lines, left) = (history.story.len(), lines.len());
    history.story.truncate(all_lines - left);
    let seen = words.join(", ");
    history.violation = all.then_some(Violation { property: "none of that", seen });
    history
}

/// Shrinks the first history in which all of this happens. Returns how long it was, and what came of it.
#[track_caller]
fn check_shrunk(words: &[&str], most_lines: usize) {
    let stage = Stage::Six;
    let histories = (0..1_000).map(|seed| wrong_if(stage, words, Choices::from_seed(seed)));
    let first = histories.into_iter().find(|history| history.violation.is_some());
    let first = first.expect("it happens in a thousand histories");
    let decisions = first.choices.decisions();
    let shrunk = || {
        shrink(&decisions, |all| wrong_if(stage, words, Choices::repeat(all)))
            .expect("it is repeated")
            .0
    };
    let (shortest, again) = (shrunk(), shrunk());
    let (before, after) = (first.story.len(), shortest.story.len());
    assert!(shortest.violation.is_some());
    assert!(
        after <= most_lines.min(before),
        "{before} lines, and then {after}: {:#?}",
        shortest.story
    );
    assert_eq!(shortest.choices.decisions(), again.choices.decisions());
}

#[test]
fn a_reset_shrinks_to_a_client_that_comes_and_resets() {
    check_shrunk(&["client 0 resets"], 6);
}

#[test]
fn two_clients_and_a_signal_shrink_to_these() {
    check_shrunk(&["client 1 sends", "SIGTERM", "client 1 reads"], 20);
}

#[test]
fn what_is_not_wrong_is_not_shrunk() {
    let play = |all| play(Stage::Five, Choices::repeat(all), true);
    assert!(shrink(&Decisions::default(), play).is_none());
}

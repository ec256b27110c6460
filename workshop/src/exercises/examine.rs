//! Runs what an exercise asks for: its own test, and then the promises of the stage that must still hold.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::judge::{Finding, judge, judge_the_rest, the_rest_in_words};
use super::page::Exercise;
use super::run::{Run, Verdict, Workspace};
use super::screen::say;

/// A test of an exercise takes a few seconds, and the test kit has less patience than this. One that takes this
/// long hangs where the test kit cannot see it.
const DEADLINE: Duration = Duration::from_secs(30);

/// The rest of a contract is some sixty tests. They take five seconds, and half a minute on a machine that is
/// busy with other work.
const REST_DEADLINE: Duration = Duration::from_secs(90);

/// A person who waits for longer than most tests take wants to know for how long.
const USUAL: Duration = Duration::from_secs(7);

/// A build that takes no longer needs no word, and most do not: the stages are small.
const QUICK: Duration = Duration::from_secs(2);

/// Sentences of the contract that take more than two seconds each, or a quiet machine. A learner waits here; the
/// suite runs them.
const LONG: [&str; 18] = [
    "a_client_that_talks_on_is_let_go_of_in_the_end",
    "a_client_that_was_let_go_of_holds_its_place_for_a_while",
    "a_late_word_destroys_nothing_when_it_was_silent",
    "a_slow_reader_is_not_taken_for_silent",
    "a_sweep_keeps_the_timers_of_those_who_are_here",
    "an_accept_that_fails_again_and_again_costs_next_to_nothing",
    "answers_without_delay",
    "clients_that_waited_while_accept_failed_are_served_in_the_end",
    "ctrl_z_does_not_make_clients_silent",
    "it_serves_on_when_its_stats_are_not_read_any_more",
    "its_stats_come_back_when_their_file_may_grow_again",
    "lateness_is_not_carried_over",
    "serves_on_when_its_stats_are_stuck",
    "status_lines_for_clients_that_never_read_cost_no_memory",
    "stops_within_a_second_with_16_000_silent_clients",
    "the_status_keeps_its_grid_under_load",
    "what_it_has_read_is_still_delivered_when_it_stops",
    "what_it_owes_is_delivered_although_the_signal_comes_first",
];

/// What became of a learner's sources.
pub(crate) enum Examined {
    /// In the compiler's words.
    DoesNotCompile(String),
    Ran {
        /// Of the test that shows best what was found: that of the exercise, or the rest if that is broken.
        run: Box<Run>,
        finding: Finding,
    },
}

/// Whether a person waits, and is told what takes so long.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    Person,
    Machine,
}

/// Builds the stage as it stands and runs the test of the exercise; and the rest of the contract, if that is all
/// that is left to be seen.
pub(crate) fn examine(
    workspace: &Workspace,
    exercise: &Exercise,
    reader: Reader,
) -> anyhow::Result<Examined> {
    let test = match with_word(reader, &building(exercise), || workspace.build(exercise))? {
        Ok(test) => test,
        Err(said) => return Ok(Examined::DoesNotCompile(said)),
    };
    tell(reader, "running the test …");
    let run = with_word(reader, &RUNNING, || test.run(DEADLINE))?;
    anyhow::ensure!(run.verdict != Verdict::NoSuchTest, "no such test: {}", exercise.test.line);
    let finding = judge(exercise, &run);
    if finding != Finding::Done || exercise.step.is_some() {
        return Ok(Examined::Ran { run: run.into(), finding });
    }
    examine_the_rest(workspace, exercise, reader, run)
}

fn examine_the_rest(
    workspace: &Workspace,
    exercise: &Exercise,
    reader: Reader,
    run: Run,
) -> anyhow::Result<Examined> {
    tell(reader, "now the other tests of the stage …");
    let build = || workspace.build_rest(exercise, &LONG);
    let test = match with_word(reader, &building(exercise), build)? {
        Ok(test) => test,
        Err(said) => return Ok(Examined::DoesNotCompile(said)),
    };
    let rest = with_word(reader, &RUNNING_THE_REST, || test.run(REST_DEADLINE))?;
    tell(reader, &the_rest_in_words(exercise, &rest));
    let finding = judge_the_rest(exercise, &rest);
    let run = if finding == Finding::Done { run } else { rest };
    Ok(Examined::Ran { run: run.into(), finding })
}

fn tell(reader: Reader, text: &str) {
    if reader == Reader::Person {
        say!("{text}");
    }
}

/// What is said about work that takes longer than usual.
struct Word {
    after: Duration,
    text: std::borrow::Cow<'static, str>,
}

const RUNNING: Word = Word {
    after: USUAL,
    text: std::borrow::Cow::Borrowed("still running; after 30 s it is killed …"),
};

const RUNNING_THE_REST: Word = Word {
    after: USUAL,
    text: std::borrow::Cow::Borrowed(
        "still running the rest of the contract; after 90 s it is killed …",
    ),
};

fn building(exercise: &Exercise) -> Word {
    let text = format!("building {}; the first time takes a minute or two …", exercise.package);
    Word { after: QUICK, text: text.into() }
}

fn with_word<T>(reader: Reader, word: &Word, work: impl FnOnce() -> T) -> T {
    match reader {
        Reader::Person => unless_quick(word.after, || say!("{}", word.text), work),
        Reader::Machine => work(),
    }
}

/// Does the work, and says something if that is not over in time.
fn unless_quick<T>(in_time: Duration, say: impl FnOnce() + Send, work: impl FnOnce() -> T) -> T {
    let (working, watch) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            // Nothing is ever sent: the other end goes when the work is over, and that ends the wait.
            if watch.recv_timeout(in_time) == Err(RecvTimeoutError::Timeout) {
                say();
            }
        });
        let done = work();
        drop(working);
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_work_that_takes_its_time_there_is_a_word_before_it_is_over() {
        let (say, said) = mpsc::channel();
        let word =
            || unless_quick(Duration::ZERO, move || say.send("building").unwrap(), || said.recv());
        assert_eq!(word(), Ok("building"));
    }

    #[test]
    fn of_quick_work_there_is_no_word_and_no_wait() {
        let hour = Duration::from_secs(3600);
        assert_eq!(unless_quick(hour, || panic!("it was over in time"), || 7), 7);
    }

    #[test]
    fn a_person_is_told_the_deadline_that_there_is() {
        for (word, deadline) in [(RUNNING, DEADLINE), (RUNNING_THE_REST, REST_DEADLINE)] {
            assert!(
                word.text.contains(&format!("after {} s", deadline.as_secs())),
                "{}",
                word.text
            );
        }
    }

    #[test]
    fn every_sentence_that_is_left_out_is_one() {
        let contract = [
            include_str!("../../../stage5-mio/tests/contract.rs"),
            include_str!("../../../stage6-timers/tests/contract.rs"),
        ];
        for name in LONG {
            assert!(contract.iter().any(|text| text.contains(&format!(" {name},"))), "{name}");
        }
    }
}

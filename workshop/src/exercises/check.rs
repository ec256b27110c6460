//! `check`: is it red or green, and what was seen.

use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::page::{Exercise, Kind, Number};
use super::place::Place;
use super::run::{Run, Verdict, first_errors};
use super::screen::{Screen, say};
use super::{TOOL, explain, start_again};

/// A test of an exercise takes a few seconds. One that takes this long hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// Whoever waits for longer than most tests take wants to know for how long.
const USUAL: Duration = Duration::from_secs(7);

/// A build that takes no longer needs no word, and most do not: the stages are small.
const QUICK: Duration = Duration::from_secs(2);

/// Builds the stage as the learner has left it and runs the test of the exercise. Exit code 0: done.
pub(crate) fn check(place: &Place, screen: &Screen, number: Number) -> anyhow::Result<ExitCode> {
    let exercise = &place.exercise(number)?;
    screen.headline(exercise);
    let workspace = place.workspace();
    let slow = || say!("building {}; the first time takes a minute or two …", exercise.package);
    let test = match unless_quick(QUICK, slow, || workspace.build(exercise))? {
        Ok(test) => test,
        Err(said) => {
            say!("\n{}\n", first_errors(&said));
            say!("{}: it does not compile, so nothing was run.", screen.bad("red", 0));
            return Ok(ExitCode::FAILURE);
        }
    };
    let slow = || say!("still running; after {} s it is killed …", DEADLINE.as_secs());
    let run = unless_quick(USUAL, slow, || test.run(DEADLINE))?;
    anyhow::ensure!(run.verdict != Verdict::NoSuchTest, "no such test: {}", exercise.test.line);
    let done = match exercise.kind {
        Kind::Build => run.verdict == Verdict::Green,
        Kind::Break => run.verdict.is_red() && explain::listened(&run.output),
    };
    tell(screen, exercise, &run);
    say!("");
    conclude(place, screen, exercise, done, run.verdict);
    place.remember("done", number, done.then_some(""));
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Does the work, and says something if that is not over in time.
fn unless_quick<T>(in_time: Duration, say: impl FnOnce() + Send, work: impl FnOnce() -> T) -> T {
    let (working, watch) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            // Nobody sends anything: the other end goes when the work is over, and that ends the wait.
            if watch.recv_timeout(in_time) == Err(RecvTimeoutError::Timeout) {
                say();
            }
        });
        let done = work();
        drop(working);
        done
    })
}

/// One screen: what was done, what was seen, what it may mean.
fn tell(screen: &Screen, exercise: &Exercise, run: &Run) {
    say!("{}\n", headline(screen, run));
    say!("{}", screen.strong("What was done to your server"));
    say!("{}", exercise.done_to_it);
    say!("\n{}", screen.strong("What was seen"));
    if run.verdict == Verdict::Green {
        say!("Everything that was asked for.");
    }
    explain::what_was_seen(run).iter().for_each(|line| say!("{line}"));
    if let Some(counters) = run.observed.in_words() {
        say!("{counters}");
    }
    // Of a drill the learner knows the cause, or is to find it.
    if run.verdict.is_red() && exercise.kind == Kind::Build {
        say!("\n{}", screen.strong("Likely cause"));
        say!("{}", explain::likely_cause(exercise, run));
    }
}

/// The first line. Of a test that was killed it says which: there may be several, and it could not say so.
fn headline(screen: &Screen, run: &Run) -> String {
    let seconds = run.elapsed.as_secs_f64();
    let red = screen.bad("red", 0);
    let test = explain::unfinished(&run.output).unwrap_or("the test");
    match run.verdict {
        Verdict::Green => format!("{} after {seconds:.1} s", screen.good("green", 0)),
        Verdict::Red | Verdict::NoSuchTest => format!("{red} after {seconds:.1} s"),
        Verdict::Hung => {
            format!("{red}: {test} was still running after {seconds:.0} s, so we killed it")
        }
        Verdict::Bloated => {
            format!("{red}: in {test} the server took more than a gigabyte, so we killed it")
        }
    }
}

fn conclude(place: &Place, screen: &Screen, exercise: &Exercise, done: bool, verdict: Verdict) {
    let number = exercise.number;
    match (exercise.kind, done) {
        (Kind::Build, true) => {
            say!("{} Can you explain why it works?", screen.good("Done.", 0));
            say!("The questions:    {TOOL} show {number}");
            say!("Another solution: {TOOL} solution {number}");
        }
        (Kind::Build, false) => {
            say!("Stuck?              {TOOL} hint {number}");
            say!("From the beginning: {}", start_again(place, exercise));
        }
        (Kind::Break, true) => {
            say!("{} The fault is found. Can you explain it?", screen.good("Done.", 0));
            say!("What happens:   {TOOL} solution {number}");
            say!("Take it out:    {}", start_again(place, exercise));
        }
        (Kind::Break, false) if verdict.is_red() => {
            say!("Another fault: the server ended before it listened, so nobody has tested it.");
            say!("From the beginning: {}", start_again(place, exercise));
        }
        (Kind::Break, false) => {
            say!("Nothing is broken yet: the server still keeps this promise. Plant the fault.");
            say!("How?  {TOOL} hint {number}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::observe::Observed;
    use super::*;

    #[test]
    fn of_work_that_takes_its_time_there_is_a_word_before_it_is_over() {
        let (say, said) = mpsc::channel();
        let word =
            || unless_quick(Duration::ZERO, move || say.send("building").unwrap(), || said.recv());
        assert_eq!(word(), Ok("building"));
    }

    #[test]
    fn of_quick_work_there_is_no_word_and_nobody_waits_for_it() {
        let hour = Duration::from_secs(3600);
        assert_eq!(unless_quick(hour, || panic!("it was over in time"), || 7), 7);
    }

    #[test]
    fn a_test_that_was_killed_is_named() {
        let line = |verdict| {
            let output = "running 2 tests\ntest e5_1_ends ... ok\ntest e5_1_hangs ... ".to_owned();
            let (elapsed, observed) = (Duration::from_secs(20), Observed::default());
            headline(&Screen::new(), &Run { verdict, output, elapsed, observed })
        };
        assert!(line(Verdict::Hung).contains("e5_1_hangs was still running after 20 s"));
        assert!(line(Verdict::Bloated).contains("in e5_1_hangs the server took"));
        assert!(line(Verdict::Red).ends_with(" after 20.0 s"));
    }
}

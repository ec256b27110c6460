//! `check`: is it red or green, and what was seen.

use std::process::ExitCode;
use std::time::Duration;

use super::page::{Exercise, Kind};
use super::place::Place;
use super::run::{Run, Verdict, Workspace, first_errors};
use super::screen::Screen;
use super::{TOOL, explain, start_again};

/// A test of an exercise takes a few seconds. One that takes this long hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// Builds the stage as the learner has left it and runs the test of the exercise. Exit code 0: done.
pub(crate) fn check(
    place: &Place,
    screen: &Screen,
    exercise: &Exercise,
) -> anyhow::Result<ExitCode> {
    screen.headline(exercise);
    println!("building {} (the first time takes a minute or two) …", exercise.package);
    let workspace = Workspace { root: place.root.clone(), target: None };
    let test = match workspace.build(exercise)? {
        Ok(test) => test,
        Err(said) => {
            println!("\n{}\n", first_errors(&said));
            println!("{}: it does not compile, so nothing was run.", screen.bad("red", 0));
            return Ok(ExitCode::FAILURE);
        }
    };
    let run = test.run(DEADLINE)?;
    anyhow::ensure!(run.verdict != Verdict::NoSuchTest, "no such test: {}", exercise.test.line);
    let done = match exercise.kind {
        Kind::Build => run.verdict == Verdict::Green,
        Kind::Break => run.verdict.is_red(),
    };
    place.remember(exercise.number, done)?;
    tell(screen, exercise, &run);
    println!();
    conclude(screen, exercise, done);
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One screen: what was done, what was seen, what it may mean.
fn tell(screen: &Screen, exercise: &Exercise, run: &Run) {
    let seconds = run.elapsed.as_secs_f64();
    let verdict = match run.verdict {
        Verdict::Green => format!("{} after {seconds:.1} s", screen.good("green", 0)),
        Verdict::Hung => {
            format!("{}: still running after {seconds:.0} s, so we killed it", screen.bad("red", 0))
        }
        Verdict::Bloated => {
            format!("{}: more than a gigabyte of memory, so we killed it", screen.bad("red", 0))
        }
        Verdict::Red | Verdict::NoSuchTest => {
            format!("{} after {seconds:.1} s", screen.bad("red", 0))
        }
    };
    println!("{verdict}\n\n{}", screen.strong("What was done to your server"));
    println!("{}", exercise.done_to_it);
    println!("\n{}", screen.strong("What was seen"));
    if run.verdict == Verdict::Green {
        println!("Everything that was asked for.");
    }
    explain::what_was_seen(run).iter().for_each(|line| println!("{line}"));
    if let Some(counters) = run.observed.in_words() {
        println!("{counters}");
    }
    // Of a drill the learner knows the cause, or is to find it.
    if run.verdict.is_red() && exercise.kind == Kind::Build {
        println!("\n{}", screen.strong("Likely cause"));
        println!("{}", explain::likely_cause(exercise, run));
    }
}

fn conclude(screen: &Screen, exercise: &Exercise, done: bool) {
    let number = exercise.number;
    match (exercise.kind, done) {
        (Kind::Build, true) => {
            println!("{} Can you explain why it works?", screen.good("Done.", 0));
            println!("The questions:    {TOOL} show {number}");
            println!("Another solution: {TOOL} solution {number}");
        }
        (Kind::Build, false) => {
            println!("Stuck?              {TOOL} hint {number}");
            println!("From the beginning: {}", start_again(exercise));
        }
        (Kind::Break, true) => {
            println!("{} The fault is found. Can you explain it?", screen.good("Done.", 0));
            println!("What happens:   {TOOL} solution {number}");
            println!("Take it out:    {}", start_again(exercise));
        }
        (Kind::Break, false) => {
            println!(
                "Nothing is broken yet: the server still keeps this promise. Plant the fault."
            );
            println!("How?  {TOOL} hint {number}");
        }
    }
}

//! `check`: is it red or green, and what was seen.

use std::process::ExitCode;

use super::examine::{Examined, Reader, examine};
use super::judge::{Finding, symptom};
use super::page::{Exercise, Kind, Number};
use super::place::Place;
use super::predict::{self, Prediction};
use super::run::{Run, Verdict, first_errors};
use super::screen::{Screen, say};
use super::stage::Leftover;
use super::{TOOL, explain, stage, start_again};

/// Builds the stage as the learner has left it and runs the test of the exercise. Exit code 0: done.
pub(crate) fn check(
    place: &Place,
    screen: &Screen,
    number: Number,
    step: Option<usize>,
) -> anyhow::Result<ExitCode> {
    let exercise = place.exercise(number)?;
    let exercise = &match step {
        Some(step) => exercise.at_step(step)?,
        None => exercise,
    };
    screen.headline(exercise);
    let (run, finding) = match examine(&place.workspace(), exercise, Reader::Person)? {
        Examined::Ran { run, finding } => (run, finding),
        Examined::DoesNotCompile(said) => {
            say!("\n{}\n", first_errors(&said));
            say!("{}: it does not compile, so nothing was run.", screen.bad("red", 0));
            return Ok(ExitCode::FAILURE);
        }
    };
    let changed = stage::changed(place, exercise);
    tell(screen, exercise, &run, &cause(screen, exercise, &finding, changed.as_deref()));
    say!("");
    conclude(place, screen, exercise, &finding, changed.as_deref());
    let done = finding == Finding::Done;
    if done && step.is_none() {
        let seen =
            symptom(exercise, &run).map(|symptom| Prediction::new(symptom.how, test(exercise)));
        if let (Some(predicted), Some(seen)) = (predict::of(place, number), &seen) {
            say!("");
            predict::beside(screen, exercise, &predicted, seen);
        }
        place.done(exercise, seen.as_ref());
    }
    // Changes of no exercise are the learner's own.
    let leftover = place.leftovers(exercise).filter(|left| !matches!(left, Leftover::Changes(_)));
    if let Some(leftover) = leftover.filter(|_| !done) {
        say!("\nBesides: {leftover}. Take it out: {}", start_again(place, exercise));
    }
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The test that is to turn red or green. Of several the first.
fn test(exercise: &Exercise) -> &str {
    exercise.test.names().next().map_or("", String::as_str)
}

/// One screen: what was done, what was seen, what it may mean.
fn tell(screen: &Screen, exercise: &Exercise, run: &Run, cause: &str) {
    say!("{}\n", headline(screen, run));
    say!("{}", screen.strong("What was done to your server"));
    say!("{}", screen.prose(&exercise.done_to_it));
    say!("\n{}", screen.strong("What was seen"));
    if run.verdict == Verdict::Green {
        say!("Everything that was asked for.");
    }
    explain::what_was_seen(run).iter().for_each(|line| say!("{line}"));
    if let Some(counters) = run.observed.in_words() {
        say!("{counters}");
    }
    if !cause.is_empty() {
        say!("\n{cause}");
    }
}

/// Why the answer is not the one that was asked for, below a heading. Of a task that has not been begun there is
/// no cause to look for.
fn cause(
    screen: &Screen,
    exercise: &Exercise,
    finding: &Finding,
    changed: Option<&[String]>,
) -> String {
    match finding {
        Finding::Red(_) if exercise.kind == Kind::Build && changed == Some(&[]) => {
            "You have changed nothing yet: this is what is to be built.".to_owned()
        }
        Finding::Red(cause) => {
            format!("{}\n{}", screen.strong("Likely cause"), screen.lines(&cause.text))
        }
        Finding::Done | Finding::NothingBroken => String::new(),
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

fn conclude(
    place: &Place,
    screen: &Screen,
    exercise: &Exercise,
    finding: &Finding,
    changed: Option<&[String]>,
) {
    let number = exercise.number;
    if let (Some(step), Finding::Done) = (exercise.step, finding) {
        let steps = exercise.steps.len();
        say!("{} That was step {step} of {steps}.", screen.good("Done.", 0));
        match step == steps {
            true => say!("All of it: {TOOL} check {number}"),
            false => say!("The next:  {TOOL} check {number} --step {}", step + 1),
        }
        return;
    }
    match (exercise.kind, finding) {
        (Kind::Build, Finding::Done) => {
            say!("{} Can you explain why it works?", screen.good("Done.", 0));
            say!("The questions:    {TOOL} show {number}");
            say!("Another solution: {TOOL} solution {number}");
        }
        (Kind::Break, Finding::Done) => {
            say!("{} The fault is found. Can you explain it?", screen.good("Done.", 0));
            say!("What happens:   {TOOL} solution {number}");
            say!("Take it out:    {}", start_again(place, exercise));
        }
        (_, Finding::NothingBroken) => {
            say!("{}", nothing_broken(changed.unwrap_or_default()));
            say!("How?  {TOOL} hint {number}");
        }
        (_, Finding::Red(_)) => {
            say!("Stuck?              {TOOL} hint {number}");
            say!("From the beginning: {}", start_again(place, exercise));
        }
    }
}

/// What a learner hears whose test is still green.
fn nothing_broken(changed: &[String]) -> String {
    match changed {
        [] => "Nothing is broken yet: the server still keeps this promise. Plant the fault."
            .to_owned(),
        files => format!(
            "You have changed {}, and the test does not notice: it is not the fault that is meant.",
            files.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::observe::Observed;
    use super::*;

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

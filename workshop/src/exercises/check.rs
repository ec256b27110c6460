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

/// What came of a check, in short.
pub(crate) struct Checked {
    pub(crate) done: bool,
    /// The test that is shown, which may be one of the rest.
    pub(crate) is_green: bool,
}

impl Checked {
    /// 0: done.
    pub(crate) fn code(&self) -> ExitCode {
        if self.done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Builds the stage as the learner has left it and runs the test of the exercise.
pub(crate) fn check(
    place: &Place,
    screen: &Screen,
    number: Number,
    step: Option<usize>,
) -> anyhow::Result<Checked> {
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
            return Ok(Checked { done: false, is_green: false });
        }
    };
    let found = Found {
        changed: stage::changed(place, exercise),
        left: place.known_leftovers(exercise),
        finding,
    };
    tell(screen, exercise, &run, &cause(screen, exercise, &found));
    say!("");
    conclude(place, screen, exercise, &found);
    let Found { left, finding, .. } = found;
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
    match left.filter(|_| !done) {
        Some(Leftover::Finished(_)) => stage::tell_known_leftover(place, screen, exercise),
        Some(left) => say!("\nBesides: {left}. Take it out: {}", start_again(place, exercise)),
        None => {}
    }
    Ok(Checked { done, is_green: run.verdict == Verdict::Green })
}

/// What a check has found out.
struct Found {
    finding: Finding,
    /// The files in which the learner has changed something for this exercise. `None`: we cannot tell.
    changed: Option<Vec<String>>,
    /// What is known to be of another exercise.
    left: Option<Leftover>,
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
fn cause(screen: &Screen, exercise: &Exercise, found: &Found) -> String {
    let Finding::Red(cause) = &found.finding else { return String::new() };
    if exercise.kind == Kind::Build && found.changed.as_deref() == Some(&[]) {
        return match &found.left {
            Some(left) => format!("Nothing is built for {} yet. {}", exercise.number, before(left)),
            None => "You have changed nothing yet: this is what is to be built.".to_owned(),
        };
    }
    // The first to be suspected of a broken promise.
    let left = found.left.as_ref().filter(|_| cause.breaks_a_promise());
    let left = left.map(|left| format!("In {} {left}.\n", exercise.sources)).unwrap_or_default();
    format!("{}\n{}", screen.strong("Likely cause"), screen.lines(&(left + &cause.text)))
}

/// Where it is from.
fn before(left: &Leftover) -> String {
    match left {
        Leftover::Finished(finished) => {
            format!("The changes in {} are from before.", finished.files.join(", "))
        }
        other => format!("Only {other}."),
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

fn conclude(place: &Place, screen: &Screen, exercise: &Exercise, found: &Found) {
    let finding = &found.finding;
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
            match screen.has_keys() {
                true => say!("Another solution: press s twice"),
                false => say!("Another solution: {TOOL} solution {number}"),
            }
        }
        (Kind::Break, Finding::Done) => {
            say!("{} The fault is found. Can you explain it?", screen.good("Done.", 0));
            if screen.has_keys() {
                say!("What happens: press s twice");
            } else {
                say!("What happens:   {TOOL} solution {number}");
                say!("Take it out:    {}", start_again(place, exercise));
            }
        }
        (_, Finding::NothingBroken) => {
            say!("{}", nothing_broken(number, found));
            match screen.has_keys() {
                true => say!("How?  press h"),
                false => say!("How?  {TOOL} hint {number}"),
            }
        }
        (_, Finding::Red(_)) => {
            match screen.has_keys() {
                true => say!("Stuck?              press h"),
                false => say!("Stuck?              {TOOL} hint {number}"),
            }
            say!("From the beginning: {}", start_again(place, exercise));
        }
    }
}

/// What a learner hears whose test is still green.
fn nothing_broken(number: Number, found: &Found) -> String {
    match (found.changed.as_deref().unwrap_or_default(), &found.left) {
        ([], Some(left)) => format!("Nothing is planted for {number} yet. {}", before(left)),
        ([], None) => {
            "Nothing is broken yet: the server still keeps this promise. Plant the fault."
                .to_owned()
        }
        (files, _) => format!(
            "You have changed {}, and the test does not notice: it is not the fault that is meant.",
            files.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::judge::Cause;
    use super::super::observe::Observed;
    use super::*;

    const BREAK: &str = include_str!("../../../docs/src/exercises/5.6.md");
    const BUILD: &str = include_str!("../../../docs/src/exercises/5.7.md");

    fn found(finding: Finding, changed: &[&str], left: Option<Leftover>) -> Found {
        let changed = changed.iter().map(|file| (*file).to_owned()).collect();
        Found { finding, changed: Some(changed), left }
    }

    fn finished(files: &[&str]) -> Option<Leftover> {
        let files = files.iter().map(|file| (*file).to_owned()).collect();
        let number = "5.3".parse().unwrap();
        Some(Leftover::Finished(stage::Finished { number, files, beside: vec![] }))
    }

    fn red(key: &str) -> Finding {
        Finding::Red(Cause { key: key.to_owned(), also: vec![], text: "The text.".to_owned() })
    }

    #[test]
    fn changes_from_before_are_not_taken_for_the_answer() {
        let number = "5.6".parse().unwrap();
        let said = |changed: &[&str], left| {
            nothing_broken(number, &found(Finding::NothingBroken, changed, left))
        };
        let before = "Nothing is planted for 5.6 yet. The changes in a.rs, b.rs are from before.";
        assert_eq!(said(&[], finished(&["a.rs", "b.rs"])), before);
        let fault = Some(Leftover::Patch("6.3".parse().unwrap(), Kind::Break));
        let only = "Nothing is planted for 5.6 yet. Only the fault of 6.3 is still in.";
        assert_eq!(said(&[], fault), only);
        assert!(said(&[], None).starts_with("Nothing is broken yet"));
        assert!(said(&["c.rs"], finished(&["a.rs"])).starts_with("You have changed c.rs, and"));
        let build = Exercise::parse(BUILD).unwrap();
        let left = found(red("hangs"), &[], finished(&["a.rs"]));
        let said = cause(&Screen::plain(), &build, &left);
        assert_eq!(said, "Nothing is built for 5.7 yet. The changes in a.rs are from before.");
    }

    #[test]
    fn of_a_broken_promise_what_is_left_from_before_is_suspected_first() {
        let drill = Exercise::parse(BREAK).unwrap();
        let said = |key, left| cause(&Screen::plain(), &drill, &found(red(key), &["c.rs"], left));
        let promise = said("breaks a_test", finished(&["a.rs"]));
        let first = "In stage5-mio/src there are changes in a.rs; with them you finished 5.3.";
        assert!(promise.ends_with(&format!("Likely cause\n{first}\nThe text.")), "{promise}");
        for other in [said("breaks a_test", None), said("another fault: silence", finished(&[]))] {
            assert!(other.ends_with("Likely cause\nThe text."), "{other}");
        }
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

//! From what was seen to a verdict and its cause.

use super::explain::{gave_up, listened, server_panic, server_said};
use super::observe::Rates;
use super::page::{Exercise, Kind, Symptom};
use super::predict::How;
use super::run::{Run, Verdict};
use super::screen::grouped;

/// The share of a core from which on a server that has nothing to do spins. What it wants counts, and not
/// what it gets: on a busy machine one that spins may get little.
const SPINS: f64 = 0.4;

/// Wake-ups in a second from which on the kernel wakes it for nothing.
const RESTLESS: f64 = 1_000.0;

/// What `check` makes of an answer.
#[derive(Debug, PartialEq)]
pub(crate) enum Finding {
    /// What was to be built stands, or what was to be broken is broken, and the rest of the stage is whole.
    Done,
    /// The test of a drill is green.
    NothingBroken,
    Red(Cause),
}

/// Why an answer is not the one that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cause {
    /// What the page says that the test says; or a word of ours, when the page says nothing.
    pub(crate) key: String,
    /// Other words that are as true: of several broken promises each is a cause.
    pub(crate) also: Vec<String>,
    /// For the learner.
    pub(crate) text: String,
}

impl Cause {
    fn new(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { key: key.into(), also: Vec::new(), text: text.into() }
    }

    /// The test of the exercise is as it should be, and another test of the stage is red.
    pub(crate) fn breaks_a_promise(&self) -> bool {
        self.key.starts_with("breaks ")
    }
}

impl Finding {
    /// In a word: what an answer in the repository says that it comes to.
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Done => "done",
            Self::NothingBroken => "nothing is broken",
            Self::Red(cause) => &cause.key,
        }
    }

    /// Whether that word is true of it.
    pub(crate) fn is(&self, key: &str) -> bool {
        let also = matches!(self, Self::Red(cause) if cause.also.iter().any(|also| also == key));
        also || self.key() == key
    }
}

/// What the test of the exercise alone says. `Done` is not yet the last word: see [`judge_the_rest`].
pub(crate) fn judge(exercise: &Exercise, run: &Run) -> Finding {
    match (exercise.kind, run.verdict) {
        (Kind::Build, Verdict::Green) => Finding::Done,
        (Kind::Build, _) => Finding::Red(likely_cause(exercise, run)),
        (Kind::Break, Verdict::Green) => Finding::NothingBroken,
        (Kind::Break, _) if symptom(exercise, run).is_some() => Finding::Done,
        (Kind::Break, _) => Finding::Red(another_fault(run)),
    }
}

/// What the other promises of the stage say, those that the exercise does not take back.
pub(crate) fn judge_the_rest(exercise: &Exercise, run: &Run) -> Finding {
    let broken: Vec<_> = failed_tests(&run.output).collect();
    let Some(first) = broken.first() else {
        return match run.verdict {
            Verdict::Green => Finding::Done,
            _ => Finding::Red(Cause::new("breaks another promise", killed(run.verdict))),
        };
    };
    let others = match broken.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    let what = match exercise.kind {
        Kind::Build => "This exercise does not take that back",
        Kind::Break => "That is another fault, or more than the one that was asked for",
    };
    let text = format!(
        "The test of the exercise is as it should be, but a promise of the stage is broken{others}: \
         {first}.\n{what}.\nTo see it alone: cargo test -p {} --test {} -- --exact {first}",
        exercise.package,
        exercise.rest(),
    );
    let mut cause = Cause::new(format!("breaks {first}"), text);
    cause.also = broken[1..].iter().map(|name| format!("breaks {name}")).collect();
    Finding::Red(cause)
}

/// How the other tests of the stage ended, in a line.
pub(crate) fn the_rest_in_words(exercise: &Exercise, run: &Run) -> String {
    let broken: Vec<_> = failed_tests(&run.output).collect();
    let passed = |line: &str| {
        let counts = line.strip_prefix("test result: ok. ")?;
        counts.split_once(" passed")?.0.parse::<usize>().ok()
    };
    match run.verdict {
        _ if !broken.is_empty() => format!("the other tests: {} red", broken.join(", ")),
        Verdict::Green => {
            let passed: usize = run.output.lines().filter_map(passed).sum();
            let left_out = match exercise.taken_back.len() {
                0 => String::new(),
                n => format!(" (left out: {})", left_out(exercise.kind, n)),
            };
            format!("the other tests: {passed} green{left_out}")
        }
        _ => "the other tests: killed before they were over".to_owned(),
    }
}

/// The tests that the page gives up, in words.
fn left_out(kind: Kind, n: usize) -> String {
    let n = if n == 1 { "one".to_owned() } else { n.to_string() };
    match kind {
        Kind::Break => format!("the {n} that this fault turns red as well"),
        Kind::Build => format!("the {n} that the page takes back"),
    }
}

fn killed(verdict: Verdict) -> String {
    let why =
        if verdict == Verdict::Bloated { "it took too much memory" } else { "it did not end" };
    format!(
        "The test of the exercise is as it should be, but the rest of the contract was killed: {why}."
    )
}

/// The names in the list of failures at the end of a run. If it was killed before that: those with a verdict.
pub(crate) fn failed_tests(output: &str) -> impl Iterator<Item = &str> {
    let list = output.rsplit_once("\nfailures:\n").map(|(_, list)| list);
    let so_far = output.lines().filter(move |_| list.is_none());
    let so_far = so_far.filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    let all = list.unwrap_or_default().lines().map_while(|line| line.strip_prefix("    "));
    all.chain(so_far)
}

/// Which symptom of a drill was seen.
pub(crate) fn symptom<'a>(exercise: &'a Exercise, run: &Run) -> Option<&'a Symptom> {
    exercise.symptoms.iter().find(|symptom| fits(symptom, run))
}

fn fits(symptom: &Symptom, run: &Run) -> bool {
    let said = symptom.says.as_ref().map(|text| run.output.contains(text.as_str()));
    if said == Some(false) {
        return false;
    }
    match symptom.how {
        // What the test says decides; of a server that is gone it would say other things.
        How::WrongAnswer => said.is_some() && !has_ended(run),
        How::TooMuch => (said.is_some() || run.verdict == Verdict::Bloated) && !has_ended(run),
        How::Silence => has_timed_out(run) && !has_ended(run),
        How::Spin => (said.is_some() || is_restless(run)) && !has_ended(run),
        // If the text is in the log, the end is that of the server. If not, it is that of one client, and a
        // server that has ended would be another fault.
        How::End => {
            let is_last_word = |text: &String| server_said(text, &run.output);
            let of_the_server = symptom.says.as_ref().is_none_or(is_last_word);
            has_ended(run) == of_the_server && !has_timed_out(run)
        }
    }
}

/// How a run failed, as far as it can be told without knowing what was asked for.
pub(crate) fn how(run: &Run) -> How {
    match run.verdict {
        Verdict::Bloated => How::TooMuch,
        _ if has_ended(run) => How::End,
        _ if has_timed_out(run) && is_restless(run) => How::Spin,
        _ if has_timed_out(run) => How::Silence,
        _ => How::WrongAnswer,
    }
}

/// Whether the server ended before we ended it. The test kit says so when a test fails; and one that panics or gives up
/// may need longer for its last words than the test for its own.
fn has_ended(run: &Run) -> bool {
    // The examples are tested in the test's own process.
    let panics = |lines: String| lines.starts_with("thread 'main'") || lines.contains("/examples/");
    run.output.contains("the server has ended")
        || !listened(&run.output)
        || gave_up(&run.output)
        || server_panic(&run.output).is_some_and(panics)
}

/// The test has waited, until it or we had had enough.
fn has_timed_out(run: &Run) -> bool {
    run.verdict == Verdict::Hung || run.output.contains("timed out")
}

fn is_restless(run: &Run) -> bool {
    let rates = run.observed.rates();
    rates.is_some_and(|rates| rates.wakeups_per_second > RESTLESS || rates.wanted > SPINS)
}

fn another_fault(run: &Run) -> Cause {
    let how = how(run);
    // A unit test fails in the folder of the sources, too.
    let has_panicked = server_panic(&run.output).is_some_and(|lines| !lines.contains("/tests.rs:"));
    // What was said, by the test or the server, is shown above.
    let what = match how {
        _ if has_panicked => "the server panicked, and its clients lost their connections",
        _ if !listened(&run.output) => "the server ended before it listened",
        How::End => "the server ended, and its clients lost their connections",
        How::Spin => "the server takes a core, and what the test waits for does not come",
        How::Silence => "a client got no answer, and the server itself has not ended",
        How::TooMuch => "the server took more than a gigabyte of memory",
        How::WrongAnswer => "",
    };
    let what = if what.is_empty() { String::new() } else { format!(": {what}") };
    let text = format!(
        "Another fault: the test is red, but not by the fault that was asked for. It shows as {how}{what}; see \
         \"What was seen\"."
    );
    Cause::new(format!("another fault: {how}"), text)
}

/// The most likely cause. What the page says goes before what can be said of any server.
fn likely_cause(exercise: &Exercise, run: &Run) -> Cause {
    if server_panic(&run.output).is_some() {
        // An example, and the simulation, run in the test's own process.
        let gone = match exercise.is_about_a_server() {
            true => "The server panicked, and with it every client is gone",
            false => "Your code panicked",
        };
        let text = format!("{gone}. What it said is above.");
        return Cause::new("panics", text);
    }
    if let Some((seen, why)) = exercise.causes.iter().find(|(seen, _)| run.output.contains(seen)) {
        return Cause::new(seen, why);
    }
    if !listened(&run.output) {
        return Cause::new(
            "does not listen",
            "The server ended before it listened. What it said is above.",
        );
    }
    if has_ended(run) {
        return Cause::new("ends", "The server ended, and with it every client is gone.");
    }
    if let Some(cause) = from_the_counters(run, run.observed.rates()) {
        return cause;
    }
    if run.verdict == Verdict::Hung {
        return Cause::new("hangs", "The test waits for something that never comes.");
    }
    let text = "Read what the test says, then its source: it is the task, line by line.";
    Cause::new("unknown", text)
}

fn from_the_counters(run: &Run, rates: Option<Rates>) -> Option<Cause> {
    if run.verdict == Verdict::Bloated {
        let text =
            "Its memory grows without bound: it takes bytes in and has no limit on what it keeps.";
        return Some(Cause::new("memory", text));
    }
    if !has_timed_out(run) {
        return None;
    }
    let Rates { cpu, wanted, wakeups_per_second } = rates?;
    Some(if wakeups_per_second > RESTLESS {
        let text = format!(
            "{} wake-ups in a second, and the test still waits: the kernel names a client again and \
             again, and the server does not do what would silence it.",
            grouped(wakeups_per_second as u64)
        );
        Cause::new("woken for nothing", text)
    } else if wanted > SPINS {
        let text = format!(
            "{:.0} % of a core, and the test still waits: it spins in a loop that asks, gets the same \
             answer and asks again. Which call never says what ends your loop?",
            cpu * 100.0
        );
        Cause::new("spins", text)
    } else {
        let text = "It sleeps, and the test waits for something that no event will bring: bytes that were \
                    left in a kernel buffer or an outbox, a client that was not marked, an end that was not \
                    passed on.";
        Cause::new("sleeps", text)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::observe::Observed;
    use super::*;

    const BUILD: &str = include_str!("../../../docs/src/exercises/5.7.md");
    const BREAK: &str = include_str!("../../../docs/src/exercises/5.1.md");

    fn ran(verdict: Verdict, output: &str) -> Run {
        let (output, observed) = (output.to_owned(), Observed::default());
        Run { verdict, output, elapsed: Duration::ZERO, observed }
    }

    fn drill(how: How, says: Option<&str>) -> Exercise {
        let mut exercise = Exercise::parse(BREAK).unwrap();
        exercise.symptoms = vec![Symptom { how, says: says.map(str::to_owned) }];
        exercise
    }

    #[track_caller]
    fn check(exercise: &Exercise, verdict: Verdict, output: &str, key: &str) {
        assert_eq!(judge(exercise, &ran(verdict, output)).key(), key);
    }

    #[test]
    fn a_drill_is_done_when_its_symptom_is_seen_and_not_at_any_red() {
        let drill = drill(How::Silence, Some("not a clean end"));
        let silent = "not a clean end: timed out after 2 s\nthe server sleeps in epoll_wait\n";
        check(&drill, Verdict::Red, silent, "done");
        check(&drill, Verdict::Green, "", "nothing is broken");
        check(&drill, Verdict::Red, "not a clean end: reset", "another fault: a wrong answer");
        check(&drill, Verdict::Red, "cannot send: timed out", "another fault: silence");
        let gone = "not a clean end: timed out after 2 s\nthe server has ended: exit status: 101\n";
        check(&drill, Verdict::Red, gone, "another fault: an end");
    }

    #[test]
    fn a_panic_is_no_wrong_answer() {
        let drill = drill(How::WrongAnswer, Some("3 bytes are missing"));
        check(&drill, Verdict::Red, "3 bytes are missing", "done");
        let gone = "3 bytes are missing\nthe server has ended: exit status: 101\n";
        check(&drill, Verdict::Red, gone, "another fault: an end");
        let going = "3 bytes are missing\nthe server runs\nlog: thread 'main' (7) panicked at stage4-epoll/src/a.rs:1:2:\nno\n";
        check(&drill, Verdict::Red, going, "another fault: an end");
    }

    #[test]
    fn the_end_of_a_client_is_told_from_the_end_of_the_server() {
        let client = drill(How::End, Some("not a clean end: reset"));
        let server = drill(How::End, Some("cannot go on"));
        let reset = "not a clean end: reset\nthe server runs\n";
        check(&client, Verdict::Red, reset, "done");
        let gone = "log: error: cannot go on\nnot a clean end: reset\nthe server has ended: 1\n";
        check(&client, Verdict::Red, gone, "another fault: an end");
        check(&server, Verdict::Red, gone, "done");
        check(&server, Verdict::Red, reset, "another fault: a wrong answer");
    }

    #[test]
    fn the_end_of_the_server_is_found_in_whatever_order_it_and_the_test_have_spoken() {
        let drill = drill(How::End, Some("cannot go on: Interrupted"));
        let panic = "thread 'a' (7) panicked at tests/a.rs:1:2:\ncannot read: reset";
        let advice =
            "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace";
        let (why, ended) =
            ("Error: cannot go on: Interrupted system call", "the server has ended: 1");
        for said in [
            format!("log: {why}\n{panic}\n{advice}\n{ended}\n"),
            format!("{panic}\n{advice}\n{ended}\nlog: {why}\n"),
            format!("log: \n{panic}\n{why}\n{advice}\n{ended}\n"),
            format!("{panic}\nlog: {advice}\n{why}\n{ended}\n"),
            format!("{panic}{why}\n{advice}\n{ended}\n"),
            format!("{panic}\n{advice}\nthe server runs\nlog: {why}\n"),
        ] {
            check(&drill, Verdict::Red, &said, "done");
        }
    }

    #[test]
    fn a_unit_test_that_fails_is_no_panic_of_the_server() {
        let said = "thread 'a' (7) panicked at stage5-mio/src/connection/tests.rs:1:2:\n8 reads\n";
        let cause = another_fault(&ran(Verdict::Red, said));
        assert!(!cause.text.contains("panicked"), "{cause:?}");
    }

    #[test]
    fn another_fault_is_told_by_the_way_it_failed_and_what_was_said_is_not_repeated() {
        let text = |said: &str| another_fault(&ran(Verdict::Red, said)).text;
        let silent = text("thread 'a' (7) panicked at tests/a.rs:1:2:\ntimed out\n");
        assert!(silent.contains(
            "shows as silence: a client got no answer, and the server itself has not ended; see"
        ));
        let panic =
            text("log: thread 'main' (7) panicked at stage4-epoll/src/a.rs:1:2:\nlog: no\n");
        assert!(panic.contains("the server panicked,") && !panic.contains("a.rs"), "{panic}");
        let wrong = text("thread 'a' (7) panicked at tests/a.rs:1:2:\nleft: 1\n");
        assert!(wrong.contains("It shows as a wrong answer; see \"What was seen\"."), "{wrong}");
    }

    #[test]
    fn a_server_that_grew_too_large_was_too_much() {
        check(&drill(How::TooMuch, None), Verdict::Bloated, "", "done");
        check(&drill(How::Silence, None), Verdict::Bloated, "", "another fault: too much");
    }

    #[test]
    fn what_the_page_says_goes_before_what_can_be_said_of_any_server() {
        let exercise = Exercise::parse(BUILD).unwrap();
        check(&exercise, Verdict::Green, "", "done");
        check(&exercise, Verdict::Red, "7 came back as 8", "came back as");
        check(&exercise, Verdict::Red, "something else", "unknown");
        let panic = "thread 'main' (7) panicked at stage5-mio/src/server.rs:12:3:\nindex\n";
        check(&exercise, Verdict::Red, &format!("{panic}7 came back as 8"), "panics");
        check(&exercise, Verdict::Bloated, "", "memory");
        check(&exercise, Verdict::Red, "a\nthe server has ended: exit status: 0", "ends");
    }

    #[test]
    fn a_broken_promise_of_the_stage_is_named() {
        let exercise = Exercise::parse(BUILD).unwrap();
        let rest = |verdict, output: &str| judge_the_rest(&exercise, &ran(verdict, output));
        assert_eq!(rest(Verdict::Green, "running 3 tests\n"), Finding::Done);
        let output =
            "---- a stdout ----\n\nfailures:\n\n---- a\n\nfailures:\n    a\n    b\n\ntest result";
        assert_eq!(failed_tests(output).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(rest(Verdict::Red, output).key(), "breaks a");
        assert!(
            rest(Verdict::Red, output).is("breaks b") && !rest(Verdict::Red, output).is("breaks c")
        );
        let whole = Exercise { taken_back: Vec::new(), ..exercise.clone() };
        let words = |verdict, output: &str| the_rest_in_words(&whole, &ran(verdict, output));
        let green = "running 3 tests\ntest a ... ok\n\ntest result: ok. 3 passed; 0 failed;";
        assert_eq!(words(Verdict::Green, green), "the other tests: 3 green");
        assert_eq!(words(Verdict::Red, output), "the other tests: a, b red");
        let drill =
            Exercise { kind: Kind::Break, taken_back: vec!["a".to_owned(); 6], ..whole.clone() };
        let said = the_rest_in_words(&drill, &ran(Verdict::Green, green));
        assert!(
            said.ends_with(" 3 green (left out: the 6 that this fault turns red as well)"),
            "{said}"
        );
        assert!(
            words(Verdict::Hung, "running 3 tests\n").ends_with("killed before they were over")
        );
        let killed = "running 3 tests\ntest a ... ok\ntest b ... FAILED\n";
        assert_eq!(rest(Verdict::Hung, killed).key(), "breaks b");
        assert_eq!(rest(Verdict::Hung, "running 3 tests\n").key(), "breaks another promise");
    }

    #[test]
    fn a_test_that_waited_is_told_by_what_its_server_does() {
        let cause = |cpu, wanted, wakeups_per_second| {
            let rates = Rates { cpu, wanted, wakeups_per_second };
            from_the_counters(&ran(Verdict::Hung, ""), Some(rates)).unwrap().key
        };
        assert_eq!(cause(0.98, 0.99, 12.0), "spins");
        assert_eq!(cause(0.98, 0.99, 48_213.0), "woken for nothing");
        assert_eq!(cause(0.0, 0.01, 1.0), "sleeps");
        assert_eq!(cause(0.24, 0.97, 1.0), "spins", "and another process has the core");
        assert_eq!(from_the_counters(&ran(Verdict::Red, ""), None), None);
    }
}

//! From what was seen to its likely cause.

use super::observe::Rates;
use super::page::Exercise;
use super::run::{Run, Verdict};
use super::screen::grouped;

/// The share of a core from which on a server that has nothing to do spins. What it wants counts, and not
/// what it gets: on a busy machine one that spins may get little.
const SPINS: f64 = 0.4;

/// Wake-ups in a second from which on somebody wakes it for nothing.
const RESTLESS: f64 = 1_000.0;

/// How many lines of a failed test are shown.
const LINES: usize = 12;

/// The testkit's heading over what a server has logged, when a test fails.
const SERVERS_LOG: &str = "the server's log:";

/// What the test said, without what every test says.
pub(crate) fn what_was_seen(run: &Run) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut wanted = false;
    let output = unquoted(&run.output);
    let mut rest = output.lines().peekable();
    while let Some(line) = rest.next() {
        let line = behind_the_name(line);
        let has_log = line == SERVERS_LOG && rest.peek().is_some_and(|next| !next.is_empty());
        let starts = has_log || line.starts_with("seen: ") || line.contains("panicked at ");
        wanted = starts || (wanted && !ends_what_was_seen(line));
        if wanted && lines.len() < LINES {
            lines.push(line.to_owned());
        }
    }
    lines
}

fn behind_the_name(line: &str) -> &str {
    name_and_rest(line).map_or(line, |(_, said)| said)
}

/// The test's name, `test e3_1 ... `, is not followed by a new line: its verdict will stand there. So what
/// the test says first is behind it.
fn name_and_rest(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("test ")?.split_once(" ... ")
}

fn ends_what_was_seen(line: &str) -> bool {
    const ENDS: [&str; 3] = ["stack backtrace", "note: ", SERVERS_LOG];
    line.is_empty() || is_verdict(line) || ENDS.iter().any(|end| line.starts_with(end))
}

fn is_verdict(line: &str) -> bool {
    matches!(line, "ok" | "FAILED")
}

/// The words of the testkit for a server that ended before it listened.
const DID_NOT_LISTEN: &str = "no word of where it listens";

/// Whether a server was there to be tested.
pub(crate) fn listened(output: &str) -> bool {
    !output.contains(DID_NOT_LISTEN)
}

/// What such a server has said is quoted, all of it on one line. This breaks it into lines again.
fn unquoted(output: &str) -> String {
    let unquote = |line: &str| match line.starts_with(DID_NOT_LISTEN) {
        true => line.replace("\\n", "\n") + "\n",
        false => format!("{line}\n"),
    };
    output.lines().map(unquote).collect()
}

/// The test that had begun, and has no verdict.
pub(crate) fn unfinished(output: &str) -> Option<&str> {
    let mut running = None;
    for line in output.lines() {
        running = name_and_rest(line).map(|(name, _)| name).or(running);
        if is_verdict(behind_the_name(line)) {
            running = None;
        }
    }
    running
}

/// The lines of the output in which the server itself gave up: where, and why.
fn server_panic(output: &str) -> Option<String> {
    let is_ours = |line: &&str| line.contains("panicked at stage") && line.contains("/src/");
    let output = unquoted(output);
    let mut lines = output.lines().skip_while(|line| !is_ours(line));
    Some(format!("{}\n{}", lines.next()?.trim(), lines.next().unwrap_or_default().trim()))
}

/// The most likely cause. What the page says goes before what can be said of any server.
pub(crate) fn likely_cause(exercise: &Exercise, run: &Run) -> String {
    if let Some(lines) = server_panic(&run.output) {
        return format!("The server panicked, and with it every client is gone:\n{lines}");
    }
    if let Some(cause) = from_the_counters(run.verdict, run.observed.rates()) {
        return cause;
    }
    let from_the_page = exercise.causes.iter().find(|(seen, _)| run.output.contains(seen.as_str()));
    if let Some((_, cause)) = from_the_page {
        return cause.clone();
    }
    if !listened(&run.output) {
        return "The server ended before it listened. What it said is above.".to_owned();
    }
    match run.verdict {
        Verdict::Hung => "The test waits for something that never comes.".to_owned(),
        _ => "Read what the test says, then its source: it is the task, line by line.".to_owned(),
    }
}

fn from_the_counters(verdict: Verdict, rates: Option<Rates>) -> Option<String> {
    if verdict == Verdict::Bloated {
        return Some(
            "Its memory grows without bound: it takes bytes in and has no limit on what it keeps."
                .to_owned(),
        );
    }
    if verdict != Verdict::Hung {
        return None;
    }
    let Rates { cpu, wanted, wakeups_per_second } = rates?;
    Some(if wakeups_per_second > RESTLESS {
        format!(
            "{} wake-ups in a second, and the test still waits: the kernel names somebody again and \
             again, and nobody does what would silence it.",
            grouped(wakeups_per_second as u64)
        )
    } else if wanted > SPINS {
        format!(
            "{:.0} % of a core, and the test still waits: it spins in a loop that asks, gets the same \
             answer and asks again. Which call never says what ends your loop?",
            cpu * 100.0
        )
    } else {
        "It sleeps, and the test waits for something that no event will bring: bytes that were left in \
         a kernel buffer or an outbox, a client who was not marked, an end that was not passed on."
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::super::observe::Observed;
    use super::*;

    #[track_caller]
    fn check_seen(output: &str, expected: &[&str]) {
        let (output, elapsed) = (output.to_owned(), std::time::Duration::ZERO);
        let run = Run { verdict: Verdict::Red, output, elapsed, observed: Observed::default() };
        assert_eq!(what_was_seen(&run), expected);
    }

    #[test]
    fn what_a_test_says_first_stands_behind_its_name() {
        check_seen(
            "\nrunning 1 test\ntest e3_1 ... seen: 18 µs\nseen: 90 % of a core\nok\n\ntest result: ok.",
            &["seen: 18 µs", "seen: 90 % of a core"],
        );
        check_seen("test e3_1 ... ok\ntest e3_2 ... seen: 1\nFAILED\n", &["seen: 1"]);
    }

    #[test]
    fn the_log_of_the_server_is_seen_unless_there_is_none() {
        let panic = "panicked at a.rs:1:2:\nno\nnote: run with\nthe server's log:\n";
        let cannot = "Error: cannot go on: Interrupted system call";
        check_seen(
            &format!("{panic}{cannot}\n\nFAILED\n"),
            &["panicked at a.rs:1:2:", "no", "the server's log:", cannot],
        );
        check_seen(&format!("{panic}\nFAILED\n"), &["panicked at a.rs:1:2:", "no"]);
    }

    #[test]
    fn what_a_server_said_that_never_listened_is_more_than_one_line() {
        let output = "thread 'e5_1' (7) panicked at tests/exercises.rs:1:2:\n\
            no word of where it listens: \"\", Output { stderr: \"\\nthread 'main' (8) panicked at \
            stage5-mio/src/main.rs:3:4:\\nno\\nstack backtrace:\\n   0: main\\n\" }\nnote: run with";
        let panic = ["thread 'main' (8) panicked at stage5-mio/src/main.rs:3:4:", "no"];
        let test = "thread 'e5_1' (7) panicked at tests/exercises.rs:1:2:";
        let words = "no word of where it listens: \"\", Output { stderr: \"";
        check_seen(output, &[test, words, panic[0], panic[1]]);
        assert_eq!(server_panic(output), Some(panic.join("\n")));
        assert!(!listened(output) && listened("test e5_1 ... ok"));
    }

    #[test]
    fn the_test_that_hangs_is_the_one_without_a_verdict() {
        assert_eq!(unfinished("running 2 tests\ntest a ... ok\ntest b ... "), Some("b"));
        assert_eq!(unfinished("test a ... seen: 1\nok\ntest b ... seen: 2\n"), Some("b"));
        assert_eq!(unfinished("test a ... seen: 1\nFAILED\n"), None);
        assert_eq!(unfinished("running 1 test\n"), None);
    }

    #[test]
    fn of_a_panic_the_message_is_seen_and_not_what_is_behind_it() {
        check_seen(
            "test e3_1 ... \nthread 'e3_1' (7) panicked at a.rs:1:2:\nleft: 1\nright: 2\nnote: run with",
            &["thread 'e3_1' (7) panicked at a.rs:1:2:", "left: 1", "right: 2"],
        );
    }

    #[test]
    fn a_test_that_hangs_is_told_by_what_its_server_does() {
        let cause = |cpu, wanted, wakeups_per_second| {
            let rates = Rates { cpu, wanted, wakeups_per_second };
            from_the_counters(Verdict::Hung, Some(rates)).unwrap()
        };
        assert!(cause(0.98, 0.99, 12.0).contains("it spins"));
        assert!(cause(0.98, 0.99, 48_213.0).contains("48,213 wake-ups"));
        assert!(cause(0.0, 0.01, 1.0).contains("It sleeps"));
        assert!(cause(0.24, 0.97, 1.0).contains("it spins"), "and somebody else has the core");
        assert_eq!(from_the_counters(Verdict::Red, None), None);
    }

    #[test]
    fn a_panic_of_the_server_is_told_from_one_of_the_test() {
        let output =
            "thread 'main' (7) panicked at stage5-mio/src/server.rs:12:3:\nindex out of bounds";
        assert!(server_panic(output).is_some_and(|lines| lines.ends_with("index out of bounds")));
        assert!(
            server_panic("thread 'e5_1' panicked at stage5-mio/tests/exercises.rs:7:1:").is_none()
        );
    }
}

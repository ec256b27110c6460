//! What was seen: the lines of a test's output that a learner has use for.

use super::run::Run;

/// How many lines of a failed test are shown.
const LINES: usize = 12;

/// And how many of what the server logged last.
const LOG_LINES: usize = 5;

/// In front of each line of the server's log, in the output of a test.
const LOG: &str = "log: ";

/// What the test said, without what every test says.
pub(crate) fn what_was_seen(run: &Run) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut wanted = false;
    let output = unquoted(&run.output);
    let of_the_test = output.lines().map(behind_the_name).filter(|line| logged(line).is_none());
    for line in of_the_test.map(|line| line.strip_prefix(LOG).unwrap_or(line)) {
        let starts = ["seen: ", "the server "].iter().any(|start| line.starts_with(start));
        let starts = starts || line.contains("panicked at ");
        wanted = starts || (wanted && !ends_what_was_seen(line));
        if wanted && lines.len() < LINES {
            lines.push(without_number(line));
        }
    }
    lines.extend(run.observed.call().map(|call| format!("the server slept in {call}")));
    let log = last_of_the_log(&output);
    // It may have logged more since: another of its threads, or many clients.
    if let Some(panic) = server_panic(&output) {
        let is_shown = |panic: &str| lines.iter().chain(&log).any(|line| line.trim() == panic);
        let missing: Vec<_> = panic.lines().filter(|line| !is_shown(line)).collect();
        let missing: Vec<_> = missing.into_iter().map(str::to_owned).collect();
        lines.extend(missing);
    }
    lines.extend(log);
    lines
}

/// A panic without the number of its thread, which differs each time and says nothing.
fn without_number(line: &str) -> String {
    let parts = line.split_once("' (").and_then(|(thread, rest)| {
        let (number, rest) = rest.split_once(") panicked at ")?;
        number.parse::<u64>().is_ok().then_some((thread, rest))
    });
    parts.map_or(line.to_owned(), |(thread, rest)| format!("{thread}' panicked at {rest}"))
}

/// What the servers have logged.
pub(crate) fn log_lines(output: &str) -> impl Iterator<Item = &str> {
    output.lines().map(behind_the_name).filter_map(logged)
}

/// What a server says when it gives up. It has no time in front, as the lines of a log have.
const LAST_WORD: &str = "Error: ";

/// Whether a server has said why it gave up.
pub(crate) fn gave_up(output: &str) -> bool {
    log_lines(output).any(|line| line.starts_with(LAST_WORD))
}

/// Whether a server has said this, in its log or when it gave up. Its last words are found wherever they stand.
pub(crate) fn server_said(text: &str, output: &str) -> bool {
    let gave_up_with =
        |line: &str| line.split_once(LAST_WORD).is_some_and(|(_, why)| why.contains(text));
    log_lines(output).any(|line| line.contains(text)) || output.lines().any(gave_up_with)
}

/// What the server has logged on this line. A panic of the test may come between the mark of a line and the line: so
/// what the server says when it gives up needs no mark, and the test's advice is the test's in spite of one.
fn logged(line: &str) -> Option<&str> {
    let marked = line.strip_prefix(LOG);
    let said = marked.unwrap_or(line);
    let is_logged = marked.is_some() && !said.is_empty() && !said.starts_with(ADVICE);
    (is_logged || said.starts_with(LAST_WORD)).then_some(said)
}

/// What a panic of the test ends with. A server has been asked for a backtrace, so it says nothing of the kind.
const ADVICE: &str = "note: run with `RUST_BACKTRACE=1`";

fn last_of_the_log(output: &str) -> Vec<String> {
    let mut log: Vec<_> = log_lines(output).collect();
    let mut in_a_backtrace = false;
    log.retain(|line| {
        in_a_backtrace |= line.starts_with("stack backtrace");
        let wanted = !in_a_backtrace;
        in_a_backtrace &= !line.starts_with("note: ");
        wanted
    });
    let last = log.split_off(log.len().saturating_sub(LOG_LINES));
    let heading = match (last.len(), log.len()) {
        (0, _) => None,
        (_, 0) => Some("the server's log:".to_owned()),
        (n, more) => Some(format!("the last {n} of {} lines of the server's log:", n + more)),
    };
    heading
        .into_iter()
        .chain(last.into_iter().map(|line| format!("  {}", without_number(line))))
        .collect()
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
    const ENDS: [&str; 2] = ["stack backtrace", "note: "];
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
pub(crate) fn server_panic(output: &str) -> Option<String> {
    let is_code = |line: &str| line.contains("/src/") || line.contains("/examples/");
    let is_learners = |line: &str| {
        ["stage", "workshop/simulation/src/"]
            .iter()
            .any(|place| line.contains(&format!("panicked at {place}")))
    };
    let is_ours = |line: &&str| is_learners(line) && is_code(line);
    let output = unquoted(output);
    let lines = output.lines().map(|line| line.strip_prefix(LOG).unwrap_or(line));
    let mut lines = lines.skip_while(|line| !is_ours(line));
    let first = without_number(lines.next()?.trim());
    Some(format!("{first}\n{}", lines.next().unwrap_or_default().trim()))
}

#[cfg(test)]
mod tests {
    use super::super::observe::Observed;
    use super::super::run::Verdict;
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
    fn the_last_lines_of_the_log_are_seen_and_what_the_server_did() {
        let log: String = (0..8).map(|i| format!("log: line {i}\n")).collect();
        let output = format!("{log}panicked at a.rs:1:2:\nno\nnote: run with\nthe server runs\n");
        check_seen(
            &output,
            &[
                "panicked at a.rs:1:2:",
                "no",
                "the server runs",
                "the last 5 of 8 lines of the server's log:",
                "  line 3",
                "  line 4",
                "  line 5",
                "  line 6",
                "  line 7",
            ],
        );
        check_seen("log: one\nok\n", &["the server's log:", "  one"]);
        let panic = "log: stack backtrace:\nlog:    0: main\nlog: note: Some details are omitted\n";
        check_seen(
            &format!("log: one\n{panic}log: two\n"),
            &["the server's log:", "  one", "  two"],
        );
        check_seen("panicked at a.rs:1:2:\nno\n\nFAILED\n", &["panicked at a.rs:1:2:", "no"]);
    }

    /// The mark of a line of the log and the line, with the test's panic between them.
    #[test]
    fn last_words_are_the_servers_and_advice_the_tests_wherever_they_stand() {
        let torn = "log: one\nlog: \nthread 'a' (7) panicked at tests/a.rs:1:2:\ncannot read: reset\n\
            log: note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n\
            Error: cannot go on: Interrupted system call (os error 4)\n\
            the server has ended: exit status: 1\n";
        check_seen(
            torn,
            &[
                "thread 'a' panicked at tests/a.rs:1:2:",
                "cannot read: reset",
                "the server has ended: exit status: 1",
                "the server's log:",
                "  one",
                "  Error: cannot go on: Interrupted system call (os error 4)",
            ],
        );
        assert!(gave_up(torn) && !gave_up("log: one\nlog: an Error: in a line\n"));
        assert!(
            server_said("cannot go on", torn) && server_said("go on", "reset Error: cannot go on")
        );
        assert!(!server_said("cannot read: reset", torn));
    }

    #[test]
    fn what_a_server_said_that_never_listened_is_more_than_one_line() {
        let output = "thread 'e5_1' (7) panicked at tests/exercises.rs:1:2:\n\
            no word of where it listens: \"\", Output { stderr: \"\\nthread 'main' (8) panicked at \
            stage5-mio/src/main.rs:3:4:\\nno\\nstack backtrace:\\n   0: main\\n\" }\nnote: run with";
        let panic = ["thread 'main' panicked at stage5-mio/src/main.rs:3:4:", "no"];
        let test = "thread 'e5_1' panicked at tests/exercises.rs:1:2:";
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
            &["thread 'e3_1' panicked at a.rs:1:2:", "left: 1", "right: 2"],
        );
    }

    #[test]
    fn a_panic_of_the_server_is_seen_whatever_it_has_logged_since() {
        let later: String = (0..6).map(|i| format!("log: line {i}\n")).collect();
        let panic = "log: thread 'a' (7) panicked at stage2-threads/src/a.rs:1:2:\nlog: no\n";
        let (output, elapsed) = (format!("{panic}{later}"), std::time::Duration::ZERO);
        let run = Run { verdict: Verdict::Red, output, elapsed, observed: Observed::default() };
        let seen = what_was_seen(&run);
        assert_eq!(seen[..2], ["thread 'a' panicked at stage2-threads/src/a.rs:1:2:", "no"]);
    }

    #[test]
    fn a_panic_of_the_server_is_told_from_one_of_the_test() {
        let output =
            "thread 'main' (7) panicked at stage5-mio/src/server.rs:12:3:\nindex out of bounds";
        assert!(server_panic(output).is_some_and(|lines| lines.ends_with("index out of bounds")));
        let logged = "log: thread 'main' (7) panicked at stage5-mio/src/server.rs:12:3:\nlog: no";
        assert!(server_panic(logged).is_some_and(|lines| !lines.contains("log: ")));
        assert!(
            server_panic("thread 'e5_1' panicked at stage5-mio/tests/exercises.rs:7:1:").is_none()
        );
        let simulated = |file: &str| {
            format!("thread 'e8_2' (7) panicked at workshop/simulation/{file}:7:1:\nno")
        };
        assert!(server_panic(&simulated("src/yours.rs")).is_some());
        assert!(server_panic(&simulated("tests/exercises.rs")).is_none());
    }
}

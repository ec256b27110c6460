//! A history in words.

use std::panic::PanicHookInfo;

use simulated_kernel::Kernel;

use crate::properties::Rules;
use crate::world::{Clients, Mix};

/// A line of a story is no longer than this, if the server does much in one turn.
const WIDTH: usize = 110;

/// What stands above a story: the options of the server, and the mix.
pub(crate) fn head(rules: &Rules, world: &Clients, kernel: &Kernel) -> Vec<String> {
    let mut said = format!("--max-connections {}", rules.max_connections);
    if let Some(interval) = rules.status_interval {
        said += &format!(" --status-interval {interval:?}");
    }
    if let Some(timeout) = rules.idle_timeout {
        said += &format!(" --idle-timeout {timeout:?}");
    }
    let clients = match world.clients.len() {
        1 => "one client".to_owned(),
        n => format!("{n} clients"),
    };
    vec![
        format!("the server: {said}"),
        format!("the world:  {clients}, a backlog of {}; {}", kernel.most_backlog, mix(&world.mix)),
    ]
}

/// What sort of world this is.
pub(crate) fn mix(mix: &Mix) -> String {
    let often = [
        (mix.preempted, "clients act between two system calls"),
        (mix.interrupted, "EINTR"),
        (mix.spurious, "events for nothing"),
        (mix.jumps, "the machine is suspended"),
        (mix.shortage, "descriptors run out"),
        (mix.aborted, "accept is aborted"),
        (mix.early_stop, "SIGTERM comes early"),
    ];
    let mut said: Vec<_> = often
        .iter()
        .filter(|(per_mille, _)| *per_mille > 0)
        .map(|(per_mille, what)| format!("{what} ({per_mille} ‰)"))
        .collect();
    if mix.slow_network {
        said.push("the network takes its time".to_owned());
    }
    match &said[..] {
        [] => "nothing out of the ordinary happens".to_owned(),
        said => said.join(", "),
    }
}

/// What a line says that names a broken promise.
const WRONG: &str = "WRONG: ";

/// The lines of a story, with one for all that the program does in a turn instead of one for each of its system calls.
/// A turn in which it does nothing but wait again is no line. They end with the promise that was broken, if one was.
pub(crate) fn by_turns(story: Vec<String>) -> Vec<String> {
    const PROGRAMS: [&str; 2] = ["server: ", "caller: "];
    let mut told: Vec<String> = Vec::new();
    let mut turn_goes_on = false;
    for line in story {
        let by_program = PROGRAMS.iter().find_map(|program| line.split_once(program));
        let Some((when, what)) = by_program else {
            turn_goes_on = false;
            let is_wrong = line.contains(WRONG);
            told.push(line);
            if is_wrong {
                break;
            }
            continue;
        };
        // The loop begins anew behind a wait.
        let waits = what.starts_with("waits") || what.starts_with("looks");
        let is_first = told.is_empty();
        match told.last_mut().filter(|last| turn_goes_on && last.starts_with(when)) {
            Some(last) if waits || last.chars().count() + what.len() < WIDTH => {
                *last += &format!("; {what}");
            }
            None if waits && !is_first => {}
            _ => told.push(line.clone()),
        }
        turn_goes_on = !waits;
    }
    told
}

/// A panic in one line.
pub(crate) fn panic(panic: &PanicHookInfo<'_>) -> String {
    let said = panic.payload();
    let said = said.downcast_ref::<String>().map(String::as_str).or(said.downcast_ref().copied());
    let said = said.unwrap_or("no word");
    match panic.location() {
        // The sources of a stage are reached by a way that leads through `..`.
        Some(place) => {
            let file = place.file().rsplit("../").next().unwrap_or_default();
            format!("{said}, at {file}:{}", place.line())
        }
        None => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(story: &[&str], expected: &[&str]) {
        assert_eq!(by_turns(story.iter().map(|&line| line.to_owned()).collect()), expected);
    }

    #[test]
    fn a_turn_of_the_server_is_one_line() {
        check(
            &[
                "1 ms  server: waits",
                "2 ms  client 0 connects",
                "2 ms  server: a",
                "2 ms  server: waits",
            ],
            &["1 ms  server: waits", "2 ms  client 0 connects", "2 ms  server: a; waits"],
        );
    }

    #[test]
    fn a_turn_in_which_the_server_does_nothing_is_no_line() {
        check(
            &["1 ms  server: a", "1 ms  server: waits", "2 ms  SIGTERM", "2 ms  server: waits"],
            &["1 ms  server: a; waits", "2 ms  SIGTERM"],
        );
    }

    #[test]
    fn a_wait_does_not_begin_a_line_of_its_own() {
        let much = format!("1 ms  server: {}", "a".repeat(WIDTH));
        check(&[&much, "1 ms  server: waits"], &[&format!("{much}; waits")]);
    }

    #[test]
    fn what_happens_in_the_middle_of_a_turn_divides_it() {
        check(
            &["1 ms  server: a", "1 ms  client 0 closes", "1 ms  server: b"],
            &["1 ms  server: a", "1 ms  client 0 closes", "1 ms  server: b"],
        );
    }

    #[test]
    fn a_broken_promise_is_the_end_of_the_story() {
        check(
            &["1 ms  server: a", "1 ms  WRONG: no spin", "1 ms  server: b"],
            &["1 ms  server: a", "1 ms  WRONG: no spin"],
        );
    }

    #[test]
    fn two_turns_are_two_lines() {
        check(
            &["1 ms  server: a", "1 ms  server: looks", "1 ms  server: b", "2 ms  server: c"],
            &["1 ms  server: a; looks", "1 ms  server: b", "2 ms  server: c"],
        );
    }
}

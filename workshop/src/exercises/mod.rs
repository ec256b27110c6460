//! Exercises: a page, a patch and a test each.
//!
//! The pages of the book are the only list of exercises: what a page says about minutes, hints and the
//! test is what this tool does, and `verify` proves that it is true.

mod answers;
mod check;
mod examine;
mod explain;
mod git;
mod judge;
mod leading;
mod observe;
mod page;
mod place;
#[allow(dead_code, reason = "`page` and `check` will use it")]
mod predict;
mod run;
mod screen;
mod talk;
mod verify;

use std::process::ExitCode;

use anyhow::Context;

use page::{Exercise, Kind, Number};
use place::Place;
pub(crate) use place::root;
use screen::{Screen, say};

/// How this tool is called, in what it tells people to do next.
const TOOL: &str = "cargo run -p workshop --";

/// What can be done with exercises. The comments are the help.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List the exercises: number, title, minutes, kind, done or not
    List,
    /// Show the task of an exercise
    Show {
        /// Its number, such as 5.2
        number: Number,
    },
    /// Build the stage as you have changed it, run the exercise's test, say what was seen
    Check {
        /// Its number, such as 5.2
        number: Number,
        /// Only this step of a long exercise
        #[arg(long)]
        step: Option<usize>,
    },
    /// Show one more hint each time
    Hint {
        /// Its number, such as 5.2
        number: Number,
    },
    /// Show the solution of an exercise, in words and as a patch
    Solution {
        /// Its number, such as 5.2
        number: Number,
    },
    /// Prove that every patch does what its page says, in a copy of the workspace
    Verify(verify::Options),
    /// Talk to a server: a line client, and the clients that servers are afraid of
    Talk(talk::Options),
}

/// Runs one command. An error is about us; what an exercise has to say is in the exit code.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    // `talk` needs none.
    let place = Place::find;
    let screen = Screen::new();
    match command {
        Command::List => list(&place()?, &screen),
        Command::Show { number } => show(&place()?, &screen, number),
        Command::Check { number, step } => check::check(&place()?, &screen, number, step),
        Command::Hint { number } => hint(&place()?, &screen, number),
        Command::Solution { number } => solution(&place()?, &screen, number),
        Command::Verify(options) => verify::verify(&place()?, &screen, &options),
        Command::Talk(options) => talk::talk(&options),
    }
}

fn list(place: &Place, screen: &Screen) -> anyhow::Result<ExitCode> {
    let (mut minutes, mut done) = (0, 0);
    let exercises = place.exercises()?;
    for exercise in &exercises {
        let mark = if place.is_done(exercise.number) { "done" } else { "" };
        minutes += exercise.minutes;
        done += u32::from(!mark.is_empty());
        let (number, title) = (exercise.number.to_string(), &exercise.title);
        let (kind, each) = (exercise.kind, exercise.minutes);
        say!("{number:>5}  {kind:<8}  {each:>3} min  {}  {title}", screen.good(mark, 4));
    }
    say!("\n{} exercises, {minutes} minutes, {done} done.", exercises.len());
    if let Some(next) = exercises.iter().find(|exercise| !place.is_done(exercise.number)) {
        let verb = if done == 0 { "Begin" } else { "Go on" };
        say!("{verb} with: {TOOL} show {}", next.number);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(place: &Place, screen: &Screen, number: Number) -> anyhow::Result<ExitCode> {
    let exercise = place.exercise(number)?;
    screen.headline(&exercise);
    say!("\n{}", exercise.body.trim());
    say!("\nWhen you are ready:  {TOOL} check {number}");
    say!("Stuck:               {TOOL} hint {number}");
    Ok(ExitCode::SUCCESS)
}

fn hint(place: &Place, screen: &Screen, number: Number) -> anyhow::Result<ExitCode> {
    let exercise = place.exercise(number)?;
    let shown = (place.hints_shown(number) + 1).min(exercise.hints.len());
    for (i, hint) in exercise.hints.iter().take(shown).enumerate() {
        say!("{}\n{hint}\n", screen.strong(&format!("Hint {}", i + 1)));
    }
    match exercise.hints.len() - shown {
        0 => say!("That was the last one. What is left: {TOOL} solution {number}"),
        left => say!("{left} more."),
    }
    place.remember("hints", number, Some(&shown.to_string()));
    Ok(ExitCode::SUCCESS)
}

fn solution(place: &Place, screen: &Screen, number: Number) -> anyhow::Result<ExitCode> {
    let exercise = place.exercise(number)?;
    screen.headline(&exercise);
    say!("\n{}\n", exercise.solution.trim());
    let path = place.patch(number);
    let patch = std::fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    patch.lines().for_each(|line| say!("{}", screen.diff(line)));
    let verb = match exercise.kind {
        Kind::Build => "put it in",
        Kind::Break => "put the fault in",
    };
    let put_in = git::put_in(place, number);
    say!("\nTo {verb}: {put_in}");
    let take_out = put_in.replacen("apply", "apply -R", 1);
    say!("To take everything back: {}", git::begin_again(place, &exercise).unwrap_or(take_out));
    Ok(ExitCode::SUCCESS)
}

/// How to get the stage back as it was, or why git cannot.
fn start_again(place: &Place, exercise: &Exercise) -> String {
    let by_hand = |why| format!("take {} from a fresh copy; {why:#}", exercise.sources);
    git::begin_again(place, exercise).unwrap_or_else(by_hand)
}

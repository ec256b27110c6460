//! Exercises: a page, a patch and a test each.
//!
//! The pages of the book are the only list of exercises: what a page says about minutes, hints and the
//! test is what this tool does, and `verify` proves that it is true.

mod answers;
mod check;
mod examine;
mod explain;
mod first;
mod git;
mod judge;
mod leading;
mod memory;
mod observe;
mod page;
mod place;
mod predict;
mod run;
mod screen;
mod sources;
mod stage;
mod summary;
mod talk;
mod verify;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use check::Checked;
use page::{Exercise, Kind};
use predict::Prediction;

pub(crate) use memory::timestamp;
pub(crate) use page::Number;
pub(crate) use place::{Place, root};
pub(crate) use run::{Built, Program, Test, Verdict, run_cargo};
pub(crate) use screen::{Screen, grouped, say};
pub(crate) use sources::{Sources, write};
pub(crate) use talk::{CHUNK, Count, ON_ITS_WAY, reached_at};

/// How this tool is called, in what it tells people to do next.
pub(crate) const TOOL: &str = "cargo run -p workshop --";

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
    /// Show the task of the first exercise that is not done
    Next,
    /// Save what you have changed in the stage, put it into its first state, and show the task
    Start {
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
        /// What you expect of a fault: wrong-answer, end, spin, silence or too-much, and the test, as in
        /// silence:name_of_test. Without it you are asked, on a terminal
        #[arg(long, value_name = "HOW[:TEST]")]
        predict: Option<Prediction>,
    },
    /// Check again each time you save a file. Keys: h, s, r, q
    Watch {
        /// Its number, such as 5.2
        number: Number,
        /// End when the exercise is done
        #[arg(long)]
        until_done: bool,
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
    /// Show your sources beside those with the solution
    Diff {
        /// Its number, such as 5.2
        number: Number,
    },
    /// Put the solution, or the fault, into the stage
    Apply {
        /// Its number, such as 5.2
        number: Number,
    },
    /// Save what you have changed in the stage, and put it into its first state
    Reset {
        /// Its number, such as 5.2
        number: Number,
    },
    /// Bring back what `start` or `reset` has saved, or list it
    Resume {
        /// What to bring back: its name, or the number of an exercise for what was saved of it last
        which: Option<String>,
    },
    /// Write down what you have done, what you have predicted and what you can explain, as a page to print
    Summary {
        /// The page. Without a path: .workshop/summary.html in the checkout
        path: Option<PathBuf>,
    },
    /// Prove that every patch does what its page says, in a copy of the workspace
    Verify(verify::Options),
    /// Talk to a server: a line client, and the clients that servers are afraid of
    Talk(talk::Options),
}

/// Runs one command. An error is about us; what an exercise has to say is in the exit code.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    // `talk` needs none.
    let place = || {
        let place = Place::find()?;
        // Now, before the learner changes anything. A command that needs it says what is wrong with it.
        let _ = place.keep_first();
        anyhow::Ok(place)
    };
    let screen = Screen::new();
    match command {
        Command::List => list(&place()?, &screen),
        Command::Show { number } => show(&place()?, &screen, number),
        Command::Next => next(&place()?, &screen),
        Command::Start { number } => start(&place()?, &screen, number),
        Command::Check { number, step, predict } => {
            let checked = predict_and_check(&place()?, &screen, number, step, predict.as_ref())?;
            Ok(checked.code())
        }
        Command::Watch { number, until_done } => {
            watch::watch(&place()?, &screen, number, until_done)
        }
        Command::Hint { number } => hint(&place()?, &screen, number),
        Command::Solution { number } => solution(&place()?, &screen, number),
        Command::Diff { number } => stage::diff(&place()?, &screen, number),
        Command::Apply { number } => stage::apply(&place()?, number),
        Command::Reset { number } => stage::reset(&place()?, number),
        Command::Resume { which } => stage::resume(&place()?, which.as_deref()),
        Command::Summary { path } => summary::summary(&place()?, path),
        Command::Verify(options) => verify::verify(&Place::find()?, &screen, &options),
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
    show_task(screen, &exercise);
    stage::tell_leftover(place, screen, &exercise);
    place.begin(number);
    Ok(ExitCode::SUCCESS)
}

fn show_task(screen: &Screen, exercise: &Exercise) {
    let number = exercise.number;
    screen.headline(exercise);
    say!("\n{}", screen.prose(exercise.body.trim()));
    say!("\nWhen you are ready:  {TOOL} check {number}, or at each save: {TOOL} watch {number}");
    say!("Stuck:               {TOOL} hint {number}");
}

fn next(place: &Place, screen: &Screen) -> anyhow::Result<ExitCode> {
    let exercises = place.exercises()?;
    match exercises.iter().find(|exercise| !place.is_done(exercise.number)) {
        Some(next) => show(place, screen, next.number),
        None => {
            say!(
                "All {} exercises are done. What you have learned: {TOOL} summary",
                exercises.len()
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn start(place: &Place, screen: &Screen, number: Number) -> anyhow::Result<ExitCode> {
    let exercise = place.exercise(number)?;
    let saved = stage::put_first(place, &exercise)?;
    say!("");
    show_task(screen, &exercise);
    place.begin_again(number);
    if let Some(name) = saved {
        say!("\n{}", stage::is_saved_as(&name));
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks for the prediction, if it is the first time, and checks.
fn predict_and_check(
    place: &Place,
    screen: &Screen,
    number: Number,
    step: Option<usize>,
    given: Option<&Prediction>,
) -> anyhow::Result<Checked> {
    let exercise = place.exercise(number)?;
    place.begin_with_a_check(number);
    predict::ask(place, screen, &exercise, given)?;
    check::check(place, screen, number, step)
}

fn hint(place: &Place, screen: &Screen, number: Number) -> anyhow::Result<ExitCode> {
    let exercise = place.exercise(number)?;
    let shown = (place.hints_shown(number) + 1).min(exercise.hints.len());
    for (i, hint) in exercise.hints.iter().take(shown).enumerate() {
        say!("{}\n{}\n", screen.strong(&format!("Hint {}", i + 1)), screen.prose(hint));
    }
    match (exercise.hints.len() - shown, screen.has_keys()) {
        (0, true) => say!("That was the last one. What is left is the solution: press s twice."),
        (0, false) => say!("That was the last one. What is left: {TOOL} solution {number}"),
        (left, true) => say!("{left} more: press h again."),
        (left, false) => say!("{left} more."),
    }
    place.remember("hints", number, Some(&shown.to_string()));
    Ok(ExitCode::SUCCESS)
}

fn solution(place: &Place, screen: &Screen, number: Number) -> anyhow::Result<ExitCode> {
    let exercise = place.exercise(number)?;
    screen.headline(&exercise);
    say!("\n{}\n", screen.prose(exercise.solution.trim()));
    let path = place.patch(number);
    let patch = std::fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    patch.lines().for_each(|line| say!("{}", screen.diff(line)));
    let verb = match exercise.kind {
        Kind::Build => "put it in",
        Kind::Break => "put the fault in",
    };
    say!("\nTo {verb}: {TOOL} apply {number}");
    say!("To take everything back: {}", start_again(place, &exercise));
    say!("Yours beside it: {TOOL} diff {number}");
    Ok(ExitCode::SUCCESS)
}

/// The command that gets the stage back as it was given.
fn start_again(_: &Place, exercise: &Exercise) -> String {
    format!("{TOOL} reset {}", exercise.number)
}

//! Steps: the difference between two stages as a chain of small servers that run.
//!
//! The stages are whole and the steps are patches: `docs/steps` is the only list of them. A change of a stage goes
//! through its chain with `step --carry`, and `verify --steps` proves that each step still does what it says.

mod blocks;
mod carry;
mod chain;
mod folder;
mod package;
mod page;
mod promised;
mod proof;
mod questions;
mod size;
mod unified;
mod workspace;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::exercises::{Number, Place, Screen, TOOL, say, write};
use chain::Chain;
pub(crate) use proof::verify;
pub(crate) use questions::{NAME as QUESTIONS, verify as verify_questions};

/// Which step, and what to do with it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Its number, such as 5.2
    number: Option<Number>,
    /// The folder to put it into. Without a path: .workshop/steps/NUMBER in the checkout
    path: Option<PathBuf>,
    /// Save the folder if you have changed it, and put the step there again
    #[arg(long, requires = "number")]
    again: bool,
    /// Run it, with the options behind `--`
    #[arg(long, requires = "number")]
    run: bool,
    /// Run its contract, or the sentences that have this in their names
    #[arg(long, value_name = "SENTENCE", num_args = 0..=1, default_missing_value = "")]
    #[arg(requires = "number", conflicts_with = "run")]
    test: Option<String>,
    /// Show why it is there, and what it changes in the step before
    #[arg(long, requires = "number", conflicts_with_all = ["run", "test", "again"])]
    diff: bool,
    /// Carry a change of a stage through the steps before it and behind it
    #[arg(long, conflicts_with = "number")]
    carry: bool,
    /// Print the rows of the table in ARCHITECTURE.md
    #[arg(long, hide = true, conflicts_with_all = ["number", "carry"])]
    table: bool,
    /// Write what the book's pages show of the steps and of the tests: docs/steps/N.K.md, docs/promises.md
    #[arg(long, hide = true, conflicts_with_all = ["number", "carry", "table"])]
    pages: bool,
    /// What the server gets, or the tests
    #[arg(last = true, requires = "number", conflicts_with = "diff")]
    args: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (place, screen) = (Place::find()?, Screen::new());
    let Some(number) = args.number else {
        return match args {
            Args { carry: true, .. } => carry::carry(&place.root, &screen),
            Args { table: true, .. } => table(&place.root),
            Args { pages: true, .. } => pages(&place.root),
            _ => list(&place.root, &screen),
        };
    };
    if args.diff {
        return diff(&place.root, &screen, number);
    }
    let folder = folder::Folder::new(&place, number, args.path.as_deref())?;
    match (args.run, &args.test) {
        (true, _) => folder.run(args.again, &args.args),
        (false, Some(sentence)) => folder.test(args.again, sentence, &args.args),
        (false, None) => folder.put(args.again),
    }
}

fn list(root: &Path, screen: &Screen) -> anyhow::Result<ExitCode> {
    let chains = Chain::all(root)?;
    for chain in &chains {
        say!("{}", screen.strong(&format!("From {} to {}", chain.from, chain.to)));
        for step in &chain.steps {
            let number = step.number.to_string();
            let stage = chain.stage_of(step).map(|stage| format!(" ({stage})")).unwrap_or_default();
            say!("{number:>5}  {}{stage}", step.title);
        }
        say!("");
    }
    match chains.first().and_then(|chain| chain.steps.first()) {
        Some(first) => say!("Begin with: {TOOL} step {}", first.number),
        None => say!("{NONE}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells what is off, and how it came out: in `[well, as]`, all is well, or some things are not as they should be.
fn conclude(
    screen: &Screen,
    faults: &[String],
    took: Duration,
    [well, as_it]: [&str; 2],
) -> ExitCode {
    faults.iter().for_each(|fault| say!("{} {fault}", screen.bad("off:", 0)));
    let seconds = took.as_secs_f64();
    if faults.is_empty() {
        say!("{} {well}. {seconds:.0} s.", screen.good("ok:", 0));
        return ExitCode::SUCCESS;
    }
    say!("{} thing(s) are not {as_it}. {seconds:.0} s.", faults.len());
    ExitCode::FAILURE
}

/// What there is to say where no chain is.
const NONE: &str = "There are no steps: docs/steps has no patches.";

/// Why a step is there, and what it changes.
fn diff(root: &Path, screen: &Screen, number: Number) -> anyhow::Result<ExitCode> {
    let (chain, place) = Chain::with(root, number)?;
    let step = &chain.steps[place];
    say!("{}\n", screen.strong(&package::title(step)));
    let (_, head) = step.head.trim().split_once('\n').unwrap_or_default();
    say!("{}\n", screen.prose(head));
    step.patch.lines().for_each(|line| say!("{}", screen.diff(line)));
    Ok(ExitCode::SUCCESS)
}

/// A row for each step, as ARCHITECTURE.md has it.
fn table(root: &Path) -> anyhow::Result<ExitCode> {
    for chain in Chain::all(root)? {
        let states = chain.proven_here(root)?;
        for pair in chain.pairs(&states) {
            let (step, size) = (pair.step, pair.size());
            say!("| {} | {} | {} | {} |", step.number, step.title, size.lines, size.hunks);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The pieces of code of the steps' pages, and the tests that the book names. A test sees that they are up to date.
fn pages(root: &Path) -> anyhow::Result<ExitCode> {
    for chain in Chain::all(root)? {
        let states = chain.proven_here(root)?;
        for pair in chain.pairs(&states) {
            write(&page::path(root, pair.step.number), &page::blocks(&pair))?;
        }
    }
    write(&promised::path(root), &promised::shown(root)?)?;
    Ok(ExitCode::SUCCESS)
}

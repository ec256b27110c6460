//! The command line: tells one history, plays many, or explores a small world.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::process::{self, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use simulation::explore::{Bounds, Explored, explore, play_small, small_worlds};
use simulation::shrink::shrink;
use simulation::{Choices, Decisions, History, Stage, handshake, play, quiet_panics};

/// So many failing seeds are enough to look at.
const MOST_FAILURES: usize = 10;

/// How many seeds a thread takes at a time.
const SEEDS_AT_A_TIME: u64 = 64;

/// Runs stage 5, stage 6 or the handshake on a simulated kernel, in a world that a seed decides.
///
/// Without options it draws a seed and tells its history. The same seed is always the same history.
#[derive(Parser)]
#[command(name = "simulation", version)]
struct Cli {
    program: Program,
    /// Tell the history of this seed
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Play so many seeds, on all cores, and tell the shortest history that breaks a promise
    #[arg(long, value_name = "N", conflicts_with_all = ["seed", "choices", "explore"])]
    seeds: Option<u64>,
    /// Begin with this seed
    #[arg(long, value_name = "SEED", default_value_t = 0, requires = "seeds")]
    from: u64,
    /// Play every schedule of two clients that departs at most N times from the calmest one
    #[arg(long, value_name = "N", conflicts_with_all = ["seed", "choices"])]
    explore: Option<u32>,
    /// Play every schedule of two clients that departs from the calmest one only in its first N decisions
    #[arg(long, value_name = "N", conflicts_with_all = ["seed", "choices", "seeds"])]
    decisions: Option<u32>,
    /// Tell the history of these decisions, as a shrunk history prints them
    #[arg(long, value_name = "DECISIONS", conflicts_with = "seed")]
    choices: Option<Decisions>,
    /// The decisions are those of a world of two clients, as --explore prints them
    #[arg(long, requires = "choices")]
    small: bool,
}

/// What is run.
#[derive(Clone, Copy, ValueEnum)]
enum Program {
    /// stage5-mio
    Stage5,
    /// stage6-timers
    Stage6,
    /// the example of stage6-timers that calls
    Handshake,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Stage5 => "stage5",
            Self::Stage6 => "stage6",
            Self::Handshake => "handshake",
        }
    }

    /// The stage, if it is a server.
    fn stage(self) -> anyhow::Result<Stage> {
        match self {
            Self::Stage5 => Ok(Stage::Five),
            Self::Stage6 => Ok(Stage::Six),
            Self::Handshake => bail!("there is no small world for the handshake, only seeds"),
        }
    }

    fn play(self, choices: Choices, tell: bool) -> History {
        match self {
            Self::Stage5 => play(Stage::Five, choices, tell),
            Self::Stage6 => play(Stage::Six, choices, tell),
            Self::Handshake => handshake::play(choices, tell),
        }
    }
}

/// Does what the command line says. A promise that was broken is exit code 1.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let cli = parse();
    quiet_panics();
    match cli {
        Cli { program, seeds: Some(n), from, .. } => many(program, from, n),
        Cli { program, explore, decisions, .. } if explore.is_some() || decisions.is_some() => {
            let [departures, decisions] =
                [explore, decisions].map(|bound| bound.unwrap_or(u32::MAX));
            every(program, Bounds { departures, decisions })
        }
        Cli { program, choices: Some(choices), small: true, .. } => {
            Ok(tell(&play_small(program.stage()?, Choices::repeat(choices), true)))
        }
        Cli { program, choices: Some(choices), .. } => {
            Ok(tell(&program.play(Choices::repeat(choices), true)))
        }
        Cli { program, seed, .. } => one(program, seed),
    }
}

/// `Cli::parse` would say nothing of a help that cannot be printed, and exit 0.
fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| match error.use_stderr() {
        true => error.exit(),
        false => {
            common::print(error.render().to_string().trim_end());
            process::exit(0)
        }
    })
}

/// Tells the history of one seed.
fn one(program: Program, seed: Option<u64>) -> anyhow::Result<ExitCode> {
    let seed = seed.unwrap_or_else(|| fastrand::u64(0..1_000_000));
    common::print(format_args!("{}, seed {seed}", program.name()));
    Ok(tell(&program.play(Choices::from_seed(seed), true)))
}

fn tell(history: &History) -> ExitCode {
    let story = history.head.iter().chain(&history.story);
    common::print(story.map(String::as_str).collect::<Vec<_>>().join("\n"));
    let History { turns, calls, violation, .. } = history;
    common::print(format_args!("{turns} turns, {calls} system calls"));
    if let Some(violation) = violation {
        common::print(format_args!("broken: {}: {}", violation.property, violation.seen));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Plays many seeds.
fn many(program: Program, from: u64, n: u64) -> anyhow::Result<ExitCode> {
    let all = Workers::new(n)?;
    let sums = Mutex::new(Sums::default());
    all.work(SEEDS_AT_A_TIME, |numbers| {
        let mut here = Sums::default();
        for seed in numbers.map(|number| from + number) {
            let history = program.play(Choices::from_seed(seed), false);
            here.add(&history);
            if let Some(violation) = history.violation {
                here.failed.insert(seed, (violation.property, violation.seen));
            }
        }
        let mut sums = sums.lock().expect("no thread panics with it");
        sums.merge(here);
        sums.failed.len() < MOST_FAILURES
    });
    let sums = sums.into_inner().expect("no thread panics with it");
    for (seed, (property, seen)) in sums.failed.iter().take(MOST_FAILURES) {
        common::print(format_args!("seed {seed}: {property}: {seen}"));
    }
    common::print(format_args!("{}: {} in {}", program.name(), sums, all.time()));
    if sums.failed.is_empty() {
        return all.end();
    }
    let shrunk = sums.failed.keys().map(|&seed| {
        let decisions = program.play(Choices::from_seed(seed), false).choices.decisions();
        Ok((seed, shortest(&decisions, |choices| program.play(choices, true))?))
    });
    let shrunk = shrunk.collect::<anyhow::Result<Vec<_>>>()?;
    let shortest = shrunk.into_iter().min_by_key(|(_, history)| history.story.len());
    let (seed, history) = shortest.context("a seed has failed")?;
    common::print(format_args!("\nthe shortest history that comes of these, of seed {seed}:"));
    Ok(tell_how_to_repeat(program, &history, ""))
}

fn shortest(
    decisions: &Decisions,
    mut play: impl FnMut(Choices) -> History,
) -> anyhow::Result<History> {
    shrink(decisions, |decisions| play(Choices::repeat(decisions)))
        .map(|(history, _)| history)
        .context("the same decisions were two different histories: it is not deterministic")
}

/// Tells a history that breaks a promise, with the command that repeats it.
fn tell_how_to_repeat(program: Program, history: &History, small: &str) -> ExitCode {
    let end = tell(history);
    let (name, decisions) = (program.name(), history.choices.decisions().trimmed());
    common::print(format_args!(
        "again: cargo run -p simulation -- {name} {small}--choices '{decisions}'"
    ));
    end
}

/// Plays every schedule of every small world.
fn every(program: Program, bounds: Bounds) -> anyhow::Result<ExitCode> {
    let stage = program.stage()?;
    let all = Workers::new(small_worlds(stage) as u64)?;
    let sums = Mutex::new(Explored::default());
    all.work(1, |worlds| {
        for world in worlds {
            let explored = explore(stage, world as usize, bounds, || all.goes_on());
            let mut sums = sums.lock().expect("no thread panics with it");
            *sums = std::mem::take(&mut *sums).and(explored);
            if sums.wrong.is_some() {
                return false;
            }
        }
        true
    });
    let sums = sums.into_inner().expect("no thread panics with it");
    let Explored { schedules, known, beyond, wrong } = &sums;
    let worlds = small_worlds(stage);
    common::print(format_args!(
        "{}: {schedules} schedules in {worlds} worlds in {}; {known} of them came to a state that was known",
        program.name(),
        all.time(),
    ));
    if let Some(decisions) = wrong {
        common::print("\nthe shortest history that comes of the first that breaks a promise:");
        let shortest = shortest(decisions, |choices| play_small(stage, choices, true))?;
        return Ok(tell_how_to_repeat(program, &shortest, "--small "));
    }
    let end = all.end()?;
    common::print(format_args!("none up to here: {}", how_far(bounds, *beyond)));
    Ok(end)
}

/// Which schedules these were.
fn how_far(bounds: Bounds, beyond: u64) -> String {
    let departures = match bounds.departures {
        u32::MAX => "departs".to_owned(),
        n => format!("departs at most {n} times"),
    };
    match (beyond, bounds.decisions) {
        (0, _) => "these were all the schedules there are".to_owned(),
        (_, u32::MAX) => format!("every schedule that {departures} from the calmest one"),
        (_, n) => format!(
            "every schedule that {departures} from the calmest one in its first {n} decisions"
        ),
    }
}

/// What many histories have come to.
#[derive(Default)]
struct Sums {
    histories: u64,
    turns: u64,
    calls: u64,
    failed: BTreeMap<u64, (&'static str, String)>,
}

impl Sums {
    fn add(&mut self, history: &History) {
        self.histories += 1;
        self.turns += u64::from(history.turns);
        self.calls += history.calls;
    }

    fn merge(&mut self, other: Self) {
        self.histories += other.histories;
        self.turns += other.turns;
        self.calls += other.calls;
        self.failed.extend(other.failed);
    }
}

impl Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each = |n: u64| n / self.histories.max(1);
        let (histories, turns, calls) = (self.histories, each(self.turns), each(self.calls));
        write!(f, "{histories} histories of {turns} turns and {calls} system calls")?;
        match self.failed.len() {
            0 => write!(f, ", no promise broken"),
            n => write!(f, ", {n} of them broke a promise"),
        }
    }
}

/// Told to stop, by Ctrl-C.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Numbers to work through, on all cores.
struct Workers {
    n: u64,
    next: AtomicU64,
    enough: AtomicBool,
    began: Instant,
    bar: ProgressBar,
}

impl Workers {
    fn new(n: u64) -> anyhow::Result<Self> {
        ctrlc::set_handler(|| STOPPED.store(true, Ordering::Relaxed))
            .context("cannot catch signals")?;
        // It draws on a terminal, and nowhere else.
        let bar = ProgressBar::new(n).with_style(
            ProgressStyle::with_template("{bar:30} {pos}/{len}, {per_sec}, {eta} left")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        let (next, enough) = (AtomicU64::new(0), AtomicBool::new(false));
        Ok(Self { n, next, enough, began: Instant::now(), bar })
    }

    /// Gives out numbers, in order, so many at a time, until `work` has had enough.
    fn work(&self, many: u64, work: impl Fn(std::ops::Range<u64>) -> bool + Sync) {
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    while self.goes_on() {
                        let from = self.next.fetch_add(many, Ordering::Relaxed);
                        if from >= self.n {
                            return;
                        }
                        let to = self.n.min(from + many);
                        if !work(from..to) {
                            self.enough.store(true, Ordering::Relaxed);
                        }
                        self.bar.inc(to - from);
                    }
                });
            }
        });
        self.bar.finish_and_clear();
    }

    fn goes_on(&self) -> bool {
        !STOPPED.load(Ordering::Relaxed) && !self.enough.load(Ordering::Relaxed)
    }

    fn time(&self) -> impl Display {
        format!("{:.1} s", self.began.elapsed().as_secs_f64())
    }

    /// Nothing was wrong; unless we were told to stop, and have not seen all of it.
    fn end(&self) -> anyhow::Result<ExitCode> {
        if STOPPED.load(Ordering::Relaxed) {
            bail!("stopped");
        }
        Ok(ExitCode::SUCCESS)
    }
}

//! `verify --questions`: does a change that a question of the book proposes do what its answer says?
//!
//! Each change is a patch in `docs/answers/questions`, with the name of its page and the number of the question, and a head:
//!
//! ```text
//! Change: the sleep does not know of the status
//! Red: a_line_comes_in_time
//! ```
//!
//! `Red:` names tests that the change turns red, sentences of the contract or unit tests, and `Stays:` some that do not
//! notice. `Green:` alone says why all stay green. On the page, `<!-- patch 6.1-1 -->` stands above the question, and
//! `tests/prose` sees to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::chain::{Chain, sentences, stage_sources};
use super::conclude;
use super::package::Package;
use super::proof::{LANES, Outcomes, is_red_once, locked, why};
use super::workspace::{Programs, THREADS, finish, put};
use crate::exercises::{Number, Place, Screen, Sources, Test, Verdict, say};

/// A test that is red waits for a server that never does what it should. Longer than any that is green has to wait, or it
/// would be red for want of time.
const PATIENCE_MS: &str = "15000";

/// The target that has the sentences.
const CONTRACT: &str = "contract";

const FOLDER: &str = "docs/answers/questions";

/// The same folder, among those of the exercises.
pub(crate) const NAME: &str = "questions";

/// The contract of a stage takes a minute, and longer beside another one.
const DEADLINE: Duration = Duration::from_secs(240);

/// A change that a question proposes.
struct Question {
    /// `6.1-1`: the page, and the question on it.
    name: String,
    change: String,
    expected: Expected,
    patch: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Red { red: BTreeSet<String>, stays: BTreeSet<String> },
    Green,
}

/// A question with what it changes, changed.
struct Trial {
    question: Question,
    package: String,
    sources: Sources,
}

/// Tries all changes, or those of these pages. Exit code 0: each does what its head says.
pub(crate) fn verify(
    place: &Place,
    screen: &Screen,
    numbers: &[Number],
    only_read: bool,
) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let chains = Chain::all(&place.root)?;
    let mut questions = read_all(&place.root)?;
    let is_wanted = |question: &Question, number: &Number| question.page() == number.to_string();
    questions.retain(|it| numbers.is_empty() || numbers.iter().any(|number| is_wanted(it, number)));
    let trials = questions.into_iter().map(|question| Trial::new(place, &chains, question));
    let trials = trials.collect::<anyhow::Result<Vec<_>>>()?;
    let faults = if only_read { Vec::new() } else { try_all(place, screen, &chains, trials)? };
    let all_is = ["Each change does what its page says", "as the pages say"];
    Ok(conclude(screen, &faults, start.elapsed(), all_is))
}

fn read_all(root: &Path) -> anyhow::Result<Vec<Question>> {
    let entries = fs::read_dir(root.join(FOLDER)).context(FOLDER)?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let read = |path: &Path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Question::parse(&name, &fs::read_to_string(path)?.replace("\r\n", "\n"))
    };
    paths.iter().map(|path| read(path).with_context(|| path.display().to_string())).collect()
}

impl Question {
    fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        let (head, patch) = text.split_at(text.find("--- ").context("there is no patch")?);
        let field =
            |word: &str| head.lines().find_map(|line| line.strip_prefix(word)).map(str::trim);
        let change = field("Change:").filter(|it| !it.is_empty()).context("no `Change:`")?;
        let expected = match (field("Red:"), field("Green:")) {
            (Some(red), None) if !red.is_empty() => {
                Expected::Red { red: names(red), stays: names(field("Stays:").unwrap_or_default()) }
            }
            (None, Some(reason)) if !reason.is_empty() => Expected::Green,
            _ => bail!("expected either `Red:` and names of tests, or `Green:` and a reason"),
        };
        let (name, change, patch) = (name.to_owned(), change.to_owned(), patch.to_owned());
        Ok(Self { name, change, expected, patch })
    }

    /// The package that it is tried in. `-6-` tells the test kit that it speaks up, as a step of stage 6 does.
    fn package(&self) -> String {
        let (page, number) = self.name.rsplit_once('-').unwrap_or((&self.name, ""));
        let page = page
            .strip_prefix("stage")
            .map(|n| format!("{n}-whole"))
            .unwrap_or(page.replace('.', "-"));
        format!("question-{page}_{number}")
    }

    fn page(&self) -> &str {
        self.name.rsplit_once('-').map_or(&*self.name, |parts| parts.0)
    }

    /// What the page is about, as it stands. A page of the handshake is about the examples of the last stage.
    fn sources(&self, place: &Place, chains: &[Chain]) -> anyhow::Result<Sources> {
        let (page, chain) = (self.page(), self.chain(chains)?);
        if page.starts_with("handshake") {
            return sources_of_the_handshake(&place.root, &chain.to);
        }
        let states = chain.given(place)?;
        let index = match page.split_once('.') {
            Some((_, index)) => index.parse::<usize>().context("no number of a step")?,
            None => chain.steps.len(),
        };
        states.get(index).cloned().with_context(|| format!("there is no step {page}"))
    }

    fn chain<'c>(&self, chains: &'c [Chain]) -> anyhow::Result<&'c Chain> {
        let page = self.page();
        let chapter = page.trim_start_matches("stage").split('.').next().unwrap_or_default();
        let is_it = |chain: &&Chain| chain.chapter.to_string() == chapter;
        let last = chains.last().filter(|_| page.starts_with("handshake"));
        chains.iter().find(is_it).or(last).with_context(|| format!("no page is called {page}"))
    }
}

fn sources_of_the_handshake(root: &Path, stage: &str) -> anyhow::Result<Sources> {
    let mut sources = stage_sources(root, stage)?;
    for folder in ["examples", "tests/handshake"] {
        for (path, text) in Sources::read(&root.join(stage), folder)?.files() {
            sources.add(path, text);
        }
    }
    Ok(sources)
}

impl Trial {
    fn new(place: &Place, chains: &[Chain], question: Question) -> anyhow::Result<Self> {
        let sources = question.sources(place, chains)?.with(&question.patch);
        let sources = sources.with_context(|| format!("{FOLDER}/{}.patch", question.name))?;
        let package = question.package();
        Ok(Self { question, package, sources })
    }

    /// Its unit tests and its contract, by target.
    fn tests(&self, programs: &Programs) -> anyhow::Result<Vec<(&str, Test)>> {
        let targets = match self.question.page().starts_with("handshake") {
            true => vec!["handshake"],
            false => vec![&*self.package, CONTRACT],
        };
        let mut tests = Vec::new();
        for &target in &targets {
            tests.extend(programs.test(&self.package, target).map(|test| (target, test)));
        }
        let said = || programs.diagnostics(&self.package, |_| true).into_iter().collect::<String>();
        ensure!(tests.len() == targets.len(), "it does not compile\n{}", said());
        Ok(tests)
    }

    /// Runs the tests that it is about. Prints a line, and returns what is off.
    fn run(&self, screen: &Screen, programs: &Programs) -> anyhow::Result<Vec<String>> {
        let (start, mut off) = (Instant::now(), Vec::new());
        match (self.tests(programs), &self.question.expected) {
            (Err(error), _) => off.push(error.to_string()),
            (Ok(tests), Expected::Green) => {
                for (_, test) in tests {
                    off.extend(not_green(test)?);
                }
            }
            (Ok(tests), Expected::Red { red, stays }) => {
                for (target, test) in tests {
                    let [red, stays] = [red, stays].map(|names| self.names_in(target, names));
                    off.extend(not_as_said(test, target, &red, &stays)?);
                }
            }
        }
        let word = if off.is_empty() { screen.good("ok", 0) } else { screen.bad("off", 0) };
        let (Question { name, change, .. }, seconds) = (&self.question, start.elapsed());
        say!("{name:>22}  {change:<60}  {:>7.1}  {word}", seconds.as_secs_f64());
        Ok(off.into_iter().map(|fault| format!("{name}: {fault}")).collect())
    }

    /// Those of the names that a target has: the contract its sentences, and the other one the rest.
    fn names_in<'n>(&self, target: &str, names: &'n BTreeSet<String>) -> BTreeSet<&'n str> {
        let promised = sentences(&self.sources);
        let is_sentence = |name: &str| promised.contains(&name);
        let names = names.iter().map(String::as_str);
        names.filter(|name| is_sentence(name) == (target == CONTRACT)).collect()
    }
}

/// What is not red or does not stay green as the head says.
fn not_as_said(
    mut test: Test,
    target: &str,
    red: &BTreeSet<&str>,
    stays: &BTreeSet<&str>,
) -> anyhow::Result<Vec<String>> {
    let names = red.union(stays).map(|name| (*name).to_owned());
    test.args = names.chain([THREADS.to_owned()]).collect();
    if test.args.len() == 1 {
        return Ok(Vec::new());
    }
    test.args.extend((target == CONTRACT).then(|| "--exact".to_owned()));
    test.patience_ms = Some(PATIENCE_MS);
    let mut off = Vec::new();
    let Outcomes { passed, failed } = Outcomes::of(&test.run(DEADLINE)?.output);
    let named = |all: &BTreeSet<String>, name: &str| {
        all.iter().find(|full| full.rsplit("::").next() == Some(name)).cloned()
    };
    for name in red {
        match (named(&passed, name), named(&failed, name)) {
            // It may be kept by chance.
            (Some(full), _) if !is_red_once(&mut test, &full)? => {
                off.push(format!("{name} stays green"));
            }
            (None, None) => off.push(format!("{name} came to no end, or there is no such test")),
            _ => {}
        }
    }
    for name in stays.iter().filter(|name| named(&passed, name).is_none()) {
        test.args = vec![(*name).to_owned()];
        let again = Outcomes::of(&test.run(DEADLINE)?.output);
        off.extend(
            named(&again.passed, name).is_none().then(|| format!("{name} does not stay green")),
        );
    }
    Ok(off)
}

/// What is red although all is to stay green. On a busy machine a test has more than one try.
fn not_green(mut test: Test) -> anyhow::Result<Vec<String>> {
    const TRIES: usize = 3;
    let mut output = String::new();
    for _ in 0..TRIES {
        let run = test.run(DEADLINE)?;
        if run.verdict == Verdict::Green {
            return Ok(Vec::new());
        }
        output = run.output;
        let failed = Outcomes::of(&output).failed;
        if !failed.is_empty() {
            test.args = failed.into_iter().collect();
            test.args.extend(["--exact", "--test-threads=1"].map(str::to_owned));
        }
    }
    let failed = Outcomes::of(&output).failed;
    Ok(failed.iter().map(|name| format!("{name} is red{}", why(&output, name))).collect())
}

/// Builds all of them in one workspace, and runs their tests in lanes.
fn try_all(
    place: &Place,
    screen: &Screen,
    chains: &[Chain],
    trials: Vec<Trial>,
) -> anyhow::Result<Vec<String>> {
    let root = place.memory().join("questions");
    let mut members = BTreeMap::new();
    for Trial { question, package, sources } in &trials {
        let (chain, change) = (question.chain(chains)?, &question.change);
        let package = Package::new(&place.root, chain, package, change, sources)?;
        put(&root, &package, None)?;
        members.insert(package.name, package.manifest);
    }
    finish(place, &root, &members)?;
    say!("building {} changes …", trials.len());
    let programs = Programs::build(place, &root, &members.keys().map(String::as_str).collect())?;
    let (trials, off) = (Mutex::new(trials), Mutex::new(Vec::new()));
    let lane = || -> anyhow::Result<()> {
        loop {
            let Some(trial) = locked(&trials).pop() else { return Ok(()) };
            let faults = trial.run(screen, &programs)?;
            locked(&off).extend(faults);
        }
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().try_for_each(|lane| lane.join().expect("a lane does not panic"))
    })?;
    Ok(off.into_inner().unwrap_or_default())
}

fn names(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_what_turns_red_or_why_nothing_does() {
        let parse = |head: &str| Question::parse("5.10-2", &format!("{head}\n\n--- a/src/a.rs\n"));
        let red = parse("Change: c\nRed: a b").unwrap();
        let expected = Expected::Red { red: names("a b"), stays: names("") };
        assert_eq!((red.page(), &red.expected), ("5.10", &expected));
        let expected = Expected::Red { red: names("a"), stays: names("b c") };
        assert_eq!(parse("Change: c\nRed: a\nStays: b c").unwrap().expected, expected);
        assert_eq!(parse("Change: c\nGreen: why").unwrap().expected, Expected::Green);
        for head in ["", "Change: c", "Change: c\nRed:", "Red: a", "Change: c\nRed: a\nGreen: b"] {
            assert!(parse(head).is_err(), "{head}");
        }
        assert!(Question::parse("5.10-2", "Change: c\nRed: a\n").is_err());
    }

    #[test]
    fn the_test_kit_knows_a_package_of_stage_6_by_its_name() {
        let package =
            |name: &str| Question::parse(name, "Change: c\nRed: a\n--- a\n").unwrap().package();
        for (name, speaks_up) in
            [("5.6-2", false), ("5.11-6", false), ("6.1-1", true), ("stage6-1", true)]
        {
            assert_eq!(package(name).contains("-6-"), speaks_up, "{name}");
        }
    }
}

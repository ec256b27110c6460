//! `verify --steps`: does every step do what it says?
//!
//! First what can be read: the patches lead from stage to stage, each has a head, and none is too large. Then all steps are
//! built, in one workspace below `target`, and tested: the unit tests and the contract of each are green, and what is new
//! in a contract is red on the step before.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::chain::{Chain, Pair, sentences};
use super::workspace::{Programs, lay_out, name};
use super::{NONE, conclude};
use crate::exercises::{Number, Place, Screen, Sources, Test, Verdict, say};

/// More would only wait for each other: most tests wait, and the processor has much to do in between.
pub(super) const LANES: usize = 2;

/// A contract takes a minute at most on a machine that does nothing else.
const DEADLINE: Duration = Duration::from_secs(240);

/// New sentences that need not be red on the step before. A step has at least one that is.
const NOT_SURELY_RED: [&str; 3] = [
    // On a busy machine the client is too slow to keep the turn.
    "a_client_that_never_stops_sending_keeps_no_other_waiting",
    // A server that does not handle signals ignores SIGHUP as it was told. One that handles them has to remember.
    "goes_on_under_nohup_when_its_terminal_is_closed",
    // Without an outbox, it is the kernel's buffers that decide.
    "half_close_after_8_mib_gets_every_byte_back",
];

/// What is red waits for a moment, and not for a minute.
const RED_DEADLINE: Duration = Duration::from_secs(90);

/// A sentence that is red waits for a server that never does what it should. In milliseconds.
const PATIENCE_MS: &str = "3000";

/// Proves all steps, or these. Exit code 0: all is as they say.
pub(crate) fn verify(
    place: &Place,
    screen: &Screen,
    numbers: &[Number],
    only_read: bool,
) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let chains = Chain::all(&place.root)?;
    for number in numbers {
        Chain::with(&place.root, *number)?;
    }
    if chains.is_empty() {
        say!("{NONE}");
        return Ok(ExitCode::SUCCESS);
    }
    let (proven, mut faults) = read_all(&place.root, &chains);
    if !only_read {
        let proofs = proofs(&proven, numbers);
        faults.extend(prove_all(place, screen, &proven, proofs)?);
    }
    let all_is = ["All steps are as they say", "as the steps say"];
    Ok(conclude(screen, &faults, start.elapsed(), all_is))
}

/// A chain that leads to its stage, and the sources on the way.
pub(super) struct Proven<'a> {
    pub(super) chain: &'a Chain,
    pub(super) states: Vec<Sources>,
}

/// What can be said without building anything.
fn read_all<'a>(root: &Path, chains: &'a [Chain]) -> (Vec<Proven<'a>>, Vec<String>) {
    let (mut proven, mut faults) = (Vec::new(), Vec::new());
    for chain in chains {
        match chain.proven_here(root) {
            Ok(states) => {
                let pairs = chain.pairs(&states);
                let sizes = pairs.filter_map(|pair| Some((pair.step.number, pair.size().fault()?)));
                faults.extend(sizes.map(|(number, fault)| format!("{number}: {fault}")));
                proven.push(Proven { chain, states });
            }
            Err(error) => faults.push(format!("{error:#}")),
        }
    }
    (proven, faults)
}

/// A step to be built and tested.
struct Proof<'a> {
    pair: Pair<'a>,
    name: String,
    name_before: String,
    /// Its contract is that of the stage, which the stage's own tests run.
    is_stage: bool,
}

/// The steps that are wanted, in the order in which they are to be taken: from the end.
fn proofs<'a>(proven: &'a [Proven<'a>], numbers: &[Number]) -> Vec<Proof<'a>> {
    let mut proofs = Vec::new();
    for Proven { chain, states } in proven {
        for pair in chain.pairs(states) {
            let Number { chapter, index } = pair.step.number;
            let [name, name_before] = [index, index - 1].map(|index| name(chapter, index));
            let is_stage = chain.stage_of(pair.step).is_some();
            proofs.push(Proof { pair, name, name_before, is_stage });
        }
    }
    proofs.retain(|proof| numbers.is_empty() || numbers.contains(&proof.pair.step.number));
    proofs
}

/// Builds and tests, in lanes of their own. Prints a line for each step, and returns what is off.
fn prove_all(
    place: &Place,
    screen: &Screen,
    proven: &[Proven<'_>],
    proofs: Vec<Proof<'_>>,
) -> anyhow::Result<Vec<String>> {
    let root = place.memory().join("steps");
    lay_out(place, &root, proven)?;
    say!("building {} steps …", proofs.len());
    let names = proofs.iter().flat_map(|proof| [&*proof.name, &*proof.name_before]).collect();
    let programs = Programs::build(place, &root, &names)?;
    say!("{:>5}  {:<44}  lines  hunks  seconds", "", "step");
    let (proofs, seen) = (Mutex::new(proofs), Mutex::new(Seen::default()));
    let lane = || -> anyhow::Result<()> {
        loop {
            let Some(proof) = locked(&proofs).pop() else { return Ok(()) };
            let Seen { off, doubtful } = proof.run(screen, &programs)?;
            locked(&seen).off.extend(off);
            locked(&seen).doubtful.extend(doubtful);
        }
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().try_for_each(|lane| lane.join().expect("a lane does not panic"))
    })?;
    let Seen { mut off, doubtful } = seen.into_inner().unwrap_or_default();
    for doubtful in doubtful {
        off.extend(doubtful.try_again(screen)?);
    }
    Ok(off)
}

/// What the tests of steps have shown.
#[derive(Default)]
struct Seen {
    off: Vec<String>,
    doubtful: Vec<Doubtful>,
}

/// Tests that were red beside another lane, which no learner has. They are tried again when nothing else runs.
struct Doubtful {
    number: Number,
    test: Test,
    names: BTreeSet<String>,
}

impl Doubtful {
    /// Returns what is red at the second try and at the third one.
    fn try_again(mut self, screen: &Screen) -> anyhow::Result<Vec<String>> {
        const TRIES: usize = 2;
        let number = self.number.to_string();
        let mut output = String::new();
        for _ in 0..TRIES {
            self.test.args = ["--exact", "--test-threads=1"].map(str::to_owned).to_vec();
            self.test.args.extend(self.names.iter().cloned());
            output = self.test.run(DEADLINE)?.output;
            for name in Outcomes::of(&output).passed {
                self.names.remove(&name);
                say!("{number:>5}  {name}: {}", screen.good("ok alone", 0));
            }
            if self.names.is_empty() {
                break;
            }
        }
        let red = self.names.iter();
        let red = red.map(|name| format!("{number}: {name} is red{}", why(&output, name)));
        Ok(red.collect())
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Proof<'_> {
    /// Runs the tests of the step, and what is new in it on the step before. Prints a line, and returns what is off.
    fn run(&self, screen: &Screen, programs: &Programs) -> anyhow::Result<Seen> {
        let (start, number) = (Instant::now(), self.pair.step.number);
        let (mut off, mut doubtful) = (Vec::new(), Vec::new());
        let said = programs.diagnostics(&self.name, |target| target != "next");
        off.extend(said.into_iter().map(|said| format!("the compiler says\n{said}")));
        doubtful.extend(self.red(programs, &self.name, &mut off)?);
        if !self.is_stage {
            doubtful.extend(self.red(programs, "contract", &mut off)?);
        }
        self.news_must_be_red(programs, &mut off)?;
        let word = match (off.is_empty(), doubtful.is_empty()) {
            (true, true) => screen.good("ok", 0),
            (true, false) => "to be tried again".to_owned(),
            (false, _) => screen.bad("off", 0),
        };
        let seconds = start.elapsed().as_secs_f64();
        say!("{}  {seconds:>7.1}  {word}{}", self.row(), self.sentences(screen));
        let off = off.into_iter().map(|fault| format!("{number}: {fault}")).collect();
        Ok(Seen { off, doubtful })
    }

    /// Number, title, size.
    fn row(&self) -> String {
        let (step, size) = (self.pair.step, self.pair.size());
        let (number, title) = (step.number.to_string(), &step.title);
        format!("{number:>5}  {title:<44}  {:>5}  {:>5}", size.lines, size.hunks)
    }

    /// What became true, and what is no longer.
    fn sentences(&self, screen: &Screen) -> String {
        let line = |what: &str, names: Vec<&str>| match names.is_empty() {
            true => String::new(),
            false => format!("\n       {}", screen.dim(&format!("{what}: {}", names.join(", ")))),
        };
        let (new, lifted) = (self.pair.new_sentences(), self.pair.lifted_sentences());
        line("new", new) + &line("lifted", lifted)
    }

    /// What is not green of a test that must be.
    fn red(
        &self,
        programs: &Programs,
        target: &str,
        off: &mut Vec<String>,
    ) -> anyhow::Result<Option<Doubtful>> {
        // Where it does not compile, the compiler has said so.
        let Some(test) = programs.test(&self.name, target) else { return Ok(None) };
        let run = test.run(DEADLINE)?;
        if run.verdict == Verdict::Green {
            return Ok(None);
        }
        let Outcomes { passed, failed: mut names } = Outcomes::of(&run.output);
        if target == "contract" {
            let all = sentences(self.pair.after).into_iter().map(str::to_owned);
            names.extend(all.filter(|name| !passed.contains(name)));
        }
        if names.is_empty() {
            off.push(format!("its unit tests came to no end: {:?}", run.verdict));
            return Ok(None);
        }
        Ok(Some(Doubtful { number: self.pair.step.number, test, names }))
    }

    fn news_must_be_red(&self, programs: &Programs, off: &mut Vec<String>) -> anyhow::Result<()> {
        let news = self.pair.new_sentences();
        if news.is_empty() {
            return Ok(());
        }
        let Some(mut test) = programs.test(&self.name_before, "next") else {
            let said = programs.diagnostics(&self.name_before, |target| target == "next");
            let said = said.into_iter().collect::<Vec<_>>().join("\n");
            off.push(format!("what is new cannot be tried on the step before\n{said}"));
            return Ok(());
        };
        test.patience_ms = Some(PATIENCE_MS);
        let mut outcomes = Outcomes::of(&test.run(RED_DEADLINE)?.output);
        for name in outcomes.passed.clone() {
            if !NOT_SURELY_RED.contains(&&*name) && is_red_once(&mut test, &name)? {
                outcomes.passed.remove(&name);
                outcomes.failed.insert(name);
            }
        }
        off.extend(outcomes.faults_of_news(&news));
        Ok(())
    }
}

/// Whether a sentence that was green is red at another time. A promise that is kept by chance is none.
pub(super) fn is_red_once(test: &mut Test, name: &str) -> anyhow::Result<bool> {
    const TRIES: usize = 4;
    test.args = ["--exact", name].map(str::to_owned).to_vec();
    for _ in 0..TRIES {
        if Outcomes::of(&test.run(RED_DEADLINE)?.output).failed.contains(name) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How each test ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcomes {
    pub(super) passed: BTreeSet<String>,
    pub(super) failed: BTreeSet<String>,
}

impl Outcomes {
    pub(super) fn of(output: &str) -> Self {
        let mut outcomes = Self::default();
        for line in output.lines() {
            let Some((name, end)) =
                line.strip_prefix("test ").and_then(|it| it.split_once(" ... "))
            else {
                continue;
            };
            match end {
                "ok" => outcomes.passed.insert(name.to_owned()),
                "FAILED" => outcomes.failed.insert(name.to_owned()),
                _ => false,
            };
        }
        outcomes
    }

    /// What is wrong if these are the outcomes of new sentences on the step before.
    fn faults_of_news(&self, news: &[&str]) -> Vec<String> {
        let mut faults = Vec::new();
        for name in news {
            if self.passed.contains(*name) && !NOT_SURELY_RED.contains(name) {
                faults.push(format!("{name} is new here, and is true of the step before"));
            } else if !self.passed.contains(*name) && !self.failed.contains(*name) {
                faults.push(format!("{name} came to no end on the step before"));
            }
        }
        if faults.is_empty() && self.failed.is_empty() {
            faults.push("nothing that is new here is false of the step before".to_owned());
        }
        faults
    }
}

/// What a test said last, behind a colon. Empty: it did not come to that.
pub(super) fn why(output: &str, name: &str) -> String {
    const LINES: usize = 6;
    let head = format!("---- {name} stdout ----");
    let said = output.lines().skip_while(|line| *line != head).skip(1);
    // Before that it may have told at length what it saw.
    let said = said.skip_while(|line| !line.starts_with("thread '"));
    let said = said.take_while(|line| !line.starts_with("---- ")).filter(|line| !line.is_empty());
    said.take(LINES).map(|line| format!("\n    {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "running 3 tests\ntest a ... ok\ntest b ... FAILED\ntest c has been running for over 60 seconds\n\n\
        failures:\n\n---- b stdout ----\n\nthread 'b' panicked:\nno bytes\n\n---- d stdout ----\nother\n";

    #[test]
    fn the_outcome_of_each_test_is_read_from_what_it_says() {
        let [a, b] = ["a", "b"].map(|name| BTreeSet::from([name.to_owned()]));
        assert_eq!(Outcomes::of(OUTPUT), Outcomes { passed: a, failed: b });
        assert_eq!(why(OUTPUT, "b"), "\n    thread 'b' panicked:\n    no bytes");
        assert_eq!(why(OUTPUT, "c"), "");
    }

    #[test]
    fn what_is_new_is_red_before_or_has_a_reason_not_to_be() {
        let faults = |passed: &[&str], failed: &[&str], news: &[&str]| {
            let [passed, failed] =
                [passed, failed].map(|it| it.iter().map(|n| (*n).to_owned()).collect());
            Outcomes { passed, failed }.faults_of_news(news)
        };
        let may = NOT_SURELY_RED[0];
        assert!(faults(&[], &["a"], &["a"]).is_empty());
        assert!(faults(&[may], &["a"], &["a", may]).is_empty());
        assert_eq!(
            faults(&["b"], &["a"], &["a", "b"]),
            ["b is new here, and is true of the step before"]
        );
        assert_eq!(faults(&[], &["a"], &["a", "b"]), ["b came to no end on the step before"]);
        let none = "nothing that is new here is false of the step before";
        assert_eq!(faults(&[may], &[], &[may]), [none]);
    }

    #[test]
    fn every_sentence_that_need_not_be_red_is_one() {
        let contract = include_str!("../../../stage5-mio/tests/contract.rs");
        for name in NOT_SURELY_RED {
            assert!(contract.contains(&format!(" {name},")), "{name}");
        }
    }
}

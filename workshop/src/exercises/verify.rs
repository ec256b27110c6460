//! `verify`: does every patch do what its page says?
//!
//! Two parts. The pages are read and compared with the patches and tests they name: a second. Then each
//! patch is applied to a copy of the workspace: the solution, with the test run before and after, and every
//! answer that is not ours, of which `check` must say what the answer itself says it is. That takes minutes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::Context;

use super::answers::{Answer, answers, faults as faults_of_answers, folder};
use super::examine::{Examined, Reader, examine};
use super::page::{Exercise, Kind, Number, folder_of};
use super::place::Place;
use super::run::{Workspace, first_errors};
use super::screen::{Screen, say};
use super::{explain, leading};
use crate::steps;

/// What to verify.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these
    numbers: Vec<Number>,
    /// Only the first exercise of each kind in each chapter, and only our own answer to it
    #[arg(long)]
    fast: bool,
    /// Only read the pages, patches and names; build nothing
    #[arg(long)]
    pages: bool,
    /// Not the exercises: prove that the steps lead from stage to stage, and that each one does what it says
    #[arg(long, conflicts_with = "fast")]
    steps: bool,
    /// Not the exercises: try each change that a question of the book proposes
    #[arg(long, conflicts_with_all = ["fast", "steps"])]
    questions: bool,
}

/// More would only wait for each other: most tests wait, and a build takes what there is.
const LANES: usize = 2;

/// Reads all pages, tries the patches, prints a table. Exit code 0: all is as the pages say.
pub(crate) fn verify(
    place: &Place,
    screen: &Screen,
    options: &Options,
) -> anyhow::Result<ExitCode> {
    if options.steps {
        return steps::verify(place, screen, &options.numbers, options.pages);
    }
    if options.questions {
        return steps::verify_questions(place, screen, &options.numbers, options.pages);
    }
    let start = Instant::now();
    for number in &options.numbers {
        place.exercise(*number)?;
    }
    let mut faults = faults_of_pages(place)?;
    // An answer that is still to be written hinders no other.
    if !options.pages && faults.is_empty() {
        faults = try_all(place, screen, trials(place, options)?)?;
    }
    for exercise in chosen(place, options)? {
        let lacks = faults_of_answers(&exercise, &answers(place, &exercise)?);
        faults.extend(lacks.into_iter().map(|fault| format!("{}: {fault}", exercise.number)));
    }
    for fault in &faults {
        say!("{} {fault}", screen.bad("off:", 0));
    }
    let seconds = start.elapsed().as_secs_f64();
    if faults.is_empty() {
        say!("{} All is as the pages say. {seconds:.0} s.", screen.good("ok:", 0));
        return Ok(ExitCode::SUCCESS);
    }
    say!("{} thing(s) are not as the pages say. {seconds:.0} s.", faults.len());
    Ok(ExitCode::FAILURE)
}

/// An exercise, and the answers to try besides ours.
struct Trial {
    exercise: Exercise,
    answers: Vec<Answer>,
}

/// In the order in which they are to be taken: from the end.
fn trials(place: &Place, options: &Options) -> anyhow::Result<Vec<Trial>> {
    let with_answers = |exercise| {
        let answers = if options.fast { Vec::new() } else { answers(place, &exercise)? };
        Ok(Trial { exercise, answers })
    };
    chosen(place, options)?.into_iter().rev().map(with_answers).collect()
}

fn chosen(place: &Place, options: &Options) -> anyhow::Result<Vec<Exercise>> {
    let mut exercises = place.exercises()?;
    if !options.numbers.is_empty() {
        exercises.retain(|exercise| options.numbers.contains(&exercise.number));
    }
    if options.fast {
        let mut seen = BTreeSet::new();
        exercises.retain(|exercise| {
            seen.insert((exercise.number.chapter, exercise.kind == Kind::Build))
        });
    }
    // So that the unchanged stage is built once for all of its exercises.
    exercises.sort_by(|a, b| (&a.package, a.number).cmp(&(&b.package, b.number)));
    Ok(exercises)
}

/// What is wrong with the pages, and with what they name.
fn faults_of_pages(place: &Place) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    let exercises = read_pages(place, &mut faults)?;
    let book =
        |file: &str| fs::read_to_string(place.root.join("docs/src").join(file)).unwrap_or_default();
    let (summary, index) = (book("SUMMARY.md"), book("exercises/index.md"));
    let without_git = why_without_git();
    for exercise in &exercises {
        let number = exercise.number;
        let mut add = |fault: String| faults.push(format!("{number}: {fault}"));
        if !summary.contains(&format!("(exercises/{number}.md)")) {
            add("SUMMARY.md does not name its page".to_owned());
        }
        if !index.contains(&row_of(exercise)) {
            add(format!("exercises/index.md has no row {}", row_of(exercise)));
        }
        if without_git.is_none() {
            fault_of_patch(place, exercise).into_iter().for_each(&mut add);
        }
        faults_of_names(place, exercise)?.into_iter().for_each(&mut add);
        let answers = answers(place, exercise)?;
        answers.iter().filter_map(|a| strays(exercise, &a.patch)).for_each(&mut add);
    }
    // Told once, and not of each patch as if it were wrong.
    faults.extend(without_git);
    faults.extend(patches_without_a_page(place, &exercises)?);
    let plan = leading::faults(&book("leading.md"), &exercises);
    faults.extend(plan.into_iter().map(|fault| format!("leading.md: {fault}")));
    Ok(faults)
}

/// Every exercise whose page can be read. What is wrong with the others goes to `faults`.
fn read_pages(place: &Place, faults: &mut Vec<String>) -> anyhow::Result<Vec<Exercise>> {
    let mut exercises = Vec::new();
    for path in place.pages()? {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        match Exercise::parse(&fs::read_to_string(&path)?) {
            Ok(exercise) if *file == format!("{}.md", exercise.number) => exercises.push(exercise),
            Ok(exercise) => faults.push(format!("{file}: the page says {}", exercise.number)),
            Err(error) => faults.push(format!("{file}: {error:#}")),
        }
    }
    Ok(exercises)
}

/// An exercise in the book's table of all of them.
fn row_of(exercise: &Exercise) -> String {
    let Exercise { number, title, minutes, kind, .. } = exercise;
    format!("| [{number}]({number}.md) | {title} | {minutes} | {kind} |")
}

fn fault_of_patch(place: &Place, exercise: &Exercise) -> Option<String> {
    let path = place.patch(exercise.number);
    let applies =
        || apply(&place.root, &path, &["--check"]).err().map(|error| format!("{error:#}"));
    strays(exercise, &path).or_else(applies)
}

/// Whether a patch touches files that are none of the exercise's.
fn strays(exercise: &Exercise, path: &Path) -> Option<String> {
    let Ok(patch) = fs::read_to_string(path) else {
        return Some(format!("no {}", path.display()));
    };
    let inside = format!("+++ b/{}/", exercise.sources);
    let elsewhere =
        patch.lines().find(|line| line.starts_with("+++ ") && !line.starts_with(&inside))?;
    Some(format!("the patch touches more than {}: {elsewhere}", exercise.sources))
}

/// The names of tests on the page must be those of tests, and the ignored ones say how to run them.
fn faults_of_names(place: &Place, exercise: &Exercise) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    let mut sources = String::new();
    let packages = BTreeSet::from([&exercise.package, &exercise.test.package]);
    for package in packages {
        read_sources(&place.root.join(folder_of(package)), &mut sources)?;
    }
    let others = exercise.taken_back.iter().chain(&exercise.still_holds);
    let others = others.chain(exercise.steps.iter().map(|step| &step.test));
    for name in exercise.test.names().chain(others) {
        let last = name.rsplit("::").next().unwrap_or(name);
        // A function, or a sentence in the list of a contract.
        if !sources.contains(&format!("fn {last}")) && !sources.contains(&format!("    {last},")) {
            faults.push(format!("there is no test {name} in {}", exercise.test.package));
        }
    }
    let ignore = format!("#[ignore = \"exercise {}: {}\"]", exercise.number, exercise.test.line);
    if exercise.kind == Kind::Build && !sources.contains(&ignore) {
        faults.push(format!("no test says {ignore}"));
    }
    Ok(faults)
}

fn read_sources(directory: &Path, sources: &mut String) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("no {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            read_sources(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *sources += &fs::read_to_string(&path)?;
        }
    }
    Ok(())
}

fn patches_without_a_page(place: &Place, exercises: &[Exercise]) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    for entry in fs::read_dir(place.root.join("docs/solutions"))? {
        let path = entry?.path();
        if !exercises.iter().any(|exercise| place.patch(exercise.number) == path) {
            faults.push(format!("{}: a patch without a page", path.display()));
        }
    }
    let numbers: BTreeSet<_> = exercises.iter().map(|e| e.number.to_string()).collect();
    for entry in fs::read_dir(folder(place)).into_iter().flatten() {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // The changes that questions propose are not answers to an exercise.
        if !numbers.contains(&name) && name != steps::QUESTIONS {
            faults.push(format!("{}: answers without a page", entry.path().display()));
        }
    }
    Ok(faults)
}

/// Why no patch can be tried. `None`: there is a git.
fn why_without_git() -> Option<String> {
    let started = Command::new("git").arg("--version").stdout(Stdio::null()).status();
    started.err().map(|error| format!("cannot start git, which applies the patches: {error}"))
}

/// `git apply`, as if `root` were in no repository: below another one it would skip, without a word,
/// whatever is not in the current directory.
///
/// The lines of the patch and those of the sources may end with LF or CRLF, each for itself: the patch goes
/// to git with LF, and `core.autocrlf=input` has git read the sources so.
fn apply(root: &Path, patch: &Path, options: &[&str]) -> anyhow::Result<()> {
    let patch = fs::read_to_string(patch)?.replace("\r\n", "\n");
    let mut command = Command::new("git");
    command.args(["-c", "core.autocrlf=input", "apply"]).args(options).arg("-").current_dir(root);
    if let Some(above) = root.parent() {
        command.env("GIT_CEILING_DIRECTORIES", above);
    }
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut git = command.spawn().context("cannot start git")?;
    // If git ends before it has read all of it, it says why.
    let _ = git.stdin.take().context("git has no stdin")?.write_all(patch.as_bytes());
    let output = git.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "the patch does not apply: {}", said.trim());
    Ok(())
}

/// Tries everything, in lanes of their own. Prints a line for each patch, returns what is off.
fn try_all(place: &Place, screen: &Screen, trials: Vec<Trial>) -> anyhow::Result<Vec<String>> {
    say!("{:>5}  {:<28}  seconds  {:<32}", "", "answer", "verdict");
    let (trials, faults) = (Mutex::new(trials), Mutex::new(Vec::new()));
    let lane = |number: usize| -> anyhow::Result<()> {
        let copy = Copy::new(place, number)?;
        loop {
            let Some(trial) = locked(&trials).pop() else { break };
            let off = try_one(place, screen, &copy, &trial)?;
            locked(&faults).extend(off);
        }
        copy.restore(place)
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|number| scope.spawn(move || lane(number))).collect();
        lanes.into_iter().try_for_each(|lane| lane.join().expect("a lane does not panic"))
    })?;
    Ok(faults.into_inner().unwrap_or_default())
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The stage as it is, our answer, and all others.
fn try_one(
    place: &Place,
    screen: &Screen,
    copy: &Copy,
    trial: &Trial,
) -> anyhow::Result<Vec<String>> {
    let solution = place.patch(trial.exercise.number);
    let mut faults = Vec::new();
    for Try { name, exercise, patches, wanted } in tries(trial, &solution)? {
        let start = Instant::now();
        let mut seen = copy.examine_with(place, &exercise, &patches)?;
        // Here two lanes share the machine, which no learner does. What is off once is tried again, and said.
        let again = off(wanted, &seen);
        if again {
            seen = copy.examine_with(place, &exercise, &patches)?;
        }
        let (number, seconds) = (exercise.number.to_string(), start.elapsed().as_secs_f64());
        let off = off(wanted, &seen);
        let word = match (off, again) {
            (true, _) => screen.bad("off, twice", 0),
            (false, true) => screen.good("ok at the second try", 0),
            (false, false) => screen.good("ok", 0),
        };
        say!("{number:>5}  {name:<28}  {seconds:>7.1}  {:<32}  {word}", key(&seen));
        if off {
            let wanted = wanted.unwrap_or("red");
            let details = details(&seen);
            faults.push(format!("{number} {name}: expected \"{wanted}\"; seen: {details}"));
        }
    }
    Ok(faults)
}

/// One thing to try.
struct Try<'a> {
    name: String,
    /// Or a step of it.
    exercise: Exercise,
    patches: Vec<&'a PathBuf>,
    /// The verdict. `None`: any cause will do, as long as it is not done.
    wanted: Option<&'a str>,
}

fn tries<'a>(trial: &'a Trial, solution: &'a PathBuf) -> anyhow::Result<Vec<Try<'a>>> {
    let Trial { exercise, answers } = trial;
    let (before, ours) = match exercise.kind {
        Kind::Build => (None, "(the solution)"),
        Kind::Break => (Some("nothing is broken"), "(the fault)"),
    };
    let whole = |name: &str, patches, wanted| Try {
        name: name.to_owned(),
        exercise: exercise.clone(),
        patches,
        wanted,
    };
    let mut tries =
        vec![whole("(the stage)", vec![], before), whole(ours, vec![solution], Some("done"))];
    // A step is red before its patch, with all of those before it, and green behind it.
    let mut so_far = Vec::new();
    let mut steps: Vec<_> = answers.iter().filter(|answer| answer.step.is_some()).collect();
    steps.sort_by_key(|answer| answer.step);
    for answer in steps {
        let step = exercise.clone().at_step(answer.step.unwrap_or_default())?;
        let name = format!("before {}", answer.name());
        tries.push(Try { name, exercise: step.clone(), patches: so_far, wanted: None });
        so_far = vec![&answer.patch];
        let (name, patches) = (answer.name(), so_far.clone());
        tries.push(Try { name, exercise: step, patches, wanted: Some("done") });
    }
    for answer in answers.iter().filter(|answer| answer.step.is_none()) {
        let first = answer.on_the_solution.then_some(solution);
        let patches = first.into_iter().chain([&answer.patch]).collect();
        tries.push(whole(&answer.name(), patches, Some(&answer.verdict)));
    }
    Ok(tries)
}

fn off(wanted: Option<&str>, seen: &Examined) -> bool {
    match (wanted, seen) {
        (Some(wanted), Examined::Ran { finding, .. }) => !finding.is(wanted),
        (Some(wanted), Examined::DoesNotCompile(_)) => wanted != key(seen),
        (None, _) => matches!(key(seen), "done" | "does not compile"),
    }
}

fn key(seen: &Examined) -> &str {
    match seen {
        Examined::DoesNotCompile(_) => "does not compile",
        Examined::Ran { finding, .. } => finding.key(),
    }
}

fn details(seen: &Examined) -> String {
    match seen {
        Examined::DoesNotCompile(said) => format!("does not compile\n{}", first_errors(said)),
        Examined::Ran { run, finding } => {
            let seen = explain::what_was_seen(run).join("\n");
            let counters = run.observed.in_words().unwrap_or_default();
            format!("\"{}\" ({:?})\n{seen}\n{counters}", finding.key(), run.verdict)
        }
    }
}

/// A copy of the workspace, which stays from one time to the next, as does what was built from it.
struct Copy {
    workspace: Workspace,
}

impl Copy {
    fn new(place: &Place, lane: usize) -> anyhow::Result<Self> {
        let root = place.memory().join(format!("copy-{lane}"));
        let target = Some(place.memory().join(format!("target-{lane}")));
        let copy = Self { workspace: Workspace { root, target } };
        copy.restore(place)?;
        copy.remove_strangers(place)?;
        Ok(copy)
    }

    /// Makes the copy equal to the workspace. A file that is equal already is left alone, time stamp and
    /// all, so that cargo need not build it again.
    fn restore(&self, place: &Place) -> anyhow::Result<()> {
        for file in files(place)? {
            let Ok(ours) = fs::read(place.root.join(&file)) else { continue };
            let path = self.workspace.root.join(&file);
            if fs::read(&path).is_ok_and(|theirs| theirs == ours) {
                continue;
            }
            fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
            fs::write(&path, ours).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Files that an earlier copy had and the workspace no longer has.
    fn remove_strangers(&self, place: &Place) -> anyhow::Result<()> {
        let known: BTreeSet<_> = files(place)?.into_iter().collect();
        let mut found = Vec::new();
        walk(&self.workspace.root, &mut found)?;
        for path in found {
            if !known.contains(&super::run::relative(&path, &self.workspace.root)) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// What `check` says of the stage with these patches.
    fn examine_with(
        &self,
        place: &Place,
        exercise: &Exercise,
        patches: &[&PathBuf],
    ) -> anyhow::Result<Examined> {
        self.restore(place)?;
        for patch in patches {
            apply(&self.workspace.root, patch, &[])
                .with_context(|| format!("{}", patch.display()))?;
        }
        examine(&self.workspace, exercise, Reader::Machine)
    }
}

/// Every file of the checkout. git is not asked: it need not know this folder.
fn files(place: &Place) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    walk(&place.root, &mut found)?;
    Ok(found.iter().map(|path| super::run::relative(path, &place.root)).collect())
}

/// Every file below a folder, without what is hidden and what was built. cargo marks a folder that it builds
/// in with a tag, if we have not been there first.
fn walk(directory: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let is_built = || name == "target" || path.join("CACHEDIR.TAG").exists();
        if !entry.file_type()?.is_dir() {
            found.push(path);
        } else if !name.to_string_lossy().starts_with('.') && !is_built() {
            walk(&path, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::judge::Finding;
    use super::super::observe::Observed;
    use super::super::run::{Run, Verdict};
    use super::*;

    fn seen(finding: Finding) -> Examined {
        let (output, observed) = (String::new(), Observed::default());
        let run = Run { verdict: Verdict::Red, output, elapsed: Duration::ZERO, observed };
        Examined::Ran { run: run.into(), finding }
    }

    #[test]
    fn an_answer_is_off_when_the_verdict_is_another_one() {
        assert!(!off(Some("done"), &seen(Finding::Done)));
        assert!(off(Some("done"), &seen(Finding::NothingBroken)));
        assert!(off(Some("spins"), &seen(Finding::Done)));
        assert!(!off(Some("nothing is broken"), &seen(Finding::NothingBroken)));
    }

    #[test]
    fn a_stage_in_which_nothing_is_built_is_not_done_for_whatever_cause() {
        assert!(!off(None, &seen(Finding::NothingBroken)));
        assert!(off(None, &seen(Finding::Done)));
        let error = || Examined::DoesNotCompile("error: no".to_owned());
        assert!(off(None, &error()) && off(Some("done"), &error()));
        assert!(!off(Some("does not compile"), &error()), "a wrong answer may fail to compile");
    }
}

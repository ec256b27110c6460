//! `verify`: does every patch do what its page says?
//!
//! Two parts. The pages are read and compared with the patches and tests they name: a second. Then each
//! patch is applied to a copy of the workspace and its test is run before and after: minutes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::leading;
use super::page::{Exercise, Kind, Number};
use super::place::Place;
use super::run::{Run, Verdict, Workspace, first_errors};
use super::screen::{Screen, say};

/// What to verify.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these
    numbers: Vec<Number>,
    /// Only the first exercise of each kind in each chapter
    #[arg(long)]
    fast: bool,
    /// Only read the pages, patches and names; build nothing
    #[arg(long)]
    pages: bool,
}

/// How long a green test may take. The machine may be busy, and no learner waits here.
const GREEN_DEADLINE: Duration = Duration::from_secs(60);

/// How long a red test may take at least: after that it has hung, which is red as well.
const RED_DEADLINE: Duration = Duration::from_secs(8);

/// Reads all pages, tries the patches, prints a table. Exit code 0: all is as the pages say.
pub(crate) fn verify(
    place: &Place,
    screen: &Screen,
    options: &Options,
) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    for number in &options.numbers {
        place.exercise(*number)?;
    }
    let mut faults = faults_of_pages(place)?;
    if !options.pages && faults.is_empty() {
        faults = try_patches(place, screen, &chosen(place, options)?)?;
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
    for exercise in &exercises {
        let number = exercise.number;
        let mut add = |fault: String| faults.push(format!("{number}: {fault}"));
        if !summary.contains(&format!("(exercises/{number}.md)")) {
            add("SUMMARY.md does not name its page".to_owned());
        }
        if !index.contains(&row_of(exercise)) {
            add(format!("exercises/index.md has no row {}", row_of(exercise)));
        }
        fault_of_patch(place, exercise).into_iter().for_each(&mut add);
        faults_of_names(place, exercise)?.into_iter().for_each(&mut add);
    }
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
    let Ok(patch) = fs::read_to_string(&path) else {
        return Some(format!("no {}", path.display()));
    };
    let inside = format!("+++ b/{}/", exercise.sources);
    let elsewhere =
        patch.lines().find(|line| line.starts_with("+++ ") && !line.starts_with(&inside));
    if let Some(line) = elsewhere {
        return Some(format!("the patch touches more than {}: {line}", exercise.sources));
    }
    apply(&place.root, &path, &["--check"]).err().map(|error| format!("{error:#}"))
}

/// The names of tests on the page must be those of tests, and the ignored ones say how to run them.
fn faults_of_names(place: &Place, exercise: &Exercise) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    let mut sources = String::new();
    read_sources(&place.root.join(&exercise.package), &mut sources)?;
    for name in exercise.test.names() {
        let last = name.rsplit("::").next().unwrap_or(name);
        // A function, or a sentence in the list of a contract.
        if !sources.contains(&format!("fn {last}")) && !sources.contains(&format!("    {last},")) {
            faults.push(format!("there is no test {name} in {}", exercise.package));
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
    Ok(faults)
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

/// Tries each patch in the copy. Prints a line for each, returns what is off.
fn try_patches(
    place: &Place,
    screen: &Screen,
    exercises: &[Exercise],
) -> anyhow::Result<Vec<String>> {
    let copy = Copy::new(place)?;
    let mut faults = Vec::new();
    say!("{:>5}  {:<8}  {:<24}  before  after  seconds", "", "kind", "stage");
    for group in exercises.chunk_by(|a, b| a.package == b.package) {
        // All of the unchanged stage first: it is built once.
        copy.restore(place)?;
        let before: Vec<_> =
            group.iter().map(|e| copy.run(e, before_is_red(e))).collect::<Result<_, _>>()?;
        for (exercise, before) in group.iter().zip(before) {
            copy.restore(place)?;
            apply(&copy.workspace.root, &place.patch(exercise.number), &[])?;
            let start = Instant::now();
            let after = copy.run(exercise, !before_is_red(exercise))?;
            let seconds = start.elapsed().as_secs_f64();
            let number = exercise.number.to_string();
            let off = off(exercise, &before, &after);
            say!(
                "{number:>5}  {:<8}  {:<24}  {:<6}  {:<5}  {seconds:>7.1}  {}",
                exercise.kind,
                exercise.package,
                before.word(),
                after.word(),
                if off.is_empty() { screen.good("ok", 0) } else { screen.bad("off", 0) },
            );
            faults.extend(off);
        }
    }
    copy.restore(place)?;
    Ok(faults)
}

fn before_is_red(exercise: &Exercise) -> bool {
    exercise.kind == Kind::Build
}

/// What building and running a test has shown.
enum Outcome {
    DoesNotCompile(String),
    Ran(Run),
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::DoesNotCompile(_) => "error",
            Self::Ran(run) => match run.verdict {
                Verdict::Green => "green",
                Verdict::Red => "red",
                Verdict::Hung => "hangs",
                Verdict::Bloated => "bloats",
                Verdict::NoSuchTest => "none",
            },
        }
    }

    fn is(&self, red: bool) -> bool {
        match self {
            Self::DoesNotCompile(_) => false,
            Self::Ran(run) if red => run.verdict.is_red(),
            Self::Ran(run) => run.verdict == Verdict::Green,
        }
    }

    fn details(&self) -> String {
        match self {
            Self::DoesNotCompile(said) => first_errors(said),
            Self::Ran(run) => run.output.lines().take(40).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// What is not as it should be, with what was seen.
fn off(exercise: &Exercise, before: &Outcome, after: &Outcome) -> Vec<String> {
    let red_first = before_is_red(exercise);
    let mut faults = Vec::new();
    for (when, outcome, red) in [("before", before, red_first), ("after", after, !red_first)] {
        if !outcome.is(red) {
            let wanted = if red { "red" } else { "green" };
            faults.push(format!(
                "{}: {when} the patch it should be {wanted}, and is: {}\n{}",
                exercise.number,
                outcome.word(),
                outcome.details(),
            ));
        }
    }
    faults
}

/// A copy of the workspace, which stays from one time to the next, as does what was built from it.
struct Copy {
    workspace: Workspace,
}

impl Copy {
    fn new(place: &Place) -> anyhow::Result<Self> {
        let root = place.memory().join("copy");
        let target = Some(place.memory().join("target"));
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

    fn run(&self, exercise: &Exercise, expect_red: bool) -> anyhow::Result<Outcome> {
        let test = match self.workspace.build(exercise)? {
            Ok(test) => test,
            Err(said) => return Ok(Outcome::DoesNotCompile(said)),
        };
        test.run(if expect_red { RED_DEADLINE } else { GREEN_DEADLINE }).map(Outcome::Ran)
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
    use super::super::observe::Observed;
    use super::*;

    fn ran(verdict: Verdict) -> Outcome {
        let (output, observed) = (String::new(), Observed::default());
        Outcome::Ran(Run { verdict, output, elapsed: Duration::ZERO, observed })
    }

    #[track_caller]
    fn check(page: &str, before: Verdict, after: Verdict, expected: &[&str]) {
        let exercise = Exercise::parse(page).unwrap();
        let faults = off(&exercise, &ran(before), &ran(after));
        let heads: Vec<_> = faults.iter().filter_map(|fault| fault.lines().next()).collect();
        assert_eq!(heads, expected);
    }

    const BUILD: &str = include_str!("../../../docs/src/exercises/5.7.md");
    const BREAK: &str = include_str!("../../../docs/src/exercises/5.1.md");

    #[test]
    fn a_solution_that_does_not_solve_is_off() {
        use Verdict::{Bloated, Green, Hung, NoSuchTest, Red};
        check(BUILD, Red, Green, &[]);
        check(BUILD, Hung, Green, &[]);
        let unsolved = "5.7: after the patch it should be green, and is: ";
        check(BUILD, Red, Red, &[&format!("{unsolved}red")]);
        check(BUILD, Red, Hung, &[&format!("{unsolved}hangs")]);
        check(BUILD, Red, Bloated, &[&format!("{unsolved}bloats")]);
        check(BUILD, Green, Green, &["5.7: before the patch it should be red, and is: green"]);
        check(BUILD, NoSuchTest, Green, &["5.7: before the patch it should be red, and is: none"]);
    }

    #[test]
    fn a_drill_that_does_not_break_is_off() {
        use Verdict::{Bloated, Green, Hung, NoSuchTest, Red};
        for red in [Red, Hung, Bloated] {
            check(BREAK, Green, red, &[]);
        }
        check(BREAK, Green, Green, &["5.1: after the patch it should be red, and is: green"]);
        check(BREAK, Red, Red, &["5.1: before the patch it should be green, and is: red"]);
        check(BREAK, Green, NoSuchTest, &["5.1: after the patch it should be red, and is: none"]);
    }

    #[test]
    fn what_does_not_compile_is_neither_red_nor_green() {
        let outcome = || Outcome::DoesNotCompile("error: no".to_owned());
        assert!(!outcome().is(true) && !outcome().is(false));
        assert_eq!(off(&Exercise::parse(BUILD).unwrap(), &outcome(), &outcome()).len(), 2);
    }
}

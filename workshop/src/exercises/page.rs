//! An exercise as its page in the book tells it.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};

use super::predict::How;

/// `5.2`: the second exercise of chapter 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number {
    pub(crate) chapter: u32,
    pub(crate) index: u32,
}

impl FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('.').and_then(|(chapter, index)| {
            Some(Self { chapter: chapter.parse().ok()?, index: index.parse().ok()? })
        });
        parts.ok_or_else(|| "expected a number such as 5.2".to_owned())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.chapter, self.index)
    }
}

/// What a learner does to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Add something: a test that is red turns green.
    Build,
    /// Plant a fault: a test that is green turns red.
    Break,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Build => "build it",
            Self::Break => "break it",
        })
    }
}

/// `cargo test -p PACKAGE TARGET -- ARGS`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestCommand {
    /// As the page has it.
    pub(crate) line: String,
    pub(crate) package: String,
    /// `--test exercises` or `--bin stage5-mio`.
    pub(crate) target: Vec<String>,
    /// What is behind the `--`.
    pub(crate) args: Vec<String>,
}

impl TestCommand {
    /// The names of the tests.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.args.iter().filter(|arg| !arg.starts_with('-'))
    }

    fn parse(line: &str) -> Option<Self> {
        let (cargo, args) = line.strip_prefix("cargo test -p ")?.split_once(" -- ")?;
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (package, target) = cargo.split_once(' ')?;
        let line = line.to_owned();
        Some(Self { line, package: package.to_owned(), target: words(target), args: words(args) })
    }
}

/// How the test of a drill fails when the fault is the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Symptom {
    pub(crate) how: How,
    /// What the test says then, or the log.
    pub(crate) says: Option<String>,
}

/// A part of a long exercise that compiles, and has a test of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The test.
    pub(crate) test: String,
    pub(crate) task: String,
}

/// The package that plays stages 5 and 6 on a simulated kernel. It is no stage.
const SIMULATION: &str = "simulation";

/// The folder of a package: the stages are at the root of the checkout, and the simulation belongs to the workshop.
pub(crate) fn folder_of(package: &str) -> &str {
    if package == SIMULATION { "workshop/simulation" } else { package }
}

/// An exercise, or a step of one.
#[derive(Clone, Debug)]
pub(crate) struct Exercise {
    pub(crate) number: Number,
    pub(crate) title: String,
    pub(crate) minutes: u32,
    pub(crate) kind: Kind,
    /// The package whose sources are changed.
    pub(crate) package: String,
    /// And in which folder: `stage5-mio/src`.
    pub(crate) sources: String,
    pub(crate) test: TestCommand,
    /// The page without its head, without what is folded away, and without a heading over nothing.
    pub(crate) body: String,
    /// "What we will do to your server".
    pub(crate) done_to_it: String,
    pub(crate) hints: Vec<String>,
    /// The solution, or what happens, in words.
    pub(crate) solution: String,
    /// What a failed test may say, and the likely cause.
    pub(crate) causes: Vec<(String, String)>,
    /// Of a drill: what must be seen. One of them will do.
    pub(crate) symptoms: Vec<Symptom>,
    /// The sentences of the contract that turn red with the solution, or with the fault.
    pub(crate) taken_back: Vec<String>,
    /// If another protocol takes nearly all of them back: those that are still true. Else empty.
    pub(crate) still_holds: Vec<String>,
    pub(crate) steps: Vec<Step>,
    /// Which of its steps this is. `None`: all of the exercise.
    pub(crate) step: Option<usize>,
}

/// The headings that every page has, so that a reader knows where to look.
const SECTIONS: [&str; 3] =
    ["The task", "What we will do to your server", "What you should now be able to explain"];

/// How many hints an exercise has: where to look, what to do, nearly all of it.
const HINTS: usize = 3;

/// Shorter is no exercise, longer is a project.
const MINUTES: std::ops::RangeInclusive<u32> = 5..=45;

impl Exercise {
    /// One of its steps, counted from 1.
    pub(crate) fn at_step(mut self, number: usize) -> anyhow::Result<Self> {
        let step = number.checked_sub(1).and_then(|i| self.steps.get(i));
        let step = step.with_context(|| {
            format!("exercise {} has {} steps, and no step {number}", self.number, self.steps.len())
        })?;
        let (package, target) = (&self.test.package, self.test.target.join(" "));
        let line = format!("cargo test -p {package} {target} -- --ignored {}", step.test);
        self.test.line = line;
        self.test.args = vec!["--ignored".to_owned(), step.test.clone()];
        self.done_to_it = step.task.clone();
        self.step = Some(number);
        Ok(self)
    }

    /// The section that says what to do.
    pub(crate) fn task(&self) -> &str {
        // The first section of a body has no line in front of it.
        let section = self.body.split("## ").find_map(|section| section.strip_prefix(SECTIONS[0]));
        section.unwrap_or_default().trim()
    }

    /// The target whose other tests must stay green, as far as they are not taken back.
    pub(crate) fn rest(&self) -> &'static str {
        match self.is_about_a_server() {
            true => "contract",
            false if self.package == SIMULATION => "promises",
            false => "handshake",
        }
    }

    /// Whether the sources are those of a server. Otherwise the test runs the learner's code in its own process.
    pub(crate) fn is_about_a_server(&self) -> bool {
        self.package != SIMULATION && self.sources.ends_with("/src")
    }

    /// Reads a page, whose lines may end with LF or CRLF. Every error says what is wrong with it.
    pub(crate) fn parse(page: &str) -> anyhow::Result<Self> {
        let page = &page.replace("\r\n", "\n");
        let (number, title) = head(page)?;
        let (minutes, kind, stage) = table(page)?;
        let (package, sources) = package_and_sources(&stage);
        let (body, folded) = unfold(page)?;
        for section in SECTIONS {
            ensure!(section_of(&body, section).is_some(), "no section \"{section}\"");
        }
        let hints: Vec<_> = (1..=HINTS)
            .map(|i| folded_text(&folded, &format!("Hint {i}")))
            .collect::<anyhow::Result<_>>()?;
        let solution = match kind {
            Kind::Build => folded_text(&folded, "The solution, in words")?,
            Kind::Break => folded_text(&folded, "What happens")?,
        };
        // Where the patch is we need not say: it is shown below.
        let solution = solution.split("\nThe patch: ").next().unwrap_or_default().trim().to_owned();
        let test = page.lines().find_map(TestCommand::parse).context("no command `cargo test`")?;
        ensure!(test.names().next().is_some(), "the command names no test");
        ensure!(MINUTES.contains(&minutes), "{minutes} minutes: not within {MINUTES:?}");
        // A stage may be tested on Linux, or on the simulated kernel.
        let is_its_own = [&package, SIMULATION].contains(&&*test.package);
        ensure!(is_its_own, "the test belongs to {}, not {package}", test.package);
        // Without the command behind it: the reader has just run it.
        let done_to_it = section_of(&body, SECTIONS[1]).and_then(|text| text.split("```").next());
        let done_to_it = done_to_it.unwrap_or_default().trim().to_owned();
        let causes = section_of(&body, "If it stays red").map(rows).unwrap_or_default();
        let symptoms = symptoms(page)?;
        if kind == Kind::Break {
            ensure!(!symptoms.is_empty(), "no line `It shows as **silence**: …`");
        }
        let taken_back = taken_back(page, &body);
        let still_holds = section_of(&body, "What still holds").unwrap_or_default();
        let still_holds = backticked(still_holds).map(str::to_owned).collect();
        let steps = section_of(&body, "Steps").map(steps).unwrap_or_default();
        ensure!(steps.len() != 1, "one step is no step");
        let body = without_empty_sections(&body);
        Ok(Self {
            number,
            title,
            minutes,
            kind,
            package,
            sources,
            test,
            body,
            done_to_it,
            hints,
            solution,
            causes,
            symptoms,
            taken_back,
            still_holds,
            steps,
            step: None,
        })
    }
}

/// `# Exercise 5.2: A title`
fn head(page: &str) -> anyhow::Result<(Number, String)> {
    let head = page.lines().next().and_then(|line| line.strip_prefix("# Exercise "));
    let (number, title) =
        head.and_then(|head| head.split_once(": ")).context("no line `# Exercise 5.2: title`")?;
    Ok((number.parse().map_err(anyhow::Error::msg)?, title.to_owned()))
}

/// The table below the title: minutes, kind, stage.
fn table(page: &str) -> anyhow::Result<(u32, Kind, String)> {
    let row = page.lines().filter(|line| line.starts_with('|')).nth(2).context("no table")?;
    let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
    let [minutes, kind, package] = cells[..] else { bail!("the table has no three columns") };
    let kind = match kind {
        "build it" => Kind::Build,
        "break it" => Kind::Break,
        other => bail!("neither `build it` nor `break it`: {other}"),
    };
    let minutes = minutes.parse().with_context(|| format!("no minutes: {minutes}"))?;
    Ok((minutes, kind, package.trim_matches('`').to_owned()))
}

/// `stage5-mio` and `workshop/simulation` are their `src`; other folders are named.
fn package_and_sources(stage: &str) -> (String, String) {
    match stage.strip_prefix("workshop/") {
        Some(package) => (package.to_owned(), format!("{stage}/src")),
        None => {
            let (package, folder) = stage.split_once('/').unwrap_or((stage, "src"));
            (package.to_owned(), format!("{package}/{folder}"))
        }
    }
}

/// Takes what is folded away (`<details>`) out of a page: summary and text of each.
fn unfold(page: &str) -> anyhow::Result<(String, Vec<(String, String)>)> {
    let mut folded = Vec::new();
    let mut parts = page.split("<details>");
    let mut body = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (inside, rest) = part.split_once("</details>").context("no `</details>`")?;
        let (summary, text) = inside
            .trim()
            .strip_prefix("<summary>")
            .and_then(|inside| inside.split_once("</summary>"))
            .context("no `<summary>`")?;
        folded.push((summary.to_owned(), text.trim().to_owned()));
        body += rest.trim_start();
    }
    Ok((body, folded))
}

/// The sections that have something in them: all was folded away below "Hints".
fn without_empty_sections(body: &str) -> String {
    let is_empty = |section: &&str| section.lines().skip(1).all(|line| line.trim().is_empty());
    let sections = body.split("\n## ").skip(1).filter(|section| !is_empty(section));
    sections.map(|section| format!("## {section}\n")).collect()
}

/// ``It shows as **silence**: `what the test says`.`` There may be several such lines.
fn symptoms(page: &str) -> anyhow::Result<Vec<Symptom>> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("It shows as **"));
    lines
        .map(|line| {
            let (how, says) = line.split_once("**").context("no `**` behind how it shows")?;
            let how = how.parse().map_err(anyhow::Error::msg)?;
            Ok(Symptom { how, says: backticked(says).next().map(str::to_owned) })
        })
        .collect()
}

/// The sentences that a page gives up: those of a section, or, where that would give the answer away, those of a
/// paragraph that is folded.
fn taken_back(page: &str, body: &str) -> Vec<String> {
    let section = section_of(body, "What it takes back").unwrap_or_default();
    let paragraph = page.split("\n\n").find_map(|p| p.trim().strip_prefix("Red as well: "));
    let names = backticked(section).chain(backticked(paragraph.unwrap_or_default()));
    names.map(str::to_owned).collect()
}

/// ``1. Do that. (`s6_2_1_the_test`)``, over one or more lines.
fn steps(section: &str) -> Vec<Step> {
    let items = format!("\n{}", section.trim());
    let items = items.split("\n").fold(Vec::<String>::new(), |mut items, line| {
        match line.split_once(". ") {
            Some((number, text)) if number.parse::<u32>().is_ok() => items.push(text.to_owned()),
            _ if items.is_empty() => {}
            _ => {
                let last = items.len() - 1;
                items[last] += &format!("\n{}", line.trim());
            }
        }
        items
    });
    let step = |item: String| {
        let (task, test) = item.trim().trim_end_matches("`)").rsplit_once("(`")?;
        Some(Step { test: test.to_owned(), task: task.trim().to_owned() })
    };
    items.into_iter().filter_map(step).collect()
}

fn backticked(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn folded_text(folded: &[(String, String)], summary: &str) -> anyhow::Result<String> {
    let found = folded.iter().find(|(name, text)| name == summary && !text.is_empty());
    found.map(|(_, text)| text.clone()).with_context(|| format!("no \"{summary}\""))
}

/// The text below a heading of the second level.
fn section_of<'a>(body: &'a str, heading: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("\n## {heading}\n"))?;
    Some(rest.split_once("\n## ").map_or(rest, |(text, _)| text))
}

/// The rows of a table with two columns, without its head.
fn rows(section: &str) -> Vec<(String, String)> {
    let rows = section.lines().filter_map(|line| {
        let (left, right) =
            line.strip_prefix('|')?.trim_end().strip_suffix('|')?.split_once('|')?;
        Some((left.trim().trim_matches('`').to_owned(), right.trim().to_owned()))
    });
    rows.skip(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page with everything that belongs on one.
    const PAGE: &str = "\
# Exercise 5.10: Frames

| Minutes | Kind | Stage |
| --- | --- | --- |
| 30 | build it | `stage5-mio` |

## The task

Do it.

## What we will do to your server

Send half a frame.

```console
cargo test -p stage5-mio --test exercises -- --ignored e5_10
```

## If it stays red

| What the test says | Likely cause |
| --- | --- |
| `half a frame` | It is sent too soon. |

## Hints

<details><summary>Hint 1</summary>

Look.

</details>
<details><summary>Hint 2</summary>

Think.

</details>
<details><summary>Hint 3</summary>

Write.

</details>
<details><summary>The solution, in words</summary>

Keep it.

</details>

## What you should now be able to explain

Why.
";

    #[test]
    fn a_page_says_everything_the_tool_needs() {
        let exercise = Exercise::parse(PAGE).unwrap();
        assert_eq!(exercise.number, Number { chapter: 5, index: 10 });
        assert_eq!((exercise.title.as_str(), exercise.minutes), ("Frames", 30));
        assert_eq!((exercise.kind, exercise.package.as_str()), (Kind::Build, "stage5-mio"));
        assert_eq!(exercise.sources, "stage5-mio/src");
        assert_eq!(exercise.test.target, ["--test", "exercises"]);
        assert_eq!(exercise.test.names().collect::<Vec<_>>(), ["e5_10"]);
        assert_eq!(exercise.hints, ["Look.", "Think.", "Write."]);
        assert_eq!(exercise.task(), "Do it.");
        assert_eq!(
            exercise.causes,
            [("half a frame".to_owned(), "It is sent too soon.".to_owned())]
        );
        assert_eq!(exercise.done_to_it, "Send half a frame.");
    }

    #[test]
    fn a_long_exercise_has_steps_with_tests_of_their_own() {
        let steps = "## Steps\n\n1. Keep `it`\n   in mind. (`s5_10_1_keeps`)\n2. Send it. (`s5_10_2_sends`)\n\n";
        let page = PAGE.replace("## Hints", &format!("{steps}## Hints"));
        let exercise = Exercise::parse(&page).unwrap();
        let step = |test: &str, task: &str| Step { test: test.to_owned(), task: task.to_owned() };
        assert_eq!(
            exercise.steps,
            [step("s5_10_1_keeps", "Keep `it`\nin mind."), step("s5_10_2_sends", "Send it.")]
        );
        let second = exercise.clone().at_step(2).unwrap();
        assert_eq!(second.test.args, ["--ignored", "s5_10_2_sends"]);
        assert_eq!(
            second.test.line,
            "cargo test -p stage5-mio --test exercises -- --ignored s5_10_2_sends"
        );
        for no_step in [0, 3] {
            let error = exercise.clone().at_step(no_step).unwrap_err().to_string();
            assert_eq!(error, format!("exercise 5.10 has 2 steps, and no step {no_step}"));
        }
    }

    #[test]
    fn a_drill_names_what_must_be_seen() {
        let drill = PAGE.replace("build it", "break it").replace(
            "<summary>The solution, in words</summary>",
            "<summary>What happens</summary>",
        );
        let error = Exercise::parse(&drill).unwrap_err().to_string();
        assert!(error.contains("It shows as"), "{error}");
        let shows = "It shows as **silence**: `not a clean end`.\nIt shows as **a spin**.\n\nRed as well: `a`,\n`b`.\n\n";
        let exercise =
            Exercise::parse(&drill.replace("## Hints", &format!("{shows}## Hints"))).unwrap();
        let says = Some("not a clean end".to_owned());
        assert_eq!(
            exercise.symptoms,
            [Symptom { how: How::Silence, says }, Symptom { how: How::Spin, says: None }]
        );
        assert_eq!(exercise.taken_back, ["a", "b"]);
    }

    #[test]
    fn a_page_says_what_it_takes_back_and_what_still_holds() {
        let sections = "## What it takes back\n\n- `a`: no more.\n\n## What still holds\n\n`c`\n\n";
        let exercise = Exercise::parse(&PAGE.replace("## Hints", &format!("{sections}## Hints")));
        let exercise = exercise.unwrap();
        assert_eq!(
            (&exercise.taken_back[..], &exercise.still_holds[..]),
            (&["a".to_owned()][..], &["c".to_owned()][..])
        );
    }

    #[test]
    fn a_page_may_have_crlf_at_the_end_of_its_lines() {
        let [lf, crlf] = [PAGE.to_owned(), PAGE.replace('\n', "\r\n")];
        let parsed = |page: &str| format!("{:?}", Exercise::parse(page).unwrap());
        assert_eq!(parsed(&crlf), parsed(&lf));
    }

    #[test]
    fn an_exercise_may_be_about_another_folder_than_src() {
        let exercise =
            Exercise::parse(&PAGE.replace("`stage5-mio`", "`stage5-mio/examples`")).unwrap();
        assert_eq!((&*exercise.package, &*exercise.sources), ("stage5-mio", "stage5-mio/examples"));
    }

    #[test]
    fn an_exercise_may_be_about_the_simulation() {
        let page = PAGE.replace("`stage5-mio`", "`workshop/simulation`");
        let error = Exercise::parse(&page).unwrap_err().to_string();
        assert_eq!(error, "the test belongs to stage5-mio, not simulation");
        let exercise = Exercise::parse(&page.replace("-p stage5-mio", "-p simulation")).unwrap();
        assert_eq!(
            (&*exercise.package, &*exercise.sources),
            ("simulation", "workshop/simulation/src")
        );
        assert_eq!(folder_of(&exercise.test.package), "workshop/simulation");
        assert_eq!((exercise.rest(), exercise.is_about_a_server()), ("promises", false));
    }

    #[test]
    fn a_stage_may_be_tested_on_the_simulated_kernel() {
        let exercise = Exercise::parse(&PAGE.replace("-p stage5-mio", "-p simulation")).unwrap();
        assert_eq!((&*exercise.package, &*exercise.sources), ("stage5-mio", "stage5-mio/src"));
        assert_eq!((&*exercise.test.package, exercise.rest()), ("simulation", "contract"));
        assert!(Exercise::parse(&PAGE.replace("-p stage5-mio", "-p stage6-timers")).is_err());
    }

    #[test]
    fn the_task_gives_no_hint_away() {
        let body = Exercise::parse(PAGE).unwrap().body;
        assert!(body.starts_with("## The task\n") && body.trim_end().ends_with("Why."), "{body}");
        assert!(!body.contains("Think.") && !body.contains("Keep it."), "{body}");
    }

    #[test]
    fn the_task_has_no_heading_over_nothing() {
        let body = Exercise::parse(PAGE).unwrap().body;
        let headings: Vec<_> = body.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(
            headings,
            [
                "## The task",
                "## What we will do to your server",
                "## If it stays red",
                "## What you should now be able to explain"
            ]
        );
    }

    #[track_caller]
    fn check_error(without: &str, says: &str) {
        let page = PAGE.replacen(without, "", 1);
        assert_ne!(page, PAGE);
        let error = Exercise::parse(&page).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }

    #[test]
    fn whatever_is_missing_is_named() {
        check_error("Think.", "Hint 2");
        check_error("<summary>Hint 3</summary>", "no `<summary>`");
        check_error("30", "no minutes");
        check_error("build it", "neither");
        check_error("Keep it.", "The solution, in words");
        check_error("cargo test -p", "no command");
        check_error(" e5_10", "names no test");
        check_error("## The task", "The task");
        check_error("| 30 | build it | `stage5-mio` |\n", "");
    }

    #[test]
    fn numbers_sort_as_numbers_and_not_as_text() {
        let number = |text: &str| text.parse::<Number>().unwrap();
        assert!(number("5.2") < number("5.10") && number("5.10") < number("6.1"));
        assert!("5".parse::<Number>().is_err() && "five.1".parse::<Number>().is_err());
    }
}

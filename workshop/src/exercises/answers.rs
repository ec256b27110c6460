//! Answers that are not ours: for each exercise some that are wrong, and one that is right in another way.
//! `verify` proves that `check` tells them apart.
//!
//! An answer is a patch in `docs/answers/5.8/`, with a head that says what it is:
//!
//! ```text
//! Wrong: new bytes are written to the socket while older ones wait
//! Cause: bytes are missing or moved
//! On: the solution
//! ```
//!
//! `Right:` instead of `Wrong:` needs no cause. Without `On:` the patch is one to the stage as it was. `Step: 2`
//! alone is our answer to the second step of a long exercise.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::page::{Exercise, Kind};
use super::place::Place;

/// How many wrong answers an exercise has at least.
const WRONG: usize = 3;

/// From so many minutes on an exercise has steps.
const LONG: u32 = 30;

/// An answer to an exercise.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) patch: PathBuf,
    /// The verdict, as [`super::judge::Finding::key`] has it.
    pub(crate) verdict: String,
    /// Whether it is a change to the solution.
    pub(crate) on_the_solution: bool,
    /// Of which step it is our solution.
    pub(crate) step: Option<usize>,
}

impl Answer {
    pub(crate) fn name(&self) -> String {
        self.patch.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn is_right(&self) -> bool {
        self.verdict == "done" && self.step.is_none()
    }

    fn read(patch: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(patch)?;
        Self::parse(patch, &text).with_context(|| format!("{}", patch.display()))
    }

    fn parse(patch: &Path, text: &str) -> anyhow::Result<Self> {
        let head: Vec<_> = text.lines().take_while(|line| !line.starts_with("diff ")).collect();
        let field =
            |name: &str| head.iter().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let step = field("Step:").map(str::parse).transpose().context("`Step:` needs a number")?;
        let verdict = match (field("Right:"), field("Wrong:"), field("Cause:")) {
            (Some(_), None, None) => "done",
            (None, Some(_), Some(cause)) => cause,
            (None, None, None) if step.is_some() => "done",
            _ => bail!("expected a line `Right: …`, or the two lines `Wrong: …` and `Cause: …`"),
        };
        let on_the_solution = match field("On:") {
            None => false,
            Some("the solution") => true,
            Some(other) => bail!("neither the stage nor `On: the solution`: {other}"),
        };
        Ok(Self { patch: patch.to_owned(), verdict: verdict.to_owned(), on_the_solution, step })
    }
}

/// All answers to an exercise, by name.
pub(crate) fn answers(place: &Place, exercise: &Exercise) -> anyhow::Result<Vec<Answer>> {
    let Ok(entries) = fs::read_dir(folder(place).join(exercise.number.to_string())) else {
        return Ok(Vec::new());
    };
    let mut paths: Vec<_> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.sort();
    paths.iter().map(|path| Answer::read(path)).collect()
}

/// Where the answers are.
pub(crate) fn folder(place: &Place) -> PathBuf {
    place.root.join("docs/answers")
}

/// What is missing: an exercise needs wrong answers, a right one that is not ours, and for each row of "If it
/// stays red" an answer that is told so.
pub(crate) fn faults(exercise: &Exercise, answers: &[Answer]) -> Vec<String> {
    let mut faults = Vec::new();
    let right = answers.iter().filter(|answer| answer.is_right()).count();
    let wrong = answers.iter().filter(|answer| answer.verdict != "done").count();
    if right == 0 {
        faults.push("no other right answer".to_owned());
    }
    if wrong < WRONG {
        faults.push(format!("{wrong} wrong answers, not {WRONG}"));
    }
    for step in 1..=exercise.steps.len() {
        if !answers.iter().any(|answer| answer.step == Some(step)) {
            faults.push(format!("no answer `Step: {step}`"));
        }
    }
    if exercise.minutes >= LONG && exercise.kind == Kind::Build && exercise.steps.is_empty() {
        faults.push(format!("{} minutes, and no steps", exercise.minutes));
    }
    if exercise.kind == Kind::Build {
        let is_reached = |seen: &str| answers.iter().any(|answer| answer.verdict == seen);
        let unreached = exercise.causes.iter().filter(|(seen, _)| !is_reached(seen));
        faults.extend(unreached.map(|(seen, _)| format!("no wrong answer is told `{seen}`")));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> anyhow::Result<Answer> {
        Answer::parse(Path::new("a/b.patch"), &format!("{head}\ndiff --git a/x b/x\nWrong: no\n"))
    }

    #[test]
    fn a_head_says_what_an_answer_comes_to() {
        let right = parse("Right: another way\n").unwrap();
        assert!(right.is_right() && !right.on_the_solution);
        assert_eq!(right.name(), "b");
        let wrong = parse("Wrong: it spins\nCause: spins\nOn: the solution\n").unwrap();
        assert_eq!((&*wrong.verdict, wrong.on_the_solution), ("spins", true));
        for head in ["", "Wrong: no cause", "Right: a\nCause: b", "Right: a\nOn: a friend"] {
            assert!(parse(head).is_err(), "{head}");
        }
    }

    #[test]
    fn an_exercise_says_which_answers_it_lacks() {
        let page = include_str!("../../../docs/src/exercises/5.7.md");
        let exercise = Exercise::parse(page).unwrap();
        let answer = |head: &str| parse(head).unwrap();
        let lacks = faults(&exercise, &[answer("Wrong: w\nCause: came back as")]);
        let words = ["no other right answer", "1 wrong answers, not 3"];
        let seen = exercise.causes[1..].iter().map(|(seen, _)| seen);
        let unreached: Vec<_> =
            seen.map(|seen| format!("no wrong answer is told `{seen}`")).collect();
        assert_eq!((&lacks[..2], &lacks[2..]), (&words.map(str::to_owned)[..], &unreached[..]));
        let causes =
            exercise.causes.iter().map(|(seen, _)| answer(&format!("Wrong: w\nCause: {seen}")));
        let all: Vec<_> = causes.chain([answer("Right: r")]).collect();
        assert_eq!(faults(&exercise, &all), [""; 0]);
    }
}

//! A question that proposes a change of code has a patch, and its answer says no more than the patch does.
//!
//! The patches are in `docs/answers/questions`, and `workshop verify --questions` tries them: what is to turn red does, and
//! what is to stay green stays. Here the pages are compared with them.

use std::collections::BTreeSet;
use std::process::Command;

use crate::assert_no_faults;
use crate::files::{Files, repository, root};
use crate::spans::spans;

const PATCHES: &str = "docs/answers/questions/";

/// What stands on a page where a patch belongs to the question below.
const MARK: &str = "<!-- patch ";

/// How a question says that code is to be changed.
const CHANGES: [&str; 19] = [
    "change",
    "take out",
    "take away",
    "leave out",
    "leave the",
    "leave `",
    "remove",
    "delete",
    "instead of",
    "swap",
    "move `",
    "plant",
    "let `",
    "let each",
    "set `",
    "push the",
    "schedule the",
    "without looking",
    "without comparing",
];

/// A question of a page, and its answer.
struct Question<'t> {
    /// `5.5-1`.
    name: String,
    /// What the mark above it names.
    patch: Option<&'t str>,
    question: &'t str,
    answer: &'t str,
}

/// Questions without the patch that they need, patches without a question, and answers that say more.
fn faults_of_questions(files: &Files) -> Vec<String> {
    let (mut faults, mut named) = (Vec::new(), BTreeSet::new());
    for (path, text) in files.iter().filter(|(path, _)| has_questions(path)) {
        for question in questions(path, text) {
            faults
                .extend(question.faults(files).into_iter().map(|fault| format!("{path}: {fault}")));
            named.extend(question.patch.map(|name| format!("{PATCHES}{name}.patch")));
        }
    }
    let patches = files.keys().filter(|path| path.starts_with(PATCHES));
    let unused = patches.filter(|path| !named.contains(*path));
    faults.extend(unused.map(|path| format!("{path}: no question names it")));
    faults
}

fn has_questions(path: &str) -> bool {
    let page = path.strip_prefix("docs/src/").unwrap_or_default();
    ["stage", "steps/", "handshake"].iter().any(|begin| page.starts_with(begin))
}

fn questions<'t>(path: &str, text: &'t str) -> Vec<Question<'t>> {
    let page = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".md");
    let asked = text.split("\n## Check yourself\n").nth(1).unwrap_or_default();
    let asked = asked.split("\n## ").next().unwrap_or_default();
    let mut questions = Vec::new();
    for number in 1.. {
        let Some((above, rest)) = asked.split_once(&format!("\n**{number}.**")) else { break };
        let next = rest.find(&format!("\n**{}.**", number + 1)).unwrap_or(rest.len());
        let (question, answer) =
            rest[..next].split_once("<details>").unwrap_or((&rest[..next], ""));
        let mark = above.lines().last().and_then(|line| line.strip_prefix(MARK));
        questions.push(Question {
            name: format!("{page}-{number}"),
            patch: mark.and_then(|mark| mark.strip_suffix(" -->")),
            question,
            answer,
        });
    }
    questions
}

impl Question<'_> {
    fn faults(&self, files: &Files) -> Vec<String> {
        let name = &self.name;
        let Some(patch) = self.patch else {
            let is_needed = self.proposes_a_change() || self.answer.contains("turns red:");
            let fault = || format!("question {name} proposes a change: {MARK}{name} -->");
            return is_needed.then(fault).into_iter().collect();
        };
        if patch != name {
            return vec![format!("question {name} has the patch of {patch}")];
        }
        let Some(text) = files.get(&format!("{PATCHES}{patch}.patch")) else {
            return vec![format!("question {name}: there is no {PATCHES}{patch}.patch")];
        };
        let red = text.lines().find_map(|line| line.strip_prefix("Red: ")).unwrap_or_default();
        let red: Vec<_> = red.split_whitespace().collect();
        let unknown =
            turned_red(self.answer).into_iter().filter(|test| !red.contains(&test.as_str()));
        unknown.map(|test| format!("question {name}: {test} does not turn red")).collect()
    }

    fn proposes_a_change(&self) -> bool {
        let words = self.question.to_lowercase().replace('\n', " ");
        let is_said = CHANGES.iter().any(|change| words.contains(change));
        is_said && !spans(self.question).is_empty()
    }
}

/// The tests that an answer calls red.
fn turned_red(answer: &str) -> Vec<String> {
    let says = answer
        .split("<small class=\"proof\">")
        .skip(1)
        .filter(|proof| !proof.starts_with("proved"));
    says.filter_map(|proof| Some(spans(proof.split("</small>").next()?).first()?.code.clone()))
        .collect()
}

#[test]
fn a_question_that_proposes_a_change_has_a_patch() {
    assert_no_faults(&faults_of_questions(&repository()));
}

#[test]
fn the_patches_of_the_questions_can_be_put_in() {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_workshop"));
    let output = tool.args(["verify", "--questions", "--pages"]).current_dir(root()).output();
    let output = output.expect("the tool can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A book of one page with one question, and a patch.
fn book(question: &str) -> Files {
    let page = format!("# 5.1\n\n## Check yourself\n{question}\n\n## What is still wrong\n");
    let patch = "Change: a\nRed: it_echoes\n\n--- a/src/a.rs\n";
    let files =
        [("docs/src/steps/5.1.md", page.as_str()), ("docs/answers/questions/5.1-1.patch", patch)];
    files.map(|(path, text)| (path.to_owned(), text.to_owned())).into()
}

#[track_caller]
fn check(question: &str, says: &str) {
    let faults = faults_of_questions(&book(question)).join("\n");
    assert!(faults.contains(says) && faults.is_empty() == says.is_empty(), "{faults}");
}

#[test]
fn a_change_without_its_patch_is_found() {
    let answer = "<details>\n<small class=\"proof\">turns red: `it_echoes`</small>\n</details>\n";
    check(&format!("\n<!-- patch 5.1-1 -->\n**1.** In `a`, leave out `b`.\n{answer}"), "");
    check(
        &format!("\n**1.** In `a`, leave out `b`.\n{answer}"),
        "question 5.1-1 proposes a change",
    );
    check("\n**1.** In `a`, swap `b` and `c`.\n", "question 5.1-1 proposes a change");
    check(&format!("\n**1.** Why `a`?\n{answer}"), "question 5.1-1 proposes a change");
    check("\n**1.** A client leaves. Who notices?\n", "5.1-1.patch: no question names it");
}

#[test]
fn a_patch_that_is_not_there_or_does_not_turn_a_test_red_is_found() {
    let marked =
        |number: &str| format!("\n<!-- patch 5.1-{number} -->\n**1.** In `a`, leave out `b`.\n");
    check(&marked("2"), "question 5.1-1 has the patch of 5.1-2");
    let answer = "<details>\n<small class=\"proof\">turns red: `it_sleeps`</small>\n</details>\n";
    check(&format!("{}{answer}", marked("1")), "question 5.1-1: it_sleeps does not turn red");
    let mut files = book(&marked("1"));
    files.remove("docs/answers/questions/5.1-1.patch");
    assert!(
        faults_of_questions(&files)[0].contains("there is no docs/answers/questions/5.1-1.patch")
    );
}

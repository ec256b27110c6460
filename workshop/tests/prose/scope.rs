//! Where a page's names may come from: the sources of its stage or step, its sessions, its own code.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use diffy::patch_set::{FileOperation, ParseOptions, PatchSet};

use crate::files::{Files, resolve};
use crate::spans::blocks;
use crate::words::{Words, without_comments};

/// What all stages share.
const COMMON: &str = "common/src/";

const UNIT_TESTS: &str = "#[cfg(test)]\nmod tests {";

const KIT: &str = "common/src/testkit/";

const CAPTURES: &str = "docs/captures/";

/// The parts of a repository that a sentence can be about, each read once.
pub(crate) struct Sources<'a> {
    files: &'a Files,
    read: RefCell<BTreeMap<String, Rc<Words>>>,
    /// The lines of all sessions.
    traced: Vec<Words>,
}

/// What one page may speak of.
pub(crate) struct Scope {
    /// The sources of its stage or step, and what all stages share. For other pages: everything.
    pub(crate) sources: Vec<Rc<Words>>,
    /// Its own blocks of code, and those that it includes.
    pub(crate) own: Words,
    /// The lines of its sessions.
    pub(crate) lines: Vec<Words>,
}

impl<'a> Sources<'a> {
    pub(crate) fn new(files: &'a Files) -> Self {
        let captures = files.iter().filter(|(path, _)| path.starts_with(CAPTURES));
        let traced = captures.flat_map(|(_, text)| text.lines()).map(Words::of).collect();
        Self { files, read: RefCell::default(), traced }
    }

    pub(crate) fn traced(&self) -> &[Words] {
        &self.traced
    }

    pub(crate) fn scope(&self, path: &str, text: &str) -> Scope {
        let included = included(self.files, path, text);
        let mut lines: Vec<_> = included
            .iter()
            .filter(|(path, _)| path.starts_with(CAPTURES))
            .flat_map(|(_, text)| text.lines())
            .map(Words::of)
            .collect();
        let mut own = Words::default();
        for block in blocks(text) {
            own.add(&block.text);
            lines.extend(block.text.lines().map(Words::of));
        }
        included.iter().for_each(|(_, text)| own.add(&without_markup(text)));
        let homes = homes(path, text);
        Scope { sources: homes.iter().map(|home| self.words(home)).collect(), own, lines }
    }

    /// The sources of those stages and steps that a paragraph names.
    pub(crate) fn named_in(&self, paragraph: &str) -> Vec<Rc<Words>> {
        places_named_in(paragraph).iter().map(|home| self.words(home)).collect()
    }

    /// All Rust sources, and what the scripts and manifests say.
    pub(crate) fn everything(&self) -> Rc<Words> {
        self.words("")
    }

    /// `stage5`, `step 5.2`, or the beginning of a path. Empty: everything.
    fn words(&self, home: &str) -> Rc<Words> {
        if let Some(words) = self.read.borrow().get(home) {
            return Rc::clone(words);
        }
        let mut words = Words::default();
        match home.strip_prefix("step ") {
            Some(number) => {
                let state = state(self.files, number);
                state.values().for_each(|text| words.add(&without_comments(text)));
            }
            None => texts(self.files, home).for_each(|text| words.add(&text)),
        }
        let words = Rc::new(words);
        self.read.borrow_mut().insert(home.to_owned(), Rc::clone(&words));
        words
    }
}

/// The code of the files whose path begins so. A test is looked for everywhere, and those of `common` have names of their
/// own, which a page about a stage does not mean.
fn texts<'f>(files: &'f Files, home: &str) -> impl Iterator<Item = String> + use<'f> {
    let is_common = home == COMMON;
    let home = home.to_owned();
    files.iter().filter_map(move |(path, text)| {
        let is_ours = path.starts_with(&home) && !(is_common && path.starts_with(KIT));
        let tests = if is_common { text.find(UNIT_TESTS) } else { None };
        if is_ours { code_of(path, &text[..tests.unwrap_or(text.len())]) } else { None }
    })
}

/// What of a file is there to be named. `None`: it is a page, a picture, or one of these checks.
fn code_of(path: &str, text: &str) -> Option<String> {
    const CHECKS: [&str; 2] = ["workshop/tests/prose/", "workshop/tests/book.rs"];
    if CHECKS.iter().any(|check| path.starts_with(check)) {
        return None;
    }
    match path.rsplit_once('.') {
        Some((_, "rs" | "c")) => Some(without_comments(text)),
        Some((_, "toml" | "sh" | "cfg" | "json" | "session")) => Some(text.to_owned()),
        // What it puts in and leaves, and what a test says about it.
        Some((_, "patch")) => {
            let cause = text.lines().find_map(|line| line.strip_prefix("Cause: "));
            let lines = text.lines().skip_while(|line| !line.starts_with("@@"));
            let code: Vec<_> = lines.filter_map(|line| line.strip_prefix(['+', ' '])).collect();
            Some(without_comments(&code.join("\n")) + cause.unwrap_or_default())
        }
        _ => ["docs/capture", ".ci/run"].contains(&path).then(|| text.to_owned()),
    }
}

/// Where the names of a page come from. A page that is about no stage may name everything.
fn homes(path: &str, text: &str) -> Vec<String> {
    let page = path.trim_start_matches("docs/src/").trim_end_matches(".md");
    let stage = |chapter: &str| format!("stage{}", chapter.trim_start_matches("stage"));
    let mut homes = match page.rsplit_once('/') {
        Some(("steps", number)) => {
            let patches = format!("docs/answers/questions/{number}-");
            vec![format!("step {number}"), format!("step {}", before(number)), patches]
        }
        Some(("exercises", number)) if number != "index" => {
            // The package is in the commands that it shows.
            let packages = (1..=6).map(|n| format!("stage{n}-")).filter(|name| text.contains(name));
            let patches = ["solutions", "answers"].map(|kind| format!("docs/{kind}/{number}"));
            let simulation = number.starts_with("8.").then(|| "workshop/simulation/".to_owned());
            let kit = [KIT.to_owned()];
            packages.chain(patches).chain(kit).chain(simulation).collect()
        }
        Some((stage, "README")) => vec![format!("{stage}/")],
        None if page.starts_with("stage") => {
            vec![stage(page), format!("docs/answers/questions/{page}-")]
        }
        None if page.starts_with("handshake") => {
            let patches = format!("docs/answers/questions/{page}-");
            vec!["stage6-timers/examples/".to_owned(), "stage6-timers/tests/".to_owned(), patches]
        }
        _ => return vec![String::new()],
    };
    homes.push(COMMON.to_owned());
    homes
}

/// The step before a step; before the first one of a chapter, the stage that it begins with.
fn before(number: &str) -> String {
    let (chapter, index) = number.split_once('.').unwrap_or((number, "1"));
    format!("{chapter}.{}", index.parse::<u32>().unwrap_or(1).saturating_sub(1))
}

/// `stage 4`, `chapter 4` and `[…](stage4.md)`; `step 5.2` and `[…](5.2.md)`.
fn places_named_in(paragraph: &str) -> Vec<String> {
    let lower = paragraph.to_lowercase();
    let mut places = Vec::new();
    for word in ["stage", "stages", "chapter", "chapters"] {
        for rest in lower.split(word).skip(1) {
            let digit = rest.trim_start().chars().next().filter(char::is_ascii_digit);
            places.extend(digit.map(|digit| format!("stage{digit}")));
        }
    }
    for word in lower.split(|c: char| !(c.is_ascii_digit() || c == '.')) {
        let number = word.trim_matches('.');
        if matches!(number.split_once('.'), Some((chapter, _)) if "3456".contains(chapter)) {
            places.push(format!("step {number}"));
        }
    }
    places
}

/// The sources of a step: those of the stage before its chain, and the patches up to its own.
fn state(files: &Files, number: &str) -> Files {
    let (chapter, index) = number.split_once('.').unwrap_or((number, "0"));
    let [chapter, index] = [chapter, index].map(|part| part.parse::<u32>().unwrap_or(0));
    let stage = format!("stage{}-", chapter.saturating_sub(1));
    let mut state = Files::new();
    for (path, text) in files.range(stage.clone()..).take_while(|file| file.0.starts_with(&stage)) {
        let inside = path.split_once('/').map_or("", |parts| parts.1);
        if inside.starts_with("src/") || inside == "tests/contract.rs" {
            state.insert(inside.to_owned(), text.clone());
        }
    }
    for patch in (1..=index).map_while(|k| files.get(&format!("docs/steps/{chapter}.{k}.patch"))) {
        put_in(&mut state, patch);
    }
    state
}

fn put_in(state: &mut Files, patch: &str) {
    let at = patch.find("\n--- ").map_or(0, |at| at + 1);
    for file in PatchSet::parse(&patch[at..], ParseOptions::unidiff()) {
        let file = file.expect("a patch of a step");
        let text = file.patch().as_text().expect("a patch of texts");
        let name = |path: &str| path.split_once('/').map_or(path, |parts| parts.1).to_owned();
        let (old, new) = match file.operation() {
            FileOperation::Create(path) => (None, Some(name(path))),
            FileOperation::Delete(path) => (Some(name(path)), None),
            FileOperation::Modify { original, modified } => {
                (Some(name(original)), Some(name(modified)))
            }
            _ => panic!("a patch of a step renames nothing"),
        };
        let before = old.and_then(|path| state.remove(&path)).unwrap_or_default();
        let after = diffy::apply(&before, text).expect("a patch of a step applies");
        if let Some(path) = new {
            state.insert(path, after);
        }
    }
}

/// The files that a page includes, or their parts: `{{#include path:anchor}}`.
fn included<'a>(files: &'a Files, page: &str, text: &str) -> Vec<(String, &'a str)> {
    let mut included = Vec::new();
    for rest in text.split("{{#include ").skip(1) {
        let target = rest.split("}}").next().unwrap_or("").trim();
        let (path, anchor) = target.split_once(':').unwrap_or((target, ""));
        let path = resolve(page, path);
        let Some(text) = files.get(&path) else { continue };
        let part = match anchor {
            "" => text,
            anchor => anchored(text, anchor),
        };
        included.push((path, part));
    }
    included
}

fn anchored<'t>(text: &'t str, anchor: &str) -> &'t str {
    let behind = |mark: &str| {
        let places = text.match_indices(mark).filter_map(move |(at, _)| {
            let name = text[at + mark.len()..].split_whitespace().next()?;
            (name == anchor).then_some(at)
        });
        places.min()
    };
    match (behind("ANCHOR: "), behind("ANCHOR_END: ")) {
        (Some(start), Some(end)) if start < end => &text[start..end],
        _ => "",
    }
}

/// A piece of a step's page is HTML.
fn without_markup(text: &str) -> String {
    let mut plain = text.to_owned();
    for tag in ["<span class=\"new\">", "<span class=\"old\">", "</span>", "<code>", "</code>"] {
        plain = plain.replace(tag, "");
    }
    plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[test]
fn a_paragraph_names_the_stages_and_steps_that_it_speaks_of() {
    let places =
        places_named_in("In stage 4, as in [step 5.10](steps/5.10.md), and Chapter 2. 3.14e");
    assert_eq!(places, ["stage4", "stage2", "step 5.10", "step 5.10", "step 3.14"]);
}

#[test]
fn a_step_is_the_stage_before_it_with_its_patches() {
    let patch = |number: &str, old: &str, new: &str| {
        format!(
            "Step: {number}\n\n--- a/src/main.rs\n+++ b/src/main.rs\n@@ -1 +1 @@\n-{old}\n+{new}\n"
        )
    };
    let files: Files = [
        ("docs/steps/3.1.patch", patch("3.1", "two", "three")),
        ("docs/steps/3.2.patch", patch("3.2", "three", "four")),
        ("stage2-threads/src/main.rs", "two\n".to_owned()),
        ("stage2-threads/README.md", "two\n".to_owned()),
    ]
    .map(|(path, text)| (path.to_owned(), text))
    .into();
    let text = |number: &str| state(&files, number).into_values().collect::<Vec<_>>();
    assert_eq!([text("3.0"), text("3.1"), text("3.2")], [["two\n"], ["three\n"], ["four\n"]]);
    assert_eq!(before("3.1"), "3.0");
}

//! What keeps the book true: mdbook itself builds a page with a hole where an include fails.
//!
//! Each check takes the repository's files as a map and returns its complaints, so that the tests at
//! the end can hand it a small book with one fault in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// The text of every file that the book can name, by its path from the root of the repository.
type Files = BTreeMap<String, String>;

/// Lines added and removed from one directory to another, tests not counted. `None`: no git here.
type Diff<'a> = &'a dyn Fn(&str, &str) -> Option<(usize, usize)>;

const PAGES: &str = "docs/src/";
const CAPTURES: &str = "docs/captures/";

/// Words that say how it feels to a person who knows it already, or that leave a condition unnamed.
const BANNED: [&str; 7] = ["simply", "just", "easy", "easily", "obviously", "of course", "usually"];

// ---- the checks

/// Every include names a file that is there, and in it an anchor that has an end and something inside.
fn includes_lead_somewhere(files: &Files) -> Vec<String> {
    let mut faults = Vec::new();
    for include in includes(files) {
        let Include { page, path, anchor } = &include;
        let Some(text) = files.get(path) else {
            faults.push(format!("{page}: includes {path}, which does not exist"));
            continue;
        };
        let Some(anchor) = anchor else { continue };
        if anchored(text, anchor).is_none_or(|lines| lines.iter().all(|l| l.trim().is_empty())) {
            faults.push(format!("{page}: includes the anchor `{anchor}` of {path}: not there"));
        }
    }
    faults
}

/// Every anchor in a source file is there for a page.
fn anchors_are_used(files: &Files) -> Vec<String> {
    let used: BTreeSet<_> =
        includes(files).into_iter().map(|include| (include.path, include.anchor)).collect();
    let mut faults = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".rs")) {
        for name in text.lines().filter_map(|line| anchor_name(line, "// ANCHOR: ")) {
            if !used.contains(&(path.clone(), Some(name.to_string()))) {
                faults.push(format!("{path}: no page includes the anchor `{name}`"));
            }
        }
    }
    faults
}

/// Every capture stands in a page, and its first line says how and when it was made.
fn captures_are_used_and_say_when(files: &Files) -> Vec<String> {
    let used: BTreeSet<_> = includes(files).into_iter().map(|include| include.path).collect();
    let mut faults = Vec::new();
    for (path, text) in
        files.range(CAPTURES.to_string()..).take_while(|f| f.0.starts_with(CAPTURES))
    {
        if !used.contains(path) {
            faults.push(format!("{path}: no page includes it"));
        }
        let first = text.lines().next().unwrap_or("");
        let dated =
            first.split(", ").any(|part| part.starts_with("20")) || first.contains(" diff, ");
        if !first.starts_with("# ") || !dated {
            faults.push(format!("{path}: its first line does not say how and when it was made"));
        }
    }
    faults
}

/// A captured diff shows the sources as they are: what it keeps and adds stands in the new file, what
/// it keeps and removes in the old one, line by line.
fn captured_diffs_are_the_real_ones(files: &Files) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".diff")) {
        let mut names = text.lines().next().unwrap_or("").split(' ').rev();
        let sides = [(names.next().unwrap_or(""), '+'), (names.next().unwrap_or(""), '-')];
        for ((source, mark), item) in
            sides.iter().flat_map(|side| diff_items(text).into_iter().map(move |item| (side, item)))
        {
            let wanted: Vec<_> =
                item.1.iter().filter(|l| l.starts_with([' ', *mark])).map(|l| &l[1..]).collect();
            let there = files.get(*source).is_some_and(|text| has_lines(text, &wanted));
            if !there {
                faults
                    .push(format!("{path}: `{}` is not as in {source}; run docs/capture", item.0));
            }
        }
    }
    faults
}

/// `<!-- diff A B -->` stands before the figures of that diff, "N lines added, M removed"; and the
/// chapter of every stage but the first has them.
fn quoted_diffs_are_the_measured_ones(files: &Files, diff: Diff) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in pages(files) {
        let mut quotes = text.split("<!-- diff ").skip(1).peekable();
        if path.contains("/stage") && !path.ends_with("/stage1.md") && quotes.peek().is_none() {
            faults.push(format!("{path}: does not say how many lines have changed"));
        }
        for quote in quotes {
            let (stages, rest) = quote.split_once(" -->").unwrap_or((quote, ""));
            let (old, new) = stages.split_once(' ').unwrap_or((stages, ""));
            let figures: Vec<usize> =
                rest.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
            let Some((added, removed)) = diff(old, new) else { continue };
            if figures.get(..2) != Some(&[added, removed]) {
                faults.push(format!("{path}: {stages} is {added} lines added, {removed} removed"));
            }
        }
    }
    faults
}

/// Every link within the book leads to a page that is there, and to one of its headings.
fn links_lead_somewhere(files: &Files) -> Vec<String> {
    let mut faults = Vec::new();
    let headings = headings(files);
    for (path, text) in pages(files) {
        for link in links(text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (page, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if page.is_empty() { path.clone() } else { resolve(path, page) };
            let there = headings.get(&target);
            if there.is_none_or(|ids| !heading.is_empty() && !ids.contains(heading)) {
                faults.push(format!("{path}: the link to {link} leads nowhere"));
            }
        }
    }
    faults
}

/// *Proved by* leads to the test that it names.
fn proofs_lead_to_their_tests(files: &Files) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in pages(files) {
        for rest in text.split("<small class=\"proof\">").skip(1) {
            let proof = rest.split("</small>").next().unwrap_or_default();
            for name in proof.split('`').skip(1).step_by(2) {
                let linked = |link: &str| {
                    link.starts_with("](")
                        && link
                            .split(')')
                            .next()
                            .is_some_and(|to| to.ends_with(&format!("promises.md#{name}")))
                };
                if !proof.split(&format!("[`{name}`")).skip(1).any(linked) {
                    faults.push(format!("{path}: `{name}` is no link to promises.md#{name}"));
                }
            }
        }
    }
    faults
}

/// Every page is in the table of contents, and nothing else is.
fn the_summary_lists_every_page(files: &Files) -> Vec<String> {
    let summary = format!("{PAGES}SUMMARY.md");
    let listed: BTreeSet<_> = files
        .get(&summary)
        .map(|text| links(text).iter().map(|link| resolve(&summary, link)).collect())
        .unwrap_or_default();
    let there: BTreeSet<_> = pages(files).map(|(path, _)| path.clone()).collect();
    listed.symmetric_difference(&there).map(|page| format!("{summary}: {page}, or not?")).collect()
}

/// The numbers stand in the titles: the table of contents names a page as the page does, and puts it
/// under the chapter that its number begins with.
fn the_summary_numbers_as_the_pages_do(files: &Files) -> Vec<String> {
    let summary = format!("{PAGES}SUMMARY.md");
    let mut faults = Vec::new();
    let mut chapter = None;
    for line in files.get(&summary).map_or("", |text| text).lines() {
        let Some(entry) = line.trim_start().strip_prefix("- [") else { continue };
        let (title, page) = entry.trim_end_matches(')').split_once("](").unwrap_or((entry, ""));
        let (page, heading) = (resolve(&summary, page), format!("# {title}"));
        if files.get(&page).is_none_or(|text| text.lines().next() != Some(&heading)) {
            faults.push(format!("{summary}: {page} is not called \"{title}\""));
        }
        let number = title.trim_start_matches("Exercise ").split_once('.').map(|parts| parts.0);
        if line.starts_with('-') {
            chapter = number;
        } else if number != chapter {
            faults.push(format!("{summary}: \"{title}\" is not in its chapter"));
        }
    }
    faults
}

/// Every picture exists, and says in words what it shows.
fn pictures_exist(files: &Files) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in pages(files) {
        let mut picture = None;
        for event in parse(text) {
            match event {
                Event::Start(Tag::Image { dest_url, .. }) => picture = Some((dest_url, 0)),
                Event::Text(words) => {
                    picture = picture.map(|(url, length)| (url, length + words.len()));
                }
                Event::End(TagEnd::Image) => {
                    let Some((url, length)) = picture.take() else { continue };
                    if !files.contains_key(&resolve(path, &url)) {
                        faults.push(format!("{path}: there is no picture {url}"));
                    }
                    if length == 0 {
                        faults.push(format!("{path}: the picture {url} says nothing in words"));
                    }
                }
                _ => {}
            }
        }
    }
    faults
}

/// A name of three words or more with underscores is the name of a test or of something else that the
/// sources have.
fn named_tests_exist(files: &Files) -> Vec<String> {
    let sources: BTreeSet<&str> = files
        .iter()
        .filter(|(path, _)| path.ends_with(".rs"))
        .flat_map(|(_, text)| names(text))
        .collect();
    let mut faults = Vec::new();
    for (path, text) in pages(files) {
        for event in parse(text) {
            let Event::Code(code) = event else { continue };
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let is_test = code.chars().all(is_name) && code.matches('_').count() >= 2;
            let is_test = is_test && !code.ends_with("_t"); // that is a type of C
            if is_test && !sources.contains(&*code) {
                faults.push(format!("{path}: there is no `{code}` in the sources"));
            }
        }
    }
    faults
}

/// Nothing is called easy. A block quote may: it is a stage's own sentence.
fn no_banned_words(files: &Files) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in pages(files) {
        let prose = prose(text).to_lowercase();
        let words: Vec<_> =
            prose.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
        let prose = format!(" {} ", words.join(" "));
        for word in BANNED {
            if prose.contains(&format!(" {word} ")) {
                faults.push(format!("{path}: says \"{word}\""));
            }
        }
    }
    faults
}

/// A chapter begins with its stage's own sentence, the one that Cargo.toml and the README have.
fn chapters_begin_with_the_stages_own_sentence(files: &Files) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with("/Cargo.toml")) {
        let Some(stage) = path.strip_prefix("stage") else { continue };
        let page = format!("{PAGES}stage{}.md", &stage[..1]);
        let sentence = text.lines().find_map(|line| line.strip_prefix("description = "));
        let quote = format!("\n> {}\n", sentence.unwrap_or("?").trim_matches('"'));
        if !files.get(&page).is_some_and(|text| text.contains(&quote)) {
            faults.push(format!("{page}: does not begin with{}", quote.trim_end()));
        }
    }
    faults
}

/// No code block is empty.
fn code_blocks_have_something_in_them(files: &Files) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in pages(files) {
        let mut block = None;
        for event in parse(text) {
            match event {
                Event::Start(Tag::CodeBlock(_)) => block = Some(0),
                Event::Text(text) => block = block.map(|length| length + text.trim().len()),
                Event::End(TagEnd::CodeBlock) if block.take() == Some(0) => {
                    faults.push(format!("{path}: an empty code block"));
                }
                _ => {}
            }
        }
    }
    faults
}

// ---- what they are made of

/// `{{#include path:anchor}}` in a page, the path from the root of the repository.
struct Include {
    page: String,
    path: String,
    anchor: Option<String>,
}

fn includes(files: &Files) -> Vec<Include> {
    let mut found = Vec::new();
    for (page, text) in pages(files) {
        for rest in text.split("{{#include ").skip(1) {
            let target = rest.split("}}").next().unwrap_or("").trim();
            let (path, anchor) = match target.split_once(':') {
                Some((path, anchor)) => (path, Some(anchor.to_string())),
                None => (target, None),
            };
            found.push(Include { page: page.clone(), path: resolve(page, path), anchor });
        }
    }
    found
}

/// The lines between the two ends of an anchor. `None` if one of them is missing.
fn anchored<'t>(text: &'t str, anchor: &str) -> Option<Vec<&'t str>> {
    let at = |mark: &str| text.lines().position(|line| name_behind(line, mark) == Some(anchor));
    let (start, end) = (at("ANCHOR: ")?, at("ANCHOR_END: ")?);
    text.lines().collect::<Vec<_>>().get(start + 1..end).map(<[_]>::to_vec)
}

/// The name of an anchor. In a page of the steps the comment is one of HTML, so its end may follow.
fn name_behind<'t>(line: &'t str, mark: &str) -> Option<&'t str> {
    line.split_once(mark)?.1.split_whitespace().next()
}

fn anchor_name<'t>(line: &'t str, mark: &str) -> Option<&'t str> {
    line.trim_start().strip_prefix(mark).map(str::trim_end)
}

/// The items of a captured diff: their names, and their lines.
fn diff_items(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut items = Vec::new();
    for line in text.lines().skip(1) {
        if let Some(name) = anchor_name(line, "# ANCHOR: ") {
            items.push((name, Vec::new()));
        } else if !line.starts_with("# ANCHOR_END: ") {
            items.last_mut().expect("a diff begins with an anchor").1.push(line);
        }
    }
    items
}

/// The names in a source that stand for something: functions, fields, and methods that are called. A
/// name that is only mentioned, in a comment or a string, is none.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    text.split_inclusive(move |c| !is_name(c)).scan("", move |before, word| {
        let name = word.trim_end_matches(|c| !is_name(c));
        let after = &word[name.len()..];
        let stands = *before == "fn " || after == ":" || (before.ends_with('.') && after == "(");
        *before = word;
        Some(if stands { name } else { "" })
    })
}

fn has_lines(text: &str, wanted: &[&str]) -> bool {
    let lines: Vec<_> = text.lines().collect();
    wanted.is_empty() || lines.windows(wanted.len()).any(|window| window == wanted)
}

/// Every page but the table of contents.
fn pages(files: &Files) -> impl Iterator<Item = (&String, &String)> {
    files.iter().filter(|(path, _)| {
        path.starts_with(PAGES) && path.ends_with(".md") && !path.ends_with("/SUMMARY.md")
    })
}

/// Where a relative path leads to, seen from a file.
fn resolve(from: &str, path: &str) -> String {
    let mut parts: Vec<_> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn parse(text: &str) -> Parser<'_> {
    Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH)
}

fn links(text: &str) -> Vec<String> {
    parse(text)
        .filter_map(|event| match event {
            Event::Start(Tag::Link { dest_url, .. }) => Some(dest_url.into_string()),
            _ => None,
        })
        .collect()
}

/// The headings of every page, with those of the files that it includes.
fn headings(files: &Files) -> BTreeMap<String, BTreeSet<String>> {
    let own = pages(files).map(|(path, text)| (path.clone(), heading_ids(text)));
    let mut all: BTreeMap<_, _> = own.collect();
    for include in includes(files).into_iter().filter(|it| it.path.ends_with(".md")) {
        let ids = files.get(&include.path).map(|text| heading_ids(text)).unwrap_or_default();
        all.entry(include.page).or_default().extend(ids);
    }
    all
}

/// The ids that mdbook gives to the headings of a page.
fn heading_ids(text: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut heading: Option<String> = None;
    for event in parse(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(words) | Event::Code(words) => {
                heading = heading.map(|text| text + &words);
            }
            Event::End(TagEnd::Heading(_)) => {
                let id = heading_id(&heading.take().unwrap_or_default());
                let same = (1..).map(|n| format!("{id}-{n}"));
                let free = std::iter::once(id.clone()).chain(same).find(|id| !ids.contains(id));
                ids.extend(free);
            }
            _ => {}
        }
    }
    ids
}

fn heading_id(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c.to_ascii_lowercase()),
            c if c.is_whitespace() => Some('-'),
            _ => None,
        })
        .collect()
}

/// The words of a page, without its code, captures and block quotes.
fn prose(text: &str) -> String {
    let (mut words, mut outside) = (String::new(), 0);
    for event in parse(text) {
        match event {
            Event::Start(Tag::CodeBlock(_) | Tag::BlockQuote(_)) => outside += 1,
            Event::End(TagEnd::CodeBlock | TagEnd::BlockQuote(_)) => outside -= 1,
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) if outside == 0 => {
                words += &text;
            }
            Event::Code(_) => words.push('`'),
            Event::SoftBreak | Event::HardBreak | Event::End(_) => words.push(' '),
            _ => {}
        }
    }
    words
}

// ---- the real book

fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs us");
    Path::new(&package).parent().expect("the workspace").to_owned()
}

fn repository() -> Files {
    let mut files = Files::new();
    let entries = fs::read_dir(root()).expect("the workspace can be read");
    for entry in entries.map(|entry| entry.expect("an entry")) {
        let name = entry.file_name().into_string().expect("a name");
        if entry.path().is_dir() && name != "target" && !name.starts_with('.') {
            read_into(&mut files, &entry.path(), &name);
        }
    }
    files
}

fn read_into(files: &mut Files, dir: &Path, path: &str) {
    for entry in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry")) {
        let path = format!("{path}/{}", entry.file_name().to_string_lossy());
        if path == "docs/book" || path.ends_with("/target") {
            continue;
        }
        if entry.path().is_dir() {
            read_into(files, &entry.path(), &path);
        } else {
            let bytes = fs::read(entry.path()).expect("a file");
            files.insert(path, String::from_utf8_lossy(&bytes).replace("\r\n", "\n"));
        }
    }
}

fn git_diff(old: &str, new: &str) -> Option<(usize, usize)> {
    let output = Command::new("git")
        .args(["diff", "--no-index", "--no-ext-diff", "--no-renames", "--numstat"])
        .args([format!("{old}/src"), format!("{new}/src")])
        .current_dir(root())
        .output()
        .inspect_err(|error| eprintln!("skipped: no git: {error}"))
        .ok()?;
    let mut sum = (0, 0);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut columns = line.split('\t');
        let mut next = || columns.next().unwrap_or("");
        let (added, removed, path) = (next(), next(), next());
        if !path.contains("tests.rs") {
            sum.0 += added.parse::<usize>().ok()?;
            sum.1 += removed.parse::<usize>().ok()?;
        }
    }
    Some(sum)
}

#[track_caller]
fn assert_no_faults(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn what_the_book_includes_is_there() {
    assert_no_faults(includes_lead_somewhere(&repository()));
    assert_no_faults(code_blocks_have_something_in_them(&repository()));
}

#[test]
fn what_is_there_for_the_book_is_included() {
    assert_no_faults(anchors_are_used(&repository()));
    assert_no_faults(captures_are_used_and_say_when(&repository()));
}

#[test]
fn the_diffs_in_the_book_are_the_real_ones() {
    assert_no_faults(captured_diffs_are_the_real_ones(&repository()));
    assert_no_faults(quoted_diffs_are_the_measured_ones(&repository(), &git_diff));
}

#[test]
fn links_and_pictures_lead_somewhere() {
    assert_no_faults(links_lead_somewhere(&repository()));
    assert_no_faults(pictures_exist(&repository()));
    assert_no_faults(the_summary_lists_every_page(&repository()));
    assert_no_faults(the_summary_numbers_as_the_pages_do(&repository()));
}

#[test]
fn what_proves_a_claim_is_a_link_to_it() {
    assert_no_faults(proofs_lead_to_their_tests(&repository()));
}

#[test]
fn the_tests_that_the_book_names_exist() {
    assert_no_faults(named_tests_exist(&repository()));
}

#[test]
fn the_book_keeps_to_its_words() {
    assert_no_faults(no_banned_words(&repository()));
    assert_no_faults(chapters_begin_with_the_stages_own_sentence(&repository()));
}

// ---- the checks, each with a fault planted

/// A small book without a fault, and one file more.
fn book_and(path: &str, text: &str) -> Files {
    let page = "# 1. One\n\n> A sentence.\n\n## The idea\n\n```rust\n{{#include ../../stage1-x/src/main.rs:main}}\n```\n\n\
        ```diff\n{{#include ../captures/a.diff:go}}\n```\n\n```text\n{{#include ../captures/a.txt}}\n```\n\n{{#include ../steps/1.1.md:run}}\n\n\
        `it_does_not_wait`, and [the idea](#the-idea). <!-- diff a b --> 3 lines added, 1 removed.\n\n\
        ![A client waits](images/a.svg)\n";
    let source = "// ANCHOR: main\nfn it_does_not_wait() {}\n// ANCHOR_END: main\n";
    let diff = "# git diff, item by item: old.rs new.rs\n# ANCHOR: go\n fn go() {\n-    1\n+    2\n }\n# ANCHOR_END: go\n";
    let files = [
        ("docs/src/stage1.md", page),
        ("docs/src/SUMMARY.md", "- [1. One](stage1.md)\n"),
        ("docs/src/images/a.svg", "<svg/>"),
        ("docs/captures/a.txt", "# Linux 6.18, 2026-01-01: a\n$ ls\n"),
        ("docs/captures/a.diff", diff),
        ("docs/steps/1.1.md", "<!-- ANCHOR: run -->\nfn run() {}\n<!-- ANCHOR_END: run -->\n"),
        ("stage1-x/src/main.rs", source),
        ("stage1-x/Cargo.toml", "description = \"A sentence.\"\n"),
        ("old.rs", "fn go() {\n    1\n}\n"),
        ("new.rs", "fn go() {\n    2\n}\n"),
        (path, text),
    ];
    files.map(|(path, text)| (path.to_string(), text.to_string())).into()
}

/// The small book, with one piece of a file replaced.
fn book_with(path: &str, old: &str, new: &str) -> Files {
    let mut files = book_and("README.md", "");
    let text = files.get_mut(path).expect("a file of the small book");
    assert!(text.contains(old), "{path} has no {old}");
    *text = text.replace(old, new);
    files
}

const PAGE: &str = "docs/src/stage1.md";

#[track_caller]
fn check(faults: Vec<String>, says: &str) {
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains(says), "{faults:?}");
}

#[test]
fn a_book_without_a_fault_passes_every_check() {
    let files = book_and("README.md", "");
    for faults in [
        includes_lead_somewhere(&files),
        anchors_are_used(&files),
        captures_are_used_and_say_when(&files),
        captured_diffs_are_the_real_ones(&files),
        quoted_diffs_are_the_measured_ones(&files, &|_, _| Some((3, 1))),
        links_lead_somewhere(&files),
        the_summary_lists_every_page(&files),
        the_summary_numbers_as_the_pages_do(&files),
        pictures_exist(&files),
        named_tests_exist(&files),
        no_banned_words(&files),
        chapters_begin_with_the_stages_own_sentence(&files),
        code_blocks_have_something_in_them(&files),
    ] {
        assert_no_faults(faults);
    }
}

#[test]
fn a_missing_file_is_found() {
    check(includes_lead_somewhere(&book_with(PAGE, "src/main.rs:", "src/mian.rs:")), "mian.rs");
}

#[test]
fn a_missing_anchor_is_found() {
    check(includes_lead_somewhere(&book_with(PAGE, "main.rs:main", "main.rs:serve")), "`serve`");
}

#[test]
fn an_anchor_without_an_end_or_with_nothing_inside_is_found() {
    let source = "stage1-x/src/main.rs";
    let endless = book_with(source, "// ANCHOR_END: main\n", "");
    check(includes_lead_somewhere(&endless), "`main`");
    let empty = book_with(source, "fn it_does_not_wait() {}", "");
    check(includes_lead_somewhere(&empty), "`main`");
}

#[test]
fn an_anchor_that_no_page_includes_is_found() {
    let source = "    // ANCHOR: serve\nfn serve() {}\n    // ANCHOR_END: serve\n";
    check(anchors_are_used(&book_and("stage2-y/src/main.rs", source)), "`serve`");
}

#[test]
fn a_capture_that_no_page_includes_is_found() {
    let text = "# Linux 6.18, 2026-01-01: b\n";
    check(captures_are_used_and_say_when(&book_and("docs/captures/b.txt", text)), "b.txt: no page");
}

#[test]
fn a_capture_that_was_typed_by_hand_is_found() {
    let files = book_with("docs/captures/a.txt", "# Linux 6.18, 2026-01-01: a\n", "");
    check(captures_are_used_and_say_when(&files), "how and when");
}

#[test]
fn a_captured_diff_that_is_out_of_date_is_found() {
    check(captured_diffs_are_the_real_ones(&book_with("new.rs", "2", "3")), "new.rs");
    check(captured_diffs_are_the_real_ones(&book_with("old.rs", "1", "0")), "old.rs");
    let retyped = book_with("docs/captures/a.diff", " fn go() {", " fn go () {");
    assert_eq!(captured_diffs_are_the_real_ones(&retyped).len(), 2);
}

#[test]
fn a_wrong_figure_is_found() {
    let files = book_and("README.md", "");
    let faults = quoted_diffs_are_the_measured_ones(&files, &|_, _| Some((4, 1)));
    check(faults, "4 lines added, 1 removed");
    let faults = quoted_diffs_are_the_measured_ones(&files, &|_, _| Some((3, 2)));
    check(faults, "3 lines added, 2 removed");
}

#[test]
fn a_chapter_without_figures_is_found() {
    let files = book_and("docs/src/stage2.md", "# Two\n");
    check(quoted_diffs_are_the_measured_ones(&files, &|_, _| Some((3, 1))), "stage2.md");
}

#[test]
fn a_proof_without_a_link_is_found() {
    let proof =
        |what: &str| format!("It holds.\n<small class=\"proof\">proved by {what}</small>\n");
    let check = |what: &str| {
        proofs_lead_to_their_tests(&Files::from([(format!("{PAGES}a.md"), proof(what))]))
    };
    assert!(check("[`it_holds`](promises.md#it_holds)").is_empty());
    assert_eq!(check("`it_holds`").len(), 1);
    assert_eq!(check("[`it_holds`](promises.md#it_ends)").len(), 1);
    assert_eq!(check("[`a`](promises.md#a) and `b`").len(), 1);
}

#[test]
fn a_link_to_nowhere_is_found() {
    for link in ["stage7.md", "#the-ideas", "stage1.md#no", "../../stage1-x/src/main.rs", "images/"]
    {
        check(links_lead_somewhere(&book_with(PAGE, "(#the-idea)", &format!("({link})"))), link);
    }
    let two =
        book_and("docs/src/two.md", "## Same\n\n## Same\n\n[a](#same-1) [b](stage1.md#1-one)");
    assert_no_faults(links_lead_somewhere(&two));
}

#[test]
fn a_page_that_the_summary_does_not_list_is_found() {
    check(the_summary_lists_every_page(&book_and("docs/src/two.md", "# Two\n")), "two.md");
    let files = book_with("docs/src/SUMMARY.md", "stage1.md", "stage9.md");
    assert_eq!(the_summary_lists_every_page(&files).len(), 2);
}

#[test]
fn a_title_or_a_number_that_differs_in_the_summary_is_found() {
    check(the_summary_numbers_as_the_pages_do(&book_with(PAGE, "# 1. One", "# One")), "1. One");
    let nested = |title: &str| {
        let mut files = book_and("docs/src/two.md", &format!("# {title}\n"));
        let summary = format!("- [1. One](stage1.md)\n  - [{title}](two.md)\n");
        files.insert("docs/src/SUMMARY.md".to_string(), summary);
        the_summary_numbers_as_the_pages_do(&files)
    };
    assert_no_faults([nested("1.1 Two"), nested("Exercise 1.1: Two")].concat());
    check(nested("2.1 Two"), "2.1 Two");
    check(nested("Exercise 11.1: Two"), "11.1");
    check(nested("Two"), "Two");
}

#[test]
fn a_missing_picture_is_found_and_one_without_words_too() {
    check(pictures_exist(&book_with(PAGE, "images/a.svg", "images/b.svg")), "b.svg");
    check(pictures_exist(&book_with(PAGE, "A client waits", "")), "in words");
}

#[test]
fn a_test_that_does_not_exist_is_found() {
    let files =
        book_with(PAGE, "`it_does_not_wait`", "`it_does_not_weight`, `read_once`, `a(b_c_d)`");
    check(named_tests_exist(&files), "it_does_not_weight");
    let mentioned = book_with("stage1-x/src/main.rs", "fn it_does", "// fn that it_does");
    check(named_tests_exist(&mentioned), "it_does_not_wait");
}

#[test]
fn a_banned_word_is_found_but_not_in_a_quote_or_in_code() {
    for word in BANNED {
        let said = format!("It is {}\nto do.\n", word.to_uppercase());
        check(no_banned_words(&book_and("docs/src/two.md", &said)), word);
        let summary = format!("<details><summary>It is {word}.</summary></details>\n");
        check(no_banned_words(&book_and("docs/src/two.md", &summary)), word);
        let quoted =
            format!("> It is {word}.\n\n`it is {word}`\n\n```text\n{word}\n```\n\nadjust\n");
        assert_no_faults(no_banned_words(&book_and("docs/src/two.md", &quoted)));
    }
}

#[test]
fn a_chapter_that_begins_with_another_sentence_is_found() {
    let files = book_with(PAGE, "A sentence.", "A sentence of its own.");
    check(chapters_begin_with_the_stages_own_sentence(&files), "> A sentence.");
}

#[test]
fn an_empty_code_block_is_found() {
    let files = book_and("docs/src/two.md", "```rust\n\n```\n\n```text\nls\n```\n");
    check(code_blocks_have_something_in_them(&files), "empty");
}

//! The tests that the book names, as they stand in the sources: what *proved by* leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The page that has them. The links lead there.
const PAGE: &str = "promises.md#";

/// What the page includes.
pub(super) fn path(root: &Path) -> PathBuf {
    root.join("docs/promises.md")
}

/// The tests that the pages link to, file by file.
///
/// # Errors
///
/// A page links to a test that does not exist, or a file cannot be read.
pub(super) fn shown(root: &Path) -> anyhow::Result<String> {
    let mut linked = BTreeSet::new();
    for page in files(&root.join("docs/src"), "md")? {
        linked.extend(links(&page.text).map(str::to_owned));
    }
    let sources = ["common/src", "stage", "workshop"];
    let sources =
        sources.iter().map(|folder| tests(root, folder)).collect::<Result<Vec<_>, _>>()?;
    shown_of(&linked, &sources.concat())
}

/// A file below the root.
#[derive(Clone)]
struct File {
    /// With `/` on every system.
    path: String,
    text: String,
}

/// The Rust files of all folders whose path begins like this, in the order of their paths.
fn tests(root: &Path, begins: &str) -> anyhow::Result<Vec<File>> {
    let (parent, begin) = begins.rsplit_once('/').unwrap_or(("", begins));
    let mut all = Vec::new();
    for entry in fs::read_dir(root.join(parent))? {
        let name = entry?.file_name();
        if name.to_string_lossy().starts_with(begin) {
            all.extend(files(&root.join(parent).join(name), "rs")?);
        }
    }
    for file in &mut all {
        let below = Path::new(&file.path).strip_prefix(root)?;
        file.path = below.to_string_lossy().replace('\\', "/");
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(all)
}

fn files(folder: &Path, kind: &str) -> anyhow::Result<Vec<File>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            all.extend(files(&path, kind)?);
        } else if path.extension().is_some_and(|it| it == kind) {
            let text = fs::read_to_string(&path)?.replace("\r\n", "\n");
            all.push(File { path: path.to_string_lossy().into_owned(), text });
        }
    }
    Ok(all)
}

/// The names behind `promises.md#`.
fn links(page: &str) -> impl Iterator<Item = &str> {
    page.split(PAGE).skip(1).filter_map(|rest| rest.split(')').next())
}

fn shown_of(linked: &BTreeSet<String>, sources: &[File]) -> anyhow::Result<String> {
    // Stages 5 and 6 have some tests in common: the first file that has a test stands for the others.
    let mut by_file = BTreeMap::<&str, Vec<(&str, String)>>::new();
    for name in linked {
        let mut found = sources.iter().filter_map(|file| Some((file, function(&file.text, name)?)));
        let (file, text) = found.next().with_context(|| format!("no test is called {name}"))?;
        by_file.entry(&file.path).or_default().push((name, text));
    }
    let mut page = String::new();
    for (path, tests) in by_file {
        let _ = writeln!(page, "## {path}\n");
        for (name, text) in tests {
            let _ = writeln!(
                page,
                "### {name}\n\n<figure class=\"step\">\n\n```rust,ignore\n{text}```\n\n</figure>\n"
            );
        }
    }
    Ok(page)
}

/// A function with what is said about it, at the left margin.
fn function(source: &str, name: &str) -> Option<String> {
    let lines: Vec<_> = source.lines().collect();
    // A row of a table of tests has its name at the beginning, as a field.
    let is_head = |line: &&str| {
        let line = line.trim_start().trim_start_matches("pub ");
        let (line, ends) = line.strip_prefix("fn ").map_or((line, ":"), |line| (line, "(<"));
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(|c| ends.contains(c)))
    };
    let head = lines.iter().position(is_head)?;
    let indent = lines[head].len() - lines[head].trim_start().len();
    let is_above = |line: &&&str| ["///", "#["].iter().any(|it| line.trim_start().starts_with(it));
    let above = lines[..head].iter().rev().take_while(is_above).count();
    let about = lines[head - above..head].iter().filter(|line| line.contains("///"));
    let end = format!("{}}}", " ".repeat(indent));
    let body = lines[head..].iter().position(|line| line.trim_end_matches(',') == end)?;
    let shown = about.chain(&lines[head..=head + body]);
    Some(shown.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exercises::TOOL;

    const SOURCE: &str = "mod tests {\n    /// Why it matters.\n    #[test]\n    fn it_holds() {\n        one();\n\n        two();\n    }\n\n    \
        fn it_holds_too<T>() {\n    }\n}\n";

    #[test]
    fn a_test_is_shown_with_what_is_said_about_it_at_the_left_margin() {
        let expected = "/// Why it matters.\nfn it_holds() {\n    one();\n\n    two();\n}\n";
        assert_eq!(function(SOURCE, "it_holds").as_deref(), Some(expected));
        assert_eq!(
            function(SOURCE, "it_holds_too").as_deref(),
            Some("fn it_holds_too<T>() {\n}\n")
        );
        assert_eq!(function(SOURCE, "it"), None);
        let row = "cases! {\n    it_ends: Case {\n        at: 1,\n    },\n}\n";
        assert_eq!(function(row, "it_ends").as_deref(), Some("it_ends: Case {\n    at: 1,\n},\n"));
    }

    #[test]
    fn a_link_to_a_test_that_does_not_exist_is_told() {
        let linked: BTreeSet<_> =
            links("[`a`](../promises.md#it_holds), [b](promises.md#gone)").collect();
        let linked = linked.into_iter().map(str::to_owned).collect();
        let file = File { path: "common/src/a.rs".to_owned(), text: SOURCE.to_owned() };
        let error = shown_of(&linked, &[file]).unwrap_err();
        assert_eq!(error.to_string(), "no test is called gone");
    }

    #[test]
    fn the_page_of_promises_shows_the_tests_as_they_are() {
        let root = crate::exercises::root().unwrap();
        let page = fs::read_to_string(path(&root)).unwrap_or_default().replace("\r\n", "\n");
        assert!(page == shown(&root).unwrap(), "docs/promises.md: `{TOOL} step --pages`");
    }
}

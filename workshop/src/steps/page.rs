//! What a step changes, for its page of the book: each item that is new or other than before, as HTML that mdbook
//! includes between anchors. The lines that changed are marked, and what was there before can be unfolded.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use diffy::{DiffOptions, Line};

use super::chain::Pair;
use crate::exercises::{Number, Sources};

/// An item of a file: a function, a type, a constant, or a paragraph of `use`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Item {
    /// `server-run`: the file, and the name in it. The anchor's name.
    anchor: String,
    /// The same without a number.
    plain: String,
    path: String,
    name: String,
    text: String,
}

/// Where the pieces of a step are.
pub(super) fn path(root: &Path, step: Number) -> PathBuf {
    root.join(format!("docs/steps/{step}.md"))
}

/// The page's pieces of code, each between anchors that bear its name, in the order of the sources.
pub(super) fn blocks(pair: &Pair<'_>) -> String {
    let (before, after) = (items(pair.before), items(pair.after));
    let old: BTreeMap<_, _> = before.iter().map(|item| (item.anchor.as_str(), item)).collect();
    let mut page = String::new();
    for item in &after {
        let was = old.get(item.anchor.as_str()).map_or("", |old| old.text.as_str());
        if was != item.text {
            write_block(&mut page, item, was, &item.text);
        }
    }
    let gone = before.iter().filter(|old| after.iter().all(|new| new.anchor != old.anchor));
    gone.for_each(|item| write_block(&mut page, item, &item.text, ""));
    page
}

fn write_block(page: &mut String, item: &Item, old: &str, new: &str) {
    let (old, new) = marked(old, new);
    let Item { anchor, path, name, .. } = item;
    let name = match name.as_str() {
        "about" | "use" => String::new(),
        name => format!(" <code>{name}</code>"),
    };
    let caption = format!("<span class=\"file\">{path}</span>{name}");
    let code = |lines: &str| format!("<pre><code class=\"language-rust\">{lines}</code></pre>\n");
    let body = match (old.is_empty(), new.is_empty()) {
        // A blank line ends what Markdown takes for HTML, but not within `<pre>` at the beginning of a line.
        (true, _) => format!("{caption} is new</figcaption>\n\n{}", code(&new)),
        (_, true) => format!(
            "{caption} is gone</figcaption>\n\n<details><summary>What it was</summary>\n\n{}\n</details>\n",
            code(&old)
        ),
        _ => format!(
            "{caption}</figcaption>\n\n{}\n<details><summary>Before</summary>\n\n{}\n</details>\n",
            code(&new),
            code(&old)
        ),
    };
    let _ = write!(
        page,
        "<!-- ANCHOR: {anchor} -->\n<figure class=\"step\"><figcaption>{body}\n</figure>\n<!-- ANCHOR_END: {anchor} -->\n\n"
    );
}

/// Both texts as HTML, with their lines that the other one lacks marked. Nothing is marked if there is no other one.
fn marked(old: &str, new: &str) -> (String, String) {
    let mut options = DiffOptions::new();
    options.set_context_len(usize::MAX / 4);
    let patch = options.create_patch(old, new);
    let (mut was, mut is) = (String::new(), String::new());
    for line in patch.hunks().iter().flat_map(|hunk| hunk.lines()) {
        match line {
            Line::Context(line) => {
                was += &escaped(line);
                is += &escaped(line);
            }
            Line::Delete(line) => was += &mark("old", line, new.is_empty()),
            Line::Insert(line) => is += &mark("new", line, old.is_empty()),
        }
    }
    (was, is)
}

/// The end of the line stands behind the mark, so that the mark is as long as the line and not as wide as the page.
fn mark(class: &str, line: &str, alone: bool) -> String {
    match line.trim_end() {
        _ if alone => escaped(line),
        "" => "\n".to_owned(),
        text => format!("<span class=\"{class}\">{}</span>\n", escaped(text)),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The items of the sources without their tests. In ours they are separated by blank lines, and have none inside.
fn items(sources: &Sources) -> Vec<Item> {
    let mut all: Vec<Item> = Vec::new();
    for (path, text) in sources.files() {
        let file = path.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs"));
        let Some(file) = file.filter(|file| !file.ends_with("tests")) else { continue };
        let mut owner = String::new();
        for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
            let (name, text) = item(paragraph, &mut owner);
            let plain = format!("{file}-{}", name.rsplit("::").next().unwrap_or_default());
            let same = |other: &&Item| other.plain == plain;
            let anchor = match all.iter().filter(same).count() {
                0 => plain.clone(),
                others => format!("{plain}-{}", others + 1),
            };
            all.push(Item { anchor, plain, path: path.to_owned(), name, text });
        }
    }
    all
}

/// The name and the text of an item. A method is called after its type, and stands at the left margin: the first line
/// of an `impl`, which stands above its first method, and the brace below its last are left out.
fn item(paragraph: &str, owner: &mut String) -> (String, String) {
    let mut lines: Vec<_> = paragraph.trim_matches('\n').lines().collect();
    if let Some(of) = lines[0].strip_prefix("impl") {
        *owner = type_of(of);
        lines.remove(0);
    }
    let is_inner = lines.first().is_some_and(|line| line.starts_with("    "));
    if is_inner && lines.last() == Some(&"}") {
        lines.pop();
    }
    let shift = if is_inner { 4 } else { 0 };
    let left = |line: &&str| format!("{}\n", line.get(shift..).unwrap_or_default());
    let text: String = lines.iter().map(left).collect();
    let name = name(&text);
    (if is_inner { format!("{owner}::{name}") } else { name }, text)
}

/// `Server` of ` Server {`, of `<S: Read> Read for Observed<S> {` `Observed`.
fn type_of(of: &str) -> String {
    let of = of.rsplit_once(" for ").map_or(of, |(_, of)| of);
    let of = of.trim_end_matches(" {");
    let of = if of.starts_with('<') { of.split_once("> ").map_or(of, |(_, of)| of) } else { of };
    of.trim().split('<').next().unwrap_or_default().to_owned()
}

/// What an item is called. The paragraphs above the items are `about` and `use`.
fn name(text: &str) -> String {
    let code = || text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    for kinds in [&["fn"][..], &["struct", "enum", "const", "type"], &["mod", "use"]] {
        for line in code() {
            let line =
                ["pub ", "pub(crate) "].iter().find_map(|p| line.strip_prefix(p)).unwrap_or(line);
            let Some((kind, rest)) = line.split_once(' ').filter(|(kind, _)| kinds.contains(kind))
            else {
                continue;
            };
            if kind == "use" || kind == "mod" {
                return kind.to_owned();
            }
            return rest
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap_or_default()
                .to_owned();
        }
    }
    "about".to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::exercises::TOOL;
    use crate::steps::chain::Chain;
    use crate::steps::chain::tests::{chain, sources};

    const BEFORE: &str = "//! A loop.\n\nuse std::io;\n\n/// All of it.\nstruct Server<S> {\n    a: S,\n}\n\nimpl<S: Read> Server<S> {\n    fn run(&self) {\n        one();\n        two();\n    }\n\n    fn drain(&self) {}\n}\n";

    fn page(before: &str, after: &str) -> String {
        let states = [sources(&[("src/server.rs", before)]), sources(&[("src/server.rs", after)])];
        blocks(&chain(&states).pairs(&states).next().unwrap())
    }

    #[test]
    fn an_item_that_changes_is_shown_with_its_new_lines_marked_and_what_was_there_before() {
        let page = page(BEFORE, &BEFORE.replace("two();", "if a < b {\n        }"));
        let expected = "<!-- ANCHOR: server-run -->\n<figure class=\"step\"><figcaption><span class=\"file\">src/server.rs</span> \
            <code>Server::run</code></figcaption>\n\n<pre><code class=\"language-rust\">fn run(&amp;self) {\n    one();\n\
            <span class=\"new\">    if a &lt; b {</span>\n<span class=\"new\">    }</span>\n}\n</code></pre>\n\n\
            <details><summary>Before</summary>\n\n<pre><code class=\"language-rust\">fn run(&amp;self) {\n    one();\n\
            <span class=\"old\">    two();</span>\n}\n</code></pre>\n\n</details>\n\n</figure>\n<!-- ANCHOR_END: server-run -->\n\n";
        assert_eq!(page, expected);
    }

    #[test]
    fn what_is_new_and_what_has_gone_is_shown_whole_and_unmarked() {
        let page = page(BEFORE, &BEFORE.replace("fn drain(&self) {}", "fn mark(&self) {}"));
        assert!(page.contains("<code>Server::mark</code> is new</figcaption>"), "{page}");
        assert!(page.contains("<code>Server::drain</code> is gone</figcaption>"), "{page}");
        assert!(!page.contains("class=\"new\"") && !page.contains("class=\"old\""), "{page}");
    }

    #[test]
    fn an_item_that_only_moves_is_not_shown() {
        let moved = BEFORE
            .replace("    fn drain(&self) {}\n", "    fn a(&self) {}\n\n    fn drain(&self) {}\n");
        assert_eq!(page(BEFORE, BEFORE), "");
        assert!(!page(BEFORE, &moved).contains("drain"));
    }

    #[test]
    fn the_pages_show_the_steps_as_they_are() {
        let root = crate::exercises::root().unwrap();
        for chain in Chain::all(&root).unwrap() {
            let states = chain.proven_here(&root).unwrap();
            for pair in chain.pairs(&states) {
                let path = path(&root, pair.step.number);
                let page = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
                assert!(page == blocks(&pair), "{}: `{TOOL} step --pages`", path.display());
            }
        }
    }

    #[track_caller]
    fn check_name(paragraph: &str, expected: &str) {
        assert_eq!(item(paragraph, &mut "Server".to_owned()).0, expected);
    }

    #[test]
    fn an_item_is_called_after_its_function_or_its_type() {
        check_name("    /// Says fn x.\n    pub(crate) fn run(&self) {\n    }", "Server::run");
        check_name(
            "impl<S: Read> Read for Observed<S> {\n    fn read(&mut self) {}\n}",
            "Observed::read",
        );
        check_name("#[derive(Debug)]\npub(crate) struct Token(u64);", "Token");
        check_name("use std::io;\nuse std::mem;", "use");
        check_name("//! The loop.", "about");
    }
}

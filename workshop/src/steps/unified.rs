//! Differences as a reader sees them: hunks, with three lines around each change.

use diffy::{Line, Patch};

use crate::exercises::Sources;

/// A hunk as git makes it. diffy begins a new one where just six lines are between two changes, and git does not.
pub(super) struct Hunk<'p> {
    /// The first line, from 1, and how many: of the old text, and of the new one.
    old: (usize, usize),
    new: (usize, usize),
    pub(super) lines: Vec<Line<'p, str>>,
}

impl<'p> Hunk<'p> {
    /// The hunks of the patch of one file.
    pub(super) fn all(patch: &'p Patch<'_, str>) -> Vec<Self> {
        let mut hunks: Vec<Self> = Vec::new();
        for hunk in patch.hunks() {
            let [old, new] = [hunk.old_range(), hunk.new_range()].map(|it| (it.start(), it.len()));
            match hunks.last_mut().filter(|last| last.old.0 + last.old.1 == old.0) {
                Some(last) => {
                    last.old.1 += old.1;
                    last.new.1 += new.1;
                    last.lines.extend_from_slice(hunk.lines());
                }
                None => hunks.push(Self { old, new, lines: hunk.lines().to_vec() }),
            }
        }
        hunks
    }

    fn text(&self) -> String {
        let range = |(start, len): (usize, usize)| match len {
            1 => start.to_string(),
            _ => format!("{start},{len}"),
        };
        let mut text = format!("@@ -{} +{} @@\n", range(self.old), range(self.new));
        for line in &self.lines {
            let (mark, line) = match line {
                Line::Context(line) => (' ', line),
                Line::Delete(line) => ('-', line),
                Line::Insert(line) => ('+', line),
            };
            text.push(mark);
            text += line;
            if !line.ends_with('\n') {
                text += "\n\\ No newline at end of file\n";
            }
        }
        text
    }
}

/// The patch that leads from one state to the next.
pub(super) fn patch(before: &Sources, after: &Sources) -> String {
    let mut text = String::new();
    for path in before.files_that_differ(after) {
        let name = |sources: &Sources, side| match sources.text(&path) {
            Some(_) => format!("{side}/{path}"),
            None => "/dev/null".to_owned(),
        };
        text += &format!("--- {}\n+++ {}\n", name(before, "a"), name(after, "b"));
        let [old, new] = [before, after].map(|sources| sources.text(&path).unwrap_or_default());
        let patch = diffy::create_patch(old, new);
        Hunk::all(&patch).iter().for_each(|hunk| text += &hunk.text());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::chain::tests::sources;
    use super::*;

    #[track_caller]
    fn check(old: &str, new: &str, hunks: &[&str]) {
        let (before, after) = (sources(&[("src/a.rs", old)]), sources(&[("src/a.rs", new)]));
        let text = patch(&before, &after);
        let heads: Vec<_> = text.lines().filter(|line| line.starts_with("@@")).collect();
        assert_eq!(heads, hunks);
        assert_eq!(before.with(&text).unwrap(), after, "{text}");
    }

    #[test]
    fn two_changes_are_one_hunk_with_six_lines_between_them_and_two_with_seven() {
        let text = |between: usize, c: &str| format!("{c}\n{}{c}\n", "x\n".repeat(between));
        check(&text(5, "a"), &text(5, "b"), &["@@ -1,7 +1,7 @@"]);
        check(&text(6, "a"), &text(6, "b"), &["@@ -1,8 +1,8 @@"]);
        check(&text(7, "a"), &text(7, "b"), &["@@ -1,4 +1,4 @@", "@@ -6,4 +6,4 @@"]);
    }

    #[test]
    fn lines_of_every_kind_are_written() {
        check("a\n\nb", "a\n\nc", &["@@ -1,3 +1,3 @@"]);
        let (old, new) = (sources(&[("src/a.rs", "a\n")]), sources(&[("src/b.rs", "b\n")]));
        let text = patch(&old, &new);
        let expected = "--- a/src/a.rs\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n--- /dev/null\n+++ b/src/b.rs\n@@ -0,0 +1 @@\n+b\n";
        assert_eq!(text, expected);
        assert_eq!(old.with(&text).unwrap(), new);
    }
}

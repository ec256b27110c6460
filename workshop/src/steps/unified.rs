//! Differences as a reader sees them: hunks, with three lines around each change.
//!
//! What two texts have in common is found as people find it: first the longest run of lines that both have, then the
//! longest one above it and below it, and so on. The fewest lines, which is what diff(1) looks for, may be a patch of
//! many small pieces.

use std::collections::HashMap;
use std::ops::Range;

use diffy::Line;

use crate::exercises::Sources;

/// How many lines stand around a change. Two changes with twice as many between them are one hunk.
const CONTEXT: usize = 3;

/// A part of the difference between two texts.
pub(super) struct Hunk<'t> {
    /// The lines that it begins with and ends before, from 0: of the old text, and of the new one.
    old: Range<usize>,
    new: Range<usize>,
    pub(super) lines: Vec<Line<'t, str>>,
}

/// Lines that differ: of the old text, and of the new one.
type Change = (Range<usize>, Range<usize>);

impl<'t> Hunk<'t> {
    pub(super) fn all(old: &'t str, new: &'t str) -> Vec<Self> {
        let [old, new] = [old, new].map(|text| text.split_inclusive('\n').collect::<Vec<_>>());
        let changes = changes(&old, &new);
        let is_near = |a: &Change, b: &Change| b.0.start - a.0.end <= 2 * CONTEXT;
        changes.chunk_by(is_near).map(|changes| Self::of(&old, &new, changes)).collect()
    }

    fn of(old: &[&'t str], new: &[&'t str], changes: &[Change]) -> Self {
        let (first, last) = (&changes[0], &changes[changes.len() - 1]);
        let before = CONTEXT.min(first.0.start);
        let after = CONTEXT.min(old.len() - last.0.end);
        let mut lines = Vec::new();
        let mut at = first.0.start - before;
        for (gone, come) in changes {
            lines.extend(old[at..gone.start].iter().map(|line| Line::Context(*line)));
            lines.extend(old[gone.clone()].iter().map(|line| Line::Delete(*line)));
            lines.extend(new[come.clone()].iter().map(|line| Line::Insert(*line)));
            at = gone.end;
        }
        lines.extend(old[at..at + after].iter().map(|line| Line::Context(*line)));
        Self {
            old: first.0.start - before..last.0.end + after,
            new: first.1.start - before..last.1.end + after,
            lines,
        }
    }

    fn text(&self) -> String {
        // A range without lines is named by the line before it.
        let range = |range: &Range<usize>| match range.len() {
            0 => format!("{},0", range.start),
            1 => format!("{}", range.start + 1),
            len => format!("{},{len}", range.start + 1),
        };
        let mut text = format!("@@ -{} +{} @@\n", range(&self.old), range(&self.new));
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
        Hunk::all(old, new).iter().for_each(|hunk| text += &hunk.text());
    }
    text
}

/// What is between the runs of lines that both texts have.
fn changes(old: &[&str], new: &[&str]) -> Vec<Change> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, line) in new.iter().enumerate() {
        places.entry(line).or_default().push(place);
    }
    let (mut runs, mut left) = (Vec::new(), vec![(0..old.len(), 0..new.len())]);
    while let Some((a, b)) = left.pop() {
        let (run_a, run_b) = longest_run(old, &places, &a, &b);
        if !run_a.is_empty() {
            left.push((a.start..run_a.start, b.start..run_b.start));
            left.push((run_a.end..a.end, run_b.end..b.end));
            runs.push((run_a, run_b));
        }
    }
    runs.sort_by_key(|(a, _)| a.start);
    runs.push((old.len()..old.len(), new.len()..new.len()));
    let (mut changes, mut at) = (Vec::new(), (0, 0));
    for (a, b) in runs {
        let change = (at.0..a.start, at.1..b.start);
        at = (a.end, b.end);
        changes.extend((!change.0.is_empty() || !change.1.is_empty()).then_some(change));
    }
    changes
}

/// The longest run that both ranges have, and of several the first. `places`: where each line is in the new text.
fn longest_run(
    old: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    a: &Range<usize>,
    b: &Range<usize>,
) -> (Range<usize>, Range<usize>) {
    let mut best = (a.start..a.start, b.start..b.start);
    // How long the run is that ends at a line of the new text and at the last line of the old one.
    let mut lengths: HashMap<usize, usize> = HashMap::new();
    for i in a.clone() {
        let mut next = HashMap::new();
        for j in places.get(old[i]).into_iter().flatten().filter(|j| b.contains(j)) {
            let length = j.checked_sub(1).and_then(|j| lengths.get(&j)).unwrap_or(&0) + 1;
            next.insert(*j, length);
            if length > best.0.len() {
                best = (i + 1 - length..i + 1, j + 1 - length..j + 1);
            }
        }
        lengths = next;
    }
    best
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
    fn the_longest_run_stays_together() {
        let text = |old: &str, new: &str| {
            let [old, new] = [old, new].map(|text| text.split(' ').collect::<Vec<_>>());
            changes(&old, &new)
        };
        // The fewest lines would be four, in three changes.
        assert_eq!(text("a x b y c", "p b y q a"), [(0..2, 0..1), (4..5, 3..5)]);
        assert_eq!(text("a b", "a b"), []);
        assert_eq!(text("a a a", "a a"), [(2..3, 2..2)]);
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

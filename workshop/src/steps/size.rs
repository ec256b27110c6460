//! How much a step changes, as a reader sees it: lines of code, and hunks of a patch.

use diffy::Line;

use super::unified::Hunk;
use crate::exercises::Sources;

/// Of code. With more, a step is read as a whole new file.
pub(super) const MOST_LINES: usize = 90;

/// With more, the one idea is hard to find among them.
pub(super) const MOST_HUNKS: usize = 8;

/// What changes in `src`, without unit tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Lines of code, without comments and blank lines: of each hunk, what is new or what goes, whichever is more.
    pub(super) lines: usize,
    /// Hunks in which code changes. A file that comes or goes is one.
    pub(super) hunks: usize,
}

impl Size {
    pub(super) fn between(before: &Sources, after: &Sources) -> Self {
        let mut size = Self::default();
        for path in before.files_that_differ(after).iter().filter(|path| counts(path)) {
            let (old, new) = (before.text(path), after.text(path));
            let file = Self::of(old.unwrap_or_default(), new.unwrap_or_default());
            size.lines += file.lines;
            size.hunks += if old.and(new).is_some() { file.hunks } else { 1 };
        }
        size
    }

    fn of(old: &str, new: &str) -> Self {
        let mut size = Self::default();
        for hunk in Hunk::all(old, new) {
            let (mut added, mut removed) = (0, 0);
            for line in hunk.lines {
                match line {
                    Line::Insert(line) => added += usize::from(is_code(line)),
                    Line::Delete(line) => removed += usize::from(is_code(line)),
                    Line::Context(_) => {}
                }
            }
            size.lines += added.max(removed);
            size.hunks += usize::from(added + removed > 0);
        }
        size
    }

    /// What is too much. `None`: the step can be read at once.
    pub(super) fn fault(&self) -> Option<String> {
        let Self { lines, hunks } = self;
        if *lines > MOST_LINES {
            return Some(format!("changes {lines} lines of code, more than {MOST_LINES}"));
        }
        (*hunks > MOST_HUNKS).then(|| format!("has {hunks} hunks, more than {MOST_HUNKS}"))
    }
}

fn counts(path: &str) -> bool {
    path.starts_with("src/") && !path.ends_with("/tests.rs") && !path.contains("/tests/")
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

#[cfg(test)]
mod tests {
    use super::super::chain::tests::sources;
    use super::*;

    #[track_caller]
    fn check(before: &[(&str, &str)], after: &[(&str, &str)], lines: usize, hunks: usize) {
        assert_eq!(Size::between(&sources(before), &sources(after)), Size { lines, hunks });
    }

    #[test]
    fn what_is_new_or_what_goes_counts_whichever_is_more() {
        check(&[("src/a.rs", "a\nb\nc\n")], &[("src/a.rs", "a\nx\ny\nz\nc\n")], 3, 1);
        check(&[("src/a.rs", "a\nx\ny\nz\nc\n")], &[("src/a.rs", "a\nb\nc\n")], 3, 1);
        let far = "1\n2\n3\n4\n5\n6\n7\n";
        let (a, b) = (format!("a\n{far}a\n"), format!("b\n{far}b\n"));
        check(&[("src/a.rs", &a)], &[("src/a.rs", &b)], 2, 2);
    }

    #[test]
    fn comments_blank_lines_and_tests_do_not_count() {
        check(&[("src/a.rs", "a\n")], &[("src/a.rs", "// why\n\n    /// What.\na\n")], 0, 0);
        check(&[], &[("src/a/tests.rs", "a\n"), ("tests/contract.rs", "a\n")], 0, 0);
    }

    #[test]
    fn a_file_that_comes_or_goes_is_one_hunk() {
        check(&[], &[("src/a.rs", "a\nb\n// c\n")], 2, 1);
        check(&[("src/a.rs", "a\nb\n")], &[], 2, 1);
        check(&[], &[("src/a.rs", "// c\n")], 0, 1);
    }

    #[test]
    fn a_step_that_is_too_large_says_by_what() {
        let fault = |lines, hunks| Size { lines, hunks }.fault();
        assert_eq!(fault(MOST_LINES, MOST_HUNKS), None);
        assert!(fault(91, 1).is_some_and(|fault| fault.contains("91 lines")));
        assert!(fault(1, 9).is_some_and(|fault| fault.contains("9 hunks")));
    }
}

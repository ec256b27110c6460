//! The smallest parts of a patch: lines that are replaced, and what stands around them. A block finds its place in a text
//! that has changed since the patch was made.

use diffy::{Line, Patch};

/// As many lines around a change as a patch has.
const CONTEXT: usize = 3;

/// Lines that others take the place of. Either may be none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// Which hunk of its file it is in, from 1.
    pub(super) hunk: usize,
    /// The line of the old text that it begins at, from 0.
    pub(super) at: usize,
    before: Vec<String>,
    old: Vec<String>,
    new: Vec<String>,
    after: Vec<String>,
}

/// Where a block fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    /// The first line that is replaced, from 0.
    pub(super) at: usize,
    /// How many lines there are other than the patch says.
    pub(super) others: usize,
}

/// The blocks of a patch of one file, in order.
pub(super) fn blocks(patch: &Patch<'_, str>) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (hunk, number) in patch.hunks().iter().zip(1..) {
        let range = hunk.old_range();
        // A range without lines is named by the line before it.
        let mut at = if range.is_empty() { range.start() } else { range.start() - 1 };
        let (mut context, mut open) = (Vec::new(), None::<Block>);
        for line in hunk.lines() {
            if let Line::Context(line) = line {
                if let Some(block) = open.as_mut().filter(|block| block.after.len() < CONTEXT) {
                    block.after.push((*line).to_owned());
                }
                context.push((*line).to_owned());
                at += 1;
                continue;
            }
            if open.as_ref().is_none_or(|block| !block.after.is_empty()) {
                blocks.extend(open.take());
                let before = context.split_off(context.len().saturating_sub(CONTEXT));
                open = Some(Block { hunk: number, at, before, ..Block::default() });
                context.clear();
            }
            let block = open.get_or_insert_default();
            match line {
                Line::Delete(line) => {
                    block.old.push((*line).to_owned());
                    at += 1;
                }
                Line::Insert(line) => block.new.push((*line).to_owned()),
                Line::Context(_) => {}
            }
        }
        blocks.extend(open);
    }
    blocks
}

impl Block {
    /// How many lines longer the text gets.
    fn growth(&self) -> isize {
        self.new.len() as isize - self.old.len() as isize
    }

    /// Where it fits best, from a line on, if it is expected at another. `None`: nowhere, or at several places as well.
    fn fit(&self, text: &[String], from: usize, expected: usize) -> Option<Fit> {
        let exact = self.places(text, CONTEXT).into_iter().filter(|at| *at >= from);
        let nearest = exact.min_by_key(|at| at.abs_diff(expected));
        let exact = nearest.or_else(|| self.only_place(text).filter(|at| *at >= from));
        let exact = exact.map(|at| Fit { at, others: 0 });
        let near = || self.nearly(text, from).or_else(|| self.beside(text, from));
        exact.or_else(|| near().filter(|fit| !self.is_in(text, fit.at)))
    }

    /// Whether what it brings is there already, and nothing goes.
    fn is_in(&self, text: &[String], at: usize) -> bool {
        let (above, below) = text.split_at(at);
        self.old.is_empty() && (above.ends_with(&self.new) || below.starts_with(&self.new))
    }

    /// The one place at which the old lines stand, with as much of what is around them as is the same still.
    pub(super) fn only_place(&self, text: &[String]) -> Option<usize> {
        let places = (1..=CONTEXT).rev().map(|context| self.places(text, context));
        match places.into_iter().find(|places| !places.is_empty())?.as_slice() {
            [at] => Some(*at),
            _ => None,
        }
    }

    /// Every place at which the old lines stand, with so many lines around them.
    fn places(&self, text: &[String], context: usize) -> Vec<usize> {
        let before = &self.before[self.before.len().saturating_sub(context)..];
        let after = &self.after[..self.after.len().min(context)];
        let wanted: Vec<_> = before.iter().chain(&self.old).chain(after).collect();
        // One line alone, a brace perhaps, is no place.
        if wanted.len() < 2 {
            return Vec::new();
        }
        let fits = |window: &[String]| window.iter().eq(wanted.iter().copied());
        let windows = text.windows(wanted.len()).enumerate();
        windows.filter(|(_, window)| fits(window)).map(|(at, _)| at + before.len()).collect()
    }

    /// Whether the text has its lines at the place that it names.
    pub(super) fn stands_in(&self, text: &[String]) -> bool {
        let wanted = self.before.iter().chain(&self.old).chain(&self.after);
        let len = self.before.len() + self.old.len() + self.after.len();
        let start = self.at.checked_sub(self.before.len());
        let there = start.and_then(|start| text.get(start..start + len));
        there.is_some_and(|there| there.iter().eq(wanted))
    }

    /// The one place at which a third of the lines are others, at most: one that is replaced anyway, or one around it.
    fn nearly(&self, text: &[String], from: usize) -> Option<Fit> {
        let wanted: Vec<_> = self.before.iter().chain(&self.old).chain(&self.after).collect();
        let others = |window: &[String]| {
            window.iter().zip(&wanted).filter(|(line, wanted)| line != *wanted).count()
        };
        let windows = text.windows(wanted.len().max(1)).enumerate();
        let fits =
            windows.map(|(at, window)| Fit { at: at + self.before.len(), others: others(window) });
        let fits = fits.filter(|fit| fit.at >= from && fit.others * 3 <= wanted.len());
        let mut fits: Vec<_> = fits.collect();
        fits.sort_by_key(|fit| fit.others);
        match fits.as_slice() {
            [only] => Some(*only),
            [best, next, ..] if best.others < next.others => Some(*best),
            _ => None,
        }
    }

    /// The one place at which the old lines stand beside what is above them, or beside what is below.
    fn beside(&self, text: &[String], from: usize) -> Option<Fit> {
        let below = Self { before: Vec::new(), ..self.clone() };
        let above = Self { after: Vec::new(), ..self.clone() };
        let sides = [(below, self.before.len()), (above, self.after.len())];
        sides.into_iter().find_map(|(side, others)| match side.places(text, CONTEXT).as_slice() {
            [at] if *at >= from => Some(Fit { at: *at, others }),
            _ => None,
        })
    }

    pub(super) fn replace(&self, text: &mut Vec<String>, at: usize) {
        text.splice(at..at + self.old.len(), self.new.iter().cloned());
    }
}

/// A text with the blocks of a patch put in, and where each has fitted. An error is the block that fits nowhere.
pub(super) fn refit(text: &str, blocks: Vec<Block>) -> Result<(String, Vec<(Block, Fit)>), Block> {
    let mut text = lines(text);
    let (mut from, mut moved, mut fitted) = (0, 0, Vec::new());
    for block in blocks {
        let expected = block.at.saturating_add_signed(moved);
        let Some(fit) = block.fit(&text, from, expected) else { return Err(block) };
        block.replace(&mut text, fit.at);
        from = fit.at + block.new.len();
        moved = fit.at as isize - block.at as isize + block.growth();
        fitted.push((block, fit));
    }
    Ok((text.concat(), fitted))
}

/// The lines of a text, each with its end.
pub(super) fn lines(text: &str) -> Vec<String> {
    text.split_inclusive('\n').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(old: &str, new: &str) -> Vec<Block> {
        blocks(&diffy::create_patch(old, new))
    }

    #[track_caller]
    fn check(old: &str, new: &str, text: &str, expected: Option<&str>) {
        let refitted = refit(text, of(old, new)).ok().map(|(text, _)| text);
        assert_eq!(refitted.as_deref(), expected);
    }

    const OLD: &str = "a\nb\nc\nd\ne\nf\ng\nh\n";
    const NEW: &str = "a\nb\nc\nD\ne\nF\ng\nh\n";

    #[test]
    fn a_patch_is_cut_into_blocks_that_know_their_lines() {
        let blocks = of(OLD, NEW);
        let places = blocks.iter().map(|b| (b.hunk, b.at, b.before.len(), b.after.len()));
        assert_eq!(places.collect::<Vec<_>>(), [(1, 3, 3, 1), (1, 5, 1, 2)]);
        check(OLD, NEW, OLD, Some(NEW));
        check("", "a\n", "", None);
    }

    #[test]
    fn a_block_moves_with_its_lines() {
        check(OLD, NEW, &format!("x\ny\n{OLD}"), Some(&format!("x\ny\n{NEW}")));
        check(OLD, NEW, "c\nd\ne\nf\ng\nh\n", Some("c\nD\ne\nF\ng\nh\n"));
        // Of two places the nearer one, and never one before the last block.
        let twice = format!("{OLD}{OLD}");
        check(
            &twice,
            &format!("{OLD}{NEW}"),
            &format!("x\n{twice}"),
            Some(&format!("x\n{OLD}{NEW}")),
        );
    }

    #[test]
    fn a_line_around_a_block_may_change() {
        check(OLD, NEW, &OLD.replace('c', "C"), Some(&NEW.replace('c', "C")));
        check(OLD, NEW, &OLD.replace('e', "E"), Some(&NEW.replace('e', "E")));
    }

    #[test]
    fn a_line_that_is_replaced_anyway_may_change() {
        check(OLD, NEW, &OLD.replace('d', "d2"), Some(NEW));
        let (_, fitted) = refit(&OLD.replace('d', "d2"), of(OLD, NEW)).unwrap();
        assert_eq!(fitted[0].1, Fit { at: 3, others: 1 });
        assert_eq!(fitted[1].1, Fit { at: 5, others: 0 });
    }

    #[test]
    fn lines_may_come_beside_a_block() {
        let more = |text: &str| text.replace("c\n", "C\n1\n2\n3\n");
        check(OLD, NEW, &more(OLD), Some(&more(NEW)));
        let inserted = OLD.replace("d\n", "d\nx\n");
        check(OLD, &inserted, &more(OLD), Some(&more(&inserted)));
        let above = OLD.replace("d\n", "x\nd\n");
        check(OLD, &above, &more(OLD), Some(&more(&above)));
    }

    #[test]
    fn a_block_that_fits_nowhere_is_told() {
        let text = OLD.replace("c\nd\ne\n", "x\ny\nz\n");
        let block = refit(&text, of(OLD, NEW)).unwrap_err();
        assert_eq!((block.hunk, block.at), (1, 3));
        // Nor at two places that are as good.
        check("a\nb\nc\n", "a\nB\nc\n", "a\nx\nc\na\ny\nc\n", None);
    }
}

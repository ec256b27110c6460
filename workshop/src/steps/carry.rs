//! `step --carry`: a change of a stage goes through its chain.
//!
//! Patches are kept from the front: the stage before and all patches give the next stage. So a change of the stage before
//! goes through all steps by itself, if each patch still fits. What the end then lacks of the next stage, or has too much,
//! is put into the earliest step that has the same lines, and into all behind it.

use std::path::Path;
use std::process::ExitCode;

use diffy::patch_set::{FileOperation, FilePatch, ParseOptions, PatchSet};

use super::blocks::{Block, blocks, lines, refit};
use super::chain::{Chain, Step, stage_sources};
use super::size::Size;
use super::{NONE, unified};
use crate::exercises::{Screen, Sources, say, write};

/// Carries what has changed through every chain. Exit code 1: some of it does not fit, and that chain is as before.
pub(super) fn carry(root: &Path, screen: &Screen) -> anyhow::Result<ExitCode> {
    let chains = Chain::all(root)?;
    if chains.is_empty() {
        say!("{NONE}");
    }
    let mut all_fit = true;
    for chain in &chains {
        let (first, last) = (stage_sources(root, &chain.from)?, stage_sources(root, &chain.to)?);
        let what = format!("from {} to {}", chain.from, chain.to);
        if chain.proven(first.clone(), &last).is_ok() {
            say!("{} the steps lead {what}", screen.good("as before:", 0));
            continue;
        }
        match carried(chain, first, &last) {
            Ok(carried) => {
                carried.write(root, chain)?;
                say!("{} the steps lead {what} again", screen.good("carried:", 0));
                carried.said.iter().for_each(|line| say!("  {line}"));
            }
            Err(faults) => {
                all_fit = false;
                say!("{} the steps {what} are as before", screen.bad("not carried:", 0));
                faults.iter().for_each(|line| say!("  {line}"));
            }
        }
    }
    Ok(if all_fit { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A chain that leads to its stage again.
#[derive(Debug)]
struct Carried {
    steps: Vec<Step>,
    /// What has changed, and where.
    said: Vec<String>,
}

impl Carried {
    fn write(&self, root: &Path, chain: &Chain) -> anyhow::Result<()> {
        let changed = self.steps.iter().zip(&chain.steps).filter(|(new, old)| new != old);
        for (step, _) in changed {
            write(&Step::path(root, step.number), &step.text())?;
        }
        Ok(())
    }
}

/// The chain with every patch made anew. An error is what does not fit.
fn carried(chain: &Chain, first: Sources, last: &Sources) -> Result<Carried, Vec<String>> {
    let mut said = Vec::new();
    let mut states = through(chain, first, &mut said)?;
    distribute(chain, &mut states, last, &mut said);
    let mut steps = chain.steps.clone();
    for (step, pair) in steps.iter_mut().zip(states.windows(2)) {
        let patch = unified::patch(&pair[0], &pair[1]);
        if patch.is_empty() {
            return Err(vec![format!("{}: changes nothing any more", step.number)]);
        }
        if !is_right(&step.patch, &pair[0], &pair[1]) {
            step.patch = patch;
        }
        if let Some(fault) = Size::between(&pair[0], &pair[1]).fault() {
            said.push(format!("{}: {fault}", step.number));
        }
    }
    Ok(Carried { steps, said })
}

/// Whether a patch leads from one state to the next, and names the lines at which it does: there is more than one way to
/// write a patch, and a patch that is right stays as it is.
fn is_right(patch: &str, before: &Sources, after: &Sources) -> bool {
    let stands = |file: &FilePatch<'_, str>| match (file.operation(), file.patch().as_text()) {
        (FileOperation::Modify { original, .. }, Some(patch)) => {
            let path = original.strip_prefix("a/").unwrap_or(original);
            let text = lines(before.text(path).unwrap_or_default());
            blocks(patch).iter().all(|block| block.stands_in(&text))
        }
        (_, text) => text.is_some(),
    };
    let mut files = PatchSet::parse(patch, ParseOptions::unidiff());
    before.with(patch).is_ok_and(|with| with == *after)
        && files.all(|file| file.is_ok_and(|file| stands(&file)))
}

/// The sources before the first step and behind each one, with a patch of each that may have moved.
fn through(
    chain: &Chain,
    first: Sources,
    said: &mut Vec<String>,
) -> Result<Vec<Sources>, Vec<String>> {
    let mut states = vec![first];
    for step in &chain.steps {
        let mut refitted =
            Refitted { sources: states[states.len() - 1].clone(), ..Refitted::default() };
        refitted.put_in(&step.patch);
        let named = |line: String| format!("{}: {line}", step.number);
        if !refitted.faults.is_empty() {
            return Err(refitted.faults.into_iter().map(named).collect());
        }
        said.extend(refitted.said.into_iter().map(named));
        states.push(refitted.sources);
    }
    Ok(states)
}

/// Sources with a patch put in, as far as it fits.
#[derive(Default)]
struct Refitted {
    sources: Sources,
    said: Vec<String>,
    faults: Vec<String>,
}

impl Refitted {
    fn put_in(&mut self, patch: &str) {
        for file in PatchSet::parse(patch, ParseOptions::unidiff()) {
            let Ok(file) = file else {
                return self.faults.push("cannot read the patch".to_owned());
            };
            let Some(text) = file.patch().as_text() else { continue };
            let name = |path: &str, prefix| path.strip_prefix(prefix).unwrap_or(path).to_owned();
            match file.operation() {
                FileOperation::Create(path) => self.create(&name(path, "b/"), blocks(text)),
                FileOperation::Delete(path) => self.delete(&name(path, "a/")),
                FileOperation::Modify { modified, .. } => {
                    self.change(&name(modified, "b/"), blocks(text))
                }
                _ => self.faults.push("the patch renames or copies a file".to_owned()),
            }
        }
    }

    fn create(&mut self, path: &str, blocks: Vec<Block>) {
        if self.sources.text(path).is_some() {
            return self.faults.push(format!("{path} is there already"));
        }
        let mut text = Vec::new();
        blocks.iter().for_each(|block| block.replace(&mut text, 0));
        self.sources.add(path, &text.concat());
    }

    /// Whatever is in it now: it goes.
    fn delete(&mut self, path: &str) {
        if !self.sources.remove(path) {
            self.faults.push(format!("there is no {path}"));
        }
    }

    fn change(&mut self, path: &str, blocks: Vec<Block>) {
        let Some(text) = self.sources.text(path) else {
            return self.faults.push(format!("there is no {path}"));
        };
        match refit(text, blocks) {
            Ok((text, fitted)) => {
                self.sources.add(path, &text);
                for (block, fit) in fitted.iter().filter(|(_, fit)| fit.others > 0) {
                    let (hunk, line, others) = (block.hunk, fit.at + 1, fit.others);
                    self.said.push(format!(
                        "{path}, hunk {hunk}: fits at line {line}, where {others} of its lines changed"
                    ));
                }
            }
            Err(block) => self.faults.push(format!(
                "{path}, hunk {}: no longer fits (around line {})",
                block.hunk,
                block.at + 1
            )),
        }
    }
}

/// Makes the end the next stage, and puts each part of the difference into the earlier steps that have its lines.
fn distribute(chain: &Chain, states: &mut [Sources], last: &Sources, said: &mut Vec<String>) {
    // The stage before the first step is not ours to change.
    let Some(([_, between @ ..], end)) = states.split_last_mut().map(|(end, rest)| (rest, end))
    else {
        return;
    };
    for path in end.files_that_differ(last) {
        let (Some(old), Some(new)) = (end.text(&path), last.text(&path)) else {
            said.extend(
                chain
                    .steps
                    .last()
                    .map(|step| format!("{}: {path} comes or goes here", step.number)),
            );
            continue;
        };
        for block in blocks(&diffy::create_patch(old, new)) {
            let earliest = put_where_it_fits(between, &path, &block);
            let (number, line) = (chain.steps[earliest].number, block.at + 1);
            said.push(match earliest == between.len() {
                true => format!(
                    "{number}: {path}, line {line}: only here, since no step before has these lines"
                ),
                false => format!("{number} and all behind it: {path}, line {line} of the stage"),
            });
        }
    }
    *end = last.clone();
}

/// Puts a block into the last states, as many as have its lines exactly once. Returns the place of the first one.
fn put_where_it_fits(states: &mut [Sources], path: &str, block: &Block) -> usize {
    for place in (0..states.len()).rev() {
        let state = &mut states[place];
        let mut text = lines(state.text(path).unwrap_or_default());
        let Some(at) = block.only_place(&text) else { return place + 1 };
        block.replace(&mut text, at);
        state.add(path, &text.concat());
    }
    0
}

#[cfg(test)]
mod tests {
    use super::super::chain::tests::{chain, sources};
    use super::*;

    /// The shared lines, the line that step 2 brings, the line that step 2 removes.
    const FIRST: &str = "fn main() {\n    shared();\n    more();\n    old();\n    between();\n    rest();\n    end();\n}\n";

    /// Before the first step, and behind each of three.
    fn states() -> [Sources; 4] {
        let one = FIRST.replace("    more();\n", "    more();\n    one();\n");
        let two = one.replace("    old();\n", "    two();\n");
        let three = two.replace("    rest();\n", "    rest();\n    three();\n");
        [FIRST, &one, &two, &three].map(|text| sources(&[("src/main.rs", text)]))
    }

    fn with(state: &Sources, from: &str, to: &str) -> Sources {
        let text = state.text("src/main.rs").unwrap();
        assert!(text.contains(from));
        sources(&[("src/main.rs", &text.replace(from, to))])
    }

    /// Carries, proves that the chain leads there, and returns the states and what was said.
    #[track_caller]
    fn check(first: Sources, last: &Sources) -> (Vec<Sources>, Vec<String>) {
        let chain = chain(&states());
        let Carried { steps, said } =
            carried(&chain, first.clone(), last).unwrap_or_else(|faults| panic!("{faults:?}"));
        let heads = |steps: &[Step]| steps.iter().map(|step| step.head.clone()).collect::<Vec<_>>();
        assert_eq!(heads(&steps), heads(&chain.steps));
        let chain = Chain { steps, ..chain };
        (chain.proven(first, last).unwrap(), said)
    }

    fn has(state: &Sources, line: &str) -> bool {
        state.text("src/main.rs").unwrap().contains(line)
    }

    #[test]
    fn a_line_that_both_stages_share_changes_in_every_step() {
        let old = states();
        for (from, to) in
            [("shared()", "shared(1)"), ("between()", "between(1)"), ("more()", "more(1)")]
        {
            let (states, said) = check(with(&old[0], from, to), &with(&old[3], from, to));
            assert!(
                states.iter().all(|state| has(state, to) && !has(state, from)),
                "{from}: {states:?}"
            );
            assert!(said.iter().all(|line| line.contains("changed")), "{said:?}");
        }
        let (from, to) = ("    end();\n", "    end();\n    new_end();\n");
        let (states, said) = check(with(&old[0], from, to), &with(&old[3], from, to));
        assert!(states.iter().all(|state| has(state, to)) && said.is_empty(), "{said:?}");
    }

    #[test]
    fn a_patch_that_is_right_stays_as_git_has_made_it() {
        let old = states();
        let mut chain = chain(&old);
        for step in &mut chain.steps {
            let end = step.patch.find(" @@\n").unwrap() + 3;
            step.patch.insert_str(end, " fn main() {");
            step.patch.insert_str(0, "diff --git a/src/main.rs b/src/main.rs\nindex 1..2 100644\n");
        }
        let steps =
            carried(&chain, old[0].clone(), &with(&old[3], "three()", "three(3)")).unwrap().steps;
        assert_eq!(steps[..2], chain.steps[..2]);
        assert_ne!(steps[2], chain.steps[2]);
        // A patch whose lines have moved is written anew, with their new numbers.
        let longer = |state: &Sources| with(state, "fn main", "// Why.\nfn main");
        let steps = carried(&chain, longer(&old[0]), &longer(&old[3])).unwrap().steps;
        assert!(steps.iter().zip(&chain.steps).all(|(new, old)| new.patch != old.patch));
    }

    #[test]
    fn a_line_that_a_step_has_brought_changes_from_that_step_on() {
        let old = states();
        let (states, said) = check(old[0].clone(), &with(&old[3], "two()", "two(2)"));
        assert_eq!([0, 1, 2, 3].map(|k| has(&states[k], "two(2)")), [false, false, true, true]);
        assert_eq!(said, ["5.2 and all behind it: src/main.rs, line 5 of the stage"]);
    }

    #[test]
    fn a_line_that_a_step_removes_may_change_in_the_stage_before() {
        let old = states();
        let (states, said) = check(with(&old[0], "old()", "old(0)"), &old[3]);
        assert_eq!([0, 1, 2, 3].map(|k| has(&states[k], "old(0)")), [true, true, false, false]);
        assert_eq!(states[2..], old[2..]);
        assert!(
            said.iter().any(|line| line.starts_with("5.2: src/main.rs, hunk 1: fits at line 5")),
            "{said:?}"
        );
    }

    #[test]
    fn what_no_step_before_has_stays_in_the_last_one() {
        let old = states();
        let (states, said) = check(old[0].clone(), &with(&old[3], "three()", "three(3)"));
        assert_eq!(states[..3], old[..3]);
        assert_eq!(
            said,
            ["5.3: src/main.rs, line 8: only here, since no step before has these lines"]
        );
        let mut last = old[3].clone();
        last.add("src/new.rs", "new\n");
        let (states, said) = check(old[0].clone(), &last);
        assert_eq!(states[..3], old[..3]);
        assert_eq!(said, ["5.3: src/new.rs comes or goes here"]);
    }

    #[test]
    fn a_change_of_the_next_stage_alone_begins_where_its_lines_do() {
        let old = states();
        let (states, _) = check(old[0].clone(), &with(&old[3], "shared()", "shared(6)"));
        assert_eq!([0, 1, 2, 3].map(|k| has(&states[k], "shared(6)")), [false, true, true, true]);
    }

    #[test]
    fn a_file_of_a_step_comes_and_goes_whatever_is_in_it_now() {
        let text = |text: &str| sources(&[("src/gone.rs", text), ("src/main.rs", "a\n")]);
        let came = sources(&[("src/main.rs", "a\n"), ("src/new.rs", "1\n2\n3\n")]);
        let end = sources(&[("src/main.rs", "b\n"), ("src/new.rs", "1\n2\n3\n")]);
        let chain = chain(&[text("x\n"), came, end.clone()]);
        let last = sources(&[("src/main.rs", "b\n"), ("src/new.rs", "1\n2b\n3\n")]);
        let steps = carried(&chain, text("y\n"), &last).expect("it fits").steps;
        let chain = Chain { steps, ..chain };
        let states = chain.proven(text("y\n"), &last).unwrap();
        assert_eq!(states[1].text("src/new.rs"), Some("1\n2b\n3\n"));
    }

    #[test]
    fn a_hunk_that_no_longer_fits_is_told_with_its_step_and_file() {
        let old = states();
        let first = sources(&[("src/main.rs", "fn main() {\n    other();\n}\n")]);
        let faults = carried(&chain(&old), first, &old[3]).unwrap_err();
        assert_eq!(faults, ["5.1: src/main.rs, hunk 1: no longer fits (around line 4)"]);
        // A step whose change is in the stage before already.
        let faults =
            carried(&chain(&old), with(&old[0], "more();\n", "more();\n    one();\n"), &old[3]);
        assert!(faults.is_err());
    }
}

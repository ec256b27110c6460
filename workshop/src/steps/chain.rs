//! The chains, as `docs/steps` has them: a patch for each step, with a head that says why.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::size::Size;
use crate::exercises::{Number, Place, Sources, TOOL};

/// Where the patches are in a checkout.
const FOLDER: &str = "docs/steps";

/// The list of what is true of a step, beside its sources.
pub(super) const CONTRACT: &str = "tests/contract.rs";

/// What each head says, in this order.
const WORDS: [&str; 5] = ["Step", "Before", "Idea", "Calls", "Still wrong"];

/// The steps that lead from one stage to the next. The last one is the next stage.
pub(super) struct Chain {
    pub(super) chapter: u32,
    /// The folder of the stage before the first step.
    pub(super) from: String,
    /// The folder of the stage that the last step is.
    pub(super) to: String,
    pub(super) steps: Vec<Step>,
}

/// One idea: what it is good for, and the patch that leads to it from the step before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) number: Number,
    pub(super) title: String,
    /// The text above the patch, as it stands in the file.
    pub(super) head: String,
    pub(super) patch: String,
}

/// A step and the one before it, as sources: what a stage's `src` has, and its `tests/contract.rs`.
pub(super) struct Pair<'a> {
    pub(super) step: &'a Step,
    pub(super) before: &'a Sources,
    pub(super) after: &'a Sources,
}

impl Chain {
    /// Every chain that has patches, in order.
    pub(super) fn all(root: &Path) -> anyhow::Result<Vec<Self>> {
        let mut chapters: BTreeMap<u32, Vec<Step>> = BTreeMap::new();
        for number in numbers(root)? {
            chapters.entry(number.chapter).or_default().push(Step::read(root, number)?);
        }
        chapters.into_iter().map(|(chapter, steps)| Self::new(root, chapter, steps)).collect()
    }

    /// The chain that a step is in, and the step's place in it.
    pub(super) fn with(root: &Path, number: Number) -> anyhow::Result<(Self, usize)> {
        let chains = Self::all(root)?.into_iter();
        let mut found = chains.filter_map(|chain| {
            let place = chain.steps.iter().position(|step| step.number == number)?;
            Some((chain, place))
        });
        found.next().with_context(|| format!("there is no step {number}; `{TOOL} step` lists them"))
    }

    fn new(root: &Path, chapter: u32, steps: Vec<Step>) -> anyhow::Result<Self> {
        for (step, index) in steps.iter().zip(1..) {
            ensure!(
                step.number.index == index,
                "there is a step {}, and no {chapter}.{index}",
                step.number
            );
        }
        let stage = |chapter| stage(root, chapter);
        let before = chapter.checked_sub(1).context("no stage is before the first one")?;
        Ok(Self { chapter, from: stage(before)?, to: stage(chapter)?, steps })
    }

    /// The sources before the first step and behind each one, from a stage as it stands.
    pub(super) fn states(&self, first: Sources) -> anyhow::Result<Vec<Sources>> {
        let mut states = vec![first];
        for step in &self.steps {
            let next = states[states.len() - 1].with(&step.patch);
            states.push(next.with_context(|| format!("step {}", step.number))?);
        }
        Ok(states)
    }

    /// The same if the end is the next stage to the byte. An error says what is not as it should be.
    pub(super) fn proven(&self, first: Sources, last: &Sources) -> anyhow::Result<Vec<Sources>> {
        let states = self.states(first)?;
        let differs = states[states.len() - 1].files_that_differ(last);
        let end = self.steps.last().context("a chain has steps")?.number;
        ensure!(differs.is_empty(), "step {end} is not {}: {}", self.to, differs.join(", "));
        Ok(states)
    }

    /// The sources between the two stages as they are in the checkout.
    pub(super) fn proven_here(&self, root: &Path) -> anyhow::Result<Vec<Sources>> {
        self.proven(stage_sources(root, &self.from)?, &stage_sources(root, &self.to)?)
    }

    /// The sources between the two stages as they were given: a learner may have an exercise in one of them.
    pub(super) fn given(&self, place: &Place) -> anyhow::Result<Vec<Sources>> {
        let here = self.proven_here(&place.root);
        let Err(why) = here else { return here };
        let first = place.keep_first().unwrap_or_default();
        let given = |stage: &str| {
            let folder = format!("{stage}/src");
            let mut sources = Sources::default();
            for (path, text) in first.get(&folder)?.files() {
                sources.add(path.strip_prefix(stage)?.trim_start_matches('/'), text);
            }
            sources.add(CONTRACT, stage_sources(&place.root, stage).ok()?.text(CONTRACT)?);
            Some(sources)
        };
        let states = given(&self.from).zip(given(&self.to));
        let states = states.and_then(|(first, last)| self.proven(first, &last).ok());
        states.with_context(|| {
            format!(
                "{why:#}; the steps do not lead from {} to {} any more: `{TOOL} step --carry`",
                self.from, self.to
            )
        })
    }

    /// Each step with the one before it.
    pub(super) fn pairs<'a>(&'a self, states: &'a [Sources]) -> impl Iterator<Item = Pair<'a>> {
        let pairs = self.steps.iter().zip(states.windows(2));
        pairs.map(|(step, pair)| Pair { step, before: &pair[0], after: &pair[1] })
    }

    /// The stage that a step is, if it is the last one.
    pub(super) fn stage_of(&self, step: &Step) -> Option<&str> {
        self.steps.last().filter(|last| last.number == step.number).map(|_| self.to.as_str())
    }
}

impl<'a> Pair<'a> {
    pub(super) fn size(&self) -> Size {
        Size::between(self.before, self.after)
    }

    /// The sentences that become true with this step.
    pub(super) fn new_sentences(&self) -> Vec<&'a str> {
        only_in(sentences(self.after), &sentences(self.before))
    }

    /// The sentences that told of a limit which this step lifts.
    pub(super) fn lifted_sentences(&self) -> Vec<&'a str> {
        only_in(sentences(self.before), &sentences(self.after))
    }
}

fn only_in<'a>(mut these: Vec<&'a str>, those: &[&str]) -> Vec<&'a str> {
    these.retain(|sentence| !those.contains(sentence));
    these
}

/// What a contract lists: a name and a comma on each line.
pub(super) fn sentences(sources: &Sources) -> Vec<&str> {
    let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let lines = sources.text(CONTRACT).unwrap_or_default().lines();
    lines.filter_map(|line| line.trim().strip_suffix(',')).filter(is_name).collect()
}

impl Step {
    pub(super) fn path(root: &Path, number: Number) -> PathBuf {
        root.join(format!("{FOLDER}/{number}.patch"))
    }

    fn read(root: &Path, number: Number) -> anyhow::Result<Self> {
        let path = Self::path(root, number);
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(number, &text.replace("\r\n", "\n"))
            .with_context(|| format!("{FOLDER}/{number}.patch"))
    }

    fn parse(number: Number, text: &str) -> anyhow::Result<Self> {
        let is_diff = |line: &&str| line.starts_with("--- ") || line.starts_with("diff --git ");
        let head: usize =
            text.split_inclusive('\n').take_while(|line| !is_diff(line)).map(str::len).sum();
        let (head, patch) = text.split_at(head);
        let title = title(head)?;
        let title = title.strip_prefix(&number.to_string()).map(str::trim);
        let title = title.with_context(|| format!("the head is not that of {number}"))?.to_owned();
        Ok(Self { number, title, head: head.to_owned(), patch: patch.to_owned() })
    }

    /// The file of the step.
    pub(super) fn text(&self) -> String {
        format!("{}\n\n{}", self.head.trim_end(), self.patch)
    }
}

/// What stands behind `Step:`, if the head has all five words, with something behind each.
fn title(head: &str) -> anyhow::Result<&str> {
    let mut said = head.lines().filter_map(word_of);
    let title = said.next().filter(|(word, _)| *word == WORDS[0]).map(|(_, title)| title);
    let title = title.context("the head does not begin with `Step:`")?;
    for expected in &WORDS[1..] {
        match said.next() {
            Some((word, rest)) if word == *expected && !rest.is_empty() => {}
            Some((word, _)) if word == *expected => bail!("nothing stands behind `{word}:`"),
            _ => bail!("the head has no `{expected}:` at its place"),
        }
    }
    ensure!(said.next().is_none(), "the head says something twice");
    Ok(title)
}

/// One of the words of a head, if the line begins with it, and what stands behind.
fn word_of(line: &str) -> Option<(&str, &str)> {
    let (word, rest) = line.split_once(':')?;
    WORDS.contains(&word).then(|| (word, rest.trim()))
}

/// The numbers of all steps, in order.
fn numbers(root: &Path) -> anyhow::Result<Vec<Number>> {
    let entries = fs::read_dir(root.join(FOLDER)).into_iter().flatten();
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(number) = name.strip_suffix(".patch") {
            let number = number.parse::<Number>();
            numbers.push(number.ok().with_context(|| format!("{FOLDER}/{name} names no step"))?);
        }
    }
    numbers.sort();
    Ok(numbers)
}

/// The folder of a stage: `stage5-mio`.
fn stage(root: &Path, chapter: u32) -> anyhow::Result<String> {
    let prefix = format!("stage{chapter}-");
    let entries = fs::read_dir(root).with_context(|| format!("cannot read {}", root.display()))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut stages = names.filter(|name| name.starts_with(&prefix));
    stages.next().with_context(|| format!("there is no {prefix}…"))
}

/// What the chains lead through: the Rust files in `src`, and the contract.
pub(super) fn stage_sources(root: &Path, stage: &str) -> anyhow::Result<Sources> {
    let folder = root.join(stage);
    let mut sources = Sources::read(&folder, "src")?;
    let contract = folder.join(CONTRACT);
    let text = fs::read_to_string(&contract);
    sources.add(CONTRACT, &text.with_context(|| format!("cannot read {}", contract.display()))?);
    Ok(sources)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A head with all its words.
    pub(in crate::steps) fn head(number: &str) -> String {
        format!(
            "Step: {number} A title\nBefore: A client\nwaits.\nIdea: Serve it.\nCalls: none.\n\
             Still wrong: all else.\n\n"
        )
    }

    pub(in crate::steps) fn sources(files: &[(&str, &str)]) -> Sources {
        let mut sources = Sources::default();
        files.iter().for_each(|(path, text)| sources.add(path, text));
        sources
    }

    /// A chain through these states.
    pub(in crate::steps) fn chain(states: &[Sources]) -> Chain {
        let steps = states.windows(2).zip(1..).map(|(pair, index)| {
            let number = Number { chapter: 5, index };
            let text = head(&number.to_string()) + &pair[0].patch_to(&pair[1]);
            Step::parse(number, &text).unwrap()
        });
        let steps = steps.collect();
        Chain { chapter: 5, from: "stage4-epoll".into(), to: "stage5-mio".into(), steps }
    }

    fn number() -> Number {
        "5.2".parse().unwrap()
    }

    #[test]
    fn a_step_is_a_head_and_a_patch_and_is_written_as_it_was_read() {
        let text = head("5.2") + "--- a/src/a.rs\n+++ b/src/a.rs\n@@ -1 +1 @@\n-a\n+b\n";
        let step = Step::parse(number(), &text).unwrap();
        assert_eq!((step.title.as_str(), step.text()), ("A title", text));
        assert!(step.patch.starts_with("--- a/src/a.rs\n"), "{}", step.patch);
    }

    #[track_caller]
    fn check_fault(head: &str, expected: &str) {
        let error = Step::parse(number(), head).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_head_that_lacks_a_word_is_refused() {
        let whole = head("5.2");
        for word in &WORDS[1..] {
            check_fault(&whole.replace(&format!("{word}:"), "Else:"), &format!("no `{word}:`"));
        }
        check_fault(&whole.replace("Calls: none.", "Calls:"), "nothing stands behind `Calls:`");
        check_fault(&(whole.clone() + "Idea: another one.\n"), "says something twice");
        check_fault(&whole.replace("Step: 5.2", "Step: 5.3"), "is not that of 5.2");
        check_fault("A letter.\n", "does not begin with `Step:`");
    }

    #[test]
    fn a_chain_leads_from_stage_to_stage_or_says_where_it_ends() {
        let states = ["1\n", "2\n", "3\n"].map(|text| sources(&[("src/a.rs", text)]));
        let chain = chain(&states);
        assert_eq!(chain.proven(states[0].clone(), &states[2]).unwrap(), states);
        let error = |first: &Sources, last| {
            let error = chain.proven(first.clone(), last).unwrap_err();
            format!("{error:#}")
        };
        assert_eq!(error(&states[0], &states[1]), "step 5.2 is not stage5-mio: src/a.rs");
        let off = error(&states[1], &states[2]);
        assert_eq!(off, "step 5.1: src/a.rs has other lines than the patch");
    }

    #[test]
    fn a_sentence_is_new_or_lifted_or_stays() {
        let listed = |list: &str| {
            let text = format!("contract! {{\n    env!(\"x\");\n\n    // Why, then\n{list}}}\n");
            sources(&[(CONTRACT, &text)])
        };
        let states =
            [listed("    is_cut_off,\n    echoes,\n"), listed("    echoes,\n    is_kept,\n")];
        let chain = chain(&states);
        let pair = chain.pairs(&states).next().unwrap();
        assert_eq!(pair.new_sentences(), ["is_kept"]);
        assert_eq!(pair.lifted_sentences(), ["is_cut_off"]);
    }
}

//! The first state of the stages: their sources as they were given. They are kept in `.workshop/first/`, so that
//! an exercise can begin again where there is no git.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, process};

use anyhow::ensure;

use super::TOOL;
use super::git::Base;
use super::page::Exercise;
use super::place::Place;
use super::sources::{Sources, write};

/// The file that says which commit the first state is from.
const BASE: &str = "base";

/// What that file says if it is from no commit.
const FILES: &str = "files";

/// Each folder of sources, as it was given.
type Stages = BTreeMap<String, Sources>;

impl Place {
    /// The sources of an exercise as they were given.
    pub(crate) fn first(&self, exercise: &Exercise) -> anyhow::Result<Sources> {
        let mut stages = self.keep_first()?;
        let first = stages.remove(&exercise.sources).unwrap_or_default();
        ensure!(!first.is_empty(), "there are no sources in {}", exercise.sources);
        Ok(first)
    }

    /// Sees to it that the first state is kept, and returns it. What cannot be written is made anew each
    /// time: from git, or from the files, which then cannot be written either.
    pub(crate) fn keep_first(&self) -> anyhow::Result<Stages> {
        let exercises = self.exercises()?;
        let kept = self.kept("first");
        let mut first = Stages::new();
        for Exercise { sources, .. } in &exercises {
            first.insert(sources.clone(), Sources::read(&kept, sources)?);
        }
        let is_whole = first.values().all(|sources| !sources.is_empty());
        let base = Base::find(&self.root);
        let (old, new) = (fs::read_to_string(kept.join(BASE)).ok(), commit(base.as_ref()));
        if is_whole && old.as_deref() == Some(new) {
            return Ok(first);
        }
        let given = self.given(base.as_ref(), &first, &exercises)?;
        let takes_patches = |stages: &Stages| self.takes_patches(&exercises, stages);
        let has_moved = match &base {
            _ if old.is_none() => true,
            None => false,
            // The last commit may be the learner's own. It is not if the patches are made for it.
            Some(base) => base.is_theirs || (takes_patches(&given) && !takes_patches(&first)),
        };
        if has_moved {
            first = given;
        } else {
            let missing = given.into_iter().filter(|(folder, _)| first[folder].is_empty());
            first.extend(missing.collect::<Vec<_>>());
        }
        if has_moved || !is_whole {
            let from = if has_moved { new } else { old.as_deref().unwrap_or(new) };
            // The next command tries again.
            let _ = replace(&kept, from, &first);
        }
        Ok(first)
    }

    /// What git has, or else what is kept, or else the files as they are, without a patch that is in already.
    fn given(
        &self,
        base: Option<&Base>,
        kept: &Stages,
        exercises: &[Exercise],
    ) -> anyhow::Result<Stages> {
        let mut given = Stages::new();
        for Exercise { sources: folder, .. } in exercises {
            if given.contains_key(folder) {
                continue;
            }
            let from_git = base.and_then(|base| base.read(&self.root, folder));
            let kept = || kept.get(folder).filter(|kept| !kept.is_empty()).cloned();
            let sources = match from_git.or_else(kept) {
                Some(sources) => sources,
                None => self.without_a_patch(exercises, folder)?,
            };
            given.insert(folder.clone(), sources);
        }
        Ok(given)
    }

    /// The files of a folder. A learner may have put in a patch before we were called first: it is out if
    /// every patch can be put in.
    fn without_a_patch(&self, exercises: &[Exercise], folder: &str) -> anyhow::Result<Sources> {
        let sources = Sources::read(&self.root, folder)?;
        let here = exercises.iter().filter(|exercise| exercise.sources == folder);
        let patches: Vec<_> =
            here.filter_map(|e| fs::read_to_string(self.patch(e.number)).ok()).collect();
        let is_first = |s: &Sources| patches.iter().all(|patch| s.with(patch).is_ok());
        if is_first(&sources) {
            return Ok(sources);
        }
        let mut without = patches.iter().filter_map(|patch| sources.without(patch).ok());
        Ok(without.find(is_first).unwrap_or(sources))
    }

    fn takes_patches(&self, exercises: &[Exercise], stages: &Stages) -> bool {
        exercises.iter().all(|exercise| {
            fs::read_to_string(self.patch(exercise.number))
                .is_ok_and(|patch| stages[&exercise.sources].with(&patch).is_ok())
        })
    }

    /// What to do if a patch does not apply even to the first state.
    pub(crate) fn first_is_stale(&self) -> String {
        let first = self.kept("first");
        format!(
            "the stages have changed since {} was made; delete it, and `{TOOL} list` makes it again",
            first.display()
        )
    }
}

fn commit(base: Option<&Base>) -> &str {
    base.map_or(FILES, |base| &base.commit)
}

/// Writes the stages beside, and then puts the whole in place: another command may read at the same time.
fn replace(kept: &Path, base: &str, stages: &Stages) -> anyhow::Result<()> {
    let [new, old] =
        ["new", "old"].map(|word| kept.with_extension(format!("{word}-{}", process::id())));
    let written = stages.iter().try_for_each(|(folder, first)| first.put(&new, folder));
    let written = written.and_then(|()| write(&new.join(BASE), base));
    if written.is_ok() {
        let _ = fs::rename(kept, &old);
        // If another one was quicker, it has written the same.
        let _ = fs::rename(&new, kept);
    }
    let _ = fs::remove_dir_all(&old);
    let _ = fs::remove_dir_all(&new);
    written
}

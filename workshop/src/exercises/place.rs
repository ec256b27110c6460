//! Where things are: the pages, the patches, and what we remember about the learner.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::TOOL;
use super::page::{Exercise, Number};

/// A checkout of this repository.
pub(crate) struct Place {
    pub(crate) root: PathBuf,
}

impl Place {
    /// The workspace that this tool was built in; or the one that `WORKSHOP_ROOT` names, for tests.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let built_in = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let root = std::env::var_os("WORKSHOP_ROOT").map_or(built_in.into(), PathBuf::from);
        let root = root.canonicalize().with_context(|| format!("no {}", root.display()))?;
        Ok(Self { root })
    }

    /// Every exercise that has a page, in order.
    pub(crate) fn exercises(&self) -> anyhow::Result<Vec<Exercise>> {
        let mut exercises =
            self.pages()?.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<_>>>()?;
        exercises.sort_by_key(|exercise| exercise.number);
        Ok(exercises)
    }

    /// The files of the pages.
    pub(crate) fn pages(&self) -> anyhow::Result<Vec<PathBuf>> {
        let directory = self.root.join("docs/src/exercises");
        let entries =
            fs::read_dir(&directory).with_context(|| format!("no {}", directory.display()))?;
        let mut pages = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Pages that are no exercise, the overview for example, do not begin with a number.
            if name.ends_with(".md") && name.starts_with(|c: char| c.is_ascii_digit()) {
                pages.push(path);
            }
        }
        pages.sort();
        Ok(pages)
    }

    /// One exercise.
    pub(crate) fn exercise(&self, number: Number) -> anyhow::Result<Exercise> {
        let path = self.root.join(format!("docs/src/exercises/{number}.md"));
        anyhow::ensure!(path.exists(), "there is no exercise {number}; `{TOOL} list` shows them");
        read(&path)
    }

    /// The solution, or the fault, of an exercise.
    pub(crate) fn patch(&self, number: Number) -> PathBuf {
        self.root.join(format!("docs/solutions/{number}.patch"))
    }

    /// What we remember goes where `cargo clean` takes it away.
    pub(crate) fn memory(&self) -> PathBuf {
        self.root.join("target/workshop")
    }

    pub(crate) fn is_done(&self, number: Number) -> bool {
        self.memory().join("done").join(number.to_string()).exists()
    }

    /// Remembers what the last check of an exercise has found.
    pub(crate) fn remember(&self, number: Number, done: bool) -> anyhow::Result<()> {
        let directory = self.memory().join("done");
        fs::create_dir_all(&directory)?;
        let path = directory.join(number.to_string());
        match done {
            true => fs::write(&path, "")?,
            false if path.exists() => fs::remove_file(&path)?,
            false => {}
        }
        Ok(())
    }

    /// How many hints to show this time: one more than the last time, and not more than there are.
    pub(crate) fn one_more_hint(&self, number: Number, of: usize) -> anyhow::Result<usize> {
        let directory = self.memory().join("hints");
        fs::create_dir_all(&directory)?;
        let path = directory.join(number.to_string());
        let shown = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        let now = (shown.unwrap_or(0) + 1usize).min(of);
        fs::write(&path, now.to_string())?;
        Ok(now)
    }
}

fn read(path: &Path) -> anyhow::Result<Exercise> {
    let page =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Exercise::parse(&page).with_context(|| format!("{}", path.display()))
}

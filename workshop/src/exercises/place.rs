//! Where things are: the pages, the patches, and what is built.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::TOOL;
use super::page::{Exercise, Number};
use super::run::Workspace;

/// Where the pages are in a checkout. A folder that has it is a checkout.
const PAGES: &str = "docs/src/exercises";

/// A checkout of this repository.
pub(crate) struct Place {
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    target: Target,
}

impl Place {
    /// The checkout whose `cargo run` has started us, or the one that we are called in. It is looked for
    /// when we run and not when we are built: folders are renamed, and two checkouts can share what is
    /// built.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let root = root()?;
        let place = Self { target: Target::of(&root), root };
        place.take_over_old_memory();
        Ok(place)
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
        let directory = self.root.join(PAGES);
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
        let path = self.root.join(format!("{PAGES}/{number}.md"));
        anyhow::ensure!(path.exists(), "there is no exercise {number}; `{TOOL} list` shows them");
        read(&path)
    }

    /// The solution, or the fault, of an exercise.
    pub(crate) fn patch(&self, number: Number) -> PathBuf {
        self.root.join(format!("docs/solutions/{number}.patch"))
    }

    /// What we build goes where `cargo clean` takes it away. Copies of the workspace for example.
    pub(crate) fn memory(&self) -> PathBuf {
        self.target.memory.clone()
    }

    /// Where what we build for this checkout is built, and for no other.
    pub(crate) fn built(&self) -> PathBuf {
        match self.target.is_shared {
            true => self.memory().join("target"),
            false => self.target.memory.with_file_name(""),
        }
    }

    /// The stages as the learner has left them.
    pub(crate) fn workspace(&self) -> Workspace {
        let shared = self.target.is_shared.then(|| self.built());
        Workspace { root: self.root.clone(), target: shared }
    }
}

fn read(path: &Path) -> anyhow::Result<Exercise> {
    let page =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Exercise::parse(&page).with_context(|| format!("{}", path.display()))
}

/// The nearest checkout, from the package that `cargo run` runs upwards, or else from where we are.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let here = env::current_dir().context("the current folder cannot be named")?;
    let package = env::var_os("CARGO_MANIFEST_DIR").map(|package| here.join(package));
    let is_checkout = |folder: &&Path| folder.join(PAGES).is_dir();
    let found = package.iter().chain([&here]).find_map(|from| from.ancestors().find(is_checkout));
    let found = found.with_context(|| {
        format!("{} is not in a checkout of this workshop: no {PAGES} above it", here.display())
    })?;
    Ok(found.to_owned())
}

/// Where cargo builds, and where we do.
struct Target {
    memory: PathBuf,
    /// It is not in this checkout (`CARGO_TARGET_DIR`), so another one may build there as well. cargo takes
    /// the packages of both for the same, and what was built last, from either, for up to date.
    is_shared: bool,
}

/// What `cargo metadata` says, as far as we ask.
#[derive(serde::Deserialize)]
struct Metadata {
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

impl Target {
    fn of(root: &Path) -> Self {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]);
        cargo.arg(root.join("Cargo.toml")).current_dir(root);
        let said = cargo.output().map(|output| output.stdout).unwrap_or_default();
        let Ok(Metadata { workspace_root, target_directory }) = serde_json::from_slice(&said)
        else {
            // `check` will say what is wrong. Tasks and hints can be read all the same.
            return Self { memory: root.join("target/workshop"), is_shared: false };
        };
        if target_directory.starts_with(&workspace_root) {
            return Self { memory: target_directory.join("workshop"), is_shared: false };
        }
        let mut hasher = DefaultHasher::new();
        workspace_root.hash(&mut hasher);
        let ours = format!("workshop-{:016x}", hasher.finish());
        Self { memory: target_directory.join(ours), is_shared: true }
    }
}

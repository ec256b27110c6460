//! The sources of an exercise as text: read, compared, patched and put back, without git.
//!
//! In memory lines end with LF, so that a patch applies and two states are equal whatever the files have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use diffy::patch_set::{FileOperation, FilePatch, ParseOptions, PatchSet};
use diffy::{DiffOptions, Patch};

use super::run::relative;

/// The Rust files below one folder: the path of each from the root, with `/`, and its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources(BTreeMap<String, String>);

impl Sources {
    /// Reads a folder of the root. A folder that is not there has no files: a learner may have deleted it.
    pub(crate) fn read(root: &Path, folder: &str) -> anyhow::Result<Self> {
        let mut sources = Self::default();
        for path in rust_files(&root.join(folder))? {
            let text = fs::read_to_string(&path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            sources.add(&relative(&path, root), &text);
        }
        Ok(sources)
    }

    /// Adds a file.
    pub(crate) fn add(&mut self, path: &str, text: &str) {
        self.0.insert(path.to_owned(), text.replace("\r\n", "\n"));
    }

    /// Takes a file out. `false`: it was not there.
    pub(crate) fn remove(&mut self, path: &str) -> bool {
        self.0.remove(path).is_some()
    }

    /// The text of a file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    /// Every file and its text, in order.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same with a patch put in. An error: it does not apply.
    pub(crate) fn with(&self, patch: &str) -> anyhow::Result<Self> {
        self.patched(patch, Direction::Forward)
    }

    /// The same with a patch taken out.
    pub(crate) fn without(&self, patch: &str) -> anyhow::Result<Self> {
        self.patched(patch, Direction::Back)
    }

    fn patched(&self, patch: &str, direction: Direction) -> anyhow::Result<Self> {
        let patch = patch.replace("\r\n", "\n");
        let mut sources = self.clone();
        // Of nothing the parser says that it is no patch.
        if patch.trim().is_empty() {
            return Ok(sources);
        }
        for file in PatchSet::parse(&patch, ParseOptions::unidiff()) {
            sources.patch_file(&file.context("cannot read the patch")?, direction)?;
        }
        Ok(sources)
    }

    fn patch_file(
        &mut self,
        file: &FilePatch<'_, str>,
        direction: Direction,
    ) -> anyhow::Result<()> {
        let text = file.patch().as_text().context("the patch is not one of text")?;
        let name = |path: &str, prefix| path.strip_prefix(prefix).unwrap_or(path).to_owned();
        let (old, new) = match file.operation() {
            FileOperation::Create(path) => (None, Some(name(path, "b/"))),
            FileOperation::Delete(path) => (Some(name(path, "a/")), None),
            FileOperation::Modify { original, modified } => {
                (Some(name(original, "a/")), Some(name(modified, "b/")))
            }
            _ => bail!("the patch renames or copies a file"),
        };
        match direction {
            Direction::Forward => self.change(old, new, text),
            Direction::Back => self.change(new, old, &text.reverse()),
        }
    }

    fn change(
        &mut self,
        old: Option<String>,
        new: Option<String>,
        patch: &Patch<'_, str>,
    ) -> anyhow::Result<()> {
        let before = match &old {
            Some(path) => self.0.remove(path).with_context(|| format!("there is no {path}"))?,
            None => String::new(),
        };
        let path = new.as_ref().or(old.as_ref()).context("the patch names no file")?;
        let after = diffy::apply(&before, patch);
        let after = after.ok().with_context(|| format!("{path} has other lines than the patch"))?;
        match new {
            Some(path) => {
                ensure!(!self.0.contains_key(&path), "{path} is there already");
                self.0.insert(path, after);
            }
            None => ensure!(after.is_empty(), "{path} has more lines than the patch"),
        }
        Ok(())
    }

    /// The files that differ.
    pub(crate) fn files_that_differ(&self, other: &Self) -> Vec<String> {
        let paths: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let differs = |path: &&&String| self.0.get(**path) != other.0.get(**path);
        paths.iter().filter(differs).map(|path| (*path).clone()).collect()
    }

    /// The patch that makes `other` of this. Empty if they are equal.
    pub(crate) fn patch_to(&self, other: &Self) -> String {
        let mut patch = String::new();
        for path in self.files_that_differ(other) {
            let (old, new) = (self.0.get(&path), other.0.get(&path));
            let name = |text: Option<&String>, prefix| match text {
                Some(_) => format!("{prefix}/{path}"),
                None => "/dev/null".to_owned(),
            };
            let mut options = DiffOptions::new();
            options.set_original_filename(name(old, "a")).set_modified_filename(name(new, "b"));
            let [old, new] = [old, new].map(|text| text.map_or("", String::as_str));
            patch += &options.create_patch(old, new).to_string();
        }
        patch
    }

    /// Makes the folder of a root have these files, and no other Rust file. Files that are equal are left
    /// alone, time stamp and all. The others keep their line ends.
    pub(crate) fn put(&self, root: &Path, folder: &str) -> anyhow::Result<()> {
        let there = rust_files(&root.join(folder))?;
        let read = |path: &PathBuf| fs::read_to_string(path).unwrap_or_default();
        let crlf = there.iter().any(|path| read(path).contains("\r\n"));
        for path in &there {
            if !self.0.contains_key(&relative(path, root)) {
                fs::remove_file(path)
                    .with_context(|| format!("cannot delete {}", path.display()))?;
            }
        }
        for (name, text) in &self.0 {
            // A patch is read from a file, and may name any other.
            let inside = name.strip_prefix(folder).is_some_and(|name| name.starts_with('/'));
            ensure!(inside && !name.split('/').any(|part| part == ".."), "{name}: not in {folder}");
            let path = root.join(name);
            let before = read(&path);
            if !path.exists() || before.replace("\r\n", "\n") != *text {
                let crlf = if before.is_empty() { crlf } else { before.contains("\r\n") };
                write(&path, &if crlf { text.replace('\n', "\r\n") } else { text.clone() })?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Forward,
    Back,
}

/// Writes a file, and makes the folders above it.
pub(crate) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().context("a file is in a folder")?;
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(path, text));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Every Rust file below a folder, in order. What is hidden is an editor's: `.#main.rs` of Emacs for example.
pub(crate) fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(files),
        entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Sources {
        let mut sources = Sources::default();
        files.iter().for_each(|(path, text)| sources.add(path, text));
        sources
    }

    /// An empty folder for one test.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("workshop-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_patch_leads_there_and_back_over_files_that_come_and_go() {
        let a = sources(&[("s/a.rs", "1\n2\n3\n"), ("s/gone.rs", "x\n"), ("s/same.rs", "y\n")]);
        let b = sources(&[("s/a.rs", "1\n\n2b\n3"), ("s/new.rs", "z\n"), ("s/same.rs", "y\n")]);
        let patch = a.patch_to(&b);
        assert_eq!(a.with(&patch).unwrap(), b, "{patch}");
        assert_eq!(b.without(&patch).unwrap(), a, "{patch}");
        assert_eq!(a.files_that_differ(&b), ["s/a.rs", "s/gone.rs", "s/new.rs"]);
        assert_eq!(a.patch_to(&a), "");
        assert_eq!(a.with("").unwrap(), a);
    }

    #[test]
    fn a_patch_with_crlf_applies_to_lines_with_lf_and_the_other_way_round() {
        let (a, b) = (sources(&[("s/a.rs", "1\n2\n")]), sources(&[("s/a.rs", "1\r\n3\r\n")]));
        let patch = a.patch_to(&b).replace('\n', "\r\n");
        assert_eq!(a.with(&patch).unwrap(), b);
    }

    #[test]
    fn why_a_patch_does_not_apply_is_told() {
        let (a, b) = (sources(&[("s/a.rs", "1\n")]), sources(&[("s/a.rs", "2\n")]));
        let patch = a.patch_to(&b);
        let error = |sources: &Sources| sources.with(&patch).unwrap_err().to_string();
        assert_eq!(error(&b), "s/a.rs has other lines than the patch");
        assert_eq!(error(&sources(&[])), "there is no s/a.rs");
        let creates = sources(&[]).patch_to(&b);
        assert_eq!(b.with(&creates).unwrap_err().to_string(), "s/a.rs is there already");
    }

    #[test]
    fn what_is_put_keeps_the_ends_of_the_lines_and_leaves_other_files_alone() {
        let root = folder("put");
        let files =
            [("s/a.rs", "1\r\n2\r\n"), ("s/deep/b.rs", "1\n"), ("s/no.rs", ""), ("s/x.txt", "x")];
        files.iter().for_each(|(path, text)| write(&root.join(path), text).unwrap());
        let wanted = sources(&[("s/a.rs", "2\n"), ("s/deep/b.rs", "2\n"), ("s/deep/c.rs", "3\n")]);
        wanted.put(&root, "s").unwrap();
        assert_eq!(Sources::read(&root, "s").unwrap(), wanted);
        let read = |path| fs::read_to_string(root.join(path)).unwrap();
        assert_eq!((&*read("s/a.rs"), &*read("s/deep/b.rs")), ("2\r\n", "2\n"));
        assert_eq!((&*read("s/deep/c.rs"), &*read("s/x.txt")), ("3\r\n", "x"));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn what_is_put_stays_inside_of_its_folder() {
        let root = folder("inside");
        for path in ["other/a.rs", "s/../a.rs", "sa.rs"] {
            let error = sources(&[(path, "")]).put(&root, "s").unwrap_err();
            assert_eq!(error.to_string(), format!("{path}: not in s"));
        }
        fs::remove_dir_all(root).unwrap();
    }
}

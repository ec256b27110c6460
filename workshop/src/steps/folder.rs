//! A folder in which one step runs, and the learner may change it.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{self, Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;

use anyhow::{Context, bail, ensure};

use super::chain::Chain;
use super::package::{Package, name, tables, title};
use super::workspace::THREADS;
use crate::exercises::{Number, Place, TOOL, say, timestamp, write};
use crate::new::{as_typed, below, cargo, config, read, settle_lock};

/// Says what the folder had when we made it, so that we know when the learner has changed it.
const RECORD: &str = ".step";

/// Where the root of the checkout is, from a folder below `.workshop/steps`: it holds when the checkout is moved.
const ROOT: &str = "../../..";

/// Where a step is put, or was put before.
pub(super) struct Folder<'a> {
    place: &'a Place,
    number: Number,
    path: PathBuf,
    /// As the learner typed it, or as it is seen from here.
    shown: PathBuf,
    /// It is below `.workshop`. Only there it builds where the checkout does: cargo takes two packages of one name for
    /// the same, and the program of one for up to date when the other was built last.
    is_ours: bool,
}

/// Every file, and what is in it.
type Files = Vec<(PathBuf, String)>;

impl<'a> Folder<'a> {
    pub(super) fn new(
        place: &'a Place,
        number: Number,
        path: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let here = env::current_dir().context("the current folder cannot be named")?;
        let ours = place.kept("steps").join(number.to_string());
        let path = path.map_or_else(|| ours.clone(), Path::to_owned);
        let shown = path.strip_prefix(&here).unwrap_or(&path).to_owned();
        let path = path::absolute(path)?;
        let is_ours = path == ours;
        ensure!(
            is_ours || !path.starts_with(place.root.join(".workshop")),
            "{} belongs to this tool: name a folder elsewhere",
            shown.display()
        );
        Ok(Self { place, number, path, shown, is_ours })
    }

    /// Puts the step there, and says how to go on.
    pub(super) fn put(&self, again: bool) -> anyhow::Result<ExitCode> {
        let (chain, step) = Chain::with(&self.place.root, self.number)?;
        let step = &chain.steps[step];
        if self.is_changed()? && !again {
            bail!(
                "{} has changes of yours; `{TOOL} step {}{} --again` saves them and begins again",
                self.shown.display(),
                self.number,
                self.argument()
            );
        }
        self.make(again)?;
        say!("{}\n\nIt is in {}:\n", title(step), self.shown.display());
        say!("  cd {}\n  cargo run\n  cargo test\n", as_typed(&self.shown));
        say!("What it changes: {TOOL} step {} --diff", self.number);
        Ok(ExitCode::SUCCESS)
    }

    /// Runs the server in our place: it gets Ctrl-C, and its exit code is ours.
    pub(super) fn run(&self, again: bool, args: &[String]) -> anyhow::Result<ExitCode> {
        self.make(again)?;
        let mut command = self.cargo();
        command.arg("run").arg("--").args(args);
        become_it(command)
    }

    /// Runs its contract in our place.
    pub(super) fn test(
        &self,
        again: bool,
        sentence: &str,
        args: &[String],
    ) -> anyhow::Result<ExitCode> {
        self.make(again)?;
        let mut command = self.cargo();
        command.args(["test", "--test", "contract", "--", THREADS]);
        command.args((!sentence.is_empty()).then_some(sentence)).args(args);
        become_it(command)
    }

    fn cargo(&self) -> Command {
        let mut command = cargo(&self.path);
        if self.is_ours {
            command.env("CARGO_TARGET_DIR", self.place.built());
        }
        command
    }

    /// The path as an argument of this tool, with a blank in front.
    fn argument(&self) -> String {
        if self.is_ours { String::new() } else { format!(" {}", as_typed(&self.shown)) }
    }

    /// Makes the folder what it should be, unless the learner has changed it. With `again` the changes are saved before.
    fn make(&self, again: bool) -> anyhow::Result<()> {
        if self.is_changed()? {
            if !again {
                return Ok(());
            }
            self.save()?;
        }
        let files = self.files()?;
        let fingerprint = fingerprint(files.iter().map(|(path, text)| (path.as_path(), text)));
        if self.record() == Some(fingerprint.clone()) {
            return Ok(());
        }
        for folder in ["src", "tests"] {
            let _ = fs::remove_dir_all(self.path.join(folder));
        }
        for (file, text) in &files {
            write(&self.path.join(file), text)?;
        }
        settle_lock(&self.path)?;
        write(&self.path.join(RECORD), &fingerprint)
    }

    /// Whether there is anything but what we have put there.
    fn is_changed(&self) -> anyhow::Result<bool> {
        if !self.path.is_dir() || fs::read_dir(&self.path)?.next().is_none() {
            return Ok(false);
        }
        let record = self.record();
        let record = record
            .with_context(|| format!("{} is not empty: name a new folder", self.shown.display()))?;
        let mut files = Files::new();
        for file in below(&self.path)? {
            let text = String::from_utf8_lossy(&fs::read(self.path.join(&file))?).into_owned();
            files.push((file.into(), text));
        }
        Ok(record != fingerprint(files.iter().map(|(path, text)| (path.as_path(), text))))
    }

    fn record(&self) -> Option<String> {
        fs::read_to_string(self.path.join(RECORD)).ok()
    }

    /// Renames the folder, and says how. There it builds for itself.
    fn save(&self) -> anyhow::Result<()> {
        let name = |path: &Path| {
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let time = timestamp(SystemTime::now());
        let saved = |path: &Path| path.with_file_name(format!("{}-{time}", name(path)));
        let to = saved(&self.path);
        ensure!(!to.exists(), "{} is there already: try again in a second", to.display());
        fs::rename(&self.path, &to).with_context(|| format!("cannot make {}", to.display()))?;
        if self.is_ours {
            let _ = fs::remove_dir_all(to.join(".cargo"));
        }
        say!("Your changes are saved: they are in {}.\n", saved(&self.shown).display());
        Ok(())
    }

    /// What belongs there.
    fn files(&self) -> anyhow::Result<Files> {
        let root = &self.place.root;
        let (chain, index) = Chain::with(root, self.number)?;
        let (step, states) = (&chain.steps[index], chain.given(self.place)?);
        let package = Package::new(root, &chain, &name(step), &title(step), &states[index + 1])?;
        let common =
            if self.is_ours { Path::new(ROOT).join("common") } else { root.join("common") };
        let common = common.to_str().context("cargo needs a path in UTF-8")?;
        let manifests = [package.manifest.as_str(), &read(root, "common/Cargo.toml")?];
        let tables = tables(root, &manifests, "", common)?;
        let mut files: Files = package.files().collect();
        files.push(("Cargo.toml".into(), format!("{}\n{tables}", package.manifest)));
        files.push(("README.md".into(), format!("# {}\n\n{}\n", title(step), reasons(&step.head))));
        for file in ["Cargo.lock", "clippy.toml", "rustfmt.toml"] {
            files.push((file.into(), read(root, file)?));
        }
        files.push((".gitignore".into(), "/target\n".to_owned()));
        files.extend(self.config()?.map(|config| (".cargo/config.toml".into(), config)));
        Ok(files)
    }

    /// Where cargo builds and, elsewhere than here, where it finds the dependencies offline.
    fn config(&self) -> anyhow::Result<Option<String>> {
        if !self.is_ours {
            return config(&self.place.root);
        }
        let built = self.place.built();
        let below = built.strip_prefix(&self.place.root).map(|below| Path::new(ROOT).join(below));
        let target = below.unwrap_or(built);
        let target = target.to_str().context("cargo needs a path in UTF-8")?;
        Ok(Some(format!(
            "# What the stages need is built there already.\n[build]\ntarget-dir = {target:?}\n"
        )))
    }
}

/// The head without its first line, each word in bold.
fn reasons(head: &str) -> String {
    let bold = |line: &str| match line.split_once(": ") {
        Some((word @ ("Before" | "Idea" | "Calls" | "Still wrong"), rest)) => {
            format!("\n**{word}**: {rest}")
        }
        _ => line.to_owned(),
    };
    let lines: Vec<_> = head.lines().skip(1).map(bold).collect();
    lines.join("\n").trim().to_owned()
}

/// Two sets of files have the same one if they are equal. What cargo writes, and what is hidden, does not count.
fn fingerprint<'f>(files: impl Iterator<Item = (&'f Path, &'f String)>) -> String {
    let counts =
        |path: &Path| path != Path::new("Cargo.lock") && !path.to_string_lossy().starts_with('.');
    let mut files: Vec<_> = files.filter(|(path, _)| counts(path)).collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for (path, text) in files {
        path.hash(&mut hasher);
        text.replace("\r\n", "\n").hash(&mut hasher);
    }
    format!("{:016x}\n", hasher.finish())
}

/// exec(2): the shell that has started us waits for the command now. Returns only if that does not work.
#[cfg(unix)]
fn become_it(mut command: Command) -> anyhow::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(command.exec()).context("cannot start cargo")
}

/// Waits for the command. Ctrl-C reaches it as well as us.
#[cfg(not(unix))]
fn become_it(mut command: Command) -> anyhow::Result<ExitCode> {
    let _ = ctrlc::set_handler(|| {});
    let status = command.status().context("cannot start cargo")?;
    Ok(ExitCode::from(status.code().and_then(|code| code.try_into().ok()).unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_changed_when_a_file_of_it_is() {
        let print = |files: &[(&str, &str)]| {
            let files: Vec<_> = files
                .iter()
                .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
                .collect();
            fingerprint(files.iter().map(|(path, text)| (path.as_path(), text)))
        };
        let first = print(&[("src/a.rs", "a\n"), ("src/b.rs", "b\n")]);
        assert_eq!(
            first,
            print(&[("src/b.rs", "b\r\n"), ("src/a.rs", "a\n"), (".x", ""), ("Cargo.lock", "")])
        );
        assert_ne!(first, print(&[("src/a.rs", "a\n"), ("src/b.rs", "c\n")]));
        assert_ne!(first, print(&[("src/a.rs", "a\n")]));
    }

    #[test]
    fn the_reasons_of_a_step_are_what_its_head_says() {
        let head = "Step: 5.2 A title\nBefore: A client\nwaits: long.\nIdea: Serve it.\n\n";
        assert_eq!(reasons(head), "**Before**: A client\nwaits: long.\n\n**Idea**: Serve it.");
    }
}

//! What git knows of the stages as they were given. Where it is not there, the tool does without.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, ensure};

use super::sources::Sources;

/// A commit that has the stages as they were given.
pub(crate) struct Base {
    pub(crate) commit: String,
    /// It comes from the repository that this one was cloned from. Else it is the last commit here, and the
    /// learner's own work may be in it.
    pub(crate) is_theirs: bool,
}

impl Base {
    /// The last commit that is not the learner's own, or else the last one. It may be one of another
    /// repository, which this checkout was unpacked in.
    pub(crate) fn find(root: &Path) -> Option<Self> {
        let with = |theirs| git(root, &["merge-base", "HEAD", theirs]).ok();
        if let Some(commit) = ["@{upstream}", "origin/HEAD"].into_iter().find_map(with) {
            return Some(Self { commit, is_theirs: true });
        }
        let commit = git(root, &["rev-parse", "--verify", "-q", "HEAD"]).ok()?;
        Some(Self { commit, is_theirs: false })
    }

    /// The Rust files of a folder in that commit. `None`: it has none there.
    pub(crate) fn read(&self, root: &Path, folder: &str) -> Option<Sources> {
        let list = git(root, &["ls-tree", "-r", "-z", &self.commit, "--", folder]).ok()?;
        // mode, type, object name, a tabulator, path
        let file = |entry: &str| {
            let (object, path) = entry.split_once('\t')?;
            Some((object.split(' ').nth(2)?.to_owned(), path.to_owned()))
        };
        let is_ours = |path: &str| path.ends_with(".rs") && !path.contains("/.");
        let mut files: Vec<_> = list.split('\0').filter_map(file).collect();
        files.retain(|(_, path)| is_ours(path));
        let objects: Vec<_> = files.iter().map(|(object, _)| object.as_str()).collect();
        let texts = contents(root, &objects).ok()?;
        let mut sources = Sources::default();
        files.iter().zip(texts).for_each(|((_, path), text)| sources.add(path, &text));
        (!sources.is_empty()).then_some(sources)
    }
}

/// The texts of objects, all from one git: it takes longer to start than to read them.
fn contents(root: &Path, objects: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut command = Command::new("git");
    command.args(["cat-file", "--batch"]).current_dir(root).stderr(Stdio::null());
    let mut git = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = git.stdin.take().context("git has no stdin")?;
    let mut stdout = std::io::BufReader::new(git.stdout.take().context("git has no stdout")?);
    let wanted = objects.join("\n") + "\n";
    // It answers before it has read all of them, so both pipes could be full.
    let ask = thread::spawn(move || stdin.write_all(wanted.as_bytes()));
    let texts = objects.iter().map(|_| content(&mut stdout)).collect();
    // If a text could not be read, git waits for us to read on, and `ask` waits for git.
    drop(stdout);
    let _ = ask.join();
    git.wait()?;
    texts
}

/// `<object> blob <size>`, a line feed, the text, a line feed.
fn content(stdout: &mut impl BufRead) -> anyhow::Result<String> {
    let mut head = String::new();
    stdout.read_line(&mut head)?;
    let size = head.trim_end().split_once(" blob ").and_then(|(_, size)| size.parse().ok());
    let size: usize = size.with_context(|| format!("git says: {}", head.trim_end()))?;
    let mut text = vec![0; size + 1];
    stdout.read_exact(&mut text)?;
    text.pop();
    Ok(String::from_utf8(text)?)
}

/// Runs git in the root. Returns what it says; an error is in its own words.
fn git(root: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git").args(args).current_dir(root).output();
    let output = output.context("cannot start git")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git says: {}", said.trim_end());
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

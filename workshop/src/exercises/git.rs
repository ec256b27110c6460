//! What to type to put a patch in, and to begin again. It must work where the learner is: below the root,
//! after a commit, in a folder that no repository knows.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, iter};

use anyhow::Context;

use super::page::{Exercise, Number};
use super::place::Place;

/// The command that puts a patch in.
pub(crate) fn put_in(place: &Place, number: Number) -> String {
    let mut command = format!("{} apply ", at_root(&place.root));
    // Inside of another repository (a zip unpacked there) `git apply` counts from that one's root, and
    // skips, without a word, what it does not find.
    if let Ok(prefix) = git(&place.root, &["rev-parse", "--show-prefix"])
        && !prefix.is_empty()
    {
        command += &format!("--directory={prefix} ");
    }
    command + &format!("docs/solutions/{number}.patch")
}

/// The command that gets the sources of an exercise back as they were. git knows better than we do, and
/// asks no questions. The error is why it cannot, in git's words.
pub(crate) fn begin_again(place: &Place, exercise: &Exercise) -> anyhow::Result<String> {
    let (root, sources) = (&place.root, &*exercise.sources);
    git(root, &["ls-files", "--error-unmatch", sources])?;
    let same = |options: &[&str]| {
        let diff = [&["diff", "--quiet"], options, &["--", sources]].concat();
        git(root, &diff).is_ok()
    };
    let how = match where_we_came_from(root) {
        Some(base) if !same(&[&base, "HEAD"]) => format!("-SW --source={base} "),
        _ if !same(&["--cached"]) => "-SW ".to_owned(),
        _ => String::new(),
    };
    Ok(format!("{} restore {how}{sources}", at_root(root)))
}

/// The last commit that is not the learner's own. `None`: this repository was cloned from no other.
fn where_we_came_from(root: &Path) -> Option<String> {
    let theirs = ["@{upstream}", "origin/HEAD"];
    let base = theirs.iter().find_map(|theirs| git(root, &["merge-base", "HEAD", theirs]).ok())?;
    git(root, &["rev-parse", "--short", &base]).ok()
}

/// `git`, or how to call it for the root from where we are.
fn at_root(root: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    match here.strip_prefix(root) {
        Ok(below) if below.as_os_str().is_empty() => "git".to_owned(),
        Ok(below) => {
            let up: PathBuf = iter::repeat_n("..", below.components().count()).collect();
            format!("git -C {}", up.display())
        }
        Err(_) => format!("git -C \"{}\"", root.display()),
    }
}

/// Runs git in the root. Returns what it says; an error is in its own words.
fn git(root: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git").args(args).current_dir(root).output();
    let output = output.context("cannot start git")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "git says: {}", said.trim_end());
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

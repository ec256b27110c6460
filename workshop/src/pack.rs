//! `pack`: a folder for a room without network. In it are the sources, the dependencies, what is built from both, and
//! the book.

use std::fs;
use std::io::ErrorKind;
use std::path::{self, Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::exercises::root;
use crate::new::{cargo, make_empty, vendored};

/// What is hidden and belongs to a checkout. Where there is no git to say so, everything else that is hidden is its
/// owner's.
const HIDDEN: [&str; 5] = [".ci", ".devcontainer", ".gitattributes", ".github", ".gitignore"];

/// Where cargo is told that the dependencies are in `vendor`.
const CONFIG: &str = ".cargo/config.toml";

/// What changes where cargo builds, or what: the learners' cargo would not be told, and would build again.
const SETTINGS: [&str; 6] = [
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "CARGO_TARGET_DIR",
    "RUSTFLAGS",
];

/// Where to pack, and whether to build.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder to make: best at the path that it will have on the learners' machines
    path: PathBuf,
    /// Leave out what is built; then the first build takes its time on every machine
    #[arg(long)]
    no_build: bool,
}

/// Packs the checkout. Each step says what it does, since some of them take minutes.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let checkout = root()?;
    let path = path::absolute(&args.path).context("the current folder cannot be named")?;
    // Before the folder is there: it may be inside of this one.
    let tracked = tracked(&checkout);
    let files = tracked.clone().map_or_else(|| given(&checkout), Ok)?;
    make_empty(&path)?;
    say(&format!("{} files, as they stand in {}", files.len(), checkout.display()));
    files.iter().try_for_each(|file| copy(&checkout, &path, file))?;
    if tracked.is_some() {
        say_what_is_not_committed(&checkout);
    }
    begin_repository(&path)?;
    vendor(&checkout, &path)?;
    if !args.no_build {
        build(&path)?;
    }
    build_book(&path)?;
    let size = size(&path)? >> 20;
    common::print(format_args!(
        "\n{} has {size} MiB.\n{}",
        path.display(),
        how_to_copy(&path, args.no_build)
    ));
    Ok(())
}

fn say(step: &str) {
    common::print(format_args!("- {step}"));
}

/// The files that git tracks and that are there. `None`: it does not know this checkout. A zip unpacked inside of another
/// repository is nothing that that one tracks.
fn tracked(checkout: &Path) -> Option<Vec<PathBuf>> {
    let listed = git(checkout).args(["ls-files", "-z"]).output().ok()?.stdout;
    let listed = String::from_utf8_lossy(&listed);
    let mut tracked: Vec<_> = listed.split_terminator('\0').map(PathBuf::from).collect();
    let is_ours = tracked.iter().any(|file| file == Path::new("Cargo.toml"));
    tracked.retain(|file| checkout.join(file).exists());
    is_ours.then_some(tracked)
}

/// The files that are neither hidden nor built, where there is no git to ask.
fn given(checkout: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(checkout, Path::new(""), &mut found)?;
    Ok(found)
}

fn walk(checkout: &Path, folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(checkout.join(folder))? {
        let entry = entry?;
        let (file, name) = (folder.join(entry.file_name()), entry.file_name());
        let name = name.to_string_lossy();
        let is_owners = name.starts_with('.') && !HIDDEN.contains(&&*name);
        let is_made = ["target", "vendor", "docs/book"].iter().any(|made| file == Path::new(made));
        if is_owners || is_made || entry.path().join("CACHEDIR.TAG").exists() {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => walk(checkout, &file, found)?,
            false => found.push(file),
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, file: &Path) -> anyhow::Result<()> {
    let path = to.join(file);
    let copied = fs::create_dir_all(path.with_file_name(""))
        .and_then(|()| fs::copy(from.join(file), &path).map(drop));
    copied.with_context(|| format!("cannot copy {} to {}", file.display(), path.display()))
}

/// A packer who has done an exercise would hand out its solution, and one who has written a file may miss it.
fn say_what_is_not_committed(checkout: &Path) {
    let status = git(checkout).args(["status", "--porcelain", "."]).output();
    let status = status.map(|output| output.stdout).unwrap_or_default();
    for line in String::from_utf8_lossy(&status).lines() {
        match line.split_at_checked(3) {
            Some(("?? ", file)) => say(&format!("{file} is not tracked by git, and is left out")),
            Some((_, file)) => {
                say(&format!("{file} is not as in your last commit, and is packed as it stands"))
            }
            None => {}
        }
    }
}

/// A repository with one commit: the way back to the beginning of an exercise is `git restore`. It has neither the
/// packer's name nor settings, hooks or remotes.
fn begin_repository(path: &Path) -> anyhow::Result<()> {
    let run = |args: &[&str]| {
        let mut git = git(path);
        git.args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for role in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{role}_NAME"), "workshop");
            git.env(format!("GIT_{role}_EMAIL"), "workshop@localhost");
        }
        git.output()
    };
    match run(&["init", "--quiet", "--template=", "--initial-branch=main"]) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            say("no git here: the folder is no repository, so nothing in it restores a stage");
            return Ok(());
        }
        begun => succeed("git init", &begun?)?,
    }
    let info = path.join(".git/info");
    fs::create_dir_all(&info)?;
    // What was packed on top is not for commits.
    fs::write(info.join("exclude"), "/.cargo\n/vendor\n")?;
    succeed("git add", &run(&["add", "."])?)?;
    succeed("git commit", &run(&["commit", "--quiet", "--message=As it was packed"])?)
}

/// git, and not about the repository that a hook of another one has told us of.
fn git(folder: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(folder);
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(name);
    }
    git
}

/// Copies every dependency into the folder, those for other systems included: the lock file names them all.
fn vendor(checkout: &Path, path: &Path) -> anyhow::Result<()> {
    let config = checkout.join(CONFIG);
    let was_packed = fs::read_to_string(config).is_ok_and(|text| text.contains("vendored-sources"));
    if was_packed {
        say("the dependencies, from this folder's own vendor");
        let mut files = Vec::new();
        walk_all(&checkout.join("vendor"), &mut files)?;
        for file in &files {
            copy(checkout, path, file.strip_prefix(checkout)?)?;
        }
    } else {
        say("the dependencies: cargo vendor");
        // A mirror that the packer uses is in these settings.
        let args = ["vendor", "--quiet", "--locked", "--respect-source-config", "vendor"];
        succeed("cargo vendor", &settled(path).args(args).output()?)?;
    }
    fs::create_dir_all(path.join(".cargo"))?;
    fs::write(path.join(CONFIG), vendored("vendor")).context("cannot write cargo's configuration")
}

/// Builds what the book tells its reader to run. One package alone has fewer features than all together, so what is
/// built for one is not what is built for the other.
fn build(path: &Path) -> anyhow::Result<()> {
    let mut commands =
        vec![vec!["test", "--workspace", "--no-run"], vec!["build", "-p", "workshop"]];
    let stages = stages(path)?;
    for stage in &stages {
        commands.push(vec!["test", "-p", stage, "--no-run"]);
        commands.push(vec!["build", "-p", stage]);
    }
    for args in commands {
        let start = Instant::now();
        let mut command = settled(path);
        let output = command.args(&args).args(["--quiet", "--locked", "--offline"]).output()?;
        let args = args.join(" ");
        succeed(&format!("cargo {args}"), &output)?;
        say(&format!("cargo {args}: {:.0} s", start.elapsed().as_secs_f64()));
    }
    Ok(())
}

fn stages(path: &Path) -> anyhow::Result<Vec<String>> {
    let names =
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut stages = names.collect::<anyhow::Result<Vec<_>>>()?;
    stages.retain(|name| name.starts_with("stage"));
    stages.sort();
    Ok(stages)
}

/// cargo with the settings that every machine has.
fn settled(path: &Path) -> Command {
    let mut command = cargo(path);
    for name in SETTINGS {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

fn build_book(path: &Path) -> anyhow::Result<()> {
    match Command::new("mdbook").args(["build", "docs"]).current_dir(path).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            say("no mdbook here: the book is not built");
            Ok(())
        }
        built => {
            say("the book: docs/book/index.html");
            succeed("mdbook build docs", &built?)
        }
    }
}

/// An error with the program's own words, if it has failed.
fn succeed(what: &str, output: &std::process::Output) -> anyhow::Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{what}: {}\n{}", output.status, said.trim_end());
    Ok(())
}

fn size(path: &Path) -> anyhow::Result<u64> {
    let mut files = Vec::new();
    walk_all(path, &mut files)?;
    let lengths = files.iter().map(|file| Ok(fs::symlink_metadata(file)?.len()));
    lengths.sum()
}

fn walk_all(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => walk_all(&entry.path(), found)?,
            false => found.push(entry.path()),
        }
    }
    Ok(())
}

/// What cargo makes of a copy. It compares times to find out whether something has changed, and dependencies that were
/// vendored are known to it by their full path.
fn how_to_copy(path: &Path, no_build: bool) -> String {
    let path = path.display();
    let copy = "Copy it with its times: cp -a, rsync -a, or tar. On the other machine: the same system and the same Rust.";
    let warm = format!(
        "At the same path, {path}, nothing is built again. At another path it works as well, but the first build\n\
         compiles every dependency once more, and so it does where a copy has not kept the times (cp -r)."
    );
    let proof = "The proof, without network: cargo run -p workshop --offline -- verify --fast";
    if no_build { format!("{copy}\n{proof}") } else { format!("{copy}\n{warm}\n{proof}") }
}

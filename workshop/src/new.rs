//! `new`: a stage as a crate of its own, outside of this workspace.
//!
//! A stage's folder takes its versions, lints and profiles from the workspace, and some of its code from
//! `common`. So the new crate is a workspace as well, of itself and its own copy of `common`.

mod manifest;

use std::env;
use std::fs;
use std::path::{self, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::exercises::root;
pub(crate) use manifest::{dependencies, vendored, workspace};

/// What stands beside the sources, and is the same in every crate of ours.
const BESIDE: [&str; 4] = ["LICENSE-APACHE", "LICENSE-MIT", "clippy.toml", "rustfmt.toml"];

/// Where a checkout that was packed says that its dependencies are in its own folder.
const CONFIG: &str = ".cargo/config.toml";

/// Names that cargo or rustc keeps for itself: its folders in `target`, the crates that come with Rust, and the
/// keywords.
const RESERVED: &str = "alloc build core deps examples incremental proc_macro std test \
    abstract as async await become box break const continue crate do dyn else enum extern false final fn for gen if impl in \
    let loop macro match mod move mut override priv pub ref return self static struct super trait true try type typeof \
    unsafe unsized use virtual where while yield";

/// What to make, and where.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder to make. Its name becomes the name of the crate and of its program
    path: PathBuf,
    /// The stage to begin with
    #[arg(long, value_name = "STAGE", default_value = "stage5-mio", value_parser = ["stage5-mio", "stage6-timers"])]
    from: String,
}

/// Makes the crate. Everything is read before the first file is written, so an error on the way leaves nothing behind.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let checkout = root()?;
    let path = path::absolute(&args.path).context("the current folder cannot be named")?;
    let lock = read(&checkout, "Cargo.lock")?;
    let name = crate_name(&path, &args.from, &lock)?;
    let stage = Stage { checkout: &checkout, folder: &args.from, name };
    let files = stage.files(&lock)?;
    make_empty(&path)?;
    for (file, text) in &files {
        write(&path.join(file), text)?;
    }
    settle_lock(&path)?;
    let shown = args.path.display();
    common::print(format_args!(
        "{shown} is {} as it stands in {}, with its own copy of `common`.\n\n  \
         cd {}\n  cargo run\n  cargo test\n\nIts README.md says where to change it first.",
        args.from,
        checkout.display(),
        as_typed(&args.path)
    ));
    Ok(())
}

/// A path as every shell takes it: blanks and brackets are between quotes.
pub(crate) fn as_typed(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/\\:._-~".contains(c);
    if path.chars().all(is_plain) { path } else { format!("\"{path}\"") }
}

/// The name that a folder gives to a crate. cargo and rustc would refuse others too, later and in more words.
fn crate_name<'p>(path: &'p Path, from: &str, lock: &str) -> anyhow::Result<&'p str> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} does not end in a name", path.display()))?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(is_part),
        "'{name}' cannot name a crate: expected a letter, then letters, digits, - and _"
    );
    let is_reserved = RESERVED.split_whitespace().any(|word| word == name.replace('-', "_"));
    ensure!(!is_reserved, "'{name}' cannot name a crate: Rust or cargo uses this word itself");
    // Of two packages with one name cargo asks each time which is meant.
    let taken = name != from && manifest::packages(lock).any(|package| package == name);
    ensure!(!taken, "'{name}' cannot name this crate: Cargo.lock has another one of that name");
    Ok(name)
}

/// A stage on its way to be a crate.
struct Stage<'a> {
    checkout: &'a Path,
    folder: &'a str,
    name: &'a str,
}

impl Stage<'_> {
    /// Every file of the new crate, and what is in it.
    fn files(&self, lock: &str) -> anyhow::Result<Vec<(PathBuf, String)>> {
        let mut files = Vec::new();
        for (folder, to) in [(format!("{}/src", self.folder), "src"), ("common".into(), "common")] {
            for file in below(&self.checkout.join(&folder))? {
                let text = self.renamed(&read(&self.checkout.join(&folder), &file)?);
                files.push((Path::new(to).join(&file), text));
            }
        }
        let contract = read(self.checkout, &format!("{}/tests/contract.rs", self.folder))?;
        files.push(("tests/contract.rs".into(), self.renamed(&contract)));
        for file in BESIDE {
            files.push((file.into(), read(self.checkout, file)?));
        }
        let ours = files.iter().filter(|(path, _)| !path.starts_with("common"));
        let sources: String = ours.map(|(_, text)| text.as_str()).collect();
        let manifest = read(self.checkout, &format!("{}/Cargo.toml", self.folder))?;
        let ours = manifest::only_used(&self.renamed(&manifest), &sources);
        let common = read(self.checkout, "common/Cargo.toml")?;
        let workspace = manifest::workspace(&read(self.checkout, "Cargo.toml")?, &[&ours, &common]);
        files.push(("Cargo.toml".into(), format!("{ours}\n{workspace}")));
        files.push(("Cargo.lock".into(), self.renamed(lock)));
        files.push((".gitignore".into(), "/target\n".to_owned()));
        files.push(("README.md".into(), self.readme()));
        files.extend(config(self.checkout)?.map(|config| (CONFIG.into(), config)));
        Ok(files)
    }

    /// A text in which the stage has its new name, and nothing leads into the book.
    fn renamed(&self, text: &str) -> String {
        let of_the_book = |line: &&str| {
            let line = line.trim_start();
            !["// ANCHOR", "//! Read along:"].iter().any(|mark| line.starts_with(mark))
        };
        let lines = text.lines().filter(of_the_book);
        lines.map(|line| line.replace(self.folder, self.name) + "\n").collect()
    }

    fn readme(&self) -> String {
        let Self { folder, name, .. } = self;
        let timers =
            if *folder == "stage6-timers" { " What is due when: `src/timers.rs`." } else { "" };
        format!(
            "# {name}\n\n\
             A TCP server on an event loop, which sends back every byte. It began as a copy of `{folder}`.\n\n\
             - Run it: `cargo run`, then `nc 127.0.0.1 9000`. `cargo run -- --help` lists the options.\n\
             - Test it: `cargo test`. `tests/contract.rs` lists what it promises; `common/src/testkit` holds the tests.\n\
             - Change it first in `Connection::turn` (`src/connection.rs`): what `read` brings becomes the answer there.{timers}\n\
             - A promise that your server no longer makes: delete its line in `tests/contract.rs`.\n\n\
             MIT or Apache-2.0, as you like.\n"
        )
    }
}

/// Where cargo finds the dependencies offline, if that is a folder of the checkout.
pub(crate) fn config(checkout: &Path) -> anyhow::Result<Option<String>> {
    let vendor = checkout.join("vendor");
    if !checkout.join(CONFIG).exists() || !vendor.is_dir() {
        return Ok(None);
    }
    let vendor = vendor.to_str().context("cargo needs a path in UTF-8")?.replace('\\', "/");
    let config = vendored(&vendor);
    Ok(Some(format!(
        "# No network needed while that folder is there. With network: delete this file.\n{config}"
    )))
}

/// The files below a folder, as paths from there, without what is hidden or built.
pub(crate) fn below(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a name that is not UTF-8")?;
        if name.starts_with('.') || name == "target" {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => files.extend(below(&entry.path())?.iter().map(|file| format!("{name}/{file}"))),
            false => files.push(name),
        }
    }
    files.sort();
    Ok(files)
}

/// A text of ours, with LF: on Windows git may have made CRLF of it.
pub(crate) fn read(folder: &Path, file: &str) -> anyhow::Result<String> {
    let path = folder.join(file);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.replace("\r\n", "\n"))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = fs::create_dir_all(path.with_file_name("")).and_then(|()| fs::write(path, text));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a folder. One that is there already must be empty.
pub(crate) fn make_empty(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    if fs::read_dir(path)?.next().is_some() {
        bail!("{} is not empty: name a new folder", path.display());
    }
    Ok(())
}

/// The lock file is the checkout's, so that each version is the one that we test. It names more than this
/// crate needs; cargo takes that out, and would refuse `--locked` otherwise.
pub(crate) fn settle_lock(path: &Path) -> anyhow::Result<()> {
    let output = cargo(path).args(["update", "--workspace", "--offline"]).output();
    let output = output.context("cannot start cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim_end();
    ensure!(
        output.status.success(),
        "{} is there, but cargo cannot read it:\n{said}",
        path.display()
    );
    Ok(())
}

/// cargo as its user would call it in that folder: `cargo run` has told us much that is about us.
pub(crate) fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    command.current_dir(folder).env_remove("CARGO_MANIFEST_DIR");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "[[package]]\nname = \"mio\"\n\n[[package]]\nname = \"stage5-mio\"\n";

    #[track_caller]
    fn check_name(path: &str, expected: Result<&str, &str>) {
        let name =
            crate_name(Path::new(path), "stage5-mio", LOCK).map_err(|error| error.to_string());
        match expected {
            Ok(expected) => assert_eq!(name.as_deref(), Ok(expected)),
            Err(why) => assert!(name.as_ref().is_err_and(|line| line.contains(why)), "{name:?}"),
        }
    }

    #[test]
    fn a_crate_is_named_after_its_folder_or_one_line_says_why_not() {
        check_name("/a/my-server_2", Ok("my-server_2"));
        check_name("/a/stage5-mio", Ok("stage5-mio"));
        check_name("/a/2nd", Err("'2nd' cannot name a crate: expected a letter"));
        check_name("/a/my server", Err("expected a letter, then letters, digits, - and _"));
        check_name("/a/größe", Err("expected a letter"));
        check_name("/a/loop", Err("'loop' cannot name a crate: Rust or cargo uses this word"));
        check_name("/a/proc-macro", Err("uses this word"));
        check_name("/a/mio", Err("'mio' cannot name this crate"));
        check_name("/a/..", Err("does not end in a name"));
    }

    #[test]
    fn what_leads_into_the_book_stays_there() {
        let stage = Stage { checkout: Path::new("/a"), folder: "stage5-mio", name: "mine" };
        let text = "//! Try it: `cargo run -p stage5-mio`\n//! Read along: x\n    // ANCHOR: a\nfn a() {}\n// ANCHOR_END: a\n";
        assert_eq!(stage.renamed(text), "//! Try it: `cargo run -p mine`\nfn a() {}\n");
        assert!(stage.readme().lines().count() <= 10);
    }
}

//! Plants the faults: for each of them a copy of the sources of stage 5, changed by a patch.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The module that each fault becomes, and its patch.
const FAULTS: [(&str, &str); 3] = [
    ("starved", "newcomers-wait-for-the-others.patch"),
    ("limited", "../faults/limit-of-a-turn-is-the-last.patch"),
    ("paused", "../faults/pause-outlasts-a-goodbye.patch"),
];

const STAGE: &str = "stage5-mio/src";

const FILES: [&str; 4] = ["connection", "outbox", "server", "table"];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo runs us")?);
    depend_on("build.rs")?;
    for (name, patch) in FAULTS {
        depend_on(patch)?;
        plant(name, &fs::read_to_string(patch)?, &out.join(name))?;
    }
    FILES.iter().try_for_each(|file| depend_on(&source(file)))?;
    Ok(())
}

/// Tells cargo that we have to run again when a file changes.
fn depend_on(file: &str) -> io::Result<()> {
    writeln!(io::stdout(), "cargo::rerun-if-changed={file}")
}

fn source(file: &str) -> String {
    format!("../../../{STAGE}/{file}.rs")
}

/// Writes a module with the sources, and with the fault in them. A learner's stage may have changed so that the patch
/// does not apply: then `IS_PLANTED` is false, and everything else still builds.
fn plant(name: &str, patch: &str, module: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(module)?;
    let mut is_planted = true;
    let mut modules = String::new();
    for file in FILES {
        let mut text = fs::read_to_string(source(file))?.replace("\r\n", "\n");
        if let Some(part) = part_for(patch, file) {
            match diffy::apply(&text, &diffy::Patch::from_str(&part)?) {
                Ok(changed) => text = changed,
                Err(_) => is_planted = false,
            }
        }
        // What was the root of a crate is a module of this one.
        let text = text.replace("crate::", &format!("crate::{name}::"));
        fs::write(module.join(format!("{file}.rs")), text)?;
        modules += &format!("mod {file};\n");
    }
    modules += &format!("pub(crate) const IS_PLANTED: bool = {is_planted};\n");
    fs::write(module.join("mod.rs"), modules + RUN)?;
    Ok(())
}

/// What `main` does, from the server on.
const RUN: &str = "
pub(crate) fn run(listener: std::net::TcpListener, max_connections: usize) -> std::io::Result<()> {
    server::Server::new(listener, max_connections)?.run()
}
";

/// The part of a patch that is about one file. Each of ours is about one file only.
fn part_for(patch: &str, file: &str) -> Option<String> {
    let patch = patch.replace("\r\n", "\n");
    let from = patch.find(&format!("--- a/{STAGE}/{file}.rs\n"))?;
    Some(patch[from..].to_owned())
}

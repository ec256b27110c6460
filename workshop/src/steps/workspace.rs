//! All steps as packages of one workspace below `target`, so that what they share is built once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::chain::CONTRACT;
use super::package::{Package, tables, title};
use super::proof::Proven;
use crate::exercises::{Built, Place, Program, Sources, Test, run_cargo, write};
use crate::new::{cargo, read, settle_lock};

/// How many tests run at the same time: most of them wait.
pub(super) const THREADS: &str = "--test-threads=8";

/// The sentences that are new in the next step, to be run against this one.
const NEXT: &str = "tests/next.rs";

/// The name of a package: not the one that a learner's copy of the step has, since both are built in one folder.
pub(super) fn name(chapter: u32, index: u32) -> String {
    format!("proof-{chapter}-{index}")
}

/// Writes the workspace: a package for each state of each chain. What is the same is left alone, so that cargo need not
/// build it again.
pub(super) fn lay_out(place: &Place, root: &Path, proven: &[Proven<'_>]) -> anyhow::Result<()> {
    let mut members = BTreeMap::new();
    for Proven { chain, states } in proven {
        let new: Vec<_> = chain.pairs(states).map(|pair| pair.new_sentences()).collect();
        for (index, state) in states.iter().enumerate() {
            let name = name(chain.chapter, index as u32);
            let title = index.checked_sub(1).map(|index| title(&chain.steps[index]));
            let title = title.unwrap_or_else(|| chain.from.clone());
            let package = Package::new(&place.root, chain, &name, &title, state)?;
            let next = new.get(index).filter(|next| !next.is_empty()).map(|next| {
                let contract = states[index + 1].text(CONTRACT).unwrap_or_default();
                contract_of(contract, &name, next)
            });
            put(root, &package, next.as_deref())?;
            members.insert(name, package.manifest);
        }
    }
    finish(place, root, &members)
}

/// Puts a package into the workspace, and the sentences that are new in the next step.
pub(super) fn put(root: &Path, package: &Package<'_>, next: Option<&str>) -> anyhow::Result<()> {
    let name = &package.name;
    let mut sources = Sources::default();
    for (path, text) in package.files() {
        sources.add(&format!("{name}/{}", path.display()), &text);
    }
    if let Some(next) = next {
        sources.add(&format!("{name}/{NEXT}"), next);
    }
    sources.put(root, name)?;
    write_if_new(&root.join(name).join("Cargo.toml"), &package.manifest)
}

/// Makes a workspace of these packages and no others: each has a name and a manifest.
pub(super) fn finish(
    place: &Place,
    root: &Path,
    members: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    remove_strangers(root, members)?;
    let names = members.keys().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let common = place.root.join("common");
    let common_manifest = read(&place.root, "common/Cargo.toml")?;
    let mut manifests: Vec<_> = members.values().map(String::as_str).collect();
    manifests.push(&common_manifest);
    let common = common.to_str().context("cargo needs a path in UTF-8")?;
    write_if_new(&root.join("Cargo.toml"), &tables(&place.root, &manifests, &names, common)?)?;
    write(&root.join("Cargo.lock"), &read(&place.root, "Cargo.lock")?)?;
    settle_lock(root)
}

/// A contract of only these sentences, for the systems for which that one is.
fn contract_of(contract: &str, name: &str, sentences: &[&str]) -> String {
    let system = contract.lines().filter(|line| line.starts_with("#![cfg("));
    let system: String = system.map(|line| format!("{line}\n\n")).collect();
    let list: String = sentences.iter().map(|name| format!("    {name},\n")).collect();
    let exe = format!("env!(\"CARGO_BIN_EXE_{name}\")");
    format!(
        "//! What the next step can do.\n\n{system}common::testkit::contract! {{\n    {exe};\n\n{list}}}\n"
    )
}

fn write_if_new(path: &Path, text: &str) -> anyhow::Result<()> {
    match fs::read_to_string(path) {
        Ok(old) if old == text => Ok(()),
        _ => write(path, text),
    }
}

/// Packages of an earlier run that no chain has any more.
fn remove_strangers(root: &Path, members: &BTreeMap<String, String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let is_known = members.contains_key(&*entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() && !is_known {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// What was built of each package.
pub(super) struct Programs {
    root: PathBuf,
    built: Built,
}

impl Programs {
    /// Builds these packages.
    pub(super) fn build(
        place: &Place,
        root: &Path,
        names: &BTreeSet<&str>,
    ) -> anyhow::Result<Self> {
        let mut command: Command = cargo(root);
        command.args(["build", "--bins", "--tests", "--keep-going", "--locked"]);
        command.args(["--message-format=json", "--color=never"]).stdin(Stdio::null());
        names.iter().for_each(|name| {
            command.args(["-p", name]);
        });
        // A quiet cargo does not say that it waits.
        command.env("CARGO_TARGET_DIR", place.built()).env("CARGO_TERM_QUIET", "false");
        let built = run_cargo(command)?;
        let is_known = built.succeeded || !built.diagnostics.is_empty();
        ensure!(is_known, "cargo cannot build the steps:\n{}", built.said.trim_end());
        Ok(Self { root: root.to_owned(), built })
    }

    fn manifest(&self, package: &str) -> PathBuf {
        self.root.join(package).join("Cargo.toml")
    }

    /// What the compiler says of those targets of a package.
    pub(super) fn diagnostics(
        &self,
        package: &str,
        is_asked: impl Fn(&str) -> bool,
    ) -> BTreeSet<&str> {
        let manifest = self.manifest(package);
        let ours = self.built.diagnostics.iter();
        let ours = ours.filter(|it| it.manifest == manifest && is_asked(&it.target));
        // Of the program twice: it is compiled to be run, and for its unit tests. The rest only counts them.
        let is_one = |said: &&str| said.contains("\n");
        ours.map(|it| it.rendered.trim()).filter(is_one).collect()
    }

    /// A test of a package. The unit tests have the package's name. `None`: it does not compile.
    pub(super) fn test(&self, package: &str, target: &str) -> Option<Test> {
        let manifest = self.manifest(package);
        let is_it = |program: &&Program| {
            program.is_test && program.manifest == manifest && program.target == target
        };
        let exe = self.built.programs.iter().find(is_it)?.exe.clone();
        let (package, args) = (self.root.join(package), vec![THREADS.to_owned()]);
        Some(Test { exe, package, args, named: 0, patience_ms: None, ends_early: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contract_of_new_sentences_is_for_the_same_systems() {
        let contract = "//! What.\n\n#![cfg(target_os = \"linux\")]\n\ncontract! {}\n";
        let text = contract_of(contract, "proof-4-0", &["is_kept", "echoes"]);
        assert_eq!(
            text,
            "//! What the next step can do.\n\n#![cfg(target_os = \"linux\")]\n\n\
             common::testkit::contract! {\n    env!(\"CARGO_BIN_EXE_proof-4-0\");\n\n    is_kept,\n    echoes,\n}\n"
        );
    }
}

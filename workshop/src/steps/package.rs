//! A step as a package: its sources, and a manifest with the versions, lints and profiles of the checkout.

use std::path::{Path, PathBuf};

use super::chain::{Chain, Step};
use crate::exercises::Sources;
use crate::new::{dependencies, read, workspace};

/// A package on its way to a folder.
pub(super) struct Package<'a> {
    /// Also that of its program. Never that of a stage: what is built may stand beside a stage's.
    pub(super) name: String,
    pub(super) manifest: String,
    pub(super) sources: &'a Sources,
}

impl<'a> Package<'a> {
    /// A state of a chain, with those dependencies of the two stages that it uses.
    pub(super) fn new(
        root: &Path,
        chain: &Chain,
        name: &str,
        title: &str,
        sources: &'a Sources,
    ) -> anyhow::Result<Self> {
        let stages =
            [&chain.to, &chain.from].map(|stage| read(root, &format!("{stage}/Cargo.toml")));
        let [to, from] = stages;
        let texts: String = sources.files().map(|(_, text)| text).collect();
        let mut manifest = format!("[package]\nname = \"{name}\"\ndescription = {title:?}\n");
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            manifest += &format!("{key}.workspace = true\n");
        }
        manifest += "\n[lints]\nworkspace = true\n\n";
        manifest += &dependencies(&[to?, from?], &texts);
        Ok(Self { name: name.to_owned(), manifest, sources })
    }

    /// Its Rust files. Where a stage is called by its name, this package is.
    pub(super) fn files(&self) -> impl Iterator<Item = (PathBuf, String)> {
        self.sources.files().map(|(path, text)| (path.into(), self.at_home(text)))
    }

    fn at_home(&self, text: &str) -> String {
        let exe = format!("CARGO_BIN_EXE_{}", self.name);
        let text = with_words_replaced(text, "CARGO_BIN_EXE_", &exe);
        with_words_replaced(&text, "cargo run -p stage", "cargo run")
    }
}

/// A text in which each word that begins so is another one. A word ends where a name of a package does.
fn with_words_replaced(text: &str, begin: &str, by: &str) -> String {
    let mut pieces = text.split(begin);
    let mut replaced = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let end = piece.find(|c| !is_part(c)).unwrap_or(piece.len());
        replaced += by;
        replaced += &piece[end..];
    }
    replaced
}

/// The name of a step's package and of its program.
pub(super) fn name(step: &Step) -> String {
    format!("step-{}-{}", step.number.chapter, step.number.index)
}

/// What the description says.
pub(super) fn title(step: &Step) -> String {
    format!("Step {}: {}", step.number, step.title)
}

/// The tables of the checkout's workspace that these packages inherit, for a workspace of the given members beside which
/// `common` is at that path.
pub(super) fn tables(
    root: &Path,
    manifests: &[&str],
    members: &str,
    common: &str,
) -> anyhow::Result<String> {
    let tables = workspace(&read(root, "Cargo.toml")?, manifests);
    let tables = tables.replace("members = [\"common\"]", &format!("members = [{members}]"));
    Ok(tables.replace("{ path = \"common\" }", &format!("{{ path = {common:?} }}")))
}

#[cfg(test)]
mod tests {
    use super::super::chain::tests::sources;
    use super::*;

    #[test]
    fn a_package_calls_itself_by_its_own_name() {
        let text =
            "//! Try it: `cargo run -p stage5-mio`, then\nenv!(\"CARGO_BIN_EXE_stage4-epoll\");\n";
        let sources = sources(&[("src/main.rs", text)]);
        let (name, manifest) = ("step-5-2".to_owned(), String::new());
        let files: Vec<_> = Package { name, manifest, sources: &sources }.files().collect();
        let expected = "//! Try it: `cargo run`, then\nenv!(\"CARGO_BIN_EXE_step-5-2\");\n";
        assert_eq!(files, [("src/main.rs".into(), expected.to_owned())]);
    }
}

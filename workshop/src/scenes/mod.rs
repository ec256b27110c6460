//! Scenes: recorded runs of the servers, which the book's pages play step by step.
//!
//! `docs/scenes/record` makes them. Here is what needs no recording: the list, and the strips, which stand for the scenes
//! on paper and in a browser without JavaScript.

mod data;
mod strip;
mod together;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::exercises::{Place, TOOL, say, write};
use data::Scene;

/// Where the recordings are, and the strips beside them.
const FOLDER: &str = "docs/src/scenes";

/// What to do with the recorded scenes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Draw the strip of each scene anew: docs/src/scenes/NAME.svg
    #[arg(long)]
    strips: bool,
    /// Say whether a strip is not what its scene says
    #[arg(long, conflicts_with = "strips")]
    check: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let root = Place::find()?.root;
    let scenes = all(&root)?;
    for Scene { name, title, program, run, .. } in &scenes {
        say!("{name:>16}  {title} ({} steps of {program})", run.steps.len());
    }
    for (name, picture) in pictures(&scenes) {
        let file = root.join(FOLDER).join(format!("{name}.svg"));
        if args.strips {
            write(&file, &picture)?;
        }
        if args.check {
            let there = fs::read_to_string(&file).unwrap_or_default();
            let is_current = there.replace("\r\n", "\n") == picture;
            ensure!(is_current, "{FOLDER}/{name}.svg is out of date: {TOOL} scenes --strips");
        }
    }
    Ok(())
}

/// The strip of each scene, and the pictures of those that belong together, by name.
fn pictures(scenes: &[Scene]) -> Vec<(&str, String)> {
    let strips = scenes.iter().map(|scene| (scene.name.as_str(), strip::draw(scene)));
    let together = together::groups(scenes);
    let together = together.into_iter().map(|(name, scenes)| (name, together::draw(&scenes)));
    strips.chain(together).collect()
}

/// Every scene, by name. A checkout without recordings has none.
fn all(root: &Path) -> anyhow::Result<Vec<Scene>> {
    let folder = root.join(FOLDER);
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(Vec::new()) };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|kind| kind == "js"));
    files.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path)?;
        Scene::read(&text)
    };
    files.iter().map(|path| read(path).with_context(|| path.display().to_string())).collect()
}

//! The repository as a map from paths to texts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The text of every file, by its path from the root of the repository.
pub(crate) type Files = BTreeMap<String, String>;

/// Pages of the book, and those that stand beside it.
pub(crate) fn pages(files: &Files) -> impl Iterator<Item = (&String, &String)> {
    files.iter().filter(|(path, _)| {
        let of_the_book = path.starts_with("docs/src/") && !path.ends_with("/SUMMARY.md");
        let is_readme = path.ends_with("README.md") && path.matches('/').count() <= 1;
        let beside_it = ["ARCHITECTURE.md", "CONTRIBUTING.md"].contains(&path.as_str());
        path.ends_with(".md") && (of_the_book || is_readme || beside_it)
    })
}

/// Where a relative path leads to, seen from a file.
pub(crate) fn resolve(from: &str, path: &str) -> String {
    let mut parts: Vec<_> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

pub(crate) fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs us");
    Path::new(&package).parent().expect("the workspace").to_owned()
}

/// Every file but what is built and what the learner has made.
pub(crate) fn repository() -> Files {
    let mut files = Files::new();
    read_into(&mut files, &root(), "");
    files
}

fn read_into(files: &mut Files, dir: &Path, below: &str) {
    const NOT_OURS: [&str; 5] = ["target", ".git", ".workshop", ".vscode", "docs/book"];
    for entry in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry")) {
        let path = format!("{below}{}", entry.file_name().to_string_lossy());
        if NOT_OURS.contains(&path.as_str()) {
            continue;
        }
        if entry.path().is_dir() {
            read_into(files, &entry.path(), &format!("{path}/"));
        } else {
            let bytes = fs::read(entry.path()).expect("a file");
            files.insert(path, String::from_utf8_lossy(&bytes).replace("\r\n", "\n"));
        }
    }
}

//! What leaves this checkout: crates made with `new`, folders made with `pack`, and the container to work in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::testkit::skipped;

/// This checkout. cargo says where it is when it runs us: it may not be where it was when it built us.
fn here() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs us");
    Path::new(&package).parent().expect("the workspace").to_owned()
}

/// A folder that is not there yet.
fn fresh(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside").join(name);
    let _ = fs::remove_dir_all(&folder);
    folder
}

/// Runs the tool on the checkout in `root`.
fn workshop(root: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    command.args(args).current_dir(root).env("CARGO_MANIFEST_DIR", root);
    command.env_remove("CARGO_TARGET_DIR").output().expect("cannot start the tool")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
fn succeed(output: Output) -> String {
    assert!(output.status.success(), "{}", said(&output));
    said(&output)
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.with_file_name("")).expect("cannot make a directory");
    fs::write(path, text).expect("cannot write");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

// ---- new

/// Makes a crate, and returns its folder.
#[track_caller]
fn new(root: &Path, name: &str, stage: &str) -> PathBuf {
    let path = fresh(name);
    let folder = path.to_str().expect("a path of ours");
    let told = succeed(workshop(root, &["new", folder, "--from", stage]));
    assert!(told.starts_with(&format!("{folder} is {stage} as it stands in ")), "{told}");
    path
}

/// The packages of a lock file, each with its version and checksum.
fn locked(folder: &Path) -> BTreeSet<String> {
    let lock = fs::read_to_string(folder.join("Cargo.lock")).expect("a lock file");
    let packages = lock.split("\n\n").filter(|package| package.contains("checksum = "));
    packages.map(|package| package.lines().take(5).collect::<Vec<_>>().join("\n")).collect()
}

/// cargo on a crate outside, without network and with the versions that are locked.
#[track_caller]
fn cargo(folder: &Path, args: &[&str]) -> String {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(args).args(["--offline", "--locked"]).current_dir(folder);
    // One for all: most of what is built is the same.
    cargo.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside/target"));
    succeed(cargo.output().expect("cannot start cargo"))
}

#[test]
fn stages_5_and_6_become_crates_that_cargo_takes_offline_with_the_same_versions() {
    for (name, stage) in [("my-server", "stage5-mio"), ("my_timers", "stage6-timers")] {
        let path = new(&here(), name, stage);
        let metadata = cargo(&path, &["metadata", "--no-deps", "--format-version=1"]);
        let metadata: serde_json::Value = serde_json::from_str(&metadata).expect("JSON");
        let names = metadata["packages"].as_array().expect("packages").iter();
        let names: BTreeSet<_> = names.map(|package| package["name"].as_str()).collect();
        assert_eq!(names, BTreeSet::from([Some("common"), Some(name)]));
        assert!(locked(&path).is_subset(&locked(&here())) && locked(&path).len() > 20);
        cargo(&path, &["check", "--quiet", "--tests"]);
        for file in files(&path) {
            let text = fs::read_to_string(&file).expect("a text");
            let is_left = text.contains(stage) && !file.ends_with("README.md");
            assert!(!is_left, "{} names {stage}", file.display());
        }
        let readme = fs::read_to_string(path.join("README.md")).expect("a README");
        assert!(readme.starts_with(&format!("# {name}\n")) && readme.lines().count() <= 10);
    }
}

/// What `new` reads, and nothing else.
fn small_checkout(name: &str) -> PathBuf {
    let root = fresh(name);
    for folder in ["common", "stage5-mio", "docs/src/exercises"] {
        for file in files(&here().join(folder)) {
            let below = file.strip_prefix(here()).expect("it is below").to_owned();
            write(&root.join(below), &fs::read_to_string(file).expect("a text"));
        }
    }
    let members = "[workspace]\nresolver = \"3\"\nmembers = [\"common\", \"stage5-mio\"]\n";
    let manifest = fs::read_to_string(here().join("Cargo.toml")).expect("a manifest");
    let (_, rest) = manifest.split_once("\n\n").expect("sections");
    write(&root.join("Cargo.toml"), &format!("{members}\n{rest}"));
    for file in ["Cargo.lock", "LICENSE-APACHE", "LICENSE-MIT", "clippy.toml", "rustfmt.toml"] {
        write(&root.join(file), &fs::read_to_string(here().join(file)).expect("a text"));
    }
    root
}

#[test]
fn a_crate_has_lf_and_what_its_maker_has_changed_whatever_the_checkout_has() {
    let root = small_checkout("crlf");
    write(&root.join("stage5-mio/src/mine.rs"), "//! A change of mine.\n");
    for file in files(&root) {
        let text = fs::read_to_string(&file).expect("a text").replace("\r\n", "\n");
        write(&file, &text.replace('\n', "\r\n"));
    }
    let path = new(&root, "from-crlf", "stage5-mio");
    for file in files(&path) {
        let text = fs::read_to_string(&file).expect("a text");
        assert!(!text.contains('\r'), "{} has CRLF", file.display());
    }
    assert!(path.join("src/mine.rs").exists());
    cargo(&path, &["metadata", "--no-deps", "--format-version=1"]);
}

/// Where the dependencies are in a folder of the checkout, cargo has no others.
#[test]
fn a_crate_made_without_network_finds_the_packed_dependencies() {
    let root = small_checkout("packed-checkout");
    write(&root.join(".cargo/config.toml"), "[source.vendored-sources]\n");
    fs::create_dir_all(root.join("vendor")).expect("cannot make a directory");
    let path = fresh("from-packed");
    // The folder is empty, so cargo says that it finds nothing there.
    let output = workshop(&root, &["new", "../from-packed"]);
    assert!(!output.status.success(), "{}", said(&output));
    let config = fs::read_to_string(path.join(".cargo/config.toml")).expect("a configuration");
    let vendor = root.join("vendor").display().to_string().replace('\\', "/");
    assert!(config.contains(&format!("directory = \"{vendor}\"")), "{config}");
}

#[test]
fn what_cannot_be_a_crate_is_refused_in_one_line_and_leaves_nothing() {
    let full = fresh("full");
    write(&full.join("mine.txt"), "mine\n");
    for (name, why) in [
        ("full", "is not empty"),
        ("2nd", "'2nd' cannot name a crate: expected a letter"),
        ("while", "'while' cannot name a crate"),
        ("mio", "'mio' cannot name this crate"),
        ("common", "'common' cannot name this crate"),
    ] {
        let path = if name == "full" { full.clone() } else { fresh(name) };
        let output = workshop(&here(), &["new", path.to_str().expect("a path of ours")]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(said(&output).contains(why), "{}", said(&output));
        assert_eq!(said(&output).lines().count(), 1, "{}", said(&output));
        assert_eq!(path.exists(), name == "full", "{name}");
    }
    assert_eq!(files(&full).len(), 1);
    let output = workshop(&here(), &["new", "mine", "--from", "stage4-epoll"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("stage5-mio, stage6-timers"), "{}", said(&output));
}

// ---- pack

/// A checkout of two packages that need nothing, with what its owner has left in it.
fn tiny_checkout(name: &str) -> PathBuf {
    let root = fresh(name);
    let members = "[workspace]\nresolver = \"3\"\nmembers = [\"stage1-blocking\", \"workshop\"]\n";
    write(&root.join("Cargo.toml"), members);
    let mut lock = "version = 4\n".to_owned();
    for package in ["stage1-blocking", "workshop"] {
        let text = format!("name = \"{package}\"\nversion = \"0.1.0\"\n");
        write(&root.join(package).join("Cargo.toml"), &format!("[package]\n{text}"));
        write(&root.join(package).join("src/main.rs"), "fn main() {}\n");
        lock += &format!("\n[[package]]\n{text}");
    }
    write(&root.join("Cargo.lock"), &lock);
    write(&root.join("docs/book.toml"), "[book]\ntitle = \"A book\"\n");
    write(&root.join("docs/src/SUMMARY.md"), "[One](one.md)\n");
    write(&root.join("docs/src/one.md"), "# One\n");
    write(&root.join("docs/src/exercises/1.1.md"), "# Exercise 1.1: A\n");
    write(&root.join(".gitignore"), "/target\n/.workshop\n/docs/book\n");
    write(&root.join(".ci/run"), "true\n");
    for left in [".workshop/done/1.1", ".idea/a", "target/a", "docs/book/a", "notes/CACHEDIR.TAG"] {
        write(&root.join(left), "mine\n");
    }
    root
}

/// Packs, and returns the folder and what was said.
#[track_caller]
fn pack(root: &Path, name: &str, options: &[&str]) -> (PathBuf, String) {
    let path = fresh(name);
    let args = [&["pack", path.to_str().expect("a path of ours")], options].concat();
    let told = succeed(workshop(root, &args));
    assert!(told.contains(&format!("\n{} has ", path.display())), "{told}");
    (path, told)
}

#[track_caller]
fn check_pack(root: &Path, path: &Path) {
    for file in ["Cargo.toml", ".ci/run", ".gitignore", "docs/src/one.md", ".cargo/config.toml"] {
        assert!(path.join(file).exists(), "no {file}");
    }
    for left in [".workshop", ".idea", "target/a", "docs/book/a", "notes"] {
        assert!(!path.join(left).exists(), "{left} was packed");
    }
    for file in files(path).iter().filter(|file| !file.starts_with(path.join("target"))) {
        let text = String::from_utf8_lossy(&fs::read(file).expect("a file")).into_owned();
        let names = |folder: &Path| text.contains(folder.to_str().expect("a path of ours"));
        assert!(!names(root) && !names(path), "{} names a folder of the packer", file.display());
    }
}

#[test]
fn a_zip_is_packed_without_what_its_owner_has_left_in_it() {
    // Unpacked in a repository that does not know it, if there is a git.
    let root = tiny_checkout("around/zip");
    let _ = git(root.parent().expect("a folder"), &["init", "-q"]);
    let (path, told) = pack(&root, "packed-zip", &["--no-build"]);
    check_pack(&root, &path);
    assert!(!path.join("target").exists() && !told.contains("At the same path"), "{told}");
    assert!(!told.contains("tracked") && !told.contains("commit"), "{told}");
}

#[test]
fn what_is_built_in_a_packed_folder_needs_no_second_build() {
    let root = tiny_checkout("built");
    let (path, told) = pack(&root, "packed-built", &[]);
    assert!(told.contains("- cargo test -p stage1-blocking --no-run: "), "{told}");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["run", "-p", "workshop", "--locked", "--offline"]).current_dir(&path);
    let told = succeed(cargo.env_remove("CARGO_TARGET_DIR").output().expect("cargo"));
    assert!(!told.contains("Compiling"), "{told}");
    // It can be packed in its turn, and brings its dependencies along.
    write(&path.join("vendor/a/lib.rs"), "fn a() {}\n");
    let (again, _) = pack(&path, "packed-again", &["--no-build"]);
    check_pack(&path, &again);
    assert!(again.join("vendor/a/lib.rs").exists());
}

/// git in a folder, as its owner.
fn git(folder: &Path, args: &[&str]) -> std::io::Result<Output> {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=Packer", "-c", "user.email=packer@example.org"]).args(args);
    git.current_dir(folder).output()
}

#[test]
fn a_clone_is_packed_without_its_owners_name_and_remote_and_can_be_begun_again() {
    let root = tiny_checkout("clone");
    if git(&root, &["init", "-q"]).is_err() {
        return skipped("there is no git");
    }
    for args in [
        &["add", "."][..],
        &["commit", "-qm", "A secret plan"],
        &["remote", "add", "origin", "https://example.org/packer"],
        &["config", "user.name", "Packer"],
    ] {
        succeed(git(&root, args).expect("git is there"));
    }
    write(&root.join("workshop/src/main.rs"), "fn main() { }\n");
    write(&root.join("untracked.txt"), "mine\n");
    let (path, told) = pack(&root, "packed-clone", &["--no-build"]);
    assert!(told.contains("- workshop/src/main.rs is not as in your last commit"), "{told}");
    assert!(told.contains("- untracked.txt is not tracked by git"), "{told}");
    assert!(!path.join("untracked.txt").exists());
    let log = succeed(git(&path, &["log", "--format=%an %ae %cn %s"]).expect("git is there"));
    assert_eq!(log, "workshop workshop@localhost workshop As it was packed\n");
    let config = fs::read_to_string(path.join(".git/config")).expect("a configuration");
    assert!(!config.contains("example.org") && !config.contains("Packer"), "{config}");
    // The way back that `check` names.
    let main = path.join("workshop/src/main.rs");
    write(&main, "fn main() { broken }\n");
    succeed(git(&path, &["restore", "workshop/src"]).expect("git is there"));
    assert_eq!(fs::read_to_string(main).expect("a source"), "fn main() { }\n");
    assert_eq!(succeed(git(&path, &["status", "--porcelain"]).expect("git is there")), "");
}

// ---- the container

#[test]
fn the_container_has_what_the_book_asks_for() {
    let text = fs::read_to_string(here().join(".devcontainer/devcontainer.json"));
    let text = text.expect("a description of the container");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON without comments");
    let args = json["runArgs"].as_array().expect("arguments");
    assert!(["--init", "--cap-add=SYS_PTRACE"].iter().all(|arg| args.contains(&(*arg).into())));
    let installs = json["postCreateCommand"].as_str().expect("a command");
    for tool in ["netcat-openbsd", "strace", "mdbook"] {
        assert!(installs.contains(tool), "{tool} is not installed");
    }
    let settings = &json["customizations"]["vscode"]["settings"];
    assert_eq!(settings["rust-analyzer.cargo.targetDir"], true);
}

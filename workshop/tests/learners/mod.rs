//! The tool where learners are: other line ends, other folders, other settings of cargo.

use std::fs;
#[cfg(target_os = "linux")]
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
#[cfg(target_os = "linux")]
use std::{process::Stdio, sync::mpsc, thread, time::Duration};

use common::testkit::skipped;
#[cfg(target_os = "linux")]
use nix::fcntl::{Flock, FlockArg};

use super::{Copy, here, said, workshop};

/// A checkout with one exercise, whose stage is built in a moment. It is done if the server says `right`.
struct Tiny(PathBuf);

const PAGE: &str = "\
# Exercise 1.1: Right

| Minutes | Kind | Stage |
| --- | --- | --- |
| 10 | build it | `stage1-blocking` |

## The task

Say what is right.

## What we will do to your server

Listen.

```console
cargo test -p stage1-blocking --test exercises -- --ignored e1_1
```

## Hints

<details><summary>Hint 1</summary>

Look.

</details>
<details><summary>Hint 2</summary>

Think.

</details>
<details><summary>Hint 3</summary>

Write.

</details>
<details><summary>The solution, in words</summary>

It is said.

</details>

## What you should now be able to explain

Why.
";

const TEST: &str = r#"
#[test]
#[ignore]
fn e1_1() {
    let server = std::process::Command::new(env!("CARGO_BIN_EXE_stage1-blocking"));
    let said = { server }.output().expect("the server").stdout;
    assert_eq!(String::from_utf8_lossy(&said), "right");
}
"#;

const PATCH: &str = "\
--- a/stage1-blocking/src/main.rs
+++ b/stage1-blocking/src/main.rs
@@ -1 +1 @@
-fn main() { print!(\"wrong\") }
+fn main() { print!(\"right\") }
";

const RIGHT: &str = "fn main() { print!(\"right\") }\n";
const WRONG: &str = "fn main() { print!(\"wrong\") }\n";

impl Tiny {
    fn new(name: &str, server: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&root);
        let tiny = Self(root);
        tiny.write(
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"stage1-blocking\"]\n",
        );
        tiny.write("docs/src/exercises/1.1.md", PAGE);
        tiny.write("docs/solutions/1.1.patch", PATCH);
        let package =
            "[package]\nname = \"stage1-blocking\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
        tiny.write("stage1-blocking/Cargo.toml", package);
        tiny.write("stage1-blocking/tests/exercises.rs", TEST);
        tiny.write("stage1-blocking/tests/contract.rs", "#[test]\nfn it_is_quiet() {}\n");
        tiny.write("stage1-blocking/src/main.rs", server);
        tiny
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().expect("it has one")).expect("cannot make a directory");
        fs::write(path, text).expect("cannot write");
    }

    /// The tool, as `cargo run` starts it here with these settings.
    fn command(&self, args: &[&str], settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
        command.args(args).current_dir(&self.0).env("CARGO_MANIFEST_DIR", self.0.join("workshop"));
        command.env_remove("CARGO_TARGET_DIR").envs(settings.iter().copied());
        command
    }

    fn workshop(&self, args: &[&str], settings: &[(&str, &str)]) -> Output {
        self.command(args, settings).output().expect("cannot start the tool")
    }

    /// What `check` has to say of the exercise: its first line behind the head.
    fn check(&self, settings: &[(&str, &str)]) -> String {
        let output = self.workshop(&["check", "1.1"], settings);
        let said = said(&output);
        let verdict =
            said.lines().find(|line| line.starts_with("green") || line.starts_with("red"));
        let verdict = verdict.unwrap_or_else(|| panic!("{settings:?}: no verdict: {said}"));
        assert_eq!(output.status.success(), verdict.starts_with("green"), "{said}");
        verdict.to_owned()
    }
}

// ---- line ends

/// Ends the lines of every file whose path contains one of these with CRLF.
fn with_crlf(folder: &Path, parts: &[&str]) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            with_crlf(&path, parts);
        } else if parts.iter().any(|part| path.to_string_lossy().contains(part)) {
            let text = fs::read_to_string(&path).expect("a text").replace("\r\n", "\n");
            fs::write(&path, text.replace('\n', "\r\n")).expect("cannot write");
        }
    }
}

#[test]
fn the_ends_of_the_lines_may_be_crlf() {
    let seen = |root: &Path| {
        let pages = [["show", "1.2"], ["hint", "1.2"], ["solution", "1.2"], ["verify", "--pages"]];
        let said = pages.map(|args| said(&workshop(root, &args)));
        // The last line of `verify` says how long it took.
        said.map(|said| {
            said.lines().filter(|line| !line.ends_with(" s.")).collect::<Vec<_>>().join("\n")
        })
    };
    for (name, parts) in [
        ("crlf", &[".md", ".rs", ".patch"][..]),
        ("crlf-patches", &[".patch"]),
        ("crlf-sources", &[".rs"]),
    ] {
        let lf = seen(&Copy::new(name).0);
        let copy = Copy::new(name);
        with_crlf(&copy.0, parts);
        assert_eq!(seen(&copy.0), lf);
    }
}

/// git for Windows has `core.autocrlf=true`, unless its user has chosen otherwise.
#[test]
fn a_clone_has_lf_whatever_git_prefers() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("autocrlf");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("ours")).expect("cannot make a directory");
    for file in [".gitattributes", "docs/solutions/1.2.patch", ".ci/run"] {
        let name = Path::new(file).file_name().expect("a name");
        fs::copy(here().join(file), folder.join("ours").join(name)).expect("cannot copy");
    }
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "core.autocrlf=true", "-c", "user.name=a", "-c", "user.email=a@b.c"]);
        git.args(args).current_dir(&folder).output()
    };
    if git(&["init", "-q", "ours"]).is_err() {
        return skipped("there is no git");
    }
    for args in [
        &["-C", "ours", "add", "."][..],
        &["-C", "ours", "commit", "-qm", "a"],
        &["clone", "-q", "ours", "theirs"],
    ] {
        let output = git(args).expect("git is there");
        assert!(output.status.success(), "{}", said(&output));
    }
    for file in ["1.2.patch", "run"] {
        let text = fs::read_to_string(folder.join("theirs").join(file)).expect("it was cloned");
        assert!(!text.contains('\r'), "{file} has CRLF");
    }
}

// ---- where the checkout is

#[test]
fn the_checkout_is_the_one_that_the_tool_is_run_in() {
    let copy = Copy::new("elsewhere");
    copy.replace("docs/src/exercises/1.2.md", "# Exercise 1.2: ", "# Exercise 1.2: ELSEWHERE ");
    let list = |folder: &str, package: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
        command.arg("list").current_dir(copy.0.join(folder)).env_remove("CARGO_MANIFEST_DIR");
        command.envs(package.map(|package| ("CARGO_MANIFEST_DIR", package)));
        said(&command.output().expect("cannot start the tool"))
    };
    for folder in ["", "stage1-blocking/src"] {
        assert!(list(folder, None).contains("ELSEWHERE"), "{}", list(folder, None));
    }
    // The package that cargo runs decides, and not where cargo is called.
    let ours = here().join("workshop");
    assert!(!list("", Some(&ours)).contains("ELSEWHERE"));
}

#[test]
fn outside_of_a_checkout_the_tool_says_so_in_one_line() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    command.arg("list").current_dir("/").env_remove("CARGO_MANIFEST_DIR");
    let output = command.output().expect("cannot start the tool");
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("is not in a checkout"), "{}", said(&output));
    assert_eq!(said(&output).lines().count(), 1);
}

/// cargo takes the packages of two checkouts for the same. So what it built last is up to date to it.
#[test]
fn two_checkouts_that_share_a_target_folder_are_two() {
    let (a, b) = (Tiny::new("shared-a", RIGHT), Tiny::new("shared-b", WRONG));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shared-target");
    let _ = fs::remove_dir_all(&target);
    let settings = [("CARGO_TARGET_DIR", target.to_str().expect("a path of ours"))];
    for _ in 0..2 {
        assert!(a.check(&settings).starts_with("green"));
        assert!(b.check(&settings).starts_with("red"));
    }
    let done = |tiny: &Tiny| said(&tiny.workshop(&["list"], &settings)).contains("1 done.");
    assert!(done(&a) && !done(&b));
}

// ---- what cargo is told

#[test]
fn what_cargo_is_told_of_words_colours_and_places_makes_no_difference() {
    let host = Command::new("rustc").arg("-vV").output().map(|output| said(&output));
    let host = host.expect("rustc is there");
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).expect("it has a host");
    let brackets = Path::new(env!("CARGO_TARGET_TMPDIR")).join("a (b) c");
    let settings = [
        ("CARGO_TERM_QUIET", "true"),
        ("CARGO_TERM_VERBOSE", "true"),
        ("CARGO_TERM_COLOR", "always"),
        ("CARGO_BUILD_TARGET", host),
        ("CARGO_TARGET_DIR", brackets.to_str().expect("a path of ours")),
    ];
    let tiny = Tiny::new("settings", RIGHT);
    for setting in settings {
        assert!(tiny.check(&[setting]).starts_with("green"), "{setting:?}");
    }
    tiny.write("stage1-blocking/src/main.rs", "fn main() { nonsense() }\n");
    for setting in settings {
        assert!(tiny.check(&[setting]).contains("it does not compile"), "{setting:?}");
        let said = said(&tiny.workshop(&["check", "1.1"], &[setting]));
        assert!(said.contains("\nerror[E0425]: cannot find function `nonsense`"), "{said}");
    }
}

#[test]
fn what_cargo_cannot_read_is_told_in_its_own_words() {
    let tiny = Tiny::new("manifest", RIGHT);
    tiny.write("stage1-blocking/Cargo.toml", "nonsense\n");
    let said = said(&tiny.workshop(&["check", "1.1"], &[]));
    assert!(said.contains("Error: cargo cannot build stage1-blocking"), "{said}");
    assert!(said.contains("nonsense") && !said.contains("does not compile"), "{said}");
}

/// A quiet cargo would wait without a word.
#[cfg(target_os = "linux")]
#[test]
fn that_another_cargo_has_locked_the_build_folder_is_told() {
    let tiny = Tiny::new("locked", RIGHT);
    assert!(tiny.check(&[]).starts_with("green"));
    let lock = fs::File::open(tiny.0.join("target/debug/.cargo-lock")).expect("cargo has one");
    let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).expect("no cargo is at work");
    let mut command = tiny.command(&["check", "1.1"], &[("CARGO_TERM_QUIET", "true")]);
    let mut tool = command.stdout(Stdio::piped()).spawn().expect("cannot start the tool");
    let (tell, told) = mpsc::channel();
    let mut stdout = BufReader::new(tool.stdout.take().expect("a pipe")).lines();
    thread::spawn(move || stdout.by_ref().try_for_each(|line| tell.send(line.unwrap_or_default())));
    let told = || told.recv_timeout(Duration::from_secs(20)).expect("not a word of the lock");
    while !told().contains("another cargo, your editor's perhaps, is building") {}
    drop(lock);
    assert!(tool.wait().expect("it ends").success());
}

#[test]
fn the_way_into_a_new_crate_can_be_typed_whatever_its_path() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new (1) crate");
    let _ = fs::remove_dir_all(&folder);
    let path = folder.join("mine");
    let path = path.to_str().expect("a path of ours");
    let said = said(&workshop(&here(), &["new", path]));
    assert!(said.contains(&format!("\n  cd \"{path}\"\n")), "{said}");
}

// ---- what git knows of the checkout

/// `sh -c` where nothing above `folder` counts as a repository.
#[cfg(unix)]
fn shell(folder: &Path, here: &Path, script: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-ec", script]).current_dir(here).env("GIT_CEILING_DIRECTORIES", folder);
    for role in ["AUTHOR", "COMMITTER"] {
        shell.env(format!("GIT_{role}_NAME"), "a").env(format!("GIT_{role}_EMAIL"), "a@b.c");
    }
    let output = shell.output().expect("a shell");
    assert!(output.status.success(), "{script}: {}", said(&output));
}

/// In such a checkout, after such a preparation, the command that puts the solution in and the one that
/// takes it back do so. Between them the learner does something with git, or deletes all that it knows.
#[cfg(unix)]
fn check_commands(name: &str, checkout: &str, prepare: &str, below: &str, keep: &str) {
    if Command::new("git").arg("version").output().is_err() {
        return skipped("there is no git");
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    Tiny::new(&format!("{name}/zip"), WRONG);
    shell(&folder, &folder, prepare);
    let tiny = Tiny(folder.join(checkout));
    let here = tiny.0.join(below);
    let ceiling = folder.to_str().expect("a path of ours");
    let type_what_it_says = |what: &str| {
        let mut tool = tiny.command(&["solution", "1.1"], &[("GIT_CEILING_DIRECTORIES", ceiling)]);
        let said = said(&tool.current_dir(&here).output().expect("cannot start the tool"));
        let command = said.lines().find_map(|line| line.strip_prefix(what));
        let command = command.unwrap_or_else(|| panic!("not a word of how: {said}"));
        let args = command.strip_prefix("cargo run -p workshop -- ").expect("a command of ours");
        let args: Vec<_> = args.split(' ').collect();
        let mut tool = tiny.command(&args, &[("GIT_CEILING_DIRECTORIES", ceiling)]);
        let output = tool.current_dir(&here).output().expect("cannot start the tool");
        assert!(output.status.success(), "{}", super::said(&output));
        fs::read_to_string(tiny.0.join("stage1-blocking/src/main.rs")).expect("a source")
    };
    assert_eq!(type_what_it_says("To put it in: "), RIGHT, "{name}");
    shell(&folder, &tiny.0, keep);
    assert_eq!(type_what_it_says("To take everything back: "), WRONG, "{name}");
}

#[cfg(unix)]
#[test]
fn what_the_tool_says_to_type_works_wherever_the_checkout_is() {
    let commit = "git init -q zip && cd zip && git add . && git commit -qm zip";
    let clone = &format!("({commit}) && git clone -q zip clone");
    for below in ["", "stage1-blocking/src"] {
        check_commands("no-git", "zip", "", below, "");
        check_commands("in-another", "zip", "git init -q", below, "");
        check_commands("in-git", "zip", commit, below, "");
        check_commands("forgotten", "clone", clone, below, "rm -rf .git");
        check_commands("added", "zip", commit, below, "git add .");
        check_commands("committed", "clone", clone, below, "git commit -qam mine");
    }
}

#[test]
fn that_there_is_no_git_is_told_once() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    command.args(["verify", "--pages"]).current_dir(here()).env("PATH", "");
    let output = command.output().expect("cannot start the tool");
    let said = said(&output);
    assert!(said.starts_with("off: cannot start git, which applies the patches: "), "{said}");
    assert_eq!((said.lines().count(), output.status.code()), (2, Some(1)), "{said}");
}

// ---- what cannot be written

#[test]
fn what_cannot_be_remembered_is_a_note_behind_what_there_is_to_see() {
    let tiny = Tiny::new("forgetful", RIGHT);
    // Where a folder should be. Permissions would not stop root.
    tiny.write(".workshop", "");
    assert!(tiny.check(&[]).starts_with("green"));
    for (command, seen) in [("check", "Done."), ("hint", "Hint 1\nLook.")] {
        let said = said(&tiny.workshop(&[command, "1.1"], &[]));
        let (before, note) = said.split_once("(That cannot be remembered: ").expect("a note");
        assert!(before.contains(seen) && note.lines().count() == 1, "{said}");
    }
}

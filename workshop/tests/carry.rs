//! The tool carries a learner through: it remembers, begins again, brings back, predicts and watches.
//!
//! Each test has a checkout of its own with two exercises, whose stage is built in a moment.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
#[cfg(target_os = "linux")]
use std::{
    io::Write,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use common::testkit::client::allow_descriptors;
#[cfg(target_os = "linux")]
use common::testkit::{deadline, server::terminal};
use common::testkit::{eventually, skipped};
use common::watchdog::Watchdog;

/// What a test here has open at the same time: files, pipes, a terminal, two sockets.
const FEW: u64 = 20;

/// A checkout: 1.1 is to be built, 1.2 to be broken, and both are about what the server says.
struct Checkout(PathBuf);

const PAGE: &str = "\
# Exercise NUMBER: Say it

| Minutes | Kind | Stage |
| --- | --- | --- |
| 10 | KIND | `stage1-blocking` |

## The task

Say it.

## What we will do to your server

Listen.

```console
cargo test -p stage1-blocking --test exercises -- --ignored TEST
```

It shows as **a wrong answer**: `said().contains`.

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
<details><summary>What happens</summary>

It is not said.

</details>

## What you should now be able to explain

- Why `say`?
";

/// The test waits at a gate, if it is told of one, so that a test of ours knows that it runs.
const TEST: &str = r#"
fn said() -> String {
    if let Ok(gate) = std::env::var("GATE") {
        let gate = std::net::TcpStream::connect(gate).expect("a gate");
        std::io::Read::read(&mut { gate }, &mut [0]).expect("it opens");
    }
    let server = std::process::Command::new(env!("CARGO_BIN_EXE_stage1-blocking"));
    let said = { server }.output().expect("the server").stdout;
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
#[ignore]
fn e1_1() {
    assert!(said().contains("right"));
}

#[test]
#[ignore]
fn it_greets() {
    assert!(said().contains("hello"));
}

#[test]
fn it_is_polite() {}

#[test]
fn it_is_brief() {}

#[test]
fn it_is_quiet() {}
"#;

const FIRST: &str = "fn main() {\n    print!(\"hello \");\n    print!(\"wrong\");\n}\n";

impl Checkout {
    fn new(name: &str) -> Self {
        allow_descriptors(FEW);
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("carry").join(name);
        let _ = fs::remove_dir_all(&root);
        let checkout = Self(root);
        let page = |number: &str, kind: &str, test: &str| {
            PAGE.replace("NUMBER", number).replace("KIND", kind).replace("TEST", test)
        };
        let patch = |from: &str, to: &str| {
            let path = "stage1-blocking/src/main.rs";
            format!("--- a/{path}\n+++ b/{path}\n@@ -2,2 +2,2 @@\n{from}\n{to}\n")
        };
        let [hello, wrong] = ["    print!(\"hello \");", "    print!(\"wrong\");"];
        let solution = patch(&format!(" {hello}"), &format!("-{wrong}\n+    print!(\"right\");"));
        let fault = patch(&format!("-{hello}\n+    print!(\"bye \");"), &format!(" {wrong}"));
        for (file, text) in [
            ("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"stage1-blocking\"]\n"),
            ("docs/src/exercises/1.1.md", &page("1.1", "build it", "e1_1")),
            ("docs/src/exercises/1.2.md", &page("1.2", "break it", "it_greets")),
            ("docs/solutions/1.1.patch", &solution),
            ("docs/solutions/1.2.patch", &fault),
            (
                "stage1-blocking/Cargo.toml",
                "[package]\nname = \"stage1-blocking\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
            ),
            ("stage1-blocking/tests/exercises.rs", TEST),
            ("stage1-blocking/tests/contract.rs", "#[test]\nfn it_is_quiet() {}\n"),
            (SOURCE, FIRST),
        ] {
            checkout.write(file, text);
        }
        checkout
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().expect("it has one")).expect("cannot make a directory");
        fs::write(path, text).expect("cannot write");
    }

    fn source(&self) -> String {
        fs::read_to_string(self.0.join(SOURCE)).expect("a source")
    }

    /// The tool, as `cargo run` starts it here. No repository above counts.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
        command.args(args).current_dir(&self.0).env("CARGO_MANIFEST_DIR", self.0.join("workshop"));
        command.env("GIT_CEILING_DIRECTORIES", self.0.parent().expect("it has one"));
        command.env_remove("CARGO_TARGET_DIR").env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("cannot start the tool")
    }

    /// What the tool says, if all is well.
    #[track_caller]
    fn says(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        said(&output)
    }
}

const SOURCE: &str = "stage1-blocking/src/main.rs";

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The arguments of the command of ours that stands behind some words.
#[track_caller]
fn command_behind(words: &str, said: &str) -> Vec<String> {
    let mut lines = said.lines();
    let command = lines.find_map(|line| line.split_once(words)?.1.split_once("workshop -- "));
    let (_, args) = command.unwrap_or_else(|| panic!("no command behind {words:?}: {said}"));
    args.split_whitespace().map(str::to_owned).collect()
}

// ---- begin again, and bring back

/// Without git, with LF and with CRLF, from a folder below.
#[test]
fn what_start_takes_out_is_brought_back() {
    for (name, ends, below) in [("lf", "\n", ""), ("crlf", "\r\n", "stage1-blocking/src")] {
        let checkout = Checkout::new(name);
        let first = FIRST.replace('\n', ends);
        checkout.write(SOURCE, &first);
        checkout.says(&["list"]);
        let mine = first.replace("wrong", "mine");
        checkout.write(SOURCE, &mine);
        checkout.write("stage1-blocking/src/more.rs", "// more\n");
        let says = |args: &[&str]| {
            let output = checkout.command(args).current_dir(checkout.0.join(below)).output();
            said(&output.expect("cannot start the tool"))
        };
        let started = says(&["start", "1.1"]);
        assert!(started.contains("## The task") && checkout.source() == first, "{started}");
        assert!(!checkout.0.join("stage1-blocking/src/more.rs").exists());
        let back = command_behind("To bring them back: ", &started);
        says(&back.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(checkout.source(), mine);
        assert!(checkout.0.join("stage1-blocking/src/more.rs").exists());
        // And by the number, or from the list.
        says(&["reset", "1.1"]);
        assert_eq!(checkout.source(), first);
        assert!(says(&["resume"]).contains(&back[1]), "{}", says(&["resume"]));
        says(&["resume", "1.1"]);
        assert_eq!(checkout.source(), mine);
    }
}

#[test]
fn what_is_as_it_was_given_is_not_saved() {
    let checkout = Checkout::new("nothing-to-save");
    let said = checkout.says(&["start", "1.1"]);
    assert!(!said.contains("saved") && !checkout.0.join(".workshop/saved").exists(), "{said}");
    assert!(checkout.says(&["resume"]).contains("Nothing is saved."));
    let output = checkout.run(&["resume", "1.1"]);
    assert!(self::said(&output).contains("nothing is saved as 1.1"), "{}", self::said(&output));
}

#[test]
fn the_same_changes_are_saved_once() {
    let checkout = Checkout::new("saved-once");
    checkout.says(&["list"]);
    checkout.write(SOURCE, &FIRST.replace("wrong", "mine"));
    let first = command_behind("To bring them back: ", &checkout.says(&["reset", "1.1"]));
    checkout.says(&["resume", "1.1"]);
    let again = command_behind("To bring them back: ", &checkout.says(&["reset", "1.1"]));
    assert_eq!(first, again);
}

#[test]
fn a_patch_is_put_in_where_it_applies_and_else_the_tool_says_what_to_do() {
    for (name, ends) in [("apply-lf", "\n"), ("apply-crlf", "\r\n")] {
        let checkout = Checkout::new(name);
        let first = FIRST.replace('\n', ends);
        checkout.write(SOURCE, &first);
        checkout.says(&["apply", "1.1"]);
        assert_eq!(checkout.source(), first.replace("wrong", "right"));
        assert!(checkout.says(&["apply", "1.1"]).contains("The solution is in already."));
        let output = checkout.run(&["apply", "1.2"]);
        let expected =
            "the solution of 1.1 is still in; `cargo run -p workshop -- start 1.2` saves";
        assert!(said(&output).contains(expected), "{}", said(&output));
        checkout.write(SOURCE, &first.replace("wrong", "mine"));
        let output = checkout.run(&["apply", "1.1"]);
        let expected = "stage1-blocking/src/main.rs has other lines than the patch; \
                        `cargo run -p workshop -- start 1.1` saves your changes";
        assert!(said(&output).contains(expected), "{}", said(&output));
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(checkout.source(), first.replace("wrong", "mine"));
    }
}

#[test]
fn what_another_exercise_has_left_is_told_before_the_next_one_begins() {
    let checkout = Checkout::new("leftover");
    assert!(!checkout.says(&["next"]).contains("still in"));
    checkout.says(&["apply", "1.2"]);
    for args in [&["next"][..], &["show", "1.1"]] {
        let said = checkout.says(args);
        assert!(said.contains("In stage1-blocking/src the fault of 1.2 is still in.\n"), "{said}");
        assert_eq!(command_behind("the first state: ", &said), ["start", "1.1"]);
    }
    let said = said(&checkout.run(&["check", "1.1"]));
    assert!(said.contains("Besides: the fault of 1.2 is still in."), "{said}");
    assert_eq!(command_behind("still in. Take it out: ", &said), ["reset", "1.1"]);
    // Of its own exercise it is no leftover.
    assert!(!checkout.says(&["show", "1.2"]).contains("still in"));
    let started = checkout.says(&["start", "1.1"]);
    assert!(
        started.starts_with("In stage1-blocking/src the fault of 1.2 is still in.\n"),
        "{started}"
    );
    let back = command_behind("To bring them back: ", &started);
    assert!(back[1].ends_with("-1.2"), "saved as {back:?}");
}

/// No page has them: they were typed by hand.
#[test]
fn the_changes_with_which_another_exercise_was_finished_are_told_until_they_are_out() {
    let checkout = Checkout::new("finished");
    checkout.says(&["list"]); // keeps the first state
    let by_hand = FIRST.replace("print!(\"wrong\")", "print!(\"{}\", \"right\")");
    checkout.write(SOURCE, &by_hand);
    checkout.says(&["check", "1.1"]);
    let told = "In stage1-blocking/src there are changes in main.rs; with them you finished 1.1.\n\
                If they are not for this exercise, save them and begin:";
    let check = || said(&checkout.run(&["check", "1.2"]));
    let first = check();
    let before = "Nothing is planted for 1.2 yet. The changes in main.rs are from before.";
    assert!(first.contains(before) && first.contains(told), "{first}");
    assert_eq!(command_behind("save them and begin: ", &first), ["start", "1.2"]);
    // Of its own exercise they are no leftover.
    assert!(!checkout.says(&["check", "1.1"]).contains("you finished"));
    checkout.write(SOURCE, &by_hand.replace("fn main() {\n", "// mine\n\nfn main() {\n"));
    let more = check();
    assert!(more.contains("there are changes in main.rs; with them you finished 1.1"), "{more}");
    let started = checkout.says(&["start", "1.2"]);
    let last = started.lines().last().unwrap_or_default();
    let back = command_behind("Your changes are saved. To bring them back: ", last);
    assert!(back[1].ends_with("-1.1"), "saved as {back:?}");
    let then = check();
    assert!(!then.contains("you finished") && then.contains("Nothing is broken yet"), "{then}");
}

#[test]
fn the_changes_are_shown_beside_the_solution() {
    let checkout = Checkout::new("diff");
    checkout.says(&["list"]);
    checkout.write(SOURCE, &FIRST.replace("wrong", "mine"));
    let said = checkout.says(&["diff", "1.1"]);
    assert!(said.starts_with("- only with the solution of 1.1, + only in your stage1"), "{said}");
    assert!(said.contains("\n-    print!(\"right\");\n+    print!(\"mine\");\n"), "{said}");
    checkout.write(SOURCE, &FIRST.replace("wrong", "right"));
    let said = checkout.says(&["diff", "1.1"]);
    assert!(said.contains("is the first state with the solution of 1.1 in."), "{said}");
}

// ---- the first state

#[cfg(unix)]
impl Checkout {
    /// Runs `sh -ec` here, where no repository above counts.
    #[track_caller]
    fn shell(&self, script: &str) {
        let mut shell = Command::new("sh");
        shell.args(["-ec", script]).current_dir(&self.0);
        shell.env("GIT_CEILING_DIRECTORIES", self.0.parent().expect("it has one"));
        for role in ["AUTHOR", "COMMITTER"] {
            shell.env(format!("GIT_{role}_NAME"), "a").env(format!("GIT_{role}_EMAIL"), "a@b.c");
        }
        let output = shell.output().expect("a shell");
        assert!(output.status.success(), "{script}: {}", said(&output));
    }
}

#[cfg(unix)]
fn has_git() -> bool {
    let has_git = Command::new("git").arg("version").output().is_ok();
    if !has_git {
        skipped("there is no git");
    }
    has_git
}

/// A clone whose learner has changed, and committed, what is theirs before the tool was called first.
#[cfg(unix)]
#[test]
fn the_first_state_is_what_git_was_cloned_with() {
    if !has_git() {
        return;
    }
    let checkout = Checkout::new("cloned");
    checkout.shell("git init -q . && git add . && git commit -qm a && git clone -q . clone");
    let clone = Checkout(checkout.0.join("clone"));
    clone.write(SOURCE, &FIRST.replace("wrong", "mine"));
    clone.shell("git commit -qam mine");
    clone.says(&["reset", "1.1"]);
    assert_eq!(clone.source(), FIRST);
    // From now on without git.
    fs::remove_dir_all(clone.0.join(".git")).expect("it was there");
    clone.says(&["resume", "1.1"]);
    clone.says(&["reset", "1.1"]);
    assert_eq!(clone.source(), FIRST);
}

#[cfg(unix)]
#[test]
fn the_first_state_follows_the_repository_that_was_cloned() {
    if !has_git() {
        return;
    }
    let checkout = Checkout::new("upstream");
    checkout.shell("git init -q . && git add . && git commit -qm a && git clone -q . clone");
    let clone = Checkout(checkout.0.join("clone"));
    clone.says(&["list"]);
    let newer = format!("// Newer.\n{FIRST}");
    checkout.write(SOURCE, &newer);
    checkout.shell("git commit -qam newer");
    clone.shell("git pull -q");
    clone.write(SOURCE, "");
    clone.says(&["reset", "1.1"]);
    assert_eq!(clone.source(), newer);
}

/// A zip that its learner has put under git: the last commit may be the learner's own.
#[cfg(unix)]
#[test]
fn the_first_state_does_not_follow_the_learners_own_commits() {
    if !has_git() {
        return;
    }
    let checkout = Checkout::new("own-commits");
    checkout.shell("git init -q . && git add . && git commit -qm a");
    checkout.says(&["list"]);
    checkout.write(SOURCE, &FIRST.replace("wrong", "right"));
    checkout.shell("git commit -qam mine");
    checkout.says(&["reset", "1.1"]);
    assert_eq!(checkout.source(), FIRST);
}

/// And a zip unpacked inside of another repository, whose commits are about something else.
#[cfg(unix)]
#[test]
fn another_repository_around_the_checkout_is_not_asked() {
    if !has_git() {
        return;
    }
    let outside = Checkout::new("around");
    outside.shell("git init -q . && git add docs && git commit -qm a && git clone -q . clone");
    let inside = Checkout::new("around/clone/inside");
    let list = |checkout: &Checkout| {
        let mut command = checkout.command(&["list"]);
        command.env_remove("GIT_CEILING_DIRECTORIES").output().expect("the tool")
    };
    assert!(list(&inside).status.success());
    inside.write(SOURCE, &FIRST.replace("wrong", "mine"));
    outside.shell("git commit -q --allow-empty -m b && git -C clone pull -q");
    assert!(list(&inside).status.success());
    inside.says(&["reset", "1.1"]);
    assert_eq!(inside.source(), FIRST);
}

/// A learner who has put in the patch, in a zip, before the tool was called first.
#[test]
fn a_patch_that_was_in_before_is_not_part_of_the_first_state() {
    let checkout = Checkout::new("patched-before");
    checkout.write(SOURCE, &FIRST.replace("wrong", "right"));
    checkout.says(&["reset", "1.1"]);
    assert_eq!(checkout.source(), FIRST);
}

// ---- memory

#[test]
fn what_is_done_stays_done_with_the_solution_and_wherever_the_folder_is() {
    let checkout = Checkout::new("done");
    // Nothing has shown the task: the clock starts with the first check.
    let untouched = said(&checkout.run(&["check", "1.1"]));
    assert!(untouched.contains("You have changed nothing yet: this is what is"), "{untouched}");
    assert!(!untouched.contains("Likely cause"), "{untouched}");
    checkout.write(SOURCE, &FIRST.replace("wrong", "all right"));
    checkout.says(&["check", "1.1"]);
    checkout.write(SOURCE, FIRST);
    assert!(!checkout.run(&["check", "1.1"]).status.success(), "it is red now");
    fs::remove_dir_all(checkout.0.join("target")).expect("cargo has built something");
    let renamed = Checkout(checkout.0.with_file_name("done renamed"));
    let _ = fs::remove_dir_all(&renamed.0);
    fs::rename(&checkout.0, &renamed.0).expect("cannot rename");
    assert!(renamed.says(&["list"]).contains("2 exercises, 20 minutes, 1 done."));
    assert!(renamed.says(&["next"]).starts_with("Exercise 1.2"));
    let kept = fs::read_to_string(renamed.0.join(".workshop/done/1.1")).expect("it is kept");
    assert!(kept.contains("\"day\":\"2") && kept.contains("\"minutes\":1,"), "{kept}");
    let patch = fs::read_to_string(renamed.0.join(".workshop/done/1.1.patch")).expect("a patch");
    assert!(patch.contains("+    print!(\"all right\");"), "{patch}");
    let summary = renamed.says(&["summary", "s.html"]);
    assert!(summary.starts_with("1 of 2 exercises done, 1 min (planned: 10).\n"), "{summary}");
    let page = fs::read_to_string(renamed.0.join("s.html")).expect("a page");
    assert!(page.contains("<li>Why <code>say</code>?</li>"), "{page}");
}

#[test]
fn what_an_older_tool_remembers_is_taken_over_once() {
    let checkout = Checkout::new("taken-over");
    checkout.write("target/workshop/done/1.1", "");
    checkout.write("target/workshop/hints/1.2", "2");
    assert!(checkout.says(&["list"]).contains(" 1 done."));
    assert!(checkout.says(&["hint", "1.2"]).contains("Hint 3"));
    let summary = checkout.says(&["summary"]);
    assert!(
        summary.starts_with("1 of 2 exercises done, 0 min (planned: 0), and 1 of unknown"),
        "{summary}"
    );
    fs::remove_dir_all(checkout.0.join(".workshop")).expect("it was there");
    assert!(checkout.says(&["list"]).contains(" 0 done."), "it has come back");
}

/// root may write everywhere. So root runs the tool as another user.
#[cfg(unix)]
#[test]
fn in_a_checkout_that_cannot_be_written_everything_is_shown_and_then_a_note() {
    use std::os::unix::fs::PermissionsExt;

    let checkout = Checkout::new("read-only");
    let only_read = |mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(&checkout.0, mode).expect("it is ours");
    };
    only_read(0o555);
    let is_root = nix::unistd::geteuid().is_root();
    let run = |args: &[&str]| {
        let mut command = checkout.command(args);
        if is_root {
            let tool = command.get_program().to_owned();
            let mut other = Command::new("setpriv");
            other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(tool).args(args);
            other.current_dir(&checkout.0).env("CARGO_MANIFEST_DIR", &checkout.0);
            command = other;
        }
        command.output()
    };
    let tried = run(&["list"]);
    if is_root && !tried.is_ok_and(|output| output.status.success()) {
        only_read(0o755);
        return skipped("root, and no other user can run the tool");
    }
    for (args, shown) in [(["show", "1.1"], "## The task"), (["hint", "1.1"], "Hint 1\nLook.")] {
        let said = said(&run(&args).expect("the tool"));
        let (before, note) = said.split_once("(That cannot be remembered: ").expect("a note");
        assert!(before.contains(shown) && note.lines().count() == 1, "{said}");
    }
    let output = run(&["start", "1.1"]).expect("the tool");
    let of_start = said(&output);
    only_read(0o755);
    assert!(output.status.success() && of_start.contains("in its first state"), "{of_start}");
    assert!(!checkout.0.join(".workshop").exists());
}

/// `| head -1`: the reader goes before all is said.
#[test]
fn a_reader_that_leaves_early_ends_the_tool_quietly() {
    let checkout = Checkout::new("head");
    checkout.says(&["list"]);
    checkout.write(SOURCE, &FIRST.replace("wrong", "mine"));
    for args in [
        &["diff", "1.1"][..],
        &["next"],
        &["show", "1.1"],
        &["start", "1.1"],
        &["resume"],
        &["apply", "1.1"],
        &["summary"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = checkout.command(args).stdout(writer).output().expect("cannot start the tool");
        assert_eq!((said(&output), output.status.code()), (String::new(), Some(0)), "{args:?}");
    }
}

// ---- predict

#[test]
fn a_prediction_is_kept_and_the_first_one_stays() {
    let checkout = Checkout::new("predicted");
    let output = checkout.run(&["check", "1.2", "--predict", "silence:no_such_test"]);
    assert!(said(&output).contains("there is no test no_such_test"), "{}", said(&output));
    let output = checkout.run(&["check", "1.2", "--predict", "crash"]);
    assert!(said(&output).contains("expected one of wrong-answer, end, spin"), "{}", said(&output));
    let output = checkout.run(&["check", "1.1", "--predict", "spin"]);
    assert!(said(&output).contains("only a fault can be predicted"), "{}", said(&output));

    checkout.says(&["apply", "1.2"]);
    checkout.says(&["check", "1.2", "--predict", "silence:it_is_polite"]);
    let kept =
        || fs::read_to_string(checkout.0.join(".workshop/predicted/1.2")).expect("it is kept");
    assert_eq!(kept(), "silence:it_is_polite");
    let said = checkout.says(&["check", "1.2", "--predict", "spin"]);
    assert!(said.contains("You have predicted before: silence in it_is_polite."), "{said}");
    assert_eq!(kept(), "silence:it_is_polite");
}

// ---- watch

/// The tool while it runs. If a test fails, it goes.
struct Running(Child, #[expect(dead_code, reason = "it kills the tool with us")] Watchdog);

impl Running {
    fn start(mut command: Command) -> Self {
        let (child, watchdog) = Watchdog::spawn(&mut command).expect("cannot start the tool");
        Self(child, watchdog)
    }

    #[track_caller]
    fn ends(&mut self) {
        let mut ended = None;
        eventually("the tool ends", || {
            ended = self.0.try_wait().expect("it is ours");
            ended.is_some()
        });
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Where a check waits until we let it go on.
struct Gate(TcpListener);

impl Gate {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("cannot listen"))
    }

    fn addr(&self) -> String {
        self.0.local_addr().expect("an address").to_string()
    }

    /// A check runs now. It goes on when this is dropped.
    #[track_caller]
    fn a_check_runs(&self) -> TcpStream {
        let mut check = None;
        self.0.set_nonblocking(true).expect("a flag");
        eventually("a check runs", || {
            check = self.0.accept().ok();
            check.is_some()
        });
        check.expect("it has come").0
    }
}

#[test]
fn a_save_while_a_check_runs_is_checked_after_it() {
    let checkout = Checkout::new("watched");
    let gate = Gate::new();
    let mut command = checkout.command(&["watch", "1.1", "--until-done"]);
    command.env("GATE", gate.addr()).stdout(Stdio::piped());
    let mut watch = Running::start(command);
    let running = gate.a_check_runs();
    checkout.write(SOURCE, &FIRST.replace("wrong", "nearly"));
    checkout.write(SOURCE, &FIRST.replace("wrong", "right"));
    drop(running);
    drop(gate.a_check_runs());
    watch.ends();
    let mut said = String::new();
    watch.0.stdout.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert_eq!(said.matches("Exercise 1.1: Say it").count(), 2, "{said}");
    assert!(said.contains("red after ") && said.contains("green after "), "{said}");
    let words = ["building …", "running the test …", "red after", "saved; building …"];
    let rest =
        ["running the test …", "now the other tests of the stage …", "the other tests: 1 green"];
    let mut behind = &said[..];
    for word in words.iter().chain(&rest) {
        behind = behind.split_once(word).unwrap_or_else(|| panic!("no {word:?}: {said}")).1;
    }
    let next = "Green: 1.1 is done.\nThe first one that is not done:      cargo run";
    assert!(said.contains(next), "{said}");
    assert!(said.contains("Watching stage1-blocking/src: red. Ctrl-C"), "{said}");
    assert!(said.trim_end().ends_with("Watching stage1-blocking/src: green. Ctrl-C ends it."));
    assert!(!said.contains('\x1b'), "no terminal, no colours: {said}");
}

/// A person at a pseudo-terminal.
#[cfg(target_os = "linux")]
struct Person {
    screen: Arc<Mutex<String>>,
    keyboard: fs::File,
    /// The other side, to see its settings.
    terminal: fs::File,
}

#[cfg(target_os = "linux")]
impl Person {
    /// Runs the tool at a terminal.
    fn runs(mut command: Command) -> (Self, Running) {
        let (keyboard, terminal) = terminal().expect("Linux has them");
        let side = || terminal.try_clone().expect("a descriptor");
        command.stdin(side()).stdout(side()).stderr(side()).env("TERM", "xterm");
        let running = Running::start(command);
        let screen = Arc::new(Mutex::new(String::new()));
        let (seen, reader) = (Arc::clone(&screen), keyboard.try_clone());
        let mut reader = reader.expect("a descriptor");
        thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buf) {
                let text = String::from_utf8_lossy(&buf[..n]);
                seen.lock().expect("the screen").push_str(&text);
            }
        });
        (Self { screen, keyboard, terminal }, running)
    }

    fn screen(&self) -> String {
        self.screen.lock().expect("the screen").clone()
    }

    #[track_caller]
    fn sees(&self, text: &str) {
        self.sees_times(1, text);
    }

    #[track_caller]
    fn sees_times(&self, times: usize, text: &str) {
        let seen = || self.screen().matches(text).count() >= times;
        let start = Instant::now();
        while !seen() {
            assert!(start.elapsed() < deadline(), "no {text:?}: {}", self.screen());
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn types(&self, keys: &str) {
        (&self.keyboard).write_all(keys.as_bytes()).expect("it takes keys");
    }

    /// Whether keys are shown, and passed on line by line.
    fn is_as_usual(&self) -> bool {
        use nix::sys::termios::{LocalFlags, tcgetattr};
        let flags = tcgetattr(&self.terminal).expect("a terminal").local_flags;
        flags.contains(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG)
    }
}

#[cfg(target_os = "linux")]
#[test]
fn keys_work_while_it_watches_and_the_terminal_is_as_usual_afterwards() {
    // Ctrl-C is a key as well.
    for (name, end) in [("key-q", "q"), ("key-ctrl-c", "\x03")] {
        let checkout = Checkout::new(name);
        let (person, mut watch) = Person::runs(checkout.command(&["watch", "1.1"]));
        person.sees("Watching stage1-blocking/src: ");
        person.sees("press h");
        eventually("keys are passed on at once", || !person.is_as_usual());
        person.types("x");
        person.sees("'x' is none of the keys.");
        person.sees_times(2, "Watching");
        eventually("keys are passed on at once", || !person.is_as_usual());
        person.types("h");
        person.sees("Hint 1\r\nLook.");
        person.types("s");
        person.sees("s once more shows the solution.");
        person.types("s");
        person.sees("It is said.");
        let times = person.screen().matches("Watching").count();
        person.types("r");
        person.sees_times(times + 1, "Watching");
        // This terminal is not the one that controls the tool. So while a check runs, Ctrl-C is no signal.
        eventually("keys are passed on at once", || !person.is_as_usual());
        person.types(end);
        watch.ends();
        assert!(person.is_as_usual(), "{}", person.screen());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn at_a_terminal_the_prediction_is_asked_for_once() {
    let checkout = Checkout::new("asked");
    let check = || Person::runs(checkout.command(&["check", "1.2"]));
    let (person, mut running) = check();
    person.sees("How does the test fail?");
    let screen = person.screen();
    let (task, _) = screen.split_once("Before the test runs").expect("it stands above");
    assert!(task.contains("Exercise 1.2: Say it") && task.contains("Say it.\r\n"), "{task}");
    person.types("x\n");
    person.sees("\"x\" is none of these.");
    person.types("1\n");
    person.sees("Which of these tests goes red?");
    person.sees("it_greets");
    person.sees("it_is_polite");
    person.sees_times(3, "A number from"); // the list is whole
    // It is of an exercise, so it is no answer.
    assert!(!person.screen().contains("e1_1"), "{}", person.screen());
    person.types("2\n");
    person.sees("Nothing is broken yet");
    let _ = running.0.wait();
    let kept = fs::read_to_string(checkout.0.join(".workshop/predicted/1.2")).expect("it is kept");
    assert!(kept.starts_with("wrong-answer:it_"), "{kept}");
    checkout.write(SOURCE, &FIRST.replace("wrong", "mine"));
    let (person, mut running) = check();
    person.sees("You have changed main.rs, and the test does not notice: it is not the fault that");
    assert!(!person.screen().contains("How does the test fail?"), "{}", person.screen());
    let _ = running.0.wait();
}

//! The tool where learners are: in other folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{Copy, here, said};

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

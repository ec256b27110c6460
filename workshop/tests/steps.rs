//! The steps between two stages: put into a folder, changed there, shown, proven, carried.
//!
//! Each test has a checkout of its own, with two stages that are built in a moment and two steps between them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Both stages, and the steps 2.1 and 2.2.
struct Checkout(PathBuf);

const MANIFEST: &str = "\
[workspace]
resolver = \"3\"
members = [\"common\", \"stage1-blocking\", \"stage2-threads\"]

[workspace.package]
version = \"0.1.0\"
edition = \"2024\"
rust-version = \"1.88\"
license = \"MIT\"
publish = false

[workspace.dependencies]
common = { path = \"common\" }

[workspace.lints.rust]
unsafe_code = \"forbid\"

[profile.dev.package.unknown]
debug = false
";

/// What a stage has, and `common`.
const MEMBER: &str = "\
[package]
name = \"NAME\"
version.workspace = true
edition.workspace = true

[lints]
workspace = true
";

const DEPENDENCIES: &str = "
[dependencies]
common.workspace = true

[dev-dependencies]
common = { workspace = true, features = [\"testkit\"] }
";

/// The test kit, and its three sentences.
const COMMON: &str = r#"
pub fn start() {}

#[cfg(feature = "testkit")]
pub mod testkit {
    #[macro_export]
    macro_rules! contract {
        ($exe:expr; $($sentence:ident),+ $(,)?) => {
            $(#[test] fn $sentence() { $crate::testkit::contract::$sentence($exe); })+
        };
    }
    pub use crate::contract;

    pub mod contract {
        fn says(exe: &str, word: &str) {
            let said = std::process::Command::new(exe).output().expect("a server").stdout;
            assert!(String::from_utf8_lossy(&said).contains(word), "no {word}");
        }
        pub fn greets(exe: &str) { says(exe, "hello"); }
        pub fn says_its_name(exe: &str) { says(exe, "name"); }
        pub fn says_goodbye(exe: &str) { says(exe, "bye"); }
    }
}
"#;

/// The server of stage 1. Its exit code is the number of its arguments.
const FIRST: &str = r#"//! Try it: `cargo run -p stage1-blocking`

fn main() {
    common::start();
    let args = std::env::args().count() as i32 - 1;
    print!("hello ");
    std::process::exit(args);
}
"#;

const CONTRACT: &str = "common::testkit::contract! {
    env!(\"CARGO_BIN_EXE_stage1-blocking\");

    // All.
    greets,
}
";

const HELLO: &str = "    print!(\"hello \");\n";
const NAME: &str = "    print!(\"name \");\n";
const BYE: &str = "    print!(\"bye \");\n";

/// Before the first step, and behind each: what `src/main.rs` and `tests/contract.rs` have.
fn states() -> [[String; 2]; 3] {
    let second = |text: &str| text.replace("stage1-blocking", "stage2-threads");
    let named = second(FIRST).replace(HELLO, &format!("{HELLO}{NAME}"));
    let polite = named.replace(NAME, &format!("{NAME}{BYE}"));
    let with =
        |names: &str| second(CONTRACT).replace("    greets,\n", &format!("    greets,\n{names}"));
    [
        [FIRST.to_owned(), CONTRACT.to_owned()],
        [named, with("    says_its_name,\n")],
        [polite, with("    says_its_name,\n    says_goodbye,\n")],
    ]
}

/// A patch with its head.
fn step(number: &str, before: &[String; 2], after: &[String; 2]) -> String {
    let mut text = format!(
        "Step: {number} A word more\nBefore: Clients wonder.\nIdea: Say it.\nCalls: one write(2).\nStill wrong: more.\n\n"
    );
    for (path, (before, after)) in FILES.iter().zip(before.iter().zip(after)) {
        let mut options = diffy::DiffOptions::new();
        options.set_original_filename(format!("a/{path}"));
        options.set_modified_filename(format!("b/{path}"));
        text += &options.create_patch(before, after).to_string();
    }
    text
}

const FILES: [&str; 2] = ["src/main.rs", "tests/contract.rs"];

impl Checkout {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("steps").join(name);
        let _ = fs::remove_dir_all(&root);
        let checkout = Self(root);
        checkout.write("Cargo.toml", MANIFEST);
        let member = |name: &str| MEMBER.replace("NAME", name);
        let features = "\n[features]\ntestkit = []\n";
        checkout.write("common/Cargo.toml", &(member("common") + features));
        checkout.write("common/src/lib.rs", COMMON);
        let mut lock =
            "version = 4\n\n[[package]]\nname = \"common\"\nversion = \"0.1.0\"\n".to_owned();
        let [first, named, polite] = states();
        for (stage, state) in [("stage1-blocking", &first), ("stage2-threads", &polite)] {
            checkout.write(&format!("{stage}/Cargo.toml"), &(member(stage) + DEPENDENCIES));
            FILES
                .iter()
                .zip(state)
                .for_each(|(file, text)| checkout.write(&format!("{stage}/{file}"), text));
            lock += &format!(
                "\n[[package]]\nname = \"{stage}\"\nversion = \"0.1.0\"\ndependencies = [\"common\"]\n"
            );
        }
        checkout.write("Cargo.lock", &lock);
        checkout.write("docs/src/exercises/index.md", "# Exercises\n");
        for file in ["clippy.toml", "rustfmt.toml"] {
            checkout.write(file, "");
        }
        checkout.write("docs/steps/2.1.patch", &step("2.1", &first, &named));
        checkout.write("docs/steps/2.2.patch", &step("2.2", &named, &polite));
        checkout
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().expect("it has one")).expect("cannot make a directory");
        fs::write(path, text).expect("cannot write");
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    fn change(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert!(text.contains(from), "{file}: {text}");
        self.write(file, &text.replace(from, to));
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
        command.args(args).current_dir(&self.0).env("CARGO_MANIFEST_DIR", self.0.join("workshop"));
        command.env("GIT_CEILING_DIRECTORIES", self.0.parent().expect("it has one"));
        command.env_remove("CARGO_TARGET_DIR").env("NO_COLOR", "1").stdin(Stdio::null());
        command.output().expect("cannot start the tool")
    }

    /// What the tool says, and its exit code.
    fn says(&self, args: &[&str]) -> (String, Option<i32>) {
        let output = self.run(args);
        (said(&output), output.status.code())
    }

    /// What the tool says, if all is well.
    #[track_caller]
    fn succeeds(&self, args: &[&str]) -> String {
        let (said, code) = self.says(args);
        assert_eq!(code, Some(0), "{args:?}: {said}");
        said
    }

    /// What the tool says, if something is not as it should be.
    #[track_caller]
    fn fails(&self, args: &[&str]) -> String {
        let (said, code) = self.says(args);
        assert_eq!(code, Some(1), "{args:?}: {said}");
        said
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

// ---- a folder in which a step runs

const PUT: &str = ".workshop/steps/2.1";

#[test]
fn a_step_is_put_into_a_folder_where_it_runs() {
    let checkout = Checkout::new("put");
    let told = checkout.succeeds(&["step", "2.1"]);
    assert!(told.contains(&format!("\n  cd {PUT}\n  cargo run\n  cargo test\n")), "{told}");
    let main = checkout.read(&format!("{PUT}/src/main.rs"));
    assert!(main.contains("name") && !main.contains("bye"), "{main}");
    let (told, code) = checkout.says(&["step", "2.1", "--run", "--", "--one", "--two"]);
    assert!(told.starts_with("hello name ") && code == Some(2), "{code:?}: {told}");
    let told = checkout.succeeds(&["step", "2.1", "--test", "name"]);
    assert!(told.contains("says_its_name ... ok") && !told.contains("greets"), "{told}");
    assert!(!told.contains("warning"), "{told}");
    // Beside the stages, and under another name.
    let has_built = |name: &str| {
        checkout.0.join(format!("target/debug/{name}{}", std::env::consts::EXE_SUFFIX)).exists()
    };
    assert!(has_built("step-2-1") && !has_built("stage2-threads"));
}

#[test]
fn a_folder_of_your_own_builds_for_itself() {
    let checkout = Checkout::new("own");
    let told = checkout.succeeds(&["step", "2.2", "mine"]);
    assert!(told.contains("\n  cd mine\n"), "{told}");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["test", "--offline", "--locked"]).current_dir(checkout.0.join("mine"));
    let output = cargo.env_remove("CARGO_TARGET_DIR").output().expect("cannot start cargo");
    assert!(output.status.success() && said(&output).contains("3 passed"), "{}", said(&output));
    assert!(checkout.0.join("mine/target").is_dir() && !checkout.0.join("target").exists());
}

#[test]
fn what_you_have_changed_is_not_overwritten_but_saved() {
    let checkout = Checkout::new("changed");
    checkout.succeeds(&["step", "2.1"]);
    let main = format!("{PUT}/src/main.rs");
    let first = checkout.read(&main);
    checkout.change(&main, "name", "mine");
    let told = checkout.fails(&["step", "2.1"]);
    assert!(told.contains("has changes of yours") && told.contains("step 2.1 --again"), "{told}");
    // It runs as it stands.
    assert!(checkout.succeeds(&["step", "2.1", "--run"]).starts_with("hello mine "));
    let told = checkout.succeeds(&["step", "2.1", "--again"]);
    assert_eq!(checkout.read(&main), first);
    let (_, saved) = told.split_once("they are in ").expect("it says where");
    let (saved, _) = saved.split_once(".\n").expect("a line");
    assert!(checkout.read(&format!("{saved}/src/main.rs")).contains("mine"), "{told}");
    // A folder without changes needs no copy.
    assert!(!checkout.succeeds(&["step", "2.1", "--again"]).contains("saved"));
}

#[test]
fn a_folder_with_other_things_in_it_is_refused() {
    let checkout = Checkout::new("refused");
    checkout.write("notes/mine.txt", "mine\n");
    for args in [&["step", "2.1", "notes"][..], &["step", "2.1", "notes", "--again"]] {
        assert!(checkout.fails(args).contains("notes is not empty: name a new folder"));
    }
    let told = checkout.fails(&["step", "2.1", ".workshop/first"]);
    assert!(told.contains("belongs to this tool"), "{told}");
    assert!(checkout.fails(&["step", "2.7"]).contains("there is no step 2.7"));
}

/// One that is put again after the step itself has changed is brought up to date.
#[test]
fn a_step_that_has_changed_is_put_again_where_you_have_not() {
    let checkout = Checkout::new("changed-step");
    checkout.succeeds(&["step", "2.2"]);
    for file in ["stage2-threads/src/main.rs", "docs/steps/2.2.patch"] {
        checkout.change(file, "\"bye \"", "\"good bye \"");
    }
    checkout.succeeds(&["step", "2.2"]);
    assert!(checkout.read(".workshop/steps/2.2/src/main.rs").contains("good bye"));
}

/// The steps are between the stages as they were given.
#[test]
fn an_exercise_that_you_are_at_changes_no_step() {
    let checkout = Checkout::new("exercise");
    let pages = [
        ("1.1", include_str!("../../docs/src/exercises/1.1.md"), "stage1-blocking"),
        ("2.1", include_str!("../../docs/src/exercises/2.1.md"), "stage2-threads"),
    ];
    for (number, page, _) in pages {
        checkout.write(&format!("docs/src/exercises/{number}.md"), page);
    }
    checkout.succeeds(&["list"]);
    for (_, _, stage) in pages {
        checkout.change(&format!("{stage}/src/main.rs"), HELLO, "    print!(\"mine \");\n");
        checkout.succeeds(&["step", "2.1"]);
        let main = checkout.read(&format!("{PUT}/src/main.rs"));
        assert!(main.contains("hello") && !main.contains("mine"), "{main}");
    }
}

// ---- what there is, and what it changes

#[test]
fn the_steps_are_listed_and_the_last_one_is_the_stage() {
    let checkout = Checkout::new("list");
    let told = checkout.succeeds(&["step"]);
    let expected = "From stage1-blocking to stage2-threads\n  2.1  A word more\n  2.2  A word more (stage2-threads)\n";
    assert!(told.starts_with(expected), "{told}");
    assert_eq!(
        checkout.succeeds(&["step", "--table"]),
        "| 2.1 | A word more | 1 | 1 |\n| 2.2 | A word more | 1 | 1 |\n"
    );
    let told = checkout.succeeds(&["step", "2.1", "--diff"]);
    assert!(told.starts_with("Step 2.1: A word more\n\nBefore: Clients wonder.\n"), "{told}");
    assert!(told.contains("\n+    print!(\"name \");\n") && !told.contains("bye"), "{told}");
}

#[test]
fn a_checkout_without_steps_says_so() {
    let checkout = Checkout::new("none");
    fs::remove_dir_all(checkout.0.join("docs/steps")).expect("it is there");
    for args in [&["step"][..], &["step", "--carry"], &["verify", "--steps"]] {
        assert_eq!(checkout.succeeds(args), "There are no steps: docs/steps has no patches.\n");
    }
    assert_eq!(checkout.succeeds(&["step", "--table"]), "");
}

// ---- proofs

#[test]
fn steps_that_do_what_they_say_are_proven() {
    let checkout = Checkout::new("proven");
    let told = checkout.succeeds(&["verify", "--steps"]);
    assert!(told.contains("All steps are as they say."), "{told}");
    assert!(
        told.contains("new: says_its_name\n") && told.contains("new: says_goodbye\n"),
        "{told}"
    );
}

/// Changes the second step, and the stage that it is.
fn change_the_end(checkout: &Checkout, from: &str, to: &str) {
    checkout.change("docs/steps/2.2.patch", &format!("+{from}"), &format!("+{to}"));
    let file = if from.contains(',') { FILES[1] } else { FILES[0] };
    checkout.change(&format!("stage2-threads/{file}"), from, to);
}

#[test]
fn a_step_that_does_not_do_what_it_says_is_named() {
    let checkout = Checkout::new("off");
    // A sentence that is true before, a warning, and a promise of the first step that does not hold.
    change_the_end(&checkout, "    print!(\"bye \");", "    let bye = 1;");
    for file in ["docs/steps/2.1.patch", "docs/steps/2.2.patch", "stage2-threads/src/main.rs"] {
        checkout.change(file, "\"name \"", "\"name bye \"");
    }
    let told = checkout.fails(&["verify", "--steps"]);
    assert!(
        told.contains("2.2: says_goodbye is new here, and is true of the step before"),
        "{told}"
    );
    assert!(told.contains("2.2: the compiler says\nwarning: unused variable: `bye`"), "{told}");
    assert!(!told.contains("off: 2.1"), "{told}");
    for file in ["docs/steps/2.1.patch", "docs/steps/2.2.patch", "stage2-threads/src/main.rs"] {
        checkout.change(file, "\"name bye \"", "\"nothing \"");
    }
    let told = checkout.fails(&["verify", "--steps", "2.1"]);
    assert!(told.contains("2.1: says_its_name is red\n") && told.contains("no name"), "{told}");
    assert!(!told.contains("2.2"), "{told}");
}

#[test]
fn a_sentence_that_does_not_compile_on_the_step_before_is_a_fault() {
    let checkout = Checkout::new("unknown-sentence");
    change_the_end(&checkout, "    says_goodbye,", "    says_nothing,");
    let told = checkout.fails(&["verify", "--steps", "2.2"]);
    assert!(told.contains("2.2: what is new cannot be tried on the step before"), "{told}");
    assert!(told.contains("says_nothing"), "{told}");
}

#[test]
fn patches_that_do_not_lead_to_the_stage_are_named_before_anything_is_built() {
    let checkout = Checkout::new("astray");
    checkout.change("stage2-threads/src/main.rs", "bye", "farewell");
    let told = checkout.fails(&["verify", "--steps", "--pages"]);
    assert!(told.contains("off: step 2.2 is not stage2-threads: src/main.rs"), "{told}");
    let told = checkout.fails(&["step", "2.1"]);
    assert!(told.contains("do not lead from stage1-blocking to stage2-threads any more"), "{told}");
    checkout.change("docs/steps/2.1.patch", "Calls:", "Costs:");
    let told = checkout.fails(&["verify", "--steps", "--pages"]);
    assert!(told.contains("2.1.patch: the head has no `Calls:` at its place"), "{told}");
}

// ---- changes that the book's questions propose

/// A patch to the step 2.2 in which the server says one word less.
fn without(line: &str, head: &str) -> String {
    let [_, _, [polite, contract]] = states();
    let shorter = polite.replace(line, "");
    let patch = step("2.2", &[polite, contract.clone()], &[shorter, contract]);
    let diff = patch.find("--- ").expect("a patch");
    format!("Change: a word less\n{head}\n\n{}", &patch[diff..])
}

#[test]
fn a_change_turns_red_what_its_head_says_and_nothing_that_stays() {
    let checkout = Checkout::new("questions");
    let patch = "docs/answers/questions/2.2-1.patch";
    checkout.write(patch, &without(BYE, "Red: says_goodbye\nStays: says_its_name"));
    let told = checkout.succeeds(&["verify", "--questions"]);
    assert!(told.contains("Each change does what its page says."), "{told}");
    checkout.write(patch, &without(BYE, "Red: says_its_name\nStays: says_goodbye"));
    let told = checkout.fails(&["verify", "--questions", "2.2"]);
    assert!(told.contains("2.2-1: says_its_name stays green"), "{told}");
    assert!(told.contains("2.2-1: says_goodbye does not stay green"), "{told}");
    checkout.write(patch, &without(NAME, "Green: it is still polite"));
    let told = checkout.fails(&["verify", "--questions"]);
    assert!(told.contains("2.2-1: says_its_name is red"), "{told}");
    checkout.write(patch, &without(NAME, "Red: greets says_nothing").replace("a/src", "a/else"));
    let told = checkout.fails(&["verify", "--questions", "--pages"]);
    assert!(told.contains("docs/answers/questions/2.2-1.patch"), "{told}");
}

// ---- a change of a stage

#[test]
fn a_change_of_both_stages_is_carried_through_the_steps() {
    let checkout = Checkout::new("carried");
    let before = checkout.read("docs/steps/2.2.patch");
    assert!(checkout.succeeds(&["step", "--carry"]).starts_with("as before:"));
    assert_eq!(checkout.read("docs/steps/2.2.patch"), before);
    for stage in ["stage1-blocking", "stage2-threads"] {
        checkout.change(
            &format!("{stage}/src/main.rs"),
            HELLO,
            "    print!(\"hello, \");\n    // A comma.\n",
        );
    }
    checkout.fails(&["verify", "--steps", "--pages"]);
    let told = checkout.succeeds(&["step", "--carry"]);
    assert!(told.starts_with("carried:"), "{told}");
    checkout.succeeds(&["verify", "--steps", "--pages"]);
    checkout.succeeds(&["step", "2.1"]);
    assert!(checkout.read(&format!("{PUT}/src/main.rs")).contains("hello, "));
    assert!(checkout.read("docs/steps/2.2.patch").starts_with("Step: 2.2 A word more\n"));
}

#[test]
fn what_does_not_fit_is_named_and_nothing_is_written() {
    let checkout = Checkout::new("conflict");
    let before = ["2.1", "2.2"].map(|number| checkout.read(&format!("docs/steps/{number}.patch")));
    checkout.write("stage1-blocking/src/main.rs", "fn main() {}\n");
    let told = checkout.fails(&["step", "--carry"]);
    assert!(
        told.starts_with("not carried:")
            && told.contains("2.1: src/main.rs, hunk 1: no longer fits"),
        "{told}"
    );
    let after = ["2.1", "2.2"].map(|number| checkout.read(&format!("docs/steps/{number}.patch")));
    assert_eq!(after, before);
}

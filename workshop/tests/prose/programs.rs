//! Every command line that a page shows can be run: its program is asked whether it knows these words.
//!
//! Nothing is started that goes on, listens or changes a file. A program with an `--help` behind its words says whether it
//! understands those in front. What a machine does not have is skipped, and said so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

use common::testkit::skipped;

use crate::assert_no_faults;
use crate::commands::{TOOL, is_option, programs, shown};
use crate::files::{Files, pages, repository, resolve, root};
use crate::known;
use crate::words::{Words, without_comments};

/// What is not run, each with the reason. An entry stands for all lines that begin so.
const NOT_RUN: [(&str, &str); 11] = [
    ("cargo install mdbook", "installs; CI does it, with the version"),
    ("cp -a", "copies; CI does it"),
    ("cp -r", "copies"),
    ("docker", "needs a daemon"),
    ("--cap-add=SYS_PTRACE", "docker's; the container for development has it"),
    ("--init", "docker's; the container for development has it"),
    ("--no-shutdown", "ncat's, and the page says that it is another program"),
    ("man 2 accept", "prints a manual"),
    ("mdbook serve", "listens; CI builds the book"),
    ("sudo", "changes the machine"),
    ("haproxy", "docs/haproxy.sh runs it"),
];

/// Options that a page shows because the program refuses them.
const REFUSED: [&str; 2] = ["--idle-timeout -5s", "--status-interval 0s"];

/// Options of other programs, where a page names no more than the option.
const OPTIONS_OF: [(&str, &str); 5] = [
    ("-N", "nc -N"),
    ("-q 1", "nc -q 1"),
    ("-f", "strace -f"),
    ("--release", "cargo run --release"),
    ("-- --list", "cargo test -- --list"),
];

/// What libtest understands behind `--`.
const OF_TESTS: [&str; 4] = ["--exact", "--ignored", "--list", "--nocapture"];

/// What is wrong with the command lines of all pages.
fn lines_that_do_not_run(files: &Files) -> Vec<String> {
    let (mut faults, mut tried) = (Vec::new(), BTreeSet::new());
    for (page, text) in pages(files) {
        for line in shown(text) {
            // Options may be another program's on another page.
            let place = if is_option(&line) { page.as_str() } else { "" };
            if !tried.insert((place, line.clone())) {
                continue;
            }
            faults.extend(fault(files, page, &line).map(|why| format!("{page}: `{line}`: {why}")));
        }
    }
    faults
}

/// Why a line cannot be run. `None`: it can, or a script of ours does it.
fn fault(files: &Files, page: &str, line: &str) -> Option<String> {
    const SCRIPTS: [&str; 4] =
        [".ci/run", "docs/capture", "docs/haproxy.sh", ".devcontainer/devcontainer.json"];
    let is_run = |script: &&str| files.get(*script).is_some_and(|text| text.contains(line));
    if NOT_RUN.iter().any(|(begin, _)| line.starts_with(begin)) {
        return None;
    }
    if line.contains(' ') && !is_option(line) && SCRIPTS.iter().any(is_run) {
        return None;
    }
    programs(line).iter().find_map(|words| {
        let words: Vec<_> = words.iter().map(|word| word.as_str()).collect();
        fault_of_program(files, page, line, &words)
    })
}

fn fault_of_program(files: &Files, page: &str, line: &str, words: &[&str]) -> Option<String> {
    match words {
        ["…", rest @ ..] => fault_of_program(files, page, line, rest),
        ["cargo", subcommand, rest @ ..] => fault_of_cargo(files, subcommand, rest),
        ["workshop", rest @ ..] => fault_of_tool(files, rest),
        [first, ..] if TOOL.contains(first) => fault_of_tool(files, words),
        [first, ..] if is_option(first) => fault_of_options(files, page, line, words),
        ["strace", rest @ ..] => fault_of_strace(rest),
        ["nc", rest @ ..] => fault_of_nc(rest),
        ["docs/capture", begin] => fault_of_name(files, "docs/captures/", begin),
        ["docs/scenes/record", "--check", name] => fault_of_name(files, "docs/src/scenes/", name),
        ["bash", script] => fault_of_name(files, "", script),
        ["git", "diff", "--no-index", old, new] => {
            let mut sides = [old, new].into_iter();
            sides.find_map(|side| fault_of_name(files, "", &in_full(side)))
        }
        ["valgrind", tool] => says_no("valgrind", &[tool, "--version"]),
        ["kill" | "printf" | "ulimit" | "ls" | "cat" | "ps" | "ss" | "top" | "wc" | "head", ..] => {
            fault_in_a_shell(words)
        }
        [program, ..] => Some(format!("nothing here runs {program}")),
        [] => None,
    }
}

// ---- programs of ours

fn fault_of_cargo(files: &Files, subcommand: &str, words: &[&str]) -> Option<String> {
    let (own, behind) = match words.iter().position(|word| *word == "--") {
        Some(at) => (&words[..at], &words[at + 1..]),
        None => (words, &words[..0]),
    };
    let mut call = Cargo::default();
    if subcommand == "test" {
        call.filters.extend(behind.iter().filter(|word| !is_option(word)));
    }
    let mut own = own.iter();
    while let Some(word) = own.next() {
        match *word {
            "-p" => call.package = own.next().copied().unwrap_or_default(),
            "--example" | "--test" | "--bin" => {
                call.target = Some((*word, own.next().copied().unwrap_or_default()));
            }
            option if is_option(option) => call.options.push(option),
            filter => call.filters.push(filter),
        }
    }
    let fault_behind = || match subcommand {
        "test" => {
            let mut options = behind.iter().filter(|word| is_option(word));
            let unknown = options.find(|option| !OF_TESTS.contains(option));
            unknown.map(|option| format!("tests have no option {option}"))
        }
        // Without a word there is nothing to understand, and an example may take none and begin.
        "run" if !behind.is_empty() => call.program().and_then(|program| {
            if program == "workshop" {
                return fault_of_tool(files, behind);
            }
            let behind: Vec<_> = behind.iter().map(|w| if *w == "N" { "1" } else { w }).collect();
            understands(&program, &behind)
        }),
        _ => None,
    };
    if !["build", "clippy", "fmt", "run", "test"].contains(&subcommand) {
        return Some(format!("nothing here runs cargo {subcommand}"));
    }
    call.fault(files, subcommand).or_else(fault_behind)
}

/// What a call of cargo names.
#[derive(Default)]
struct Cargo<'a> {
    package: &'a str,
    /// `--test NAME` and its like.
    target: Option<(&'a str, &'a str)>,
    options: Vec<&'a str>,
    filters: Vec<&'a str>,
}

impl Cargo<'_> {
    /// Where `cargo run` finds what it starts. `None`: no program is named.
    fn program(&self) -> Option<String> {
        match self.target {
            Some(("--example", example)) => Some(format!("examples/{example}")),
            _ => (!self.package.is_empty()).then(|| self.package.to_owned()),
        }
    }

    fn fault(&self, files: &Files, subcommand: &str) -> Option<String> {
        // clippy's own help says that it takes what `check` takes.
        let like = if subcommand == "clippy" { "check" } else { subcommand };
        let help =
            remembered("cargo", &[like], || output("cargo", &[like, "-h"]).unwrap_or_default());
        if let Some(option) = self.options.iter().find(|option| !names_option(&help, option)) {
            return Some(format!("cargo {subcommand} has no option {option}"));
        }
        if self.package.is_empty() {
            return None;
        }
        let line = format!("name = \"{}\"", self.package);
        let is_it = |text: &str| text.lines().any(|it| it == line);
        let mut manifests = files.iter().filter(|(path, _)| path.ends_with("/Cargo.toml"));
        let Some((manifest, _)) = manifests.find(|(_, text)| is_it(text)) else {
            return Some(format!("there is no package {}", self.package));
        };
        let folder = manifest.trim_end_matches("Cargo.toml");
        self.fault_of_target(files, folder)
    }

    fn fault_of_target(&self, files: &Files, folder: &str) -> Option<String> {
        let sources = match self.target {
            Some(("--bin", name)) if name != self.package => {
                return Some(format!("no program {name}"));
            }
            Some(("--bin", _)) => vec![format!("{folder}src/")],
            Some(("--example", name)) => vec![format!("{folder}examples/{name}.rs")],
            Some((_, name)) => {
                vec![format!("{folder}tests/{name}.rs"), format!("{folder}tests/{name}/")]
            }
            None => vec![folder.to_owned()],
        };
        let mut names = Words::default();
        let is_of_it = |path: &str| sources.iter().any(|source| path.starts_with(source));
        let sources = files.iter().filter(|(path, _)| path.ends_with(".rs") && is_of_it(path));
        let mut found = false;
        for (path, text) in sources {
            found = true;
            // A module has the name of its file.
            names.add(&path.replace(['/', '.'], " "));
            if !self.filters.is_empty() {
                names.add(&without_comments(text));
            }
        }
        if !found {
            return Some(format!("there is no target {:?}", self.target));
        }
        let unknown = self.filters.iter().find(|filter| !names.have_part(filter));
        unknown.map(|filter| format!("no test there is called {filter}"))
    }
}

/// Whether a help text has an option, alone or behind another one.
fn names_option(help: &str, option: &str) -> bool {
    let name = option.split('=').next().unwrap_or(option);
    let is_end = |c: char| !(c.is_alphanumeric() || c == '-' || c == '_');
    help.split(|c: char| is_end(c)).any(|word| word == name)
}

/// What the tool says of these words, and whether there is what they name.
fn fault_of_tool(files: &Files, words: &[&str]) -> Option<String> {
    let folder = if words.contains(&"step") { "docs/steps/" } else { "docs/src/exercises/" };
    let filled: Vec<_> = words.iter().map(|word| in_full(word)).collect();
    let number = filled.iter().skip(1).find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let numbered = number.filter(|word| word.len() <= "5.10".len() && word.contains('.'));
    let missing = numbered.filter(|number| {
        let is_it = |path: &str| path == format!("{folder}{number}.md");
        !files.keys().any(|path| is_it(path))
    });
    if let Some(number) = missing {
        return Some(format!("there is no {folder}{number}.md"));
    }
    let words: Vec<_> = filled.iter().map(String::as_str).collect();
    understands("workshop", &words)
}

/// Words in capitals stand for one of their kind.
fn in_full(word: &str) -> String {
    match word {
        "N" => "1.1".to_owned(),
        "N.K" => "3.1".to_owned(),
        "PID" => "1".to_owned(),
        word if STAGES.iter().any(|stage| word == format!("$(pidof {stage})")) => "1".to_owned(),
        word => word.replace("stageN", "stage1-blocking").replace("stageM", "stage2-threads"),
    }
}

/// Options alone: one of our programs has them, on the page of a stage that stage's own, or the tool's.
fn fault_of_options(files: &Files, page: &str, line: &str, words: &[&str]) -> Option<String> {
    if let Some((_, whole)) = OPTIONS_OF.iter().find(|(option, _)| *option == line) {
        return fault(files, page, whole);
    }
    let words = words.strip_prefix(&["--"]).unwrap_or(words);
    let mut owners = owners(page);
    // An option that is hidden is in no help: then all are asked.
    let has_all = |owner: &(String, Vec<&str>)| {
        let help = help(&owner.0, &owner.1);
        words.iter().filter(|word| is_option(word)).all(|option| names_option(&help, option))
    };
    if owners.iter().any(has_all) {
        owners.retain(has_all);
    }
    let is_owned = |owner: &(String, Vec<&str>)| {
        let all: Vec<_> = owner.1.iter().chain(words).copied().collect();
        match words {
            // With a value or without: the help has its name.
            [option] if understands(&owner.0, &all).is_some() => {
                names_option(&help(&owner.0, &owner.1), option)
            }
            _ => understands(&owner.0, &all).is_none(),
        }
    };
    let found = owners.iter().any(is_owned);
    match (found, REFUSED.contains(&line)) {
        (true, true) => Some("it is not refused".to_owned()),
        (false, false) => Some("no program of ours has it".to_owned()),
        _ => None,
    }
}

/// The programs whose options a page may mean, each with what has to stand in front.
fn owners(page: &str) -> Vec<(String, Vec<&'static str>)> {
    let page = page.trim_start_matches("docs/src/");
    let chapter =
        ["stage", "steps/"].iter().find_map(|begin| page.strip_prefix(begin)?.chars().next());
    let of_stages = STAGES.iter().filter(|stage| chapter.is_none_or(|c| stage.contains(c)));
    let mut owners: Vec<_> = of_stages.map(|stage| ((*stage).to_owned(), vec![])).collect();
    owners.push(("examples/handshake".to_owned(), vec!["127.0.0.1:9000"]));
    owners.push(("simulation".to_owned(), vec!["stage6"]));
    for command in TOOL {
        let numbered = ["apply", "check", "start", "step", "watch"].contains(&command);
        owners.push((
            "workshop".to_owned(),
            if numbered { vec![command, "3.1"] } else { vec![command] },
        ));
    }
    owners.push(("workshop".to_owned(), vec!["step"]));
    owners
}

const STAGES: [&str; 6] = [
    "stage1-blocking",
    "stage2-threads",
    "stage3-nonblocking-busy",
    "stage4-epoll",
    "stage5-mio",
    "stage6-timers",
];

/// Whether one of our programs understands words: with `--help` behind them it then helps. What stands behind `--` is for
/// another program, which would be started.
fn understands(program: &str, words: &[&str]) -> Option<String> {
    let (own, _) = words.split_at(words.iter().position(|it| *it == "--").unwrap_or(words.len()));
    let output = start(program, &[own, &["--help"]].concat());
    (!output.status.success()).then(|| said(&output))
}

/// What a program says behind these words and `--help`, asked once.
fn help(program: &str, words: &[&str]) -> String {
    remembered(program, words, || said(&start(program, &[words, &["--help"]].concat())))
}

/// The same answer to the same words: the pages show many lines of each program.
fn remembered(program: &str, words: &[&str], ask: impl FnOnce() -> String) -> String {
    static SAID: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    let key = format!("{program} {}", words.join(" "));
    if let Some(said) = SAID.lock().expect("nothing panics with it").get(&key) {
        return said.clone();
    }
    let said = ask();
    SAID.lock().expect("nothing panics with it").insert(key, said.clone());
    said
}

fn start(program: &str, words: &[&str]) -> Output {
    let output = Command::new(built(program)).args(words).stdin(Stdio::null()).output();
    output.expect("it can be started")
}

/// Why nothing of ours can be asked.
fn not_built() -> Option<String> {
    let others = ["simulation", "examples/handshake"];
    let missing = STAGES.iter().chain(&others).find(|program| !built(program).exists())?;
    Some(format!("{missing} is not built: cargo test --workspace builds it"))
}

/// The programs of the workspace lie side by side.
fn built(program: &str) -> PathBuf {
    let tool = PathBuf::from(env!("CARGO_BIN_EXE_workshop"));
    tool.parent().expect("a folder").join(program)
}

// ---- programs of the system

/// strace with these options and a program that does nothing.
fn fault_of_strace(words: &[&str]) -> Option<String> {
    let mut options = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "-p" => drop(words.next()),
            "-e" | "-o" | "-s" | "-U" => options.extend([word, words.next().unwrap_or(&"")]),
            option if is_option(option) => options.push(option),
            // The program that it starts. Those of ours are called by where they are.
            "nc" => return fault_of_nc(words.as_slice()),
            program => {
                let name = program.trim_start_matches("target/debug/");
                let is_known = STAGES.contains(&name) || known::words().have(name);
                return (!is_known).then(|| format!("there is no {program}"));
            }
        }
    }
    let traced =
        options.windows(2).filter(|pair| pair[0] == "-e").find_map(|pair| sees_no_bytes(pair[1]));
    if traced.is_some() || output("strace", &["-o", "/dev/null", "true"]).is_none() {
        return traced; // or there is no strace here, or it may not
    }
    options.extend(["-o", "/dev/null", "true"]);
    says_no("strace", &options)
}

/// A trace of read(2) and write(2) that shows nothing of a socket: std, mio and tokio use recvfrom(2) and sendto(2) there.
fn sees_no_bytes(expression: &str) -> Option<String> {
    let calls = expression.strip_prefix("trace=").unwrap_or(expression);
    let calls: Vec<_> = calls.split(',').collect();
    let has = |names: &[&str]| names.iter().any(|name| calls.contains(name));
    let means_bytes = has(&["read", "write", "recv", "send"]);
    let sees_them = has(&["recvfrom", "sendto", "network", "%network", "all"]);
    (means_bytes && !sees_them).then(|| "it shows no byte of a socket: recvfrom, sendto".to_owned())
}

/// Whether the help of `nc` has these options. Only OpenBSD's is meant.
fn fault_of_nc(words: &[&str]) -> Option<String> {
    let help = output("nc", &["-h"])?;
    if !help.contains("OpenBSD") {
        eprintln!("skipped: this is not OpenBSD's nc");
        return None;
    }
    let mut options = words.iter().filter(|word| is_option(word));
    let unknown = options.find(|option| {
        !help.contains(&format!("\t{option}\t")) && !help.contains(&format!("\t{option} "))
    });
    unknown.map(|option| format!("nc has no option {option}"))
}

/// Something that looks and ends: run here, with this process where a page looks for a server.
fn fault_in_a_shell(words: &[&str]) -> Option<String> {
    let mut line = String::new();
    for word in words {
        let (name, rest) = match word.split_once("$(") {
            Some((before, inner)) => {
                let (inner, after) = inner.split_once(')').unwrap_or((inner, ""));
                (inner.split_whitespace().last(), format!("{before}$${after}"))
            }
            None => (None, (*word).to_owned()),
        };
        // pgrep looks for a part of the name, and pidof for all of it.
        if name.is_some_and(|name| !STAGES.iter().any(|stage| stage.starts_with(name))) {
            return Some(format!("no server is called {}", name.unwrap_or_default()));
        }
        let is_plain = !rest.contains([' ', '(']) || rest.contains('$');
        line += &if is_plain { format!("{rest} ") } else { format!("'{rest}' ") };
    }
    says_no("bash", &["-c", &line])
}

fn fault_of_name(files: &Files, folder: &str, begin: &str) -> Option<String> {
    let path = resolve(folder, begin);
    let is_there = files.keys().any(|file| file.starts_with(&path));
    (!is_there).then(|| format!("there is no {path}"))
}

/// What a program says on both streams. `None`: it is not here, or it fails and says nothing.
fn output(program: &str, words: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(words).current_dir(root()).stdin(Stdio::null()).output();
    let output = output.ok()?;
    let said = said(&output);
    (output.status.success() || !said.is_empty() && words.contains(&"-h")).then_some(said)
}

fn says_no(program: &str, words: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(words).current_dir(root()).stdin(Stdio::null()).output();
    match output {
        Err(error) => {
            eprintln!("skipped: {program}: {error}");
            None
        }
        // A shell says so of a program that is not here.
        Ok(output) if output.status.code() == Some(127) => {
            eprintln!("skipped: {}", said(&output));
            None
        }
        Ok(output) => (!output.status.success()).then(|| said(&output)),
    }
}

fn said(output: &Output) -> String {
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    said.concat().trim().to_owned()
}

#[test]
fn every_command_line_of_a_page_can_be_run() {
    if let Some(missing) = not_built() {
        return skipped(&missing);
    }
    assert_no_faults(&lines_that_do_not_run(&repository()));
}

#[test]
fn what_is_not_run_is_shown_by_a_page() {
    let files = repository();
    let lines: Vec<_> = pages(&files).flat_map(|(_, text)| shown(text)).collect();
    for (begin, why) in NOT_RUN {
        assert!(lines.iter().any(|line| line.starts_with(begin)), "no page shows {begin}: {why}");
    }
    for line in REFUSED.iter().chain(OPTIONS_OF.iter().map(|(option, _)| option)) {
        assert!(lines.iter().any(|shown| shown == line), "no page shows {line}");
    }
}

#[test]
fn every_trace_in_a_session_sees_what_it_is_for() {
    let files = repository();
    let is_session = |path: &str| path.starts_with("docs/captures/") || path.ends_with(".session");
    let sessions = files.iter().filter(|(path, _)| is_session(path) || *path == "docs/capture");
    let mut faults = Vec::new();
    for (path, text) in sessions {
        let traces = text.split("-e trace=").skip(1);
        let calls = traces.filter_map(|rest| rest.split([' ', '\n']).next());
        faults.extend(calls.filter_map(sees_no_bytes).map(|why| format!("{path}: {why}")));
    }
    assert_no_faults(&faults);
}

#[track_caller]
fn check(line: &str, says: &str) {
    if let Some(missing) = not_built() {
        return skipped(&missing);
    }
    let why = fault(&repository(), "docs/src/stage4.md", line);
    match says {
        "" => assert_eq!(why, None, "{line}"),
        says => assert!(why.as_ref().is_some_and(|why| why.contains(says)), "{line}: {why:?}"),
    }
}

#[test]
fn a_package_a_target_an_option_or_a_test_that_is_not_there_is_found() {
    check("cargo run -p stage7-none", "no package");
    check("cargo test -p stage4-epoll --test contracts", "no target");
    check("cargo test -p stage4-epoll --no-ran", "no option --no-ran");
    check(
        "cargo test -p stage4-epoll --test contract -- --exact survives_ctrl_z_and_gf",
        "no test",
    );
    check(
        "cargo test -p stage4-epoll --test contract -- --exakt survives_ctrl_z_and_fg",
        "--exakt",
    );
    check("cargo run -p stage4-epoll -- --idle-timeout 1s", "--idle-timeout");
    check("cargo run -p stage6-timers -- --idle-timeout 1x", "1x");
    check("cargo bench", "nothing here runs cargo bench");
    check("cargo test -p stage4-epoll half_close", "");
}

#[test]
fn a_command_of_the_tool_with_another_word_is_found() {
    check("cargo run -p workshop -- step 4.2 --runs", "--runs");
    check("start 4.99", "there is no docs/src/exercises/4.99.md");
    check("… bench --quickly", "--quickly");
    check("… live --attach $(pidof stage5-mio)", "");
    check("… live --attach $(pidof stage5)", "$(pidof stage5)");
    check("--status-interval 1s", "no program of ours");
    check("--max-connections 2 --stats", "");
}

#[test]
fn a_trace_that_shows_no_socket_is_found_and_one_with_a_misspelt_call_too() {
    check("strace -e epoll_wait,read,write -p PID", "no byte of a socket");
    check("strace -e trace=epoll_wait,read,write -p PID", "no byte of a socket");
    check("strace -f -e trace=epoll_wait,recvfrom,sendto -p PID", "");
    check("strace target/debug/stage9", "there is no");
    if output("strace", &["-o", "/dev/null", "true"]).is_some() {
        check("strace -e trace=epoll_wate -p PID", "epoll_wate");
    }
}

#[test]
fn a_program_of_the_system_is_asked() {
    check("ls /proc/$(pgrep stage2)/task | wc -l", "");
    check("ls /proc/$(pgrep stag2)/task", "stag2");
    check("ss -tn 'sport = :9000'", "");
    check("nc -N 127.0.0.1 9000", "");
    check("git diff --no-index stage4-epoll/src stage5-none/src", "stage5-none");
    check("docs/capture stage9", "stage9");
    check("$ rm -r", "nothing here runs");
}

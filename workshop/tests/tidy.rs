//! What keeps a tutorial honest: the text, the table and the code say the same.
//!
//! These tests read the sources as text. Each prints what is wrong and where, not only that it is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::Visit;

const STAGES: [&str; 6] = [
    "stage1-blocking",
    "stage2-threads",
    "stage3-nonblocking-busy",
    "stage4-epoll",
    "stage5-mio",
    "stage6-timers",
];

/// Functions that are the same to the byte in two neighbouring stages: the `=` cells of
/// ARCHITECTURE.md. The number is the left one of the two stages.
const SAME_FUNCTIONS: [(&str, usize); 18] = [
    ("main", 1),
    ("echo", 1),
    ("main", 3),
    ("main", 4),
    ("Server::serve_client", 3),
    ("Connection::new", 3),
    ("Connection::turn", 3),
    ("Connection::send", 3),
    ("Server::accept_in", 5),
    ("Server::stop_in", 5),
    ("Server::is_full", 5),
    ("Server::client_knocks", 5),
    ("Server::mark", 5),
    ("Server::accept_ready", 5),
    ("Server::ask_who_is_left", 5),
    ("Server::has_stopped", 5),
    ("Connection::new", 5),
    ("Connection::turn", 5),
];

/// The same for whole `impl` blocks and files, which are quicker to name than each function in them.
const SAME_FILES: [(&str, usize); 7] = [
    ("connection.rs", 3),
    ("connection/tests.rs", 3),
    ("outbox.rs", 5),
    ("outbox/tests.rs", 5),
    ("table.rs", 5),
    ("table/tests.rs", 5),
    ("connection/tests.rs", 5),
];
const SAME_IMPLS: [(&str, usize); 2] = [("Connection", 3), ("Connection", 5)];

/// How much code a stage may have, without comments, blank lines and tests.
const MOST_CODE: [usize; 6] = [50, 60, 130, 210, 410, 620];

/// What a cell says, and the tests that it stands for.
type Cell = (&'static str, &'static [&'static str]);

/// The README's table. A row is a sentence, and for each kind of cell the tests that it stands for: a
/// stage's contract lists all of them. `a|b`: one of the two.
const MATRIX: [(&str, &[Cell]); 9] = [
    (
        "echoes every byte; half-close gets every byte back; a reset hurts no other client; survives Ctrl-Z and `fg`",
        &[(
            "✓",
            &[
                "echoes_64_mib_sent_in_pieces",
                "echoes_single_bytes",
                "half_close_gets_every_byte_back",
                "bytes_that_come_together_with_the_fin_come_back",
                "a_reset_in_mid_stream_hurts_no_other_client",
                "a_reset_before_accept_hurts_no_other_client",
                "survives_ctrl_z_and_fg",
            ],
        )],
    ),
    (
        "second client while the first is silent",
        &[
            ("waits", &["the_second_client_waits_while_the_first_is_silent"]),
            ("✓", &["the_second_client_is_served_while_the_first_is_silent"]),
        ],
    ),
    (
        "idle CPU",
        &[
            (
                "none",
                &[
                    "a_thousand_silent_clients_cost_no_cpu|a_thousand_silent_clients_cost_no_more_wakeups_than_timers",
                ],
            ),
            ("**a full core**", &["burns_a_full_core_for_nothing"]),
        ],
    ),
    (
        "a thread per client",
        &[
            ("–", &[]),
            ("**yes**", &["takes_a_thread_per_client"]),
            ("no", &["takes_no_thread_per_client"]),
        ],
    ),
    (
        "a client that does not read",
        &[
            ("**stalls all**", &["a_client_that_does_not_read_stalls_all"]),
            ("stalls its thread", &["a_client_that_does_not_read_stalls_only_its_thread"]),
            ("**cut off**", &["a_client_that_does_not_read_is_cut_off_and_the_log_says_so"]),
            ("kept, bounded", &["a_client_that_does_not_read_is_kept_and_bounded"]),
        ],
    ),
    (
        "a client that never stops sending",
        &[
            (
                "**stalls all**",
                &[
                    "a_client_that_never_stops_sending_stalls_all|a_client_that_never_stops_sending_keeps_the_turn",
                ],
            ),
            ("✓", &["a_client_that_never_stops_sending_keeps_no_other_waiting"]),
        ],
    ),
    (
        "out of descriptors, or at the limit, then one leaves: who waited is served",
        &[
            ("–", &[]),
            (
                "✓",
                &[
                    "who_waited_for_a_descriptor_is_served_when_one_leaves|who_waited_for_a_descriptor_is_served_by_a_server_that_spins",
                    // A thread per client, and no other limit.
                    "who_waited_at_the_limit_is_served_when_one_leaves|who_waited_at_the_limit_is_served_by_a_server_that_spins|takes_a_thread_per_client",
                ],
            ),
        ],
    ),
    (
        "stops by itself, within a second, without losing what it owes",
        &[
            ("–", &["a_signal_kills_it"]),
            (
                "✓",
                &[
                    "stops_within_a_second_when_idle",
                    "stops_within_a_second_with_clients_connected",
                    "stops_within_a_second_with_16_000_silent_clients",
                    "what_it_has_read_is_still_delivered_when_it_stops",
                    "what_it_owes_is_delivered_although_the_signal_comes_first",
                    "a_late_word_destroys_nothing_when_it_stops",
                ],
            ),
        ],
    ),
    (
        "does something without being asked (status, idle timeout), on time under load",
        &[
            ("–", &[]),
            (
                "✓",
                &[
                    "the_status_keeps_its_grid_under_load",
                    "lateness_is_not_carried_over",
                    "tells_everyone_how_many_there_are",
                    "a_round_trip_is_short_while_thousands_are_told_the_status",
                    "a_silent_client_is_closed_in_time_and_a_talking_one_is_not",
                ],
            ),
        ],
    ),
];

#[test]
fn what_the_stages_share_is_the_same_to_the_byte() {
    for (function, left) in SAME_FUNCTIONS {
        let (a, b) = (function_text(left, function), function_text(left + 1, function));
        assert!(
            a == b,
            "{function} is not the same in stages {left} and {}:\n{a}\n\n{b}",
            left + 1
        );
    }
    for (name, left) in SAME_IMPLS {
        let (a, b) = (impl_text(left, name), impl_text(left + 1, name));
        assert!(a == b, "impl {name} is not the same in stages {left} and {}", left + 1);
    }
    for (file, left) in SAME_FILES {
        let read = |n: usize| read(&format!("{}/src/{file}", STAGES[n - 1]));
        assert!(read(left) == read(left + 1), "{file} differs in stages {left} and {}", left + 1);
    }
}

#[test]
fn a_function_fits_on_a_screen() {
    const MOST_LINES: usize = 60;
    const FEW_LINES: usize = 40;
    let mut lengths = Vec::new();
    for path in rust_files(&root()) {
        let mut functions = Functions::of(&path);
        // A test may be one long table; it is read once.
        functions.retain(|f| !f.is_test);
        for function in functions {
            let lines = function.text.lines().count();
            assert!(lines <= MOST_LINES, "{}: {} has {lines} lines", path.display(), function.name);
            lengths.push(lines);
        }
    }
    let short = lengths.iter().filter(|&&lines| lines <= FEW_LINES).count();
    assert!(short * 10 >= lengths.len() * 9, "only {short} of {} are short", lengths.len());
}

#[test]
fn a_stage_can_be_read_in_one_sitting() {
    for (stage, most) in STAGES.iter().zip(MOST_CODE) {
        let code = stage_text(stage)
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .count();
        assert!(code <= most, "{stage} has {code} lines of code, more than {most}");
    }
}

#[test]
fn every_stage_says_what_is_new_and_what_is_still_wrong() {
    for stage in STAGES {
        let main = read(&format!("{stage}/src/main.rs"));
        for label in ["//! New here:", "//! Still wrong:", "//! Try it:", "//! Read along:"] {
            assert!(main.contains(label), "{stage}/src/main.rs has no {label:?}");
        }
    }
}

#[test]
fn no_stage_depends_on_another_and_common_knows_no_loop() {
    for name in STAGES.iter().chain(&["common"]) {
        let manifest = read(&format!("{name}/Cargo.toml"));
        for other in STAGES {
            // As a key, or in a path behind another one.
            let names = |line: &str| line.starts_with(other) || line.contains(&format!("/{other}"));
            let named = manifest.lines().any(names);
            assert!(!named, "{name} depends on {other}");
        }
    }
    let common = read("common/Cargo.toml");
    let knows_mio = common.lines().any(|line| line.starts_with("mio"));
    assert!(!knows_mio, "common must not know about loops");
}

#[test]
fn every_crate_obeys_the_lints_of_the_workspace() {
    assert!(read("Cargo.toml").contains("unsafe_code = \"forbid\""));
    for name in STAGES.iter().chain(&["common", "workshop"]) {
        let manifest = read(&format!("{name}/Cargo.toml"));
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} has lints of its own");
    }
}

#[test]
fn nothing_sleeps() {
    for path in rust_files(&root()) {
        let text = fs::read_to_string(&path).expect("a source");
        assert!(!sleeps(&text), "{} sleeps", path.display());
    }
}

/// Whether the word stands behind a path of `thread`, alone or among others in braces.
fn sleeps(text: &str) -> bool {
    text.split("thread::").skip(1).any(|behind| match behind.strip_prefix('{') {
        Some(names) => names.split('}').next().unwrap_or_default().contains("sleep"),
        None => behind.starts_with("sleep"),
    })
}

#[test]
fn a_sleep_is_found_however_it_is_imported() {
    // Put together here, so that this file does not find itself.
    for behind in ["sleep(time)", "sleep;", "{self, sleep};", "{\n    self,\n    sleep,\n};"] {
        assert!(sleeps(&["use std::thread", "::", behind].concat()), "{behind}");
    }
    assert!(!sleeps("use std::thread::{self, JoinHandle}; fn sleep_for() {}"));
}

/// `println!` and `eprintln!` panic when they cannot write, and wait for a reader that does not read. So programs use
/// `common::print` and `common::say`; tests may do as they like.
#[test]
fn nothing_prints_with_a_macro_that_panics() {
    let is_test = |path: &Path| {
        path.components()
            .any(|part| ["tests", "testkit"].iter().any(|name| part.as_os_str() == *name))
            || path.file_name().is_some_and(|name| name == "tests.rs")
    };
    for path in rust_files(&root()).iter().filter(|path| !is_test(path)) {
        let text = fs::read_to_string(path).expect("a source");
        let program = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let line = program.lines().find(|line| prints(line));
        assert!(line.is_none(), "{}: {}", path.display(), line.unwrap_or_default().trim());
    }
}

fn prints(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    // `eprint!` ends like `print!`. clippy looks for `dbg!`.
    ["print!(", "println!("].iter().any(|name| code.contains(name))
}

#[test]
fn a_macro_that_prints_is_found_and_one_that_is_only_mentioned_is_not() {
    assert!(
        ["println!(\"x\");", "    eprintln!();", "_ => eprint!(\"x\"),"].iter().all(|l| prints(l))
    );
    assert!(!prints("// unlike `println!(…)`") && !prints("writeln!(io::stdout())"));
}

#[test]
fn every_accepted_connection_has_nodelay() {
    for stage in STAGES {
        let text: String =
            stage_sources(stage).iter().map(|p| fs::read_to_string(p).expect("a source")).collect();
        assert!(text.contains("set_nodelay(true)"), "{stage} waits for delayed acknowledgements");
    }
}

#[test]
fn the_readmes_table_is_what_the_tests_say() {
    let readme = read("README.md");
    let rows: Vec<Vec<&str>> = readme
        .lines()
        .skip_while(|line| !line.starts_with("| | 1 | 2 "))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), MATRIX.len(), "rows in the README");
    for (row, (sentence, cells)) in rows.iter().zip(MATRIX) {
        assert_eq!(row[0], sentence);
        assert_eq!(row.len(), 1 + STAGES.len(), "cells of {sentence:?}");
        for (stage, cell) in STAGES.iter().zip(&row[1..]) {
            let tests = cells.iter().find(|(kind, _)| kind == cell);
            let (_, tests) =
                tests.unwrap_or_else(|| panic!("{cell:?} of {sentence:?} means nothing"));
            check_cell(stage, sentence, cell, tests);
        }
    }
}

fn check_cell(stage: &str, sentence: &str, cell: &str, tests: &[&str]) {
    let listed = listed_tests(stage);
    for test in tests {
        let proven = test.split('|').any(|either| listed.contains(either));
        assert!(proven, "{stage}: {cell:?} of {sentence:?} needs {test}");
    }
}

#[test]
fn a_stage_that_proves_one_cell_does_not_prove_its_opposite() {
    for stage in STAGES {
        let listed = listed_tests(stage);
        let proves =
            |tests: &[&str]| tests.iter().flat_map(|t| t.split('|')).any(|t| listed.contains(t));
        for (sentence, cells) in MATRIX {
            let proven = cells.iter().filter(|(_, tests)| proves(tests)).count();
            assert!(proven <= 1, "{stage} proves two different things of {sentence:?}");
        }
    }
}

/// Stages 3 and 4 have nowhere to keep bytes, so they cut off a client that sends more than fits.
const NOT_WITHOUT_AN_OUTBOX: [&str; 2] =
    ["echoes_64_mib_sent_in_one_stream", "half_close_after_8_mib_gets_every_byte_back"];

#[test]
fn what_every_stage_can_do_is_listed_by_every_stage() {
    let every: BTreeSet<String> = STAGES.iter().flat_map(|stage| listed_for_all(stage)).collect();
    for (stage, has_outbox) in STAGES.iter().zip([true, true, false, false, true, true]) {
        let exempt = |test: &str| !has_outbox && NOT_WITHOUT_AN_OUTBOX.contains(&test);
        let listed = listed_for_all(stage);
        for test in every.iter().filter(|test| !exempt(test)) {
            assert!(listed.contains(test), "{stage} does not list {test}");
        }
    }
}

/// What stands under `// What every stage can do.` in a stage's `tests/contract.rs`.
fn listed_for_all(stage: &str) -> BTreeSet<String> {
    let contract = read(&format!("{stage}/tests/contract.rs"));
    let (_, list) = contract.split_once("// What every stage can do.\n").expect("the list");
    listed(list.split("\n\n").next().unwrap_or_default())
}

#[test]
fn stage_6_can_do_whatever_stage_5_can() {
    let (five, six) = (listed_tests(STAGES[4]), listed_tests(STAGES[5]));
    for test in five.iter().filter(|test| *test != "a_thousand_silent_clients_cost_no_cpu") {
        assert!(six.contains(test), "stage 6 does not list {test}");
    }
}

#[test]
fn every_sentence_of_the_contract_is_true_of_some_stage() {
    let listed: BTreeSet<String> = STAGES.iter().flat_map(|stage| listed_tests(stage)).collect();
    for path in rust_files(&root().join("common/src/testkit/contract")) {
        for function in Functions::of(&path) {
            let sentence = function.is_public && function.text.contains("(exe: &str)");
            let known = !sentence || listed.contains(&function.name);
            assert!(known, "{}: {} is in no stage's contract", path.display(), function.name);
        }
    }
}

/// Each has a head with all its words, and none is too large. `verify --steps` also builds and runs them.
#[test]
fn the_steps_lead_from_stage_to_stage() {
    tool(&["verify", "--steps", "--pages"]);
}

#[test]
fn the_table_of_steps_is_what_the_patches_are() {
    let text = read("ARCHITECTURE.md");
    let rows = text.lines().skip_while(|line| *line != "| step | idea | lines | hunks |").skip(2);
    let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
    let expected = tool(&["step", "--table"]);
    let expected: Vec<_> = expected.lines().collect();
    assert_eq!(rows, expected, "`step --table` prints the rows that belong into ARCHITECTURE.md");
}

/// What our tool says of this checkout.
#[track_caller]
fn tool(args: &[&str]) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_workshop"));
    let output = command.args(args).current_dir(root()).output().expect("cannot start the tool");
    let [said, errors] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{args:?}: {said}{errors}");
    said
}

#[test]
fn ci_runs_the_command_that_the_readme_gives() {
    assert!(read("README.md").contains("$ cargo test --workspace\n"));
    assert!(read(".ci/run").contains("grep -m1 -oE 'cargo test --workspace.*$' README.md"));
}

/// The tests that a stage's `tests/contract.rs` lists.
fn listed_tests(stage: &str) -> BTreeSet<String> {
    listed(&read(&format!("{stage}/tests/contract.rs")))
}

fn listed(text: &str) -> BTreeSet<String> {
    let names = text.lines().filter_map(|line| line.trim().strip_suffix(','));
    names.map(str::to_owned).collect()
}

/// The text of a function of a stage, from its doc comment to its closing brace. `Type::name` for a
/// method.
fn function_text(stage: usize, name: &str) -> String {
    let found = stage_sources(STAGES[stage - 1])
        .iter()
        .flat_map(|path| Functions::of(path))
        .find(|f| f.name == name && !f.text.contains("eprintln!(\"stage4-epoll needs Linux"));
    found.unwrap_or_else(|| panic!("stage {stage} has no {name}")).text
}

/// The text of the `impl` block of a type in its own file.
fn impl_text(stage: usize, name: &str) -> String {
    let path = format!("{}/src/{}.rs", STAGES[stage - 1], name.to_lowercase());
    let text = read(&path);
    let file = syn::parse_file(&text).expect("Rust");
    let found = file.items.iter().find_map(|item| match item {
        syn::Item::Impl(item) if type_name(&item.self_ty) == name => Some(span_text(&text, item)),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{path} has no impl {name}"))
}

struct Function {
    name: String,
    text: String,
    is_test: bool,
    is_public: bool,
}

/// Collects every function of a file, methods as `Type::name`.
struct Functions<'a> {
    source: &'a str,
    found: Vec<Function>,
    owner: Option<String>,
    in_tests: bool,
}

impl Functions<'_> {
    fn of(path: &Path) -> Vec<Function> {
        let source = fs::read_to_string(path).expect("a source");
        let file = syn::parse_file(&source).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let in_tests = path.components().any(|c| c.as_os_str() == "tests")
            || path.file_name().is_some_and(|name| name == "tests.rs");
        let mut functions = Functions { source: &source, found: Vec::new(), owner: None, in_tests };
        functions.visit_file(&file);
        functions.found
    }

    fn add(&mut self, name: &syn::Ident, vis: &syn::Visibility, text: String) {
        let owner = self.owner.iter().map(|owner| format!("{owner}::"));
        self.found.push(Function {
            name: owner.collect::<String>() + &name.to_string(),
            // What a function is compiled for is not part of what it says.
            text: text
                .lines()
                .filter(|line| !line.trim().starts_with("#[cfg("))
                .collect::<Vec<_>>()
                .join("\n"),
            is_test: self.in_tests,
            is_public: matches!(vis, syn::Visibility::Public(_)),
        });
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig.ident, &item.vis, span_text(self.source, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig.ident, &item.vis, span_text(self.source, item));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.owner = Some(type_name(&item.self_ty));
        syn::visit::visit_item_impl(self, item);
        self.owner = None;
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let outside = self.in_tests;
        self.in_tests |= item.ident == "tests";
        syn::visit::visit_item_mod(self, item);
        self.in_tests = outside;
    }
}

fn type_name(ty: &syn::Type) -> String {
    match ty {
        syn::Type::Path(path) => path.path.segments.last().expect("a name").ident.to_string(),
        _ => String::new(),
    }
}

/// The lines that a piece of syntax stands on, its doc comment included.
fn span_text(source: &str, item: &impl Spanned) -> String {
    let span = item.span();
    let (first, last) = (span.start().line - 1, span.end().line);
    source.lines().take(last).skip(first).collect::<Vec<_>>().join("\n")
}

/// What a stage is made of, without its tests.
fn stage_sources(stage: &str) -> Vec<PathBuf> {
    let mut files = rust_files(&root().join(stage).join("src"));
    files.retain(|path| path.file_name().is_some_and(|name| name != "tests.rs"));
    files
}

fn stage_text(stage: &str) -> String {
    stage_sources(stage).iter().map(|path| fs::read_to_string(path).expect("a source")).collect()
}

/// Every Rust file below a folder, except what is built or ignored.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files.extend(rust_files(&path));
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs us");
    Path::new(&package).parent().expect("the workspace").to_owned()
}

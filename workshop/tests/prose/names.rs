//! Every name and expression in backticks stands in a source, a session or a list of names that are not ours.

use crate::files::{Files, pages, repository};
use crate::known;
use crate::scope::{Scope, Sources};
use crate::spans::{Span, spans};
use crate::words::Words;
use crate::{assert_no_faults, commands};

/// What pages say in backticks and no source has, each with the reason.
const EXCEPTIONS: [(&str, &str, &str); 10] = [
    ("article.md", "write_buffer", "a field of the article's code"),
    ("article.md", "accept4:", "what the article's program printed"),
    ("exercises/5.7.md", "buf[n..]", "a hint asks what is in the part that the code does not use"),
    ("exercises/6.3.md", HALF_A_LINE, "two texts of the test, as they arrive"),
    ("exercises/7.1.md", "left: [\"sending\"]", "`assert_eq!` prints it"),
    ("leading.md", "127.0.0.1:9100", "an address that the reader chooses"),
    ("leading.md", "confirmed: bool", "what a learner may write instead"),
    ("shared.md", "2>&1 | less", "the shell's words"),
    ("steps/3.1.md", "S", "a state of a process, as `ps` shows it"),
    ("steps/6.1.md", ".workshop/steps/6.1", "a folder that the tool makes"),
];

const HALF_A_LINE: &str = "half a liServer status: 2 active connections";

/// Names and expressions that are not where their page says.
fn names_that_do_not_exist(files: &Files) -> Vec<String> {
    let (sources, known) = (Sources::new(files), known::words());
    let mut faults = Vec::new();
    for (path, text) in pages(files) {
        let scope = sources.scope(path, text);
        for span in spans(text) {
            if commands::is_command(&span.code) || is_excepted(path, &span.code) {
                continue;
            }
            let is_there = is_sign(&span.code)
                || is_there(files, &span.code)
                || known.have(&span.code)
                || stands(&scope, &sources, &known, &span)
                || is_untraced_call(&scope, &sources, &known, &span.code);
            if !is_there {
                faults.push(format!("{path}: `{}`", span.code));
            }
        }
    }
    faults
}

fn is_excepted(path: &str, code: &str) -> bool {
    EXCEPTIONS.iter().any(|(page, excepted, _)| path.ends_with(page) && *excepted == code)
}

/// Whether a span stands in what its page, or its paragraph, is about.
fn stands(scope: &Scope, sources: &Sources, known: &Words, span: &Span) -> bool {
    if scope.own.have(&span.code) || scope.lines.iter().any(|l| l.have_in_order(&span.code)) {
        return true;
    }
    let named = sources.named_in(&span.around);
    let mut places: Vec<&Words> =
        scope.sources.iter().chain(&named).map(|words| &**words).collect();
    let everything = sources.everything();
    if is_test(&span.code) {
        places.push(&everything);
    }
    places.iter().any(|words| words.have(&span.code))
        || has_member(&places, &span.code)
        || is_sum(&places, known, &span.code)
        || is_message(&places, &span.code)
}

/// `Type::member`: both are there. That the one belongs to the other, a source seldom says in one piece.
fn has_member(places: &[&Words], code: &str) -> bool {
    let Some((of, member)) = code.split_once("::") else { return false };
    let defines = ["impl …", "struct", "enum", "trait", "mod"];
    let is_defined =
        |words: &&Words| defines.iter().any(|word| words.have(&format!("{word} {of}")));
    places.iter().any(is_defined) && places.iter().any(|words| words.have(member))
}

/// `A | B`: flags, each of which is there.
fn is_sum(places: &[&Words], known: &Words, code: &str) -> bool {
    let is_flag = |flag: &str| flag.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let is_there = |flag: &str| known.have(flag) || places.iter().any(|words| words.have(flag));
    code.contains('|') && code.split('|').map(str::trim).all(|flag| is_flag(flag) && is_there(flag))
}

/// `our words: the kernel's`, as an error is printed.
fn is_message(places: &[&Words], code: &str) -> bool {
    let Some((ours, why)) = code.split_once(": ") else { return false };
    known::ERRORS.contains(&why) && places.iter().any(|words| words.have(ours))
}

fn is_sign(code: &str) -> bool {
    !code.contains(char::is_alphanumeric)
}

/// A system call as strace prints it, on a page whose sessions do not trace it. Another page's do, or the manual knows
/// its words.
fn is_untraced_call(scope: &Scope, sources: &Sources, known: &Words, code: &str) -> bool {
    let Some((call, rest)) = code.split_once('(') else { return false };
    let is_traced = scope.lines.iter().any(|line| line.have(&format!("{call}(")));
    let is_known = |word: &str| word.parse::<u64>().is_ok() || word.is_empty() || known.have(word);
    let mut words = rest.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let is_of_the_manual = known.have(&format!("{call}(2)")) && words.all(is_known);
    !is_traced && (sources.traced().iter().any(|l| l.have_in_order(code)) || is_of_the_manual)
}

/// Names of tests are long, and `book.rs` looks for them in the whole repository: a test proves a sentence wherever it is.
fn is_test(code: &str) -> bool {
    let code = code.rsplit("::").next().unwrap_or(code);
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    code.chars().all(is_name) && code.matches('_').count() >= 3
}

/// Whether it is the path of a file or folder, or the end of one. `*` and `N` stand for a piece of it.
fn is_there(files: &Files, code: &str) -> bool {
    // The sources of all stages from 3 on.
    let code = code.replace("stage3…6/", "stage*/");
    let pieces: Vec<_> = code.trim_end_matches('/').split(['*', '…', 'N', 'K']).collect();
    let is_path =
        code.contains('/') || [".rs", ".md", ".json"].iter().any(|end| code.ends_with(end));
    is_path && files.keys().any(|path| is_part(path, &pieces))
}

fn is_part(path: &str, pieces: &[&str]) -> bool {
    let begins = |at: usize| at == 0 || path[..at].ends_with('/');
    let starts = path.match_indices(pieces[0]).map(|found| found.0).filter(|&at| begins(at));
    starts.into_iter().any(|start| {
        let mut rest = Some(&path[start..]);
        for piece in pieces {
            rest = rest.and_then(|rest| rest.find(piece).map(|at| &rest[at + piece.len()..]));
        }
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

#[test]
fn what_stands_in_backticks_exists() {
    assert_no_faults(&names_that_do_not_exist(&repository()));
}

/// A book of one page about stage 5, and one about its step 5.1.
fn book(page: &str, text: &str) -> Files {
    let patch = "Step: 5.1\n\n--- a/src/main.rs\n+++ b/src/main.rs\n@@ -1 +1 @@\n-fn old() {}\n+fn new() {}\n";
    let source = "struct Server;\nimpl Server {\n    /// Not `full_at`.\n    fn run(&mut self) {\n        \
        if self.serial + 1 == 0 { self.now += self.options.interval; }\n    }\n}\n";
    let files = [
        ("docs/captures/a.txt", "# Linux\n$ true\n101 accept4(3, {…}, [16], SOCK_CLOEXEC) = 4\n"),
        ("docs/steps/5.1.patch", patch),
        ("stage4-x/src/main.rs", "fn old() {}\n"),
        ("stage5-y/src/server.rs", source),
        (page, text),
    ];
    files.map(|(path, text)| (path.to_owned(), text.to_owned())).into()
}

#[track_caller]
fn check(page: &str, text: &str, wrong: &[&str]) {
    let faults = names_that_do_not_exist(&book(page, text));
    let expected: Vec<_> = wrong.iter().map(|code| format!("{page}: `{code}`")).collect();
    assert_eq!(faults, expected);
}

const STAGE: &str = "docs/src/stage5.md";

#[test]
fn a_field_that_only_a_comment_has_is_found() {
    check(STAGE, "It clears `full_at`, and `serial`.", &["full_at"]);
}

#[test]
fn an_expression_that_no_source_has_is_found() {
    let text = "If `n == 0`, or at `now + self.status_interval`.";
    check(STAGE, text, &["n == 0", "now + self.status_interval"]);
    check(STAGE, "`self.now += self.options.interval`, `self . serial+1 == 0`, `Server::run`", &[]);
    check(STAGE, "```rust\nn == 0\n```\n\nHere `n == 0`.", &[]);
}

#[test]
fn a_step_has_the_names_of_its_own_sources_and_of_those_before_it() {
    check("docs/src/steps/5.1.md", "From `old` to `new`, and not `serial`.", &["serial"]);
    check("docs/src/steps/5.1.md", "As stage 5 has it, `serial`.", &[]);
    check("docs/src/pitfalls.md", "`old`, `serial` and `nowhere`.", &["nowhere"]);
}

#[test]
fn a_system_call_is_looked_up_in_the_session_of_the_page_that_traces_it() {
    let traced = "```text\n{{#include ../captures/a.txt}}\n```\n\n";
    let calls = "`accept4(3, …) = 4`, `accept4(…) = -1 EAGAIN`, `close(2)`, `epoll_wait(…, 0)`";
    check(STAGE, &format!("{traced}{calls}"), &["accept4(…) = -1 EAGAIN"]);
    check(
        STAGE,
        "`accept4(…) = -1 EAGAIN`, `accept5(2)`, `send(…, MSG_OUT)`",
        &["accept5(2)", "send(…, MSG_OUT)"],
    );
}

#[test]
fn a_file_exists_and_an_exception_is_needed() {
    check(STAGE, "`server.rs`, `src/server.rs`, `stage*/src/`, `stage5-y/`", &[]);
    check(STAGE, "`erver.rs`, `src/client.rs`", &["erver.rs", "src/client.rs"]);
    let files = repository();
    let is_said = |page: &str, code: &str| {
        pages(&files).any(|(path, text)| {
            path.ends_with(page) && spans(text).iter().any(|span| span.code == code)
        })
    };
    for (page, code, why) in EXCEPTIONS {
        assert!(is_said(page, code) && !why.is_empty(), "{page} does not say `{code}`");
    }
}

//! The command lines that a page shows, and the words of each.

use crate::spans::{blocks, spans};

/// Programs that a page calls by their names.
const PROGRAMS: [&str; 25] = [
    "bash",
    "cargo",
    "cat",
    "cp",
    "docker",
    "docs/capture",
    "git",
    "haproxy",
    "head",
    "kill",
    "ls",
    "man",
    "mdbook",
    "nc",
    "printf",
    "ps",
    "ss",
    "strace",
    "sudo",
    "sysctl",
    "tar",
    "top",
    "ulimit",
    "unshare",
    "valgrind",
];

/// The tool's commands, where a page leaves `cargo run -p workshop --` out.
pub(crate) const TOOL: [&str; 21] = [
    "apply", "bench", "check", "diff", "hint", "list", "live", "new", "next", "pack", "reset",
    "resume", "scenes", "show", "solution", "start", "step", "summary", "talk", "verify", "watch",
];

/// Whether something in backticks is a command line, or the options of one. A name alone is a name.
pub(crate) fn is_command(code: &str) -> bool {
    let code = code.trim_start_matches("… ");
    let (first, more) = code.split_once(' ').unwrap_or((code, ""));
    let is_program = PROGRAMS.contains(&first) || TOOL.contains(&first) || first == "workshop";
    is_program && !more.is_empty() || is_option(first)
}

pub(crate) fn is_option(word: &str) -> bool {
    let name = word.trim_start_matches('-');
    word.starts_with('-') && (name.starts_with(char::is_alphabetic) || word == "--")
}

/// Every command line of a page, in its text and in its blocks.
pub(crate) fn shown(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = spans(text).into_iter().map(|span| span.code).collect();
    lines.retain(|code| is_command(code));
    for block in blocks(text) {
        // Without a prompt it is nothing but commands.
        let has_prompt = block.text.lines().any(|line| prompted(line).is_some());
        let is_word = |line: &str| line.starts_with(|c: char| c.is_ascii_alphabetic());
        let is_command = |line: &&str| block.is_typed && is_word(line) || is_command(line);
        let typed: Vec<_> = match has_prompt {
            true => block.text.lines().filter_map(prompted).collect(),
            false => block.text.lines().filter(is_command).collect(),
        };
        lines.extend(typed.into_iter().map(|line| without_remark(line).to_owned()));
    }
    lines
}

/// What is typed behind `$`, or behind the number of a terminal and `$`.
fn prompted(line: &str) -> Option<&str> {
    let (number, typed) = line.split_once("$ ")?;
    number.chars().all(|c| c.is_ascii_digit()).then_some(typed)
}

fn without_remark(line: &str) -> &str {
    line.split(" # ").next().unwrap_or(line).trim_end()
}

/// The programs that a line starts, each with its words, as a shell reads them.
pub(crate) fn programs(line: &str) -> Vec<Vec<String>> {
    let mut programs = vec![Vec::new()];
    let mut word: Option<String> = None;
    let (mut quote, mut depth) = (None, 0);
    for c in line.chars() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') if depth == 0 => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '|' | ';' | '&') if depth == 0 => {
                last(&mut programs).extend(word.take());
                programs.push(Vec::new());
            }
            (None, c) if c.is_whitespace() && depth == 0 => last(&mut programs).extend(word.take()),
            (None, c) => {
                depth += i32::from(c == '(') - i32::from(c == ')');
                word.get_or_insert_default().push(c);
            }
        }
    }
    last(&mut programs).extend(word);
    programs.retain(|words| !words.is_empty());
    programs
}

fn last(programs: &mut [Vec<String>]) -> &mut Vec<String> {
    programs.last_mut().expect("there is always one")
}

#[test]
fn a_page_shows_commands_in_its_text_and_in_its_blocks() {
    let text = "`nc -N`, `nc`, `start 4.1`, `--stats`, `-1`, `… bench --quick`\n\n```console\n$ ls a\n$$ b\n2$ ls b\n\
        2| cargo run\n```\n\n```text\ncargo run  # runs\nhello\n```\n\n```console\nfoo bar\n```\n";
    let all = [
        "nc -N",
        "start 4.1",
        "--stats",
        "… bench --quick",
        "ls a",
        "ls b",
        "cargo run",
        "foo bar",
    ];
    assert_eq!(shown(text), all);
}

#[test]
fn a_line_is_split_as_a_shell_does_it() {
    let words = |line: &str| programs(line).iter().map(|words| words.join(",")).collect::<Vec<_>>();
    assert_eq!(
        words("printf 'last  words' | nc -N a; ls"),
        ["printf,last  words", "nc,-N,a", "ls"]
    );
    assert_eq!(words("ps -p $(pidof a | b) && c \"\""), ["ps,-p,$(pidof a | b)", "c,"]);
}

//! Every command line that a page shows is run, or its parts are.

/// Programs that a page calls.
const PROGRAMS: [&str; 24] = [
    "bash",
    "cargo",
    "cat",
    "cp",
    "docker",
    "git",
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
    "ulimit",
    "unshare",
    "valgrind",
    "docs/capture",
    "workshop",
];

/// The tool's commands, where a page leaves `cargo run -p workshop --` out.
const TOOL: [&str; 14] = [
    "apply", "bench", "check", "diff", "hint", "new", "reset", "solution", "start", "step",
    "summary", "talk", "verify", "watch",
];

/// Whether something in backticks is a command line, or the options of one.
pub(crate) fn is_command(code: &str) -> bool {
    let code = code.trim_start_matches("… ");
    let (first, more) = code.split_once(' ').unwrap_or((code, ""));
    PROGRAMS.contains(&first) && !more.is_empty()
        || TOOL.contains(&first) && !more.is_empty()
        || first.starts_with('-') && first.len() > 1
}

//! The exercises are as their pages say, as far as a second can tell; `workshop verify` runs the rest.

mod learners;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use common::testkit::client::allow_descriptors;
use common::testkit::self_connect::shell_with_ports;
use common::testkit::skipped;

/// What a test here has open at the same time: files that are copied, pipes, two sockets.
const FEW: u64 = 20;

/// Runs the tool on the workspace in `root`.
fn workshop(root: &Path, args: &[&str]) -> Output {
    allow_descriptors(FEW);
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    command.args(args).current_dir(root).env("CARGO_MANIFEST_DIR", root).env("NO_COLOR", "1");
    command.output().expect("cannot start the tool")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Whether there is a git, which applies the patches.
fn has_git() -> bool {
    Command::new("git").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// This checkout. cargo says where it is when it runs us: it may not be where it was when it built us.
fn here() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs us");
    Path::new(&package).parent().expect("the workspace").to_owned()
}

/// A copy of what the exercises are made of, to plant faults in.
struct Copy(PathBuf);

impl Copy {
    fn new(name: &str) -> Self {
        allow_descriptors(FEW);
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&root);
        for entry in fs::read_dir(here()).expect("the workspace") {
            let name = entry.expect("an entry").file_name();
            let name = name.to_str().expect("a name in UTF-8");
            if name.starts_with("stage") || name == "docs" {
                copy_files(&here().join(name), &root.join(name));
            }
        }
        let simulation = "workshop/simulation";
        copy_files(&here().join(simulation), &root.join(simulation));
        Self(root)
    }

    #[track_caller]
    fn replace(&self, file: &str, from: &str, to: &str) {
        let path = self.0.join(file);
        let text = fs::read_to_string(&path).expect("a file to plant a fault in");
        assert!(text.contains(from), "{file} has no {from:?}");
        fs::write(path, text.replace(from, to)).expect("cannot plant the fault");
    }

    /// What `verify --pages` has to complain of.
    #[track_caller]
    fn assert_off(&self, names: &str) {
        let output = workshop(&self.0, &["verify", "--pages"]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(names), "{}", said(&output));
    }
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("cannot make a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).expect("an entry");
        if path.is_dir() {
            // What was built from them is not needed.
            if name != "target" && name != "book" {
                copy_files(&path, &to.join(name));
            }
        } else {
            fs::copy(&path, to.join(name)).expect("cannot copy");
        }
    }
}

#[test]
fn pages_patches_and_names_of_tests_agree() {
    if !has_git() {
        return skipped("needs git");
    }
    let output = workshop(&here(), &["verify", "--pages"]);
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn an_exercise_without_its_third_hint_is_off() {
    let copy = Copy::new("no-hint");
    copy.replace(
        "docs/src/exercises/4.1.md",
        "<summary>Hint 3</summary>",
        "<summary>Hint</summary>",
    );
    copy.assert_off("no \"Hint 3\"");
}

#[test]
fn an_exercise_without_minutes_is_off() {
    let copy = Copy::new("no-minutes");
    copy.replace("docs/src/exercises/4.1.md", "| 15 |", "| |");
    copy.assert_off("4.1.md: no minutes");
}

#[test]
fn a_patch_that_no_longer_applies_is_off() {
    if !has_git() {
        return skipped("needs git");
    }
    let copy = Copy::new("stale-patch");
    copy.replace(
        "stage1-blocking/src/main.rs",
        "Ok(0) => return Ok(()),",
        "Ok(0) => break Ok(()),",
    );
    copy.assert_off("1.2: the patch does not apply");
}

#[test]
fn a_patch_that_changes_the_test_is_off() {
    let copy = Copy::new("patched-test");
    copy.replace(
        "docs/solutions/1.2.patch",
        "+++ b/stage1-blocking/src/",
        "+++ b/stage1-blocking/tests/",
    );
    copy.assert_off("1.2: the patch touches more than stage1-blocking/src");
}

#[test]
fn a_test_that_does_not_exist_is_off() {
    let copy = Copy::new("no-test");
    copy.replace(
        "stage1-blocking/tests/contract.rs",
        "a_client_that_says_nothing_gets_nothing",
        "other",
    );
    copy.assert_off("1.2: there is no test a_client_that_says_nothing_gets_nothing");
}

#[test]
fn an_ignored_test_that_does_not_say_how_to_run_it_is_off() {
    let copy = Copy::new("ignore");
    copy.replace(
        "stage1-blocking/tests/exercises.rs",
        "exercise 1.3: cargo",
        "exercise 1.4: cargo",
    );
    copy.assert_off("1.3: no test says #[ignore = \"exercise 1.3: cargo test -p stage1-blocking");
}

#[test]
fn a_page_that_says_another_number_is_off() {
    let copy = Copy::new("number");
    copy.replace("docs/src/exercises/1.2.md", "# Exercise 1.2:", "# Exercise 1.9:");
    copy.assert_off("1.2.md: the page says 1.9");
}

#[test]
fn a_patch_without_a_page_is_off() {
    let copy = Copy::new("no-page");
    fs::remove_file(copy.0.join("docs/src/exercises/1.2.md")).expect("the page was there");
    copy.assert_off("1.2.patch: a patch without a page");
}

#[test]
fn a_page_that_the_book_does_not_name_is_off() {
    let copy = Copy::new("summary");
    copy.replace("docs/src/SUMMARY.md", "(exercises/1.2.md)", "()");
    copy.assert_off("1.2: SUMMARY.md does not name its page");
}

#[test]
fn a_table_of_all_exercises_that_is_out_of_date_is_off() {
    let copy = Copy::new("table");
    copy.replace(
        "docs/src/exercises/index.md",
        "| [4.1](4.1.md) | One read per event",
        "| One read",
    );
    copy.assert_off("4.1: exercises/index.md has no row");
}

#[test]
fn a_plan_whose_minutes_are_not_those_of_the_exercises_is_off() {
    let copy = Copy::new("plan");
    copy.replace("docs/src/exercises/4.1.md", "| 15 |", "| 25 |");
    copy.assert_off("leading.md: One idea: 90 minutes");
}

#[test]
fn the_list_has_at_least_24_exercises_of_both_kinds_and_every_stage() {
    // A copy, as wherever the tool remembers something: what this checkout remembers is its owner's.
    let output = workshop(&Copy::new("list").0, &["list"]);
    let list = said(&output);
    let exercises: Vec<_> = list.lines().filter(|line| line.contains(" min ")).collect();
    assert!(exercises.len() >= 24, "{list}");
    for stage in 1..=6 {
        let of_this = |line: &&&str| line.trim_start().starts_with(&format!("{stage}."));
        let kinds = ["build it", "break it"].map(|kind| {
            exercises.iter().filter(of_this).filter(|line| line.contains(kind)).count()
        });
        assert!(kinds.iter().all(|count| *count > 0), "stage {stage}: {kinds:?}");
    }
}

#[test]
fn the_list_names_the_first_that_is_not_done() {
    let copy = Copy::new("done");
    let list = || said(&workshop(&copy.0, &["list"]));
    assert!(list().ends_with("Begin with: cargo run -p workshop -- show 1.1\n"), "{}", list());
    let done = copy.0.join("target/workshop/done");
    fs::create_dir_all(&done).expect("cannot make a directory");
    for number in ["1.1", "1.3"] {
        fs::write(done.join(number), "").expect("cannot write");
    }
    assert!(list().ends_with("Go on with: cargo run -p workshop -- show 1.2\n"), "{}", list());
}

#[test]
fn a_reader_of_only_the_first_line_gets_no_panic() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    command.args(["list"]).stderr(Stdio::piped());
    // A pipe whose reader has gone: `workshop list | head -1`.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = command.stdout(writer).output().expect("cannot start the tool");
    assert_eq!(said(&output), "");
}

#[test]
fn the_task_shows_no_hint_and_no_solution() {
    let output = workshop(&Copy::new("task").0, &["show", "4.1"]);
    let shown = said(&output);
    assert!(shown.contains("Read once per event"), "{shown}");
    assert!(!shown.contains("Hint 1") && !shown.contains("half_close_gets"), "{shown}");
}

#[test]
fn hints_come_one_by_one() {
    let copy = Copy::new("hints");
    for (shown, left) in [(1, "2 more."), (2, "1 more."), (3, "the last one"), (3, "the last one")]
    {
        let hints = said(&workshop(&copy.0, &["hint", "4.1"]));
        assert_eq!(hints.matches("Hint ").count(), shown, "{hints}");
        assert!(hints.contains(left), "{hints}");
    }
}

#[test]
fn the_solution_is_words_and_a_patch() {
    let solution = said(&workshop(&here(), &["solution", "4.1"]));
    assert!(
        solution.contains("epoll_wait(2)") && solution.contains("\n-        while"),
        "{solution}"
    );
    assert!(
        solution.contains("\nTo take everything back: cargo run -p workshop -- reset 4.1"),
        "{solution}"
    );
    assert!(!solution.contains("solution 4.1"), "it says how to come here: {solution}");
}

#[test]
fn an_exercise_that_is_none_is_one_clear_line() {
    for args in [["show", "9.9"], ["check", "9.9"], ["verify", "9.9"], ["hint", "9.9"]] {
        let output = workshop(&here(), &args);
        assert!(!output.status.success());
        assert_eq!(
            said(&output).lines().last().map(|line| line.contains("no exercise 9.9")),
            Some(true)
        );
    }
}

#[test]
fn talks_to_this_machine_only() {
    // TEST-NET-1, RFC 5737: no host has it.
    let output = workshop(&here(), &["talk", "192.0.2.1:9000", "--flood"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("192.0.2.1:9000 is not on this machine"), "{}", said(&output));
    assert_eq!(said(&output).lines().count(), 1);
}

/// Without a server, and without a route to one elsewhere.
#[test]
fn talks_to_every_address_of_this_machine_and_elsewhere_if_told_so() {
    for (here, how) in [("ip addr add 192.0.2.1/32 dev lo;", ""), ("", "--anywhere")] {
        let script = format!("{here} \"$1\" talk 192.0.2.1:9000 {how}");
        let Some(mut command) = shell_with_ports("40007 40008", &script) else { return };
        let output = command.arg(env!("CARGO_BIN_EXE_workshop")).output().expect("a shell");
        let expected = "cannot connect to 192.0.2.1:9000; is a server running?";
        assert!(said(&output).contains(expected), "{here}{how}: {}", said(&output));
    }
}

#[test]
fn a_server_is_reached_at_the_address_that_it_says_it_listens_on() {
    for (listens, says, reached) in [
        ("127.0.0.1:0", "0.0.0.0", "127.0.0.1"),
        ("127.0.0.1:0", "[::ffff:127.0.0.1]", "127.0.0.1"),
        ("[::1]:0", "[::]", "[::1]"),
    ] {
        let Ok(listener) = TcpListener::bind(listens) else { continue }; // no IPv6 here
        let port = listener.local_addr().expect("an address").port();
        let server = thread::spawn(move || drop(listener.accept()));
        let output = workshop(&here(), &["talk", &format!("{says}:{port}"), "--half-close"]);
        let expected = format!("{says}:{port} is reached at {reached}:{port}\n");
        assert!(said(&output).contains(&expected), "{}", said(&output));
        server.join().expect("the server has done its part");
    }
}

/// A server for one client: what `serve` does with it.
fn serve_one(serve: impl FnOnce(TcpStream) + Send + 'static) -> (String, thread::JoinHandle<()>) {
    allow_descriptors(FEW);
    let listener = TcpListener::bind("127.0.0.1:0").expect("cannot listen");
    let addr = listener.local_addr().expect("an address").to_string();
    let server = thread::spawn(move || serve(listener.accept().expect("a client comes").0));
    (addr, server)
}

#[test]
fn half_close_says_what_came_back() {
    let (addr, server) = serve_one(|mut client| {
        let mut all = Vec::new();
        client.read_to_end(&mut all).expect("the client half-closes");
        client.write_all(&all).expect("the client reads");
    });
    let output = workshop(&here(), &["talk", &addr, "--half-close"]);
    assert!(
        said(&output).contains("every byte came back, and then a clean end"),
        "{}",
        said(&output)
    );
    server.join().expect("the server has done its part");
}

#[test]
fn a_line_of_status_is_no_echo() {
    const STATUS: [&[u8]; 2] =
        [b"Server status: 1 active connection\n", b"Server status: 2 active connections\n"];
    let (addr, server) = serve_one(|mut client| {
        let mut all = Vec::new();
        client.read_to_end(&mut all).expect("the client half-closes");
        client.write_all(&[STATUS[0], &all, STATUS[1]].concat()).expect("the client reads");
    });
    let output = workshop(&here(), &["talk", &addr, "--half-close"]);
    let expected = "every byte came back, and then a clean end";
    assert!(said(&output).contains(expected), "{}", said(&output));
    server.join().expect("the server has done its part");

    let (addr, server) = serve_one(|mut client| {
        client.write_all(&STATUS.concat()).expect("the client reads");
        let mut reader = client.try_clone().expect("clone");
        let _ = std::io::copy(&mut reader, &mut std::io::sink());
    });
    let output = workshop(&here(), &["talk", &addr, "--flood", "--seconds", "1"]);
    let expected = ", 0 came back and 2 line(s) of status";
    assert!(said(&output).contains(expected), "{}", said(&output));
    server.join().expect("the server has done its part");
}

#[test]
fn half_close_says_what_did_not_come_back() {
    let (addr, server) = serve_one(|mut client| {
        client.read_to_end(&mut Vec::new()).expect("the client half-closes");
    });
    let output = workshop(&here(), &["talk", &addr, "--half-close"]);
    assert!(said(&output).contains("0 of 11 bytes came back"), "{}", said(&output));
    server.join().expect("the server has done its part");
}

/// Runs the line client with an input, against a server that sends everything back.
fn talk_to_an_echo(input: &str, stdout: Stdio) -> Output {
    let (addr, server) = serve_one(|mut client| {
        let mut reader = client.try_clone().expect("clone");
        let _ = std::io::copy(&mut reader, &mut client);
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    command.args(["talk", &addr]).stdin(Stdio::piped());
    let mut talk = command.stdout(stdout).stderr(Stdio::piped()).spawn().expect("the tool");
    talk.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = talk.wait_with_output().expect("it ends");
    server.join().expect("the server has done its part");
    output
}

#[test]
fn the_line_client_sends_what_was_typed_and_no_byte_more() {
    for input in ["hello\n", "hello\nhalf a line", ""] {
        let output = talk_to_an_echo(input, Stdio::piped());
        assert_eq!(String::from_utf8_lossy(&output.stdout), input);
        assert_eq!(said(&output).matches(" a line:\n").count(), input.lines().count());
        assert!(
            said(&output).contains("the server has closed the connection"),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn the_line_client_ends_quietly_when_its_output_is_not_read() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = talk_to_an_echo("hello\n", writer.into());
    assert!(output.status.success() && !said(&output).contains("Error"), "{}", said(&output));
}

#[test]
fn never_read_ends_by_itself_and_says_how_much_the_server_took() {
    let (addr, server) = serve_one(|mut client| {
        let _ = client.read_exact(&mut [0; 100_000]);
        // Waits for the end of the client, without reading on.
        while client.peek(&mut [0]).is_ok_and(|n| n > 0)
            && client.take_error().is_ok_and(|e| e.is_none())
        {
            thread::park_timeout(std::time::Duration::from_millis(10));
        }
    });
    // Half a second without a byte is enough for "no more"; on a busy machine the bytes before it take a while.
    let output = workshop(&here(), &["talk", &addr, "--never-read", "--seconds", "4"]);
    assert!(
        said(&output).contains("and the server takes no more, 0 came back; time is over"),
        "{}",
        said(&output)
    );
    drop(server);
}

#[test]
fn half_close_says_that_no_end_came_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("cannot listen");
    let addr = listener.local_addr().expect("an address").to_string();
    // The listener does not accept.
    let output = workshop(&here(), &["talk", &addr, "--half-close", "--seconds", "1"]);
    assert!(said(&output).contains("no end within 1 s; 0 bytes came back"), "{}", said(&output));
    drop(listener);
}

#[test]
fn an_address_that_is_none_is_told_what_one_looks_like() {
    let output = workshop(&here(), &["talk", "localhost:9000"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("as in 127.0.0.1:9000"), "{}", said(&output));
}

#[test]
fn a_talk_to_no_server_is_one_clear_line() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("cannot listen");
    let addr = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let output = workshop(&here(), &["talk", &addr]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("cannot connect to {addr}; is a server running?");
    assert!(said(&output).contains(&expected), "{}", said(&output));
    assert_eq!(said(&output).lines().count(), 1);
}

/// The kernel has one port to give out, the one that we call.
#[test]
fn a_talk_to_itself_is_a_talk_to_no_server() {
    for manner in ["", "--half-close", "--reset", "--idle=2"] {
        let script = format!("\"$1\" talk 127.0.0.1:40007 --seconds 1 {manner} 2>&1");
        let Some(mut command) = shell_with_ports("40007 40007", &script) else { return };
        let output = command.arg(env!("CARGO_BIN_EXE_workshop")).output().expect("a shell");
        let expected = "cannot connect to 127.0.0.1:40007; is a server running?";
        assert!(said(&output).contains(expected), "{manner}: {}", said(&output));
        assert_eq!(output.status.code(), Some(1), "{manner}");
    }
}

/// A full device, which Linux has one of for tests.
#[cfg(target_os = "linux")]
#[test]
fn a_talk_goes_on_when_nothing_can_be_printed() {
    let full = || fs::File::options().write(true).open("/dev/full").expect("a device");
    let (addr, server) = serve_one(|mut client| {
        let mut all = Vec::new();
        client.read_to_end(&mut all).expect("the client half-closes");
        client.write_all(&all).expect("the client reads");
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    command.args(["talk", &addr, "--half-close"]);
    let status = command.stdout(full()).stderr(full()).status().expect("cannot start the tool");
    assert_eq!(status.code(), Some(0), "it has panicked");
    server.join().expect("the server has done its part");
}

// ---- standard streams that cannot be written or read

/// Runs the tool where nothing can be printed, and returns what it says of that.
#[cfg(target_os = "linux")]
fn unprinted(args: &[&str], stdout: impl Into<Stdio>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    command.args(args).env("CARGO_MANIFEST_DIR", here()).stdin(Stdio::null()).stdout(stdout);
    let output = command.output().expect("cannot start the tool");
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", said(&output));
    said(&output)
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_printed_is_told_in_one_line() {
    let full = || fs::File::options().write(true).open("/dev/full").expect("a device");
    for args in [&["list"][..], &["show", "1.2"], &["solution", "1.2"], &["--help"], &["help"]] {
        let said = unprinted(args, full());
        assert!(said.starts_with("Error: cannot write to stdout: No space left"), "{said}");
        assert_eq!(said.lines().count(), 1);
    }
}

/// A program that shares our stdout can make it so, and then a slow reader is an error.
#[cfg(target_os = "linux")]
#[test]
fn a_stdout_that_has_no_room_now_is_told_in_one_line() {
    let (_reader, mut writer) = std::io::pipe().expect("a pipe");
    nix::fcntl::fcntl(&writer, nix::fcntl::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).expect("a flag");
    while writer.write(&[0; 4096]).is_ok() {}
    let said = unprinted(&["list"], writer);
    assert!(said.starts_with("Error: cannot write to stdout: Resource temp"), "{said}");
    assert_eq!(said.lines().count(), 1);
}

/// `talk < .`
#[cfg(unix)]
#[test]
fn a_stdin_that_cannot_be_read_ends_the_talk() {
    let (addr, server) = serve_one(|mut client| {
        let _ = client.read_to_end(&mut Vec::new());
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    let folder = fs::File::open(here()).expect("a folder");
    let output = command.args(["talk", &addr]).stdin(folder).output().expect("the tool");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("Error: cannot read stdin: Is a directory"),
        "{}",
        said(&output)
    );
    server.join().expect("the server has done its part");
}

//! The command line, stdout, and errors that a person can act on.

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use crate::testkit::server::{Server, run};
use crate::testkit::skipped;

/// stdout is for one line, the log for the rest, however much that is.
pub fn says_where_it_listens_and_nothing_else_on_stdout(exe: &str) {
    let server = Server::start_with_log_level(exe, "debug", &[]);
    server.assert_still_serving();
    server.assert_still_serving();
    assert_eq!(server.kill(), "");
}

/// Colours are for terminals.
pub fn puts_no_colour_into_a_log_that_is_a_file(exe: &str) {
    let server = Server::start_with_log_level(exe, "debug", &[]);
    server.assert_still_serving();
    server.wait_for_log("connected");
    assert!(!server.log().contains('\x1b'), "{}", server.log());
}

/// What a client sends is its own affair, and could break the lines of the log.
pub fn never_logs_what_a_client_sends(exe: &str) {
    let server = Server::start_with_log_level(exe, "trace", &[]);
    let mut client = server.connect();
    client.round_trip(b"a secret\nand a line of its own\n");
    drop(client);
    server.wait_for_log("closed");
    let log = server.log();
    // As text, and as the numbers that `{:?}` makes of bytes: these begin "secret".
    for secret in ["secret", "a line of its own", "115, 101, 99"] {
        assert!(!log.contains(secret), "{log}");
    }
}

/// One clear line that names the port, exit 1.
pub fn a_port_in_use_is_one_clear_line(exe: &str) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("cannot bind");
    let addr = taken.local_addr().expect("an address").to_string();
    let output = run(exe, &[&addr]);
    assert_eq!(output.status.code(), Some(1));
    assert_one_line(&output, &addr);
}

/// One clear line that names it, exit 2.
pub fn a_bad_address_or_option_is_one_clear_line(exe: &str) {
    for bad in ["nonsense", "127.0.0.1", "127.0.0.1:99999", "--nonsense", "-x"] {
        let output = run(exe, &[bad]);
        assert_eq!(output.status.code(), Some(2), "{bad}");
        assert_one_line(&output, bad);
    }
    assert_eq!(run(exe, &["127.0.0.1:0", "127.0.0.1:0"]).status.code(), Some(2));
}

/// An address that is none of ours cannot be listened on.
pub fn the_address_of_another_machine_is_one_clear_line(exe: &str) {
    // TEST-NET-1, RFC 5737: no host has it.
    let output = run(exe, &["192.0.2.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert_one_line(&output, "192.0.2.1:0");
}

/// `--help` and `--version` go to stdout, name the program, and are no errors.
pub fn help_and_version_are_no_errors(exe: &str) {
    let name = Path::new(exe).file_stem().and_then(|name| name.to_str()).expect("a program");
    for (option, says) in
        [("--help", "Usage:"), ("-h", "Usage:"), ("--version", "0."), ("-V", "0.")]
    {
        let output = run(exe, &[option]);
        assert!(output.status.success(), "{option}");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(stdout.contains(says), "{option}: {stdout}");
        assert!(stdout.contains(name), "{option}: {stdout}");
    }
}

/// A limit of no client, or of more than a token can name.
pub fn a_bad_limit_is_one_clear_line(exe: &str) {
    for bad in ["0", "-1", "many", "1000001"] {
        let output = run(exe, &[&format!("--max-connections={bad}")]);
        assert_eq!(output.status.code(), Some(2), "{bad}");
        assert_one_line(&output, bad);
    }
}

/// With a blank, `-1` is the option's value all the same, and no option of its own.
pub fn a_negative_limit_is_one_clear_line(exe: &str) {
    assert_names_both(exe, "--max-connections", "-1");
}

/// The same for durations.
pub fn a_negative_duration_is_one_clear_line(exe: &str) {
    assert_names_both(exe, "--idle-timeout", "-5s");
    assert_names_both(exe, "--status-interval", "-5s");
}

#[track_caller]
fn assert_names_both(exe: &str, option: &str, value: &str) {
    let output = run(exe, &[option, value]);
    assert_eq!(output.status.code(), Some(2), "{option} {value}");
    assert_one_line(&output, option);
    assert_one_line(&output, value);
}

/// Addresses of a link need the interface: as a number, and the error says so.
pub fn an_interface_that_has_a_name_is_one_clear_line(exe: &str) {
    let addr = "[fe80::1%eth0]:9000";
    let output = run(exe, &[addr]);
    assert_eq!(output.status.code(), Some(2));
    assert_one_line(&output, addr);
    assert_one_line(&output, "[fe80::1%2]:9000");
}

/// `[::1]` is an address like any other.
pub fn listens_on_ipv6_too(exe: &str) {
    if TcpListener::bind("[::1]:0").is_err() {
        return skipped("no IPv6 on this machine");
    }
    let server = Server::start_on(exe, "[::1]:0");
    assert!(server.addr().is_ipv6());
    server.assert_still_serving();
}

#[track_caller]
fn assert_one_line(output: &Output, names: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(names), "{stderr}");
    assert!(output.stdout.is_empty());
}

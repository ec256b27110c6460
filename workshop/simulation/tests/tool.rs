//! The command line.

use std::process::{Command, Output};

#[track_caller]
fn run(args: &[&str]) -> (Option<i32>, String) {
    let tool = Command::new(env!("CARGO_BIN_EXE_simulation")).args(args).output();
    let Output { status, stdout, stderr } = tool.expect("the tool runs");
    let said = [stdout, stderr].concat();
    (status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_seed_is_told_from_the_options_to_the_end() {
    let (code, said) = run(&["stage6", "--seed", "42"]);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!((code, lines[0]), (Some(0), "stage6, seed 42"));
    assert!(lines[1].starts_with("the server: --max-connections "), "{said}");
    assert!(lines[2].starts_with("the world:  "), "{said}");
    assert!(lines[3].contains("server: waits"), "{said}");
    assert!(lines[lines.len() - 1].ends_with(" system calls"), "{said}");
}

#[test]
fn many_seeds_come_to_one_line() {
    let (code, said) = run(&["stage5", "--seeds", "100", "--from", "7"]);
    assert_eq!((code, said.lines().count()), (Some(0), 1), "{said}");
    assert!(said.starts_with("stage5: 100 histories of "), "{said}");
    assert!(said.contains(", no promise broken in "), "{said}");
}

#[test]
fn decisions_are_played_again() {
    let (code, said) = run(&["stage6", "--small", "--choices", "1,2/5x0,1"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the world:  2 clients"), "{said}");
}

#[test]
fn a_seed_of_the_handshake_is_told() {
    let (code, said) = run(&["handshake", "--seed", "42"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("handshake, seed 42\nthe program: --ack-timeout "), "{said}");
    assert!(said.contains("caller: connects to peer 0"), "{said}");
}

#[test]
fn the_handshake_has_no_small_world() {
    let (code, said) = run(&["handshake", "--explore", "1"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("only seeds"), "{said}");
}

#[test]
fn an_exploration_says_how_far_it_has_looked() {
    let (code, said) = run(&["stage5", "--explore", "0"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("896 schedules in 896 worlds"), "{said}");
    assert!(said.contains("at most 0 times"), "{said}");
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for args in [&["stage4"][..], &["stage5", "--choices", "1,,2"], &["stage5", "--from", "1"]] {
        let (code, said) = run(args);
        assert_eq!(code, Some(2), "{said}");
    }
}

//! What keeps the sentences true: a name in backticks exists, a command line runs, and a change that a question
//! proposes has been tried.
//!
//! `book.rs` looks at how the book is put together; this looks at what it says. The checks take the repository's files
//! as a map, so that each can be handed a small book with one fault in it.

mod commands;
mod files;
mod known;
mod names;
#[cfg(target_os = "linux")]
mod programs;
mod questions;
mod scope;
mod spans;
mod words;

#[track_caller]
fn assert_no_faults(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n{} faults\n", faults.join("\n"), faults.len());
}

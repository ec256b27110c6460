//! `cargo run -p simulation -- stage6 --seed 42`

mod tool;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::run(tool::run)
}

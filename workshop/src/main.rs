//! The tool for exercises and measurements.

mod bench;
mod exercises;

use std::process::{self, ExitCode};

use clap::{Parser, Subcommand};

/// What goes with the six servers: exercises that check themselves, and measurements.
#[derive(Parser)]
#[command(name = "workshop", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Exercises(exercises::Command),
    /// Measure the stages and their peers side by side
    Bench(bench::Args),
    /// An echo server to measure against, started by `bench`
    #[command(hide = true)]
    Peer(bench::peer::Args),
}

fn main() -> ExitCode {
    common::run(|| match parse().command {
        Command::Exercises(command) => exercises::run(command),
        Command::Bench(args) => bench::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Peer(args) => bench::peer::run(&args).map(|()| ExitCode::SUCCESS),
    })
}

/// `Cli::parse` would say nothing of a help that cannot be printed, and exit 0.
fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| match error.use_stderr() {
        true => error.exit(),
        false => {
            common::print(error.render().to_string().trim_end());
            process::exit(0)
        }
    })
}

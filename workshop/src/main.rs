//! The tool for exercises and measurements, and for what leaves this checkout.

mod bench;
mod exercises;
mod live;
mod new;
mod pack;
mod scenes;
mod steps;

use std::process::{self, ExitCode};

use clap::{Parser, Subcommand};

/// What goes with the six servers: exercises that check themselves, measurements, crates of your own.
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
    /// Look into a running stage: what its thread is in, and where the bytes of each client wait
    Live(live::Args),
    /// Make a crate of your own from stage 5 or 6, outside of this workspace
    New(new::Args),
    /// Pack a folder for machines without network: sources, dependencies, what is built from them, the book
    Pack(pack::Args),
    /// List the steps between two stages, or put one into a folder where it runs
    Step(steps::Args),
    /// List the recorded scenes of the book, or draw their strips
    Scenes(scenes::Args),
    /// An echo server to measure against, started by `bench`
    #[command(hide = true)]
    Peer(bench::peer::Args),
}

fn main() -> ExitCode {
    common::run(|| match parse().command {
        Command::Exercises(command) => exercises::run(command),
        Command::Bench(args) => bench::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Live(args) => live::run(args).map(|()| ExitCode::SUCCESS),
        Command::New(args) => new::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Pack(args) => pack::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Step(args) => steps::run(&args),
        Command::Scenes(args) => scenes::run(&args).map(|()| ExitCode::SUCCESS),
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

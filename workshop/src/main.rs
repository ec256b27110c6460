//! The tool for exercises and measurements.

mod bench;

use clap::{Parser, Subcommand};

/// What goes with the six servers: measurements of them.
#[derive(Parser)]
#[command(name = "workshop", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure the stages and their peers side by side
    Bench(bench::Args),
    /// An echo server to measure against, started by `bench`
    #[command(hide = true)]
    Peer(bench::peer::Args),
}

fn main() -> Result<(), common::Fatal> {
    match Cli::parse().command {
        Command::Bench(args) => bench::run(&args)?,
        Command::Peer(args) => bench::peer::run(&args)?,
    }
    Ok(())
}

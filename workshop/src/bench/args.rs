//! The options of `bench`.

use std::path::PathBuf;

use super::peers::Peer;

/// Rounds per scene when `--runs` does not say: enough for a median that one outlier cannot move.
const DEFAULT_RUNS: usize = 5;

/// What to measure, how thoroughly, and where the results go.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// One short round of everything, in less than a minute; nothing is counted per message
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only this scene; may be given several times [default: all]
    #[arg(long, value_name = "NAME")]
    pub(crate) scene: Vec<String>,
    /// Only this server; may be given several times [default: all]
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Vec<String>,
    /// Another server to measure, e.g. 'go=./echo {addr}'; may be given several times
    #[arg(long, value_name = "NAME=COMMAND")]
    pub(crate) peer: Vec<Peer>,
    /// Rounds per scene, interleaved: A B C A B C [default: 5; with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) runs: Option<u16>,
    /// Count system calls and instructions, and measure no time
    #[arg(long, conflicts_with = "quick")]
    pub(crate) counts_only: bool,
    /// Measure time, and count no system calls and instructions
    #[arg(long, conflicts_with = "counts_only")]
    pub(crate) times_only: bool,
    /// Write all results to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draw charts of the results into this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) charts: Option<PathBuf>,
    /// Measure nothing: print and draw what these files of --json hold
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "server", "peer", "runs", "counts_only", "times_only"])]
    pub(crate) from: Vec<PathBuf>,
}

impl Args {
    /// Whether to count what a message costs, which takes longer than everything else.
    pub(crate) fn counts(&self) -> bool {
        !self.quick && !self.times_only
    }

    /// How many rounds to run.
    pub(crate) fn rounds(&self) -> usize {
        match self.runs {
            _ if self.counts_only => 0,
            Some(runs) => runs.into(),
            None if self.quick => 1,
            None => DEFAULT_RUNS,
        }
    }
}

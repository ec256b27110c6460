//! What does not scatter: system calls and instructions per message.
//!
//! The server runs under a tool that counts, twice, with few messages and with many. The difference,
//! divided by the messages, is the cost of one; what starting and connecting cost has cancelled out.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::figures::{Figure, Figures};
use super::os::Cores;
use super::peers::Peer;
use super::scenes::{Ask, Kind, exchange};
use super::server::Server;

/// What each client sends in the shorter run: enough to be past the first, slower replies.
const FEW: u64 = 4;

/// In scenes with more clients than this nothing is counted: under strace and valgrind that would take
/// minutes.
const MOST_CLIENTS: usize = 64;

/// What perf(1) calls these events: the entry into any system call, and instructions in user code.
const CALLS: &str = "raw_syscalls:sys_enter";
const INSTRUCTIONS: &str = "instructions:u";

/// Something that counts what a process does, and writes the count to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    /// System calls, in passing: the server is hardly slower for it.
    PerfCalls,
    /// System calls, by stopping the server at each of them. With many clients it finds more of them
    /// ready whenever it looks, and with one it may find the next question where it expected none.
    Strace,
    /// Instructions outside the kernel, by the processor's own counter.
    PerfInstructions,
    /// The same, by playing the processor, some fifty times slower.
    Callgrind,
}

/// The tools of this machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Tools {
    syscalls: Option<Tool>,
    instructions: Option<Tool>,
}

impl Tools {
    /// Looks which there are. A virtual machine often has a `perf` that cannot count instructions.
    pub(super) fn find() -> Self {
        Self {
            syscalls: Tool::first_that_works([Tool::PerfCalls, Tool::Strace]),
            instructions: Tool::first_that_works([Tool::PerfInstructions, Tool::Callgrind]),
        }
    }

    /// Whether they have anything to tell about a scene.
    pub(super) fn can_count(&self, kind: &Kind) -> bool {
        let any = self.syscalls.is_some() || self.instructions.is_some();
        any && matches!(kind, Kind::Ask(ask) if ask.clients <= MOST_CLIENTS)
    }

    /// Says what cannot be counted here, and for lack of what.
    pub(super) fn say_what_is_missing(&self) {
        if self.syscalls.is_none() {
            common::print(
                "system calls are not counted: there is no strace here, or it may not trace\n",
            );
        }
        if self.instructions.is_none() {
            common::print(
                "instructions are not counted: neither perf nor valgrind can do it here\n",
            );
        }
    }

    /// Counts what one message of a scene costs this peer.
    pub(super) fn count(&self, peer: &Peer, ask: Ask, cores: &Cores) -> anyhow::Result<Figures> {
        let mut figures = Figures::new();
        let both = [
            (Figure::SyscallsPerMessage, self.syscalls),
            (Figure::InstructionsPerMessage, self.instructions),
        ];
        for (figure, tool) in both {
            if let Some(tool) = tool {
                figures.insert(figure, tool.per_message(peer, ask, cores)?);
            }
        }
        Ok(figures)
    }
}

impl Tool {
    fn per_message(self, peer: &Peer, ask: Ask, cores: &Cores) -> anyhow::Result<f64> {
        let clients = (ask.clients * ask.depth) as u64;
        let few = FEW * clients;
        let many = few + self.messages();
        let total = |messages| {
            let file = env::temp_dir().join(format!("bench-{}.count", std::process::id()));
            let server = Server::start(&peer.launch, &self.command(&file), cores)?;
            exchange(ask, messages, &server)?;
            server.end()?;
            let text =
                fs::read_to_string(&file).with_context(|| format!("{self:?} wrote nothing"))?;
            let _ = fs::remove_file(&file);
            self.parse(&text).with_context(|| format!("cannot read what {self:?} wrote"))
        };
        Ok((total(many)? - total(few)?) / (many - few) as f64)
    }

    /// By how many messages the two runs differ: as many as take about a second. A stray call is then
    /// nothing, and the batches in which many clients are served have had time to even out.
    fn messages(self) -> u64 {
        match self {
            Self::PerfCalls | Self::PerfInstructions => 50_000,
            Self::Strace | Self::Callgrind => 5_000,
        }
    }

    /// The command to put in front of the server's.
    fn command(self, file: &Path) -> Vec<String> {
        let file = file.display();
        let words = match self {
            Self::Strace => format!("strace -f -c -o {file}"),
            Self::PerfCalls => format!("perf stat -x, -e {CALLS} -o {file}"),
            Self::PerfInstructions => format!("perf stat -x, -e {INSTRUCTIONS} -o {file}"),
            Self::Callgrind => format!("valgrind --tool=callgrind --callgrind-out-file={file}"),
        };
        words.split(' ').map(str::to_owned).collect()
    }

    fn read(self, file: &CountFile) -> anyhow::Result<f64> {
        let text =
            fs::read_to_string(&file.0).with_context(|| format!("{self:?} wrote nothing"))?;
        self.parse(&text).with_context(|| format!("cannot read what {self:?} wrote"))
    }

    /// The one number we want out of what it wrote.
    fn parse(self, text: &str) -> Option<f64> {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        match self {
            // "100.00    0.012345           3      4001        12 total"
            Self::Strace => {
                let total = text.lines().rfind(|line| line.ends_with(" total"))?;
                words(total).get(3)?.parse().ok()
            }
            // "123456,,instructions:u,1000000,100.00,,"; or "<not supported>,,instructions:u,…"
            Self::PerfCalls | Self::PerfInstructions => {
                let ours = |line: &&str| line.contains(CALLS) || line.contains(INSTRUCTIONS);
                text.lines().find(ours)?.split(',').next()?.parse().ok()
            }
            // "totals: 123456"
            Self::Callgrind => {
                text.lines().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
            }
        }
    }

    fn first_that_works(tools: [Self; 2]) -> Option<Self> {
        tools.into_iter().find(|tool| tool.counts_something())
    }

    /// Whether it works here: tried on a program that does nothing.
    fn counts_something(self) -> bool {
        self.try_on_true().is_ok_and(|count| count > 0.0)
    }

    fn try_on_true(self) -> anyhow::Result<f64> {
        let file = CountFile::new();
        let command = self.command(&file.0);
        let mut trial = Command::new(&command[0]);
        trial.args(&command[1..]).arg("true").stdout(Stdio::null()).stderr(Stdio::null());
        if !trial.status()?.success() {
            bail!("{self:?} cannot run `true`");
        }
        self.read(&file)
    }
}

/// Where a tool puts what it has counted. Whatever happens, it does not stay.
struct CountFile(PathBuf);

impl CountFile {
    fn new() -> Self {
        Self(env::temp_dir().join(format!("bench-{}.count", std::process::id())))
    }
}

impl Drop for CountFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_in_what_each_tool_writes() {
        let strace = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 50.00    0.000050           1        40           read
 50.00    0.000050           1        60         2 write
------ ----------- ----------- --------- --------- ----------------
100.00    0.000100           1       100         2 total
";
        assert_eq!(Tool::Strace.parse(strace), Some(100.0));
        let perf = "# started on Monday\n\n123456,,instructions:u,1000,100.00,,\n";
        assert_eq!(Tool::PerfInstructions.parse(perf), Some(123_456.0));
        assert_eq!(
            Tool::PerfInstructions.parse("<not supported>,,instructions:u,0,100.00,,\n"),
            None
        );
        assert_eq!(Tool::Callgrind.parse("summary: 7\n\n\ntotals: 7654\n"), Some(7654.0));
    }
}

//! Compares the three handshake programs and writes the table for the book.
//!
//! Run it with `cargo run --release -p stage6-timers --example handshake_compare`. It writes
//! `docs/pieces/handshake/comparison.md`.
#![allow(clippy::duplicate_mod, reason = "each of the three brings its own support along")]

#[allow(dead_code)]
#[path = "handshake_by_hand.rs"]
mod by_hand;
#[allow(dead_code)]
#[path = "handshake.rs"]
mod by_machine;
#[allow(dead_code)]
#[path = "handshake_async.rs"]
mod by_tokio;

use std::alloc::System;
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};

/// Counts what all three programs take from the heap. They run in this very process, one at a time.
#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many connections are open at a time: few enough for the usual limit of 1,024 descriptors.
const AT_ONCE: usize = 200;
/// The time is measured for this many handshakes, in waves.
const HANDSHAKES: usize = 1000;
/// The time is the median of this many measurements, in turns, so that all three meet the same machine.
const ROUNDS: usize = 9;

/// One of the three programs.
struct Program {
    name: &'static str,
    /// What a maintainer has to read.
    sources: &'static [&'static str],
    call_all: fn(&[SocketAddr]) -> bool,
    /// The size of the value that knows how far one call has come.
    state_size: usize,
    /// What it stands on.
    package: &'static str,
}

/// Calls all addresses silently. True if all are connected.
macro_rules! call_all {
    ($program:ident) => {
        |addrs| {
            let peers = $program::call_all(&$program::support::Options::silent(addrs.to_vec()));
            peers.is_ok_and(|peers| peers.iter().all($program::support::Peer::is_connected))
        }
    };
}

/// The size of the future of one call.
macro_rules! future_size {
    ($program:ident) => {{
        let addr = SocketAddr::from(([127, 0, 0, 1], 9000));
        let options = $program::support::Options::silent(vec![addr]);
        let peers = $program::support::Peer::all(&options);
        peers.into_iter().map($program::call).map(|call| size_of_val(&call)).sum()
    }};
}

fn programs() -> [Program; 3] {
    [
        Program {
            name: "`handshake`",
            sources: &[
                include_str!("handshake.rs"),
                include_str!("handshake/machine.rs"),
                include_str!("handshake/talk.rs"),
                include_str!("handshake/watched.rs"),
            ],
            call_all: call_all!(by_machine),
            state_size: size_of::<by_machine::Call>(),
            package: "mio",
        },
        Program {
            name: "`handshake_async`",
            sources: &[
                include_str!("handshake_async.rs"),
                include_str!("handshake_async/connect.rs"),
                include_str!("handshake_async/timeout.rs"),
            ],
            call_all: call_all!(by_tokio),
            state_size: future_size!(by_tokio),
            package: "tokio",
        },
        Program {
            name: "`handshake_by_hand`",
            sources: &[
                include_str!("handshake_by_hand.rs"),
                include_str!("handshake_by_hand/executor.rs"),
                include_str!("handshake_by_hand/leaves.rs"),
            ],
            call_all: call_all!(by_hand),
            state_size: future_size!(by_hand),
            package: "mio",
        },
    ]
}

fn main() -> ExitCode {
    common::run(|| {
        let table = compare()?;
        common::print(table.trim_end());
        let folder = package()?.join("../docs/pieces/handshake");
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join("comparison.md"), table))
            .with_context(|| format!("cannot write into {}", folder.display()))
    })
}

fn compare() -> anyhow::Result<String> {
    ensure!(!cfg!(debug_assertions), "a debug build measures the debug build: add --release");
    let programs = programs();
    let [a, b, c] = &programs;
    let heap = [measure_heap(a)?, measure_heap(b)?, measure_heap(c)?];
    let sizes = programs.each_ref().map(|program| program.state_size.to_string());
    let rows = [
        row("", programs.each_ref().map(|program| program.name.to_owned())),
        row("---", ["---:"; 3].map(str::to_owned)),
        row("lines of code, without what all three share", programs.each_ref().map(lines)),
        row(
            "states that have a name, in `State` and in `Phase`",
            programs.each_ref().map(named_states),
        ),
        row(
            "places to wait at, each an `.await`, without those of the executor's own sockets",
            programs.each_ref().map(awaits),
        ),
        row("size of the value that is one call, bytes", sizes),
        row(
            "heap per call that waits for its ack, bytes",
            heap.map(|(bytes, _)| bytes.to_string()),
        ),
        row("allocations per call, from first to last", heap.map(|(_, n)| format!("{n:.1}"))),
        row("1,000 handshakes and talks, ms", times(&programs)?.map(|time| format!("{time:.0}"))),
        row("crates below, for the sockets and the loop", [crates(a)?, crates(b)?, crates(c)?]),
    ];
    let how = format!(
        "Release build, {AT_ONCE} calls at once, all on one thread, a server of stage 6 at the other \
         end. Heap and allocations are what one more call costs, the value that is the call included. \
         The time is the median of {ROUNDS} measurements, server included, and differs more from run to \
         run than from program to program. {}.\n",
        machine_in_words()
    );
    Ok(format!("{}\n\n{how}", rows.join("\n")))
}

fn row(title: &str, cells: [String; 3]) -> String {
    format!("| {title} | {} |", cells.join(" | "))
}

/// Lines that are neither empty nor a comment.
fn code(source: &str) -> impl Iterator<Item = &str> {
    source.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"))
}

fn lines(program: &Program) -> String {
    program.sources.iter().map(|source| code(source).count()).sum::<usize>().to_string()
}

/// The variants of the enums that say how far a call has come: `State` and `Phase`.
fn named_states(program: &Program) -> String {
    let variants = |source: &&str| {
        let mut in_enum = false;
        let mut count = 0;
        for line in source.lines() {
            match line {
                "pub(crate) enum State {" | "enum Phase {" => in_enum = true,
                "}" => in_enum = false,
                _ => {}
            }
            let name = line.strip_prefix("    ").and_then(|line| line.chars().next());
            count += usize::from(in_enum && name.is_some_and(char::is_uppercase));
        }
        count
    };
    program.sources.iter().map(variants).sum::<usize>().to_string()
}

/// Those of the program itself, not those of an executor.
fn awaits(program: &Program) -> String {
    let awaits = |line: &str| line.matches(".await").count();
    code(program.sources[0]).map(awaits).sum::<usize>().to_string()
}

/// Bytes on the heap while it waits, and allocations from first to last: what one more call costs.
fn measure_heap(program: &Program) -> anyhow::Result<(usize, f64)> {
    let half = heap_of(program, AT_ONCE / 2)?;
    let all = heap_of(program, AT_ONCE)?;
    let more = AT_ONCE - AT_ONCE / 2;
    Ok(((all.0 - half.0) / more, (all.1 - half.1) as f64 / more as f64))
}

/// Bytes on the heap while all calls wait for their acks, and allocations from first to last.
fn heap_of(program: &Program, calls: usize) -> anyhow::Result<(usize, usize)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addrs = vec![listener.local_addr()?; calls];
    let (sender, receiver) = mpsc::sync_channel(1);
    let peer = thread::spawn(move || -> io::Result<Stats> {
        let mut streams = Vec::with_capacity(calls);
        sender.send(()).map_err(io::Error::other)?;
        for _ in 0..calls {
            let mut stream = listener.accept()?.0;
            stream.read_exact(&mut [0; by_machine::support::HELLO.len()])?;
            streams.push(stream);
        }
        // Every call has sent its handshake, none has its ack.
        let waiting = stats_at_rest();
        for stream in &mut streams {
            stream.write_all(by_machine::support::HELLO)?;
        }
        for stream in &mut streams {
            stream.read_exact(&mut [0; by_machine::support::QUESTION.len()])?;
            stream.write_all(by_machine::support::QUESTION)?;
        }
        Ok(waiting)
    });
    // By now the peer has allocated all that it needs.
    receiver.recv()?;
    let before = HEAP.stats();
    let connected = (program.call_all)(&addrs);
    let after = HEAP.stats();
    ensure!(connected, "{}: not all calls are connected", program.name);
    let waiting = peer.join().expect("the peer does not panic")?;
    let live = |stats: &Stats| stats.bytes_allocated - stats.bytes_deallocated;
    Ok((live(&waiting) - live(&before), after.allocations - before.allocations))
}

/// The heap once it changes no more. Until then, calls may be on their way to the place where they wait.
fn stats_at_rest() -> Stats {
    const REST: Duration = Duration::from_millis(50);
    let mut before = HEAP.stats();
    loop {
        thread::park_timeout(REST);
        let now = HEAP.stats();
        if now == before {
            return now;
        }
        before = now;
    }
}

/// The median time of each program, in milliseconds.
fn times(programs: &[Program; 3]) -> anyhow::Result<[f64; 3]> {
    let server = Server::start()?;
    let addrs = vec![server.addr; AT_ONCE];
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (program, times) in programs.iter().zip(&mut times) {
            let start = Instant::now();
            for _ in 0..HANDSHAKES / AT_ONCE {
                ensure!((program.call_all)(&addrs), "{}: not all are connected", program.name);
            }
            times.push(start.elapsed());
        }
    }
    Ok(times.map(|mut times: Vec<Duration>| {
        times.sort();
        times[ROUNDS / 2].as_secs_f64() * 1000.0
    }))
}

/// The server of stage 6, as a process.
struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    fn start() -> anyhow::Result<Self> {
        let mut child = cargo(&["run", "--quiet", "--release", "-p", "stage6-timers", "--"])?
            .args(["127.0.0.1:0", "--status-interval", "1h"])
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the server")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("it has no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let addr = line.trim().strip_prefix("listening on ").context("it does not listen")?;
        Ok(Self { child, addr: addr.parse()? })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many crates a program stands on, as cargo counts them.
fn crates(program: &Program) -> anyhow::Result<String> {
    let tree =
        cargo(&["tree", "--edges=normal,dev", "--prefix=none", "-p", program.package])?.output()?;
    let tree = String::from_utf8(tree.stdout)?;
    let mut crates: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    crates.sort_unstable();
    crates.dedup();
    Ok(format!("{} ({})", crates.len(), program.package))
}

fn cargo(args: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    command.args(args).current_dir(package()?);
    Ok(command)
}

/// Where stage 6 is. cargo says so when it runs us; when it built us, the checkout may have been elsewhere.
fn package() -> anyhow::Result<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR").context("start this with `cargo run`")?;
    Ok(package.into())
}

fn machine_in_words() -> String {
    let says = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output();
        output.map_or(String::new(), |out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let (system, compiler) = (says("uname", &["-sr"]), says("rustc", &["--version"]));
    // Without the build of the kernel and the commit of the compiler.
    let system = system.split('-').next().unwrap_or_default();
    let compiler = compiler.split(" (").next().unwrap_or_default();
    format!("{system}, {compiler}, {cores} cores, {}", says("date", &["-u", "+%F"]))
}

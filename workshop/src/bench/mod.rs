//! Measurements: the stages and their peers side by side, one scene after another.
//!
//! The loop is scene by scene, round by round, server by server: A B C A B C. So whatever else the machine
//! is doing disturbs all of them alike. Each run is a server of its own, freshly started.

mod args;
mod chart;
mod charts;
mod counts;
mod figures;
mod load;
pub(crate) mod os;
pub(crate) mod peer;
mod peers;
mod report;
mod results;
mod scenes;
pub(crate) mod server;
pub(crate) mod stop;

use std::fs;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};

pub(crate) use self::args::Args;
use self::counts::Tools;
use self::figures::Figures;
use self::os::Cores;
use self::peers::Peer;
use self::results::{Results, Row, Table};
use self::scenes::{Kind, Pace, Scene};
use self::server::Server;

/// Descriptors for everything but clients: the standard ones, the poller, the pipe.
const SPARE_DESCRIPTORS: u64 = 64;

/// Measures, prints, and writes what was asked for.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // Better now than after an hour.
    if let Some(file) = &args.json {
        Results::can_be_written(file)?;
    }
    let results = match &args.from[..] {
        [] => {
            let scenes = chosen_scenes(args)?; // a wrong name is said before anything is built
            Bench::new(args)?.measure(&scenes)?
        }
        files => reread(args, files)?,
    };
    if let Some(file) = &args.json {
        results.write(file)?;
    }
    if let Some(dir) = &args.charts {
        charts::draw(&results, dir)?;
    }
    Ok(())
}

/// Earlier results, put together.
fn reread(args: &Args, files: &[std::path::PathBuf]) -> anyhow::Result<Results> {
    let mut results = Results::default();
    for file in files {
        results.merge(Results::read(file)?);
    }
    let scenes = chosen_scenes(args)?;
    common::print(format_args!("{}\n", results.machine));
    for table in scenes.iter().filter_map(|scene| results.table(scene.name)) {
        common::print(table.report());
    }
    Ok(results)
}

fn chosen_scenes(args: &Args) -> anyhow::Result<Vec<Scene>> {
    let all = scenes::all();
    if let Some(unknown) = args.scene.iter().find(|name| all.iter().all(|s| s.name != *name)) {
        let names: Vec<_> = all.iter().map(|scene| scene.name).collect();
        bail!("no scene '{unknown}'; there are: {}", names.join(", "));
    }
    let wanted =
        |scene: &Scene| args.scene.is_empty() || args.scene.iter().any(|n| n == scene.name);
    Ok(all.into_iter().filter(wanted).collect())
}

/// What stays the same from the first scene to the last.
struct Bench {
    peers: Vec<Peer>,
    rounds: usize,
    pace: Pace,
    tools: Tools,
    cores: Cores,
    descriptors: u64,
    bar: ProgressBar,
}

impl Bench {
    fn new(args: &Args) -> anyhow::Result<Self> {
        stop::catch_signals()?;
        let peers = peers::assemble(args)?;
        let cores = Cores::split();
        let tools = if args.counts() { Tools::find() } else { Tools::default() };
        if args.counts() {
            tools.say_what_is_missing();
        }
        Ok(Self {
            peers,
            rounds: args.rounds(),
            pace: if args.quick { Pace::QUICK } else { Pace::FULL },
            tools,
            cores,
            descriptors: os::raise_limit(),
            bar: ProgressBar::hidden(),
        })
    }

    /// Plays every scene and prints its table as soon as it is over.
    fn measure(mut self, scenes: &[Scene]) -> anyhow::Result<Results> {
        let mut results = Results { machine: self.machine(), scenes: Vec::new() };
        common::print(format_args!("{}\n", results.machine));
        let steps = scenes.len() * self.peers.len() * (self.rounds + 1);
        // It draws on a terminal, and nowhere else.
        self.bar = ProgressBar::new(steps as u64).with_style(
            ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        let counts_only = self.rounds == 0;
        for scene in scenes.iter().filter(|s| !counts_only || self.tools.can_count(&s.kind)) {
            let needed = scene.kind.clients() as u64 + SPARE_DESCRIPTORS;
            if needed > self.descriptors {
                let have = self.descriptors;
                self.say(&format!(
                    "{}: left out: {needed} descriptors needed, {have} allowed\n",
                    scene.name
                ));
                continue;
            }
            let table = self.play(scene)?;
            self.say(&table.report());
            results.scenes.push(table);
        }
        self.bar.finish_and_clear();
        Ok(results)
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| common::print(text));
    }

    /// One scene, with everybody, interleaved.
    fn play(&self, scene: &Scene) -> anyhow::Result<Table> {
        let mut rows: Vec<_> = self.peers.iter().map(|peer| Row::new(&peer.name)).collect();
        for _ in 0..self.rounds {
            for (peer, row) in self.peers.iter().zip(&mut rows) {
                self.step(scene, peer);
                play_once(row, peer, scene, || self.run(scene, peer))?;
            }
        }
        for (peer, row) in self.peers.iter().zip(&mut rows) {
            self.step(scene, peer);
            self.count(scene, peer, row)?;
        }
        let figures = scene.kind.figures();
        Ok(Table { scene: scene.name.into(), title: scene.title.into(), figures, rows })
    }

    fn step(&self, scene: &Scene, peer: &Peer) {
        self.bar.set_message(format!("{} {}", scene.name, peer.name));
        self.bar.inc(1);
    }

    fn run(&self, scene: &Scene, peer: &Peer) -> anyhow::Result<Figures> {
        let server = Server::start(&peer.launch, &[], &self.cores)?;
        let figures = scene.play(&server, &self.pace)?;
        server.end()?;
        Ok(figures)
    }

    /// Adds what can be counted.
    fn count(&self, scene: &Scene, peer: &Peer, row: &mut Row) -> anyhow::Result<()> {
        let Kind::Ask(ask) = scene.kind else { return Ok(()) };
        if !self.tools.can_count(&scene.kind) || row.left_out.is_some() {
            return Ok(());
        }
        if let Some(why) = peer.cannot(&scene.kind).or_else(|| peer.cannot_be_counted()) {
            row.left_out = Some(why.to_owned());
            return Ok(());
        }
        match self.tools.count(peer, ask, &self.cores) {
            Ok(counts) => row.counts = counts,
            // Ctrl-C reaches the servers as well, and then it is no fault of theirs.
            Err(error) => {
                stop::check()?;
                row.left_out = Some(format!("could not be counted: {error:#}"));
            }
        }
        Ok(())
    }

    /// Where the figures come from, in a line.
    fn machine(&self) -> String {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let place = match &self.cores.generator[..] {
            [] => "server and generator share the cores".to_owned(),
            [last] => format!("server on {:?}, generator on [{last}]", self.cores.server),
            _ => String::new(),
        };
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let system = format!("{} {}", std::env::consts::OS, kernel.trim());
        format!("{system}, {}, {cores} cores: {place}", std::env::consts::ARCH)
    }
}

/// One round of one server. Its failure is its own: the others go on.
fn play_once(
    row: &mut Row,
    peer: &Peer,
    scene: &Scene,
    run: impl FnOnce() -> anyhow::Result<Figures>,
) -> anyhow::Result<()> {
    if let Some(why) = peer.cannot(&scene.kind) {
        row.left_out = Some(why.to_owned());
    }
    if row.left_out.is_some() {
        return Ok(());
    }
    match run() {
        Ok(figures) => row.rounds.push(figures),
        Err(error) => {
            stop::check()?;
            row.left_out = Some(format!("{error:#}"));
        }
    }
    Ok(())
}

//! `live`: a server and its clients, as a picture that moves. Made for a projector.
//!
//! One thread looks, draws and reads the keys. The clients are tasks of a runtime of their own (see [`clients`]), so a
//! flood does not hold up the picture. What is shown is worked out in [`state`], which is given the time and all that
//! was seen.

mod clients;
mod draw;
mod figures;
mod kind;
mod lines;
mod process;
mod server;
mod state;
mod terminal;

use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::{os, stop};
use clients::Clients;
use kind::{HUNDRED, Kind, Kinds};
use server::{Launch, STAGES, Server};
use state::{LOOK_EVERY, Seen, State};
use terminal::{Asked, Picture};

/// How often the figures change. If they changed more often, they could not be read.
const SEE_EVERY: Duration = Duration::from_millis(500);

/// How often a line comes where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// With more threads than this we look at them only when the figures change: each is a file to read.
const FEW_THREADS: usize = 16;

/// What stands behind the options in the help.
const ABOUT_KEYS: &str = "\
Keys: t s f n d h r c add a client that talks, is silent, floods, never reads, dribbles, half-closes, resets, and a
hundred silent ones. x takes the last one away, X all. 1 to 6 start another stage; the clients connect anew. Space
stops the picture, ? explains it, q quits.

Without a terminal it prints a line a second.";

/// What to look at.
#[derive(clap::Args)]
#[command(after_help = ABOUT_KEYS)]
pub(crate) struct Args {
    /// The stage to start: its name, or its number
    #[arg(default_value = "stage5-mio", value_parser = stage)]
    stage: usize,
    /// Look at a server that runs already: its process ID
    #[arg(long, value_name = "PID", conflicts_with_all = ["stage", "no_build", "options"])]
    attach: Option<u32>,
    /// Clients from the start, by their keys, as in t,s,f
    #[arg(long, value_name = "KINDS", default_value = "", hide_default_value = true)]
    with: Kinds,
    /// Start the stage as it was built last
    #[arg(long)]
    no_build: bool,
    /// Options of each stage that is started. One that does not know them says so, and does not start
    #[arg(last = true)]
    options: Vec<String>,
}

/// `5`, `stage5` or `stage5-mio`: from 0 on.
fn stage(text: &str) -> Result<usize, String> {
    let fits = |(i, name): (usize, &&str)| {
        text == *name || text == format!("stage{}", i + 1) || text == (i + 1).to_string()
    };
    let found = STAGES.iter().enumerate().position(fits);
    found.ok_or_else(|| format!("there are: {}", STAGES.join(", ")))
}

/// Looks until it is told to stop, or until its terminal or its reader has gone.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    stop::catch_signals()?;
    let descriptors = os::raise_limit();
    let launch = Launch { no_build: args.no_build, options: args.options };
    let server = match args.attach {
        Some(pid) => Server::attach(pid)?,
        None => {
            if !launch.no_build {
                common::say(format_args!("building and starting {} …", STAGES[args.stage]));
            }
            Server::start(args.stage, &launch)?
        }
    };
    let mut live = Live::new(server, launch, descriptors)?;
    live.add(&args.with.0);
    let looked = match terminal::is_there() {
        true => live.draw(),
        false => live.print(),
    };
    live.end()?;
    looked
}

/// A server that is looked at, and its clients.
struct Live {
    start: Instant,
    /// `None` between two stages.
    server: Option<Server>,
    launch: Launch,
    /// The next stage, while it is built and started.
    coming: Option<(usize, Receiver<anyhow::Result<Server>>)>,
    /// The stage that was asked for in the meantime.
    next: Option<usize>,
    clients: Clients,
    table: process::Table,
    state: State,
    seen_at: Option<Duration>,
    /// What is on the terminal may not be ours.
    was_written_to: bool,
}

impl Live {
    fn new(server: Server, launch: Launch, descriptors: u64) -> anyhow::Result<Self> {
        let mut live = Self {
            start: Instant::now(),
            server: None,
            launch,
            coming: None,
            next: None,
            clients: Clients::new(descriptors)?,
            table: process::Table::new(),
            state: State::new(process::MISSING),
            seen_at: None,
            was_written_to: false,
        };
        live.begin(server);
        Ok(live)
    }

    fn begin(&mut self, server: Server) {
        let (name, is_ours) = (server.name.clone(), server.is_ours());
        self.state.begin(state::Server { name, pid: server.pid, addr: server.addr, is_ours });
        self.clients.connect_all(server.addr);
        self.server = Some(server);
    }

    fn add(&mut self, kinds: &[Kind]) {
        let addr = self.server.as_ref().map(|server| server.addr);
        kinds.iter().for_each(|kind| self.clients.add(*kind, 1, addr));
    }

    /// The picture, until a key or a signal ends it.
    fn draw(&mut self) -> anyhow::Result<()> {
        let mut picture = Picture::new()?;
        let keys = terminal::keys();
        while stop::check().is_ok() {
            self.look();
            if std::mem::take(&mut self.was_written_to) {
                picture.clear()?;
            }
            // A terminal that was closed is no error: its window was.
            if picture.draw(&self.state).is_err() {
                break;
            }
            let next = self.start.elapsed() + LOOK_EVERY;
            while let Ok(asked) = keys.recv_timeout(next.saturating_sub(self.start.elapsed())) {
                match asked {
                    Asked::Quit => return Ok(()),
                    Asked::Suspend => picture.suspend()?,
                    asked => self.act(asked),
                }
            }
        }
        Ok(())
    }

    /// A line a second, until a signal ends it or its reader goes.
    fn print(&mut self) -> anyhow::Result<()> {
        let mut is_read = lines::print(&lines::head(&self.state))?;
        let mut next_line = self.start.elapsed() + LINE_EVERY;
        while is_read && stop::check().is_ok() {
            self.look();
            let now = self.start.elapsed();
            if now >= next_line {
                is_read = lines::print(&lines::line(now, &self.state))?;
                next_line += LINE_EVERY;
            }
            thread::park_timeout(LOOK_EVERY);
        }
        Ok(())
    }

    fn act(&mut self, asked: Asked) {
        let addr = self.server.as_ref().map(|server| server.addr);
        match asked {
            Asked::Add(kind) => self.clients.add(kind, 1, addr),
            Asked::AddHundred => self.clients.add(Kind::Silent, HUNDRED, addr),
            Asked::Remove => self.clients.remove(),
            Asked::RemoveAll => self.clients.remove_all(),
            Asked::Stage(stage) => self.switch(stage),
            Asked::Pause => self.state.is_paused ^= true,
            Asked::Help => self.state.shows_help ^= true,
            Asked::Suspend | Asked::Quit => {}
        }
        self.seen_at = None;
    }

    /// Ends the server and starts another one. To build it may take a while, so that is done by another thread.
    fn switch(&mut self, stage: usize) {
        // One that is not ours goes on, and is what we were asked to look at.
        if self.server.as_ref().is_some_and(|server| !server.is_ours()) {
            return;
        }
        self.state.is_without(format!("building and starting {} …", STAGES[stage]));
        if let Some((coming, _)) = &self.coming {
            self.next = (*coming != stage).then_some(stage);
            return;
        }
        self.clients.disconnect();
        self.state.clients.clear();
        // Otherwise the title would name the one that ends.
        self.state.server = None;
        let (tell, coming) = mpsc::channel();
        let (old, launch) = (self.server.take(), self.launch.clone());
        thread::spawn(move || {
            let ended = old.map_or(Ok(()), Server::end);
            let _ = tell.send(ended.and_then(|()| Server::start(stage, &launch)));
        });
        self.coming = Some((stage, coming));
    }

    /// Looks at the threads, and from time to time at the rest.
    fn look(&mut self) {
        self.take_what_comes();
        let now = self.start.elapsed();
        let Some(server) = &mut self.server else { return };
        if self.seen_at.is_none_or(|at| now.saturating_sub(at) >= SEE_EVERY) {
            self.table.ask(server.addr);
        }
        let sockets = self.table.told(server.addr);
        if let Some(how) = server.has_ended() {
            self.state.is_without(how);
        } else if self.state.threads.len() <= FEW_THREADS || sockets.is_some() {
            let threads = match self.state.is_one_thread() {
                true => vec![server.pid],
                false => process::threads(server.pid),
            };
            let doing = threads.into_iter().filter_map(|thread| process::doing(server.pid, thread));
            self.state.see_threads(doing.collect());
        }
        let Some(sockets) = sockets else { return };
        let seen = Seen {
            used: process::used(server.pid),
            sockets,
            stats: server.stats(),
            log: server.log(),
            clients: self.clients.views(),
        };
        self.state.see(now, seen);
        self.seen_at = Some(now);
    }

    fn take_what_comes(&mut self) {
        let coming = self.coming.as_ref();
        let Some(come) = coming.and_then(|(_, coming)| coming.try_recv().ok()) else { return };
        (self.coming, self.was_written_to, self.seen_at) = (None, true, None);
        match come {
            Ok(server) => self.begin(server),
            Err(error) => self.state.is_without(format!("{error:#}")),
        }
        if let Some(stage) = self.next.take() {
            self.switch(stage);
        }
    }

    /// The clients leave first: then a server that waits for them has nothing to wait for.
    fn end(self) -> anyhow::Result<()> {
        drop(self.clients);
        // One that is being started is ended by its watchdog.
        self.server.map_or(Ok(()), Server::end)
    }
}

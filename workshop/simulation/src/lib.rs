//! Stages 5 and 6, and the handshake, on a simulated kernel. Every choice, the kernel's included, comes from a seed, so
//! every failure can be repeated.

mod client;
pub mod explore;
pub mod handshake;
mod promises;
mod properties;
pub mod shrink;
mod tell;
mod turns;
mod world;
pub mod yours;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use simulated_kernel::{Kernel, World};

pub use promises::{CALLER_PROMISES, PROMISES, Promise};
pub use properties::{Rules, Violation};
pub use simulated_kernel::choices::{Choices, Decisions};
pub use turns::{Call, Turn, turns, turns_with};
pub use world::Clients;

/// Which server plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// `stage5-mio`
    Five,
    /// `stage6-timers`
    Six,
}

/// What a history has come to.
#[derive(Debug)]
pub struct History {
    /// The promise that was broken, if one was.
    pub violation: Option<Violation>,
    /// Every decision, and out of how many possibilities it was made.
    pub choices: Choices,
    /// Which options the server was given, and what sort of world it is in. If it was to be told.
    pub head: Vec<String>,
    /// What happened, if it was to be told: a line for everything that the world did, and for what the server did in
    /// between.
    pub story: Vec<String>,
    /// How many system calls the server has made, and how many turns its loop.
    pub calls: u64,
    /// How many turns its loop has had.
    pub turns: u32,
}

/// Plays one history.
pub fn play(stage: Stage, choices: Choices, tell: bool) -> History {
    play_with(stage, choices, tell, server_of(stage))
}

/// A server, from its listener on.
type Server = fn(TcpListener, common::cli::Timed) -> io::Result<()>;

fn server_of(stage: Stage) -> Server {
    match stage {
        Stage::Five => |listener, options| simulated_stage5::run(listener, options.max_connections),
        Stage::Six => simulated_stage6::run,
    }
}

/// Plays one history of a server that promises what a stage does.
pub fn play_with(
    stage: Stage,
    mut choices: Choices,
    tell: bool,
    server: impl FnOnce(TcpListener, common::cli::Timed) -> io::Result<()>,
) -> History {
    let rules = rules(stage, &mut choices);
    let options = options(&rules);
    let world = Clients::new(&mut choices, rules.clone());
    let mut kernel = Kernel::new(choices);
    world.prepare(&mut kernel);
    kernel.story = tell.then(Vec::new);
    let head = if tell { tell::head(&rules, &world, &kernel) } else { Vec::new() };
    let (mut kernel, mut world, end) = run(kernel, world, || server(listener(), options));
    judge(&mut kernel, &mut world, end);
    history(kernel, &world, head)
}

/// How the program ended: by itself, or with a panic.
type End<T> = Result<io::Result<T>, Box<dyn Any + Send>>;

/// Runs a program in a world up to the end of it.
fn run<W: World, T>(
    kernel: Kernel,
    world: W,
    program: impl FnOnce() -> io::Result<T>,
) -> (Kernel, Box<W>, End<T>) {
    let play = move || {
        PLAYING.set(true);
        let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(program));
        PLAYING.set(false);
        end
    };
    let (kernel, world, end) = simulated_kernel::play(kernel, Box::new(world), play);
    let world: Box<dyn Any> = world;
    (kernel, world.downcast().expect("it is the world that went in"), end)
}

fn judge(kernel: &mut Kernel, world: &mut Clients, end: End<()>) {
    match end {
        Ok(end) => world.judge_the_end(kernel, &end),
        Err(panic) => world.panicked(kernel, last_words(&*panic)),
    }
}

/// What a panic has said.
fn last_words(panic: &(dyn Any + Send)) -> String {
    PANIC.take().unwrap_or_else(|| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        said.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no word").to_owned()
    })
}

fn history(kernel: Kernel, world: &Clients, head: Vec<String>) -> History {
    History {
        violation: world.violation().cloned(),
        choices: kernel.choices,
        head,
        story: tell::by_turns(kernel.story.unwrap_or_default()),
        calls: kernel.calls,
        turns: world.waits,
    }
}

thread_local! {
    /// A panic on this thread is the server's, and the history tells of it.
    static PLAYING: Cell<bool> = const { Cell::new(false) };
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on a panic of a server in a history is written into the history, with the place in the source, and not to
/// stderr. Any other panic is reported as before.
pub fn quiet_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match PLAYING.get() {
        true => PANIC.set(Some(tell::panic(panic))),
        false => report(panic),
    }));
}

/// Draws the options of the server, and with them what it promises.
fn rules(stage: Stage, choices: &mut Choices) -> Rules {
    let max_connections = [1_000, 1_000, 2, 1][choices.pick(4)];
    let (mut status_interval, mut idle_timeout) = (None, None);
    let second = Duration::from_secs(1);
    if stage == Stage::Six {
        status_interval = Some([3_600, 10, 1][choices.pick(3)] * second);
        idle_timeout = [None, Some(5 * second), Some(second / 2)][choices.pick(3)];
    }
    Rules { max_connections, outbox_limit: OUTBOX_LIMIT, status_interval, idle_timeout }
}

/// What the book promises, whatever a stage's constant says.
const OUTBOX_LIMIT: usize = 64 * 1024 + 1;

/// What goes on the command line of a server that promises this.
fn options(rules: &Rules) -> common::cli::Timed {
    common::cli::Timed {
        max_connections: rules.max_connections,
        status_interval: rules.status_interval.unwrap_or(Duration::from_secs(1)),
        idle_timeout: rules.idle_timeout,
        addr: SocketAddr::from(([127, 0, 0, 1], 9000)),
        stats: false,
    }
}

/// A real listener: `Server::new` asks for its type, and nothing ever connects to it.
fn listener() -> TcpListener {
    thread_local! {
        static LISTENER: TcpListener =
            TcpListener::bind("127.0.0.1:0").expect("a port of the loopback interface");
    }
    LISTENER.with(|listener| listener.try_clone().expect("a descriptor"))
}

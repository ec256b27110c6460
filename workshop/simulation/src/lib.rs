//! Stages 5 and 6 on a simulated kernel. Every choice, the kernel's included, comes from a seed, so every failure can
//! be repeated.

mod client;
mod promises;
mod properties;
mod world;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use simulated_kernel::Kernel;
use simulated_kernel::choices::Choices;

pub use promises::{PROMISES, Promise};
pub use properties::{Rules, Violation};
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
    /// Every choice, to be given again.
    pub choices: Vec<u32>,
    /// Out of how many each was chosen.
    pub possibilities: Vec<u32>,
    /// What happened, if it was to be told.
    pub story: Vec<String>,
    /// How many system calls the server has made, and how many turns its loop.
    pub calls: u64,
    /// See `calls`.
    pub turns: u32,
}

/// Plays one history.
pub fn play(stage: Stage, choices: Choices, tell: bool) -> History {
    play_with(stage, choices, tell, |listener, options| match stage {
        Stage::Five => simulated_stage5::run(listener, options.max_connections),
        Stage::Six => simulated_stage6::run(listener, options),
    })
}

/// Plays one history of a server that promises what a stage does.
pub fn play_with(
    stage: Stage,
    mut choices: Choices,
    tell: bool,
    run: impl FnOnce(TcpListener, common::cli::Timed) -> std::io::Result<()>,
) -> History {
    let (rules, options) = rules(stage, &mut choices);
    let world = Clients::new(&mut choices, rules.clone());
    let mut kernel = Kernel::new(choices);
    kernel.story = tell.then(Vec::new);
    world.prepare(&mut kernel);
    let world: Box<dyn simulated_kernel::World> = Box::new(world);
    let server = move || {
        let run = || run(listener(), options);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
    };
    let (mut kernel, world, end) = simulated_kernel::play(kernel, world, server);
    let mut world: Box<Clients> = downcast(world);
    match end {
        Ok(end) => world.judge_the_end(&mut kernel, &end),
        Err(panic) => world.panicked(&mut kernel, &panic),
    }
    let made = kernel.choices.made();
    History {
        violation: world.violation().cloned(),
        choices: made.iter().map(|(choice, _)| *choice).collect(),
        possibilities: made.iter().map(|(_, of)| *of).collect(),
        story: kernel.story.unwrap_or_default(),
        calls: kernel.calls,
        turns: world.turns(),
    }
}

fn downcast(world: Box<dyn simulated_kernel::World>) -> Box<Clients> {
    let any: Box<dyn std::any::Any> = world;
    any.downcast().expect("it is the world that we have made")
}

/// Draws the options of the server, and with them what it promises.
fn rules(stage: Stage, choices: &mut Choices) -> (Rules, common::cli::Timed) {
    let max_connections = [1_000, 1_000, 2, 1][choices.pick(4)];
    let (mut status_interval, mut idle_timeout) = (None, None);
    let second = Duration::from_secs(1);
    if stage == Stage::Six {
        status_interval = Some([3_600, 10, 1][choices.pick(3)] * second);
        idle_timeout = [None, Some(5 * second), Some(second / 2)][choices.pick(3)];
    }
    let options = common::cli::Timed {
        max_connections,
        status_interval: status_interval.unwrap_or(second),
        idle_timeout,
        addr: SocketAddr::from(([127, 0, 0, 1], 9000)),
        stats: false,
    };
    let outbox_limit = 64 * 1024 + 1; // what the book promises, whatever a stage's constant says
    (Rules { max_connections, outbox_limit, status_interval, idle_timeout }, options)
}

/// A real listener: `Server::new` asks for its type, and nothing ever connects to it.
fn listener() -> TcpListener {
    thread_local! {
        static LISTENER: TcpListener =
            TcpListener::bind("127.0.0.1:0").expect("a port of the loopback interface");
    }
    LISTENER.with(|listener| listener.try_clone().expect("a descriptor"))
}

//! The outgoing side: stage 6's example `handshake` calls peers that answer late, wrongly, in pieces or not at all.

mod peer;
mod watch;
mod world;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use simulated_kernel::Kernel;

use crate::{Choices, History, last_words, run, tell};
use world::Peers;

/// What goes on the command line of the program.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Task {
    /// `--ack-timeout`.
    ack_timeout: Duration,
    /// `--attempts`.
    attempts: u32,
}

/// Plays one history.
pub fn play(choices: Choices, tell: bool) -> History {
    play_with(choices, tell, simulated_handshake::run)
}

/// Plays one history of a program that promises what the example does: it gets the addresses, the options
/// `--ack-timeout` and `--attempts`, and says which of the peers it is connected with.
pub fn play_with(
    mut choices: Choices,
    tell: bool,
    program: impl FnOnce(Vec<SocketAddr>, Duration, u32) -> io::Result<Vec<bool>>,
) -> History {
    let task = task(&mut choices);
    let world = Peers::new(&mut choices, task);
    let mut kernel = Kernel::new(choices);
    world.prepare(&mut kernel);
    kernel.story = tell.then(Vec::new);
    let head = if tell { world.head(&kernel) } else { Vec::new() };
    let addrs = world.addrs();
    let call_all = || program(addrs, task.ack_timeout, task.attempts);
    let (mut kernel, mut world, end) = run(kernel, world, call_all);
    match end {
        Ok(end) => world.judge_the_end(&mut kernel, end),
        Err(panic) => world.panicked(&mut kernel, last_words(&*panic)),
    }
    History {
        violation: world.violation().cloned(),
        choices: kernel.choices,
        head,
        story: tell::by_turns(kernel.story.unwrap_or_default()),
        calls: kernel.calls,
        turns: world.turns(),
    }
}

/// Draws the options of the program.
fn task(choices: &mut Choices) -> Task {
    let ack_timeout = Duration::from_millis([1_000, 100, 3][choices.pick(3)]);
    let attempts = [1, 2, 3][choices.pick(3)];
    Task { ack_timeout, attempts }
}

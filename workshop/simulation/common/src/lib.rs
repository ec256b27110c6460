//! `common` as stages 5 and 6 know it. What does no more than sort and count is the real one; the signals, the clock,
//! the counters and the report of a client's end are those of the simulation.

use std::fmt::Display;
use std::io;
use std::time::Instant;

pub use real::{Numbered, accept, cli, run, stream};

/// The byte that comes with a signal, from the schedule.
///
/// # Errors
///
/// None.
pub fn signals() -> io::Result<simulated_kernel::Signals> {
    Ok(simulated_kernel::Signals)
}

/// The clock of the simulation.
pub fn now() -> Instant {
    simulated_kernel::now()
}

/// A peer of the simulation is never the program itself.
///
/// # Errors
///
/// None.
pub fn refuse_self(_: &simulated_kernel::net::TcpStream) -> io::Result<()> {
    Ok(())
}

/// How a client left. The world writes it down.
pub fn report(_: impl Display, end: io::Result<()>) {
    simulated_kernel::reported(&end);
}

/// The hooks in the loop.
pub mod stats {
    /// The server has nothing more to do in this turn.
    pub fn turn_ends(clients: usize) {
        simulated_kernel::turn_ends(clients);
    }

    /// A timer was scheduled, and so many are in the queue.
    pub fn scheduled(timers: usize) {
        simulated_kernel::scheduled(timers);
    }

    /// The server goes on.
    pub fn turn_begins() {}
}

//! What every stage shares and no chapter is about.
//!
//! Here is what is the same in each stage that uses it and boring on its own: options, logging, the
//! listening socket, what an errno means. Never here: a loop over connections, a buffer, a timer, a
//! policy. Those are the lesson, and each stage shows its own.

pub mod accept;
#[cfg(feature = "watchdog")]
pub mod blocked;
pub mod cli;
mod clock;
mod descriptors;
mod limit;
mod listen;
pub mod logging;
mod report;
mod run;
mod self_connect;
mod signals;
#[cfg(feature = "watchdog")]
pub mod sockets;
pub mod stats;
mod stderr;
pub mod stream;
#[cfg(feature = "testkit")]
pub mod testkit;
#[cfg(feature = "watchdog")]
pub mod watchdog;

pub use clock::now;
pub use descriptors::make_room_for;
pub use listen::{BACKLOG, announce, listen};
pub use report::{Numbered, report};
pub use run::{print, run};
pub use self_connect::refuse_self;
pub use signals::signals;
pub use stderr::{say, wants_colour};

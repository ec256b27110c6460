//! Stage 5 with a fault in it, three times. `build.rs` plants the faults.

// The stage's own tests are run where it stands: here there is nothing to test.
#![cfg(not(test))]

use std::io;
use std::net::TcpListener;

/// A server with a fault in it.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    /// What is wrong with it, as the end of "a server that …".
    pub what: &'static str,
    /// False: the stage has changed, and the fault has found no place in it.
    pub is_planted: bool,
    /// Serves on a listener, and holds so many clients at most.
    pub run: fn(TcpListener, usize) -> io::Result<()>,
}

macro_rules! planted {
    ($module:ident, $what:literal) => {
        Planted { what: $what, is_planted: $module::IS_PLANTED, run: $module::run }
    };
}

/// All of them.
pub const PLANTED: [Planted; 3] = [
    planted!(starved, "takes in no client while others are due a turn"),
    planted!(limited, "forgets the backlog when it has taken in 128 clients in one turn"),
    planted!(paused, "goes on with its pause when a client has left"),
];

mod starved {
    include!(concat!(env!("OUT_DIR"), "/starved/mod.rs"));
}
mod limited {
    include!(concat!(env!("OUT_DIR"), "/limited/mod.rs"));
}
mod paused {
    include!(concat!(env!("OUT_DIR"), "/paused/mod.rs"));
}

//! For tests only: a server as a child process, clients of every kind, and the contract they check.
//!
//! What a test sees is what a client sees, so the same sentences hold for six servers that have
//! nothing in common but their behaviour. Nothing here sleeps to be on the safe side: a test waits for
//! what it needs to see, and a deadline only keeps a broken server from hanging it.

pub mod client;
pub mod contract;
mod descriptors;
pub mod kernel;
mod patience;
pub mod script;
pub mod self_connect;
pub mod server;
pub mod traced;

use std::thread;
use std::time::{Duration, Instant};

use patience::Patience;
pub use patience::deadline;

/// Waits until `condition` holds, for what happens in another process and sends us no event.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let mut patience = Patience::new();
    while !condition() {
        if let Some(why) = patience.is_over() {
            panic!("still not true: {what}: {why}");
        }
        patience.pause();
    }
}

/// Lets time pass, for a test that is about time. It is no way to wait for something.
pub fn pass(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}

/// Says that a test proves nothing on this system. To see it: `cargo test -- --nocapture`.
pub fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// Makes a test of each sentence in [`contract`], against one server.
#[macro_export]
macro_rules! contract {
    ($exe:expr; $($sentence:ident),+ $(,)?) => {
        $(
            #[test]
            fn $sentence() {
                $crate::testkit::contract::$sentence($exe);
            }
        )+
    };
}

pub use crate::contract;

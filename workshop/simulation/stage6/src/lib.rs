//! The sources of stage 6, as they stand, on the simulated kernel.

// The stage's own tests are run where it stands: here there is nothing to test.
#![cfg(not(test))]

#[rustfmt::skip] // it is formatted where it stands
#[path = "../../../../stage6-timers/src/connection.rs"]
mod connection;
#[rustfmt::skip] // it is formatted where it stands
#[path = "../../../../stage6-timers/src/observed.rs"]
mod observed;
#[rustfmt::skip] // it is formatted where it stands
#[path = "../../../../stage6-timers/src/outbox.rs"]
mod outbox;
#[rustfmt::skip] // it is formatted where it stands
#[path = "../../../../stage6-timers/src/server.rs"]
mod server;
#[rustfmt::skip] // it is formatted where it stands
#[path = "../../../../stage6-timers/src/table.rs"]
mod table;
#[rustfmt::skip] // it is formatted where it stands
#[path = "../../../../stage6-timers/src/timers.rs"]
mod deadlines;

/// The stage's timers, which also say how many they are whenever there is one more.
mod timers {
    use std::ops::{Deref, DerefMut};
    use std::time::Instant;

    use super::deadlines;
    pub(crate) use super::deadlines::next_tick;

    pub(crate) struct Timers<K>(deadlines::Timers<K>);

    impl<K: Ord> Timers<K> {
        pub(crate) fn new() -> Self {
            Self(deadlines::Timers::new())
        }

        pub(crate) fn schedule(&mut self, at: Instant, what: K) {
            self.0.schedule(at, what);
            common::stats::scheduled(self.0.len());
        }
    }

    impl<K> Deref for Timers<K> {
        type Target = deadlines::Timers<K>;

        fn deref(&self) -> &Self::Target {
            &self.0
        }
    }

    impl<K> DerefMut for Timers<K> {
        fn deref_mut(&mut self) -> &mut Self::Target {
            &mut self.0
        }
    }
}

/// The most bytes that a client is owed.
pub const OUTBOX_LIMIT: usize = outbox::OUTBOX_LIMIT;

/// What `main` does, from the server on. It ends when the server was told to stop, or when the world has had enough.
///
/// # Errors
///
/// As stage 6.
pub fn run(listener: std::net::TcpListener, options: common::cli::Timed) -> std::io::Result<()> {
    server::Server::new(listener, options)?.run()
}

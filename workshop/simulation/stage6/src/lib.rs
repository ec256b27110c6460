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
mod timers;

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

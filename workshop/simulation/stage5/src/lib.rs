//! The sources of stage 5, as they stand, on the simulated kernel.

// The stage's own tests are run where it stands: here there is nothing to test.
#![cfg(not(test))]

#[rustfmt::skip] // it is formatted where it stands
#[path = "../../../../stage5-mio/src/connection.rs"]
mod connection;
#[rustfmt::skip] // it is formatted where it stands
#[path = "../../../../stage5-mio/src/outbox.rs"]
mod outbox;
#[rustfmt::skip] // it is formatted where it stands
#[path = "../../../../stage5-mio/src/server.rs"]
mod server;
#[rustfmt::skip] // it is formatted where it stands
#[path = "../../../../stage5-mio/src/table.rs"]
mod table;

/// The most bytes that a client is owed.
pub const OUTBOX_LIMIT: usize = outbox::OUTBOX_LIMIT;

/// What `main` does, from the server on. It ends when the server was told to stop, or when the world has had enough.
///
/// # Errors
///
/// As stage 5.
pub fn run(listener: std::net::TcpListener, max_connections: usize) -> std::io::Result<()> {
    server::Server::new(listener, max_connections)?.run()
}

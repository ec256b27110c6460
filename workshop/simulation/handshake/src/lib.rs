//! The sources of the example `handshake` of stage 6, as they stand, on the simulated kernel.

// The example's own tests are run where it stands: here there is nothing to test.
#![cfg(not(test))]

#[allow(dead_code)] // it has a `main`, and reads a command line
#[rustfmt::skip] // it is formatted where it stands
#[path = "../../../../stage6-timers/examples/handshake.rs"]
mod handshake;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use handshake::support::{Options, Peer};

/// Calls every peer, as `main` does, and says which of them are connected.
///
/// # Errors
///
/// As the example.
pub fn run(addrs: Vec<SocketAddr>, ack_timeout: Duration, attempts: u32) -> io::Result<Vec<bool>> {
    // It prints nothing, and its pauses are the same in each history.
    let silent = Options::silent(addrs);
    let peers = handshake::call_all(&Options { ack_timeout, attempts, ..silent })?;
    Ok(peers.iter().map(Peer::is_connected).collect())
}

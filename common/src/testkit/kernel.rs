//! What the kernel has of a connection: its lines in `/proc/net/tcp`.

use std::io;
use std::net::SocketAddr;

use super::client::Client;
use crate::sockets::find;
pub use crate::sockets::{ESTABLISHED, End};

/// The client's end and the server's. The server's is there until the kernel has delivered all, also when the
/// server has closed it. `None` where there is no `/proc/net/tcp`.
///
/// The whole table is read for this, once: with thousands of connections that takes a tenth of a second.
pub fn ends(client: &Client) -> Option<(End, Option<End>)> {
    let port = |addr: io::Result<SocketAddr>| Some(addr.ok()?.port());
    let (ours, theirs) = (port(client.stream.local_addr())?, port(client.stream.peer_addr())?);
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    Some((find(&table, ours, theirs)?, find(&table, theirs, ours)))
}

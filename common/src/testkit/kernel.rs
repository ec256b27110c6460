//! What the kernel has of a connection: its lines in `/proc/net/tcp`, see proc_pid_net(5).

use std::io;
use std::net::SocketAddr;

use super::client::Client;

/// The state of an end that may still send, as the kernel numbers it.
pub const ESTABLISHED: usize = 1;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct End {
    /// [`ESTABLISHED`], or something later.
    pub state: usize,
    /// How many bytes it has sent that the other end has not acknowledged.
    pub unacknowledged: usize,
    /// How many bytes have arrived that its program has not read.
    pub unread: usize,
}

/// The client's end. `None` where there is no `/proc/net/tcp`.
pub fn our_end(client: &Client) -> Option<End> {
    find(client.stream.local_addr(), client.stream.peer_addr())
}

/// The server's end, also when the server has closed it and the kernel still has bytes to deliver. `None`
/// when it is gone, and where there is no `/proc/net/tcp`.
pub fn servers_end(client: &Client) -> Option<End> {
    find(client.stream.peer_addr(), client.stream.local_addr())
}

fn find(from: io::Result<SocketAddr>, to: io::Result<SocketAddr>) -> Option<End> {
    let port = |addr: io::Result<SocketAddr>| Some(format!(":{:04X}", addr.ok()?.port()));
    let (from, to) = (port(from)?, port(to)?);
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    // Its number, both addresses, the state, tx_queue:rx_queue, and more.
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|line| line[1].ends_with(&from) && line[2].ends_with(&to))?;
    let (tx, rx) = line[4].split_once(':')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    Some(End { state: number(line[3])?, unacknowledged: number(tx)?, unread: number(rx)? })
}

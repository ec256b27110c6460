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

/// The client's end and the server's. The server's is there until the kernel has delivered all, also when the
/// server has closed it. `None` where there is no `/proc/net/tcp`.
///
/// The whole table is read for this, once: with thousands of connections that takes a tenth of a second.
pub fn ends(client: &Client) -> Option<(End, Option<End>)> {
    let port = |addr: io::Result<SocketAddr>| Some(format!(":{:04X}", addr.ok()?.port()));
    let (ours, theirs) = (port(client.stream.local_addr())?, port(client.stream.peer_addr())?);
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    Some((find(&table, &ours, &theirs)?, find(&table, &theirs, &ours)))
}

fn find(table: &str, from: &str, to: &str) -> Option<End> {
    // Its number, both addresses, the state, tx_queue:rx_queue, and more. Only a line that has the ports is taken
    // apart: to do that with each of 40,000 takes seconds on a busy machine.
    let lines = table.lines().filter(|line| line.contains(from) && line.contains(to));
    let mut lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|line| line[1].ends_with(from) && line[2].ends_with(to))?;
    let (tx, rx) = line[4].split_once(':')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    Some(End { state: number(line[3])?, unacknowledged: number(tx)?, unread: number(rx)? })
}

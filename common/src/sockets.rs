//! What the kernel has of each TCP socket: a line in `/proc/net/tcp`, see proc_pid_net(5). A test or a tool learns
//! from it where bytes wait that no program has read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state of an end that may still send, as the kernel numbers it.
pub const ESTABLISHED: usize = 1;

/// The state of an end that has the other end's FIN, and may still send.
pub const CLOSE_WAIT: usize = 8;

/// The state of a socket that waits for connections.
const LISTEN: usize = 10;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct End {
    /// [`ESTABLISHED`], or something later.
    pub state: usize,
    /// How many bytes it has sent that the other end has not acknowledged.
    pub unacknowledged: usize,
    /// How many bytes have arrived that its program has not read.
    pub unread: usize,
    /// The number of the socket, as `/proc/PID/fd` shows it. 0: no program has it, since it was not accepted yet
    /// or was closed already.
    pub inode: u64,
}

impl End {
    /// Whether the connection waits in the backlog: it is established, and no program has accepted it.
    pub fn is_in_backlog(&self) -> bool {
        self.inode == 0 && matches!(self.state, ESTABLISHED | CLOSE_WAIT)
    }
}

/// A socket that waits for connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Listener {
    /// Where it listens.
    pub addr: SocketAddr,
    /// How many connections wait to be accepted.
    pub backlog: usize,
    /// The number of the socket.
    pub inode: u64,
}

/// The end at port `from` of the connection to port `to`.
pub fn find(table: &str, from: u16, to: u16) -> Option<End> {
    let to_hex = text_of(to);
    let lines = lines_with(table, from).filter(|line| line.contains(&to_hex));
    lines.filter_map(connected).find(|end| (end.0, end.1) == (from, to)).map(|(.., end)| end)
}

/// Each connected end in a table that has this port on one side: the port that is its own, the other port, the end.
pub fn ends(table: &str, port: u16) -> impl Iterator<Item = (u16, u16, End)> {
    lines_with(table, port)
        .filter_map(connected)
        .filter(move |(local, remote, _)| *local == port || *remote == port)
}

/// Only a line that has the port is taken apart: to do that with each of 40,000 takes seconds on a busy machine.
fn lines_with(table: &str, port: u16) -> impl Iterator<Item = &str> {
    let hex = text_of(port);
    table.lines().filter(move |line| line.contains(&hex))
}

fn text_of(port: u16) -> String {
    format!(":{port:04X} ")
}

fn connected(line: &str) -> Option<(u16, u16, End)> {
    let Line { local, remote, end } = Line::parse(line)?;
    (end.state != LISTEN).then_some((port_of(local)?, port_of(remote)?, end))
}

/// Each socket in a table that waits for connections.
pub fn listeners(table: &str) -> impl Iterator<Item = Listener> {
    table.lines().filter(|line| line.contains(" 0A ")).filter_map(|line| {
        let Line { local, end, .. } = Line::parse(line)?;
        let is_one = end.state == LISTEN;
        is_one.then_some(Listener { addr: addr(local)?, backlog: end.unread, inode: end.inode })
    })
}

struct Line<'t> {
    local: &'t str,
    remote: &'t str,
    end: End,
}

impl<'t> Line<'t> {
    /// Its number, both addresses, the state, tx_queue:rx_queue, a timer, retransmits, user, timeout, inode, and more.
    fn parse(line: &'t str) -> Option<Self> {
        let mut fields = line.split_whitespace().skip(1);
        let (local, remote) = (fields.next()?, fields.next()?);
        let number = |text| usize::from_str_radix(text, 16).ok();
        let state = number(fields.next()?)?;
        let (tx, rx) = fields.next()?.split_once(':')?;
        let inode = fields.nth(4)?.parse().ok()?;
        let end = End { state, unacknowledged: number(tx)?, unread: number(rx)?, inode };
        Some(Self { local, remote, end })
    }
}

fn port_of(addr: &str) -> Option<u16> {
    u16::from_str_radix(addr.rsplit_once(':')?.1, 16).ok()
}

/// The bytes of an address stand in words of four, each as the processor has it.
fn addr(text: &str) -> Option<SocketAddr> {
    let (hex, _) = text.rsplit_once(':')?;
    let words = hex
        .as_bytes()
        .chunks(8)
        .map(|word| u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok().map(u32::to_ne_bytes));
    let bytes = words.collect::<Option<Vec<_>>>()?.concat();
    let ip: IpAddr = match *bytes {
        [a, b, c, d] => Ipv4Addr::new(a, b, c, d).into(),
        _ => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
    };
    Some(SocketAddr::new(ip, port_of(text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server on port 9000 with one client, and one that it has not accepted.
    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2328 00000000:0000 0A 00000000:00000001 00:00000000 00000000     0        0 7001 1 ffff 100 0 0 10 0
   1: 0100007F:2328 0100007F:AD86 01 003EC5FF:0010B9B3 01:00000014 00000000     0        0 7002 2 ffff 20 4 30 10 -1
   2: 0100007F:AD86 0100007F:2328 01 00000000:0001F601 00:00000000 00000000     0        0 7003 1 ffff 20 4 30 10 -1
   3: 0100007F:2328 0100007F:AD88 08 00000000:00000007 00:00000000 00000000     0        0 0 1 ffff 20 4 30 10 -1
   4: 0100007F:2328 0100007F:AD8A 06 00000000:00000000 03:00000014 00000000     0        0 0 3 ffff
";

    #[test]
    fn each_end_has_its_queues_and_says_whether_it_was_accepted() {
        let served = find(TABLE, 9000, 0xAD86).expect("the server's end");
        assert_eq!((served.unacknowledged, served.unread), (4_113_919, 1_096_115));
        assert!(!served.is_in_backlog());
        assert_eq!(find(TABLE, 0xAD86, 9000).expect("the client's end").unread, 128_513);
        let waits = find(TABLE, 9000, 0xAD88).expect("it is there");
        assert!(waits.is_in_backlog() && waits.unread == 7);
        // TIME_WAIT has no socket either.
        assert!(!find(TABLE, 9000, 0xAD8A).expect("it is there").is_in_backlog());
        assert_eq!(find(TABLE, 9000, 0xAD8C), None);
        assert_eq!(ends(TABLE, 9000).count(), 4);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_listener_says_where_and_how_many_wait() {
        let found: Vec<_> = listeners(TABLE).collect();
        let addr = "127.0.0.1:9000".parse().expect("an address");
        assert_eq!(found, [Listener { addr, backlog: 1, inode: 7001 }]);
        let v6 = "00000000000000000000000001000000:2328";
        assert_eq!(super::addr(v6), "[::1]:9000".parse().ok());
        assert_eq!(super::addr("0100007F01:2328"), None);
    }
}

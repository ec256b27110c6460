//! Sockets that are connected with themselves. The kernel makes them by chance, and here for certain.

use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use socket2::{Domain, Socket, Type};

use super::skipped;

/// A socket that is at both ends of its connection. `None`: this system makes none.
///
/// connect(2) chooses a port for our end, and by chance it is the very port that it calls. bind(2)
/// leaves it no choice.
pub fn connected_with_itself() -> Option<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    let addr = socket.local_addr().expect("an address");
    match socket.connect(&addr) {
        Ok(()) => return Some(socket.into()),
        Err(e) => skipped(&format!("no socket connects with itself here: {e}")),
    }
    None
}

/// A script for sh(1) in a network of its own, whose kernel gives out these ports, as in "40007 40008",
/// and no others. Its arguments are still to be added. When it ends, its processes end. `None`: this
/// system gives us no such network.
pub fn shell_with_ports(ports: &str, script: &str) -> Option<Command> {
    const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
    let shell = |script: &str| {
        let script = format!("ip link set lo up && echo {ports} >{RANGE} || exit\n{script}");
        let mut command = Command::new("unshare");
        command.args(["-rnpf", "--kill-child", "sh", "-c", &script, "sh"]).stdin(Stdio::null());
        command
    };
    if shell("").stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return Some(shell(script));
    }
    skipped("it needs unshare(1) and ip(8), and a kernel that lets us use them");
    None
}

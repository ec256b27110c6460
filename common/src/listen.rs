//! The listening socket.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

// ANCHOR: listen
/// How many finished handshakes the kernel keeps for us until we `accept(2)` them.
///
/// `std` and mio ask for 128. When 2,000 clients connect at once the kernel then drops SYNs, and each
/// of those clients tries again after a whole second. 4,096 is also Linux's own upper limit
/// (`net.core.somaxconn`), so more would be cut to this without a word. See listen(2).
pub const BACKLOG: i32 = 4096;

/// A machine that is switched off says no goodbye, and no event ever tells of it. So a client that has been
/// silent for this long is asked by our kernel whether its kernel is still there. See tcp(7), `TCP_KEEPIDLE`.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

/// How often the kernel asks again (`TCP_KEEPINTVL`), and after how many questions without an answer the
/// connection is over, with `ETIMEDOUT` (`TCP_KEEPCNT`).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// See [`KEEPALIVE_INTERVAL`].
const KEEPALIVE_PROBES: u32 = 6;

/// How long bytes that we have sent may wait for an acknowledgement, or for a window to open, before the
/// connection is over (`TCP_USER_TIMEOUT`). There are no keep-alive probes while bytes are on their way, and
/// the kernel would send them again for a quarter of an hour. On Linux it also decides when keep-alive gives
/// up (tcp(7)), so it is as long as all the probes take.
const UNACKNOWLEDGED: Duration = Duration::from_secs(2 * 60);

/// Opens a TCP socket that clients can connect to. It blocks; a stage that does not want that says so.
///
/// # Errors
///
/// Names `addr`: the port is in use (`EADDRINUSE`), not ours to take (`EACCES`), or the address is no
/// address of this machine (`EADDRNOTAVAIL`).
pub fn listen(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    bind_and_listen(addr).with_context(|| format!("cannot listen on {addr}"))
}

fn bind_and_listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        // `[::]:9000` serves IPv4 clients as well. The default differs between systems.
        socket.set_only_v6(false)?;
    }
    // Connections of the server that ran a moment ago linger in TIME_WAIT and would keep the port for
    // another minute. On Windows the same option means something else: taking over a port in use.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    // An urgent byte (`MSG_OOB`) is a byte like any other, and is echoed in its place: see RFC 6093.
    // The kernel would keep it apart otherwise. Every accepted socket inherits this.
    socket.set_out_of_band_inline(true)?;
    // Inherited as well. Where it is not, a client that has vanished stays until we write to it.
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
// ANCHOR_END: listen

/// Says on stdout, in one line, that clients can connect, and where: with port 0 only the kernel knows.
///
/// # Errors
///
/// If stdout cannot be written to.
pub fn announce(addr: SocketAddr) -> anyhow::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on {addr}")
        // A pipe is not a terminal: without this the line could stay in our own buffer.
        .and_then(|()| stdout.flush())
        .context("cannot say on stdout that we are listening")
}

#[cfg(test)]
mod tests {
    #[cfg(not(windows))]
    use std::io::Read;

    use super::*;

    #[test]
    fn port_0_gets_a_free_port_from_the_kernel() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(listener.local_addr().unwrap().port(), 0);
    }

    #[test]
    fn a_port_in_use_is_an_error_that_names_it() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = first.local_addr().unwrap();
        let error = listen(addr).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on {addr}"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_accepted_client_is_asked_for_a_sign_of_life_and_given_up_in_the_end() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let accepted = socket2::SockRef::from(&accepted);
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), KEEPALIVE_AFTER);
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(accepted.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED));
        let asked = KEEPALIVE_AFTER + KEEPALIVE_PROBES * KEEPALIVE_INTERVAL;
        assert_eq!(asked, UNACKNOWLEDGED, "one time for both");
    }

    #[cfg(not(windows))]
    #[test]
    fn a_port_whose_last_connection_has_just_ended_can_be_listened_on_again() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut client = std::net::TcpStream::connect(addr).unwrap();
        // The side that closes first has the connection in TIME_WAIT.
        drop(listener.accept().unwrap());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop((client, listener));
        listen(addr).unwrap();
    }

    #[test]
    fn an_ipv6_wildcard_serves_ipv4_clients_too() {
        let Ok(listener) = listen("[::]:0".parse().unwrap()) else {
            eprintln!("skipped: no IPv6 on this machine");
            return;
        };
        let port = listener.local_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
}

//! A client that is connected with itself.

use std::io::{self, ErrorKind};
use std::time::Duration;

use socket2::SockRef;

// ANCHOR: refuse_self
/// Looks at both ends of a new connection. If they are the same socket, the connection is refused.
///
/// connect(2) chooses a port for our end. When it calls this very machine, it can choose the port that
/// it calls, if no server listens there. Then our SYN comes back to us, and for TCP these are two sides
/// that open at the same moment: the socket is connected, and reads what it has written.
///
/// It also keeps the port from the server. close(2) would leave it in TIME_WAIT for a minute. With a
/// `SO_LINGER` of zero close(2) resets it, and the port is free.
///
/// # Errors
///
/// `ConnectionRefused`: both ends are ours. All that is left to do is to close it.
pub fn refuse_self<'s>(stream: impl Into<SockRef<'s>>) -> io::Result<()> {
    let stream = stream.into();
    // A connection that is not there yet, or not any more, has no other end: getpeername(2) fails.
    let (Ok(ours), Ok(theirs)) = (stream.local_addr(), stream.peer_addr()) else { return Ok(()) };
    if ours.as_socket() != theirs.as_socket() {
        return Ok(());
    }
    stream.set_linger(Some(Duration::ZERO))?;
    Err(ErrorKind::ConnectionRefused.into())
}
// ANCHOR_END: refuse_self

#[cfg(all(test, feature = "testkit"))]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::testkit::self_connect::connected_with_itself;

    #[test]
    fn a_socket_that_is_at_both_ends_is_refused_and_its_port_is_free_again() {
        let Some(stream) = connected_with_itself() else { return };
        let addr = stream.local_addr().unwrap();
        assert_eq!(refuse_self(&stream).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        drop(stream);
        crate::listen(addr).unwrap();
    }

    #[test]
    fn a_socket_with_a_peer_is_not_refused_and_neither_is_one_without() {
        let listener = crate::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        refuse_self(&stream).unwrap();
        refuse_self(&listener).unwrap();
    }
}

//! How long a turn is, without a kernel.

use common::testkit::script::Answer::{Bytes, End, WouldBlock};
use common::testkit::script::{Call, Script, Socket};

use super::*;

/// Drains a connection whose kernel says this, and returns what it was asked.
fn drain(script: Script) -> (Socket, State) {
    let mut socket = Socket::new(script);
    let mut connection = Connection::new(&mut socket, SocketAddr::from(([127, 0, 0, 1], 9)));
    Server::drain(&mut connection, &mut [0; 4]);
    let state = connection.state;
    (socket, state)
}

fn reads(socket: &Socket) -> usize {
    socket.steps().iter().filter(|step| step.call == Call::Read).count()
}

/// The limit of this stage: the turn is as long as the client wants. It ends here only because the
/// script does, after a thousand reads.
#[test]
fn a_client_that_never_stops_sending_keeps_the_turn() {
    let (socket, state) = drain(Script::followed_by(&[Bytes; 2_000], WouldBlock));
    assert_eq!(reads(&socket), 1_001);
    assert_eq!(socket.taken(), socket.fed());
    assert_eq!(state, State::Drained);
}

/// Bytes and FIN in one event: a server that read once would never hear of the FIN.
#[test]
fn the_end_behind_the_bytes_is_found_in_the_same_turn() {
    let (socket, state) = drain(Script::followed_by(&[Bytes, Bytes], End));
    assert_eq!(reads(&socket), 2);
    assert_eq!(state, State::Ended);
}

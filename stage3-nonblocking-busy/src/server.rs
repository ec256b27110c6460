//! The loop: ask for new clients, ask every client, and again.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use common::accept::{AcceptError, Attempts};
use common::stats;
use tracing::debug;

use crate::connection::{Connection, READ_SIZE, State};

/// How many clients we take in before those that are in already get their turns again. accept(2) and
/// what follows it take about 10 µs, so this is a millisecond.
const ACCEPTS_PER_TURN: usize = 128;

/// The whole server: one thread, every client.
pub(crate) struct Server {
    listener: TcpListener,
    connections: Vec<Connection<TcpStream>>,
    max_connections: usize,
    /// Every client reads into this one buffer: one per server, not one per client.
    buf: Vec<u8>,
    attempts: Attempts,
}

impl Server {
    pub(crate) fn new(listener: TcpListener, max_connections: usize) -> io::Result<Self> {
        // From here on accept(2) does not wait: it says EAGAIN.
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            connections: Vec::new(),
            max_connections,
            buf: vec![0; READ_SIZE],
            attempts: Attempts::default(),
        })
    }

    /// Serves clients for ever. An error here is about us, not about a client.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        loop {
            stats::turn_ends(self.connections.len());
            stats::turn_begins(); // nothing waits in between
            self.accept_ready()?;
            for connection in &mut self.connections {
                Self::serve_client(connection, &mut self.buf);
            }
            self.close();
        }
    }

    /// Takes in the clients that wait in the backlog: as many as there is room for, and as a turn allows.
    fn accept_ready(&mut self) -> io::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            if self.connections.len() >= self.max_connections {
                self.attempts.full(self.max_connections);
                return Ok(());
            }
            let accepted = self.attempts.sort(self.listener.accept());
            match accepted.and_then(|(stream, peer)| self.admit(stream, peer)) {
                Ok(()) | Err(AcceptError::Gone) => {}
                Err(AcceptError::NoneWaiting | AcceptError::OutOfResources) => return Ok(()),
                Err(AcceptError::Fatal(e)) => return Err(e),
            }
        }
        Ok(())
    }

    /// Takes in one client. An error is about this one: the socket closes when it is dropped.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) -> Result<(), AcceptError> {
        debug!(client = %peer, "connected");
        // Without TCP_NODELAY a second small write waits until the first is acknowledged: 40 ms.
        let prepared = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true));
        prepared.map_err(|e| self.attempts.turned_away(peer, e))?;
        self.connections.push(Connection::new(stream, peer));
        Ok(())
    }

    /// Gives one client its turn. It returns nothing on purpose: whatever happens to one client is
    /// written down in its `Connection` and cannot end the loop.
    fn serve_client<S: Read + Write>(connection: &mut Connection<S>, buf: &mut [u8]) {
        let end = match connection.turn(buf) {
            Ok(State::Ended) => Ok(()),
            Ok(state) => return connection.state = state,
            Err(e) => Err(e),
        };
        common::report(connection.peer, end);
        connection.state = State::Ended;
    }

    /// Lets go of everyone who has left. Dropping a stream closes its descriptor.
    fn close(&mut self) {
        self.connections.retain(|connection| connection.state != State::Ended);
    }
}

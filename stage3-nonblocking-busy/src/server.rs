//! The loop: ask for new clients, ask every client, and again.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use common::accept::{AcceptError, Complaints, classify};
use common::stats;
use tracing::debug;

use crate::connection::{Connection, READ_SIZE, State};

/// The whole server: one thread, every client.
pub(crate) struct Server {
    listener: TcpListener,
    connections: Vec<Connection<TcpStream>>,
    max_connections: usize,
    /// Every client reads into this one buffer: one per server, not one per client.
    buf: Vec<u8>,
    complaints: Complaints,
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
            complaints: Complaints::default(),
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

    /// Takes in everyone who waits in the backlog, as far as there is room.
    fn accept_ready(&mut self) -> io::Result<()> {
        while self.connections.len() < self.max_connections {
            match self.listener.accept() {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(e) => match classify(&e) {
                    AcceptError::Fatal => return Err(e),
                    AcceptError::Gone => {}
                    AcceptError::NobodyWaiting => return Ok(()),
                    AcceptError::OutOfResources => {
                        self.complaints.out_of_resources(&e);
                        return Ok(());
                    }
                },
            }
        }
        self.complaints.full(self.max_connections);
        Ok(())
    }

    /// Takes in one client. Returns nothing: one who has already gone is no error of ours.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        debug!(client = %peer, "connected");
        // Without TCP_NODELAY a second small write waits until the first is acknowledged: 40 ms.
        match stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)) {
            Ok(()) => self.connections.push(Connection::new(stream, peer)),
            Err(e) => common::report(peer, Err(e)),
        }
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

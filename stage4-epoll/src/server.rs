//! The loop: sleep until the kernel has news, then serve those it names.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

use common::accept::{AcceptError, Attempts, RETRY_PAUSE};
use common::stats;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tracing::debug;

use crate::connection::{Connection, READ_SIZE, State};

/// How many events we take from the kernel at a time. The others keep until the next turn.
const EVENTS_PER_TURN: usize = 1024;

/// How many clients we take in before those that are in already get their turns again. accept(2) and
/// what follows it take about 10 µs, so this is a millisecond.
const ACCEPTS_PER_TURN: usize = 128;

/// What we hand to the kernel with a descriptor, and get back with each of its events
/// (`epoll_data_t`): the number of the descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token(u64);

/// `epoll_wait(2)` counts in milliseconds.
const RETRY_MILLIS: u16 = RETRY_PAUSE.as_millis() as u16;

/// The listener's token. No descriptor has this number.
const LISTENER: Token = Token(u64::MAX);

/// The whole server: one thread, one epoll instance, every client.
pub(crate) struct Server {
    epoll: Epoll,
    listener: TcpListener,
    connections: HashMap<Token, Connection<TcpStream>>,
    max_connections: usize,
    /// Set while we do not watch the listener, because there is no room for another client: how many
    /// there were then, and since when. As soon as there are fewer, another one can come in.
    full: Option<(usize, Instant)>,
    /// Every client reads into this one buffer: one per server, not one per client.
    buf: Vec<u8>,
    attempts: Attempts,
}

impl Server {
    pub(crate) fn new(listener: TcpListener, max_connections: usize) -> io::Result<Self> {
        // From here on accept(2) does not wait: it says EAGAIN.
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // Level-triggered: without EPOLLET the kernel repeats itself while a client is waiting.
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER.0))?;
        Ok(Self {
            epoll,
            listener,
            connections: HashMap::new(),
            max_connections,
            full: None,
            buf: vec![0; READ_SIZE],
            attempts: Attempts::default(),
        })
    }

    /// Serves clients for ever. An error here is about us, not about a client.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = vec![EpollEvent::empty(); EVENTS_PER_TURN];
        loop {
            stats::turn_ends(self.connections.len());
            let n = self.wait_for_events(&mut events)?;
            stats::turn_begins();
            for event in &events[..n] {
                match Token(event.data()) {
                    LISTENER => self.accept_ready()?,
                    token => self.serve_ready(token),
                }
            }
            if self.may_have_room() {
                self.watch_listener(true)?;
            }
        }
    }

    /// Sleeps in `epoll_wait(2)` until there is something to do. Returns how many events there are.
    fn wait_for_events(&mut self, events: &mut [EpollEvent]) -> io::Result<usize> {
        let timeout = match self.full {
            // No descriptor for the next client. There may be one later, and no event says so.
            Some((clients, _)) if clients < self.max_connections => RETRY_MILLIS.into(),
            _ => EpollTimeout::NONE,
        };
        match self.epoll.wait(events, timeout) {
            Ok(n) => Ok(n),
            // A signal cut the sleep short: Ctrl-Z and `fg` is enough. Nothing is lost, sleep again.
            Err(Errno::EINTR) => Ok(0),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether to look at the listener again: a client has left, or some time has passed.
    fn may_have_room(&self) -> bool {
        let enough = |since: Instant| since.elapsed() >= RETRY_PAUSE;
        self.full.is_some_and(|(clients, since)| self.connections.len() < clients || enough(since))
    }

    /// Takes in the clients that wait in the backlog: as many as there is room for, and as a turn allows. If
    /// one is left, the kernel names the listener again.
    fn accept_ready(&mut self) -> io::Result<()> {
        if self.connections.len() >= self.max_connections {
            self.attempts.full(self.max_connections);
            return self.watch_listener(false);
        }
        let room = self.max_connections - self.connections.len();
        for _ in 0..room.min(ACCEPTS_PER_TURN) {
            let accepted = self.attempts.sort(self.listener.accept());
            match accepted.and_then(|(stream, peer)| self.admit(stream, peer)) {
                Ok(()) | Err(AcceptError::Gone) => {}
                Err(AcceptError::NoneWaiting) => return Ok(()),
                Err(AcceptError::OutOfResources) => return self.watch_listener(false),
                Err(AcceptError::Fatal(e)) => return Err(e),
            }
        }
        Ok(())
    }

    /// Tells the kernel whether to name the listener. While we cannot take anybody in, it would name
    /// it again and again: 300,000 wake-ups a second.
    fn watch_listener(&mut self, watch: bool) -> io::Result<()> {
        let flags = if watch { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        self.full = (!watch).then(|| (self.connections.len(), Instant::now()));
        Ok(self.epoll.modify(&self.listener, &mut EpollEvent::new(flags, LISTENER.0))?)
    }

    /// Takes in one client. An error is about this one: the socket closes when it is dropped.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) -> Result<(), AcceptError> {
        debug!(client = %peer, "connected");
        let token = self.watch(&stream).map_err(|e| self.attempts.turned_away(peer, e))?;
        self.connections.insert(token, Connection::new(stream, peer));
        Ok(())
    }

    /// Asks the kernel to name a new client once whenever something changes. If bytes are here
    /// already, that counts as a change.
    fn watch(&self, stream: &TcpStream) -> io::Result<Token> {
        stream.set_nonblocking(true)?;
        // Or a second small write waits until the first is acknowledged: 40 ms.
        stream.set_nodelay(true)?;
        let token = Token(stream.as_raw_fd() as u64);
        // EPOLLERR and EPOLLHUP need not be asked for.
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        self.epoll.add(stream, EpollEvent::new(flags, token.0))?;
        Ok(token)
    }

    /// Serves a client that the kernel has named, and lets go of it if that was the end.
    fn serve_ready(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        Self::drain(connection, &mut self.buf);
        if connection.state == State::Ended {
            self.close(token);
        }
    }

    /// Serves one client until it has nothing more. Edge-triggered, the kernel says once that bytes
    /// have come; if we left some, it would not say so again. A hang-up or an error is also found by
    /// reading, behind the bytes that came before it.
    fn drain<S: Read + Write>(connection: &mut Connection<S>, buf: &mut [u8]) {
        Self::serve_client(connection, buf);
        while connection.state == State::Ready {
            Self::serve_client(connection, buf);
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

    /// Lets go of one client. Dropping its stream closes the descriptor, and with the last descriptor
    /// of a socket the kernel stops watching it: there is nothing to take back.
    fn close(&mut self, token: Token) {
        self.connections.remove(&token);
    }
}

#[cfg(test)]
mod tests;

//! The loop: sleep until there is news, mark who it is about, give each of them a turn.

use std::io::{self, ErrorKind};
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use common::accept::{AcceptError, Attempts, RETRY_PAUSE};
use common::stream::{ReadOutcome, read_from_stream};
use common::{Numbered, now, stats};
use mio::event::Event;
#[cfg(not(unix))]
use mio::net::TcpStream as SignalStream;
#[cfg(unix)]
use mio::net::UnixStream as SignalStream;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use tracing::{debug, info, warn};

use crate::connection::{Connection, Next, READ_SIZE};
use crate::table::Table;

/// How many events we take from the kernel at a time. The others keep until the next turn.
const EVENTS_PER_TURN: usize = 1024;

/// How many turns there are between two looks at the poller. At least so many, since a look costs as much as
/// a small turn: a client that is the only one with more to say has eight turns in a row.
const FEWEST_TURNS: usize = 8;

/// And at most so many, or a signal would wait until every one of 16,000 clients has been served.
const MOST_TURNS: usize = 256;

/// How many clients we take in before those that are in already get their turns again. accept(2) and
/// what follows it take about 10 µs, so this is a millisecond.
const ACCEPTS_PER_TURN: usize = 128;

/// How long we go on paying what we owe after we were told to stop, and wait for the clients to leave. We
/// have promised to take less than a second.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// The tokens that are no client's: those count from 1,000,000.
const LISTENER: Token = Token(0);
const STOP: Token = Token(1);

/// One client, on its socket.
type Client = Connection<TcpStream>;

/// The whole server: one thread, one poller, every client.
///
/// ```text
///           ┌───────────────────────── one turn of the loop ─────────────────────────┐
///   sleep ─▶│ events mark clients │ each marked client has its turn │ accept the new │──┐
///     ▲     └────────────────────────────────────────────────────────────────────────┘  │
///     └──────── until an event; not at all while a client is due another turn ◀─────────┘
/// ```
pub(crate) struct Server {
    poll: Poll,
    /// `None` when we are about to stop.
    listener: Option<TcpListener>,
    /// Where a byte comes with each signal that tells us to stop. We do not read it: the event is enough.
    _signals: SignalStream,
    connections: Table<Client>,
    max_connections: usize,
    /// The clients that are due a turn, each once: an event has named them, or their last turn was cut
    /// short. No event will name them again, so this is the only record.
    due: Vec<Token>,
    /// A client may be waiting in the backlog. That too is told only once, so this stays true until
    /// accept(2) itself says that none is left.
    accept_pending: bool,
    /// The kernel has no descriptor for a new client, or no memory: when to ask again. `None` as soon as a
    /// client leaves.
    retry_at: Option<Instant>,
    /// We were told to stop: by then it has to be over.
    stop_at: Option<Instant>,
    /// Every client reads into this one buffer: one per server, not one per client.
    buf: Vec<u8>,
    attempts: Attempts,
}

impl Server {
    pub(crate) fn new(listener: std::net::TcpListener, max_connections: usize) -> io::Result<Self> {
        // From here on accept(2) does not wait. `from_std` takes our word for it.
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let mut signals = SignalStream::from_std(common::signals()?);
        poll.registry().register(&mut signals, STOP, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener: Some(listener),
            _signals: signals,
            connections: Table::new(max_connections)?,
            max_connections,
            due: Vec::new(),
            accept_pending: false,
            retry_at: None,
            stop_at: None,
            buf: vec![0; READ_SIZE],
            attempts: Attempts::default(),
        })
    }

    /// Serves clients until a signal says to stop. An error here is about us, not about a client.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        // A local, not a field: below we walk through it and change `self` at the same time.
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        while !self.has_stopped() {
            stats::turn_ends(self.connections.len());
            self.wait_for_events(&mut events)?;
            stats::turn_begins();
            for event in &events {
                match event.token() {
                    LISTENER => self.client_knocks(),
                    STOP => self.stop(),
                    token => self.mark(token, event),
                }
            }
            self.take_turns();
            // Last, so that clients that left during this turn have made room.
            if self.accept_in() == Some(Duration::ZERO) {
                self.accept_ready()?;
            }
        }
        Ok(())
    }

    /// Gives turns to the clients that are due. Who is due another one stands behind the others.
    fn take_turns(&mut self) {
        let turns = self.due.len().clamp(FEWEST_TURNS, MOST_TURNS);
        for taken in 0..turns {
            let Some(&token) = self.due.get(taken) else {
                return self.due.clear();
            };
            self.serve_client(token);
        }
        self.due.drain(..turns);
    }

    /// Sleeps in `epoll_wait(2)`, `kevent(2)` or their like until there is something to do.
    fn wait_for_events(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = match self.due.is_empty() {
            true => self.accept_in().or(self.stop_in()),
            false => Some(Duration::ZERO),
        };
        match self.poll.poll(events, timeout) {
            // A signal cut the sleep short: Ctrl-Z and `fg` is enough. Nothing is lost, and the next turn
            // works out anew how long to sleep.
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(()),
            done => done,
        }
    }

    /// When to ask accept(2), counted from now. `None`: an event will say so, since there is no client in the
    /// backlog, or one of ours has to leave first.
    fn accept_in(&self) -> Option<Duration> {
        let pause = |at: Instant| at.saturating_duration_since(now());
        let wanted = self.accept_pending && !self.is_full();
        wanted.then(|| self.retry_at.map_or(Duration::ZERO, pause))
    }

    /// When a stop has to be over.
    fn stop_in(&self) -> Option<Duration> {
        self.stop_at.map(|at| at.saturating_duration_since(now()))
    }

    fn is_full(&self) -> bool {
        self.connections.len() >= self.max_connections
    }

    /// Notes that a client has connected. It may have to wait.
    fn client_knocks(&mut self) {
        self.accept_pending = self.listener.is_some(); // or it has come too late
        if self.is_full() {
            self.attempts.full(self.max_connections);
        }
    }

    /// Writes down what an event says about a client, and that the client is due a turn.
    fn mark(&mut self, token: Token, event: &Event) {
        // An event for a client who has left in the meantime is no surprise.
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let marks = &mut connection.marks;
        // What has gone wrong, the next read(2) or write(2) will say, behind the bytes that came before.
        marks.must_drain |= event.is_read_closed() || event.is_error() || event.is_priority();
        marks.may_read |= event.is_readable() || marks.must_drain;
        marks.may_write |= event.is_writable() || event.is_error();
        if !mem::replace(&mut marks.due, true) {
            self.due.push(token);
        }
    }

    /// Takes in the clients that wait in the backlog: as many as there is room for, and as a turn allows.
    fn accept_ready(&mut self) -> io::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &self.listener else { return Ok(()) };
            let accepted = self.attempts.sort(listener.accept());
            match accepted.and_then(|(stream, peer)| self.admit(stream, peer)) {
                Ok(()) if self.is_full() => return self.ask_who_is_left(),
                Ok(()) | Err(AcceptError::Gone) => {}
                Err(AcceptError::NoneWaiting) => {
                    self.accept_pending = false;
                    return Ok(());
                }
                Err(AcceptError::OutOfResources) => {
                    self.retry_at = Some(now() + RETRY_PAUSE);
                    return Ok(());
                }
                Err(AcceptError::Fatal(e)) => return Err(e),
            }
        }
        Ok(())
    }

    /// One event may have told of two clients, and the last place is taken. Asked anew, the poller names the
    /// listener once more if a client is waiting, and then we can say that it has to.
    fn ask_who_is_left(&mut self) -> io::Result<()> {
        let Some(listener) = &mut self.listener else { return Ok(()) };
        self.poll.registry().reregister(listener, LISTENER, Interest::READABLE)
    }

    /// Takes in one client. An error is about this one: the socket closes when it is dropped.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) -> Result<(), AcceptError> {
        self.retry_at = None;
        let token = self.connections.insert(Connection::new(stream));
        debug!(client = token.0, %peer, "connected");
        self.watch(token).map_err(|e| {
            self.connections.remove(&token);
            self.attempts.turned_away(peer, e)
        })
    }

    /// Asks the poller to name a new client once whenever something changes. A fresh socket can be
    /// written to, which counts as a change: so each client gets a first event.
    fn watch(&mut self, token: Token) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&token) else { return Ok(()) };
        // Or a second small write waits until the first is acknowledged: 40 ms.
        connection.stream.set_nodelay(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        // A read stops short in front of an urgent byte (`MSG_OOB`), so we have to know of one: EPOLLPRI.
        #[cfg(target_os = "linux")]
        let interest = interest | Interest::PRIORITY;
        self.poll.registry().register(&mut connection.stream, token, interest)
    }

    /// Gives one client its turn. It returns nothing on purpose: whatever happens to one client is
    /// dealt with here and cannot end the loop.
    fn serve_client(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        connection.marks.due = false;
        let next = match self.stop_at.is_some() {
            true => part(connection, &mut self.buf),
            false => connection.turn(&mut self.buf),
        };
        match next {
            Ok(Next::Wait) => {}
            Ok(Next::Again) => {
                connection.marks.due = true;
                self.due.push(token);
            }
            Ok(Next::Done) => self.close(token, Ok(())),
            Err(e) => self.close(token, Err(e)),
        }
    }

    /// Lets go of one client. Dropping its stream closes the descriptor, and with the last descriptor
    /// of a socket the kernel stops watching it: there is nothing to take back.
    fn close(&mut self, token: Token, end: io::Result<()>) {
        let Some(connection) = self.connections.remove(&token) else { return };
        self.retry_at = None; // there may be room for another
        common::report(Numbered(token.0, || connection.stream.peer_addr()), end);
    }

    /// We were told to stop: takes in no client, and gives those that are here their last turns.
    fn stop(&mut self) {
        let None = self.stop_at else { return }; // the second signal is no news
        self.listener = None; // a client that comes now is refused at once, and can try elsewhere
        self.accept_pending = false;
        self.stop_at = Some(now() + STOP_GRACE);
        info!(connections = self.connections.len(), "stopping");
        // An event may put some of them on the list once more. That costs a turn in which nothing moves.
        self.due = self.connections.tokens().collect();
    }

    /// Whether we were told to stop and are done with that: every client has left, or the time is over.
    fn has_stopped(&self) -> bool {
        let here = self.connections.len();
        let is_over = self.stop_in().is_some_and(|left| here == 0 || left.is_zero());
        if is_over && here > 0 {
            warn!(connections = here, "out of time"); // they do not read, or do not leave
        }
        is_over
    }
}

/// One of the last turns of a client that we let go of. It gets what we owe, and then our FIN. What it still
/// sends is read and thrown away, until it has sent its own FIN. This is a lingering close: close(2) with
/// input unread, or input that comes after it, would make the kernel send a reset, and a reset destroys
/// what is still on its way to the client (RFC 2525, section 2.17).
fn part(connection: &mut Client, buf: &mut [u8]) -> io::Result<Next> {
    if !mem::replace(&mut connection.marks.parting, true) {
        // What came before the end is answered, as far as one turn goes.
        let next = connection.turn(buf)?;
        return Ok(if next == Next::Done { next } else { Next::Again });
    }
    if !connection.flush()? {
        return Ok(Next::Wait);
    }
    if !mem::replace(&mut connection.marks.fin_sent, true) {
        connection.stream.shutdown(Shutdown::Write)?;
    }
    Ok(match read_from_stream(&mut connection.stream, buf)? {
        ReadOutcome::Bytes(_) => Next::Again,
        ReadOutcome::NotReady => Next::Wait,
        ReadOutcome::End => Next::Done,
    })
}

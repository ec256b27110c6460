//! The loop: sleep until there is news or a timer is due, mark who it is about, give each of them a turn.

use std::io::{self, ErrorKind};
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use common::accept::{AcceptError, Complaints, RETRY_PAUSE, classify};
use common::cli::Timed;
use common::stats;
use common::stream::{ReadOutcome, read_from_stream};
use mio::event::Event;
#[cfg(not(unix))]
use mio::net::TcpStream as SignalStream;
#[cfg(unix)]
use mio::net::UnixStream as SignalStream;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use tracing::{debug, info, warn};

use crate::connection::{Connection, Next, READ_SIZE};
use crate::observed::Observed;
use crate::table::Table;
use crate::timers::{Timers, next_tick};

/// How many events we take from the kernel at a time. The others keep until the next turn.
const EVENTS_PER_TURN: usize = 1024;

/// How many clients we take in before those who are in already get their turns again. accept(2) and
/// what follows it take about 10 µs, so this is a millisecond.
const ACCEPTS_PER_TURN: usize = 128;

/// How long we go on paying what we owe after we were told to stop. Whoever runs us has been promised
/// that it takes less than a second.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// How many timers of clients who have left may lie about, beyond one for each client who is here. A
/// sweep looks at all of them, so it should pay.
const STALE_TIMERS: usize = 1024;

/// The tokens that are no client's: those count from 1,000,000.
const LISTENER: Token = Token(0);
const STOP: Token = Token(1);

/// One client, on its socket, and with an eye on it.
type Client = Connection<Observed<TcpStream>>;

/// The whole server: one thread, one poller, every client.
///
/// ```text
///           ┌───────────────────────── one turn of the loop ─────────────────────────┐
///   sleep ─▶│ events, timers mark │ each marked client has its turn │ accept the new │──┐
///     ▲     └────────────────────────────────────────────────────────────────────────┘  │
///     └── until an event or a deadline; not at all while somebody is due another turn ◀──┘
/// ```
pub(crate) struct Server {
    poll: Poll,
    /// `None` when we are about to stop.
    listener: Option<TcpListener>,
    /// Where a byte comes with each signal that tells us to stop. Nobody reads it: the event is enough.
    _signals: SignalStream,
    connections: Table<Client>,
    max_connections: usize,
    /// The clients who are due a turn, each once: an event has named them, or their last turn was cut
    /// short. Nobody will name them again, so this is the only record.
    due: Vec<Token>,
    /// Somebody may be waiting in the backlog. That too is told only once, so this stays true until
    /// accept(2) itself says that nobody is left.
    accept_pending: bool,
    /// accept(2) has found no descriptor for a new client. Turns false when it finds one.
    out_of_descriptors: bool,
    /// Every client reads into this one buffer: one per server, not one per client.
    buf: Vec<u8>,
    complaints: Complaints,
    timers: Timers<Timer>,
    options: Timed,
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// An interval: tell everyone how many there are.
    Status,
    /// A timeout: see whether this client has been silent for too long. Every client has one if there
    /// is an idle timeout, from its first turn on.
    Idle(Token),
}

impl Server {
    pub(crate) fn new(listener: std::net::TcpListener, options: Timed) -> io::Result<Self> {
        // From here on accept(2) does not wait. `from_std` takes our word for it.
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let mut signals = SignalStream::from_std(common::signals()?);
        poll.registry().register(&mut signals, STOP, Interest::READABLE)?;
        let mut timers = Timers::new();
        timers.schedule(Instant::now() + options.status_interval, Timer::Status);
        Ok(Self {
            poll,
            listener: Some(listener),
            _signals: signals,
            connections: Table::new(options.max_connections),
            max_connections: options.max_connections,
            due: Vec::new(),
            accept_pending: false,
            out_of_descriptors: false,
            buf: vec![0; READ_SIZE],
            complaints: Complaints::default(),
            timers,
            options,
        })
    }

    /// Serves clients until a signal says to stop. An error here is about us, not about a client.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        // Locals, not fields: below we walk through them and change `self` at the same time. Both are
        // used again in every turn, and not allocated anew.
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut turns = Vec::new();
        loop {
            stats::turn_ends(self.connections.len());
            self.wait_for_events(&mut events)?;
            stats::turn_begins();
            let now = Instant::now();
            for event in &events {
                match event.token() {
                    LISTENER => self.somebody_knocks(),
                    STOP => return self.finish(&mut events),
                    token => self.mark(token, event),
                }
            }
            self.fire_timers(now);
            mem::swap(&mut self.due, &mut turns);
            for token in turns.drain(..) {
                self.serve_client(token, Connection::turn);
                self.check_idle(token, now);
                self.tell_status(token); // if it has just ended its line
            }
            // Last, so that clients who left during this turn have made room.
            if self.accept_pending {
                self.accept_ready()?;
            }
        }
    }

    /// Sleeps in `epoll_wait(2)`, `kevent(2)` or their like until there is something to do, or due.
    fn wait_for_events(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = match self.due.is_empty() {
            true => {
                let deadline = self.timers.sleep_for(Instant::now());
                [self.accept_again_in(), deadline].into_iter().flatten().min()
            }
            false => Some(Duration::ZERO),
        };
        poll(&mut self.poll, events, timeout)
    }

    /// How long the backlog can be left alone if no event comes. `None`: for ever.
    fn accept_again_in(&self) -> Option<Duration> {
        let pause = if self.out_of_descriptors { RETRY_PAUSE } else { Duration::ZERO };
        // If nobody waits, or if somebody has to leave first: an event will say so.
        (self.accept_pending && !self.is_full()).then_some(pause)
    }

    fn is_full(&self) -> bool {
        self.connections.len() >= self.max_connections
    }

    /// Notes that somebody has connected. They may have to wait.
    fn somebody_knocks(&mut self) {
        self.accept_pending = true;
        if self.is_full() {
            self.complaints.full(self.max_connections);
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

    /// Does what is due. It does no I/O and cannot fail: a timer marks clients, as an event does.
    fn fire_timers(&mut self, now: Instant) {
        while let Some((deadline, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::Status => {
                    self.broadcast_status();
                    let next = next_tick(deadline, self.options.status_interval, now);
                    self.timers.schedule(next, Timer::Status);
                }
                Timer::Idle(token) => self.ask(token),
            }
        }
    }

    /// Tells everyone how many clients there are.
    fn broadcast_status(&mut self) {
        debug!(connections = self.connections.len(), "status");
        for token in self.connections.tokens() {
            if let Some(connection) = self.connections.get_mut(&token) {
                connection.marks.status_due = true;
            }
            self.tell_status(token);
        }
    }

    /// Tells one client the status if that is due, unless it would cut a line of its own in two: then it
    /// is told at the end of that line. Whoever has no room, since it does not read, goes without.
    fn tell_status(&mut self, token: Token) {
        let connections = self.connections.len();
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if connection.stream.mid_line || !mem::take(&mut connection.marks.status_due) {
            return;
        }
        let plural = if connections == 1 { "" } else { "s" };
        let line = format!("Server status: {connections} active connection{plural}\n");
        let outbox = connection.outbox.get_or_insert_default();
        if outbox.room() >= line.len() {
            outbox.push(line.as_bytes());
            if !mem::replace(&mut connection.marks.due, true) {
                self.due.push(token);
            }
        }
    }

    /// Asks a client for a sign of life, by giving it a turn. That no event has named it proves nothing: it
    /// may be in the next batch; and who reads slowly is not named before a third of the kernel's send
    /// buffer is free.
    fn ask(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let marks = &mut connection.marks;
        (marks.timed, marks.may_read, marks.may_write) = (false, true, true);
        if !mem::replace(&mut marks.due, true) {
            self.due.push(token);
        }
    }

    /// After a turn: lets go of a client that was asked and has been silent for too long. Activity does not
    /// touch its timer, it only writes down how long that is good for, and here is who looks at it.
    fn check_idle(&mut self, token: Token, now: Instant) {
        let Some(timeout) = self.options.idle_timeout else { return };
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let marks = &mut connection.marks;
        if mem::take(&mut connection.stream.active) {
            marks.idle_at = Some(now + timeout);
        }
        if marks.timed {
            return;
        }
        if let Some(at) = marks.idle_at.filter(|at| *at > now) {
            marks.timed = true;
            self.timers.schedule(at, Timer::Idle(token));
            return self.sweep_timers();
        }
        let end = match &connection.outbox {
            None => ErrorKind::TimedOut.into(),
            Some(owed) => io::Error::other(format!("idle, {} bytes lost", owed.pending().len())),
        };
        common::report(token.0, Err(end));
        self.close(token);
    }

    /// Clients leave their timers behind. So that they do not pile up, this drops them when they outnumber
    /// the living: each sweep is paid for by as many arrivals.
    fn sweep_timers(&mut self) {
        if self.timers.len() > 2 * self.connections.len() + STALE_TIMERS {
            let mut gone = |token: &Token| self.connections.get_mut(token).is_none();
            self.timers.retain(|timer| !matches!(timer, Timer::Idle(token) if gone(token)));
        }
    }

    /// Takes in those who wait in the backlog: as many as there is room for, and as a turn allows.
    fn accept_ready(&mut self) -> io::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            if self.is_full() {
                return Ok(());
            }
            let Some(listener) = &self.listener else { return Ok(()) };
            match listener.accept() {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(e) => match classify(&e) {
                    AcceptError::Fatal => return Err(e),
                    AcceptError::Gone => {}
                    AcceptError::NobodyWaiting => {
                        self.accept_pending = false;
                        return Ok(());
                    }
                    AcceptError::OutOfResources => {
                        self.out_of_descriptors = true;
                        self.complaints.out_of_resources(&e);
                        return Ok(());
                    }
                },
            }
        }
        Ok(())
    }

    /// Takes in one client. Returns nothing: one who has already gone is no error of ours.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        self.out_of_descriptors = false;
        let token = self.connections.insert(Connection::new(Observed::new(stream)));
        debug!(client = token.0, %peer, "connected");
        if let Err(e) = self.watch(token) {
            common::report(token.0, Err(e));
            self.close(token);
        }
    }

    /// Asks the poller to name a new client once whenever something changes. A fresh socket can be
    /// written to, which counts as a change: so each client gets a first event.
    fn watch(&mut self, token: Token) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&token) else { return Ok(()) };
        // Or a second small write waits until the first is acknowledged: 40 ms.
        let stream = &mut connection.stream.inner;
        stream.set_nodelay(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        // A read stops short in front of an urgent byte (`MSG_OOB`), so we have to know of one: EPOLLPRI.
        #[cfg(target_os = "linux")]
        let interest = interest | Interest::PRIORITY;
        self.poll.registry().register(stream, token, interest)
    }

    /// Gives one client its turn. It returns nothing on purpose: whatever happens to one client is
    /// dealt with here and cannot end the loop.
    fn serve_client(&mut self, token: Token, turn: fn(&mut Client, &mut [u8]) -> io::Result<Next>) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        connection.marks.due = false;
        let end = match turn(connection, &mut self.buf) {
            Ok(Next::Wait) => return,
            Ok(Next::Again) => {
                connection.marks.due = true;
                self.due.push(token);
                return;
            }
            Ok(Next::Done) => Ok(()),
            Err(e) => Err(e),
        };
        common::report(token.0, end);
        self.close(token);
    }

    /// Lets go of one client. Dropping its stream closes the descriptor, and with the last descriptor
    /// of a socket the kernel stops watching it: there is nothing to take back.
    fn close(&mut self, token: Token) {
        self.connections.remove(&token);
    }

    /// The end: takes in nobody, answers nobody, and gives what we owe one chance to go out. It is the
    /// same loop, with another turn for the clients.
    fn finish(&mut self, events: &mut Events) -> io::Result<()> {
        self.listener = None; // whoever comes now is refused at once, and can try elsewhere
        info!(connections = self.connections.len(), "stopping");
        let deadline = Instant::now() + STOP_GRACE;
        self.due = self.connections.tokens();
        while self.connections.len() > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // They do not read, or they go on sending.
                warn!(connections = self.connections.len(), "out of time");
                break;
            }
            for token in mem::take(&mut self.due) {
                self.serve_client(token, part);
            }
            let timeout = if self.due.is_empty() { left } else { Duration::ZERO };
            poll(&mut self.poll, events, Some(timeout))?;
            events.iter().for_each(|event| self.mark(event.token(), event));
        }
        Ok(())
    }
}

/// Pays a client what we owe and then says goodbye: the FIN goes behind the last byte, and what comes is
/// taken from the kernel, unanswered. This is known as a lingering close: close(2) with input unread would
/// send a reset, and that destroys what is still on its way to the client (RFC 2525, section 2.17).
fn part(connection: &mut Client, buf: &mut [u8]) -> io::Result<Next> {
    if !connection.flush()? {
        return Ok(Next::Wait);
    }
    let parting = mem::replace(&mut connection.marks.parting, true);
    if !parting {
        connection.stream.inner.shutdown(Shutdown::Write)?; // once, since each time is an event
    }
    match read_from_stream(&mut connection.stream, buf)? {
        ReadOutcome::Bytes(_) => Ok(Next::Again),
        // It was sending, so more may be on the way: wait for its own end.
        ReadOutcome::NotReady if parting => Ok(Next::Wait),
        ReadOutcome::NotReady | ReadOutcome::End => Ok(Next::Done),
    }
}

/// Sleeps until there is an event or the time is up, and takes the events. `None`: no limit of time.
fn poll(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, timeout) {
        // A signal cut the sleep short: Ctrl-Z and `fg` is enough. Nothing is lost; whoever called us
        // works out anew how long to sleep.
        Err(e) if e.kind() == ErrorKind::Interrupted => Ok(()),
        done => done,
    }
}

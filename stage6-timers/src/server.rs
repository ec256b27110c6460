//! The loop: sleep until there is news or a timer is due, mark who it is about, give each of them a turn.

use std::io::{self, ErrorKind};
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use common::accept::{AcceptError, Attempts, RETRY_PAUSE};
use common::cli::Timed;
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
use crate::observed::Observed;
use crate::outbox::OUTBOX_LIMIT;
use crate::table::Table;
use crate::timers::{Timers, next_tick};

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

/// How many clients are told the status before the others get their turns again. A write(2) to each takes
/// about 10 µs, so this is a millisecond.
const TOLD_PER_TURN: usize = 128;

/// How long we wait for the end of a client that we have let go of, if nothing more comes from it. As in nginx
/// (`lingering_timeout`): long enough for what is on its way to arrive.
const LINGER_SILENCE: Duration = Duration::from_secs(5);

/// And how long in all, although it goes on sending: or it would hold its place for ever (`lingering_time`).
const LINGER: Duration = Duration::from_secs(30);

/// How many timers of clients that have left may be in the queue, beyond two for each client that is here. A
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
///     └── until an event or a deadline; not at all while a client is due another turn ◀──┘
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
    timers: Timers<Timer>,
    /// The clock, as of the last time we looked: once a turn.
    now: Instant,
    /// What everyone is told, and who has not been told yet.
    status: String,
    untold: Vec<Token>,
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
    /// A timeout: this client was let go of, and has had its time.
    Gone(Token),
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
        let (mut timers, now) = (Timers::new(), now());
        timers.schedule(now + options.status_interval, Timer::Status);
        Ok(Self {
            poll,
            listener: Some(listener),
            _signals: signals,
            connections: Table::new(options.max_connections)?,
            max_connections: options.max_connections,
            due: Vec::new(),
            accept_pending: false,
            retry_at: None,
            stop_at: None,
            buf: vec![0; READ_SIZE],
            attempts: Attempts::default(),
            timers,
            now,
            status: String::new(),
            untold: Vec::new(),
            options,
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
            self.now = now();
            for event in &events {
                match event.token() {
                    LISTENER => self.client_knocks(),
                    STOP => self.stop(),
                    token => self.mark(token, event),
                }
            }
            self.fire_timers();
            self.mark_untold();
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
            self.check_idle(token);
        }
        self.due.drain(..turns);
        self.now = now(); // or the next timer is late by what so many turns have taken
    }

    /// Sleeps in `epoll_wait(2)`, `kevent(2)` or their like until there is something to do, or due.
    fn wait_for_events(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = match self.due.is_empty() && self.untold.is_empty() {
            true => {
                let deadline = self.stop_in().or(self.timers.sleep_for(self.now));
                self.accept_in().into_iter().chain(deadline).min()
            }
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

    /// Does what is due, and cannot fail: a timer marks clients, as an event does, or ends what has had its time.
    /// What a turn has no time for is still due in the next.
    fn fire_timers(&mut self) {
        while let Some((deadline, timer)) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Status => {
                    self.begin_status();
                    let next = next_tick(deadline, self.options.status_interval, self.now);
                    self.timers.schedule(next, Timer::Status);
                }
                Timer::Idle(token) => self.ask(token),
                Timer::Gone(token) => self.give_up(token),
            }
        }
    }

    /// Everyone who is here is to be told how many they are. If some have not heard the last status yet, the
    /// machine is too slow for this interval, and the tick is skipped.
    fn begin_status(&mut self) {
        if self.untold.is_empty() {
            let connections = self.connections.len();
            debug!(connections, "status");
            let plural = if connections == 1 { "" } else { "s" };
            self.status = format!("Server status: {connections} active connection{plural}\n");
            self.untold.extend(self.connections.tokens());
        }
    }

    /// Marks the next clients that are to be told.
    fn mark_untold(&mut self) {
        for _ in 0..TOLD_PER_TURN {
            let Some(token) = self.untold.pop() else { return };
            if let Some(connection) = self.connections.get_mut(&token) {
                connection.marks.status_due = true;
                self.mark_due(token);
            }
        }
    }

    /// Asks a client for a sign of life, by giving it a turn. That no event has named it proves nothing: it
    /// may be in the next batch; and a client that reads slowly is not named before a third of the kernel's
    /// send buffer is free.
    fn ask(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let marks = &mut connection.marks;
        (marks.timed, marks.may_read, marks.may_write) = (false, true, true);
        self.mark_due(token);
    }

    fn mark_due(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if !mem::replace(&mut connection.marks.due, true) {
            self.due.push(token);
        }
    }

    /// After a turn: lets go of a client that was asked and has been silent for too long. Activity does not
    /// touch its timer, it only writes down how long that is good for, and here is who looks at it.
    fn check_idle(&mut self, token: Token) {
        let Some(timeout) = self.options.idle_timeout else { return };
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let marks = &mut connection.marks;
        if mem::take(&mut connection.stream.active) {
            let patience = if marks.parting { LINGER_SILENCE } else { timeout };
            marks.idle_at = Some(self.now + patience);
        }
        if marks.timed {
            return;
        }
        match marks.idle_at {
            Some(at) if at > self.now => {
                marks.timed = true;
                self.timers.schedule(at, Timer::Idle(token));
                self.sweep_timers();
            }
            _ if marks.parting => self.give_up(token),
            // Too long. It keeps its place until it has left, and from here on another patience counts.
            _ => {
                marks.parting = true;
                connection.stream.active = true;
                self.timers.schedule(self.now + LINGER, Timer::Gone(token));
                self.mark_due(token);
            }
        }
    }

    /// Closes a client that we have let go of, and that does not leave.
    fn give_up(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let end = match &connection.outbox {
            None => ErrorKind::TimedOut.into(),
            Some(owed) => io::Error::other(format!("idle, {} bytes lost", owed.pending().len())),
        };
        self.close(token, Err(end));
    }

    /// Clients leave their timers behind. So that they do not pile up, this drops them when they outnumber
    /// the living: each sweep is paid for by as many arrivals.
    fn sweep_timers(&mut self) {
        if self.timers.len() > 2 * self.connections.len() + STALE_TIMERS {
            let mut gone = |token: &Token| self.connections.get_mut(token).is_none();
            self.timers.retain(|timer| match timer {
                Timer::Status => true,
                Timer::Idle(token) | Timer::Gone(token) => !gone(token),
            });
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
        let token = self.connections.insert(Connection::new(Observed::new(stream)));
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
        connection.stream.inner.set_nodelay(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        // A read stops short in front of an urgent byte (`MSG_OOB`), so we have to know of one: EPOLLPRI.
        #[cfg(target_os = "linux")]
        let interest = interest | Interest::PRIORITY;
        self.poll.registry().register(&mut connection.stream.inner, token, interest)
    }

    /// Gives one client its turn. It returns nothing on purpose: whatever happens to one client is
    /// dealt with here and cannot end the loop.
    fn serve_client(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        connection.marks.due = false;
        let next = match self.stop_at.is_some() || connection.marks.parting {
            true => part(connection, &mut self.buf),
            false => {
                connection.turn(&mut self.buf).and_then(|next| tell(connection, &self.status, next))
            }
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
        common::report(Numbered(token.0, || connection.stream.inner.peer_addr()), end);
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
        // No status is due any more, and no silence is too long.
        self.untold.clear();
        self.timers = Timers::new();
        self.options.idle_timeout = None;
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

/// Behind a turn: tells a client the status if that is due, unless it would cut a line of its own in two: then
/// it is told at the end of that line. A client that does not read, and so has no room, goes without.
fn tell(connection: &mut Client, status: &str, next: Next) -> io::Result<Next> {
    if connection.marks.status_due && !connection.stream.mid_line && next != Next::Done {
        connection.marks.status_due = false;
        let room = connection.outbox.as_ref().map_or(OUTBOX_LIMIT, |outbox| outbox.room());
        if room >= status.len() {
            connection.send(status.as_bytes())?;
        }
    }
    Ok(next)
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
        connection.stream.inner.shutdown(Shutdown::Write)?;
    }
    Ok(match read_from_stream(&mut connection.stream, buf)? {
        ReadOutcome::Bytes(_) => Next::Again,
        ReadOutcome::NotReady => Next::Wait,
        ReadOutcome::End => Next::Done,
    })
}

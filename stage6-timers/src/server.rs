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
use crate::lines::Lines;
use crate::table::Table;
use crate::timers::{Timers, next_tick};

/// How many clients we take in before those who are in already get their turns again. accept(2) and
/// what follows it take about 10 µs, so this is a millisecond.
const ACCEPTS_PER_TURN: usize = 128;

/// How long we go on paying what we owe after we were told to stop. Whoever runs us has been promised
/// that it takes less than a second.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// How many reads of input that we will not answer a client gets at a time when we stop: 4 MiB.
const DISCARDED_READS: usize = 64;

/// How many timers of clients who have left may lie about, beyond one for each client who is here. A
/// sweep looks at all of them, so it should pay.
const STALE_TIMERS: usize = 1024;

/// The tokens that are no client's: those count from 1,000,000.
const LISTENER: Token = Token(0);
const STOP: Token = Token(1);
const OUR_TOKENS: usize = 2;

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
    listener: TcpListener,
    /// Where a byte comes with each signal that tells us to stop. Nobody reads it: the event is enough.
    _signals: SignalStream,
    connections: Table<Connection<Lines<TcpStream>>>,
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
    status_interval: Duration,
    idle_timeout: Option<Duration>,
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// An interval: tell everyone how many there are.
    Status,
    /// A timeout: see whether this client has been silent for too long. Every client has one if there
    /// is an idle timeout, from its first event on.
    Idle(Token),
}

impl Server {
    pub(crate) fn new(listener: std::net::TcpListener, options: &Timed) -> io::Result<Self> {
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
            listener,
            _signals: signals,
            connections: Table::new(options.max_connections),
            max_connections: options.max_connections,
            due: Vec::new(),
            accept_pending: false,
            out_of_descriptors: false,
            buf: vec![0; READ_SIZE],
            complaints: Complaints::default(),
            timers,
            status_interval: options.status_interval,
            idle_timeout: options.idle_timeout,
        })
    }

    /// Serves clients until a signal says to stop. An error here is about us, not about a client.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        // Locals, not fields: below we walk through them and change `self` at the same time. Both are
        // used again in every turn, so a turn allocates nothing.
        // Room for everybody's event: who is not in a batch has not spoken, and an idle timer may say so.
        let mut events = Events::with_capacity(self.max_connections + OUR_TOKENS);
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
                    token => self.mark(token, event, now),
                }
            }
            // After the events, so that a client who has just spoken is not taken for silent.
            self.fire_timers(now);
            mem::swap(&mut self.due, &mut turns);
            for token in turns.drain(..) {
                self.serve_client(token);
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
        if !self.accept_pending || self.is_full() {
            None // nobody is waiting; or somebody has to leave first, and that is an event
        } else if self.out_of_descriptors {
            Some(RETRY_PAUSE)
        } else {
            Some(Duration::ZERO)
        }
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

    /// Writes down what an event says about a client, when, and that the client is due a turn.
    fn mark(&mut self, token: Token, event: &Event, now: Instant) {
        // An event for a client who has left in the meantime is no surprise.
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let marks = &mut connection.marks;
        // What has gone wrong, the next read(2) or write(2) will say, behind the bytes that came before.
        marks.end_in_sight |= event.is_read_closed() || event.is_error();
        marks.may_read |= event.is_readable() || marks.end_in_sight;
        if !mem::replace(&mut marks.due, true) {
            self.due.push(token);
        }
        if marks.last_event.replace(now).is_none() {
            self.watch_for_silence(token, now);
        }
    }

    /// Starts the idle timer of a new client.
    fn watch_for_silence(&mut self, token: Token, now: Instant) {
        let Some(timeout) = self.idle_timeout else { return };
        self.timers.schedule(now + timeout, Timer::Idle(token));
        // Clients leave their timers behind. So that they do not pile up, sweep when they outnumber
        // the living: each sweep is paid for by as many arrivals.
        if self.timers.len() > 2 * self.connections.len() + STALE_TIMERS {
            let connections = &mut self.connections;
            self.timers.retain(|timer| match timer {
                Timer::Status => true,
                Timer::Idle(token) => connections.get_mut(token).is_some(),
            });
        }
    }

    /// Does what is due. It does no I/O and cannot fail: the status only marks, as an event does, and who
    /// has been silent for too long is let go of.
    fn fire_timers(&mut self, now: Instant) {
        while let Some((deadline, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::Status => {
                    self.broadcast_status();
                    let next = next_tick(deadline, self.status_interval, now);
                    self.timers.schedule(next, Timer::Status);
                }
                Timer::Idle(token) => self.check_idle(token, now),
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
        if !connection.marks.status_due || connection.stream.mid_line {
            return;
        }
        connection.marks.status_due = false;
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

    /// Lets go of a client that has been silent for too long. Activity does not touch its timer, it only
    /// writes down when it was; so the timer may find that there is time left, and then comes back.
    fn check_idle(&mut self, token: Token, now: Instant) {
        let Some(timeout) = self.idle_timeout else { return };
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let deadline = connection.marks.last_event.map_or(now, |last| last + timeout);
        if deadline > now {
            return self.timers.schedule(deadline, Timer::Idle(token));
        }
        let owed = connection.outbox.as_ref().map_or(0, |outbox| outbox.pending().len());
        let end = match owed {
            0 => ErrorKind::TimedOut.into(),
            _ => io::Error::other(format!("it neither spoke nor read, and {owed} bytes are lost")),
        };
        common::report(token.0, Err(end));
        self.close(token);
    }

    /// Takes in those who wait in the backlog: as many as there is room for, and as a turn allows.
    fn accept_ready(&mut self) -> io::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            if self.is_full() {
                return Ok(());
            }
            match self.listener.accept() {
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
        let token = self.connections.insert(Connection::new(Lines::new(stream)));
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
        let stream = &mut connection.stream.stream;
        stream.set_nodelay(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(stream, token, interest)
    }

    /// Gives one client its turn. It returns nothing on purpose: whatever happens to one client is
    /// dealt with here and cannot end the loop.
    fn serve_client(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        connection.marks.due = false;
        let end = match connection.turn(&mut self.buf) {
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
    /// of a socket the kernel forgets to watch it: there is nothing to take back.
    fn close(&mut self, token: Token) {
        self.connections.remove(&token);
    }

    /// The end: takes in nobody, answers nobody, and gives what we owe one chance to go out.
    fn finish(&mut self, events: &mut Events) -> io::Result<()> {
        info!(connections = self.connections.len(), "stopping");
        let deadline = Instant::now() + STOP_GRACE;
        for token in self.connections.tokens() {
            self.take_leave(token);
        }
        while self.connections.len() > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // They do not read, or they go on sending.
                warn!(connections = self.connections.len(), "out of time");
                break;
            }
            poll(&mut self.poll, events, Some(left))?;
            for event in events.iter() {
                self.take_leave(event.token());
            }
        }
        Ok(())
    }

    /// Takes a step towards a clean end with one client, and closes if it was the last.
    fn take_leave(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let end = match part(connection, &mut self.buf) {
            Ok(false) => return, // an event will come
            Ok(true) => Ok(()),
            Err(e) => Err(e),
        };
        common::report(token.0, end);
        self.close(token);
    }
}

/// Pays a client what we owe and then says goodbye: the FIN goes behind the last byte, and what comes is
/// taken from the kernel, unanswered. close(2) with input unread would send a reset, and that destroys
/// what is still on its way to the client (RFC 2525, section 2.17). True when it is safe to close.
fn part(connection: &mut Connection<Lines<TcpStream>>, buf: &mut [u8]) -> io::Result<bool> {
    if !connection.flush()? {
        return Ok(false);
    }
    connection.stream.stream.shutdown(Shutdown::Write)?;
    for _ in 0..DISCARDED_READS {
        match read_from_stream(&mut connection.stream, buf)? {
            // It was sending, so more may be on the way: wait for its own end.
            ReadOutcome::Bytes(_) => connection.marks.parting = true,
            ReadOutcome::NotReady => return Ok(!connection.marks.parting),
            ReadOutcome::End => return Ok(true),
        }
    }
    Ok(false)
}

/// Sleeps until there is an event or the time is over, and takes the events. `None`: no limit of time.
fn poll(poll: &mut Poll, events: &mut Events, mut timeout: Option<Duration>) -> io::Result<()> {
    loop {
        match poll.poll(events, timeout) {
            // A signal cut the sleep short (Ctrl-Z and `fg` is enough), and no events were taken. Take
            // those that are there; whoever called us works out anew how long to sleep.
            Err(e) if e.kind() == ErrorKind::Interrupted => timeout = Some(Duration::ZERO),
            done => return done,
        }
    }
}

//! What must hold, after every call, whenever the server sleeps, and when all is quiet. Each has a name.

use std::io::ErrorKind;
use std::time::Duration;

use simulated_kernel::kernel::{CLIENT, SERVER};
use simulated_kernel::{Call, Kernel};

use crate::client::{Client, Ending, Reading};
use crate::promises::PROMISES;

/// What a server has promised.
#[derive(Clone, Debug, Hash)]
pub struct Rules {
    /// `--max-connections`.
    pub max_connections: usize,
    /// The most bytes that a client is owed.
    pub outbox_limit: usize,
    /// `--status-interval`. `None`: it says nothing by itself.
    pub status_interval: Option<Duration>,
    /// `--idle-timeout`.
    pub idle_timeout: Option<Duration>,
}

/// How long a stop may take: `STOP_GRACE`, and what a timer is late at most.
const STOP: Duration = Duration::from_millis(501);

/// `RETRY_PAUSE`, and the same.
const PAUSE: Duration = Duration::from_millis(1_001);

/// What a sleep is longer than it was asked to be: epoll_wait(2) counts in milliseconds.
pub(crate) const SLACK: Duration = Duration::from_millis(1);

/// So many waits in which nothing moves and no time passes are a spin.
pub(crate) const SPINS: u32 = 20;

/// So many turns may one client have between two looks at the poller (`FEWEST_TURNS`), and all together (`MOST_TURNS`).
const TURNS_OF_ONE: u32 = 8;
/// See [`TURNS_OF_ONE`].
const TURNS_OF_ALL: u32 = 256;

/// So many clients may be taken in between two looks (`ACCEPTS_PER_TURN`).
const ACCEPTS: u32 = 128;

/// How long a client that was let go of has to leave, if it is silent, and in all: `LINGER_SILENCE` and `LINGER`.
const LINGER_SILENCE: Duration = Duration::from_secs(5);
/// See [`LINGER_SILENCE`].
const LINGER: Duration = Duration::from_secs(30);

/// A client has two timers at most: one for its silence, and one for its end. The server looks for timers of clients
/// that have left whenever it schedules one of the first kind, so up to as many of the second kind come on top.
const TIMERS_OF_ONE: usize = 3;

/// So many timers of clients that have left may be in the queue besides (`STALE_TIMERS`), and the one of the status.
const TIMERS_BESIDES: usize = 1_024 + 1;

/// A token names a place in the table by its last six digits: `MAX_SLOTS`.
const PLACES: usize = 1_000_000;

/// What one read(2) of a server brings at most: `READ_SIZE`.
const READ_SIZE: usize = 64 * 1024 + 1;

impl Rules {
    /// A time in which a silent client is let go of, and not yet closed.
    pub(crate) fn a_little_longer_than_patience(&self) -> Duration {
        self.idle_timeout.map_or(Duration::from_secs(3), |timeout| timeout * 6 / 5)
    }

    /// A time in which a silent client is let go of.
    pub fn longer_than_patience(&self) -> Duration {
        self.idle_timeout.map_or(Duration::from_secs(3), |timeout| timeout * 2)
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Violation {
    /// The promise.
    pub property: &'static str,
    /// What was seen.
    pub seen: String,
}

/// What was seen of one connection.
#[derive(Clone, Copy, Debug, Default, Hash)]
struct Seen {
    accepted: bool,
    closed: bool,
    /// It was closed before it was asked for anything: the kernel would not watch it.
    turned_away: bool,
    /// Read by the server, before it let go of the client; and taken from it by the kernel.
    read: u64,
    written: u64,
    /// The last byte that was read was not the end of a line.
    mid_line: bool,
    statuses: u64,
    told: Duration,
    /// The kernel refused the last write; and when it last did not any more.
    refused: bool,
    unrefused: Duration,
    /// The server has sent its FIN and goes on reading.
    parting: Option<Duration>,
    read_the_end: bool,
    error: bool,
    /// When bytes moved last, or it came.
    moved: Duration,
    came: Duration,
    /// There was a call about it.
    asked: bool,
    /// When it was asked it had been silent for too long.
    was_silent: Option<Duration>,
    /// How many turns it has had since the last look at the poller, and how many looks it could have been served at
    /// without a turn.
    turns: u32,
    looks: u32,
    /// How many may have a turn before it, counted at the first of these looks. A crowd that has left at once is still on
    /// the server's list, where each name takes the place of a turn. So these are as many as were ever here at once, and
    /// twice as many when it stops: then everyone is put on the list, those as well who are on it.
    ahead: u32,
    /// So many bytes have to be read before the stop is over.
    to_be_read: u64,
    /// It was closed by a server that stops.
    closed_by_the_stop: bool,
}

impl Seen {
    fn here(&self) -> bool {
        self.accepted && !self.closed
    }
}

/// Watches over the promises.
#[derive(Debug, Hash)]
pub(crate) struct Watch {
    rules: Rules,
    pub(crate) violation: Option<Violation>,
    seen: Vec<Seen>,
    here: usize,
    /// How many were here at once, at most.
    most_here: usize,
    /// Turns, and clients taken in, since the last look at the poller.
    turns: u32,
    accepts: u32,
    idle_waits: u32,
    steps: u32,
    progress: u64,
    last_wait: Duration,
    shortage_at: Option<Duration>,
    stop_at: Option<Duration>,
    /// The server was given the news.
    knows_of_the_stop: bool,
    /// The last time that a machine was suspended: what was late then is not the server's fault.
    jumped_at: Option<Duration>,
}

impl Watch {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            violation: None,
            seen: Vec::new(),
            here: 0,
            most_here: 0,
            turns: 0,
            accepts: 0,
            idle_waits: 0,
            steps: 0,
            progress: 0,
            last_wait: Duration::ZERO,
            shortage_at: None,
            stop_at: None,
            knows_of_the_stop: false,
            jumped_at: None,
        }
    }

    /// Notes the first thing that is wrong.
    pub(crate) fn wrong(
        &mut self,
        kernel: &mut Kernel,
        property: &'static str,
        seen: impl FnOnce() -> String,
    ) {
        debug_assert!(PROMISES.iter().any(|promise| promise.name == property), "{property}");
        if self.violation.is_none() {
            let seen = seen();
            kernel.tell(|| format!("WRONG: {property}: {seen}"));
            self.violation = Some(Violation { property, seen });
        }
    }

    fn of(&mut self, id: usize) -> &mut Seen {
        if self.seen.len() <= id {
            self.seen.resize(id + 1, Seen::default());
        }
        &mut self.seen[id]
    }

    pub(crate) fn jumped(&mut self, now: Duration) {
        self.jumped_at = Some(now);
    }

    pub(crate) fn told_to_stop(&mut self, now: Duration) {
        self.stop_at = Some(now);
    }

    /// The poller is about to give out its events. If the signal is among them, what has arrived by now has to be
    /// answered, as far as one read(2) goes.
    pub(crate) fn gives_events(&mut self, kernel: &Kernel, clients: &[Client]) {
        if self.stop_at.is_none() || std::mem::replace(&mut self.knows_of_the_stop, true) {
            return;
        }
        for client in clients {
            let Some(id) = client.id.filter(|&id| self.of(id).here()) else { continue };
            let seen = self.of(id);
            let lingers = seen.parting.is_some() || seen.was_silent.is_some();
            // A read stops in front of an urgent byte.
            if lingers || seen.refused || seen.error || client.script.urgent.is_some() {
                continue;
            }
            let arrived = kernel.connections[id].ends[SERVER].rcvq.len().min(READ_SIZE);
            seen.to_be_read = seen.read + arrived as u64;
        }
    }

    /// A call of the server.
    pub(crate) fn called(&mut self, kernel: &mut Kernel, call: Call) {
        let now = kernel.now;
        match call {
            Call::Accept(id) => {
                kernel.tell(|| format!("server: accept takes connection {id}"));
                self.shortage_at = None;
                *self.of(id) = Seen { accepted: true, moved: now, came: now, ..Seen::default() };
                (self.here, self.accepts) = (self.here + 1, self.accepts + 1);
                if self.accepts > ACCEPTS {
                    self.wrong(kernel, "the loop comes back to the poller in time", || {
                        format!("{ACCEPTS} clients are taken in at once, and one more")
                    });
                }
                let here = self.here;
                self.most_here = self.most_here.max(here);
                if here > self.rules.max_connections {
                    self.wrong(kernel, "never more clients than the limit", || {
                        format!("{here} clients")
                    });
                }
                if self.knows_of_the_stop {
                    self.wrong(kernel, "no client is taken in by a server that stops", || {
                        format!("{id}")
                    });
                }
            }
            Call::Watch(_, token) => self.has_a_place(kernel, token % PLACES),
            Call::NoAccept(ErrorKind::WouldBlock) => {
                kernel.tell(|| "server: accept: EAGAIN".to_owned())
            }
            Call::NoAccept(e @ ErrorKind::ConnectionAborted) => {
                kernel.tell(|| format!("server: accept: {e}"));
            }
            Call::NoAccept(e) => {
                kernel.tell(|| format!("server: accept: {e}"));
                self.shortage_at = Some(now);
            }
            Call::Read(id, result, last) => self.has_read(kernel, id, result, last),
            Call::Write(id, first, result) => self.has_written(kernel, id, first, result),
            Call::Shutdown(id) => {
                kernel.tell(|| format!("server: sends its FIN to connection {id}"));
                self.lets_go(kernel, id, "its FIN");
                if self.of(id).refused {
                    self.wrong(kernel, "the end comes behind the last byte", || {
                        format!("connection {id} gets the FIN and is owed bytes")
                    });
                }
                self.of(id).parting = Some(now);
            }
            Call::Close(id) => {
                kernel.tell(|| format!("server: closes connection {id}"));
                self.closes(kernel, id);
            }
            Call::NoDial(..) => {} // a server calls no one
            Call::StopListening => kernel.tell(|| "server: listens no more".to_owned()),
        }
    }

    fn has_read(
        &mut self,
        kernel: &mut Kernel,
        id: usize,
        result: Result<usize, ErrorKind>,
        last: u8,
    ) {
        kernel.tell(|| match result {
            Ok(0) => format!("server: reads the end of connection {id}"),
            Ok(n) => format!("server: reads {n} bytes of connection {id}"),
            Err(ErrorKind::WouldBlock) => format!("server: read of connection {id}: EAGAIN"),
            Err(e) => format!("server: read of connection {id}: {e}"),
        });
        let now = kernel.now;
        let limit = self.rules.outbox_limit as u64;
        let seen = self.of(id);
        match result {
            Ok(0) => seen.read_the_end = true,
            Ok(n) => {
                (seen.moved, seen.mid_line) = (now, last != b'\n');
                if seen.parting.is_none() {
                    seen.read += n as u64;
                    seen.was_silent = None; // it was not let go of, or it had the FIN by now
                }
                let owed = seen.read.saturating_sub(seen.written);
                if owed > limit {
                    self.wrong(kernel, "no outbox over its limit", || {
                        format!("connection {id} is owed {owed}")
                    });
                }
            }
            Err(ErrorKind::WouldBlock) => {}
            Err(_) => seen.error = true,
        }
        self.asked(id, now, result == Err(ErrorKind::WouldBlock));
        self.had_a_turn(kernel, id);
    }

    /// A client has had a turn. It must not have one after the other while signals and events wait.
    fn had_a_turn(&mut self, kernel: &mut Kernel, id: usize) {
        let seen = &mut self.seen[id];
        (seen.turns, self.turns) = (seen.turns + 1, self.turns + 1);
        let (of_one, of_all) = (seen.turns, self.turns);
        if of_one > TURNS_OF_ONE || of_all > TURNS_OF_ALL {
            self.wrong(kernel, "the loop comes back to the poller in time", || match of_one {
                0..=TURNS_OF_ONE => format!("{of_all} turns in a row"),
                _ => format!("connection {id} has {of_one} turns in a row"),
            });
        }
    }

    /// The server looks at the poller. A client that could have been served at the last look, and at this one, has
    /// had its turn between the two, unless there are more than fit in between.
    pub(crate) fn looks(&mut self, kernel: &mut Kernel) {
        let lists = if self.stop_at.is_some() { 2 } else { 1 };
        let listed = lists * self.most_here as u32;
        for id in 0..self.seen.len() {
            let seen = &mut self.seen[id];
            if !seen.here() {
                continue;
            }
            let end = &kernel.connections[id].ends[SERVER];
            let could = match seen.refused {
                true => end.is_writable() && !end.reset,
                false => end.has_input() && !seen.read_the_end,
            };
            if seen.looks == 0 {
                seen.ahead = listed;
            }
            seen.looks = if could { seen.looks + 1 } else { 0 };
            let most = 2 + seen.ahead / TURNS_OF_ALL;
            if seen.looks > most {
                self.wrong(kernel, "a turn between two turns of another", || {
                    format!("connection {id} was passed over {most} times")
                });
            }
        }
    }

    fn has_written(
        &mut self,
        kernel: &mut Kernel,
        id: usize,
        first: u8,
        result: Result<usize, ErrorKind>,
    ) {
        let what = if first == b'S' { "the status" } else { "bytes" };
        kernel.tell(|| match result {
            Ok(n) => format!("server: writes {n} of {what} to connection {id}"),
            Err(ErrorKind::WouldBlock) => format!("server: write to connection {id}: EAGAIN"),
            Err(e) => format!("server: write to connection {id}: {e}"),
        });
        let now = kernel.now;
        let interval = self.rules.status_interval;
        let seen = self.of(id);
        match result {
            Ok(n) => {
                if std::mem::take(&mut seen.refused) {
                    (seen.moved, seen.unrefused, seen.looks) = (now, now, 0);
                }
                seen.written += n as u64;
                if first == b'S' {
                    (seen.statuses, seen.told) = (seen.statuses + 1, now);
                    let came = seen.came;
                    let ticks = interval.map_or(0, |i| {
                        now.as_nanos() / i.as_nanos() - came.as_nanos() / i.as_nanos()
                    });
                    if u128::from(seen.statuses) > ticks {
                        self.wrong(kernel, "a status for a tick, and no more", || {
                            format!("connection {id}")
                        });
                    }
                }
            }
            Err(ErrorKind::WouldBlock) => seen.refused = true,
            Err(_) => seen.error = true,
        }
        self.asked(id, now, result == Err(ErrorKind::WouldBlock));
    }

    fn asked(&mut self, id: usize, now: Duration, nothing_moved: bool) {
        let timeout = self.rules.idle_timeout;
        let seen = self.of(id);
        (seen.asked, seen.looks) = (true, 0);
        let too_long = timeout.is_some_and(|timeout| now - seen.moved >= timeout);
        if nothing_moved && too_long && seen.was_silent.is_none() {
            seen.was_silent = Some(now);
        }
    }

    /// The server ends a connection by itself: it must have a reason.
    fn lets_go(&mut self, kernel: &mut Kernel, id: usize, how: &str) {
        let seen = self.seen[id];
        if seen.read_the_end || seen.error || self.stop_at.is_some() || seen.turned_away {
            return;
        }
        if self.rules.idle_timeout.is_none() {
            return self.wrong(kernel, "no client is let go of without a reason", || {
                format!("connection {id} gets {how}")
            });
        }
        if seen.was_silent.is_none() {
            let silent = kernel.now - seen.moved;
            let early = self.rules.idle_timeout.is_some_and(|timeout| silent < timeout);
            let property = match early {
                true => "no client is taken for silent too early",
                false => "a client is asked before it is taken for silent",
            };
            self.wrong(kernel, property, || {
                format!("connection {id} gets {how} after {silent:?} without a byte")
            });
        }
    }

    fn closes(&mut self, kernel: &mut Kernel, id: usize) {
        let seen = self.of(id);
        let Seen { read, written, .. } = *seen;
        if seen.read_the_end && !seen.error && seen.parting.is_none() && written < read {
            self.wrong(kernel, "the end comes behind the last byte", || {
                format!("connection {id} is closed and owed {} bytes", read - written)
            });
        }
        let no_room = kernel.registrations == Some(0) || kernel.no_memory_for_options;
        let seen = self.of(id);
        seen.turned_away = !seen.asked && no_room;
        self.shortage_at = seen.turned_away.then_some(kernel.now);
        self.lets_go(kernel, id, "closed");
        self.has_its_time_to_leave(kernel, id);
        self.is_not_cut_off(kernel, id);
        let stops = self.stop_at.is_some();
        let seen = self.of(id);
        (seen.closed, seen.closed_by_the_stop) = (true, stops);
        self.here -= 1;
    }

    /// A server that stops closes only clients that have sent their end, before its time is over.
    fn is_not_cut_off(&mut self, kernel: &mut Kernel, id: usize) {
        let seen = self.seen[id];
        let left = kernel.connections[id].ends[CLIENT].closed;
        let ends = seen.read_the_end || seen.error || left || seen.turned_away;
        let time_is_over = self.stop_at.is_none_or(|at| kernel.now >= at + STOP - SLACK);
        if self.knows_of_the_stop && !ends && !time_is_over {
            self.wrong(kernel, "a stop waits for those who are here", || {
                format!("connection {id} is cut off before the time is over")
            });
        }
    }

    /// A client that was let go of gets some time to read the end, and to send its own.
    fn has_its_time_to_leave(&mut self, kernel: &mut Kernel, id: usize) {
        let seen = self.seen[id];
        let left = kernel.connections[id].ends[CLIENT].closed;
        let ends = seen.read_the_end || seen.error || left || self.stop_at.is_some();
        // Its time begins when the server gives it up. The FIN may come later, behind what it is owed.
        let Some(at) = seen.was_silent.or(seen.parting).filter(|_| !ends) else { return };
        let (silent, in_all) = (kernel.now - at.max(seen.moved), kernel.now - at);
        if silent < LINGER_SILENCE && in_all < LINGER {
            self.wrong(kernel, "a client that is let go of has its time to leave", || {
                format!("connection {id} is closed {in_all:?} after it was let go of")
            });
        }
    }

    pub(crate) fn turn_ends(&mut self, kernel: &mut Kernel, clients: usize) {
        let here = self.here;
        if clients != here {
            self.wrong(kernel, "the table holds those who are here", || {
                format!("{clients} in the table, {here} connected")
            });
        }
    }

    /// A client gets a place in the table. One that another has left comes before a new one.
    fn has_a_place(&mut self, kernel: &mut Kernel, place: usize) {
        let most = self.most_here;
        if place >= most {
            self.wrong(kernel, "no more places in the table than clients at once", || {
                format!("place {} is taken, and {most} were here at once at most", place + 1)
            });
        }
    }

    /// The server has scheduled a timer.
    pub(crate) fn scheduled(&mut self, kernel: &mut Kernel, timers: usize) {
        let most_here = self.most_here;
        if timers > TIMERS_OF_ONE * most_here + TIMERS_BESIDES {
            self.wrong(kernel, "no more timers than the clients account for", || {
                format!("{timers} timers, and {most_here} were here at once at most")
            });
        }
    }

    /// The server asks for events, and is ready to sleep for so long.
    pub(crate) fn waits(&mut self, kernel: &mut Kernel, timeout: Option<Duration>, steps: u32) {
        (self.turns, self.accepts) = (0, 0);
        self.seen.iter_mut().for_each(|seen| seen.turns = 0);
        let moved = kernel.progress != self.progress || kernel.now != self.last_wait;
        let moved = moved || steps != self.steps || kernel.has_events();
        self.steps = steps;
        self.idle_waits = if moved { 0 } else { self.idle_waits + 1 };
        (self.progress, self.last_wait) = (kernel.progress, kernel.now);
        if self.idle_waits > SPINS {
            self.wrong(kernel, "no spin", || format!("{SPINS} waits in which nothing moved"));
        }
        kernel.tell(|| match timeout {
            None => "server: waits".to_owned(),
            Some(time) if time.is_zero() => "server: looks".to_owned(),
            Some(time) => format!("server: waits for {time:?} at most"),
        });
        if self.stop_at.is_some() && self.here == 0 && !kernel.listener_open {
            self.wrong(kernel, "a stop ends when the last client has left", || {
                "it waits".to_owned()
            });
        }
    }

    /// It does sleep, since nothing is ready: so no client may need it.
    pub(crate) fn sleeps(
        &mut self,
        kernel: &mut Kernel,
        wakes_at: Option<Duration>,
        stop_sent: Option<Duration>,
    ) {
        for id in 0..self.seen.len() {
            let seen = self.seen[id];
            if !seen.here() {
                continue;
            }
            let end = &kernel.connections[id].ends[SERVER];
            if !seen.refused && end.has_input() && !seen.read_the_end {
                self.wrong(kernel, "no client that could be served waits", || {
                    format!("connection {id} has bytes or an end for a server that sleeps")
                });
            } else if seen.refused && end.is_writable() && !end.reset {
                self.wrong(kernel, "no client that could be served waits", || {
                    format!("connection {id} is owed bytes and has room, and the server sleeps")
                });
            }
        }
        self.sleeps_beside_the_backlog(kernel, wakes_at);
        self.oversleeps(kernel, wakes_at);
        self.stops_in_time(kernel, wakes_at, stop_sent);
        self.tells_every_client(kernel);
    }

    fn sleeps_beside_the_backlog(&mut self, kernel: &mut Kernel, wakes_at: Option<Duration>) {
        let room = self.here < self.rules.max_connections;
        if !kernel.listener_open || kernel.backlog.is_empty() || !room {
            return;
        }
        // After a shortage it may pause for a second, if it has a clock for it.
        let pauses = self.shortage_at.zip(wakes_at).is_some_and(|(at, wakes)| wakes <= at + PAUSE);
        if !pauses {
            let waiting = kernel.backlog.len();
            self.wrong(kernel, "no client waits in the backlog while there is room", || {
                format!("{waiting} wait, and the server sleeps")
            });
        }
    }

    /// What is due must not find it asleep.
    fn oversleeps(&mut self, kernel: &mut Kernel, wakes_at: Option<Duration>) {
        if !kernel.listener_open {
            return;
        }
        let late = |due: Duration| wakes_at.is_none_or(|wakes| wakes > due + SLACK);
        if let Some(interval) = self.rules.status_interval {
            let ticks = kernel.now.as_nanos() / interval.as_nanos() + 1;
            let next = interval * ticks as u32;
            if late(next) {
                self.wrong(kernel, "a status on its grid", || format!("{next:?} finds it asleep"));
            }
            self.has_told(kernel, interval);
        }
        let Some(timeout) = self.rules.idle_timeout else { return };
        for id in 0..self.seen.len() {
            let seen = self.seen[id];
            // A suspended machine notes late that bytes have moved.
            if !seen.here() || self.jumped_at.is_some_and(|at| at >= seen.moved) {
                continue;
            }
            let due = match (seen.parting, seen.was_silent) {
                (None, None) => seen.moved + timeout,
                (None, Some(at)) if seen.unrefused >= at => continue,
                // It is owed bytes, and does not take them.
                (None, Some(at)) if seen.refused => at + LINGER_SILENCE + SLACK,
                (None, Some(at)) => at + SLACK,
                (Some(at), _) => (at.max(seen.moved) + LINGER_SILENCE).min(at + LINGER) + SLACK,
            };
            if late(due) {
                self.wrong(kernel, "no client is taken for silent too late", || {
                    format!("connection {id} has been silent since {:?}", seen.moved)
                });
            }
        }
    }

    /// Everyone who was here at the last tick has been told, unless it would have been within a line.
    fn has_told(&mut self, kernel: &mut Kernel, interval: Duration) {
        // A tick that comes while it sleeps has not been seen yet.
        let tick = interval * (self.last_wait.as_nanos() / interval.as_nanos()) as u32;
        // Ticks that a machine slept through are skipped.
        let jumped = self.jumped_at.is_some_and(|at| at >= tick);
        if tick.is_zero() || jumped {
            return;
        }
        for id in 0..self.seen.len() {
            let seen = self.seen[id];
            // What stands behind bytes that are owed comes with them, and is not seen here.
            let owed = seen.refused || seen.unrefused >= tick;
            let counts = seen.here() && seen.came < tick && !seen.mid_line && !owed;
            if counts && seen.told < tick && seen.parting.is_none() {
                self.wrong(kernel, "a status for everyone at every tick", || {
                    format!("connection {id} has heard nothing since {:?}", seen.told)
                });
            }
        }
    }

    fn stops_in_time(
        &mut self,
        kernel: &mut Kernel,
        wakes_at: Option<Duration>,
        stop_sent: Option<Duration>,
    ) {
        let Some(at) = stop_sent.filter(|_| !self.jumped_since(stop_sent)) else { return };
        if wakes_at.is_none_or(|wakes| wakes > at + STOP + SLACK) {
            self.wrong(kernel, "a stop ends in time", || format!("SIGTERM came at {at:?}"));
        }
    }

    /// A server that stops and sleeps waits for clients to leave: so each of them must know.
    fn tells_every_client(&mut self, kernel: &mut Kernel) {
        if !self.knows_of_the_stop {
            return;
        }
        for id in 0..self.seen.len() {
            let seen = self.seen[id];
            let knows = seen.parting.is_some() || seen.read_the_end;
            if seen.here() && !seen.refused && !knows {
                self.wrong(kernel, "a stop tells every client", || {
                    format!("connection {id} has no FIN, and the server sleeps")
                });
            }
        }
    }

    fn jumped_since(&self, moment: Option<Duration>) -> bool {
        self.jumped_at.is_some_and(|at| moment.is_none_or(|moment| at >= moment))
    }

    /// A client has done something.
    pub(crate) fn acted(
        &mut self,
        kernel: &mut Kernel,
        name: usize,
        client: &Client,
        stopping: bool,
    ) {
        let Some(id) = client.id.filter(|&id| !is_aborted(kernel, id)) else { return };
        let let_go = self
            .seen
            .get(id)
            .is_some_and(|seen| seen.parting.is_some() || (seen.closed && !seen.read_the_end));
        match client.end {
            Some(Ok(())) if !client.half_closed && !client.gave_up && !stopping && !let_go => {
                self.wrong(kernel, "no client is let go of without a reason", || {
                    format!("client {name} reads an end before its own")
                });
            }
            Some(Ok(()))
                if client.half_closed && !stopping && !let_go && client.back < client.sent =>
            {
                self.wrong(kernel, "the echo is complete after a half-close", || {
                    format!("client {name} has {} of {} bytes back", client.back, client.sent)
                });
            }
            Some(Err(e)) if !stopping && !let_go => {
                self.wrong(kernel, "no client is let go of without a reason", || {
                    format!("client {name} is reset: {e}")
                });
            }
            _ => {}
        }
    }

    /// Whether a server whose timers go on for ever has been quiet for long enough, if it sleeps until then.
    pub(crate) fn has_seen_enough(&self, next: Duration) -> bool {
        let longest = self.rules.status_interval.unwrap_or_default() * 2
            + self.rules.longer_than_patience()
            + Duration::from_secs(40);
        let moved = self.seen.iter().map(|seen| seen.moved).max().unwrap_or_default();
        next > moved + longest
    }

    /// Nothing more will happen. All who wait for an end must have it.
    pub(crate) fn quiet(&mut self, kernel: &mut Kernel, clients: &[Client]) {
        for (name, client) in clients.iter().enumerate() {
            let waits = client.half_closed
                && client.script.reading != Reading::Never
                && client.end.is_none();
            let waits = waits && client.script.ending == Ending::HalfClose;
            if waits && client.id.is_some_and(|id| kernel.connections[id].accepted) {
                self.wrong(kernel, "the echo is complete after a half-close", || {
                    format!(
                        "client {name} waits for ever, with {} of {} bytes",
                        client.back, client.sent
                    )
                });
            }
        }
    }

    /// The server has ended: what it had read is delivered to those who read.
    pub(crate) fn end(&mut self, kernel: &mut Kernel, clients: &[Client], ended_at: Duration) {
        let jumped = self.jumped_since(self.stop_at);
        let Some(grace_ends) = self.stop_at.map(|at| at + STOP - SLACK) else { return };
        let out_of_time = ended_at >= grace_ends;
        if ended_at > grace_ends + 2 * SLACK && !jumped {
            self.wrong(kernel, "a stop ends in time", || format!("it ended at {ended_at:?}"));
        }
        for (name, client) in clients.iter().enumerate() {
            let Some(seen) = client.id.and_then(|id| self.seen.get(id).copied()) else { continue };
            if !seen.closed_by_the_stop || client.gave_up || seen.error {
                continue;
            }
            if seen.read < seen.to_be_read {
                self.wrong(kernel, "what had come before the stop is answered", || {
                    format!("client {name}: {} of {} bytes", seen.read, seen.to_be_read)
                });
            }
            let reads = match client.script.reading {
                Reading::Never => false,
                // It has had no time to take it all.
                _ if out_of_time && jumped => false,
                Reading::Eager if client.script.reads_after.is_zero() => true,
                _ => !out_of_time,
            };
            if reads && client.back < seen.read {
                self.wrong(kernel, "whatever was read is delivered when it stops", || {
                    format!("client {name} has {} of {} bytes", client.back, seen.read)
                });
            }
        }
    }
}

/// The kernel has ended it, before the server could have it.
fn is_aborted(kernel: &Kernel, id: usize) -> bool {
    let connection = &kernel.connections[id];
    kernel.listener_open && !connection.accepted && connection.ends[SERVER].closed
}

//! What must hold, after every call, whenever the server sleeps, and when all is quiet. Each has a name.

use std::io::ErrorKind;
use std::time::Duration;

use simulated_kernel::kernel::{CLIENT, SERVER};
use simulated_kernel::{Call, Kernel};

use crate::client::{Client, Ending, Reading};

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
const SLACK: Duration = Duration::from_millis(1);

/// So many waits in which nothing moves and no time passes are a spin.
const SPINS: u32 = 20;

/// So many turns may one client have between two of another that is due one: those that the loop takes between two
/// looks at the poller, and two that it was late by.
const UNFAIR: u32 = 10;

impl Rules {
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
    /// Read by the server, before it let go of the client; and taken from it by the kernel.
    read: u64,
    written: u64,
    statuses: u64,
    /// The kernel refused the last write.
    refused: bool,
    /// The server has sent its FIN and goes on reading.
    parting: bool,
    read_the_end: bool,
    error: bool,
    /// When bytes moved last, or it came.
    moved: Duration,
    came: Duration,
    /// The last call about it.
    asked: Duration,
    /// When it was asked it had been silent for too long.
    was_silent: bool,
}

/// Watches over the promises.
#[derive(Debug, Hash)]
pub(crate) struct Watch {
    rules: Rules,
    pub(crate) violation: Option<Violation>,
    seen: Vec<Seen>,
    /// Connections that are watched for turns: (who waits, who has had how many).
    turns: Vec<Vec<u32>>,
    idle_waits: u32,
    steps: u32,
    progress: u64,
    last_wait: Duration,
    shortage_at: Option<Duration>,
    stop_at: Option<Duration>,
    /// The last time that a machine was suspended: what was late then is not the server's fault.
    jumped_at: Option<Duration>,
}

impl Watch {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            violation: None,
            seen: Vec::new(),
            turns: Vec::new(),
            idle_waits: 0,
            steps: 0,
            progress: 0,
            last_wait: Duration::ZERO,
            shortage_at: None,
            stop_at: None,
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

    /// A look at the poller was interrupted, and has named nobody: those who are due have as many turns once more.
    pub(crate) fn interrupted(&mut self) {
        self.turns.iter_mut().for_each(Vec::clear);
    }

    pub(crate) fn told_to_stop(&mut self, now: Duration) {
        self.stop_at = Some(now);
    }

    /// A call of the server.
    pub(crate) fn called(&mut self, kernel: &mut Kernel, call: Call) {
        let now = kernel.now;
        match call {
            Call::Accept(id) => {
                kernel.tell(|| format!("server: accept takes connection {id}"));
                self.shortage_at = None;
                *self.of(id) = Seen { accepted: true, moved: now, came: now, ..Seen::default() };
                let here = self.here();
                if here > self.rules.max_connections {
                    self.wrong(kernel, "never more clients than the limit", || {
                        format!("{here} clients")
                    });
                }
                if self.stop_at.is_some() && !kernel.listener_open {
                    self.wrong(kernel, "no client is taken in by a server that stops", || {
                        format!("{id}")
                    });
                }
            }
            Call::NoAccept(ErrorKind::WouldBlock) => {
                kernel.tell(|| "server: accept: EAGAIN".to_owned())
            }
            Call::NoAccept(e) => {
                kernel.tell(|| format!("server: accept: {e}"));
                self.shortage_at = Some(now);
            }
            Call::Read(id, result) => self.has_read(kernel, id, result),
            Call::Write(id, first, result) => self.has_written(kernel, id, first, result),
            Call::Shutdown(id) => {
                kernel.tell(|| format!("server: sends its FIN to connection {id}"));
                self.lets_go(kernel, id, "its FIN");
                self.of(id).parting = true;
            }
            Call::Close(id) => {
                kernel.tell(|| format!("server: closes connection {id}"));
                self.closes(kernel, id);
            }
            Call::StopListening => kernel.tell(|| "server: listens no more".to_owned()),
        }
    }

    fn here(&self) -> usize {
        self.seen.iter().filter(|seen| seen.accepted && !seen.closed).count()
    }

    fn has_read(&mut self, kernel: &mut Kernel, id: usize, result: Result<usize, ErrorKind>) {
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
                seen.moved = now;
                if !seen.parting {
                    seen.read += n as u64;
                }
                let owed = seen.read.saturating_sub(seen.written);
                if owed > limit + n as u64 {
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

    /// Fair turns: between two of one client no other has many, as long as the first could have had one.
    fn had_a_turn(&mut self, kernel: &mut Kernel, id: usize) {
        if self.turns.len() < self.seen.len() {
            self.turns.resize(self.seen.len(), Vec::new());
        }
        self.turns[id].clear();
        for waiting in 0..self.seen.len() {
            let seen = self.seen[waiting];
            let end = &kernel.connections[waiting].ends[SERVER];
            let could =
                seen.accepted && !seen.closed && !seen.refused && !seen.error && end.has_input();
            if waiting == id || !could || seen.read_the_end {
                self.turns[waiting].clear();
                continue;
            }
            let counts = &mut self.turns[waiting];
            counts.resize(counts.len().max(id + 1), 0);
            counts[id] += 1;
            if counts[id] > UNFAIR {
                self.wrong(kernel, "a turn between two turns of another", || {
                    format!("connection {id} has had {UNFAIR} turns and connection {waiting} none")
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
                    seen.moved = now;
                }
                seen.written += n as u64;
                if first == b'S' {
                    seen.statuses += 1;
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
        seen.asked = now;
        seen.was_silent |=
            nothing_moved && timeout.is_some_and(|timeout| now - seen.moved >= timeout);
    }

    /// The server ends a connection by itself: it must have a reason.
    fn lets_go(&mut self, kernel: &mut Kernel, id: usize, how: &str) {
        let seen = self.seen[id];
        if seen.read_the_end || seen.error || self.stop_at.is_some() || seen.parting {
            return;
        }
        let silent = kernel.now - seen.moved;
        let Some(timeout) = self.rules.idle_timeout else {
            return self.wrong(kernel, "no client is let go of without a reason", || {
                format!("connection {id} gets {how}")
            });
        };
        if silent < timeout && !seen.was_silent {
            self.wrong(kernel, "no client is taken for silent too early", || {
                format!("connection {id} gets {how} after {silent:?} without a byte")
            });
        }
    }

    fn closes(&mut self, kernel: &mut Kernel, id: usize) {
        if self.seen[id].read_the_end && !self.seen[id].error && !self.seen[id].parting {
            let Seen { read, written, .. } = self.seen[id];
            if written < read {
                self.wrong(kernel, "the end comes behind the last byte", || {
                    format!("connection {id} is closed and owed {} bytes", read - written)
                });
            }
        }
        self.lets_go(kernel, id, "closed");
        self.of(id).closed = true;
        self.shortage_at = None;
    }

    pub(crate) fn turn_ends(&mut self, kernel: &mut Kernel, clients: usize) {
        let here = self.here();
        if clients != here {
            self.wrong(kernel, "the table holds those who are here", || {
                format!("{clients} in the table, {here} connected")
            });
        }
    }

    /// The server asks for events, and is ready to sleep for so long.
    pub(crate) fn waits(&mut self, kernel: &mut Kernel, timeout: Option<Duration>, steps: u32) {
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
        if let Some(at) = self.stop_at.filter(|_| self.here() == 0)
            && !kernel.listener_open
        {
            let _ = at;
            self.wrong(kernel, "a stop ends when the last client has left", || {
                "it waits".to_owned()
            });
        }
    }

    /// It does sleep, since nothing is ready: so nobody may need it.
    pub(crate) fn sleeps(
        &mut self,
        kernel: &mut Kernel,
        wakes_at: Option<Duration>,
        clients: &[Client],
        stop_sent: Option<Duration>,
    ) {
        let _ = clients;
        for id in 0..self.seen.len() {
            let seen = self.seen[id];
            if !seen.accepted || seen.closed {
                continue;
            }
            let end = &kernel.connections[id].ends[SERVER];
            if !seen.refused && end.has_input() {
                self.wrong(kernel, "nobody who could be served waits", || {
                    format!("connection {id} has bytes or an end for a server that sleeps")
                });
            } else if seen.refused && end.is_writable() && !end.reset {
                self.wrong(kernel, "nobody who could be served waits", || {
                    format!("connection {id} is owed bytes and has room, and the server sleeps")
                });
            }
        }
        self.sleeps_beside_the_backlog(kernel, wakes_at);
        self.oversleeps(kernel, wakes_at, stop_sent);
    }

    fn sleeps_beside_the_backlog(&mut self, kernel: &mut Kernel, wakes_at: Option<Duration>) {
        let room = self.here() < self.rules.max_connections;
        if !kernel.listener_open || kernel.backlog.is_empty() || !room {
            return;
        }
        // After a shortage it may pause for a second, if it has a clock for it.
        let pauses = self.shortage_at.zip(wakes_at).is_some_and(|(at, wakes)| wakes <= at + PAUSE);
        if !pauses {
            let waiting = kernel.backlog.len();
            self.wrong(kernel, "nobody waits in the backlog while there is room", || {
                format!("{waiting} wait, and the server sleeps")
            });
        }
    }

    /// What is due must not find it asleep.
    fn oversleeps(
        &mut self,
        kernel: &mut Kernel,
        wakes_at: Option<Duration>,
        stop_sent: Option<Duration>,
    ) {
        let late = |due: Duration| wakes_at.is_none_or(|wakes| wakes > due + SLACK);
        if kernel.listener_open {
            if let Some(interval) = self.rules.status_interval {
                let ticks = kernel.now.as_nanos() / interval.as_nanos() + 1;
                let next = interval * ticks as u32;
                if late(next) {
                    self.wrong(kernel, "a status on its grid", || {
                        format!("{next:?} finds it asleep")
                    });
                }
            }
            if let Some(timeout) = self.rules.idle_timeout {
                for id in 0..self.seen.len() {
                    let seen = self.seen[id];
                    let counts = seen.accepted && !seen.closed && !seen.parting && !seen.was_silent;
                    // A suspended machine notes late that bytes have moved.
                    let counts = counts && self.jumped_at.is_none_or(|at| at < seen.moved);
                    if counts && late(seen.moved + timeout) {
                        self.wrong(kernel, "no client is taken for silent too late", || {
                            format!("connection {id} has been silent since {:?}", seen.moved)
                        });
                    }
                }
            }
        }
        if let Some(at) = stop_sent
            && !kernel.listener_open
            && late(at + STOP)
            && self.jumped_at.is_none()
        {
            self.wrong(kernel, "a stop ends in time", || format!("SIGTERM came at {at:?}"));
        }
    }

    /// A client has done something.
    pub(crate) fn acted(
        &mut self,
        kernel: &mut Kernel,
        name: usize,
        client: &Client,
        stopping: bool,
    ) {
        let Some(id) = client.id else { return };
        let let_go = self
            .seen
            .get(id)
            .is_some_and(|seen| seen.parting || (seen.closed && !seen.read_the_end));
        match client.end {
            Some(Ok(())) if !client.half_closed && !client.left && !stopping && !let_go => {
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
                self.wrong(kernel, "no client is reset without a reason", || {
                    format!("client {name}: {e}")
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
                && client.script.reading == Reading::Eager
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
    pub(crate) fn end(&mut self, kernel: &mut Kernel, clients: &[Client]) {
        for (name, client) in clients.iter().enumerate() {
            let Some(id) = client.id.filter(|_| client.script.reading == Reading::Eager) else {
                continue;
            };
            let Some(seen) = self.seen.get(id).copied() else { continue };
            let reset = kernel.connections[id].ends[CLIENT].reset;
            if seen.accepted && !client.left && !reset && client.back < seen.read {
                self.wrong(kernel, "whatever was read is delivered when it stops", || {
                    format!("client {name} has {} of {} bytes", client.back, seen.read)
                });
            }
        }
    }
}

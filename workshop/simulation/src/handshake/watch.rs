//! What must hold of a program that calls, after each of its calls, whenever it sleeps, and at its end.

use std::io::ErrorKind;
use std::time::Duration;

use simulated_kernel::kernel::SERVER;
use simulated_kernel::{Call, Kernel};

use super::Task;
use super::peer::{HELLO, Peer, QUESTION};
use crate::promises::CALLER_PROMISES;
use crate::properties::{SLACK, SPINS, Violation};

/// A pause before the second attempt is at most so long, and at least half of it: `Backoff::FIRST`. It doubles up to
/// `Backoff::LONGEST`.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How much of a line the program listens to: `LINE_LIMIT`.
const LINE_LIMIT: usize = 256;

/// What was seen of one attempt that got as far as a socket.
#[derive(Debug, Hash)]
struct Seen {
    peer: usize,
    began: Duration,
    /// The poller watches it.
    watched: bool,
    written: usize,
    read: usize,
    /// When the whole ack had been read.
    acked: Option<Duration>,
    /// A call has said that something is wrong.
    error: bool,
    /// When the program woke up, the whole ack had arrived.
    ack_was_there: bool,
    closed: bool,
}

/// What was seen of one peer.
#[derive(Clone, Copy, Debug, Default, Hash)]
struct Called {
    attempts: u32,
    connected: bool,
    open: bool,
    /// Since when it waits for the next attempt.
    failed: Option<Duration>,
}

/// Watches over the promises.
#[derive(Debug, Hash)]
pub(crate) struct Watch {
    task: Task,
    pub(crate) violation: Option<Violation>,
    seen: Vec<Seen>,
    called: Vec<Called>,
    idle_waits: u32,
    progress: u64,
    steps: u32,
    last_wait: Duration,
}

impl Watch {
    pub(crate) fn new(task: Task, peers: usize) -> Self {
        Self {
            task,
            violation: None,
            seen: Vec::new(),
            called: vec![Called::default(); peers],
            idle_waits: 0,
            progress: 0,
            steps: 0,
            last_wait: Duration::ZERO,
        }
    }

    /// Notes the first thing that is wrong.
    pub(crate) fn wrong(&mut self, kernel: &mut Kernel, property: &'static str, seen: String) {
        debug_assert!(CALLER_PROMISES.iter().any(|promise| promise.name == property), "{property}");
        if self.violation.is_none() {
            kernel.tell(|| format!("WRONG: {property}: {seen}"));
            self.violation = Some(Violation { property, seen });
        }
    }

    /// How many attempts a peer has had.
    pub(crate) fn attempts(&self, peer: usize) -> u32 {
        self.called[peer].attempts
    }

    /// An attempt begins. `id`: connect(2) has made a socket.
    pub(crate) fn begins(&mut self, kernel: &mut Kernel, peer: usize, id: Option<usize>) {
        let now = kernel.now;
        kernel.tell(|| match id {
            Some(id) => format!("caller: connects to peer {peer}: connection {id}"),
            None => format!("caller: connects to peer {peer}: no descriptor"),
        });
        let before = self.called[peer];
        if before.open || before.connected || before.attempts == self.task.attempts {
            let which = before.attempts + 1;
            let seen = format!("peer {peer} gets attempt {which} of {}", self.task.attempts);
            self.wrong(kernel, "one attempt at a time, and none too many", seen);
        }
        if before.failed.is_some_and(|at| now < at + longest_pause(before.attempts) / 2) {
            let seen = format!("peer {peer} failed at {:?}", before.failed.unwrap_or_default());
            self.wrong(kernel, "the next attempt comes behind its pause", seen);
        }
        let (attempts, open) = (before.attempts + 1, id.is_some());
        let failed = (!open).then_some(now);
        self.called[peer] = Called { attempts, open, failed, ..before };
        if open {
            let nothing = Seen {
                peer,
                began: now,
                watched: false,
                written: 0,
                read: 0,
                acked: None,
                error: false,
                ack_was_there: false,
                closed: false,
            };
            self.seen.push(nothing);
        }
    }

    /// A call about a connection.
    pub(crate) fn called(&mut self, kernel: &mut Kernel, peers: &[Peer], call: Call) {
        match call {
            Call::Watch(id, _) => self.seen[id].watched = true,
            Call::Read(id, result, _) => self.has_read(kernel, peers, id, result),
            Call::Write(id, _, result) => self.has_written(kernel, &peers[id], id, result),
            Call::Close(id) => self.closes(kernel, peers, id),
            Call::Shutdown(_) | Call::Accept(_) | Call::NoAccept(_) => {}
            Call::StopListening | Call::NoDial(..) => {}
        }
    }

    fn has_read(
        &mut self,
        kernel: &mut Kernel,
        peers: &[Peer],
        id: usize,
        result: Result<usize, ErrorKind>,
    ) {
        kernel.tell(|| match result {
            Ok(0) => format!("caller: reads the end of connection {id}"),
            Ok(n) => format!("caller: reads {n} bytes of connection {id}"),
            Err(e) => format!("caller: read of connection {id}: {e}"),
        });
        let seen = &mut self.seen[id];
        match result {
            Ok(n) => seen.read += n,
            Err(ErrorKind::WouldBlock) => {}
            Err(_) => seen.error = true,
        }
        if seen.acked.is_none() && peers[id].sent[..seen.read].starts_with(HELLO) {
            seen.acked = Some(kernel.now);
        }
    }

    fn has_written(
        &mut self,
        kernel: &mut Kernel,
        peer: &Peer,
        id: usize,
        result: Result<usize, ErrorKind>,
    ) {
        kernel.tell(|| match result {
            Ok(n) => format!("caller: writes {n} bytes to connection {id}"),
            Err(e) => format!("caller: write to connection {id}: {e}"),
        });
        let seen = &mut self.seen[id];
        match result {
            Ok(n) => seen.written += n,
            Err(ErrorKind::WouldBlock) => {}
            Err(_) => seen.error = true,
        }
        let written = seen.written;
        self.says_the_right_thing(kernel, peer, id);
        if written > HELLO.len() {
            self.is_connected(kernel, id);
        }
    }

    /// What it has written is with the peer, in the peer's queue, or in its own.
    fn says_the_right_thing(&mut self, kernel: &mut Kernel, peer: &Peer, id: usize) {
        let [theirs, ours] = &kernel.connections[id].ends;
        let queues = theirs.rcvq.iter().chain(&ours.sndq);
        let said: Vec<u8> = peer.heard.iter().chain(queues).copied().collect();
        if ![HELLO, QUESTION].concat().starts_with(&said) {
            let seen = format!("connection {id}: \"{}\"", said.escape_ascii());
            self.wrong(kernel, "what is said is the greeting and the question", seen);
        }
    }

    /// The program takes the connection for one that is there, since it asks its question.
    fn is_connected(&mut self, kernel: &mut Kernel, id: usize) {
        let Seen { peer, acked, read, .. } = self.seen[id];
        self.called[peer].connected = true;
        if acked.is_none() {
            let seen =
                format!("connection {id} is used, and {read} bytes were read, which are no ack");
            self.wrong(kernel, "connected only behind the whole ack", seen);
        }
    }

    fn closes(&mut self, kernel: &mut Kernel, peers: &[Peer], id: usize) {
        kernel.tell(|| format!("caller: closes connection {id}"));
        let now = kernel.now;
        let reason = self.has_a_reason(kernel, &peers[id], id);
        let seen = &mut self.seen[id];
        seen.closed = true;
        let acked = seen.acked.is_some();
        let called = &mut self.called[seen.peer];
        // An attempt that has its ack is the last, whatever comes of the question.
        (called.open, called.connected) = (false, called.connected || acked);
        called.failed = (!called.connected).then_some(now);
        let missed = !acked && seen.ack_was_there && seen.written >= HELLO.len() && !seen.error;
        if missed {
            let seen = format!("connection {id} has the ack in its queue, and is closed");
            self.wrong(kernel, "an ack that has come counts", seen);
        } else if !reason {
            let seen = format!("connection {id} is closed");
            self.wrong(kernel, "no attempt is given up without a reason", seen);
        }
    }

    /// The end of an attempt, or of the talk behind it: broken, ended by the peer, out of time, or done.
    fn has_a_reason(&self, kernel: &Kernel, peer: &Peer, id: usize) -> bool {
        let seen = &self.seen[id];
        let end = &kernel.connections[id].ends[SERVER];
        let ended = end.fin_arrived || end.broken || seen.error || !seen.watched;
        let out_of_time = kernel.now >= self.deadline(id);
        let came = &peer.sent[..seen.read];
        let wrong_ack = !came.iter().zip(HELLO).all(|(byte, expected)| byte == expected);
        ended || out_of_time || wrong_ack || has_a_line(came)
    }

    /// When the attempt, or the talk behind it, is out of time.
    fn deadline(&self, id: usize) -> Duration {
        let seen = &self.seen[id];
        seen.acked.unwrap_or(seen.began) + self.task.ack_timeout
    }

    /// The program asks for events, and is ready to sleep.
    pub(crate) fn waits(&mut self, kernel: &mut Kernel, timeout: Option<Duration>, steps: u32) {
        kernel.tell(|| match timeout {
            None => "caller: waits".to_owned(),
            Some(time) if time.is_zero() => "caller: looks".to_owned(),
            Some(time) => format!("caller: waits for {time:?} at most"),
        });
        let moved = kernel.progress != self.progress || kernel.now != self.last_wait;
        let moved = moved || steps != self.steps || kernel.has_events();
        self.idle_waits = if moved { 0 } else { self.idle_waits + 1 };
        (self.progress, self.last_wait, self.steps) = (kernel.progress, kernel.now, steps);
        if self.idle_waits > SPINS {
            self.wrong(
                kernel,
                "a program that calls does not spin",
                format!("{SPINS} waits in which nothing moved"),
            );
        }
    }

    /// It wakes up: what is there now is there.
    pub(crate) fn wakes(&mut self, kernel: &Kernel, peers: &[Peer]) {
        for (id, seen) in self.seen.iter_mut().enumerate().filter(|(_, seen)| !seen.closed) {
            let arrived = seen.read + kernel.connections[id].ends[SERVER].rcvq.len();
            seen.ack_was_there = peers[id].sent[..arrived].starts_with(HELLO);
        }
    }

    /// It does sleep, since nothing is ready.
    pub(crate) fn sleeps(
        &mut self,
        kernel: &mut Kernel,
        peers: &[Peer],
        wakes_at: Option<Duration>,
    ) {
        for (id, peer) in peers.iter().enumerate() {
            if !self.seen[id].closed {
                self.forgets_nothing(kernel, peer, id);
                self.keeps_the_deadline(kernel, id, wakes_at);
            }
        }
        for peer in 0..self.called.len() {
            self.tries_again(kernel, peer, wakes_at);
        }
        let over = |called: &Called| {
            !called.open && (called.connected || called.attempts == self.task.attempts)
        };
        if wakes_at.is_none() && self.called.iter().all(over) {
            let seen = "it sleeps for ever, and all calls are over".to_owned();
            self.wrong(kernel, "each call ends in one state", seen);
        }
    }

    /// The kernel has said once that something can go on, and will not say it again.
    fn forgets_nothing(&mut self, kernel: &mut Kernel, peer: &Peer, id: usize) {
        let seen = &self.seen[id];
        let end = &kernel.connections[id].ends[SERVER];
        let all = HELLO.len() + if seen.acked.is_some() { QUESTION.len() } else { 0 };
        let forgotten = match seen.written < all {
            _ if end.connecting => None,
            _ if end.reset => Some("is broken"),
            true => end.is_writable().then_some("has room for what is to be sent"),
            false => end.has_input().then_some("has bytes or an end for it"),
        };
        if let Some(what) = forgotten {
            let seen = format!("connection {id} {what}, and the program sleeps");
            self.wrong(kernel, "what the kernel says once is not forgotten", seen);
        } else if seen.written == all && has_a_line(&peer.sent[..seen.read]) {
            let seen = format!("the whole line of connection {id} has been read");
            self.wrong(kernel, "what came behind the ack is heard", seen);
        }
    }

    fn keeps_the_deadline(&mut self, kernel: &mut Kernel, id: usize, wakes_at: Option<Duration>) {
        let due = self.deadline(id);
        if wakes_at.is_none_or(|wakes| wakes > due + SLACK) {
            let seen = format!("the time of connection {id} is over at {due:?}");
            self.wrong(kernel, "an attempt ends by its deadline", seen);
        }
    }

    fn tries_again(&mut self, kernel: &mut Kernel, peer: usize, wakes_at: Option<Duration>) {
        let Called { attempts, failed, .. } = self.called[peer];
        let Some(at) = failed.filter(|_| attempts < self.task.attempts) else { return };
        let due = at + longest_pause(attempts);
        if wakes_at.is_none_or(|wakes| wakes > due + SLACK) {
            let seen = format!("peer {peer} is to be called again by {due:?}");
            self.wrong(kernel, "the next attempt comes behind its pause", seen);
        }
    }

    /// The program is through, and says with which peers it is connected.
    pub(crate) fn end(&mut self, kernel: &mut Kernel, connected: &[bool]) {
        for (peer, called) in self.called.clone().into_iter().enumerate() {
            let (says, most) = (connected.get(peer).copied(), self.task.attempts);
            let over = called.connected || called.attempts == most;
            if says != Some(called.connected) || called.open || !over {
                let seen = format!("peer {peer}, attempt {} of {most}: {says:?}", called.attempts);
                self.wrong(kernel, "each call ends in one state", seen);
            }
        }
    }
}

/// The longest pause behind so many attempts.
fn longest_pause(attempts: u32) -> Duration {
    LONGEST_PAUSE.min(FIRST_PAUSE * (1 << (attempts - 1).min(10)))
}

/// Whether a line has come behind the ack.
fn has_a_line(came: &[u8]) -> bool {
    let line = came.strip_prefix(HELLO).unwrap_or_default();
    line.contains(&b'\n') || line.len() >= LINE_LIMIT
}

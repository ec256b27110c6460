//! The kernel: who is connected, what is ready, what time it is.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::choices::Choices;
use crate::tcp::{End, IN, transfer};

/// The client's end of a connection, and the server's.
pub const CLIENT: usize = 0;
/// See [`CLIENT`].
pub const SERVER: usize = 1;

/// A connection, from the client's connect(2) on.
#[derive(Debug)]
pub struct Connection {
    pub ends: [End; 2],
    /// accept(2) has handed it out.
    pub accepted: bool,
}

/// What a poller watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Listener,
    Signals,
    Connection(usize),
}

#[derive(Debug)]
struct Watched {
    token: usize,
    interest: u32,
    /// It is on the ready list.
    queued: bool,
}

/// One event, as epoll_wait(2) gives it out.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    pub token: usize,
    pub mask: u32,
}

/// All that a kernel knows of one server and its clients.
#[derive(Debug)]
pub struct Kernel {
    pub choices: Choices,
    /// Since the beginning of the world.
    pub now: Duration,
    pub connections: Vec<Connection>,
    /// Connected, and not accepted yet. Whose first end is gone is still in it.
    pub backlog: VecDeque<usize>,
    pub most_backlog: usize,
    pub listener_open: bool,
    /// How many sockets accept(2) may still hand out, and what it says when there is none left.
    pub descriptors: usize,
    pub shortage: i32,
    signal_pending: bool,
    listener: Option<Watched>,
    signals: Option<Watched>,
    watched: Vec<Option<Watched>>,
    ready: VecDeque<Source>,
    /// Directions in which something is on its way: whose end has sent it.
    pub in_flight: Vec<(usize, usize)>,
    /// Whether what is sent arrives at once.
    pub slow_network: bool,
    /// How many system calls the server has made, and how many bytes it has moved or clients taken in.
    pub calls: u64,
    pub progress: u64,
    /// How many registrations still work before the next one says `ENOSPC`. `None`: all.
    pub registrations: Option<usize>,
    /// setsockopt(2) says `ENOBUFS`.
    pub no_memory_for_options: bool,
    /// The history, if it is to be told.
    pub story: Option<Vec<String>>,
}

impl Kernel {
    pub fn new(choices: Choices) -> Self {
        Self {
            choices,
            now: Duration::ZERO,
            connections: Vec::new(),
            backlog: VecDeque::new(),
            most_backlog: 128,
            listener_open: true,
            descriptors: usize::MAX,
            shortage: EMFILE,
            signal_pending: false,
            listener: None,
            signals: None,
            watched: Vec::new(),
            ready: VecDeque::new(),
            in_flight: Vec::new(),
            slow_network: false,
            calls: 0,
            progress: 0,
            registrations: None,
            no_memory_for_options: false,
            story: None,
        }
    }

    /// Adds a line to the history.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(story) = &mut self.story {
            story.push(format!("{:>10.3} ms  {}", now.as_secs_f64() * 1e3, line()));
        }
    }

    // What clients do.

    /// connect(2). `None`: the backlog is full, and the SYN is not answered; or it is refused.
    pub fn connect(&mut self, rcvbuf: usize, sndbuf: [usize; 2]) -> Option<usize> {
        if !self.listener_open || self.backlog.len() >= self.most_backlog {
            return None;
        }
        let id = self.connections.len();
        let ends = [End::new(rcvbuf, sndbuf[CLIENT]), End::new(rcvbuf, sndbuf[SERVER])];
        self.connections.push(Connection { ends, accepted: false });
        self.watched.push(None);
        self.backlog.push_back(id);
        self.wake(Source::Listener, IN);
        Some(id)
    }

    /// write(2) at one end.
    pub fn write(&mut self, id: usize, end: usize, bytes: &[u8]) -> io::Result<usize> {
        let n = self.connections[id].ends[end].write(bytes);
        self.send(id, end);
        n
    }

    /// send(2) with `MSG_OOB` at the client's end.
    pub fn write_urgent(&mut self, id: usize, byte: u8) -> io::Result<()> {
        let sent = self.connections[id].ends[CLIENT].write_urgent(byte);
        self.send(id, CLIENT);
        sent
    }

    /// read(2) at one end. The room that it makes lets the other end send more.
    pub fn read(&mut self, id: usize, end: usize, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.connections[id].ends[end].read(buf);
        self.send(id, 1 - end);
        n
    }

    /// shutdown(2), for writing.
    pub fn shutdown(&mut self, id: usize, end: usize) -> io::Result<()> {
        let this = &mut self.connections[id].ends[end];
        if this.reset {
            return Err(ErrorKind::NotConnected.into());
        }
        this.fin = true;
        self.send(id, end);
        Ok(())
    }

    /// close(2): a FIN, or a RST if there is input that nobody has read.
    pub fn close(&mut self, id: usize, end: usize) {
        let this = &mut self.connections[id].ends[end];
        this.closed = true;
        if !this.rcvq.is_empty() {
            return self.reset(id, end);
        }
        this.fin = true;
        self.send(id, end);
    }

    /// A RST, from one end to the other: close(2) with input unread, or with a linger time of zero.
    pub fn reset(&mut self, id: usize, end: usize) {
        let ends = &mut self.connections[id].ends;
        ends[end].closed = true;
        if ends[end].reset {
            return;
        }
        ends[end].die(None);
        ends[1 - end].die(Some(ErrorKind::ConnectionReset));
        self.in_flight.retain(|(other, _)| *other != id);
        if end == CLIENT {
            self.wake(Source::Connection(id), crate::tcp::ERR | crate::tcp::HUP | IN);
        }
    }

    /// A signal's byte.
    pub fn signal(&mut self) {
        self.signal_pending = true;
        self.wake(Source::Signals, IN);
    }

    /// read(2) of a signal's byte.
    pub fn take_signal(&mut self) -> io::Result<usize> {
        match std::mem::take(&mut self.signal_pending) {
            true => Ok(1),
            false => Err(ErrorKind::WouldBlock.into()),
        }
    }

    // The network.

    fn send(&mut self, id: usize, from: usize) {
        if !self.connections[id].ends[from].has_outgoing() {
            return;
        }
        if !self.slow_network {
            return self.arrive(id, from);
        }
        if !self.in_flight.contains(&(id, from)) {
            self.in_flight.push((id, from));
        }
    }

    /// Lets arrive what is on its way in one direction.
    pub fn arrive(&mut self, id: usize, from: usize) {
        let [client, server] = &mut self.connections[id].ends;
        let (sender, receiver) = if from == CLIENT { (client, server) } else { (server, client) };
        let woken = transfer(sender, receiver);
        let server = if from == CLIENT { woken.receiver } else { woken.sender };
        if server != 0 {
            self.wake(Source::Connection(id), server);
        }
    }

    // The poller.

    fn entry(&mut self, source: Source) -> &mut Option<Watched> {
        match source {
            Source::Listener => &mut self.listener,
            Source::Signals => &mut self.signals,
            Source::Connection(id) => &mut self.watched[id],
        }
    }

    /// ep_poll_callback() in the kernel's fs/eventpoll.c: something has happened at a file that is watched.
    fn wake(&mut self, source: Source, mask: u32) {
        let Some(watched) = self.entry(source) else { return };
        let wanted = watched.interest | crate::tcp::ERR | crate::tcp::HUP;
        if mask & wanted != 0 && !std::mem::replace(&mut watched.queued, true) {
            self.ready.push_back(source);
        }
    }

    /// epoll_ctl(2), `EPOLL_CTL_ADD` and `EPOLL_CTL_MOD`: what is true already counts as an event.
    pub fn watch(&mut self, source: Source, token: usize, interest: u32) -> io::Result<()> {
        if matches!(source, Source::Connection(_)) {
            match &mut self.registrations {
                Some(0) => return Err(io::Error::from_raw_os_error(ENOSPC)),
                Some(left) => *left -= 1,
                None => {}
            }
        }
        let queued = self.entry(source).as_ref().is_some_and(|watched| watched.queued);
        *self.entry(source) = Some(Watched { token, interest, queued });
        let mask = self.mask(source);
        self.wake(source, mask & interest);
        Ok(())
    }

    fn mask(&mut self, source: Source) -> u32 {
        match source {
            Source::Listener if self.listener_open && !self.backlog.is_empty() => IN,
            Source::Signals if self.signal_pending => IN,
            Source::Connection(id) => self.connections[id].ends[SERVER].mask(),
            _ => 0,
        }
    }

    /// What epoll_wait(2) would give out, `most` at a time. With an edge trigger each is told once.
    pub fn take_events(&mut self, most: usize, events: &mut Vec<Ready>) {
        events.clear();
        while events.len() < most {
            let Some(source) = self.ready.pop_front() else { break };
            let mask = self.mask(source);
            // It was closed meanwhile.
            let Some(watched) = self.entry(source) else { continue };
            watched.queued = false;
            let mask = mask & (watched.interest | crate::tcp::ERR | crate::tcp::HUP);
            if mask != 0 {
                events.push(Ready { token: watched.token, mask });
            }
        }
    }

    /// Whether the poller would return at once.
    pub fn has_events(&mut self) -> bool {
        (0..self.ready.len()).any(|i| {
            let source = self.ready[i];
            let mask = self.mask(source);
            let watched = self.entry(source).as_ref();
            watched.is_some_and(|w| mask & (w.interest | crate::tcp::ERR | crate::tcp::HUP) != 0)
        })
    }

    /// A spurious event: a client is named although nothing has happened.
    pub fn name(&mut self, id: usize) {
        self.wake(Source::Connection(id), u32::MAX);
    }

    // What the server calls.

    /// accept(2).
    pub fn accept(&mut self) -> io::Result<usize> {
        if self.backlog.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.descriptors == 0 {
            return Err(io::Error::from_raw_os_error(self.shortage));
        }
        let Some(id) = self.backlog.pop_front() else { return Err(ErrorKind::WouldBlock.into()) };
        self.descriptors -= 1;
        self.connections[id].accepted = true;
        self.progress += 1;
        Ok(id)
    }

    /// The server's descriptor of a connection is closed.
    pub fn close_server_end(&mut self, id: usize) {
        self.watched[id] = None;
        self.descriptors = self.descriptors.saturating_add(1);
        self.progress += 1;
        self.close(id, SERVER);
    }

    /// The listening socket is closed: those who wait are reset.
    pub fn close_listener(&mut self) {
        self.listener_open = false;
        self.listener = None;
        while let Some(id) = self.backlog.pop_front() {
            self.reset(id, SERVER);
        }
    }
}

/// No descriptor: the process has none left.
pub const EMFILE: i32 = 24;
/// The machine has none left.
pub const ENFILE: i32 = 23;
/// No memory for a socket.
pub const ENOBUFS: i32 = 105;
/// The poller has no room.
pub const ENOSPC: i32 = 28;

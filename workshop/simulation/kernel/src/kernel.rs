//! The kernel: who is connected, what is ready, what time it is.
//!
//! What Linux does is written next to each rule, by the name of the function in its source (6.x).

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::choices::Choices;
use crate::tcp::{ANY, DATA, ERR, End, HUP, IN, transfer};

/// The client's end of a connection. If the program has connected to a peer, it is the peer's.
pub const CLIENT: usize = 0;
/// The end of the program that is simulated.
pub const SERVER: usize = 1;

/// A connection, from the client's connect(2) on.
#[derive(Debug, Hash)]
pub struct Connection {
    /// The client's end, and the server's.
    pub ends: [End; 2],
    /// accept(2) has handed it out.
    pub accepted: bool,
}

/// What a poller watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The listening socket.
    Listener,
    /// The end of a pipe that a signal writes a byte to.
    Signals,
    /// The server's end of a connection.
    Connection(usize),
}

#[derive(Debug, Hash)]
struct Watched {
    token: usize,
    interest: u32,
    /// It is on the ready list.
    queued: bool,
}

impl Watched {
    /// Errors and the end are told without being asked for: see epoll_ctl(2), `EPOLLERR` and `EPOLLHUP`.
    fn wanted(&self) -> u32 {
        self.interest | ERR | HUP
    }
}

/// One event, as epoll_wait(2) gives it out.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Ready {
    /// As it was registered.
    pub token: usize,
    /// What is true of it at the moment of the call: see [`crate::tcp`].
    pub mask: u32,
}

/// All that a kernel knows of one server and its clients.
#[derive(Debug, Hash)]
pub struct Kernel {
    /// Where it takes its decisions from.
    pub choices: Choices,
    /// Since the beginning of the world.
    pub now: Duration,
    /// All that there ever were. Their place is their name.
    pub connections: Vec<Connection>,
    /// Connected, and not accepted yet. A client that has left is still in it.
    pub backlog: VecDeque<usize>,
    /// As listen(2) was told: one more than that fits.
    pub most_backlog: usize,
    /// Whether the server listens.
    pub listener_open: bool,
    /// How many sockets accept(2) may still hand out.
    pub descriptors: usize,
    /// What accept(2) says when there is none left.
    pub shortage: i32,
    /// How many bytes a socket holds in each direction that the program connects itself.
    pub dial_buffer: usize,
    /// So many of the next accept(2) fail with `ECONNABORTED`, if a connection waits for them.
    pub aborted: usize,
    signal_pending: bool,
    listener: Option<Watched>,
    signals: Option<Watched>,
    watched: Vec<Option<Watched>>,
    ready: VecDeque<Source>,
    /// Directions in which something is on its way: whose end has sent it.
    pub in_flight: Vec<(usize, usize)>,
    /// Whether what is sent arrives at once.
    pub slow_network: bool,
    /// How many system calls the server has made.
    pub calls: u64,
    /// How often it has moved bytes, or taken a client in, or let one go.
    pub progress: u64,
    /// How many registrations still work before the next one says `ENOSPC`. `None`: all.
    pub registrations: Option<usize>,
    /// setsockopt(2) says `ENOBUFS`.
    pub no_memory_for_options: bool,
    /// The history, if it is to be told.
    pub story: Option<Vec<String>>,
}

impl Kernel {
    /// A kernel on which a server listens, and nothing has happened yet.
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
            dial_buffer: 64 * 1024,
            aborted: 0,
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

    // What clients do, and what both ends do.

    /// A client's connect(2). `None`: the backlog is full, and the SYN is not answered; or it is refused.
    ///
    /// The backlog is full when it holds *more* than listen(2) was told: sk_acceptq_is_full() in include/net/sock.h.
    /// The connection is there before accept(2) hands it out: the client may write, half-close and leave before that.
    pub fn connect(&mut self, rcvbuf: usize, sndbuf: [usize; 2]) -> Option<usize> {
        if !self.listener_open || self.backlog.len() > self.most_backlog {
            return None;
        }
        let id = self.add_connection(rcvbuf, sndbuf);
        self.backlog.push_back(id);
        self.wake(Source::Listener, DATA); // tcp_child_process() in net/ipv4/tcp_minisocks.c
        Some(id)
    }

    fn add_connection(&mut self, rcvbuf: usize, sndbuf: [usize; 2]) -> usize {
        let ends = [End::new(rcvbuf, sndbuf[CLIENT]), End::new(rcvbuf, sndbuf[SERVER])];
        self.connections.push(Connection { ends, accepted: false });
        self.watched.push(None);
        self.connections.len() - 1
    }

    /// write(2) at one end.
    ///
    /// # Errors
    ///
    /// As [`End::write`].
    pub fn write(&mut self, id: usize, end: usize, bytes: &[u8]) -> io::Result<usize> {
        let n = self.connections[id].ends[end].write(bytes);
        self.send(id, end);
        n
    }

    /// send(2) with `MSG_OOB` at the client's end.
    ///
    /// # Errors
    ///
    /// As [`End::write`].
    pub fn write_urgent(&mut self, id: usize, byte: u8) -> io::Result<()> {
        let sent = self.connections[id].ends[CLIENT].write_urgent(byte);
        self.send(id, CLIENT);
        sent
    }

    /// read(2) at one end. The room that it makes lets the other end send more.
    ///
    /// # Errors
    ///
    /// As [`End::read`].
    pub fn read(&mut self, id: usize, end: usize, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.connections[id].ends[end].read(buf);
        self.send(id, 1 - end);
        n
    }

    /// shutdown(2), for writing. The poller hears of it, even of one that fails: inet_shutdown() in net/ipv4/af_inet.c
    /// wakes the pollers of this end with [`ANY`].
    ///
    /// # Errors
    ///
    /// As [`End::shutdown`].
    pub fn shutdown(&mut self, id: usize, end: usize) -> io::Result<()> {
        let done = self.connections[id].ends[end].shutdown();
        if end == SERVER {
            self.wake(Source::Connection(id), ANY);
        }
        self.send(id, end);
        done
    }

    /// close(2): a FIN, or a RST if there is input that the program has not read. After both FINs, or a RST, nothing.
    ///
    /// __tcp_close() in net/ipv4/tcp.c; RFC 2525, section 2.17. What was written before is sent all the same, except
    /// behind a RST.
    pub fn close(&mut self, id: usize, end: usize) {
        let this = &mut self.connections[id].ends[end];
        if !this.is_over() && (!this.rcvq.is_empty() || this.connecting) {
            return self.reset(id, end);
        }
        (this.closed, this.fin) = (true, true);
        self.send(id, end);
    }

    /// close(2) with a linger time of zero: a RST, from one end to the other. So is close(2) with input unread.
    ///
    /// What it has sent before may arrive or not: it does if it was on its way, as a RST has to be the next in order
    /// (RFC 5961, section 3.2), and it does not if the window was closed.
    ///
    /// Nothing is sent when the connection is over for this end already: tcp_disconnect() in net/ipv4/tcp.c.
    pub fn reset(&mut self, id: usize, end: usize) {
        if self.in_flight.contains(&(id, end)) && self.choices.pick(2) == 1 {
            self.arrive(id, end);
        }
        let ends = &mut self.connections[id].ends;
        ends[end].closed = true;
        if ends[end].is_over() {
            return;
        }
        // What the peer has never answered has no other end that could hear of it.
        let was_connected = !ends[end].connecting;
        ends[end].die(None);
        let hears = was_connected && ends[1 - end].receive_reset();
        self.in_flight.retain(|(other, _)| *other != id);
        if hears && end == CLIENT {
            self.wake(Source::Connection(id), ANY); // tcp_done() in net/ipv4/tcp.c
        }
    }

    /// getsockopt(2), `SO_ERROR`.
    pub fn take_error(&mut self, id: usize, end: usize) -> Option<ErrorKind> {
        self.connections[id].ends[end].take_error()
    }

    /// A signal's byte.
    pub fn signal(&mut self) {
        self.signal_pending = true;
        self.wake(Source::Signals, IN);
    }

    // What peers do, if the program connects to them.

    /// The peer answers the program's connect(2): tcp_finish_connect() in net/ipv4/tcp_input.c.
    pub fn establish(&mut self, id: usize) {
        let end = &mut self.connections[id].ends[SERVER];
        if std::mem::take(&mut end.connecting) {
            self.wake(Source::Connection(id), ANY);
        }
    }

    /// The peer's machine answers connect(2) with a RST, since nothing listens there: `ECONNREFUSED`.
    pub fn refuse(&mut self, id: usize) {
        let [peer, end] = &mut self.connections[id].ends;
        if end.connecting && end.receive_reset() {
            peer.die(None);
            self.wake(Source::Connection(id), ANY);
        }
    }

    /// The peer never answers connect(2), and the kernel gives up: `ETIMEDOUT`, after `tcp_syn_retries`.
    /// tcp_write_err() in net/ipv4/tcp_timer.c.
    pub fn time_out(&mut self, id: usize) {
        let [peer, end] = &mut self.connections[id].ends;
        if end.connecting {
            peer.die(None);
            end.die(Some(ErrorKind::TimedOut));
            self.wake(Source::Connection(id), ANY);
        }
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

    /// Something has happened at a file that is watched: ep_poll_callback() in fs/eventpoll.c.
    ///
    /// The key says what. A file whose interest has nothing of it is left alone. A file that is on the ready list
    /// already stays at its place, so what happens twice between two epoll_wait(2) is told once. `EPOLLEXCLUSIVE`,
    /// `EPOLLONESHOT` and a level trigger are not modelled: mio uses none of them.
    fn wake(&mut self, source: Source, key: u32) {
        let Some(watched) = self.entry(source) else { return };
        if key & watched.wanted() != 0 && !std::mem::replace(&mut watched.queued, true) {
            self.ready.push_back(source);
        }
    }

    /// epoll_ctl(2), `EPOLL_CTL_ADD`: what is true already counts as an event. ep_insert() in fs/eventpoll.c.
    ///
    /// # Errors
    ///
    /// `EEXIST`: it is watched already. `ENOSPC`: see [`Kernel::registrations`].
    pub fn watch(&mut self, source: Source, token: usize, interest: u32) -> io::Result<()> {
        if self.entry(source).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if matches!(source, Source::Connection(_)) {
            match &mut self.registrations {
                Some(0) => return Err(io::Error::from_raw_os_error(ENOSPC)),
                Some(left) => *left -= 1,
                None => {}
            }
        }
        *self.entry(source) = Some(Watched { token, interest, queued: false });
        self.wake_if_ready(source);
        Ok(())
    }

    /// epoll_ctl(2), `EPOLL_CTL_MOD`: what is true already counts as an event, even if it was told before. What is on
    /// the ready list stays there. ep_modify() in fs/eventpoll.c.
    ///
    /// # Errors
    ///
    /// `ENOENT`: it is not watched.
    pub fn rewatch(&mut self, source: Source, token: usize, interest: u32) -> io::Result<()> {
        let Some(watched) = self.entry(source) else { return Err(ErrorKind::NotFound.into()) };
        (watched.token, watched.interest) = (token, interest);
        self.wake_if_ready(source);
        Ok(())
    }

    /// epoll_ctl(2), `EPOLL_CTL_DEL`: what was not told yet never is. ep_remove() in fs/eventpoll.c.
    ///
    /// # Errors
    ///
    /// `ENOENT`: it is not watched.
    pub fn unwatch(&mut self, source: Source) -> io::Result<()> {
        self.entry(source).take().ok_or(ErrorKind::NotFound)?;
        self.ready.retain(|other| *other != source);
        Ok(())
    }

    fn wake_if_ready(&mut self, source: Source) {
        let mask = self.mask(source);
        self.wake(source, mask);
    }

    fn mask(&mut self, source: Source) -> u32 {
        match source {
            // inet_csk_listen_poll() in include/net/inet_connection_sock.h
            Source::Listener if self.listener_open && !self.backlog.is_empty() => IN,
            Source::Signals if self.signal_pending => IN,
            Source::Connection(id) => self.connections[id].ends[SERVER].mask(),
            _ => 0,
        }
    }

    /// What epoll_wait(2) would give out, `most` at a time, in the order in which it was put on the ready list. With
    /// an edge trigger each is told once, and what is no longer true is not told: ep_send_events() in fs/eventpoll.c.
    pub fn take_events(&mut self, most: usize, events: &mut Vec<Ready>) {
        events.clear();
        while events.len() < most {
            let Some(source) = self.ready.pop_front() else { break };
            let mask = self.mask(source);
            // close(2) takes a file off the list: eventpoll_release_file().
            let Some(watched) = self.entry(source) else { continue };
            watched.queued = false;
            let mask = mask & watched.wanted();
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
            self.entry(source).as_ref().is_some_and(|watched| mask & watched.wanted() != 0)
        })
    }

    /// An event without news: a client is named, with what is true of it anyway. Linux does so when the
    /// acknowledgement of our FIN comes by itself, up to 40 ms after the FIN; or when what was new has been read
    /// between the wake-up and epoll_wait(2), and the socket is writable.
    pub fn name(&mut self, id: usize) {
        self.wake(Source::Connection(id), ANY);
    }

    // What the server calls.

    /// accept(2): the client that has waited longest, even if it has left or was reset meanwhile. Its first read(2)
    /// tells. inet_csk_accept() in net/ipv4/inet_connection_sock.c.
    ///
    /// # Errors
    ///
    /// [`Kernel::shortage`], before the kernel looks whether a client waits: __sys_accept4_file() in net/socket.c takes
    /// the descriptor first. `WouldBlock`: none waits. `ECONNABORTED`, if the schedule says so
    /// ([`Kernel::aborted`]): do_accept() lets go of the connection when it finds no peer address. That can't be
    /// brought about from outside on Linux, but accept(2) names it, and other systems say it of each reset connection.
    pub fn accept(&mut self) -> io::Result<usize> {
        if self.descriptors == 0 {
            return Err(io::Error::from_raw_os_error(self.shortage));
        }
        let Some(id) = self.backlog.pop_front() else { return Err(ErrorKind::WouldBlock.into()) };
        if self.aborted > 0 {
            self.aborted -= 1;
            self.close(id, SERVER);
            return Err(ErrorKind::ConnectionAborted.into());
        }
        self.descriptors -= 1;
        self.connections[id].accepted = true;
        self.progress += 1;
        Ok(id)
    }

    /// The server's connect(2) without waiting: the connection has a name, and no peer yet. It never succeeds at once,
    /// not even over loopback: the answer finds the socket locked, see inet_stream_connect() in net/ipv4/af_inet.c.
    /// [`Kernel::establish`], [`Kernel::refuse`] or [`Kernel::time_out`] comes next.
    ///
    /// # Errors
    ///
    /// [`Kernel::shortage`].
    pub fn dial(&mut self) -> io::Result<usize> {
        if self.descriptors == 0 {
            return Err(io::Error::from_raw_os_error(self.shortage));
        }
        self.descriptors -= 1;
        let id = self.add_connection(self.dial_buffer, [self.dial_buffer; 2]);
        self.connections[id].ends[SERVER].connecting = true;
        Ok(id)
    }

    /// The server's descriptor of a connection is closed.
    pub fn close_server_end(&mut self, id: usize) {
        self.watched[id] = None;
        self.descriptors = self.descriptors.saturating_add(1);
        self.progress += 1;
        self.close(id, SERVER);
    }

    /// The listening socket is closed: those who wait are reset. inet_csk_listen_stop() in
    /// net/ipv4/inet_connection_sock.c.
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

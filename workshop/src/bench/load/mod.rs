//! The load generator: one thread, one poller, any number of clients, every byte checked.

mod client;
mod latencies;
mod pattern;

use std::io::{ErrorKind, Write};
use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

pub(super) use self::client::Client;
pub(super) use self::latencies::Latencies;
use self::pattern::{LONGEST, Pattern};
use super::stop;

/// How many connects are under way at a time, when it is not the connects that are measured. Less than
/// the backlog of std's and mio's own `bind`: peers may not ask for more.
const CONNECTS_AT_A_TIME: usize = 100;

/// How long a server may say nothing before we give up on it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The longest single sleep: how soon Ctrl-C is noticed.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// The poller counts in milliseconds and rounds up. What is due sooner than this we wait for awake: the
/// generator has a core of its own, and a message sent late would look like a slow server.
const SHORTEST_SLEEP: Duration = Duration::from_millis(2);

/// How much of the pattern apart the clients start: any number that is no multiple of a message size.
const SEED_STEP: u64 = 7919;

/// A reply: a whole message that has come back.
pub(super) struct Reply {
    /// Which client it is for: an index into [`Generator::clients`].
    pub(super) client: usize,
    /// When it was asked for.
    pub(super) asked: Instant,
    /// When its last byte was read.
    pub(super) back: Instant,
}

/// Every client, and who is due a turn. The loop is that of stage 5, seen from the other side.
pub(super) struct Generator {
    poll: Poll,
    events: Events,
    addr: SocketAddr,
    pub(super) clients: Vec<Client>,
    due: Vec<usize>,
    pattern: Pattern,
    buf: Vec<u8>,
}

impl Generator {
    /// A generator without clients, for the server at `addr`.
    pub(super) fn new(addr: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self {
            poll: Poll::new().context("cannot make a poller")?,
            events: Events::with_capacity(1024),
            addr,
            clients: Vec::new(),
            due: Vec::new(),
            pattern: Pattern::new(),
            buf: vec![0; LONGEST],
        })
    }

    /// Connects `count` more clients and has each get one message of `message_size` bytes back, so that
    /// the server has accepted and served every one of them.
    pub(super) fn admit(&mut self, count: usize, message_size: usize) -> anyhow::Result<()> {
        let goal = self.clients.len() + count;
        while self.clients.len() < goal {
            let missing = goal - self.clients.len();
            for _ in 0..missing.min(CONNECTS_AT_A_TIME) {
                let client = self.connect(message_size)?;
                self.clients[client].ask(Instant::now());
            }
            self.settle(&mut |_| {})?;
        }
        Ok(())
    }

    /// Starts connecting one more client. What it asks for is sent once it is connected.
    pub(super) fn connect(&mut self, message_size: usize) -> anyhow::Result<usize> {
        let index = self.clients.len();
        let client = self.dial(index, message_size)?;
        self.clients.push(client);
        Ok(index)
    }

    /// The same in the place of one who leaves.
    pub(super) fn replace(&mut self, index: usize, message_size: usize) -> anyhow::Result<()> {
        self.clients[index] = self.dial(index, message_size)?;
        Ok(())
    }

    fn dial(&mut self, index: usize, message_size: usize) -> anyhow::Result<Client> {
        let mut stream = TcpStream::connect(self.addr).context("cannot connect")?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(index), interest)?;
        let mut client = Client::new(stream, index as u64 * SEED_STEP);
        client.set_message_size(message_size);
        Ok(client)
    }

    /// Goes on until every message is back. Gives up on a server that says nothing any more.
    pub(super) fn settle(&mut self, on_reply: &mut impl FnMut(&Reply)) -> anyhow::Result<()> {
        let mut under_way: usize = self.clients.iter().map(|c| c.under_way().count()).sum();
        let mut last = Instant::now();
        while under_way > 0 {
            self.turn(last + PATIENCE, &mut |_, reply| {
                under_way -= 1;
                last = reply.back;
                on_reply(reply);
            })?;
            if last.elapsed() >= PATIENCE {
                bail!("no reply for {} s", PATIENCE.as_secs());
            }
        }
        Ok(())
    }

    /// One turn: sleeps until there is news or `until` is over, and then gives each client that is due
    /// one read, `on_reply` for each message that is back, and one write.
    pub(super) fn turn(
        &mut self,
        until: Instant,
        on_reply: &mut impl FnMut(&mut Client, &Reply),
    ) -> anyhow::Result<()> {
        self.wait_for_events(until)?;
        let mut turns = mem::take(&mut self.due);
        for index in turns.drain(..) {
            self.serve(index, on_reply)?;
        }
        // Those who are due again have been put into the new list; the old one lends its memory.
        turns.append(&mut self.due);
        self.due = turns;
        Ok(())
    }

    fn wait_for_events(&mut self, until: Instant) -> anyhow::Result<()> {
        stop::check()?;
        let left = until.saturating_duration_since(Instant::now());
        let timeout = match self.due.is_empty() {
            true if left < SHORTEST_SLEEP => Duration::ZERO,
            true => (left - SHORTEST_SLEEP / 2).min(LONGEST_SLEEP),
            false => Duration::ZERO,
        };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(()),
            done => done.context("cannot wait for events")?,
        }
        for event in &self.events {
            let Some(client) = self.clients.get_mut(event.token().0) else { continue };
            client.mark(event);
            if !mem::replace(&mut client.due, true) {
                self.due.push(event.token().0);
            }
        }
        Ok(())
    }

    /// One client's turn.
    fn serve(
        &mut self,
        index: usize,
        on_reply: &mut impl FnMut(&mut Client, &Reply),
    ) -> anyhow::Result<()> {
        let client = &mut self.clients[index];
        client.due = false;
        if client.receive(&self.pattern, &mut self.buf)? > 0 {
            let back = Instant::now();
            while let Some(asked) = client.take_reply() {
                on_reply(client, &Reply { client: index, asked, back });
            }
        }
        self.send(index)
    }

    /// Sends what a client has asked for since. To be called after [`Client::ask`] from outside a turn.
    pub(super) fn send(&mut self, index: usize) -> anyhow::Result<()> {
        let client = &mut self.clients[index];
        let more = client.send(&self.pattern)?;
        if (more || client.may_read) && !mem::replace(&mut client.due, true) {
            self.due.push(index);
        }
        Ok(())
    }

    /// Sends as much as the server and the kernel will take from a client that reads nothing, until they
    /// have taken nothing for `pause`, or `most`. Returns how many bytes that were.
    pub(super) fn stuff(
        &mut self,
        index: usize,
        pause: Duration,
        most: u64,
    ) -> anyhow::Result<u64> {
        let mut taken = 0;
        let mut last = Instant::now();
        while last.elapsed() < pause && taken < most {
            stop::check()?;
            self.poll.poll(&mut self.events, Some(SHORTEST_SLEEP))?;
            let piece = self.pattern.piece(0, LONGEST);
            match self.clients[index].stream().write(piece) {
                Ok(n) => {
                    taken += n as u64;
                    last = Instant::now();
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => break, // it has cut us off, which is one way to stay within bounds
            }
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;

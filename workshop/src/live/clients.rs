//! The clients, as tasks of one small runtime. What each has done so far can be looked at at any time.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::kind::Kind;
use crate::exercises::{CHUNK, Count, ON_ITS_WAY};

/// No more than this: each is a descriptor here and one in the server, and a line in the kernel's table that we read.
const MOST_CLIENTS: usize = 2_000;

/// So many descriptors are for the rest of us: the pipes to a server, the files of `/proc`. Without them there would be
/// clients, and no figures.
const OTHER_DESCRIPTORS: u64 = 32;

/// How much all clients that flood send in a second, together. A server that takes less is busy all the time. One that
/// could take more leaves time for the picture: a gigabyte through stage 5 costs 0.9 s of CPU in a debug build, the
/// clients' part included.
const FLOOD_BYTES_PER_SECOND: usize = 640 * 1024 * 1024;

/// How often a client that floods may send its share. While it waits, the server still has [`ON_ITS_WAY`] to work on.
const FLOOD_TICK: Duration = Duration::from_millis(4);

/// One thread would let a flood delay the round trips that we measure.
const THREADS: usize = 2;

const TALK_EVERY: Duration = Duration::from_secs(1);
const DRIBBLE_EVERY: Duration = Duration::from_millis(200);

/// How many round trips are kept for the line that shows them.
pub(super) const TRIPS: usize = 40;

/// How many messages a client sends that have not come back.
const MOST_UNANSWERED: usize = 600;

/// How much a client reads at a time that does not flood.
const SMALL: usize = 4 * 1024;

/// What is known of a client.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) kind: Kind,
    /// Its own port. `None` until it is connected.
    pub(super) port: Option<u16>,
    pub(super) sent: u64,
    pub(super) back: u64,
    /// The latest round trips, oldest first.
    pub(super) trips: VecDeque<Duration>,
    /// How long the oldest message has been out that has not come back.
    pub(super) unanswered: Option<Duration>,
    pub(super) end: Option<End>,
}

/// How a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client has left, as its kind does.
    Left,
    /// The server has closed it, after all bytes had come back.
    Closed,
    /// Bytes were lost: a reset, or an end with bytes still owed.
    CutOff,
    /// It could not connect.
    Refused,
}

/// The clients that are there, in the order in which they came.
pub(super) struct Clients {
    runtime: Runtime,
    most: usize,
    all: Vec<Client>,
    floods: Arc<Mutex<usize>>,
}

struct Client {
    kind: Kind,
    seen: Arc<Mutex<Seen>>,
    task: Option<AbortHandle>,
}

/// What a task tells of its client.
#[derive(Default)]
struct Seen {
    port: Option<u16>,
    count: Count,
    /// For each message that has not come back: how many bytes will be back with it, and when it was sent.
    unanswered: VecDeque<(u64, Instant)>,
    trips: VecDeque<Duration>,
    end: Option<End>,
}

impl Clients {
    /// `descriptors`: how many we may have.
    pub(super) fn new(descriptors: u64) -> anyhow::Result<Self> {
        let mut builder = runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(THREADS).enable_all().build();
        let runtime = runtime.context("cannot start tokio")?;
        let left = usize::try_from(descriptors.saturating_sub(OTHER_DESCRIPTORS));
        let most = left.map_or(MOST_CLIENTS, |left| left.min(MOST_CLIENTS));
        Ok(Self { runtime, most, all: Vec::new(), floods: Arc::default() })
    }

    /// Adds clients, up to a limit. They connect if there is an address.
    pub(super) fn add(&mut self, kind: Kind, n: usize, addr: Option<SocketAddr>) {
        for _ in 0..n.min(self.most - self.all.len()) {
            let client = Client { kind, seen: Arc::default(), task: None };
            self.all.push(client);
            if let Some(addr) = addr {
                self.connect(self.all.len() - 1, addr);
            }
        }
        self.count_floods();
    }

    /// Takes the last one away.
    pub(super) fn remove(&mut self) {
        self.all.pop();
        self.count_floods();
    }

    pub(super) fn remove_all(&mut self) {
        self.all.clear();
        self.count_floods();
    }

    /// Closes the connections and keeps the clients: the server is about to end.
    pub(super) fn disconnect(&mut self) {
        for client in &mut self.all {
            *client = Client { kind: client.kind, seen: Arc::default(), task: None };
        }
    }

    /// Connects each anew.
    pub(super) fn connect_all(&mut self, addr: SocketAddr) {
        self.disconnect();
        (0..self.all.len()).for_each(|i| self.connect(i, addr));
    }

    fn connect(&mut self, i: usize, addr: SocketAddr) {
        let client = &mut self.all[i];
        let (kind, seen) = (client.kind, Arc::clone(&client.seen));
        let task = Task { kind, seen, floods: Arc::clone(&self.floods) };
        client.task = Some(self.runtime.spawn(task.run(addr)).abort_handle());
    }

    fn count_floods(&self) {
        *lock(&self.floods) = self.all.iter().filter(|client| client.kind == Kind::Flood).count();
    }

    pub(super) fn views(&self) -> Vec<View> {
        let now = Instant::now();
        self.all.iter().map(|client| lock(&client.seen).view(client.kind, now)).collect()
    }
}

/// The socket goes with the task.
impl Drop for Client {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// One that has panicked while it held this has changed a figure, no more.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    fn view(&self, kind: Kind, now: Instant) -> View {
        let oldest = self.unanswered.front().filter(|_| self.end.is_none());
        View {
            kind,
            port: self.port,
            sent: self.count.out,
            back: self.count.back,
            trips: self.trips.clone(),
            unanswered: oldest.map(|(_, sent)| now.saturating_duration_since(*sent)),
            end: self.end,
        }
    }

    /// Bytes have come back, and with them perhaps the answer to a message.
    fn take(&mut self, bytes: &[u8], now: Instant) {
        self.count.take(bytes);
        while let Some((back, sent)) = self.unanswered.front().copied()
            && back <= self.count.back
        {
            self.unanswered.pop_front();
            if self.trips.len() == TRIPS {
                self.trips.pop_front();
            }
            self.trips.push_back(now - sent);
        }
    }
}

/// What runs for one client.
struct Task {
    kind: Kind,
    seen: Arc<Mutex<Seen>>,
    floods: Arc<Mutex<usize>>,
}

impl Task {
    async fn run(self, addr: SocketAddr) {
        let end = match TcpStream::connect(addr).await {
            Ok(stream) if common::refuse_self(&stream).is_ok() => {
                lock(&self.seen).port = stream.local_addr().ok().map(|addr| addr.port());
                // Without it a line might wait for the acknowledgement of the one before.
                let _ = stream.set_nodelay(true);
                self.behave(stream).await
            }
            _ => Ok(End::Refused),
        };
        lock(&self.seen).end = Some(end.unwrap_or(End::CutOff));
    }

    async fn behave(&self, stream: TcpStream) -> io::Result<End> {
        match self.kind {
            Kind::Talk => self.say_every(TALK_EVERY, b"hello\n", stream).await,
            Kind::Dribble => self.say_every(DRIBBLE_EVERY, b".", stream).await,
            Kind::Silent => self.read_to_end(stream).await,
            Kind::Flood => self.flood(&stream).await,
            Kind::NeverRead => self.never_read(&stream).await,
            Kind::HalfClose => self.half_close(stream).await,
            Kind::Reset => self.reset(stream).await,
        }
    }

    /// Sends a message at each tick, and reads what comes back between them.
    async fn say_every(
        &self,
        every: Duration,
        message: &[u8],
        mut stream: TcpStream,
    ) -> io::Result<End> {
        let (mut tick, mut buf) = (interval(every), [0; SMALL]);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // The first tick is over at once.
            let mut next = Box::pin(tick.tick());
            while let Err(read) = until(&mut next, stream.read(&mut buf)).await {
                match read? {
                    0 => return Ok(self.end_of_stream()),
                    n => lock(&self.seen).take(&buf[..n], Instant::now()),
                }
            }
            if lock(&self.seen).unanswered.len() < MOST_UNANSWERED {
                self.say(message, &stream)?;
            }
        }
    }

    /// A message is a few bytes: it goes out whole, or there is no room at all.
    fn say(&self, message: &[u8], stream: &TcpStream) -> io::Result<()> {
        let now = Instant::now();
        let mut seen = lock(&self.seen);
        let n = match stream.try_write(message) {
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        };
        seen.count.out += n as u64;
        let out = seen.count.out;
        seen.unanswered.push_back((out, now));
        Ok(())
    }

    async fn read_to_end(&self, mut stream: TcpStream) -> io::Result<End> {
        let mut buf = [0; SMALL];
        loop {
            match stream.read(&mut buf).await? {
                0 => return Ok(self.end_of_stream()),
                n => lock(&self.seen).take(&buf[..n], Instant::now()),
            }
        }
    }

    async fn flood(&self, stream: &TcpStream) -> io::Result<End> {
        // Stage 6 has no status line for a client in the middle of a line.
        let (mut chunk, mut buf) = (vec![b'f'; CHUNK], vec![0; CHUNK]);
        chunk[CHUNK - 1] = b'\n';
        let (mut budget, mut due) = (0, Instant::now());
        loop {
            if Instant::now() >= due {
                (budget, due) = (self.share_of_a_tick(), Instant::now() + FLOOD_TICK);
            }
            let may_send = budget > 0 && lock(&self.seen).count.on_its_way() < ON_ITS_WAY;
            let wanted =
                if may_send { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let left = due.saturating_duration_since(Instant::now());
            let Ok(ready) = timeout(left, stream.ready(wanted)).await else { continue };
            let ready = ready?;
            if ready.is_writable()
                && may_send
                && let Some(n) = now(stream.try_write(&chunk[..CHUNK.min(budget)]))?
            {
                budget -= n;
                lock(&self.seen).count.out += n as u64;
            }
            if ready.is_readable()
                && let Some(n) = now(stream.try_read(&mut buf))?
            {
                match n {
                    0 => return Ok(self.end_of_stream()),
                    n => lock(&self.seen).take(&buf[..n], Instant::now()),
                }
            }
        }
    }

    fn share_of_a_tick(&self) -> usize {
        let ticks = 1000 / FLOOD_TICK.as_millis() as usize;
        FLOOD_BYTES_PER_SECOND / ticks / (*lock(&self.floods)).max(1)
    }

    async fn never_read(&self, stream: &TcpStream) -> io::Result<End> {
        let chunk = vec![b'n'; CHUNK];
        loop {
            stream.writable().await?;
            if let Some(n) = now(stream.try_write(&chunk))? {
                lock(&self.seen).count.out += n as u64;
            }
        }
    }

    async fn half_close(&self, mut stream: TcpStream) -> io::Result<End> {
        stream.write_all(b"last words\n").await?;
        lock(&self.seen).count.out = 11;
        stream.shutdown().await?;
        let end = self.read_to_end(stream).await?;
        Ok(if end == End::Closed { End::Left } else { end })
    }

    async fn reset(&self, mut stream: TcpStream) -> io::Result<End> {
        stream.write_all(&vec![b'r'; CHUNK]).await?;
        lock(&self.seen).count.out = CHUNK as u64;
        // With a time of zero close(2) sends a reset, see socket(7).
        stream.set_zero_linger()?;
        Ok(End::Left)
    }

    /// The server has closed the connection.
    fn end_of_stream(&self) -> End {
        let owed = lock(&self.seen).count.on_its_way();
        if owed == 0 { End::Closed } else { End::CutOff }
    }
}

/// `None`: not now. What was ready is not ready any more.
fn now(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(n) => Ok(Some(n)),
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}

/// `Ok` when the first one is over, `Err` with what the other one has come to if that is earlier.
async fn until<A: Future + Unpin, B: Future>(first: &mut A, other: B) -> Result<(), B::Output> {
    let mut other = std::pin::pin!(other);
    std::future::poll_fn(|context| {
        if std::pin::Pin::new(&mut *first).poll(context).is_ready() {
            return std::task::Poll::Ready(Ok(()));
        }
        other.as_mut().poll(context).map(Err)
    })
    .await
}

#[cfg(test)]
mod tests;

//! What is shown, worked out of what has been seen. Nothing here reads a clock or a file.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::clients::{End, View};
use super::kind::Kind;
use super::process::{Doing, Queues, Sockets, Used};
use super::server::{STAGES, Stats, has_stats, is_one_thread};

/// How often we look what the threads are in.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Over how long CPU and wake-ups are counted, and how long the shares of the calls go back.
const WINDOW: Duration = Duration::from_secs(1);

/// How many moments are kept for the line that shows them: 6 seconds.
const MOMENTS: usize = 120;

/// A client to which nothing has come for so long waits.
const LONG: Duration = Duration::from_millis(500);

/// The server that is looked at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) addr: SocketAddr,
    pub(super) is_ours: bool,
}

/// What has been seen at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) used: Option<Used>,
    pub(super) sockets: Option<Sockets>,
    pub(super) stats: Option<Stats>,
    pub(super) log: Vec<String>,
    pub(super) clients: Vec<View>,
}

/// What the picture shows.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) server: Option<Server>,
    /// What there is to say if no server runs: it is being built, or has ended.
    pub(super) news: Option<String>,
    pub(super) figures: Figures,
    /// What the threads were in at the last look.
    pub(super) threads: Vec<Doing>,
    /// The share of the threads that ran, at each look, oldest first.
    pub(super) moments: VecDeque<f64>,
    pub(super) clients: Vec<Client>,
    pub(super) log: Vec<String>,
    /// What this system does not tell.
    pub(super) missing: Option<&'static str>,
    pub(super) is_paused: bool,
    pub(super) shows_help: bool,
    /// What its one thread was in during the last second.
    recent: VecDeque<Doing>,
    /// What had been used up, at each look of the last second.
    before: VecDeque<(Duration, Duration, u64)>,
    wakeups: HashMap<u32, u64>,
    wakeups_in_all: u64,
    progress: HashMap<u16, Progress>,
}

/// The figures of the server. `None`: not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) cpu_percent: Option<f64>,
    pub(super) wakeups: Option<f64>,
    pub(super) memory: Option<u64>,
    pub(super) threads: Option<u64>,
    pub(super) descriptors: Option<u64>,
    pub(super) backlog: Option<u64>,
    pub(super) stats: Option<Stats>,
}

/// A client as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Client {
    pub(super) who: Who,
    pub(super) standing: Standing,
    pub(super) queues: Option<Queues>,
    /// What the server's program itself keeps for it. Known when nothing moves any more.
    pub(super) in_server: Option<u64>,
    pub(super) back: u64,
    pub(super) trips: Vec<Duration>,
    pub(super) unanswered: Option<Duration>,
}

/// Whose client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Ours(Kind),
    /// Another program's: its port.
    Other(u16),
}

impl Who {
    /// What it is put together with. `None`: all clients of other programs.
    fn group(self) -> Option<Kind> {
        match self {
            Self::Ours(kind) => Some(kind),
            Self::Other(_) => None,
        }
    }

    pub(super) fn has_round_trips(self) -> bool {
        self.group().is_some_and(Kind::has_round_trips)
    }
}

/// How it is for a client at the moment. The later in this list, the more there is to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    Left,
    Closed,
    Open,
    Served,
    Sends,
    Connecting,
    InBacklog,
    Waits,
    Refused,
    CutOff,
}

/// When the bytes of a client last moved.
#[derive(Clone, Copy, Debug)]
struct Progress {
    sent: u64,
    sent_at: Duration,
    back: u64,
    back_at: Duration,
}

impl State {
    pub(super) fn new(missing: Option<&'static str>) -> Self {
        Self { missing, ..Self::default() }
    }

    /// From now on another server is looked at.
    pub(super) fn begin(&mut self, server: Server) {
        let Self { missing, is_paused, shows_help, .. } = *self;
        *self = Self { server: Some(server), missing, is_paused, shows_help, ..Self::default() };
    }

    /// There is no server to look at, and this is why.
    pub(super) fn is_without(&mut self, news: String) {
        self.news = Some(news);
        (self.threads, self.figures) = (Vec::new(), Figures::default());
        self.recent.clear();
    }

    /// Which of the six it is.
    pub(super) fn stage(&self) -> Option<usize> {
        let name = &self.server.as_ref()?.name;
        STAGES.iter().position(|stage| stage == name)
    }

    /// Whether one thread does all the work.
    pub(super) fn is_one_thread(&self) -> bool {
        self.server.as_ref().is_some_and(|server| is_one_thread(&server.name))
    }

    /// Why the system calls are not counted.
    pub(super) fn uncounted(&self) -> Option<&'static str> {
        let server = self.server.as_ref()?;
        match (server.is_ours, has_stats(&server.name)) {
            (true, true) => None,
            (true, false) => Some("Reads and writes are not counted: this stage has no --stats."),
            (false, _) => Some(
                "Reads and writes are not counted: --stats speaks to the server's own terminal.",
            ),
        }
    }

    /// What the threads are in at this moment.
    pub(super) fn see_threads(&mut self, threads: Vec<Doing>) {
        if self.is_paused || threads.is_empty() {
            return;
        }
        let running = threads.iter().filter(|doing| **doing == Doing::Runs).count();
        keep(&mut self.moments, running as f64 / threads.len() as f64, MOMENTS);
        if let [doing] = threads[..] {
            let most = (WINDOW.as_millis() / LOOK_EVERY.as_millis()) as usize;
            keep(&mut self.recent, doing, most);
        }
        self.threads = threads;
    }

    /// What the threads are in, and how many, the most frequent first. For a single thread it is the share of the last
    /// second, in percent.
    pub(super) fn doing(&self) -> Vec<(Doing, usize)> {
        let is_single = self.threads.len() == 1;
        let seen: Vec<_> = match is_single {
            true => self.recent.iter().copied().collect(),
            false => self.threads.clone(),
        };
        let mut counts: Vec<(Doing, usize)> = Vec::new();
        for doing in &seen {
            match counts.iter_mut().find(|(known, _)| known == doing) {
                Some((_, count)) => *count += 1,
                None => counts.push((*doing, 1)),
            }
        }
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        if is_single {
            counts.iter_mut().for_each(|(_, count)| *count = *count * 100 / seen.len());
        }
        counts
    }

    /// What has been seen of the process, of its sockets and of the clients.
    pub(super) fn see(&mut self, now: Duration, seen: Seen) {
        if self.is_paused {
            return;
        }
        let Seen { used, sockets, stats, log, clients } = seen;
        let figures = used.map_or_else(Figures::default, |used| self.use_up(now, used));
        let backlog = sockets.as_ref().and_then(|sockets| sockets.backlog);
        self.figures = Figures { backlog, stats, ..figures };
        self.log = log;
        let ours: HashSet<u16> = clients.iter().filter_map(|view| view.port).collect();
        let queues = |view: &View| sockets.as_ref()?.queues.get(&view.port?).copied();
        self.clients = clients
            .into_iter()
            .map(|view| {
                let queues = queues(&view);
                self.client(now, view, queues)
            })
            .collect();
        self.clients.extend(others(sockets.as_ref(), &ours));
    }

    fn use_up(&mut self, now: Duration, used: Used) -> Figures {
        let (is_one_thread, pid) =
            (self.is_one_thread(), self.server.as_ref().map_or(0, |server| server.pid));
        for (thread, wakeups) in &used.wakeups {
            // The other thread of a stage with one thread writes the lines of --stats.
            if *thread == pid || !is_one_thread {
                let before = self.wakeups.get(thread).copied();
                // What a thread did before the first look is not of the last second.
                let before = before.unwrap_or(if self.before.is_empty() { *wakeups } else { 0 });
                self.wakeups_in_all += wakeups.saturating_sub(before);
            }
        }
        self.wakeups = used.wakeups;
        self.before.push_back((now, used.cpu, self.wakeups_in_all));
        while self.before.get(1).is_some_and(|(at, ..)| now.saturating_sub(*at) >= WINDOW) {
            self.before.pop_front();
        }
        let (at, cpu, wakeups) = self.before[0];
        let seconds = now.saturating_sub(at).as_secs_f64();
        let per_second = |n: f64| (seconds > 0.0).then(|| n / seconds);
        let teller = self.server.as_ref().is_some_and(|it| it.is_ours && has_stats(&it.name));
        Figures {
            cpu_percent: per_second(used.cpu.saturating_sub(cpu).as_secs_f64() * 100.0),
            wakeups: per_second((self.wakeups_in_all - wakeups) as f64),
            memory: used.memory,
            // Without the one that writes the lines of --stats.
            threads: Some(used.threads.saturating_sub(teller.into())),
            descriptors: used.descriptors,
            ..Figures::default()
        }
    }

    fn client(&mut self, now: Duration, view: View, queues: Option<Queues>) -> Client {
        let progress = view.port.map(|port| {
            let new = Progress { sent: view.sent, sent_at: now, back: view.back, back_at: now };
            let progress = self.progress.entry(port).or_insert(new);
            if progress.sent != view.sent {
                (progress.sent, progress.sent_at) = (view.sent, now);
            }
            if progress.back != view.back {
                (progress.back, progress.back_at) = (view.back, now);
            }
            *progress
        });
        let is_still = |at: Duration| now.saturating_sub(at) >= LONG;
        let stands_still = progress.is_some_and(|it| is_still(it.sent_at) && is_still(it.back_at));
        let owes = view.sent > view.back && view.end.is_none();
        let in_server = queues.filter(|_| stands_still && owes).map(|queues| {
            let Queues { client_out, server_in, server_out, client_in, .. } = queues;
            view.sent.saturating_sub(view.back + client_out + server_in + server_out + client_in)
        });
        Client {
            who: Who::Ours(view.kind),
            standing: standing(&view, queues, progress, is_still),
            queues,
            in_server,
            back: view.back,
            unanswered: view.unanswered,
            trips: view.trips.into(),
        }
    }
}

/// The clients of other programs. Of these the kernel alone tells.
fn others(sockets: Option<&Sockets>, ours: &HashSet<u16>) -> Vec<Client> {
    let queues = sockets.into_iter().flat_map(|sockets| &sockets.queues);
    let mut others: Vec<_> =
        queues.filter(|(port, queues)| queues.is_open && !ours.contains(port)).collect();
    others.sort_by_key(|(port, _)| **port);
    let client = |(port, queues): (&u16, &Queues)| Client {
        who: Who::Other(*port),
        standing: if queues.in_backlog { Standing::InBacklog } else { Standing::Open },
        queues: Some(*queues),
        in_server: None,
        back: 0,
        trips: Vec::new(),
        unanswered: None,
    };
    others.into_iter().map(client).collect()
}

fn standing(
    view: &View,
    queues: Option<Queues>,
    progress: Option<Progress>,
    is_still: impl Fn(Duration) -> bool,
) -> Standing {
    if let Some(end) = view.end {
        return match end {
            End::Left => Standing::Left,
            End::Closed => Standing::Closed,
            End::CutOff => Standing::CutOff,
            End::Refused => Standing::Refused,
        };
    }
    let Some(progress) = progress else { return Standing::Connecting };
    if queues.is_some_and(|queues| queues.in_backlog) {
        return Standing::InBacklog;
    }
    let waits = match view.kind {
        Kind::Silent => return Standing::Open,
        Kind::NeverRead if is_still(progress.sent_at) => return Standing::Waits,
        Kind::NeverRead => return Standing::Sends,
        Kind::Talk | Kind::Dribble => view.unanswered.is_some_and(|since| since >= LONG),
        Kind::Flood | Kind::HalfClose | Kind::Reset => {
            view.sent > view.back && is_still(progress.back_at)
        }
    };
    if waits { Standing::Waits } else { Standing::Served }
}

fn keep<T>(all: &mut VecDeque<T>, new: T, most: usize) {
    if all.len() == most {
        all.pop_front();
    }
    all.push_back(new);
}

/// A line of the table: one client, or several of a kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) who: Who,
    /// More than one: the figures are sums, and the round trip is the longest.
    pub(super) clients: usize,
    /// How many stand how, that with the most to look at first.
    pub(super) standings: Vec<(Standing, usize)>,
    pub(super) queues: Option<Queues>,
    pub(super) in_server: Option<u64>,
    pub(super) back: u64,
    pub(super) trips: Vec<Duration>,
    /// The last round trip, or how long an answer has been missing if that is more.
    pub(super) trip: Option<Duration>,
    /// An answer is missing.
    pub(super) is_late: bool,
}

/// The clients in so many lines, and how many kinds had no line. The kind with the most clients is put together first.
pub(super) fn rows(clients: &[Client], lines: usize) -> (Vec<Row>, usize) {
    let mut groups: Vec<(usize, Option<Kind>)> = Vec::new();
    for group in clients.iter().map(|client| client.who.group()) {
        match groups.iter_mut().find(|(_, known)| *known == group) {
            Some((count, _)) => *count += 1,
            None => groups.push((1, group)),
        }
    }
    groups.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let (mut together, mut needed) = (Vec::new(), clients.len());
    for (count, group) in groups {
        if needed > lines && count > 1 {
            together.push(group);
            needed -= count - 1;
        }
    }
    let mut rows = put_together(clients, &together);
    let left_out = rows.len().saturating_sub(lines);
    rows.truncate(lines);
    (rows, left_out)
}

/// A row for each kind.
pub(super) fn groups(clients: &[Client]) -> Vec<Row> {
    put_together(clients, &[Kind::ALL.map(Some).as_slice(), &[None]].concat())
}

fn put_together(clients: &[Client], together: &[Option<Kind>]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for client in clients {
        let group = client.who.group();
        let row = rows.iter_mut().find(|row| row.who.group() == group);
        match row.filter(|_| together.contains(&group)) {
            Some(row) => row.add(client),
            None => rows.push(Row::of(client)),
        }
    }
    rows
}

impl Row {
    fn of(client: &Client) -> Self {
        let late = client.unanswered.filter(|since| *since >= LONG);
        Self {
            who: client.who,
            clients: 1,
            standings: vec![(client.standing, 1)],
            queues: client.queues,
            in_server: client.in_server,
            back: client.back,
            trips: client.trips.clone(),
            trip: late.or(client.trips.last().copied()),
            is_late: late.is_some(),
        }
    }

    fn add(&mut self, client: &Client) {
        let other = Self::of(client);
        self.clients += 1;
        self.back += other.back;
        self.trip = self.trip.max(other.trip);
        self.is_late |= other.is_late;
        self.in_server = sum(self.in_server, other.in_server, |a, b| a + b);
        self.queues = sum(self.queues, other.queues, |a, b| Queues {
            client_out: a.client_out + b.client_out,
            server_in: a.server_in + b.server_in,
            server_out: a.server_out + b.server_out,
            client_in: a.client_in + b.client_in,
            in_backlog: a.in_backlog || b.in_backlog,
            is_open: a.is_open || b.is_open,
        });
        // Of each moment the longest, counted from now.
        let longer = other.trips.len().max(self.trips.len());
        let back = |trips: &[Duration], i: usize| trips.iter().rev().nth(i).copied();
        let both =
            (0..longer).rev().filter_map(|i| back(&self.trips, i).max(back(&other.trips, i)));
        self.trips = both.collect();
        match self.standings.iter_mut().find(|(standing, _)| *standing == client.standing) {
            Some((_, count)) => *count += 1,
            None => self.standings.push((client.standing, 1)),
        }
        self.standings.sort_by_key(|(standing, _)| std::cmp::Reverse(*standing));
    }
}

fn sum<T>(a: Option<T>, b: Option<T>, add: impl Fn(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(add(a, b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests;

//! A recorded scene, as far as the strips need it, and what a step means in words. The player says the same words.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;

/// Where bytes are on their way to the server and back, from left to right, and in two short lines what that is.
const QUEUES: [(Queue, [&str; 2]); 7] = [
    (Queue::Unsent, ["still to", "be sent"]),
    (Queue::ClientOut, ["client", "sends"]),
    (Queue::ServerIn, ["server", "receives"]),
    (Queue::Hand, ["read", "buffer"]),
    (Queue::Outbox, ["server’s", "outbox"]),
    (Queue::ServerOut, ["server", "sends"]),
    (Queue::ClientIn, ["client", "receives"]),
];

/// How a client fares before it connects.
const AWAY: &str = "not here yet";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    /// In the program of the client, which waits in `write(2)`.
    Unsent,
    ClientOut,
    ServerIn,
    /// Between the server's read and its write.
    Hand,
    Outbox,
    ServerOut,
    ClientIn,
}

impl Queue {
    /// What the recording calls it.
    fn key(self) -> &'static str {
        match self {
            Queue::Unsent => "unsent",
            Queue::ClientOut => "client_out",
            Queue::ServerIn => "server_in",
            Queue::Hand => "hand",
            Queue::Outbox => "outbox",
            Queue::ServerOut => "server_out",
            Queue::ClientIn => "client_in",
        }
    }
}

/// A column of a strip.
pub(super) struct Buffer {
    pub(super) queue: Queue,
    /// What it is, in two short lines.
    pub(super) words: [&'static str; 2],
    /// So many bytes fill it.
    pub(super) capacity: u64,
}

#[derive(Deserialize)]
pub(super) struct Scene {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) program: String,
    pub(super) clients: Vec<Client>,
    /// How many bytes fill a buffer, by its name in the recording.
    capacity: BTreeMap<String, Option<u64>>,
    #[serde(flatten)]
    pub(super) run: Run,
    pub(super) what_if: Option<WhatIf>,
}

/// What was recorded: each step is the whole state.
#[derive(Deserialize)]
pub(super) struct Run {
    pub(super) steps: Vec<Step>,
    /// Which steps the strip shows, counted from 0.
    pub(super) moments: Vec<usize>,
    /// The program connects to the others itself: they are its peers.
    #[serde(skip)]
    peers: bool,
}

/// The same clients before a server with a fault.
#[derive(Deserialize)]
pub(super) struct WhatIf {
    pub(super) title: String,
    #[serde(flatten)]
    pub(super) run: Run,
}

#[derive(Deserialize)]
pub(super) struct Client {
    pub(super) name: String,
    #[serde(default)]
    peer: bool,
}

#[derive(Deserialize)]
pub(super) struct Step {
    pub(super) who: String,
    #[serde(default)]
    thread: usize,
    does: Option<String>,
    call: Option<String>,
    answer: Option<String>,
    #[serde(default)]
    asleep: bool,
    connections: BTreeMap<String, Connection>,
    backlog: Vec<String>,
    server: Option<Server>,
    pub(super) caption: String,
}

#[derive(Deserialize)]
struct Connection {
    connected: bool,
    #[serde(default)]
    unsent: u64,
    client_out: u64,
    server_in: u64,
    server_out: u64,
    client_in: u64,
    returned: u64,
    fin: String,
    reset: bool,
}

/// What the server itself knows. A stage has only some of it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Server {
    due: Option<Vec<String>>,
    outbox: Option<BTreeMap<String, u64>>,
    threads: Option<Vec<Thread>>,
    state: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Thread {
    name: String,
    #[serde(rename = "in")]
    call: Option<String>,
    asleep: bool,
}

impl Scene {
    /// Takes the object out of the call `scene({…});`.
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let object = text.trim().strip_prefix("scene(").and_then(|text| text.strip_suffix(");"));
        let mut scene: Self = serde_json::from_str(object.context("is no call of scene(…);")?)?;
        let peers = scene.clients.iter().any(|client| client.peer);
        let what_if = scene.what_if.iter_mut().map(|what_if| &mut what_if.run);
        [&mut scene.run].into_iter().chain(what_if).for_each(|run| run.peers = peers);
        Ok(scene)
    }

    /// The buffers that are filled at all, and how many bytes fill each.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let runs =
            || [&self.run].into_iter().chain(self.what_if.as_ref().map(|what_if| &what_if.run));
        let buffer = |(queue, words): (Queue, _)| {
            let most = runs().map(|run| run.most(queue, &self.clients)).max().unwrap_or(0);
            let capacity = self.capacity.get(queue.key()).copied().flatten().unwrap_or(0);
            (most > 0).then(|| Buffer { queue, words, capacity: capacity.max(most) })
        };
        QUEUES.into_iter().filter_map(buffer).collect()
    }
}

impl Run {
    /// What the strip says in words.
    pub(super) fn captions(&self, moments: &[usize]) -> impl Iterator<Item = &str> {
        moments.iter().map(|moment| self.steps[*moment].caption.as_str())
    }

    /// A text about clients and a server, if need be about peers and a program.
    pub(super) fn to_peers(&self, text: &str) -> String {
        match self.peers {
            true => text.replace("client", "peer").replace("server", "program"),
            false => text.to_owned(),
        }
    }

    /// For each action of a client the last step before the next one: servers take different numbers of steps, so this
    /// is the clock that several scenes share.
    pub(super) fn ticks(&self) -> Vec<usize> {
        let is_action = |step: &Step| !["server", "kernel", "clock"].contains(&step.who.as_str());
        let actions = self.steps.iter().enumerate().filter(|(_, step)| is_action(step));
        let mut ends: Vec<_> =
            actions.skip(1).filter_map(|(index, _)| index.checked_sub(1)).collect();
        ends.extend(self.steps.len().checked_sub(1));
        ends
    }

    /// How one of the clients fares, in words.
    pub(super) fn fares(&self, index: usize, name: &str, clients: &[Client]) -> String {
        let step = &self.steps[index];
        let standing = self.standing(index, name);
        // Of a peer the program knows in which state it is with it.
        if self.peers {
            let states = step.server.as_ref().and_then(|server| server.state.as_ref());
            let state = states.and_then(|states| states.get(name));
            let is_closed = step.connections.get(name).is_some_and(|it| it.fin != "none");
            let end = if is_closed { "closed" } else { standing };
            return state.map_or(end.to_owned(), |state| plain(state));
        }
        match (standing, self.blocker(index, name, clients)) {
            ("waits", Some(other)) => format!("waits for {other}"),
            ("waits", None) if step.backlog.iter().any(|each| each == name) => {
                "waits in the backlog".to_owned()
            }
            (standing, _) => standing.to_owned(),
        }
    }

    /// Whether a client has connected, even if it has left again.
    pub(super) fn is_here(&self, index: usize, name: &str) -> bool {
        self.standing(index, name) != AWAY
    }

    fn standing(&self, index: usize, name: &str) -> &'static str {
        let step = &self.steps[index];
        let Some(connection) = step.connections.get(name) else { return AWAY };
        if self.peers {
            return if connection.connected { "connected" } else { AWAY };
        }
        if connection.reset {
            return "cut off";
        }
        if !connection.connected {
            let was_here =
                |step: &Step| step.connections.get(name).is_some_and(|before| before.connected);
            return if self.steps[..index].iter().any(was_here) {
                "has left"
            } else {
                "not here yet"
            };
        }
        if connection.fin == "both" {
            return "has left";
        }
        let under_way = self.under_way(index, name);
        match connection.client_in > 0 {
            true if under_way > 0 => "does not read",
            _ if under_way > 0 || step.backlog.iter().any(|each| each == name) => "waits",
            _ if connection.fin == "client" => "waits for the end",
            _ if connection.fin == "server" => "let go of",
            _ if connection.returned + connection.client_in == 0 => "silent, connected",
            _ if self.has_spoken(index, name) => "served",
            _ => "silent, told the status",
        }
    }

    fn has_spoken(&self, index: usize, name: &str) -> bool {
        let sends = |step: &Step| step.does.as_ref().is_some_and(|does| does.contains("sends"));
        self.steps[..=index].iter().any(|step| step.who == name && sends(step))
    }

    pub(super) fn held(&self, index: usize, name: &str, queue: Queue) -> u64 {
        let step = &self.steps[index];
        let outbox = step.server.as_ref().and_then(|server| server.outbox.as_ref());
        let of = |queue: fn(&Connection) -> u64| step.connections.get(name).map_or(0, queue);
        match queue {
            Queue::Unsent => of(|connection| connection.unsent),
            Queue::ClientOut => of(|connection| connection.client_out),
            Queue::ServerIn => of(|connection| connection.server_in),
            Queue::Hand if self.peers => 0,
            Queue::Hand => self.in_hand(index, name),
            Queue::Outbox => outbox.and_then(|outbox| outbox.get(name)).copied().unwrap_or(0),
            Queue::ServerOut => of(|connection| connection.server_out),
            Queue::ClientIn => of(|connection| connection.client_in),
        }
    }

    /// The bytes between the server's read and its write: it holds them until its thread turns to another client.
    fn in_hand(&self, index: usize, name: &str) -> u64 {
        let (mut bytes, mut holder) = (0_u64, None);
        for step in self.steps[..=index].iter().filter(|step| step.who == "server") {
            let (what, args) =
                step.call.as_deref().and_then(|call| call.split_once('(')).unwrap_or_default();
            let client = args.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            let count = step.answer.as_deref().and_then(|answer| answer.parse().ok()).unwrap_or(0);
            let is = |calls: [&str; 2]| client == name && calls.iter().any(|c| what.starts_with(c));
            if is(["recv", "read"]) {
                (bytes, holder) = (count, Some(step.thread));
            } else if is(["send", "write"]) {
                let refused = step.answer.as_deref() == Some("EAGAIN");
                bytes = if refused { 0 } else { bytes.saturating_sub(count) };
            } else if Some(step.thread) == holder {
                bytes = 0;
            }
        }
        bytes
    }

    /// The most that a queue has held.
    fn most(&self, queue: Queue, clients: &[Client]) -> u64 {
        let held = |index| clients.iter().map(move |client| self.held(index, &client.name, queue));
        (0..self.steps.len()).flat_map(held).max().unwrap_or(0)
    }

    /// The bytes that are still in a buffer in front of the client's own.
    fn under_way(&self, index: usize, name: &str) -> u64 {
        let before = QUEUES.iter().filter(|(queue, _)| *queue != Queue::ClientIn);
        before.map(|(queue, _)| self.held(index, name, *queue)).sum()
    }

    /// The client for whose bytes the only thread sleeps.
    fn blocker<'c>(&self, index: usize, name: &str, clients: &'c [Client]) -> Option<&'c str> {
        let [(_, true, call)] = &self.threads(index)[..] else { return None };
        let call = call.as_deref()?;
        let is_named = |name: &&str| call.split(|c: char| !c.is_alphanumeric()).any(|w| w == *name);
        let others = clients.iter().map(|client| client.name.as_str());
        others.filter(|other| *other != name).find(is_named)
    }

    /// The threads of the server: their names, whether they sleep, and in which call.
    fn threads<'a>(&'a self, index: usize) -> Vec<(&'a str, bool, Option<String>)> {
        let last = |thread: usize| {
            let mut steps = self.steps[..=index].iter().rev();
            steps.find(|step| step.who == "server" && step.thread == thread)
        };
        let known = self.steps[index].server.as_ref().and_then(|server| server.threads.as_ref());
        let Some(known) = known else {
            let last = last(0);
            let call = last.and_then(|step| step.call.clone());
            let name = if self.peers { "program" } else { "server" };
            return vec![(name, last.is_some_and(|step| step.asleep), call)];
        };
        // The step says more of a call than its name, if the thread is still in the same one.
        let call = |n, thread: &Thread| {
            let said = last(n).and_then(|step| step.call.clone());
            let is = thread.call.clone().filter(|is| {
                !said.as_ref().is_some_and(|said| said.starts_with(&format!("{is}(")))
            });
            is.or(said)
        };
        let of = |(n, thread): (usize, &'a Thread)| {
            (thread.name.as_str(), thread.asleep, call(n, thread))
        };
        known.iter().enumerate().map(of).collect()
    }

    /// What the server does, in a few words.
    pub(super) fn server_in_short(&self, index: usize) -> String {
        match &self.threads(index)[..] {
            [(_, true, Some(call))] => {
                format!("server sleeps in {}", call.split('(').next().unwrap_or(call))
            }
            [_] => "server runs".to_owned(),
            all => {
                let asleep = all.iter().filter(|(_, asleep, _)| *asleep).count();
                format!("{} threads, {asleep} asleep", all.len())
            }
        }
    }

    /// What the server does, and what it has written down, in a line.
    pub(super) fn server(&self, index: usize) -> String {
        let doing = |(name, asleep, call): &(&str, bool, Option<String>)| {
            let call = call.as_deref().and_then(|call| call.split('(').next()).unwrap_or_default();
            match asleep {
                true => format!("{name} sleeps in {call}"),
                false => format!("{name} runs"),
            }
        };
        let mut parts: Vec<_> = self.threads(index).iter().map(doing).collect();
        let step = &self.steps[index];
        let due = step.server.as_ref().and_then(|server| server.due.as_deref()).unwrap_or_default();
        for (title, names) in [("backlog", step.backlog.as_slice()), ("due a turn", due)] {
            if !names.is_empty() {
                parts.push(format!("{title}: {}", names.join(", ")));
            }
        }
        parts.join(" · ")
    }
}

/// A state's name in plain words: `ExpectingAck` is "expecting ack".
fn plain(state: &str) -> String {
    let mut words = String::new();
    for letter in state.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

impl Step {
    /// What happens, as the log of the player says it.
    pub(super) fn event(&self) -> String {
        let does = self.does.as_deref().unwrap_or_default();
        match (self.who.as_str(), &self.answer) {
            ("server", _) if self.asleep => {
                format!("{} … sleeps", self.call.as_deref().unwrap_or(does))
            }
            ("server", Some(answer)) => {
                format!("{} = {answer}", self.call.as_deref().unwrap_or(does))
            }
            ("server", None) => self.call.as_deref().unwrap_or(does).to_owned(),
            ("kernel", _) => format!("the kernel {does}"),
            ("clock", _) => does.to_owned(),
            (client, _) => format!("{client} {does}"),
        }
    }
}

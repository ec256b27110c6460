//! The world around one server: its clients, its clock, and everything that the schedule decides.

use std::io::{self, ErrorKind};
use std::time::Duration;

use simulated_kernel::choices::Choices;
use simulated_kernel::kernel::{CLIENT, EMFILE, ENFILE, ENOBUFS};
use simulated_kernel::{Call, Kernel, World};

use crate::client::{Client, Ending, Reading, Script};
use crate::properties::{Rules, Violation, Watch};

/// So many waits are the end of a history, whatever it has come to.
const MOST_WAITS: u32 = 2_000;

/// And so many things that clients and the network have done.
const MOST_STEPS: u32 = 20_000;

/// So many system calls in one turn are a turn without an end.
const MOST_CALLS: u64 = 5_000;

/// So many clients at most.
const MOST_CLIENTS: usize = 12;

/// What kinds of things happen in a history, and how often, out of a thousand. Each seed has a mix of its own: what
/// happens all the time hides what happens rarely ("swarm testing").
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Mix {
    /// A client acts between two system calls of the server.
    pub(crate) preempted: u32,
    /// What is sent takes its time.
    pub(crate) slow_network: bool,
    /// epoll_wait(2) is interrupted.
    pub(crate) interrupted: u32,
    /// A client is named for nothing.
    pub(crate) spurious: u32,
    /// The machine is suspended.
    pub(crate) jumps: u32,
    /// Descriptors run out, and come back.
    pub(crate) shortage: u32,
    /// The signal comes in the middle, and not at the end.
    pub(crate) early_stop: u32,
}

/// The world. It plays until everything has happened that was to happen, and then stops the server.
#[derive(Debug, Hash)]
pub struct Clients {
    pub(crate) clients: Vec<Client>,
    pub(crate) mix: Mix,
    watch: Watch,
    pub(crate) waits: u32,
    steps: u32,
    calls_at_wait: u64,
    /// When the shortage is over.
    shortage_ends: Option<Duration>,
    descriptors: usize,
    stop_sent: Option<Duration>,
    /// How many mishaps there may still be, signals included.
    pub(crate) mishaps_left: u32,
    over: bool,
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl Clients {
    /// Draws a world.
    pub fn new(choices: &mut Choices, rules: Rules) -> Self {
        let some = |choices: &mut Choices, most: u32| [0, 0, most / 8, most][choices.pick(4)];
        let mix = Mix {
            preempted: some(choices, 300),
            slow_network: choices.pick(3) == 2,
            interrupted: some(choices, 60),
            spurious: some(choices, 60),
            jumps: some(choices, 20),
            shortage: some(choices, 60),
            early_stop: some(choices, 40),
        };
        let n = [1, 2, 2, 3, 4, 6, MOST_CLIENTS][choices.pick(7)];
        let mut scripts = Vec::new();
        for name in 0..MOST_CLIENTS {
            choices.next_section();
            // The first possibility is that it does not come.
            if name < n && choices.pick(16) > 0 {
                scripts.push(script(choices, &rules));
            }
        }
        Self::with(mix, scripts, rules)
    }

    /// A world with these clients.
    pub(crate) fn with(mix: Mix, scripts: Vec<Script>, rules: Rules) -> Self {
        Self {
            clients: scripts.into_iter().map(Client::new).collect(),
            mix,
            watch: Watch::new(rules),
            waits: 0,
            steps: 0,
            calls_at_wait: 0,
            shortage_ends: None,
            descriptors: usize::MAX,
            stop_sent: None,
            mishaps_left: u32::MAX,
            over: false,
        }
    }

    /// Sets the kernel up as this world has it.
    pub fn prepare(&self, kernel: &mut Kernel) {
        kernel.choices.next_section();
        kernel.slow_network = self.mix.slow_network;
        kernel.most_backlog = [128, 128, 1, 3][kernel.choices.pick(4)];
        kernel.shortage = [EMFILE, ENFILE, ENOBUFS][kernel.choices.pick(3)];
    }

    /// What was wrong, if anything was.
    pub fn violation(&self) -> Option<&Violation> {
        self.watch.violation.as_ref()
    }

    /// Looks at the end: what the server has read, and has not delivered.
    pub fn judge_the_end(&mut self, kernel: &mut Kernel, end: &io::Result<()>) {
        if self.watch.violation.is_none() && !self.over {
            if let Err(e) = end {
                self.watch.wrong(kernel, "the server does not end by itself", || e.to_string());
                return;
            }
        }
        if self.watch.violation.is_none() {
            self.over = true;
            self.deliver_the_rest(kernel);
            self.watch.end(kernel, &self.clients);
        }
    }

    /// The server has panicked, or was taken out of a turn without an end.
    pub fn panicked(&mut self, kernel: &mut Kernel, panic: &(dyn std::any::Any + Send)) {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no word").to_owned();
        self.watch.wrong(kernel, "no panic", || said);
    }

    /// The server has gone; its kernel still sends what it was given.
    fn deliver_the_rest(&mut self, kernel: &mut Kernel) {
        for _ in 0..1_000 {
            while let Some((id, from)) = kernel.in_flight.pop() {
                kernel.arrive(id, from);
            }
            let mut moved = false;
            for name in 0..self.clients.len() {
                let client = &mut self.clients[name];
                if client.script.reading == Reading::Eager && client.could_act(kernel) {
                    moved = true;
                    if let Some(wrong) = client.act(kernel) {
                        return self.watch.wrong(kernel, "the echo is an exact prefix", || wrong);
                    }
                }
            }
            if !moved && kernel.in_flight.is_empty() {
                return;
            }
        }
    }

    /// Lets one of those act that could. False: none could.
    fn something_happens(&mut self, kernel: &mut Kernel) -> bool {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return false;
        }
        let now = kernel.now;
        let could = |client: &Client, kernel: &Kernel| {
            client.acts_at.is_some_and(|at| at <= now) || client.could_act(kernel)
        };
        let able: Vec<_> =
            (0..self.clients.len()).filter(|&name| could(&self.clients[name], kernel)).collect();
        let all = able.len() + kernel.in_flight.len();
        if all == 0 {
            return false;
        }
        let pick = kernel.choices.pick(all);
        match able.get(pick) {
            Some(&name) => {
                if let Some(wrong) = self.clients[name].act(kernel) {
                    self.watch.wrong(kernel, "the echo is an exact prefix", || wrong);
                }
                let client = &self.clients[name];
                self.watch.acted(kernel, name, client, self.stop_sent.is_some());
            }
            None => {
                let (id, from) = kernel.in_flight.remove(pick - able.len());
                let who = if from == CLIENT { "client" } else { "server" };
                kernel
                    .tell(|| format!("(what the {who}'s end of connection {id} has sent arrives)"));
                kernel.arrive(id, from);
            }
        }
        true
    }

    /// When the next thing happens by itself.
    fn next_time(&self) -> Option<Duration> {
        let acts = self.clients.iter().filter_map(|client| client.acts_at);
        acts.chain(self.shortage_ends).min()
    }

    /// Whether one of the things happens that happen so many times out of a thousand.
    fn mishap(&mut self, kernel: &mut Kernel, per_mille: u32) -> bool {
        let happens = kernel.choices.happens(if self.mishaps_left > 0 { per_mille } else { 0 });
        self.mishaps_left -= u32::from(happens);
        happens
    }

    /// The small things that a kernel may do at any time.
    fn mishaps(&mut self, kernel: &mut Kernel) {
        if self.mishap(kernel, self.mix.jumps) {
            let gap = [ms(3), ms(700), Duration::from_secs(60)][kernel.choices.pick(3)];
            kernel.tell(|| format!("the machine is suspended for {gap:?}"));
            kernel.now += gap;
            self.watch.jumped(kernel.now);
        }
        if self.mishap(kernel, self.mix.spurious) && !kernel.connections.is_empty() {
            let id = kernel.choices.pick(kernel.connections.len());
            kernel.tell(|| format!("(connection {id} is named for nothing)"));
            kernel.name(id);
        }
        if self.shortage_ends.is_some_and(|end| end <= kernel.now) {
            kernel.tell(|| "there are descriptors again".to_owned());
            self.shortage_ends = None;
            kernel.descriptors = self.descriptors;
        } else if self.shortage_ends.is_none() && self.mishap(kernel, self.mix.shortage) {
            self.descriptors = kernel.descriptors;
            kernel.descriptors = kernel.choices.pick(2);
            self.shortage_ends = Some(kernel.now + ms([5, 300, 2_500][kernel.choices.pick(3)]));
            kernel.tell(|| "descriptors run out".to_owned());
        }
        if self.mishap(kernel, self.mix.early_stop) {
            self.stop(kernel);
        }
    }

    fn stop(&mut self, kernel: &mut Kernel) {
        if self.stop_sent.is_none() {
            kernel.tell(|| "SIGTERM".to_owned());
            self.stop_sent = Some(kernel.now);
            self.watch.told_to_stop(kernel.now);
        }
        kernel.signal();
    }

    fn history_is_over(&mut self) -> io::Result<()> {
        self.over = true;
        Err(io::Error::other("the history is over"))
    }
}

impl World for Clients {
    fn before_call(&mut self, kernel: &mut Kernel) {
        if self.over {
            return;
        }
        if kernel.calls - self.calls_at_wait > MOST_CALLS {
            self.watch
                .wrong(kernel, "a turn has an end", || format!("{MOST_CALLS} calls in one turn"));
            self.over = true;
            std::panic::resume_unwind(Box::new("a turn without an end"));
        }
        while kernel.choices.happens(self.mix.preempted) && self.something_happens(kernel) {}
    }

    fn wait(&mut self, kernel: &mut Kernel, timeout: Option<Duration>) -> io::Result<()> {
        (self.waits, self.calls_at_wait) = (self.waits + 1, kernel.calls);
        kernel.choices.next_section();
        if self.watch.violation.is_some() || self.waits > MOST_WAITS || self.steps > MOST_STEPS {
            return self.history_is_over();
        }
        self.watch.waits(kernel, timeout, self.steps);
        if self.mishap(kernel, self.mix.interrupted) {
            kernel.tell(|| "epoll_wait: EINTR".to_owned());
            self.watch.interrupted();
            return Err(ErrorKind::Interrupted.into());
        }
        let wakes_at = timeout.map(|timeout| kernel.now + timeout);
        loop {
            self.mishaps(kernel);
            // However much happens, the server gets to run again: the first choice is that nothing more does.
            while kernel.choices.happens(667) && self.something_happens(kernel) {}
            if kernel.has_events() || wakes_at.is_some_and(|at| at <= kernel.now) {
                return Ok(());
            }
            if self.watch.violation.is_some() || self.steps > MOST_STEPS {
                return self.history_is_over();
            }
            if self.something_happens(kernel) {
                continue;
            }
            self.watch.sleeps(kernel, wakes_at, &self.clients, self.stop_sent);
            let next = self.next_time().map(|at| at.max(kernel.now + Duration::from_nanos(1)));
            let Some(next) = next.into_iter().chain(wakes_at).min() else {
                // Nothing will ever happen again, if we do not make it.
                if self.stop_sent.is_some() {
                    return self.history_is_over();
                }
                self.watch.quiet(kernel, &self.clients);
                self.stop(kernel);
                continue;
            };
            // A server with timers is never quiet for good: it is when only they are left.
            if self.next_time().is_none()
                && self.stop_sent.is_none()
                && self.watch.has_seen_enough(next)
            {
                self.watch.quiet(kernel, &self.clients);
                self.stop(kernel);
                continue;
            }
            kernel.now = next;
        }
    }

    fn turn_ends(&mut self, kernel: &mut Kernel, clients: usize) {
        self.watch.turn_ends(kernel, clients);
    }

    fn reported(&mut self, _: &mut Kernel, _: &io::Result<()>) {}

    fn after_call(&mut self, kernel: &mut Kernel, call: Call) {
        // What closes while a panic unwinds is no decision of the server.
        if !self.over && !std::thread::panicking() {
            self.watch.called(kernel, call);
        }
    }
}

/// Draws what a client is going to do.
fn script(choices: &mut Choices, rules: &Rules) -> Script {
    const SIZES: [usize; 7] = [1, 3, 40, 700, 5_000, 65_537, 150_000];
    const BUFFERS: [usize; 6] = [200_000, 65_536, 4_096, 1_000, 50, 3];
    let large = choices.pick(4) == 3;
    let sizes = if large { &SIZES[..] } else { &SIZES[..4] };
    let writes: Vec<_> = (0..choices.pick(6)).map(|_| sizes[choices.pick(sizes.len())]).collect();
    let buffer = |choices: &mut Choices| {
        let buffer = BUFFERS[choices.pick(if large { 2 } else { 6 })];
        // A byte at a time is fine for a few bytes, and takes for ever for many.
        buffer.max(writes.iter().sum::<usize>() / 32)
    };
    let (rcvbuf, sndbuf) = (buffer(choices), [buffer(choices), buffer(choices)]);
    let pauses =
        [Duration::ZERO, Duration::ZERO, ms(1), ms(90), ms(700), rules.longer_than_patience()];
    Script {
        comes_at: [Duration::ZERO, Duration::ZERO, ms(2), ms(400), ms(2_000)][choices.pick(5)],
        rcvbuf,
        sndbuf,
        urgent: (!writes.is_empty() && choices.pick(8) == 7).then(|| choices.pick(writes.len())),
        writes,
        pause: pauses[choices.pick(pauses.len())],
        reading: [Reading::Eager, Reading::Eager, Reading::Eager, Reading::Slow, Reading::Never]
            [choices.pick(5)],
        ending: [Ending::HalfClose, Ending::HalfClose, Ending::Stay, Ending::Close, Ending::Reset]
            [choices.pick(5)],
    }
}

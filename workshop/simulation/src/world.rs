//! The world around one server: its clients, its clock, and everything that the schedule decides.

use std::io::{self, ErrorKind};
use std::time::Duration;

use simulated_kernel::choices::Choices;
use simulated_kernel::kernel::{CLIENT, EMFILE, ENFILE, ENOBUFS};
use simulated_kernel::{Call, Kernel, World};

use crate::client::{Client, Ending, LONGEST_WRITE, Reading, Script};
use crate::properties::{Rules, Violation, Watch};

/// So many waits are the end of a history, whatever it has come to.
pub(crate) const MOST_WAITS: u32 = 2_000;

/// And so many things that clients and the network have done.
pub(crate) const MOST_STEPS: u32 = 20_000;

/// So many system calls in one turn are a turn without an end.
pub(crate) const MOST_CALLS: u64 = 50_000;

/// So many clients at most, besides a crowd.
const MOST_CLIENTS: usize = 12;

/// What kinds of things happen in a history, and how often, out of a thousand. Each seed has a mix of its own: what
/// happens all the time hides what happens rarely ("swarm testing").
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Mix {
    /// A client acts between two system calls of the server.
    pub(crate) preempted: u32,
    /// How much happens between two looks at the poller: the last of so many possibilities is that nothing more does.
    pub(crate) hurry: usize,
    /// What is sent takes its time.
    pub(crate) slow_network: bool,
    /// epoll_wait(2) is interrupted.
    pub(crate) interrupted: u32,
    /// A client is named for nothing.
    pub(crate) spurious: u32,
    /// The machine is suspended.
    pub(crate) jumps: u32,
    /// Descriptors run out, and come back; or the kernel has no memory to watch a client.
    pub(crate) shortage: u32,
    /// accept(2) loses the next clients that it would bring.
    pub(crate) aborted: u32,
    /// The signal comes in the middle, and not at the end.
    pub(crate) early_stop: u32,
    /// And it comes again.
    pub(crate) stop_again: u32,
}

/// What is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortage {
    Descriptors,
    Registrations,
    Options,
}

/// The world. It plays until everything has happened that was to happen, and then stops the server.
#[derive(Debug, Hash)]
pub struct Clients {
    pub(crate) clients: Vec<Client>,
    /// Those that are still to come, the next one last; and those that have come and have not left, by their names.
    /// In a crowd most have come and left, or are still to come, and need not be asked.
    to_come: Vec<usize>,
    present: Vec<usize>,
    pub(crate) mix: Mix,
    watch: Watch,
    pub(crate) waits: u32,
    steps: u32,
    calls_at_wait: u64,
    /// When the shortage is over.
    shortage_ends: Option<Duration>,
    /// How many descriptors are left when none are short.
    descriptors: usize,
    stop_sent: Option<Duration>,
    /// How many mishaps there may still be, signals included.
    pub(crate) mishaps_left: u32,
    over: bool,
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl Clients {
    /// Draws a world.
    pub fn new(choices: &mut Choices, rules: Rules) -> Self {
        let some = |choices: &mut Choices, most: u32| [0, 0, most / 8, most][choices.pick(4)];
        let mut mix = Mix {
            preempted: some(choices, 600),
            hurry: [2, 2, 3, 8][choices.pick(4)],
            slow_network: choices.pick(3) == 2,
            interrupted: some(choices, 60),
            spurious: some(choices, 60),
            jumps: some(choices, 20),
            shortage: some(choices, 60),
            aborted: some(choices, 60),
            early_stop: some(choices, 16),
            stop_again: some(choices, 300),
        };
        let few = [1, 2, 3, 4, 5, 6, MOST_CLIENTS][choices.pick(7)];
        let mut scripts = Vec::new();
        for name in 0..MOST_CLIENTS {
            choices.next_section();
            // The first possibility is that it does not come.
            if name < few && choices.pick(16) > 0 {
                scripts.push(script(choices, &rules));
            }
        }
        choices.next_section();
        if choices.pick(8) == 7 {
            scripts.extend(crowd(choices, &rules));
            // All of them may have come before the server looks.
            mix.hurry = [mix.hurry, 2_000, 2_000, 2_000][choices.pick(4)];
        }
        Self::with(mix, scripts, rules)
    }

    /// A world with these clients.
    pub(crate) fn with(mix: Mix, scripts: Vec<Script>, rules: Rules) -> Self {
        let mut to_come: Vec<_> = (0..scripts.len()).collect();
        to_come.sort_by_key(|&name| std::cmp::Reverse(scripts[name].comes_at));
        Self {
            clients: scripts.into_iter().map(Client::new).collect(),
            to_come,
            present: Vec::new(),
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
        let backlogs =
            if self.clients.len() > 100 { [1_000, 1_000, 1_000, 128] } else { [128, 128, 1, 3] };
        kernel.most_backlog = backlogs[kernel.choices.pick(4)];
        kernel.shortage = [EMFILE, ENFILE, ENOBUFS][kernel.choices.pick(3)];
    }

    /// What was wrong, if anything was.
    pub fn violation(&self) -> Option<&Violation> {
        self.watch.violation.as_ref()
    }

    /// Looks at the end: what the server has read, and has not delivered.
    pub fn judge_the_end(&mut self, kernel: &mut Kernel, end: &io::Result<()>) {
        if let Err(e) = end
            && !self.over
        {
            self.watch.wrong(kernel, "the server does not end by itself", || e.to_string());
        }
        if self.watch.violation.is_none() {
            let cut_short = std::mem::replace(&mut self.over, true);
            self.deliver_the_rest(kernel);
            if !cut_short {
                self.watch.end(kernel, &self.clients, kernel.now);
            }
        }
    }

    /// How many turns the server has had.
    pub fn turns(&self) -> u32 {
        self.waits
    }

    /// The server has panicked, or was taken out of a turn without an end.
    pub(crate) fn panicked(&mut self, kernel: &mut Kernel, said: String) {
        self.watch.wrong(kernel, "no panic", || said);
    }

    /// The server has gone; its kernel still sends what it was given.
    fn deliver_the_rest(&mut self, kernel: &mut Kernel) {
        self.clients.iter_mut().for_each(Client::hurry);
        loop {
            let mut moved = false;
            while let Some((id, from)) = kernel.in_flight.pop() {
                kernel.arrive(id, from);
                moved = true;
            }
            for name in 0..self.clients.len() {
                let client = &mut self.clients[name];
                if client.could_act(kernel) {
                    moved = true;
                    if let Some((property, wrong)) = client.act(kernel) {
                        return self.watch.wrong(kernel, property, || wrong);
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Lets one of those act that could. False: none could.
    fn something_happens(&mut self, kernel: &mut Kernel) -> bool {
        if self.steps > MOST_STEPS {
            return false;
        }
        self.clients_come(kernel.now);
        let present = self.present.iter().copied();
        let able: Vec<_> = present.filter(|&name| self.clients[name].could_act(kernel)).collect();
        let all = able.len() + kernel.in_flight.len();
        if all == 0 {
            return false;
        }
        self.steps += 1;
        let pick = kernel.choices.pick(all);
        match able.get(pick) {
            Some(&name) => self.acts(kernel, name),
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

    fn clients_come(&mut self, now: Duration) {
        while let Some(name) =
            self.to_come.pop_if(|name| self.clients[*name].script.comes_at <= now)
        {
            let place = self.present.partition_point(|&other| other < name);
            self.present.insert(place, name);
        }
    }

    fn acts(&mut self, kernel: &mut Kernel, name: usize) {
        let client = &mut self.clients[name];
        if let Some((property, wrong)) = client.act(kernel) {
            self.watch.wrong(kernel, property, || wrong);
        }
        self.watch.acted(kernel, name, client, self.stop_sent.is_some());
        if client.left {
            self.present.retain(|&other| other != name);
        }
    }

    /// When the next thing happens by itself.
    fn next_time(&self, kernel: &Kernel) -> Option<Duration> {
        let next_comes = self.to_come.last().map(|&name| self.clients[name].script.comes_at);
        let present = self.present.iter().map(|&name| &self.clients[name]);
        let acts = present.filter_map(|client| client.next_time(kernel));
        acts.chain(next_comes).chain(self.shortage_ends).min()
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
            kernel.tell(|| "nothing is short any more".to_owned());
            self.shortage_ends = None;
            kernel.descriptors = self.descriptors;
            (kernel.registrations, kernel.no_memory_for_options) = (None, false);
        } else if self.shortage_ends.is_none() && self.mishap(kernel, self.mix.shortage) {
            self.something_is_short(kernel);
        }
        // Not more of them before these have come: after 64 in a row a server takes it for a shortage.
        if kernel.aborted == 0 && self.mishap(kernel, self.mix.aborted) {
            let times = 1 + kernel.choices.pick(3);
            kernel.tell(|| format!("(the next to be accepted are aborted: {times})"));
            kernel.aborted = times;
        }
        if self.mishap(kernel, self.mix.early_stop) {
            self.stop(kernel);
        } else if self.stop_sent.is_some() && self.mishap(kernel, self.mix.stop_again) {
            kernel.tell(|| "SIGTERM again".to_owned());
            kernel.signal();
        }
    }

    fn something_is_short(&mut self, kernel: &mut Kernel) {
        const SHORTAGES: [Shortage; 4] = [
            Shortage::Descriptors,
            Shortage::Descriptors,
            Shortage::Registrations,
            Shortage::Options,
        ];
        let what = SHORTAGES[kernel.choices.pick(4)];
        let left = kernel.choices.pick(2);
        self.descriptors = kernel.descriptors;
        match what {
            Shortage::Descriptors => kernel.descriptors = left,
            Shortage::Registrations => kernel.registrations = Some(left),
            Shortage::Options => kernel.no_memory_for_options = true,
        }
        self.shortage_ends = Some(kernel.now + ms([5, 300, 2_500][kernel.choices.pick(3)]));
        kernel.tell(|| format!("{what:?} run out").to_lowercase());
    }

    fn stop(&mut self, kernel: &mut Kernel) {
        if self.stop_sent.is_none() {
            kernel.tell(|| "SIGTERM".to_owned());
            self.stop_sent = Some(kernel.now);
            self.watch.told_to_stop(kernel.now);
            kernel.signal();
            kernel.choices.next_part();
        }
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
        kernel.choices.next_section();
        (self.waits, self.calls_at_wait) = (self.waits + 1, kernel.calls);
        if self.watch.violation.is_some() || self.waits > MOST_WAITS || self.steps > MOST_STEPS {
            return self.history_is_over();
        }
        self.watch.waits(kernel, timeout, self.steps);
        if self.mishap(kernel, self.mix.interrupted) {
            kernel.tell(|| "epoll_wait: EINTR".to_owned());
            return Err(ErrorKind::Interrupted.into());
        }
        self.watch.looks(kernel);
        let wakes_at = timeout.map(|timeout| kernel.now + timeout);
        loop {
            self.mishaps(kernel);
            // However much happens, the server gets to run again: the first choice is that nothing more does.
            while kernel.choices.pick(self.mix.hurry) > 0 && self.something_happens(kernel) {}
            if kernel.has_events() || wakes_at.is_some_and(|at| at <= kernel.now) {
                self.watch.gives_events(kernel, &self.clients);
                return Ok(());
            }
            if self.watch.violation.is_some() || self.steps > MOST_STEPS {
                return self.history_is_over();
            }
            if self.something_happens(kernel) {
                continue;
            }
            self.watch.sleeps(kernel, wakes_at, self.stop_sent);
            let happens_at = self.next_time(kernel);
            let next = happens_at.map(|at| at.max(kernel.now + Duration::from_nanos(1)));
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
            if happens_at.is_none() && self.stop_sent.is_none() && self.watch.has_seen_enough(next)
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

    fn scheduled(&mut self, kernel: &mut Kernel, timers: usize) {
        // A history that is over has left its turn somewhere.
        if !self.over {
            self.watch.scheduled(kernel, timers);
        }
    }

    fn reported(&mut self, _: &mut Kernel, _: &io::Result<()>) {}

    fn after_call(&mut self, kernel: &mut Kernel, call: Call) {
        // What a panic drops is closed, and that is no decision of the server.
        if !self.over && !std::thread::panicking() {
            self.watch.called(kernel, call);
        }
    }
}

/// When clients come, and how long they think. Odd ones among them, since timers are rounded.
const COMES: [Duration; 6] = [ZERO, ZERO, us(2_300), ms(400), us(1_999_999), ms(6_000)];

const ZERO: Duration = Duration::ZERO;

const fn us(n: u64) -> Duration {
    Duration::from_micros(n)
}

fn times(choices: &mut Choices, times: &[Duration]) -> Duration {
    times[choices.pick(times.len())]
}

/// Draws what a client is going to do.
fn script(choices: &mut Choices, rules: &Rules) -> Script {
    match choices.pick(32) {
        30..=31 => flooding(choices),
        28..=29 => deaf(choices),
        27 => stubborn(choices, rules),
        _ => any(choices, rules),
    }
}

fn any(choices: &mut Choices, rules: &Rules) -> Script {
    const SIZES: [usize; 7] = [1, 3, 40, 700, 5_000, 65_537, LONGEST_WRITE];
    const BUFFERS: [usize; 6] = [200_000, 65_536, 4_096, 1_000, 50, 3];
    let large = choices.pick(8) == 7;
    let sizes = if large { &SIZES[..] } else { &SIZES[..4] };
    // Some dribble: many small writes, each with a turn of its own.
    let (sizes, most) = if choices.pick(2) == 1 { (&SIZES[..2], 400) } else { (sizes, 20) };
    let writes: Vec<_> =
        (0..choices.pick(most)).map(|_| sizes[choices.pick(sizes.len())]).collect();
    let buffer = |choices: &mut Choices| {
        let buffer = BUFFERS[choices.pick(if large { 2 } else { 6 })];
        // A byte at a time is fine for a few bytes, and takes for ever for many.
        buffer.max(writes.iter().sum::<usize>() / 32)
    };
    let (rcvbuf, sndbuf) = (buffer(choices), [buffer(choices), buffer(choices)]);
    let patience = rules.longer_than_patience();
    let pauses = [ZERO, ZERO, us(1_001), ms(90), ms(700), patience];
    let pauses = if writes.len() > 20 { &pauses[..4] } else { &pauses[..] };
    let reading = [Reading::Eager, Reading::Eager, Reading::Eager, Reading::Slow, Reading::Never]
        [choices.pick(5)];
    let slow = reading == Reading::Slow;
    // Mostly the last one: what stands behind it makes an event that would help.
    let urgent = writes.len().checked_sub(1).filter(|_| choices.pick(6) == 5);
    let urgent = urgent.map(|last| [last, last, choices.pick(writes.len())][choices.pick(3)]);
    Script {
        comes_at: times(choices, &COMES),
        rcvbuf,
        sndbuf,
        urgent,
        writes_after: times(choices, &[ZERO, ZERO, ZERO, ms(1), ms(600)]),
        writes,
        pause: times(choices, pauses),
        reading,
        reads_after: times(choices, &[ZERO, ZERO, ZERO, ZERO, ms(300), patience]),
        pace: if slow { times(choices, &[ZERO, ms(1), ms(400)]) } else { ZERO },
        ending: [Ending::HalfClose, Ending::HalfClose, Ending::Stay, Ending::Close, Ending::Reset]
            [choices.pick(5)],
        patience: (choices.pick(6) == 5)
            .then(|| times(choices, &[ZERO, us(700), ms(200), ms(2_000)])),
    }
}

/// A client with nothing special about it.
fn plain(comes_at: Duration, buffer: usize, writes: Vec<usize>, ending: Ending) -> Script {
    Script {
        comes_at,
        rcvbuf: buffer,
        sndbuf: [buffer; 2],
        writes_after: ZERO,
        writes,
        urgent: None,
        pause: ZERO,
        reading: Reading::Eager,
        reads_after: ZERO,
        pace: ZERO,
        ending,
        patience: None,
    }
}

/// More than the loop reads in one turn, without a pause.
fn flooding(choices: &mut Choices) -> Script {
    let writes = vec![LONGEST_WRITE; 3 + choices.pick(8)];
    plain(times(choices, &COMES), 400_000, writes, Ending::HalfClose)
}

/// It reads nothing, and has its outbox full up to the last byte.
fn deaf(choices: &mut Choices) -> Script {
    // A few bytes more or less, or its last line would always end, or never.
    let buffer = 2 * 65_537 + choices.pick(4);
    let mut script = plain(times(choices, &COMES), buffer, vec![LONGEST_WRITE; 2], Ending::Stay);
    script.sndbuf[1] = [60, 65_536][choices.pick(2)];
    Script { reading: Reading::Never, ..script }
}

/// It is silent for too long, and then it sends on and on, and does not look at the end that it has got.
fn stubborn(choices: &mut Choices, rules: &Rules) -> Script {
    let script = plain(times(choices, &COMES), 1_000, vec![1; 80], Ending::Stay);
    let writes_after = rules.a_little_longer_than_patience();
    Script { writes_after, pause: ms(700), reading: Reading::Never, ..script }
}

/// Many who come at once, say a word, and leave or stay.
fn crowd(choices: &mut Choices, rules: &Rules) -> Vec<Script> {
    // Only where clients have timers, and room: there are many of these.
    let timed = rules.idle_timeout.is_some() && rules.max_connections > 100;
    if timed && choices.pick(4) == 3 {
        return visitors(times(choices, &COMES)).collect();
    }
    const ENDINGS: [Ending; 4] = [Ending::HalfClose, Ending::Stay, Ending::Close, Ending::Reset];
    let comes_at = times(choices, &COMES);
    // More than are taken in, told the status, or served between two looks.
    let n = [30, 150, 300, 300][choices.pick(4)];
    let all_stay = choices.pick(2) == 1;
    let one = |choices: &mut Choices| {
        let writes = [vec![], vec![1], vec![40], vec![40]][choices.pick(4)].clone();
        let ending = if all_stay { Ending::Stay } else { ENDINGS[choices.pick(4)] };
        plain(comes_at, 1_000, writes, ending)
    };
    (0..n).map(|_| one(choices)).collect()
}

/// Many who come, a few at a time, and leave before they are silent for too long. Their timers stay behind.
fn visitors(first_comes_at: Duration) -> impl Iterator<Item = Script> {
    const AT_A_TIME: u32 = 32;
    // More than may stay behind of so few, even if some of them overlap: see `TIMERS_BESIDES`.
    (0..1_400).map(move |n| {
        let comes_at = first_comes_at + n / AT_A_TIME * ms(2);
        Script { writes_after: ms(1), ..plain(comes_at, 1_000, Vec::new(), Ending::Close) }
    })
}

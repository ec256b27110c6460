//! The world around one program that calls: its peers, its clock, and everything that the schedule decides.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use simulated_kernel::kernel::SERVER;
use simulated_kernel::{Call, Kernel, World};

use super::Task;
use super::peer::{Peer, Script};
use super::watch::Watch;
use crate::Choices;
use crate::properties::Violation;
use crate::tell;
use crate::world::{MOST_CALLS, MOST_STEPS, MOST_WAITS, Mix};

/// So many peers at most, besides a crowd.
const MOST_PEERS: usize = 5;

/// The program has `EVENTS_PER_TURN` of 256: so many peers have more news than fit.
const CROWD: usize = 300;

/// The port of the first peer.
const FIRST_PORT: u16 = 9_000;

/// The world. It plays until the program is through with all its calls.
#[derive(Debug, Hash)]
pub(crate) struct Peers {
    task: Task,
    mix: Mix,
    /// What each peer does in each attempt.
    scripts: Vec<Vec<Script>>,
    /// The attempts that got as far as a socket. Their place is the name of the connection.
    peers: Vec<Peer>,
    watch: Watch,
    waits: u32,
    steps: u32,
    calls_at_wait: u64,
    shortage_ends: Option<Duration>,
    over: bool,
}

impl Peers {
    /// Draws a world.
    pub(crate) fn new(choices: &mut Choices, task: Task) -> Self {
        let some = |choices: &mut Choices, most: u32| [0, 0, most / 8, most][choices.pick(4)];
        let mut mix = Mix {
            preempted: some(choices, 600),
            hurry: [2, 2, 3, 8][choices.pick(4)],
            slow_network: choices.pick(3) == 2,
            interrupted: some(choices, 60),
            spurious: some(choices, 60),
            jumps: some(choices, 60),
            shortage: some(choices, 60),
            ..Mix::default()
        };
        let few = 1 + choices.pick(MOST_PEERS);
        let crowd = choices.pick(32) == 31;
        let mut scripts = Vec::new();
        for _ in 0..few {
            let draw = |_| {
                choices.next_section();
                Script::draw(choices, task.ack_timeout)
            };
            scripts.push((0..task.attempts).map(draw).collect());
        }
        if crowd {
            let all_alike = vec![Script::in_the_last_moment(task.ack_timeout); 3];
            scripts.extend(vec![all_alike; CROWD]);
            // All of them may have answered before the program looks.
            mix.hurry = [mix.hurry, 2_000, 2_000, 2_000][choices.pick(4)];
        }
        let watch = Watch::new(task, scripts.len());
        Self {
            task,
            mix,
            scripts,
            peers: Vec::new(),
            watch,
            waits: 0,
            steps: 0,
            calls_at_wait: 0,
            shortage_ends: None,
            over: false,
        }
    }

    /// Sets the kernel up as this world has it.
    pub(crate) fn prepare(&self, kernel: &mut Kernel) {
        kernel.choices.next_section();
        kernel.slow_network = self.mix.slow_network;
        // The greeting has 17 bytes.
        kernel.dial_buffer = [65_536, 65_536, 64, 16, 3][kernel.choices.pick(5)];
    }

    /// What stands above a story.
    pub(crate) fn head(&self, kernel: &Kernel) -> Vec<String> {
        let Task { ack_timeout, attempts } = self.task;
        let peers = match self.scripts.len() {
            1 => "one peer".to_owned(),
            n => format!("{n} peers"),
        };
        let buffers = kernel.dial_buffer;
        vec![
            format!("the program: --ack-timeout {ack_timeout:?} --attempts {attempts}"),
            format!("the world:   {peers}, buffers of {buffers} bytes; {}", tell::mix(&self.mix)),
        ]
    }

    /// Whom the program is to call.
    pub(crate) fn addrs(&self) -> Vec<SocketAddr> {
        let ports = FIRST_PORT..FIRST_PORT + self.scripts.len() as u16;
        ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect()
    }

    /// What was wrong, if anything was.
    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.watch.violation.as_ref()
    }

    /// How many turns the program has had.
    pub(crate) fn turns(&self) -> u32 {
        self.waits
    }

    /// Looks at what the program says of its peers.
    pub(crate) fn judge_the_end(&mut self, kernel: &mut Kernel, end: io::Result<Vec<bool>>) {
        match end {
            Ok(connected) => self.watch.end(kernel, &connected),
            Err(_) if self.over => {}
            Err(e) => {
                self.watch.wrong(kernel, "the program does not end by itself", e.to_string());
            }
        }
    }

    /// The program has panicked, or was taken out of a turn without an end.
    pub(crate) fn panicked(&mut self, kernel: &mut Kernel, said: String) {
        self.watch.wrong(kernel, "the program does not panic", said);
    }

    fn peer_at(&self, addr: SocketAddr) -> usize {
        usize::from(addr.port() - FIRST_PORT)
    }

    /// Lets one of those act that could. False: none could.
    fn something_happens(&mut self, kernel: &mut Kernel) -> bool {
        if self.steps > MOST_STEPS {
            return false;
        }
        let peers = self.peers.iter().enumerate();
        let able = peers.filter(|(_, peer)| peer.could_act(kernel)).map(|(id, _)| id);
        let able: Vec<_> = able.collect();
        let all = able.len() + kernel.in_flight.len();
        if all == 0 {
            return false;
        }
        self.steps += 1;
        let pick = kernel.choices.pick(all);
        match able.get(pick) {
            Some(&id) => self.peers[id].act(kernel),
            None => {
                let (id, from) = kernel.in_flight.remove(pick - able.len());
                let who = if from == SERVER { "program" } else { "peer" };
                kernel.tell(|| format!("(what the {who} of connection {id} has sent arrives)"));
                kernel.arrive(id, from);
            }
        }
        true
    }

    /// The small things that a kernel may do at any time.
    fn mishaps(&mut self, kernel: &mut Kernel) {
        if kernel.choices.happens(self.mix.jumps) {
            self.suspend(kernel);
        }
        if kernel.choices.happens(self.mix.spurious) && !self.peers.is_empty() {
            let id = kernel.choices.pick(self.peers.len());
            kernel.tell(|| format!("(connection {id} is named for nothing)"));
            kernel.name(id);
        }
        if self.shortage_ends.is_some_and(|end| end <= kernel.now) {
            self.shortage_ends = None;
            (kernel.descriptors, kernel.registrations) = (usize::MAX, None);
        } else if self.shortage_ends.is_none() && kernel.choices.happens(self.mix.shortage) {
            match kernel.choices.pick(2) {
                0 => kernel.descriptors = 0,
                _ => kernel.registrations = Some(0),
            }
            kernel.tell(|| "descriptors, or places in the poller, run out".to_owned());
            self.shortage_ends = Some(kernel.now + Duration::from_millis(150));
        }
    }

    fn suspend(&mut self, kernel: &mut Kernel) {
        let timeout = self.task.ack_timeout;
        let gap = [timeout / 3, timeout, timeout * 60][kernel.choices.pick(3)];
        kernel.tell(|| format!("the machine is suspended for {gap:?}"));
        kernel.now += gap;
    }

    /// epoll_wait(2) is interrupted, and the program does not get to run at once: what happens until then, the poller
    /// has not told.
    fn interrupt(&mut self, kernel: &mut Kernel) -> io::Result<()> {
        kernel.tell(|| "epoll_wait: EINTR".to_owned());
        while kernel.choices.pick(self.mix.hurry) > 0 && self.something_happens(kernel) {}
        if kernel.choices.pick(4) == 3 {
            self.suspend(kernel);
        }
        self.watch.wakes(kernel, &self.peers);
        Err(ErrorKind::Interrupted.into())
    }

    /// When the next thing happens by itself.
    fn next_time(&self, kernel: &Kernel) -> Option<Duration> {
        let acts = self.peers.iter().filter_map(|peer| peer.next_time(kernel));
        acts.chain(self.shortage_ends).min()
    }

    fn history_is_over(&mut self) -> io::Result<()> {
        self.over = true;
        Err(io::Error::other("the history is over"))
    }
}

impl World for Peers {
    fn before_call(&mut self, kernel: &mut Kernel) {
        if self.over {
            return;
        }
        if kernel.calls - self.calls_at_wait > MOST_CALLS {
            let seen = format!("{MOST_CALLS} calls in one turn");
            self.watch.wrong(kernel, "a turn of the program has an end", seen);
            self.over = true;
            std::panic::resume_unwind(Box::new("a turn without an end"));
        }
        while kernel.choices.happens(self.mix.preempted) && self.something_happens(kernel) {}
    }

    fn wait(&mut self, kernel: &mut Kernel, timeout: Option<Duration>) -> io::Result<()> {
        kernel.choices.next_section();
        (self.waits, self.calls_at_wait) = (self.waits + 1, kernel.calls);
        if self.waits > MOST_WAITS || self.steps > MOST_STEPS {
            return self.history_is_over();
        }
        self.watch.waits(kernel, timeout, self.steps);
        if kernel.choices.happens(self.mix.interrupted) {
            return self.interrupt(kernel);
        }
        let wakes_at = timeout.map(|timeout| kernel.now + timeout);
        loop {
            self.mishaps(kernel);
            while kernel.choices.pick(self.mix.hurry) > 0 && self.something_happens(kernel) {}
            if self.watch.violation.is_some() || self.steps > MOST_STEPS {
                return self.history_is_over();
            }
            if kernel.has_events() || wakes_at.is_some_and(|at| at <= kernel.now) {
                self.watch.wakes(kernel, &self.peers);
                return Ok(());
            }
            if self.something_happens(kernel) {
                continue;
            }
            self.watch.sleeps(kernel, &self.peers, wakes_at);
            let happens_at = self.next_time(kernel);
            let next = happens_at.map(|at| at.max(kernel.now + Duration::from_nanos(1)));
            match next.into_iter().chain(wakes_at).min() {
                Some(next) => kernel.now = next,
                None => return self.history_is_over(),
            }
        }
    }

    fn turn_ends(&mut self, _: &mut Kernel, _: usize) {}

    fn reported(&mut self, _: &mut Kernel, _: &io::Result<()>) {}

    fn dialed(&mut self, kernel: &mut Kernel, id: usize, addr: SocketAddr) {
        let peer = self.peer_at(addr);
        let script = &self.scripts[peer];
        let attempt = (self.watch.attempts(peer) as usize).min(script.len() - 1);
        self.peers.push(Peer::new(script[attempt].clone(), id, kernel.now));
        self.watch.begins(kernel, peer, Some(id));
    }

    fn after_call(&mut self, kernel: &mut Kernel, call: Call) {
        // What a panic drops is closed, and that is no decision of the program.
        if self.over || std::thread::panicking() {
            return;
        }
        match call {
            Call::NoDial(addr, _) => self.watch.begins(kernel, self.peer_at(addr), None),
            call => self.watch.called(kernel, &self.peers, call),
        }
    }
}

//! Every schedule of a small world, up to a bound.
//!
//! A seed draws one schedule out of more than anybody could count. In a small world, with two clients that do a few
//! things each, all of them can be played, so long as they depart from the calmest one only so many times: a client
//! acts between two system calls, something arrives late, the signal comes now. Each of these is one departure.
//!
//! There are two bounds: how many departures a schedule has, and among how many of its first decisions they are. With
//! no bound on the departures it is every schedule of so many decisions, and the calmest one behind each.
//!
//! We search depth-first. A schedule is its first decisions, and the calmest ones behind them; the next schedules are
//! those that decide otherwise at one place behind the first decisions.
//!
//! Many schedules come to the same. So we write down each state in which the server makes a system call, and give up
//! a schedule that comes to a state from which we have looked before, with as much left of both bounds as now. What is a
//! state? Of the kernel, the clients and the watch over the promises: all their fields. Of the server, whose fields we
//! do not see: all that it has been answered so far, with the time. It draws no random numbers and looks at nothing
//! else, so what it has been answered decides what it does. Two states are taken for the same if 64 bits of their
//! hashes are; that two of a million different ones are is less likely than one in ten million.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash, Hasher};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::Duration;

use simulated_kernel::choices::{Choices, Decisions};
use simulated_kernel::kernel::{EMFILE, Ready};
use simulated_kernel::{Call, Kernel, World};

use crate::client::{Ending, Reading, Script};
use crate::properties::Rules;
use crate::world::{Clients, Mix};
use crate::{
    History, OUTBOX_LIMIT, Stage, history, judge, listener, options, run, server_of, tell,
};

/// How many different small worlds there are for a stage.
pub fn small_worlds(stage: Stage) -> usize {
    LIMITS * timings(stage) * TROUBLES * SCRIPTS * SCRIPTS
}

/// Room for as many clients as there are, and for one.
const LIMITS: usize = 2;
const TROUBLES: usize = 7;
const SCRIPTS: usize = 8;

/// So many mishaps happen in a small world at most, signals included.
const MISHAPS: u32 = 2;

fn timings(stage: Stage) -> usize {
    match stage {
        Stage::Five => 1,
        Stage::Six => 3,
    }
}

/// The decisions that make one of the small worlds.
fn small_world(stage: Stage, number: usize) -> Decisions {
    let mut left = number;
    let mut digit = |of: usize| {
        let digit = left % of;
        left /= of;
        digit as u32
    };
    let world = [SCRIPTS, SCRIPTS, TROUBLES, timings(stage), LIMITS].map(&mut digit);
    Decisions(vec![world.to_vec()])
}

/// Plays one history in a small world. The first five decisions say in which.
pub fn play_small(stage: Stage, choices: Choices, tell: bool) -> History {
    let (rules, mut kernel, world) = prepare(stage, choices);
    kernel.story = tell.then(Vec::new);
    let head = if tell { tell::head(&rules, &world, &kernel) } else { Vec::new() };
    let server = || server_of(stage)(listener(), options(&rules));
    let (mut kernel, mut world, end) = run(kernel, world, server);
    judge(&mut kernel, &mut world, end);
    history(kernel, &world, head)
}

/// Sets up a small world.
fn prepare(stage: Stage, mut choices: Choices) -> (Rules, Kernel, Clients) {
    let scripts = vec![script(choices.pick(SCRIPTS)), script(choices.pick(SCRIPTS))];
    let mut mix = Mix { preempted: 1, hurry: 2, early_stop: 1, ..Mix::default() };
    match choices.pick(TROUBLES) {
        0 => {}
        1 => mix.slow_network = true,
        2 => mix.interrupted = 1,
        3 => mix.spurious = 1,
        4 => mix.jumps = 1,
        5 => mix.aborted = 1,
        _ => mix.shortage = 1,
    }
    let second = Duration::from_secs(1);
    let (status_interval, idle_timeout) = match (choices.pick(timings(stage)), stage) {
        (_, Stage::Five) => (None, None),
        (0, Stage::Six) => (Some(3_600 * second), None),
        (1, Stage::Six) => (Some(3_600 * second), Some(second / 2)),
        (_, Stage::Six) => (Some(second), None),
    };
    let max_connections = [1_000, 1][choices.pick(LIMITS)];
    let rules =
        Rules { max_connections, outbox_limit: OUTBOX_LIMIT, status_interval, idle_timeout };
    let mut kernel = Kernel::new(choices);
    kernel.slow_network = mix.slow_network;
    kernel.shortage = EMFILE;
    let mut world = Clients::with(mix, scripts, rules.clone());
    world.mishaps_left = MISHAPS;
    (rules, kernel, world)
}

/// What a client of a small world does: three bytes at a time, and an end; or more than its kernel has room for.
fn script(number: usize) -> Script {
    use Ending::{Close, HalfClose, Reset, Stay};
    let (writes, room, ending, reading) = match number {
        0 => (vec![], 1_000, HalfClose, Reading::Eager),
        1 => (vec![3], 1_000, HalfClose, Reading::Eager),
        2 => (vec![3, 3], 1_000, HalfClose, Reading::Eager),
        3 => (vec![3], 1_000, Close, Reading::Eager),
        4 => (vec![3], 1_000, Reset, Reading::Eager),
        5 => (vec![3], 1_000, Stay, Reading::Eager),
        6 => (vec![5], 2, HalfClose, Reading::Eager),
        _ => (vec![5], 2, Stay, Reading::Never),
    };
    Script {
        comes_at: Duration::ZERO,
        rcvbuf: room,
        sndbuf: [room, room],
        writes_after: Duration::ZERO,
        urgent: None,
        writes,
        pause: Duration::ZERO,
        reading,
        reads_after: Duration::ZERO,
        pace: Duration::ZERO,
        ending,
        patience: None,
    }
}

/// What an exploration has come to.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// Schedules that were played.
    pub schedules: u64,
    /// How many of them came to a state that was known, and were given up there.
    pub known: u64,
    /// In how many places there would have been more, with more departures. 0: these were all.
    pub beyond: u64,
    /// The decisions of the first schedule that breaks a promise.
    pub wrong: Option<Decisions>,
}

impl Explored {
    /// Puts two together: of two worlds.
    pub fn and(self, other: Self) -> Self {
        Self {
            schedules: self.schedules + other.schedules,
            known: self.known + other.known,
            beyond: self.beyond + other.beyond,
            wrong: self.wrong.or(other.wrong),
        }
    }
}

/// How far we look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many times a schedule may depart from the calmest one.
    pub departures: u32,
    /// Among how many of its first decisions. Decisions with one possibility do not count.
    pub decisions: u32,
}

impl Bounds {
    /// None.
    pub const NONE: Self = Self { departures: u32::MAX, decisions: u32::MAX };

    /// So many departures, anywhere.
    pub fn departures(departures: u32) -> Self {
        Self { departures, ..Self::NONE }
    }

    /// Whether a look this far has seen all that a look that far would.
    fn reaches(self, other: Self) -> bool {
        self.departures >= other.departures && self.decisions >= other.decisions
    }
}

/// Plays every schedule of one of the small worlds within these bounds, up to the first one that breaks a promise. It
/// asks `goes_on` before each.
pub fn explore(
    stage: Stage,
    number: usize,
    bounds: Bounds,
    mut goes_on: impl FnMut() -> bool,
) -> Explored {
    let mut explored = Explored::default();
    let mut known = HashMap::new();
    let mut ahead = vec![Branch::root(stage, number, bounds)];
    while let Some(branch) = ahead.pop().filter(|_| goes_on()) {
        let played = play_branch(stage, &branch, &mut known);
        explored.schedules += 1;
        explored.known += u64::from(played.known);
        if played.wrong {
            explored.wrong = Some(played.choices.decisions().trimmed());
            return explored;
        }
        explored.beyond += branch.follow(played.choices, &mut ahead);
    }
    explored
}

/// How many decisions say in which world we are.
const SETTING: usize = 5;

/// The beginning of a schedule: as another one, up to a place, and then otherwise.
struct Branch {
    like: Rc<Choices>,
    place: usize,
    choice: Option<u32>,
    /// How many departures are left, and among how many of the first decisions they may be.
    bounds: Bounds,
}

impl Branch {
    /// The calmest schedule.
    fn root(stage: Stage, number: usize, bounds: Bounds) -> Self {
        let mut world = Choices::repeat(small_world(stage, number));
        for _ in 0..SETTING {
            world.pick(usize::MAX >> 32);
        }
        Self { like: Rc::new(world), place: SETTING, choice: None, bounds }
    }

    fn decisions(&self) -> Decisions {
        let mut decisions = self.like.first_decisions(self.place);
        decisions.0.last_mut().expect("a section at least").extend(self.choice);
        decisions
    }

    /// How many decisions these are.
    fn made(&self) -> usize {
        self.place + usize::from(self.choice.is_some())
    }

    /// The branches that leave it behind its last decision. Returns how many there are that we do not follow.
    fn follow(&self, played: Choices, ahead: &mut Vec<Branch>) -> u64 {
        let like = Rc::new(played);
        let mut decisions = self.bounds.decisions;
        let mut beyond = 0;
        for (place, &(_, of)) in like.made().iter().enumerate().skip(SETTING) {
            if of > 1 && place >= self.made() {
                match self.bounds.departures.checked_sub(1).filter(|_| decisions > 0) {
                    Some(left) => {
                        ahead.extend((1..of).map(|choice| self.at(&like, place, choice, left)))
                    }
                    None => beyond += u64::from(of - 1),
                }
            }
            decisions = decisions.saturating_sub(u32::from(of > 1));
        }
        beyond
    }

    /// The branch that decides otherwise at this place.
    fn at(&self, like: &Rc<Choices>, place: usize, choice: u32, departures: u32) -> Self {
        let unbounded = self.bounds.departures == u32::MAX;
        let departures = if unbounded { u32::MAX } else { departures };
        let bounds = Bounds { departures, ..self.bounds };
        Self { like: Rc::clone(like), place, choice: Some(choice), bounds }
    }
}

struct Played {
    choices: Choices,
    wrong: bool,
    known: bool,
}

/// The states that we have looked from, by their hashes, and how far.
type Known = HashMap<u64, Bounds>;

fn play_branch(stage: Stage, branch: &Branch, known: &mut Known) -> Played {
    let (rules, kernel, world) = prepare(stage, Choices::repeat(branch.decisions()));
    let looked = Looked {
        world,
        answers: DefaultHasher::new(),
        made: branch.made(),
        bounds: branch.bounds,
        counted: SETTING,
        known: std::mem::take(known),
        is_known: false,
    };
    let server = || server_of(stage)(listener(), options(&rules));
    let (mut kernel, mut looked, end) = run(kernel, looked, server);
    *known = std::mem::take(&mut looked.known);
    // A history that was given up is not to be judged: it has broken nothing up to there, and its end is our doing.
    if !looked.is_known {
        judge(&mut kernel, &mut looked.world, end);
    }
    let wrong = !looked.is_known && looked.world.violation().is_some();
    Played { choices: kernel.choices, wrong, known: looked.is_known }
}

/// A world, and an eye on the states that it comes to.
struct Looked {
    world: Clients,
    /// All that the server has got to know.
    answers: DefaultHasher,
    /// So many decisions are the branch.
    made: usize,
    /// How far we look from here; so many of the decisions are taken off already.
    bounds: Bounds,
    counted: usize,
    known: Known,
    /// This state is known.
    is_known: bool,
}

impl Looked {
    /// Whether everything that can come of this state has been looked at, or will be.
    fn is_known(&mut self, kernel: &Kernel, where_we_are: impl Hash) -> bool {
        self.take_off(kernel);
        // Here another branch has been.
        if self.is_known || kernel.choices.made().len() < self.made {
            return self.is_known;
        }
        let mut state = self.answers.clone();
        (where_we_are, kernel, &self.world).hash(&mut state);
        match self.known.entry(state.finish()) {
            Entry::Occupied(known) if known.get().reaches(self.bounds) => self.is_known = true,
            Entry::Occupied(mut known) if self.bounds.reaches(*known.get()) => {
                known.insert(self.bounds);
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(place) => drop(place.insert(self.bounds)),
        }
        self.is_known
    }

    /// Each decision that was made leaves one less.
    fn take_off(&mut self, kernel: &Kernel) {
        let made = &kernel.choices.made()[self.counted..];
        let real = made.iter().filter(|(_, of)| *of > 1).count() as u32;
        self.bounds.decisions = match self.bounds.decisions {
            u32::MAX => u32::MAX,
            left => left.saturating_sub(real),
        };
        self.counted += made.len();
    }

    fn note(&mut self, answer: impl Hash) {
        answer.hash(&mut self.answers);
    }
}

impl World for Looked {
    fn before_call(&mut self, kernel: &mut Kernel) {
        if self.is_known(kernel, "before a call") {
            std::panic::resume_unwind(Box::new("a known state"));
        }
        self.world.before_call(kernel);
        self.note(kernel.now);
    }

    fn wait(&mut self, kernel: &mut Kernel, timeout: Option<Duration>) -> io::Result<()> {
        if self.is_known(kernel, ("before a wait", timeout)) {
            return Err(io::Error::other("a known state"));
        }
        let end = self.world.wait(kernel, timeout);
        self.note((kernel.now, end.as_ref().err().map(io::Error::kind)));
        end
    }

    fn turn_ends(&mut self, kernel: &mut Kernel, clients: usize) {
        self.world.turn_ends(kernel, clients);
    }

    fn scheduled(&mut self, kernel: &mut Kernel, timers: usize) {
        self.world.scheduled(kernel, timers);
    }

    fn reported(&mut self, kernel: &mut Kernel, end: &io::Result<()>) {
        self.world.reported(kernel, end);
    }

    fn after_call(&mut self, kernel: &mut Kernel, call: Call) {
        self.note(call);
        self.world.after_call(kernel, call);
    }

    fn polled(&mut self, kernel: &mut Kernel, events: &[Ready]) {
        self.note(events);
        self.world.polled(kernel, events);
    }

    fn answered(&mut self, kernel: &mut Kernel, error: Option<ErrorKind>) {
        self.note(error);
        self.world.answered(kernel, error);
    }
}

//! The peers: what each of them makes of a call.

use std::time::Duration;

use simulated_kernel::Kernel;
use simulated_kernel::kernel::{CLIENT, SERVER};

use crate::Choices;

/// What the program says first, and what has to come back. It is written down here once more, or a program that sends
/// something else would be right.
pub(crate) const HELLO: &[u8] = b"hello, version 1\n";

/// What the program says behind the ack.
pub(crate) const QUESTION: &[u8] = b"how are you?\n";

/// What a peer says to that.
const LINE: &[u8] = b"fine\n";

/// What a peer's machine makes of connect(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Meets {
    Establishes,
    Refuses,
    /// It does not answer, and the kernel gives up.
    TimesOut,
    /// It does not answer, and the kernel goes on trying.
    Never,
}

/// What a peer does behind its last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    Stays,
    HalfCloses,
    Closes,
    Resets,
}

/// What a peer does in one attempt.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Script {
    meets: Meets,
    meets_after: Duration,
    /// It reads what comes. Otherwise it has no room at some time.
    listens: bool,
    /// It talks before it has heard the whole greeting.
    unasked: bool,
    thinks: Duration,
    /// What it says, piece by piece, and how long it waits between two of them.
    says: Vec<Vec<u8>>,
    pause: Duration,
    ending: Ending,
}

impl Script {
    /// Draws what a peer does. Its times are those at which a deadline that is `ack_timeout` away can go wrong.
    pub(crate) fn draw(choices: &mut Choices, ack_timeout: Duration) -> Self {
        let ms = Duration::from_millis;
        let times = [
            Duration::ZERO,
            Duration::ZERO,
            ms(1),
            ack_timeout / 3,
            ack_timeout - Duration::from_nanos(1),
            ack_timeout,
            ack_timeout + ms(1),
        ];
        let time = |choices: &mut Choices| times[choices.pick(times.len())];
        let meets = [Meets::Refuses, Meets::TimesOut, Meets::Never];
        let meets = match choices.pick(12) {
            n @ 0..3 => meets[n],
            _ => Meets::Establishes,
        };
        use Ending::{Closes, HalfCloses, Resets, Stays};
        Self {
            meets,
            meets_after: time(choices),
            listens: choices.pick(8) != 7,
            unasked: choices.pick(4) == 3,
            thinks: time(choices),
            says: says(choices),
            pause: time(choices),
            ending: [Stays, Stays, HalfCloses, Closes, Resets][choices.pick(5)],
        }
    }

    /// One of many that answer when the time is over, and not before.
    pub(crate) fn in_the_last_moment(ack_timeout: Duration) -> Self {
        Self {
            meets: Meets::Establishes,
            meets_after: Duration::ZERO,
            listens: true,
            unasked: false,
            thinks: ack_timeout,
            says: vec![[HELLO, LINE].concat()],
            pause: Duration::ZERO,
            ending: Ending::Stays,
        }
    }
}

/// Draws what it says, and in which pieces.
fn says(choices: &mut Choices) -> Vec<Vec<u8>> {
    let mut all = [HELLO, LINE].concat();
    match choices.pick(8) {
        0 => all.clear(),
        1 => all.truncate(1 + choices.pick(HELLO.len())),
        2 => all[choices.pick(HELLO.len())] ^= 1,
        3 => all.truncate(HELLO.len()),
        // A line that has no end.
        4 => all.splice(HELLO.len().., [b'x'; 300]).for_each(drop),
        _ => {}
    }
    let mut pieces = Vec::new();
    while !all.is_empty() && choices.pick(2) == 1 {
        let behind = all.split_off(1 + choices.pick(all.len().min(HELLO.len())));
        pieces.push(std::mem::replace(&mut all, behind));
    }
    pieces.push(all);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// A peer in one attempt, as far as it has come.
#[derive(Debug, Hash)]
pub(crate) struct Peer {
    script: Script,
    id: usize,
    /// When its machine answers connect(2).
    meets_at: Option<Duration>,
    /// When it says the next thing. `None`: when it has heard the greeting.
    acts_at: Option<Duration>,
    /// How many of its pieces it has said, and how much of the next one.
    next: usize,
    part: usize,
    /// What its kernel has taken, and what has come.
    pub(crate) sent: Vec<u8>,
    pub(crate) heard: Vec<u8>,
    refused: bool,
    over: bool,
}

impl Peer {
    /// It was called.
    pub(crate) fn new(script: Script, id: usize, now: Duration) -> Self {
        let meets_at = (script.meets != Meets::Never).then(|| now + script.meets_after);
        Self {
            script,
            id,
            meets_at,
            acts_at: None,
            next: 0,
            part: 0,
            sent: Vec::new(),
            heard: Vec::new(),
            refused: false,
            over: false,
        }
    }

    /// Does the next thing.
    pub(crate) fn act(&mut self, kernel: &mut Kernel) {
        if let Some(at) = self.meets_at {
            debug_assert!(at <= kernel.now);
            self.meets_at = None;
            return self.meet(kernel);
        }
        if self.reads(kernel) {
            return self.read(kernel);
        }
        match self.script.says.get(self.next).cloned() {
            Some(piece) => self.say(kernel, &piece),
            None => self.end(kernel),
        }
    }

    fn meet(&mut self, kernel: &mut Kernel) {
        let id = self.id;
        match self.script.meets {
            Meets::Establishes => {
                kernel.tell(|| format!("the peer of connection {id} answers connect"));
                kernel.establish(id);
                self.acts_at = self.script.unasked.then(|| kernel.now + self.script.thinks);
            }
            Meets::Refuses => {
                kernel.tell(|| format!("the peer of connection {id} refuses"));
                kernel.refuse(id);
                self.over = true;
            }
            Meets::TimesOut | Meets::Never => {
                kernel.tell(|| format!("connect of connection {id} times out"));
                kernel.time_out(id);
                self.over = true;
            }
        }
    }

    fn read(&mut self, kernel: &mut Kernel) {
        let (id, mut buf) = (self.id, [0; 64]);
        match kernel.read(id, CLIENT, &mut buf) {
            Ok(n) if n > 0 => {
                kernel.tell(|| format!("the peer of connection {id} reads {n} bytes"));
                self.heard.extend_from_slice(&buf[..n]);
                let asked = self.heard.len() >= HELLO.len();
                if asked && self.next == 0 && self.part == 0 && self.acts_at.is_none() {
                    self.acts_at = Some(kernel.now + self.script.thinks);
                }
            }
            // The end, or an error.
            _ => {
                kernel.tell(|| format!("the peer of connection {id} sees the end"));
                kernel.close(id, CLIENT);
                self.over = true;
            }
        }
    }

    fn say(&mut self, kernel: &mut Kernel, piece: &[u8]) {
        let (id, left) = (self.id, &piece[self.part..]);
        match kernel.write(id, CLIENT, left) {
            Ok(n) => {
                let said = left[..n].escape_ascii().to_string();
                kernel.tell(|| format!("the peer of connection {id} says \"{said}\""));
                self.sent.extend_from_slice(&left[..n]);
                (self.part, self.refused) = (self.part + n, false);
                if self.part == piece.len() {
                    (self.next, self.part) = (self.next + 1, 0);
                    self.acts_at = Some(kernel.now + self.script.pause);
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => self.refused = true,
            Err(_) => self.over = true,
        }
    }

    fn end(&mut self, kernel: &mut Kernel) {
        let id = self.id;
        self.acts_at = None;
        let does = match self.script.ending {
            Ending::Stays => return,
            Ending::HalfCloses => "half-closes",
            Ending::Closes => "closes",
            Ending::Resets => "resets",
        };
        kernel.tell(|| format!("the peer of connection {id} {does}"));
        match self.script.ending {
            // It goes on listening.
            Ending::HalfCloses => return drop(kernel.shutdown(id, CLIENT)),
            Ending::Closes => kernel.close(id, CLIENT),
            Ending::Resets | Ending::Stays => kernel.reset(id, CLIENT),
        }
        self.over = true;
    }

    /// Whether it can do something now.
    pub(crate) fn could_act(&self, kernel: &Kernel) -> bool {
        let due = |at: Option<Duration>| at.is_some_and(|at| at <= kernel.now);
        let [peer, program] = &kernel.connections[self.id].ends;
        if self.over || (peer.reset && !self.script.listens) {
            return false;
        }
        if program.connecting || self.meets_at.is_some() {
            return due(self.meets_at) && !program.closed;
        }
        let speaks = due(self.acts_at) && (!self.refused || peer.is_writable());
        speaks || self.reads(kernel)
    }

    fn reads(&self, kernel: &Kernel) -> bool {
        self.script.listens && kernel.connections[self.id].ends[CLIENT].has_input()
    }

    /// When it does something although nothing happens.
    pub(crate) fn next_time(&self, kernel: &Kernel) -> Option<Duration> {
        let gone = self.over || kernel.connections[self.id].ends[SERVER].closed;
        let speaks = self.acts_at.filter(|_| !self.refused);
        self.meets_at.or(speaks).filter(|_| !gone)
    }
}

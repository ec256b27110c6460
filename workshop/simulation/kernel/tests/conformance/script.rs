//! A script: calls at both ends of a few connections, drawn from a seed.

use std::fmt;

use fastrand::Rng;
use simulated_kernel::Interest;

/// How many connections a script has at most.
pub(crate) const SLOTS: usize = 5;

/// The token of the listening socket.
pub(crate) const LISTENER: usize = SLOTS;

/// How many tokens there are.
pub(crate) const TOKENS: usize = SLOTS + 1;

/// Which buffers a script has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Far larger than what is written: each byte that is written arrives at once.
    Roomy,
    /// Small, and filled: [`Call::Fill`] and [`Call::Drain`] instead of single writes.
    Tight,
}

/// At which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}
use Side::{Client, Server};

impl Side {
    pub(crate) fn other(self) -> Self {
        if self == Client { Server } else { Client }
    }
}

/// One call. A number says which connection; a call that does not apply is left out on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Connect(usize),
    Accept,
    /// `EPOLL_CTL_ADD`. Only the server has a poller.
    Register(usize, Interest),
    /// `EPOLL_CTL_MOD`
    Reregister(usize, Interest),
    /// `EPOLL_CTL_DEL`
    Deregister(usize),
    /// `EPOLL_CTL_MOD` of the listening socket.
    RearmListener,
    Write(usize, Side, usize),
    Read(usize, Side, usize),
    /// send(2) with `MSG_OOB`, by the client.
    Urgent(usize),
    /// For writing.
    Shutdown(usize, Side),
    Close(usize, Side),
    /// close(2) with a linger time of zero.
    Reset(usize, Side),
    /// `SO_ERROR`
    TakeError(usize, Side),
    /// getpeername(2)
    PeerName(usize, Side),
    /// epoll_wait(2) for so many events at most, with a timeout of zero.
    Wait(usize),
    /// close(2) of the listening socket.
    StopListening,
    /// Writes until the kernel takes no more.
    Fill(usize, Side),
    /// Reads until all that was written has come.
    Drain(usize, Side),
}
use Call::*;

/// All calls in their order.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) kind: Kind,
    pub(crate) calls: Vec<Call>,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.calls.iter().try_for_each(|call| writeln!(f, "    {call:?}"))
    }
}

/// What the drawing knows, so that most calls apply.
#[derive(Default)]
struct Drawn {
    connected: usize,
    waiting: Vec<usize>,
    /// Which ends are open.
    open: Vec<(usize, Side)>,
}

impl Script {
    /// As a seed has it.
    pub(crate) fn draw(kind: Kind, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut drawn = Drawn::default();
        let mut calls = Vec::new();
        let length = rng.usize(10..60);
        while calls.len() < length {
            let call = drawn.call(kind, &mut rng);
            drawn.note(call);
            calls.push(call);
            // As the stages do, mostly at once.
            if let (Accept, Some(&(id, Server))) = (call, drawn.open.last())
                && rng.u8(..) < 220
            {
                calls.push(Register(id, interest(&mut rng)));
            }
        }
        calls.push(Wait(16));
        Self { kind, calls }
    }
}

/// Mostly what the stages are interested in.
fn interest(rng: &mut Rng) -> Interest {
    let (read, write, urgent) = (Interest::READABLE, Interest::WRITABLE, Interest::PRIORITY);
    let choices = [read | write, read, write, urgent, write | urgent, read | urgent];
    *choices.get(rng.usize(..16)).unwrap_or(&(read | write | urgent))
}

impl Drawn {
    fn call(&self, kind: Kind, rng: &mut Rng) -> Call {
        let pick = rng.usize(..100);
        if self.connected == 0 || (pick < 6 && self.connected < SLOTS) {
            return Connect(self.connected);
        }
        let (id, side) = match self.open.is_empty() {
            true => (0, Client),
            false => self.open[rng.usize(..self.open.len())],
        };
        let client = (side == Client).then_some(id);
        match pick {
            6..18 => Accept,
            18..34 => Wait([1, 2, 3, 16][if kind == Kind::Roomy { rng.usize(..4) } else { 3 }]),
            34..56 if kind == Kind::Roomy => Write(id, side, rng.usize(1..200)),
            56..78 if kind == Kind::Roomy => Read(id, side, [1, 7, 100, 4096][rng.usize(..4)]),
            34..52 => Fill(id, side),
            52..66 => Drain(id, side),
            66..78 => Read(id, side, rng.usize(1..50)),
            78..82 if kind == Kind::Roomy => client.map_or(Accept, Urgent),
            78..82 => Wait(16),
            82..86 => Shutdown(id, side),
            86..89 => Close(id, side),
            89..91 => Reset(id, side),
            91..94 => Reregister(id, interest(rng)),
            94 => Deregister(id),
            95 => Register(id, interest(rng)),
            96 => TakeError(id, side),
            97 => PeerName(id, side),
            98 => RearmListener,
            _ if rng.usize(..6) == 0 => StopListening,
            _ => Wait(16),
        }
    }

    fn note(&mut self, call: Call) {
        match call {
            Connect(id) => {
                self.connected += 1;
                self.waiting.push(id);
                self.open.push((id, Client));
            }
            Accept if !self.waiting.is_empty() => {
                let id = self.waiting.remove(0);
                self.open.push((id, Server));
            }
            Close(id, side) | Reset(id, side) => self.open.retain(|&open| open != (id, side)),
            StopListening => self.waiting.clear(),
            _ => {}
        }
    }
}

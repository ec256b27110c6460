//! The outgoing side: connect to many peers at once, on one thread, as a state machine.
//!
//! A server also opens connections, for example to its database. Then it has to wait: for the
//! connection, for the peer's answer, for the time of the next attempt. Each connection is a value that
//! records how far it has come, and one loop gives each of them a turn when something has happened to
//! it. The loop is built like stage 6's, and the timers are stage 6's.
//!
//! Try it:     `cargo run -p stage5-mio`, and in another terminal
//!             `cargo run -p stage6-timers --example handshake -- 127.0.0.1:9000`
//! Read along: `handshake_async.rs` does the same with `.await`, and `handshake_by_hand.rs` shows what
//!             that is made of.

#[path = "handshake/machine.rs"]
mod machine;
pub(crate) mod support;
#[path = "handshake/talk.rs"]
mod talk;
// ANCHOR: timers
/// The server's timers: the same file, which is formatted and tested over there. The server uses more
/// of them than we do.
#[allow(dead_code)]
#[rustfmt::skip]
#[path = "../src/timers.rs"]
mod timers;
// ANCHOR_END: timers
#[path = "handshake/watched.rs"]
mod watched;

use std::io::{self, ErrorKind};
use std::mem;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use common::now;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use machine::Handshake;
use support::{Failure, Options, Peer, summarize};
use talk::Talk;
use timers::Timers;
use watched::Said;

/// How many events we take from the kernel at a time. The others keep until the next turn.
const EVENTS_PER_TURN: usize = 256;

fn main() -> ExitCode {
    common::run(|| {
        let options = Options::parse("handshake");
        let peers = call_all(&options).context("cannot go on")?;
        Ok(summarize(&peers))
    })
}

/// Calls every peer, and returns when it is over with all of them. An error here is about us.
pub(crate) fn call_all(options: &Options) -> io::Result<Vec<Peer>> {
    let mut caller = Caller::new(options)?;
    caller.run()?;
    Ok(caller.calls.into_iter().map(|call| call.peer).collect())
}

/// All peers that we call: one thread, one poller.
struct Caller {
    poll: Poll,
    /// A call's token is its place in here.
    calls: Vec<Call>,
    /// When to look at which call even if no event names it. Like an event, a timer is a hint: the call
    /// that it names checks its own deadline, so we need not cancel the timer of an attempt that is over.
    timers: Timers<usize>,
    /// How many calls are not over.
    open: usize,
}

pub(crate) struct Call {
    peer: Peer,
    phase: Phase,
}

// ANCHOR: Phase
enum Phase {
    /// Until the next attempt.
    Pausing { until: Instant },
    /// Attempting.
    Shaking(Handshake<TcpStream>),
    /// The peer has answered: now we ask our question.
    Talking(Talk<TcpStream>),
    /// Connected or not, we are done.
    Over,
}
// ANCHOR_END: Phase

impl Caller {
    fn new(options: &Options) -> io::Result<Self> {
        let now = now();
        let call = |peer| Call { peer, phase: Phase::Pausing { until: now } };
        let calls: Vec<_> = Peer::all(options).into_iter().map(call).collect();
        let (open, timers) = (calls.len(), Timers::new());
        Ok(Self { poll: Poll::new()?, calls, timers, open })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        for index in 0..self.calls.len() {
            self.attempt(index);
        }
        while self.open > 0 {
            self.wait_for_events(&mut events)?;
            let now = now();
            for event in &events {
                self.turn(event.token().0, Said::from(event), now);
            }
            // A timer says nothing about the socket. The call that it names looks for itself.
            while let Some((_, index)) = self.timers.pop_due(now) {
                self.turn(index, Said::default(), now);
            }
        }
        Ok(())
    }

    /// Sleeps in `epoll_wait(2)` or its like until there is an event, or a timer is due.
    fn wait_for_events(&mut self, events: &mut Events) -> io::Result<()> {
        match self.poll.poll(events, self.timers.sleep_for(now())) {
            // A signal cut the sleep short, and no events were taken. The next turn sleeps on.
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(()),
            done => done,
        }
    }

    // ANCHOR: turn
    /// Lets one call go as far as it can. A failure ends this call, never the loop.
    fn turn(&mut self, index: usize, said: Said, now: Instant) {
        let Call { peer, phase } = &mut self.calls[index];
        match phase {
            Phase::Pausing { until } if now >= *until => self.attempt(index),
            Phase::Shaking(handshake) => {
                handshake.handle(said, now, |state| peer.say(state));
                if handshake.is_over() {
                    self.conclude(index);
                }
            }
            Phase::Talking(talk) => {
                if let Some(heard) = talk.handle(said, now) {
                    peer.talked(heard);
                    self.end(index, Ok(()));
                }
            }
            Phase::Pausing { .. } | Phase::Over => {} // an old timer
        }
    }
    // ANCHOR_END: turn

    /// Begins an attempt.
    fn attempt(&mut self, index: usize) {
        let Call { peer, phase } = &mut self.calls[index];
        peer.begin_attempt();
        // The clock is read here: when many attempts begin in one turn, each has all of its time.
        let deadline = now() + peer.ack_timeout;
        match connect(&self.poll, peer.addr, Token(index)) {
            Ok(stream) => {
                *phase = Phase::Shaking(Handshake::new(stream, deadline));
                self.timers.schedule(deadline, index);
            }
            Err(error) => {
                let why = Failure::from(error);
                peer.say(format_args!("failed: {why}"));
                self.pause_or_give_up(index, why);
            }
        }
    }

    /// A handshake is over: on to the talk, or to the next attempt.
    fn conclude(&mut self, index: usize) {
        let Call { peer, phase } = &mut self.calls[index];
        let Phase::Shaking(handshake) = mem::replace(phase, Phase::Over) else { return };
        match handshake.into_outcome() {
            Ok((socket, early)) => {
                let now = now();
                let deadline = now + peer.ack_timeout;
                *phase = Phase::Talking(Talk::new(socket, early, deadline));
                self.timers.schedule(deadline, index);
                // The poller does not repeat what it has said about this socket, so begin at once.
                self.turn(index, Said::default(), now);
            }
            Err(why) => self.pause_or_give_up(index, why),
        }
    }

    fn pause_or_give_up(&mut self, index: usize, why: Failure) {
        let Call { peer, phase } = &mut self.calls[index];
        match peer.pause() {
            Some(pause) => {
                let until = now() + pause;
                *phase = Phase::Pausing { until };
                self.timers.schedule(until, index);
            }
            None => self.end(index, Err(why)),
        }
    }

    fn end(&mut self, index: usize, end: Result<(), Failure>) {
        let Call { peer, phase } = &mut self.calls[index];
        peer.end(end);
        // This drops the socket of the phase before. Its close(2) also removes it from the poller.
        *phase = Phase::Over;
        self.open -= 1;
    }
}

/// Starts to connect: connect(2) on a non-blocking socket does not wait. The poller reports when the
/// connection is there or has failed.
fn connect(poll: &Poll, addr: SocketAddr, token: Token) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(stream)
}

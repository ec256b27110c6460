//! The handshake as a state machine.

use std::fmt;
use std::mem;
use std::time::Instant;

use super::support::{Failure, HELLO, check_ack};
use super::watched::{Said, Socket, Watched};

/// One attempt to connect and to shake hands.
///
/// ```text
///                connected                    all sent                the whole ack
///   Connecting ────────────▶ SendingHandshake ──────────▶ ExpectingAck ────────────▶ Connected
///       │                           │                          │
///       │ refused,                  │ reset,                   │ closed, reset, wrong ack,
///       │ deadline passed           │ deadline passed          │ deadline passed
///       ▼                           ▼                          ▼
///     Failed                      Failed                     Failed
/// ```
///
/// The news of an event and the time are arguments, so a test can play the kernel and the clock in
/// every order.
pub(crate) struct Handshake<S> {
    socket: Watched<S>,
    state: State,
    deadline: Instant,
}

// ANCHOR: State
/// How far the handshake has come, and what belongs to that state only.
#[derive(Debug)]
pub(crate) enum State {
    /// We have called connect(2), which does not wait.
    Connecting,
    /// The kernel has not taken all of our line yet.
    SendingHandshake {
        /// What it has still to take.
        left: &'static [u8],
    },
    /// Our line is on its way. We wait for its echo.
    ExpectingAck {
        /// As much of the ack as has come, perhaps none.
        so_far: Vec<u8>,
    },
    /// The end: the peer has answered.
    Connected {
        /// What came right behind the ack. It belongs to the code that uses the connection next.
        early: Vec<u8>,
    },
    /// The end: this attempt has failed.
    Failed {
        /// Why.
        why: Failure,
    },
}
// ANCHOR_END: State

/// The result of one step.
enum Step {
    /// Nothing can move before the next event.
    Wait,
    /// Bytes have moved, and more may: step again.
    Again,
    /// On to the next state, and step again.
    Enter(State),
}

impl<S: Socket> Handshake<S> {
    /// connect(2) has been called for `socket`, and the poller will name it when there is news.
    pub(crate) fn new(socket: S, deadline: Instant) -> Self {
        Self { socket: Watched::new(socket), state: State::Connecting, deadline }
    }

    // ANCHOR: handle
    /// Takes in what has happened and goes as far as it can. It calls `entered` with each new state.
    ///
    /// One event can say "readable" *and* "writable", and it says so once. A machine that takes one
    /// step per event finishes its write and then waits for another event before it reads the ack. The
    /// ack is there already, so that event never comes. So: step until nothing moves.
    pub(crate) fn handle(&mut self, said: Said, now: Instant, mut entered: impl FnMut(&State)) {
        self.socket.note(if now < self.deadline { said } else { Said::OUT_OF_TIME });
        while !self.is_over() {
            match self.step().unwrap_or_else(|why| Step::Enter(State::Failed { why })) {
                Step::Enter(state) => self.state = state,
                Step::Again => continue,
                // Only now, after the last look: an ack that has come is an ack, however late we are.
                Step::Wait if now >= self.deadline => {
                    self.state = State::Failed { why: Failure::TimedOut };
                }
                Step::Wait => return,
            }
            entered(&self.state);
        }
    }
    // ANCHOR_END: handle

    // ANCHOR: step
    /// One step, if there is one to take.
    fn step(&mut self) -> Result<Step, Failure> {
        Ok(match &mut self.state {
            State::Connecting => match self.socket.is_connected()? {
                true => Step::Enter(State::SendingHandshake { left: HELLO }),
                false => Step::Wait,
            },
            State::SendingHandshake { left } => match self.socket.send(left)? {
                true => Step::Enter(State::ExpectingAck { so_far: Vec::new() }),
                false => Step::Wait,
            },
            State::ExpectingAck { so_far } => match self.socket.receive(so_far)? {
                true if check_ack(so_far)? => {
                    let early = so_far.split_off(HELLO.len());
                    Step::Enter(State::Connected { early })
                }
                true => Step::Again,
                false => Step::Wait,
            },
            State::Connected { .. } | State::Failed { .. } => Step::Wait,
        })
    }
    // ANCHOR_END: step

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Connected { .. } | State::Failed { .. })
    }

    /// What came of it: the connection and the bytes behind the ack, or why there is none.
    pub(crate) fn into_outcome(mut self) -> Result<(Watched<S>, Vec<u8>), Failure> {
        match mem::replace(&mut self.state, State::Connecting) {
            State::Connected { early } => Ok((self.socket, early)),
            State::Failed { why } => Err(why),
            state => unreachable!("asked while {state}"),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => write!(f, "connecting"),
            Self::SendingHandshake { .. } => write!(f, "sending the handshake"),
            Self::ExpectingAck { .. } => write!(f, "expecting the ack"),
            Self::Connected { .. } => write!(f, "connected"),
            Self::Failed { why } => write!(f, "failed: {why}"),
        }
    }
}

//! The talk over an established connection: one line from each side.

use std::mem;
use std::time::Instant;

use super::support::{Failure, QUESTION, first_line};
use super::watched::{Said, Socket, Watched};

/// We ask, and listen until a line has come.
///
/// ```text
///           all sent                a line has come
///   asking ──────────▶ listening ─────────────────▶ over
///      └──────── closed, reset, deadline passed ──────┘
/// ```
///
/// There are only two states, and `left` tells them apart, so no enum is needed.
pub(crate) struct Talk<S> {
    /// It may have noted already that there is something to read: the poller does not repeat that.
    socket: Watched<S>,
    left: &'static [u8],
    so_far: Vec<u8>,
    deadline: Instant,
}

impl<S: Socket> Talk<S> {
    /// `early` is what came behind the ack.
    pub(crate) fn new(socket: Watched<S>, early: Vec<u8>, deadline: Instant) -> Self {
        Self { socket, left: QUESTION, so_far: early, deadline }
    }

    /// Takes in what has happened and goes as far as it can. `None`: it is not over.
    pub(crate) fn handle(&mut self, said: Said, now: Instant) -> Option<Result<Vec<u8>, Failure>> {
        self.socket.note(if now < self.deadline { said } else { Said::OUT_OF_TIME });
        match self.has_heard() {
            Ok(true) => Some(Ok(mem::take(&mut self.so_far))),
            Ok(false) if now >= self.deadline => Some(Err(Failure::TimedOut)),
            Ok(false) => None,
            Err(why) => Some(Err(why)),
        }
    }

    fn has_heard(&mut self) -> Result<bool, Failure> {
        if !self.socket.send(&mut self.left)? {
            return Ok(false);
        }
        while first_line(&self.so_far).is_none() {
            if !self.socket.receive(&mut self.so_far)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

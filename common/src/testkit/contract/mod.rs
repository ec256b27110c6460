//! The contract: what a server can and cannot do, each a sentence, each checked from outside.
//!
//! A stage's `tests/contract.rs` lists the sentences that are true of it. A limit is a sentence too:
//! `the_second_client_waits_while_the_first_is_silent` is true of stage 1, and the day that it is not,
//! the README is wrong. Every function takes the path of the server's binary.

mod command;
mod cost;
mod echo;
mod hostile;
mod limits;
mod log;
mod stopping;
mod timed;
mod turns;
mod watching;

pub use command::*;
pub use cost::*;
pub use echo::*;
pub use hostile::*;
pub use limits::*;
pub use log::*;
pub use stopping::*;
pub use timed::*;
pub use turns::*;
pub use watching::*;

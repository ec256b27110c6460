//! What the three handshake programs share, so that they differ only in what they are about: the
//! options, the protocol, what is printed, and the pauses between two attempts.

pub(crate) mod backoff;
mod options;
mod peer;
pub(crate) mod protocol;

pub(crate) use options::Options;
pub(crate) use peer::{Peer, summarize};
pub(crate) use protocol::{Failure, HELLO, QUESTION, READ_SIZE, check_ack, first_line};

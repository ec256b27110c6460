//! The outgoing side: the parts of the handshake without a kernel, and the three programs among peers
//! who do everything wrong.
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but clippy sees helpers as none"
)]

#[path = "../../examples/handshake/machine.rs"]
mod machine;
#[allow(dead_code, unused_imports)]
#[path = "../../examples/support/mod.rs"]
mod support;
#[path = "../../examples/handshake/talk.rs"]
mod talk;
#[path = "../../examples/handshake/watched.rs"]
mod watched;

mod hostile;
mod machine_tests;
mod part_tests;
mod program;
mod program_tests;

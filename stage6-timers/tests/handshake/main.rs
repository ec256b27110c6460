//! The outgoing side: the parts of the handshake without a kernel, and the three programs among peers
//! that do everything wrong.
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but clippy sees helpers as none"
)]

#[path = "../../examples/handshake_by_hand/executor.rs"]
mod executor;
#[allow(dead_code)]
#[path = "../../examples/handshake_by_hand/leaves.rs"]
mod leaves;
#[path = "../../examples/handshake/machine.rs"]
mod machine;
/// The executor's timers are the server's.
#[path = "../../src"]
mod server {
    #[allow(dead_code)]
    pub(crate) mod timers;
}
#[allow(dead_code, unused_imports)]
#[path = "../../examples/support/mod.rs"]
mod support;
#[path = "../../examples/handshake/talk.rs"]
mod talk;
#[path = "../../examples/handshake/watched.rs"]
mod watched;

mod executor_tests;
mod hostile;
mod machine_tests;
mod part_tests;
mod program;
mod program_tests;

use server::timers;

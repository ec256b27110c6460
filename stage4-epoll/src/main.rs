//! Stage 4: one thread that sleeps until the kernel says who is ready.
//!
//! `epoll_wait(2)` takes the place of asking. The listener is level-triggered: the kernel names it
//! each time, as long as a client waits. The clients are edge-triggered: the kernel names a client
//! once when something changes, so we take everything it has, until `EAGAIN`.
//!
//! New here:    epoll, level and edge trigger; no client talks, nothing runs.
//! Still wrong: a client that never stops sending keeps the turn; one that does not read is cut off.
//!              Stage 5 lifts both.
//! Try it:      `cargo run -p stage4-epoll` (Linux), then `strace -p` its process, and talk to it.
//! Read along:  `docs/src/stage4.md`

#[cfg(target_os = "linux")]
mod connection;
#[cfg(target_os = "linux")]
mod server;

#[cfg(target_os = "linux")]
use anyhow::Context;

#[cfg(target_os = "linux")]
use crate::server::Server;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    common::run(|| {
        let options: common::cli::Limited = common::cli::parse(env!("CARGO_PKG_NAME"));
        common::logging::init();
        common::stats::tell_if(options.stats)?;
        common::make_room_for(options.max_connections);
        let listener = common::listen(options.addr)?;
        let addr = listener.local_addr().context("cannot tell our own address")?;
        let mut server = Server::new(listener, options.max_connections).context("cannot start")?;
        common::announce(addr)?;
        server.run().context("cannot go on")
    })
}

/// epoll is Linux's. kqueue and IOCP do the same elsewhere, and mio hides the difference.
#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    common::say("stage4-epoll needs Linux; go on to stage5-mio");
    std::process::ExitCode::FAILURE
}

//! Stage 3: one thread that never waits.
//!
//! Every socket is non-blocking: a call that would have to wait says `EAGAIN` instead. So one thread
//! can ask each client in turn, and none keeps the others waiting. But it never stops asking.
//!
//! New here:    non-blocking sockets; a `Server` and its `Connection`s instead of stacks.
//! Still wrong: it burns a full core while all clients are silent. Stage 4 lets the kernel do the asking.
//! Try it:      `cargo run -p stage3-nonblocking-busy`, then `top` in another terminal.
//! Read along:  `docs/src/stage3.md`

mod connection;
mod server;

use anyhow::Context;

use crate::server::Server;

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

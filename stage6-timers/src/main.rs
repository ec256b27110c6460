//! Stage 6: a server that also does something without being asked.
//!
//! A deadline is just the timeout of the sleep that we were going to make anyway. The loop sleeps until
//! an event comes or the soonest timer is due. A timer marks clients, as an event does, and the rest
//! of the loop stays as it is.
//!
//! New here:    a status line to everyone at an interval, and a timeout for silent clients.
//! Still wrong: one thread is one core. The book's last page says where to go from here.
//! Try it:      `cargo run -p stage6-timers -- --status-interval 2s`, then `nc 127.0.0.1 9000`.
//! Read along:  `docs/src/stage6.md`

mod connection;
mod observed;
mod outbox;
mod server;
mod table;
mod timers;

use anyhow::Context;

use crate::server::Server;

fn main() -> std::process::ExitCode {
    common::run(|| {
        let options: common::cli::Timed = common::cli::parse(env!("CARGO_PKG_NAME"));
        common::logging::init();
        common::stats::tell_if(options.stats)?;
        common::make_room_for(options.max_connections);
        let listener = common::listen(options.addr)?;
        let addr = listener.local_addr().context("cannot tell our own address")?;
        let mut server = Server::new(listener, options).context("cannot start")?;
        common::announce(addr)?;
        server.run().context("cannot go on")
    })
}

//! Stage 5: a server to build on.
//!
//! mio is epoll, kqueue and IOCP behind one interface, always edge-triggered: news comes once. So
//! what the kernel tells us and we do not use up at once is written down: the bytes we owe a client,
//! the input we left, the clients in the backlog. Events only mark who is due a turn. Then each marked
//! client gets one, and each turn has an end.
//!
//! New here:    an outbox for each client that needs one, back-pressure, fair turns, and a way to stop.
//! Still wrong: it acts only when a client does. Stage 6 has a clock.
//! Try it:      `cargo run -p stage5-mio`, `nc 127.0.0.1 9000`, then Ctrl-C on the server.
//! Read along:  `docs/src/stage5.md`

mod connection;
mod outbox;
mod server;
mod table;

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

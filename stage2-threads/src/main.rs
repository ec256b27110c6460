//! Stage 2: a thread for each client.
//!
//! `echo` is the same function, to the letter. It runs once per client now, each in a thread of its
//! own, so its `read(2)` can sleep without keeping anyone else waiting. The kernel's scheduler is the
//! event loop.
//!
//! New here:    a thread per client, and what happens when there are no more of them.
//! Still wrong: each silent client costs a stack and a thread. Stage 3 does without.
//! Try it:      `cargo run -p stage2-threads`, then `nc 127.0.0.1 9000` in two terminals.
//! Read along:  `docs/src/stage2.md`

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::Context;
use common::accept::{AcceptError, Attempts, RETRY_PAUSE};
use tracing::debug;

/// How much we ask `read(2)` for. Any size is correct; a larger one means fewer system calls.
const READ_SIZE: usize = 4096;

fn main() -> std::process::ExitCode {
    common::run(|| {
        let options: common::cli::Address = common::cli::parse(env!("CARGO_PKG_NAME"));
        common::logging::init();
        let listener = common::listen(options.addr)?;
        common::announce(listener.local_addr().context("cannot tell our own address")?)?;
        serve(&listener).context("cannot accept any more")
    })
}

/// Serves clients for ever, all at the same time. An error here is about us, not about a client.
fn serve(listener: &TcpListener) -> io::Result<()> {
    let mut attempts = Attempts::default();
    let acceptor = thread::current();
    loop {
        // accept(2) sleeps until a client has connected.
        match attempts.sort(listener.accept()) {
            Ok((stream, peer)) => {
                debug!(client = %peer, "connected");
                let acceptor = acceptor.clone();
                let client = move || {
                    common::report(peer, echo(stream));
                    // The descriptor is free again. A client that waits for one need not wait any longer.
                    acceptor.unpark();
                };
                // Not `thread::spawn`: that one panics when threads run out.
                if let Err(e) = thread::Builder::new().spawn(client) {
                    // `client` is gone, and the stream with it: the client sees its connection closed.
                    attempts.out_of_threads(&e);
                }
            }
            Err(AcceptError::Fatal(e)) => return Err(e),
            // The client stays in the backlog, so asking again at once would spin.
            Err(AcceptError::OutOfResources) => thread::park_timeout(RETRY_PAUSE),
            Err(AcceptError::Gone | AcceptError::NoneWaiting) => {}
        }
    }
}

/// Sends every byte back until the client stops sending.
fn echo(mut stream: TcpStream) -> io::Result<()> {
    // Or a second small write waits until the first is acknowledged: 40 ms (Nagle, delayed ACK).
    stream.set_nodelay(true)?;
    let mut buf = [0; READ_SIZE];
    loop {
        // read(2) sleeps until at least one byte is here. Zero bytes: the client will send no more.
        let n = match stream.read(&mut buf) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        // write(2) may take fewer bytes than we offer; `write_all` repeats it until all are taken. If
        // the client does not read, this sleeps as well.
        stream.write_all(&buf[..n])?;
    }
}

//! Stage 1: one client at a time, with blocking calls.
//!
//! The server is two loops, one inside the other. While the inner one serves a client, the server is not in
//! `accept(2)`, so every other client waits in the kernel's backlog: connected, but not served.
//!
//! New here:    listen, accept, read, write, and what each of them waits for.
//! Still wrong: a silent client keeps everyone else out. Stage 2 fixes that.
//! Try it:      `cargo run -p stage1-blocking`, then `nc 127.0.0.1 9000` in two terminals.
//! Read along:  `docs/src/stage1.md`

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

/// Serves clients for ever, one after the other. An error here is about us, not about a client.
fn serve(listener: &TcpListener) -> io::Result<()> {
    let mut attempts = Attempts::default();
    loop {
        // accept(2) sleeps until a client has connected.
        match attempts.sort(listener.accept()) {
            Ok((stream, peer)) => {
                debug!(client = %peer, "connected");
                common::report(peer, echo(stream));
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

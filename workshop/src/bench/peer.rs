//! The same server with an async runtime: what most people would write instead of stage 5.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;

/// How much a task reads at a time: what tokio's own examples and its `copy` use.
const DEFAULT_BUFFER: usize = 8 * 1024;

/// What the peer can be told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen
    addr: SocketAddr,
    /// A worker thread per core, as `#[tokio::main]` has it
    #[arg(long)]
    multi_thread: bool,
    /// Bytes a task reads at a time; each client has a buffer of this size
    #[arg(long, default_value_t = DEFAULT_BUFFER)]
    buffer: usize,
}

/// Serves clients until it is killed.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut builder = match args.multi_thread {
        true => runtime::Builder::new_multi_thread(),
        false => runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_io().build().context("cannot start tokio")?;
    // A backlog of 4,096 like everybody else here.
    let listener = common::listen(args.addr)?;
    listener.set_nonblocking(true).context("cannot listen without waiting")?;
    let addr = listener.local_addr().context("cannot tell our own address")?;
    let buffer = args.buffer;
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener).context("cannot watch the listener")?;
        common::announce(addr)?;
        loop {
            // An error is one client's, or there is no descriptor: the next round asks again.
            let Ok((stream, _)) = listener.accept().await else { continue };
            tokio::spawn(echo(stream, buffer));
        }
    })
}

/// Sends every byte back. Whatever goes wrong ends this client only.
async fn echo(mut stream: TcpStream, buffer: usize) {
    let mut buf = vec![0; buffer];
    if stream.set_nodelay(true).is_err() {
        return;
    }
    while let Ok(n @ 1..) = stream.read(&mut buf).await {
        if stream.write_all(&buf[..n]).await.is_err() {
            return;
        }
    }
}

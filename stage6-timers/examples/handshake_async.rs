//! The same as `handshake.rs`, with `.await`, on tokio.
//!
//! The steps of an attempt stand here in the order in which they happen, with the timeout and the retry
//! written around them. Four things are hidden: the names of the states, where an attempt is when its timeout
//! wins, what is lost then, and who runs it.
//!
//! Try it: `cargo run -p stage6-timers --example handshake_async -- 127.0.0.1:9000`

#[path = "handshake_async/connect.rs"]
mod connect;
pub(crate) mod support;
#[path = "handshake_async/timeout.rs"]
mod timeout;

use std::io;
use std::process::ExitCode;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::time::sleep;

use connect::connect;
use support::{
    Failure, HELLO, Options, Peer, QUESTION, READ_SIZE, check_ack, first_line, summarize,
};
use timeout::timeout;

fn main() -> ExitCode {
    common::run(|| {
        let options = Options::parse("handshake_async");
        let peers = call_all(&options).context("cannot go on")?;
        Ok(summarize(&peers))
    })
}

/// Calls every peer, and returns when it is over with all of them. An error here is about us.
pub(crate) fn call_all(options: &Options) -> io::Result<Vec<Peer>> {
    // One thread: ours.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let calls: Vec<_> = Peer::all(options).into_iter().map(|p| tokio::spawn(call(p))).collect();
        let mut peers = Vec::with_capacity(calls.len());
        for call in calls {
            peers.push(call.await?);
        }
        Ok(peers)
    })
}

/// Tries until there is a connection or no attempt is left, and talks.
pub(crate) async fn call(mut peer: Peer) -> Peer {
    loop {
        peer.begin_attempt();
        let attempt = timeout(peer.ack_timeout, shake_hands(&peer)).await;
        let why = match attempt.unwrap_or(Err(Failure::TimedOut)) {
            Ok((stream, early)) => {
                let heard = timeout(peer.ack_timeout, talk(stream, early)).await;
                peer.talked(heard.unwrap_or(Err(Failure::TimedOut)));
                peer.end(Ok(()));
                return peer;
            }
            Err(why) => why,
        };
        peer.say(format_args!("failed: {why}"));
        let Some(pause) = peer.pause() else {
            peer.end(Err(why));
            return peer;
        };
        sleep(pause).await;
    }
}

/// One attempt: the connection, and what came right behind the ack.
async fn shake_hands(peer: &Peer) -> Result<(TcpStream, Vec<u8>), Failure> {
    let mut stream = connect(peer.addr).await?;
    peer.say("sending the handshake");
    stream.write_all(HELLO).await?;
    peer.say("expecting the ack");
    let early = wait_for_ack(&mut stream).await?;
    peer.say("connected");
    Ok((stream, early))
}

/// Reads until the whole ack is here. Returns what came behind it.
async fn wait_for_ack(stream: &mut TcpStream) -> Result<Vec<u8>, Failure> {
    let mut so_far = Vec::new();
    while !check_ack(&so_far)? {
        receive(stream, &mut so_far).await?;
    }
    Ok(so_far.split_off(HELLO.len()))
}

/// Asks, and listens until a line has come. Some of it may be here already.
async fn talk(mut stream: TcpStream, mut so_far: Vec<u8>) -> Result<Vec<u8>, Failure> {
    stream.write_all(QUESTION).await?;
    while first_line(&so_far).is_none() {
        receive(&mut stream, &mut so_far).await?;
    }
    Ok(so_far)
}

async fn receive(stream: &mut TcpStream, so_far: &mut Vec<u8>) -> Result<(), Failure> {
    let mut buf = [0; READ_SIZE];
    match stream.read(&mut buf).await? {
        0 => Err(Failure::Closed),
        n => {
            so_far.extend_from_slice(&buf[..n]);
            Ok(())
        }
    }
}

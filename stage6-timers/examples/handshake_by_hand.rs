//! The same `async fn` as in `handshake_async.rs`, word for word, on an executor of our own.
//!
//! `.await` needs no thread: under it are the sockets, the poller and the timers of `handshake.rs`. From
//! each `async fn` the compiler writes an enum like `State` there, with a variant for each `.await` that
//! holds what is needed afterwards. `poll` is its `step`. We have to write the rest, the code that calls
//! `poll` at the right time: `handshake_by_hand/executor.rs`.
//!
//! Try it: `cargo run -p stage6-timers --example handshake_by_hand -- 127.0.0.1:9000`

#[path = "handshake_by_hand/executor.rs"]
mod executor;
#[path = "handshake_by_hand/leaves.rs"]
mod leaves;
pub(crate) mod support;
/// The server's timers: the same file, which is formatted and tested over there. The server uses more
/// of them than we do.
#[allow(dead_code)]
#[rustfmt::skip]
#[path = "../src/timers.rs"]
mod timers;

use std::io;
use std::process::ExitCode;

use anyhow::Context;

use leaves::{TcpStream, connect, sleep, timeout};
use support::{
    Failure, HELLO, Options, Peer, QUESTION, READ_SIZE, check_ack, first_line, summarize,
};

fn main() -> ExitCode {
    common::run(|| {
        let options = Options::parse("handshake_by_hand");
        let peers = call_all(&options).context("cannot go on")?;
        Ok(summarize(&peers))
    })
}

/// Calls every peer, and returns when it is over with all of them. An error here is about us.
pub(crate) fn call_all(options: &Options) -> io::Result<Vec<Peer>> {
    executor::run(Peer::all(options).into_iter().map(call))
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

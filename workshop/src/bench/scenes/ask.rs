//! Ask, wait for the reply, ask again.

use std::time::Instant;

use anyhow::bail;

use super::Pace;
use crate::bench::figures::{Figure, Figures, Watch};
use crate::bench::load::{Generator, Latencies, PATIENCE};
use crate::bench::server::Server;

/// Who asks what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) clients: usize,
    /// Bytes per message.
    pub(crate) size: usize,
    /// Messages a client has under way at a time.
    pub(crate) depth: usize,
}

/// For a time. As fast as the slower of the two can: the latencies are those of a full house.
pub(super) fn play(ask: Ask, server: &Server, pace: &Pace) -> anyhow::Result<Figures> {
    let mut load = start(ask, server)?;
    go_on(&mut load, Instant::now() + pace.warm_up, &mut Latencies::new())?;
    let mut latencies = Latencies::new();
    let watch = Watch::start(server);
    go_on(&mut load, Instant::now() + pace.measure, &mut latencies)?;
    let mut figures = watch.stop(latencies.count());
    latencies.tell(&mut figures);
    let per_second = figures[&Figure::PerSecond];
    figures.insert(Figure::MegabytesPerSecond, per_second * ask.size as f64 / 1e6);
    Ok(figures)
}

/// For a number of messages: what is counted can then be told per message.
pub(crate) fn exchange(ask: Ask, messages: u64, server: &Server) -> anyhow::Result<()> {
    let mut load = start(ask, server)?;
    let mut left = messages;
    let mut last = Instant::now();
    while left > 0 {
        load.turn(last + PATIENCE, &mut |client, reply| {
            last = reply.back;
            left = left.saturating_sub(1);
            if left >= (ask.clients * ask.depth) as u64 {
                client.ask(reply.back);
            }
        })?;
        if last.elapsed() >= PATIENCE {
            bail!("no reply for {} s", PATIENCE.as_secs());
        }
    }
    Ok(())
}

/// Connects everybody and has each send its first messages.
fn start(ask: Ask, server: &Server) -> anyhow::Result<Generator> {
    let mut load = Generator::new(server.addr)?;
    load.admit(ask.clients, ask.size)?;
    for client in 0..ask.clients {
        for _ in 0..ask.depth {
            load.clients[client].ask(Instant::now());
        }
        load.send(client)?;
    }
    Ok(load)
}

/// Goes on until the time is over, and until there is something to tell: on a machine that is busy with
/// something else the time may be over before the first reply is back.
fn go_on(load: &mut Generator, until: Instant, latencies: &mut Latencies) -> anyhow::Result<()> {
    let give_up = until + PATIENCE;
    loop {
        let until = if latencies.count() == 0 { give_up } else { until };
        if Instant::now() >= until {
            break;
        }
        load.turn(until, &mut |client, reply| {
            latencies.record(reply.back - reply.asked);
            client.ask(reply.back);
        })?;
    }
    if latencies.count() == 0 {
        bail!("no reply for {} s", PATIENCE.as_secs());
    }
    Ok(())
}

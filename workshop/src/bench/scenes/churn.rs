//! Clients that come for one question.

use std::time::Instant;

use anyhow::bail;

use super::{Pace, SMALL};
use crate::bench::figures::{Figures, Watch};
use crate::bench::load::{Generator, Latencies, PATIENCE};
use crate::bench::server::Server;

/// A number of visits, not a time: each leaves a port in TIME_WAIT behind, and there are 28,000.
pub(super) fn play(at_a_time: usize, server: &Server, pace: &Pace) -> anyhow::Result<Figures> {
    let mut load = Generator::new(server.addr)?;
    let mut latencies = Latencies::new();
    let watch = Watch::start(server);
    for _ in 0..at_a_time {
        let client = load.connect(SMALL)?;
        load.clients[client].ask(Instant::now());
    }
    let mut last = Instant::now();
    let mut finished = Vec::new();
    while (latencies.count() as usize) < pace.churn {
        load.turn(last + PATIENCE, &mut |_, reply| {
            last = reply.back;
            latencies.record(reply.back - reply.asked);
            finished.push(reply.client);
        })?;
        for client in finished.drain(..) {
            let asked = Instant::now();
            load.replace(client, SMALL)?;
            load.clients[client].ask(asked);
        }
        if last.elapsed() >= PATIENCE {
            bail!("no reply for {} s", PATIENCE.as_secs());
        }
    }
    let mut figures = watch.stop(latencies.count());
    latencies.tell(&mut figures);
    Ok(figures)
}

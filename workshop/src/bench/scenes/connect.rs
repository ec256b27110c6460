//! A crowd at the door.

use std::time::Instant;

use anyhow::bail;

use super::SMALL;
use crate::bench::figures::{Figure, Figures, Watch};
use crate::bench::load::{Generator, Latencies, PATIENCE};
use crate::bench::server::Server;

/// `clients` connect, `at_a_time` of them at a time, get one small message back, and stay. A connect is
/// over when the echo is there: before that it may be only the kernel that has answered.
pub(super) fn play(clients: usize, at_a_time: usize, server: &Server) -> anyhow::Result<Figures> {
    let mut load = Generator::new(server.addr)?;
    let mut latencies = Latencies::new();
    let watch = Watch::start(server);
    let start = Instant::now();
    let mut last = start;
    while (latencies.count() as usize) < clients {
        let under_way = load.clients.len() - latencies.count() as usize;
        let missing = clients - load.clients.len();
        for _ in 0..missing.min(at_a_time - under_way) {
            let asked = Instant::now();
            let client = load.connect(SMALL)?;
            load.clients[client].ask(asked);
        }
        load.turn(last + PATIENCE, &mut |_, reply| {
            last = reply.back;
            latencies.record(reply.back - reply.asked);
        })?;
        if last.elapsed() >= PATIENCE {
            bail!("no reply for {} s", PATIENCE.as_secs());
        }
    }
    let total = start.elapsed();
    let mut figures = watch.stop(latencies.count());
    figures.insert(Figure::TotalMillis, total.as_secs_f64() * 1e3);
    latencies.tell(&mut figures);
    Ok(figures)
}

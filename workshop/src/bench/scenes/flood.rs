//! Can a client that asks little be heard beside one that never stops?

use std::time::{Duration, Instant};

use super::{BULK, Pace, SMALL};
use crate::bench::figures::{Figure, Figures, Watch};
use crate::bench::load::{Generator, Latencies};
use crate::bench::server::Server;

const POLITE: usize = 0;
const FLOODING: usize = 1;

/// When the polite client asks, whether it has had its last reply or not.
const PERIOD: Duration = Duration::from_millis(1);

/// How many bulk messages the flooding client keeps under way: 1 MiB, so that there is always more to
/// read, and never so much that the kernel has no room for what comes back.
const FLOOD_DEPTH: usize = 16;

pub(super) fn play(server: &Server, pace: &Pace) -> anyhow::Result<Figures> {
    let mut load = Generator::new(server.addr)?;
    load.admit(1, SMALL)?;
    load.admit(1, BULK)?;
    for _ in 0..FLOOD_DEPTH {
        load.clients[FLOODING].ask(Instant::now());
    }
    load.send(FLOODING)?;
    both(&mut load, pace.warm_up)?;
    let watch = Watch::start(server);
    let (latencies, floods) = both(&mut load, pace.measure)?;
    let mut figures = watch.stop(floods);
    let bulk = figures[&Figure::PerSecond] * BULK as f64 / 1e6;
    figures.insert(Figure::MegabytesPerSecond, bulk);
    latencies.tell(&mut figures);
    Ok(figures)
}

/// Both clients for a while. Returns the polite one's latencies, and how many messages of the other came
/// back.
fn both(load: &mut Generator, time: Duration) -> anyhow::Result<(Latencies, u64)> {
    let mut latencies = Latencies::new();
    let mut floods = 0;
    let start = Instant::now();
    let mut next = start;
    while start.elapsed() < time {
        while next <= Instant::now() {
            // From when it should have been asked, not from when we got round to it: otherwise a server
            // that stalls us would also hide how long.
            load.clients[POLITE].ask(next);
            next += PERIOD;
        }
        load.send(POLITE)?;
        load.turn(next, &mut |client, reply| {
            if reply.client == FLOODING {
                floods += 1;
                client.ask(reply.back);
            } else if reply.asked >= start {
                latencies.record(reply.back - reply.asked);
            }
        })?;
    }
    // Those who still wait have waited at least this long.
    let now = Instant::now();
    load.clients[POLITE].under_way().for_each(|asked| latencies.record(now - asked));
    Ok((latencies, floods))
}

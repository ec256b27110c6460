//! What it costs that nothing happens.

use std::time::{Duration, Instant};

use super::{Pace, SMALL};
use crate::bench::figures::{Figures, Watch};
use crate::bench::load::Generator;
use crate::bench::server::Server;

pub(super) fn play(clients: usize, server: &Server, pace: &Pace) -> anyhow::Result<Figures> {
    let mut load = Generator::new(server.addr)?;
    load.admit(clients, SMALL)?;
    // What comes after the last reply, be it a read(2) that finds nothing, is not what we look for.
    wait(&mut load, pace.warm_up)?;
    let watch = Watch::start(server);
    wait(&mut load, pace.idle)?;
    Ok(watch.stop(0))
}

/// Lets time pass. If a server closes on a client meanwhile, the turn says so.
fn wait(load: &mut Generator, time: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        load.turn(until, &mut |_, _| {})?;
    }
    Ok(())
}

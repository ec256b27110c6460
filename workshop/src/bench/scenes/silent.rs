//! How much one client can make a server hold.

use std::time::Duration;

use anyhow::Context;

use super::SMALL;
use crate::bench::figures::{Figure, Figures};
use crate::bench::load::Generator;
use crate::bench::server::Server;

/// When nothing was taken for this long, nothing more will be.
const PAUSE: Duration = Duration::from_millis(200);

/// A server that has taken this much without being read from has no bound. It should not take the
/// machine along.
const NO_BOUND: u64 = 256 * 1024 * 1024;

/// A client sends for as long as it gets rid of anything, and reads nothing back.
pub(super) fn play(server: &Server) -> anyhow::Result<Figures> {
    let mut load = Generator::new(server.addr)?;
    load.admit(1, SMALL)?;
    let rss = || Some(server.usage()?.rss_bytes as f64 / 1024.0);
    let before = rss().context("this system does not tell")?;
    let taken = load.stuff(0, PAUSE, NO_BOUND)?;
    let after = rss().context("it has ended")?;
    Ok(Figures::from([
        (Figure::RssKibMore, after - before),
        (Figure::SentMegabytes, taken as f64 / 1e6),
    ]))
}

//! What it costs to know a client.

use anyhow::Context;

use super::SMALL;
use crate::bench::figures::{Figure, Figures};
use crate::bench::load::Generator;
use crate::bench::server::Server;

const FEW: usize = 1000;
pub(super) const MANY: usize = 10_000;

/// Resident memory with 1, 1,000 and 10,000 clients, each of whom was served once; and the slope.
pub(super) fn play(server: &Server) -> anyhow::Result<Figures> {
    let mut load = Generator::new(server.addr)?;
    let mut figures = Figures::new();
    let mut rss = |clients: usize, figure| {
        load.admit(clients - load.clients.len(), SMALL)?;
        let usage = server.usage().context("this system does not tell")?;
        figures.insert(figure, usage.rss_bytes as f64 / 1024.0);
        figures.insert(Figure::Threads, usage.threads as f64);
        anyhow::Ok(usage.rss_bytes as f64)
    };
    rss(1, Figure::RssKib1)?;
    let few = rss(FEW, Figure::RssKib1000)?;
    let many = rss(MANY, Figure::RssKib10000)?;
    figures.insert(Figure::RssBytesPerClient, (many - few) / (MANY - FEW) as f64);
    Ok(figures)
}

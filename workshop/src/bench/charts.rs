//! Which charts the book has, and what is in them.

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::chart::{Bar, Bars, Lines, Series};
use super::figures::Figure;
use super::results::{Results, Row, Table};

/// Scenes that differ in nothing but how many clients there are.
const BY_CLIENTS: [(&str, f64); 4] =
    [("ask-1", 1.0), ("ask-64", 64.0), ("ask-1000", 1000.0), ("ask-10000", 10_000.0)];

/// Resident memory with so many clients.
const MEMORY: [(Figure, f64); 3] =
    [(Figure::RssKib1, 1.0), (Figure::RssKib1000, 1000.0), (Figure::RssKib10000, 10_000.0)];

/// The same peer twice more would only hide the others.
const NOT_DRAWN: [&str; 2] = ["tokio-64k", "tokio-multi"];

/// Draws every chart for which there are results.
pub(super) fn draw(results: &Results, dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let charts = [
        ("bench-throughput.svg", throughput(results)),
        ("bench-p99.svg", p99(results)),
        ("bench-memory.svg", memory(results)),
        ("bench-idle.svg", idle(results)),
        ("bench-polite.svg", polite(results)),
    ];
    for (name, svg) in charts {
        let Some(svg) = svg else { continue };
        let file = dir.join(name);
        fs::write(&file, svg).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn throughput(results: &Results) -> Option<String> {
    Lines {
        title: "Replies per second, in thousands (64 bytes each)",
        across: "clients",
        series: by_clients(results, Figure::PerSecond, 1e-3),
        log_up: false,
    }
    .svg()
}

fn p99(results: &Results) -> Option<String> {
    Lines {
        title: "99 of 100 replies come within so many milliseconds",
        across: "clients",
        series: by_clients(results, Figure::P99Micros, 1e-3),
        log_up: true,
    }
    .svg()
}

fn memory(results: &Results) -> Option<String> {
    let table = results.table("memory")?;
    let series = drawn(table).map(|(colour, row)| {
        let mib = |(figure, clients)| Some((clients, row.figure(figure)?.median / 1024.0));
        let points = MEMORY.into_iter().filter_map(mib).collect();
        Series { name: drawn_name(&row.server), colour, points }
    });
    Lines {
        title: "Resident memory in MiB, with silent clients",
        across: "clients",
        series: series.collect(),
        log_up: true,
    }
    .svg()
}

fn idle(results: &Results) -> Option<String> {
    Bars {
        title: "CPU ms per second, while 1,000 clients say nothing",
        bars: bars(results, "idle", Figure::CpuMillisPerSecond, 1.0),
        log: false,
    }
    .svg()
}

fn polite(results: &Results) -> Option<String> {
    Bars {
        title: "A polite client beside a flood: p99 in milliseconds",
        bars: bars(results, "flood", Figure::P99Micros, 1e-3),
        log: true,
    }
    .svg()
}

/// Those who are drawn, each with a colour that is theirs in every table.
fn drawn(table: &Table) -> impl Iterator<Item = (usize, &Row)> {
    table.rows.iter().filter(|row| !NOT_DRAWN.contains(&&*row.server)).enumerate()
}

/// There is not much room at the end of a line: `stage3-nonblocking-busy` is `3 busy`.
fn drawn_name(server: &str) -> String {
    let stage = server.strip_prefix("stage").and_then(|rest| rest.split_once('-'));
    let words = stage.map(|(number, name)| (number, name.rsplit('-').next().unwrap_or(name)));
    words.map_or(server.to_owned(), |(number, name)| format!("{number} {name}"))
}

fn by_clients(results: &Results, figure: Figure, unit: f64) -> Vec<Series> {
    let tables: Vec<_> =
        BY_CLIENTS.iter().filter_map(|(scene, n)| Some((results.table(scene)?, *n))).collect();
    let Some((first, _)) = tables.first() else { return Vec::new() };
    let points = |server: &str| {
        let point = |&(table, clients): &(&Table, f64)| {
            Some((clients, table.row(server)?.figure(figure)?.median * unit))
        };
        tables.iter().filter_map(point).collect()
    };
    let series = |(colour, row): (usize, &Row)| Series {
        name: drawn_name(&row.server),
        colour,
        points: points(&row.server),
    };
    drawn(first).map(series).collect()
}

fn bars(results: &Results, scene: &str, figure: Figure, unit: f64) -> Vec<Bar> {
    let Some(table) = results.table(scene) else { return Vec::new() };
    let bar = |(colour, row): (usize, &Row)| {
        let value = row.figure(figure)?.median * unit;
        Some(Bar { name: drawn_name(&row.server), colour, value })
    };
    drawn(table).filter_map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_drawn_with_its_number_and_its_last_word() {
        let names = ["stage3-nonblocking-busy", "stage5-mio", "c", "tokio-64k"].map(drawn_name);
        assert_eq!(names, ["3 busy", "5 mio", "c", "tokio-64k"]);
    }
}

//! The same figures where there is no terminal: a line a second.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use anyhow::Context;

use super::figures::{doing, memory, rate, short, time, unknown};
use super::process::Queues;
use super::server::Stats;
use super::state::{Row, State, Who, groups};

/// Prints one line. False if the reader has gone.
pub(super) fn print(line: &str) -> anyhow::Result<bool> {
    match writeln!(io::stdout(), "{line}") {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        printed => printed.map(|()| true).context("cannot write to stdout"),
    }
}

/// Which server it is, and what cannot be told of it.
pub(super) fn head(state: &State) -> String {
    let Some(server) = &state.server else { return String::new() };
    let mut lines = format!("{} on {}, process {}", server.name, server.addr, server.pid);
    for note in state.missing.into_iter().chain(state.uncounted()) {
        lines += &format!("\n({note})");
    }
    lines
}

/// What is known at this moment.
pub(super) fn line(now: Duration, state: &State) -> String {
    let mut parts = vec![format!("{:5.1} s", now.as_secs_f64())];
    if let Some(news) = &state.news {
        parts.push(news.lines().next().unwrap_or_default().to_owned());
    }
    parts.extend(threads(state));
    parts.push(figures(state));
    parts.extend(groups(&state.clients).iter().map(client));
    parts.join("; ")
}

fn threads(state: &State) -> Option<String> {
    let doing = doing(&state.doing(), state.threads.len());
    let words: Vec<_> = doing.into_iter().map(|(_, words)| words).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn figures(state: &State) -> String {
    let figures = &state.figures;
    let count = |n: Option<u64>| n.map_or_else(unknown, short);
    let cpu = figures.cpu_percent.map_or_else(unknown, |cpu| format!("{cpu:.0} %"));
    let mut text =
        format!("CPU {cpu}, wake-ups {}", rate(figures.wakeups.map(|n| n.round() as u64)));
    if let Some(stats) = &figures.stats {
        let Stats { reads, writes, would_blocks, bytes, longest_turn } = stats;
        text += &format!(
            ", reads {}, writes {}, EAGAIN {}, bytes {}, longest turn {longest_turn}",
            rate(Some(*reads)),
            rate(Some(*writes)),
            rate(Some(*would_blocks)),
            rate(Some(*bytes)),
        );
    }
    text + &format!(
        ", memory {}, threads {}, descriptors {}, backlog {}",
        memory(figures.memory),
        count(figures.threads),
        count(figures.descriptors),
        count(figures.backlog),
    )
}

fn client(row: &Row) -> String {
    let mut text = match (row.who, row.clients) {
        (Who::Ours(kind), 1) => format!("1 {}", kind.name()),
        _ => row.name(),
    };
    let standings = row.standings.iter().map(|(standing, count)| match row.clients {
        1 => standing.word().to_owned(),
        _ => format!("{count} {}", standing.word()),
    });
    text += &format!(" ({})", standings.collect::<Vec<_>>().join(", "));
    if let Some(Queues { client_out, server_in, server_out, client_in, .. }) = row.queues {
        let in_server = row.in_server.map(|n| format!(", in server {n}")).unwrap_or_default();
        text += &format!(
            " client send {client_out}, server recv {server_in}{in_server}, \
             server send {server_out}, client recv {client_in}"
        );
    }
    if matches!(row.who, Who::Ours(_)) {
        text += &format!(", back {}", row.back);
    }
    if let Some(trip) = row.trip {
        text += &format!(", trip {}", time(trip));
    }
    text
}

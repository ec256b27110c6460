//! The picture: what [`State`] holds, on a terminal of any size.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Margin, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::figures::{doing, memory, rate, short, time, unknown};
use super::kind::{HUNDRED, Kind};
use super::process::{Doing, Queues};
use super::server::{STAGES, Stats};
use super::state::{Row, Standing, State, Who, rows};
use crate::exercises::grouped;

/// Three colours, which can be read on black and on white: yellow and cyan cannot.
const GOOD: Color = Color::Green;
const LOOK_HERE: Color = Color::Magenta;
const BAD: Color = Color::Red;

/// The whole picture. Where there is little room, the log goes first, then the queues.
pub(super) fn draw(frame: &mut Frame, state: &State) {
    let area = frame.area();
    let is_high = area.height >= 24;
    let log_lines = match area.height {
        ..18 => 0,
        18..30 => 3,
        _ => 6,
    };
    let gap = u16::from(is_high);
    let note = note(state);
    let heights = [
        Constraint::Length(1),
        Constraint::Length(gap),
        Constraint::Length(2),
        Constraint::Length(gap),
        Constraint::Length(2),
        Constraint::Length(u16::from(note.is_some() || is_high)),
        Constraint::Fill(1),
        Constraint::Length(if log_lines > 0 { log_lines + 1 } else { 0 }),
        Constraint::Length(1),
    ];
    let [title_at, _, threads_at, _, figures_at, note_at, clients_at, log_at, keys_at] =
        Layout::vertical(heights).areas(area);
    frame.render_widget(title(state, area.width), title_at);
    frame.render_widget(threads(state, area.width), threads_at);
    frame.render_widget(figures(state, area.width), figures_at);
    frame.render_widget(note.unwrap_or_default(), note_at);
    frame.render_widget(clients(state, clients_at), clients_at);
    frame.render_widget(log(state, log_at), log_at);
    frame.render_widget(keys(area.width), keys_at);
    if state.shows_help {
        show_help(frame, area);
    }
}

fn title(state: &State, width: u16) -> Paragraph<'static> {
    let server = state.server.as_ref();
    let left = server.map_or_else(
        || " live".to_owned(),
        |server| {
            let attached = if server.is_ours { "" } else { "  (attached)" };
            format!(" {}  {}  pid {}{attached}", server.name, server.addr, server.pid)
        },
    );
    let paused = if state.is_paused { "PAUSED  " } else { "" };
    let stages = (0..STAGES.len()).map(|i| match state.stage() == Some(i) {
        true => format!("[{}]", i + 1),
        false => format!(" {} ", i + 1),
    });
    let right = format!("{paused}{} ", stages.collect::<String>());
    let room = usize::from(width).saturating_sub(right.chars().count());
    Paragraph::new(format!("{left:<room$.room$}{right}").bold().reversed())
}

/// What the server is in, in words and as a line of moments.
fn threads(state: &State, width: u16) -> Paragraph<'static> {
    let mut words = vec![Span::raw(" ")];
    if let Some(news) = &state.news {
        let first = news.lines().next().unwrap_or_default();
        words.push(first.to_owned().bold().fg(BAD));
        return Paragraph::new(Line::from(words));
    }
    if state.threads.len() > 1 {
        words.push(format!("{} threads:  ", state.threads.len()).bold());
    }
    for (doing, text) in doing(&state.doing(), state.threads.len()) {
        let colour = if doing == Doing::Runs { LOOK_HERE } else { GOOD };
        words.push(text.bold().fg(colour));
        words.push(Span::raw("   "));
    }
    const HEAD: &str = " running ";
    let room = usize::from(width).saturating_sub(HEAD.len() + 1);
    let shown = state.moments.iter().skip(state.moments.len().saturating_sub(room));
    let moments: String = shown.map(|share| BLOCKS[(share * 7.0).ceil() as usize]).collect();
    let head = if moments.is_empty() { "" } else { HEAD };
    Paragraph::new(vec![Line::from(words), Line::from(vec![head.into(), moments.fg(LOOK_HERE)])])
}

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Large figures with their names below, as many as there is room for.
fn figures(state: &State, width: u16) -> Paragraph<'static> {
    let figures = &state.figures;
    let stat = |of: fn(&Stats) -> u64| rate(figures.stats.as_ref().map(of));
    let count = |n: Option<u64>| n.map_or_else(unknown, short);
    let percent = figures.cpu_percent.map_or_else(unknown, |cpu| format!("{cpu:.0} %"));
    let turn = figures.stats.as_ref().map(|stats| stats.longest_turn.clone());
    let all = [
        ("CPU", 5, percent),
        ("wake-ups", 8, rate(figures.wakeups.map(|n| n.round() as u64))),
        ("reads", 7, stat(|stats| stats.reads)),
        ("writes", 7, stat(|stats| stats.writes)),
        ("EAGAIN", 7, stat(|stats| stats.would_blocks)),
        ("memory", 6, memory(figures.memory)),
        ("threads", 7, count(figures.threads)),
        ("descriptors", 11, count(figures.descriptors)),
        ("backlog", 7, count(figures.backlog)),
        ("bytes", 7, stat(|stats| stats.bytes)),
        ("longest turn", 12, turn.unwrap_or_else(unknown)),
    ];
    // As far apart as they fit: they are read from the back of a room.
    let needed: usize = all.iter().map(|(_, column, _)| column).sum();
    let gap = (usize::from(width).saturating_sub(needed + 1) / all.len()).clamp(1, 4);
    let (mut values, mut names) = (String::new(), String::new());
    for (name, column, value) in all {
        let column = column + gap;
        if names.len() + column < usize::from(width) {
            values += &format!("{value:>column$}");
            names += &format!("{name:>column$}");
        }
    }
    Paragraph::new(vec![Line::from(values.bold()), Line::from(names)])
}

/// What is not shown, and why.
fn note(state: &State) -> Option<Paragraph<'static>> {
    let why = state.missing.or_else(|| state.uncounted())?;
    Some(Paragraph::new(format!(" {why}").italic()))
}

/// How wide the columns of the clients are. 0: there is no room for it.
struct Columns {
    kind: usize,
    standing: usize,
    bar: usize,
    /// The bytes of a queue, as a figure.
    bytes: usize,
    in_server: usize,
    trips: usize,
}

/// The bytes that came back, and the round trip.
const BACK: usize = 7;
const TRIP: usize = 8;

impl Columns {
    fn of(width: usize) -> Self {
        let (kind, standing, bytes, in_server) = match width {
            ..60 => (12, 10, 0, 0),
            60..100 => (12, 10, 5, 0),
            100..120 => (15, 10, 5, 10),
            120..150 => (15, 18, 5, 10),
            _ => (15, 18, 10, 11),
        };
        let left = width.saturating_sub(kind + standing + in_server + BACK + TRIP + 1);
        if bytes == 0 {
            return Self { kind, standing, bar: 0, bytes, in_server, trips: left };
        }
        // The same for each of the four queues and for the round trips.
        let bar = (left / 5).saturating_sub(bytes + 1).max(2);
        let trips = left.saturating_sub(4 * (bar + bytes + 1) + 1);
        Self { kind, standing, bar, bytes, in_server, trips }
    }

    fn queue(&self) -> usize {
        self.bar + self.bytes + 1
    }
}

fn clients(state: &State, area: Rect) -> Paragraph<'static> {
    let columns = Columns::of(area.width.into());
    let (rows, left_out) = rows(&state.clients, usize::from(area.height).saturating_sub(1));
    let mut lines = vec![head(&columns)];
    if rows.is_empty() && state.news.is_none() {
        lines.push(Line::from(" No clients yet: press t, s, f, n, d, h, r or c.".italic()));
    }
    lines.extend(rows.iter().map(|row| client(row, &columns)));
    if left_out > 0
        && let Some(last) = lines.last_mut()
    {
        *last = Line::from(format!(" and {} more", left_out + 1));
    }
    Paragraph::new(lines)
}

fn head(columns: &Columns) -> Line<'static> {
    let Columns { kind, standing, in_server, .. } = *columns;
    let width = columns.queue();
    let names = match width {
        12.. => ["client send", "server recv", "server send", "client recv"],
        _ => ["c.send", "s.recv", "s.send", "c.recv"],
    };
    let mut line = format!(" {:<kind$}{:<standing$}", "client", "state");
    for (i, name) in names.iter().enumerate().filter(|_| columns.bytes > 0) {
        line += &format!("{name:<width$}");
        if i == 1 && in_server > 0 {
            line += &format!("{:<in_server$}", "in server");
        }
    }
    line += &format!("{:>BACK$}{:>TRIP$}", "back", "trip");
    Line::from(line.underlined())
}

fn client(row: &Row, columns: &Columns) -> Line<'static> {
    let Columns { kind, standing, in_server, .. } = *columns;
    let mut spans = vec![Span::raw(format!(" {:<kind$.kind$}", row.name()))];
    spans.push(standing_of(row, standing));
    let Queues { client_out, server_in, server_out, client_in, .. } =
        row.queues.unwrap_or_default();
    for (i, n) in [client_out, server_in, server_out, client_in].into_iter().enumerate() {
        if columns.bytes > 0 {
            spans.extend(queue(row.queues.map(|_| n), row.clients, columns));
        }
        if i == 1 && in_server > 0 {
            let bytes = row.in_server.map(|n| figure(n, columns)).unwrap_or_default();
            spans.push(Span::raw(format!("{bytes:<in_server$.in_server$}")));
        }
    }
    let back = if let Who::Ours(_) = row.who { short(row.back) } else { String::new() };
    spans.push(Span::raw(format!("{back:>BACK$}")));
    let trip = row.trip.map(time).unwrap_or_default();
    let style = if row.is_late { Style::new().fg(LOOK_HERE).bold() } else { Style::new() };
    spans.push(Span::styled(format!("{trip:>TRIP$}"), style));
    spans.push(Span::raw(format!(" {}", trips(row, columns.trips))));
    Line::from(spans)
}

fn standing_of(row: &Row, width: usize) -> Span<'static> {
    let words: Vec<_> = row
        .standings
        .iter()
        .map(|(standing, count)| match row.clients {
            1 => standing.word().to_owned(),
            _ => format!("{count} {}", standing.word()),
        })
        .collect();
    let room = width.saturating_sub(1);
    let text = format!("{:<width$}", format!("{:.room$}", words.join(" ")));
    let worst = row.standings.first().map_or(Standing::Left, |(standing, _)| *standing);
    match worst {
        Standing::CutOff | Standing::Refused => text.fg(BAD).bold(),
        Standing::Waits | Standing::InBacklog | Standing::Connecting => text.fg(LOOK_HERE).bold(),
        Standing::Served | Standing::Sends => text.fg(GOOD).bold(),
        Standing::Open | Standing::Closed | Standing::Left => text.into(),
    }
}

/// A queue of this many bytes fills its bar: about as much as the kernel lets a send queue grow.
const FULL: f64 = 4.0 * 1024.0 * 1024.0;

/// The bytes of one queue, as a bar and as a figure.
fn queue(bytes: Option<u64>, clients: usize, columns: &Columns) -> [Span<'static>; 2] {
    let Some(bytes) = bytes else {
        return [Span::raw(" ".repeat(columns.queue())), Span::raw("")];
    };
    let each = bytes as f64 / clients as f64;
    // Logarithmic: six bytes and four million are both to be seen.
    let share = (each.ln_1p() / FULL.ln_1p()).min(1.0);
    let (column, width) = (columns.bar, columns.bytes);
    // Where there is room for it, a full bar does not touch its figure.
    let bar = if column > 4 { column - 1 } else { column };
    let figure = if bytes == 0 { "·".to_owned() } else { figure(bytes, columns) };
    [Span::raw(format!("{:<column$}", bar_of(share, bar))), Span::raw(format!("{figure:<width$} "))]
}

fn figure(bytes: u64, columns: &Columns) -> String {
    if columns.bytes >= 10 { grouped(bytes) } else { short(bytes) }
}

/// A bar in eighths of a character.
fn bar_of(share: f64, width: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (share * (width * 8) as f64).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(EIGHTHS[eighths % 8]);
    }
    format!("{bar:<width$}")
}

/// The latest round trips, from 10 µs at the bottom to a second at the top: each step is about four times the last.
fn trips(row: &Row, width: usize) -> String {
    if !row.who.has_round_trips() {
        return String::new();
    }
    let level = |trip: &Duration| {
        let decades = (trip.as_secs_f64().max(1e-5) / 1e-5).log10();
        BLOCKS[((decades / 5.0 * 7.0).round() as usize).min(7)]
    };
    let shown = row.trips.len().saturating_sub(width);
    row.trips.iter().skip(shown).map(level).collect()
}

fn log(state: &State, area: Rect) -> Paragraph<'static> {
    let lines = usize::from(area.height).saturating_sub(1);
    // What cargo says of a stage that it cannot build is more than one line.
    let log: Vec<String> = match &state.news {
        Some(news) if news.lines().count() > 1 => {
            news.lines().skip(1).take(lines).map(str::to_owned).collect()
        }
        _ => state.log.iter().skip(state.log.len().saturating_sub(lines)).cloned().collect(),
    };
    let width = usize::from(area.width);
    let mut shown = vec![Line::from(format!("{:<width$}", " log").underlined())];
    shown.extend(log.into_iter().map(|line| Line::from(format!(" {line}"))));
    Paragraph::new(shown)
}

fn keys(width: u16) -> Paragraph<'static> {
    let keys = match width {
        ..56 => "tsfndhrc add  x remove  ? help  q quit",
        56..100 => "t s f n d h r c add   x remove   1-6 stage   space pause   ? help   q quit",
        _ => {
            "t talk  s silent  f flood  n never reads  d dribble  h half-close  r reset  c 100  \
             x remove  1-6 stage  ? help  q quit"
        }
    };
    Paragraph::new(format!(" {keys:<width$}", width = usize::from(width)).reversed())
}

fn show_help(frame: &mut Frame, area: Rect) {
    let mut lines: Vec<Line> = Kind::ALL
        .iter()
        .map(|kind| {
            line_of_help(&kind.key().to_string(), &format!("{}: {}", kind.name(), kind.what()))
        })
        .collect();
    let others = [
        ("c", &*format!("{HUNDRED} silent clients at once")),
        ("x X", "take the last client away, all clients"),
        ("1-6", "another stage; the clients connect anew"),
        ("space", "stop the picture, and go on"),
        ("q", "quit; Ctrl-C too"),
        ("", ""),
        ("send", "sent, and not acknowledged by the other side"),
        ("recv", "arrived, and not read by the program"),
        ("", "Bars are logarithmic; 4 MB fill one."),
        ("port", "a client of another program"),
        ("back", "bytes of the echo that the client has read"),
        ("running", "on a core, or waiting for one"),
        ("threads", "without the one that writes --stats"),
    ];
    lines.extend(others.map(|(key, what)| line_of_help(key, what)));
    let height = (lines.len() as u16 + 2).min(area.height);
    let width = 78.min(area.width);
    let margin = Margin::new((area.width - width) / 2, (area.height - height) / 2);
    let at = area.inner(margin);
    frame.render_widget(Clear, at);
    let style = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(
        Paragraph::new(lines).block(Block::bordered().title(" help ").style(style)),
        at,
    );
}

fn line_of_help(key: &str, what: &str) -> Line<'static> {
    Line::from(format!(" {key:<9}{what}"))
}

#[cfg(test)]
mod tests;

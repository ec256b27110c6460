//! The picture as text, on terminals of several sizes.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::process::{Sockets, Used};
use super::super::state::{Client, Seen, Server};
use super::*;

/// The rows of the picture.
fn picture(state: &State, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| row(y).trim_end().to_owned()).collect()
}

#[track_caller]
fn check_shows(picture: &[String], expected: &[&str]) {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in expected {
        let is_there = picture.iter().any(|row| words(row).contains(expected));
        assert!(is_there, "no {expected:?}:\n{}", picture.join("\n"));
    }
}

fn server(name: &str, is_ours: bool) -> State {
    let mut state = State::default();
    let addr = "127.0.0.1:40123".parse().unwrap();
    state.begin(Server { name: name.to_owned(), pid: 4242, addr, is_ours });
    state
}

fn client(kind: Kind, standing: Standing) -> Client {
    Client {
        who: Who::Ours(kind),
        standing,
        queues: Some(Queues::default()),
        in_server: None,
        back: 0,
        trips: Vec::new(),
        unanswered: None,
    }
}

fn never_reads() -> Client {
    let queues = Queues {
        client_out: 4_164_235,
        server_in: 1_096_115,
        server_out: 4_113_919,
        client_in: 128_513,
        in_backlog: false,
        is_open: true,
    };
    let in_server = Some(61_446);
    Client { queues: Some(queues), in_server, ..client(Kind::NeverRead, Standing::Waits) }
}

fn flood(back: u64) -> Client {
    let queues = Queues { server_in: 655_360, ..Queues::default() };
    Client { back, queues: Some(queues), ..client(Kind::Flood, Standing::Served) }
}

/// Stage 5 with one client of several kinds, in the middle of its work.
fn at_work() -> State {
    let mut state = server("stage5-mio", true);
    (0..3).for_each(|_| state.see_threads(vec![Doing::In("epoll_wait")]));
    state.see_threads(vec![Doing::Runs]);
    let stats = Stats {
        reads: 4_811,
        writes: 4_811,
        would_blocks: 3,
        bytes: 1_279_328_284,
        longest_turn: "4.5ms".to_owned(),
    };
    let used = |ms| Used {
        cpu: Duration::from_millis(ms),
        wakeups: [(4242, ms)].into(),
        threads: 2,
        memory: Some(155_648),
        descriptors: Some(9),
    };
    let seen = |ms| Seen {
        used: Some(used(ms)),
        sockets: Some(Sockets { backlog: Some(0), ..Sockets::default() }),
        stats: Some(stats.clone()),
        log: (1..=9).map(|i| format!("18:42:35.372  DEBUG connected client={i}")).collect(),
        ..Seen::default()
    };
    state.see(Duration::ZERO, seen(0));
    state.see(Duration::from_secs(1), seen(420));
    let trips = [40, 400, 4_000, 40_000].map(Duration::from_micros).to_vec();
    state.clients = vec![
        Client { trips, back: 24, ..client(Kind::Talk, Standing::Served) },
        flood(12_300_000_000),
        never_reads(),
    ];
    state
}

#[test]
fn at_80_by_24_the_whole_story_is_there() {
    let picture = picture(&at_work(), 80, 24);
    check_shows(
        &picture,
        &[
            "stage5-mio 127.0.0.1:40123 pid 4242 1 2 3 4 [5] 6",
            "asleep in epoll_wait 75 % running 25 %",
            "running ▁▁▁█",
            "42 % 420/s 4811/s 4811/s 3/s 152K 1 9 0",
            "CPU wake-ups reads writes EAGAIN memory threads descriptors backlog",
            "client state c.send s.recv s.send c.recv back trip",
            "talk served · · · · 24 40 ms ▂▃▅▆",
            "flood served · █▊655K · · 12.3G",
            "never reads waits ██4.16M █▉1.10M ██4.11M █▌129K 0",
            "connected client=9",
        ],
    );
    assert_eq!(
        picture[23],
        " t s f n d h r c add   x remove   1-6 stage   space pause   ? help   q quit"
    );
}

#[test]
fn at_120_by_40_what_the_server_keeps_itself_and_the_longest_turn_are_there_too() {
    check_shows(
        &picture(&at_work(), 120, 40),
        &[
            "backlog bytes longest turn",
            "0 1.28G/s 4.5ms",
            "client send server recv in server server send client recv",
            "never reads waits █████ 4.16M ████▌ 1.10M 61.4K █████ 4.11M ███▉ 129K 0",
            "connected client=4",
        ],
    );
}

#[test]
fn on_a_wide_one_each_byte_is_counted() {
    let figures = ["4,164,235", "1,096,115", "61,446", "4,113,919", "128,513"];
    check_shows(&picture(&at_work(), 170, 40), &figures);
}

#[test]
fn stage_2_has_threads_and_says_what_is_not_counted() {
    let mut state = server("stage2-threads", true);
    state.see_threads([vec![Doing::In("accept")], vec![Doing::In("read"); 11]].concat());
    let picture = picture(&state, 80, 24);
    let threads = "12 threads: 11 asleep in read 1 asleep in accept";
    let note = "Reads and writes are not counted: this stage has no --stats.";
    check_shows(&picture, &[threads, note, "– – – – – – – –"]);
}

#[test]
fn without_clients_it_says_which_keys_bring_some() {
    let picture = picture(&server("stage4-epoll", true), 80, 24);
    check_shows(&picture, &["No clients yet: press t, s, f, n, d, h, r or c.", "[4]"]);
}

#[test]
fn a_hundred_silent_clients_are_one_line() {
    let mut state = at_work();
    state.clients.extend(vec![client(Kind::Silent, Standing::Open); 97]);
    state.clients.extend(vec![client(Kind::Silent, Standing::CutOff); 3]);
    check_shows(&picture(&state, 80, 24), &["100 silent 3 cut off · · · · 0", "talk served"]);
    check_shows(&picture(&state, 120, 40), &["100 silent 3 cut off 97 open"]);
}

#[test]
fn an_attached_server_a_pause_and_news_are_told() {
    let mut state = server("mine", false);
    state.is_paused = true;
    let note = "Reads and writes are not counted: --stats speaks to the server's own terminal.";
    let title = "mine 127.0.0.1:40123 pid 4242 (attached)";
    check_shows(&picture(&state, 80, 24), &[title, "PAUSED 1 2 3 4 5 6", note]);
    state.is_without("stage5-mio cannot be built:\nerror[E0425]: not found\n --> src".to_owned());
    let seen = ["stage5-mio cannot be built:", "error[E0425]: not found", "--> src"];
    check_shows(&picture(&state, 80, 24), &seen);
}

#[test]
fn the_help_names_each_key() {
    let mut state = at_work();
    state.shows_help = true;
    let picture = picture(&state, 80, 24);
    for kind in Kind::ALL {
        check_shows(&picture, &[&format!("{} {}: {}", kind.key(), kind.name(), kind.what())]);
    }
    check_shows(&picture, &["c 100 silent clients at once", "q quit; Ctrl-C too"]);
}

#[test]
fn a_small_terminal_shows_what_it_can() {
    let seen = picture(&at_work(), 40, 12);
    check_shows(&seen, &["asleep in epoll_wait 75 %", "never reads waits 0"]);
    let mut state = at_work();
    state.shows_help = true;
    for (width, height) in [(0, 0), (1, 1), (3, 40), (200, 2), (20, 5), (79, 17)] {
        picture(&state, width, height);
        picture(&at_work(), width, height);
    }
}

#[test]
fn a_bar_grows_with_the_bytes_and_no_further_than_its_column() {
    let widths = [0.0, 0.1, 0.5, 1.0].map(|share| bar_of(share, 4));
    assert_eq!(widths, ["    ", "▍   ", "██  ", "████"]);
}

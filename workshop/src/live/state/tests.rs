//! What is worked out of what was seen. Time is an argument here as well.

use super::*;

fn server(name: &str) -> Server {
    let addr = "127.0.0.1:9000".parse().expect("an address");
    Server { name: name.to_owned(), pid: 10, addr, is_ours: true }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn used(cpu: Duration, wakeups: &[(u32, u64)]) -> Seen {
    let wakeups = wakeups.iter().copied().collect();
    Seen { used: Some(Used { cpu, wakeups, threads: 2, ..Used::default() }), ..Seen::default() }
}

pub(in super::super) fn view(kind: Kind, port: u16) -> View {
    let port = Some(port);
    let (trips, unanswered, end) = (VecDeque::new(), None, None);
    View { kind, port, sent: 0, back: 0, trips, unanswered, end }
}

#[test]
fn cpu_and_wakeups_are_those_of_the_last_second() {
    let mut state = State::default();
    state.begin(server("stage5-mio"));
    state.see(ms(0), used(ms(5_000), &[(10, 1_000), (11, 500)]));
    assert_eq!(state.figures.cpu_percent, None, "nothing is known of one moment");
    state.see(ms(500), used(ms(5_250), &[(10, 1_010), (11, 600)]));
    // The other thread of a stage with one thread is the one that writes --stats, and no work of the server.
    assert_eq!((state.figures.cpu_percent, state.figures.wakeups), (Some(50.0), Some(20.0)));
    assert_eq!(state.figures.threads, Some(1));
    state.see(ms(1_000), used(ms(5_250), &[(10, 1_010)]));
    state.see(ms(1_500), used(ms(5_250), &[(10, 1_010)]));
    assert_eq!((state.figures.cpu_percent, state.figures.wakeups), (Some(0.0), Some(0.0)));
}

#[test]
fn a_thread_that_has_just_come_counts_from_its_beginning_and_one_that_has_ended_does_no_harm() {
    let mut state = State::default();
    state.begin(server("stage2-threads"));
    state.see(ms(0), used(ms(0), &[(10, 7), (11, 5)]));
    state.see(ms(1_000), used(ms(0), &[(10, 8), (12, 3)]));
    assert_eq!((state.figures.wakeups, state.figures.threads), (Some(4.0), Some(2)));
}

#[test]
fn one_thread_is_shown_in_shares_of_the_last_second_and_several_by_their_number() {
    let mut state = State::default();
    state.begin(server("stage5-mio"));
    (0..20).for_each(|_| state.see_threads(vec![Doing::Runs]));
    (0..15).for_each(|_| state.see_threads(vec![Doing::In("epoll_wait")]));
    assert_eq!(state.doing(), [(Doing::In("epoll_wait"), 75), (Doing::Runs, 25)]);
    state.see_threads(vec![Doing::In("accept"), Doing::In("read"), Doing::In("read")]);
    assert_eq!(state.doing(), [(Doing::In("read"), 2), (Doing::In("accept"), 1)]);
}

/// A client that has sent so much and has so much back, `ms` after another look at which it was the same.
fn after(ms_later: u64, view: View, queues: Queues) -> Client {
    let mut state = State::default();
    state.begin(server("stage5-mio"));
    let sockets = Sockets { queues: [(view.port.unwrap_or(0), queues)].into(), backlog: Some(0) };
    let seen = Seen { sockets: Some(sockets), clients: vec![view], ..Seen::default() };
    state.see(ms(0), seen.clone());
    state.see(ms(ms_later), seen);
    state.clients.remove(0)
}

#[test]
fn what_is_in_no_queue_is_in_the_server_as_soon_as_nothing_moves() {
    let never_reads = View { sent: 9_564_228, ..view(Kind::NeverRead, 1) };
    let queues = Queues {
        client_out: 4_164_235,
        server_in: 1_096_115,
        server_out: 4_113_919,
        client_in: 128_513,
        in_backlog: false,
        is_open: true,
    };
    let early = after(499, never_reads.clone(), queues);
    assert_eq!((early.standing, early.in_server), (Standing::Sends, None));
    let client = after(500, never_reads, queues);
    assert_eq!((client.standing, client.in_server), (Standing::Waits, Some(61_446)));
}

#[test]
fn a_client_waits_when_its_answer_is_late_and_is_in_the_backlog_when_it_was_not_accepted() {
    let queues = Queues::default();
    let talk = View { unanswered: Some(ms(499)), ..view(Kind::Talk, 1) };
    assert_eq!(after(0, talk.clone(), queues).standing, Standing::Served);
    let late = View { unanswered: Some(ms(500)), ..talk };
    assert_eq!(after(0, late.clone(), queues).standing, Standing::Waits);
    let backlog = Queues { in_backlog: true, ..queues };
    assert_eq!(after(0, late.clone(), backlog).standing, Standing::InBacklog);
    let cut_off = View { end: Some(End::CutOff), ..late.clone() };
    assert_eq!(after(0, cut_off, backlog).standing, Standing::CutOff);
    assert_eq!(after(0, View { port: None, ..late }, queues).standing, Standing::Connecting);
    assert_eq!(after(0, view(Kind::Silent, 1), queues).standing, Standing::Open);
    let flood = View { sent: 10, back: 5, ..view(Kind::Flood, 1) };
    assert_eq!(after(499, flood.clone(), queues).standing, Standing::Served);
    assert_eq!(after(500, flood, queues).standing, Standing::Waits);
}

#[test]
fn a_picture_that_is_paused_does_not_change() {
    let mut state = State::default();
    state.begin(server("stage5-mio"));
    state.see_threads(vec![Doing::Runs]);
    state.is_paused = true;
    state.see_threads(vec![Doing::In("read")]);
    state.see(ms(0), Seen { clients: vec![view(Kind::Talk, 1)], ..Seen::default() });
    assert_eq!((state.doing(), state.clients.len()), (vec![(Doing::Runs, 100)], 0));
}

#[test]
fn another_server_begins_without_the_figures_of_the_last_one() {
    let mut state = State::new(Some("no /proc"));
    state.begin(server("stage4-epoll"));
    state.see(ms(0), used(ms(900), &[(10, 5)]));
    state.see_threads(vec![Doing::Runs]);
    state.is_without("building".to_owned());
    assert!(state.doing().is_empty() && state.news.is_some());
    state.begin(server("stage5-mio"));
    assert_eq!((state.news.as_deref(), state.missing), (None, Some("no /proc")));
    assert!(state.moments.is_empty() && state.figures == Figures::default());
}

fn clients(kinds: &[(Kind, usize)]) -> Vec<Client> {
    let mut state = State::default();
    let views = kinds.iter().flat_map(|(kind, n)| vec![view(*kind, 1); *n]).collect();
    state.see(ms(0), Seen { clients: views, ..Seen::default() });
    state.clients
}

/// What the rows are, as `3 silent`, and how many had no room.
#[track_caller]
fn check_rows(kinds: &[(Kind, usize)], lines: usize, expected: &[&str], left_out: usize) {
    let (rows, left) = rows(&clients(kinds), lines);
    let rows: Vec<_> = rows.iter().map(Row::name).collect();
    assert_eq!((rows, left), (expected.iter().map(|row| (*row).to_owned()).collect(), left_out));
}

#[test]
fn where_lines_are_few_the_kind_with_the_most_clients_is_put_together_first() {
    let kinds = [(Kind::Talk, 2), (Kind::Silent, 100), (Kind::Flood, 1)];
    check_rows(&kinds[..1], 2, &["talk", "talk"], 0);
    check_rows(&kinds, 4, &["talk", "talk", "100 silent", "flood"], 0);
    check_rows(&kinds, 3, &["2 talk", "100 silent", "flood"], 0);
    check_rows(&kinds, 2, &["2 talk", "100 silent"], 1);
    check_rows(&kinds, 0, &[], 3);
}

#[test]
fn a_group_has_the_sums_and_the_longest_round_trip() {
    let mut two = clients(&[(Kind::Talk, 2)]);
    let queues = |n| Some(Queues { server_in: n, ..Queues::default() });
    (two[0].queues, two[1].queues) = (queues(6), queues(7));
    (two[0].trips, two[1].trips) = (vec![ms(9), ms(2)], vec![ms(3)]);
    two[1].standing = Standing::Waits;
    let row = groups(&two).remove(0);
    assert_eq!((row.queues, row.trip), (queues(13), Some(ms(3))));
    assert_eq!(row.trips, [ms(9), ms(3)]);
    assert_eq!(row.standings, [(Standing::Waits, 1), (Standing::Served, 1)]);
}

#[test]
fn a_client_of_another_program_is_known_by_its_port_and_a_socket_that_was_closed_is_none() {
    let open = Queues { is_open: true, ..Queues::default() };
    let waits = Queues { server_in: 7, in_backlog: true, ..open };
    let queues = [(5, open), (3, waits), (4, Queues::default()), (1, open)].into();
    let sockets = Some(Sockets { queues, backlog: Some(1) });
    let mut state = State::default();
    let seen = Seen { sockets, clients: vec![view(Kind::Silent, 1)], ..Seen::default() };
    state.see(ms(0), seen);
    let (rows, _) = rows(&state.clients, 9);
    let shown: Vec<_> = rows.iter().map(|row| (row.name(), row.standings[0].0)).collect();
    let name = str::to_owned;
    let expected = [
        (name("silent"), Standing::Open),
        (name("port 3"), Standing::InBacklog),
        (name("port 5"), Standing::Open),
    ];
    assert_eq!(shown, expected);
    assert_eq!(groups(&state.clients)[1].name(), "2 others");
}

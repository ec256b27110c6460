//! What a server does without being asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::stopping::is_all_on_its_way_back;
use crate::testkit::client::{
    Client, Flood, allow_descriptors, in_words, is_timeout, random_bytes,
};
use crate::testkit::kernel::{ESTABLISHED, ends};
use crate::testkit::server::{Server, Signal, run};
use crate::testkit::{deadline, pass, skipped};

/// Short enough for a test and long enough to tell one tick from the next.
const INTERVAL: Duration = Duration::from_millis(200);
const EVERY_200_MS: [&str; 2] = ["--status-interval", "200ms"];

/// Every client is told how many there are, and one of them is one.
pub fn tells_everyone_how_many_there_are(exe: &str) {
    if !allow_descriptors(100) {
        return skipped("needs 100 descriptors");
    }
    let server = Server::start_with(exe, &EVERY_200_MS);
    let mut first = Listener::new(server.connect());
    first.wait_for("Server status: 1 active connection");
    let mut second = Listener::new(server.connect());
    second.wait_for("Server status: 2 active connections");
    first.wait_for("Server status: 2 active connections");
    drop(second);
    first.wait_for("Server status: 1 active connection");
    let mut crowd: Vec<_> = (0..40).map(|_| server.connect()).collect();
    crowd.iter_mut().for_each(|client| client.send(b"\n"));
    first.wait_for("Server status: 41 active connections");
    crowd.into_iter().for_each(Client::reset);
    first.wait_for("Server status: 1 active connection");
}

/// More clients than it tells at a time hear the same tick, one right after the other. A busy machine may be
/// slow, but not three times.
pub fn everyone_hears_the_same_tick(exe: &str) {
    const CLIENTS: usize = 400;
    const SECOND: Duration = Duration::from_secs(1);
    if !allow_descriptors(CLIENTS as u64 + 100) {
        return skipped("needs 500 descriptors");
    }
    let server = Server::start_with(exe, &["--status-interval", "1s"]);
    let mut listeners: Vec<_> = (0..CLIENTS).map(|_| Listener::new(server.connect())).collect();
    let spread = |listeners: &mut [Listener]| {
        let first = listeners[CLIENTS - 1].next_arrival(); // it is told first, since it came last
        listeners[..CLIENTS - 1].iter_mut().for_each(|listener| _ = listener.next_line());
        first.elapsed()
    };
    let in_time = (0..3).any(|_| spread(&mut listeners) < SECOND / 2);
    assert!(in_time, "some were told half an interval after the others, three times");
    listeners.into_iter().for_each(|listener| listener.client().reset());
}

/// While a client floods: never early, never twice, and the last tick is on the same grid as the first.
/// How exactly, the measurements tell: a test on a busy machine can only say that nothing is carried over.
pub fn the_status_keeps_its_grid_under_load(exe: &str) {
    const TICKS: u32 = 20;
    let server = Server::start_with(exe, &EVERY_200_MS);
    let listening = Instant::now();
    // Before the listener: it must not have heard any ticks that it is yet to count.
    let flood = Flood::start(server.addr());
    let mut listener = Listener::new(server.connect());
    let first = listener.next_arrival();
    let ticks: Vec<_> = (0..TICKS).map(|_| listener.next_arrival()).collect();
    let elapsed = ticks[ticks.len() - 1] - first;
    // The first may have been late, and then the others come sooner after it; but not by a tick.
    assert!(elapsed > INTERVAL * (TICKS - 1), "{TICKS} ticks in {elapsed:?}");
    // A busy machine may make it skip some.
    assert!(elapsed < INTERVAL * TICKS * 3, "{TICKS} ticks in {elapsed:?}");
    // Nor can it make all of them late. The grid began a little before we heard that it listens.
    let off_the_grid = |tick: &Instant| {
        let behind = (*tick - listening).as_nanos() % INTERVAL.as_nanos();
        Duration::from_nanos(behind.min(INTERVAL.as_nanos() - behind) as u64)
    };
    let least = ticks.iter().map(off_the_grid).min().expect("there were ticks");
    assert!(least < INTERVAL / 4, "every tick was off the grid, by {least:?} or more");
    drop(flood);
}

/// A server that is stopped for two and a half intervals misses two ticks. It makes up for them with one,
/// not with two. The one after is back on the grid, half an interval later; with a server that counts from
/// the late one, a whole one later.
pub fn lateness_is_not_carried_over(exe: &str) {
    const SECOND: Duration = Duration::from_secs(1);
    let server = Server::start_with(exe, &["--status-interval", "1s"]);
    let mut listener = Listener::new(server.connect());
    // A busy machine may be late by itself: once is enough, since a server that drifts never is in time.
    let back_on_the_grid = (0..5).any(|_| {
        let first = listener.next_arrival();
        if !server.signal(Signal::Stop) {
            return true;
        }
        // If it was late by itself, the next tick came before we had stopped it.
        let quiet = listener.hears_nothing_for(SECOND * 5 / 2);
        server.signal(Signal::Continue);
        let late = listener.next_arrival();
        let next = listener.next_arrival();
        let (once, in_time) = (next - late > SECOND / 4, next - first < SECOND * 13 / 4);
        quiet && once && in_time
    });
    assert!(back_on_the_grid, "the tick after a late one came at once, or late as well");
}

/// Take the status lines out of what comes back, and what is left is what was sent.
pub fn without_the_status_lines_it_is_the_exact_echo(exe: &str) {
    let server = Server::start_with(exe, &["--status-interval", "1ms"]);
    let mut text = String::new();
    for i in 0..200_000 {
        text += &format!(
            "line {i} of a text that is longer than a read, and not as long as the next\n"
        );
    }
    let mut client = server.connect();
    let back = crate::testkit::client::stream_through(&mut client, text.as_bytes());
    let back = String::from_utf8(back).expect("no character was cut in two");
    let (status, echo): (Vec<_>, Vec<_>) =
        back.split_inclusive('\n').partition(|line| line.starts_with("Server status: "));
    assert!(!status.is_empty(), "there were no status lines, so this shows nothing");
    assert!(status.iter().all(|line| line.ends_with(" active connection\n")), "cut in two");
    assert!(echo.concat() == text, "a line was cut in two, or a byte is missing");
}

/// A client that has said half a line is not interrupted, and is told, once, when the line has ended.
pub fn no_client_is_interrupted_in_the_middle_of_a_line(exe: &str) {
    let server = Server::start_with(exe, &EVERY_200_MS);
    let mut other = Listener::new(server.connect());
    // Right behind a tick, so that none comes between the client and its first word.
    other.next_arrival();
    let mut client = server.connect();
    client.round_trip(b"half a li");
    (0..3).for_each(|_| {
        other.next_arrival();
    });
    client.send(b"ne\n");
    let mut client = Listener::new(client);
    let rest = client.next_line();
    assert!(!rest.starts_with("Server status"), "a status came in the middle of its line");
    assert_eq!(rest, "ne\n");
    assert_eq!(client.next_line(), "Server status: 2 active connections\n");
}

/// Clients that never read, with their outboxes full of echoes, and a status line for each of them a
/// thousand times a second: there is no room for it, so it is left out, and they are kept.
pub fn status_lines_for_clients_that_never_read_cost_no_memory(exe: &str) {
    let server = Server::start_with(exe, &["--status-interval", "1ms"]);
    // A client in the middle of a line is not told. Here each byte ends one.
    let lines = b"\n".repeat(100_000);
    let mut polite = Listener::new(server.connect());
    let mut deaf: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for client in &mut deaf {
        client.fill(&lines, || server.wait_until_it_sleeps()).expect("cannot fill");
    }
    // What room there was is full of status lines now: 2,000 of them are more than an outbox holds.
    polite.hears_new_lines(2_000);
    let Some(before) = server.usage() else { return skipped("needs /proc") };
    // 40 bytes each time for each of the ten would be 400,000.
    polite.hears_new_lines(1_000);
    let grown = server.usage().expect("/proc was there").rss.saturating_sub(before.rss);
    assert!(grown <= 128 * 1024, "{grown} bytes for ten clients who never read");
    assert_eq!(polite.next_line(), "Server status: 11 active connections\n", "some were cut off");
}

/// A client that is silent for a second is closed, never before and at most a tenth later, if the machine lets
/// us see it one time in three. A client that talks is not.
pub fn a_silent_client_is_closed_in_time_and_a_talking_one_is_not(exe: &str) {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let server = Server::start_with(exe, &["--idle-timeout", "1s"]);
    let mut talking = server.connect();
    let in_time = (0..3).any(|_| {
        let elapsed = time_to_the_end_of_a_silent_client(&server, &mut talking);
        assert!(elapsed >= TIMEOUT, "a silent client was closed too soon, after {elapsed:?}");
        elapsed < TIMEOUT * 11 / 10
    });
    assert!(in_time, "closed late, three times");
    talking.round_trip(b"I am still here\n");
}

/// Counted from before its last word, while another one talks.
fn time_to_the_end_of_a_silent_client(server: &Server, talking: &mut Client) -> Duration {
    let mut silent = server.connect();
    let mut never_spoke = server.connect();
    // So its timer is due before its time is over, and has to come back.
    let first_word = Instant::now();
    while first_word.elapsed() < Duration::from_millis(100) {
        silent.round_trip(b"not my last word\n");
    }
    let last_word = Instant::now();
    silent.round_trip(b"my last word\n");
    while silent.has_heard_nothing() {
        talking.send(b"blah\n");
        expect_unless_taken_for_silent(server, talking, b"blah\n");
        assert!(last_word.elapsed() < deadline(), "the silent client is still there");
    }
    let elapsed = last_word.elapsed();
    // If a client is closed whatever it does, both go at the same time.
    talking.send(b"and I?\n");
    expect_unless_taken_for_silent(server, talking, b"and I?\n");
    assert_eq!(silent.read_to_end(), b"", "a clean end");
    assert_eq!(never_spoke.read_to_end(), b"", "a clean end");
    elapsed
}

/// What comes back to a client that is not silent.
#[track_caller]
fn expect_unless_taken_for_silent(server: &Server, client: &mut Client, bytes: &[u8]) {
    let left = match client.stream.peek(&mut [0]) {
        Ok(n) => n == 0,
        Err(e) => !is_timeout(&e),
    };
    if left {
        server.assert_still_serving(); // or it has ended, for all of them
        panic!("it has spoken, and was taken for silent");
    }
    client.expect(bytes);
}

/// A client that says nothing and reads, at a speed at which the kernel does not tell of room for seconds.
pub fn a_slow_reader_is_not_taken_for_silent(exe: &str) {
    const PIECE: usize = 32 * 1024;
    let server = Server::start_with(exe, &["--idle-timeout", "1s", "--status-interval", "1h"]);
    let mut polite = server.connect();
    let mut slow = server.connect();
    // A small buffer on its side, so that what it reads makes room on the other.
    SockRef::from(&slow.stream).set_recv_buffer_size(2 * PIECE).expect("a receive buffer");
    let bytes = random_bytes(1024 * 1024);
    let sent = slow.fill(&bytes, || polite.round_trip(b"and I?")).expect("cannot fill");
    slow.half_close();
    let mut back = vec![0; sent];
    let (slowly, at_once) = back.split_at_mut(16 * PIECE);
    for piece in slowly.chunks_mut(PIECE) {
        slow.stream.read_exact(piece).expect("it was cut off");
        pass(Duration::from_millis(250));
    }
    slow.stream.read_exact(at_once).expect("it was cut off");
    assert!(back.iter().eq(bytes.iter().cycle().take(sent)));
    assert_eq!(slow.read_to_end(), b"");
}

/// A status line for each of 10,000 clients, a hundred times a second: that is more than the server can do, and
/// still a client who speaks is answered soon, and several times before it is told the status again.
pub fn a_round_trip_is_short_while_thousands_are_told_the_status(exe: &str) {
    if !allow_descriptors(11_000) {
        return skipped("needs 11,000 descriptors");
    }
    let server = Server::start_with(exe, &["--status-interval", "10ms"]);
    let silent: Vec<_> = (0..10_000).map(|_| server.connect()).collect();
    let mut speaks = Listener::new(server.connect());
    speaks.round_trip(); // it was the last to come, so all are in
    let soon = (0..3).any(|_| is_answered_soon_under_status(&mut speaks));
    assert!(soon, "it took longer, three times");
    silent.into_iter().for_each(Client::reset);
}

/// By the median of at least so many round trips that it has heard the status three times meanwhile.
#[track_caller]
fn is_answered_soon_under_status(speaks: &mut Listener) -> bool {
    let (mut times, mut told) = (Vec::new(), 0);
    let start = Instant::now();
    while times.len() < 21 || told < 3 {
        let sent = Instant::now();
        told += speaks.round_trip();
        times.push(sent.elapsed());
        assert!(start.elapsed() < deadline(), "it is not told the status");
    }
    times.sort();
    let (n, median) = (times.len(), times[times.len() / 2]);
    eprintln!("median {median:?}, longest {:?}, of {n}, told {told} times", times[n - 1]);
    median < Duration::from_millis(50) && n > 5 * told
}

/// All that it has sent is on its way back, and it reads steadily. For the server it is silent, so that says
/// goodbye behind the last byte. When the client says something after all, it still gets every byte.
pub fn a_late_word_destroys_nothing_when_it_was_silent(exe: &str) {
    let server = Server::start_with(exe, &["--idle-timeout", "1s"]);
    let mut client = server.connect();
    let bytes = random_bytes(400_000);
    client.send(&bytes);
    if !is_all_on_its_way_back(&client, bytes.len()) {
        return skipped("needs /proc/net/tcp");
    }
    let (start, mut was_let_go_of) = (Instant::now(), false);
    // 80,000 bytes a second.
    for piece in bytes.chunks(8_000) {
        client.expect(piece);
        pass(Duration::from_millis(100));
        // To look takes up to a second while other tests have thousands of connections: the table has all of them.
        // So we look when there is something to see, and the word comes before the server's patience ends.
        let is_time = start.elapsed() > Duration::from_millis(1_200);
        if !was_let_go_of && is_time && says_goodbye(&client) {
            client.send(b"I am still here");
            was_let_go_of = true;
        }
    }
    assert!(was_let_go_of, "silent for five seconds, and still there");
    assert_eq!(client.read_to_end(), b"", "a clean end");
    server.assert_still_serving();
}

/// Whether the server has sent its FIN, or would if there were room.
fn says_goodbye(client: &Client) -> bool {
    let theirs = ends(client).and_then(|(_, theirs)| theirs);
    theirs.is_none_or(|end| end.state != ESTABLISHED)
}

/// A client that was let go of and does not leave counts, but not for ever: when it has said nothing for
/// five more seconds, its place is the next one's.
pub fn a_client_that_was_let_go_of_holds_its_place_for_a_while(exe: &str) {
    let server = Server::start_with(exe, &["--max-connections", "1", "--idle-timeout", "1s"]);
    let mut stays = server.connect();
    stays.round_trip(b"I stay\n");
    let mut waits = server.connect();
    waits.send(b"and I?\n");
    assert_eq!(stays.read_to_end(), b"", "a clean end");
    let goodbye = Instant::now();
    waits.expect(b"and I?\n");
    let elapsed = goodbye.elapsed();
    eprintln!("served {elapsed:?} later");
    let in_time = Duration::from_secs(3)..Duration::from_secs(20);
    assert!(in_time.contains(&elapsed), "the place was free {elapsed:?} later");
}

/// The same for one that goes on talking: half a minute in all. What it says is not answered.
pub fn a_client_that_talks_on_is_let_go_of_in_the_end(exe: &str) {
    let server = Server::start_with(exe, &["--max-connections", "1", "--idle-timeout", "1s"]);
    let mut talks = server.connect();
    talks.round_trip(b"I talk\n");
    assert_eq!(talks.read_to_end(), b"", "a clean end");
    let goodbye = Instant::now();
    while talks.stream.write_all(b"blah\n").is_ok() {
        assert!(goodbye.elapsed() < deadline(), "it is still there");
        pass(Duration::from_millis(200));
    }
    let elapsed = goodbye.elapsed();
    eprintln!("it hung up {elapsed:?} later");
    let in_time = Duration::from_secs(20)..Duration::from_secs(50);
    assert!(in_time.contains(&elapsed), "it hung up {elapsed:?} later");
    server.assert_still_serving();
}

/// A client that was let go of sends as fast as it can. The server takes that in, and the others do not
/// notice.
pub fn a_flood_after_the_goodbye_keeps_no_other_waiting(exe: &str) {
    /// Far more than the kernel keeps for a server that does not read.
    const MUCH: usize = 64 * 1024 * 1024;
    let server = Server::start_with(exe, &["--idle-timeout", "1s"]);
    let mut flood = server.connect();
    assert_eq!(flood.read_to_end(), b"", "a clean end");
    let mut polite = server.connect();
    std::thread::scope(|scope| {
        let sending = scope
            .spawn(|| (0..MUCH / 65_536).all(|_| flood.stream.write_all(&[b'f'; 65_536]).is_ok()));
        (0..100).for_each(|_| polite.round_trip(b"and I?\n"));
        while !sending.is_finished() {
            polite.round_trip(b"and I?\n");
        }
        assert!(sending.join().expect("it only sends"), "it was cut off");
    });
    server.assert_still_serving();
}

/// Stopped for longer than the timeout. Who has spoken meanwhile was not silent, however many they are:
/// more than a poller hands over at a time.
pub fn ctrl_z_does_not_make_clients_silent(exe: &str) {
    const CLIENTS: usize = 1_500;
    if !allow_descriptors(CLIENTS as u64 + 1_000) {
        return skipped("needs 2,500 descriptors");
    }
    let server = Server::start_with(exe, &["--idle-timeout", "5s"]);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.round_trip(b"hello\n"));
    server.wait_until_it_sleeps();
    if !server.signal(Signal::Stop) {
        return skipped("needs SIGSTOP");
    }
    clients.iter_mut().for_each(|client| client.send(b"are you there?\n"));
    assert!(clients[0].hears_nothing_for(Duration::from_secs(6)));
    server.signal(Signal::Continue);
    for client in &mut clients {
        expect_unless_taken_for_silent(&server, client, b"are you there?\n");
    }
    clients.into_iter().for_each(Client::reset);
}

/// A silent client has until the end of a stop to leave. If its idle timeout closed it before that, what is still on
/// its way to it could be lost.
pub fn its_idle_timeout_does_not_cut_a_stop_short(exe: &str) {
    let server = Server::start_with(exe, &["--idle-timeout", "300ms"]);
    let mut client = server.connect();
    client.round_trip(b"hello\n");
    if !server.signal(Signal::Terminate) {
        return skipped("needs signals");
    }
    // The half second is over, and it was still there.
    server.wait_for_log("out of time");
    assert_eq!(client.read_to_end(), b"", "a clean end");
}

/// Without `--idle-timeout`, silence is golden; with it, clients who come and go leave no timers.
pub fn timers_of_clients_who_have_left_do_not_pile_up(exe: &str) {
    let server = Server::start_with(exe, &["--idle-timeout", "1h"]);
    let come_and_go = |n: usize| (0..n).for_each(|_| server.connect().round_trip_and_reset());
    come_and_go(3_000);
    let Some(before) = server.usage() else { return skipped("needs /proc") };
    come_and_go(10_000);
    let grown = server.usage().expect("/proc was there").rss.saturating_sub(before.rss);
    assert!(grown <= 128 * 1024, "{grown} bytes left behind by 10,000 clients");
}

/// Clients come and go until the timers that they leave behind are swept away. Those of clients that are still
/// there are not: the status comes on, and silent clients are closed in the end.
pub fn a_sweep_keeps_the_timers_of_those_who_are_here(exe: &str) {
    let options = ["--idle-timeout", "3s", "--status-interval", "200ms"];
    let server = Server::start_with(exe, &options);
    let mut silent = Listener::new(server.connect());
    silent.next_arrival();
    // Half of them are enough for a sweep. However long it takes, it is not silent yet.
    for _ in 0..20 {
        (0..100).for_each(|_| server.connect().hear_something_and_reset());
        silent.0.get_mut().write_all(b"\n").expect("cannot send");
        while silent.next_line() != "\n" {}
    }
    silent.hears_new_lines(2);
    let start = Instant::now();
    while silent.line().is_some() {
        assert!(start.elapsed() < deadline(), "it is silent, and still there");
    }
    Listener::new(server.connect()).next_arrival();
}

/// An interval of nothing would never sleep.
pub fn a_bad_duration_is_one_clear_line(exe: &str) {
    for bad in ["0s", "0", "soon", "1ns", "-5s", "1000000years"] {
        for option in ["--status-interval", "--idle-timeout"] {
            let output = run(exe, &[&format!("{option}={bad}")]);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{option}={bad}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
            assert!(stderr.contains(option) && stderr.contains(bad), "{stderr}");
        }
    }
}

/// A client that listens to lines.
struct Listener(BufReader<TcpStream>);

impl Listener {
    fn new(client: Client) -> Self {
        Self(BufReader::new(client.stream))
    }

    #[track_caller]
    fn next_line(&mut self) -> String {
        self.line().expect("the end came, and no line")
    }

    /// `None`: the end.
    #[track_caller]
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(n) => (n > 0).then_some(line),
            Err(e) => {
                let why = in_words(&e, self.0.get_ref().read_timeout());
                panic!("neither a line came nor the end: {why}")
            }
        }
    }

    /// Says a line, and hears it. Returns how many other lines came first.
    #[track_caller]
    fn round_trip(&mut self) -> usize {
        self.0.get_mut().write_all(b"and I?\n").expect("cannot send");
        let others =
            std::iter::repeat_with(|| self.next_line()).take_while(|line| line != "and I?\n");
        others.count()
    }

    /// When the next line came.
    #[track_caller]
    fn next_arrival(&mut self) -> Instant {
        self.next_line();
        Instant::now()
    }

    /// Hears so many lines that have not come yet.
    #[track_caller]
    fn hears_new_lines(&mut self, n: usize) {
        while !self.0.buffer().is_empty() || !self.client().has_heard_nothing() {
            self.next_line();
        }
        (0..n).for_each(|_| {
            self.next_line();
        });
    }

    #[track_caller]
    fn hears_nothing_for(&self, time: Duration) -> bool {
        self.0.buffer().is_empty() && self.client().hears_nothing_for(time)
    }

    /// The same connection, without our buffer.
    #[track_caller]
    fn client(&self) -> Client {
        Client::new(self.0.get_ref().try_clone().expect("clone"))
    }

    #[track_caller]
    fn wait_for(&mut self, expected: &str) {
        let start = Instant::now();
        while self.next_line().trim_end() != expected {
            assert!(start.elapsed() < deadline(), "never said: {expected}");
        }
    }
}

impl Client {
    /// The echo of its word, or a status that came first.
    #[track_caller]
    fn hear_something_and_reset(mut self) {
        self.send(b"hello\n");
        assert!(self.stream.read(&mut [0]).expect("nothing came") > 0);
        self.reset();
    }

    #[track_caller]
    fn round_trip_and_reset(mut self) {
        self.round_trip(b"hello\n");
        self.stream.flush().expect("flush");
        self.reset();
    }
}

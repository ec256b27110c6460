//! How a server ends.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::testkit::client::{Client, Flood, allow_descriptors, random_bytes};
use crate::testkit::kernel::ends;
use crate::testkit::server::{Server, Signal, full_pipe};
use crate::testkit::{eventually, pass, skipped};

/// What is promised to those who stop it.
const A_SECOND: Duration = Duration::from_secs(1);

/// The server's grace is half a second. What a client does in this time is done before that is over.
const IN_TIME: Duration = Duration::from_millis(400);

/// It catches no signal, so Ctrl-C and `kill` end the process as it stands: no exit code.
pub fn a_signal_kills_it(exe: &str) {
    let server = Server::start(exe);
    server.assert_still_serving();
    if !server.signal(Signal::Terminate) {
        return skipped("needs signals");
    }
    let (status, _, _) = server.wait_for_end();
    assert_eq!(status.code(), None, "killed by a signal");
}

/// Idle, without a client, on Ctrl-C and on `kill`.
pub fn stops_within_a_second_when_idle(exe: &str) {
    for signal in [Signal::Interrupt, Signal::Terminate] {
        let server = Server::start(exe);
        server.wait_until_it_sleeps();
        if !server.signal(signal) {
            return skipped("needs signals");
        }
        assert_clean_end(server);
    }
}

/// With clients who are connected: silent ones, one who has just spoken, one who never reads, and one who
/// goes on sending as fast as it can.
pub fn stops_within_a_second_with_clients_connected(exe: &str) {
    if !allow_descriptors(100) {
        return skipped("needs 100 descriptors");
    }
    let server = Server::start(exe);
    let mut silent: Vec<_> = (0..50).map(|_| server.connect()).collect();
    let mut polite = server.connect();
    polite.round_trip(b"hello");
    let mut deaf = server.connect();
    deaf.fill(&random_bytes(1024 * 1024), || polite.round_trip(b"and I?")).expect("cannot fill");
    let _flood = Flood::start(server.addr());
    if !server.signal(Signal::Terminate) {
        return skipped("needs signals");
    }
    assert_clean_end(server);
    assert_eq!(polite.read_to_end(), b"", "a clean end, not a reset");
    assert_eq!(silent[0].read_to_end(), b"", "a clean end, not a reset");
}

/// Its log is a full pipe, and it has something to say when it stops.
pub fn stops_within_a_second_when_its_log_is_stuck(exe: &str) {
    let Some((_unread, stderr)) = full_pipe() else { return skipped("needs a pipe to fill") };
    let server = Server::prepared(exe, &[], &[], |command| {
        command.stderr(stderr);
    });
    let mut polite = server.connect();
    polite.round_trip(b"hello");
    server.signal(Signal::Terminate);
    assert_clean_end(server);
    assert_eq!(polite.read_to_end(), b"", "a clean end, not a reset");
}

/// A signal that is blocked in the parent is blocked in the child, until the child says otherwise: see
/// signal(7).
pub fn stops_although_its_parent_has_blocked_the_signals(exe: &str) {
    let through = ["env", "--block-signal=TERM,INT"];
    let knows = Command::new(through[0]).args([through[1], "true"]).output();
    if !knows.is_ok_and(|output| output.status.success()) {
        return skipped("needs env --block-signal");
    }
    for signal in [Signal::Interrupt, Signal::Terminate] {
        let server = Server::prepared(exe, &[], &through, |_| ());
        server.assert_still_serving();
        server.signal(signal);
        assert_clean_end(server);
    }
}

/// A person presses Ctrl-C again, a supervisor sends another signal. It owes something, so it has not ended
/// when the second one comes.
pub fn stops_within_a_second_on_two_signals_in_a_row(exe: &str) {
    use Signal::{Interrupt, Terminate};
    for (first, second) in [(Terminate, Terminate), (Interrupt, Terminate)] {
        let server = Server::start(exe);
        let mut polite = server.connect();
        let mut deaf = server.connect();
        let bytes = random_bytes(1024 * 1024);
        deaf.fill(&bytes, || polite.round_trip(b"and I?")).expect("cannot fill");
        if !server.signal(first) {
            return skipped("needs signals");
        }
        server.wait_for_log("stopping");
        server.signal(second);
        assert_clean_end(server);
    }
}

/// A client has its bytes in the kernel's buffers, the server's outbox and its own unread input when
/// the signal comes. Whatever the server had read comes back, and then a clean end.
pub fn what_it_has_read_is_still_delivered_when_it_stops(exe: &str) {
    three_times(exe, delivers_what_it_has_read);
}

fn delivers_what_it_has_read(exe: &str) -> bool {
    /// More than one last turn answers, and less than what is unread in the kernel's buffers.
    const A_TURN: usize = 2 * 1024 * 1024;
    let server = Server::start(exe);
    let mut polite = server.connect();
    let Some(mut full) = FullClient::connect(&server, &mut polite) else {
        skipped("needs /proc/net/tcp");
        return true;
    };
    let signal = Instant::now();
    server.signal(Signal::Terminate);
    // From here on it reads nothing that it would have to send back.
    server.wait_for_log("stopping");
    let last_byte = full.read_to_end();
    // A busy machine may not let us read megabytes in time. They came as long as the server was there.
    let too_slow = last_byte - signal > IN_TIME;
    assert!(too_slow || full.has_what_was_read(), "bytes that it had read did not come back");
    assert!(full.got.len() < full.owed + A_TURN, "it went on reading, as if it would never stop");
    // It will not be answered, and still it causes no reset. If the server has ended, it does.
    let in_time = signal.elapsed() < IN_TIME;
    let _ = full.client.stream.write_all(b"one more word");
    assert_waits_without_cpu(&server);
    assert_clean_end(server);
    let reset = full.client.stream.take_error().expect("SO_ERROR");
    assert!(!in_time || reset.is_none(), "a reset in answer to a word");
    !too_slow && in_time
}

/// While the server cannot look, a client sends a line, and then the signal comes. The server hears of both at
/// once. It answers the line, and then it stops.
pub fn what_came_before_the_signal_is_answered(exe: &str) {
    let server = Server::start(exe);
    let mut client = server.connect();
    client.round_trip(b"hello");
    if !server.signal(Signal::Stop) {
        return skipped("needs signals");
    }
    client.send(b"one more line");
    server.signal(Signal::Terminate);
    server.signal(Signal::Continue);
    client.expect(b"one more line");
    assert_eq!(client.read_to_end(), b"", "a clean end, not a reset");
    assert_clean_end(server);
}

/// The client makes room for what it is owed when the server has heard the signal and has not acted on it:
/// it is in the middle of a long turn. So the kernel tells of both at once, of the signal first.
pub fn what_it_owes_is_delivered_although_the_signal_comes_first(exe: &str) {
    three_times(exe, delivers_behind_the_signal);
}

fn delivers_behind_the_signal(exe: &str) -> bool {
    /// As many as one batch of events has room for, with the two that it is about.
    const OTHERS: usize = 1_000;
    if !allow_descriptors(OTHERS as u64 + 1_000) {
        skipped("needs 2,000 descriptors");
        return true;
    }
    let server = Server::start(exe);
    let mut others: Vec<_> = (0..OTHERS).map(|_| server.connect()).collect();
    others.iter_mut().for_each(|client| client.round_trip(b"hello"));
    let Some(mut full) = FullClient::connect(&server, &mut others[0]) else {
        skipped("needs /proc/net/tcp");
        return true;
    };
    server.signal(Signal::Stop);
    others.iter_mut().for_each(|client| client.send(&[b'o'; 16 * 1024]));
    server.signal(Signal::Continue);
    others[0].expect(b"o"); // the turn has begun
    let signal = Instant::now();
    server.signal(Signal::Terminate);
    others[OTHERS / 10].expect(b"o"); // so the handler has run
    server.signal(Signal::Stop);
    // If it has noticed the signal, its time is running.
    let in_the_turn = !server.log().contains("stopping");
    if in_the_turn {
        while !full.client.hears_nothing_for(Duration::from_millis(50)) {
            full.read_some();
        }
    }
    server.signal(Signal::Continue);
    let last_byte = full.read_to_end();
    let delivered = full.has_what_was_read();
    // Its time may be over, if the machine is busy and its log comes to us late.
    let too_slow = last_byte - signal > IN_TIME;
    let counts = in_the_turn && !too_slow;
    assert!(!counts || delivered, "bytes that it had read did not come back");
    others.into_iter().for_each(Client::reset);
    counts
}

/// A client whose bytes fill the kernel's buffers and the server's: it has sent and not read.
struct FullClient {
    client: Client,
    /// What it sends, over and over.
    pattern: Vec<u8>,
    /// How many of its bytes the server had read when nothing moved any more.
    owed: usize,
    got: Vec<u8>,
    end: io::Result<()>,
}

impl FullClient {
    /// `None` where we cannot see what the server has read.
    #[track_caller]
    fn connect(server: &Server, polite: &mut Client) -> Option<Self> {
        let mut client = server.connect();
        let pattern = random_bytes(1024 * 1024);
        let sent = client.fill(&pattern, || polite.round_trip(b"and I?")).expect("cannot fill");
        let unread = settled(|| {
            let (ours, theirs) = ends(&client)?;
            Some(ours.unacknowledged + theirs?.unread)
        })?;
        Some(Self { client, pattern, owed: sent - unread, got: Vec::new(), end: Ok(()) })
    }

    /// True at the end, whether that is a FIN or a reset.
    fn read_some(&mut self) -> bool {
        let mut buf = [0; 64 * 1024];
        let read = self.client.stream.read(&mut buf);
        self.got.extend(&buf[..*read.as_ref().unwrap_or(&0)]);
        match read {
            Ok(0) => true,
            Ok(_) => false,
            Err(e) if e.kind() == ErrorKind::Interrupted => false,
            Err(e) => {
                self.end = Err(e);
                true
            }
        }
    }

    /// Returns when the last byte came.
    fn read_to_end(&mut self) -> Instant {
        let mut last_byte = Instant::now();
        while !self.read_some() {
            last_byte = Instant::now();
        }
        last_byte
    }

    #[track_caller]
    fn has_what_was_read(&self) -> bool {
        eprintln!("{} bytes of {}, and then {:?}", self.got.len(), self.owed, self.end);
        assert!(self.got.iter().eq(self.pattern.iter().cycle().take(self.got.len())));
        self.end.is_ok() && self.got.len() >= self.owed
    }
}

/// All that a client has sent is on its way back, in the kernel's buffers. It says one more word and reads
/// only then. A close(2) with that word unread, or before it came, would destroy what the client is to get.
pub fn a_late_word_destroys_nothing_when_it_stops(exe: &str) {
    three_times(exe, delivers_in_spite_of_a_late_word);
}

fn delivers_in_spite_of_a_late_word(exe: &str) -> bool {
    let server = Server::start(exe);
    let mut client = server.connect();
    let bytes = random_bytes(400_000);
    client.send(&bytes);
    if !is_all_on_its_way_back(&client, bytes.len()) {
        skipped("needs /proc/net/tcp");
        return true;
    }
    let signal = Instant::now();
    server.signal(Signal::Terminate);
    server.wait_for_log("stopping");
    pass(Duration::from_millis(50));
    if signal.elapsed() > IN_TIME {
        return false;
    }
    client.send(b"one more word");
    let mut got = Vec::new();
    let end = client.stream.read_to_end(&mut got);
    assert!(end.is_ok() && got == bytes, "{} bytes of {}, then {end:?}", got.len(), bytes.len());
    assert_clean_end(server);
    true
}

/// Waits until the kernel has so many bytes for a client that does not read. False where we cannot see it.
#[track_caller]
pub(super) fn is_all_on_its_way_back(client: &Client, bytes: usize) -> bool {
    let on_its_way = || {
        let (ours, theirs) = ends(client)?;
        Some(ours.unread + theirs?.unacknowledged)
    };
    ends(client).is_some() && {
        // A FIN behind them counts as one more.
        let all = |n| (bytes..=bytes + 1).contains(&n);
        eventually("all is on its way back", || on_its_way().is_some_and(all));
        true
    }
}

/// Clients that close when they see the end of the server leave it nothing to wait for. A busy machine may
/// be slow, but not five times.
pub fn ends_as_soon_as_the_last_client_has_left(exe: &str) {
    let server = Server::start(exe);
    if !server.signal(Signal::Terminate) {
        return skipped("needs signals");
    }
    let at_once = (0..5).any(|_| time_to_the_end(exe, 20) < Duration::from_millis(50));
    assert!(at_once, "it has waited, five times");
}

/// From the signal on, with so many clients who leave when the server does.
#[track_caller]
fn time_to_the_end(exe: &str, clients: usize) -> Duration {
    let server = Server::start(exe);
    let mut clients: Vec<_> = (0..clients).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.round_trip(b"hello"));
    let signal = Instant::now();
    server.signal(Signal::Terminate);
    for mut client in clients {
        assert_eq!(client.read_to_end(), b"", "a clean end, not a reset");
    }
    assert_clean_end(server);
    let elapsed = signal.elapsed();
    eprintln!("ended after {elapsed:?}");
    elapsed
}

/// 16,000 clients who say nothing and do not leave.
pub fn stops_within_a_second_with_16_000_silent_clients(exe: &str) {
    // Elsewhere there are no signals, or fewer ports than that.
    if cfg!(not(target_os = "linux")) || !allow_descriptors(17_000) {
        return skipped("needs Linux and 17,000 descriptors");
    }
    // Of this the kernel takes a quarter of a second, to close 16,000 sockets.
    let in_time = (0..3).any(|_| time_to_leave_silent_clients(exe, 16_000) < A_SECOND * 8 / 10);
    assert!(in_time, "it took longer, three times");
}

fn time_to_leave_silent_clients(exe: &str, clients: usize) -> Duration {
    let server = Server::start(exe);
    let mut clients: Vec<_> = (0..clients).map(|_| server.connect()).collect();
    clients.last_mut().expect("there are some").round_trip(b"I was the last");
    let signal = Instant::now();
    server.signal(Signal::Terminate);
    eventually("it has ended", || server.state().is_none_or(|state| state == 'Z'));
    // That other programs have the CPU is not its fault.
    let elapsed = signal.elapsed().saturating_sub(server.waited_for_a_cpu());
    eprintln!("ended after {elapsed:?}, and {:?} without a CPU", server.waited_for_a_cpu());
    let (status, _, _) = server.wait_for_end();
    assert!(status.success(), "{status}");
    // 16,000 FINs would leave as many ports in TIME_WAIT.
    clients.into_iter().for_each(Client::reset);
    elapsed
}

/// It owes a client something and takes its time for that. A client that comes now is not left in a backlog
/// that the server will not look into, and the port is free for the next server.
pub fn a_client_that_comes_while_it_stops_is_refused(exe: &str) {
    three_times(exe, refuses_while_it_stops);
}

fn refuses_while_it_stops(exe: &str) -> bool {
    const A_FEW: usize = 50;
    // An address of its own. On a shared one another test's server may get the port as soon as it is free; or
    // our own socket may, and is then connected to itself.
    let [.., high, low] = std::process::id().to_be_bytes();
    let linux = cfg!(target_os = "linux"); // elsewhere there is only one
    let addr = if linux { format!("127.5.{high}.{low}:0") } else { "127.0.0.1:0".to_owned() };
    let server = Server::start_on(exe, &addr);
    let mut polite = server.connect();
    let mut deaf = server.connect();
    deaf.fill(&random_bytes(1024 * 1024), || polite.round_trip(b"and I?")).expect("cannot fill");
    if !server.signal(Signal::Terminate) {
        skipped("needs signals");
        return true;
    }
    server.wait_for_log("stopping");
    let mut came_through = 0;
    eventually("a client is refused", || match TcpStream::connect(server.addr()) {
        Ok(_) => {
            came_through += 1;
            false
        }
        Err(e) => [ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset].contains(&e.kind()),
    });
    crate::listen(server.addr()).expect("the port is not free");
    // It may say so first and close then. A client that came in between is let go of.
    assert!(came_through < A_FEW, "{came_through} clients came through when it had said so");
    // After its end it is no merit. A busy machine may not let us look before that.
    let was_there = server.state().is_none_or(|state| state != 'Z');
    assert_clean_end(server);
    was_there
}

/// What has to be seen before the server's grace of half a second is over, on three tries. A try for which
/// the machine is too busy proves nothing, and is made again.
#[track_caller]
fn three_times(exe: &str, proves: fn(&str) -> bool) {
    let proven = (0..12).filter(|_| proves(exe)).take(3).count();
    if proven < 3 {
        skipped("the machine is too busy");
    }
}

/// A person who starts it with `nohup` and closes the terminal wants it to go on.
pub fn goes_on_under_nohup_when_its_terminal_is_closed(exe: &str) {
    if Command::new("nohup").arg("--version").output().is_err() {
        return skipped("needs nohup");
    }
    let server = Server::start_under_nohup(exe);
    server.assert_still_serving();
    server.signal(Signal::HangUp);
    server.assert_still_serving();
}

/// A client sends without a pause when the signal comes. It gets an end behind what it is owed, and not
/// a reset; and the server waits for its end, since a reset would follow if it closed while the client sends.
pub fn a_client_that_is_still_sending_gets_a_clean_end_when_it_stops(exe: &str) {
    // It waits for half a second only, and a busy machine may not let us look before that is over.
    let waits_for_their_end = (0..3).any(|_| is_there_until_the_sender_leaves(exe));
    assert!(waits_for_their_end, "it has closed while they were sending, three times");
}

fn is_there_until_the_sender_leaves(exe: &str) -> bool {
    let server = Server::start(exe);
    let mut client = server.connect();
    let mut writer = client.stream.try_clone().expect("clone");
    let sending = thread::spawn(move || while writer.write_all(&[b's'; 64 * 1024]).is_ok() {});
    client.expect(&vec![b's'; 4 * 1024 * 1024]);
    if !server.signal(Signal::Terminate) {
        skipped("needs signals");
        return true;
    }
    let rest = client.stream.read_to_end(&mut Vec::new());
    pass(Duration::from_millis(50)); // if it has closed, it has ended by then
    let is_there = server.state() != Some('Z');
    let _ = client.stream.shutdown(Shutdown::Both);
    sending.join().expect("it only writes");
    assert_clean_end(server);
    rest.is_ok() && is_there
}

/// It waits for the other side's end, for half a second in all, and does nothing meanwhile.
#[track_caller]
fn assert_waits_without_cpu(server: &Server) {
    let cpu = || server.usage().map_or(Duration::ZERO, |usage| usage.cpu);
    let before = cpu();
    pass(Duration::from_millis(200));
    let burnt = cpu().saturating_sub(before);
    assert!(burnt < Duration::from_millis(50), "{burnt:?} of CPU while it waits");
}

/// What does not change for a while. The kernel moves bytes now and then, on timers of its own.
fn settled<T: PartialEq>(mut value: impl FnMut() -> T) -> T {
    let (mut last, mut since) = (value(), Instant::now());
    eventually("it has settled", || {
        pass(Duration::from_millis(20));
        let now = value();
        if now != last {
            since = Instant::now();
        }
        last = now;
        since.elapsed() > Duration::from_millis(200)
    });
    last
}

#[track_caller]
fn assert_clean_end(server: Server) {
    let (status, stdout, elapsed) = server.wait_for_end();
    assert!(status.success(), "{status}");
    assert_eq!(stdout, "");
    assert!(elapsed < A_SECOND, "it took {elapsed:?}");
}

//! How a server ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::testkit::client::{Client, Flood, allow_descriptors, random_bytes};
use crate::testkit::server::{Server, Signal, full_pipe};
use crate::testkit::{eventually, pass, skipped};

/// What is promised to whoever stops it.
const A_SECOND: Duration = Duration::from_secs(1);

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

/// Idle, with nobody there, on Ctrl-C and on `kill`.
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
/// the signal comes. Whatever the server had read comes back, and then a clean end. It gives us half a
/// second to take these megabytes: a busy machine may not let us, but not three times.
pub fn what_it_has_read_is_still_delivered_when_it_stops(exe: &str) {
    let delivered = (0..3).any(|_| delivers_what_it_has_read(exe));
    assert!(delivered, "bytes that it had read did not come back, three times");
}

fn delivers_what_it_has_read(exe: &str) -> bool {
    let server = Server::start(exe);
    let mut polite = server.connect();
    let mut client = server.connect();
    let bytes = random_bytes(1024 * 1024);
    let sent = client.fill(&bytes, || polite.round_trip(b"and I?")).expect("cannot fill");
    let Some(unread) = settled(|| unread_by_the_server(&client)) else {
        skipped("needs /proc/net/tcp");
        return true;
    };
    server.signal(Signal::Terminate);
    // From here on it reads nothing that it would have to send back.
    server.wait_for_log("stopping");
    let mut got = Vec::new();
    let end = client.stream.read_to_end(&mut got);
    eprintln!("{} of {sent} bytes, {unread} never read, and then {end:?}", got.len());
    assert!(got.iter().eq(bytes.iter().cycle().take(got.len())));
    assert_waits_without_cpu(&server);
    let _ = client.stream.write_all(b"one more word"); // nobody will read it, and still it is no reset
    assert_clean_end(server);
    let reset = client.stream.take_error().expect("SO_ERROR");
    end.is_ok() && reset.is_none() && got.len() >= sent - unread
}

/// It owes somebody something and takes its time for that. Whoever comes now is not left in a backlog
/// that nobody will look into, and the port is free for the next server.
pub fn whoever_comes_while_it_stops_is_refused(exe: &str) {
    let server = Server::start(exe);
    let mut polite = server.connect();
    let mut deaf = server.connect();
    deaf.fill(&random_bytes(1024 * 1024), || polite.round_trip(b"and I?")).expect("cannot fill");
    if !server.signal(Signal::Terminate) {
        return skipped("needs signals");
    }
    server.wait_for_log("stopping");
    let refused = TcpStream::connect(server.addr()).expect_err("it took somebody in");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    crate::listen(server.addr()).expect("the port is not free");
    assert_clean_end(server);
}

/// Whoever starts it with `nohup` and closes the terminal wants it to go on.
pub fn goes_on_under_nohup_when_its_terminal_is_closed(exe: &str) {
    if Command::new("nohup").arg("--version").output().is_err() {
        return skipped("needs nohup");
    }
    let server = Server::start_under_nohup(exe);
    server.assert_still_serving();
    server.signal(Signal::HangUp);
    server.assert_still_serving();
}

/// Somebody sends without a pause when the signal comes. They get an end behind what they are owed, and not
/// a reset; and the server waits for theirs, since a reset would follow if it closed while they send.
pub fn whoever_is_still_sending_gets_a_clean_end_when_it_stops(exe: &str) {
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
    let (mut last, mut same) = (value(), 0);
    eventually("it has settled", || {
        std::thread::park_timeout(Duration::from_millis(20));
        let now = value();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same >= 10
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

/// How many of a client's bytes are still in the kernel: sent and not acknowledged, or acknowledged and
/// not read. See proc_pid_net(5): a line of `/proc/net/tcp` has the addresses and `tx_queue:rx_queue`.
fn unread_by_the_server(client: &Client) -> Option<usize> {
    let port =
        |addr: std::io::Result<std::net::SocketAddr>| Some(format!(":{:04X}", addr.ok()?.port()));
    let ours = port(client.stream.local_addr())?;
    let theirs = port(client.stream.peer_addr())?;
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let queues = |from: &str, to: &str| {
        let line = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let found = line.into_iter().find(|f| f[1].ends_with(from) && f[2].ends_with(to))?;
        let (tx, rx) = found[4].split_once(':')?;
        Some((usize::from_str_radix(tx, 16).ok()?, usize::from_str_radix(rx, 16).ok()?))
    };
    Some(queues(&ours, &theirs)?.0 + queues(&theirs, &ours)?.1)
}

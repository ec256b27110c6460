//! What clients cost: CPU, wake-ups, threads, memory.

use std::time::{Duration, Instant};

use crate::testkit::client::{Client, allow_descriptors, random_bytes};
use crate::testkit::contract::watching::lines;
use crate::testkit::server::Server;
use crate::testkit::traced::{NO_STRACE, Traceable};
use crate::testkit::{eventually, pass, skipped};

/// How many clients are silent, and for how long.
const SILENT: usize = 1_000;
const SILENCE: Duration = Duration::from_secs(5);

/// 1,000 silent clients: nothing wakes up, nothing runs.
pub fn a_thousand_silent_clients_cost_no_cpu(exe: &str) {
    if !allow_descriptors(SILENT as u64 + 1_000) {
        return skipped("needs 2,000 descriptors");
    }
    let server = Server::start(exe);
    let mut clients: Vec<_> = (0..SILENT).map(|_| server.connect()).collect();
    // Stage 1 is in the first one's read(2) now, the others have all been in here since.
    clients[0].round_trip(b"hello");
    eventually("nothing has run for a while", || {
        let before = server.usage();
        std::thread::park_timeout(Duration::from_millis(50));
        // One that waits for a CPU is not woken either, but it is not asleep.
        before.map(|usage| usage.wakeups) == server.usage().map(|usage| usage.wakeups)
            && server.state().is_none_or(|state| state == 'S')
    });
    if server.usage().is_none() {
        return skipped("needs /proc");
    }
    // A machine that is frozen for a moment wakes everybody up (EINTR), but not three times.
    assert!(
        (0..3).any(|_| sleeps_through(&server, &clients[0])),
        "not one quiet {SILENCE:?} of three"
    );
}

/// Whether nothing wakes up and nothing runs while no client speaks.
fn sleeps_through(server: &Server, client: &Client) -> bool {
    let usage = || server.usage().expect("/proc was there");
    let before = usage();
    assert!(client.hears_nothing_for(SILENCE));
    let after = usage();
    let (wakeups, cpu) = (after.wakeups - before.wakeups, after.cpu - before.cpu);
    eprintln!("{wakeups} wake-ups and {cpu:?} of CPU in {SILENCE:?}");
    wakeups == 0 && cpu < Duration::from_millis(10)
}

/// The same with ten status lines a second for each of them: the loop wakes up for these, and no more.
pub fn a_thousand_silent_clients_cost_no_more_wakeups_than_timers(exe: &str) {
    const SECONDS: usize = 5;
    /// It tells 128 clients at a time, and looks at the others in between.
    const TURNS: usize = SILENT.div_ceil(128);
    if !allow_descriptors(SILENT as u64 + 1_000) {
        return skipped("needs 2,000 descriptors");
    }
    let server = Server::start_with(exe, &["--stats", "--status-interval", "100ms"]);
    let _clients: Vec<_> = (0..SILENT).map(|_| server.connect()).collect();
    // In the first second with all of them some were still on their way in.
    let all_in = || lines(&server).into_iter().filter(|line| line.clients == SILENT as u64).skip(1);
    eventually("five seconds have been told", || all_in().count() >= SECONDS);
    let wakeups: u64 = all_in().take(SECONDS).map(|line| line.wake_ups).sum();
    // Eleven ticks a second, since a line may be late, and a few more for one that is very late.
    let most = TURNS * (11 * SECONDS + 5);
    assert!(wakeups <= most as u64, "{wakeups} wake-ups in {SECONDS} s");
}

/// Without a client, it asks, and asks, and asks.
pub fn burns_a_full_core_for_nothing(exe: &str) {
    assert_burns_a_core(&Server::start(exe));
}

/// Half a second of CPU is enough to see it. On a busy machine the server gets little, and what it wanted counts.
#[track_caller]
pub(super) fn assert_burns_a_core(server: &Server) {
    let Some(before) = server.usage() else { return skipped("needs /proc") };
    let waited_before = server.waited_for_a_cpu();
    eventually("half a second of CPU is gone", || {
        let now = server.usage().expect("/proc was there");
        assert!(now.wakeups - before.wakeups < 100, "it sleeps now and then");
        let waited = server.waited_for_a_cpu().saturating_sub(waited_before);
        now.cpu - before.cpu + waited > Duration::from_millis(500)
    });
}

/// A thread for each client, and none when they have left.
pub fn takes_a_thread_per_client(exe: &str) {
    if !allow_descriptors(150) {
        return skipped("needs 150 descriptors");
    }
    let server = Server::start(exe);
    let Some(before) = server.usage() else { return skipped("needs /proc") };
    let clients = talking_clients(&server, 100);
    assert_eq!(server.usage().expect("/proc was there").threads, before.threads + 100);
    drop(clients);
    eventually("their threads have ended", || {
        server.usage().expect("/proc was there").threads == before.threads
    });
}

/// As many threads with a hundred clients as with none.
pub fn takes_no_thread_per_client(exe: &str) {
    if !allow_descriptors(150) {
        return skipped("needs 150 descriptors");
    }
    let server = Server::start(exe);
    let Some(before) = server.usage() else { return skipped("needs /proc") };
    let _clients = talking_clients(&server, 100);
    assert_eq!(server.usage().expect("/proc was there").threads, before.threads);
}

/// 10,000 clients at once, each of them served; and one that is silent costs at most 64 bytes of memory
/// (of ours: the kernel's sockets are another matter), by the slope from 1,000 to 10,000 of them.
pub fn serves_10_000_clients_for_64_bytes_each(exe: &str) {
    if !allow_descriptors(11_000) {
        return skipped("needs 11,000 descriptors");
    }
    let server = Server::start(exe);
    let mut clients = talking_clients(&server, 1_000);
    let few = server.usage();
    clients.extend(talking_clients(&server, 9_000));
    let many = server.usage();
    for (i, client) in clients.iter_mut().enumerate() {
        client.round_trip(&i.to_le_bytes());
    }
    if let (Some(few), Some(many)) = (few, many) {
        let each = many.rss.saturating_sub(few.rss) / 9_000;
        assert!(each <= 64, "{each} bytes for each idle client");
    } else {
        skipped("the memory needs /proc");
    }
    // 10,000 FINs would leave 10,000 ports in TIME_WAIT.
    clients.into_iter().for_each(Client::reset);
    server.assert_still_serving();
}

/// 20 clients that write without end and never read: 8 MiB for all of them, and the others are served.
pub fn clients_that_only_write_cannot_fill_the_memory(exe: &str) {
    let server = Server::start(exe);
    let mut polite = server.connect();
    polite.round_trip(b"hello");
    let Some(before) = server.usage() else { return skipped("needs /proc") };
    let bytes = random_bytes(1024 * 1024);
    let _deaf: Vec<_> = (0..20)
        .map(|_| {
            let mut deaf = server.connect();
            deaf.fill(&bytes, || polite.round_trip(b"and I?")).expect("cannot fill");
            deaf
        })
        .collect();
    let grown = server.usage().expect("/proc was there").rss.saturating_sub(before.rss);
    assert!(grown <= 8 * 1024 * 1024, "{grown} bytes for 20 clients that never read");
    polite.round_trip(b"I am served");
    server.assert_still_serving();
}

/// An urgent byte (`MSG_OOB`) may be anywhere among the bytes, so the server has to look for it. When it has
/// been found, a message is one read again.
pub fn an_urgent_byte_makes_later_messages_cost_no_more(exe: &str) {
    let Some(traced) = Traceable::start(exe, &[], "true") else { return skipped(NO_STRACE) };
    let mut client = traced.server.connect();
    client.send_urgent(b'!');
    client.expect(b"!");
    let Some(trace) = traced.trace(&["trace=read,recvfrom"]) else { return skipped(NO_STRACE) };
    for _ in 0..500 {
        client.round_trip(b"not urgent");
        pass(Duration::from_millis(1)); // or a read too many would bring the next message
    }
    let reads = trace.calls();
    eprintln!("{reads} reads for 500 messages");
    assert!((500..=510).contains(&reads), "{reads} reads for 500 messages");
    traced.server.assert_still_serving();
}

/// accept4(2) makes a new client's socket non-blocking in the same call, so there is no ioctl(2) or fcntl(2)
/// for it.
pub fn a_new_client_costs_no_call_to_make_it_non_blocking(exe: &str) {
    let Some(traced) = Traceable::start(exe, &[], "true") else { return skipped(NO_STRACE) };
    traced.server.assert_still_serving();
    let Some(trace) = traced.trace(&["trace=ioctl,fcntl"]) else { return skipped(NO_STRACE) };
    let _clients = talking_clients(&traced.server, 20);
    let calls = trace.calls();
    assert_eq!(calls, 0, "{calls} calls of ioctl and fcntl for 20 new clients");
}

/// Clients that have been served once, so we know that they are in.
fn talking_clients(server: &Server, n: usize) -> Vec<Client> {
    let start = Instant::now();
    let clients = (0..n)
        .map(|_| {
            let mut client = server.connect();
            client.round_trip(b"hello");
            client
        })
        .collect();
    eprintln!("{n} clients in {:?}", start.elapsed());
    clients
}

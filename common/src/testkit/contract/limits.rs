//! When there is no room for another client.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use crate::testkit::client::{Client, allow_descriptors};
use crate::testkit::contract::cost::assert_burns_a_core;
use crate::testkit::server::{Server, Signal};
use crate::testkit::traced::{NO_STRACE, Traceable, run_from_shell, start_from_shell};
use crate::testkit::{pass, skipped};

/// How many come, which is more than can be in.
const CLIENTS: usize = 200;

/// The descriptors that they take, and a few more: here, and in a server that lets all of them in.
const ROOM: u64 = CLIENTS as u64 + 100;

/// 64 descriptors and 200 clients: none is turned away, nothing spins, and as one leaves, one who
/// waited is served, although none connects any more.
pub fn who_waited_for_a_descriptor_is_served_when_one_leaves(exe: &str) {
    if cfg!(not(unix)) {
        return skipped("there is no such limit here");
    }
    if !allow_descriptors(ROOM) {
        return skipped("needs 300 descriptors");
    }
    let server = Server::start_with_descriptors(exe, 64);
    server.wait_until_it_sleeps(); // if it spins without a client, that is another fault
    let mut crowd = Crowd::connect(&server, 40..64);
    crowd.assert_no_spin(&server);
    crowd.leave_one_by_one();
    server.assert_still_serving();
    assert!(server.log().lines().count() <= 3, "{}", server.log());
}

/// The same, and it burns a core meanwhile: a server that goes on asking.
pub fn who_waited_for_a_descriptor_is_served_by_a_server_that_spins(exe: &str) {
    if cfg!(not(unix)) {
        return skipped("there is no such limit here");
    }
    if !allow_descriptors(ROOM) {
        return skipped("needs 300 descriptors");
    }
    let server = Server::start_with_descriptors(exe, 64);
    let crowd = Crowd::connect(&server, 40..64);
    assert_burns_a_core(&server);
    crowd.leave_one_by_one();
    server.assert_still_serving();
    assert!(server.log().lines().count() <= 3, "{}", server.log());
}

/// No client leaves and none speaks, but there are more descriptors all of a sudden. No event says so, and
/// everyone who waited is served.
pub fn who_waited_for_a_descriptor_is_served_although_no_client_leaves(exe: &str) {
    if cfg!(not(target_os = "linux")) {
        return skipped("needs prlimit(1)");
    }
    if !allow_descriptors(ROOM) {
        return skipped("needs 300 descriptors");
    }
    let server = Server::start_with_descriptors(exe, 64);
    let mut crowd = Crowd::connect(&server, 40..64);
    if !server.raise_descriptors(ROOM as usize) {
        return skipped("needs prlimit(1)");
    }
    while !crowd.waiting.is_empty() {
        crowd.let_one_in("one that waited is served");
    }
    crowd.inside.iter_mut().for_each(|client| client.round_trip(b"everyone is in"));
    server.assert_still_serving();
}

/// The same, but a client that is in speaks all the time: there is never a pause without an event.
pub fn who_waited_for_a_descriptor_is_served_although_another_client_talks(exe: &str) {
    if cfg!(not(target_os = "linux")) {
        return skipped("needs prlimit(1)");
    }
    if !allow_descriptors(ROOM) {
        return skipped("needs 300 descriptors");
    }
    let server = Server::start_with_descriptors(exe, 64);
    let mut crowd = Crowd::connect(&server, 40..64);
    if !server.raise_descriptors(ROOM as usize) {
        return skipped("needs prlimit(1)");
    }
    crate::testkit::eventually("everyone is in", || {
        crowd.inside[0].round_trip(b"blah");
        crowd.let_in_those_who_are_served();
        crowd.waiting.is_empty()
    });
    server.assert_still_serving();
}

/// `--max-connections 50` and 200 clients.
pub fn who_waited_at_the_limit_is_served_when_one_leaves(exe: &str) {
    if !allow_descriptors(ROOM) {
        return skipped("needs 300 descriptors");
    }
    let server = Server::start_with(exe, &["--max-connections", "50"]);
    let mut crowd = Crowd::connect(&server, 50..51);
    crowd.assert_no_spin(&server);
    crowd.leave_one_by_one();
    server.assert_still_serving();
    assert!(server.log().lines().count() <= 3, "{}", server.log());
}

/// The same, and it burns a core meanwhile: a server that goes on asking.
pub fn who_waited_at_the_limit_is_served_by_a_server_that_spins(exe: &str) {
    if !allow_descriptors(ROOM) {
        return skipped("needs 300 descriptors");
    }
    let server = Server::start_with(exe, &["--max-connections", "50"]);
    let crowd = Crowd::connect(&server, 50..51);
    assert_burns_a_core(&server);
    crowd.leave_one_by_one();
    server.assert_still_serving();
    assert!(server.log().lines().count() <= 3, "{}", server.log());
}

/// At the limit with none waiting, nothing is said; with a client waiting, it is said once.
pub fn says_that_it_is_full_only_when_a_client_waits(exe: &str) {
    let server = Server::start_with_log_level(exe, "debug", &["--max-connections", "2"]);
    let (mut first, mut second) = (server.connect(), server.connect());
    second.round_trip(b"two are in");
    first.round_trip(b"two are in");
    // What it says when one leaves comes behind whatever it has said until then.
    drop(second);
    server.wait_for_log("closed");
    assert!(!server.log().contains("full"), "{}", server.log());
    let mut second = server.connect();
    second.round_trip(b"two are in again");
    let mut third = server.connect();
    third.send(b"and I?");
    server.wait_for_log("full");
    first.round_trip(b"still");
    drop(first);
    third.expect(b"and I?");
}

/// Two clients come at once to a server for one. No third one knocks, and still the log says that the second
/// waits. When one comes alone, the log says nothing.
pub fn says_that_it_is_full_when_two_come_at_once(exe: &str) {
    let server = Server::start_with_log_level(exe, "debug", &["--max-connections", "1"]);
    let come_at_once = |n: usize| {
        let stopped = server.signal(Signal::Stop);
        let clients: Vec<_> = (0..n).map(|_| server.connect()).collect();
        server.signal(Signal::Continue);
        stopped.then_some(clients)
    };
    let Some(mut one) = come_at_once(1) else { return skipped("needs SIGSTOP") };
    one[0].round_trip(b"I am alone");
    drop(one);
    // This line comes behind whatever it has said until then.
    server.wait_for_log("closed");
    assert!(!server.log().contains("full"), "{}", server.log());
    let mut two = come_at_once(2).expect("there are signals");
    two[0].round_trip(b"I am in");
    server.wait_for_log("full");
    drop(two.remove(0));
    two[0].round_trip(b"I waited");
}

/// It may have 64 descriptors, and more if it asks for them: the soft limit and the hard one of
/// setrlimit(2). So it asks, and 200 clients are served at the same time.
pub fn takes_as_many_descriptors_as_it_may_have(exe: &str) {
    if cfg!(not(unix)) || !allow_descriptors(CLIENTS as u64 + 200) {
        return skipped("needs 400 descriptors");
    }
    let server = start_from_shell(exe, &[], "ulimit -S -n 64");
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(b"!"));
    clients.iter_mut().for_each(|client| client.expect(b"!"));
    server.assert_still_serving();
}

/// 300 descriptors are all that it may have, and it is to hold more clients than that. It says once, when
/// it starts, how many there is room for.
pub fn says_how_many_clients_its_descriptors_are_enough_for(exe: &str) {
    const DESCRIPTORS: usize = 300;
    if cfg!(not(unix)) {
        return skipped("there is no such limit here");
    }
    let server = start_from_shell(exe, &[], &format!("ulimit -n {DESCRIPTORS}"));
    server.wait_for_log("descriptors");
    server.assert_still_serving();
    let log = server.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("descriptors")).collect();
    assert!(lines.len() == 1 && lines[0].contains("WARN"), "{log}");
    let mut numbers = lines[0].split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
    assert!(numbers.any(|n: usize| (DESCRIPTORS - 50..DESCRIPTORS).contains(&n)), "{log}");
}

/// There is less memory than the table of a million clients takes. That is one clear line, and exit 1.
pub fn a_table_that_is_too_large_is_one_clear_line(exe: &str) {
    /// 20 MiB of address space, more than twice of what the program and a small table need. The million has
    /// a warning as well, about descriptors: that one is not meant.
    const LITTLE: &str = "ulimit -v 20480 && export RUST_LOG=error";
    if cfg!(not(unix)) || run_from_shell(exe, &["--help"], LITTLE).0 != Some(0) {
        return skipped("needs ulimit -v");
    }
    start_from_shell(exe, &["--max-connections", "100"], LITTLE).assert_still_serving();
    let (code, stderr) = run_from_shell(exe, &["--max-connections", "1000000"], LITTLE);
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

/// accept(2) fails at once, again and again, and the clients stay in the backlog: so the kernel answers if a
/// security module forbids it. The server tries now and then, and complains as rarely.
pub fn an_accept_that_fails_again_and_again_costs_next_to_nothing(exe: &str) {
    /// Two bursts with a pause of a second between them, and one for each event.
    const A_FEW_HUNDRED: usize = 400;
    for error in REFUSALS {
        let Some(traced) = Traceable::start(exe, &[], "true") else { return skipped(NO_STRACE) };
        let Some(trace) = traced.refuse("accept4", error) else { return skipped(NO_STRACE) };
        // The first may still get in: by a call that has begun before there was an strace.
        drop(traced.server.connect());
        let _waits = traced.server.connect();
        pass(Duration::from_millis(1_500));
        let calls = trace.calls();
        eprintln!("{error}: {calls} calls");
        assert!((1..=A_FEW_HUNDRED).contains(&calls), "{calls} calls of accept4 in 1.5 s");
        assert!(traced.log_lines() <= 3, "{}", traced.server.log());
    }
}

/// A client that is in does not notice, and the log is not filled either.
pub fn a_client_is_served_while_accept_fails(exe: &str) {
    for error in REFUSALS {
        let Some(traced) = Traceable::start(exe, &[], "true") else { return skipped(NO_STRACE) };
        let mut client = traced.server.connect();
        client.round_trip(b"I am in");
        let Some(_trace) = traced.refuse("accept4", error) else { return skipped(NO_STRACE) };
        let _waits = traced.server.connect();
        (0..100).for_each(|_| client.round_trip(b"I do not notice"));
        assert!(traced.log_lines() <= 3, "{}", traced.server.log());
    }
}

/// As soon as accept(2) fails no more, those who waited are served, one after the other.
pub fn clients_that_waited_while_accept_failed_are_served_in_the_end(exe: &str) {
    for error in REFUSALS {
        let Some(traced) = Traceable::start(exe, &[], "true") else { return skipped(NO_STRACE) };
        let Some(trace) = traced.refuse("accept4", error) else { return skipped(NO_STRACE) };
        let clients: Vec<_> = (0..3).map(|_| traced.server.connect()).collect();
        pass(Duration::from_millis(200)); // so that it fails more often than once
        drop(trace);
        clients.into_iter().for_each(|mut client| client.round_trip(b"and I?"));
        traced.server.assert_still_serving();
    }
}

/// What accept(2) may say of a client that has not gone.
const REFUSALS: [&str; 3] = ["EPERM", "EACCES", "EPROTO"];

/// No room in the poller for another client (`ENOSPC`: the user has as many watches as it may have). So new
/// clients wait, as for a descriptor. One may be lost each time that the server tries: it has been accepted.
pub fn new_clients_wait_while_the_poller_has_no_room(exe: &str) {
    // Every third call: stage 4 needs two others, to stop watching the listener and to watch it again. These
    // the kernel would never refuse.
    new_clients_wait_while(exe, "epoll_ctl", "ENOSPC:when=1+3");
}

/// No memory for an option of a socket: the same.
pub fn new_clients_wait_while_there_is_no_memory_for_their_options(exe: &str) {
    new_clients_wait_while(exe, "setsockopt", "ENOBUFS");
}

#[track_caller]
fn new_clients_wait_while(exe: &str, call: &str, error: &str) {
    let Some(traced) = Traceable::start(exe, &[], "true") else { return skipped(NO_STRACE) };
    let Some(trace) = traced.refuse(call, error) else { return skipped(NO_STRACE) };
    let start = Instant::now();
    let mut clients: Vec<_> = (0..50).map(|_| traced.server.connect()).collect();
    for client in &mut clients {
        let _ = client.stream.write_all(b"!"); // one that is lost may have heard so
    }
    pass(Duration::from_millis(500));
    drop(trace);
    let seconds = start.elapsed().as_secs() as usize;
    let lost = clients.iter_mut().filter_map(|client| client.is_lost().then_some(())).count();
    let lines = traced.log_lines();
    eprintln!("{lost} clients lost in {seconds} s, {lines} lines");
    assert!(lost <= 2 + seconds, "{lost} of 50 clients are lost after {seconds} s");
    assert!(lines <= 3, "{}", traced.server.log());
    traced.server.assert_still_serving();
}

impl Client {
    /// False when it has been served: a byte comes.
    #[track_caller]
    fn is_lost(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(n) => n == 0,
            Err(e) if e.kind() == ErrorKind::ConnectionReset => true,
            Err(e) => panic!("neither served nor lost: {e}"),
        }
    }
}

/// Out of descriptors, and a client who is in talks: that is no reason to try again each time.
pub fn talk_costs_no_accept_while_there_is_no_descriptor(exe: &str) {
    const LIMIT: &str = "ulimit -n 64";
    let Some(traced) = Traceable::start(exe, &[], LIMIT) else { return skipped(NO_STRACE) };
    let mut crowd = Crowd::connect(&traced.server, 40..64);
    let Some(trace) = traced.trace(&["trace=accept4"]) else { return skipped(NO_STRACE) };
    let start = Instant::now();
    (0..500).for_each(|_| crowd.inside[0].round_trip(b"blah"));
    let seconds = start.elapsed().as_secs() as usize;
    let calls = trace.calls();
    eprintln!("{calls} calls in {seconds} s");
    // Once a second it may try.
    assert!(calls <= 10 + seconds, "{calls} calls of accept4 for 500 messages, in {seconds} s");
}

/// Out of descriptors, one client leaves and one that waited comes in, twenty times. The poller is told of the
/// new client, which is one call, and of nothing else.
pub fn who_waited_for_a_descriptor_costs_one_call_of_epoll_ctl(exe: &str) {
    const LEAVE: usize = 20;
    let limit = "ulimit -n 64";
    let Some(traced) = Traceable::start(exe, &[], limit) else { return skipped(NO_STRACE) };
    let mut crowd = Crowd::connect(&traced.server, 40..64);
    let Some(trace) = traced.trace(&["trace=epoll_ctl"]) else { return skipped(NO_STRACE) };
    for _ in 0..LEAVE {
        drop(crowd.inside.swap_remove(0));
        crowd.let_one_in("one that waited is served");
    }
    let calls = trace.calls();
    assert_eq!(calls, LEAVE, "{calls} calls of epoll_ctl for {LEAVE} clients");
}

/// More clients than there is room for. All have sent a byte, and those who are in have it back.
struct Crowd {
    inside: Vec<Client>,
    waiting: Vec<Client>,
}

impl Crowd {
    #[track_caller]
    fn connect(server: &Server, room: std::ops::Range<usize>) -> Self {
        let mut waiting = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = server.connect();
            client.send(b"!");
            waiting.push(client);
        }
        let mut crowd = Self { inside: Vec::new(), waiting };
        while crowd.inside.len() < room.start {
            crowd.let_one_in("one is served");
        }
        // Those who are in prove that the server turns. Now no one new must come in except those on the way.
        for _ in 0..3 {
            crowd.inside.iter_mut().for_each(|client| client.round_trip(b"I am in"));
            crowd.let_in_those_who_are_served();
        }
        assert!(room.contains(&crowd.inside.len()), "{} are in", crowd.inside.len());
        crowd
    }

    fn served(&self) -> Option<usize> {
        self.waiting.iter().position(|client| !client.has_heard_nothing())
    }

    #[track_caller]
    fn let_in_those_who_are_served(&mut self) {
        while let Some(index) = self.served() {
            let client = self.waiting.swap_remove(index);
            self.enter(client);
        }
    }

    #[track_caller]
    fn enter(&mut self, mut client: Client) {
        client.expect(b"!");
        self.inside.push(client);
    }

    /// Waits until one of those outside is served.
    #[track_caller]
    fn let_one_in(&mut self, what: &str) {
        let mut index = None;
        crate::testkit::eventually(what, || {
            index = self.served();
            index.is_some()
        });
        let client = self.waiting.swap_remove(index.expect("one is served"));
        self.enter(client);
    }

    /// With clients waiting and none leaving: under 5 % of a core, and those who are in are served. The time
    /// in which other programs have the core does not count, or one that spins would be in order there.
    #[track_caller]
    fn assert_no_spin(&mut self, server: &Server) {
        let Some(before) = server.usage() else { return skipped("the CPU needs /proc") };
        let (start, waited) = (Instant::now(), server.waited_for_a_cpu());
        assert!(self.inside[0].hears_nothing_for(Duration::from_millis(1_500)));
        let cpu = server.usage().expect("/proc was there").cpu - before.cpu;
        let waited = server.waited_for_a_cpu() - waited;
        let had = start.elapsed().saturating_sub(waited).max(Duration::from_millis(1));
        let share = cpu.as_secs_f64() / had.as_secs_f64();
        assert!(share < 0.05, "{:.1} % of a core while people wait", share * 100.0);
        self.inside.iter_mut().for_each(|client| client.round_trip(b"I am in"));
    }

    /// As one leaves one comes in, and for none does it take a pause of a second.
    #[track_caller]
    fn leave_one_by_one(mut self) {
        let start = Instant::now();
        while !self.waiting.is_empty() {
            drop(self.inside.swap_remove(0));
            self.let_one_in("one that waited is served");
        }
        self.inside.iter_mut().for_each(|client| client.round_trip(b"everyone was in"));
        let elapsed = start.elapsed();
        assert!(elapsed < Duration::from_secs(15), "it took {elapsed:?} until everyone was in");
    }
}

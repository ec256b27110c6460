//! When there is no room for another client.

use std::time::{Duration, Instant};

use crate::testkit::client::{Client, allow_descriptors};
use crate::testkit::server::Server;
use crate::testkit::{DEADLINE, skipped};

/// How many come, which is more than can be in.
const CLIENTS: usize = 200;

/// The descriptors that they take, and a few more: here, and in a server that lets all of them in.
const ROOM: u64 = CLIENTS as u64 + 100;

/// 64 descriptors and 200 clients: nobody is turned away, nothing spins, and as one leaves, one who
/// waited is served, although nobody connects any more.
pub fn who_waited_for_a_descriptor_is_served_when_one_leaves(exe: &str) {
    if cfg!(not(unix)) {
        return skipped("there is no such limit here");
    }
    if !allow_descriptors(ROOM) {
        return skipped("needs 300 descriptors");
    }
    let server = Server::start_with_descriptors(exe, 64);
    let mut crowd = Crowd::connect(&server, 40..64);
    crowd.assert_no_spin(&server);
    crowd.leave_one_by_one();
    server.assert_still_serving();
    assert!(server.log().lines().count() <= 3, "{}", server.log());
}

/// The same, but the CPU: a server that spins by design.
pub fn who_waited_for_a_descriptor_is_served_by_a_server_that_spins(exe: &str) {
    if cfg!(not(unix)) {
        return skipped("there is no such limit here");
    }
    if !allow_descriptors(ROOM) {
        return skipped("needs 300 descriptors");
    }
    let server = Server::start_with_descriptors(exe, 64);
    Crowd::connect(&server, 40..64).leave_one_by_one();
    server.assert_still_serving();
    assert!(server.log().lines().count() <= 3, "{}", server.log());
}

/// Nobody leaves and nobody speaks, but there are more descriptors all of a sudden. No event says so, and
/// everyone who waited is served.
pub fn who_waited_for_a_descriptor_is_served_although_nobody_leaves(exe: &str) {
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
        crowd.let_one_in();
    }
    crowd.inside.iter_mut().for_each(|client| client.round_trip(b"everyone is in"));
    server.assert_still_serving();
}

/// The same, but somebody who is in speaks all the time: there is never a pause without an event.
pub fn who_waited_for_a_descriptor_is_served_although_somebody_talks(exe: &str) {
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
        crowd.let_in_whoever_is_served();
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

/// The same, but the CPU: a server that spins by design.
pub fn who_waited_at_the_limit_is_served_by_a_server_that_spins(exe: &str) {
    if !allow_descriptors(ROOM) {
        return skipped("needs 300 descriptors");
    }
    let server = Server::start_with(exe, &["--max-connections", "50"]);
    Crowd::connect(&server, 50..51).leave_one_by_one();
    server.assert_still_serving();
    assert!(server.log().lines().count() <= 3, "{}", server.log());
}

/// At the limit with nobody waiting, nothing is said; with somebody waiting, it is said once.
pub fn says_that_it_is_full_only_when_somebody_waits(exe: &str) {
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
            crowd.let_one_in();
        }
        // Those who are in prove that the server turns. Now nobody new must come in but those on the way.
        for _ in 0..3 {
            crowd.inside.iter_mut().for_each(|client| client.round_trip(b"I am in"));
            crowd.let_in_whoever_is_served();
        }
        assert!(room.contains(&crowd.inside.len()), "{} are in", crowd.inside.len());
        crowd
    }

    fn served(&self) -> Option<usize> {
        self.waiting.iter().position(|client| !client.has_heard_nothing())
    }

    #[track_caller]
    fn let_in_whoever_is_served(&mut self) {
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
    fn let_one_in(&mut self) {
        let mut index = None;
        crate::testkit::eventually("somebody who waited is served", || {
            index = self.served();
            index.is_some()
        });
        let client = self.waiting.swap_remove(index.expect("somebody is served"));
        self.enter(client);
    }

    /// With people waiting and nobody leaving: under 5 % of a core, and those who are in are served.
    #[track_caller]
    fn assert_no_spin(&mut self, server: &Server) {
        let Some(before) = server.usage() else { return skipped("the CPU needs /proc") };
        let start = Instant::now();
        assert!(self.inside[0].hears_nothing_for(Duration::from_millis(1_500)));
        let cpu = server.usage().expect("/proc was there").cpu - before.cpu;
        let share = cpu.as_secs_f64() / start.elapsed().as_secs_f64();
        assert!(share < 0.05, "{:.1} % of a core while people wait", share * 100.0);
        self.inside.iter_mut().for_each(|client| client.round_trip(b"I am in"));
    }

    /// As one leaves one comes in, and for nobody does it take a pause of a second.
    #[track_caller]
    fn leave_one_by_one(mut self) {
        let start = Instant::now();
        while !self.waiting.is_empty() {
            drop(self.inside.swap_remove(0));
            self.let_one_in();
        }
        self.inside.iter_mut().for_each(|client| client.round_trip(b"everyone was in"));
        let elapsed = start.elapsed();
        assert!(elapsed < DEADLINE / 4, "it took {elapsed:?} until everyone was in");
    }
}

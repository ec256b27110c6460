//! What is still to be built. Each test is red until you have built it: see the exercises in the book.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::testkit::client::{Client, random_bytes};
use common::testkit::server::{Server, Signal, Usage};
use common::testkit::traced::{NO_STRACE, Traceable};
use common::testkit::{eventually, pass, skipped};

const EXE: &str = env!("CARGO_BIN_EXE_stage5-mio");

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Every byte value, one by one and from a client that reads late: letters of ASCII come back in upper case, the rest as it is.
#[test]
#[ignore = "exercise 5.7: cargo test -p stage5-mio --test exercises -- --ignored e5_7"]
fn e5_7_letters_come_back_in_upper_case() {
    let server = Server::start(EXE);
    let mut client = server.connect();
    for byte in 0..=255_u8 {
        client.send(&[byte]);
        eventually("a byte comes back", || !client.has_heard_nothing());
        let mut back = [0];
        client.stream.read_exact(&mut back).expect("it has come");
        let expected = byte.to_ascii_uppercase();
        assert_eq!(back, [expected], "{byte} came back as {back:?}, expected {expected}");
    }
    // The client reads only when the server cannot send any more: by then some bytes wait in its outbox.
    let mut deaf = server.connect();
    let bytes = random_bytes(1024 * 1024);
    let sent = deaf.fill(&bytes, || say(&mut client, b"and I?")).expect("cannot fill");
    deaf.half_close();
    let back = deaf.read_to_end();
    let expected: Vec<u8> = bytes.to_ascii_uppercase().into_iter().cycle().take(sent).collect();
    assert!(
        back == expected,
        "{sent} bytes were sent before any was read, and other ones are back"
    );
}

/// A byte takes the work of a byte, and a client that has been served leaves no memory behind.
#[test]
#[ignore = "exercise 5.7: cargo test -p stage5-mio --test exercises -- --ignored e5_7"]
fn e5_7_and_it_costs_next_to_nothing() {
    const CLIENTS: u64 = 100;
    const MESSAGES: usize = 300;
    let server = Server::start(EXE);
    if server.usage().is_none() {
        return skipped("CPU and memory need /proc");
    }
    let usage = || server.usage().expect("/proc was there");
    let cpu = |message: &[u8]| {
        let mut client = server.connect();
        let before = usage().cpu;
        (0..MESSAGES).for_each(|_| say(&mut client, message));
        usage().cpu - before
    };
    // Both take a wake-up and two calls. Only the bytes make a difference.
    let (small, large) = (cpu(b"x"), cpu(&[b'x'; 64 * 1024]));
    eprintln!("seen: {small:.1?} of CPU for {MESSAGES} messages of 1 byte, {large:.1?} of 64 KiB");
    assert!(small * 2 < large, "one byte takes as much CPU as 64 KiB: {small:?}, {large:?}");
    let before = usage().rss;
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| say(client, &[b'x'; 16 * 1024]));
    let each = usage().rss.saturating_sub(before) / CLIENTS;
    assert!(each <= 4096, "{each} bytes of memory for each client that was served");
}

#[track_caller]
fn say(client: &mut Client, bytes: &[u8]) {
    client.send(bytes);
    client.expect(&bytes.to_ascii_uppercase());
}

/// A client that never reads: its bytes are kept, up to a mebibyte, and then it is cut off. One that reads in the
/// end gets each byte in its place.
#[test]
#[ignore = "exercise 5.8: cargo test -p stage5-mio --test exercises -- --ignored e5_8"]
fn e5_8_a_client_that_owes_us_its_attention_for_a_mebibyte_is_cut_off() {
    let server = Server::start(EXE);
    let mut other = server.connect();
    is_cut_off_at_a_mebibyte(&server, &mut other);
    gets_every_byte_late(&server, &mut other);
}

#[test]
#[ignore = "exercise 5.8, step 1: cargo test -p stage5-mio --test exercises -- --ignored s5_8_1"]
fn s5_8_1_a_client_that_never_reads_is_cut_off_at_a_mebibyte() {
    let server = Server::start(EXE);
    is_cut_off_at_a_mebibyte(&server, &mut server.connect());
}

#[test]
#[ignore = "exercise 5.8, step 2: cargo test -p stage5-mio --test exercises -- --ignored s5_8_2"]
fn s5_8_2_a_client_that_reads_late_gets_every_byte_in_its_place() {
    let server = Server::start(EXE);
    gets_every_byte_late(&server, &mut server.connect());
}

/// What the log says of a client that is cut off: this, and then how many bytes it is owed.
const CUT_OFF: &str = "it does not read, and ";

#[track_caller]
fn is_cut_off_at_a_mebibyte(server: &Server, other: &mut Client) {
    const READ_SIZE: usize = 64 * KIB + 1;
    let mut deaf = server.connect();
    let filled = deaf.fill(&random_bytes(MIB), || other.round_trip(b"and I?"));
    assert!(filled.is_err(), "it is kept, and not read from: that is the policy we had");
    let owed = || bytes_owed(&server.log());
    eventually("it is cut off, and the log says how many bytes are owed", || owed().is_some());
    let owed = owed().expect("it is there");
    eprintln!("seen: cut off with {owed} bytes owed");
    let almost_full = MIB - READ_SIZE..=MIB;
    assert!(almost_full.contains(&owed), "not at a mebibyte: cut off with {owed} bytes owed");
    other.round_trip(b"I am served");
}

fn bytes_owed(log: &str) -> Option<usize> {
    let (_, rest) = log.split_once(CUT_OFF)?;
    rest.split_once(" bytes are owed")?.0.parse().ok()
}

/// A client sends more and more before it reads, until that is so much that it is cut off. A little less than
/// that is kept in the outbox.
#[track_caller]
fn gets_every_byte_late(server: &Server, other: &mut Client) {
    let too_much = (1..128).find(|quarters| {
        let late = LateReader::send(server, other, quarters * MIB / 4);
        late.half_close(other);
        !late.reads_all(server)
    });
    let Some(too_much) = too_much else { return };
    for less in 1..=4 {
        let bytes = too_much.saturating_sub(less) * MIB / 4;
        let mut late = LateReader::send(server, other, bytes);
        late.read_and_send(other);
        late.half_close(other);
        late.reads_all(server);
    }
    costs_no_cpu_meanwhile(server, other, too_much.saturating_sub(2) * MIB / 4);
}

/// Two clients do not read what they are owed, and one of them has sent its FIN.
#[track_caller]
fn costs_no_cpu_meanwhile(server: &Server, other: &mut Client, bytes: usize) {
    let late = [(); 2].map(|()| LateReader::send(server, other, bytes));
    late[0].half_close(other);
    if let Some(share) = share_of_a_core(server) {
        assert!(share < 50.0, "{share:.0} % of a core while two clients do not read");
    }
    late[1].half_close(other);
    for late in late {
        late.reads_all(server);
    }
}

/// A client that sends first and reads later.
struct LateReader {
    client: Client,
    sent: Vec<u8>,
    back: Vec<u8>,
    /// How many clients had been cut off before.
    cut_off_before: usize,
    is_cut_off: bool,
}

impl LateReader {
    #[track_caller]
    fn send(server: &Server, other: &mut Client, bytes: usize) -> Self {
        let (client, back) = (server.connect(), Vec::new());
        let cut_off_before = server.log().matches(CUT_OFF).count();
        let mut late = Self { client, sent: Vec::new(), back, cut_off_before, is_cut_off: false };
        late.write(&random_bytes(bytes));
        for _ in 0..30 {
            other.round_trip(b"and I?"); // the server gets turns, to read all that it wants to
        }
        late
    }

    #[track_caller]
    fn write(&mut self, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
        self.is_cut_off |= has_not_timed_out(self.client.stream.write_all(bytes)).is_err();
    }

    /// It reads a little, so that there is room in the socket, and sends as much. What is new belongs behind
    /// what waits.
    #[track_caller]
    fn read_and_send(&mut self, other: &mut Client) {
        let mut piece = vec![0; 64 * KIB];
        for new in random_bytes(MIB).chunks(64 * KIB) {
            if self.is_cut_off {
                return;
            }
            match has_not_timed_out(self.client.stream.read_exact(&mut piece)) {
                Ok(()) => self.back.extend_from_slice(&piece),
                Err(_) => self.is_cut_off = true,
            }
            self.write(new);
            other.round_trip(b"and I?");
        }
    }

    /// The server reads the FIN before the client reads anything.
    #[track_caller]
    fn half_close(&self, other: &mut Client) {
        let _ = self.client.stream.shutdown(std::net::Shutdown::Write); // it may have been cut off
        (0..3).for_each(|_| other.round_trip(b"and I?"));
    }

    /// Whether it has got all of its bytes. If not, it was cut off, and the log says so.
    #[track_caller]
    fn reads_all(mut self, server: &Server) -> bool {
        read_to_any_end(&mut self.client, &mut self.back, "every byte is back, and no end");
        let (sent, back) = (self.sent.len(), self.back.len());
        let in_place = self.sent.iter().zip(&self.back).take_while(|(a, b)| a == b).count();
        assert!(in_place == back, "bytes are moved: byte {in_place} of {sent} is another one");
        if back < sent {
            eprintln!("seen: {back} of {sent} bytes came back");
            eventually("the log says that it was cut off, since bytes are missing", || {
                server.log().matches(CUT_OFF).count() > self.cut_off_before
            });
        }
        back == sent
    }
}

/// Four clients of one address are in. The fifth is turned away, until one of the four leaves.
#[test]
#[ignore = "exercise 5.9: cargo test -p stage5-mio --test exercises -- --ignored e5_9"]
fn e5_9_an_address_may_hold_four_connections() {
    let house = House::with_four_clients();
    let house = the_fifth_is_turned_away(house);
    a_client_that_leaves_makes_room(house);
}

#[test]
#[ignore = "exercise 5.9, step 1: cargo test -p stage5-mio --test exercises -- --ignored s5_9_1"]
fn s5_9_1_the_fifth_client_of_an_address_is_turned_away() {
    the_fifth_is_turned_away(House::with_four_clients());
}

#[test]
#[ignore = "exercise 5.9, step 2: cargo test -p stage5-mio --test exercises -- --ignored s5_9_2"]
fn s5_9_2_a_client_that_leaves_makes_room_for_another() {
    a_client_that_leaves_makes_room(House::with_four_clients());
}

/// A server that listens on all addresses, and the clients that it serves.
struct House {
    server: Server,
    has_ipv6: bool,
    inside: Vec<Client>,
}

impl House {
    #[track_caller]
    fn with_four_clients() -> Self {
        // Both kinds of loopback address reach a socket that listens on all addresses of IPv6.
        let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        let server = Server::start_on(EXE, if has_ipv6 { "[::]:0" } else { "0.0.0.0:0" });
        let mut house = Self { server, has_ipv6, inside: Vec::new() };
        house.inside = (0..4).map(|_| house.connect()).collect();
        house.inside.iter_mut().for_each(|client| client.round_trip(b"I am in"));
        house
    }

    fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.server.addr().port()).into()
    }

    #[track_caller]
    fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.addr()).expect("cannot connect"))
    }

    /// Tries more than once: a client may be a moment ahead of the news that another one has left.
    #[track_caller]
    fn has_room(&mut self) -> bool {
        (0..50).any(|_| {
            let mut client = self.connect();
            let is_in = !is_turned_away(&mut client);
            if is_in {
                self.inside.push(client);
            } else {
                pass(Duration::from_millis(10));
            }
            is_in
        })
    }
}

#[track_caller]
fn the_fifth_is_turned_away(mut house: House) -> House {
    for _ in 0..20 {
        assert!(is_turned_away(&mut house.connect()), "a fifth client of one address is served");
    }
    house.inside.iter_mut().for_each(|client| client.round_trip(b"I am still in"));
    if house.has_ipv6 {
        let other = TcpStream::connect(("::1", house.addr().port())).expect("cannot connect");
        let turned_away = is_turned_away(&mut Client::new(other));
        assert!(!turned_away, "a client of another address is turned away");
    } else {
        skipped("a second address needs IPv6");
    }
    house
}

/// With a reset, without a word, and politely. And an address from which every client has left is forgotten.
#[track_caller]
fn a_client_that_leaves_makes_room(mut house: House) {
    type Leave = fn(Client);
    let half_close = |mut client: Client| {
        client.half_close();
        assert_eq!(client.read_to_end(), b"");
    };
    let ways: [(&str, Leave); 3] =
        [("a reset", Client::reset), ("a plain close", drop), ("a half-close", half_close)];
    for (way, leave) in ways.iter().cycle().take(12) {
        leave(house.inside.remove(0));
        assert!(
            house.has_room(),
            "there is no room again when one of the four has left with {way}"
        );
    }
    house.inside.iter_mut().for_each(|client| client.round_trip(b"I am still in"));
    leaves_nothing_behind(&house);
    who_could_not_be_watched_takes_no_place();
}

/// Some thousand clients, each from an address of its own.
#[track_caller]
fn leaves_nothing_behind(house: &House) {
    let come_and_go = |clients: std::ops::Range<u32>| {
        for i in clients {
            let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 9, 0, 0).to_bits() + i);
            let Ok(mut client) = Client::connect_from(address.into(), house.addr()) else {
                return false;
            };
            client.round_trip(b"!");
            client.reset();
        }
        true
    };
    let memory = || house.server.usage().map(|usage| usage.rss);
    if !come_and_go(0..500) {
        return skipped("other addresses of the loopback interface need Linux");
    }
    let Some(before) = memory() else { return skipped("the memory needs /proc") };
    come_and_go(500..8_000);
    let grown = memory().expect("/proc was there").saturating_sub(before);
    assert!(grown < 200 * KIB as u64, "{grown} bytes for addresses that have left");
}

/// The kernel refuses an option of the socket, as it does when a client has left already. So this client is
/// never watched, and never closed.
#[track_caller]
fn who_could_not_be_watched_takes_no_place() {
    let Some(traced) = Traceable::start(EXE, &[], "true") else { return skipped(NO_STRACE) };
    let Some(trace) = traced.refuse("setsockopt", "ECONNRESET") else { return skipped(NO_STRACE) };
    for _ in 0..8 {
        is_turned_away(&mut traced.server.connect());
    }
    drop(trace);
    let turned_away = is_turned_away(&mut traced.server.connect());
    assert!(!turned_away, "there is no room again after clients that could not be watched");
}

/// Whether it sees its end and no answer.
#[track_caller]
fn is_turned_away(client: &mut Client) -> bool {
    let timeout = Some(Duration::from_secs(3));
    client.stream.set_read_timeout(timeout).expect("timeout");
    let answer = client.stream.write_all(b"?").and_then(|()| client.stream.read(&mut [0]));
    match answer {
        Ok(n) => n == 0,
        Err(e) if is_timeout(&e) => {
            panic!("neither served nor turned away: timed out after {timeout:?}")
        }
        Err(_) => true,
    }
}

/// Frames come back when they are complete and not before; one that is too long is the end.
#[test]
#[ignore = "exercise 5.10: cargo test -p stage5-mio --test exercises -- --ignored e5_10"]
fn e5_10_frames_come_back_whole() {
    let server = Server::start(EXE);
    come_back_when_they_are_complete(&server);
    half_a_frame_costs_no_cpu(&server);
    what_has_gone_back_takes_no_memory(&server);
    too_long_is_the_end(&server);
    come_back_to_a_slow_reader(&server);
}

#[test]
#[ignore = "exercise 5.10, step 1: cargo test -p stage5-mio --test exercises -- --ignored s5_10_1"]
fn s5_10_1_frames_come_back_when_they_are_complete() {
    let server = Server::start(EXE);
    come_back_when_they_are_complete(&server);
    half_a_frame_costs_no_cpu(&server);
    what_has_gone_back_takes_no_memory(&server);
}

#[test]
#[ignore = "exercise 5.10, step 2: cargo test -p stage5-mio --test exercises -- --ignored s5_10_2"]
fn s5_10_2_a_frame_that_is_too_long_is_the_end() {
    too_long_is_the_end(&Server::start(EXE));
}

#[test]
#[ignore = "exercise 5.10, step 3: cargo test -p stage5-mio --test exercises -- --ignored s5_10_3"]
fn s5_10_3_a_client_that_reads_slowly_gets_all_of_its_frames() {
    come_back_to_a_slow_reader(&Server::start(EXE));
}

/// A length in four bytes, the most significant first, and then that many bytes.
fn frame(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

const LONGEST: usize = 16 * KIB;

#[track_caller]
fn come_back_when_they_are_complete(server: &Server) {
    let (mut client, mut other) = (server.connect(), server.connect());
    let hello = frame(b"hello");
    for cut in 1..hello.len() {
        client.send(&hello[..cut]);
        other.round_trip(&frame(b"the server has had a turn"));
        other.round_trip(&frame(b"and another"));
        assert!(client.has_heard_nothing(), "half a frame came back, cut after {cut} bytes");
        client.send(&hello[cut..]);
        client.expect(&hello);
    }
    client.round_trip(&[frame(b""), frame(b"two"), frame(b"three")].concat());
    let many = frame(&random_bytes(LONGEST)).repeat(256);
    let bytes = [&many[..], &hello[..3]].concat();
    let (back, end) = send_and_read(&mut server.connect(), &bytes);
    let (all, n) = (many.len(), back.len());
    assert!(back == many, "256 frames of 16 KiB: {n} of {all} bytes came back, then {end:?}");
}

#[track_caller]
fn half_a_frame_costs_no_cpu(server: &Server) {
    let mut client = server.connect();
    client.send(&frame(b"hello")[..6]);
    if let Some(share) = share_of_a_core(server) {
        assert!(share < 50.0, "{share:.0} % of a core while half a frame is there");
    }
    client.send(&frame(b"hello")[6..]);
    client.expect(&frame(b"hello"));
}

#[track_caller]
fn what_has_gone_back_takes_no_memory(server: &Server) {
    let mut client = server.connect();
    let longest = frame(&random_bytes(LONGEST));
    let mut send = |times| (0..times).for_each(|_| client.round_trip(&longest));
    send(10);
    let Some(before) = server.usage() else { return skipped("the memory needs /proc") };
    send(500);
    let grown = server.usage().expect("/proc was there").rss.saturating_sub(before.rss);
    assert!(grown < MIB as u64, "{grown} bytes are kept of 500 frames that went back");
}

#[track_caller]
fn too_long_is_the_end(server: &Server) {
    let (mut client, mut other) = (server.connect(), server.connect());
    client.round_trip(&frame(b"hello"));
    client.round_trip(&frame(&random_bytes(LONGEST)));
    other.send(&(LONGEST as u32 + 1).to_be_bytes());
    read_to_any_end(&mut other, &mut Vec::new(), "a frame that is too long is not the end");
    client.round_trip(&frame(b"hello"));
}

/// All buffers are full, time and again, and then there is a little room. What one read completes may be more
/// than one read, and now and then the kernel takes next to nothing of that: once in 50 MB or so.
#[track_caller]
fn come_back_to_a_slow_reader(server: &Server) {
    const ALL: usize = 384 * MIB;
    let (mut slow, mut other) = (server.connect(), server.connect());
    // A large frame, and small ones: a read ends in the middle of a large one, or nearly between two frames.
    let small = frame(&random_bytes(1_000)).repeat(27);
    let pattern = [frame(&random_bytes(LONGEST)), small].concat().repeat(24);
    let (mut sent, mut got) = (0, 0);
    let mut piece = vec![0; MIB / 2];
    while got < ALL {
        sent = send_what_goes(&mut slow, &pattern, sent, &mut other);
        let expected = &pattern[got % pattern.len()..];
        let piece = &mut piece[..(sent - got).min(MIB / 2).min(expected.len())];
        if let Err(e) = slow.stream.read_exact(piece) {
            panic!("a slow reader got {got} bytes, and not the next ones: {e}");
        }
        assert!(expected.starts_with(piece), "a slow reader got {got} bytes, and then other ones");
        got += piece.len();
    }
}

/// Goes on in the pattern until the server takes no more. Returns how many bytes it has taken in all.
#[track_caller]
fn send_what_goes(
    client: &mut Client,
    pattern: &[u8],
    mut sent: usize,
    other: &mut Client,
) -> usize {
    client.stream.set_nonblocking(true).expect("nonblocking");
    let mut refused = 0;
    while refused < 3 {
        match client.stream.write(&pattern[sent % pattern.len()..]) {
            Ok(n) => (sent, refused) = (sent + n, 0),
            Err(e) if is_timeout(&e) => {
                other.round_trip(&frame(b"the server has had a turn"));
                refused += 1;
            }
            Err(_) => break, // the reader finds out
        }
    }
    client.stream.set_nonblocking(false).expect("blocking");
    sent
}

/// Sends all of `bytes`, half-closes, and reads at the same time up to the end, be it a FIN or an error.
#[track_caller]
fn send_and_read(client: &mut Client, bytes: &[u8]) -> (Vec<u8>, io::Result<()>) {
    let mut writer = client.stream.try_clone().expect("clone");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // If the server has closed, the reader finds out.
            if writer.write_all(bytes).is_ok() {
                let _ = writer.shutdown(std::net::Shutdown::Write);
            }
        });
        let mut back = Vec::new();
        let end = client.stream.read_to_end(&mut back).map(drop);
        (back, end)
    })
}

/// Silent for a second: closed. Talking: not. No client, or a silent one: next to no wake-ups.
#[test]
#[ignore = "exercise 6.2: cargo test -p stage5-mio --test exercises -- --ignored e6_2"]
fn e6_2_a_silent_client_is_closed_after_a_second_and_nothing_spins() {
    let server = Server::start(EXE);
    is_closed_while_another_one_talks(&server);
    is_closed_while_no_client_talks(&server);
    has_spoken_while_the_server_was_stopped(&server);
}

#[test]
#[ignore = "exercise 6.2, step 1: cargo test -p stage5-mio --test exercises -- --ignored s6_2_1"]
fn s6_2_1_a_silent_client_is_closed_while_another_one_talks() {
    is_closed_while_another_one_talks(&Server::start(EXE));
}

#[test]
#[ignore = "exercise 6.2, step 2: cargo test -p stage5-mio --test exercises -- --ignored s6_2_2"]
fn s6_2_2_a_silent_client_is_closed_while_no_client_talks() {
    is_closed_while_no_client_talks(&Server::start(EXE));
}

#[test]
#[ignore = "exercise 6.2, step 3: cargo test -p stage5-mio --test exercises -- --ignored s6_2_3"]
fn s6_2_3_who_has_spoken_while_the_server_was_stopped_is_not_silent() {
    has_spoken_while_the_server_was_stopped(&Server::start(EXE));
}

const TIMEOUT: Duration = Duration::from_secs(1);

#[track_caller]
fn is_closed_while_another_one_talks(server: &Server) {
    let (mut talking, mut silent) = (server.connect(), server.connect());
    let talks = |client: &mut Client| {
        assert!(is_answered(client), "closed too soon: a client that talks");
    };
    // Both talk for a while, so that the time since they came is not the time since they spoke.
    let came = Instant::now();
    while came.elapsed() < TIMEOUT * 7 / 10 {
        talks(&mut talking);
        talks(&mut silent);
        pass(Duration::from_millis(20));
    }
    let start = Instant::now();
    silent.round_trip(b"my last word");
    while silent.has_heard_nothing() && start.elapsed() < 6 * TIMEOUT {
        talks(&mut talking);
        pass(Duration::from_millis(20));
    }
    let elapsed = start.elapsed();
    assert!(!silent.has_heard_nothing(), "the silent client is still there after {elapsed:.1?}");
    eprintln!("seen: the silent client was closed after {elapsed:.1?}");
    assert!(elapsed >= TIMEOUT, "closed too soon, after {elapsed:?}");
    // Two seconds are what we ask for. A busy machine may take another one.
    assert!(elapsed < 3 * TIMEOUT, "closed too late, after {elapsed:?}");
    assert_eq!(silent.read_to_end(), b"", "a clean end");
    talks(&mut talking);
}

#[track_caller]
fn is_closed_while_no_client_talks(server: &Server) {
    let mut silent = server.connect();
    silent.round_trip(b"my last word");
    let start = Start::of(server);
    eventually("a client has been closed that was silent while no other talked", || {
        !silent.has_heard_nothing()
    });
    assert_eq!(silent.read_to_end(), b"", "a clean end");
    let Some((wakeups, share)) = start.and_then(|start| start.since(server)) else {
        return skipped("wake-ups need /proc");
    };
    eprintln!("seen: woken {wakeups} times until the end of a silent client");
    assert!(wakeups <= 50, "{wakeups} wake-ups while one client was silent");
    assert!(share < 50.0, "{share:.0} % of a core while one client was silent");
    no_client_is_there(server);
}

/// A machine that is frozen for a moment wakes everybody up, but not three times.
#[track_caller]
fn no_client_is_there(server: &Server) {
    let mut seen = String::new();
    let sleeps = (0..3).any(|_| {
        let Some((wakeups, share)) = over_a_second(server) else { return true };
        seen = format!("{wakeups} wake-ups and {share:.0} % of a core in a second");
        wakeups == 0 && share < 50.0
    });
    assert!(sleeps, "{seen}, without a client");
}

#[track_caller]
fn has_spoken_while_the_server_was_stopped(server: &Server) {
    let mut client = server.connect();
    client.round_trip(b"hello");
    server.wait_until_it_sleeps();
    if !server.signal(Signal::Stop) {
        return skipped("needs SIGSTOP");
    }
    client.send(b"?");
    pass(TIMEOUT * 3 / 2);
    server.signal(Signal::Continue);
    let answered = matches!(client.stream.read(&mut [0]), Ok(1));
    assert!(answered, "closed, and it had spoken while the server was stopped");
}

fn is_answered(client: &mut Client) -> bool {
    client.stream.write_all(b"!").and_then(|()| client.stream.read_exact(&mut [0])).is_ok()
}

/// How much of a core the server wants over a second in which no client does anything, in percent. `None` where
/// there is no `/proc`.
fn share_of_a_core(server: &Server) -> Option<f64> {
    over_a_second(server).map(|(_, share)| share)
}

/// How often it is woken, and how much of a core it wants.
fn over_a_second(server: &Server) -> Option<(u64, f64)> {
    let start = Start::of(server)?;
    pass(Duration::from_secs(1));
    start.since(server)
}

/// What a server had used when we began to look.
struct Start {
    at: Instant,
    usage: Usage,
    waited: Duration,
}

impl Start {
    fn of(server: &Server) -> Option<Self> {
        let (at, waited) = (Instant::now(), server.waited_for_a_cpu());
        Some(Self { at, usage: server.usage()?, waited })
    }

    /// How often it was woken since then, and how much of a core it wanted, in percent.
    fn since(&self, server: &Server) -> Option<(u64, f64)> {
        /// One that sleeps needs less, and may still wait for a core when it is woken: the machine is busy.
        const NEXT_TO_NOTHING: Duration = Duration::from_millis(20);
        let (now, elapsed) = (server.usage()?, self.at.elapsed());
        let cpu = now.cpu - self.usage.cpu;
        // One that spins on a busy machine gets little. So what it waited for counts as well.
        let waited = server.waited_for_a_cpu() - self.waited;
        let wanted = if cpu < NEXT_TO_NOTHING { cpu } else { cpu + waited };
        let share = 100.0 * wanted.as_secs_f64() / elapsed.as_secs_f64();
        Some((now.wakeups - self.usage.wakeups, share))
    }
}

/// Reads up to the end, be it a FIN or a reset.
#[track_caller]
fn read_to_any_end(client: &mut Client, back: &mut Vec<u8>, what: &str) {
    let timeout = Duration::from_secs(5);
    client.stream.set_read_timeout(Some(timeout)).expect("timeout");
    if let Err(e) = client.stream.read_to_end(back) {
        assert!(!is_timeout(&e), "{what}: timed out after {timeout:?}");
    }
}

#[track_caller]
fn has_not_timed_out<T>(result: io::Result<T>) -> io::Result<T> {
    if let Err(e) = &result {
        assert!(!is_timeout(e), "timed out: the server neither reads nor writes");
    }
    result
}

/// A timeout is called so: the kernel's word for it is `EAGAIN`.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

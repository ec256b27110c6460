//! Each kind of client, against a server that does as the test says.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream as Blocking};

use common::testkit::eventually;

use super::*;

/// One client of a kind, and the server's end of its connection.
fn connected(kind: Kind) -> (Clients, Blocking) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut clients = Clients::new(u64::MAX).unwrap();
    clients.add(kind, 1, listener.local_addr().ok());
    let server = listener.accept().unwrap().0;
    server.set_read_timeout(Some(common::testkit::deadline())).unwrap();
    (clients, server)
}

fn view(clients: &Clients) -> View {
    clients.views().remove(0)
}

#[track_caller]
fn check_end(clients: &Clients, end: End) {
    eventually("it has ended", || view(clients).end.is_some());
    assert_eq!(view(clients).end, Some(end));
}

#[test]
fn a_talk_measures_the_round_trip_of_each_line() {
    let (clients, mut server) = connected(Kind::Talk);
    let mut line = [0; 6];
    server.read_exact(&mut line).unwrap();
    eventually("an answer is missing", || view(&clients).unanswered.is_some());
    assert_eq!(&line, b"hello\n");
    server.write_all(&line).unwrap();
    eventually("the answer is there", || view(&clients).back == 6);
    let view = view(&clients);
    assert_eq!((view.sent, view.trips.len(), view.unanswered), (6, 1, None));
}

#[test]
fn the_end_of_a_connection_is_clean_only_if_all_bytes_came_back() {
    let (clients, mut server) = connected(Kind::Talk);
    let mut line = [0; 6];
    server.read_exact(&mut line).unwrap();
    server.write_all(&line).unwrap();
    eventually("the answer is there", || view(&clients).back == 6);
    server.shutdown(Shutdown::Write).unwrap();
    check_end(&clients, End::Closed);

    let (clients, mut server) = connected(Kind::Talk);
    server.read_exact(&mut line).unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    check_end(&clients, End::CutOff);
}

#[test]
fn a_client_that_finds_no_server_is_refused() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().ok();
    let mut clients = Clients::new(u64::MAX).unwrap();
    clients.add(Kind::Silent, 1, gone);
    check_end(&clients, End::Refused);
}

#[test]
fn a_client_that_never_reads_notices_that_it_was_cut_off() {
    let (clients, server) = connected(Kind::NeverRead);
    eventually("it sends", || view(&clients).sent > 0);
    drop(server); // bytes are unread, so this is a reset
    check_end(&clients, End::CutOff);
    assert_eq!(view(&clients).back, 0);
}

#[test]
fn a_half_close_reads_the_rest_and_leaves() {
    let (clients, mut server) = connected(Kind::HalfClose);
    let mut words = Vec::new();
    server.read_to_end(&mut words).unwrap();
    assert_eq!(words, b"last words\n");
    server.write_all(&words).unwrap();
    assert_eq!(view(&clients).end, None, "it reads until the server closes");
    server.shutdown(Shutdown::Write).unwrap();
    check_end(&clients, End::Left);
    assert_eq!(view(&clients).back, 11);
}

#[test]
fn a_reset_is_a_reset() {
    let (clients, mut server) = connected(Kind::Reset);
    check_end(&clients, End::Left);
    let error = server.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_flood_has_no_more_on_its_way_than_its_limit_and_goes_on_when_bytes_come_back() {
    let (clients, mut server) = connected(Kind::Flood);
    let mut buf = vec![0; CHUNK];
    let mut taken = 0;
    while taken < ON_ITS_WAY {
        taken += server.read(&mut buf).unwrap() as u64;
    }
    server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    while let Ok(n @ 1..) = server.read(&mut buf) {
        taken += n as u64;
    }
    assert!(taken < ON_ITS_WAY + CHUNK as u64, "{taken}");
    server.write_all(&buf).unwrap();
    eventually("it goes on", || view(&clients).sent > taken);
}

#[test]
fn clients_that_flood_share_what_one_may_send() {
    let task = |floods| {
        let floods = Arc::new(Mutex::new(floods));
        Task { kind: Kind::Flood, seen: Arc::default(), floods }.share_of_a_tick()
    };
    let ticks = 1_000 / FLOOD_TICK.as_millis() as usize;
    assert_eq!(task(1), FLOOD_BYTES_PER_SECOND / ticks);
    assert_eq!(task(4), task(1) / 4);
}

#[test]
fn another_server_gets_the_same_clients() {
    let (mut clients, server) = connected(Kind::Silent);
    clients.add(Kind::Talk, 1, None);
    clients.disconnect();
    assert_eq!((&server).read(&mut [0; 8]).unwrap(), 0, "it has left the first one");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    clients.connect_all(listener.local_addr().unwrap());
    let both = [listener.accept().unwrap().0, listener.accept().unwrap().0];
    let kinds: Vec<_> = clients.views().iter().map(|view| view.kind).collect();
    assert_eq!(kinds, [Kind::Silent, Kind::Talk]);
    clients.remove();
    clients.remove_all();
    clients.remove();
    assert!(clients.views().is_empty());
    for mut end in both {
        end.read_to_end(&mut Vec::new()).unwrap();
    }
}

#[test]
fn there_are_no_more_clients_than_the_limit() {
    let mut clients = Clients::new(u64::MAX).unwrap();
    clients.add(Kind::Silent, MOST_CLIENTS - 1, None);
    clients.add(Kind::Silent, 100, None);
    assert_eq!(clients.views().len(), MOST_CLIENTS);
}

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use common::testkit::self_connect::connected_with_itself;

use super::*;

/// A server in a thread that treats its clients as it likes. It takes in `clients` of them and ends.
fn server(clients: usize, serve: impl FnOnce(Vec<TcpStream>) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || serve((0..clients).map(|_| listener.accept().unwrap().0).collect()));
    addr
}

/// Reads what one client sends, and sends it back as `change` made it.
fn echo(mut stream: &TcpStream, size: usize, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = vec![0; size];
    stream.read_exact(&mut bytes).unwrap();
    change(&mut bytes);
    stream.write_all(&bytes).unwrap();
}

/// What the generator says about a server with one client and messages of 100 bytes.
fn verdict(serve: impl FnOnce(TcpStream) + Send + 'static) -> Result<(), String> {
    let addr = server(1, move |mut clients| serve(clients.remove(0)));
    let mut load = Generator::new(addr).unwrap();
    load.admit(1, 100).map_err(|e| e.to_string())
}

#[test]
fn an_honest_echo_passes() {
    assert_eq!(verdict(|client| echo(&client, 100, |_| {})), Ok(()));
}

#[test]
fn a_single_wrong_bit_is_found() {
    let verdict = verdict(|client| echo(&client, 100, |bytes| bytes[99] ^= 1));
    assert_eq!(verdict.unwrap_err(), "what came back after 0 bytes is not what was sent");
}

#[test]
fn a_lost_byte_is_found() {
    let verdict = verdict(|client| echo(&client, 100, |bytes| *bytes = bytes[1..].to_vec()));
    assert_eq!(verdict.unwrap_err(), "what came back after 0 bytes is not what was sent");
}

#[test]
fn more_than_was_sent_is_found() {
    let verdict = verdict(|client| echo(&client, 100, |bytes| bytes.push(0)));
    assert_eq!(verdict.unwrap_err(), "what came back after 0 bytes is not what was sent");
}

#[test]
fn a_server_that_hangs_up_is_found() {
    let verdict = verdict(|client| echo(&client, 100, |bytes| bytes.truncate(50)));
    assert_eq!(verdict.unwrap_err(), "the server closed the connection after 50 bytes");
}

#[test]
fn bytes_of_another_client_are_found() {
    let addr = server(2, |clients| {
        let mut bytes = [[0; 100]; 2];
        for (mut client, bytes) in clients.iter().zip(&mut bytes) {
            client.read_exact(bytes).unwrap();
        }
        for (mut client, bytes) in clients.iter().zip(bytes.iter().rev()) {
            client.write_all(bytes).unwrap();
        }
    });
    let error = Generator::new(addr).unwrap().admit(2, 100).unwrap_err();
    assert_eq!(error.to_string(), "what came back after 0 bytes is not what was sent");
}

#[test]
fn a_client_that_is_its_own_server_is_found() {
    let Some(stream) = connected_with_itself() else { return };
    stream.set_nonblocking(true).unwrap();
    let mut load = Generator::new(stream.peer_addr().unwrap()).unwrap();
    let mut stream = mio::net::TcpStream::from_std(stream);
    load.poll.registry().register(&mut stream, Token(0), Interest::READABLE).unwrap();
    load.clients.push(Client::new(stream, 0));
    load.clients[0].ask(Instant::now());
    load.send(0).unwrap();
    let error = load.settle(&mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "the server is gone, and we are connected with ourselves");
}

#[test]
fn a_question_that_is_asked_late_counts_from_when_it_was_due() {
    let addr = server(1, |clients| (0..2).for_each(|_| echo(&clients[0], 100, |_| {})));
    let mut load = Generator::new(addr).unwrap();
    load.admit(1, 100).unwrap();
    let due = Instant::now() - Duration::from_secs(1);
    load.clients[0].ask(due);
    load.send(0).unwrap();
    let mut latency = None;
    load.settle(&mut |reply| latency = Some(reply.back - reply.asked)).unwrap();
    assert!(latency.unwrap() >= Duration::from_secs(1), "{latency:?}");
}

#[test]
fn messages_are_told_apart_when_several_are_under_way() {
    let addr = server(1, |clients| {
        echo(&clients[0], 100, |_| {});
        echo(&clients[0], 250, |_| {}); // two and a half messages in one go
        echo(&clients[0], 50, |_| {});
    });
    let mut load = Generator::new(addr).unwrap();
    load.admit(1, 100).unwrap();
    for _ in 0..3 {
        load.clients[0].ask(Instant::now());
    }
    load.send(0).unwrap();
    let mut replies = 0;
    load.settle(&mut |_| replies += 1).unwrap();
    assert_eq!(replies, 3);
    assert_eq!(load.clients[0].under_way().count(), 0);
}

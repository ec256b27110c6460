//! What no script of both ends can bring about: a full backlog, a connect(2) without an answer, a process without
//! descriptors. Each scene is played on both kernels, and what is seen has to be the same.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::Command;

use mio::net::TcpStream;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use simulated_kernel::choices::Choices;
use simulated_kernel::kernel::{EMFILE, Ready, SERVER, Source};
use simulated_kernel::tcp::{ERR, HUP, IN, OUT, RDHUP};
use simulated_kernel::{Interest, Kernel};
use socket2::{Domain, Socket, Type};

const INTEREST: u32 = Interest::READABLE.mask() | Interest::WRITABLE.mask();

fn kernel() -> Kernel {
    Kernel::new(Choices::given(Vec::new()))
}

fn listening(backlog: i32) -> (Socket, SocketAddr) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(backlog).unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap().as_socket().unwrap();
    (listener, addr)
}

/// What a program can learn of a connect(2): the mask, `SO_ERROR` twice, getpeername(2), read(2) twice, write(2).
#[derive(Debug, PartialEq)]
struct Seen {
    mask: Option<u32>,
    errors: Vec<Option<ErrorKind>>,
    has_peer: bool,
    reads: Vec<Result<usize, ErrorKind>>,
    write: Result<usize, ErrorKind>,
}

fn kind(result: io::Result<usize>) -> Result<usize, ErrorKind> {
    result.map_err(|e| e.kind())
}

fn seen_by_linux(mut stream: TcpStream, errors: usize) -> Seen {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let flags = EpollFlags::from_bits_retain(INTEREST as i32) | EpollFlags::EPOLLET;
    epoll.add(&stream, EpollEvent::new(flags, 0)).unwrap();
    let mut events = [EpollEvent::empty()];
    let n = epoll.wait(&mut events, 0u8).unwrap();
    Seen {
        mask: (n > 0).then(|| events[0].events().bits() as u32),
        errors: (0..errors).map(|_| stream.take_error().unwrap().map(|e| e.kind())).collect(),
        has_peer: stream.peer_addr().is_ok(),
        reads: vec![kind(stream.read(&mut [0])), kind(stream.read(&mut [0]))],
        write: kind(stream.write(b"x")),
    }
}

fn seen_by_the_model(kernel: &mut Kernel, id: usize, errors: usize) -> Seen {
    kernel.watch(Source::Connection(id), 0, INTEREST).unwrap();
    let mut events = Vec::new();
    kernel.take_events(1, &mut events);
    Seen {
        mask: events.first().map(|event| event.mask),
        errors: (0..errors).map(|_| kernel.take_error(id, SERVER)).collect(),
        has_peer: kernel.connections[id].ends[SERVER].has_peer(),
        reads: vec![
            kind(kernel.read(id, SERVER, &mut [0])),
            kind(kernel.read(id, SERVER, &mut [0])),
        ],
        write: kind(kernel.write(id, SERVER, b"x")),
    }
}

#[test]
fn a_connect_that_is_answered_is_told_as_room() {
    let (_listener, addr) = listening(8);
    let linux = seen_by_linux(TcpStream::connect(addr).unwrap(), 1);
    let mut kernel = kernel();
    let id = kernel.dial().unwrap();
    kernel.establish(id);
    assert_eq!(seen_by_the_model(&mut kernel, id, 1), linux);
    assert_eq!(linux.mask, Some(OUT));
}

#[test]
fn a_connect_that_is_refused_is_told_as_everything_at_once_and_its_error_only_once() {
    for errors in [0, 2] {
        // It keeps the port, and does not listen.
        let deaf = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        deaf.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let addr = deaf.local_addr().unwrap().as_socket().unwrap();
        let linux = seen_by_linux(TcpStream::connect(addr).unwrap(), errors);
        let mut kernel = kernel();
        let id = kernel.dial().unwrap();
        kernel.refuse(id);
        assert_eq!(seen_by_the_model(&mut kernel, id, errors), linux);
        assert_eq!(linux.mask, Some(IN | OUT | ERR | HUP | RDHUP));
    }
}

#[test]
fn a_connect_that_times_out_while_the_poller_watches_is_an_event() {
    let mut kernel = kernel();
    let id = kernel.dial().unwrap();
    kernel.watch(Source::Connection(id), 7, INTEREST).unwrap();
    assert!(!kernel.has_events());
    kernel.time_out(id);
    let mut events = Vec::new();
    kernel.take_events(9, &mut events);
    assert_eq!(events, [Ready { token: 7, mask: IN | OUT | ERR | HUP | RDHUP }]);
    assert_eq!(kernel.take_error(id, SERVER), Some(ErrorKind::TimedOut));
}

#[test]
fn a_backlog_takes_one_more_than_it_was_told_and_the_next_connect_is_not_answered() {
    let (_listener, addr) = listening(2);
    let clients: Vec<_> = (0..4).map(|_| TcpStream::connect(addr).unwrap()).collect();
    let connected = clients.iter().map(|client| client.peer_addr().is_ok());
    let mut kernel = kernel();
    kernel.most_backlog = 2;
    let model = (0..4).map(|_| kernel.connect(1, [1, 1]).is_some());
    assert_eq!(model.collect::<Vec<_>>(), connected.collect::<Vec<_>>());

    let unanswered = clients.into_iter().next_back().unwrap();
    let linux = seen_by_linux(unanswered, 1);
    let id = kernel.dial().unwrap();
    assert_eq!(seen_by_the_model(&mut kernel, id, 1), linux);
    assert_eq!(linux.mask, None, "nothing is known of it");
}

/// The limit is the process's: so the scene is played in one of its own, by this very test.
#[test]
fn accept_without_a_descriptor_fails_even_if_no_client_waits() {
    const IN_A_PROCESS_OF_ITS_OWN: &str = "CONFORMANCE_WITHOUT_DESCRIPTORS";
    if std::env::var_os(IN_A_PROCESS_OF_ITS_OWN).is_none() {
        let test = std::env::current_exe().unwrap();
        let run = r#"ulimit -n 64; exec "$0" --exact rules::accept_without_a_descriptor_fails_even_if_no_client_waits"#;
        let mut sh = Command::new("sh");
        sh.args(["-c", run]).arg(test).env(IN_A_PROCESS_OF_ITS_OWN, "1");
        let child = sh.output().unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        return;
    }
    let (listener, _) = listening(8);
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let without = listener.accept().unwrap_err();
    taken.pop();
    let with = listener.accept().unwrap_err();

    let mut kernel = kernel();
    kernel.descriptors = 0;
    assert_eq!(kernel.accept().unwrap_err().raw_os_error(), without.raw_os_error());
    assert_eq!(without.raw_os_error(), Some(EMFILE));
    kernel.descriptors = 1;
    assert_eq!(kernel.accept().unwrap_err().kind(), with.kind());
}

#[test]
fn an_aborted_accept_loses_one_client_and_not_the_next() {
    let mut kernel = kernel();
    let [lost, next] = [(); 2].map(|()| kernel.connect(8, [8, 8]).unwrap());
    kernel.aborted = 1;
    assert_eq!(kernel.accept().unwrap_err().kind(), ErrorKind::ConnectionAborted);
    assert_eq!(kernel.accept().unwrap(), next);
    assert_eq!(kernel.read(lost, 0, &mut [0]).unwrap(), 0, "its client reads the end");
}

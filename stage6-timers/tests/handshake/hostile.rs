//! Peers that do what peers do, and what they should not.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::testkit::deadline;
use socket2::{Domain, SockRef, Socket, Type};

/// How long a dribbling peer waits between two bytes. So each byte is a segment of its own.
const DRIBBLE: Duration = Duration::from_millis(1);

/// What a peer does with a connection. After the last of its acts it keeps the connection until the
/// other side closes.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Reads until exactly this has come.
    Hear(&'static [u8]),
    /// Sends this in one go.
    Say(Vec<u8>),
    /// Sends this as urgent data: it is not part of the stream, and read(2) stops short where it was.
    SayUrgently(u8),
    /// Sends this byte by byte.
    Dribble(&'static [u8]),
    /// Closes as close(2) does: with a FIN, or with a reset if there is something that it has not read.
    Close,
    /// Closes with a reset.
    Reset,
}

/// A peer on a port of its own. Dropping it does not stop it: see [`HostilePeer::finish`].
pub(crate) struct HostilePeer {
    pub(crate) addr: SocketAddr,
    state: State,
}

enum State {
    /// The port is ours, and no socket listens on it.
    Bound(Socket),
    /// It listens, and its backlog is full: the kernel drops every SYN.
    #[cfg(target_os = "linux")]
    Full {
        _listener: Socket,
        _waiting: TcpStream,
    },
    Listening {
        stop: Arc<AtomicBool>,
        thread: JoinHandle<usize>,
    },
}

impl HostilePeer {
    /// A peer that refuses. It holds its port, so the kernel gives that port to no other socket.
    pub(crate) fn refusing() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        Self { addr, state: State::Bound(socket) }
    }

    /// A peer that neither accepts nor refuses. connect(2) gets no answer at all.
    ///
    /// Linux holds one connection more than the backlog asks for, so here it is one.
    #[cfg(target_os = "linux")]
    pub(crate) fn full() -> Self {
        let Self { addr, state } = Self::refusing();
        let State::Bound(listener) = state else { unreachable!() };
        listener.listen(0).unwrap();
        let waiting = TcpStream::connect(addr).unwrap();
        Self { addr, state: State::Full { _listener: listener, _waiting: waiting } }
    }

    /// A peer that treats the first connection as the first script says, and so on. Those beyond the
    /// last script are treated as the last one says.
    pub(crate) fn new(scripts: Vec<Vec<Act>>) -> Self {
        Self::refusing().come_up(scripts)
    }

    /// A peer that has refused so far comes up.
    pub(crate) fn come_up(self, scripts: Vec<Vec<Act>>) -> Self {
        let State::Bound(socket) = self.state else { panic!("it is up already") };
        socket.listen(128).unwrap();
        let listener = TcpListener::from(socket);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || serve(&listener, &scripts, &stopped));
        Self { addr: self.addr, state: State::Listening { stop, thread } }
    }

    /// Stops, after every connection has been closed by the other side. Returns how many there were.
    pub(crate) fn finish(self) -> usize {
        let State::Listening { stop, thread } = self.state else { return 0 };
        stop.store(true, Ordering::Relaxed);
        // The thread is in accept(2). One last connection makes it look at `stop`.
        let _last = TcpStream::connect(self.addr);
        thread.join().unwrap()
    }
}

fn serve(listener: &TcpListener, scripts: &[Vec<Act>], stop: &AtomicBool) -> usize {
    for served in 0.. {
        let (stream, _) = listener.accept().unwrap();
        if stop.load(Ordering::Relaxed) {
            return served;
        }
        match play(stream, &scripts[served.min(scripts.len() - 1)]) {
            // The other side may close at any time. Its close is all that we wait for.
            Err(e) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&e.kind()) => {
                panic!("heard nothing for {:?}, not even the end", deadline())
            }
            _ => {}
        }
    }
    unreachable!()
}

fn play(mut stream: TcpStream, acts: &[Act]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(deadline()))?;
    for act in acts {
        match act {
            Act::Hear(expected) => {
                let mut heard = vec![0; expected.len()];
                stream.read_exact(&mut heard)?;
                assert_eq!(heard.escape_ascii().to_string(), expected.escape_ascii().to_string());
            }
            Act::Say(bytes) => stream.write_all(bytes)?,
            Act::SayUrgently(byte) => {
                SockRef::from(&stream).send_out_of_band(&[*byte])?;
            }
            Act::Dribble(bytes) => dribble(&mut stream, bytes)?,
            Act::Close => return Ok(()),
            Act::Reset => return SockRef::from(&stream).set_linger(Some(Duration::ZERO)),
        }
    }
    // The end, whichever: `Ok(0)` or a reset.
    io::copy(&mut stream, &mut io::sink()).map(drop)
}

fn dribble(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.set_read_timeout(Some(DRIBBLE))?;
    for byte in bytes {
        stream.write_all(&[*byte])?;
        // Nothing should come. The read timeout is the pause.
        if stream.peek(&mut [0]).is_ok() {
            break;
        }
    }
    stream.set_read_timeout(Some(deadline()))
}

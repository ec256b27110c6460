//! Clients: polite ones, and every other kind.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

pub use super::descriptors::allow_descriptors;
use super::patience::{LOOK_EVERY, Patience, in_a_hurry};
use super::{deadline, eventually};

/// How much a client that sends a lot sends at a time.
const CHUNK: usize = 64 * 1024;

/// A client that blocks, and gives up after [`deadline`].
pub struct Client {
    /// For what a test wants to do by hand.
    pub stream: TcpStream,
}

impl Client {
    /// Takes over a connected stream.
    #[track_caller]
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(deadline())).expect("read timeout");
        stream.set_write_timeout(Some(deadline())).expect("write timeout");
        Self { stream }
    }

    /// A client that comes from this address. It has to be one of this machine: on Linux each of 127.0.0.0/8 is.
    pub fn connect_from(source: IpAddr, server: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect(&server.into())?;
        Ok(Self::new(socket.into()))
    }

    /// Sends bytes and does not look at what comes back.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        if let Err(e) = self.stream.write_all(bytes) {
            panic!("cannot send: {}", in_words(&e, self.stream.write_timeout()));
        }
    }

    /// Sends one byte as urgent data: `MSG_OOB`, see tcp(7).
    #[track_caller]
    pub fn send_urgent(&mut self, byte: u8) {
        SockRef::from(&self.stream).send_out_of_band(&[byte]).expect("cannot send");
    }

    /// Reads exactly as many bytes as are expected, and compares.
    #[track_caller]
    pub fn expect(&mut self, expected: &[u8]) {
        let mut got = vec![0; expected.len()];
        let mut filled = 0;
        while filled < got.len() {
            let n = self.read(&mut got[filled..], "the bytes did not all come back");
            let all = got.len();
            assert!(
                n > 0,
                "the bytes did not all come back: the end came after {filled} of {all} bytes"
            );
            filled += n;
        }
        assert!(got == expected, "{} bytes came back, but other ones", got.len());
    }

    /// Sends bytes and reads them back.
    #[track_caller]
    pub fn round_trip(&mut self, bytes: &[u8]) {
        self.send(bytes);
        self.expect(bytes);
    }

    /// Half-close: nothing more will be sent from here (FIN), but we go on reading.
    #[track_caller]
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("cannot half-close");
    }

    /// Reads up to the end.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let (mut bytes, mut buf) = (Vec::new(), vec![0; CHUNK]);
        loop {
            match self.read(&mut buf, "not a clean end") {
                0 => return bytes,
                n => bytes.extend_from_slice(&buf[..n]),
            }
        }
    }

    /// One read(2). Panics when it fails, and when the test has waited long enough.
    #[track_caller]
    fn read(&mut self, buf: &mut [u8], what: &str) -> usize {
        let timeout = self.stream.read_timeout();
        // A timeout that the test has set itself is part of what it says.
        let look_around = in_a_hurry() && matches!(timeout, Ok(Some(time)) if time == deadline());
        if look_around {
            self.stream.set_read_timeout(Some(LOOK_EVERY)).expect("read timeout");
        }
        let mut patience = Patience::new();
        let n = loop {
            match self.stream.read(buf) {
                Ok(n) => break n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if is_timeout(&e) && look_around => {
                    if let Some(why) = patience.is_over() {
                        panic!("{what}: {why}");
                    }
                }
                Err(e) => panic!("{what}: {}", in_words(&e, timeout)),
            }
        };
        if look_around {
            self.stream.set_read_timeout(Some(deadline())).expect("read timeout");
        }
        n
    }

    /// Whether there is nothing to read now: no byte, no end, no error.
    #[track_caller]
    pub fn has_heard_nothing(&self) -> bool {
        self.stream.set_nonblocking(true).expect("nonblocking");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("blocking");
        matches!(peeked, Err(e) if e.kind() == ErrorKind::WouldBlock)
    }

    /// Whether nothing comes for so long: no byte, no end, no error.
    #[track_caller]
    pub fn hears_nothing_for(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut nothing = true;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|_| nothing) {
            let left = left.max(Duration::from_millis(1)); // zero is an error
            self.stream.set_read_timeout(Some(left)).expect("read timeout");
            // EINTR is no news: a machine that is frozen for a moment causes one in us.
            let silent = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted];
            nothing = self.stream.peek(&mut [0]).is_err_and(|e| silent.contains(&e.kind()));
        }
        self.stream.set_read_timeout(Some(deadline())).expect("read timeout");
        nothing
    }

    /// Closes with a reset instead of a FIN: SO_LINGER with a time of zero, see socket(7).
    #[track_caller]
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("linger");
    }

    /// Sends `bytes`, over and over, until neither the kernel nor the server takes any more, and reads
    /// nothing. `barrier` gives the server turns, to do what it can. Returns how many bytes went out.
    #[track_caller]
    pub fn fill(&mut self, bytes: &[u8], barrier: impl FnMut()) -> io::Result<usize> {
        /// More than any kernel and any outbox hold: a server that takes this reads without end.
        const TOO_MUCH: usize = 256 << 20;
        let sent = self.fill_up_to(TOO_MUCH, bytes, barrier)?;
        assert!(sent < TOO_MUCH, "it has taken {sent} bytes and we have read none");
        Ok(sent)
    }

    /// The same, and stops as soon as `most` bytes or more have gone out.
    #[track_caller]
    pub fn fill_up_to(
        &mut self,
        most: usize,
        bytes: &[u8],
        mut barrier: impl FnMut(),
    ) -> io::Result<usize> {
        /// After so many turns of the server without room for one more byte it is stuck.
        const ENOUGH: usize = 30;
        self.stream.set_nonblocking(true)?;
        let (mut sent, mut refused) = (0, 0);
        while refused < ENOUGH && sent < most {
            match self.stream.write(&bytes[sent % bytes.len()..]) {
                Ok(n) => (sent, refused) = (sent + n, 0),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    barrier();
                    refused += 1;
                }
                Err(e) => return Err(e),
            }
        }
        self.stream.set_nonblocking(false)?;
        Ok(sent)
    }
}

/// A timeout is called so: the kernel's word for it is `EAGAIN`. See socket(7), `SO_RCVTIMEO`.
pub(super) fn in_words(error: &io::Error, timeout: io::Result<Option<Duration>>) -> String {
    match timeout {
        Ok(Some(time)) if is_timeout(error) => format!("timed out after {time:?}"),
        _ => error.to_string(),
    }
}

pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Random bytes, the same in every run.
pub fn random_bytes(n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    fastrand::Rng::with_seed(n as u64).fill(&mut bytes);
    bytes
}

/// A client that never stops sending and never stops reading. It ends when this is dropped.
pub struct Flood {
    stream: TcpStream,
    back: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    /// Starts to send, and waits until it is well under way.
    #[track_caller]
    pub fn start(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("cannot connect");
        let flood =
            Self { back: Arc::default(), over: Arc::default(), threads: Vec::new(), stream };
        flood.run()
    }

    #[track_caller]
    fn run(mut self) -> Self {
        let mut writer = self.stream.try_clone().expect("clone");
        let mut reader = self.stream.try_clone().expect("clone");
        let (over, back) = (Arc::clone(&self.over), Arc::clone(&self.back));
        self.threads.push(thread::spawn(move || {
            let chunk = vec![b'f'; 8 * CHUNK];
            while !over.load(Ordering::Relaxed) && writer.write_all(&chunk).is_ok() {}
        }));
        self.threads.push(thread::spawn(move || {
            let mut chunk = vec![0; 8 * CHUNK];
            while let Ok(n @ 1..) = reader.read(&mut chunk) {
                back.fetch_add(n as u64, Ordering::Relaxed);
            }
        }));
        self.wait_for_more(1024 * 1024);
        self
    }

    /// How many bytes have come back so far.
    pub fn bytes_back(&self) -> u64 {
        self.back.load(Ordering::Relaxed)
    }

    /// Waits until so many more bytes have come back.
    #[track_caller]
    pub fn wait_for_more(&self, bytes: u64) {
        let goal = self.bytes_back() + bytes;
        eventually("the flood flows", || self.bytes_back() >= goal);
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.stream.shutdown(Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Sends all of `bytes`, half-closes, and reads at the same time what comes back, up to the end.
#[track_caller]
pub fn stream_through(client: &mut Client, bytes: &[u8]) -> Vec<u8> {
    let mut writer = client.stream.try_clone().expect("clone");
    thread::scope(|scope| {
        scope.spawn(move || {
            // If the server has closed, the reader finds out.
            if writer.write_all(bytes).is_ok() {
                let _ = writer.shutdown(Shutdown::Write);
            }
        });
        client.read_to_end()
    })
}

//! The clients: what each of them does, and what it makes of what comes back.

use std::io::ErrorKind;
use std::sync::LazyLock;
use std::time::Duration;

use simulated_kernel::Kernel;
use simulated_kernel::kernel::CLIENT;

const SYN_RETRIES: u32 = 4;

/// After so many bytes a client repeats itself. A prime, so that no buffer of ours is a multiple of it: bytes that are
/// lost or come twice are then seen as wrong bytes.
const PERIOD: usize = 65_521;

/// The most that one write(2) of a script offers.
pub(crate) const LONGEST_WRITE: usize = 150_000;

/// The promise about what comes back.
const PREFIX: &str = "the echo is an exact prefix";

/// What clients send: letters, and now and then the end of a line. No status line begins with one of these letters.
static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut rng = fastrand::Rng::with_seed(0);
    let mut bytes: Vec<_> = (0..PERIOD)
        .map(|_| if rng.u8(0..5) == 0 { b'\n' } else { rng.lowercase() as u8 })
        .collect();
    bytes.extend_from_within(..);
    bytes.extend_from_within(..PERIOD);
    bytes.extend_from_within(..LONGEST_WRITE - 2 * PERIOD);
    bytes
});

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reading {
    /// Whatever is there, whenever it has something to do.
    Eager,
    /// A few bytes at a time.
    Slow,
    Never,
}

/// How it ends. It does so behind its last write, or when it has no more patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    /// It half-closes, and reads up to the end.
    HalfClose,
    Close,
    Reset,
    /// It stays, and says nothing more.
    Stay,
}

/// What a client is going to do, all of it.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Script {
    pub(crate) comes_at: Duration,
    pub(crate) rcvbuf: usize,
    pub(crate) sndbuf: [usize; 2],
    /// How long after it has come it begins to write.
    pub(crate) writes_after: Duration,
    /// What it writes, one write(2) after the other.
    pub(crate) writes: Vec<usize>,
    /// Which of these is one urgent byte instead.
    pub(crate) urgent: Option<usize>,
    /// How long it thinks after each of them.
    pub(crate) pause: Duration,
    pub(crate) reading: Reading,
    /// How long after it has come it begins to read, and how long it waits between two reads.
    pub(crate) reads_after: Duration,
    pub(crate) pace: Duration,
    pub(crate) ending: Ending,
    /// How long after it has come it ends, wherever it is then. `None`: it has all the time in the world.
    pub(crate) patience: Option<Duration>,
}

/// A client, as far as it has come.
#[derive(Debug, Hash)]
pub(crate) struct Client {
    pub(crate) script: Script,
    pub(crate) id: Option<usize>,
    /// When it does the next thing. `None`: never again.
    pub(crate) acts_at: Option<Duration>,
    /// How many of its writes are done, and how much of the next one.
    next: usize,
    part: usize,
    /// Bytes that its kernel has taken.
    pub(crate) sent: u64,
    /// Bytes that have come back, without the status lines.
    pub(crate) back: u64,
    /// How much of a status line has come.
    status: Option<String>,
    last: u8,
    /// When it reads next, if there is something.
    reads_at: Duration,
    /// It has sent its FIN.
    pub(crate) half_closed: bool,
    /// It has closed or reset; and that was its own idea, and no answer to an end.
    pub(crate) left: bool,
    pub(crate) gave_up: bool,
    /// It has seen the end, or a reset.
    pub(crate) end: Option<Result<(), ErrorKind>>,
    refused: bool,
    tries: u32,
}

/// The promise that does not hold for what came back, and what is wrong.
pub(crate) type Wrong = Option<(&'static str, String)>;

impl Client {
    pub(crate) fn new(script: Script) -> Self {
        Self {
            acts_at: Some(script.comes_at),
            reads_at: script.comes_at + script.reads_after,
            script,
            id: None,
            next: 0,
            part: 0,
            sent: 0,
            back: 0,
            status: None,
            last: b'\n',
            half_closed: false,
            left: false,
            gave_up: false,
            end: None,
            refused: false,
            tries: 0,
        }
    }

    /// What it sends from this place on.
    fn bytes(id: usize, place: u64, n: usize) -> &'static [u8] {
        let from = (place as usize + id * 4_099) % PERIOD;
        &BYTES[from..from + n]
    }

    /// Does the next thing. Returns what is wrong with what it has seen.
    pub(crate) fn act(&mut self, kernel: &mut Kernel) -> Wrong {
        let Some(id) = self.id else { return self.connect(kernel) };
        if self.leaves_at().is_some_and(|at| at <= kernel.now) {
            self.script.patience = None;
            self.next = self.script.writes.len();
            self.finish(kernel, id);
            return None;
        }
        let knew_of_the_end = self.end.is_some();
        if self.reads(kernel, id) {
            let wrong = self.read(kernel, id);
            if wrong.is_some() {
                return wrong;
            }
        }
        if self.end.is_some() {
            if knew_of_the_end {
                kernel.tell(|| format!("client {id} has seen the end, and closes"));
            }
            kernel.close(id, CLIENT);
            (self.left, self.acts_at) = (true, None);
        } else if self.acts_at.is_some_and(|at| at <= kernel.now) || self.writes(kernel, id) {
            match self.next < self.script.writes.len() {
                true => self.write(kernel, id),
                false => self.finish(kernel, id),
            }
        }
        None
    }

    fn connect(&mut self, kernel: &mut Kernel) -> Wrong {
        self.id = kernel.connect(self.script.rcvbuf, self.script.sndbuf);
        match self.id {
            Some(id) => {
                kernel.tell(|| format!("client {id} connects"));
                self.acts_at = Some(kernel.now + self.script.writes_after);
            }
            // The SYN is sent again after a second, and so on: tcp(7), `tcp_syn_retries`. Refused: it gives up.
            None if kernel.listener_open && self.tries < SYN_RETRIES => {
                self.tries += 1;
                self.acts_at = Some(kernel.now + Duration::from_secs(1 << self.tries));
            }
            None => (self.left, self.gave_up, self.acts_at) = (true, true, None),
        }
        None
    }

    /// read(2), as long as there is something, or a few bytes.
    fn read(&mut self, kernel: &mut Kernel, id: usize) -> Wrong {
        thread_local! {
            static BUF: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; 64 * 1024]);
        }
        let read = |buf: &mut Vec<u8>| self.read_into(kernel, id, buf);
        BUF.with_borrow_mut(read)
    }

    fn read_into(&mut self, kernel: &mut Kernel, id: usize, buf: &mut [u8]) -> Wrong {
        let slow = self.script.reading == Reading::Slow;
        let most = if slow { (self.script.rcvbuf / 8).clamp(7, 9_000) } else { buf.len() };
        self.reads_at = kernel.now + self.script.pace;
        while self.end.is_none() {
            match kernel.read(id, CLIENT, &mut buf[..most]) {
                Ok(0) => {
                    kernel.tell(|| {
                        format!("client {id} reads the end, after {} bytes, and closes", self.back)
                    });
                    self.end = Some(Ok(()));
                }
                Ok(n) => {
                    kernel.tell(|| format!("client {id} reads {n} bytes"));
                    let wrong = self.take(id, &buf[..n]);
                    if wrong.is_some() || slow {
                        return wrong;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => {
                    kernel.tell(|| format!("client {id} reads an error: {e}, and closes"));
                    self.end = Some(Err(e.kind()));
                }
            }
        }
        None
    }

    /// Looks at what has come: its own bytes, and status lines between two of its lines.
    fn take(&mut self, id: usize, mut bytes: &[u8]) -> Wrong {
        while let [first, rest @ ..] = bytes {
            if let Some(status) = &mut self.status {
                status.push(char::from(*first));
                bytes = rest;
                if *first == b'\n' {
                    let line = self.status.take().unwrap_or_default();
                    if !is_status(&line) {
                        return Some((PREFIX, format!("a status line that is none: {line:?}")));
                    }
                }
            } else if *first == b'S' {
                if self.last != b'\n' {
                    let cut = format!("behind byte {} of client {id}", self.back);
                    return Some(("a status only between two lines", cut));
                }
                self.status = Some(String::new());
            } else {
                // Most of the time all of it is the echo.
                let all = bytes == Self::bytes(id, self.back, bytes.len());
                let status = || bytes.iter().position(|&byte| byte == b'S');
                let (own, behind) = match if all { None } else { status() } {
                    Some(status) => bytes.split_at(status),
                    None => (bytes, &[][..]),
                };
                let expected = Self::bytes(id, self.back, own.len());
                if self.back + own.len() as u64 > self.sent || own != expected {
                    return Some((PREFIX, self.what_is_wrong(own, expected)));
                }
                (self.back, self.last) = (self.back + own.len() as u64, own[own.len() - 1]);
                bytes = behind;
            }
        }
        None
    }

    fn what_is_wrong(&self, own: &[u8], expected: &[u8]) -> String {
        match own.iter().zip(expected).position(|(byte, expected)| byte != expected) {
            Some(i) => format!("byte {} is not what was sent there", self.back + i as u64),
            None => format!("{} bytes come back, and only {} were sent", own.len(), self.sent),
        }
    }

    fn write(&mut self, kernel: &mut Kernel, id: usize) {
        let wanted = self.script.writes[self.next] - self.part;
        let urgent = self.script.urgent == Some(self.next);
        let bytes = Self::bytes(id, self.sent, wanted);
        let written = match urgent {
            true => kernel.write_urgent(id, bytes[0]).map(|()| 1),
            false => kernel.write(id, CLIENT, bytes),
        };
        match written {
            Ok(n) => {
                let word = if urgent { " as urgent data" } else { "" };
                kernel.tell(|| format!("client {id} sends {n} of {wanted} bytes{word}"));
                (self.sent, self.part) = (self.sent + n as u64, self.part + n);
                self.refused = n < wanted && !urgent;
                if !self.refused {
                    (self.next, self.part) = (self.next + 1, 0);
                }
                self.acts_at = Some(kernel.now + self.script.pause);
            }
            // It is asked again when its kernel has room: see `could_act`.
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                (self.refused, self.acts_at) = (true, None);
            }
            Err(e) => self.end = Some(Err(e.kind())),
        }
    }

    /// Behind its last write, or when it has no more patience.
    fn finish(&mut self, kernel: &mut Kernel, id: usize) {
        (self.acts_at, self.refused) = (None, false);
        match self.script.ending {
            Ending::HalfClose if !self.half_closed => {
                kernel.tell(|| format!("client {id} half-closes, after {} bytes", self.sent));
                self.half_closed = kernel.shutdown(id, CLIENT).is_ok();
            }
            Ending::HalfClose | Ending::Stay => {}
            Ending::Close => {
                kernel.tell(|| format!("client {id} closes"));
                kernel.close(id, CLIENT);
                (self.left, self.gave_up) = (true, true);
            }
            Ending::Reset => {
                kernel.tell(|| format!("client {id} resets"));
                kernel.reset(id, CLIENT);
                (self.left, self.gave_up) = (true, true);
            }
        }
    }

    /// Whether it can do something now.
    pub(crate) fn could_act(&self, kernel: &Kernel) -> bool {
        let due = |at: Option<Duration>| at.is_some_and(|at| at <= kernel.now);
        if self.left || due(self.acts_at) {
            return !self.left;
        }
        let Some(id) = self.id else { return false };
        self.end.is_some()
            || due(self.leaves_at())
            || self.reads(kernel, id)
            || self.writes(kernel, id)
    }

    fn reads(&self, kernel: &Kernel, id: usize) -> bool {
        self.script.reading != Reading::Never
            && self.end.is_none()
            && self.reads_at <= kernel.now
            && kernel.connections[id].ends[CLIENT].has_input()
    }

    fn writes(&self, kernel: &Kernel, id: usize) -> bool {
        self.refused && kernel.connections[id].ends[CLIENT].is_writable()
    }

    fn leaves_at(&self) -> Option<Duration> {
        self.script.patience.filter(|_| !self.left).map(|time| self.script.comes_at + time)
    }

    /// When it does something although nothing happens.
    pub(crate) fn next_time(&self, kernel: &Kernel) -> Option<Duration> {
        let id = self.id.filter(|_| !self.left);
        let reads = id.is_some_and(|id| {
            let reads = self.script.reading != Reading::Never && self.end.is_none();
            reads && kernel.connections[id].ends[CLIENT].has_input()
        });
        let reads_at = reads.then_some(self.reads_at);
        let leaves_at = self.leaves_at().filter(|_| id.is_some());
        self.acts_at.into_iter().chain(reads_at).chain(leaves_at).min()
    }

    /// From here on it reads what is there at once, if it reads at all.
    pub(crate) fn hurry(&mut self) {
        (self.reads_at, self.script.pace) = (Duration::ZERO, Duration::ZERO);
        (self.acts_at, self.script.patience, self.refused) = (None, None, false);
    }
}

fn is_status(line: &str) -> bool {
    let number = line.strip_prefix("Server status: ").and_then(|rest| rest.split_once(' '));
    number.is_some_and(|(n, rest)| {
        let plural = if n == "1" { "active connection\n" } else { "active connections\n" };
        n.parse::<usize>().is_ok_and(|n| n > 0) && rest == plural
    })
}

//! The clients: what each of them does, and what it makes of what comes back.

use std::array;
use std::io::ErrorKind;
use std::sync::LazyLock;
use std::time::Duration;

use simulated_kernel::Kernel;
use simulated_kernel::kernel::CLIENT;

const SYN_RETRIES: u32 = 4;

/// So many bytes of a client, or clients, and they begin anew: see [`Client::byte`].
const PERIOD: usize = 13 * 26;

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reading {
    /// Whatever is there, whenever it has something to do.
    Eager,
    /// A few bytes at a time.
    Slow,
    Never,
}

/// How it ends.
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
    /// What it writes, one write(2) after the other.
    pub(crate) writes: Vec<usize>,
    /// Which of these is one urgent byte instead.
    pub(crate) urgent: Option<usize>,
    /// How long it thinks after each of them.
    pub(crate) pause: Duration,
    pub(crate) reading: Reading,
    pub(crate) ending: Ending,
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
    pub(crate) statuses: u64,
    pub(crate) last: u8,
    /// It has sent its FIN.
    pub(crate) half_closed: bool,
    /// It has closed or reset.
    pub(crate) left: bool,
    /// It has seen the end, or a reset.
    pub(crate) end: Option<Result<(), ErrorKind>>,
    pub(crate) refused: bool,
    tries: u32,
}

/// What is wrong with what came back.
pub(crate) type Wrong = Option<String>;

impl Client {
    pub(crate) fn new(script: Script) -> Self {
        Self {
            acts_at: Some(script.comes_at),
            script,
            id: None,
            next: 0,
            part: 0,
            sent: 0,
            back: 0,
            status: None,
            statuses: 0,
            last: b'\n',
            half_closed: false,
            left: false,
            end: None,
            refused: false,
            tries: 0,
        }
    }

    /// The byte that it sends at this place. A line ends now and then, and no status line begins so.
    fn byte(id: usize, place: u64) -> u8 {
        match (place * 7 + id as u64).is_multiple_of(13) {
            true => b'\n',
            false => b'a' + ((place * 31 + id as u64 * 17) % 26) as u8,
        }
    }

    /// The bytes from this place on, up to where they begin anew.
    fn bytes(id: usize, place: u64) -> &'static [u8] {
        static BYTES: LazyLock<[[u8; PERIOD]; PERIOD]> = LazyLock::new(|| {
            array::from_fn(|id| array::from_fn(|place| Client::byte(id, place as u64)))
        });
        &BYTES[id % PERIOD][place as usize % PERIOD..]
    }

    /// Does the next thing. Returns what is wrong with what it has seen.
    pub(crate) fn act(&mut self, kernel: &mut Kernel) -> Wrong {
        let Some(id) = self.id else { return self.connect(kernel) };
        let wrong = self.read(kernel, id);
        if self.left || wrong.is_some() {
            return wrong;
        }
        if self.end.is_some() {
            kernel.tell(|| format!("client {id} has seen the end, and closes"));
            kernel.close(id, CLIENT);
            (self.left, self.acts_at) = (true, None);
            return None;
        }
        match self.next < self.script.writes.len() {
            true => self.write(kernel, id),
            false => self.finish(kernel, id),
        }
        None
    }

    fn connect(&mut self, kernel: &mut Kernel) -> Wrong {
        self.id = kernel.connect(self.script.rcvbuf, self.script.sndbuf);
        match self.id {
            Some(id) => {
                kernel.tell(|| format!("client {id} connects"));
                self.acts_at = Some(kernel.now);
            }
            // The SYN is sent again after a second, and so on: tcp(7), `tcp_syn_retries`. Refused: it gives up.
            None if kernel.listener_open && self.tries < SYN_RETRIES => {
                self.tries += 1;
                self.acts_at = Some(kernel.now + Duration::from_secs(1 << self.tries));
            }
            None => (self.left, self.acts_at) = (true, None),
        }
        None
    }

    /// read(2), as long as there is something, or a few bytes.
    fn read(&mut self, kernel: &mut Kernel, id: usize) -> Wrong {
        let mut buf = [0; 16 * 1024];
        let most = match self.script.reading {
            Reading::Eager => buf.len(),
            Reading::Slow => (self.script.rcvbuf / 8).clamp(7, buf.len()),
            Reading::Never => return None,
        };
        while self.end.is_none() {
            match kernel.read(id, CLIENT, &mut buf[..most]) {
                Ok(0) => {
                    kernel.tell(|| format!("client {id} reads the end, after {} bytes", self.back));
                    self.end = Some(Ok(()));
                }
                Ok(n) => {
                    let mut rest = self.take_echo(id, &buf[..n]);
                    while let [byte, behind @ ..] = rest {
                        let wrong = self.take(id, *byte);
                        if wrong.is_some() {
                            return wrong;
                        }
                        rest = self.take_echo(id, behind);
                    }
                    kernel.tell(|| format!("client {id} reads {n} bytes"));
                    if self.script.reading == Reading::Slow {
                        break;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => {
                    kernel.tell(|| format!("client {id} reads an error: {e}"));
                    self.end = Some(Err(e.kind()));
                }
            }
        }
        None
    }

    /// Takes what is as it must be, many bytes at a time. Returns the rest, which may begin with bytes of that sort.
    fn take_echo<'a>(&mut self, id: usize, bytes: &'a [u8]) -> &'a [u8] {
        if self.status.is_some() {
            return bytes;
        }
        let mut left = bytes;
        loop {
            let expected = Self::bytes(id, self.back);
            let n = left.len().min(expected.len()).min((self.sent - self.back) as usize);
            if n == 0 || left[..n] != expected[..n] {
                return left;
            }
            (self.back, self.last) = (self.back + n as u64, left[n - 1]);
            left = &left[n..];
        }
    }

    fn take(&mut self, id: usize, byte: u8) -> Wrong {
        if let Some(status) = &mut self.status {
            status.push(char::from(byte));
            if byte == b'\n' {
                let line = self.status.take().unwrap_or_default();
                self.statuses += 1;
                return (!is_status(&line))
                    .then(|| format!("a status line that is none: {line:?}"));
            }
            return None;
        }
        if byte == b'S' {
            self.status = Some("S".to_owned());
            return (self.last != b'\n').then(|| "a status inside of a line".to_owned());
        }
        let expected = Self::byte(id, self.back);
        if self.back >= self.sent || byte != expected {
            return Some(format!("byte {} came back as {byte:?}, not {expected:?}", self.back));
        }
        (self.back, self.last) = (self.back + 1, byte);
        None
    }

    fn write(&mut self, kernel: &mut Kernel, id: usize) {
        let wanted = self.script.writes[self.next] - self.part;
        let mut bytes = Vec::with_capacity(wanted);
        while bytes.len() < wanted {
            let more = Self::bytes(id, self.sent + bytes.len() as u64);
            bytes.extend_from_slice(&more[..more.len().min(wanted - bytes.len())]);
        }
        let urgent = self.script.urgent == Some(self.next);
        let written = match urgent {
            true => kernel.write_urgent(id, bytes[0]).map(|()| 1),
            false => kernel.write(id, CLIENT, &bytes),
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
            // It is asked again when its kernel has room: see `World::wake_clients`.
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                (self.refused, self.acts_at) = (true, None)
            }
            Err(e) => self.end = Some(Err(e.kind())),
        }
    }

    fn finish(&mut self, kernel: &mut Kernel, id: usize) {
        self.acts_at = None;
        match self.script.ending {
            Ending::HalfClose if !self.half_closed => {
                kernel.tell(|| format!("client {id} half-closes, after {} bytes", self.sent));
                self.half_closed = kernel.shutdown(id, CLIENT).is_ok();
            }
            Ending::HalfClose | Ending::Stay => {}
            Ending::Close => {
                kernel.tell(|| format!("client {id} closes"));
                kernel.close(id, CLIENT);
                self.left = true;
            }
            Ending::Reset => {
                kernel.tell(|| format!("client {id} resets"));
                kernel.reset(id, CLIENT);
                self.left = true;
            }
        }
    }

    /// Whether its kernel has something that it has been waiting for.
    pub(crate) fn could_act(&self, kernel: &Kernel) -> bool {
        let Some(id) = self.id.filter(|_| !self.left) else { return false };
        let end = &kernel.connections[id].ends[CLIENT];
        let reads = self.script.reading != Reading::Never && self.end.is_none() && end.has_input();
        let writes = self.refused && self.next < self.script.writes.len() && end.is_writable();
        reads || writes || self.end.is_some()
    }
}

fn is_status(line: &str) -> bool {
    let number = line.strip_prefix("Server status: ").and_then(|rest| rest.split_once(' '));
    number.is_some_and(|(n, rest)| {
        let plural = if n == "1" { "active connection\n" } else { "active connections\n" };
        n.parse::<usize>().is_ok_and(|n| n > 0) && rest == plural
    })
}

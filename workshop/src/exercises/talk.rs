//! `talk`: a client for those without `nc`, and the clients that servers are afraid of.
//!
//! Each says live what it does and what it sees, and each ends: the line client at the end of its input
//! or on Ctrl-C, the others after some seconds.

use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::{self, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use common::cli::parse_addr;
use socket2::SockRef;

use super::screen::{Screen, grouped};

/// What stands behind the options in the help.
const ABOUT_TIMES: &str = "\
Each line that is sent or received is reported with a time, in seconds since the start. The reports go to
stderr. stdout has the bytes that the server sent and no others, so it can be piped. If stdout is a terminal,
the time stands in front of each line that is received.

The line client sends half a line if you press Ctrl-D in the middle of it, or if its input ends there.";

/// Whom to talk to, and how.
#[derive(clap::Args)]
#[command(after_help = ABOUT_TIMES)]
pub(crate) struct Options {
    /// A server on this machine: the address that it says it listens on
    #[arg(default_value = "127.0.0.1:9000", value_parser = parse_addr)]
    addr: SocketAddr,
    /// Talk to a server on another machine too. Ask its owner: some of these clients are an attack
    #[arg(long)]
    anywhere: bool,
    #[command(flatten)]
    manner: Manner,
    /// How long the clients other than the line client go on
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

/// Without any of these: each line that you type is sent, and what comes back is printed.
#[derive(clap::Args)]
#[group(multiple = false)]
struct Manner {
    /// Send without a pause, and read what comes back
    #[arg(long)]
    flood: bool,
    /// Send one byte every 200 ms
    #[arg(long)]
    dribble: bool,
    /// Send half a line, and the rest of it when half of the seconds are over
    #[arg(long)]
    half_line: bool,
    /// Send, say that nothing more will come (FIN), then read to the end
    #[arg(long)]
    half_close: bool,
    /// Send, and close with a reset instead of a FIN
    #[arg(long)]
    reset: bool,
    /// Send and never read
    #[arg(long)]
    never_read: bool,
    /// Connect so many clients that say nothing
    #[arg(long, value_name = "CLIENTS", value_parser = clap::value_parser!(u16).range(1..=20_000))]
    idle: Option<u16>,
}

/// How much the clients that send a lot send at a time.
pub(crate) const CHUNK: usize = 64 * 1024;

/// How much a client that floods may have sent that has not come back. The queues of the kernel on the way back
/// hold about 4 MB. If they were full, a server that keeps no bytes would cut this client off, and the flood
/// would end. With much less on its way, the server finds the queue empty between two of our writes.
pub(crate) const ON_ITS_WAY: u64 = 3 * 1024 * 1024;

/// A line of status is shorter.
const LONGEST_STATUS: usize = 80;

/// How often they say what they see.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// A server that has taken nothing for so long takes no more.
const STUCK: Duration = Duration::from_millis(500);

/// A machine that is off does not say no: connect(2) would wait for two minutes.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long one read or write waits before we look at the clock again.
const PATIENCE: Duration = Duration::from_millis(100);

/// Talks, and says what it sees. Not being able to connect is an error; what the server does is not.
pub(crate) fn talk(options: &Options) -> anyhow::Result<ExitCode> {
    let addr = reached_at(options.addr);
    anyhow::ensure!(
        options.anywhere || is_here(addr),
        "{addr} is not on this machine; with --anywhere we talk to it all the same"
    );
    let talk = Arc::new(Talk::for_seconds(options.seconds));
    let stream =
        connect(addr).with_context(|| format!("cannot connect to {addr}; is a server running?"))?;
    stream.set_nodelay(true)?;
    if addr != options.addr {
        talk.say(&format!("{} is reached at {addr}", options.addr));
    }
    talk.say(&format!("connected to {addr}, from {}", stream.local_addr()?));
    match &options.manner {
        Manner { flood: true, .. } => talk.flood(stream)?,
        Manner { dribble: true, .. } => talk.dribble(stream)?,
        Manner { half_line: true, .. } => talk.half_line(stream)?,
        Manner { half_close: true, .. } => talk.half_close(stream)?,
        Manner { reset: true, .. } => talk.reset(stream)?,
        Manner { never_read: true, .. } => talk.never_read(stream)?,
        Manner { idle: Some(n), .. } => talk.idle(stream, *n)?,
        _ => talk.lines(stream)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Where to find a server that says it listens on `addr`. "All addresses", 0.0.0.0 and `[::]`, is an
/// address to listen on and none to connect to, if Linux takes it for loopback too. An IPv4 address may be
/// written as one of IPv6.
pub(crate) fn reached_at(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip().to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip if ip == addr.ip() => return addr, // with its scope
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// Whether an address is one of this machine's: bind(2) takes no other.
fn is_here(mut addr: SocketAddr) -> bool {
    addr.set_port(0);
    addr.ip().is_loopback() || UdpSocket::bind(addr).is_ok()
}

/// Connects, but not with itself: see [`common::refuse_self`].
fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, CONNECT_WITHIN)?;
    common::refuse_self(&stream)?;
    Ok(stream)
}

struct Talk {
    start: Instant,
    end: Duration,
    /// How we say what we do and see.
    screen: Screen,
    /// On a terminal, what we send and what comes back share one screen.
    cursor: Mutex<Cursor>,
}

/// Where the next character appears on the screen of a person, and in the stream from the server.
#[derive(Default)]
struct Cursor {
    /// Behind the first part of a line: whatever is said next begins a line of its own.
    mid_row: bool,
    /// The last byte that came was no newline.
    mid_line: bool,
}

impl Talk {
    fn for_seconds(seconds: u64) -> Self {
        Self {
            start: Instant::now(),
            end: Duration::from_secs(seconds),
            screen: Screen::on(&io::stderr()),
            cursor: Mutex::default(),
        }
    }

    /// What we do and see goes to stderr, what the server says to stdout: as with `nc`.
    fn say(&self, what: &str) {
        // One that panicked while it held this has changed a flag, no more.
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = if mem::take(&mut cursor.mid_row) { "\n" } else { "" };
        // `eprintln!` would end the talk when stderr cannot be written to.
        let _ = writeln!(io::stderr(), "{begin}{}{what}", self.time());
    }

    /// A narrow column, for a person who compares the time of a line with that of another.
    fn time(&self) -> String {
        self.screen.dim(&format!("{:5.1} s", self.start.elapsed().as_secs_f64())) + "  "
    }

    fn is_over(&self) -> bool {
        self.start.elapsed() >= self.end
    }

    /// What is typed goes out line by line; what comes back is printed as it comes, each line with the time.
    fn lines(self: &Arc<Self>, mut stream: TcpStream) -> anyhow::Result<()> {
        self.say(
            "type a line and press Enter; Ctrl-D in the middle of a line sends that half of it",
        );
        self.say("Ctrl-D on an empty line says that you will send no more; Ctrl-C leaves");
        let (writer, sender) = (stream.try_clone()?, Arc::clone(self));
        // Not joined: it may wait for the keyboard when the server has already gone.
        thread::spawn(move || sender.send_what_is_typed(writer));
        let mut buf = [0; 4096];
        loop {
            match stream.read(&mut buf) {
                Ok(0) => break self.say("the server has closed the connection"),
                Ok(n) if self.show(&buf[..n])? => {}
                Ok(_) => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => break self.say(&format!("the connection broke: {e}")),
            }
        }
        Ok(())
    }

    fn send_what_is_typed(&self, mut writer: TcpStream) {
        let mut buf = [0; 4096];
        loop {
            match io::stdin().read(&mut buf) {
                Ok(0) => break,
                // A line that has no end, since the input ended, is sent without one.
                Ok(n) => {
                    if !buf[..n].ends_with(b"\n") && io::stdin().is_terminal() {
                        // A terminal shows what is typed, and no Enter has been pressed.
                        self.cursor.lock().unwrap_or_else(PoisonError::into_inner).mid_row = true;
                    }
                    self.say_sending(&buf[..n]);
                    if writer.write_all(&buf[..n]).is_err() {
                        return; // the loop that reads says why
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    common::say(format_args!("Error: cannot read stdin: {e}"));
                    process::exit(1);
                }
            }
        }
        let _ = writer.shutdown(Shutdown::Write);
    }

    /// Before the write: behind it, the echo might be there first.
    fn say_sending(&self, bytes: &[u8]) {
        let half = if bytes.ends_with(b"\n") { "" } else { ", not the end of a line" };
        let s = if bytes.len() == 1 { "" } else { "s" };
        self.say(&format!("sending {} byte{s}{half}", bytes.len()));
    }

    /// Prints what has come. False if the reader has read enough: `… | head -1`.
    fn show(&self, bytes: &[u8]) -> anyhow::Result<bool> {
        match self.print(bytes) {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
            printed => printed.map(|()| true).context("cannot write to stdout"),
        }
    }

    /// On a terminal the time stands in front of each line. Elsewhere stdout has what has come and no byte
    /// more, and the time is reported on stderr.
    fn print(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ends = line.ends_with(b"\n");
            let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
            if stdout.is_terminal() {
                let time = if cursor.mid_row { String::new() } else { self.time() };
                write!(stdout, "{time}")?;
                cursor.mid_row = !ends;
            } else if !cursor.mid_line {
                let _ = writeln!(io::stderr(), "{}a line:", self.time());
            }
            cursor.mid_line = !ends;
            stdout.write_all(line)?;
            stdout.flush()?;
        }
        Ok(())
    }

    fn flood(&self, stream: TcpStream) -> anyhow::Result<()> {
        self.say("sending without a pause, and reading what comes back");
        stream.set_nonblocking(true)?;
        let (mut count, mut chunk) = (Count::default(), vec![b'f'; CHUNK]);
        // Stage 6 has no status line for a client in the middle of a line.
        chunk[CHUNK - 1] = b'\n';
        self.until_over(&mut count, |count| {
            let out = count.on_its_way() < ON_ITS_WAY && count.write(&stream, &chunk)?;
            let back = count.read(&stream)?;
            if !out && !back {
                thread::park_timeout(Duration::from_millis(1));
            }
            Ok(())
        });
        Ok(())
    }

    fn dribble(&self, stream: TcpStream) -> anyhow::Result<()> {
        const PAUSE: Duration = Duration::from_millis(200);
        self.say("sending one byte every 200 ms");
        stream.set_read_timeout(Some(PAUSE))?;
        let mut count = Count::default();
        self.until_over(&mut count, |count| {
            count.write(&stream, b".")?;
            let next = Instant::now() + PAUSE;
            count.read(&stream)?;
            thread::park_timeout(next.saturating_duration_since(Instant::now()));
            Ok(())
        });
        Ok(())
    }

    /// Stage 6 sends no status line into the middle of a client's line. This shows that it waits.
    fn half_line(&self, mut stream: TcpStream) -> anyhow::Result<()> {
        let halves: [&[u8]; 2] = [b"half a li", b"ne\n"];
        let (mut halves, mut next) = (halves.into_iter(), Duration::ZERO);
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut buf = [0; 4096];
        loop {
            if self.is_over() {
                break self.say("time is over, leaving");
            }
            if self.start.elapsed() >= next
                && let Some(half) = halves.next()
            {
                self.say_sending(half);
                // If that fails, so does the read, which says why.
                let _ = stream.write_all(half);
                next = self.end / 2;
            }
            match stream.read(&mut buf) {
                Ok(0) => break self.say("the server has closed the connection"),
                Ok(n) if self.show(&buf[..n])? => {}
                Ok(_) => break,
                Err(e) if not_now(&e) => {}
                Err(e) => break self.say(&format!("the connection broke: {e}")),
            }
        }
        Ok(())
    }

    fn half_close(&self, mut stream: TcpStream) -> anyhow::Result<()> {
        let words = b"last words\n";
        stream.write_all(words)?;
        stream.shutdown(Shutdown::Write)?;
        self.say(&format!("sent {} bytes and a FIN; now reading to the end", words.len()));
        stream.set_read_timeout(Some(self.end))?;
        let mut back = Vec::new();
        let end = stream.read_to_end(&mut back);
        let mut ours: Vec<_> = back.split_inclusive(|byte| *byte == b'\n').collect();
        ours.retain(|line| !is_status(line));
        let back = ours.concat();
        let (n, of) = (back.len(), words.len());
        match end {
            Ok(_) if back == words => self.say("every byte came back, and then a clean end"),
            Ok(_) if n == of => self.say(&format!("a clean end, and {n} other bytes came back")),
            Ok(_) => self.say(&format!("a clean end, and {n} of {of} bytes came back")),
            Err(e) => self.say(&format!("no end{}; {n} bytes came back", self.why(&e))),
        }
        Ok(())
    }

    fn reset(&self, mut stream: TcpStream) -> anyhow::Result<()> {
        stream.write_all(&[b'r'; CHUNK])?;
        // SO_LINGER with a time of zero: close(2) sends a reset, see socket(7).
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        let peer = stream.peer_addr()?;
        drop(stream);
        self.say(&format!(
            "sent {} bytes and a reset; is the server still there?",
            grouped(CHUNK as u64)
        ));
        let mut next = connect(peer).context("no server listens any more")?;
        next.set_read_timeout(Some(self.end))?;
        next.write_all(b"?")?;
        match next.read_exact(&mut [0]) {
            Ok(()) => self.say("it is: the next client has its byte back"),
            Err(e) => self.say(&format!("the next client gets no answer{}", self.why(&e))),
        }
        Ok(())
    }

    /// Behind "no answer": a time that is over is no fault of the connection, and errno names it badly.
    fn why(&self, e: &io::Error) -> String {
        if not_now(e) { format!(" within {} s", self.end.as_secs()) } else { format!(": {e}") }
    }

    fn never_read(&self, stream: TcpStream) -> anyhow::Result<()> {
        self.say("sending, and never reading");
        stream.set_write_timeout(Some(PATIENCE))?;
        let (mut count, chunk) = (Count::default(), vec![b'n'; CHUNK]);
        self.until_over(&mut count, |count| count.write(&stream, &chunk).map(|_| ()));
        Ok(())
    }

    fn idle(&self, first: TcpStream, n: u16) -> anyhow::Result<()> {
        let addr = first.peer_addr()?;
        let mut clients = vec![first];
        while clients.len() < usize::from(n) {
            match connect(addr) {
                Ok(client) => clients.push(client),
                Err(e) => {
                    self.say(&format!("no more after {}: {e}", clients.len()));
                    break;
                }
            }
        }
        self.say(&format!("{} client(s) connected, and silent", clients.len()));
        while !self.is_over() && !clients.is_empty() {
            thread::park_timeout(REPORT_EVERY.min(self.end.saturating_sub(self.start.elapsed())));
            let before = clients.len();
            clients.retain(is_open);
            match before - clients.len() {
                0 => self.say(&format!("{} still connected", clients.len())),
                gone => self.say(&format!("{gone} let go by the server, {} left", clients.len())),
            }
        }
        Ok(())
    }

    /// One step after the other until the time is over or the connection broke, and a line each second.
    fn until_over(&self, count: &mut Count, mut step: impl FnMut(&mut Count) -> io::Result<()>) {
        let mut next = REPORT_EVERY;
        while !self.is_over() {
            if let Err(e) = step(count) {
                return self.say(&format!("{}; the connection is over: {e}", count.in_words()));
            }
            if self.start.elapsed() >= next {
                self.say(&count.in_words());
                next += REPORT_EVERY;
            }
        }
        self.say(&format!("{}; time is over, leaving", count.in_words()));
    }
}

/// `Server status: 7 active connections`: stage 6 says so between two lines of its echo.
fn is_status(line: &[u8]) -> bool {
    let text = str::from_utf8(line).unwrap_or_default();
    let number = text.strip_prefix("Server status: ").and_then(|rest| rest.split_once(' '));
    number.is_some_and(|(number, rest)| {
        number.parse::<u32>().is_ok()
            && matches!(rest, "active connection\n" | "active connections\n")
    })
}

/// Whether the server has not closed it. What has been said meanwhile is thrown away.
fn is_open(mut stream: &TcpStream) -> bool {
    let mut buf = [0; 4096];
    if stream.set_nonblocking(true).is_err() {
        return false;
    }
    loop {
        match stream.read(&mut buf) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(e) => return matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }
}

/// Bytes, both ways.
#[derive(Default)]
pub(crate) struct Count {
    pub(crate) out: u64,
    pub(crate) back: u64,
    /// Lines of status, which are no echo.
    told: u64,
    /// The line of status that has begun.
    line: Vec<u8>,
    /// Since when there has been no room.
    refused: Option<Instant>,
}

impl Count {
    /// One write(2). False if there was no room.
    fn write(&mut self, mut stream: &TcpStream, bytes: &[u8]) -> io::Result<bool> {
        match stream.write(bytes) {
            Ok(n) => (self.out, self.refused) = (self.out + n as u64, None),
            Err(e) if not_now(&e) => {
                self.refused.get_or_insert_with(Instant::now);
                return Ok(false);
            }
            Err(e) => return Err(e),
        }
        Ok(true)
    }

    /// One read(2). False if there was nothing.
    fn read(&mut self, mut stream: &TcpStream) -> io::Result<bool> {
        let mut buf = [0; CHUNK];
        match stream.read(&mut buf) {
            Ok(0) => return Err(io::Error::other("the server has closed it")),
            Ok(n) => self.take(&buf[..n]),
            Err(e) if not_now(&e) => return Ok(false),
            Err(e) => return Err(e),
        }
        Ok(true)
    }

    /// None of the clients here sends an `S`, so that is where a line of status begins.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        // The quick way: nearly always.
        if self.line.is_empty() && !bytes.contains(&b'S') {
            self.back += bytes.len() as u64;
            return;
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.is_empty() && piece[0] != b'S' {
                self.back += piece.len() as u64;
                continue;
            }
            self.line.extend(piece);
            // Another server may begin so and go on without an end.
            if piece.ends_with(b"\n") || self.line.len() > LONGEST_STATUS {
                match is_status(&self.line) {
                    true => self.told += 1,
                    false => self.back += self.line.len() as u64,
                }
                self.line.clear();
            }
        }
    }

    /// Sent, and not come back. What is added to the echo has not been sent, and may come to more.
    pub(crate) fn on_its_way(&self) -> u64 {
        self.out.saturating_sub(self.back)
    }

    fn in_words(&self) -> String {
        // For a moment there is no room whenever we are faster than the server.
        let stuck = self.refused.is_some_and(|since| since.elapsed() > STUCK);
        let room = if stuck { ", and the server takes no more" } else { "" };
        let told = match self.told {
            0 => String::new(),
            told => format!(" and {told} line(s) of status"),
        };
        format!("{} bytes sent{room}, {} came back{told}", grouped(self.out), grouped(self.back))
    }
}

/// A timeout is `WouldBlock` on Unix and `TimedOut` on Windows.
fn not_now(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_reached(listens: &str, reached: &str) {
        assert_eq!(reached_at(listens.parse().unwrap()), reached.parse().unwrap());
    }

    #[test]
    fn a_server_that_listens_on_all_addresses_is_reached_on_loopback() {
        check_reached("0.0.0.0:9000", "127.0.0.1:9000");
        check_reached("[::]:9000", "[::1]:9000");
        check_reached("[::ffff:0.0.0.0]:9000", "127.0.0.1:9000");
        check_reached("[::ffff:127.0.0.2]:9000", "127.0.0.2:9000");
        for other in ["127.0.0.1:9000", "[::1]:9000", "192.0.2.1:9000", "[fe80::1%2]:9000"] {
            check_reached(other, other);
        }
    }

    #[test]
    fn a_line_of_status_is_no_echo_wherever_a_read_cuts_it() {
        let bytes =
            b"fff\nServer status: 1 active connection\nff\nServer status: 12 active connections\nf";
        for cut in 0..bytes.len() {
            let mut count = Count::default();
            count.take(&bytes[..cut]);
            count.take(&bytes[cut..]);
            assert_eq!((count.back, count.told), (8, 2), "cut at {cut}");
        }
    }

    #[test]
    fn what_begins_like_a_line_of_status_and_has_no_end_is_counted_and_not_kept() {
        let mut count = Count::default();
        (0..1_000).for_each(|_| count.take(&[b'S'; CHUNK]));
        assert_eq!((count.back, count.line.len()), (1_000 * CHUNK as u64, 0));
    }

    #[test]
    fn what_only_begins_like_a_line_of_status_is_counted() {
        for line in ["Server status: many\n", "S\n", "Server status: x active connections\n"] {
            let mut count = Count::default();
            count.take(line.as_bytes());
            assert_eq!((count.back, count.told), (line.len() as u64, 0), "{line}");
        }
    }
}

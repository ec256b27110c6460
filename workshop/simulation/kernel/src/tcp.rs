//! Connections: two ends, four queues.
//!
//! What Linux does is written next to each rule, by the name of the function in its source (6.x) and, where a
//! standard asks for it, by the section of the RFC. `tests/conformance` plays the same calls against Linux itself.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};

/// `EPOLLIN` and its relatives, as epoll_ctl(2) has them.
pub const IN: u32 = 0x001;
/// There is urgent data.
pub const PRI: u32 = 0x002;
/// There is room to write.
pub const OUT: u32 = 0x004;
/// An error is to be fetched.
pub const ERR: u32 = 0x008;
/// Both directions are over.
pub const HUP: u32 = 0x010;
/// The peer has sent its FIN.
pub const RDHUP: u32 = 0x2000;

/// The key of a wake-up that says nothing of what has happened, and so concerns every interest:
/// sock_def_wakeup() in net/core/sock.c, which wakes with a key of zero.
pub const ANY: u32 = u32::MAX;

/// The key of a wake-up for bytes, urgent or not: sock_def_readable() in net/core/sock.c. So bytes that arrive put a
/// socket on the ready list even if the poller is interested in urgent bytes only.
pub const DATA: u32 = IN | PRI;

/// One end of a connection: the half that its kernel keeps.
#[derive(Debug, Hash)]
pub struct End {
    /// Arrived, and not read yet.
    pub rcvq: VecDeque<u8>,
    /// Written, and not arrived yet.
    pub sndq: VecDeque<u8>,
    /// The most bytes that [`End::rcvq`] holds. What it has no room for waits at the sender: the window is
    /// closed. It is fixed when the connection is made.
    pub rcvbuf: usize,
    /// The most bytes that [`End::sndq`] holds. What it has no room for the program keeps.
    pub sndbuf: usize,
    /// How many bytes have been read.
    pub read: u64,
    /// How many bytes have been written.
    pub written: u64,
    /// How many bytes the peer may send in all: the right edge of the window that it was told.
    window_edge: u64,
    /// The place of the last urgent byte that has arrived, counted as `read`.
    urgent: Option<u64>,
    /// Of the last one that was sent, counted as `written`.
    urgent_sent: Option<u64>,
    /// shutdown(2) or close(2) was called: a FIN stands behind `sndq`.
    pub fin: bool,
    fin_sent: bool,
    /// The peer's FIN stands behind `rcvq`.
    pub fin_arrived: bool,
    /// Reset, from either side. Nothing moves any more.
    pub reset: bool,
    /// It is reset, and that was not this end's own doing: the other end has reset it, or never answered.
    pub broken: bool,
    /// A pending error (`SO_ERROR`).
    error: Option<ErrorKind>,
    /// A write was refused or cut short, or a poller has found no room (`SOCK_NOSPACE`): only then is room an event.
    no_space: bool,
    /// The program has closed it.
    pub closed: bool,
    /// connect(2) was called, and the peer has not answered (`SYN_SENT`).
    pub connecting: bool,
}

impl End {
    /// The end of a connection that is there, with so much room for what arrives and for what is written.
    pub fn new(rcvbuf: usize, sndbuf: usize) -> Self {
        Self {
            rcvq: VecDeque::new(),
            sndq: VecDeque::new(),
            rcvbuf,
            sndbuf,
            read: 0,
            written: 0,
            window_edge: rcvbuf as u64,
            urgent: None,
            urgent_sent: None,
            fin: false,
            fin_sent: false,
            fin_arrived: false,
            reset: false,
            broken: false,
            error: None,
            no_space: false,
            closed: false,
            connecting: false,
        }
    }

    /// The connection is over for this end: the state is `CLOSE`. It was reset, or both FINs have arrived. The end
    /// that has sent the first of them goes there as well: `TIME_WAIT` is kept without the socket, see tcp_time_wait()
    /// in net/ipv4/tcp_minisocks.c.
    pub fn is_over(&self) -> bool {
        self.reset || (self.fin_sent && self.fin_arrived)
    }

    /// What is true now, as poll(2) has it: tcp_poll() in net/ipv4/tcp.c.
    ///
    /// - `HUP`: neither direction is open any more (`sk_shutdown` has both bits), or the connection is over.
    /// - `IN` and `RDHUP`: the peer's FIN is here, or a RST was; `IN` also if there are bytes to read.
    /// - `OUT`: there is room, see [`End::is_writable`]; or a write would fail at once, as we have sent our FIN. If
    ///   there is no room, the kernel notes that the next room is an event.
    /// - `PRI`: an urgent byte has arrived and was not read yet. With `SO_OOBINLINE` it stands between the others.
    /// - `ERR`: an error is pending. It stays until a call has fetched it, even when all has been read.
    /// - While connect(2) waits for its answer, nothing is true.
    pub fn mask(&mut self) -> u32 {
        if self.connecting {
            return 0;
        }
        let mut mask = 0;
        if self.reset || (self.fin && self.fin_arrived) {
            mask |= HUP;
        }
        if self.fin_arrived || self.reset {
            mask |= IN | RDHUP;
        }
        if !self.rcvq.is_empty() {
            mask |= IN;
        }
        if self.urgent.is_some() {
            mask |= PRI;
        }
        if self.fin || self.reset || self.is_writable() {
            mask |= OUT;
        } else {
            self.no_space = true;
        }
        if self.error.is_some() {
            mask |= ERR;
        }
        mask
    }

    /// A third of the buffer is free: sk_stream_is_writeable() in include/net/sock.h wants at least half as much
    /// free as is in use.
    pub fn is_writable(&self) -> bool {
        3 * self.sndq.len() <= 2 * self.sndbuf
    }

    /// read(2): what has arrived, up to an urgent byte; then the end, or the error and then the end.
    ///
    /// tcp_recvmsg_locked() in net/ipv4/tcp.c. What arrived before a RST can still be read. Then comes `ECONNRESET`,
    /// once; then the end, for ever. If the peer's FIN arrived before the RST (`SOCK_DONE`), read(2) never tells of
    /// the error: only write(2) and `SO_ERROR` do. A read that starts at an urgent byte goes on behind it.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: nothing is here. Or the pending error.
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut n = buf.len().min(self.rcvq.len());
        if let Some(mark) = self.urgent
            && mark > self.read
        {
            n = n.min((mark - self.read) as usize);
        }
        if n == 0 {
            return self.read_nothing();
        }
        self.rcvq.read_exact(&mut buf[..n])?; // there are so many
        self.read += n as u64;
        self.open_window(2 * self.window());
        if self.urgent.is_some_and(|mark| self.read > mark) {
            self.urgent = None;
        }
        Ok(n)
    }

    /// How many bytes the peer may send at the moment.
    fn window(&self) -> u64 {
        self.window_edge - self.arrived()
    }

    fn arrived(&self) -> u64 {
        self.read + self.rcvq.len() as u64
    }

    /// Tells the peer of the room, if there is at least so much, and not less than a sixteenth of the buffer: a window
    /// of a few bytes would be filled by a segment of a few bytes. __tcp_select_window() in net/ipv4/tcp_output.c;
    /// RFC 9293, section 3.8.6.2.2.
    fn open_window(&mut self, least: u64) {
        let room = self.rcvbuf.saturating_sub(self.rcvq.len());
        if room as u64 >= least && room >= self.rcvbuf / 16 {
            self.window_edge = self.window_edge.max(self.arrived() + room as u64);
        }
    }

    fn read_nothing(&mut self) -> io::Result<usize> {
        if self.fin_arrived {
            return Ok(0);
        }
        match self.error.take() {
            Some(error) => Err(error.into()),
            None if self.reset => Ok(0),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// write(2): as much as there is room for. tcp_sendmsg_locked() in net/ipv4/tcp.c.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: no room, or the peer has not answered connect(2) yet. After a RST the pending error, once, and
    /// then `EPIPE`: sk_stream_error() in net/core/stream.c. `EPIPE` after our own FIN.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.reset || self.fin {
            return Err(self.error.take().unwrap_or(ErrorKind::BrokenPipe).into());
        }
        let room = if self.connecting { 0 } else { self.sndbuf.saturating_sub(self.sndq.len()) };
        let n = bytes.len().min(room);
        self.no_space |= n < bytes.len();
        if n == 0 && !bytes.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.sndq.extend(&bytes[..n]);
        self.written += n as u64;
        Ok(n)
    }

    /// send(2) with `MSG_OOB`: the segment's urgent pointer names this byte. tcp_mark_urg() in net/ipv4/tcp.c; RFC
    /// 6093, section 2 and 3.2, for the byte that it names.
    ///
    /// # Errors
    ///
    /// As [`End::write`].
    pub fn write_urgent(&mut self, byte: u8) -> io::Result<()> {
        self.write(&[byte])?;
        self.urgent_sent = Some(self.written - 1);
        Ok(())
    }

    /// shutdown(2), for writing: inet_shutdown() in net/ipv4/af_inet.c. A second time it does nothing.
    ///
    /// # Errors
    ///
    /// `ENOTCONN`: the connection is over. The end that has seen both FINs is as unconnected as one that was reset.
    pub fn shutdown(&mut self) -> io::Result<()> {
        if self.is_over() {
            return Err(ErrorKind::NotConnected.into());
        }
        if std::mem::take(&mut self.connecting) {
            self.die(None); // tcp_disconnect()
        }
        self.fin = true;
        Ok(())
    }

    /// getsockopt(2), `SO_ERROR`: the pending error, which is then no longer pending. sk_getsockopt() in
    /// net/core/sock.c.
    pub fn take_error(&mut self) -> Option<ErrorKind> {
        self.error.take()
    }

    /// Whether getpeername(2) finds a peer: not in the states `SYN_SENT` and `CLOSE`, see inet_getname() in
    /// net/ipv4/af_inet.c.
    pub fn has_peer(&self) -> bool {
        !self.connecting && !self.is_over()
    }

    /// Everything that can be known of it is known, and it is over.
    pub fn has_input(&self) -> bool {
        !self.rcvq.is_empty() || self.fin_arrived || self.reset || self.error.is_some()
    }

    /// The connection breaks off at this end. What has arrived before can still be read, what was not sent is
    /// dropped: tcp_done_with_error() in net/ipv4/tcp_input.c.
    pub fn die(&mut self, error: Option<ErrorKind>) {
        self.reset = true;
        self.broken = error.is_some();
        self.connecting = false;
        self.error = error;
        self.sndq.clear();
    }

    /// A RST arrives: tcp_reset() in net/ipv4/tcp_input.c, RFC 9293, section 3.10.7. The state decides which error it
    /// is: `ECONNREFUSED` in `SYN_SENT`, `EPIPE` in `CLOSE_WAIT` (the peer's FIN has arrived, and we have not sent
    /// ours), otherwise `ECONNRESET`. False: the connection was over already, and nothing happens.
    pub fn receive_reset(&mut self) -> bool {
        if self.is_over() {
            return false;
        }
        self.die(Some(match self {
            Self { connecting: true, .. } => ErrorKind::ConnectionRefused,
            Self { fin_arrived: true, fin: false, .. } => ErrorKind::BrokenPipe,
            _ => ErrorKind::ConnectionReset,
        }));
        true
    }

    /// Whether something waits for the network.
    pub fn has_outgoing(&self) -> bool {
        !self.reset && !self.connecting && (!self.sndq.is_empty() || (self.fin && !self.fin_sent))
    }
}

/// What the arrival of something does at the receiving end, and what the room that it leaves does at the sending end:
/// the keys of the wake-ups (see [`DATA`] and [`ANY`]). 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// At the end where it arrives.
    pub receiver: u32,
    /// At the end that has sent it.
    pub sender: u32,
}

/// Moves what one end has sent into the queue of the other, as far as its window allows, with the FIN behind it. It
/// is acknowledged at once.
///
/// - Window: what arrives is acknowledged with what room there is. A read tells of it only when that at least doubles
///   the window, see tcp_cleanup_rbuf() in net/ipv4/tcp.c: so a read of a few bytes from a full queue lets nothing
///   more arrive, and there is no event. A FIN needs room in the window like a byte, see tcp_snd_wnd_test().
/// - Bytes: tcp_data_ready() in net/ipv4/tcp_input.c. An urgent byte wakes with the same key, see tcp_urg().
/// - Room: tcp_check_space() there and sk_stream_write_space() in net/core/stream.c. Room is told only if it was
///   missed ([`End::mask`] and [`End::write`] say when), only when a third of the buffer is free, and its key is
///   `OUT`: a poller that is not interested in room hears nothing.
/// - A FIN: tcp_fin() wakes with [`ANY`]; and so does its acknowledgement at the sender, which goes from `FIN_WAIT1` to
///   `FIN_WAIT2` (tcp_rcv_state_process()), or from `LAST_ACK` to `CLOSE` (tcp_done()).
/// - Bytes for a program that has closed: the answer is a RST. RFC 9293, section 3.10.7.4, and RFC 1122, section
///   4.2.2.13; tcp_rcv_state_process(), `FIN_WAIT2`.
pub fn transfer(from: &mut End, to: &mut End) -> Woken {
    let mut woken = Woken::default();
    if from.reset || to.reset {
        return woken;
    }
    if to.closed && !from.sndq.is_empty() {
        to.die(None);
        return Woken { receiver: 0, sender: if from.receive_reset() { ANY } else { 0 } };
    }
    let n = from.sndq.len().min(to.window() as usize);
    if n > 0 {
        woken = move_bytes(from, to, n);
    }
    if from.sndq.is_empty() && from.fin && !from.fin_sent && to.window() > 0 {
        from.fin_sent = true;
        to.fin_arrived = true;
        woken = Woken { receiver: ANY, sender: ANY };
    }
    woken
}

fn move_bytes(from: &mut End, to: &mut End, n: usize) -> Woken {
    let first = from.written - from.sndq.len() as u64;
    let moved = first..first + n as u64;
    // By slices: byte by byte it takes most of a history's time.
    let (front, back) = from.sndq.as_slices();
    let of_front = n.min(front.len());
    to.rcvq.extend(&front[..of_front]);
    to.rcvq.extend(&back[..n - of_front]);
    from.sndq.drain(..n);
    to.open_window(0);
    if let Some(mark) = from.urgent_sent.filter(|mark| moved.contains(mark)) {
        to.urgent = Some(mark);
    }
    let told = from.no_space && from.is_writable();
    from.no_space &= !told;
    Woken { receiver: DATA, sender: if told { OUT } else { 0 } }
}

//! Connections: two ends, four queues.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

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

/// One end of a connection: the half that its kernel keeps.
#[derive(Debug)]
pub struct End {
    /// Arrived, and not read yet.
    pub rcvq: VecDeque<u8>,
    /// Written, and not arrived yet.
    pub sndq: VecDeque<u8>,
    pub rcvbuf: usize,
    pub sndbuf: usize,
    /// How many bytes have been read, and written.
    pub read: u64,
    pub written: u64,
    /// The place of the last urgent byte that has arrived, counted as `read`.
    urgent: Option<u64>,
    /// Of the last one that was sent, counted as `written`.
    urgent_sent: Option<u64>,
    /// shutdown(2) or close(2) was called: a FIN stands behind `sndq`.
    pub fin: bool,
    fin_sent: bool,
    pub fin_arrived: bool,
    /// Reset, from either side. Nothing moves any more.
    pub reset: bool,
    /// A pending error (`SO_ERROR`).
    error: Option<ErrorKind>,
    /// A write was refused or cut short (`SOCK_NOSPACE`): only then is room an event.
    no_space: bool,
    /// The program has closed it.
    pub closed: bool,
}

impl End {
    pub fn new(rcvbuf: usize, sndbuf: usize) -> Self {
        Self {
            rcvq: VecDeque::new(),
            sndq: VecDeque::new(),
            rcvbuf,
            sndbuf,
            read: 0,
            written: 0,
            urgent: None,
            urgent_sent: None,
            fin: false,
            fin_sent: false,
            fin_arrived: false,
            reset: false,
            error: None,
            no_space: false,
            closed: false,
        }
    }

    /// tcp_poll() in the kernel's net/ipv4/tcp.c.
    pub fn mask(&mut self) -> u32 {
        let mut mask = 0;
        let over = self.reset || (self.fin && self.fin_arrived);
        if over {
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

    /// A third of the buffer is free: sk_stream_is_writeable() in the kernel's include/net/sock.h.
    pub fn is_writable(&self) -> bool {
        3 * self.sndq.len() <= 2 * self.sndbuf
    }

    /// read(2): what has arrived, up to an urgent byte; then the error; then the end.
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut n = buf.len().min(self.rcvq.len());
        if let Some(mark) = self.urgent
            && mark > self.read
        {
            n = n.min((mark - self.read) as usize);
        }
        if n == 0 {
            return match self.error.take() {
                Some(error) => Err(error.into()),
                None if self.fin_arrived || self.reset => Ok(0),
                None => Err(ErrorKind::WouldBlock.into()),
            };
        }
        // Twice: a queue is a ring, and what is in it may begin anew in the middle.
        let first = self.rcvq.as_slices().0.len().min(n);
        buf[..first].copy_from_slice(&self.rcvq.as_slices().0[..first]);
        buf[first..n].copy_from_slice(&self.rcvq.as_slices().1[..n - first]);
        self.rcvq.drain(..n);
        self.read += n as u64;
        if self.urgent.is_some_and(|mark| self.read > mark) {
            self.urgent = None;
        }
        Ok(n)
    }

    /// write(2): as much as there is room for.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.reset || self.fin {
            return Err(self.error.take().unwrap_or(ErrorKind::BrokenPipe).into());
        }
        let n = bytes.len().min(self.sndbuf.saturating_sub(self.sndq.len()));
        self.no_space |= n < bytes.len();
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.sndq.extend(&bytes[..n]);
        self.written += n as u64;
        Ok(n)
    }

    /// send(2) with `MSG_OOB`.
    pub fn write_urgent(&mut self, byte: u8) -> io::Result<()> {
        self.write(&[byte])?;
        self.urgent_sent = Some(self.written - 1);
        Ok(())
    }

    /// Everything that can be known of it is known, and it is over.
    pub fn has_input(&self) -> bool {
        !self.rcvq.is_empty() || self.fin_arrived || self.reset || self.error.is_some()
    }

    /// A RST has arrived, or was sent. What has arrived before can still be read.
    pub fn die(&mut self, error: Option<ErrorKind>) {
        self.reset = true;
        self.error = error;
        self.sndq.clear();
    }

    /// Whether something waits for the network.
    pub fn has_outgoing(&self) -> bool {
        !self.reset && (!self.sndq.is_empty() || (self.fin && !self.fin_sent))
    }
}

/// What the arrival of something does at the receiving end, and what the room that it leaves does at the sending end:
/// the events, as masks. 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    pub receiver: u32,
    pub sender: u32,
}

/// Moves what one end has sent into the queue of the other, as far as its window allows, with the FIN behind it.
pub fn transfer(from: &mut End, to: &mut End) -> Woken {
    let mut woken = Woken::default();
    if from.reset || to.reset {
        return woken;
    }
    // A program that has closed reads no more: the kernel answers what comes with a RST. RFC 9293, section 3.10.4.
    if to.closed && !from.sndq.is_empty() {
        from.die(Some(ErrorKind::ConnectionReset));
        to.die(None);
        return Woken { receiver: 0, sender: IN | OUT | ERR | HUP | RDHUP };
    }
    let n = from.sndq.len().min(to.rcvbuf.saturating_sub(to.rcvq.len()));
    if n > 0 {
        let first = from.written - from.sndq.len() as u64;
        let (front, back) = from.sndq.as_slices();
        let of_front = front.len().min(n);
        to.rcvq.extend(&front[..of_front]);
        to.rcvq.extend(&back[..n - of_front]);
        from.sndq.drain(..n);
        woken.receiver |= IN;
        if let Some(mark) = from.urgent_sent.filter(|mark| (first..first + n as u64).contains(mark))
        {
            to.urgent = Some(mark);
            woken.receiver |= PRI;
        }
        if from.no_space && from.is_writable() {
            from.no_space = false;
            woken.sender |= OUT;
        }
    }
    if from.sndq.is_empty() && from.fin && !from.fin_sent {
        from.fin_sent = true;
        to.fin_arrived = true;
        woken.receiver |= IN | RDHUP | if to.fin { HUP } else { 0 };
    }
    woken
}

//! Linux plays a script, over loopback.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use simulated_kernel::kernel::Ready;
use simulated_kernel::{Interest, event};
use socket2::{Domain, Socket, Type};

use crate::compare::{Answer, Event, MOST_BYTES, bytes_read, written};
use crate::script::{Call, Kind, LISTENER, SLOTS, Side};

/// So long bytes that were written may take to arrive: they may wait for a persist timer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Of scripts that fill the buffers: the sender's holds more than the receiver's window, so a full one waits for the
/// window and not for an acknowledgement. The kernel doubles both.
const SMALL: [usize; 2] = [16 * 1024, 32 * 1024];

/// A connection of the script.
#[derive(Default)]
struct Slot {
    /// The client's, the server's.
    ends: [Option<Socket>; 2],
    /// The client's.
    addr: Option<SocketAddr>,
    written: [usize; 2],
    read: [usize; 2],
    /// It has sent its FIN, or will.
    fin: [bool; 2],
}

pub(crate) struct Linux {
    kind: Kind,
    /// `None`: the script has closed it.
    listener: Option<Socket>,
    addr: SocketAddr,
    /// Tells the masks.
    epoll: Epoll,
    /// Watches the same sockets, and is asked what mio makes of the same masks.
    mio: mio::Poll,
    slots: [Slot; SLOTS],
    /// Each call is followed by so many milliseconds of pause, so that what it has sent arrives even on a machine that
    /// is so busy that it defers its software interrupts.
    pub(crate) pause: u8,
}

fn side(side: Side) -> usize {
    usize::from(side == Side::Server)
}

fn done<T>(result: io::Result<T>, answer: impl FnOnce(T) -> Answer) -> Answer {
    result.map_or_else(|e| Answer::Error(e.kind()), answer)
}

fn listen(kind: Kind) -> io::Result<Socket> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // As `common::listen` does. Accepted sockets inherit it, and the buffers.
    listener.set_out_of_band_inline(true)?;
    resize(&listener, kind)?;
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    listener.listen(128)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn resize(socket: &Socket, kind: Kind) -> io::Result<()> {
    if kind == Kind::Tight {
        socket.set_recv_buffer_size(SMALL[0])?;
        socket.set_send_buffer_size(SMALL[1])?;
    }
    Ok(())
}

fn address(addr: io::Result<socket2::SockAddr>) -> io::Result<SocketAddr> {
    addr?.as_socket().ok_or_else(|| io::Error::other("not an address of IP"))
}

fn epoll_event(token: usize, interest: Interest) -> EpollEvent {
    let flags = EpollFlags::from_bits_retain(interest.mask() as i32) | EpollFlags::EPOLLET;
    EpollEvent::new(flags, token as u64)
}

/// The same interest, by mio's own constants.
fn for_mio(interest: Interest) -> mio::Interest {
    let pairs = [
        (Interest::READABLE, mio::Interest::READABLE),
        (Interest::WRITABLE, mio::Interest::WRITABLE),
        (Interest::PRIORITY, mio::Interest::PRIORITY),
    ];
    let has = |ours: Interest| interest.mask() & ours.mask() != 0;
    let parts = pairs.into_iter().filter(|(ours, _)| has(*ours)).map(|(_, mios)| mios);
    parts.reduce(|all, one| all | one).expect("an interest is never empty")
}

impl Linux {
    pub(crate) fn new(kind: Kind) -> io::Result<Self> {
        let listener = listen(kind)?;
        let this = Self {
            kind,
            addr: address(listener.local_addr())?,
            listener: Some(listener),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            mio: mio::Poll::new()?,
            slots: Default::default(),
            pause: 0,
        };
        this.watch_listener()?;
        Ok(this)
    }

    fn watch_listener(&self) -> io::Result<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        self.epoll.add(listener, epoll_event(LISTENER, Interest::READABLE))?;
        let fd = listener.as_raw_fd();
        let (token, interest) = (mio::Token(LISTENER), mio::Interest::READABLE);
        self.mio.registry().register(&mut SourceFd(&fd), token, interest)
    }

    /// Makes everything as at the beginning, without connections in `TIME_WAIT` that would use up the ports.
    pub(crate) fn clear(&mut self) {
        for slot in &mut self.slots {
            for socket in std::mem::take(slot).ends.into_iter().flatten() {
                socket.set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
        match &self.listener {
            Some(listener) => while listener.accept().is_ok() {},
            None => *self = Self { pause: self.pause, ..Self::new(self.kind).unwrap() },
        }
        let mut events = [EpollEvent::empty(); 64];
        while self.epoll.wait(&mut events, 0u8).unwrap() > 0 {}
        self.mio.poll(&mut mio::Events::with_capacity(64), Some(Duration::ZERO)).unwrap();
    }

    pub(crate) fn call(&mut self, call: Call) -> Answer {
        let answer = self.answer(call);
        self.acknowledge();
        if self.pause > 0 {
            poll(&mut [], self.pause).unwrap();
        }
        answer.unwrap_or(Answer::LeftOut)
    }

    fn answer(&mut self, call: Call) -> Option<Answer> {
        match call {
            Call::Connect(name) => self.connect(name),
            Call::Accept => self.accept(),
            Call::Wait(most) => Some(self.wait(most)),
            Call::RearmListener => self.rearm_listener(),
            Call::StopListening => self.listener.take().map(|_| Answer::Done),
            Call::Register(name, _) | Call::Reregister(name, _) | Call::Deregister(name) => {
                self.control(name, call)
            }
            Call::Urgent(name) => self.urgent(name),
            Call::Write(name, side, n) => self.write(name, side, n),
            Call::Read(name, side, n) => self.read(name, side, n),
            Call::Fill(name, side) => self.fill(name, side),
            Call::Drain(name, side) => self.drain(name, side),
            Call::Shutdown(name, at)
            | Call::Close(name, at)
            | Call::Reset(name, at)
            | Call::TakeError(name, at)
            | Call::PeerName(name, at) => self.plain(name, at, call),
        }
    }

    /// Has everything acknowledged that has arrived: setting `TCP_QUICKACK` sends an acknowledgement that is due.
    fn acknowledge(&self) {
        for socket in self.slots.iter().flat_map(|slot| slot.ends.iter().flatten()) {
            // Where there is no connection any more there is nothing to acknowledge.
            let _ = socket.set_tcp_quickack(true);
        }
    }

    fn connect(&mut self, name: usize) -> Option<Answer> {
        let slot = &mut self.slots[name];
        if slot.addr.is_some() || self.listener.is_none() {
            return None;
        }
        let mut connect = || {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            client.set_nonblocking(true)?;
            client.set_tcp_nodelay(true)?;
            resize(&client, self.kind)?;
            let in_progress = client.connect(&self.addr.into()).expect_err("it did not wait");
            assert_eq!(in_progress.raw_os_error(), Some(nix::errno::Errno::EINPROGRESS as i32));
            address(client.peer_addr())?;
            slot.addr = Some(address(client.local_addr())?);
            slot.ends[0] = Some(client);
            Ok(())
        };
        Some(done(connect(), |()| Answer::Done))
    }

    fn accept(&mut self) -> Option<Answer> {
        let accepted = self.listener.as_ref()?.accept();
        Some(done(accepted, |(socket, addr)| {
            socket.set_nonblocking(true).unwrap();
            socket.set_tcp_nodelay(true).unwrap();
            let named = |slot: &Slot| slot.addr == addr.as_socket();
            let name = self.slots.iter().position(named).expect("it is of this script");
            self.slots[name].ends[1] = Some(socket);
            Answer::Accepted(name)
        }))
    }

    fn wait(&mut self, most: usize) -> Answer {
        let events = self.events(most);
        let mut of_mio = mio::Events::with_capacity(most);
        self.mio.poll(&mut of_mio, Some(Duration::ZERO)).unwrap();
        let ours = events.iter().map(|&(token, mask)| event::Event::new(Ready { token, mask }));
        match ours.map(|event| said(&event)).eq(of_mio.iter().map(said_by_mio)) {
            true => Answer::Events(events),
            false => Answer::OtherInMio(events),
        }
    }

    /// epoll_wait(2), without waiting.
    fn events(&self, most: usize) -> Vec<Event> {
        let mut events = vec![EpollEvent::empty(); most];
        let n = self.epoll.wait(&mut events, 0u8).unwrap();
        let told = |event: &EpollEvent| (event.data() as usize, event.events().bits() as u32);
        events[..n].iter().map(told).collect()
    }

    /// One more event, in the place of one that does not count.
    pub(crate) fn one_more_event(&mut self) -> Vec<Event> {
        match self.wait(1) {
            Answer::Events(events) | Answer::OtherInMio(events) => events,
            _ => Vec::new(),
        }
    }

    fn rearm_listener(&mut self) -> Option<Answer> {
        let listener = self.listener.as_ref()?;
        self.epoll.modify(listener, &mut epoll_event(LISTENER, Interest::READABLE)).unwrap();
        let fd = listener.as_raw_fd();
        let (token, interest) = (mio::Token(LISTENER), mio::Interest::READABLE);
        self.mio.registry().reregister(&mut SourceFd(&fd), token, interest).unwrap();
        Some(Answer::Done)
    }

    fn control(&mut self, name: usize, call: Call) -> Option<Answer> {
        let socket = self.slots[name].ends[1].as_ref()?;
        let fd = socket.as_raw_fd();
        let (source, registry, token) = (&mut SourceFd(&fd), self.mio.registry(), mio::Token(name));
        let (changed, in_mio) = match call {
            Call::Register(_, interest) => (
                self.epoll.add(socket, epoll_event(name, interest)),
                registry.register(source, token, for_mio(interest)),
            ),
            Call::Reregister(_, interest) => (
                self.epoll.modify(socket, &mut epoll_event(name, interest)),
                registry.reregister(source, token, for_mio(interest)),
            ),
            _ => (self.epoll.delete(socket), registry.deregister(source)),
        };
        assert_eq!(changed.is_ok(), in_mio.is_ok());
        Some(done(changed.map_err(io::Error::from), |()| Answer::Done))
    }

    fn urgent(&mut self, name: usize) -> Option<Answer> {
        let slot = &mut self.slots[name];
        let byte = written(name, Side::Client, slot.written[0], 1);
        let sent = slot.ends[0].as_ref()?.send_out_of_band(byte);
        slot.written[0] += usize::from(sent.is_ok());
        Some(done(sent, Answer::Count))
    }

    fn write(&mut self, name: usize, at: Side, n: usize) -> Option<Answer> {
        let slot = &mut self.slots[name];
        let first = slot.written[side(at)];
        let bytes = written(name, at, first, n);
        let taken = slot.ends[side(at)].as_ref()?.write(bytes);
        slot.written[side(at)] += taken.as_ref().unwrap_or(&0);
        Some(done(taken, Answer::Count))
    }

    fn read(&mut self, name: usize, at: Side, n: usize) -> Option<Answer> {
        let slot = &mut self.slots[name];
        let mut buf = vec![0; n];
        let read = slot.ends[side(at)].as_ref()?.read(&mut buf);
        Some(done(read, |n| {
            buf.truncate(n);
            let place = &mut slot.read[side(at)];
            let first = std::mem::replace(place, *place + n);
            bytes_read(name, at.other(), first, buf)
        }))
    }

    /// An acknowledgement can make room again: it is full when it is full at once.
    fn fill(&mut self, name: usize, at: Side) -> Option<Answer> {
        let mut taken = usize::MAX;
        while taken > 0 {
            taken = 0;
            loop {
                match self.write(name, at, 1024)? {
                    Answer::Error(ErrorKind::WouldBlock) => break,
                    Answer::Error(why) => return Some(Answer::Filled(why)),
                    _ => taken += 1,
                }
            }
            self.acknowledge();
        }
        Some(Answer::Filled(ErrorKind::WouldBlock))
    }

    fn drain(&mut self, name: usize, at: Side) -> Option<Answer> {
        let (this, other) = (side(at), side(at.other()));
        let patience = Instant::now() + PATIENCE;
        let end = loop {
            match self.read(name, at, MOST_BYTES)? {
                Answer::Bytes(bytes) if bytes.is_empty() => break Ok(()),
                Answer::Bytes(_) => {}
                Answer::Error(ErrorKind::WouldBlock) => {
                    let slot = &self.slots[name];
                    let all = slot.read[this] == slot.written[other] && !slot.fin[other];
                    if all || Instant::now() > patience {
                        break Err(ErrorKind::WouldBlock);
                    }
                    self.acknowledge();
                    let socket = slot.ends[this].as_ref()?;
                    poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], 10u8).unwrap();
                }
                Answer::Error(why) => break Err(why),
                other => return Some(other),
            }
        };
        let slot = &self.slots[name];
        Some(Answer::Drained { all: Some(slot.read[this] == slot.written[other]), end })
    }

    fn plain(&mut self, name: usize, at: Side, call: Call) -> Option<Answer> {
        let slot = &mut self.slots[name];
        let socket = slot.ends[side(at)].as_ref()?;
        match call {
            Call::Shutdown(..) => {
                slot.fin[side(at)] = true;
                return Some(done(socket.shutdown(std::net::Shutdown::Write), |()| Answer::Done));
            }
            Call::TakeError(..) => {
                let pending = socket.take_error();
                return Some(done(pending, |e| Answer::Pending(e.map(|e| e.kind()))));
            }
            Call::PeerName(..) => return Some(done(socket.peer_addr(), |_| Answer::Done)),
            Call::Reset(..) => socket.set_linger(Some(Duration::ZERO)).unwrap(),
            _ => {}
        }
        slot.fin[side(at)] = true;
        slot.ends[side(at)] = None;
        Some(Answer::Done)
    }
}

/// All that mio's event can be asked, in order.
fn said(event: &event::Event) -> (usize, [bool; 6]) {
    let answers = [
        event.is_readable(),
        event.is_writable(),
        event.is_error(),
        event.is_read_closed(),
        event.is_write_closed(),
        event.is_priority(),
    ];
    (event.token().0, answers)
}

fn said_by_mio(event: &mio::event::Event) -> (usize, [bool; 6]) {
    let answers = [
        event.is_readable(),
        event.is_writable(),
        event.is_error(),
        event.is_read_closed(),
        event.is_write_closed(),
        event.is_priority(),
    ];
    (event.token().0, answers)
}

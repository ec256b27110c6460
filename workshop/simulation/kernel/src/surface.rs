//! The types of mio that the stages name.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use crate::kernel::{Ready, SERVER, Source};
use crate::tcp::{ERR, HUP, IN, OUT, PRI, RDHUP};
use crate::{Call, Kernel, World, with};

/// As in mio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub usize);

/// As in mio: always with an edge trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(u32);

impl Interest {
    /// mio adds `EPOLLRDHUP`.
    pub const READABLE: Self = Self(IN | RDHUP);
    /// See mio.
    pub const WRITABLE: Self = Self(OUT);
    /// See mio.
    pub const PRIORITY: Self = Self(PRI);

    /// As epoll_ctl(2) has it, without `EPOLLET`.
    pub const fn mask(self) -> u32 {
        self.0
    }
}

impl std::ops::BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// As in mio.
#[derive(Debug)]
pub struct Events {
    events: Vec<event::Event>,
    ready: Vec<Ready>,
    capacity: usize,
}

impl Events {
    /// See mio.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { events: Vec::new(), ready: Vec::new(), capacity }
    }

    /// See mio.
    pub fn iter(&self) -> std::slice::Iter<'_, event::Event> {
        self.events.iter()
    }
}

impl<'a> IntoIterator for &'a Events {
    type Item = &'a event::Event;
    type IntoIter = std::slice::Iter<'a, event::Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// mio's module `event`.
pub mod event {
    use super::*;

    /// As in mio, for epoll: see `src/sys/unix/selector/epoll.rs` there.
    #[derive(Debug)]
    pub struct Event(pub(super) Ready);

    impl Event {
        /// An event, to be asked.
        pub fn new(ready: Ready) -> Self {
            Self(ready)
        }

        fn has(&self, mask: u32) -> bool {
            self.0.mask & mask == mask
        }

        /// See mio.
        pub fn token(&self) -> Token {
            Token(self.0.token)
        }

        /// See mio.
        pub fn is_readable(&self) -> bool {
            self.has(IN) || self.has(PRI)
        }

        /// See mio.
        pub fn is_writable(&self) -> bool {
            self.has(OUT)
        }

        /// See mio.
        pub fn is_error(&self) -> bool {
            self.has(ERR)
        }

        /// See mio.
        pub fn is_read_closed(&self) -> bool {
            self.has(HUP) || self.has(IN | RDHUP)
        }

        /// See mio.
        pub fn is_write_closed(&self) -> bool {
            self.has(HUP) || self.has(OUT | ERR) || self.0.mask == ERR
        }

        /// See mio.
        pub fn is_priority(&self) -> bool {
            self.has(PRI)
        }
    }

    /// What can be registered.
    pub trait Source {
        /// What the kernel knows it as.
        fn source(&self) -> crate::kernel::Source;
    }
}

/// As in mio.
#[derive(Debug)]
pub struct Poll(Registry);

/// As in mio.
#[derive(Debug)]
pub struct Registry(());

impl Poll {
    /// # Errors
    ///
    /// None.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Registry(())))
    }

    /// See mio.
    pub fn registry(&self) -> &Registry {
        &self.0
    }

    /// epoll_wait(2). Its timeout is in milliseconds, and mio rounds up: a server never wakes too early.
    ///
    /// # Errors
    ///
    /// `EINTR`; or the history is over.
    pub fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let timeout =
            timeout.map(|time| Duration::from_millis(time.as_nanos().div_ceil(1_000_000) as u64));
        events.events.clear();
        with(|kernel, world| {
            world.wait(kernel, timeout)?;
            kernel.take_events(events.capacity, &mut events.ready);
            world.polled(kernel, &events.ready);
            events.events.extend(events.ready.iter().map(|&ready| event::Event(ready)));
            Ok(())
        })
        .unwrap_or_else(over)
    }
}

impl Registry {
    /// epoll_ctl(2), `EPOLL_CTL_ADD`.
    ///
    /// # Errors
    ///
    /// `EEXIST`: it is registered. `ENOSPC`.
    pub fn register(
        &self,
        what: &mut impl event::Source,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        call(|kernel, world| {
            kernel.watch(what.source(), token.0, interest.0)?;
            if let Source::Connection(id) = what.source() {
                world.after_call(kernel, Call::Watch(id, token.0));
            }
            Ok(())
        })
    }

    /// epoll_ctl(2), `EPOLL_CTL_MOD`.
    ///
    /// # Errors
    ///
    /// `ENOENT`: it was not registered.
    pub fn reregister(
        &self,
        what: &mut impl event::Source,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        call(|kernel, _| kernel.rewatch(what.source(), token.0, interest.0))
    }

    /// epoll_ctl(2), `EPOLL_CTL_DEL`.
    ///
    /// # Errors
    ///
    /// `ENOENT`: it was not registered.
    pub fn deregister(&self, what: &mut impl event::Source) -> io::Result<()> {
        call(|kernel, _| kernel.unwatch(what.source()))
    }
}

fn over<T>() -> io::Result<T> {
    Err(io::Error::other("there is no history"))
}

/// A system call of the server.
fn call<T>(f: impl FnOnce(&mut Kernel, &mut dyn World) -> io::Result<T>) -> io::Result<T> {
    with(|kernel, world| {
        kernel.calls += 1;
        world.before_call(kernel);
        let answer = f(kernel, world);
        world.answered(kernel, answer.as_ref().err().map(io::Error::kind));
        answer
    })
    .unwrap_or_else(over)
}

fn kind<T: Copy>(result: &io::Result<T>) -> Result<T, ErrorKind> {
    result.as_ref().map(|&value| value).map_err(io::Error::kind)
}

/// As in mio.
#[derive(Debug)]
pub struct TcpListener(());

impl TcpListener {
    /// The listener of the kernel; the real one is only there to be of the right type.
    pub fn from_std(_: std::net::TcpListener) -> Self {
        Self(())
    }

    /// accept(2)
    ///
    /// # Errors
    ///
    /// As accept(2).
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        call(|kernel, world| {
            let accepted = kernel.accept();
            let what = match &accepted {
                Ok(id) => Call::Accept(*id),
                Err(e) => Call::NoAccept(e.kind()),
            };
            world.after_call(kernel, what);
            accepted.map(|id| (TcpStream(id), address(id)))
        })
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        with(|kernel, world| {
            kernel.close_listener();
            world.after_call(kernel, Call::StopListening);
        });
    }
}

impl event::Source for TcpListener {
    fn source(&self) -> Source {
        Source::Listener
    }
}

fn address(id: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 10_000 + (id % 50_000) as u16))
}

/// As in mio.
#[derive(Debug)]
pub struct TcpStream(usize);

impl TcpStream {
    /// connect(2), without waiting for the answer. `EINPROGRESS` is no error, as in mio.
    ///
    /// # Errors
    ///
    /// No descriptor.
    pub fn connect(addr: SocketAddr) -> io::Result<Self> {
        call(|kernel, world| {
            let dialed = kernel.dial();
            match &dialed {
                Ok(id) => world.dialed(kernel, *id, addr),
                Err(e) => world.after_call(kernel, Call::NoDial(addr, e.kind())),
            }
            dialed.map(Self)
        })
    }

    /// getsockopt(2), `SO_ERROR`.
    ///
    /// # Errors
    ///
    /// None: the pending error is the value.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        call(|kernel, _| Ok(kernel.take_error(self.0, SERVER).map(io::Error::from)))
    }

    /// setsockopt(2), `TCP_NODELAY`.
    ///
    /// # Errors
    ///
    /// `ENOBUFS`, when the schedule says so.
    pub fn set_nodelay(&self, _: bool) -> io::Result<()> {
        call(|kernel, _| match kernel.no_memory_for_options {
            true => Err(io::Error::from_raw_os_error(crate::kernel::ENOBUFS)),
            false => Ok(()),
        })
    }

    /// getpeername(2)
    ///
    /// # Errors
    ///
    /// `ENOTCONN` before the peer has answered, after a reset, and after both FINs.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        call(|kernel, _| match kernel.connections[self.0].ends[SERVER].has_peer() {
            true => Ok(address(self.0)),
            false => Err(ErrorKind::NotConnected.into()),
        })
    }

    /// shutdown(2), for writing: the stages use no other.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` after a reset, and after both FINs.
    pub fn shutdown(&self, _: Shutdown) -> io::Result<()> {
        call(|kernel, world| {
            kernel.shutdown(self.0, SERVER)?;
            world.after_call(kernel, Call::Shutdown(self.0));
            Ok(())
        })
    }
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        call(|kernel, world| {
            let read = kernel.read(self.0, SERVER, buf);
            kernel.progress += u64::from(read.is_ok());
            let last = read.as_ref().map_or(0, |&n| n.checked_sub(1).map_or(0, |i| buf[i]));
            world.after_call(kernel, Call::Read(self.0, kind(&read), last));
            read
        })
    }
}

impl Write for TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        call(|kernel, world| {
            let written = kernel.write(self.0, SERVER, buf);
            kernel.progress += u64::from(written.is_ok());
            world.after_call(
                kernel,
                Call::Write(self.0, buf.first().copied().unwrap_or_default(), kind(&written)),
            );
            written
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        with(|kernel, world| {
            kernel.close_server_end(self.0);
            world.after_call(kernel, Call::Close(self.0));
        });
    }
}

impl event::Source for TcpStream {
    fn source(&self) -> Source {
        Source::Connection(self.0)
    }
}

/// What `common::signals` gives.
#[derive(Debug)]
pub struct Signals;

/// As in mio, for the signals.
#[derive(Debug)]
pub struct UnixStream(());

impl UnixStream {
    /// The signals of the kernel.
    pub fn from_std(_: Signals) -> Self {
        Self(())
    }
}

impl Read for UnixStream {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        call(|kernel, _| kernel.take_signal())
    }
}

impl event::Source for UnixStream {
    fn source(&self) -> Source {
        Source::Signals
    }
}

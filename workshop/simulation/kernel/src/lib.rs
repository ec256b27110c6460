//! mio's surface, as far as stages 5 and 6 use it, over a kernel that does what a schedule says.
//!
//! One thread, one kernel, one world: they belong to the thread, as the real kernel belongs to the machine. The
//! stages call `Poll::poll`, `TcpStream::read` and so on as ever; each call goes to the [`World`] first, which may let
//! something happen, and then to the [`Kernel`]. What is not decided here is decided by [`choices::Choices`].
//!
//! What Linux does stands in [`kernel`] and [`tcp`], each rule with its source. `tests/conformance` plays the same
//! calls on this kernel and on Linux.

pub mod choices;
pub mod kernel;
/// mio's sockets.
pub mod net {
    pub use crate::surface::{TcpListener, TcpStream, UnixStream};
}
mod surface;
pub mod tcp;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub use kernel::Kernel;
pub use surface::{Events, Interest, Poll, Registry, Signals, Token, event};

/// What is outside of the server and is not the kernel: the clients, the clock, the schedule.
pub trait World: std::any::Any {
    /// The server is about to make a system call. The world may let others act first.
    fn before_call(&mut self, kernel: &mut Kernel);

    /// The server waits in `epoll_wait(2)`. On return the kernel may have events.
    ///
    /// # Errors
    ///
    /// `EINTR`; or the history is over.
    fn wait(&mut self, kernel: &mut Kernel, timeout: Option<Duration>) -> io::Result<()>;

    /// The server has nothing more to do in this turn, and so many clients.
    fn turn_ends(&mut self, kernel: &mut Kernel, clients: usize);

    /// The server has scheduled a timer, and so many are in its queue.
    fn scheduled(&mut self, _: &mut Kernel, _: usize) {}

    /// The server has let go of a client.
    fn reported(&mut self, kernel: &mut Kernel, end: &io::Result<()>);

    /// The server has read, written, closed … (see [`Call`]).
    fn after_call(&mut self, kernel: &mut Kernel, call: Call);

    /// The program has called connect(2). The world lets the peer answer when it likes: see [`Kernel::establish`].
    fn dialed(&mut self, kernel: &mut Kernel, id: usize, addr: SocketAddr) {
        let _ = (kernel, id, addr);
    }

    /// These events the server has got.
    fn polled(&mut self, _: &mut Kernel, _: &[kernel::Ready]) {}

    /// A system call has failed, or has not. With [`World::after_call`] and [`World::polled`] that is all that the
    /// server has got to know, except for the time.
    fn answered(&mut self, _: &mut Kernel, _: Option<io::ErrorKind>) {}
}

/// A system call of the server about one client, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// So many bytes; 0 is the end. And the last of them.
    Read(usize, Result<usize, io::ErrorKind>, u8),
    /// The first of the bytes, and how many were taken.
    Write(usize, u8, Result<usize, io::ErrorKind>),
    /// It has sent its FIN.
    Shutdown(usize),
    /// It has closed.
    Close(usize),
    /// It has taken the client in.
    Accept(usize),
    /// It has asked the poller to watch the client, under this token.
    Watch(usize, usize),
    /// accept(2) has failed.
    NoAccept(io::ErrorKind),
    /// It no longer listens.
    StopListening,
    /// connect(2) has failed at once.
    NoDial(SocketAddr, io::ErrorKind),
}

thread_local! {
    static SIMULATION: RefCell<Option<(Kernel, Box<dyn World>)>> = const { RefCell::new(None) };
}

/// Plays a history: runs `server` on a kernel, in a world. Returns both, to be looked at, and what it returned.
pub fn play<T>(
    kernel: Kernel,
    world: Box<dyn World>,
    server: impl FnOnce() -> T,
) -> (Kernel, Box<dyn World>, T) {
    SIMULATION.with_borrow_mut(|simulation| *simulation = Some((kernel, world)));
    let end = server();
    let (kernel, world) = SIMULATION.take().expect("it was put there above");
    (kernel, world, end)
}

pub(crate) fn with<T>(f: impl FnOnce(&mut Kernel, &mut dyn World) -> T) -> Option<T> {
    SIMULATION.with_borrow_mut(|simulation| {
        let (kernel, world) = simulation.as_mut()?;
        Some(f(kernel, &mut **world))
    })
}

/// The clock of the simulation.
pub fn now() -> Instant {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    let since = with(|kernel, _| kernel.now).unwrap_or_default();
    *BEGINNING.get_or_init(Instant::now) + since
}

/// See [`World::turn_ends`].
pub fn turn_ends(clients: usize) {
    with(|kernel, world| world.turn_ends(kernel, clients));
}

/// See [`World::scheduled`].
pub fn scheduled(timers: usize) {
    with(|kernel, world| world.scheduled(kernel, timers));
}

/// See [`World::reported`].
pub fn reported(end: &io::Result<()>) {
    with(|kernel, world| world.reported(kernel, end));
}

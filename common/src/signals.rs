//! Ctrl-C and its relatives, as bytes that a loop can wait for.

use std::io;

#[cfg(not(unix))]
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;

// ANCHOR: signals
/// From now on SIGINT and SIGTERM do not end the process. Each writes a byte into one end of a pair of
/// sockets. This is the other end, and it does not block. (SIGHUP stays what it was, for `nohup`.)
///
/// A signal comes between any two instructions, so its handler may do next to nothing
/// (signal-safety(7)). But it may write. This is known as the self-pipe trick. A flag would not do: if the
/// signal comes when a loop has looked at the flag and is about to sleep, it sleeps all the same.
///
/// # Errors
///
/// If there are no descriptors for it (`EMFILE`): four are needed, and one of them is given back.
#[cfg(unix)]
pub fn signals() -> io::Result<UnixStream> {
    use nix::sys::signal::{SigSet, Signal};
    use signal_hook::consts::{SIGINT, SIGTERM};

    let (ours, handlers) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM] {
        signal_hook::low_level::pipe::register(signal, handlers.try_clone()?)?;
    }
    // A parent that has blocked them has blocked them for us too: the mask is inherited (execve(2)).
    SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]).thread_unblock()?;
    ours.set_nonblocking(true)?;
    Ok(ours)
}
// ANCHOR_END: signals

/// The same for Windows, which calls the handler of Ctrl-C on a thread of its own, and where a pair of
/// sockets has to be made by hand.
///
/// # Errors
///
/// If there is no port for it, or if another process on this machine connects to that port first.
#[cfg(not(unix))]
pub fn signals() -> io::Result<TcpStream> {
    use std::io::Write;

    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut handler = TcpStream::connect(listener.local_addr()?)?;
    let (ours, peer) = listener.accept()?;
    if peer != handler.local_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    ours.set_nonblocking(true)?;
    let send = move || drop(handler.write(b"X")); // it fails when we have ended
    ctrlc::set_handler(send).map_err(io::Error::other)?;
    Ok(ours)
}

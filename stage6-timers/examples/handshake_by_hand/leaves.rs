//! The two futures that wait for the reactor: a socket and a sleep. All others are made of these.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use mio::{Interest, Token};

use super::executor::{forget, wake_on, with_reactor};

/// A connection whose calls return futures.
pub(crate) struct TcpStream {
    stream: mio::net::TcpStream,
    token: Token,
}

pub(crate) async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = mio::net::TcpStream::connect(addr)?;
    let token = with_reactor(|reactor| {
        let token = reactor.new_token();
        let interest = Interest::READABLE | Interest::WRITABLE;
        reactor.poll.registry().register(&mut stream, token, interest).map(|()| token)
    })?;
    let mut stream = TcpStream { stream, token };
    stream.try_until_ready(is_connected).await?;
    Ok(stream)
}

impl TcpStream {
    pub(crate) async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.try_until_ready(|stream| stream.read(buf)).await
    }

    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_until_ready(|stream| stream.write(bytes)).await? {
                0 => return Err(ErrorKind::WriteZero.into()),
                n => bytes = &bytes[n..],
            }
        }
        Ok(())
    }

    // ANCHOR: try_until_ready
    /// Makes a call; if the kernel says `EAGAIN`, makes it again after the next event.
    ///
    /// Every `.await` on a socket ends here. Edge triggering demands this order: first try, then wait.
    /// After `EAGAIN` the kernel owes us an event, and that event cannot get lost between the call and
    /// `wake_on`: the executor takes events only when all tasks wait.
    async fn try_until_ready<T>(
        &mut self,
        mut call: impl FnMut(&mut mio::net::TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        poll_fn(|context| {
            loop {
                return match call(&mut self.stream) {
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {
                        wake_on(self.token, context);
                        Poll::Pending
                    }
                    Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                    done => Poll::Ready(done),
                };
            }
        })
        .await
    }
    // ANCHOR_END: try_until_ready
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        forget(self.token);
    }
}

/// Whether connect(2), which did not wait, has got there: see `handshake/watched.rs`. Here we also ask
/// once before the first event. That costs one call and does no harm: the answer is "not yet".
fn is_connected(stream: &mut mio::net::TcpStream) -> io::Result<()> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Err(e) if e.kind() == ErrorKind::NotConnected => Err(ErrorKind::WouldBlock.into()),
        done => done.and_then(|_| common::refuse_self(&*stream)),
    }
}

/// A point in time to wait for.
struct Sleep {
    until: Instant,
    token: Token,
}

pub(crate) fn sleep(time: Duration) -> impl Future<Output = ()> {
    let until = Instant::now() + time;
    let token = with_reactor(|reactor| {
        let token = reactor.new_token();
        reactor.timers.schedule(until, token);
        token
    });
    Sleep { until, token }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.until {
            return Poll::Ready(());
        }
        wake_on(self.token, context);
        Poll::Pending
    }
}

impl Drop for Sleep {
    /// The timer stays. When it is due, it finds no waker.
    fn drop(&mut self) {
        forget(self.token);
    }
}

/// The time ran out first.
pub(crate) struct Elapsed;

// ANCHOR: timeout
/// Lets `future` run for at most `time`. If it takes longer, it is dropped in the middle.
pub(crate) async fn timeout<F: Future>(time: Duration, future: F) -> Result<F::Output, Elapsed> {
    let (mut future, mut sleep) = (pin!(future), pin!(sleep(time)));
    poll_fn(|context| {
        // First the clock, then the last look: an answer that is there counts, however late we are.
        let elapsed = sleep.as_mut().poll(context);
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => elapsed.map(|()| Err(Elapsed)),
        }
    })
    .await
}
// ANCHOR_END: timeout

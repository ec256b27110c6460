//! The executor with wakers that are not its own. Waking one runs code, and so does dropping one.

use std::future::{Future, poll_fn};
use std::io::Write;
use std::net::TcpListener;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::executor::run;
use crate::leaves::{TcpStream, connect, sleep};

const MOMENT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(3600);

/// A waker that uses the reactor: when it wakes, it drops a socket; when it is dropped, it begins a
/// sleep and drops that.
struct Touchy {
    socket: Mutex<Option<TcpStream>>,
    /// The task that it wakes.
    task: Waker,
}

impl Wake for Touchy {
    fn wake(self: Arc<Self>) {
        self.socket.lock().expect("there is one thread").take();
        self.task.wake_by_ref();
    }
}

impl Drop for Touchy {
    fn drop(&mut self) {
        drop(sleep(MOMENT));
    }
}

/// Polls a future with a waker of this kind.
fn poll<F: Future>(
    future: Pin<&mut F>,
    socket: Option<TcpStream>,
    context: &Context<'_>,
) -> Poll<F::Output> {
    let touchy = Touchy { socket: Mutex::new(socket), task: context.waker().clone() };
    future.poll(&mut Context::from_waker(&Waker::from(Arc::new(touchy))))
}

#[test]
fn a_timer_may_wake_code_that_uses_the_reactor() {
    let task = async {
        let mut sleep = pin!(sleep(MOMENT));
        poll_fn(|context| poll(sleep.as_mut(), None, context)).await;
    };
    run([task]).unwrap();
}

#[test]
fn an_event_may_wake_code_that_drops_another_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let task = async {
        let (mut stream, other) = (connect(addr).await?, connect(addr).await?);
        let (mut peer, mut buf, mut other) = (listener.accept()?.0, [0; 9], Some(other));
        let mut read = pin!(stream.read(&mut buf));
        poll_fn(|context| {
            let socket = other.take();
            let is_first = socket.is_some();
            let n = poll(read.as_mut(), socket, context);
            // Now it waits, and its event may come.
            if is_first {
                peer.write_all(b"wake up\n")?;
            }
            n
        })
        .await
    };
    assert_eq!(run([task]).unwrap().pop().unwrap().unwrap(), 8);
}

#[test]
fn a_waker_may_use_the_reactor_when_it_is_replaced_and_when_it_is_forgotten() {
    let task = async {
        let mut sleep = Box::pin(sleep(LONG));
        poll_fn(|context| {
            assert!(poll(sleep.as_mut(), None, context).is_pending());
            assert!(poll(sleep.as_mut(), None, context).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(sleep);
    };
    run([task]).unwrap();
}

#[test]
fn a_waker_may_use_the_reactor_when_the_next_run_begins() {
    let task = || async {
        let mut sleep = Box::pin(sleep(LONG));
        poll_fn(|context| Poll::Ready(poll(sleep.as_mut(), None, context).is_pending())).await;
        Some(sleep)
    };
    // A sleep that is still under way outlives its run, and so does its waker.
    let _waiting = run([task()]).unwrap();
    run([task()]).unwrap();
}

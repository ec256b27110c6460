//! What runs the futures: a list of tasks, and the loop of stage 6.
//!
//! A future is a value with a method `poll`. `poll` goes on until the future is done (`Ready`) or has to
//! wait (`Pending`). Before it says `Pending`, the future leaves its *waker* with the [`Reactor`], which
//! knows what it waits for. So an executor is a loop: poll the tasks that have been woken, then sleep
//! until another one is.
//!
//! ```text
//!   ┌─▶ poll each woken task ──▶ sleep until an event or a timer ──▶ wake its task ─┐
//!   └───────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::iter;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use mio::event::Event;
use mio::{Events, Token};

use super::timers::Timers;

/// How many events we take from the kernel at a time. The others keep until the next turn.
const EVENTS_PER_TURN: usize = 256;

thread_local! {
    /// The reactor of this thread. A future finds it here, so no call has to pass it on.
    static REACTOR: RefCell<Option<Reactor>> = const { RefCell::new(None) };
}

/// Knows which task waits for what. Every socket and every timer has a token of its own.
pub(crate) struct Reactor {
    pub(crate) poll: mio::Poll,
    pub(crate) timers: Timers<Token>,
    wakers: HashMap<Token, Waker>,
    last_token: usize,
}

impl Reactor {
    pub(crate) fn new_token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }

    // ANCHOR: sleep
    /// Sleeps in `epoll_wait(2)` or its like until there is an event or a timer is due. Returns the
    /// wakers of the tasks that wait for one of them. An event for which no task waits need not be kept:
    /// a task makes its call first, and waits only after `EAGAIN`.
    fn sleep(&mut self, events: &mut Events) -> io::Result<Vec<Waker>> {
        match self.poll.poll(events, self.timers.sleep_for(Instant::now())) {
            // A signal cut the sleep short, and no events were taken. The next turn sleeps on.
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(Vec::new()),
            done => done?,
        }
        let now = Instant::now();
        let due = iter::from_fn(|| self.timers.pop_due(now)).map(|(_, token)| token);
        let tokens = events.iter().map(Event::token).chain(due);
        Ok(tokens.filter_map(|token| self.wakers.remove(&token)).collect())
    }
    // ANCHOR_END: sleep
}

// ANCHOR: with_reactor
/// Lets `f` use the reactor of this thread. The reactor is borrowed meanwhile, and the code behind a
/// waker may need it too, so `f` must not wake, clone or drop a waker. It can return one.
pub(crate) fn with_reactor<T>(f: impl FnOnce(&mut Reactor) -> T) -> T {
    REACTOR.with_borrow_mut(|reactor| f(reactor.as_mut().expect("called from within `run`")))
}

/// The next event or timer with this token will wake the task that `context` belongs to.
pub(crate) fn wake_on(token: Token, context: &Context<'_>) {
    let waker = context.waker().clone();
    drop(with_reactor(|reactor| reactor.wakers.insert(token, waker)));
}

/// No task waits for this token any more.
pub(crate) fn forget(token: Token) {
    drop(with_reactor(|reactor| reactor.wakers.remove(&token)));
}
// ANCHOR_END: with_reactor

// ANCHOR: tasks
/// What a waker does: it puts a number on the list of tasks to poll.
struct TaskWaker {
    task: usize,
    woken: mpsc::Sender<usize>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        // After the end of `run` there is no list any more, and no task to poll.
        let _ = self.woken.send(self.task);
    }
}

/// Keeps a future while it waits. The compiler has made the future an enum with a variant for each
/// `.await`. The enum may point into itself, so it must not move: it is pinned in a box.
struct Task<F: Future> {
    /// `None`: it is done.
    future: Option<Pin<Box<F>>>,
    waker: Waker,
    output: Option<F::Output>,
}

/// Runs all futures on this thread until each is done. Their outputs come in the same order.
pub(crate) fn run<F: Future>(futures: impl IntoIterator<Item = F>) -> io::Result<Vec<F::Output>> {
    let reactor = Reactor {
        poll: mio::Poll::new()?,
        timers: Timers::new(),
        wakers: HashMap::new(),
        last_token: 0,
    };
    // Not `set`: that drops what is left of an earlier run while the reactor is borrowed.
    drop(REACTOR.replace(Some(reactor)));
    let (woken, to_poll) = mpsc::channel();
    let mut tasks = Vec::new();
    for (task, future) in futures.into_iter().enumerate() {
        let waker = Waker::from(Arc::new(TaskWaker { task, woken: woken.clone() }));
        waker.wake_by_ref(); // every task is polled once
        tasks.push(Task { future: Some(Box::pin(future)), waker, output: None });
    }
    let mut events = Events::with_capacity(EVENTS_PER_TURN);
    let mut open = tasks.len();
    while open > 0 {
        while let Ok(task) = to_poll.try_recv() {
            open -= usize::from(tasks[task].poll());
        }
        if open > 0 {
            let awake = with_reactor(|reactor| reactor.sleep(&mut events))?;
            awake.into_iter().for_each(Waker::wake);
        }
    }
    Ok(tasks.into_iter().filter_map(|task| task.output).collect())
}

impl<F: Future> Task<F> {
    /// Lets the future go on. True if it is done now.
    fn poll(&mut self) -> bool {
        // An event and a timer can both wake a task, and the task can be done after the first.
        let Some(future) = &mut self.future else { return false };
        let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&self.waker))
        else {
            return false;
        };
        (self.future, self.output) = (None, Some(output));
        true
    }
}
// ANCHOR_END: tasks

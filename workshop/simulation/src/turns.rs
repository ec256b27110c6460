//! A history as the turns of the loop: what a property of your own looks at.

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::time::Duration;

use simulated_kernel::{Kernel, World};

pub use simulated_kernel::Call;

use crate::{Choices, Clients, Rules, Stage, listener, options, rules, run, server_of};

/// `RETRY_PAUSE` of a server, and what a timer is late at most.
const PAUSE: Duration = Duration::from_millis(1_001);

/// One turn of the loop: from the moment at which the poller gives out its events to the next call of the poller.
///
/// A turn whose sleep a signal has cut short (`EINTR`) is left out, since the server got no events for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// When the poller gave out its events, counted from the beginning of the history.
    pub at: Duration,
    /// How many clients waited in the backlog at that moment.
    pub waiting: usize,
    /// How many clients the server had taken in and not closed at that moment.
    pub clients: usize,
    /// `--max-connections`.
    pub max_connections: usize,
    /// What the server did in this turn, one system call after the other.
    pub calls: Vec<Call>,
    /// Whether the server may leave accept(2) alone for a while, since asking again would get the same answer: the
    /// kernel has had no descriptor or no memory for a client within the last second, and no client has left since.
    pub may_pause: bool,
}

/// Plays one history, and returns the turns of the loop in it.
pub fn turns(stage: Stage, choices: Choices) -> Vec<Turn> {
    turns_with(stage, choices, server_of(stage))
}

/// Plays one history of a server that promises what a stage does, and returns the turns of the loop in it.
pub fn turns_with(
    stage: Stage,
    mut choices: Choices,
    server: impl FnOnce(TcpListener, common::cli::Timed) -> io::Result<()>,
) -> Vec<Turn> {
    let rules = rules(stage, &mut choices);
    let options = options(&rules);
    let clients = Clients::new(&mut choices, rules.clone());
    let mut kernel = Kernel::new(choices);
    clients.prepare(&mut kernel);
    let recorder = Recorder::new(clients, &rules);
    let (_, recorder, _) = run(kernel, recorder, || server(listener(), options));
    recorder.turns
}

/// A world that writes down what the server does.
#[derive(Debug)]
struct Recorder {
    clients: Clients,
    max_connections: usize,
    turns: Vec<Turn>,
    /// The turn that goes on.
    turn: Option<Turn>,
    /// How many clients are accepted and not closed.
    here: usize,
    last: Option<Call>,
    /// When there was no descriptor or no memory for a client, if no client has left since.
    shortage_at: Option<Duration>,
}

impl Recorder {
    fn new(clients: Clients, rules: &Rules) -> Self {
        Self {
            clients,
            max_connections: rules.max_connections,
            turns: Vec::new(),
            turn: None,
            here: 0,
            last: None,
            shortage_at: None,
        }
    }

    fn called(&mut self, now: Duration, call: Call) {
        match call {
            Call::Accept(_) => (self.here, self.shortage_at) = (self.here + 1, None),
            Call::NoAccept(ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {}
            Call::NoAccept(_) => self.shortage_at = Some(now),
            Call::Close(id) => {
                self.here -= 1;
                // The poller could not watch it, so it is closed as soon as it was taken in.
                let is_turned_away = self.last == Some(Call::Accept(id));
                self.shortage_at = is_turned_away.then_some(now);
            }
            Call::Read(..) | Call::Write(..) | Call::Shutdown(_) | Call::StopListening => {}
            Call::Watch(..) | Call::NoDial(..) => {}
        }
        self.last = Some(call);
        if let Some(turn) = &mut self.turn {
            turn.calls.push(call);
        }
    }

    fn turn_is_over(&mut self, now: Duration) {
        let may_pause = self.shortage_at.is_some_and(|at| now < at + PAUSE);
        self.turns.extend(self.turn.take().map(|turn| Turn { may_pause, ..turn }));
        self.last = None;
    }

    fn turn_begins(&mut self, kernel: &Kernel) {
        self.turn = Some(Turn {
            at: kernel.now,
            waiting: kernel.backlog.len(),
            clients: self.here,
            max_connections: self.max_connections,
            calls: Vec::new(),
            may_pause: false,
        });
    }
}

impl World for Recorder {
    fn before_call(&mut self, kernel: &mut Kernel) {
        self.clients.before_call(kernel);
    }

    fn wait(&mut self, kernel: &mut Kernel, timeout: Option<Duration>) -> io::Result<()> {
        self.turn_is_over(kernel.now);
        self.clients.wait(kernel, timeout)?;
        self.turn_begins(kernel);
        Ok(())
    }

    fn turn_ends(&mut self, kernel: &mut Kernel, clients: usize) {
        self.clients.turn_ends(kernel, clients);
    }

    fn reported(&mut self, kernel: &mut Kernel, end: &io::Result<()>) {
        self.clients.reported(kernel, end);
    }

    fn after_call(&mut self, kernel: &mut Kernel, call: Call) {
        self.called(kernel.now, call);
        self.clients.after_call(kernel, call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a server may pause so much later than a turn with these calls.
    fn may_pause_after(calls: &[Call], later: Duration) -> bool {
        let mut choices = Choices::given(Vec::new());
        let rules = rules(Stage::Five, &mut choices);
        let mut recorder = Recorder::new(Clients::new(&mut choices, rules.clone()), &rules);
        recorder.here = 9;
        recorder.turn_begins(&Kernel::new(choices));
        calls.iter().for_each(|&call| recorder.called(Duration::ZERO, call));
        recorder.turn_is_over(later);
        assert_eq!(recorder.turns[0].calls, calls);
        recorder.turns[0].may_pause
    }

    #[test]
    fn a_server_may_pause_for_a_second_after_a_shortage_unless_a_client_leaves() {
        let short = Call::NoAccept(ErrorKind::Other);
        let second = Duration::from_secs(1);
        assert!(may_pause_after(&[short], second));
        assert!(!may_pause_after(&[short], 2 * second));
        assert!(!may_pause_after(&[short, Call::Close(3)], Duration::ZERO));
        assert!(may_pause_after(&[Call::Accept(3), Call::Close(3)], Duration::ZERO));
        assert!(!may_pause_after(&[Call::NoAccept(ErrorKind::WouldBlock)], Duration::ZERO));
    }
}

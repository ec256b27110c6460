//! The promises by name: what is watched, and what that cannot see.

/// A promise of a server, as a history that breaks it calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// A short sentence.
    pub name: &'static str,
    /// When it is broken.
    pub sees: &'static str,
    /// What it lets pass.
    pub misses: &'static str,
}

const fn promise(name: &'static str, sees: &'static str, misses: &'static str) -> Promise {
    Promise { name, sees, misses }
}

/// All promises.
pub const PROMISES: [Promise; 32] = [
    promise(
        "the echo is an exact prefix",
        "A client compares each byte with what it has sent at that place.",
        "A client that never reads compares nothing.",
    ),
    promise(
        "the echo is complete after a half-close",
        "A client that has half-closed reads an end too early, or waits for one when the world is quiet.",
        "A client that the server let go of, as silent or to stop, may lose what it sends afterwards.",
    ),
    promise(
        "the end comes behind the last byte",
        "The server closes a client whose end it has read, or sends its FIN, while the kernel has not taken all that it \
         is owed.",
        "Status lines count as bytes that were paid: a loss that is shorter than they are is seen only by the client.",
    ),
    promise(
        "no client is let go of without a reason",
        "A connection ends, and neither its end was read, nor an error, nor was it silent, nor is there a stop.",
        "Whether an error that the kernel reported had to end the connection.",
    ),
    promise(
        "no client that could be served waits",
        "The server sleeps, and a client has bytes or an end for it, or room for what it is owed.",
        "A server that never sleeps: that is for \"a turn between two turns of another\".",
    ),
    promise(
        "a turn between two turns of another",
        "A client could have been served at three looks at the poller in a row, and had no turn in between.",
        "In which order the clients have their turns between two looks.",
    ),
    promise(
        "the loop comes back to the poller in time",
        "Between two looks one client has more than eight turns, all have more than 256, or more than 128 are taken in.",
        "How much one turn does: a read(2) counts as one, however long it is.",
    ),
    promise(
        "a turn has an end",
        "So many system calls without a look at the poller that there is no end to be seen.",
        "A loop that makes no system calls. The history hangs then.",
    ),
    promise(
        "no spin",
        "Twenty waits in a row in which nothing moves and no time passes.",
        "A server that wakes up more often than it has to, as long as time passes.",
    ),
    promise(
        "no client waits in the backlog while there is room",
        "The server sleeps beside a backlog, has room, and has no shortage whose pause will end it.",
        "A client that is accepted late, as long as the server is awake.",
    ),
    promise(
        "never more clients than the limit",
        "accept(2) brings one client more than `--max-connections`.",
        "Nothing: each call is counted.",
    ),
    promise(
        "the table holds those who are here",
        "At the end of a turn the server counts other clients than are accepted and not closed.",
        "What a place in the table costs, and the marks of clients that have left.",
    ),
    promise(
        "no more places in the table than clients at once",
        "A client is watched under a token whose place is beyond the most clients that were ever here at once.",
        "What a place costs.",
    ),
    promise(
        "no more timers than the clients account for",
        "The server schedules a timer, and the queue then holds more than 1,025 timers and three for each of the most \
         clients that were ever here at once.",
        "Timers that are swept away late, as long as there are fewer. Timers of stage 5, which has none.",
    ),
    promise(
        "no outbox over its limit",
        "The server has read 64 KiB more of a client than that client's kernel has taken.",
        "Memory that is reserved and not used.",
    ),
    promise(
        "a status on its grid",
        "The server sleeps past a tick, by more than the millisecond that epoll_wait(2) may add.",
        "Whether it says anything then: that is for \"a status for everyone at every tick\".",
    ),
    promise(
        "a status for everyone at every tick",
        "The server sleeps, and a client that was here at the last tick, not within a line and owed nothing, has heard \
         nothing since.",
        "Clients that are owed bytes, since the status stands behind them; ticks that a suspended machine slept through.",
    ),
    promise(
        "a status for a tick, and no more",
        "More status lines to a client than there were ticks since it came.",
        "Two lines for one tick after one that was missed. And the number in the line.",
    ),
    promise(
        "a status only between two lines",
        "A client reads a status, and the byte in front of it was not the end of a line.",
        "Clients that do not read.",
    ),
    promise(
        "no client is taken for silent too early",
        "A client gets the FIN before it has been silent for `--idle-timeout`.",
        "Clients that have left or failed meanwhile.",
    ),
    promise(
        "no client is taken for silent too late",
        "The server sleeps past the time at which a silent client has to be let go of, or one that was let go of has to \
         be closed.",
        "Clients that moved last before a machine was suspended.",
    ),
    promise(
        "a client is asked before it is taken for silent",
        "A silent client gets the FIN, and neither read(2) nor write(2) said `EAGAIN` since its time was over.",
        "Whether both were asked.",
    ),
    promise(
        "a client that is let go of has its time to leave",
        "It is closed before it was silent for five seconds behind the FIN, and before thirty seconds in all.",
        "A stop: then other times count.",
    ),
    promise(
        "a stop ends in time",
        "The server sleeps, or ends, later than half a second after the first signal.",
        "A machine that was suspended meanwhile.",
    ),
    promise(
        "a stop ends when the last client has left",
        "A server that stops and has no client waits for events.",
        "Nothing: it would be its next wait.",
    ),
    promise(
        "a stop tells every client",
        "A server that stops sleeps, and a client that is owed nothing has no FIN.",
        "Clients that are owed bytes up to the end.",
    ),
    promise(
        "a stop waits for those who are here",
        "The server ends before its time is over, and closes a client that has not sent its end.",
        "Nothing, unless the client has left by itself.",
    ),
    promise(
        "no client is taken in by a server that stops",
        "accept(2) brings a client after the poller has given out the signal.",
        "What becomes of those who wait in the backlog.",
    ),
    promise(
        "what had come before the stop is answered",
        "Bytes that had arrived when the poller gave out the signal are never read, as far as one read(2) goes.",
        "Clients that are owed bytes, or have sent an urgent byte.",
    ),
    promise(
        "whatever was read is delivered when it stops",
        "The server has ended, and a client that reads has less than the server had read of it.",
        "Clients that read too slowly for a stop.",
    ),
    promise("no panic", "The server panics.", "An overflow, in a build without checks."),
    promise(
        "the server does not end by itself",
        "The loop returns an error, and no client was closed by that.",
        "A server that ends with clients: that is seen as clients that are let go of without a reason.",
    ),
];

/// All promises of the program that calls, the example `handshake`.
pub const CALLER_PROMISES: [Promise; 14] = [
    promise(
        "connected only behind the whole ack",
        "The program asks its question, and the first 17 bytes that it has read are not its greeting.",
        "A program that says that it is connected, and asks nothing: that is for \"each call ends in one state\".",
    ),
    promise(
        "an ack that has come counts",
        "The program closes a connection that has neither its ack nor an error, although the ack had arrived when it \
         woke up and its greeting was sent.",
        "An ack that arrives while the program is awake.",
    ),
    promise(
        "what the kernel says once is not forgotten",
        "The program sleeps beside a connection that is broken, has room for what is to be sent, or has bytes or an end \
         for a program that has sent it all.",
        "A program that is late, as long as it is awake.",
    ),
    promise(
        "what came behind the ack is heard",
        "The program sleeps beside a connection whose line it has read to the end.",
        "What it makes of the line.",
    ),
    promise(
        "no attempt is given up without a reason",
        "A connection is closed before its time, without an end, an error, a wrong byte or a line.",
        "Whether an error had to end the attempt.",
    ),
    promise(
        "an attempt ends by its deadline",
        "The program sleeps past the time of an attempt, or of the talk behind it, by more than the millisecond that \
         epoll_wait(2) may add.",
        "A machine that was suspended: the program is late then, and has slept no longer than it said.",
    ),
    promise(
        "one attempt at a time, and none too many",
        "connect(2) to a peer that the program is connected with or connecting to, or that has had all its attempts.",
        "Nothing: each call is counted.",
    ),
    promise(
        "the next attempt comes behind its pause",
        "connect(2) earlier than half of the longest pause behind this attempt, or a sleep that is longer than all of it.",
        "How the pauses are spread between these two.",
    ),
    promise(
        "each call ends in one state",
        "The program ends, or sleeps for ever, and a peer is neither connected nor out of attempts; or it says \
         something else of the peer than was seen.",
        "Why an attempt has failed.",
    ),
    promise(
        "what is said is the greeting and the question",
        "write(2) takes something else.",
        "Bytes that a reset has dropped.",
    ),
    promise(
        "a program that calls does not spin",
        "Twenty waits in a row in which nothing moves and no time passes.",
        "A program that wakes up more often than it has to, as long as time passes.",
    ),
    promise(
        "a turn of the program has an end",
        "So many system calls without a look at the poller that there is no end to be seen.",
        "A loop that makes no system calls. The history hangs then.",
    ),
    promise("the program does not panic", "It panics.", "An overflow, in a build without checks."),
    promise(
        "the program does not end by itself",
        "The loop returns an error before all calls are over.",
        "Nothing.",
    ),
];

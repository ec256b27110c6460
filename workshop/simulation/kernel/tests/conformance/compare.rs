//! Plays a script on both kernels, and compares.

use std::fmt;
use std::io::ErrorKind;
use std::sync::LazyLock;

use simulated_kernel::tcp::{OUT, PRI};

use crate::linux::Linux;
use crate::model::Model;
use crate::script::{Call, Script, Side, TOKENS};

/// The most bytes of one call.
pub(crate) const MOST_BYTES: usize = 4096;

/// A token and a mask.
pub(crate) type Event = (usize, u32);

/// What a call has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It does not apply: there is no such connection, or its end is closed.
    LeftOut,
    Done,
    /// So many bytes were written.
    Count(usize),
    /// These were read. None: the end.
    Bytes(Vec<u8>),
    /// These were read, and others were written.
    Torn(Vec<u8>),
    Error(ErrorKind),
    /// What `SO_ERROR` has.
    Pending(Option<ErrorKind>),
    /// The connection that was handed out.
    Accepted(usize),
    /// Tokens and masks, in order.
    Events(Vec<Event>),
    /// mio has made something else of these events, or has others.
    OtherInMio(Vec<Event>),
    /// What has ended the writing.
    Filled(ErrorKind),
    /// Whether all was read that was written (`None`: it was cut off), and what has ended the reading.
    Drained {
        all: Option<bool>,
        end: Result<(), ErrorKind>,
    },
}

/// What Linux may do one way or another, and so what is not compared.
///
/// Not named here, since the scripts are played so that it can't be seen:
///
/// - *When a segment arrives.* Over loopback it arrives within the call that sends it: the sender's own call runs the
///   receiver's half of TCP before it returns. Only if the machine defers its software interrupts is it later. So a
///   difference counts only if it is still there when each call is followed by a pause: see [`Linux::pause`].
/// - *When bytes are acknowledged*: at once, or up to 40 ms later (RFC 9293, section 3.8.6.3). The comparison asks for
///   the acknowledgement of everything that has arrived (`TCP_QUICKACK`).
/// - *When a FIN is acknowledged*: see [`Judge::fin_is_out`].
/// - *Whether small segments are held back* (Nagle, RFC 9293, section 3.7.4): the scripts set `TCP_NODELAY`.
/// - *Where segments end*: read(2) reads across them, on Linux and in the model.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Freedom {
    /// What full queues leave open:
    ///
    /// - *How many bytes a queue holds.* Linux counts the memory of its buffers, with their heads, and grows the
    ///   receive window as it sees fit. The model counts bytes. So neither the number of bytes in [`Call::Fill`] is
    ///   compared nor what one [`Call::Read`] gets of them; but that these are the bytes that were written, that all of
    ///   them arrive, and how it ends.
    /// - *Whether a queue that is neither full nor empty has room*, and so `EPOLLOUT` while something is in it. When it
    ///   has been emptied, both have told.
    /// - *Whether a FIN behind a full queue has arrived*, and so whether shutdown(2) and getpeername(2) still find a
    ///   connection.
    /// - *An event without news.* Room opens and is used up before epoll_wait(2), or bytes come in several segments,
    ///   some of which have been read already. Then Linux names what is true anyway. An event of the model may not be
    ///   missing, and each mask has to be what is true of the model.
    pub(crate) full_buffers: bool,
    /// No freedom of Linux, but a fault of the comparison's own, to see that it finds one: the model's events
    /// lack `EPOLLPRI`.
    pub(crate) forgets_priority: bool,
}

impl Freedom {
    /// Of scripts that fill the queues.
    pub(crate) const FULL_BUFFERS: Self = Self { full_buffers: true, forgets_priority: false };
}

/// Compares the answers to the calls of one script, one after the other.
struct Judge {
    freedom: Freedom,
    /// Linux has told of room in a queue that is neither full nor empty.
    told_room: [bool; TOKENS],
    /// The model has told of room since the server has filled its queue, or the server has not.
    model_told_room: [bool; TOKENS],
    /// What Linux has told last.
    last_told: [u32; TOKENS],
    /// *When a FIN is acknowledged.* As long as the client has something to read, even if that is only our FIN, Linux
    /// delays the acknowledgement, for up to 40 ms. When it comes it wakes the poller, and an event names what is true anyway. In the model it
    /// comes at once, and the event is that of shutdown(2); the later one is [`simulated_kernel::Kernel::name`].
    fin_is_out: [bool; TOKENS],
    /// The event of an acknowledged FIN has come, and may have been the one that the model has still on its ready list.
    told_early: [bool; TOKENS],
}

impl Judge {
    fn same(
        &mut self,
        call: Call,
        model: &mut Model,
        says: &Answer,
        linux: &mut Linux,
        linux_says: &mut Answer,
    ) -> bool {
        match (call, says) {
            (Call::Fill(name, Side::Server), Answer::Filled(ErrorKind::WouldBlock)) => {
                (self.told_room[name], self.model_told_room[name]) = (false, false);
            }
            (Call::Shutdown(name, Side::Server), Answer::Done) => self.fin_is_out[name] = true,
            _ => {}
        }
        match (says, linux_says) {
            (Answer::Events(says), Answer::Events(told)) if self.freedom.full_buffers => {
                self.same_news(model, says, told)
            }
            (Answer::Events(says), Answer::Events(told)) => {
                let lost = if self.freedom.forgets_priority { PRI } else { 0 };
                let says: Vec<_> = says.iter().map(|&(at, mask)| (at, mask & !lost)).collect();
                self.same_events(model, &says, linux, told)
            }
            (Answer::Bytes(says), Answer::Bytes(read)) if self.freedom.full_buffers => {
                says.is_empty() == read.is_empty()
            }
            (Answer::Drained { all: None, end }, Answer::Drained { end: other, .. }) => {
                end == other
            }
            (says, linux_says) => {
                let of_fin = self.freedom.full_buffers && of_a_fin_under_way(call, model);
                says == linux_says || (of_fin && connected(says) && connected(linux_says))
            }
        }
    }

    /// The same events in the same order, except for what [`Judge::fin_is_out`] leaves open: an event for each
    /// acknowledged FIN, and the order. The connection may have taken its place on the ready list earlier, and then a
    /// batch ends elsewhere.
    fn same_events(
        &mut self,
        model: &mut Model,
        says: &[Event],
        linux: &mut Linux,
        told: &mut Vec<Event>,
    ) -> bool {
        let open = self.fin_is_out.contains(&true);
        let mut at = 0;
        while let Some(&(token, mask)) = told.get(at) {
            let no_news = says.iter().all(|&(other, _)| other != token);
            let acknowledged = std::mem::take(&mut self.fin_is_out[token]);
            if no_news && acknowledged && mask == model.true_anyway(token) {
                told.remove(at);
                self.told_early[token] = true;
                told.extend(linux.one_more_event()); // it has taken the place of another one
            } else {
                if acknowledged {
                    self.fin_is_out[token] = true;
                }
                at += 1;
            }
        }
        let mut is_left = |&&(token, _): &&Event| {
            told.iter().any(|(other, _)| *other == token)
                || !std::mem::take(&mut self.told_early[token])
        };
        let left: Vec<_> = says.iter().filter(|event| is_left(event)).copied().collect();
        match open {
            true => left.len() == told.len() && left.iter().all(|event| told.contains(event)),
            false => left == *told,
        }
    }

    /// No news is missing, and no mask is wrong.
    fn same_news(&mut self, model: &mut Model, says: &[Event], told: &[Event]) -> bool {
        for &(token, mask) in says {
            self.model_told_room[token] |= mask & OUT != 0;
        }
        let told_before = self.last_told;
        let right = told.iter().all(|&event| self.is_right(model, event));
        // What Linux has told of room in a part-filled queue it does not tell again when that is empty.
        let excused = |&(token, mask): &Event| self.told_room[token] && told_before[token] == mask;
        let has = |event: &Event| told.iter().any(|(token, _)| *token == event.0);
        right && says.iter().all(|event| has(event) || excused(event))
    }

    fn is_right(&mut self, model: &mut Model, (token, mask): Event) -> bool {
        let open = model.room_is_open(token);
        let unknown = if open { OUT } else { 0 };
        self.told_room[token] |= mask & unknown != 0;
        self.last_told[token] = mask;
        // In an empty queue there is room, and the model has to have told so since the queue was filled.
        let room = open || mask & OUT == 0 || self.model_told_room[token];
        room && (mask ^ model.true_anyway(token)) & !unknown == 0
    }
}

/// Whether the answer depends on whether a FIN behind a queue has come through.
fn of_a_fin_under_way(call: Call, model: &Model) -> bool {
    let (Call::Shutdown(name, _) | Call::PeerName(name, _)) = call else { return false };
    model.is_part_full(name, Side::Client) || model.is_part_full(name, Side::Server)
}

/// Connected or not: both are right.
fn connected(answer: &Answer) -> bool {
    matches!(answer, Answer::Done | Answer::Error(ErrorKind::NotConnected))
}

/// Where the two kernels differ.
#[derive(Debug)]
pub(crate) struct Difference {
    at: usize,
    call: Call,
    model: Answer,
    linux: Answer,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, call, model, linux } = self;
        writeln!(
            f,
            "call {at}, {call:?}:\n  the model says {model:x?}\n  Linux says     {linux:x?}"
        )
    }
}

/// Plays a script on both. Returns how many calls have applied.
pub(crate) fn play(
    script: &Script,
    linux: &mut Linux,
    freedom: Freedom,
) -> Result<usize, Box<Difference>> {
    let mut model = Model::new(script.kind);
    let mut judge = Judge {
        freedom,
        told_room: [false; TOKENS],
        model_told_room: [true; TOKENS],
        last_told: [0; TOKENS],
        fin_is_out: [false; TOKENS],
        told_early: [false; TOKENS],
    };
    let played = script.calls.iter().enumerate().try_fold(0, |applied, (at, &call)| {
        let (model_says, mut linux_says) = (model.call(call), linux.call(call));
        match judge.same(call, &mut model, &model_says, linux, &mut linux_says) {
            true => Ok(applied + usize::from(model_says != Answer::LeftOut)),
            false => Err(Box::new(Difference { at, call, model: model_says, linux: linux_says })),
        }
    });
    linux.clear();
    played
}

/// The pauses after each call, in milliseconds, with each of which a script has to differ.
const PAUSES: [u8; 2] = [20, 1];

/// The shortest script that still differs when it is given time: without each call that does not matter. `None`: given
/// time it does not differ.
pub(crate) fn shrink(
    script: Script,
    linux: &mut Linux,
    freedom: Freedom,
) -> Option<(Script, Difference)> {
    let mut patiently = |pause| {
        linux.pause = pause;
        play(&script, linux, freedom).err()
    };
    let difference = PAUSES.map(&mut patiently).into_iter().collect::<Option<Vec<_>>>();
    let shrunk = difference.and_then(|mut of_each| of_each.pop()).map(|difference| {
        let mut found = cut(script, *difference);
        let mut length = usize::MAX;
        while found.0.calls.len() < length {
            length = found.0.calls.len();
            for at in (0..length - 1).rev() {
                let mut shorter = found.0.clone();
                if at < shorter.calls.len() {
                    shorter.calls.remove(at);
                }
                if let Err(still) = play(&shorter, linux, freedom) {
                    found = cut(shorter, *still);
                }
            }
        }
        found
    });
    linux.pause = 0;
    shrunk
}

/// What comes behind the difference does not matter.
fn cut(mut script: Script, difference: Difference) -> (Script, Difference) {
    script.calls.truncate(difference.at + 1);
    (script, difference)
}

/// What a read has brought, at this place of what `from` has written.
pub(crate) fn bytes_read(id: usize, from: Side, place: usize, bytes: Vec<u8>) -> Answer {
    match bytes == written(id, from, place, bytes.len()) {
        true => Answer::Bytes(bytes),
        false => Answer::Torn(bytes),
    }
}

/// The bytes that are written from this place of one direction on.
pub(crate) fn written(id: usize, from: Side, place: usize, n: usize) -> &'static [u8] {
    static PATTERN: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..251 + MOST_BYTES).map(|i| (i * 31 % 251) as u8).collect());
    let first = (place + id * 7 + usize::from(from == Side::Client) * 97) % 251;
    &PATTERN[first..first + n]
}

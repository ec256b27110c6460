//! The modelled kernel plays a script.

use std::io::{self, ErrorKind};

use simulated_kernel::Kernel;
use simulated_kernel::choices::Choices;
use simulated_kernel::kernel::{CLIENT, SERVER, Source};
use simulated_kernel::{Interest, tcp};

use crate::compare::{Answer, MOST_BYTES, bytes_read, written};
use crate::script::{Call, Kind, LISTENER, SLOTS, Side};

/// A connection of the script, as the modelled kernel has it.
#[derive(Clone, Copy, Default)]
struct Slot {
    id: usize,
    /// Which end is open: the client's, the server's.
    open: [bool; 2],
    /// Bytes written and read at each end.
    written: [usize; 2],
    read: [usize; 2],
    interest: u32,
}

pub(crate) struct Model {
    kind: Kind,
    kernel: Kernel,
    slots: [Option<Slot>; SLOTS],
}

fn end(side: Side) -> usize {
    if side == Side::Client { CLIENT } else { SERVER }
}

fn done<T>(result: io::Result<T>, answer: impl FnOnce(T) -> Answer) -> Answer {
    result.map_or_else(|e| Answer::Error(e.kind()), answer)
}

impl Model {
    pub(crate) fn new(kind: Kind) -> Self {
        let mut kernel = Kernel::new(Choices::given(Vec::new()));
        kernel.watch(Source::Listener, LISTENER, Interest::READABLE.mask()).unwrap();
        Self { kind, kernel, slots: [None; SLOTS] }
    }

    /// Something that this side has written was not read yet.
    pub(crate) fn is_part_full(&self, token: usize, from: Side) -> bool {
        let slot = self.slots.get(token).copied().flatten();
        slot.is_some_and(|slot| {
            let ends = &self.kernel.connections[slot.id].ends;
            !ends[end(from)].sndq.is_empty() || !ends[end(from.other())].rcvq.is_empty()
        })
    }

    /// Whether there is room is not known: the server's queue is neither full nor empty, and it may still write.
    pub(crate) fn room_is_open(&self, token: usize) -> bool {
        let slot = self.slots.get(token).copied().flatten();
        self.is_part_full(token, Side::Server)
            && slot.is_some_and(|slot| {
                let end = &self.kernel.connections[slot.id].ends[SERVER];
                !end.fin && !end.reset
            })
    }

    /// The mask that an event without news would have.
    pub(crate) fn true_anyway(&mut self, token: usize) -> u32 {
        if token == LISTENER {
            return if self.kernel.backlog.is_empty() { 0 } else { tcp::IN };
        }
        let Some(slot) = self.slots[token] else { return 0 };
        let mask = self.kernel.connections[slot.id].ends[SERVER].mask();
        mask & (slot.interest | tcp::ERR | tcp::HUP)
    }

    pub(crate) fn call(&mut self, call: Call) -> Answer {
        match call {
            Call::Connect(name) => self.connect(name),
            Call::Accept => self.accept(),
            Call::Wait(most) => self.wait(most),
            Call::RearmListener if self.kernel.listener_open => done(
                self.kernel.rewatch(Source::Listener, LISTENER, Interest::READABLE.mask()),
                |()| Answer::Done,
            ),
            Call::StopListening if self.kernel.listener_open => {
                self.kernel.close_listener();
                Answer::Done
            }
            Call::RearmListener | Call::StopListening => Answer::LeftOut,
            Call::Register(name, _) | Call::Reregister(name, _) | Call::Deregister(name) => {
                self.at(name, Side::Server, |this| this.control(name, call))
            }
            Call::Urgent(name) => self.at(name, Side::Client, |this| this.urgent(name)),
            Call::Write(name, side, n) => self.at(name, side, |this| this.write(name, side, n)),
            Call::Read(name, side, n) => self.at(name, side, |this| this.read(name, side, n)),
            Call::Fill(name, side) => self.at(name, side, |this| this.fill(name, side)),
            Call::Drain(name, side) => self.at(name, side, |this| this.drain(name, side)),
            Call::Shutdown(name, side)
            | Call::Close(name, side)
            | Call::Reset(name, side)
            | Call::TakeError(name, side)
            | Call::PeerName(name, side) => {
                self.at(name, side, |this| this.plain(name, side, call))
            }
        }
    }

    /// Only if this end is open.
    fn at(&mut self, name: usize, side: Side, f: impl FnOnce(&mut Self) -> Answer) -> Answer {
        match self.slots[name].is_some_and(|slot| slot.open[end(side)]) {
            true => f(self),
            false => Answer::LeftOut,
        }
    }

    fn slot(&mut self, name: usize) -> &mut Slot {
        self.slots[name].as_mut().expect("it is open")
    }

    fn connect(&mut self, name: usize) -> Answer {
        if self.slots[name].is_some() || !self.kernel.listener_open {
            return Answer::LeftOut;
        }
        let (rcvbuf, sndbuf) = match self.kind {
            Kind::Roomy => (1 << 20, 1 << 20),
            Kind::Tight => (16 * 1024, 16 * 1024),
        };
        let id = self.kernel.connect(rcvbuf, [sndbuf; 2]).expect("the backlog is long enough");
        self.slots[name] = Some(Slot { id, open: [true, false], ..Slot::default() });
        Answer::Done
    }

    fn accept(&mut self) -> Answer {
        if !self.kernel.listener_open {
            return Answer::LeftOut;
        }
        let accepted = self.kernel.accept();
        done(accepted, |id| {
            let named = |slot: &Option<Slot>| slot.is_some_and(|slot| slot.id == id);
            let name = self.slots.iter().position(named).expect("a script connects by name");
            self.slot(name).open[SERVER] = true;
            Answer::Accepted(name)
        })
    }

    fn wait(&mut self, most: usize) -> Answer {
        let mut events = Vec::new();
        self.kernel.take_events(most, &mut events);
        Answer::Events(events.iter().map(|event| (event.token, event.mask)).collect())
    }

    fn control(&mut self, name: usize, call: Call) -> Answer {
        let source = Source::Connection(self.slot(name).id);
        let changed = match call {
            Call::Register(_, interest) => self.kernel.watch(source, name, interest.mask()),
            Call::Reregister(_, interest) => self.kernel.rewatch(source, name, interest.mask()),
            _ => self.kernel.unwatch(source),
        };
        if let (Ok(()), Call::Register(_, interest) | Call::Reregister(_, interest)) =
            (&changed, call)
        {
            self.slot(name).interest = interest.mask();
        }
        done(changed, |()| Answer::Done)
    }

    fn urgent(&mut self, name: usize) -> Answer {
        let slot = *self.slot(name);
        let byte = written(name, Side::Client, slot.written[CLIENT], 1)[0];
        let sent = self.kernel.write_urgent(slot.id, byte);
        self.slot(name).written[CLIENT] += usize::from(sent.is_ok());
        done(sent, |()| Answer::Count(1))
    }

    fn write(&mut self, name: usize, side: Side, n: usize) -> Answer {
        let slot = *self.slot(name);
        let first = slot.written[end(side)];
        let bytes = written(name, side, first, n);
        let taken = self.kernel.write(slot.id, end(side), bytes);
        self.slot(name).written[end(side)] += taken.as_ref().unwrap_or(&0);
        done(taken, Answer::Count)
    }

    fn read(&mut self, name: usize, side: Side, n: usize) -> Answer {
        let mut buf = vec![0; n];
        let id = self.slot(name).id;
        let read = self.kernel.read(id, end(side), &mut buf);
        done(read, |n| {
            buf.truncate(n);
            let place = &mut self.slot(name).read[end(side)];
            let first = std::mem::replace(place, *place + n);
            bytes_read(name, side.other(), first, buf)
        })
    }

    fn fill(&mut self, name: usize, side: Side) -> Answer {
        loop {
            if let Answer::Error(why) = self.write(name, side, 1024) {
                return Answer::Filled(why);
            }
        }
    }

    fn drain(&mut self, name: usize, side: Side) -> Answer {
        let end_of_it = loop {
            match self.read(name, side, MOST_BYTES) {
                Answer::Bytes(bytes) if bytes.is_empty() => break Ok(()),
                Answer::Bytes(_) => {}
                Answer::Error(why) => break Err(why),
                other => return other,
            }
        };
        let slot = *self.slot(name);
        // Of what a RST has cut off neither kernel says how much there was.
        let cut = self.kernel.connections[slot.id].ends[end(side)].reset;
        let all = (!cut).then(|| slot.read[end(side)] == slot.written[end(side.other())]);
        Answer::Drained { all, end: end_of_it }
    }

    fn plain(&mut self, name: usize, side: Side, call: Call) -> Answer {
        let id = self.slot(name).id;
        let this = end(side);
        match call {
            Call::Shutdown(..) => return done(self.kernel.shutdown(id, this), |()| Answer::Done),
            Call::TakeError(..) => return Answer::Pending(self.kernel.take_error(id, this)),
            Call::PeerName(..) => {
                return match self.kernel.connections[id].ends[this].has_peer() {
                    true => Answer::Done,
                    false => Answer::Error(ErrorKind::NotConnected),
                };
            }
            Call::Reset(..) => {
                if side == Side::Server {
                    // It may not be watched at all.
                    let _ = self.kernel.unwatch(Source::Connection(id));
                }
                self.kernel.reset(id, this);
            }
            _ if side == Side::Server => self.kernel.close_server_end(id),
            _ => self.kernel.close(id, CLIENT),
        }
        self.slot(name).open[this] = false;
        Answer::Done
    }
}

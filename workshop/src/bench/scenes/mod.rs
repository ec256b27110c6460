//! What is played to each server: who connects, and who says what.

mod ask;
mod churn;
mod connect;
mod flood;
mod idle;
mod memory;
mod silent;

use std::time::Duration;

pub(super) use self::ask::{Ask, exchange};
use super::figures::Figure::{self, *};
use super::figures::Figures;
use super::server::Server;

/// A request the size of which most protocols' are.
const SMALL: usize = 64;
const KIB: usize = 1024;
const BULK: usize = 64 * KIB;

/// How many bulk messages a client has under way: enough to keep the server reading while the last
/// ones travel, and little enough for the kernel's buffers to hold them all. Stages 3 and 4 cut off whom
/// those have no room for.
const BULK_DEPTH: usize = 4;

/// A client that does not wait: a megabyte is under way, more than the kernel's two buffers hold at first.
const BULK_DEEP: usize = 16;

/// One scene.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    /// What `--scene` calls it.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) kind: Kind,
}

/// What happens in a scene.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Each client sends again as soon as it has its reply.
    Ask(Ask),
    /// One client sends all it can, another has a small question every millisecond.
    Flood,
    /// Many clients connect, some at a time, and stay.
    Connect { clients: usize, at_a_time: usize },
    /// Clients connect, ask once and close; always this many at a time.
    Churn { at_a_time: usize },
    /// Clients that say nothing.
    Idle { clients: usize },
    /// Memory as the number of silent clients grows.
    Memory,
    /// A client that sends and never reads.
    Silent,
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Played and not counted: connections, caches and the branch predictor warm up.
    pub(super) warm_up: Duration,
    pub(super) measure: Duration,
    pub(super) idle: Duration,
    pub(super) churn: usize,
}

impl Pace {
    /// One scene takes about a second and a half.
    pub(super) const FULL: Self = Self {
        warm_up: Duration::from_millis(200),
        measure: Duration::from_millis(1000),
        idle: Duration::from_secs(5),
        churn: 10_000,
    };
    /// One scene takes a quarter of a second.
    pub(super) const QUICK: Self = Self {
        warm_up: Duration::from_millis(30),
        measure: Duration::from_millis(100),
        idle: Duration::from_millis(300),
        churn: 1000,
    };
}

/// All of them, in the order of the tables.
pub(super) fn all() -> Vec<Scene> {
    let ask = |clients, size, depth| Kind::Ask(Ask { clients, size, depth });
    let scene = |name, title, kind| Scene { name, title, kind };
    vec![
        scene("ask-1", "64 bytes there and back, 1 client", ask(1, SMALL, 1)),
        scene("ask-64", "64 bytes there and back, 64 clients", ask(64, SMALL, 1)),
        scene("ask-1000", "64 bytes there and back, 1,000 clients", ask(1000, SMALL, 1)),
        scene("ask-10000", "64 bytes there and back, 10,000 clients", ask(10_000, SMALL, 1)),
        scene("ask-1k", "1 KiB there and back, 64 clients", ask(64, KIB, 1)),
        scene("pipeline", "64 bytes, 16 under way, 64 clients", ask(64, SMALL, 16)),
        scene("bulk-1", "64 KiB, 4 under way, 1 client", ask(1, BULK, BULK_DEPTH)),
        scene("bulk-16", "64 KiB, 16 under way, 1 client", ask(1, BULK, BULK_DEEP)),
        scene("bulk-64", "64 KiB, 4 under way, 64 clients", ask(64, BULK, BULK_DEPTH)),
        scene("flood", "A polite client beside one that sends all it can", Kind::Flood),
        scene(
            "connect",
            "10,000 clients connect, 2,000 at a time",
            Kind::Connect { clients: 10_000, at_a_time: 2000 },
        ),
        scene("churn", "Connect, one echo, close; 64 at a time", Kind::Churn { at_a_time: 64 }),
        scene("idle", "1,000 clients that say nothing", Kind::Idle { clients: 1000 }),
        scene("memory", "Memory, with 1 to 10,000 silent clients", Kind::Memory),
        scene("silent", "A client that sends and never reads", Kind::Silent),
    ]
}

impl Scene {
    /// Plays it once to a server that has just started.
    pub(super) fn play(&self, server: &Server, pace: &Pace) -> anyhow::Result<Figures> {
        match &self.kind {
            Kind::Ask(ask) => ask::play(*ask, server, pace),
            Kind::Flood => flood::play(server, pace),
            Kind::Connect { clients, at_a_time } => connect::play(*clients, *at_a_time, server),
            Kind::Churn { at_a_time } => churn::play(*at_a_time, server, pace),
            Kind::Idle { clients } => idle::play(*clients, server, pace),
            Kind::Memory => memory::play(server),
            Kind::Silent => silent::play(server),
        }
    }
}

impl Kind {
    /// The figures of its table, the one it is about first.
    pub(super) fn figures(&self) -> Vec<Figure> {
        let latencies = [P50Micros, P99Micros, P999Micros, MaxMicros];
        let each = [CpuMicrosPerMessage, SwitchesPerMessage, SyscallsPerMessage];
        let rest = [InstructionsPerMessage, Threads, ServerPercent, GeneratorPercent];
        match self {
            Self::Ask(ask) if ask.size == BULK => {
                [&[MegabytesPerSecond][..], &latencies, &each, &rest].concat()
            }
            Self::Ask(_) => [&[PerSecond][..], &latencies, &each, &rest].concat(),
            Self::Flood => [
                &[P99Micros, P50Micros, P999Micros, MaxMicros][..],
                &[MegabytesPerSecond, GeneratorPercent],
            ]
            .concat(),
            Self::Connect { .. } => {
                [&[TotalMillis][..], &latencies, &[CpuMicrosPerMessage]].concat()
            }
            Self::Churn { .. } => [&[PerSecond][..], &latencies, &[CpuMicrosPerMessage]].concat(),
            Self::Idle { .. } => vec![CpuMillisPerSecond, SwitchesPerSecond, Threads],
            Self::Memory => {
                vec![RssBytesPerClient, RssKib1, RssKib1000, RssKib10000, Threads]
            }
            Self::Silent => vec![RssKibMore, SentMegabytes],
        }
    }

    /// How many connections it has open at a time.
    pub(super) fn clients(&self) -> usize {
        match self {
            Self::Ask(ask) => ask.clients,
            Self::Connect { clients, .. } | Self::Idle { clients } => *clients,
            Self::Churn { at_a_time } => *at_a_time,
            Self::Memory => memory::MANY,
            Self::Flood => 2,
            Self::Silent => 1,
        }
    }

    /// Whether a client can only go on while another is connected as well.
    pub(super) fn needs_two_at_once(&self) -> bool {
        self.clients() > 1 && !matches!(self, Self::Churn { .. })
    }
}

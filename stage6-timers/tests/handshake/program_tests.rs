//! One suite, three programs: whatever the peer does, all of them say the same about it.

#[cfg(unix)]
use std::io::{Read, Write};
#[cfg(unix)]
use std::net::TcpListener;
use std::rc::Rc;
#[cfg(unix)]
use std::time::Duration;

use common::testkit::client::allow_descriptors;
use common::testkit::self_connect::shell_with_ports;
use common::testkit::server::Server;
use common::testkit::skipped;
#[cfg(unix)]
use common::testkit::{deadline, eventually, server::Signal, server::send_signal};

use crate::hostile::Act::{self, Close, Dribble, Hear, Reset, Say, SayUrgently};
use crate::hostile::HostilePeer;
use crate::program::{PROGRAMS, Run, find, launch, start};
use crate::support::{HELLO, QUESTION};

/// Three attempts, and the same pauses in each run. A call that is answered never waits for this
/// deadline, which is so long that a busy machine does not run into it.
const PATIENT: [&str; 5] = ["--attempts", "3", "--seed", "7", "--ack-timeout=10s"];

/// The same for the cases that run into the deadline.
const WAITING: [&str; 5] = ["--attempts", "3", "--seed", "7", "--ack-timeout=2s"];
#[cfg(unix)]
const WAITING_TIMEOUT: Duration = Duration::from_secs(2);

/// What a peer does, and what has to be said about it.
struct Case {
    peer: Kind,
    /// Each line between "connecting" and the summary, without the numbers that are not ours to know.
    /// `?` in front: this line may be missing; `|` between: one or the other. Both only where the
    /// result depends on which of two processes is faster.
    expected: Vec<&'static str>,
    attempts: usize,
}

/// What kind of peer it is.
enum Kind {
    Refuses,
    #[cfg(target_os = "linux")]
    NeverAccepts,
    /// It accepts, and does with each connection what its script says.
    Plays(Vec<Vec<Act>>),
}

const SENDING: &str = "sending the handshake";
const EXPECTING: &str = "expecting the ack";

/// A peer that does the same in each of three attempts, none of which succeeds.
fn fails(script: Vec<Act>, attempt: &[&'static str]) -> Case {
    let connecting = ["connecting"];
    let again = [&connecting, attempt, &["pausing"]].concat();
    let expected = [&again, &again, &connecting[..], attempt].concat();
    Case { peer: Kind::Plays(vec![script]), expected, attempts: 3 }
}

/// A peer that answers as it should at first, then does this, so that this is said in the end.
fn connects(script: Vec<Act>, end: &'static str) -> Case {
    let expected = vec!["connecting", SENDING, EXPECTING, "connected", end];
    Case { peer: Kind::Plays(vec![script]), expected, attempts: 1 }
}

fn echoes() -> Vec<Act> {
    vec![Hear(HELLO), Say(HELLO.into()), Hear(QUESTION), Say(QUESTION.into())]
}

impl Case {
    fn peer(&self) -> HostilePeer {
        match &self.peer {
            Kind::Refuses => HostilePeer::refusing(),
            #[cfg(target_os = "linux")]
            Kind::NeverAccepts => HostilePeer::full(),
            Kind::Plays(scripts) => HostilePeer::new(scripts.clone()),
        }
    }

    fn options(&self) -> [&'static str; 5] {
        if self.runs_into_a_deadline() { WAITING } else { PATIENT }
    }

    fn runs_into_a_deadline(&self) -> bool {
        self.expected.iter().any(|line| line.ends_with("no answer in time"))
    }

    fn is_connected(&self) -> bool {
        self.expected.contains(&"connected")
    }

    /// Compares with what was said. Returns the pauses, which all three programs have to agree on.
    #[track_caller]
    fn check(&self, said: &[&str], run: &Run) -> Vec<String> {
        let mut pauses = Vec::new();
        let mut said_now = said.iter().map(|line| without_numbers(line, &mut pauses)).peekable();
        let state = if self.is_connected() { "connected" } else { "failed" };
        let plural = if self.attempts == 1 { "" } else { "s" };
        let summary = format!("summary: {state}, {} attempt{plural}", self.attempts);
        for expected in self.expected.iter().chain([&&*summary]) {
            let alternatives = expected.trim_start_matches('?');
            let matches = said_now.next_if(|line| alternatives.split('|').any(|a| a == line));
            let Run { name, lines, stderr, .. } = run;
            assert!(
                matches.is_some() || expected.starts_with('?'),
                "{name} should have said \"{expected}\":\n{said:#?}\nin\n{lines:#?}\n{stderr}"
            );
        }
        assert_eq!(said_now.next(), None, "{} said too much:\n{said:#?}", run.name);
        self.check_time(said, run);
        pauses
    }

    /// A call that is answered at once must not come near its deadline. This finds a program that misses
    /// an event and is woken by a timer instead.
    #[track_caller]
    fn check_time(&self, said: &[&str], run: &Run) {
        let summary = said.last().and_then(|line| line.strip_suffix(" ms")?.rsplit_once(", "));
        let time: f64 = summary.unwrap().1.parse().unwrap();
        let in_time = self.runs_into_a_deadline() || time < 9000.0;
        assert!(in_time, "{} waited for a deadline:\n{said:#?}", run.name);
    }
}

/// Leaves out of a line what differs from run to run, and keeps the pauses.
fn without_numbers(line: &str, pauses: &mut Vec<String>) -> String {
    if let Some(pause) = line.strip_prefix("pausing for ") {
        pauses.push(pause.to_owned());
        return "pausing".to_owned();
    }
    if line.starts_with("connecting, ") {
        return "connecting".to_owned();
    }
    match line.strip_suffix(" ms").and_then(|line| line.rsplit_once(", ")) {
        Some((summary, _time)) => summary.to_owned(),
        None => line.to_owned(),
    }
}

/// Each program calls a peer of its own, all at the same time.
#[track_caller]
fn check(case: &Case) {
    let runs = PROGRAMS.map(|name| {
        let peer = case.peer();
        (start(name, &[peer.addr], &case.options()), peer)
    });
    let pauses = runs.map(|(running, peer)| {
        let run = running.finish();
        let pauses = case.check(&run.about(peer.addr), &run);
        assert_eq!(run.stderr, "", "{}", run.name);
        assert_eq!(run.exit, Some(i32::from(!case.is_connected())), "{}", run.name);
        let connections = if matches!(case.peer, Kind::Plays(_)) { case.attempts } else { 0 };
        assert_eq!(peer.finish(), connections, "{}: connections", run.name);
        pauses
    });
    assert_eq!(pauses[0], pauses[1], "the same seed, the same pauses");
    assert_eq!(pauses[0], pauses[2], "the same seed, the same pauses");
}

/// Each hostile peer is a test of its own, and all of them meet in the crowd below.
macro_rules! hostile_peers {
    ($($sentence:ident: $case:expr;)*) => {
        $(#[test] fn $sentence() { check(&$case); })*

        fn all_cases() -> Vec<Case> {
            vec![$($case),*]
        }
    };
}

hostile_peers! {
    a_peer_that_echoes_is_connected_with: connects(echoes(), "heard \"how are you?\"");

    a_peer_that_refuses_is_tried_again: Case {
        peer: Kind::Refuses,
        ..fails(Vec::new(), &["failed: connection refused"])
    };

    a_peer_that_accepts_and_says_nothing_runs_into_the_deadline:
        fails(vec![Hear(HELLO)], &[SENDING, EXPECTING, "failed: no answer in time"]);

    an_ack_may_come_byte_by_byte: connects(
        vec![Hear(HELLO), Dribble(HELLO), Hear(QUESTION), Dribble(b"well\n")],
        "heard \"well\"",
    );

    what_comes_in_the_same_segment_as_the_ack_is_not_lost: connects(
        vec![Hear(HELLO), Say([HELLO, b"welcome\n"].concat()), Hear(QUESTION)],
        "heard \"welcome\"",
    );

    half_a_line_behind_the_ack_is_kept_for_the_other_half: connects(
        vec![Hear(HELLO), Say([HELLO, b"wel"].concat()), Hear(QUESTION), Say(b"come\n".into())],
        "heard \"welcome\"",
    );

    more_than_one_read_brings_may_come_behind_the_ack: connects(
        vec![Hear(HELLO), Say([HELLO, &[b'x'; 100], b"\n"].concat()), Hear(QUESTION)],
        concat!(
            "heard \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"",
        ),
    );

    // "Readable" and "writable" can come in one event, before we have said a word.
    an_ack_may_be_there_before_the_handshake_is_sent: connects(
        vec![Say(HELLO.into()), Hear(HELLO), Hear(QUESTION), Say(QUESTION.into())],
        "heard \"how are you?\"",
    );

    a_wrong_ack_is_no_ack: fails(
        vec![Hear(HELLO), Say(b"go away\n".into())],
        &[SENDING, EXPECTING, "failed: the answer is no ack"],
    );

    an_ack_that_is_wrong_in_its_last_byte_is_no_ack: fails(
        vec![Hear(HELLO), Say(b"hello, version 1\r".into())],
        &[SENDING, EXPECTING, "failed: the answer is no ack"],
    );

    a_wrong_ack_need_not_be_complete: fails(
        vec![Hear(HELLO), Say(b"he!".into())],
        &[SENDING, EXPECTING, "failed: the answer is no ack"],
    );

    // We may be connecting, sending or waiting when we see it: that depends on which side is faster.
    a_peer_that_closes_at_once_is_tried_again: fails(
        vec![Close],
        &["?sending the handshake", "?expecting the ack",
          "failed: closed by the peer|failed: reset by the peer"],
    );

    a_peer_that_resets_at_once_is_tried_again: fails(
        vec![Reset],
        &["?sending the handshake", "?expecting the ack", "failed: reset by the peer"],
    );

    a_peer_that_closes_instead_of_the_ack_is_tried_again:
        fails(vec![Hear(HELLO), Close], &[SENDING, EXPECTING, "failed: closed by the peer"]);

    a_peer_that_resets_instead_of_the_ack_is_tried_again:
        fails(vec![Hear(HELLO), Reset], &[SENDING, EXPECTING, "failed: reset by the peer"]);

    a_peer_that_closes_in_the_middle_of_the_ack_is_tried_again: fails(
        vec![Hear(HELLO), Say(b"hello, ".into()), Close],
        &[SENDING, EXPECTING, "failed: closed by the peer"],
    );

    a_peer_that_resets_in_the_middle_of_the_ack_is_tried_again: fails(
        vec![Hear(HELLO), Say(b"hello, ".into()), Reset],
        &[SENDING, EXPECTING, "failed: reset by the peer"],
    );

    a_peer_that_closes_after_the_ack_was_connected: connects(
        vec![Hear(HELLO), Say(HELLO.into()), Hear(QUESTION), Close],
        "heard nothing: closed by the peer",
    );

    a_peer_that_resets_after_the_ack_was_connected: connects(
        vec![Hear(HELLO), Say(HELLO.into()), Hear(QUESTION), Reset],
        "heard nothing: reset by the peer",
    );

    a_peer_that_says_nothing_after_the_ack_is_connected: connects(
        vec![Hear(HELLO), Say(HELLO.into()), Hear(QUESTION)],
        "heard nothing: no answer in time",
    );

    what_is_heard_is_printed_without_its_control_characters: connects(
        vec![Hear(HELLO), Say(HELLO.into()), Hear(QUESTION), Say(b"\x1b[31mred\xff\n".into())],
        r#"heard "\x1b[31mred\xff""#,
    );

    a_line_that_never_ends_is_cut_at_the_limit: connects(
        vec![Hear(HELLO), Say(HELLO.into()), Hear(QUESTION), Say(vec![b'x'; 1 << 20])],
        concat!(
            "heard \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"",
        ),
    );

    a_peer_that_comes_up_at_the_third_attempt_is_connected_with: Case {
        peer: Kind::Plays(vec![vec![Hear(HELLO), Close], vec![Hear(HELLO), Reset], echoes()]),
        expected: vec![
            "connecting", SENDING, EXPECTING, "failed: closed by the peer", "pausing",
            "connecting", SENDING, EXPECTING, "failed: reset by the peer", "pausing",
            "connecting", SENDING, EXPECTING, "connected", "heard \"how are you?\"",
        ],
        attempts: 3,
    };
}

/// A read(2) that brings less than there was room for has not always brought all that is there: it
/// stops where urgent data has been. tokio takes the socket for empty then, so its program may wait
/// until its deadline for an event that has come already.
#[test]
fn urgent_data_in_the_middle_of_the_ack_is_no_part_of_it() {
    let (half, rest) = HELLO.split_at(9);
    let ack = [Say(half.into()), SayUrgently(b'!'), Say(rest.into())];
    let talk = [Hear(HELLO), Hear(QUESTION), Say(QUESTION.into())];
    let case = connects([&ack[..], &talk].concat(), "heard \"how are you?\"");
    for name in ["handshake", "handshake_by_hand"] {
        let peer = case.peer();
        let run = start(name, &[peer.addr], &case.options()).finish();
        case.check(&run.about(peer.addr), &run);
        peer.finish();
    }
}

/// On loopback connect(2) has mostly succeeded or failed before we look. Here it does neither.
#[cfg(target_os = "linux")]
#[test]
fn a_peer_that_neither_accepts_nor_refuses_runs_into_the_deadline() {
    let case = fails(Vec::new(), &["failed: no answer in time"]);
    check(&Case { peer: Kind::NeverAccepts, ..case });
}

/// Goal: to be connected with oneself is to be refused, and leaves the port to the server that comes up.
/// Method: a kernel with two ports to give out. It takes the first for our end if it can, and that is
/// the one we call. After three attempts a server listens there (state 0A in /proc/net/tcp).
#[test]
fn a_socket_connected_with_itself_is_a_refusal_and_leaves_the_port_to_the_server() {
    const SCRIPT: &str = r#"
        "$1" 127.0.0.1:40007 --attempts 3 --ack-timeout 10s
        "$2" 127.0.0.1:40007 --status-interval 1h &
        while kill -0 $! && ! grep -q ' 0A ' /proc/net/tcp; do :; done
        "$1" 127.0.0.1:40007 --attempts 3 --ack-timeout 10s"#;
    let refused = fails(Vec::new(), &["failed: connection refused"]);
    let connected = connects(Vec::new(), "heard \"how are you?\"");
    for name in PROGRAMS {
        let Some(mut command) = shell_with_ports("40007 40008", SCRIPT) else { return };
        command.arg(find(name)).arg(SERVER);
        let run = launch(name, command).finish();
        let said = run.about("127.0.0.1:40007".parse().unwrap());
        let (first, second) = said.split_at(said.len().min(9));
        refused.check(first, &run);
        connected.check(second, &run);
    }
}

/// How many peers are called at once.
const CROWD: usize = 200;

/// Six hundred calls on a busy machine: some of the good ones need more than two seconds.
const CROWDED: [&str; 5] = ["--attempts", "3", "--seed", "7", "--ack-timeout=6s"];

/// A third of the crowd is bad, in every way there is. All three programs call at the same time: the
/// good peers are the same for all of them, or we would run out of the usual 1,024 descriptors.
#[test]
fn two_hundred_peers_at_once_do_not_get_in_each_others_way() {
    if !allow_descriptors(900) {
        return skipped("needs 900 descriptors");
    }
    let (good, bad) = (connects(echoes(), "heard \"how are you?\""), all_cases());
    let case = |n: usize| if n.is_multiple_of(3) { &bad[n / 3 % bad.len()] } else { &good };
    let good_peers: Vec<_> = (0..CROWD - CROWD.div_ceil(3)).map(|_| Rc::new(good.peer())).collect();
    let runs = PROGRAMS.map(|name| {
        let mut good_peers = good_peers.iter();
        let peer = |n: usize| match n.is_multiple_of(3) {
            true => Rc::new(case(n).peer()),
            false => Rc::clone(good_peers.next().unwrap()),
        };
        let peers: Vec<_> = (0..CROWD).map(peer).collect();
        let addrs: Vec<_> = peers.iter().map(|peer| peer.addr).collect();
        (start(name, &addrs, &CROWDED), peers)
    });
    for (running, peers) in runs {
        let run = running.finish();
        for (n, peer) in peers.iter().enumerate() {
            case(n).check(&run.about(peer.addr), &run);
        }
        assert_eq!(run.exit, Some(1), "{}: some of them are not connected", run.name);
        assert_eq!(run.lines.iter().filter(|line| line.contains("summary: ")).count(), CROWD);
        peers.into_iter().filter_map(Rc::into_inner).for_each(|peer| _ = peer.finish());
    }
    good_peers.into_iter().filter_map(Rc::into_inner).for_each(|peer| _ = peer.finish());
}

#[test]
fn a_peer_that_comes_up_late_is_connected_with() {
    for name in PROGRAMS {
        let peer = HostilePeer::refusing();
        let addr = peer.addr;
        let mut running = start(name, &[addr], &["--attempts", "100", "--ack-timeout", "10s"]);
        running.wait_for("failed: connection refused");
        let peer = peer.come_up(vec![echoes()]);
        let run = running.finish();
        assert!(run.about(addr).contains(&"heard \"how are you?\""), "{name}: {:#?}", run.lines);
        assert_eq!(run.exit, Some(0), "{name}");
        assert_eq!(peer.finish(), 1);
    }
}

/// Goal: no deadline and no pause is over early, and none is late by more than 50 ms.
/// Method: the program's own time stamps, of five attempts that run into the deadline. On a machine
/// that is busy with other things one of them may be late: so the least late one is measured.
#[test]
fn deadlines_and_pauses_are_kept() {
    for name in PROGRAMS {
        let peer = HostilePeer::new(vec![vec![]]);
        let options = ["--attempts", "5", "--ack-timeout", "100ms", "--verbose"];
        let run = start(name, &[peer.addr], &options).finish();
        let late = lateness(&run, 100.0);
        for (what, late) in ["deadlines", "pauses"].iter().zip(late) {
            let least = late.iter().copied().fold(f64::INFINITY, f64::min);
            println!("{name}: {what} late by {late:.3?} ms");
            // The stamps are rounded to a microsecond.
            assert!(least >= -0.001, "{name}: {what} over early: {late:?} ms");
            assert!(least <= 50.0, "{name}: {what} late: {late:?} ms");
        }
        peer.finish();
    }
}

/// How late, in milliseconds, each deadline and each pause was.
fn lateness(run: &Run, ack_timeout: f64) -> [Vec<f64>; 2] {
    let (mut deadlines, mut pauses) = (Vec::new(), Vec::new());
    // What should come next, and when.
    let (mut deadline, mut until) = (0.0, 0.0);
    for line in &run.lines {
        let (stamp, rest) = line.trim_start().split_once(' ').unwrap();
        let stamp: f64 = stamp.parse().unwrap();
        let (_, what) = rest.split_once(": ").unwrap();
        if what.starts_with("connecting") {
            if until > 0.0 {
                pauses.push(stamp - until);
            }
            deadline = stamp + ack_timeout;
        } else if what == "failed: no answer in time" {
            deadlines.push(stamp - deadline);
        } else if let Some(pause) = what.strip_prefix("pausing for ") {
            until = stamp + pause.trim_end_matches(" ms").parse::<f64>().unwrap();
        }
    }
    assert_eq!((deadlines.len(), pauses.len()), (5, 4), "{:#?}", run.lines);
    [deadlines, pauses]
}

/// Goal: to wait costs one socket, and no thread and no time of the processor.
/// Method: look at the program in /proc during its second attempt, two seconds after its start.
#[cfg(target_os = "linux")]
#[test]
fn waiting_costs_one_socket_and_nothing_else() {
    let mut runs = PROGRAMS.map(|name| {
        let peer = HostilePeer::new(vec![vec![]]);
        (name, start(name, &[peer.addr], &["--attempts", "2", "--ack-timeout", "2s"]), peer)
    });
    for (name, running, _) in &mut runs {
        running.wait_for(EXPECTING);
        running.wait_for(EXPECTING);
        let process = format!("/proc/{}", running.pid());
        assert_eq!(sockets(&process), 1, "{name}: sockets of attempts that are over are closed");
        assert_eq!(threads(&process), 1, "{name}");
        let ticks = processor_ticks(&process);
        assert!(ticks <= 10, "{name}: {ticks} hundredths of a second of processor time: it spins");
    }
    for (_, running, peer) in runs {
        running.finish();
        peer.finish();
    }
}

#[cfg(target_os = "linux")]
fn sockets(process: &str) -> usize {
    let descriptors = std::fs::read_dir(format!("{process}/fd")).unwrap();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

#[cfg(target_os = "linux")]
fn threads(process: &str) -> usize {
    std::fs::read_dir(format!("{process}/task")).unwrap().count()
}

/// proc_pid_stat(5): utime and stime are fields 14 and 15, counted from the one behind the name.
#[cfg(target_os = "linux")]
fn processor_ticks(process: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

/// Ctrl-Z and `fg`: a signal cuts the sleep short, and the deadline is still kept.
#[cfg(unix)]
#[test]
fn being_stopped_and_continued_ends_nothing() {
    let case = fails(vec![], &[SENDING, EXPECTING, "failed: no answer in time"]);
    let mut runs = PROGRAMS.map(|name| {
        let peer = case.peer();
        (start(name, &[peer.addr], &WAITING), peer)
    });
    for _ in 0..3 {
        for (running, _) in &mut runs {
            running.wait_for(EXPECTING);
            send_signal(running.pid(), Signal::Stop);
            eventually("it has stopped", || state(running.pid()).is_none_or(|state| state == 'T'));
            send_signal(running.pid(), Signal::Continue);
        }
    }
    for (running, peer) in runs {
        let run = running.finish();
        case.check(&run.about(peer.addr), &run);
        assert_eq!((run.exit, &*run.stderr), (Some(1), ""), "{}", run.name);
        peer.finish();
    }
}

/// Goal: an answer that is there when the deadline passes is an answer, though a signal has cut short
/// the very sleep that would have said so.
/// Method: the ack comes while the program is stopped, and the program goes on after the deadline.
#[cfg(unix)]
#[test]
fn an_ack_that_comes_while_we_are_stopped_counts_after_the_deadline() {
    let case = connects(vec![], "heard \"how are you?\"");
    let mut runs = PROGRAMS.map(|name| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (start(name, &[listener.local_addr().unwrap()], &WAITING), listener)
    });
    let mut peers = runs.each_mut().map(|(running, listener)| {
        running.wait_for(EXPECTING);
        let is = |states: &str| state(running.pid()).is_none_or(|state| states.contains(state));
        eventually("it sleeps", || is("S"));
        send_signal(running.pid(), Signal::Stop);
        eventually("it has stopped", || is("T"));
        let (mut peer, _) = listener.accept().unwrap();
        peer.read_exact(&mut [0; HELLO.len()]).unwrap();
        peer.write_all(HELLO).unwrap();
        peer
    });
    // Nothing can come. The read timeout is how long we keep the program stopped: as long as an attempt
    // may take.
    peers[0].set_read_timeout(Some(WAITING_TIMEOUT)).unwrap();
    assert!(peers[0].read(&mut [0]).is_err(), "it says something while it is stopped");
    for ((running, listener), peer) in runs.into_iter().zip(&mut peers) {
        send_signal(running.pid(), Signal::Continue);
        peer.set_read_timeout(Some(deadline())).unwrap();
        let answer = peer.read_exact(&mut [0; QUESTION.len()]);
        let _ = answer.and_then(|()| peer.write_all(QUESTION));
        drop(listener); // a second attempt would be refused
        let run = running.finish();
        case.check(&run.about(peer.local_addr().unwrap()), &run);
    }
}

/// The state of a process, as proc_pid_stat(5) says. `None`: this system has no such file.
#[cfg(unix)]
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The server of this very package.
const SERVER: &str = env!("CARGO_BIN_EXE_stage6-timers");

/// It would tell its status between our lines.
fn server() -> Server {
    Server::start_with(SERVER, &["--status-interval", "1h"])
}

#[test]
fn a_server_of_the_stages_is_a_peer() {
    let server = server();
    let case = connects(vec![], "heard \"how are you?\"");
    for name in PROGRAMS {
        let run = start(name, &[server.addr(); 50], &PATIENT).finish();
        assert_eq!(run.exit, Some(0), "{name}: {:#?}", run.lines);
        let run = start(name, &[server.addr()], &PATIENT).finish();
        case.check(&run.about(server.addr()), &run);
    }
    server.assert_still_serving();
}

/// While the server is stopped its kernel still accepts connections. Only the ack shows the truth.
#[cfg(unix)]
#[test]
fn a_server_that_is_stopped_is_tried_again_until_it_continues() {
    for name in PROGRAMS {
        let server = server();
        server.signal(Signal::Stop);
        let options = ["--ack-timeout", "200ms", "--attempts", "100"];
        let mut running = start(name, &[server.addr()], &options);
        for _ in 0..2 {
            running.wait_for("failed: no answer in time");
        }
        server.signal(Signal::Continue);
        let run = running.finish();
        assert!(run.about(server.addr()).contains(&"connected"), "{name}: {:#?}", run.lines);
        assert_eq!(run.exit, Some(0), "{name}: {:#?}", run.lines);
    }
}

#[track_caller]
fn check_usage(options: &[&str], expected: &str) {
    for name in PROGRAMS {
        let run = start(name, &[], options).finish();
        assert_eq!(run.exit, Some(2), "{name} {options:?}");
        assert_eq!(run.stderr, format!("error: {expected}; try --help\n"), "{name}");
        assert!(run.lines.is_empty(), "{name} {options:?}: {:?}", run.lines);
    }
}

#[test]
fn no_address_is_one_clear_line_and_exit_2() {
    check_usage(&[], "the following required arguments were not provided: <ADDR>...");
}

#[test]
fn an_address_that_does_not_parse_is_named_in_one_line_and_exit_2() {
    check_usage(
        &["127.0.0.1:9000", "localhost"],
        "invalid value 'localhost' for '<ADDR>...': expected an IP address and a port, \
         as in 127.0.0.1:9000 or [::1]:9000",
    );
}

#[test]
fn a_timeout_of_zero_is_one_clear_line_and_exit_2() {
    check_usage(
        &["127.0.0.1:9000", "--ack-timeout", "0s"],
        "invalid value '0s' for '--ack-timeout <DURATION>': expected a duration from 1ms to \
         365days, as in 500ms or 5s",
    );
}

#[test]
fn no_attempt_at_all_is_one_clear_line_and_exit_2() {
    check_usage(
        &["127.0.0.1:9000", "--attempts", "0"],
        "invalid value '0' for '--attempts <N>': expected a number from 1 to 1000",
    );
}

/// The two programs with `.await` differ in what is under it, and in nothing else.
#[test]
fn the_async_functions_are_the_same_word_for_word() {
    let functions = |source: &'static str| {
        let start = source.find("/// Tries until").unwrap();
        source[start..].replace("\r\n", "\n")
    };
    assert_eq!(
        functions(include_str!("../../examples/handshake_async.rs")),
        functions(include_str!("../../examples/handshake_by_hand.rs")),
    );
}

//! Servers in surroundings that fail: a log that is full, stuck or a terminal, a parent with its own limits.

use std::fs::{self, File};
use std::io::{self, Read};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{Server, arguments, command, found, wait};
use crate::testkit::descriptors;
use crate::testkit::patience::in_a_hurry;
use crate::watchdog::Watchdog;

impl Server {
    /// Starts it through another program, e.g. `env`, with what `prepare` changes, e.g. its stderr.
    #[track_caller]
    pub fn prepared(
        exe: &str,
        options: &[&str],
        through: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let exe = &*found(exe);
        let words = [through, &[exe]].concat();
        let mut command = command(words[0]);
        command.args(&words[1..]).args(arguments(exe, options, "127.0.0.1:0"));
        prepare(&mut command);
        let mut server = Self::spawn(command);
        if let Some(stderr) = server.child.stderr.take() {
            server.read_log_from(stderr);
        }
        server
    }

    /// Reads the log as it is written, from now on. Until then a pipe or a terminal of ours may fill up.
    pub fn read_log_from(&self, mut log: impl Read + Send + 'static) {
        let text = Arc::clone(&self.log);
        thread::spawn(move || {
            let (mut buf, mut passed_on) = ([0; 4096], 0);
            while let Ok(n @ 1..) = log.read(&mut buf) {
                let mut text = text.lock().expect("log");
                text.push_str(&String::from_utf8_lossy(&buf[..n]));
                if in_a_hurry() {
                    passed_on += pass_on(&text[passed_on..]);
                }
            }
            let text = text.lock().expect("log");
            if in_a_hurry() && passed_on < text.len() {
                pass_on(&format!("{}\n", &text[passed_on..]));
            }
        });
    }

    /// Changes a limit of the running server, e.g. `--fsize=unlimited:`. False where there is no prlimit(1).
    pub fn change_limit(&self, limit: &str) -> bool {
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &self.child.id().to_string(), limit]).stderr(Stdio::null());
        prlimit.status().is_ok_and(|status| status.success())
    }
}

/// Passes each whole line of a log on at once, for one who kills us and then asks what was last. Returns how many
/// bytes that was.
fn pass_on(text: &str) -> usize {
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    for line in text[..whole].lines() {
        // In one write, so that what is said elsewhere does not come between its parts.
        let line = format!("log: {line}\n");
        eprint!("{line}");
    }
    whole
}

/// Runs a server that is expected to end by itself, with what `prepare` changes.
#[track_caller]
pub fn run_prepared(exe: &str, args: &[&str], prepare: impl FnOnce(&mut Command)) -> Output {
    descriptors::take_a_few();
    let mut command = command(exe);
    prepare(command.args(args));
    let started = Watchdog::spawn(&mut command);
    let (mut child, _watchdog) = started.expect("cannot start the server");
    drop(command); // it holds a copy of the descriptors that `prepare` gave to it
    if let Err(why) = wait(&mut child) {
        let _ = child.kill();
        panic!("{why}");
    }
    child.wait_with_output().expect("cannot read what it said")
}

/// A pipe that is as small as the system makes it: 4 KiB on Linux.
#[cfg(unix)]
#[track_caller]
pub fn small_pipe() -> Option<(io::PipeReader, io::PipeWriter)> {
    let (reader, writer) = io::pipe().expect("cannot make a pipe");
    #[cfg(target_os = "linux")]
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).expect("F_SETPIPE_SZ");
    Some((reader, writer))
}

/// The same, filled up with empty lines: the next write(2) sleeps until we read.
#[cfg(unix)]
#[track_caller]
pub fn full_pipe() -> Option<(io::PipeReader, io::PipeWriter)> {
    use std::io::Write;

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    let (reader, mut writer) = small_pipe()?;
    // O_NONBLOCK belongs to the pipe, not to our descriptor: the server must not inherit it.
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("F_SETFL");
    for size in [4096, 1] {
        while writer.write(&[b'\n'; 4096][..size]).is_ok() {}
    }
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).expect("F_SETFL");
    Some((reader, writer))
}

/// A pseudo-terminal: the side of a person, who sees and types, and the side of a program. See pty(7).
#[cfg(target_os = "linux")]
#[track_caller]
pub fn terminal() -> Option<(File, File)> {
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::OpenOptionsExt;

    use nix::fcntl::OFlag;
    use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

    // openpty(3) lets every program inherit both sides. Then one that we start holds the person's side of its own
    // terminal open, and never sees it closed.
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let person = posix_openpt(flags).expect("cannot open a terminal");
    grantpt(&person).and_then(|()| unlockpt(&person)).expect("it is ours");
    let name = ptsname_r(&person).expect("it has a name");
    let mut options = File::options();
    let program = options.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(name);
    Some((OwnedFd::from(person).into(), program.expect("cannot open its other side")))
}

/// Whether poll(2) says that a terminal takes more.
#[cfg(target_os = "linux")]
#[track_caller]
pub fn takes_more(terminal: &File) -> bool {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    let mut wanted = [PollFd::new(terminal.as_fd(), PollFlags::POLLOUT)];
    poll(&mut wanted, PollTimeout::ZERO).expect("poll");
    wanted[0].any() == Some(true)
}

/// Pipes that can be filled without waiting: not here.
#[cfg(not(unix))]
pub fn small_pipe() -> Option<(io::PipeReader, io::PipeWriter)> {
    None
}

/// Pipes that can be filled without waiting: not here.
#[cfg(not(unix))]
pub fn full_pipe() -> Option<(io::PipeReader, io::PipeWriter)> {
    None
}

/// Terminals whose behaviour we have measured: not here.
#[cfg(not(target_os = "linux"))]
pub fn terminal() -> Option<(File, File)> {
    None
}

/// Terminals whose behaviour we have measured: not here.
#[cfg(not(target_os = "linux"))]
pub fn takes_more(_: &File) -> bool {
    true
}

/// A file without a name, opened twice: to write to, and to read from the beginning.
#[track_caller]
pub fn nameless_file() -> (File, File) {
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let name = format!("testkit-{}-{}", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let writer = File::create_new(&path).expect("cannot make a file");
    let reader = File::open(&path).expect("cannot open it again");
    let _ = fs::remove_file(&path);
    (writer, reader)
}

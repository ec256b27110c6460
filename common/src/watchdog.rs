//! Child processes that end with us, however we end.
//!
//! A value that is dropped can kill a child, but SIGKILL drops nothing, and the child goes on without us.
//! (prctl(2) with `PR_SET_PDEATHSIG` would prevent that, but the call belongs between fork and exec, where
//! Rust asks for `unsafe`.) So each child gets a shell that reads from a pipe. Only we hold the other end:
//! the kernel closes it when we end, and then the shell kills the child.

use std::io::{self, Write};
use std::process::{Child, Command, Stdio};

/// The first line is the ID of the child, the second says that the child has ended. If the input ends
/// instead, we have. Ctrl-C may kill us, and must not kill the shell before us.
const SCRIPT: &str =
    "trap '' HUP INT TERM; read -r child && { read -r ended || kill -9 \"$child\"; }";

/// Watches over a child until this is dropped, which is to be done when the child has ended: then its ID
/// may become another's. Unix only: elsewhere this does nothing.
pub struct Watchdog(Option<Child>);

impl Watchdog {
    /// Starts a child and watches over it.
    pub fn spawn(command: &mut Command) -> io::Result<(Child, Self)> {
        Self::spawn_as("", command)
    }

    /// The same for a child that leads a process group of its own, and for the group.
    pub fn spawn_group(leader: &mut Command) -> io::Result<(Child, Self)> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(leader, 0);
        // kill(1) knows a group by the minus in front.
        Self::spawn_as("-", leader)
    }

    /// Watches over a process that a child of ours has started.
    pub fn over(pid: u32) -> Self {
        let mut watchdog = Self::start();
        watchdog.tell(&format!("{pid}\n"));
        watchdog
    }

    fn spawn_as(kind: &str, command: &mut Command) -> io::Result<(Child, Self)> {
        // First, so that the child is hardly ever without it.
        let mut watchdog = Self::start();
        let child = command.spawn()?;
        watchdog.tell(&format!("{kind}{}\n", child.id()));
        Ok((child, watchdog))
    }

    fn start() -> Self {
        if cfg!(not(unix)) {
            return Self(None);
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT]);
        // What reads our output must not wait for the shell's.
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A signal for our group is not for the shell.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        // If it cannot be started, the child may outlive us. Nothing else depends on it.
        Self(shell.spawn().ok())
    }

    fn tell(&mut self, lines: &str) {
        if let Some(pipe) = self.0.as_mut().and_then(|shell| shell.stdin.as_mut()) {
            let _ = pipe.write_all(lines.as_bytes());
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.tell("\n\n"); // two, in case it was not told of a child
        if let Some(shell) = &mut self.0 {
            let _ = shell.wait();
        }
    }
}

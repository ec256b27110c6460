//! A server as a child process, which ends with the value that holds it.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use common::watchdog::Watchdog;

use super::os::{self, Cores, Usage};
use super::stop;

/// How long a server may take until it listens. Under valgrind that is seconds.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take to end when asked to. Stages 5 and 6 promise a second.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// How often we look, where there is nothing to wait on.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Where a foreign command wants to be told its address.
pub(super) const ADDR_PLACE: &str = "{addr}";

/// How to start a server.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    /// The program and its arguments; [`ADDR_PLACE`] in them stands for the address.
    pub(super) command: Vec<String>,
    /// It says `listening on ADDR` on its standard output. Then it can choose the port.
    pub(super) announces: bool,
}

/// A running server. It ends when this is dropped, and when we are killed.
pub(crate) struct Server {
    /// What we have started: the server, or what counts its calls.
    process: Child,
    /// The server itself.
    pub(crate) pid: u32,
    pub(crate) addr: SocketAddr,
    /// What ends `process` and the server if we are killed.
    watchdogs: Vec<Watchdog>,
}

impl Server {
    /// Starts a server, under `wrapper` if that is not empty, and waits until it listens.
    pub(super) fn start(
        launch: &Launch,
        wrapper: &[String],
        cores: &Cores,
    ) -> anyhow::Result<Self> {
        let wanted = if launch.announces { "127.0.0.1:0".parse()? } else { free_addr()? };
        let words = wrapper.iter().chain(&launch.command);
        let words: Vec<_> = words.map(|w| w.replace(ADDR_PLACE, &wanted.to_string())).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command.stdout(if launch.announces { Stdio::piped() } else { Stdio::null() });
        // What a server has to say about its clients belongs to no table.
        command.env("RUST_LOG", "off").stderr(Stdio::null());
        os::stay_on(&cores.server); // the child inherits it
        let process = Watchdog::spawn(&mut command);
        os::stay_on(&cores.generator);
        let (process, watchdog) = process.with_context(|| format!("cannot start {}", words[0]))?;
        let pid = process.id();
        let mut server = Self { pid, process, addr: wanted, watchdogs: vec![watchdog] };
        match launch.announces {
            true => server.addr = server.announced_addr()?,
            false => server.wait_until_it_accepts()?,
        }
        if let ([_, ..], Some(&child)) = (wrapper, os::children(server.pid).first()) {
            server.pid = child;
            server.watchdogs.push(Watchdog::over(child));
        }
        Ok(server)
    }

    /// Starts a server that chooses its port and says where it listens. What it says on stderr is for the caller.
    ///
    /// # Errors
    ///
    /// If it does not say where it listens. Then the error is what it has said instead.
    pub(crate) fn start_heard(mut command: Command) -> anyhow::Result<(Self, ChildStderr)> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (process, watchdog) = Watchdog::spawn(&mut command).context("cannot start it")?;
        let addr = SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), 0);
        let mut server = Self { pid: process.id(), process, addr, watchdogs: vec![watchdog] };
        let mut stderr = server.process.stderr.take().context("its stderr is a pipe")?;
        match server.announced_addr() {
            Ok(addr) => server.addr = addr,
            Err(error) => {
                drop(server);
                let mut said = String::new();
                let _ = stderr.read_to_string(&mut said); // it has ended, so this does too
                let last = said.lines().last().map(str::to_owned);
                return Err(last.map_or(error, anyhow::Error::msg));
            }
        }
        Ok((server, stderr))
    }

    /// How it has ended, if it has.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok()?
    }

    /// Reads `listening on ADDR`.
    fn announced_addr(&mut self) -> anyhow::Result<SocketAddr> {
        let stdout = self.process.stdout.take().context("its standard output is a pipe")?;
        let (tell, told) = mpsc::channel();
        // A thread, since a read from a pipe cannot be given a deadline. It ends with the server.
        thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = tell.send(line);
        });
        let deadline = Instant::now() + START_PATIENCE;
        while Instant::now() < deadline {
            stop::check()?;
            match told.recv_timeout(LOOK_EVERY) {
                Ok(line) => return parse_announcement(&line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(e) => bail!("it did not say where it listens: {e}"),
            }
        }
        bail!("it did not say within {} s where it listens", START_PATIENCE.as_secs())
    }

    fn wait_until_it_accepts(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_PATIENCE;
        // Until the server listens there, we may be connected with ourselves.
        while TcpStream::connect(self.addr).and_then(|s| common::refuse_self(&s)).is_err() {
            stop::check()?;
            if let Some(status) = self.process.try_wait()? {
                bail!("it ended at once: {status}");
            }
            if Instant::now() >= deadline {
                bail!("it did not listen on {} within {} s", self.addr, START_PATIENCE.as_secs());
            }
            thread::park_timeout(LOOK_EVERY); // nothing tells us when another process begins to listen
        }
        Ok(())
    }

    /// What it has used so far. `None` where the system does not tell.
    pub(super) fn usage(&self) -> Option<Usage> {
        os::usage(self.pid)
    }

    /// Asks it to end, and waits for that. What counts its calls writes down the result meanwhile.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        os::terminate(self.pid);
        let deadline = Instant::now() + END_PATIENCE;
        while self.process.try_wait()?.is_none() && Instant::now() < deadline {
            if cfg!(not(unix)) {
                break; // it cannot be asked
            }
            thread::park_timeout(LOOK_EVERY);
        }
        Ok(()) // and if it has not ended, `drop` does it the other way
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(Some(_))) {
            return;
        }
        // strace or perf, killed, would let go of the server and leave it running: so first the server.
        if self.pid != self.process.id() {
            os::kill(self.pid);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn parse_announcement(line: &str) -> anyhow::Result<SocketAddr> {
    let addr = line.trim_end().strip_prefix("listening on ").and_then(|addr| addr.parse().ok());
    addr.with_context(|| format!("expected 'listening on ADDR', it said '{}'", line.trim_end()))
}

/// A port that is free now. Another process may take it before the peer does; then that run fails.
fn free_addr() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_on_standard_output_says_where_to_connect() {
        let addr = parse_announcement("listening on 127.0.0.1:9000\n").unwrap();
        assert_eq!(addr, "127.0.0.1:9000".parse().unwrap());
        let error = parse_announcement("").unwrap_err();
        assert_eq!(error.to_string(), "expected 'listening on ADDR', it said ''");
    }
}

//! Who is measured: the six stages, the peers, and whom the user names.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context, bail};

use super::args::Args;
use super::scenes::Kind;
use super::server::{ADDR_PLACE, Launch};
use crate::exercises::root;

const STAGE1: &str = "stage1-blocking";
const STAGE3: &str = "stage3-nonblocking-busy";

/// The stages, and what each is told.
const STAGES: [(&str, &[&str]); 6] = [
    (STAGE1, &[]),
    ("stage2-threads", &[]),
    (STAGE3, &[]),
    ("stage4-epoll", &[]),
    ("stage5-mio", &[]),
    // Its timers are there and idle: a status line among the echoed bytes would be no echo.
    ("stage6-timers", &["--status-interval", "1day"]),
];

/// Peers that come with this program: the name and the arguments of `workshop peer`.
const TOKIO: [(&str, &[&str]); 3] =
    [("tokio", &[]), ("tokio-64k", &["--buffer", "65536"]), ("tokio-multi", &["--multi-thread"])];

/// The C server's name in the tables. The others are compared with it, where there is a compiler.
pub(super) const C: &str = "c";
/// Whom they are compared with otherwise.
pub(super) const TOKIO_CURRENT: &str = "tokio";

/// A server to measure.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(super) name: String,
    pub(super) launch: Launch,
}

/// `name=command with {addr}`.
impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, command) = text.split_once('=').unwrap_or_default();
        let command: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
        if name.is_empty() || !command.iter().any(|word| word.contains(ADDR_PLACE)) {
            return Err(format!("expected NAME=COMMAND with {ADDR_PLACE} in the command"));
        }
        Ok(Self { name: name.to_owned(), launch: Launch { command, announces: false } })
    }
}

impl Peer {
    fn ours(name: &str, program: &Path, args: &[&str]) -> Self {
        let program = program.to_string_lossy().into_owned();
        let mut command = vec![program];
        command.extend(args.iter().map(|&arg| arg.to_owned()));
        command.push(ADDR_PLACE.to_owned());
        Self { name: name.to_owned(), launch: Launch { command, announces: true } }
    }

    /// Why it makes no sense to measure it in this scene.
    pub(super) fn cannot(&self, kind: &Kind) -> Option<&'static str> {
        let alone = self.name == STAGE1 && kind.needs_two_at_once();
        alone.then_some("serves one client at a time")
    }

    /// Why what it does cannot be counted per message.
    pub(super) fn cannot_be_counted(&self) -> Option<&'static str> {
        (self.name == STAGE3)
            .then_some("never stops asking: what it does counts time, not messages")
    }
}

/// Everyone who was asked for, built and ready to start.
pub(super) fn assemble(args: &Args) -> anyhow::Result<Vec<Peer>> {
    let wanted = |name: &str| args.server.is_empty() || args.server.iter().any(|s| s == name);
    check_names(args)?;
    let us = env::current_exe().context("cannot tell where we are")?;
    let stages: Vec<_> = STAGES.into_iter().filter(|(name, _)| wanted(name)).collect();
    let mut peers = build_stages(&stages)?;
    if wanted(C) {
        match compile_c(us.parent().context("a program is in a directory")?) {
            Ok(program) => peers.push(Peer::ours(C, &program, &[])),
            Err(why) => common::print(format_args!("{C}: left out: {why:#}\n")),
        }
    }
    for (name, options) in TOKIO.into_iter().filter(|(name, _)| wanted(name)) {
        peers.push(Peer::ours(name, &us, &[&["peer"], options].concat()));
    }
    peers.extend(args.peer.iter().cloned());
    if peers.is_empty() {
        bail!("there is no server left to measure");
    }
    Ok(peers)
}

/// A name that no peer has would measure nothing, and say so in an empty table.
fn check_names(args: &Args) -> anyhow::Result<()> {
    let stages = STAGES.map(|(name, _)| name);
    let tokio = TOKIO.map(|(name, _)| name);
    let others = args.peer.iter().map(|peer| &*peer.name);
    let names: Vec<_> = stages.into_iter().chain([C]).chain(tokio).chain(others).collect();
    match args.server.iter().find(|server| !names.contains(&&***server)) {
        Some(unknown) => bail!("no server '{unknown}'; there are: {}", names.join(", ")),
        None => Ok(()),
    }
}

/// Builds the stages. cargo says where they are: a target folder and a target platform can be set in the environment and
/// in files that only cargo knows.
fn build_stages(stages: &[(&str, &[&str])]) -> anyhow::Result<Vec<Peer>> {
    if stages.is_empty() {
        return Ok(Vec::new());
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    let args = ["build", "--release", "--quiet", "--message-format=json-render-diagnostics"];
    command.args(args).current_dir(root()?).stderr(Stdio::inherit());
    for (stage, _) in stages {
        command.args(["-p", stage]);
    }
    let output = command.output().context("cannot start cargo to build the stages")?;
    if !output.status.success() {
        bail!("cannot build the stages: cargo ended with {}", output.status);
    }
    let peer = |&(name, options): &(&str, &[&str])| {
        let program = program_of(name, &output.stdout);
        let program = program.with_context(|| format!("cargo did not say where {name} is"))?;
        Ok(Peer::ours(name, &program, options))
    };
    stages.iter().map(peer).collect()
}

/// A line of `--message-format=json`, as far as we read it: the Cargo Book, "External Tools".
#[derive(serde::Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(serde::Deserialize)]
struct Target {
    name: String,
}

/// Where a program is, out of what cargo has said.
fn program_of(name: &str, said: &[u8]) -> Option<PathBuf> {
    let mut artifacts = said
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Artifact>(line).ok());
    artifacts.find_map(|artifact| artifact.executable.filter(|_| artifact.target.name == name))
}

/// Compiles the C server into a directory, where that is possible.
fn compile_c(dir: &Path) -> anyhow::Result<PathBuf> {
    if cfg!(not(target_os = "linux")) {
        bail!("it needs Linux");
    }
    let program = dir.join("epoll_echo");
    let mut command = Command::new("cc");
    command.args(["-O2", "-Wall", "-Wextra", "-o"]).arg(&program);
    command.arg(root()?.join("docs/c/epoll_echo.c"));
    match command.status().context("there is no C compiler `cc`")? {
        status if status.success() => Ok(program),
        status => bail!("cc ended with {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_name_and_a_command_that_is_told_its_address() {
        let peer: Peer = "go=./echo --listen {addr}".parse().unwrap();
        assert_eq!(peer.name, "go");
        assert_eq!(peer.launch.command, ["./echo", "--listen", "{addr}"]);
        assert!("go=./echo".parse::<Peer>().is_err());
        assert!("./echo {addr}".parse::<Peer>().is_err());
    }
}

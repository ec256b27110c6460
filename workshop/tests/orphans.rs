//! A test that is killed leaves no server behind. Here one is killed, with SIGKILL: nothing is dropped.
#![cfg(unix)]

use std::env;
use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use common::testkit::client::Client;
use common::testkit::server::Server;
use common::watchdog::Watchdog;

/// Set in the process that is to be killed.
const VICTIM: &str = "TEST_THAT_IS_KILLED";

/// What it says in front of the address of its server.
const SERVER: &str = "server: ";

#[test]
fn a_test_that_is_killed_takes_its_server_along() {
    if env::var_os(VICTIM).is_some() {
        return be_killed();
    }
    let mut command = Command::new(env::current_exe().expect("it runs"));
    command.args(["a_test_that_is_killed", "--nocapture"]).env(VICTIM, "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let (mut victim, _watchdog) = Watchdog::spawn(&mut command).expect("a test");
    let mut said = BufReader::new(victim.stdout.take().expect("a pipe"));
    let addr =
        said.by_ref().lines().map_while(Result::ok).find_map(|line| {
            line.strip_prefix(SERVER).map(|addr| addr.parse().expect("an address"))
        });
    let mut client = Client::new(
        TcpStream::connect::<std::net::SocketAddr>(addr.expect("it says so")).expect("it listens"),
    );
    client.round_trip(b"all is well");
    victim.kill().expect("it is ours");
    victim.wait().expect("it is ours");
    assert_eq!(client.read_to_end(), b"", "the server has ended");
    // What reads the output of a test does not wait for anything that the test has left behind.
    said.read_to_end(&mut Vec::new()).expect("a pipe");
}

/// Starts a server and waits. Its stdin ends if the other test ends before it has killed this one.
fn be_killed() {
    let server = Server::start_with(env!("CARGO_BIN_EXE_workshop"), &["peer"]);
    println!("\n{SERVER}{}", server.addr());
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
}

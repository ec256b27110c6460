//! The options of the six servers, and how any program here reads its own.

use std::net::SocketAddr;
use std::process;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Command};

use crate::accept::DEFAULT_MAX_CONNECTIONS;
use crate::stderr::say;

/// Where to listen: all that stages 1 and 2 can be told.
#[derive(Args, Clone, Debug)]
pub struct Address {
    /// IP address and port to listen on; port 0 takes a free one
    #[arg(default_value = "127.0.0.1:9000", value_parser = parse_addr)]
    pub addr: SocketAddr,
}

/// Where to listen and how many to serve: stages 3 to 5.
#[derive(Args, Clone, Debug)]
pub struct Limited {
    /// IP address and port to listen on; port 0 takes a free one
    #[arg(default_value = "127.0.0.1:9000", value_parser = parse_addr)]
    pub addr: SocketAddr,
    /// Connections at a time; a client that comes then waits until one leaves
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_CONNECTIONS, value_parser = parse_max, allow_hyphen_values = true)]
    pub max_connections: usize,
    /// Say on stderr, once a second, what the loop has done
    #[arg(long)]
    pub stats: bool,
}

/// What a server can be told that does something without being asked: stage 6.
#[derive(Args, Clone, Debug)]
pub struct Timed {
    /// IP address and port to listen on; port 0 takes a free one
    #[arg(default_value = "127.0.0.1:9000", value_parser = parse_addr)]
    pub addr: SocketAddr,
    /// Connections at a time; a client that comes then waits until one leaves
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_CONNECTIONS, value_parser = parse_max, allow_hyphen_values = true)]
    pub max_connections: usize,
    /// Say on stderr, once a second, what the loop has done
    #[arg(long)]
    pub stats: bool,
    /// How often every client is told the status, e.g. 500ms, 5s
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration, allow_hyphen_values = true)]
    pub status_interval: Duration,
    /// Close a client that has been silent for this long [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true)]
    pub idle_timeout: Option<Duration>,
}

/// Reads the options from the command line.
///
/// `--help` and `--version` print and exit with 0. Anything wrong is one line on stderr that names it,
/// and exit 2, as getopt(3) programs have it.
pub fn parse<T: Args>(program: &'static str) -> T {
    let matches = match command::<T>(program).try_get_matches() {
        Ok(matches) => matches,
        Err(error) => exit_with(&error),
    };
    T::from_arg_matches(&matches).unwrap_or_else(|error| exit_with(&error))
}

fn command<T: Args>(program: &'static str) -> Command {
    let server = "A TCP echo server: every byte a client sends comes back to it.";
    // Behind `augment_args`, which takes the first line of T's own documentation for it.
    T::augment_args(Command::new(program).version(env!("CARGO_PKG_VERSION"))).about(server)
}

fn exit_with(error: &clap::Error) -> ! {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        error.exit();
    }
    say(one_line(&error.to_string()));
    process::exit(2);
}

/// clap spreads an error over several paragraphs: what is wrong, perhaps a tip, the usage. We keep the
/// first, and the tip if it names what was meant, in one line.
fn one_line(text: &str) -> String {
    let mut paragraphs = text.split("\n\n").map(|paragraph| {
        paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
    });
    let mut line = paragraphs.next().unwrap_or_default();
    if let Some(tip) = paragraphs.find(|paragraph| paragraph.starts_with("tip: a similar")) {
        line += "; ";
        line += &tip;
    }
    line + "; try --help"
}

/// An IP address and a port. Not a name: to look one up takes a network, and time.
///
/// # Errors
///
/// Says what an address looks like.
pub fn parse_addr(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| match text.contains('%') {
        // std looks up no names; `ip link` and `ifconfig` tell the numbers.
        true => "expected the interface by its number, and a port, as in [fe80::1%2]:9000",
        false => "expected an IP address and a port, as in 127.0.0.1:9000 or [::1]:9000",
    })
}

fn parse_max(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=MAX_CONNECTIONS).contains(&n) => Ok(n),
        _ => Err(format!("expected a number from 1 to {MAX_CONNECTIONS}")),
    }
}

/// A million: what a token has room for, and about as many descriptors as Linux gives to a process
/// (`fs.nr_open` is 1,048,576).
const MAX_CONNECTIONS: usize = 1_000_000;

/// A duration as people write it. The poller counts in milliseconds (epoll_wait(2)), so a shorter one
/// cannot be kept; and a year can still be added to any point in time without overflow.
///
/// # Errors
///
/// Says what a duration looks like.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const SHORTEST: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    match humantime::parse_duration(text) {
        Ok(duration) if (SHORTEST..=LONGEST).contains(&duration) => Ok(duration),
        _ => Err("expected a duration from 1ms to 365days, as in 500ms or 5s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn timed(args: &[&str]) -> Result<Timed, String> {
        command::<Timed>("stage6-timers")
            .no_binary_name(true)
            .try_get_matches_from(args)
            .and_then(|matches| Timed::from_arg_matches(&matches))
            .map_err(|error| one_line(&error.to_string()))
    }

    #[test]
    fn everything_has_a_default() {
        let options = timed(&[]).unwrap();
        assert_eq!(options.addr, "127.0.0.1:9000".parse().unwrap());
        assert_eq!(options.max_connections, DEFAULT_MAX_CONNECTIONS);
        assert_eq!(options.status_interval, Duration::from_secs(10));
        assert_eq!(options.idle_timeout, None);
    }

    #[test]
    fn the_help_begins_with_what_the_program_is() {
        let help = command::<Timed>("stage6-timers").render_help().to_string();
        assert!(help.starts_with("A TCP echo server: "), "{help}");
    }

    #[test]
    fn addresses_durations_and_numbers_are_understood() {
        let args = ["[::1]:0", "--max-connections", "7", "--status-interval=500ms"];
        let options = timed(&args).unwrap();
        assert_eq!(options.addr, "[::1]:0".parse().unwrap());
        assert_eq!(options.max_connections, 7);
        assert_eq!(options.status_interval, Duration::from_millis(500));
    }

    /// What the server says to these arguments, without the hint to try --help at the end.
    #[track_caller]
    fn check_error(args: &[&str], expected: &str) {
        let line = timed(args).unwrap_err();
        assert_eq!(line.lines().count(), 1, "{line}");
        assert_eq!(line.strip_suffix("; try --help"), Some(expected));
    }

    #[test]
    fn a_bad_address_is_named_in_one_line() {
        check_error(
            &["localhost"],
            "error: invalid value 'localhost' for '[ADDR]': expected an IP address and a port, as in 127.0.0.1:9000 or [::1]:9000",
        );
    }

    #[test]
    fn a_bad_option_is_named_in_one_line_with_the_one_that_was_meant() {
        check_error(
            &["--max-connection", "7"],
            "error: unexpected argument '--max-connection' found; tip: a similar argument exists: '--max-connections'",
        );
        check_error(&["-x"], "error: unexpected argument '-x' found");
    }

    #[test]
    fn a_zero_interval_is_refused_because_it_would_never_sleep() {
        check_error(
            &["--status-interval", "0s"],
            "error: invalid value '0s' for '--status-interval <DURATION>': expected a duration from 1ms to 365days, as in 500ms or 5s",
        );
        assert!(timed(&["--idle-timeout", "1us"]).is_err());
        assert!(timed(&["--idle-timeout", "1000years"]).is_err());
    }

    #[test]
    fn a_value_that_begins_with_a_hyphen_is_named_with_its_option() {
        check_error(
            &["--idle-timeout", "-5s"],
            "error: invalid value '-5s' for '--idle-timeout <DURATION>': expected a duration from 1ms to 365days, as in 500ms or 5s",
        );
        check_error(
            &["--max-connections", "-1"],
            "error: invalid value '-1' for '--max-connections <N>': expected a number from 1 to 1000000",
        );
    }

    #[test]
    fn an_interface_is_named_by_its_number() {
        assert!(timed(&["[fe80::1%2]:9000"]).is_ok());
        check_error(
            &["[fe80::1%eth0]:9000"],
            "error: invalid value '[fe80::1%eth0]:9000' for '[ADDR]': expected the interface by its number, and a port, as in [fe80::1%2]:9000",
        );
    }

    #[test]
    fn a_server_for_no_client_is_refused() {
        check_error(
            &["--max-connections", "0"],
            "error: invalid value '0' for '--max-connections <N>': expected a number from 1 to 1000000",
        );
    }
}

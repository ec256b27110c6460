//! How many descriptors this process may have.

/// Descriptors that are no client's: stdin, stdout, stderr and our own copy of it, the listener, the
/// poller and what it wakes up by, the signals; and a few to spare.
#[cfg(unix)]
const OURS: usize = 16;

/// Makes room for so many clients. A process may have as many descriptors as its *soft* limit says, often
/// 1,024 (256 on macOS), for the sake of programs that use select(2). It may raise that up to the *hard*
/// limit by itself: getrlimit(2). If that is not enough, the log says for how many clients it is.
#[cfg(unix)]
pub fn make_room_for(clients: usize) {
    use nix::libc::rlim_t;
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    /// macOS refuses more, whatever the hard limit says.
    const OPEN_MAX: rlim_t = 10_240;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = (clients + OURS) as rlim_t;
    let raise = |to: &rlim_t| *to > soft && setrlimit(Resource::RLIMIT_NOFILE, *to, hard).is_ok();
    let raised = [wanted.min(hard), OPEN_MAX.min(wanted).min(hard)].into_iter().find(raise);
    let now = raised.unwrap_or(soft);
    if now < wanted {
        let room = (now as usize).saturating_sub(OURS);
        tracing::warn!(max_connections = clients, "there are descriptors for {room} clients only");
    }
}

/// There is no such limit here.
#[cfg(not(unix))]
pub fn make_room_for(_: usize) {}

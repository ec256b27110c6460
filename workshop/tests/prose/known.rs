//! Names that are not ours. Those of Rust's and tokio's libraries are used here, so the compiler knows that they exist.

#![allow(unused_imports, dead_code)]

use std::cell::{BorrowMutError, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Wake};
use std::time::SystemTime;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::words::{Words, without_comments};

fn of_std() {
    let _ = std::thread::Builder::spawn::<fn(), ()>;
    let _ = std::thread::park;
    let _ = HashMap::try_reserve as fn(&mut HashMap<u8, u8>, _) -> _;
    let _ = std::vec::Vec::try_reserve_exact as fn(&mut Vec<u8>, _) -> _;
    let _ = std::io::Write::write_all as fn(&mut Vec<u8>, _) -> _;
    let _ = [ErrorKind::AddrNotAvailable, ErrorKind::FileTooLarge, ErrorKind::ConnectionRefused];
    let _: std::task::Poll<()> = std::task::Poll::Pending;
    let _ = (None::<std::task::Waker>, None::<Arc<AtomicUsize>>);
    let _ = std::task::Wake::wake as fn(Arc<Waker>);
    std::eprintln!();
}

struct Waker;

impl Wake for Waker {
    fn wake(self: Arc<Self>) {}
}

async fn of_tokio(listener: &TcpListener, mut buf: [u8; 1]) -> io::Result<()> {
    use tokio::time::MissedTickBehavior::{Burst, Delay, Skip};
    let _ = tokio::time::MissedTickBehavior::default();
    let _ = tokio::runtime::Runtime::block_on::<std::future::Ready<()>>;
    let _ = tokio::time::Sleep::reset;
    let _ = tokio::time::interval;
    let _ = tokio::time::timeout::<std::future::Ready<()>>;
    let _ = TcpStream::try_read;
    let _: fn(Pin<&mut TcpStream>, &mut Context<'_>, &mut ReadBuf<'_>) -> _ = AsyncRead::poll_read;
    let (mut stream, _) = listener.accept().await?;
    let n = stream.read(&mut buf).await?;
    stream.write_all(&buf[..n]).await?;
    tokio::spawn(async move { echo(stream).await });
    Ok(())
}

async fn echo(_: TcpStream) {}

fn of_mio(events: &mio::Events) -> bool {
    let _ = mio::Waker::wake;
    events.is_empty()
}

#[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
fn of_socket2(socket: &socket2::Socket) -> io::Result<()> {
    socket.set_reuse_port(true)?;
    Ok(())
}

/// In tokio behind features that the workspace does without.
const TOKIO: &str =
    "tokio::select! tokio::signal::ctrl_c tokio::sync::Semaphore tokio::time::pause advance";

/// Words of the language.
const RUST: &str = "unsafe Sync #[path] async fn";

const MAN: &str = "accept(2) accept4(2) bind(2) brk(2) clone(2) clone3(2) close(2) connect(2) dup(2) epoll_create1(2) \
    epoll_ctl(2) epoll_wait(2) epoll_pwait(2) eventfd(2) fcntl(2) fork(2) getpeername(2) getsockname(2) getsockopt(2) ioctl(2) kevent(2) \
    listen(2) mmap(2) open(2) poll(2) prlimit64(2) read(2) recv(2) recvfrom(2) rt_sigaction(2) rt_sigprocmask(2) seccomp(2) \
    send(2) sendto(2) setrlimit(2) setsockopt(2) shutdown(2) signalfd(2) socket(2) socketpair(2) timerfd_create(2) write(2) \
    clock_gettime(2) errno(3) getaddrinfo(3) pthread_create(3) proc_pid_status(5) epoll(7) pipe(7) pthreads(7) signal(7) \
    signal-safety(7) socket(7) tcp(7)";

/// Of the manual pages above: options, flags, errors, signals, limits, states.
const CONSTANTS: &str = "SO_REUSEADDR SO_REUSEPORT SO_OOBINLINE SO_KEEPALIVE SO_LINGER SO_RCVTIMEO SO_ERROR \
    TCP_USER_TIMEOUT TCP_NODELAY SHUT_WR MSG_OOB MSG_NOSIGNAL SOCK_NONBLOCK SOCK_CLOEXEC FIONBIO \
    EPOLLIN EPOLLOUT EPOLLPRI EPOLLRDHUP EPOLLET EPOLLEXCLUSIVE EPOLL_CTL_ADD EPOLL_CTL_MOD EPOLL_CTL_DEL \
    EADDRINUSE EADDRNOTAVAIL EAGAIN ECONNREFUSED ECONNRESET EFBIG EINPROGRESS EMFILE ENFILE ENOSPC ENOTCONN EPERM \
    SA_RESTART SIGALRM SIGCONT SIGPIPE SIGTSTP CLOCK_MONOTONIC FD_SETSIZE PIPE_BUF RLIMIT_AS IXON ESTAB TIME_WAIT";

/// What Linux shows and can be told: paths, settings, the columns of `ss`.
const SYSTEM: &str = "/proc/PID/smaps_rollup /proc/sys/fs/epoll/max_user_watches fs.epoll.max_user_watches \
    /proc/sys/kernel/yama/ptrace_scope events=… data u32 u64 net.ipv4.tcp_migrate_req Recv-Q Send-Q rb tb";

/// Programs that a reader may call, and what other programs than ours have.
const PROGRAMS: &str = "fg nc ncat strace sudo telnet top less";

/// Variables that libraries look at: `tracing-subscriber`'s, and the ones that terminals have agreed on.
const ENVIRONMENT: &str = "RUST_LOG=debug NO_COLOR=1 TERM=dumb";

/// What the kernel's errors are called in words.
pub(crate) const ERRORS: [&str; 4] =
    ["Interrupted system call", "Connection reset by peer", "Connection reset", "timed out"];

/// Files of other programs: VS Code's settings, and where rust-analyzer and cargo build.
const FILES: &str = "settings.json target/rust-analyzer target/debug/examples";

/// Other people's crates, and what they call things: io-uring, compio, haproxy, nginx and Windows.
const OTHERS: &str = "io-uring SubmissionQueue::push compio-driver Proactor::push Proactor::pop signal-hook send-proxy-v2 \
    WSAPoll lingering_close lingering_time lingering_timeout \
    end sD";

/// All of them.
pub(crate) fn words() -> Words {
    let mut words = Words::default();
    // Not this function, nor how the names get here.
    let names = include_str!("known.rs").split("\n/// All of them").next().unwrap_or_default();
    words.add(&without_comments(names));
    words
}

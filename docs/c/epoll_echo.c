/* A TCP echo server in C: one thread, epoll(7), edge-triggered.
 *
 * The same server as stage 5, in the language of the man pages, to be read beside chapter 4 and to be
 * measured against. It is tight on purpose: no map, no library, no allocation for a client who takes
 * back what it sends.
 *
 *           +--------------------- one turn of the loop ----------------------+
 *   sleep ->| events mark clients | each marked client's turn | accept the new |--+
 *     ^     +------------------------------------------------------------------+  |
 *     +------- until an event; not at all while a client is due another turn <----+
 *
 *   cc -O2 -o epoll_echo epoll_echo.c && ./epoll_echo 127.0.0.1:9000
 */
#define _GNU_SOURCE /* accept4(2), EPOLLRDHUP */

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* How much one read(2) asks for: 64 KiB, and one byte more, since people send round numbers. A read that
 * fills the buffer cannot tell whether it was the last one. */
#define READ_SIZE (64 * 1024 + 1)
/* Reads per client and turn. More of them save some epoll_wait(2); fewer are fairer to the others. */
#define READS_PER_TURN 16
/* Events taken from the kernel at a time. The others keep until the next turn. */
#define EVENTS_PER_TURN 1024
/* Clients served per turn, which is how long a signal has to wait. The others stay due, in their order. */
#define CLIENTS_PER_TURN 256
/* Clients taken in per turn: about a millisecond's worth. */
#define ACCEPTS_PER_TURN 128
/* Failures of accept(2) in a row that are each taken for one client's; then the trouble is ours. */
#define MAX_ACCEPT_FAILURES 64
/* Handshakes the kernel finishes ahead of accept(2): Linux's own upper limit, net.core.somaxconn. */
#define BACKLOG 4096
/* The most clients at a time, and so the most memory: each can be owed READ_SIZE bytes. */
#define DEFAULT_MAX_CONNECTIONS 16384
#define MOST_CONNECTIONS 1000000
/* How soon to try accept(2) again when there was no descriptor: another process may have given one back. */
#define RETRY_MILLIS 1000
/* How long the clients have, in all, to take what we owe and to leave after we were told to stop. */
#define STOP_MILLIS 500
/* A machine that was switched off says no goodbye. The kernel asks after a minute of silence, and gives up
 * after two: 60 s + 6 * 10 s. While we owe bytes it does not ask, so they have a limit of their own: two
 * minutes in which the client takes none of them, even if it is there. */
#define KEEPALIVE_IDLE_SECONDS 60
#define KEEPALIVE_INTERVAL_SECONDS 10
#define KEEPALIVE_PROBES 6
#define UNACKNOWLEDGED_MILLIS 120000

/* One client. What the kernel tells us once and we have not used up is a flag here. */
struct connection {
    char *owed;         /* what the kernel would not take yet; NULL: nothing */
    uint32_t owed_len;  /* how many bytes that is */
    uint32_t owed_sent; /* how many of them have gone out since */
    bool open;          /* this slot is a client */
    bool due;           /* it is in the list of those who get a turn */
    bool may_read;      /* there may be bytes to read */
    bool must_drain;    /* FIN, an error or an urgent byte lies behind the bytes: no event will come */
    bool parting;       /* we stop, and it has had its last answer: what it still sends is discarded */
    bool fin_sent;      /* and nothing is owed: our FIN is on its way */
};

/* The clients, by descriptor: the kernel gives the lowest free number, so the table stays dense. */
static struct connection *connections;
static size_t slots;
static size_t clients;
static size_t max_connections = DEFAULT_MAX_CONNECTIONS;

/* The clients that are due a turn, each once, and behind them those that come back in this very turn. */
static int *due;
static size_t due_len;

static int epoll_fd, listen_fd, signal_fd;
static bool accept_pending; /* stays true until accept4(2) itself says that none is left */
static int64_t retry_at;    /* no accept4(2) before that, unless a client leaves */
static int64_t stop_at;     /* when a stop is over, even for clients that are left; 0: no signal yet */
static char buf[READ_SIZE]; /* every client reads into this one */

enum outcome { WAIT, AGAIN, DONE };

static _Noreturn void die(const char *what) {
    fprintf(stderr, "epoll_echo: %s: %s\n", what, strerror(errno));
    exit(1);
}

static _Noreturn void usage(const char *problem, const char *word) {
    fprintf(stderr, "epoll_echo: %s '%s'; usage: epoll_echo [--max-connections N] [ADDR]\n", problem, word);
    exit(2);
}

/* --- one client ---------------------------------------------------------------------------------- */

/* Writes until all is taken or the kernel's buffer is full; only EAGAIN obliges it to tell us when there
 * is room again. Returns how many bytes it took, or -1: the connection is over. */
static ssize_t send_all(int fd, const char *bytes, size_t len) {
    size_t taken = 0;
    while (taken < len) {
        ssize_t n = send(fd, bytes + taken, len - taken, MSG_NOSIGNAL);
        if (n >= 0)
            taken += (size_t)n;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            return -1;
    }
    return (ssize_t)taken;
}

/* Keeps what the kernel did not take. It is never more than one read, for while we owe we do not read. */
static bool keep(struct connection *c, const char *bytes, size_t len) {
    c->owed = malloc(len);
    if (c->owed == NULL)
        return false;
    memcpy(c->owed, bytes, len);
    c->owed_len = (uint32_t)len;
    c->owed_sent = 0;
    return true;
}

/* Sends what is owed. False: the connection is over. */
static bool flush_owed(int fd, struct connection *c) {
    if (c->owed == NULL)
        return true;
    ssize_t n = send_all(fd, c->owed + c->owed_sent, c->owed_len - c->owed_sent);
    if (n < 0)
        return false;
    c->owed_sent += (uint32_t)n;
    if (c->owed_sent == c->owed_len) {
        free(c->owed);
        c->owed = NULL;
    }
    return true;
}

/* One read(2), and the bytes back, straight from the shared buffer. */
static enum outcome echo(int fd, struct connection *c) {
    ssize_t n = read(fd, buf, READ_SIZE);
    if (n < 0 && errno == EINTR)
        return AGAIN;
    if (n < 0 && errno == EAGAIN) {
        c->may_read = c->must_drain = false;
        return WAIT;
    }
    if (n <= 0)
        return DONE; /* the FIN, and nothing is owed; or an error */
    /* A short read has emptied the socket: epoll(7), the last question. It saves the read(2) that only
     * says EAGAIN. But perhaps there is one more thing to read. */
    c->may_read = c->must_drain || n == READ_SIZE;
    if (c->parting)
        return c->may_read ? AGAIN : WAIT;
    ssize_t sent = send_all(fd, buf, (size_t)n);
    if (sent < 0 || (sent < n && !keep(c, buf + sent, (size_t)(n - sent))))
        return DONE;
    return c->owed == NULL && c->may_read ? AGAIN : WAIT;
}

/* The goodbye, when we stop: no more answers, and behind what we owe our FIN. Then we take in what comes and
 * wait for the client's own end, even of a silent one. close(2) with input unread, or a word from the client
 * after close(2), is a reset; and a reset destroys what is still on its way to the client. */
static void part(int fd, struct connection *c) {
    c->parting = true;
    if (c->owed != NULL || c->fin_sent)
        return;
    shutdown(fd, SHUT_WR); /* once, since each time is an event */
    c->fin_sent = true;
}

/* One turn: what we owe, then some reads. While we owe we do not read: the bytes stay in the kernel, TCP
 * closes the window, and the client has to wait. */
static enum outcome turn(int fd, struct connection *c) {
    if (!flush_owed(fd, c))
        return DONE;
    enum outcome next = c->owed == NULL && c->may_read ? AGAIN : WAIT;
    for (int i = 0; i < READS_PER_TURN && next == AGAIN; i++)
        next = echo(fd, c);
    if (stop_at != 0 && next != DONE)
        part(fd, c);
    return next;
}

/* --- the loop ------------------------------------------------------------------------------------ */

static void push_due(int fd) {
    connections[fd].due = true;
    due[due_len++] = fd;
}

/* Closing the last descriptor of a socket also takes it out of the epoll set. */
static void close_client(int fd) {
    free(connections[fd].owed);
    connections[fd] = (struct connection){0};
    clients--;
    close(fd);
    retry_at = 0; /* a descriptor for the next one */
}

static void serve_client(int fd) {
    struct connection *c = &connections[fd];
    c->due = false;
    switch (turn(fd, c)) {
    case WAIT:
        break;
    case AGAIN:
        push_due(fd);
        break;
    case DONE:
        close_client(fd);
        break;
    }
}

/* The first clients that are due, each in its turn. Those that are due another come behind the rest. */
static void serve_due(void) {
    size_t len = due_len < CLIENTS_PER_TURN ? due_len : CLIENTS_PER_TURN;
    for (size_t i = 0; i < len; i++)
        serve_client(due[i]);
    due_len -= len;
    if (due_len > 0) /* seldom, and a memmove(3) of nothing takes 15 instructions */
        memmove(due, due + len, due_len * sizeof *due);
}

static int64_t now_millis(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int millis_until(int64_t when) {
    int64_t left = when - now_millis();
    return left > 0 ? (int)left : 0;
}

/* Makes room for a client with this descriptor. */
static bool have_slot(int fd) {
    size_t want = slots == 0 ? 64 : slots;
    while (want <= (size_t)fd)
        want *= 2;
    if (want == slots)
        return true;
    struct connection *table = realloc(connections, want * sizeof *table);
    if (table == NULL)
        return false;
    memset(table + slots, 0, (want - slots) * sizeof *table);
    connections = table;
    slots = want;
    return true;
}

/* False: there is no memory for this client, or no place in the epoll set. */
static bool admit(int fd) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET, .data.fd = fd};
    if (!have_slot(fd) || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        close(fd);
        return false;
    }
    connections[fd] = (struct connection){.open = true};
    clients++;
    return true;
}

static void accept_ready(void) {
    static int failures; /* since the last client that came in */
    for (int i = 0; i < ACCEPTS_PER_TURN && clients < max_connections; i++) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 && admit(fd)) {
            failures = 0;
            continue;
        }
        switch (fd >= 0 ? ENOMEM : errno) {
        case EAGAIN:
            accept_pending = false;
            return;
        case EBADF:
        case EFAULT:
        case EINVAL:
        case ENOTSOCK:
            die("accept4");
        default: /* this one has gone already: accept(2), "Error handling" */
            if (++failures < MAX_ACCEPT_FAILURES)
                break;
            /* fall through */
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            failures = 0;
            retry_at = now_millis() + RETRY_MILLIS;
            return;
        }
    }
}

static void mark(const struct epoll_event *event) {
    struct connection *c = &connections[event->data.fd];
    /* A read stops short in front of an urgent byte: EPOLLPRI. */
    if (event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI))
        c->must_drain = true;
    /* Not closed here: on HUP and ERR the bytes that came before are still to be read. */
    if (c->must_drain || event->events & EPOLLIN)
        c->may_read = true;
    if (!c->due)
        push_due(event->data.fd);
}

/* How many milliseconds the backlog has to wait; -1: until an event. */
static int accept_in(void) {
    return accept_pending && clients < max_connections ? millis_until(retry_at) : -1;
}

/* How long to sleep in epoll_wait(2); -1: until an event. */
static int timeout(void) {
    if (due_len > 0)
        return 0;
    return stop_at != 0 ? millis_until(stop_at) : accept_in();
}

static int wait_for(struct epoll_event *events, int millis) {
    int n = epoll_wait(epoll_fd, events, EVENTS_PER_TURN, millis);
    if (n < 0 && errno != EINTR)
        die("epoll_wait");
    return n < 0 ? 0 : n; /* EINTR: Ctrl-Z and fg is enough for that */
}

/* The same loop goes on for a while, but no client comes in, and each one has a last turn. */
static void stop(void) {
    close(listen_fd); /* before we say so: from here on a new client is refused, and can try elsewhere */
    close(signal_fd);
    accept_pending = false;
    stop_at = now_millis() + STOP_MILLIS;
    for (size_t fd = 0; fd < slots; fd++)
        if (connections[fd].open && !connections[fd].due)
            push_due((int)fd);
    struct pollfd err = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&err, 1, 0) == 1 && err.revents == POLLOUT) /* or write(2) may sleep: a full pipe, Ctrl-S */
        fprintf(stderr, "epoll_echo: stopping, with %zu connections\n", clients);
}

/* Returns when a signal has told us to stop, and the clients have left or their time is up. */
static void run(void) {
    static struct epoll_event events[EVENTS_PER_TURN];
    while (stop_at == 0 || (clients > 0 && millis_until(stop_at) > 0)) {
        bool told = false;
        int n = wait_for(events, timeout());
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == signal_fd)
                told = true;
            else if (events[i].data.fd == listen_fd)
                accept_pending = true;
            else
                mark(&events[i]);
        }
        if (told) /* not before the whole batch is marked: its events do not come again */
            stop();
        serve_due();
        if (accept_in() == 0) /* last: who left during this turn has made room */
            accept_ready();
    }
}

/* --- the start ----------------------------------------------------------------------------------- */

/* A number from min to max, and nothing behind it. */
static bool is_number(const char *text, unsigned long min, unsigned long max) {
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && n >= min && n <= max;
}

/* "127.0.0.1:9000" or "[::1]:9000". */
static struct addrinfo *parse_addr(const char *text) {
    char host[256];
    const char *colon = strrchr(text, ':');
    /* getaddrinfo(3) would take 99999 for a port, and cut it to 16 bits. */
    if (colon == NULL || (size_t)(colon - text) >= sizeof host || !is_number(colon + 1, 0, UINT16_MAX))
        usage("bad address", text);
    bool brackets = text[0] == '[' && colon > text && colon[-1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(colon - text) - 2 * brackets, text + brackets);
    struct addrinfo *found;
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
        usage("bad address", text);
    return found;
}

static void listen_on(const char *text) {
    static const struct { int level, name, value; } options[] = {
        {SOL_SOCKET, SO_REUSEADDR, 1},
        /* On Linux the clients' sockets inherit the rest. */
        {SOL_SOCKET, SO_OOBINLINE, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED_MILLIS},
        {IPPROTO_TCP, TCP_NODELAY, 1}, /* or a second small write waits for the first's ACK, 40 ms */
    };
    struct addrinfo *addr = parse_addr(text);
    listen_fd = socket(addr->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (listen_fd < 0 ||
            setsockopt(listen_fd, options[i].level, options[i].name, &options[i].value, sizeof(int)) < 0)
            die(text);
    if (bind(listen_fd, addr->ai_addr, addr->ai_addrlen) < 0 || listen(listen_fd, BACKLOG) < 0)
        die(text);
    freeaddrinfo(addr);
}

/* Says where we listen: with port 0 only the kernel knows. */
static void announce(void) {
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr;
    char host[64], port[16];
    if (getsockname(listen_fd, (struct sockaddr *)&addr, &len) < 0)
        die("getsockname");
    getnameinfo((struct sockaddr *)&addr, len, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    printf(addr.ss_family == AF_INET6 ? "listening on [%s]:%s\n" : "listening on %s:%s\n", host, port);
    fflush(stdout); /* a pipe is not a terminal: the line could stay in our own buffer */
}

static void watch(int fd, uint32_t how) {
    struct epoll_event event = {.events = how, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

/* As many descriptors as we may have. The soft limit is low only for the sake of select(2). */
static void raise_limit(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        die("getrlimit");
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files); /* if it fails, we go on with those that we have */
}

/* SIGINT and SIGTERM become readable bytes: one more descriptor to sleep on. */
static int open_signals(void) {
    signal(SIGPIPE, SIG_IGN); /* that a line cannot be written is no reason to end */
    signal(SIGXFSZ, SIG_IGN); /* the same for a file at its limit (RLIMIT_FSIZE) */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

int main(int argc, char **argv) {
    const char *addr = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--max-connections") == 0 && i + 1 < argc) {
            if (!is_number(argv[++i], 1, MOST_CONNECTIONS))
                usage("expected a number of connections, not", argv[i]);
            max_connections = strtoul(argv[i], NULL, 10);
        } else if (argv[i][0] == '-') {
            usage("unknown option", argv[i]);
        } else if (addr != NULL) {
            usage("one address is enough, not also", argv[i]);
        } else {
            addr = argv[i];
        }
    }
    raise_limit();
    signal_fd = open_signals();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    due = malloc((max_connections + CLIENTS_PER_TURN) * sizeof *due);
    if (signal_fd < 0 || epoll_fd < 0 || due == NULL)
        die("cannot start");
    listen_on(addr != NULL ? addr : "127.0.0.1:9000");
    watch(listen_fd, EPOLLIN | EPOLLET);
    watch(signal_fd, EPOLLIN);
    announce();
    run();
    return 0;
}

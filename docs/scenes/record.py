"""Records one scene: a real server, stopped by gdb at each of its system calls, and clients that act in between.

docs/scenes/record calls this, inside gdb. A scene is written by hand in docs/scenes/NAME.toml:

    title, about, program, options, clients    what it is called, what happens, which server, who connects to it
    small_buffers = true                       the kernel's buffers are a few KB, so that one can see them fill
    hide = ["epoll_ctl"]                       calls that are made and are not steps
    script = [...]                             what happens, in order:

        "A connects"                           connect(2), until the kernel has shaken hands
        "A sends hello", "A sends 40000"       these letters, or so many bytes; what the kernel does not take waits in A
        "A reads all", "A reads 5"             what has arrived, or at most so much of it
        "A sends its FIN"                      shutdown(2): A will send no more
        "A closes", "A resets"                 close(2), and close(2) with SO_LINGER 0
        "server until asleep"                  call by call, until the server stands before a call that will sleep
        "server 3 calls"                       so many calls, so that a client can act in the middle of a turn
        "server 3000 calls, folded"            so many, and all of them like those before: together they are one step
        "signal TERM"                          a signal to the server
        "600 ms pass"                          the server's clock goes on, and what is due by then happens

    [[step]]                                   for each step of the recording, in order:
        is = "server recvfrom A: 5"                who does what, with what result
        caption = "..."                            what one should see, and why it matters
        moment = true                              a picture of it is in the strip

    [what_if] title, about, patch; [[what_if.step]]    the same script with the fault of a patch

The recording is committed as docs/src/scenes/NAME.js. If its steps are not those of the TOML, nothing is written, and
the list of steps is printed in the form in which the TOML wants it.

Three things make a recording repeatable. The server moves only between two stops. The server's clock is ours: it stands
still unless the script says that time passes. And a call that would sleep is not made until something has happened, so
the server is never interrupted in one: we see beforehand that it would sleep, by what the kernel has for it.
"""

import ctypes
import datetime
import json
import os
import pathlib
import re
import select
import signal
import socket
import struct
import sys
import threading
import time
import tomllib

import gdb

sys.path.insert(0, os.environ["RUST_ETC"])
import gdb_lookup  # noqa: E402  rustc's pretty printers: they know how a Vec is laid out

MOST_STEPS = 60
ADDRESS = ("127.0.0.1", 9000)
# The calls at which the server is stopped. The program's other calls (its log, its memory) are no part of a scene.
CALLS = {
    "accept4": 288, "recvfrom": 45, "sendto": 44, "read": 0, "write": 1, "epoll_wait": 232, "epoll_ctl": 233,
    "shutdown": 48, "close": 3, "clone3": 435,
}
# And these, of a program that connects to others.
CALLS_OUT = {"connect": 42, "getpeername": 52, "getsockopt": 55}
# The calls after which bytes may move, or make room for others.
MOVERS = ("recvfrom", "sendto", "read", "write", "shutdown", "close", "connect")
CALL_NAMES = {number: name for name, number in (CALLS | CALLS_OUT).items()}
ERRORS = {4: "EINTR", 11: "EAGAIN", 24: "EMFILE", 32: "EPIPE", 103: "ECONNABORTED", 104: "ECONNRESET",
          107: "ENOTCONN", 110: "ETIMEDOUT", 111: "ECONNREFUSED", 115: "EINPROGRESS"}
SOL_SOCKET_SO_ERROR = [1, 4]
ENOSYS = -38  # what rax holds while the kernel has not answered yet
EPOLL_OPS = {1: "ADD", 2: "DEL", 3: "MOD"}
EVENT_NAMES = {0x1: "IN", 0x2: "PRI", 0x4: "OUT", 0x8: "ERR", 0x10: "HUP", 0x2000: "RDHUP"}
SO_MEMINFO, MEMINFO_SNDBUF, MEMINFO_WMEM_QUEUED = 55, 3, 5
SYN_SENT, CLOSE_WAIT, LAST_ACK, CLOSING = 0x02, 0x08, 0x09, 0x0B
# The sizes of the kernel's buffers in a scene with `small_buffers`: least, default and most.
SMALL = {"tcp_rmem": "4096 16384 16384", "tcp_wmem": "4096 8192 8192"}


class Failed(Exception):
    """The recording cannot go on, and why."""


# ---- one recording: the script, played


class Recording:
    """Plays a script against a program and keeps each step."""

    def __init__(self, scene, program, sources):
        self.scene = scene
        self.clients = {}
        for i, c in enumerate(scene["clients"]):
            self.clients[c["name"]] = Peer(c["name"], 9001 + i) if c.get("peer") else Client(c["name"])
        self.steps = []
        self.clock = 0.0  # ms
        self.server = Server(program, scene, self.clients, sources)
        self.queues = Queues(self.clients, self.server)

    def play(self):
        self.server.start()
        try:
            for sentence in self.scene["script"]:
                self.act(sentence)
        finally:
            self.server.kill()
        return self.steps

    def act(self, sentence):
        """Does what one sentence of the script says."""
        who, *words = sentence.split(" ")
        if sentence == "server until asleep":
            self.until_asleep()
        elif found := re.fullmatch(r"server (\d+) calls?(, folded)?", sentence):
            count, folded = int(found[1]), found[2]
            self.folded_calls(count) if folded else [self.one_call() for _ in range(count)]
        elif who == "signal":
            self.server.send_signal(words[0])
            self.note_deed("kernel", f"delivers SIG{words[0]}")
        elif sentence.endswith("ms pass"):
            self.pass_time(float(who))
        elif who in self.clients:
            self.note_deed(who, self.clients[who].act(" ".join(words)))
        else:
            raise Failed(f"no such sentence: {sentence}")

    def until_asleep(self):
        """Call by call, until every thread stands before a call that will sleep, or has ended."""
        for _ in range(4 * MOST_STEPS):
            self.fall_asleep()
            if not self.server.can_go_on():
                return
            self.one_call()
        raise Failed("the server does not go to sleep")

    def fall_asleep(self):
        """Says so, once, of each thread that stands before a call that will sleep."""
        for call in self.server.standing():
            if not call.asleep and self.server.would_sleep(call):
                call.asleep = True
                self.note_call(call, "sleeps")

    def one_call(self):
        call, answer = self.server.make_call()
        call.asleep = False
        self.note_call(call, answer)
        if self.server.has_ended():
            self.note_deed("server", f"ends with exit code {self.server.exit_code}")

    def folded_calls(self, count):
        """Calls that are all like those that have been steps already: together they are one step."""
        like = {step["is"] for step in self.steps}
        for _ in range(count):
            call, answer = self.server.make_call()
            if (this := f"server {call.short}: {answer}") not in like:
                raise Failed(f"not to be folded, since it is new: {this}")
        self.note_deed("server", f"makes {count} more calls like these")

    def pass_time(self, ms):
        """The clock goes on. A sleep whose time is over ends, and the server does what it then has to do."""
        end = self.clock + ms
        self.tick_towards(end)
        self.note_deed("clock", f"{ms:g} ms pass")
        while self.server.sleeps_for() == 0:
            self.until_asleep()
            self.tick_towards(end)

    def tick_towards(self, end):
        """As far as the server sleeps, and no further than to `end`."""
        sleep = self.server.sleeps_for()
        ms = end - self.clock if sleep is None else min(sleep, end - self.clock)
        self.clock += ms
        self.server.pass_time(ms)

    # -- what is kept of a step

    def note_deed(self, who, does):
        self.note({"who": who, "does": does, "call": None, "answer": None, "asleep": False, "at": None,
                   "code_text": None, "is": f"{who} {does}"})

    def note_call(self, call, answer):
        if call.name in self.scene.get("hide", []):
            return
        self.note({"who": "server", "thread": call.thread, "does": None, "call": call.text, "answer": answer,
                   "events": call.events, "asleep": call.asleep, "at": call.at, "code_text": call.code_text,
                   "is": f"server {call.short}: {answer}"})

    def note(self, step):
        self.queues.settle(step["call"] is None or step["call"].startswith(MOVERS))
        step |= {"clock": round(self.clock, 1), "connections": self.queues.now(),
                 "backlog": self.server.backlog(), "ready": self.server.ready(), "server": without_tokens(self.server.fields())}
        self.steps.append(step)


def without_tokens(fields):
    return fields and {key: value for key, value in fields.items() if key != "tokens"}


# ---- a client


class Client:
    """A client that does what the script says. It never waits: what its kernel does not take now, it keeps."""

    def __init__(self, name):
        self.name = name
        self.socket = None
        self.port = None
        self.other_port = ADDRESS[1]
        self.connected = False
        self.fin = False
        self.reset = False
        self.unsent = b""
        self.sent = b""  # what its kernel has taken
        self.returned = 0  # bytes that it has read
        self.echoed = 0  # and how many of them are its own

    def act(self, words):
        """Does it, and says so in plain words."""
        for pattern, deed in self.deeds():
            if found := re.fullmatch(pattern, words, re.DOTALL):
                return deed(*found.groups())
        raise Failed(f"a client cannot do this: {self.name} {words}")

    def deeds(self):
        """What it can do, in the words of the script."""
        return [("connects", self.connect), ("sends its FIN", self.send_fin), (r"sends (.+)", self.send),
                (r"reads (.+)", self.read), ("closes", self.close), ("resets", self.send_reset)]

    def connect(self):
        self.socket = socket.socket()
        self.socket.settimeout(3)
        self.socket.connect(ADDRESS)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = self.socket.getsockname()[1]
        self.connected = True
        return "connects"

    def send(self, what):
        pattern = b"0123456789abcdef"
        data = (pattern * (int(what) // 16 + 1))[: int(what)] if what.isdigit() else what.encode()
        self.unsent += data
        self.push()
        return f"sends {what} bytes" if what.isdigit() else f"sends {json.dumps(what)}"

    def push(self):
        """Its write(2) goes on, as far as its kernel has room. True if bytes moved."""
        taken = 0
        while self.unsent and not self.reset:
            try:
                n = self.socket.send(self.unsent)
            except BlockingIOError:
                break
            except (ConnectionResetError, BrokenPipeError):
                self.reset, self.unsent = True, b""
                break
            self.sent, self.unsent, taken = self.sent + self.unsent[:n], self.unsent[n:], taken + n
        return taken > 0

    def read(self, how_much):
        most = 1 << 20 if how_much == "all" else int(how_much)
        data = b""
        while len(data) < most:
            try:
                new = self.socket.recv(most - len(data))
            except BlockingIOError:
                break
            except ConnectionResetError:
                self.reset = True
                return "reads: the connection is reset"
            if not new:
                return f"reads {self.take(data)} and the end" if data else "reads the end"
            data += new
        return f"reads {self.take(data)}" if data else "finds nothing to read"

    def take(self, data):
        """Says what it has got. Every byte is an echo, except for the status lines of stage 6."""
        echo, lines = re.subn(rb"Server status: \d+ active connections?\n", b"", data)
        if not self.sent.startswith(echo, self.echoed):
            raise Failed(f"{self.name} got what it had not sent: {data[:200]}, after {self.echoed} of {self.sent}")
        self.echoed += len(echo)
        self.returned += len(data)
        told = ["a status line"] if lines == 1 else [f"{lines} status lines"] if lines else []
        return " and ".join([f"{len(echo)} bytes"] * (bool(echo) or not lines) + told)

    def notice(self, _):
        """A reset may have come."""
        if self.connected and self.is_broken():
            self.reset, self.connected, self.unsent = True, False, b""

    def is_broken(self):
        poll = select.poll()
        poll.register(self.socket, 0)
        return any(events & select.POLLERR for _, events in poll.poll(0))

    def send_fin(self):
        self.socket.shutdown(socket.SHUT_WR)
        self.fin = True
        return "sends its FIN"

    def close(self):
        self.socket.close()
        self.fin, self.connected = True, False
        return "closes"

    def send_reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
        self.reset, self.connected = True, False
        return "resets the connection"


class Peer(Client):
    """The other way round: the program under gdb connects to it."""

    def __init__(self, name, port):
        super().__init__(name)
        self.port = port
        self.other_port = None
        self.listener = None
        self.heard = b""

    def deeds(self):
        return [("listens", self.listen), ("accepts", self.accept), ("echoes", self.echo), *super().deeds()[1:]]

    def listen(self):
        self.listener = socket.create_server((ADDRESS[0], self.port))
        return "listens"

    def accept(self):
        self.socket, _ = self.listener.accept()
        self.socket.setblocking(False)
        return "accepts"

    def take(self, data):
        self.heard += data
        self.returned += len(data)
        return json.dumps(data.decode())

    def echo(self):
        self.unsent, self.heard = self.unsent + self.heard, b""
        self.push()
        return "sends back what it has read"

    def called(self, other_port):
        """The program tries to connect: a new connection, of which nothing is known."""
        self.other_port, self.socket, self.connected = other_port, None, False
        self.unsent, self.sent, self.heard, self.returned = b"", b"", b"", 0
        self.fin = self.reset = False

    def notice(self, rows):
        row = rows.get((self.other_port, self.port))
        self.connected = row is not None and row[0] != SYN_SENT


# ---- the kernel's queues


class Queues:
    """How many bytes are where, for each connection.

    A send queue of /proc/net/tcp also counts what has arrived and is not acknowledged yet, which may take 40 ms. So we
    take only the receive queues from there. What has been sent, and is neither there nor read, is still with the sender.
    """

    def __init__(self, clients, server):
        self.clients = clients
        self.server = server

    def now(self):
        rows = tcp_rows()
        return {name: self.of(client, rows) for name, client in self.clients.items()}

    def of(self, client, rows):
        ours = rows.get((client.port, client.other_port))
        theirs = rows.get((client.other_port, client.port))
        traffic = self.server.traffic(client.name)
        server_in, client_in = unread(theirs), unread(ours)
        gone = client.reset or client.port is None
        client_out = len(client.sent) - traffic.read - server_in if theirs and not gone else 0
        server_out = traffic.written - client.returned - client_in if ours and not gone else 0
        return {
            "connected": client.connected, "accepted": self.server.has_accepted(client), "unsent": len(client.unsent),
            "client_out": client_out, "server_in": server_in, "server_out": server_out, "client_in": client_in,
            "returned": client.returned, "fin": fin_of(client.fin, traffic.fin), "reset": client.reset,
        }

    def settle(self, may_move):
        """Waits until nothing moves any more by itself. Clients whose write(2) waits go on with it."""
        last, since = self.now(), time.monotonic()
        while time.monotonic() - since < (self.patience(last) if may_move else 0):
            time.sleep(0.002)
            moved = [c for c in self.clients.values() if c.connected and c.socket and c.push()]
            for client in self.clients.values():
                client.notice(tcp_rows())
            current = self.now()
            if moved or current != last:
                last, since = current, time.monotonic()

    @staticmethod
    def patience(queues):
        """In seconds. More where bytes wait for the other side's kernel: if that does not say by itself that it has
        room again, it is asked after 200 ms."""
        waiting = any(q["client_out"] or q["server_out"] or q["unsent"] for q in queues.values())
        return 0.4 if waiting else 0.02


def tcp_rows():
    """From (own port, other port) to (state, receive queue, inode)."""
    rows = {}
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        word = line.split()
        ports = tuple(int(address.split(":")[1], 16) for address in word[1:3])
        rows[ports] = (int(word[3], 16), int(word[4].split(":")[1], 16), int(word[9]))
    return rows


def unread(row):
    """The bytes that its program can read. A FIN that is not read yet counts as one more in the kernel's figure."""
    if row is None:
        return 0
    state, queue, _ = row
    return max(0, queue - (state in (CLOSE_WAIT, LAST_ACK, CLOSING)))


def fin_of(client, server):
    return {(False, False): "none", (True, False): "client", (False, True): "server", (True, True): "both"}[
        client, server]


# ---- the server, in gdb's hands


class Traffic:
    """What the server has done with one client."""

    def __init__(self):
        self.accepted = False
        self.read = 0
        self.written = 0
        self.fin = False


class Call:
    """A system call that the server is about to make."""

    def __init__(self, server):
        self.number = register("orig_rax")
        self.name = CALL_NAMES[self.number]
        self.args = [register(r) for r in ("rdi", "rsi", "rdx", "r10", "r8", "r9")]
        self.thread = current_thread()
        self.asleep = False
        self.events = None  # for epoll_wait, when it has returned: from names to what each of them is named for
        self.timeout = None  # for epoll_wait: the ms that are left of its sleep
        if self.name == "epoll_wait" and signed(self.args[3]) >= 0:
            self.timeout = signed(self.args[3])
        if self.name == "connect":
            server.note_target(self.args)
        self.about = server.name_of(self.args[0])
        self.short, self.text = self.described(server)
        self.at, self.code_text = None, None

    def described(self, server):
        """In two forms: to tell steps apart, and as strace writes it, with names for the descriptors."""
        a, name, about = self.args, self.name, self.about
        if name == "epoll_wait":
            return name, f"epoll_wait(epoll, …, {a[2]}, {signed(a[3])})"
        if name == "epoll_ctl":
            what = f"{EPOLL_OPS[a[1]]}, {server.name_of(a[2])}"
            return f"{name} {what}", f"epoll_ctl(epoll, {what})"
        if name in ("recvfrom", "sendto", "read", "write"):
            return f"{name} {about}", f"{name}({about}, …, {a[2]})"
        if name == "shutdown":
            return f"{name} {about}", f"shutdown({about}, {['SHUT_RD', 'SHUT_WR', 'SHUT_RDWR'][a[1]]})"
        if name == "clone3":
            return name, "clone3(…)"
        if name == "getsockopt":
            return f"{name} {about}", f"getsockopt({about}, SO_ERROR)"
        return (name if name == "accept4" else f"{name} {about}"), f"{name}({about})"


class Server:
    """The program under gdb. Each of its threads stands at the entry of a call, and one at a time moves."""

    def __init__(self, program, scene, clients, sources):
        self.program, self.scene, self.clients, self.sources = program, scene, clients, sources
        self.package = scene["program"].split("/")[0]
        self.holder, self.reader = FIELDS.get(scene["program"], (None, None))
        self.names = {}  # from descriptors to what we call them
        self.traffics = {name: Traffic() for name in clients}
        self.now = 1_000_000_000_000  # ns: what its clock says
        self.calls = {}  # from threads to where they stand
        self.owners = {0: "main"}  # from threads to whom they serve
        self.signalled = False  # a signal waits for it, so it does not go to sleep
        self.clock = None  # the breakpoint at the start of `Instant::now`
        self.pid = None
        self.pidfd = None
        self.poller = None
        self.bound = None  # where its `Server` is in memory
        self.exit_code = None

    def start(self):
        """Runs it until it has nothing to do but to wait for clients."""
        for command in ["set pagination off", "set print thread-events off", "set debuginfod enabled off",
                        "set confirm off", "set auto-load python-scripts off", "handle SIGTERM nostop noprint pass",
                        "handle SIGINT nostop noprint pass"]:
            gdb.execute(command, to_string=True)
        gdb.execute(f"file {self.program}", to_string=True)
        gdb.execute("set language rust", to_string=True)
        gdb_lookup.register_printers(gdb.current_progspace())
        peers = [c for c in self.clients.values() if isinstance(c, Peer)]
        calls = CALLS | CALLS_OUT if peers else CALLS
        gdb.execute("catch syscall " + " ".join(map(str, calls.values())), to_string=True)
        self.clock = gdb.Breakpoint("*std::time::Instant::now", internal=True)
        gdb.execute("set environment RUST_LOG off", to_string=True)
        addresses = [f"{ADDRESS[0]}:{p.port}" for p in peers] or [f"{ADDRESS[0]}:{ADDRESS[1]}"]
        words = " ".join([*self.scene.get("options", []), *addresses])
        gdb.execute(f"set args {words} > /dev/null 2>&1", to_string=True)
        gdb.events.exited.connect(self.note_exit)
        self.go("run")
        gdb.execute("set scheduler-locking on", to_string=True)
        while not self.is_up():
            self.go("continue")

    def is_up(self):
        """Whether it stands before the first call for which the script is needed."""
        if self.exit_code is not None:
            raise Failed("it ended before it listened")
        call = self.entered() if self.at_entry() else None
        if call is None:
            return False
        if call.name in ("epoll_wait", "accept4", "connect"):
            self.calls[call.thread] = call
            return True
        self.answer_to(call)
        return False

    def kill(self):
        gdb.events.exited.disconnect(self.note_exit)
        if self.exit_code is None:
            gdb.execute("kill", to_string=True)
        gdb.execute("delete", to_string=True)
        self.clock.delete()

    # -- moving on

    def standing(self):
        return [call for _, call in sorted(self.calls.items())]

    def can_go_on(self):
        return any(not self.would_sleep(call) for call in self.standing())

    def has_ended(self):
        return self.exit_code is not None

    def make_call(self):
        """Lets the first thread that can make its call, and go on until it is about to make the next one."""
        for call in self.standing():
            if not self.would_sleep(call):
                del self.calls[call.thread]
                switch_to(call.thread)
                answer = self.answer_to(call)
                self.let_all_come_to_stand()
                return call, answer
        raise Failed(f"every thread would sleep: {[call.text for call in self.standing()]}")

    def answer_to(self, call):
        if call.timeout == 0:  # its sleep is over, by our clock
            gdb.execute("set $r10 = 0", to_string=True)
        self.go("continue")
        while not self.has_ended() and (current_thread() != call.thread or self.at_entry()):
            self.note_entry()  # a new thread has come so far meanwhile
            switch_to(call.thread)
            self.go("continue")
        self.signalled = False
        return "ends" if self.has_ended() else self.note_result(call, signed(register("rax"), 64))

    def let_all_come_to_stand(self):
        """Threads that have just been made too."""
        while not self.has_ended():
            moving = sorted(set(threads()) - set(self.calls))
            if not moving:
                return
            switch_to(moving[0])
            self.go("continue")
            if not self.has_ended():
                self.note_entry()
            self.calls = {t: call for t, call in self.calls.items() if t in threads()}

    def note_entry(self):
        if current_thread() is not None and self.at_entry() and (call := self.entered()):
            self.calls[call.thread] = call
            if call.about in self.clients:
                self.owners.setdefault(call.thread, call.about)

    def go(self, command):
        """Runs to the next call, entered or returned from. Its questions for the time are answered on the way."""
        alarm = threading.Timer(10, self.give_up)
        alarm.start()
        try:
            gdb.execute(command, to_string=True)
            while not self.has_ended() and self.asks_for_the_time():
                gdb.execute("continue", to_string=True)
        finally:
            alarm.cancel()
        if self.exit_code == "killed":
            raise Failed(f"it slept where that was not foreseen. The others: {[c.text for c in self.standing()]}")
        if self.exit_code is None and self.pid is None:
            self.pid = gdb.selected_inferior().pid
            self.pidfd = os.pidfd_open(self.pid)

    def give_up(self):
        os.kill(self.pid, signal.SIGKILL)

    def send_signal(self, name):
        """It comes while the server stands: so the call that it is about to make ends with EINTR."""
        os.kill(self.pid, getattr(signal, "SIG" + name))
        self.signalled = True

    def asks_for_the_time(self):
        """If it stands at the start of `Instant::now`: returns from there with our time."""
        if current_thread() is None or register("rip") != self.clock.locations[0].address:
            return False
        stack = register("rsp")
        back = struct.unpack("Q", memory(stack, 8))[0]
        for name, value in [("rax", self.now // 10**9), ("rdx", self.now % 10**9), ("rsp", stack + 8), ("rip", back)]:
            gdb.execute(f"set ${name} = {value}", to_string=True)
        return True

    def note_exit(self, event):
        self.exit_code = getattr(event, "exit_code", "killed")

    @staticmethod
    def at_entry():
        return signed(register("rax"), 64) == ENOSYS

    def entered(self):
        """The call it is about to make, if that is about the network. It may also be a file or its log."""
        call = Call(self)
        if call.name != "accept4" and call.about is None and call.name not in ("epoll_wait", "clone3"):
            return None
        if call.about == "signals" or (call.name, call.about) == ("close", "epoll"):  # at the start, and at the end
            return None
        if call.name == "getsockopt" and call.args[1:3] != SOL_SOCKET_SO_ERROR:
            return None
        call.at, call.code_text = self.place()
        return call

    def place(self):
        """The line of the program's own code at which it stands."""
        frame = gdb.newest_frame()
        while frame:
            sal = frame.find_sal()
            if sal.symtab and sal.symtab.filename.startswith(self.package + "/"):
                file = sal.symtab.filename
                return ({"file": file, "line": sal.line, "function": function_name(frame.name())},
                        self.sources.lines(file)[sal.line - 1].strip())
            frame = frame.older()
        return None, None

    # -- what a call has brought

    def note_result(self, call, result):
        """Keeps what follows from it, and says it in words."""
        if call.name == "connect":
            self.traffics[call.about] = Traffic()
            self.clients[call.about].called(self.own_port(call.args[0]))
        if result < 0:
            return ERRORS.get(-result, f"error {-result}")
        if call.name == "getsockopt":
            error = struct.unpack("i", memory(call.args[3], 4))[0]
            return ERRORS.get(error, str(error))
        if call.name == "accept4":
            return self.note_client(result)
        if call.name in ("recvfrom", "read") and call.about in self.traffics:
            self.traffics[call.about].read += result
        if call.name in ("sendto", "write") and call.about in self.traffics:
            self.traffics[call.about].written += result
        if call.name == "clone3":
            return "a thread"
        if call.name == "epoll_wait":
            return self.poller.answered(call, result)
        if call.name == "epoll_ctl":
            self.poller = self.poller or Poller(self)
            self.poller.changed(call)
        if call.name in ("shutdown", "close") and call.about in self.traffics:
            self.traffics[call.about].fin = True
        if call.name == "close":
            self.forget(call.args[0])
        return str(result)

    def forget(self, descriptor):
        self.names.pop(descriptor, None)
        if self.poller:
            self.poller.edges.pop(descriptor, None)

    def note_client(self, descriptor):
        self.names.pop(descriptor, None)  # the number has perhaps been another's before
        name = self.name_of(descriptor)
        self.traffics[name].accepted = True
        return name

    def note_target(self, args):
        """A socket that is about to be connected has its name from the address."""
        port = struct.unpack(">H", memory(args[1] + 2, 2))[0]
        self.names[args[0]] = next((c.name for c in self.clients.values() if c.port == port), None)

    def name_of(self, descriptor):
        """`listener`, `epoll`, `signals`, a client's name, or `None` if it is something else."""
        if descriptor not in self.names:
            self.names[descriptor] = self.found_name(descriptor)
        if self.names[descriptor] is None:
            return self.names.pop(descriptor)
        return self.names[descriptor]

    def own_port(self, descriptor):
        inode = inode_of(os.readlink(f"/proc/{self.pid}/fd/{descriptor}"))
        return next((ports[0] for ports, row in tcp_rows().items() if row[2] == inode), None)

    def found_name(self, descriptor):
        try:
            link = os.readlink(f"/proc/{self.pid}/fd/{descriptor}")
        except OSError:
            return None
        if link == "anon_inode:[eventpoll]":
            return "epoll"
        ports = {inode: ports for ports, (_, _, inode) in tcp_rows().items()}.get(inode_of(link))
        if ports == (ADDRESS[1], 0):
            return "listener"
        if ports is None:
            return "signals" if link.startswith("socket:") else None
        return next((c.name for c in self.clients.values() if c.port == ports[1]), None)

    def traffic(self, name):
        return self.traffics[name]

    def backlog(self):
        return [c.name for c in self.clients.values() if c.connected and not self.has_accepted(c)]

    def has_accepted(self, client):
        return client.socket is not None if isinstance(client, Peer) else self.traffics[client.name].accepted

    # -- whether it would sleep

    def would_sleep(self, call):
        if self.signalled:
            return False
        if call.name == "epoll_wait":
            return call.timeout != 0 and not self.poller.ready()
        if call.name not in ("accept4", "recvfrom", "read", "sendto", "write") or not self.blocks(call.args[0]):
            return False
        with self.borrowed(call.args[0]) as theirs:
            if call.name in ("sendto", "write"):
                return is_full(theirs)
            return not select.select([theirs], [], [], 0)[0]

    def blocks(self, descriptor):
        flags = re.search(r"flags:\s*(\d+)", pathlib.Path(f"/proc/{self.pid}/fdinfo/{descriptor}").read_text())
        return not int(flags[1], 8) & os.O_NONBLOCK

    def borrowed(self, descriptor):
        """The same socket, as a descriptor of ours, for a moment: while we have it, a close(2) of it is none."""
        return socket.socket(fileno=borrow(self.pidfd, descriptor))

    def sleeps_for(self):
        """For how many ms the poller would sleep. `None`: for ever, or there is no poller."""
        call = self.calls.get(0)
        return call.timeout if call and call.name == "epoll_wait" and not self.poller.ready() else None

    def pass_time(self, ms):
        self.now += int(ms * 1_000_000)
        if self.sleeps_for() is not None:
            self.calls[0].timeout -= ms

    # -- what it knows

    def ready(self):
        return self.poller.ready() if self.poller and not self.has_ended() else []

    def fields(self):
        """The server's own fields."""
        if self.has_ended() or self.reader is None:
            return None
        return self.reader(self, self.found_server())

    def found_server(self):
        """The value that holds its fields: the `self` of a method on the stack. It stays where it is."""
        if self.bound is None and self.holder is not None:
            frame = gdb.newest_frame()
            while frame and self.bound is None:
                self.bound = self_of(frame, self.holder)
                frame = frame.older()
            if self.bound is None:
                raise Failed(f"no `{self.holder}` on the stack")
        return self.bound


def threads():
    return [t.num - 1 for t in gdb.selected_inferior().threads() if t.is_valid()]


def current_thread():
    """`None` when it has just ended."""
    try:
        return gdb.selected_thread().num - 1
    except (AttributeError, SystemError, RuntimeError):
        return None


def switch_to(number):
    next(t for t in gdb.selected_inferior().threads() if t.num - 1 == number).switch()


def register(name):
    return int(gdb.parse_and_eval(f"${name}")) & (1 << 64) - 1


def memory(address, length):
    return gdb.selected_inferior().read_memory(address, length).tobytes()


def signed(value, bits=32):
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def borrow(pidfd, descriptor):
    """pidfd_getfd(2)."""
    ours = ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, descriptor, 0)
    if ours < 0:
        raise Failed(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
    return ours


def inode_of(link):
    found = re.fullmatch(r"socket:\[(\d+)\]", link)
    return int(found[1]) if found else None


def is_full(theirs):
    """Whether its kernel takes no byte for this socket at the moment."""
    info = struct.unpack("9I", theirs.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))
    return info[MEMINFO_WMEM_QUEUED] >= info[MEMINFO_SNDBUF]


def function_name(name):
    """`turn` of `stage5_mio::connection::Connection<mio::net::TcpStream>::turn`."""
    return [part for part in without_generics(name).split("::") if not part.startswith("{")][-1]


def without_generics(name):
    while (shorter := re.sub(r"<[^<>]*>", "", name)) != name:
        name = shorter
    return name


# ---- the poller


class Poller:
    """Another poller of the same sockets, of which we can ask what the server's poller has to tell.

    An edge is told once, so what ours has told is kept until the server has heard it from its own.
    """

    def __init__(self, server):
        self.server = server
        self.ours = select.epoll()
        self.watched = {}  # from descriptors to the events they are watched for
        self.edges = {}

    def changed(self, call):
        """The server has made an epoll_ctl(2): so do we."""
        _, op, descriptor, event = call.args[:4]
        events = struct.unpack("I", memory(event, 4))[0] if event else 0
        number = 500 + descriptor
        theirs = borrow(self.server.pidfd, descriptor)
        os.dup2(theirs, number)
        os.close(theirs)
        if EPOLL_OPS[op] == "ADD":
            self.ours.register(number, events)
        elif EPOLL_OPS[op] == "MOD":
            self.ours.modify(number, events)
        else:
            self.ours.unregister(number)
        os.close(number)  # or a close(2) of the server's would not end the connection
        self.watched[descriptor] = events if EPOLL_OPS[op] != "DEL" else 0
        self.edges.pop(descriptor, None)

    def ready(self):
        """Whom the server's next epoll_wait(2) would name."""
        told = {number - 500: events for number, events in self.ours.poll(0)}
        for descriptor, events in told.items():
            if self.watched[descriptor] & select.EPOLLET:
                self.edges[descriptor] = events
        here = [d for d in {**self.edges, **told} if self.server.name_of(d)]
        return sorted((self.server.name_of(d) for d in here), key=rank)

    def answered(self, call, count):
        """What the server's own poller has told: the names, and what for."""
        told, expected = {}, self.ready()
        for i in range(count):
            events, _, data = 0, 0, memory(call.args[1] + 12 * i, 12)
            events, token = struct.unpack("=IQ", data)
            descriptor = self.descriptor_of(token)
            self.edges.pop(descriptor, None)
            told[self.server.name_of(descriptor)] = flags(events)
        call.events = told
        if sorted(told, key=rank) != expected:
            raise Failed(f"the poller told {list(told)}, and we thought {expected}")
        return ", ".join(sorted(told, key=rank)) or "0"

    def descriptor_of(self, token):
        """From what the server had the poller keep for a socket, to the socket: /proc says both."""
        epoll = next(d for d, name in self.server.names.items() if name == "epoll")
        text = pathlib.Path(f"/proc/{self.server.pid}/fdinfo/{epoll}").read_text()
        for line in text.splitlines():
            if found := re.match(r"tfd:\s*(\d+) events:\s*\w+ data:\s*(\w+)", line):
                if int(found[2], 16) == token:
                    return int(found[1])
        raise Failed(f"the poller knows no {token}")


def rank(name):
    """The order in which names are listed: what is not a client first."""
    return (name not in ("listener", "signals"), name)


def flags(events):
    return [name for bit, name in EVENT_NAMES.items() if events & bit]


# ---- the server's own fields, stage by stage


def stage2(server, _):
    """The state of stage 2 is where each of its threads stands."""
    return {"threads": [{"name": server.owners.get(t, "new"), "in": call.name, "asleep": call.asleep}
                        for t, call in sorted(server.calls.items())]}


def stage3(server, it):
    """What stage 3 knows about a client is what its last turn has found out."""
    known = [(server.name_of(descriptor_in(field(c, "stream"))), variant(field(c, "state")))
             for c in items(field(it, "connections"))]
    return {"state": dict(known), "connections": len(known)}


def stage4(server, it):
    """The same, in a map, and whether it watches the listener."""
    known = [(server.name_of(descriptor_in(field(c, "stream"))), variant(field(c, "state")))
             for c in items(field(it, "connections"))[1::2]]
    watched = variant(field(it, "full")) == "None"
    return {"state": dict(sorted(known)), "connections": len(known), "watches_listener": watched}


def stage5(server, it):
    """What stage 5 has written down."""
    tokens, marks, outbox = {}, {}, {}
    for item in items(field(it, "connections", "clients")):
        client = field(item, "__1")
        name = server.name_of(descriptor_in(field(client, "stream")))
        tokens[int(field(item, "__0", "__0"))] = name
        flags = field(client, "marks")
        marks[name] = [f.name for f in flags.type.fields() if str(flags[f]) == "true"]
        outbox[name] = outbox_length(field(client, "outbox"))
    return {
        "due": named(tokens, field(it, "due")), "marks": marks, "outbox": outbox,
        "accept_pending": bool(int(field(it, "accept_pending"))), "connections": len(tokens),
        "retry_in": time_left(server, field(it, "retry_at")), "stop_in": time_left(server, field(it, "stop_at")),
        "tokens": tokens,
    }


def stage6(server, it):
    """The same, and its timers."""
    known = stage5(server, it)
    timers = [(instant(field(t, "__0")), what_for(known["tokens"], field(t, "__1")))
              for t in items(field(it, "timers", "due"))]
    return known | {
        "timers": [{"what": what, "in": in_ms(server, at)} for at, what in timers],
        "untold": named(known["tokens"], field(it, "untold")),
    }


def named(tokens, vector):
    """The clients in a list of tokens. One that has left may still be there."""
    return [tokens.get(int(field(t, "__0")), "one that has left") for t in items(vector)]


def what_for(tokens, timer):
    """`status`, `idle A` or `gone A`."""
    token = re.search(r"\d{7,}", str(timer))
    client = "" if token is None else " " + tokens.get(int(token[0]), "one that has left")
    return variant(timer).lower() + client


def handshake(server, it):
    """How far each call of the example is: the phase, and in a handshake the state of its machine."""
    peers, state = list(server.clients), {}
    for name, call in zip(peers, items(field(it, "calls"))):
        phase = field(call, "phase")
        shaking = variant(phase) == "Shaking"
        state[name] = variant(field(content(phase), "__0", "state") if shaking else phase)
    timers = [(instant(field(t, "__0")), peers[int(field(t, "__1"))]) for t in items(field(it, "timers", "due"))]
    return {"state": state, "timers": [{"what": name, "in": in_ms(server, at)} for at, name in timers]}


# Which value holds a program's fields, and who reads them.
FIELDS = {
    "stage2-threads": (None, stage2), "stage3-nonblocking-busy": ("Server", stage3),
    "stage4-epoll": ("Server", stage4), "stage5-mio": ("Server", stage5), "stage6-timers": ("Server", stage6),
    "stage6-timers/examples/handshake": ("Caller", handshake),
}


def field(value, *path):
    """A field of a field. If there is none, a stage has changed, and this file has to follow."""
    for name in path:
        try:
            value = value[name]
        except gdb.error as e:
            raise Failed(f"{value.type} has no field `{name}`: {e}") from e
    return value


def items(vector):
    return [child for _, child in gdb.default_visualizer(vector).children()]


def descriptor_in(value):
    """The descriptor somewhere in a socket's layers."""
    if value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
        for f in value.type.fields():
            if f.name == "fd":
                inner = value[f]
                return descriptor_in(inner) if inner.type.code == gdb.TYPE_CODE_STRUCT else int(inner)
            if (found := descriptor_in(value[f])) is not None:
                return found
    elif str(value.type) == "i32":
        return int(value)
    return None


def outbox_length(option):
    """Of an `Option<Box<Outbox>>`, which is a pointer, or null for none."""
    pointer = struct.unpack("Q", memory(int(option.address), 8))[0]
    if pointer == 0:
        return 0
    package = str(option.type).split("<")[-1].split("::")[0]
    outbox = gdb.Value(pointer).cast(gdb.lookup_type(f"{package}::outbox::Outbox").pointer()).dereference()
    return int(field(outbox, "bytes", "len")) - int(field(outbox, "sent"))


def variant(value):
    """`Drained` of `stage3::connection::State::Drained`, `Idle` of `…::Timer::Idle(mio::token::Token(1000000))`."""
    return without_generics(value.format_string(raw=True)).split("(")[0].split("{")[0].split("::")[-1].strip()


def content(value):
    """What a variant carries."""
    return value[value.type.fields()[-1]]


def time_left(server, option):
    """Of an `Option<Instant>`, in ms."""
    at = instant(option)
    return None if at is None else in_ms(server, at)


def instant(value):
    """An `Instant` in ns. For `None` there are more nanoseconds in it than a second has."""
    seconds, nanos = struct.unpack("=qI", memory(int(value.address), 12))
    return None if nanos >= 10**9 else seconds * 10**9 + nanos


def in_ms(server, at):
    return round((at - server.now) / 10**6, 1)


def self_of(frame, holder):
    """The `self` of the method in this frame, if that is one of `holder`."""
    try:
        value = frame.read_var("self")
    except (gdb.error, ValueError, RuntimeError):
        return None
    if value.type.code == gdb.TYPE_CODE_PTR and str(value.type).endswith("::" + holder):
        return value.dereference()
    return None


# ---- the source, whole functions of it


class Sources:
    """The files that the program was built from."""

    def __init__(self, tree):
        self.tree = tree
        self.files = {}

    def lines(self, file):
        if file not in self.files:
            self.files[file] = (self.tree / file).read_text().splitlines()
        return self.files[file]

    def functions_of(self, steps):
        """Each function in which a step stands, once, in the order of the files."""
        found = {}
        for at in (step["at"] for step in steps if step["at"]):
            first, last = function_around(self.lines(at["file"]), at["line"])
            found[at["file"], first] = self.lines(at["file"])[first - 1:last]
        return [{"file": file, "first": first, "lines": lines} for (file, first), lines in sorted(found.items())]


def function_around(lines, line):
    """Its first and its last line, as rustfmt has laid it out."""
    first = line
    while not re.match(r"\s*(pub(\(\w+\))? )?(const )?fn ", lines[first - 1]):
        first -= 1
    indent = re.match(r"\s*", lines[first - 1])[0]
    last = first
    while lines[last - 1] != indent + "}":
        last += 1
    return first, last


# ---- the result


def record(scene, program, tree, table):
    """The steps, with their captions, and what belongs to them. `table` is where the TOML has the captions."""
    sources, captions = Sources(tree), scene.get("step", [])
    steps = Recording(scene, program, sources).play()
    if MODE == "list" or [s["is"] for s in steps] != [c["is"] for c in captions]:
        print_steps(steps, captions, table)
        if MODE != "list":
            raise OtherSteps
    if len(steps) > MOST_STEPS:
        raise Failed(f"{len(steps)} steps are more than {MOST_STEPS}")
    return {
        "code": sources.functions_of(steps),
        "steps": [{**{k: v for k, v in s.items() if k != "is"}, "caption": c["caption"]}
                  for s, c in zip(steps, captions)],
        "moments": [i for i, c in enumerate(captions) if c.get("moment")],
    }


class OtherSteps(Exception):
    """The steps are not those that the TOML has captions for."""


def print_steps(steps, captions, table):
    """As the TOML wants them. A caption stays with its step as long as nothing is different before it."""
    for i, step in enumerate(steps):
        old = captions[i] if i < len(captions) else {"is": None}
        same = old["is"] == step["is"]
        print(f"[[{table}]]\nis = {json.dumps(step['is'], ensure_ascii=False)}", file=OUT)
        print(f"caption = {json.dumps(old['caption'] if same else '', ensure_ascii=False)}", file=OUT)
        print("moment = true\n" if same and old.get("moment") else "", file=OUT)
        if MODE == "list":
            print(f"# {show(step)}", file=OUT)


def show(step):
    """A step's figures, on one line, for the one who writes the captions."""
    queues = {n: {k: v for k, v in q.items() if v not in (0, False, "none")} for n, q in step["connections"].items()}
    return json.dumps({**queues, "ready": step["ready"], "backlog": step["backlog"], "server": step["server"],
                       "at": step["at"]}, ensure_ascii=False)


def capacity(steps):
    """The most bytes seen in each buffer. An outbox is drawn against its limit where there is one."""
    most = {}
    for step in steps:
        for queues in step["connections"].values():
            for key in ("client_out", "server_in", "server_out", "client_in", "unsent"):
                most[key] = max(most.get(key, 0), queues[key])
        outboxes = (step["server"] or {}).get("outbox", {})
        most["outbox"] = max([most.get("outbox", 0), *outboxes.values()])
    return most


def as_script(result):
    """One call, and one line for each step, so that a difference can be read."""
    lines = []
    for key, value in result.items():
        lines.append(f"{json.dumps(key)}: {as_lines(value)}")
    return "scene({\n" + ",\n".join(lines) + "\n});\n"


def as_lines(value):
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join("  " + json.dumps(v, ensure_ascii=False) for v in value) + "\n]"
    if isinstance(value, dict) and "steps" in value:
        return "{\n" + ",\n".join(f"{json.dumps(k)}: {as_lines(v)}" for k, v in value.items()) + "\n}"
    return json.dumps(value, ensure_ascii=False)


def recorded(name, scene, folder):
    """The whole object that a page is given."""
    real = record(scene, folder / "program", pathlib.Path("."), "step")
    what_if = with_fault(scene, folder)
    today = datetime.date.today().isoformat()
    return {
        "name": name, "title": scene["title"], "about": scene["about"], "program": scene["program"],
        "options": scene.get("options", []), "recorded": f"Linux {os.uname().release.split('-')[0]}, {today}",
        "small_buffers": scene.get("small_buffers", False), "clients": scene["clients"],
        "capacity": capacity(real["steps"] + (what_if["steps"] if what_if else [])),
        **real, "what_if": what_if,
    }


def with_fault(scene, folder):
    """The same script, played against the server with the patch. `None` if the scene has no fault."""
    if "what_if" not in scene:
        return None
    fault = scene["what_if"]
    about = {key: fault[key] for key in ("title", "about", "patch")}
    return about | record(scene | {"step": []} | fault, folder / "fault", folder / "tree", "what_if.step")


def compare(path, result):
    """Tells what is otherwise than in the committed recording. Its date, kernel and clock may differ."""
    committed = json.loads(path.read_text().removeprefix("scene(").removesuffix(");\n"))
    differences = [key for key in result if key not in ("recorded", "steps") and result[key] != committed.get(key)]
    for i, (new, old) in enumerate(zip(result["steps"], committed["steps"])):
        differences += [f"step {i}, {key}: {old.get(key)} was recorded, now {new[key]}"
                        for key in new if key != "clock" and new[key] != old.get(key)]
    if differences:
        raise Failed("\n".join(["not as committed", *differences]))
    print(f"{path}: as committed", file=OUT)


def main():
    name, folder = os.environ["SCENE"], pathlib.Path(os.environ["FOLDER"])
    scene = tomllib.loads(pathlib.Path(f"docs/scenes/{name}.toml").read_text())
    if scene.get("small_buffers"):
        for key, value in SMALL.items():
            pathlib.Path(f"/proc/sys/net/ipv4/{key}").write_text(value)
    result = recorded(name, scene, folder)
    path = pathlib.Path(f"docs/src/scenes/{name}.js")
    if MODE == "write":
        path.write_text(as_script(result))
        print(f"{path}: {len(result['steps'])} steps", file=OUT)
    elif MODE == "check":
        compare(path, result)


MODE = os.environ["MODE"]
OUT = os.fdopen(3, "w")  # on stdout gdb says where it has stopped
try:
    main()
except OtherSteps:
    print(f"{os.environ['SCENE']}: the steps are others than in its TOML; above is what they are now", file=OUT)
    OUT.flush()
    gdb.execute("quit 1")
except Failed as e:
    print(f"{os.environ['SCENE']}: {e}", file=OUT)
    OUT.flush()
    gdb.execute("quit 1")

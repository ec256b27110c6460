"""The server, in gdb's hands."""

import os
import pathlib
import re
import select
import signal
import socket
import struct
import threading

import gdb
import gdb_lookup  # rustc's pretty printers: they know how a Vec is laid out

from .call import Call
from .clients import Peer
from .debugger import current_thread, function_name, memory, register, signed, switch_to, threads
from .failed import Failed
from .fields import FIELDS, self_of
from .kernel import ADDRESS, CALLS, CALLS_OUT, ENOSYS, ERRORS, borrow, is_full
from .names import Names
from .poller import Poller

SETTINGS = [
    "set pagination off", "set confirm off", "set print thread-events off", "set debuginfod enabled off",
    "set auto-load python-scripts off", "set environment RUST_LOG off",
    "handle SIGTERM nostop noprint pass", "handle SIGINT nostop noprint pass",
]
# The calls that sleep on a descriptor without O_NONBLOCK.
MAY_SLEEP = ("accept4", "recvfrom", "read", "sendto", "write")


class Traffic:
    """What the server has done with one client."""

    def __init__(self):
        self.accepted = False
        self.read = 0
        self.written = 0
        self.fin = False


class Server:
    """The program under gdb. Each of its threads stands at the entry of a call, and one at a time moves."""

    def __init__(self, program, scene, clients, sources):
        self.program, self.scene, self.clients, self.sources = program, scene, clients, sources
        self.package = scene["program"].split("/")[0]
        self.holder, self.reader = FIELDS.get(scene["program"], (None, None))
        self.names = Names(clients)
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
        for command in [*SETTINGS, f"file {self.program}", "set language rust"]:
            gdb.execute(command, to_string=True)
        gdb_lookup.register_printers(gdb.current_progspace())
        peers = [c for c in self.clients.values() if isinstance(c, Peer)]
        calls = CALLS | CALLS_OUT if peers else CALLS
        gdb.execute("catch syscall " + " ".join(map(str, calls.values())), to_string=True)
        self.clock = gdb.Breakpoint("*std::time::Instant::now", internal=True)
        ports = [peer.port for peer in peers] or [ADDRESS[1]]
        words = [*self.scene.get("options", []), *(f"{ADDRESS[0]}:{port}" for port in ports)]
        gdb.execute(f"set args {' '.join(words)} > /dev/null 2>&1", to_string=True)
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
        """Runs to the next call, entered or returned from. On the way it is told the time when it asks."""
        alarm = threading.Timer(10, self.give_up)
        alarm.start()
        try:
            gdb.execute(command, to_string=True)
            while not self.has_ended() and self.asks_for_the_time():
                gdb.execute("continue", to_string=True)
        finally:
            alarm.cancel()
        if self.exit_code == "killed":
            raise Failed("the server slept in a call, and we had not foreseen it")
        if self.exit_code is None and self.pid is None:
            self.names.pid = self.pid = gdb.selected_inferior().pid
            self.pidfd = os.pidfd_open(self.pid)

    def give_up(self):
        os.kill(self.pid or gdb.selected_inferior().pid, signal.SIGKILL)

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
        result = {"rax": self.now // 10**9, "rdx": self.now % 10**9}
        for name, value in {**result, "rsp": stack + 8, "rip": back}.items():
            gdb.execute(f"set ${name} = {value}", to_string=True)
        return True

    def note_exit(self, event):
        self.exit_code = getattr(event, "exit_code", "killed")

    @staticmethod
    def at_entry():
        return signed(register("rax"), 64) == ENOSYS

    def entered(self):
        """The call that it is about to make, if a scene wants to know of it."""
        call = Call(self.names)
        if not call.is_about_the_network():
            return None
        call.at, call.code_text = self.place()
        return call

    def place(self):
        """The line of the program's own code at which it stands: the innermost, or that in `code_in`."""
        places = list(self.places())
        file, line, function = next((p for p in places if p[0] == self.scene.get("code_in")),
                                    places[0] if places else (None, None, None))
        if file is None:
            return None, None
        text = self.sources.lines(file)[line - 1].strip()
        return {"file": file, "line": line, "function": function}, text

    def places(self):
        """File, line and function of each call of its own code, from the innermost on."""
        frame = gdb.newest_frame()
        while frame:
            sal = frame.find_sal()
            if sal.symtab and sal.symtab.filename.startswith(self.package + "/"):
                yield sal.symtab.filename, sal.line, function_name(frame.name())
            frame = frame.older()

    # -- what a call has brought

    def note_result(self, call, result):
        """Keeps what follows from it, and says it in words."""
        if call.name == "connect":
            self.traffics[call.about] = Traffic()
            self.clients[call.about].called(self.names.own_port(call.args[0]))
        if result < 0:
            return ERRORS.get(-result, f"error {-result}")
        if call.name == "accept4":
            return self.note_client(result)
        if call.name == "epoll_wait":
            return self.poller.answered(call, result)
        if call.name == "clone3":
            return "a thread"
        if call.name == "getsockopt":
            error = struct.unpack("i", memory(call.args[3], 4))[0]
            return ERRORS.get(error, str(error))
        if call.name == "epoll_ctl":
            self.poller = self.poller or Poller(self)
            self.poller.changed(call)
        self.note_traffic(call, result)
        return str(result)

    def note_traffic(self, call, result):
        traffic = self.traffics.get(call.about, Traffic())
        if call.name in ("recvfrom", "read"):
            traffic.read += result
        if call.name in ("sendto", "write"):
            traffic.written += result
        if call.name in ("shutdown", "close"):
            traffic.fin = True
        if call.name == "close":
            self.names.forget(call.args[0])
            if self.poller:
                self.poller.forget(call.args[0])

    def note_client(self, descriptor):
        name = self.names.of_accepted(descriptor)
        self.traffics[name].accepted = True
        return name

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
        if call.name not in MAY_SLEEP or not self.blocks(call.args[0]):
            return False
        # Only for a moment: while we have it, a close(2) by the server does not end the connection.
        with socket.socket(fileno=borrow(self.pidfd, call.args[0])) as theirs:
            if call.name in ("sendto", "write"):
                return is_full(theirs)
            return not select.select([theirs], [], [], 0)[0]

    def blocks(self, descriptor):
        text = pathlib.Path(f"/proc/{self.pid}/fdinfo/{descriptor}").read_text()
        return not int(re.search(r"flags:\s*(\d+)", text)[1], 8) & os.O_NONBLOCK

    def sleeps_for(self):
        """For how many ms the poller would sleep. `None`: for ever, or there is no poller."""
        call = self.calls.get(0)
        return call.timeout if call and call.name == "epoll_wait" and not self.poller.ready() else None

    def pass_time(self, ms):
        self.now += int(ms * 1_000_000)
        if self.sleeps_for() is not None:
            self.calls[0].timeout = max(0, self.calls[0].timeout - ms)

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

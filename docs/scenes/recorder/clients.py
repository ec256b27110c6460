"""The clients of a scene: sockets that do what the script says."""

import fcntl
import json
import re
import select
import socket
import struct
import termios

from .failed import Failed
from .kernel import ADDRESS, SYN_SENT


class Client:
    """A client that does what the script says. What its kernel does not take now, it keeps."""

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
        return [("connects", self.connect), ("sends its FIN", self.send_fin), ("sends (.+)", self.send),
                ("reads (.+)", self.read), ("closes", self.close), ("resets", self.send_reset)]

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
                return f"reads {self.take(data)} and a reset" if data else "reads: the connection is reset"
            if not new:
                return f"reads {self.take(data)} and the end" if data else "reads the end"
            data += new
        return f"reads {self.take(data)}" if data else "finds nothing to read"

    def take(self, data):
        """Says what it has got. Every byte is an echo, except for the status lines of stage 6."""
        echo, lines = re.subn(rb"Server status: \d+ active connections?\n", b"", data)
        if not self.sent.startswith(echo, self.echoed):
            raise Failed(f"{self.name} got what it had not sent: {data[:200]}")
        self.echoed += len(echo)
        self.returned += len(data)
        told = ["a status line"] if lines == 1 else [f"{lines} status lines"] if lines else []
        return " and ".join([f"{len(echo)} bytes"] * (bool(echo) or not lines) + told)

    def notice(self, _):
        """A reset may have come."""
        if self.connected and self.is_broken():
            self.reset, self.connected, self.unsent = True, False, b""

    def left(self):
        """What it can still read when the connection is over. Then /proc/net/tcp does not say it."""
        if self.socket is None or self.socket.fileno() < 0:
            return 0
        return struct.unpack("i", fcntl.ioctl(self.socket, termios.FIONREAD, bytes(4)))[0]

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

    def leave(self):
        """The recording is over, and another may follow."""
        if self.socket:
            self.socket.close()


class Peer(Client):
    """The other way round: the program under gdb connects to it."""

    def __init__(self, name, port):
        super().__init__(name)
        self.port = port
        self.other_port = None
        self.listener = None
        self.heard = b""

    def deeds(self):
        deeds = [("listens", self.listen), ("accepts", self.accept), (r"echoes(?: (\d+))?", self.echo)]
        return deeds + [deed for deed in super().deeds() if deed[0] != "connects"]

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

    def echo(self, how_much):
        """The rest of what it has heard, or only so many bytes of it."""
        echo = self.heard[: int(how_much) if how_much else None]
        self.unsent, self.heard = self.unsent + echo, self.heard[len(echo):]
        self.push()
        return f"sends back {json.dumps(echo.decode())}" if echo else "has nothing to send back"

    def called(self, other_port):
        """The program tries to connect: a new connection, of which nothing is known."""
        self.other_port, self.socket, self.connected = other_port, None, False
        self.unsent, self.sent, self.heard, self.returned = b"", b"", b"", 0
        self.fin = self.reset = False

    def leave(self):
        super().leave()
        if self.listener:
            self.listener.close()

    def notice(self, rows):
        row = rows.get((self.other_port, self.port))
        self.connected = row is not None and row.state != SYN_SENT

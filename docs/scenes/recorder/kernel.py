"""What the kernel knows about the connections, and its numbers for things."""

import ctypes
import os
import pathlib
import re
import socket
import struct
import time
from typing import NamedTuple

from .failed import Failed

ADDRESS = ("127.0.0.1", 9000)
# The calls at which the server is stopped. Its other calls, for memory or threads, are no part of a scene.
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
SO_ERROR = [1, 4]  # with its level, SOL_SOCKET
ENOSYS = -38  # what rax holds while the kernel has not answered yet
EPOLL_OPS = {1: "ADD", 2: "DEL", 3: "MOD"}
EVENT_NAMES = {0x1: "IN", 0x2: "PRI", 0x4: "OUT", 0x8: "ERR", 0x10: "HUP", 0x2000: "RDHUP"}
SO_MEMINFO, MEMINFO_SNDBUF, MEMINFO_WMEM_QUEUED = 55, 3, 5
ESTABLISHED, SYN_SENT, SYN_RECV, TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING = 1, 2, 3, 6, 8, 9, 11
ZERO_WINDOW_PROBE = 4
# For how long nothing may move before we believe it, in seconds. A delivery on loopback takes microseconds.
QUIET = 0.02
# The sizes of the kernel's buffers in a scene with `small_buffers`: least, default and most.
SMALL = {"tcp_rmem": "4096 16384 16384", "tcp_wmem": "4096 8192 8192",
         "tcp_moderate_rcvbuf": "0", "tcp_window_scaling": "0"}


class Queues:
    """How many bytes are where, for each connection.

    A send queue of /proc/net/tcp also counts what has arrived and is not acknowledged yet. So we take only
    the receive queues from there. What has been sent, and is neither there nor read, is still with the
    sender's kernel.
    """

    def __init__(self, clients, server):
        self.clients = clients
        self.server = server
        self.settled = {}

    def now(self):
        rows = tcp_rows()
        return {name: self.of(client, rows) for name, client in self.clients.items()}

    def of(self, client, rows):
        ours = rows.get((client.port, client.other_port))
        theirs = rows.get((client.other_port, client.port))
        traffic = self.server.traffics[client.name]
        server_in, client_in = unread(theirs), client.left() if is_over(ours) else unread(ours)
        gone = client.reset or client.port is None
        client_out = len(client.sent) - traffic.read - server_in if theirs and not gone else 0
        server_out = traffic.written - client.returned - client_in if ours and not gone else 0
        return {
            "connected": client.connected, "accepted": self.server.has_accepted(client),
            "unsent": len(client.unsent),
            "client_out": client_out, "server_in": server_in,
            "server_out": server_out, "client_in": client_in,
            "returned": client.returned, "fin": fin_of(client.fin, traffic.fin), "reset": client.reset,
        }

    def settle(self):
        """Waits until nothing moves any more by itself. Clients that are in write(2) go on with it."""
        start, last = time.monotonic(), None
        while time.monotonic() - start < 10:
            moved = [c for c in self.clients.values() if c.connected and c.socket and c.push()]
            for client in self.clients.values():
                client.notice(tcp_rows())
            current = self.now()
            if moved or current != last:
                last, since = current, time.monotonic()
            elif time.monotonic() - since > QUIET and all(map(self.has_settled, last, last.values())):
                self.settled = last
                return
            time.sleep(0.002)
        raise Failed(f"the queues do not settle: {last}")

    def has_settled(self, name, queues):
        """Whether bytes that wait will wait for as long as no program reads.

        A kernel that has no room may not say at once that it has some again. So the sender's kernel asks,
        for the first time after 200 ms, and waits twice as long each time. If it has asked once and nothing
        has moved, nothing will.
        """
        client, rows = self.clients[name], tcp_rows()
        ours = rows.get((client.port, client.other_port))
        theirs = rows.get((client.other_port, client.port))
        if is_on_its_way(queues, ours, theirs):
            return False
        if queues["unsent"] and not queues["client_out"]:
            return False  # its kernel has room as soon as the last bytes are acknowledged
        if queues == self.settled.get(name):
            return True
        return all(row is not None and has_asked(row)
                   for row, out in [(ours, queues["client_out"]), (theirs, queues["server_out"])] if out)


def is_on_its_way(queues, ours, theirs):
    """Whether one side has not heard yet that the other connects or resets, or of a FIN behind no bytes."""
    states = [row.state for row in (ours, theirs) if row]
    if SYN_SENT in states or SYN_RECV in states:
        return True
    if queues["fin"] in ("client", "both") and theirs and theirs.state == ESTABLISHED:
        return not queues["client_out"]
    if queues["fin"] in ("server", "both") and ours and ours.state == ESTABLISHED:
        return not queues["server_out"]
    return queues["reset"] and ESTABLISHED in states


def has_asked(row):
    """Whether the timer of the zero window probe waits for its second time, or later."""
    return row.timer == ZERO_WINDOW_PROBE and row.timer_in > 0.25


class Row(NamedTuple):
    """A line of /proc/net/tcp."""

    state: int
    unread: int
    timer: int
    timer_in: float
    inode: int


def tcp_rows():
    """By own port and other port."""
    rows = {}
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        word = line.split()
        ports = tuple(int(address.split(":")[1], 16) for address in word[1:3])
        unread = int(word[4].split(":")[1], 16)
        timer, ticks = (int(part, 16) for part in word[5].split(":"))
        rows[ports] = Row(int(word[3], 16), unread, timer, ticks / os.sysconf("SC_CLK_TCK"), int(word[9]))
    return rows


def unread(row):
    """The bytes that its program can read. In the kernel's figure a FIN that is not read yet is one more."""
    return 0 if row is None else max(0, row.unread - (row.state in (CLOSE_WAIT, LAST_ACK, CLOSING)))


def is_over(row):
    return row is None or row.state == TIME_WAIT


def fin_of(client, server):
    return {(False, False): "none", (True, False): "client", (False, True): "server", (True, True): "both"}[
        client, server]


def inode_of(link):
    found = re.fullmatch(r"socket:\[(\d+)\]", link)
    return int(found[1]) if found else None


def borrow(pidfd, descriptor):
    """pidfd_getfd(2)."""
    ours = ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, descriptor, 0)
    if ours < 0:
        raise Failed(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
    return ours


def is_full(theirs):
    """Whether its kernel takes no byte for this socket at the moment."""
    info = struct.unpack("9I", theirs.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))
    return info[MEMINFO_WMEM_QUEUED] >= info[MEMINFO_SNDBUF]

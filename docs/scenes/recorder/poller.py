"""Whom the server's poller has news about."""

import os
import pathlib
import re
import select
import struct

from .debugger import memory
from .failed import Failed
from .kernel import EPOLL_OPS, EVENT_NAMES, borrow


# Our numbers for the server's descriptors: epoll(7) tells sockets apart by their numbers too.
OFFSET = 500


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
        number = OFFSET + descriptor
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

    def forget(self, descriptor):
        self.edges.pop(descriptor, None)

    def ready(self):
        """Whom the server's next epoll_wait(2) would name."""
        told = dict(self.ours.poll(0))
        for number, events in told.items():
            if self.watched[number - OFFSET] & select.EPOLLET:
                self.edges[number - OFFSET] = events
        # What has become untrue since is not told: the kernel looks again when it answers.
        self.edges = {d: events for d, events in self.edges.items() if self.still_so(d)}
        here = {number - OFFSET for number in told if not self.watched[number - OFFSET] & select.EPOLLET}
        return sorted(filter(None, map(self.server.names.of, here | set(self.edges))), key=rank)

    def still_so(self, descriptor):
        theirs = borrow(self.server.pidfd, descriptor)
        poll = select.poll()
        poll.register(theirs, self.watched[descriptor] & 0xFFFF)
        is_so = bool(poll.poll(0))
        os.close(theirs)
        return is_so

    def answered(self, call, count):
        """What the server's own poller has told: the names, and what for."""
        told, expected = {}, self.ready()
        for i in range(count):
            events, token = struct.unpack("=IQ", memory(call.args[1] + 12 * i, 12))
            descriptor = self.descriptor_of(token)
            self.edges.pop(descriptor, None)
            told[self.server.names.of(descriptor)] = flags(events)
        call.events = told
        if sorted(told, key=rank) != expected:
            raise Failed(f"the poller told {list(told)}, and we thought {expected}")
        return ", ".join(expected) or "0"

    def descriptor_of(self, token):
        """From what the server had the poller keep for a socket, to the socket: /proc says both."""
        epoll = self.server.names.descriptor("epoll")
        for line in pathlib.Path(f"/proc/{self.server.pid}/fdinfo/{epoll}").read_text().splitlines():
            found = re.match(r"tfd:\s*(\d+) events:\s*\w+ data:\s*(\w+)", line)
            if found and int(found[2], 16) == token:
                return int(found[1])
        raise Failed(f"the poller knows no {token}")


def rank(name):
    """The order in which names are listed: what is not a client first."""
    return (name not in ("listener", "signals"), name)


def flags(events):
    return [name for bit, name in EVENT_NAMES.items() if events & bit]

"""What we call the server's descriptors."""

import os
import struct

from .debugger import memory
from .kernel import ADDRESS, inode_of, tcp_rows


class Names:
    """From descriptors to `listener`, `epoll`, `signals`, or a client's name.

    A name is looked up once and kept until the descriptor is closed, because after a reset
    the kernel knows no address.
    """

    def __init__(self, clients):
        self.clients = clients
        self.pid = None
        self.known = {}

    def of(self, descriptor):
        """`None` if it is something else."""
        name = self.known.get(descriptor) or self.found(descriptor)
        if name is not None:
            self.known[descriptor] = name
        return name

    def of_accepted(self, descriptor):
        """The number may have had another name before."""
        self.forget(descriptor)
        return self.of(descriptor)

    def of_target(self, descriptor, address):
        """A socket that is not connected yet has its name from the address that connect(2) is given."""
        port = struct.unpack(">H", memory(address + 2, 2))[0]
        self.known[descriptor] = self.client_at(port)

    def forget(self, descriptor):
        self.known.pop(descriptor, None)

    def descriptor(self, name):
        return next(d for d, known in self.known.items() if known == name)

    def found(self, descriptor):
        link = self.link(descriptor)
        if link == "anon_inode:[eventpoll]":
            return "epoll"
        ports = {row.inode: ports for ports, row in tcp_rows().items()}.get(inode_of(link))
        if ports is None:  # not TCP: it is one of the pair that the signals come through
            return "signals" if link.startswith("socket:") else None
        return "listener" if ports == (ADDRESS[1], 0) else self.client_at(ports[1])

    def link(self, descriptor):
        try:
            return os.readlink(f"/proc/{self.pid}/fd/{descriptor}")
        except OSError:
            return ""

    def client_at(self, port):
        return next((c.name for c in self.clients.values() if c.port == port), None)

    def own_port(self, descriptor):
        inode = inode_of(self.link(descriptor))
        return next((ports[0] for ports, row in tcp_rows().items() if row.inode == inode), None)

"""A system call that the server is about to make."""

from .debugger import current_thread, register, signed
from .kernel import CALL_NAMES, EPOLL_OPS, SO_ERROR


class Call:
    """A system call that the server is about to make."""

    def __init__(self, names):
        self.number = register("orig_rax")
        self.name = CALL_NAMES[self.number]
        self.args = [register(r) for r in ("rdi", "rsi", "rdx", "r10", "r8", "r9")]
        self.thread = current_thread()
        self.asleep = False
        self.events = None  # of epoll_wait, when it has returned: whom it has named, and what for
        self.timeout = None  # of epoll_wait: the ms that are left of its sleep. `None`: no end
        if self.name == "epoll_wait" and signed(self.args[3]) >= 0:
            self.timeout = signed(self.args[3])
        if self.name == "connect":
            names.of_target(self.args[0], self.args[1])
        self.about = names.of(self.args[0])
        self.short, self.text = self.described(names)
        self.at, self.code_text = None, None

    def described(self, names):
        """In two forms: to tell steps apart, and as strace writes it, with names for the descriptors."""
        a, name, about = self.args, self.name, self.about
        if name == "epoll_wait":
            return name, f"epoll_wait(epoll, …, {a[2]}, {signed(a[3])})"
        if name == "epoll_ctl":
            what = f"{EPOLL_OPS[a[1]]}, {names.of(a[2])}"
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

    def is_about_the_network(self):
        """It may also be about a file, the log, or the descriptor of the signals."""
        if self.name == "getsockopt" and self.args[1:3] != SO_ERROR:
            return False
        if self.about == "signals" or (self.name, self.about) == ("close", "epoll"):
            return False  # at the start, and at the end
        return self.about is not None or self.name in ("accept4", "clone3")

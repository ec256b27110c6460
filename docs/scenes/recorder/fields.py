"""The server's own fields, stage by stage."""

import re
import struct

import gdb

from .debugger import memory, without_generics
from .failed import Failed


def stage2(server, _):
    """The state of stage 2 is where each of its threads stands."""
    return {"threads": [{"name": server.owners.get(t, "new"), "in": call.name, "asleep": call.asleep}
                        for t, call in sorted(server.calls.items())]}


def stage3(server, it):
    """What stage 3 knows about a client is what its last turn has found out."""
    known = [(server.names.of(descriptor_in(field(c, "stream"))), variant(field(c, "state")))
             for c in items(field(it, "connections"))]
    return {"state": dict(known), "connections": len(known)}


def stage4(server, it):
    """The same, in a map, and whether it watches the listener."""
    known = [(server.names.of(descriptor_in(field(c, "stream"))), variant(field(c, "state")))
             for c in items(field(it, "connections"))[1::2]]
    watched = variant(field(it, "full")) == "None"
    return {"state": dict(sorted(known)), "connections": len(known), "watches_listener": watched}


def stage5(server, it):
    """What stage 5 has written down."""
    tokens, marks, outbox = {}, {}, {}
    for item in items(field(it, "connections", "clients")):
        client = field(item, "__1")
        name = server.names.of(descriptor_in(field(client, "stream")))
        tokens[int(field(item, "__0", "__0"))] = name
        flags = field(client, "marks")
        marks[name] = [f.name for f in flags.type.fields() if str(flags[f]) == "true"]
        outbox[name] = outbox_length(field(client, "outbox"))
    return {
        "due": named(tokens, field(it, "due"))[turns_taken():], "marks": marks, "outbox": outbox,
        "accept_pending": bool(int(field(it, "accept_pending"))), "connections": len(tokens),
        "retry_in": time_left(server, field(it, "retry_at")),
        "stop_in": time_left(server, field(it, "stop_at")),
        "tokens": tokens,  # for stage 6, not for the reader
    }


def stage6(server, it):
    """The same, and its timers."""
    known = stage5(server, it)
    timers = [(instant(field(t, "__0")), what_for(known["tokens"], field(t, "__1")))
              for t in items(field(it, "timers", "due"))]
    return known | silent_in(server, it) | {
        "timers": [{"what": what, "in": in_ms(server, at)} for at, what in timers],
        "untold": named(known["tokens"], field(it, "untold")),
    }


def silent_in(server, it):
    """After how many ms each client will have been silent for too long. Nothing if it has no such limit."""
    left = {}
    for client in (field(item, "__1") for item in items(field(it, "connections", "clients"))):
        at = time_left(server, field(client, "marks", "idle_at"))
        if at is not None:
            left[server.names.of(descriptor_in(field(client, "stream")))] = at
    return {"silent_in": left} if left else {}


def named(tokens, vector):
    """The clients in a list of tokens. One that has left may still be there."""
    return [tokens.get(int(field(t, "__0")), "one that has left") for t in items(vector)]


def turns_taken():
    """How many in front of the list have had their turns. They leave it together, behind the last turn."""
    frame = gdb.newest_frame()
    while frame and not (frame.name() or "").endswith("::take_turns"):
        frame = frame.older()
    return int(frame.read_var("taken")) if frame else 0


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
        state[name] = machine_state(field(content(phase), "__0", "state")) if shaking else variant(phase)
    timers = [(instant(field(t, "__0")), peers[int(field(t, "__1"))])
              for t in items(field(it, "timers", "due"))]
    return {"state": state, "timers": [{"what": name, "in": in_ms(server, at)} for at, name in timers]}


def machine_state(state):
    """Its name, and how many bytes belong to it."""
    name = variant(state)
    if name == "SendingHandshake":
        return f"{name}, {int(field(content(state), 'left', 'length'))} bytes left"
    if name == "ExpectingAck":
        return f"{name}, {int(field(content(state), 'so_far', 'len'))} bytes so far"
    return name


# Which value holds a program's fields, and who reads them.
FIELDS = {
    "stage2-threads": (None, stage2),
    "stage3-nonblocking-busy": ("Server", stage3),
    "step 4.3": ("Server", stage4),
    "stage4-epoll": ("Server", stage4),
    "stage5-mio": ("Server", stage5),
    "stage6-timers": ("Server", stage6),
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
    """`Drained` of `connection::State::Drained`, `Idle` of `Timer::Idle(mio::token::Token(1000000))`."""
    path = re.split(r"[({]", without_generics(value.format_string(raw=True)))[0]
    return path.split("::")[-1].strip()


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

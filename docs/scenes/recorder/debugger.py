"""gdb, in few words: threads, registers, memory, and how Rust's names look."""

import re

import gdb


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


def function_name(name):
    """`turn` of `stage5_mio::connection::Connection<mio::net::TcpStream>::turn`."""
    return [part for part in without_generics(name).split("::") if not part.startswith("{")][-1]


def without_generics(name):
    while (shorter := re.sub(r"<[^<>]*>", "", name)) != name:
        name = shorter
    return name

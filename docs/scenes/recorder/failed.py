"""How a recording ends that cannot go on."""


class Failed(Exception):
    """The recording cannot go on, and why."""

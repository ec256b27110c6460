"""A script, played."""

import re

from .clients import Client, Peer
from .failed import Failed
from .kernel import MOVERS, Queues
from .server import Server


MOST_STEPS = 60


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
            for sentence in self.scene.get("before", []):
                self.act(sentence)
            self.steps.clear()
            for sentence in self.scene["script"]:
                self.act(sentence)
        finally:
            self.server.kill()
            for client in self.clients.values():
                client.leave()
        return self.steps

    def act(self, sentence):
        """Does what one sentence of the script says."""
        who, *words = sentence.split(" ")
        if sentence == "server until asleep":
            self.until_asleep()
        elif found := re.fullmatch(r"server (\d+) calls?(, folded)?", sentence):
            self.calls(int(found[1]), found[2])
        elif who == "signal":
            self.server.send_signal(words[0])
            self.note_deed("kernel", f"delivers SIG{words[0]}")
        elif sentence.endswith("ms pass"):
            self.pass_time(float(who))
        elif found := re.fullmatch(r"the sleep lasts (\d+) ms too long", sentence):
            self.oversleep(float(found[1]))
        elif who in self.clients:
            self.note_deed(who, self.clients[who].act(" ".join(words)))
        else:
            raise Failed(f"no such sentence: {sentence}")

    def calls(self, count, folded):
        if folded:
            return self.folded_calls(count)
        for _ in range(count):
            self.fall_asleep()  # or a thread that sleeps would be drawn as running
            self.one_call()

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
        """Calls of one thread like those that have been steps already, except for how many bytes they move.

        Together they are one step. The kernel's figures say nothing here, so each call may move others.
        """
        like, threads = {without_count(step["is"]) for step in self.steps}, set()
        for _ in range(count):
            call, answer = self.server.make_call()
            if without_count(this := f"server {call.short}: {answer}") not in like:
                raise Failed(f"not to be folded, since it is new: {this}")
            if call.name in MOVERS and answer != "EAGAIN":
                self.queues.settle()  # or the next call finds what has arrived by chance
            threads.add(call.thread)
        if len(threads) > 1:
            raise Failed(f"not to be folded, since these are {len(threads)} threads")
        self.note_deed("server", f"makes {count} more calls like these")
        self.steps[-1]["thread"] = threads.pop()

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

    def oversleep(self, ms):
        """The sleep is over, and the server does not run before `ms` later."""
        sleep = self.server.sleeps_for()
        if sleep is None:
            raise Failed("it does not sleep, or its sleep has no end")
        self.clock += sleep + ms
        self.server.pass_time(sleep + ms)
        self.note_deed("clock", f"{sleep + ms:g} ms pass, {ms:g} more than the sleep was to last")
        self.until_asleep()

    # -- what is kept of a step

    def note_deed(self, who, does):
        self.note({"who": who, "does": does, "call": None, "answer": None, "asleep": False, "at": None,
                   "code_text": None, "is": f"{who} {does}"})

    def note_call(self, call, answer):
        if call.name in self.scene.get("hide", []):
            if call.name in MOVERS:
                self.queues.settle()
            # What it has changed belongs to the step before: or that shows a server in the middle of it.
            if self.steps and self.steps[-1]["who"] == "server":
                self.steps[-1] |= self.state()
            return
        self.note({"who": "server", "thread": call.thread, "does": None, "call": call.text, "answer": answer,
                   "events": call.events, "asleep": call.asleep, "at": call.at, "code_text": call.code_text,
                   "is": f"server {call.short}: {answer}"})

    def note(self, step):
        if step["call"] is None or step["call"].startswith(MOVERS):
            self.queues.settle()
        self.steps.append(step | self.state())

    def state(self):
        """All of it, as it is now."""
        return {"clock": round(self.clock, 1), "connections": self.queues.now(),
                "backlog": self.server.backlog(), "ready": self.server.ready(),
                "server": without_tokens(self.server.fields())}


def without_count(step):
    """Without how many bytes it moves. None is something else: the end."""
    return re.sub(r": [1-9]\d*$", ": some", step)


def without_tokens(fields):
    return fields and {key: value for key, value in fields.items() if key != "tokens"}

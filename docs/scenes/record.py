"""Records one scene: a real server, stopped by gdb at each system call, and clients that act in between.

docs/scenes/record calls this, inside gdb. A scene is written by hand, in docs/scenes/NAME.toml:

    title, about              what it is called, and what happens in it
    program, options          which server: a stage, `stage6-timers/examples/handshake`, or `step 4.3`
    clients = [{ name, about }]    who connects to it; with `peer = true`, to whom it connects
    small_buffers = true      the kernel's buffers are a few KB, so that one can see them fill
    buffers = { tcp_rmem = "4096 90000 90000" }    or as large as this says: least, default and most
    hide = ["epoll_ctl"]      calls that are made and are not steps
    code_in = "stage6-timers/src/server.rs"    shows the line of this file that leads to the call, if
                              there is one, and not the innermost line of the program
    before = [...]            what has happened when the scene begins: sentences as in the script
    script = [...]            what happens, in order. A client does one thing at a time:

        "A connects"                      until the kernel has shaken hands
        "A sends hello", "A sends 4000"   these letters, or so many bytes. If the kernel does not take all of
                                          them, A sleeps in write(2), which goes on when there is room
        "A reads all", "A reads 5"        what has arrived, or at most so much of it
        "A sends its FIN"                 shutdown(2): A will send no more
        "A closes", "A resets"            close(2), and close(2) with SO_LINGER 0
        "A listens", "A accepts"          for a peer. Without the first, the server's connect(2) is refused
        "A echoes", "A echoes 8"          a peer sends back all that it has read and not yet sent back, or
                                          so many bytes of it

    and what else goes on:

        "server until asleep"             call by call, until the server stands before a call that will sleep
        "server 3 calls"                  so many calls, so that a client can act in the middle of a turn
        "server 300 calls, folded"        so many of one thread, all like those before except for how many
                                          bytes they move: together they are one step
        "signal TERM"                     the server gets SIGTERM
        "600 ms pass"                     the server's clock goes on, and what is due by then happens
        "the sleep lasts 100 ms too long"    the server's sleep is over, and it runs only so much later

    [[step]]                  for each step of the recording, in order:
        is = "server recvfrom A: 5"       who does what, with what result
        caption = "..."                   what one should see, and why it matters
        moment = true                     it is in the strip of pictures

    [what_if]                 the same script against a server with a fault:
        title, about, patch               and its own [[what_if.step]] tables; its own script if it needs one

The recording is committed as docs/src/scenes/NAME.js. If its steps are not those of the TOML, nothing is
written: the steps are printed in the form that the TOML wants.

Three things make a recording repeatable. The server moves only from one call to the next, a thread at a
time. Its clock is ours, and stands still unless the script says that time passes. And a call that would
sleep is not made before something has happened: we see beforehand that it would, by what the kernel has
for it.
"""

import copy
import datetime
import json
import os
import pathlib
import sys
import tomllib

import gdb

sys.dont_write_bytecode = True
sys.path[:0] = ["docs/scenes", os.environ["RUST_ETC"]]  # and rustc's pretty printers
from recorder.failed import Failed  # noqa: E402
from recorder.kernel import SMALL  # noqa: E402
from recorder.script import MOST_STEPS, Recording  # noqa: E402
from recorder.sources import Sources  # noqa: E402

MODE = os.environ["MODE"]  # write, check or list
OUT = os.fdopen(3, "w")  # on stdout, gdb says where it has stopped


class OtherSteps(Exception):
    """The steps are not those that the TOML has captions for."""


def main():
    name, folder = os.environ["SCENE"], pathlib.Path(os.environ["FOLDER"])
    scene = tomllib.loads(pathlib.Path(f"docs/scenes/{name}.toml").read_text())
    buffers = (SMALL if scene.get("small_buffers") else {}) | scene.get("buffers", {})
    for key, value in buffers.items():
        pathlib.Path(f"/proc/sys/net/ipv4/{key}").write_text(value)
    result = recorded(name, scene, folder)
    path = pathlib.Path(f"docs/src/scenes/{name}.js")
    if MODE == "write":
        path.write_text(as_script(result))
        print(f"{path}: {len(result['steps'])} steps", file=OUT)
    elif MODE == "check":
        compare(path, result)


def recorded(name, scene, folder):
    """The whole object that a page is given."""
    tree = folder if scene["program"].startswith("step ") else pathlib.Path(".")
    real = record(scene, folder / "program", tree, "step")
    fault = record_fault(scene, folder) if "what_if" in scene else None
    kernel, today = os.uname().release.split("-")[0], datetime.date.today().isoformat()
    return {
        "name": name, "title": scene["title"], "about": scene["about"],
        "program": scene["program"], "options": scene.get("options", []),
        "recorded": f"Linux {kernel}, {today}",
        "small_buffers": scene.get("small_buffers", False), "clients": scene["clients"],
        "capacity": capacity(real["steps"] + (fault["steps"] if fault else [])),
        **real, "what_if": fault,
    }


def record_fault(scene, folder):
    """The same script, against the server with the patch."""
    fault = scene["what_if"]
    about = {key: fault[key] for key in ("title", "about", "patch")}
    return about | record(scene | {"step": []} | fault, folder / "fault", folder / "tree", "what_if.step")


def record(scene, program, tree, table):
    """The steps with their captions, and what belongs to them. The TOML has the captions in `table`."""
    sources, captions = Sources(tree), scene.get("step", [])
    steps = Recording(scene, program, sources).play()
    if MODE == "list":
        print_steps(steps, captions, table)
        captions = [{"is": step["is"], "caption": ""} for step in steps]
    if [s["is"] for s in steps] != [c["is"] for c in captions]:
        print_steps(steps, captions, table)
        raise OtherSteps
    if len(steps) > MOST_STEPS:
        raise Failed(f"{len(steps)} steps are more than {MOST_STEPS}")
    return {
        "code": sources.functions_of(steps),
        "steps": [{**{k: v for k, v in s.items() if k != "is"}, "caption": c["caption"]}
                  for s, c in zip(steps, captions)],
        "moments": [i for i, c in enumerate(captions) if c.get("moment")],
    }


def print_steps(steps, captions, table):
    """As the TOML wants them. A caption stays where it was if its step is still the same."""
    for i, step in enumerate(steps):
        old = captions[i] if i < len(captions) else {"is": None}
        same = old["is"] == step["is"]
        print(f"[[{table}]]\nis = {json.dumps(step['is'], ensure_ascii=False)}", file=OUT)
        print(f"caption = {json.dumps(old['caption'] if same else '', ensure_ascii=False)}", file=OUT)
        print("moment = true\n" if same and old.get("moment") else "", file=OUT)
        if MODE == "list":
            print(f"# {figures(step)}", file=OUT)


def figures(step):
    """What a step's state is, on one line, for the author of its caption."""
    queues = {name: {key: value for key, value in of.items() if value not in (0, False, "none")}
              for name, of in step["connections"].items()}
    rest = {key: step[key] for key in ("clock", "backlog", "ready", "server", "at")}
    return json.dumps(queues | rest, ensure_ascii=False)


def capacity(steps):
    """The most bytes that are ever in each buffer, for the scale of the bars."""
    queues = ("unsent", "client_out", "server_in", "server_out", "client_in")
    connections = [of for step in steps for of in step["connections"].values()]
    outboxes = [n for step in steps for n in (step["server"] or {}).get("outbox", {}).values()]
    return {key: max(of[key] for of in connections) for key in queues} | {"outbox": max(outboxes, default=0)}


def as_script(result):
    """One call, and one line for each step, so that a person can read what a change has changed."""
    return "scene(" + as_lines(result) + ");\n"


def as_lines(value):
    if isinstance(value, dict) and "steps" in value:
        lines = [f"{json.dumps(key)}: {as_lines(inner)}" for key, inner in value.items()]
        return "{\n" + ",\n".join(lines) + "\n}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join("  " + json.dumps(v, ensure_ascii=False) for v in value) + "\n]"
    return json.dumps(value, ensure_ascii=False)


def compare(path, result):
    """Says what is not as in the committed recording. Its date and its kernel may differ."""
    committed = json.loads(path.read_text().removeprefix("scene(").removesuffix(");\n"))
    found = differences("", committed, result)
    faults = committed["what_if"], result["what_if"]
    if all(faults):
        found += differences("what_if, ", *faults)
    elif any(faults):
        found += ["what_if: only one of the two has it"]
    if found:
        raise Failed("\n".join(["not as committed", *found]))
    print(f"{path}: as committed", file=OUT)


def differences(where, old, new):
    old, new = comparable(old), comparable(new)
    found = [f"{where}{key}" for key in {**old, **new}
             if key not in ("recorded", "steps", "what_if") and new.get(key) != old.get(key)]
    if len(old["steps"]) != len(new["steps"]):
        found += [f"{where}{len(old['steps'])} steps were recorded, now {len(new['steps'])}"]
    for i, (before, now) in enumerate(zip(old["steps"], new["steps"])):
        found += [f"{where}step {i}, {key}: {before.get(key)} was recorded, now {now.get(key)}"
                  for key in {**before, **now} if key != "clock" and now.get(key) != before.get(key)]
    return found


def comparable(run):
    """Of what a client wants to send, its kernel takes now more, now less. Only the sum is compared."""
    run = copy.deepcopy(run)
    for step in run["steps"]:
        for queues in step["connections"].values():
            queues["client_out"] += queues.pop("unsent")
    for key in ("unsent", "client_out"):
        run.get("capacity", {}).pop(key, None)
    return run


try:
    main()
except (Failed, OtherSteps) as e:
    why = str(e) or "the steps are not those of its TOML; above is what they are now"
    print(f"{os.environ['SCENE']}: {why}", file=OUT, flush=True)
    gdb.execute("quit 1")

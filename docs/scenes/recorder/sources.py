"""The source that a program was built from, whole functions of it."""

import re


class Sources:
    """The files that the program was built from."""

    def __init__(self, tree):
        self.tree = tree
        self.files = {}

    def lines(self, file):
        if file not in self.files:
            self.files[file] = (self.tree / file).read_text().splitlines()
        return self.files[file]

    def functions_of(self, steps):
        """Each function in which a step stands, once, in the order of the files."""
        found = {}
        for at in (step["at"] for step in steps if step["at"]):
            first, last = function_around(self.lines(at["file"]), at["line"])
            found[at["file"], first] = self.lines(at["file"])[first - 1:last]
        return [{"file": file, "first": first, "lines": lines}
                for (file, first), lines in sorted(found.items())]


def function_around(lines, line):
    """Its first and its last line, as rustfmt has laid it out."""
    first = line
    while not re.match(r"\s*(pub(\(\w+\))? )?(const )?fn ", lines[first - 1]):
        first -= 1
    indent = re.match(r"\s*", lines[first - 1])[0]
    last = first
    while lines[last - 1] != indent + "}":
        last += 1
    return first, last

"""Parse the Procfile."""

import re
from pathlib import Path

LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")


def read(path: Path) -> dict[str, str]:
    """Return command lines by process name, in the file's order.

    Raises:
        ValueError: a line is neither empty, nor a comment, nor `name: command`.
    """
    commands: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = LINE.fullmatch(line.strip())
        if found is None:
            raise ValueError(f"{path.name}, line {number}: not `name: command`")
        commands[found[1]] = found[2]
    return commands


def kind_of(name: str) -> str:
    """Return the kind of a process, e.g. `worker` of `worker-scans`: its settings and the way it is stopped."""
    return name.partition("-")[0]


def argv(command: str) -> list[str]:
    """Return the arguments that run a command line: a shell expands ${VAR:-default} and execs the command."""
    return ["/bin/sh", "-c", f"exec {command}"]

"""The Procfile: names and command lines."""

import re
from pathlib import Path

LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")


def read(path: Path) -> dict[str, str]:
    """Command lines by name, in the file's order.

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


def argv(command: str) -> list[str]:
    """What runs a command line as one process: the shell expands ${VAR:-default} and is replaced by the command."""
    return ["/bin/sh", "-c", f"exec {command}"]

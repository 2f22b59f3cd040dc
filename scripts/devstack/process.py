"""Become one of the Procfile's processes: `python -m scripts.devstack.process web --bind 0.0.0.0:8000`."""

import os
import shlex
import sys
from typing import NoReturn

from scripts.devstack import procfile
from scripts.devstack.environment import ROOT


def main(name: str, *more: str) -> NoReturn:
    """Replace this process by the named one, with `more` appended to its arguments."""
    commands = procfile.read(ROOT / "Procfile")
    if name not in commands:
        sys.exit(f"No process {name} in the Procfile: {', '.join(commands)}")
    argv = procfile.argv(commands[name] + "".join(f" {shlex.quote(word)}" for word in more))
    os.execv(argv[0], argv)


if __name__ == "__main__":
    main(*sys.argv[1:])

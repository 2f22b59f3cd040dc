"""Where sockets go: a path may have at most 107 plain bytes, and a checkout's may have others."""

import hashlib
import os
import random
import re
import shutil
import socket
import stat
from itertools import islice
from pathlib import Path

from scripts.devstack.progress import fail

LONGEST = 100
"""Bytes of the longest path that is used as it is; sockets and their lock files are under it."""
PLAIN = re.compile(r"[A-Za-z0-9_./@+=-]+")
"""A comma in a path makes it two hosts for PostgreSQL's clients; what else may be special isn't tried out."""
ELSEWHERE, PREFIX = Path("/tmp"), "companon-sockets-"
LOCK_NAME = ".s.PGSQL.5432.lock"
BELOW_EPHEMERAL = range(20_000, 32_768)


def directory(preferred: Path) -> Path:
    """`preferred`, or when its path won't do a private directory under /tmp, always the same one.

    Raises:
        SetupError: somebody else has made that directory.
    """
    if len(os.fsencode(preferred / LOCK_NAME)) <= LONGEST and PLAIN.fullmatch(str(preferred)):
        folder = preferred
    else:
        name = hashlib.sha256(os.fsencode(preferred.parent)).hexdigest()[:16]
        folder = _private(ELSEWHERE / f"{PREFIX}{os.geteuid()}-{name}") / preferred.name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def remove(folder: Path) -> None:
    """Remove what `directory` made, if it is under /tmp; a server's own directory stays."""
    parent = folder.parent
    if parent.parent == ELSEWHERE and parent.name.startswith(PREFIX):
        shutil.rmtree(parent, ignore_errors=True)


def _private(folder: Path) -> Path:
    # Root's may be entered, not listed: PostgreSQL, which doesn't run as root, has its own directory in there.
    mode = 0o711 if os.geteuid() == 0 else 0o700
    folder.mkdir(mode=mode, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        fail(f"{folder} belongs to somebody else; remove it or use a shorter path (--var)")
    folder.chmod(mode)
    return folder


def listening(port: int = 0) -> socket.socket:
    """A socket that listens on this machine only; port 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    return socket.create_server(("127.0.0.1", port), backlog=128)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback interface now."""
    try:
        listening(port).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port that is free now."""
    with listening() as found:
        port: int = found.getsockname()[1]
    return port


def lasting_ports(count: int) -> list[int]:
    """Ports that are free now, and not of those that the system gives to whoever opens a connection.

    So a server that was given one, and is started again, finds it free.
    """
    drawn = random.sample(BELOW_EPHEMERAL, len(BELOW_EPHEMERAL))
    return list(islice(filter(is_free, drawn), count))

"""Choose socket directories and free ports. The path of a Unix socket has at most 107 bytes."""

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
"""Bytes of the longest path that is used unchanged, including the name of a lock file."""
PLAIN = re.compile(r"[A-Za-z0-9_./@+=-]+")
"""Accepted characters: PostgreSQL's clients split a path at a comma, and other characters may be special, too."""
ELSEWHERE, PREFIX = Path("/tmp"), "companon-sockets-"
LOCK_NAME = ".s.PGSQL.5432.lock"
BELOW_EPHEMERAL = range(20_000, 32_768)


def directory(preferred: Path) -> Path:
    """Return `preferred`, or if its path is unsuitable a private directory under /tmp that is always the same.

    Raises:
        SetupError: the directory under /tmp belongs to another user.
    """
    if len(os.fsencode(preferred / LOCK_NAME)) <= LONGEST and PLAIN.fullmatch(str(preferred)):
        folder = preferred
    else:
        name = hashlib.sha256(os.fsencode(preferred.parent)).hexdigest()[:16]
        folder = _private(ELSEWHERE / f"{PREFIX}{os.geteuid()}-{name}") / preferred.name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def remove(folder: Path) -> None:
    """Remove a directory that `directory` created under /tmp; keep a server's own directory."""
    parent = folder.parent
    if parent.parent == ELSEWHERE and parent.name.startswith(PREFIX):
        shutil.rmtree(parent, ignore_errors=True)


def _private(folder: Path) -> Path:
    # PostgreSQL doesn't run as root and has its own directory below root's, so others may enter it.
    mode = 0o711 if os.geteuid() == 0 else 0o700
    folder.mkdir(mode=mode, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        fail(f"{folder} belongs to another user; remove it or use a shorter path (--var)")
    folder.chmod(mode)
    return folder


def listening(port: int = 0) -> socket.socket:
    """Return a socket that listens on the loopback interface; port 0 chooses a free port.

    Raises:
        OSError: the port is taken.
    """
    return socket.create_server(("127.0.0.1", port), backlog=128)


def is_free(port: int) -> bool:
    """Return whether a server could listen on this port of the loopback interface now."""
    try:
        listening(port).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """Return a port that is free now."""
    with listening() as found:
        port: int = found.getsockname()[1]
    return port


def lasting_ports(count: int) -> list[int]:
    """Return free ports outside the ephemeral range, so that a server finds its port free when it restarts."""
    drawn = random.sample(BELOW_EPHEMERAL, len(BELOW_EPHEMERAL))
    return list(islice(filter(is_free, drawn), count))

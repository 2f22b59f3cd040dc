"""Whether this process is on its way out, for what would otherwise go on for ever (event streams)."""

from typing import Protocol


class Worker(Protocol):
    """The part of a gunicorn worker that we look at."""

    alive: bool


_worker: Worker | None = None


def watch(worker: Worker) -> None:
    """Remember the gunicorn worker that this process is."""
    global _worker
    _worker = worker


def is_stopping() -> bool:
    """True from the moment that this process was told to end; always False outside gunicorn.

    An open stream that doesn't look here holds the whole process back until `graceful_timeout`.
    """
    return _worker is not None and not _worker.alive

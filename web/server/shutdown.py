"""Shutdown state of this process, for event streams, which otherwise never end."""

from typing import Protocol


class Worker(Protocol):
    """The attribute of a gunicorn worker that shows its shutdown."""

    alive: bool


_worker: Worker | None = None


def watch(worker: Worker) -> None:
    """Set the gunicorn worker of this process."""
    global _worker
    _worker = worker


def is_stopping() -> bool:
    """Return whether this process received the signal to end; False outside gunicorn.

    An open stream has to poll this: it delays the end of the process until `graceful_timeout` otherwise.
    """
    return _worker is not None and not _worker.alive

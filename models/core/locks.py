"""Locks on what is no row: they last until the transaction ends, so any pooler is safe."""

from uuid import UUID

from models.core.database import execute


def lock(purpose: str, *keys: UUID) -> None:
    """Wait until nobody else holds the lock on `keys` for this purpose.

    What the next statement reads includes everything that the one before had committed (READ COMMITTED takes its
    snapshot with each statement).
    """
    name = ":".join([purpose, *map(str, keys)])
    execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))

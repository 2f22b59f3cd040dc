"""Advisory locks for rules that no single row can guard.

They last until the transaction ends, so every connection pooler is safe.
"""

from uuid import UUID

from models.core.database import execute


def acquire(purpose: str, *keys: UUID) -> None:
    """Acquire the lock on `keys` for one purpose; wait while another transaction holds it.

    The next statement sees everything that the previous holder committed: READ COMMITTED takes a snapshot for each
    statement.
    """
    name = ":".join([purpose, *map(str, keys)])
    execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))

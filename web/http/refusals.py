"""Record refusals in the audit trail: the first ones of each caller one by one, further ones as a count.

This bounds the entries and the database work that refused requests can cause. A minute begins with the first refusal.
When it is over, counters are reset and counted refusals are recorded. Each process has its own counters.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from models.audit.refusals import NOT_FOUND, Refused
from web.http.client_address import partition
from web.http.thread_pool import ThreadPool

logger = logging.getLogger(__name__)

MINUTE = 60.0
PER_CALLER = 10
"""Entries per minute of one person, API key or address; further refusals are counted."""
IN_TOTAL = 300
"""Entries per minute of all callers of a process."""
MAX_COUNTERS = 200
"""Maximum number of counters of a process. Further callers share one."""
WAIT_SECONDS = 1.0
"""Maximum time in seconds that an answer waits for its entry."""

_SHARED_COUNTER = Refused(action="request.refuse", reason="various", status=0, operation="various")

Key = tuple[str, str, str]


class Refusals:
    """Records or counts refusals. Belongs to one event loop."""

    def __init__(
        self,
        pool: ThreadPool,
        write: Callable[[Refused], object],
        *,
        minute: float = MINUTE,
        on_exit: Callable[[], None] = lambda: None,
    ) -> None:
        self._pool = pool
        self._write = write
        self._on_exit = on_exit
        self._minute = minute
        self._written: Counter[str] = Counter()
        self._counted: dict[Key, Refused] = {}
        self._ending: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._due: list[tuple[str, Refused]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def record(self, refused: Refused) -> None:
        """Record or count a refusal. Never fails, and waits at most `WAIT_SECONDS`."""
        who = str(refused.claims.get("sub") or partition(refused.request.address))
        if self._written[who] >= PER_CALLER or self._written.total() >= IN_TOTAL:
            self._count(who, refused)
            return
        self._written[who] += 1
        self._schedule_end()
        task = self._begin(who, refused)
        # Do not wait for 404s: the response time would show whether a foreign record exists.
        if refused.reason != NOT_FOUND:
            await asyncio.wait({task}, timeout=WAIT_SECONDS)

    def _count(self, who: str, refused: Refused) -> None:
        self._schedule_end()
        key, count = (who, refused.action, refused.reason), refused.count
        if key not in self._counted and len(self._counted) >= MAX_COUNTERS:
            key, refused = ("shared", "", ""), _SHARED_COUNTER
        known = self._counted.get(key)
        self._counted[key] = replace(refused, count=count + (known.count if known else 0))

    def _begin(self, who: str, refused: Refused) -> asyncio.Task[None]:
        task = asyncio.create_task(self._try(who, refused))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _try(self, who: str, refused: Refused) -> None:
        try:
            await self._pool.run(self._write, refused)
        except Exception as error:
            logger.warning("the refusal of %s is recorded later: %s", refused.action, error)
            self._count(who, refused)

    def _schedule_end(self) -> None:
        if self._ending is None:
            self._ending = asyncio.get_running_loop().call_later(self._minute, self._end_minute)

    def _end_minute(self) -> None:
        """Reset the counters and record the counted refusals."""
        self._ending = None
        self._written.clear()
        counted, self._counted = self._counted, {}
        if counted:
            logger.warning(
                "%d refusals exceeded the limit of entries and were counted", sum(r.count for r in counted.values())
            )
            self._due.extend((who, refused) for (who, _, _), refused in counted.items())
            if self._flushing is None:
                self._flushing = asyncio.create_task(self._flush_one_by_one())

    async def _flush_one_by_one(self) -> None:
        """Record one count after the other: all at once would displace requests that wait for a thread."""
        while due := self._due:
            await self._try(*due.pop())
        self._flushing = None

    def open(self) -> None:
        """Accept refusals."""

    def close(self, timeout: float) -> bool:
        """Record the counted refusals. Runs in a thread when no more requests arrive."""
        counted, self._counted = [*self._counted.values(), *(refused for _, refused in self._due)], {}
        self._due = []
        recorded = [self._write_now(refused) for refused in counted]
        self._on_exit()
        return all(recorded)

    def _write_now(self, refused: Refused) -> bool:
        try:
            self._write(refused)
        except Exception:
            logger.exception("the refusal of %s could not be recorded", refused.action)
            return False
        return True

"""Refusals on their way into the audit trail: the first ones of each caller one by one, what is more as a number.

So nobody can fill the trail by being refused, nor have the database do more work than that. A minute begins with the
first refusal, and everything is counted anew when it is over; counts are each process's own.
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
"""Entries within a minute that one person, API key or address can cause with refusals; more are counted."""
IN_ALL = 300
"""Entries within a minute that all callers of a process can cause."""
COUNTED = 200
"""Numbers that a process keeps at a time; callers beyond that share one."""
PATIENCE = 1.0
"""Seconds that an answer waits for its entry."""

_EVERYBODY = Refused(action="request.refuse", reason="various", status=0, operation="various")

Key = tuple[str, str, str]


class Refusals:
    """Writes or counts refusals; belongs to one event loop."""

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
        self._telling: asyncio.Task[None] | None = None

    async def note(self, refused: Refused) -> None:
        """Have a refusal in the trail. It never fails, and takes `PATIENCE` at the most."""
        who = str(refused.claims.get("sub") or partition(refused.request.address))
        if self._written[who] >= PER_CALLER or self._written.total() >= IN_ALL:
            self._count(who, refused)
            return
        self._written[who] += 1
        self._await_end()
        task = self._begin(who, refused)
        # Whether there was something to write must not be seen in how long an answer takes.
        if refused.reason != NOT_FOUND:
            await asyncio.wait({task}, timeout=PATIENCE)

    def _count(self, who: str, refused: Refused) -> None:
        self._await_end()
        key, count = (who, refused.action, refused.reason), refused.count
        if key not in self._counted and len(self._counted) >= COUNTED:
            key, refused = ("everybody", "", ""), _EVERYBODY
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
            logger.warning("the refusal of %s is told later: %s", refused.action, error)
            self._count(who, refused)

    def _await_end(self) -> None:
        if self._ending is None:
            self._ending = asyncio.get_running_loop().call_later(self._minute, self._end_minute)

    def _end_minute(self) -> None:
        """Count anew, and tell what was counted."""
        self._ending = None
        self._written.clear()
        counted, self._counted = self._counted, {}
        if counted:
            logger.warning("%d refusals were too many to be told one by one", sum(r.count for r in counted.values()))
            self._due.extend((who, refused) for (who, _, _), refused in counted.items())
            if self._telling is None:
                self._telling = asyncio.create_task(self._tell_in_turn())

    async def _tell_in_turn(self) -> None:
        """One after the other: all at once, they would take the places of requests that wait for a thread."""
        while due := self._due:
            await self._try(*due.pop())
        self._telling = None

    def open(self) -> None:
        """Take refusals."""

    def close(self, timeout: float) -> bool:
        """Tell what was counted; for a thread, when no more requests come."""
        counted, self._counted = [*self._counted.values(), *(refused for _, refused in self._due)], {}
        self._due = []
        told = [self._tell(refused) for refused in counted]
        self._on_exit()
        return all(told)

    def _tell(self, refused: Refused) -> bool:
        try:
            self._write(refused)
        except Exception:
            logger.exception("the refusal of %s could not be recorded", refused.action)
            return False
        return True

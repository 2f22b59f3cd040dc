"""The actors of this release, by name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict, Unpack, get_type_hints

import msgspec

from jobs.engine.backoff import full_jitter, scheduled
from jobs.engine.ledger import ActorLimits

RunsAs = Literal["brand", "fan", "system"]
Body = Callable[..., None]
Lookup = Callable[..., bool | None]
"""Called with the `CurrentJob`. Its type can't be named here: its module imports this one."""
Upcast = Callable[[list[Any]], list[Any]]

HARD_GRACE = 10.0
"""Seconds between the time limit of a job and the kill of its process, if the job does not stop."""
MAX_WAIT_TO_START = 60.0
"""Maximum seconds between a job's claim and its start. After that the worker releases the job instead."""


class Options(TypedDict, total=False):
    """The arguments of `@actor(…)`. `ActorSpec` describes them."""

    queue: str
    runs_as: RunsAs
    max_attempts: int | None
    give_up_after: timedelta | None
    waits: Sequence[float]
    time_limit: float
    outward: bool
    max_running: int | None
    max_per_brand: int | None
    rate: float | None
    burst: int
    lookup: Lookup | None
    version: int
    upcast: Mapping[int, Upcast]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorSpec:
    """An actor: its body and the way the engine runs it.

    Attributes:
        name: `subject.verb`, the name under which jobs are enqueued.
        body: the function that runs.
        parameters: the types of the body's arguments.
        queue: the queue of its due jobs; by default `outward` for an outward actor, else `default`. A line of the
            Procfile serves each queue, so slow calls of other systems delay neither scans nor ordinary jobs.
        runs_as: the rows that its body can reach: those of the job's brand, those of the job's fan, or all (`system`).
        max_attempts: attempts before the job is a dead letter; None: `give_up_after` alone decides.
        give_up_after: time since the job's creation after which no further attempt starts. The replay of an older
            dead letter makes one attempt.
        waits: seconds between attempts, in order; the last one repeats. Without any, exponential backoff with jitter.
        time_limit: maximum seconds of one attempt.
        outward: whether it calls other systems. No transaction is open while it runs (see `own_transaction`).
        max_running: maximum number of its jobs that are published or running.
        max_per_brand: maximum number of its jobs of one brand that are published or running.
        rate: jobs that may start per second.
        burst: jobs that may start at once if there is a `rate`.
        lookup: asks the vendor, before the next attempt, whether an outward job has had its effect. If it
            returns True, the body does not run; the lookup then writes the rows that the body would have written.
        version: version of its arguments. A job of a newer version waits for a release that supports it.
        upcast: for each older version, the function that converts its arguments to the next version.
    """

    name: str
    body: Body
    parameters: tuple[Any, ...]
    queue: str = ""
    runs_as: RunsAs = "brand"
    max_attempts: int | None = 8
    give_up_after: timedelta | None = None
    waits: Sequence[float] = ()
    time_limit: float = 30.0
    outward: bool = False
    max_running: int | None = None
    max_per_brand: int | None = None
    rate: float | None = None
    burst: int = 1
    lookup: Lookup | None = None
    version: int = 1
    upcast: Mapping[int, Upcast] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "queue", self.queue or ("outward" if self.outward else "default"))
        if self.max_attempts is None and self.give_up_after is None:
            raise ValueError(f"{self.name!r} would be retried forever: set max_attempts or give_up_after")
        if self.lookup is not None and not self.outward:
            raise ValueError(f"{self.name!r} has a lookup and calls no vendor: set outward=True")
        if set(self.upcast) != set(range(1, self.version)):
            raise ValueError(f"{self.name!r} needs exactly one upcast from each version before {self.version}")

    @property
    def limits(self) -> ActorLimits | None:
        """The limits that the relay applies to its jobs, or None."""
        if self.max_running is None and self.max_per_brand is None and self.rate is None:
            return None
        return ActorLimits(self.name, self.max_running, self.max_per_brand, self.rate, self.burst)

    def wait_after(self, attempt: int) -> float:
        """Return the seconds between a failed `attempt` and the next."""
        return scheduled(attempt, self.waits) if self.waits else full_jitter(attempt)

    def may_retry(self, attempts: int, created_at: datetime, due_at: datetime) -> bool:
        """Return whether a job with this number of attempts may be attempted again at `due_at`."""
        if self.max_attempts is not None and attempts >= self.max_attempts:
            return False
        return self.give_up_after is None or due_at <= created_at + self.give_up_after

    def call(self, args: Sequence[Any], version: int) -> None:
        """Call the body with arguments from the ledger, upgraded to its version and converted to its annotations.

        Raises:
            msgspec.ValidationError: the arguments do not fit the body's parameters.
        """
        for older in range(version, self.version):
            args = self.upcast[older](list(args))
        if len(args) != len(self.parameters):
            raise msgspec.ValidationError(f"{self.name} takes {len(self.parameters)} arguments, not {len(args)}")
        self.body(*(msgspec.convert(arg, kind) for arg, kind in zip(args, self.parameters, strict=True)))


_specs: dict[str, ActorSpec] = {}


def actor(name: str, **options: Unpack[Options]) -> Callable[[Body], Body]:
    """Declare the function as the body of the actor `name`. It stays a plain function.

    Raises:
        ValueError: the name is taken, the retries have no limit, there is a lookup without `outward=True`, or an
            older version without an upcast.
    """

    def declare(body: Body) -> Body:
        if name in _specs:
            raise ValueError(f"there is an actor {name!r} already")
        hints = get_type_hints(body)
        parameters = tuple(hints[parameter] for parameter in inspect.signature(body).parameters)
        _specs[name] = ActorSpec(name=name, body=body, parameters=parameters, **options)
        return body

    return declare


def find(name: str) -> ActorSpec | None:
    """Return the actor of that name, or None if this release does not declare it."""
    return _specs.get(name)


def all_specs() -> list[ActorSpec]:
    """Return every declared actor."""
    return list(_specs.values())


def limits() -> list[ActorLimits]:
    """Return the limits of the actors that have any."""
    return [spec.limits for spec in _specs.values() if spec.limits is not None]


def max_hold_seconds() -> dict[str, float]:
    """Return for each actor the seconds after which no healthy worker holds a job of it."""
    return {spec.name: MAX_WAIT_TO_START + spec.time_limit + HARD_GRACE for spec in _specs.values()}


def names_by_queue() -> dict[str, list[str]]:
    """Return the names of the actors in each queue."""
    queues: dict[str, list[str]] = {}
    for spec in _specs.values():
        queues.setdefault(spec.queue, []).append(spec.name)
    return queues

"""The actors that this release knows, by name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, get_type_hints

import msgspec

from jobs.engine.backoff import full_jitter, scheduled

if TYPE_CHECKING:
    from jobs.engine.worker.current import CurrentJob

RunsAs = Literal["brand", "fan", "system"]
Body = Callable[..., None]
Lookup = Callable[["CurrentJob"], bool | None]
Upcast = Callable[[list[Any]], list[Any]]

HARD_GRACE = 10.0
"""Seconds after its time limit at which a job that would not stop takes its process down."""
HELD_AT_MOST = 60.0
"""Seconds that a worker holds a claimed job before it starts it; after that, it gives the job back instead."""


class Options(TypedDict, total=False):
    """The arguments of `@actor(…)`; `ActorSpec` says what they mean."""

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
    """One kind of job: its body and how the engine treats it.

    Attributes:
        name: `subject.verb`, what rules enqueue it by.
        body: the function that does it.
        parameters: the types of the body's arguments.
        queue: which queue it waits in once it is due.
        runs_as: whose rows it can reach: its brand's, its fan's, or (`system`) everybody's.
        max_attempts: how often it is tried before it is a dead letter; None: `give_up_after` alone decides.
        give_up_after: time since the job's creation after which no further attempt starts. A replayed dead letter that
            is older is attempted once.
        waits: seconds between attempts, in order; the last one repeats. Without any, exponential backoff with jitter.
        time_limit: seconds that one attempt may take.
        outward: it talks to the world: no transaction is open while it runs (see `own_transaction`).
        max_running: how many of its jobs may be published or running at once.
        max_per_brand: likewise, of one brand.
        rate: how many may start per second, `burst` of them at once.
        burst: see `rate`; without one, it means nothing.
        lookup: asks the vendor whether an outward job's act has been done, before it is tried once more. Only True says
            so, and then the body doesn't run; what the body would have written down is the lookup's to write.
        version: of the form of its arguments. A job of a newer one waits for a release that knows it.
        upcast: for every older version the function that makes its arguments those of the next.
    """

    name: str
    body: Body
    parameters: tuple[Any, ...]
    queue: str = "default"
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
        if self.max_attempts is None and self.give_up_after is None:
            raise ValueError(f"{self.name!r} would be retried forever; max_attempts or give_up_after is missing")
        if self.lookup is not None and not self.outward:
            raise ValueError(f"{self.name!r} talks to nobody who could be asked; outward=True is missing")
        if set(self.upcast) != set(range(1, self.version)):
            raise ValueError(
                f"{self.name!r} needs an upcast from each of the versions before {self.version}, and no other"
            )

    @property
    def is_limited(self) -> bool:
        """Whether the relay has to count its jobs before it publishes more."""
        return not (self.max_running is None and self.max_per_brand is None and self.rate is None)

    def wait_after(self, attempt: int) -> float:
        """Return the seconds that a job waits after its `attempt`-th attempt has failed."""
        return scheduled(attempt, self.waits) if self.waits else full_jitter(attempt)

    def may_retry(self, attempts: int, created_at: datetime, due_at: datetime) -> bool:
        """Return whether a job with this number of attempts may have another one at `due_at`."""
        if self.max_attempts is not None and attempts >= self.max_attempts:
            return False
        return self.give_up_after is None or due_at <= created_at + self.give_up_after

    def call(self, args: Sequence[Any], version: int) -> None:
        """Call the body with arguments from the ledger, brought up to date and converted to its annotations.

        Raises:
            msgspec.ValidationError: they are not what the body takes.
        """
        for older in range(version, self.version):
            args = self.upcast[older](list(args))
        if len(args) != len(self.parameters):
            raise msgspec.ValidationError(f"{self.name} takes {len(self.parameters)} arguments, not {len(args)}")
        self.body(*(msgspec.convert(arg, kind) for arg, kind in zip(args, self.parameters, strict=True)))


_specs: dict[str, ActorSpec] = {}


def actor(name: str, **options: Unpack[Options]) -> Callable[[Body], Body]:
    """Declare the function as the body of the jobs called `name`. It stays a plain function.

    Raises:
        ValueError: the name is taken, nothing limits the retries, there is a lookup and no vendor, or an older version
            without an upcast.
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
    """The actor of that name, if this release knows it."""
    return _specs.get(name)


def all_specs() -> list[ActorSpec]:
    """Every actor that has been declared."""
    return list(_specs.values())


def limited() -> list[ActorSpec]:
    """The actors that have limits."""
    return [spec for spec in _specs.values() if spec.is_limited]


def held_at_most() -> dict[str, float]:
    """For each actor the seconds after which no worker that is well holds a job of it any more."""
    return {spec.name: HELD_AT_MOST + spec.time_limit + HARD_GRACE for spec in _specs.values()}


def names_by_queue() -> dict[str, list[str]]:
    """The names of the actors in each queue."""
    queues: dict[str, list[str]] = {}
    for spec in _specs.values():
        queues.setdefault(spec.queue, []).append(spec.name)
    return queues

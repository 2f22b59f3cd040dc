"""What an endpoint says about itself: the source of what it checks and of its documentation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from models.errors import Problem

Mode = Literal["sync", "async"]

JSON = "application/json"

PUBLIC = "public"
"""Nobody has to be signed in, and it makes no difference if somebody is."""
OPTIONAL = "optional"
"""Nobody has to be signed in; who is, is known."""
AUTHENTICATED = "authenticated"
"""Somebody has to be signed in, whoever it is."""
OPEN = (PUBLIC, OPTIONAL)

TIMEOUT = 10.0
SLOW_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Declaration:
    """One endpoint, as its `@endpoint(…)` declares it."""

    permission: str
    body: Any = None
    query: Any = None
    response: Any = None
    status: int = 200
    media: str = JSON
    audit: str | None = None
    rate: str | None = None
    idempotent: bool = False
    slow: bool = False
    outward: bool = False
    mode: Mode = "sync"
    problems: tuple[type[Problem], ...] = ()
    also: Mapping[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.permission:
            raise TypeError('say who may call it: permission="public", "optional", "authenticated" or "subject:verb"')
        if self.idempotent and (self.outward or self.mode == "async"):
            raise TypeError("an idempotent endpoint keeps its answer in the transaction that @endpoint opens")
        if self.audit and self.mode == "async":
            raise TypeError("an asynchronous endpoint has no transaction that an audit entry could be part of")

    @property
    def timeout(self) -> float:
        """Seconds that a statement may take."""
        return SLOW_TIMEOUT if self.slow else TIMEOUT

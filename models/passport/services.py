"""The downstream services and the report on their state."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from models.core.database import now, rows
from models.passport.calls import CallOutcome, Transport
from models.passport.health import BreakerState, HealthStore
from settings import SERVICES, settings

WINDOW = timedelta(minutes=15)
"""Period of the figures of calls."""

health = HealthStore(settings.redis_url)
"""Breakers and retry budgets of all services."""


@dataclass(frozen=True, slots=True)
class Route:
    """Server that implements a service, and the key that signs requests to it: `id:base64url`."""

    url: str
    key: str = ""


def route(service: str) -> Route | None:
    """Return the server of a service; None if its local implementation is used."""
    url = getattr(settings, f"passport_{service}_url", "")
    return Route(url.rstrip("/"), getattr(settings, f"passport_{service}_key", "")) if url else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """State of a service, and the figures of its calls within `WINDOW`. Durations are in milliseconds."""

    name: str
    transport: Transport
    breaker: BreakerState
    is_shared: bool
    calls: int = 0
    failed: int = 0
    refused: int = 0
    denied: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None

    @property
    def outcomes(self) -> dict[CallOutcome, int]:
        """Return the number of calls by outcome."""
        ok = self.calls - self.failed - self.refused - self.denied
        return {"ok": ok, "refused": self.refused, "failed": self.failed, "denied": self.denied}


def reports() -> Iterator[Report]:
    """Return the state of each service, those of this release first."""
    found = {row.pop("service"): row for row in rows("SELECT * FROM app.passport_gauges(%s)", (now() - WINDOW,))}
    for name in dict.fromkeys((*SERVICES, *sorted(found))):
        state, is_shared = health.read(name)
        yield Report(
            name=name,
            transport="http" if route(name) else "local",
            breaker=state.state(health.clock()),
            is_shared=is_shared,
            **found.get(name, {}),
        )

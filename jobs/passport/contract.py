"""The words in which a service is described, and the two ways in which a call fails."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import msgspec

from jobs.engine.errors import Postponed
from models.core.errors import REGISTRY, DownstreamUnavailable, Problem

KEY_REUSED = "idempotency_key_reused"
"""Code of `ServiceKeyReused`."""

Cause = Literal[
    "bulkhead", "circuit_open", "retry_budget",  # not sent
    "bad_answer", "connection", "error", "interrupted", "status", "throttled", "timeout",
]  # fmt: skip
"""Reason for which a call had no answer."""


class _OfCode(Problem):
    """A problem whose code another class owns: it may occur in requests of the API, too."""

    def __init__(self, code: str, detail: str = "") -> None:
        entry = REGISTRY[code]
        super().__init__(detail or entry.title)
        self.code, self.status, self.title = code, entry.status, entry.title


class ServiceRefused(_OfCode):
    """A service refuses a call for a business reason that its operation lists. The job is not retried."""


class ServiceKeyReused(_OfCode):
    """The idempotency key belongs to another request: a fault of the caller. The job is not retried.

    Every operation may refuse with it. It is no `ServiceRefused`, which actors handle as an answer.
    """

    def __init__(self, detail: str = "") -> None:
        super().__init__(KEY_REUSED, detail)


class ServiceUnavailable(DownstreamUnavailable):
    """A service has not answered a call. The job is retried, not earlier than after `retry_after` seconds."""

    def __init__(self, retry_after: float = 0.0, *, cause: Cause = "error", detail: str = "") -> None:
        super().__init__(detail or f"The service did not answer: {cause}.", retry_after=retry_after)
        self.cause = cause


class NotSent(ServiceUnavailable, Postponed):
    """A call was not sent: the service is failing or busy. The job is tried later, which costs it no attempt."""


class CallDenied(Problem):
    """The policy does not let this job call the operation. The job is not retried."""

    code = "call_denied"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a service: `POST /v1/{name}`.

    Attributes:
        name: name of the method in the service's Protocol.
        request: frozen struct of the request.
        answer: frozen struct of the answer.
        refusals: error codes of business refusals, from `models.core.errors`.
        timeout: maximum seconds for an answer.
        redacted: members of the request that are not stored or logged, at any depth. Members whose names suggest
            personal data (`models.core.personal_data.TELLING_NAMES`) never are.
    """

    name: str
    request: type[msgspec.Struct]
    answer: type[msgspec.Struct]
    refusals: tuple[str, ...] = ()
    timeout: float = 5.0
    redacted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = set(self.refusals) - REGISTRY.keys()
        if unknown:
            raise ValueError(f"{self.name}: models/core/errors.py has no code {', '.join(sorted(unknown))}")


@dataclass(frozen=True, slots=True)
class Service:
    """A service: its name and its operations."""

    name: str
    operations: tuple[Operation, ...]

    @property
    def by_name(self) -> Mapping[str, Operation]:
        """Return the operations by name."""
        return MappingProxyType({operation.name: operation for operation in self.operations})

"""Recorded answers to the documented requests, which the document shows as examples.

`./scripts/test tests/contract/test_examples.py --renew-examples` sends each request and writes the answers.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

FILE = Path(__file__).with_name("response_examples.json")


@dataclass(frozen=True, slots=True)
class Recording:
    """The answer to the documented request of an operation.

    Attributes:
        method: of the request, in upper case.
        status: HTTP status.
        headers: those of `web.openapi.headers.OF_RECORDS` that the answer has, with their values.
        body: decoded, if it is JSON; else a text. None without a body.
    """

    method: str
    status: int
    headers: dict[str, str]
    body: Any = None

    @property
    def is_conditional(self) -> bool:
        """Return whether the operation answers 304 to an `If-None-Match` with the current version."""
        return self.method == "GET" and "ETag" in self.headers


@cache
def recordings() -> dict[str, Recording]:
    """Return all recordings by operation, e.g. `GET /api/v1/campaigns`."""
    found = msgspec.json.decode(FILE.read_bytes())
    return {name: Recording(name.partition(" ")[0], **one) for name, one in found.items()}

"""A valid request of an operation, and its form as bytes."""

import json
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

from tests.contract.raw_client import Request
from tests.contract.seed import Caller

Operation = tuple[str, str]
"""Method and path, as in the document."""


@dataclass(frozen=True)
class Example:
    """A valid request. `path` and `query` by name; `body` is encoded as JSON."""

    operation: Operation
    caller: Caller
    path: dict[str, Any] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    address: str | None = None

    def request(self, *, raw: bytes | None = None, query: str | bytes | None = None, **path: str) -> Request:
        """Return the request as bytes, with a raw body, a raw query, or other path parameters as written in the URL."""
        method, template = self.operation
        target = template
        for name, value in {**{name: quote(str(value)) for name, value in self.path.items()}, **path}.items():
            target = target.replace(f"{{{name}}}", value)
        asked = urlencode(self.query) if query is None else query
        line = target.encode("latin-1") + (b"?" + _bytes(asked) if asked else b"")
        headers = (("Authorization", f"Bearer {self.caller.token}"),) if self.caller.token else ()
        if raw is None:
            raw = b"" if self.body is None else json.dumps(self.body).encode()
        if self.body is not None:
            headers += (("Content-Type", "application/json"), ("Content-Length", str(len(raw))))
        return Request(method, line, headers, raw, address=self.address)

    def of(self, caller: Caller) -> "Example":
        """Return the request with another caller."""
        return replace(self, caller=caller)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")

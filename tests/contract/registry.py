"""The registry of example requests, one for each operation of the API."""

from collections.abc import Callable
from typing import Any

from tests.contract.example import Example, Operation
from tests.contract.seed import UNAUTHENTICATED, Seed
from web.app import application
from web.openapi.document import endpoint_specs

DECLARED = endpoint_specs(application)
Builder = Callable[[Seed], Example]


class Examples(dict[Operation, Builder]):
    """Builders of requests by operation."""

    def __missing__(self, operation: Operation) -> Builder:
        """Fail with what to do."""
        raise LookupError(
            f'{" ".join(operation)} has no example request: add `_example("{" ".join(operation)}", …)` to'
            " tests/contract/examples.py"
        )


EXAMPLES = Examples()


def example(operation: str, role: str = UNAUTHENTICATED, **parts: Callable[[Seed], Any]) -> None:
    """Add the request of an operation. `body` overrides members of the documented example.

    Override what must name a real record, be unique, or be present for the attacks on each field.
    """
    method, path = operation.split()

    def build(seed: Seed) -> Example:
        made = {"caller": seed.callers[role], **{name: make(seed) for name, make in parts.items()}}
        documented = DECLARED[method, path].example
        if documented is not None:
            made["body"] = {**documented, **made.get("body", {})}
        return Example((method, path), **made)

    EXAMPLES[method, path] = build


def own(*names: str) -> Callable[[Seed], dict[str, Any]]:
    return lambda seed: {name: seed.own[name] for name in names}


def page(**more: Any) -> Callable[[Seed], dict[str, Any]]:
    return lambda _: {"limit": 2, **more}

"""Compare the operations of two documents: paths, parameters, bodies, answers and security."""

from collections.abc import Iterator
from datetime import date
from typing import Any

from web.openapi.comparison.rules import Change
from web.openapi.comparison.schemas import Comparison, Direction, Schema

Document = dict[str, Any]
Operation = dict[str, Any]

SUNSET = "x-sunset"
"""Key of a deprecated operation: the day after which it may be gone, as `2027-12-31`."""


def compare(old: Document, new: Document, *, today: date) -> list[Change]:
    """Return the changes from one document to another, in the order of their places.

    Args:
        old: the released document.
        new: the document to release.
        today: a deprecated operation whose `Sunset` is before this day may be gone.
    """
    return sorted(set(_Documents(old, new, today).changes()))


class _Documents:
    def __init__(self, old: Document, new: Document, today: date) -> None:
        self._old = old
        self._new = new
        self._today = today

    def changes(self) -> Iterator[Change]:
        before, now = self._old["paths"], self._new["paths"]
        for path in before.keys() - now.keys():
            if all(self._is_over(operation) for operation in before[path].values()):
                yield from (_gone(method, path) for method in before[path])
            else:
                yield Change(path, "path-removed")
        for path in now.keys() - before.keys():
            yield Change(path, "path-added")
        for path in before.keys() & now.keys():
            yield from self._methods(path, before[path], now[path])

    def _methods(self, path: str, before: dict[str, Operation], now: dict[str, Operation]) -> Iterator[Change]:
        for method in before.keys() - now.keys():
            over = self._is_over(before[method])
            yield _gone(method, path) if over else Change(_place(method, path), "operation-removed")
        for method in now.keys() - before.keys():
            yield Change(_place(method, path), "operation-added")
        for method in before.keys() & now.keys():
            yield from self._operation(_place(method, path), before[method], now[method])

    def _is_over(self, operation: Operation) -> bool:
        sunset = operation.get(SUNSET)
        return sunset is not None and date.fromisoformat(sunset) < self._today

    def _operation(self, where: str, old: Operation, new: Operation) -> Iterator[Change]:
        if old.get("operationId") != new.get("operationId"):
            yield Change(where, "operation-id-changed", f"{old.get('operationId')} → {new.get('operationId')}")
        if new.get("deprecated") and not old.get("deprecated"):
            yield Change(where, "operation-deprecated")
        yield from self._parameters(where, old, new)
        yield from self._body(where, old.get("requestBody"), new.get("requestBody"))
        yield from self._responses(where, old["responses"], new["responses"])
        yield from _security(where, self._security_of(old, self._old), self._security_of(new, self._new))

    @staticmethod
    def _security_of(operation: Operation, spec: Document) -> list[frozenset[str]]:
        needed = operation.get("security", spec.get("security", []))
        return [frozenset(alternative) for alternative in needed or [{}]]

    def _parameters(self, where: str, old: Operation, new: Operation) -> Iterator[Change]:
        before = {(one["in"], one["name"]): one for one in old.get("parameters", [])}
        now = {(one["in"], one["name"]): one for one in new.get("parameters", [])}
        for key in before.keys() - now.keys():
            yield Change(_parameter(where, key), "parameter-removed")
        for key in now.keys() - before.keys():
            yield Change(_parameter(where, key), "parameter-added" + ("-required" * bool(now[key].get("required"))))
        for key in before.keys() & now.keys():
            one, other = bool(before[key].get("required")), bool(now[key].get("required"))
            if one != other:
                yield Change(_parameter(where, key), f"parameter-made-{'required' if other else 'optional'}")
            yield from self._schemas("request", before[key]["schema"], now[key]["schema"], _parameter(where, key))

    def _body(self, where: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> Iterator[Change]:
        where = f"{where} body:"
        if old is None and new is not None:
            yield Change(where, "body-added" + "-required" * bool(new.get("required")))
        elif old is not None and new is None:
            yield Change(where, "body-removed")
        elif old is not None and new is not None:
            if bool(old.get("required")) != bool(new.get("required")):
                yield Change(where, f"body-made-{'required' if new.get('required') else 'optional'}")
            yield from self._content("request", where, old, new)

    def _responses(self, where: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
        for status in old.keys() - new.keys():
            yield Change(f"{where} {status}", f"{_kind(status)}-removed")
        for status in new.keys() - old.keys():
            yield Change(f"{where} {status}", f"{_kind(status)}-added")
        for status in old.keys() & new.keys():
            before, now = _answer(old[status], self._old), _answer(new[status], self._new)
            yield from self._content("response", f"{where} {status}:", before, now)
            headers, others = before.get("headers", {}), now.get("headers", {})
            for name in headers.keys() - others.keys():
                yield Change(f"{where} {status}: {name}", "response-header-removed")
            for name in others.keys() - headers.keys():
                yield Change(f"{where} {status}: {name}", "response-header-added")

    def _content(self, direction: Direction, where: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
        before, now = old.get("content", {}), new.get("content", {})
        for media in before.keys() - now.keys():
            yield Change(where, f"{direction}-media-removed", media)
        for media in now.keys() - before.keys():
            yield Change(where, f"{direction}-media-added", media)
        for media in before.keys() & now.keys():
            yield from self._schemas(direction, before[media]["schema"], now[media]["schema"], where)

    def _schemas(self, direction: Direction, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        components = self._old["components"]["schemas"], self._new["components"]["schemas"]
        yield from Comparison(*components, direction).changes(old, new, where)


def _place(method: str, path: str) -> str:
    return f"{method.upper()} {path}"


def _gone(method: str, path: str) -> Change:
    return Change(_place(method, path), "operation-removed-after-sunset")


def _parameter(where: str, key: tuple[str, str]) -> str:
    return f"{where} {key[0]}: {key[1]}"


def _kind(status: str) -> str:
    return "success" if status < "4" else "error"


def _answer(answer: dict[str, Any], spec: Document) -> dict[str, Any]:
    if "$ref" not in answer:
        return answer
    found: dict[str, Any] = spec["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    return found


def _security(where: str, old: list[frozenset[str]], new: list[frozenset[str]]) -> Iterator[Change]:
    """Yield changes of the alternatives: who had one of the old ones must have one of the new ones."""
    refused = [alternative for alternative in old if not any(other <= alternative for other in new)]
    admitted = [alternative for alternative in new if not any(other <= alternative for other in old)]
    if refused:
        yield Change(where, "security-added", "not enough: " + _named(refused))
    if admitted:
        yield Change(where, "security-removed", "enough: " + _named(admitted))


def _named(alternatives: list[frozenset[str]]) -> str:
    return " or ".join(" and ".join(sorted(alternative)) or "nothing" for alternative in alternatives)

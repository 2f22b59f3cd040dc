"""Compare the schemas of two documents.

A request must not become narrower: the server would refuse what a client sends. An answer must not become wider: a
client would get what it does not know. Exceptions are new members, enumerated values and variants of answers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from web.openapi.comparison.rules import Change

Schema = dict[str, Any]
Direction = Literal["request", "response"]

LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
FORMS = ("pattern", "format", "uniqueItems", "multipleOf", "contentEncoding", "propertyNames")
"""Constraints without an order: another value is both narrower and wider."""

COVERED_BY = {"integer": "number"}
"""Types that are part of another type."""

ANY = "any"


@dataclass(frozen=True)
class Comparison:
    """Compares schemas in one direction. `old` and `new` are the components of the documents."""

    old: dict[str, Schema]
    new: dict[str, Schema]
    direction: Direction
    _open: list[tuple[str, str]] = field(default_factory=list)

    def changes(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        """Yield the changes between two schemas."""
        pair = (old.get("$ref", ""), new.get("$ref", ""))
        if all(pair) and pair in self._open:
            return  # a recursive type
        self._open.append(pair)
        yield from self._options(_options(old, self.old), _options(new, self.new), where)
        self._open.pop()

    def _options(self, old: dict[str, Schema], new: dict[str, Schema], where: str) -> Iterator[Change]:
        for name in old.keys() - new.keys():
            if not _is_covered(name, new):
                yield self._change("type-narrowed", where, f"without {name}")
        for name in new.keys() - old.keys():
            if not _is_covered(name, old):
                variant = self.direction == "response" and "=" in name
                yield self._change("variant-added" if variant else "type-widened", where, f"with {name}")
        for name in old.keys() & new.keys():
            yield from self._same_type(old[name], new[name], where)

    def _same_type(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        yield from self._values(old, new, where)
        yield from self._bounds(old, new, where)
        yield from self._forms(old, new, where)
        if "items" in old or "items" in new:
            yield from self.changes(old.get("items") or {}, new.get("items") or {}, f"{where}[]")
        if old.get("type") == "object":
            yield from self._members(old, new, where)
            yield from self._others(old, new, where)

    def _values(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        before, now = _values(old), _values(new)
        if before is None and now is not None:
            yield self._change("constraint-narrowed", where, f"only {', '.join(now)}")
        elif before is not None and now is None:
            yield self._change("values-opened" if self.direction == "response" else "constraint-widened", where)
        elif before is not None and now is not None:
            if self.direction == "response" and now and not set(before) & set(now):
                yield self._change("values-replaced", where, ", ".join(now))
                return
            yield from (self._change("value-removed", where, one) for one in before if one not in now)
            yield from (self._change("value-added", where, one) for one in now if one not in before)

    def _bounds(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        for names, sign in ((LOWER_BOUNDS, 1), (UPPER_BOUNDS, -1)):
            for name in names:
                before, now = old.get(name), new.get(name)
                if before == now:
                    continue
                narrower = before is None or (now is not None and sign * now > sign * before)
                yield self._change(
                    "constraint-narrowed" if narrower else "constraint-widened", where, _step(name, before, now)
                )

    def _forms(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        for name in FORMS:
            before, now = old.get(name), new.get(name)
            if before == now:
                continue
            # Another form excludes some values and admits others: of both changes, the one that breaks counts.
            other_form = before is not None and now is not None
            narrower = before is None or (other_form and self.direction == "request")
            yield self._change(
                "constraint-narrowed" if narrower else "constraint-widened", where, _step(name, before, now)
            )

    def _members(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        before, now = old.get("properties", {}), new.get("properties", {})
        needed_before, needed_now = set(old.get("required", ())), set(new.get("required", ()))
        for name in before.keys() - now.keys():
            yield self._change("member-removed", _within(where, name))
        for name in now.keys() - before.keys():
            required = self.direction == "request" and name in needed_now
            yield self._change("member-added-required" if required else "member-added", _within(where, name))
        for name in before.keys() & now.keys():
            if (name in needed_before) != (name in needed_now):
                made = "member-made-required" if name in needed_now else "member-made-optional"
                yield self._change(made, _within(where, name))
            yield from self.changes(before[name], now[name], _within(where, name))

    def _others(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        """Yield changes of `additionalProperties`: of the members that `properties` does not name."""
        before, now = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from self.changes(before, now, _within(where, "*"))
        elif self.direction == "request" and before != now:
            yield self._change("opened" if now is True or before is False else "closed", where)
        elif isinstance(before, dict):
            yield self._change("values-opened", _within(where, "*"))

    def _change(self, kind: str, where: str, detail: str = "") -> Change:
        return Change(where, f"{self.direction}-{kind}", detail)


def _options(schema: Schema, components: dict[str, Schema]) -> dict[str, Schema]:
    """Return the alternatives of a schema by their types. Objects of several kinds differ by their constant members."""
    found: dict[str, Schema] = {}
    schema = resolved(schema, components)
    branches = schema.get("anyOf") or schema.get("oneOf")
    if branches:
        for branch in branches:
            found |= _options(branch, components)
        return found
    kinds = schema.get("type", ANY)
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        members = schema.get("properties", {}).items()
        values = [(name, _values(resolved(part, components)) or []) for name, part in members]
        label = ", ".join(f"{name}={of[0]}" for name, of in sorted(values) if len(of) == 1)
        found[f"{kind} {label}".strip()] = schema | {"type": kind}
    return found


def resolved(schema: Schema, components: dict[str, Schema]) -> Schema:
    """Return the schema that a reference leads to; any other schema unchanged."""
    while "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
    return schema


def _is_covered(name: str, others: dict[str, Schema]) -> bool:
    return ANY in others or COVERED_BY.get(name) in others


def _values(schema: Schema) -> list[str] | None:
    if "const" in schema:
        return [str(schema["const"])]
    return [str(value) for value in schema["enum"]] if "enum" in schema else None


def _within(where: str, name: str) -> str:
    return f"{where} {name}" if where.endswith(":") else f"{where}.{name}"


def _step(name: str, before: Any, now: Any) -> str:
    return f"{name} {'none' if before is None else before} → {'none' if now is None else now}"

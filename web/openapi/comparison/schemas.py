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
OBJECT = "object"


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
        before, now = _alternatives(old, self.old), _alternatives(new, self.new)
        yield from self._types(_plain(before), _plain(now), where)
        yield from self._objects(_objects(before), _objects(now), where)
        self._open.pop()

    def _types(self, old: dict[str, Schema], new: dict[str, Schema], where: str) -> Iterator[Change]:
        for name in old.keys() - new.keys():
            if not _is_covered(name, new):
                yield self._change("type-narrowed", where, f"without {name}")
        for name in new.keys() - old.keys():
            if not _is_covered(name, old):
                yield self._change("type-widened", where, f"with {name}")
        for name in (old.keys() & new.keys()) - {OBJECT}:
            yield from self._same_type(old[name], new[name], where)

    def _objects(self, old: dict[str, Schema], new: dict[str, Schema], where: str) -> Iterator[Change]:
        """Compare objects by the names of their schemas. Objects left over on both sides have been renamed."""
        pairs = {name: name for name in old.keys() & new.keys()}
        gone, added = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
        while gone and added:
            pairs[gone.pop(0)] = added.pop(0)
        if pairs:
            yield from (self._change("type-narrowed", where, f"without {name}") for name in gone)
            yield from (self._change("variant-added", where, f"with {name}") for name in added)
        for before, now in pairs.items():
            yield from self._same_type(old[before], new[now], where)

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


def _alternatives(schema: Schema, components: dict[str, Schema], name: str = "") -> list[tuple[str, Schema]]:
    """Return the alternatives of a schema, each of one type, with the name of its component."""
    while "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        schema = components[name]
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        return [found for branch in branches for found in _alternatives(branch, components)]
    kinds = schema.get("type", ANY)
    return [(name, schema | {"type": kind}) for kind in (kinds if isinstance(kinds, list) else [kinds])]


def _plain(alternatives: list[tuple[str, Schema]]) -> dict[str, Schema]:
    """Return one schema for each type."""
    return {schema["type"]: schema for _, schema in alternatives}


def _objects(alternatives: list[tuple[str, Schema]]) -> dict[str, Schema]:
    """Return the objects by name."""
    return {name: schema for name, schema in alternatives if schema["type"] == OBJECT}


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

"""Contradictions: definitions that no contact, or every contact, fulfils whatever the data are.

Only conditions that stand side by side in one `all` or `any` are compared, with their direct negations.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from typing import Any

from msgspec import UNSET

from models.audiences import dsl
from models.audiences._values import Comparison, comparison
from models.audiences.compiler import Context, bounds
from models.audiences.dsl import Condition, ConsentCondition, EventCondition, ProfileCondition, TraitCondition
from models.audiences.profile import ValueType
from models.core.errors import FieldError, Invalid

_NEVER = "contradicts another condition beside it: no contact can fulfil both"
_ALWAYS = "is the opposite of another condition beside it: every contact fulfils one of them"


def require_consistent(root: Condition, context: Context, today: date) -> None:
    """Check that the conditions of each `all` and `any` can hold together, and fail together.

    Raises:
        Invalid: carries the path of each condition that contradicts one before it.
    """
    found = [error for path, node in dsl.walk(root) for error in _of_group(path, node, context, today)]
    if found:
        raise Invalid(errors=found)


def _of_group(path: str, node: Condition, context: Context, today: date) -> Iterator[FieldError]:
    children = [(path + step, child) for step, child in node.children()]
    is_all = node.all_of is not UNSET
    seen: list[Condition] = []
    subjects: defaultdict[Any, list[Any]] = defaultdict(list)
    for place, child in children if len(children) > 1 else ():
        opposite = child.not_of if child.not_of is not UNSET else Condition(not_of=child)
        if opposite in seen:
            yield FieldError(place, _NEVER if is_all else _ALWAYS)
        seen.append(child)
        subject, condition = _condition(child, context, today)
        if not is_all or subject is None:
            continue
        if not all(_compatible(condition, other) for other in subjects[subject]):
            yield FieldError(place, _NEVER)
        subjects[subject].append(condition)


def _condition(node: Condition, context: Context, today: date) -> tuple[Any, Any]:
    """Return what a leaf is about, and the condition on it. Leaves about different things are never compared."""
    leaf = node.leaf()
    if isinstance(leaf, ProfileCondition):
        kind = context.fields[leaf.field].type
        return leaf.field, (kind, comparison(kind, leaf.op, leaf.value, path="", today=today))
    if isinstance(leaf, TraitCondition):
        return ("trait", leaf.name), ("text", comparison("text", leaf.op, leaf.value, path="", today=today))
    if isinstance(leaf, EventCondition):
        return (leaf.kind, repr(leaf.window), repr(leaf.where)), bounds(leaf.count, "")
    if isinstance(leaf, ConsentCondition):
        return ("consent", leaf.tier), leaf.state
    return None, None


def _compatible(one: Any, other: Any) -> bool:
    """Return whether two conditions on one thing can hold together; true if that is not known."""
    if isinstance(one, str):
        return bool(one == other)
    if isinstance(one[1], Comparison):
        return _comparisons_compatible(one[0], one[1], other[1])
    (low, high), (other_low, other_high) = one, other
    return bool(max(low, other_low) <= min(_top(high), _top(other_high)))


def _top(high: int | None) -> float:
    return float("inf") if high is None else high


def _comparisons_compatible(kind: ValueType, one: Comparison, other: Comparison) -> bool:
    for first, second in ((one, other), (other, one)):
        if first.op == "set" and first.negated:
            return second.negated
        if first.op == "in" and not first.negated and kind != "list":
            return any(_admits(second, value) for value in first.values)
    if one.op == other.op == "range" and not one.negated and not other.negated:
        return _overlap(one, other)
    return True


def _admits(condition: Comparison, value: Any) -> bool:
    if condition.op == "set":
        return not condition.negated
    if condition.op == "in":
        holds = value in condition.values
    elif condition.op == "range":
        holds = _overlap(condition, Comparison("range", low=value, high=value))
    else:
        text, part = str(value).lower(), str(condition.values[0]).lower()
        holds = part in text if condition.op == "contains" else text.startswith(part)
    return holds != condition.negated


def _overlap(one: Comparison, other: Comparison) -> bool:
    lows = [(side.low, side.excludes[0]) for side in (one, other) if side.low is not None]
    highs = [(side.high, side.excludes[1]) for side in (one, other) if side.high is not None]
    return all(
        low < high or (low == high and not (excludes_low or excludes_high))
        for low, excludes_low in lows
        for high, excludes_high in highs
    )

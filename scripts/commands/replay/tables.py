"""Format results for a terminal: columns, times and trees."""

from collections.abc import Iterable, Sequence
from typing import Any

from models.core.texts import escape, json_for_terminal

MAX_CELL = 60
"""Maximum characters of one cell."""


def print_lines(text: str) -> None:
    """Print lines, escaped for a terminal: jobs and their errors hold text from others."""
    print(escape(text, keep="\n"))


def print_json(value: Any) -> None:
    """Print indented JSON, escaped for a terminal."""
    print(json_for_terminal(value))


def table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Return the lines of a table. Numbers are aligned to the right."""
    listed = [[cell(value) for value in row] for row in rows]
    right = [all(_is_number(row[at]) for row in listed) and bool(listed) for at in range(len(names))]
    widths = [max(len(row[at]) for row in [list(names), *listed]) for at in range(len(names))]
    return [
        "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in [list(names), *listed]
    ]


def cell(value: Any) -> str:
    """Return a value on one line, shortened to `MAX_CELL` and escaped for a terminal."""
    text = "" if value is None else f"{value:,}" if isinstance(value, int) else escape(" ".join(str(value).split()))
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").isdigit()


def when(text: str | None) -> str:
    """Return a time of the API to the second."""
    return (text or "")[:19].replace("T", " ")


def tree(jobs: Sequence[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Order jobs below the jobs that enqueued them. Return each with the lines that lead to it."""
    known = {job["id"] for job in jobs}
    children: dict[str | None, list[dict[str, Any]]] = {}
    for job in jobs:
        children.setdefault(job["parent_id"] if job["parent_id"] in known else None, []).append(job)
    found: list[tuple[str, dict[str, Any]]] = []
    waiting = [("", "", job) for job in reversed(children.get(None, []))]
    while waiting:
        lead, below, job = waiting.pop()
        found.append((lead, job))
        inner = children.get(job["id"], [])
        for number, child in reversed(list(enumerate(inner, 1))):
            last = number == len(inner)
            waiting.append((below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "), child))
    return found

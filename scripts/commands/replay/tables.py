"""Answers as people read them: columns, times, and trees."""

from collections.abc import Iterable, Sequence
from typing import Any

from models.core.texts import escape, json_for_terminal

WIDEST = 60
"""Letters of one cell."""


def print_lines(text: str) -> None:
    """Print lines, escaped for a terminal: jobs and their errors hold text from others."""
    print(escape(text, keep="\n"))


def print_json(value: Any) -> None:
    """Print indented JSON, escaped for a terminal."""
    print(json_for_terminal(value))


def table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Lines of columns; numbers to the right."""
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
    """A value on one line, as far as there is room, escaped for a terminal."""
    text = "" if value is None else f"{value:,}" if isinstance(value, int) else escape(" ".join(str(value).split()))
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").isdigit()


def when(text: str | None) -> str:
    """A time of the API's, to the second."""
    return (text or "")[:19].replace("T", " ")


def tree(links: Sequence[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Jobs below the jobs that asked for them, each with the lines that lead to it."""
    known = {link["id"] for link in links}
    children: dict[str | None, list[dict[str, Any]]] = {}
    for link in links:
        children.setdefault(link["parent_id"] if link["parent_id"] in known else None, []).append(link)
    found: list[tuple[str, dict[str, Any]]] = []
    waiting = [("", "", link) for link in reversed(children.get(None, []))]
    while waiting:
        lead, below, link = waiting.pop()
        found.append((lead, link))
        inner = children.get(link["id"], [])
        for number, child in reversed(list(enumerate(inner, 1))):
            last = number == len(inner)
            waiting.append((below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "), child))
    return found

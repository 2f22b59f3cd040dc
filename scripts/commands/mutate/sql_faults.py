"""Faults in SQL: operators, conditions, constants and order, found in the tokens of PostgreSQL's own scanner.

Comments and strings are left alone; the bodies of functions, which are strings to the scanner, are scanned, too.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from pglast.parser import ParseError, scan

from scripts.commands.mutate.faults import Site

SWAPS = {
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
    "=": ("<>",),
    "<>": ("=",),
    "!=": ("=",),
    "+": ("-",),
    "-": ("+",),
    "and": ("or",),
    "or": ("and",),
    "true": ("false",),
    "false": ("true",),
    "desc": ("asc",),
    "asc": ("desc",),
    "greatest": ("least",),
    "least": ("greatest",),
    "max": ("min",),
    "min": ("max",),
    "exists": ("not exists",),
    "distinct": ("",),
}
"""Replacements of one token."""
_INDEX = re.compile(r"create index [^;]*;", re.IGNORECASE)
"""An index that is not unique: faults in it change no result."""
ASSIGNING = {"set", "default"}
"""Words after which `=` assigns."""
OPENERS = {"where", "having", "when", "if", "elsif", "while", "check", "using"}
"""Words that a condition follows; a condition of one term is dropped only here."""
BOUNDARIES = OPENERS | {
    "on", "filter", "select", "from", "then", "else", "loop", "return", "group", "order", "limit", "offset",
    "returning", "union", "except", "intersect", "for", "window", "inner", "cross", "join", "natural", "full", "set",
    "values", "do", "fetch", "as", "into", "end", "begin", "raise", "with", "by", "exit", "perform", ":=", ",", ";",
}  # fmt: skip
"""Words and signs that end a condition at the same depth of parentheses."""


_Replacement = tuple[int, int, str]
"""Offsets of the replaced text, and the text in its place."""


class Token(NamedTuple):
    """One token, its offsets in the whole text, and its lower-case text."""

    start: int
    end: int
    text: str
    name: str


@dataclass
class _Condition:
    """A condition that is being read, or another part of a statement between two boundaries."""

    opener: str = ""
    is_case: bool = False
    """This level of the stack ends with the `end` of a `case`."""
    terms: list[list[Token]] = field(default_factory=lambda: [[]])
    joints: list[str] = field(default_factory=list)
    """The `and` or `or` between each two terms."""
    between: bool = False
    """`between` was read and its `and` not yet."""

    def add(self, token: Token) -> None:
        """Append a token to the last term, or begin a new term after `and` or `or`."""
        if token.text in {"and", "or"} and not (token.text == "and" and self.between):
            self.joints.append(token.text)
            self.terms.append([])
        else:
            self.between = token.text == "between" or (self.between and token.text != "and")
            self.terms[-1].append(token)

    def drops(self) -> Iterator["_Replacement"]:
        """Yield the replacement of each term by the value that leaves the others in force."""
        if len(self.terms) == 1 and (self.opener not in OPENERS or len(self.terms[0]) < 2):
            return
        for index, term in enumerate(self.terms):
            if term:
                beside = self.joints[max(index - 1, 0) : index + 1]
                yield term[0].start, term[-1].end, "false" if beside and "and" not in beside else "true"


def sites(text: str, start: int = 0, end: int | None = None) -> list[Site]:
    """Find the sites of a text in SQL, or of the part between two offsets.

    Returns:
        Sites whose line and column count in the whole text.
    """
    tokens = list(_tokens(text, start, len(text) if end is None else end))
    replacements = [*_swaps(tokens), *_constants(tokens), *_nulls(tokens), *_orders(tokens), *_drops(tokens)]
    indexes = [found.span() for found in _INDEX.finditer(text)]
    by_offset: dict[int, list[tuple[int, int, str]]] = {}
    for replaced in replacements:
        if not any(first <= replaced[0] < last for first, last in indexes):
            by_offset.setdefault(replaced[0], []).append(replaced)
    return [
        Site(
            text.count("\n", 0, offset) + 1,
            offset - text.rfind("\n", 0, offset) - 1,
            tuple(partial(_replace, text, *replaced) for replaced in replacements),
        )
        for offset, replacements in by_offset.items()
    ]


def _replace(text: str, start: int, end: int, replacement: str) -> str:
    return text[:start] + replacement + text[end:]


def _tokens(text: str, start: int, end: int) -> Iterator[Token]:
    """Scan a part of the text, and the bodies between dollar quotes in it."""
    try:
        scanned = scan(text[start:end])
    except ParseError:  # A body in another language.
        return
    for found in scanned:
        first, last = start + found.start, start + found.end + 1
        word = text[first:last]
        quoted = re.match(r"\$\w*\$", word) if found.name == "SCONST" else None
        if quoted:
            yield Token(first, first + quoted.end(), ";", "QUOTE")
            yield from _tokens(text, first + quoted.end(), last - quoted.end())
            yield Token(last - quoted.end(), last, ";", "QUOTE")
        elif not found.name.endswith("COMMENT"):
            yield Token(first, last, word.lower(), found.name)


def _swaps(tokens: Sequence[Token]) -> Iterator[_Replacement]:
    for index, token in enumerate(tokens):
        before, after = _text(tokens, index - 1), _text(tokens, index + 1)
        if token.name in {"SCONST", "QUOTE"} or token.text not in SWAPS:
            continue
        if token.text == "=" and _assigns(tokens, index):
            continue
        if token.text == "and" and _belongs_to_between(tokens, index):
            continue
        if token.text in {"+", "-"} and not re.fullmatch(r"[\w)'\"\]]+", before[-1:]):
            continue  # A sign.
        if token.text in {"min", "max"} and after != "(":
            continue
        if before in {"is", "not"}:  # `_nulls` negates these.
            continue
        yield from ((token.start, token.end, replacement) for replacement in SWAPS[token.text])


def _constants(tokens: Sequence[Token]) -> Iterator[_Replacement]:
    """Change integers by one in bodies, and the first number of an interval."""
    body = False
    for index, token in enumerate(tokens):
        if token.name == "QUOTE":
            body = not body
        before = _text(tokens, index - 1)
        if token.name == "ICONST" and (body or before in SWAPS):
            numbers = (int(token.text) + step for step in (1, -1))
            yield from ((token.start, token.end, str(number)) for number in numbers if number >= 0)
        elif token.name == "SCONST" and before == "interval" and (number := re.search(r"\d+", token.text)):
            first = token.start + number.start()
            yield first, token.start + number.end(), str(int(number[0]) + 1)


_DECLARED = {"null", "valid", "deferrable", "materialized"}
"""Words that make `not` part of a declaration. `if not exists` of a declaration looks like a condition."""


def _nulls(tokens: Sequence[Token]) -> Iterator[_Replacement]:
    """Negate `is [not] null` and `is [not] distinct from`, and drop other words `not`."""
    for index, token in enumerate(tokens):
        after = _text(tokens, index + 1)
        if token.text == "is" and after in {"null", "distinct", "true", "false"}:
            yield token.start, token.end, "is not"
        elif token.text == "is" and after == "not":
            yield token.start, tokens[index + 1].end, "is"
        elif token.text == "not" and _text(tokens, index - 1) != "is" and after not in _DECLARED:
            yield token.start, token.end, ""


def _orders(tokens: Sequence[Token]) -> Iterator[_Replacement]:
    """Reverse the first key of an `order by` that names no direction."""
    for index, token in enumerate(tokens):
        if token.text != "by" or _text(tokens, index - 1) != "order":
            continue
        depth = 0
        for position in range(index + 1, len(tokens) + 1):
            word = _text(tokens, position)
            if depth == 0 and word in {"desc", "asc"}:
                break
            if depth == 0 and (word in {"", ")", "nulls", "rows", "range"} or word in BOUNDARIES):
                yield tokens[position - 1].end, tokens[position - 1].end, " desc"
                break
            depth += (word == "(") - (word == ")")


def _drops(tokens: Sequence[Token]) -> Iterator[_Replacement]:
    """Drop each term of each condition."""
    stack = [_Condition()]
    for index, token in enumerate(tokens):
        before, after = _text(tokens, index - 1), _text(tokens, index + 1)
        if token.text == "(" or (token.text == "case" and before != "end"):
            stack[-1].add(token)
            stack.append(_Condition(opener=before if token.text == "(" else "", is_case=token.text == "case"))
        elif len(stack) > 1 and (token.text == ")" or (token.text == "end" and stack[-1].is_case)):
            yield from stack.pop().drops()
            stack[-1].add(token)
        elif token.name == "QUOTE":
            for condition in stack:
                yield from condition.drops()
            stack = [_Condition()]
        elif _is_boundary(before, token.text, after):
            yield from stack[-1].drops()
            stack[-1] = _Condition(opener=token.text, is_case=stack[-1].is_case)
        else:
            stack[-1].add(token)


def _is_boundary(before: str, word: str, after: str) -> bool:
    if word in {"left", "right"}:  # Also functions.
        return after in {"join", "outer"}
    return word in BOUNDARIES and (before, word) != ("distinct", "from")


def _assigns(tokens: Sequence[Token], index: int) -> bool:
    """Return whether the `=` at this index assigns: the last word that opens a part of the statement is `set`."""
    depth = 0
    for token in reversed(tokens[:index]):
        depth += (token.text == ")") - (token.text == "(")
        if depth < 0 or token.name == "QUOTE":
            return False
        if depth == 0 and token.text in ASSIGNING:
            return True
        if depth == 0 and token.text != "," and token.text in BOUNDARIES | {"and", "or"}:
            return False
    return False


def _belongs_to_between(tokens: Sequence[Token], index: int) -> bool:
    depth = 0
    for token in reversed(tokens[:index]):
        depth += (token.text == ")") - (token.text == "(")
        if depth < 0:
            return False
        if depth == 0 and (token.text in BOUNDARIES or token.text in {"and", "or", "between"}):
            return token.text == "between"
    return False


def _text(tokens: Sequence[Token], index: int) -> str:
    return tokens[index].text if 0 <= index < len(tokens) else ""

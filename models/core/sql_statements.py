"""Split SQL text into statements. Not every semicolon ends one."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* | /\* )
    | (?P<text>    [eE]'(?: [^'\\] | \\. | '' )*' | '(?: [^'] | '' )*' | "(?: [^"] | "" )*" )
    | (?P<dollar>  \$ (?: [^\W\d]\w* )? \$ )
    | (?P<word>    [^\W\d][\w$]* )
    | (?P<number>  \d[\w.]* | \$\d+ )
    | (?P<space>   \s+ )
    | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK = re.compile(r"/\*|\*/")


@dataclass(frozen=True)
class Token:
    """Lexical token of SQL; `kind` is the name of a group in `_TOKEN`."""

    kind: str
    text: str


def tokens(sql: str) -> Iterator[Token]:
    """Yield the tokens of `sql`. Joined, they equal `sql`.

    Raises:
        ValueError: a string, a quoted name or a comment is not terminated.
    """
    position = 0
    while found := _TOKEN.match(sql, position):
        kind, end = found.lastgroup or "other", found.end()
        if kind == "dollar":
            end = _after(sql, found.group(), end)
            kind = "text"
        elif found.group() == "/*":
            end = _after_comment(sql, end)
        elif found.group() in {"'", '"'}:
            raise ValueError(f"{found.group()} is not terminated, line {sql.count(chr(10), 0, position) + 1}")
        yield Token(kind, sql[position:end])
        position = end


def _after(sql: str, delimiter: str, start: int) -> int:
    end = sql.find(delimiter, start)
    if end < 0:
        raise ValueError(f"{delimiter} is not terminated")
    return end + len(delimiter)


def _after_comment(sql: str, start: int) -> int:
    """Return the end of a block comment. Block comments nest."""
    depth, position = 1, start
    while depth:
        found = _BLOCK.search(sql, position)
        if found is None:
            raise ValueError("/* is not terminated")
        depth += 1 if found.group() == "/*" else -1
        position = found.end()
    return position


def split(sql: str) -> Iterator[str]:
    """Yield the statements of `sql` without their semicolons. A comment belongs to the statement after it.

    Semicolons in brackets (`create rule … do (a; b)`) and in a function body (`begin atomic a; b; end`) end none.

    Raises:
        ValueError: a string, a quoted name or a comment is not terminated.
    """
    statement: list[Token] = []
    depth = brackets = 0
    previous = ""
    for token in tokens(sql):
        if token.text == ";" and depth == 0 and brackets == 0:
            yield from _whole(statement)
            statement = []
            continue
        if token.kind not in {"comment", "space"}:
            word = token.text.lower()
            depth += _deeper(word, previous, depth)
            brackets = max(0, brackets + {"(": 1, ")": -1}.get(word, 0))
            previous = word
        statement.append(token)
    yield from _whole(statement)


def _deeper(word: str, previous: str, depth: int) -> int:
    """Return the change of nesting by a word in a function body `begin atomic … end`; `case` has an `end`, too."""
    # After a dot or `as` the word is a name.
    if previous in {".", "as"}:
        return 0
    if word == "atomic" and previous == "begin":
        return 1
    if depth and word == "case":
        return 1
    return -1 if depth and word == "end" else 0


def _whole(statement: list[Token]) -> Iterator[str]:
    if any(token.kind not in {"comment", "space"} for token in statement):
        yield "".join(token.text for token in statement).strip()


def verb(statement: str) -> str:
    """Return the first word of a statement in lower case, with the second one if that is `transaction`."""
    words = [token.text.lower() for token in tokens(statement) if token.kind == "word"][:2]
    return " ".join(words[: 2 if words[1:] == ["transaction"] and words[0] in {"start", "prepare"} else 1])


def canonical(statements: Iterable[str]) -> list[str]:
    """Return the statements without comments and layout, for comparison."""
    return [_canonical(statement) for statement in statements]


def _canonical(statement: str) -> str:
    text, gap = "", False
    for token in tokens(statement):
        if token.kind in {"comment", "space"}:
            gap = True
            continue
        text += (" " if gap and text else "") + token.text
        gap = False
    return text.rstrip("; ")

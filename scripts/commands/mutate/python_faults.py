"""Faults in Python: the operators of cosmic-ray, and the SQL sampler in strings that hold a statement."""

import ast
import io
import re
import tokenize
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.operators.provider import OperatorProvider

from scripts.commands.mutate import sql_faults
from scripts.commands.mutate.faults import Site

_COMPARISONS = (
    "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt",
    "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is",
)  # fmt: skip
_ARITHMETIC = (
    "Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_Mul", "Pow_Mul",
    "LShift_RShift", "RShift_LShift", "BitOr_BitAnd", "BitAnd_BitOr",
)  # fmt: skip
# Cosmic-ray replaces each operator by each other one. Most of these raise TypeError in any test, which would
# flatter the score: only neighbours and opposites are kept. Removed decorators are left out for the same reason.
OPERATORS = (
    *(f"ReplaceComparisonOperator_{pair}" for pair in _COMPARISONS),
    *(f"ReplaceBinaryOperator_{pair}" for pair in _ARITHMETIC),
    "ReplaceUnaryOperator_Delete_Not",
    "ReplaceUnaryOperator_Delete_USub",
    "AddNot",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ExceptionReplacer",
    "NumberReplacer",
    "ZeroIterationForLoop",
)
"""Names of the operators of cosmic-ray that are used."""
SHAPE_KEYWORDS = {"frozen", "slots", "kw_only", "maxsize", "null"}
"""Keyword arguments that change the shape of a class, of a table model or of a cache, but no result."""
TUNED_ABOVE = 10
STATEMENT = re.compile(r"\s*(select|insert into|update|delete from|with)\s", re.IGNORECASE)
"""Start of a string that holds a statement in SQL."""

_Position = tuple[int, int]


def sites(source: str) -> list[Site]:
    """Find the sites of a Python source: expressions that run, and statements in SQL strings."""
    ignored = list(_ignored(ast.parse(source)))
    lines = source.splitlines()
    found: defaultdict[_Position, list[Callable[[], str]]] = defaultdict(list)
    for start, operator, occurrence in _occurrences(source):
        is_separator = lines[start[0] - 1][start[1] :].startswith("*,")  # Of keyword-only parameters.
        if not is_separator and not any(first <= start < last for first, last in ignored):
            found[start].append(partial(_mutated, source, operator, occurrence))
    in_python = [Site(*position, tuple(mutants)) for position, mutants in found.items()]
    return in_python + list(_sites_in_strings(source))


def _occurrences(source: str) -> Iterator[tuple[_Position, Operator, int]]:
    """Yield each position, an operator that applies there, and its number among those of the operator."""
    provider = OperatorProvider()
    operators = [provider[name]() for name in OPERATORS]
    seen: Counter[Operator] = Counter()
    for node in ast_nodes(get_ast(source)):
        for operator in operators:
            for start, _end in operator.mutation_positions(node):
                yield start, operator, seen[operator]
                seen[operator] += 1


def _mutated(source: str, operator: Operator, occurrence: int) -> str:
    mutated: str | None = mutate_code(source, operator, occurrence)
    if mutated is None:
        raise LookupError(f"{operator} has no occurrence {occurrence}")
    return mutated


def _ignored(tree: ast.AST) -> Iterator[tuple[_Position, _Position]]:
    """Yield the ranges of code whose faults do not measure the tests."""
    for node in ast.walk(tree):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(part, ast.expr):
                yield _range(part)
        if isinstance(node, ast.keyword) and node.arg in SHAPE_KEYWORDS:
            yield _range(node.value)
        if isinstance(node, ast.Assert | ast.alias):  # Any call fails; `import *`.
            yield _range(node)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.col_offset == 0 and node.value:
            yield from map(_range, filter(_is_tuned, ast.walk(node.value)))


def _is_tuned(node: ast.AST) -> bool:
    """Return whether a number of a module-level constant is so large that one more or less changes no rule."""
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and node.value > TUNED_ABOVE


def _range(node: Any) -> tuple[_Position, _Position]:
    return (node.lineno, node.col_offset), (node.end_lineno or node.lineno, node.end_col_offset or 0)


def _sites_in_strings(source: str) -> Iterator[Site]:
    starts = [0, *(match.end() for match in re.finditer("\n", source))]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.STRING:
            continue
        quoted = re.fullmatch(r"([rR]?)(\"\"\"|'''|\"|')(.*)\2", token.string, re.DOTALL)
        if quoted is None or not STATEMENT.match(quoted[3]):
            continue
        offset = starts[token.start[0] - 1] + token.start[1] + quoted.start(3)
        yield from sql_faults.sites(source, offset, offset + len(quoted[3]))

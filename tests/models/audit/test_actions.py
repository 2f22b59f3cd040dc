"""Tests that the list of audit actions names every recorded action of Python and of SQL, and no other."""

import ast
import re
from collections.abc import Iterator

from models.audit.actions import ACTIONS
from scripts.devstack.environment import ROOT
from tests.fixtures.queries import Query

NAME = re.compile(r"[a-z_]+\.[a-z_]+")
IN_SQL = re.compile(r"app\.(?:add_account_audit\(|add_audit\([^,]*,)\s*'([a-z_]+\.[a-z_]+)'")
TREES = [ast.parse(path.read_text()) for layer in ("models", "web", "jobs") for path in (ROOT / layer).rglob("*.py")]


def recorded_in_sql(query: Query) -> set[str]:
    found = query("select prosrc from pg_proc where pronamespace = 'app'::regnamespace")
    return {action for (source,) in found for action in IN_SQL.findall(source)}


def recorded_in_python() -> Iterator[str]:
    """Return the constants that declare an audit action, and those in SQL statements."""
    for tree in TREES:
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg in ("audit", "refused_as", "action"):
                yield from action_in(node.value)
            elif isinstance(node, ast.Call) and node.args:
                is_partial = ast.unparse(node.func) == "partial" and ast.unparse(node.args[0]) == "trail.record"
                if is_partial or ast.unparse(node.func) == "trail.record":
                    yield from action_in(node.args[1 if is_partial else 0])
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from IN_SQL.findall(node.value)


def action_in(node: ast.expr) -> list[str]:
    is_action = isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value)
    return [node.value] if is_action else []


def test_recorded_actions_are_listed(query: Query) -> None:
    in_sql, in_python = recorded_in_sql(query), set(recorded_in_python())

    assert len(in_sql) > 10
    assert len(in_python) > 40
    assert in_sql | in_python <= set(ACTIONS)


def test_listed_actions_are_recorded(query: Query) -> None:
    constants = {
        node.value
        for tree in TREES
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in ACTIONS and not is_listing(tree)
    }

    assert set(ACTIONS) == recorded_in_sql(query) | set(recorded_in_python()) | constants


def is_listing(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ACTIONS" for node in tree.body)

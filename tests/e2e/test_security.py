"""Tests of docs/security.md: it covers each line of the standard, and the tests that it names exist."""

import ast
import re
from functools import cache

from scripts.devstack.environment import ROOT
from settings import secrets_table

TEXT = (ROOT / "docs" / "security.md").read_text()
ROW = re.compile(r"^\| (\d+\.\d+\.\d+(?:, \d+\.\d+\.\d+)*) \| (.*) \|$", re.MULTILINE)
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(test_\w+)`", TEXT)))

UP_TO = {
    # ASVS 5.0.0: number of lines of levels 1 and 2 in each section. The lines of level 3 follow them.
    "1.1": 2, "1.2": 9, "1.3": 11, "1.4": 3, "1.5": 2, "2.1": 3, "2.2": 3, "2.3": 4, "2.4": 1, "3.2": 2, "3.3": 4,
    "3.4": 6, "3.5": 5, "3.7": 2, "4.1": 3, "4.2": 1, "4.3": 2, "4.4": 4, "5.1": 1, "5.2": 3, "5.3": 2, "5.4": 3,
    "6.1": 3, "6.2": 12, "6.3": 4, "6.4": 4, "6.5": 5, "6.6": 3, "6.8": 4, "7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5,
    "7.5": 2, "7.6": 2, "8.1": 2, "8.2": 3, "8.3": 1, "8.4": 1, "9.1": 3, "9.2": 4, "10.1": 2, "10.2": 2, "10.3": 4,
    "10.4": 11, "10.5": 5, "10.6": 2, "10.7": 3, "11.1": 2, "11.2": 3, "11.3": 3, "11.4": 4, "11.5": 1, "11.6": 1,
    "12.1": 3, "12.2": 2, "12.3": 4, "13.1": 1, "13.2": 5, "13.3": 2, "13.4": 5, "14.1": 2, "14.2": 4, "14.3": 3,
    "15.1": 3, "15.2": 3, "15.3": 7, "16.1": 1, "16.2": 5, "16.3": 4, "16.4": 3, "16.5": 3, "17.1": 1, "17.2": 4,
    "17.3": 2,
}  # fmt: skip


def test_page_has_each_line_of_levels_1_and_2_once():
    covered = [line for lines, _ in ROW.findall(TEXT) for line in lines.split(", ")]

    assert sorted(covered) == sorted(f"{section}.{n}" for section, last in UP_TO.items() for n in range(1, last + 1))


def test_table_of_secrets_equals_the_settings():
    assert f"<!-- secrets -->\n{secrets_table()}\n<!-- /secrets -->" in TEXT


def test_each_line_names_a_test_or_a_reason():
    for lines, rest in ROW.findall(TEXT):
        _, mark, how = rest.split(" | ", 2)  # requirement, mark, explanation

        assert mark in ("✓", "◐", "○", "–"), lines
        assert "::test_" in how or len(how) >= (20 if mark == "✓" else 4), lines


def test_named_tests_exist():
    assert [f"{path}::{name}" for path, name in NAMED if name not in names(path)] == []


@cache
def names(path):
    """Return the names of the tests in a file."""
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}

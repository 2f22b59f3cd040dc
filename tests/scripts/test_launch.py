"""Executables of `scripts/`: one stub, one table of needs, one package for each."""

import os

from scripts.devstack.environment import ROOT
from scripts.devstack.launch import COMMANDS

EXECUTABLES = [path for path in sorted((ROOT / "scripts").iterdir()) if path.is_file() and not path.suffix]


def test_executables_are_the_commands_of_the_table():
    assert [path.name for path in EXECUTABLES] == sorted(COMMANDS)
    assert [path.name for path in EXECUTABLES if not os.access(path, os.X_OK)] == []


def test_executables_have_one_text():
    assert len({path.read_text() for path in EXECUTABLES}) == 1


def test_commands_have_a_main():
    assert [name for name in COMMANDS if not (ROOT / "scripts" / "commands" / name / "main.py").exists()] == []

"""Tests of the output of commands: reasons of failures, and escaped control characters."""

import io
import sys

import pytest

from scripts.devstack import progress
from scripts.devstack.progress import SetupError


@pytest.fixture
def printed(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(progress.output, "streams", [stream])
    return stream


def test_failed_command_raises_end_of_its_output(printed):
    code = "for n in range(100): print('line', n)\nraise SystemExit(3)"

    with pytest.raises(SetupError, match="No such file"):
        progress.run("Making it", ["/nowhere/at/all"])
    with pytest.raises(SetupError) as failed:
        progress.run("Making it", [sys.executable, "-c", code])

    assert "failed with status 3" in str(failed.value)
    assert str(failed.value).endswith("    line 99")
    assert "line 1\n" not in str(failed.value)


def test_line_with_control_characters_is_escaped(printed):
    progress.say("✗ \x1b[31mdone\x9b2J\u202e\n\tsecond line")

    assert printed.getvalue() == "✗ \\x1b[31mdone\\x9b2J\\u202e\n\tsecond line\n"

"""Telling people: what fails says why, and a reader who has gone stops nothing."""

import io
import sys

import pytest

from scripts.devstack import progress
from scripts.devstack.progress import SetupError


@pytest.fixture
def said(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(progress.output, "streams", [stream])
    return stream


def test_a_command_that_fails_shows_the_end_of_its_output(said):
    code = "for n in range(100): print('line', n)\nraise SystemExit(3)"

    with pytest.raises(SetupError) as failed:
        progress.run("Making it", [sys.executable, "-c", code])

    assert "failed with status 3" in str(failed.value)
    assert str(failed.value).endswith("    line 99")
    assert "line 1\n" not in str(failed.value)


def test_a_command_that_is_not_there_is_a_failure_too(said):
    with pytest.raises(SetupError, match="No such file"):
        progress.run("Making it", ["/nowhere/at/all"])


def test_a_step_says_what_it_was_and_how_long_it_took(said):
    progress.run("Making it", ["true"])

    assert said.getvalue().startswith("  Making it (0.")


def test_line_with_control_characters_is_escaped(said):
    progress.say("✗ \x1b[31mdone\x9b2J\u202e\n\tsecond line")

    assert said.getvalue() == "✗ \\x1b[31mdone\\x9b2J\\u202e\n\tsecond line\n"


def test_a_slow_step_shows_signs_of_life_where_lines_cannot_be_rewritten(said, monkeypatch):
    monkeypatch.setattr(progress, "HEARTBEAT", 0.2)

    progress.run("Making it", ["sleep", "1"])

    assert "  Making it … " in said.getvalue()


def test_a_reader_who_has_gone_is_forgotten(said):
    gone = io.StringIO()
    gone.close()
    progress.output.streams.append(gone)

    progress.say("one")
    progress.say("two")

    assert said.getvalue() == "one\ntwo\n"
    assert progress.output.streams == [said]

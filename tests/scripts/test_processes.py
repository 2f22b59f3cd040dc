"""Tests of process records: PID, start time and boot identify a process, and a mark its children."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from scripts.devstack.processes import MARK, Record, spawn, stat, write_atomically
from tests.scripts.conftest import eventually, is_running


def test_record_of_other_start_time_or_boot_is_not_alive(sleeper):
    record = Record.of(sleeper.pid)

    assert record.alive
    assert not replace(record, start=record.start + 1).alive
    assert not replace(record, boot="another").alive


def test_record_of_zombie_process_is_not_alive(sleeper):
    record = Record.of(sleeper.pid)

    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)

    assert not record.alive
    assert record.remains() == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "start": 2, "boot": "", "more": 3}'])
def test_record_file_with_invalid_content_is_read_as_none(tmp_path, text):
    path = tmp_path / "x.pid"
    path.write_text(text)

    assert Record.read(path) is None


def test_children_of_dead_process_are_found_by_their_mark(tmp_path):
    leader = spawn(["sh", "-c", "sleep 1000 & wait"], env=os.environ | {MARK: "m1"}, cwd=tmp_path, output=None)
    record = Record.of(leader.pid, "m1")
    eventually(lambda: len(record.remains()) == 2)

    leader.kill()
    leader.wait()

    (left,) = record.remains()
    assert replace(record, mark="m2").remains() == []
    os.kill(left, 9)
    eventually(lambda: record.remains() == [])


def test_spawned_process_is_killed_with_its_parent(tmp_path):
    code = (
        "import os, pathlib, sys; from scripts.devstack.processes import spawn;"
        "print(spawn(['sleep', '1000'], env=os.environ, cwd=pathlib.Path('.'), output=None).pid, flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        assert stat(child).session == child

        parent.kill()

    eventually(lambda: not is_running(child))


def test_file_is_replaced_atomically_and_readable_by_owner_only(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("old")

    write_atomically(path, "new")

    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]

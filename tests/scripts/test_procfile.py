"""The Procfile: what is read, and what its lines become."""

import os
import subprocess
import sys

import pytest

from scripts.devstack import procfile
from scripts.devstack.environment import ROOT


def test_ours_names_the_processes():
    assert list(procfile.read(ROOT / "Procfile")) == ["release", "web", "relay", "worker", "clock", "seal"]


def test_comments_and_empty_lines_are_skipped(tmp_path):
    path = tmp_path / "Procfile"
    path.write_text("# a: b\n\n web: serve --port $PORT # not a comment of ours\n")

    assert procfile.read(path) == {"web": "serve --port $PORT # not a comment of ours"}


@pytest.mark.parametrize("line", ["web", "web:", ": serve", "a b: serve"])
def test_a_line_that_is_no_process_is_refused(tmp_path, line):
    path = tmp_path / "Procfile"
    path.write_text(f"ok: true\n{line}\n")

    with pytest.raises(ValueError, match="Procfile, line 2"):
        procfile.read(path)


@pytest.mark.parametrize(("env", "printed"), [({}, "2\n"), ({"N": "7"}, "7\n")])
def test_variables_with_defaults_are_filled_in(env, printed):
    done = subprocess.run(procfile.argv("echo ${N:-2}"), env=env, capture_output=True, text=True, check=True)

    assert done.stdout == printed


def test_a_line_is_one_process_without_a_shell_around_it():
    process = subprocess.Popen(procfile.argv("python3 -c 'import os; print(os.getpid())'"), stdout=subprocess.PIPE)

    assert int(process.communicate()[0]) == process.pid


def test_a_process_can_be_started_by_its_name_with_more_arguments(tmp_path):
    stub = tmp_path / "gunicorn"
    stub.write_text('#!/bin/sh\necho "$@"\n')
    stub.chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    argv = [sys.executable, "-m", "scripts.devstack.process", "web", "--bind", "0.0.0.0:80 80"]

    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=True)

    assert done.stdout == "--config web/server/gunicorn.conf.py web.app:application --bind 0.0.0.0:80 80\n"


def test_a_process_that_is_not_there_is_named():
    argv = [sys.executable, "-m", "scripts.devstack.process", "wbe"]

    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "No process wbe in the Procfile: release, web" in done.stderr

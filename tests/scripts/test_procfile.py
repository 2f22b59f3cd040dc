"""Tests of the Procfile: its syntax, and the processes that its lines start."""

import os
import re
import subprocess
import sys

import pytest

import jobs.actors  # noqa: F401  (declares every actor)
from jobs.engine import registry
from scripts.devstack import procfile
from scripts.devstack.environment import ROOT


def test_procfile_of_the_project_names_its_processes():
    names = list(procfile.read(ROOT / "Procfile"))

    assert names == ["release", "web", "relay", "worker-scans", "worker", "worker-outward", "clock", "seal"]


def test_each_queue_is_served_by_one_line_of_the_procfile():
    commands = procfile.read(ROOT / "Procfile").values()
    lines = [found[1].split() for command in commands if (found := re.search(r"--queues ((?:\w+ )+)", command))]

    served = [queue for line in lines for queue in line]

    assert sorted(served) == sorted(registry.names_by_queue())
    assert ["scans"] in lines


def test_procfile_comments_and_empty_lines_are_skipped(tmp_path):
    path = tmp_path / "Procfile"
    path.write_text("# a: b\n\n web: serve --port $PORT # not a comment of ours\n")

    assert procfile.read(path) == {"web": "serve --port $PORT # not a comment of ours"}


@pytest.mark.parametrize("line", ["web", "web:", ": serve", "a b: serve"])
def test_procfile_line_without_name_or_command_is_refused(tmp_path, line):
    path = tmp_path / "Procfile"
    path.write_text(f"ok: true\n{line}\n")

    with pytest.raises(ValueError, match="Procfile, line 2"):
        procfile.read(path)


@pytest.mark.parametrize(("env", "printed"), [({}, "2\n"), ({"N": "7"}, "7\n")])
def test_procfile_variables_with_defaults_are_expanded(env, printed):
    done = subprocess.run(procfile.argv("echo ${N:-2}"), env=env, capture_output=True, text=True, check=True)

    assert done.stdout == printed


def test_procfile_line_runs_without_a_shell_process():
    process = subprocess.Popen(procfile.argv("python3 -c 'import os; print(os.getpid())'"), stdout=subprocess.PIPE)

    assert int(process.communicate()[0]) == process.pid


def test_process_started_by_name_gets_further_arguments(tmp_path):
    stub = tmp_path / "gunicorn"
    stub.write_text('#!/bin/sh\necho "$@"\n')
    stub.chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    argv = [sys.executable, "-m", "scripts.devstack.process", "web", "--bind", "0.0.0.0:80 80"]

    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=True)

    assert done.stdout == "--config web/server/gunicorn.conf.py web.app:application --bind 0.0.0.0:80 80\n"


def test_process_with_unknown_name_fails_with_the_known_names():
    argv = [sys.executable, "-m", "scripts.devstack.process", "wbe"]

    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "No process wbe in the Procfile: release, web" in done.stderr

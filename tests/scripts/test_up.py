"""Tests of `./scripts/up` and `./scripts/down` with real servers and toy processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import redis

from scripts.commands.up.main import erase, require_own
from scripts.devstack.environment import ROOT
from scripts.devstack.people import PEOPLE
from scripts.devstack.processes import Record
from scripts.devstack.progress import SetupError
from tests.scripts.conftest import TOY, eventually, is_running
from tests.support.servers import LOGINS

EVERYTHING = ["web", "relay", "worker", "clock", "seal", "mail", "redis", "postgres"]


def down(var: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([ROOT / "scripts" / "down", "--var", var], check=False, capture_output=True, text=True)


def answers(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=60) as response:
        return response.status == 200


def test_start_writes_urls_of_all_servers_to_the_run_file(start):
    run = start().until_ready().run

    assert answers(run["api"] + "/readyz")
    assert answers(run["mail"] + "/messages")
    for variable in LOGINS:
        psycopg2.connect(run[variable.lower()]).close()
    with closing(psycopg2.connect(run["database_direct_url"])) as owner, owner.cursor() as cursor:
        cursor.execute("select email from public.users")
        assert cursor.fetchall() == [(run["admin"]["email"],)]
    assert redis.Redis.from_url(run["redis_url"]).config_get("appendonly", "maxmemory-policy", "save") == {
        "appendonly": "yes",
        "maxmemory-policy": "noeviction",
        "save": "",
    }
    assert sorted(run["processes"]) == sorted(EVERYTHING)


def test_restart_keeps_private_secrets_and_ignores_stale_lock_files(start, used, sleeper):
    first = start().until_ready()
    password = first.run["admin"]["password"]
    first.interrupt()
    first.exit_status()
    leave_lock_files(used, sleeper.pid)

    second = start().until_ready()

    assert sleeper.poll() is None
    assert second.run["admin"]["password"] == password
    assert [path.stat().st_mode & 0o777 for path in (used / "secrets.json", used / "run.json")] == [0o600, 0o600]
    assert [path.name for path in used.iterdir() if path.is_dir() and path.stat().st_mode & 0o077] == []


def leave_lock_files(used: Path, pid: int) -> None:
    """Write the lock files of dead servers, with the id of another process."""
    (used / "pg" / "data" / "postmaster.pid").write_text(f"{pid}\n{used}/pg/data\n")
    (used / "pg" / "socket" / ".s.PGSQL.5432.lock").write_text(f"{pid}\n")
    (used / "redis" / "socket" / "redis.sock").write_text("")


def test_fresh_start_deletes_data_and_people_and_keeps_secrets(tmp_path):
    for name in ("pg/data", "redis", "mail", "checkpoints", "log"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("secrets.json", PEOPLE):
        (tmp_path / name).touch()

    erase(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"log", "secrets.json"}


def test_fresh_start_in_directory_of_other_files_is_refused(tmp_path):
    require_own(tmp_path)
    require_own(tmp_path / "none")
    (tmp_path / "mail").mkdir()

    with pytest.raises(SetupError, match="no system has run there: choose another directory with --var"):
        require_own(tmp_path)

    (tmp_path / "secrets.json").touch()
    require_own(tmp_path)


def test_start_on_used_port_fails_and_names_the_port(start):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]

        up = start("--port", port)

        assert up.exit_status() == 1
        assert f"Port {port} is in use" in up.printed


def test_ctrl_c_sends_one_signal_and_waits_for_the_running_job(start):
    up = start(TOY_JOB="2.5").until_ready()
    pids = up.all_pids()

    up.interrupt()

    assert up.exit_status() == 0
    assert up.log("worker").rpartition("child")[2].split("\n", 1)[1] == "TERM\njob finished\n"
    assert "Waiting: worker is finishing its running jobs" in up.printed
    assert [pid for pid in pids if is_running(pid)] == []
    assert not (up.var / "run.json").exists()


@pytest.mark.slow
def test_second_ctrl_c_stops_without_waiting_for_jobs(start):
    up = start(TOY_JOB="100").until_ready()
    pids = up.all_pids()

    up.interrupt()
    eventually(lambda: "TERM" in up.log("worker").rpartition("child")[2])
    up.interrupt()

    assert up.exit_status() == 0
    assert [pid for pid in pids if is_running(pid)] == []


def test_killed_process_is_restarted(start):
    up = start().until_ready()
    before, child, mail = up.run["processes"], up.worker_child(), up.run["mail"]
    with closing(psycopg2.connect(up.run["database_direct_url"])) as owner, owner, owner.cursor() as cursor:
        cursor.execute("create table if not exists kept (x int); insert into kept values (1)")

    for pids in before.values():
        os.kill(pids[0], signal.SIGKILL)

    eventually(lambda: all(up.run["processes"].get(name, pids) != pids for name, pids in before.items()))
    eventually(lambda: redis_answers(up.run["redis_url"]))
    eventually(lambda: rows(up.run["database_direct_url"], "kept"))
    eventually(lambda: not is_running(child))
    assert all(f"{name} was killed by SIGKILL; restarting it" in up.printed for name in EVERYTHING)
    eventually(lambda: connects(up.run["api"]))
    assert answers(mail + "/messages")


def redis_answers(url: str) -> bool:
    try:
        return bool(redis.Redis.from_url(url).ping())
    except redis.RedisError:
        return False


def connects(url: str) -> bool:
    try:
        return answers(url)
    except OSError:
        return False


def rows(dsn: str, table: str) -> bool:
    try:
        with closing(psycopg2.connect(dsn)) as db, db.cursor() as cursor:
            cursor.execute(f"select from {table}")
            return cursor.rowcount > 0
    except psycopg2.OperationalError:
        return False


def test_kill_of_up_ends_its_processes_and_allows_a_new_start(start):
    first = start(TOY_JOB="100").until_ready()
    pids = first.all_pids()

    first.process.kill()
    first.process.wait()
    second = start().until_ready()

    assert [pid for pid in pids if is_running(pid)] == []
    assert "Stopping worker of an earlier run" in second.printed
    assert answers(second.run["api"])


@pytest.mark.slow
def test_down_after_kill_of_up_leaves_no_process(start, used):
    first = start(TOY_JOB="100").until_ready()
    pids = first.all_pids()
    first.process.kill()
    first.process.wait()

    done = down(used)

    assert done.returncode == 0
    assert [pid for pid in pids if is_running(pid)] == []


@pytest.mark.slow
def test_start_with_reused_pid_in_record_kills_no_other_process(start, used, sleeper):
    (used / "run").mkdir(exist_ok=True)
    true = Record.of(sleeper.pid)
    Record(true.pid, true.start - 1, true.boot, "mark").write(used / "run" / "web.pid")

    start().until_ready()

    assert sleeper.poll() is None


def test_detached_start_refuses_a_second_one_and_down_ends_it(used, start):
    argv = [ROOT / "scripts" / "up", "--detach", "--var", used, "--procfile", TOY]

    up = subprocess.run(argv, capture_output=True, text=True, check=True)
    run = json.loads((used / "run.json").read_text())
    refused = subprocess.run(argv, capture_output=True, text=True, check=False)
    pids = [pid for pids in run["processes"].values() for pid in pids]
    answered = answers(run["api"])
    first, second = down(used), down(used)

    assert f"API            {run['api']}/api/v1" in up.stdout
    assert refused.returncode == 1
    assert f"Already running (PID {run['pid']}): {run['api']}" in refused.stdout
    assert answered
    assert (first.returncode, second.returncode) == (0, 0)
    assert "Stopped" in first.stdout
    assert "Nothing is running" in second.stdout
    assert [pid for pid in [run["pid"], *pids] if is_running(pid)] == []


def test_process_that_exits_three_times_fails_start_and_shows_log(start, tmp_path):
    procfile = tmp_path / "Procfile"
    procfile.write_text(TOY.read_text() + "broken: sh -c 'echo no such colour; exit 3'\n")

    up = start(procfile=procfile)

    assert up.exit_status() == 1
    assert "broken exited with status 3, 3 times:\n    no such colour" in up.printed


def test_start_with_failed_migration_fails(start, tmp_path):
    procfile = tmp_path / "Procfile"
    procfile.write_text(TOY.read_text().replace("python -m scripts.commands.migrate", "sh -c 'echo drifted; exit 1'"))

    up = start("--detach", procfile=procfile)

    assert up.exit_status() == 1
    assert "release exited with status 1:" in up.printed
    assert "drifted" in up.printed


def test_ctrl_c_before_ready_ends_started_processes(start, tmp_path):
    procfile = tmp_path / "Procfile"
    procfile.write_text(TOY.read_text().replace("python -m scripts.commands.migrate", "sleep 1000"))
    up = start(procfile=procfile)
    eventually(lambda: "Starting PostgreSQL and Redis (" in up.printed)
    recorded = [Record.read(path) for path in (up.var / "run").glob("*.pid") if path.stem != "up"]

    up.interrupt()

    assert up.exit_status() == 130
    assert recorded
    assert [record for record in recorded if record and record.alive] == []


def test_down_without_running_system_succeeds(tmp_path):
    done = down(tmp_path / "never")

    assert (done.returncode, done.stdout) == (0, "Nothing is running\n")


@pytest.mark.parametrize(
    ("option", "status", "text"), [("--help", 0, "--demo"), ("--prot", 2, "unrecognized arguments")]
)
def test_up_help_needs_no_installed_package(option, status, text):
    # With -S, no installed package can be imported.
    argv = [sys.executable, "-S", ROOT / "scripts" / "up", option]

    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert done.returncode == status
    assert text in done.stdout + done.stderr


def test_start_with_missing_procfile_names_the_path(start, tmp_path):
    up = start(procfile=tmp_path / "none")

    assert up.exit_status() == 1
    assert f"'{tmp_path / 'none'}'" in up.printed
    assert sys.executable not in up.printed


def test_misspelt_variable_is_named_at_the_start(start, tmp_path, monkeypatch):
    monkeypatch.setenv("CORS_ORIGIN", "https://x.example")

    up = start(procfile=tmp_path / "none")

    assert up.exit_status() == 1
    assert "CORS_ORIGIN is unknown: did you mean CORS_ORIGINS?" in up.printed

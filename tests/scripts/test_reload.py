"""Tests of `./scripts/up --reload` and `--fresh`: real servers and toy processes, in a copy of the sources."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from scripts.devstack import reload, sockets
from scripts.devstack.checkout import copy_sources
from scripts.devstack.environment import VENV
from scripts.devstack.progress import output
from scripts.devstack.supervisor import Supervisor
from tests.scripts.conftest import TOY, Up, eventually, is_running

COMMAND = "import sys; from scripts.commands.up.main import main; sys.exit(main(sys.argv[1:]))"


class Copy:
    """A system of toy processes that runs in a copy of the sources."""

    def __init__(self, folder: Path, var: Path) -> None:
        self.folder, self.var = folder, var
        self.output = folder / "terminal"
        options = ["--reload", "--var", var, "--procfile", TOY, "--port", sockets.free_port()]
        env = os.environ | {"PATH": f"{VENV / 'bin'}:{os.environ['PATH']}"}
        with self.output.open("w") as terminal:
            self.process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, *map(str, options)],
                cwd=folder, env=env, stdout=terminal, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def until_printed(self, text: str) -> None:
        """Wait until a text is in the output."""
        eventually(lambda: text in self.output.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.output.read_text()

    pid = Up.pid
    run = Up.run


@pytest.fixture(scope="module")
def copy(used: Path) -> Iterator[Copy]:
    """Start a system in a copy of the sources."""
    folder = Path(tempfile.mkdtemp(prefix="companon-copy-", dir="/tmp"))
    folder.chmod(0o755)  # PostgreSQL runs as another user when root runs the tests.
    copy_sources(folder)
    started = Copy(folder, used)
    started.until_printed("Ready after")
    yield started
    started.process.terminate()
    started.process.wait()
    shutil.rmtree(folder)


def test_changed_file_restarts_its_readers_only(copy: Copy) -> None:
    before = copy.run["processes"]

    (copy.folder / "schedules" / "table.py").write_text("SCHEDULES = []\n")
    copy.until_printed("schedules/table.py changed")
    eventually(lambda: "clock" in copy.run["processes"] and copy.pid("clock") != before["clock"][0])

    assert not is_running(before["clock"][0])
    assert {name: pids for name, pids in copy.run["processes"].items() if name != "clock"} == {
        name: pids for name, pids in before.items() if name != "clock"
    }


def test_file_with_syntax_error_restarts_nothing_until_it_is_right(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(output, "streams", [printed := StringIO()])
    (tmp_path / "web").mkdir()
    reloader = reload.Reloader(tmp_path, Supervisor(tmp_path, tmp_path, signals=None))

    for text in ("def broken(:\n", "ROUTES = []\n"):
        (tmp_path / "web" / "notes.py").write_text(text)
        for _ in range(3):
            reloader._due = 0.0
            reloader.poll()

    assert printed.getvalue().splitlines() == [
        "web/notes.py, line 1: invalid syntax; the processes keep their code",
        "Restarted web in 0.0 s: web/notes.py changed",
    ]


def test_new_migration_is_named_with_the_command_that_applies_it(copy: Copy) -> None:
    before = copy.run["processes"]

    (copy.folder / "models" / "supabase" / "migrations" / "20990101000000_notes.sql").write_text("select 1;\n")

    copy.until_printed("20990101000000_notes.sql is new: ./scripts/migrate applies it")
    assert copy.run["processes"] == before


def test_process_that_fails_is_reported_with_its_error(copy: Copy) -> None:
    broken = copy.folder / "tests" / "scripts" / "toy" / "web.py"

    broken.write_text("raise TypeError('no route leads to Notes')\n")
    (copy.folder / "web" / "app.py").touch()

    copy.until_printed("web exited with status 1 (TypeError: no route leads to Notes); restarting it in 0.1 s")


@pytest.mark.parametrize(
    ("changed", "restarted"),
    [
        ("models/core/database.py", ["web", "relay", "worker", "clock", "seal"]),
        ("settings.py", ["web", "relay", "worker", "clock", "seal"]),
        ("jobs/mail/template_files/welcome.en.html", ["relay", "worker", "clock", "seal"]),
        ("schedules/table.py", ["clock"]),
        ("web/static/scan.js", ["web"]),
        ("models/supabase/migrations/20990101000000_notes.sql", []),
    ],
)
def test_processes_restart_for_files_that_they_read(changed: str, restarted: list[str]) -> None:
    assert reload.readers({Path(changed)}) == restarted


def test_applied_migration_that_changes_is_named_with_the_way_back() -> None:
    text = reload.migration_text(Path("20990101000000_notes.sql"), is_new=False, exists=True)

    assert text.startswith("20990101000000_notes.sql was changed: if it has been applied, restore it")
    assert "./scripts/up --fresh" in text


def test_watched_files_are_those_of_the_sources(tmp_path: Path) -> None:
    for name in ("web/app.py", "web/.app.py.swp", "web/__pycache__/app.py", "web/notes.md", "docs/x.py", "settings.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert set(reload.stamps(tmp_path)) == {Path("web/app.py"), Path("settings.py")}

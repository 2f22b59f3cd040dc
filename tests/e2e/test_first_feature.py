"""Test that `docs/first-feature.md` works as it stands: in a copy of the checkout, as a newcomer would follow it."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest

from scripts.devstack import sockets
from scripts.devstack.checkout import copy_sources
from scripts.devstack.environment import PYTHON, ROOT
from tests.scripts.conftest import eventually
from tests.support import page_steps
from tests.support.page_steps import Step
from tests.support.servers import BASE, Servers

STEPS = page_steps.read(ROOT / "docs" / "first-feature.md")
DECLARATIONS = ("models/notes/personal_data.py", "docs/growth.md", "setup.cfg", "tests/contract/examples.py")
WORKER = "gw60"
"""Name of the databases of pytest in the copy: no other process of this run has it."""
NAMED = (
    "tests/models/operations/test_growth.py::test_growth_page_has_every_table",
    "tests/models/privacy/test_register.py::test_register_of_all_tables_matches_the_catalogue",
    "tests/contract/test_routes.py::test_each_operation_has_an_example_request",
    "tests/contract/test_roles.py::test_permissions_page_matches_code_and_table",
    "tests/contract/test_examples.py",
    "tests/models/privacy/test_register.py::test_privacy_page_contains_the_register",
    "tests/rls/test_snapshot.py::test_grants_and_policies_equal_grants_txt_in_every_shape",
)
"""Tests that name what a new feature has to declare."""


@pytest.fixture
def checkout() -> Iterator[Path]:
    """Copy the sources."""
    folder = Path(tempfile.mkdtemp(prefix="companon-newcomer-", dir="/tmp"))
    folder.chmod(0o755)  # PostgreSQL runs as another user when root runs the tests.
    copy_sources(folder)
    yield folder
    shutil.rmtree(folder)


def named(name: str) -> Step:
    (found,) = [step for step in STEPS if step.name == name]
    return found


def apply(checkout: Path, *names: str) -> None:
    """Apply the steps of these names. A file that is edited in several steps has as many of its name."""
    for name in names:
        steps = [step for step in STEPS if step.name == name]
        assert steps, name
        for step in steps:
            step.apply(checkout)


def run(checkout: Path, *command: object, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in the copy with an environment that doesn't lead to the servers of this run."""
    argv = [str(word) for word in command]
    return subprocess.run(argv, cwd=checkout, env=outside() | env, capture_output=True, text=True, check=False)


def outside() -> dict[str, str]:
    """Return the environment of the terminal in which the tests were started, nearly; bytecode stays in the copy."""
    ours = {*Servers().environment(), "COMPANON_CHECKS", "PYTHONPYCACHEPREFIX"}
    return {name: text for name, text in os.environ.items() if name not in ours and not name.startswith("PYTEST")}


def pytest_in(checkout: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run pytest in the copy, on the servers of this run and with databases of its own."""
    return run(
        checkout, PYTHON, "-m", "pytest", "-q", *arguments, **{BASE: os.environ[BASE], "PYTEST_XDIST_WORKER": WORKER}
    )


def test_code_of_the_page_passes_its_tests_and_linters(checkout: Path) -> None:
    for step in STEPS:
        step.apply(checkout)

    tested = pytest_in(checkout, "tests/web/v1/test_notes.py")
    python = [step.name for step in STEPS if step.name.endswith(".py")]
    linted = [run(checkout, PYTHON.parent / "ruff", *words, *python) for words in (["check"], ["format", "--check"])]

    assert tested.returncode == 0, tested.stdout
    assert "3 passed" in tested.stdout
    assert [done.stdout for done in linted if done.returncode] == []


@pytest.mark.slow
def test_feature_works_in_a_running_system_step_by_step(checkout: Path) -> None:
    with up(checkout) as environment:
        apply(checkout, "models/supabase/migrations/20270101000000_notes.sql")
        migrated = run(checkout, "./scripts/migrate")
        apply(checkout, "models/notes/__init__.py", "models/notes/notes.py")
        apply(checkout, "models/identity/permissions.py", "web/v1/notes.py")
        written = eventually_prints(checkout, named("endpoint"), '"words":null', environment)
        apply(checkout, "jobs/notes.py", "schedules/table.py")
        listed = eventually_prints(checkout, named("list"), '"words":4', environment)
        database = json.loads((checkout / "var" / "run.json").read_text())["database_direct_url"]
        eventually(lambda: has_run(database, "notes.expire"))

    assert "Applied 20270101000000" in migrated.stdout
    assert '"text":"Ask for more lockers"' in written
    assert '"text":"Ask for more lockers"' in listed


@pytest.mark.slow
def test_missing_declarations_fail_named_tests_with_what_to_do(checkout: Path) -> None:
    for step in STEPS:
        if step.name not in DECLARATIONS:
            step.apply(checkout)

    failed = pytest_in(checkout, *NAMED)
    layers = run(checkout, PYTHON.parent / "lint-imports")

    assert "declare them in PERSONAL of models/<domain>/personal_data.py" in failed.stdout
    assert "add or remove the row of the table in docs/growth.md" in failed.stdout
    assert 'add `_example("GET /api/v1/notes", …)` to tests/contract/examples.py' in failed.stdout
    assert all(option in failed.stdout for option in ("--renew-permissions", "--renew-grants"))
    assert (layers.returncode, "notes" in layers.stdout) == (1, True), layers.stdout

    apply(checkout, *DECLARATIONS)
    renewed = run(checkout, "bash", "-eu", "-c", named("renew").text)
    passed = pytest_in(checkout, *NAMED)
    checks = [run(checkout, PYTHON.parent / name) for name in ("lint-imports", "mypy")]

    assert renewed.returncode == 0, renewed.stdout
    assert passed.returncode == 0, passed.stdout
    assert [done.stdout for done in checks if done.returncode] == []


@pytest.mark.slow
def test_edited_migration_is_refused_until_a_fresh_start(checkout: Path) -> None:
    toy = ("./scripts/up", "--detach", "--procfile", "tests/scripts/toy/Procfile", "--port", sockets.free_port())
    first = [run(checkout, *toy), run(checkout, "./scripts/down")]
    migration = next((checkout / "models" / "supabase" / "migrations").glob("*_billing.sql"))
    migration.write_text(migration.read_text() + "select 1;\n")

    refused = run(checkout, *toy)
    fresh = [run(checkout, *toy, "--fresh"), run(checkout, "./scripts/down")]

    assert [done.returncode for done in first + fresh] == [0, 0, 0, 0]
    assert refused.returncode == 1
    assert f"{migration.name} was changed after it was applied" in refused.stdout
    assert "`./scripts/up --fresh` deletes the data and applies all migrations again" in refused.stdout


@contextmanager
def up(checkout: Path) -> Iterator[dict[str, str]]:
    """Run `./scripts/up --reload` in the copy; yield the variables of the page's commands."""
    port = sockets.free_port()
    with (checkout / "terminal").open("w") as terminal:
        argv = ["./scripts/up", "--reload", "--port", str(port)]
        process = subprocess.Popen(argv, cwd=checkout, env=outside(), stdout=terminal, stderr=terminal)
    try:
        eventually(lambda: "Ready after" in (checkout / "terminal").read_text() or process.poll() is not None)
        assert process.poll() is None, (checkout / "terminal").read_text()
        yield {"API": f"http://127.0.0.1:{port}"}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def eventually_prints(checkout: Path, step: Step, text: str, environment: dict[str, str]) -> str:
    """Run a command of the page until it prints a text, as a reader would who is faster than the restart."""
    printed = [""]

    def does() -> bool:
        printed[0] = run(checkout, "bash", "-c", step.text, **environment).stdout
        return text in printed[0]

    eventually(does)
    return printed[0]


def has_run(database: str, actor: str) -> bool:
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("select from app.job_history where actor = %s and state = 'done'", [actor])
        return cursor.rowcount > 0

"""Test that each actor that Python or SQL enqueues exists and takes the given arguments."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobs.actors  # noqa: F401  (declares every actor)
from jobs.engine import registry
from scripts.devstack.environment import ROOT

PACKAGES = ("models", "jobs", "web", "schedules", "scripts")
WITH_ACTORS_OF_THEIR_OWN = {ROOT / "scripts" / "commands" / "bench", ROOT / "scripts" / "commands" / "soak"}
ASKING = ("enqueue", "jobs.enqueue", "ledger.enqueue", "Call", "groups.Call")


def in_python() -> Iterator[tuple[str, str, int | None]]:
    """Yield (place, name, number of arguments) of each call of `enqueue`; the number is None if one is starred."""
    for path in sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        if not WITH_ACTORS_OF_THEIR_OWN.isdisjoint(path.parents):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ASKING:
                name, *args = node.args
                starred = any(isinstance(arg, ast.Starred) for arg in args)
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                yield where, ast.literal_eval(name), None if starred else len(args)


def in_sql() -> Iterator[tuple[str, str, int | None]]:
    """Yield (place, name, number of arguments) of each call of `app.add_job` in a migration."""
    call = re.compile(r"app\.add_job\(\s*[^,]+,\s*'([a-z_.]+)',\s*(?:jsonb_build_array\(|'\[\]')")
    for path in sorted((ROOT / "models/supabase/migrations").glob("*.sql")):
        text = path.read_text()
        for found in call.finditer(text):
            where = f"{path.name}:{text.count(chr(10), 0, found.start()) + 1}"
            yield where, found[1], 0 if found[0].endswith("]'") else arguments(text, found.end())


def arguments(text: str, start: int) -> int:
    """Return the number of arguments of the call whose opening parenthesis ends at `start`."""
    depth, count, position = 1, 1, start
    while depth:
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        count += depth == 1 and text[position] == ","
        position += 1
    return count


CALLS = [*in_python(), *in_sql()]


@pytest.mark.parametrize(("where", "name", "count"), CALLS, ids=[f"{where} {name}" for where, name, _ in CALLS])
def test_enqueued_actor_exists_and_takes_its_arguments(where: str, name: str, count: int | None) -> None:
    assert fault(where, name, count) == ""


def fault(where: str, name: str, count: int | None) -> str:
    """Return what is wrong with a call of `enqueue` and what to do, or an empty text."""
    spec = registry.find(name)
    if spec is None:
        return (
            f"{where} enqueues {name!r}, which is no actor: correct it, or declare it with @actor in jobs/<domain>.py"
        )
    if count is not None and count != len(spec.parameters):
        return (
            f"{where} gives {name!r} {count} arguments, and its actor takes {len(spec.parameters)}: change one of them"
        )
    return ""


def test_wrong_call_of_enqueue_is_reported_with_what_to_do() -> None:
    unknown, other = fault("models/a.py:1", "contact.upsrt", 1), fault("models/a.py:2", "contact.upsert", 2)

    assert unknown.startswith("models/a.py:1 enqueues 'contact.upsrt', which is no actor: correct it, or declare it")
    assert other == "models/a.py:2 gives 'contact.upsert' 2 arguments, and its actor takes 1: change one of them"


def test_calls_are_found_in_python_and_sql() -> None:
    assert list(in_python())
    assert list(in_sql())


def decorated() -> Iterator[tuple[Path, str]]:
    """Yield the file and the name of each `@actor` in the sources of the jobs."""
    for path in sorted((ROOT / "jobs").rglob("*.py")):
        functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        for call in (decorator for function in functions for decorator in function.decorator_list):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "actor":
                yield path.relative_to(ROOT), ast.literal_eval(call.args[0])


def test_each_actor_in_the_sources_is_declared() -> None:
    found = list(decorated())

    assert found
    for path, name in found:
        assert registry.find(name), (
            f"{path} is not imported: declare its actors in jobs/<domain>.py or jobs/<domain>/actors.py"
        )


def test_actor_names_are_subject_and_verb() -> None:
    for spec in registry.all_specs():
        assert re.fullmatch(r"[a-z_]+\.[a-z_]+", spec.name), spec.name
        assert ROOT / "jobs" in Path(spec.body.__code__.co_filename).parents, spec.name

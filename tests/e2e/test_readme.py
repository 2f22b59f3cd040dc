"""What the README says is so: its tour runs, its table and its excerpts are the code's."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.devstack.environment import ROOT
from settings import table

README = (ROOT / "README.md").read_text()
EXCERPTS = re.findall(r"<!-- from (\S+) -->\n```python\n(.*?)```", README, re.DOTALL)


def between(name):
    """What stands between the markers of that name, without its fence."""
    (text,) = re.findall(rf"<!-- {name} -->\n(?:```\w*\n)?(.*?)(?:```\n)?<!-- /{name} -->", README, re.DOTALL)
    return text


def test_the_tour_can_be_pasted_and_ends_with_the_numbers_of_its_scans(system):
    tour = between("tour")
    environment = os.environ | {"RUN": str(system.var / "run.json")}
    shell = ["bash", "-eu", "-o", "pipefail", "-c", tour]

    toured = subprocess.run(shell, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert toured.returncode == 0, toured.stdout + toured.stderr
    assert '["essential"]\nTus datos' in toured.stdout
    assert '"status":"accepted","campaign_id"' in toured.stdout
    assert "geofence_outside" in toured.stdout
    assert re.search(r'"scans": 2,\s+"accepted": 1,\s+"rejected": 1', toured.stdout)


def test_the_tour_needs_nothing_but_bash_curl_and_python():
    words = set(re.findall(r"(?:^|[|$(;]|do|until)\s*([a-z]+\d?)(?= )", between("tour"), re.MULTILINE))

    assert {"curl", "python3"} <= words
    assert not words & {"jq", "wget", "http", "psql"}


def test_the_table_of_settings_is_the_one_that_the_settings_print():
    assert between("settings") == table() + "\n"


def test_the_processes_are_the_procfile_s():
    assert between("Procfile") == (ROOT / "Procfile").read_text()


@pytest.mark.parametrize(("path", "excerpt"), EXCERPTS, ids=[path for path, _ in EXCERPTS])
def test_what_it_quotes_is_in_the_file(path, excerpt):
    assert excerpt in (ROOT / path).read_text()


def test_what_it_points_to_is_there():
    names = {
        *re.findall(r"\]\(([^)#]+)\)", README),
        *re.findall(r"`((?:\./)?\w+/[\w./]*|\w+\.py|var/run\.json)`", README),
    }
    pointed = {name for name in names if not name.startswith(("http", "/", "var/", "jobs/passport"))}

    assert pointed
    assert [name for name in sorted(pointed) if not _exists(name)] == []


def _exists(name):
    """Whether a name is a path from the top, or from where the README stands when it speaks of it."""
    tops = [ROOT, *(ROOT / folder for folder in ("models", "web", "jobs", "tests"))]
    return any((Path(top) / name).exists() for top in tops)


def test_settings_prints_its_table():
    printed = subprocess.run(
        [sys.executable, "-m", "settings"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    assert printed == table() + "\n"

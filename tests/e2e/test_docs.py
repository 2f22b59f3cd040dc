"""Tests of the documentation: the tour runs, tables and excerpts equal their sources, and link targets exist."""

import json
import os
import re
import subprocess
import sys

from models.insights.overview import DEFINITIONS
from scripts.devstack.environment import ROOT
from settings import table
from tests.support.pages import block

PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
EXCERPT = re.compile(r"<!-- from (\S+) -->\n```python\n(.*?)```", re.DOTALL)
TOPS = (ROOT, ROOT / "tests")
"""Directories that paths in a page are relative to: tests are named without `tests/`."""
LATER = {"jobs/passport/"}
"""Paths that a page names before they exist."""


def test_tour_pasted_into_bash_ends_with_the_numbers_of_its_scans(system, tmp_path):
    run = tmp_path / "run.json"  # ./scripts/token refuses a system that runs for tests.
    run.write_text(json.dumps(system.run | {"environment": "development"}))
    environment = os.environ | {"RUN": str(run)}
    shell = ["bash", "-eu", "-o", "pipefail", "-c", block("docs/tour.md", "tour")]

    done = subprocess.run(shell, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "curl:" not in done.stderr
    assert 'missing consents: ["essential"]\nnotice: Tus datos' in done.stdout
    assert re.findall(r"(?m)^HTTP (\d+)$", done.stdout) == ["201", "200", "403"]
    assert "geofence_outside" in done.stdout
    assert re.search(r'"scans": 2,\s+"accepted": 1,\s+"rejected": 1', done.stdout)


def test_tour_needs_only_bash_curl_and_python():
    words = set(re.findall(r"(?:^|[|$(;]|do|until)\s*([a-z]+\d?)(?= )", block("docs/tour.md", "tour"), re.MULTILINE))

    assert {"curl", "python3"} <= words
    assert not words & {"jq", "wget", "http", "psql"}


def test_table_of_settings_equals_what_settings_prints():
    printed = subprocess.run(
        [sys.executable, "-m", "settings"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    assert block("docs/configuration.md", "settings") == printed == table() + "\n"


def test_processes_equal_the_procfile():
    assert block("docs/operations.md", "Procfile") == (ROOT / "Procfile").read_text()


def test_excerpts_are_in_their_files():
    excerpts = [(page, *found) for page in PAGES for found in EXCERPT.findall(page.read_text())]

    assert excerpts
    assert [(page.name, path) for page, path, text in excerpts if text not in (ROOT / path).read_text()] == []


def test_targets_of_links_and_named_paths_exist():
    broken, found = [], 0
    for page in PAGES:
        text = page.read_text()
        links = [page.parent / link for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)]
        named = set(re.findall(r"`(?:\./)?((?:models|web|jobs|schedules|scripts|tests|docs)/[\w./]*)`", text))
        named -= LATER
        found += len(links) + len(named)
        broken += [f"{page.name}: {link}" for link in links if not link.exists()]
        broken += [f"{page.name}: {name}" for name in named if not any((top / name).exists() for top in TOPS)]

    assert found
    assert broken == []


def test_readme_is_under_150_lines():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


def test_glossary_is_sorted_and_defines_figures_as_the_api_does():
    rows = re.findall(r"^\| (?!---|word )`?(.+?) \| (.+) \|$", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    words = [word.lower() for word, _ in rows]

    assert len(words) > 20
    assert words == sorted(words)
    assert {word: meaning for word, meaning in rows if not DEFINITIONS.get(word, meaning).startswith(meaning)} == {}

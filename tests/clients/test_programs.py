"""Tests that programs with generated clients are type-checked, and go from sign-up to the overview of a running system.

Each program reads typed members of refusals: the missing consents and their notice, and the seconds until a limit ends.
"""

import json
import secrets
import sys
import time

import pytest

from scripts.commands.demo import brand_setup
from scripts.commands.demo.http_client import Client
from tests.clients import tools
from tests.support.pages import block

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("system")]

EXPECTED = {"refusals": [["essential"], True], "scans": 2, "accepted": 1}
"""The result of each program: one consent was missing, the second scan was refused with a time to wait."""
PATIENCE = 120.0


@pytest.fixture
def people(system) -> dict[str, str]:
    """Create a brand and invite its admin. Return the variables of a program."""
    mark = secrets.token_hex(4)
    member = f"ana.{mark}@brand.example"
    client = Client(system.api, until=time.monotonic() + PATIENCE)
    brand_setup.create_brand(client, system.run["admin"], f"Churros {mark}", member)
    return {"API": system.api, "MAIL": system.run["mail"], "FAN": f"fan.{mark}@fans.example", "MEMBER": member}


@pytest.fixture(scope="session")
def compiled(typescript, node_modules):
    """Type-check the TypeScript programs in strict mode, and return the directory of their JavaScript."""
    tools.run(["tsc", "--project", "tsconfig.json"], typescript, node_modules)
    return typescript / "compiled"


@pytest.mark.parametrize("program", ["openapi_fetch", "hey_api"])
def test_typescript_program_goes_from_signup_to_overview(program, compiled, node_modules, people):
    printed = tools.run(["node", f"{program}.js"], compiled, node_modules, **people)

    assert json.loads(printed.splitlines()[-1]) == EXPECTED


def test_python_program_goes_from_signup_to_overview(python_client, people):
    path = str(python_client.parent)
    program = tools.PROGRAMS / "generated_client.py"

    printed = tools.run([sys.executable, program], tools.PROGRAMS, PYTHONPATH=path, **people)

    assert json.loads(printed.splitlines()[-1]) == EXPECTED


def test_python_program_passes_strict_type_check(python_client):
    program, path = tools.PROGRAMS / "generated_client.py", python_client.parent
    options = ["--config-file=", "--strict", "--follow-imports=silent", f"--cache-dir={path / 'mypy'}"]

    tools.run([sys.executable, "-m", "mypy", *options, program], tools.PROGRAMS, MYPYPATH=str(path))


def test_commands_of_the_readme_generate_each_client(system, node_modules, tmp_path):
    (tmp_path / "node_modules").symlink_to(node_modules)

    tools.run(["bash", "-eu", "-c", block("README.md", "clients")], tmp_path, node_modules, API=system.api)

    assert (tmp_path / "api.ts").exists()
    assert (tmp_path / "sdk" / "sdk.gen.ts").exists()
    assert (tmp_path / "companon-api-client").is_dir()

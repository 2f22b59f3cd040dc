"""Tests that client generators and linters accept the whole OpenAPI document."""

import re

import pytest

from tests.clients import tools
from tests.contract.expected import api

pytestmark = pytest.mark.xdist_group("clients")

OPERATION_IDS = sorted(operation["operationId"] for item in api()["paths"].values() for operation in item.values())
UNSUPPORTED = {"image/png", "image/svg+xml"}
"""Media types that openapi-python-client can't decode: the client returns their bytes with the response."""


@pytest.mark.slow
def test_python_generator_keeps_every_operation_and_schema(python_client):
    printed = (python_client.parents[1] / "printed").read_text()
    modules = [path for path in python_client.glob("api/*/*.py") if path.name != "__init__.py"]

    assert len(modules) == len(OPERATION_IDS)
    assert set(re.findall(r"Unsupported content_type ([^)]*)\)", printed)) == UNSUPPORTED
    assert len(re.findall(r"(?:WARNING|ERROR) parsing", printed)) == len(UNSUPPORTED), printed


@pytest.mark.slow
def test_python_package_has_ascii_name(python_client):
    assert python_client.name == "companon_api_client"


@pytest.mark.slow
def test_openapi_typescript_keeps_every_operation(typescript):
    text = (typescript / "generated" / "openapi-typescript" / "api.ts").read_text()
    _, _, operations = text.partition("\nexport interface operations {\n")

    assert sorted(re.findall(r"^    (\w+): \{$", operations, re.MULTILINE)) == OPERATION_IDS


@pytest.mark.slow
def test_hey_api_keeps_every_operation(typescript):
    text = (typescript / "generated" / "hey-api" / "sdk.gen.ts").read_text()

    assert sorted(re.findall(r"^export const (\w+) = <", text, re.MULTILINE)) == OPERATION_IDS


@pytest.mark.slow
def test_redocly_reports_nothing(document, node_modules):
    printed = tools.run(["redocly", "lint", document], document.parent, node_modules)

    assert "warning" not in printed, printed


@pytest.mark.slow
def test_spectral_reports_nothing(document, node_modules):
    rules = document.parent / ".spectral.yaml"
    rules.write_text('extends: ["spectral:oas"]\n')

    printed = tools.run(["spectral", "lint", document, "--fail-severity", "hint"], document.parent, node_modules)

    assert "No results" in printed, printed

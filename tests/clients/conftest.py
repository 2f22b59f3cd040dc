"""Fixtures of the client tests: the document as a file, the npm tools, and generated clients."""

import json
from pathlib import Path

import pytest

from tests.clients import tools
from tests.contract.expected import api


@pytest.fixture(scope="session")
def document(tmp_path_factory) -> Path:
    """Return the OpenAPI document as a file."""
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_text(json.dumps(api()))
    return path


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Return the installed npm packages."""
    return tools.node_modules()


@pytest.fixture(scope="session")
def python_client(document, tmp_path_factory) -> Path:
    """Generate the Python client with the generator's defaults. Return the directory of its package."""
    return tools.python_client(document, tmp_path_factory.mktemp("python"))


@pytest.fixture(scope="session")
def typescript(document, node_modules, tmp_path_factory) -> Path:
    """Generate both TypeScript clients beside the programs. Return that directory."""
    return tools.typescript_clients(document, node_modules, tmp_path_factory.mktemp("typescript"))

"""The OpenAPI documents of the services equal their contracts. `--renew-services` writes them."""

import json
import pkgutil
from importlib import import_module

import pytest

from jobs.passport import openapi, services
from jobs.passport.contract import Service
from scripts.devstack.environment import ROOT

NAMES = [module.name for module in pkgutil.iter_modules(services.__path__)]


def described(name: str) -> str:
    """Return the document of a service as its file has it."""
    package = import_module(f"jobs.passport.services.{name}")
    service: Service = package.SERVICE
    return json.dumps(openapi.document(service, package.__doc__ or ""), indent=2) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_document_of_service_equals_its_contract(name: str, request: pytest.FixtureRequest) -> None:
    file = ROOT / "docs" / "services" / f"{name}.openapi.json"
    if request.config.getoption("--renew-services"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(described(name))

    assert file.read_text() == described(name)

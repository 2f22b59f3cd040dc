"""Test the contracts of all services: their settings, policies and methods."""

import inspect
import pkgutil
from importlib import import_module
from typing import Any

import pytest

from jobs.passport import policy, services
from jobs.passport.contract import Operation, Service
from models.core.personal_data import TELLING_NAMES
from settings import SERVICES
from tests.support.echo import Note, Noted

NAMES = sorted(found.name for found in pkgutil.iter_modules(services.__path__))


def contract(name: str) -> tuple[Any, Service]:
    """Return the package of a service and its contract."""
    return import_module(f"jobs.passport.services.{name}"), import_module(
        f"jobs.passport.services.{name}.contract"
    ).SERVICE


def test_each_service_has_settings_and_a_contract() -> None:
    assert set(NAMES) <= set(SERVICES)
    assert all(contract(name)[1].name == name for name in NAMES)


def test_policy_lists_the_operations_of_all_services_and_no_others() -> None:
    operations = {(name, operation.name) for name in NAMES for operation in contract(name)[1].operations}

    # The geocoder is a vendor behind Passport, and no service of ours.
    assert operations | {("geocoder", "locate")} == set(policy.POLICY)
    assert all(policy.POLICY.values())


@pytest.mark.parametrize("name", NAMES)
def test_local_implementation_has_the_methods_of_the_contract(name: str) -> None:
    local = import_module(f"jobs.passport.services.{name}.local")
    (implementation,) = [
        kind for kind_name, kind in vars(local).items() if kind_name.startswith("Local") and inspect.isclass(kind)
    ]

    for operation in contract(name)[1].operations:
        assert list(inspect.signature(getattr(implementation, operation.name)).parameters)[1:] == ["request", "key"]


def test_operation_with_unregistered_refusal_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"errors\.py has no code notebook_on_fire"):
        Operation("note", Note, Noted, refusals=("conflict", "notebook_on_fire"))


def test_members_that_name_people_are_always_redacted() -> None:
    assert all(TELLING_NAMES.fullmatch(name) for name in ("user", "email", "phone", "name", "lat"))

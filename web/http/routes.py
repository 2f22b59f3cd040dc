"""Collect the routes of a package. Each module declares its own in `ROUTES`, so no list of modules is kept."""

import pkgutil
from collections.abc import Iterable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from models.identity.permissions import PERMISSIONS
from web.http.endpoint_spec import AUTHENTICATED, OPEN, EndpointSpec

Routes = list[tuple[str, object]]


def collect(package: str, path: Iterable[str]) -> Routes:
    """Import the modules of a package and return their routes, ordered by the names of the modules.

    A module whose name begins with `_` is a helper: it is not imported.

    Args:
        package: the package's name, e.g. `web.v1`.
        path: its `__path__`.

    Raises:
        TypeError: a module declares no routes, an endpoint is in no route, two resources have the same path, or an
            endpoint needs a permission that does not exist. The message says what to do.
    """
    routes: Routes = []
    for module in _modules(package, path):
        routes += _routes_of(module)
    _require_distinct(routes)
    for _, resource in routes:
        _require_known_permissions(resource)
    return routes


def _modules(package: str, path: Iterable[str]) -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(path, f"{package}."):
        if found.name.rpartition(".")[2].startswith("_"):
            continue
        module = import_module(found.name)
        if found.ispkg:
            yield from _modules(found.name, module.__path__)
        else:
            yield module


def _routes_of(module: ModuleType) -> Routes:
    file = module.__name__.replace(".", "/") + ".py"
    routes: Routes | None = getattr(module, "ROUTES", None)
    if not routes:
        raise TypeError(
            f'{file} declares no routes: add `ROUTES = [("/api/v1/…", Resource())]`, or begin its name with `_` if it'
            " holds no endpoint"
        )
    routed = {type(resource) for _, resource in routes}
    for value in vars(module).values():
        if isinstance(value, type) and value.__module__ == module.__name__ and _specs(value) and value not in routed:
            raise TypeError(f"{file}: no route leads to the endpoints of {value.__name__}: add it to ROUTES")
    return routes


def _require_distinct(routes: Routes) -> None:
    known: dict[str, object] = {}
    for template, resource in routes:
        if template in known:
            first, second = type(known[template]).__qualname__, type(resource).__qualname__
            raise TypeError(f"{template} leads to both {first} and {second}: put their methods into one class")
        known[template] = resource


def _require_known_permissions(resource: object) -> None:
    for name, spec in _specs(type(resource)).items():
        needed = spec.scope or spec.permission
        if needed not in (*OPEN, AUTHENTICATED, *PERMISSIONS):
            raise TypeError(
                f"{type(resource).__module__}.{type(resource).__qualname__}.{name} needs the permission {needed!r},"
                " which does not exist: correct the name, or add the permission in a migration and to"
                " `PermissionName` of models/identity/permissions.py"
            )


def _specs(resource: type[Any]) -> dict[str, EndpointSpec]:
    """Return the specifications of a resource's endpoints by the name of the method."""
    found = {name: getattr(getattr(resource, name), "spec", None) for name in dir(resource) if name.startswith("on_")}
    return {name: spec for name, spec in found.items() if spec is not None}

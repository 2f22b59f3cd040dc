"""Import every module that declares actors, so that no list of modules is kept."""

import pkgutil
from collections.abc import Collection, Iterable
from importlib import import_module
from types import ModuleType

from jobs.engine import registry

ACTORS = "actors"
"""Module of a package that declares its actors."""


def declare_all(package: str, path: Iterable[str], without: Collection[str] = ()) -> None:
    """Import the modules of a package, and the module `actors` of each package in it.

    A module whose name begins with `_` is a helper: it is not imported.

    Args:
        package: the package's name, e.g. `jobs`.
        path: its `__path__`.
        without: names of modules that declare no actors.

    Raises:
        TypeError: a module declares no actor, or a package has no module `actors`. The message says what to do.
    """
    for found in pkgutil.iter_modules(path, f"{package}."):
        name = found.name.rpartition(".")[2]
        if name.startswith("_") or name in without:
            continue
        module = import_module(found.name)
        _require_actor(_actors_of(module) if found.ispkg else module)


def _actors_of(package: ModuleType) -> ModuleType:
    if ACTORS not in {found.name for found in pkgutil.iter_modules(package.__path__)}:
        folder = package.__name__.replace(".", "/")
        raise TypeError(f"{folder}/ has no module for its actors: declare them in {folder}/{ACTORS}.py")
    return import_module(f"{package.__name__}.{ACTORS}")


def _require_actor(module: ModuleType) -> None:
    if not any(spec.body.__module__ == module.__name__ for spec in registry.all_specs()):
        file = module.__name__.replace(".", "/") + ".py"
        raise TypeError(
            f'{file} declares no actor: add a function with `@actor("subject.verb")`, or begin its name with `_` if it'
            " is a helper"
        )

"""Collect the declarations of personal data of all domains (`PERSONAL`) and check them against the catalogue."""

import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module

import models
from models.core.personal_data import Table, is_exempt

Columns = Mapping[str, Mapping[str, str]]
"""Table with its schema → column → type, as `format_type(atttypid, null)` of PostgreSQL writes it."""


@cache
def tables() -> dict[str, Table]:
    """Return the declarations of all domains by the name of the table.

    Raises:
        ValueError: two domains declare one table.
    """
    found: dict[str, Table] = {}
    for domain in pkgutil.iter_modules(models.__path__, "models."):
        for table in _declarations(domain):
            if table.name in found:
                raise ValueError(f"{table.name} is declared twice")
            found[table.name] = table
    return dict(sorted(found.items()))


def _declarations(domain: pkgutil.ModuleInfo) -> Iterable[Table]:
    path = import_module(domain.name).__path__ if domain.ispkg else []
    if "personal_data" not in {module.name for module in pkgutil.iter_modules(path)}:
        return ()
    declared: tuple[Table, ...] = import_module(f"{domain.name}.personal_data").PERSONAL
    return declared


def faults(catalogue: Columns, declared: Mapping[str, Table] | None = None) -> list[str]:
    """Return the differences between the catalogue and the declarations, one line each.

    A column must be declared once, personal or not personal, unless it is exempt (`is_exempt`).

    Args:
        catalogue: all tables of the application with their columns.
        declared: the declarations; those of all domains by default.
    """
    register = tables() if declared is None else declared
    found = [f"{name}: is not declared" for name in catalogue.keys() - register.keys()]
    found += [f"{name}: is declared and does not exist" for name in register.keys() - catalogue.keys()]
    for name in catalogue.keys() & register.keys():
        found += _table_faults(register[name], catalogue[name])
    return sorted(found)


def _table_faults(table: Table, columns: Mapping[str, str]) -> Iterable[str]:
    declared = list(table.declared_columns())
    for column in set(declared) - columns.keys():
        yield f"{table.name}.{column}: is declared and does not exist"
    for column in {column for column in declared if declared.count(column) > 1}:
        yield f"{table.name}.{column}: is declared twice"
    for column, kind in columns.items():
        if column not in declared and not is_exempt(column, kind):
            yield f"{table.name}.{column}: is not declared"
    if table.personal:
        if not (table.purpose and table.retention):
            yield f"{table.name}: has no purpose or retention"
        if table.found_by.partition(" = ")[0] not in columns:
            yield f"{table.name}: has no column by which the rows of a person are found"


def markdown() -> str:
    """Return the register as the table of `docs/privacy.md`."""
    lines = [
        "| table | columns | category | purpose | retention | export | erasure |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for table in tables().values():
        for group in table.personal:
            columns = ", ".join(f"`{column}`" for column in group.columns)
            job = f"`{table.deleted_by}`" if table.deleted_by and "." in table.deleted_by else table.deleted_by
            retention = f"{table.retention} ({job})" if job else table.retention
            cells = (f"`{table.name}`", columns, group.category, table.purpose, retention, group.export, group.erasure)
            lines.append(f"| {' | '.join(cells)} |")
    empty = ", ".join(f"`{table.name}`" for table in tables().values() if not table.personal)
    return "\n".join([*lines, "", f"Tables without personal data: {empty}.", ""])

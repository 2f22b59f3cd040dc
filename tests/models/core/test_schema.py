"""The migrations define the tables; peewee's models have to say the same of them."""

import importlib
import pkgutil

import peewee
import pytest
from psycopg2.extensions import connection

import models
from models.core.database import Row

UNMODELLED = {
    "roles": "five rows that only the database's functions read",
    "permissions": "read by the database's functions and by the documentation",
    "role_permissions": "read through app.list_permissions() alone",
}
"""Tables of public without a model, and why."""

TYPES = {
    "AUTO": "integer",
    "INT": "integer",
    "TIMESTAMP": "timestamp with time zone",  # what peewee's plain DateTimeField says; there are no others here
    "TIMESTAMPTZ": "timestamp with time zone",
    "GEOGRAPHY": "geography",
    "GEOGRAPHY(POINT, 4326)": "geography",
}
"""Where peewee and PostgreSQL have different names for a type."""


def all_models() -> list[type[Row]]:
    for module in pkgutil.walk_packages(models.__path__, "models."):
        importlib.import_module(module.name)
    found, waiting = [], [Row]
    while waiting:
        subclasses = waiting.pop().__subclasses__()
        found += [model for model in subclasses if model.__module__.startswith("models.")]
        waiting += subclasses
    return found


def table_of(model: type[Row]) -> tuple[str, str]:
    return model._meta.schema, model._meta.table_name


def declared(model: type[Row]) -> dict[str, tuple[str, bool]]:
    """Column -> (type, nullable) as the model says."""
    return {
        field.column_name: (type_of(field), bool(field.null) and not field.primary_key)
        for field in model._meta.sorted_fields
    }


def type_of(field: peewee.Field) -> str:
    said = peewee.PostgresqlDatabase.field_types.get(field.field_type, field.field_type).upper()
    said = said.removeprefix("EXTENSIONS.")
    dimensions = "[]" * getattr(field, "dimensions", 0) if not said.endswith("[]") else ""
    return TYPES.get(said, said.lower()) + dimensions


@pytest.fixture(scope="module")
def live(superuser: connection) -> dict[tuple[str, str], dict[str, tuple[str, bool]]]:
    """(schema, table) -> column -> (type, nullable) as the database says."""
    with superuser.cursor() as cursor:
        cursor.execute(
            """
            select n.nspname, c.relname, a.attname,
                replace(regexp_replace(format_type(a.atttypid, null), '\\(.*\\)', ''), 'extensions.', ''),
                not a.attnotnull
            from pg_attribute a
            join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p')
            join pg_namespace n on n.oid = c.relnamespace and n.nspname in ('public', 'app', 'app_partitions')
            where a.attnum > 0 and not a.attisdropped
            """
        )
        tables: dict[tuple[str, str], dict[str, tuple[str, bool]]] = {}
        for schema, table, column, kind, nullable in cursor.fetchall():
            tables.setdefault((schema, table), {})[column] = (kind, nullable)
    return tables


@pytest.mark.parametrize("model", all_models(), ids=lambda model: model.__name__)
def test_a_model_has_the_columns_of_its_table(model, live):
    assert declared(model) == live[table_of(model)]


def test_every_table_of_public_has_one_model_or_a_reason(live):
    modelled = [table for schema, table in map(table_of, all_models()) if schema == "public"]

    assert sorted([*modelled, *UNMODELLED]) == sorted(table for schema, table in live if schema == "public")


def test_the_comparison_notices_a_column_that_differs(live):
    class Wrong(Row):
        """A model of brands that forgets a column, and takes another for a number."""

        id = peewee.UUIDField(primary_key=True)
        name = peewee.IntegerField()

        class Meta:
            table_name = "brands"

    assert declared(Wrong) != live[table_of(Wrong)]
    assert declared(Wrong)["id"] == live[table_of(Wrong)]["id"]
    assert declared(Wrong)["name"] != live[table_of(Wrong)]["name"]

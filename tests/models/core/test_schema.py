"""Table models of peewee, compared with the tables that the migrations define, and with their use."""

import ast
import importlib
import pkgutil
from collections import Counter

import peewee
import pytest
from psycopg2.extensions import connection

import models
from models.core.database import Row
from scripts.devstack.environment import ROOT

PLANNED = {
    "ConsentEvent": "proof of one person's consents",
    "Coupon": "mirror of Stripe's coupons",
    "Payment": "payment history",
    "QrScan": "list of a brand's scans",
    "Subscription": "mirror of Stripe's subscriptions",
}
"""Models that no query uses yet, and what they are kept for (docs/decisions/0034-where-peewee-is-used.md)."""

TYPES = {
    "AUTO": "integer",
    "INT": "integer",
    "TIMESTAMP": "timestamp with time zone",  # peewee's plain DateTimeField; all columns here have a time zone
    "TIMESTAMPTZ": "timestamp with time zone",
    "GEOGRAPHY": "geography",
    "GEOGRAPHY(POINT, 4326)": "geography",
}
"""Type names of peewee → type names of PostgreSQL."""


READ_BY_SQL_ONLY = {
    ("public", "campaigns"): {"area", "border", "scan_config"},
    ("public", "contacts"): {"bucket"},
}
"""Columns that models leave out: each query of a campaign would load its polygon."""


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
    """Return column → (type, nullable) of a model."""
    return {
        field.column_name: (type_of(field), bool(field.null) and not field.primary_key)
        for field in model._meta.sorted_fields
    }


def type_of(field: peewee.Field) -> str:
    name = peewee.PostgresqlDatabase.field_types.get(field.field_type, field.field_type).upper()
    name = name.removeprefix("EXTENSIONS.")
    dimensions = "[]" * getattr(field, "dimensions", 0) if not name.endswith("[]") else ""
    return TYPES.get(name, name.lower()) + dimensions


@pytest.fixture(scope="module")
def live(superuser: connection) -> dict[tuple[str, str], dict[str, tuple[str, bool]]]:
    """Return (schema, table) → column → (type, nullable) of the migrated database."""
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
            if column not in READ_BY_SQL_ONLY.get((schema, table), ()):
                tables.setdefault((schema, table), {})[column] = (kind, nullable)
    return tables


def test_models_have_the_columns_of_their_tables(live):
    differing = {
        model.__name__: (declared(model), live[table_of(model)])
        for model in all_models()
        if declared(model) != live[table_of(model)]
    }

    assert differing == {}


def test_each_table_has_at_most_one_model():
    tables = Counter(map(table_of, all_models()))

    assert [table for table, count in tables.items() if count > 1] == []


def test_models_are_used_by_queries_or_planned():
    names = {model.__name__ for model in all_models()}
    used = set()
    for path in [*ROOT.glob("models/**/*.py"), *ROOT.glob("jobs/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            # `Brand.select`, `Brand.id`: a query. Annotations and imports don't count.
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
                used.add(node.value.id)

    assert names - used == set(PLANNED)


def test_comparison_notices_missing_column_and_wrong_type(live):
    class Wrong(Row):
        """A model of brands that lacks columns and declares a wrong type."""

        id = peewee.UUIDField(primary_key=True)
        name = peewee.IntegerField()

        class Meta:
            table_name = "brands"

    assert declared(Wrong) != live[table_of(Wrong)]
    assert declared(Wrong)["id"] == live[table_of(Wrong)]["id"]
    assert declared(Wrong)["name"] != live[table_of(Wrong)]["name"]

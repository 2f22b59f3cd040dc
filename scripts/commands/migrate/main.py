"""Bring the database's schema up to date: the release step."""

import argparse
import json
import os
import sys

import psycopg2

from models.core.migrate import MigrationError, migrate
from models.core.texts import escape
from models.operations import settings_check
from scripts.devstack.environment import ROOT
from settings import settings

RUN = ROOT / "var" / "run.json"


def main(argv: list[str]) -> int:
    """Apply the missing migrations and print their versions. Return 1 if that fails."""
    argparse.ArgumentParser(prog="scripts/migrate", description=__doc__).parse_args(argv)
    settings_check.require_fit(settings, "release")
    try:
        applied = migrate(_dsn())
    except (MigrationError, psycopg2.OperationalError) as error:
        print(escape(f"✗ {error}", keep="\n"), file=sys.stderr)
        return 1
    print(escape(f"Applied {', '.join(applied)}") if applied else "Nothing to migrate")
    return 0


def _dsn() -> str:
    """Return the DSN of the environment, or that of the system that `./scripts/up` runs here."""
    if "DATABASE_DIRECT_URL" not in os.environ and RUN.exists():
        return str(json.loads(RUN.read_text())["database_direct_url"])
    return settings.database_direct_url

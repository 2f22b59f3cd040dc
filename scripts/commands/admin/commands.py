"""Commands of `./scripts/admin`, in the environment of the chosen system."""

import argparse
import getpass
import secrets
import sys

import psycopg2

from models.core.errors import Problem
from models.identity import system_admin
from models.operations import settings_check
from scripts.commands.admin import options
from scripts.commands.replay.tables import table
from scripts.devstack.progress import SetupError, fail, say
from settings import settings

PASSWORD_BYTES = 18
"""Random bytes of a generated password."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit status."""
    given = options.parse(argv)
    settings_check.require_fit(settings, "release")  # the process that has the owner's login
    try:
        if settings.auth_mode != "own":
            fail("People sign in at the Supabase project: docs/auth.md says how to create a System Admin there")
        COMMANDS[given.verb](given)
    except (SetupError, Problem, psycopg2.OperationalError) as error:
        say(f"✗ {_text(error)}")
        return 1
    return 0


def _list(given: argparse.Namespace) -> None:
    rows = [
        (admin.email, "suspended" if admin.suspended else "active", "yes" if admin.has_mfa else "no")
        for admin in system_admin.system_admins()
    ]
    say("\n".join(table(("address", "state", "MFA"), rows)))


def _create(given: argparse.Namespace) -> None:
    if system_admin.find_system_admin(given.email):
        say(f"{given.email} is a System Admin already; nothing has changed")
        return
    system_admin.ensure_system_admin(given.email, _password(given))
    say(f"{given.email} is a System Admin. The first sign-in at {settings.frontend_url} enrols an authenticator")


def _set_password(given: argparse.Namespace) -> None:
    if not system_admin.find_system_admin(given.email):
        fail(f"{given.email} is not a System Admin")
    system_admin.ensure_system_admin(given.email, _password(given))
    say(f"{given.email} has another password, and the sessions have ended")


def _reset_mfa(given: argparse.Namespace) -> None:
    system_admin.reset_mfa(given.email, given.reason)
    say(f"{given.email} has no authenticator any more. The next sign-in enrols another one")


def _password(given: argparse.Namespace) -> str:
    if given.generate:
        generated = secrets.token_urlsafe(PASSWORD_BYTES)
        say(f"Password of {given.email}, shown once: {generated}")
        return generated
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    entered = getpass.getpass(f"Password of {given.email}: ")
    return entered if getpass.getpass("Repeat it: ") == entered else fail("The passwords differ")


def _text(error: Exception) -> str:
    return str(error.detail or error.title) if isinstance(error, Problem) else str(error).strip()


COMMANDS = {"list": _list, "create": _create, "password": _set_password, "reset-mfa": _reset_mfa}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

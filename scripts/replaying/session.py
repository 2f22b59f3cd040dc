"""Who is asking: a token, somebody with a password, or a local system's own admin."""

import argparse
import getpass
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from scripts.replaying.api import Api, HttpApi
from scripts.setup.progress import SetupError

TOKEN = "COMPANON_TOKEN"


@contextmanager
def session(options: argparse.Namespace) -> Iterator[Api]:
    """The API as a system admin, signed out again at the end if it was signed in to for this.

    Raises:
        SetupError: nobody can be signed in.
    """
    run = _run_file(options)
    base = options.api or run.get("api")
    if not base:
        raise SetupError(f"No system runs here ({options.run} is missing); say where one does with --api")
    api = HttpApi(base)
    if token := os.environ.get(TOKEN):
        api.token = token
        yield api
        return
    email, password = _credentials(options, run)
    api.token = api.call("POST", "/api/v1/auth/login", {"email": email, "password": password})["access_token"]
    try:
        yield api
    finally:
        api.call("POST", "/api/v1/auth/logout")


def _run_file(options: argparse.Namespace) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(options.run.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SetupError(f"{options.run}: {error}") from None
    return found


def _credentials(options: argparse.Namespace, run: dict[str, Any]) -> tuple[str, str]:
    # A local admin's password is for the system that it is of, and for nobody at another address.
    if not options.email and run and options.api in (None, run["api"]):
        return run["admin"]["email"], run["admin"]["password"]
    try:
        email = options.email or input("E-mail of a System Admin: ")
        return email, getpass.getpass(f"Password of {email}: ")
    except EOFError:
        raise SetupError(f"Nobody is there to sign in; give an access token in {TOKEN}") from None

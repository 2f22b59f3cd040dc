"""Sign in as a system admin: by a token, a password, or the admin of a local system."""

import argparse
import getpass
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from scripts.devstack import authenticator
from scripts.devstack.api import Api, HttpApi
from scripts.devstack.progress import SetupError
from scripts.devstack.sign_in import sign_in

TOKEN = "COMPANON_TOKEN"


@contextmanager
def session(options: argparse.Namespace) -> Iterator[Api]:
    """Sign in, yield the API as a system admin, and sign out at the end. A given token is not signed out.

    Raises:
        SetupError: the sign-in is not possible.
    """
    run = _run_file(options)
    base = options.api or run.get("api")
    if not base:
        raise SetupError(f"No system is running here ({options.run} is missing); pass --api")
    api = HttpApi(base)
    if token := os.environ.get(TOKEN):
        api.token = token
        yield api
        return
    _sign_in(api, options, _local_admin(options, run))
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


def _local_admin(options: argparse.Namespace, run: dict[str, Any]) -> dict[str, str]:
    # Send a local admin's password to its own system only, never to another address.
    if not options.email and run and options.api in (None, run["api"]):
        return dict(run["admin"])
    return {}


def _sign_in(api: HttpApi, options: argparse.Namespace, admin: dict[str, str]) -> None:
    try:
        email = admin.get("email") or options.email or input("E-mail of a System Admin: ")
        password = admin.get("password") or getpass.getpass(f"Password of {email}: ")
        sign_in(api, email, password, lambda: _codes(options, admin))
    except EOFError:
        raise SetupError(f"There is no terminal to sign in at: set an access token in {TOKEN}") from None


def _codes(options: argparse.Namespace, admin: dict[str, str]) -> Iterator[str]:
    if secret := admin.get("totp_secret"):
        return authenticator.codes(secret)
    return iter([options.code or input("Code of the authenticator: ")])

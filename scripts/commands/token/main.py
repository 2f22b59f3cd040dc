"""`./scripts/token`: sign in to the local system and print the access token."""

import getpass
import json
import sys
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from scripts.commands.token import options
from scripts.devstack.api import HttpApi
from scripts.devstack.people import ROLES, People
from scripts.devstack.progress import SetupError, output, say
from scripts.devstack.sign_in import sign_in

NAMES = {role.lower().replace(" ", "-"): role for role in ROLES}


def main(argv: list[str]) -> int:
    """Print the access token of a role or an address.

    Raises:
        SetupError: no local development system runs, or the sign-in failed.
    """
    given = options.parse(argv)
    run = read_run(given.run)
    require_local(run)
    output.streams = [sys.stderr]
    email, token = _signed_in(given.who, run, given.run.parent)
    say(f"Access token of {email} at {run['api']}")
    sys.stdout.write(token + "\n")
    return 0


def _signed_in(who: str, run: Mapping[str, Any], folder: Path) -> tuple[str, str]:
    people = People(run, folder)
    role = NAMES.get(who.lower().replace(" ", "-").replace("_", "-"))
    if role:
        return people.token(role)
    if "@" not in who:
        raise SetupError(f"--as must be {', '.join(NAMES)}, or an e-mail address, not {who!r}")
    api = HttpApi(run["api"])
    known = people.by_address(who)
    try:
        password = known.password if known else getpass.getpass(f"Password of {who}: ", sys.stderr)
        sign_in(api, who, password, lambda: [_prompt("Code of the authenticator: ")])
    except EOFError:
        raise SetupError(f"There is no terminal to ask for the password of {who}") from None
    return who, api.token


def _prompt(text: str) -> str:
    sys.stderr.write(text)
    sys.stderr.flush()
    return input()


def read_run(path: Path) -> dict[str, Any]:
    """Return the description of the local system.

    Raises:
        SetupError: no system runs there.
    """
    try:
        run: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        raise SetupError(f"No system is running here ({path} is missing): start one with ./scripts/up") from None
    return run


def require_local(run: Mapping[str, Any]) -> None:
    """Refuse a system that is not for development, or whose API or database is on another machine.

    Raises:
        SetupError: names the reason.
    """
    if run.get("environment") != "development":
        raise SetupError(
            f"The system runs with ENVIRONMENT={run.get('environment')}: tokens are printed in development only"
        )
    if not _is_loopback(urlsplit(run["api"]).hostname or ""):
        raise SetupError(f"The API is at {run['api']}, not on this machine: sign in there")
    database = urlsplit(run["database_direct_url"])
    host = database.hostname or parse_qs(database.query).get("host", [""])[0]
    if not (host.startswith("/") or _is_loopback(host)):
        raise SetupError(f"The database is at {host!r}, not on this machine: sign in over the API")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""People of a local system: one account for each role, created over the API when it is first needed."""

import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from scripts.devstack import authenticator
from scripts.devstack.api import HttpApi, Refused
from scripts.devstack.processes import write_atomically
from scripts.devstack.progress import SetupError
from scripts.devstack.sign_in import sign_in

PEOPLE = "people.json"
"""File beside `run.json` with the addresses and passwords."""
FAN, BRAND_ADMIN, SYSTEM_ADMIN = "Fan", "Brand Admin", "System Admin"
ROLES = (FAN, "Creator", "Campaign Manager", BRAND_ADMIN, SYSTEM_ADMIN)
MAIL_WITHIN = 20.0
"""Seconds within which a mail must arrive."""

_TOKEN = re.compile(r"#token=([\w=%-]+)")


@dataclass(frozen=True)
class Person:
    """An account of the local system."""

    email: str
    password: str


class People:
    """The local system's accounts by role, kept in a file that only its owner can read."""

    def __init__(self, run: Mapping[str, Any], folder: Path) -> None:
        self._run = run
        self._path = folder / PEOPLE
        stored = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._known = {role: Person(**fields) for role, fields in stored.items()}

    def token(self, role: str) -> tuple[str, str]:
        """Sign in as the person of a role; create the account if there is none. Return address and access token.

        Raises:
            SetupError: a request was refused, or a mail did not arrive.
        """
        api = HttpApi(self._run["api"])
        if role == SYSTEM_ADMIN:
            admin = self._run["admin"]
            sign_in(api, admin["email"], admin["password"], lambda: authenticator.codes(admin["totp_secret"]))
            return admin["email"], api.token
        person = self._known.get(role) or self._create(role)
        try:
            sign_in(api, person.email, person.password, tuple)
        except Refused as refused:
            raise SetupError(
                f"{person.email} can't sign in ({refused}): delete {self._path} to get new people"
            ) from None
        return person.email, api.token

    def by_address(self, email: str) -> Person | None:
        """Return the person with an address, if this file has it."""
        return next((person for person in self._known.values() if person.email == email.lower()), None)

    def _create(self, role: str) -> Person:
        email = f"{role.lower().replace(' ', '-')}.{secrets.token_hex(3)}@local.example"
        person = Person(email, secrets.token_urlsafe(18))
        if role == FAN:
            HttpApi(self._run["api"]).call("POST", "/api/v1/auth/signup", {"email": email})
            self._follow_mail("/api/v1/auth/verify", person)
        else:
            self._invite(role, email)
            self._follow_mail("/api/v1/auth/accept-invitation", person)
        self._known[role] = person
        stored = {name: asdict(found) for name, found in self._known.items()}
        write_atomically(self._path, json.dumps(stored, indent=2) + "\n")
        return person

    def _invite(self, role: str, email: str) -> None:
        """Invite the first admin with a new brand, and other members into it."""
        inviter = SYSTEM_ADMIN if role == BRAND_ADMIN else BRAND_ADMIN
        _, token = self.token(inviter)
        api = HttpApi(self._run["api"], token)
        if role == BRAND_ADMIN:
            api.call("POST", "/api/v1/brands", {"name": "Local brand", "admin_email": email})
            return
        brand_id = api.call("GET", "/api/v1/users/me")["brand_id"]
        api.call("POST", f"/api/v1/brands/{brand_id}/invitations", {"email": email, "role": role})

    def _follow_mail(self, path: str, person: Person) -> None:
        """Use the link of the newest mail to a person to choose the password."""
        api, inbox = HttpApi(self._run["api"]), HttpApi(self._run["mail"])
        deadline = time.monotonic() + MAIL_WITHIN
        while not (found := _link_tokens(inbox.call("GET", "/messages", to=person.email)["items"])):
            if time.monotonic() > deadline:
                raise SetupError(f"No mail to {person.email} within {MAIL_WITHIN:.0f} s: see worker.log")
            time.sleep(0.1)
        api.call("POST", path, {"token": unquote(found[-1]), "password": person.password})


def _link_tokens(messages: list[dict[str, Any]]) -> list[str]:
    return [token for message in messages for token in _TOKEN.findall(message["text"])]

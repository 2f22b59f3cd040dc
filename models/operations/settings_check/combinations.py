"""Check combinations of settings: logins and secrets must differ, addresses must match."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from models.operations.settings_check import secrets, urls
from settings import SERVICES

SERVICE_KEYS = tuple(f"PASSPORT_{name.upper()}_KEY" for name in SERVICES)
_SECRETS = ("SECRET_KEYS", "AUTH_JWKS", "AUDIT_CHECKPOINT_KEYS", "SUPABASE_JWT_SECRET", "METRICS_TOKEN", *SERVICE_KEYS)


def faults(read: Mapping[str, Any]) -> dict[str, str]:
    """Return the faults that variables of one process have in combination, by variable."""
    found = [*_addresses(read), *_days(read), *_shared_secrets(read), *_shared_logins(read), *_service_keys(read)]
    return dict(found)


def _service_keys(read: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in SERVICE_KEYS:
        url = key.removesuffix("_KEY") + "_URL"
        if read.get(url) and read.get(key) == "":
            yield key, f"is missing: requests to {url} are signed"


def _shared_logins(read: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    known: dict[str, str] = {}
    for variable, text in read.items():
        if variable.startswith("DATABASE_") and (user := urls.login(text)):
            if user in known:
                yield variable, f"has the login of {known[user]}"
            known.setdefault(user, variable)


def _shared_secrets(read: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    known: dict[bytes, str] = {}
    for variable, text in read.items():
        if not text or not (variable in _SECRETS or variable.endswith("_URL")):
            continue
        for material in secrets.materials(variable, text):
            other = known.setdefault(material, variable)
            if other != variable and not _is_one_server(read, variable, other):
                yield variable, f"has a secret of {other}: each purpose needs its own secret"


def _is_one_server(read: Mapping[str, Any], variable: str, other: str) -> bool:
    """Return whether both variables name one Redis server, which has one password."""
    return {variable, other} == {"REDIS_URL", "BROKER_URL"} and _server(read[variable]) == _server(read[other])


def _server(text: str) -> tuple[str, str]:
    parts = urlsplit(text)
    return parts.scheme, parts.netloc


def _addresses(read: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    project, issuer = read.get("SUPABASE_URL"), read.get("SUPABASE_ISSUER")
    if project and issuer and _host(project) != _host(issuer):
        yield "SUPABASE_ISSUER", "is on another host than SUPABASE_URL"


def _host(text: str) -> str | None:
    try:
        return urlsplit(text).hostname
    except ValueError:
        return None


def _days(read: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "SESSION_DAYS" in read and 0 < read["SESSION_DAYS"] < read["SESSION_IDLE_DAYS"]:
        yield "SESSION_IDLE_DAYS", "must not be more than SESSION_DAYS"

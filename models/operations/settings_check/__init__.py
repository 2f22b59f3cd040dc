"""Check the settings of production processes before they start.

Each process is checked for the variables that it reads (see `settings.py`), and for no others: no process needs a
secret that it does not use.

Connections to other machines must use TLS with a verified certificate and name. No secret may be missing, weak,
published or a development default. Faults name the variables and never show their values.

`values` checks numbers, names and lists, `urls` checks URLs, `secrets` checks keys and tokens, and `combinations`
compares variables.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields
from typing import Any

from models.operations.settings_check import combinations, secrets, urls, values
from settings import SERVICES, Settings

_REDIRECTING_VARIABLES = ("PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGGSSENCMODE", "PGSSLMINPROTOCOLVERSION")
"""Variables of libpq that replace the server of a DSN or weaken its connection."""


class UnfitForProduction(SystemExit):
    """Faults of the settings. It ends the process and prints them on standard error."""


def require_fit(settings: Settings, process: str) -> None:
    """Check that a production process (its name in the Procfile) has settings that are fit for it.

    Raises:
        UnfitForProduction: names each faulty variable and its fault.
    """
    if settings.environment != "production":
        return
    faults = [*find_faults(settings, process), *redirections(os.environ)]
    if faults:
        raise UnfitForProduction("\n".join(["✗ These settings are not fit for production:", *faults]))


def redirections(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each variable that leads libpq to another server."""
    return [
        f"  {name} must not be set: it leads libpq to another server or a weaker connection"
        for name in _REDIRECTING_VARIABLES
        if name in environ
    ]


def unused_secrets(settings: Settings, process: str) -> list[str]:
    """Return the variables of secrets that a process has and does not read."""
    return [
        declared.metadata["env"]
        for declared in fields(Settings)
        if declared.metadata["secret"]
        and getattr(settings, declared.name) != declared.default
        and not _is_read(settings, declared, process)
    ]


def _is_read(settings: Settings, declared: Field[Any], process: str) -> bool:
    if declared.name == "redis_url" and settings.broker_url:
        # With a broker, Redis holds the counters of rate limits and the health of services.
        return process in ("web", "worker")
    return process in declared.metadata["of"]


def find_faults(settings: Settings, process: str) -> Iterator[str]:
    """Return the faults of a process's settings, one line for each variable."""
    read = {
        declared.metadata["env"]: (declared.default, getattr(settings, declared.name))
        for declared in fields(Settings)
        if _is_read(settings, declared, process)
    }
    found = {variable: _fault(settings, variable, value, default) for variable, (default, value) in read.items()}
    combined = combinations.faults({variable: value for variable, (_, value) in read.items()})
    for variable in read:
        if fault := found[variable] or combined.get(variable):
            yield f"  {variable} {fault}"


def _fault(settings: Settings, variable: str, value: Any, default: Any) -> str | None:
    if settings.auth_mode == "supabase" and not value and variable in _SUPABASE_FAULTS:
        return _SUPABASE_FAULTS[variable]
    if variable == "TRUSTED_PROXY_NETWORKS" and not value and 1 < settings.trusted_proxies <= values.MAX_PROXIES:
        # If one of them appends nothing, clients choose their address, and only the networks show that.
        return "is missing: two or more proxies need the networks of all of them"
    if variable.endswith("_URL") and value and value == default:
        return "has the value of development"
    if variable == "AUDIT_CHECKPOINT_URL" and not value:
        return "is missing"
    if variable.endswith("_URL") or variable == "SUPABASE_ISSUER":
        return urls.check(variable, value)
    check = _SECRETS.get(variable) or values.CHECKS.get(variable)
    return check(value) if check else None


_SUPABASE_FAULTS = {"AUTH_JWKS": None, "SUPABASE_URL": "is missing"}
"""Faults of empty variables if people sign in at Supabase."""
_SECRETS = {
    "SECRET_KEYS": secrets.secret_keys,
    "AUTH_JWKS": secrets.auth_jwks,
    "AUDIT_CHECKPOINT_KEYS": secrets.checkpoint_keys,
    "SUPABASE_JWT_SECRET": lambda text: secrets.token(text) if text else None,
    **{f"PASSPORT_{name.upper()}_KEY": lambda text: secrets.service_key(text) if text else None for name in SERVICES},
    "METRICS_TOKEN": secrets.token,  # behind a local proxy, every client would have a local address
}

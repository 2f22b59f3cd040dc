"""Check the settings of production processes before they start.

Each process is checked for the variables that it reads (see `settings.py`), and for no others: no process needs a
secret that it does not use.

Connections to other machines must use TLS with a verified certificate and name. No secret may be missing, weak,
published or a development default. Faults name the variables and never show their values.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import Field, fields
from typing import Any

from models.operations.settings_check import pairs, secrets, urls, values
from settings import Settings

logger = logging.getLogger(__name__)

_DISGUISES = ("PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGGSSENCMODE", "PGSSLMINPROTOCOLVERSION")
"""Variables of libpq that replace the server of a DSN, or weaken its connection."""


class UnfitForProduction(SystemExit):
    """End the process and print all faults on standard error."""


def require_fit(settings: Settings, process: str) -> None:
    """Check that a production process (its name in the Procfile) has settings that are fit for it.

    Log the names of secrets that the process has and does not read.

    Raises:
        UnfitForProduction: names each faulty variable and its fault.
    """
    if settings.environment != "production":
        return
    faults = list(shortcomings(settings, process))
    faults += [
        f"  {name} must not be set: it leads libpq to another server or a weaker connection"
        for name in _DISGUISES
        if name in os.environ
    ]
    if faults:
        raise UnfitForProduction("\n".join(["✗ These settings are not fit for production:", *faults]))
    if idle := superfluous(settings, process):
        logger.warning("%s has no use for %s, and should not be given them", process, ", ".join(idle))


def superfluous(settings: Settings, process: str) -> list[str]:
    """Return the variables of secrets that a process has and never reads."""
    return [
        declared.metadata["env"]
        for declared in fields(Settings)
        if declared.metadata["secret"]
        and getattr(settings, declared.name) != declared.default
        and not _is_read(settings, declared, process)
    ]


def _is_read(settings: Settings, declared: Field[Any], process: str) -> bool:
    if declared.name == "redis_url" and settings.broker_url:
        return process == "web"  # limits are counted there whatever carries job ids
    return process in declared.metadata["of"]


def shortcomings(settings: Settings, process: str) -> Iterator[str]:
    """Return the faults of a process's settings, one line for each variable."""
    read = {
        declared.metadata["env"]: (declared.default, getattr(settings, declared.name))
        for declared in fields(Settings)
        if _is_read(settings, declared, process)
    }
    found = {variable: _fault(settings, variable, value, default) for variable, (default, value) in read.items()}
    together = pairs.faults({variable: value for variable, (_, value) in read.items()})
    for variable in read:
        if fault := found[variable] or together.get(variable):
            yield f"  {variable} {fault}"


def _fault(settings: Settings, variable: str, value: Any, default: Any) -> str | None:
    if settings.auth_mode == "supabase" and not value and variable in _ELSEWHERE:
        return _ELSEWHERE[variable]
    if variable == "TRUSTED_PROXY_NETWORKS" and not value and 1 < settings.trusted_proxies <= values.MAX_PROXIES:
        # If one of them appends nothing, clients choose their address, and only the networks show that.
        return "is missing: it has to name the networks of the proxies where there are two or more"
    if variable.endswith("_URL") and value and value == default:
        return "is still that of development"
    if variable == "AUDIT_CHECKPOINT_URL" and not value:
        return "is missing"
    if variable.endswith("_URL") or variable == "SUPABASE_ISSUER":
        return urls.look(variable, value)
    look = _SECRETS.get(variable) or values.LOOKS.get(variable)
    return look(value) if look else None


_ELSEWHERE = {"AUTH_JWKS": None, "SUPABASE_URL": "is missing"}
"""Faults of empty variables if Supabase signs people in."""
_SECRETS = {
    "SECRET_KEYS": secrets.secret_keys,
    "AUTH_JWKS": secrets.auth_jwks,
    "AUDIT_CHECKPOINT_KEYS": secrets.checkpoint_keys,
    "SUPABASE_JWT_SECRET": lambda text: secrets.token(text) if text else None,
    "METRICS_TOKEN": secrets.token,  # behind a local proxy, every client would have a local address
}

"""What production asks of its settings. Every process looks first, and one that lacks something doesn't start.

It is asked for what it reads (`settings.py` says who reads what) and for nothing else: no process has to be given a
secret that it has no use for.

Nothing but TLS whose certificate and name are verified leaves the machine, and no secret is missing, weak, known or
a leftover of development. What is wrong is said by the names of the variables, never with what is in them.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import Field, fields
from typing import Any

from models.production import pairs, secrets, urls, values
from settings import Settings

logger = logging.getLogger(__name__)

_DISGUISES = ("PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE")
"""Variables of libpq that lead to another server than the DSN says."""


class UnfitForProduction(SystemExit):
    """Ends the process with all that is wrong on standard error."""


def require_fit(settings: Settings, process: str) -> None:
    """Let a process of production (its name in the Procfile) begin only with settings that are fit for it.

    What it is given beyond that is named in its log.

    Raises:
        UnfitForProduction: they are not; names each variable, and what is wrong with it.
    """
    if settings.environment != "production":
        return
    faults = list(shortcomings(settings, process))
    faults += [f"  {name} must not be set: it leads to another server" for name in _DISGUISES if name in os.environ]
    if faults:
        raise UnfitForProduction("\n".join(["✗ These settings are not fit for production:", *faults]))
    if idle := superfluous(settings, process):
        logger.warning("%s has no use for %s, and should not be given them", process, ", ".join(idle))


def superfluous(settings: Settings, process: str) -> list[str]:
    """The variables of secrets that a process has been given and never reads."""
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
    """What production refuses of a process, a line for each variable."""
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
"""What is wrong with an empty one where Supabase signs people in."""
_SECRETS = {
    "SECRET_KEYS": secrets.secret_keys,
    "AUTH_JWKS": secrets.auth_jwks,
    "AUDIT_CHECKPOINT_KEYS": secrets.checkpoint_keys,
    "SUPABASE_JWT_SECRET": lambda text: secrets.token(text) if text else None,
    "METRICS_TOKEN": secrets.token,  # behind a proxy on this machine everybody would be this machine
}

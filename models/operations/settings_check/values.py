"""Check values against a list, a range or a form."""

import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from limits import parse_many

from models.core import emails
from models.core.errors import Invalid

MAX_PROXIES = 5
"""Most proxies in front of `web`: content delivery network, firewall, balancer, ingress and one in reserve."""
MAX_RATE = 10_000.0
"""Highest rate in requests per second. A higher one would limit nothing."""

_ORIGIN = re.compile(r"https://[a-z0-9.-]+(:\d+)?")
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\]")
_Look = Callable[[Any], str | None]


def _one_of(*known: str) -> _Look:
    return lambda text: None if text in known else f"has to be one of {', '.join(known)}"


def _between(least: float, most: float) -> _Look:
    # Not `number < least`: that is false for NaN, too.
    return lambda number: None if least <= number <= most else f"has to be between {least} and {most}"


def _rate(text: str) -> str | None:
    try:
        items = parse_many(text)
    except ValueError:
        return "has to be one or more limits, e.g. 10 per second; 600 per minute"
    is_limit = all(0 < item.amount / item.get_expiry() <= MAX_RATE for item in items)
    return None if is_limit else f"has to be more than 0 and at most {MAX_RATE:.0f} per second"


def _log_level(text: str) -> str | None:
    # Below INFO libraries write statements with their values. NOTSET is below all.
    return (
        None
        if text.upper() in ("INFO", "WARNING", "ERROR", "CRITICAL")
        else "has to be INFO, WARNING, ERROR or CRITICAL"
    )


def _trusted_proxies(count: int) -> str | None:
    # Production has at least one proxy, for TLS. With 0, all clients would have its address and share one limit.
    if count < 1:
        return "has to say how many proxies stand in front"
    return None if count <= MAX_PROXIES else f"must not be more than {MAX_PROXIES}: clients would choose their address"


def _proxy_networks(text: str) -> str | None:
    try:
        networks = [ip_network(item.strip()) for item in text.split(",") if item.strip()]
    except ValueError:
        return "has to be networks without host bits, e.g. 10.0.0.0/8, separated by commas"
    if any(not network.prefixlen for network in networks):
        return "must not hold every address: clients would choose theirs"
    return None


def _allowed_hosts(text: str) -> str | None:
    wrong = [host for host in text.split(",") if host.strip() and not _HOST.fullmatch(host.strip().lower())]
    return "has to be names of hosts without ports or wildcards, separated by commas" if wrong else None


def _cors_origins(text: str) -> str | None:
    wrong = [origin for origin in text.split(",") if origin.strip() and not _ORIGIN.fullmatch(origin.strip())]
    return "has to be origins: https://host, in small letters, without a path" if wrong else None


def _mail_from(text: str) -> str | None:
    try:
        emails.parse_sender(text)
    except Invalid:
        return "has no address that mail can be sent from"
    return "is still that of development" if text.strip().rstrip(">").endswith(".example") else None


def _retention(years: int) -> str | None:
    return None if 0 <= years <= 100 else "has to be 0 or a number of years, at most 100"


def _audience(text: str) -> str | None:
    return None if text.strip() else "is missing: tokens for other audiences would be accepted"


LOOKS: dict[str, _Look] = {
    "ADDRESS_RATE": _rate,
    "ALLOWED_HOSTS": _allowed_hosts,
    "API_KEY_RATE": _rate,
    "AUDIT_RETENTION_YEARS": _retention,
    "AUTH_MODE": _one_of("own", "supabase"),
    "CORS_ORIGINS": _cors_origins,
    "LOG_LEVEL": _log_level,
    "MAIL_FROM": _mail_from,
    "MAX_BODY_BYTES": _between(1_024, 16_777_216),
    "PERSON_RATE": _rate,
    "PORT": _between(1, 65_535),
    "SESSION_DAYS": _between(1, 365),
    "SESSION_IDLE_DAYS": _between(1, 365),
    "SLOW_THREADS": _between(1, 64),
    "SUPABASE_AUDIENCE": _audience,
    "SUPABASE_CONFIRMS_EMAIL": _one_of("yes", "no"),
    "TRUSTED_PROXIES": _trusted_proxies,
    "TRUSTED_PROXY_NETWORKS": _proxy_networks,
    "WEB_CONCURRENCY": _between(1, 256),
    "WEB_CONNECTIONS": _between(10, 100_000),
    "WEB_QUEUE": _between(0, 10_000),
    "WEB_THREADS": _between(1, 256),
    "WORKER_DRAIN": _between(0, 3_600),
    "WORKER_PROCESSES": _between(1, 256),
    "WORKER_THREADS": _between(1, 256),
}

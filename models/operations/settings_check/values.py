"""Check values against a list, a range or a pattern."""

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
_Check = Callable[[Any], str | None]


def _one_of(*known: str) -> _Check:
    return lambda text: None if text in known else f"must be one of {', '.join(known)}"


def _between(least: float, most: float) -> _Check:
    # Not `number < least`: that is false for NaN, too.
    return lambda number: None if least <= number <= most else f"must be between {least} and {most}"


def _rate(text: str) -> str | None:
    try:
        items = parse_many(text)
    except ValueError:
        return "must be one or more limits, for example 10 per second; 600 per minute"
    is_limit = all(0 < item.amount / item.get_expiry() <= MAX_RATE for item in items)
    return None if is_limit else f"must be more than 0 and at most {MAX_RATE:.0f} per second"


def _log_level(text: str) -> str | None:
    # Below INFO, libraries log statements with their values. NOTSET is the lowest level.
    return (
        None if text.upper() in ("INFO", "WARNING", "ERROR", "CRITICAL") else "must be INFO, WARNING, ERROR or CRITICAL"
    )


def _trusted_proxies(count: int) -> str | None:
    # Production has at least one proxy, for TLS. With 0, all clients would have its address and share one limit.
    if count < 1:
        return "must be the number of proxies in front"
    return None if count <= MAX_PROXIES else f"must not be more than {MAX_PROXIES}: clients would choose their address"


def _proxy_networks(text: str) -> str | None:
    try:
        networks = [ip_network(item.strip()) for item in text.split(",") if item.strip()]
    except ValueError:
        return "must be networks without host bits, for example 10.0.0.0/8, separated by commas"
    if any(not network.prefixlen for network in networks):
        return "must not contain every address: clients would choose their address"
    return None


def _allowed_hosts(text: str) -> str | None:
    wrong = [host for host in text.split(",") if host.strip() and not _HOST.fullmatch(host.strip().lower())]
    return "must be host names without ports or wildcards, separated by commas" if wrong else None


def _cors_origins(text: str) -> str | None:
    wrong = [origin for origin in text.split(",") if origin.strip() and not _ORIGIN.fullmatch(origin.strip())]
    return "must be origins: https://host, in lower case, without a path" if wrong else None


def _mail_from(text: str) -> str | None:
    try:
        emails.parse_sender(text)
    except Invalid:
        return "has no valid sender address"
    return "has the value of development" if text.strip().rstrip(">").endswith(".example") else None


def _retention(years: int) -> str | None:
    return None if 0 <= years <= 100 else "must be a number of years from 0 to 100"


def _audience(text: str) -> str | None:
    return None if text.strip() else "is missing: tokens for other audiences would be accepted"


def _webhook_local_targets(text: str) -> str | None:
    return None if text == "no" else "must be no: brands could call services of this machine"


CHECKS: dict[str, _Check] = {
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
    "WEBHOOK_CONCURRENCY": _between(1, 10_000),
    "WEBHOOK_LOCAL_TARGETS": _webhook_local_targets,
    "WORKER_DRAIN": _between(0, 3_600),
    "WORKER_PROCESSES": _between(1, 256),
    "SCAN_WORKER_PROCESSES": _between(1, 256),
    "OUTWARD_WORKER_PROCESSES": _between(1, 256),
    "WORKER_THREADS": _between(1, 256),
}

"""What production asks of its settings. Every process looks first, and one that lacks something doesn't start.

It is asked for what it reads (`settings.py` says who reads what) and for nothing else: no process has to be given a
secret that it has no use for.

Nothing but TLS whose certificate and name are verified leaves the machine, and no secret is missing, weak, known or
a leftover of development. What is wrong is said by the names of the variables, never with what is in them.
"""

import base64
import binascii
import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import Field, fields
from ipaddress import ip_network
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import psycopg2
from psycopg2.extensions import parse_dsn

from models import emails
from models.errors import Invalid
from settings import Settings

logger = logging.getLogger(__name__)

ROOT_BYTES = 32
"""Of each root secret: 256 bits."""
DISTINCT_BYTES = 16
"""That 32 random bytes hold at the least: fewer than 16 come once in 10^10 times, and words and patterns have fewer."""
TOKEN_CHARACTERS = 32
PASSWORD_CHARACTERS = 12
MAX_PROXIES = 5
"""Proxies in front of `web`: a content delivery network, a firewall, a balancer, an ingress and one to spare."""

_KNOWN_PASSWORDS = frozenset(
    {"administrator", "changeme", "companon", "development", "guest", "password", "postgres", "redis", "secret"}
)
_KNOWN_KEYS = frozenset(
    {
        "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",  # RFC 7515, A.3
        "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",  # RFC 7517, A.2
    }
)
"""Private keys that everybody has."""
_ORIGIN = re.compile(r"https://[a-z0-9.-]+(:\d+)?")


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
    for declared in fields(Settings):
        if not _is_read(settings, declared, process):
            continue
        variable, value = declared.metadata["env"], getattr(settings, declared.name)
        look = _look_at(variable)
        fault = look(value) if look else None
        if variable.endswith("_URL") and value and value == declared.default:
            fault = "is still that of development"
        if settings.auth_mode == "supabase" and not value and variable in _ELSEWHERE:
            fault = _ELSEWHERE[variable]
        if variable == "TRUSTED_PROXY_NETWORKS" and not value and 1 < settings.trusted_proxies <= MAX_PROXIES:
            # If one of them appends nothing, clients choose their address, and only the networks show that.
            fault = "is missing: it has to name the networks of the proxies where there are two or more"
        if fault:
            yield f"  {variable} {fault}"


_ELSEWHERE = {"AUTH_JWKS": None, "SUPABASE_URL": "is missing"}
"""What is wrong with an empty one where Supabase signs people in."""


def _look_at(variable: str) -> Callable[[Any], str | None] | None:
    if variable in _LOOKS:
        return _LOOKS[variable]
    if not variable.endswith("_URL"):
        return None
    return _postgres if variable.startswith("DATABASE_") else _url  # libpq knows other forms than URLs, too


def _url(text: str) -> str | None:
    """What is wrong with the way to a dependency, or with an address of our own."""
    if not text:
        return None
    look = _SCHEMES.get(urlsplit(text).scheme)
    if look is None:
        return "has to be a URL whose scheme is one with TLS"
    try:
        return look(text)
    except ValueError:
        return "can't be read"


def _postgres(text: str) -> str | None:
    try:
        dsn = parse_dsn(text)
    except psycopg2.ProgrammingError:
        return "can't be read"
    host = dsn.get("host", "")
    if not host:
        return "names no host"
    if all(name.startswith("/") for name in host.split(",")):
        return None  # a socket on this machine
    if dsn.get("sslmode") != "verify-full":
        return "has to say sslmode=verify-full"
    if not {"password", "passfile", "sslcert"} & dsn.keys():
        return "has neither a password nor a passfile nor a client's certificate (sslcert)"
    return _password(dsn["password"]) if "password" in dsn else None


def _redis(text: str) -> str | None:
    query = dict(parse_qsl(urlsplit(text).query))
    if query.get("ssl_cert_reqs", "required") != "required":
        return "must not say ssl_cert_reqs"
    if query.get("ssl_check_hostname", "true").lower() not in ("true", "1", "yes"):
        return "must not switch ssl_check_hostname off"
    return _login(urlsplit(text))


def _sentinel(text: str) -> str | None:
    if dict(parse_qsl(urlsplit(text).query)).get("tls") != "1":
        return "has to say tls=1"
    return _login(urlsplit(text))


def _amqp(text: str) -> str | None:
    if "protocol" in dict(parse_qsl(urlsplit(text).query)).get("ssl_options", ""):
        return "must not choose TLS's protocol in ssl_options, which switches verification off"
    return _login(urlsplit(text))


def _smtp(text: str) -> str | None:
    # STARTTLS is asked for, and nothing sent without it (jobs/smtp.py).
    return _login(urlsplit(text)) if urlsplit(text).username else None


def _https(text: str) -> str | None:
    return None if urlsplit(text).hostname else "names no host"


def _s3(text: str) -> str | None:
    url = urlsplit(text)
    endpoint = dict(parse_qsl(url.query)).get("endpoint", "https:")
    if not url.netloc:
        return "names no bucket"
    return None if urlsplit(endpoint).scheme == "https" else "has an endpoint without TLS"


def _local(_: str) -> None:
    """A socket on this machine: nothing leaves it."""


_SCHEMES: dict[str, Callable[[str], str | None]] = {
    "rediss": _redis,
    "unix": _local,
    "s3": _s3,
    "sentinel": _sentinel,
    "amqps": _amqp,
    "smtp": _smtp,
    "smtps": _smtp,
    "https": _https,
}


def _login(url: SplitResult) -> str | None:
    password = url.password or url.netloc.rpartition("@")[0].partition(":")[2]
    return _password(unquote(password)) if password else "has no password"


def _password(text: str) -> str | None:
    if len(text) < PASSWORD_CHARACTERS or text.lower() in _KNOWN_PASSWORDS:
        return f"has a password that is known or has fewer than {PASSWORD_CHARACTERS} characters"
    return None


def _secret_keys(text: str) -> str | None:
    if not text:
        return "is missing"
    roots = []
    for item in text.split(","):
        version, _, encoded = item.partition(":")
        try:
            root = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            return "has to be version:base64url, newest first, separated by commas"
        if not version.strip().isdecimal():
            return "has to be version:base64url, newest first, separated by commas"
        roots.append(root)
    if len(set(roots)) < len(roots):
        return "has one secret twice"
    return next((fault for fault in map(_randomness, roots) if fault), None)


def _randomness(root: bytes) -> str | None:
    if len(root) < ROOT_BYTES:
        return f"has a secret of fewer than {ROOT_BYTES} bytes"
    if len(set(root)) < DISTINCT_BYTES or all(0x20 <= byte < 0x7F for byte in root):
        return "has a secret that nobody has drawn at random"
    return None


def _checkpoint_url(text: str) -> str | None:
    # Whoever has this machine and its database could else set both back, and nobody would know.
    return "has to lead to another machine: https: or s3:" if urlsplit(text).scheme in ("", "file") else _url(text)


def _checkpoint_keys(text: str) -> str | None:
    if not text:
        return "is missing"  # derived from SECRET_KEYS, they would be everybody's who can seal
    try:
        keys = [base64.urlsafe_b64decode(item.strip() + "=" * (-len(item.strip()) % 4)) for item in text.split(",")]
    except binascii.Error:
        return "has to be base64url, separated by commas"
    return next((fault for fault in map(_randomness, keys) if fault), None)


def _retention(years: int) -> str | None:
    return None if years >= 0 else "has to be 0 or a number of years"


def _auth_jwks(text: str) -> str | None:
    if not text:
        return "is missing"
    try:
        keys: list[dict[str, Any]] = json.loads(text)["keys"]
        private = [(key["kty"], key["crv"], key["kid"], key["d"]) for key in keys]
    except (ValueError, KeyError, TypeError):
        return "has to be a set of private JWKs, each with a kid"
    if not private or any((kty, crv) != ("EC", "P-256") for kty, crv, _, _ in private):
        return "has to hold keys for ES256, and no others"
    if any(secret in _KNOWN_KEYS for *_, secret in private):
        return "holds a key that everybody has"
    return None


def _jwt_secret(text: str) -> str | None:
    return f"has fewer than {TOKEN_CHARACTERS} characters" if text and len(text) < TOKEN_CHARACTERS else None


def _metrics_token(text: str) -> str | None:
    # Behind a proxy on this machine everybody would be this machine.
    return None if len(text) >= TOKEN_CHARACTERS else f"has to have {TOKEN_CHARACTERS} characters or more"


def _trusted_proxies(count: int) -> str | None:
    # There always is one, for TLS. With 0, all clients would have its address and share one limit.
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


def _cors_origins(text: str) -> str | None:
    wrong = [origin for origin in text.split(",") if origin.strip() and not _ORIGIN.fullmatch(origin.strip())]
    return "has to be origins: https://host, in small letters, without a path" if wrong else None


def _mail_from(text: str) -> str | None:
    try:
        emails.parse_sender(text)
    except Invalid:
        return "has no address that mail can be sent from"
    return "is still that of development" if text.strip().rstrip(">").endswith(".example") else None


def _log_level(text: str) -> str | None:
    return "must be INFO or higher: below it libraries write parameters" if text.upper() == "DEBUG" else None


_LOOKS: dict[str, Callable[[Any], str | None]] = {
    "SECRET_KEYS": _secret_keys,
    "AUTH_JWKS": _auth_jwks,
    "AUDIT_CHECKPOINT_URL": _checkpoint_url,
    "AUDIT_CHECKPOINT_KEYS": _checkpoint_keys,
    "AUDIT_RETENTION_YEARS": _retention,
    "SUPABASE_ISSUER": _url,
    "SUPABASE_JWT_SECRET": _jwt_secret,
    "METRICS_TOKEN": _metrics_token,
    "TRUSTED_PROXIES": _trusted_proxies,
    "TRUSTED_PROXY_NETWORKS": _proxy_networks,
    "CORS_ORIGINS": _cors_origins,
    "MAIL_FROM": _mail_from,
    "LOG_LEVEL": _log_level,
}

"""Check URLs as their drivers read them: TLS must verify certificate and name."""

import re
import ssl
from collections import Counter
from collections.abc import Callable, Set
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import pika
import psycopg2
from psycopg2.extensions import parse_dsn
from redis.connection import SSLConnection, UnixDomainSocketConnection, parse_url

from models.operations.settings_check import secrets

OWNERS = frozenset({"postgres", "supabase_admin", "supabase_auth_admin", "root"})
"""Superusers and owners, as PostgreSQL and Supabase name them."""

_REDIRECTING_PARAMETERS = ("hostaddr", "service", "servicefile")
"""Parameters by which libpq connects to another server than `host` names."""
_OLD_TLS = frozenset({"TLSv1", "TLSv1.1"})
_REDIS_PARAMETERS = frozenset(
    {"db", "username", "password", "protocol", "client_name", "health_check_interval", "ssl_cert_reqs"}
    | {"ssl_check_hostname", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'")
_NAME = re.compile(r"(\w+)\s*=")


def check(variable: str, text: str) -> str | None:
    """Return the fault of a URL."""
    if not text:
        return None
    if variable.startswith("DATABASE_"):
        return _postgres(text, is_owner=variable == "DATABASE_DIRECT_URL")
    checks = _SCHEMES[variable]
    try:
        parts = urlsplit(text)
        if parts.scheme not in checks:
            return f"must begin with {' or '.join(f'{scheme}:' for scheme in checks)}"
        if doubled := _doubled([name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]):
            return doubled
        _ = parts.port if parts.scheme != "sentinel" else None  # raises for a port that is not a number
        return checks[parts.scheme](text, parts)
    except (ValueError, TypeError, OSError):
        return "can't be read"


def login(text: str) -> str:
    """Return the user of a DSN without the project suffix of Supabase's pooler; "" if none."""
    try:
        return str(parse_dsn(text).get("user", "")).partition(".")[0]
    except psycopg2.ProgrammingError:
        return ""


def _doubled(names: list[str]) -> str | None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    return "has one parameter twice" if twice else None


def _postgres(text: str, *, is_owner: bool) -> str | None:
    try:
        dsn = parse_dsn(text)
    except psycopg2.ProgrammingError:
        return "can't be read"
    if fault := _doubled(_parameters(text)) or _server_fault(dsn):
        return fault
    if not is_owner and login(text) in OWNERS:
        return "has the owner's or a superuser's login"
    if all(name.startswith("/") for name in dsn["host"].split(",")):
        return None  # a socket on this machine
    if dsn.get("sslmode") != "verify-full":
        return "must have sslmode=verify-full"
    if dsn.get("ssl_min_protocol_version") in _OLD_TLS or dsn.get("gssencmode", "disable") != "disable":
        return "must not have ssl_min_protocol_version or gssencmode"
    if not {"password", "passfile", "sslcert"} & dsn.keys():
        return "has no password, passfile or client certificate (sslcert)"
    return secrets.password(dsn["password"]) if "password" in dsn else None


def _server_fault(dsn: dict[str, Any]) -> str | None:
    if redirecting := next((name for name in _REDIRECTING_PARAMETERS if name in dsn), None):
        return f"must not have {redirecting}: it replaces the server that the host names"
    if not dsn.get("host"):
        return "names no host"
    return None if dsn.get("user") else "names no user"


def _parameters(text: str) -> list[str]:
    """Return the parameter names of a DSN in either form."""
    if text.startswith(("postgresql://", "postgres://")):
        return [name for name, _ in parse_qsl(urlsplit(text).query, keep_blank_values=True)]
    return _NAME.findall(_QUOTED.sub("", text))


def _redis(text: str, parts: SplitResult) -> str | None:
    options: dict[str, Any] = parse_url(text)  # type: ignore[no-untyped-call]
    if not {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)} <= _REDIS_PARAMETERS:
        return "has an unknown parameter"
    if options["connection_class"] is UnixDomainSocketConnection:
        return None if options.get("path") else "names no socket"
    if options["connection_class"] is not SSLConnection or not options.get("host"):
        return "names no host"
    if options.get("ssl_cert_reqs", "required") != "required":
        return "must not have ssl_cert_reqs"
    if options.get("ssl_check_hostname", True) is not True:
        return "must not disable ssl_check_hostname"
    return _password(options.get("password"))


def _sentinel(_: str, parts: SplitResult) -> str | None:
    query = dict(parse_qsl(parts.query))
    if query.get("tls") != "1":
        return "must have tls=1"
    if not query.keys() <= {"tls", "sentinel_password"}:
        return "has an unknown parameter"
    own = parts.netloc.rpartition("@")[0].partition(":")[2]
    fault = secrets.password(query["sentinel_password"]) if "sentinel_password" in query else None
    return _password(unquote(own)) or fault


def _amqp(text: str, parts: SplitResult) -> str | None:
    if not parts.hostname:
        return "names no host"
    parameters = pika.URLParameters(text)
    context = parameters.ssl_options and parameters.ssl_options.context
    if context is None or context.verify_mode != ssl.CERT_REQUIRED or not context.check_hostname:
        return "must not have ssl_options that disable verification"
    return _password(parts.password and parameters.credentials.password)


def _smtp(_: str, parts: SplitResult) -> str | None:
    # The client uses STARTTLS, and in production sends nothing without it (jobs/mail/smtp.py).
    if not parts.hostname:
        return "names no host"
    return _password(unquote(parts.password or "")) if parts.username else None


def _address(_: str, parts: SplitResult) -> str | None:
    """Return the fault of a URL without a login: an own address, or a public server."""
    if not parts.hostname:
        return "names no host"
    return "must not hold a login, a query or a fragment" if parts.username or parts.query or parts.fragment else None


def _store(_: str, parts: SplitResult) -> str | None:
    if not parts.hostname:
        return "names no host"
    return _password(unquote(parts.password or "")) if parts.username else None


def _locked_bucket(text: str, parts: SplitResult) -> str | None:
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    # Without a lock, the bucket's credentials are enough to delete checkpoints.
    lock_days = int(query.get("lock_days", 0))
    return _bucket(text, parts, {"lock_days"}) or (None if lock_days > 0 else "must have lock_days, of one day or more")


def _bucket(_: str, parts: SplitResult, more: Set[str] = frozenset()) -> str | None:
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    endpoint = urlsplit(query.get("endpoint", "https://s3"))
    if not parts.netloc:
        return "names no bucket"
    if not query.keys() <= {"region", "endpoint"} | more:
        return "has an unknown parameter"
    if endpoint.scheme != "https" or not endpoint.hostname:
        return "has an endpoint without TLS"
    return None


def _folder(_: str, parts: SplitResult) -> str | None:
    # A relative path starts at the checkout, which a deployment replaces.
    return None if parts.path.startswith("/") and not parts.netloc else "must name an absolute path"


def _password(text: str | None) -> str | None:
    return secrets.password(text) if text else "has no password"


_Checks = dict[str, Callable[[str, SplitResult], str | None]]
_ADDRESS: _Checks = {"https": _address}
_SCHEMES: dict[str, _Checks] = {
    "REDIS_URL": {"rediss": _redis, "unix": _redis},
    "BROKER_URL": {"amqps": _amqp, "rediss": _redis, "sentinel": _sentinel, "unix": _redis},
    "SMTP_URL": {"smtp": _smtp, "smtps": _smtp},
    "AUDIT_CHECKPOINT_URL": {"https": _store, "s3": _locked_bucket},
    "STORAGE_URL": {"file": _folder, "s3": _bucket},
    "MEDIA_URL": _ADDRESS,
    "PUBLIC_URL": _ADDRESS,
    "APP_URL": _ADDRESS,
    "BREACHED_PASSWORDS_URL": _ADDRESS,
    "SUPABASE_URL": _ADDRESS,
    "SUPABASE_ISSUER": _ADDRESS,
    "SUPABASE_JWKS_URL": _ADDRESS,
    "PASSPORT_LOCKER_URL": _ADDRESS,
    "PASSPORT_CONCIERTO_URL": _ADDRESS,
    "PASSPORT_COLISEUM_URL": _ADDRESS,
    "PASSPORT_MEDIAID_URL": _ADDRESS,
    "PASSPORT_CALS_URL": _ADDRESS,
}
"""Allowed schemes of each variable, with the check of each scheme."""

"""Every environment variable that the system reads, typed, in one place.

`settings` is read once, at import. The README's table is made from the fields below
(`python -m settings` prints it), so a variable is documented by being declared. So is who reads
it: production asks a process for its own variables alone (models/production.py).
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Literal, cast
from urllib.parse import urlsplit

Network = IPv4Network | IPv6Network

PROCESSES = ("release", "web", "relay", "worker", "clock", "seal")
"""The Procfile's."""


def env(name: str, default: Any, doc: str, *, of: str, secret: bool = False) -> Any:
    """Declare a field that is read from the environment variable `name` by the processes `of`; no other needs it."""
    return field(default=default, metadata={"env": name, "doc": doc, "of": tuple(of.split()), "secret": secret})


ENVIRONMENTS = ("development", "test", "production")


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration of one process."""

    environment: Literal["development", "test", "production"] = env(
        "ENVIRONMENT",
        "development",
        "`development`, `test` or `production`; production refuses to start with anything weak (docs/security.md).",
        of="release web relay worker clock seal",
    )
    database_url: str = env(
        "DATABASE_URL",
        "postgresql://app_web@/companon",
        "The web tier's login for ordinary requests; may be a transaction pooler.",
        of="web",
        secret=True,
    )
    database_account_url: str = env(
        "DATABASE_ACCOUNT_URL",
        "postgresql://app_account@/companon",
        "The web tier's login for credentials, sessions and system admins; may be a transaction pooler.",
        of="web",
        secret=True,
    )
    database_scan_url: str = env(
        "DATABASE_SCAN_URL",
        "postgresql://app_scan@/companon",
        "The scan writer's login: two functions, nothing else; may be a transaction pooler.",
        of="web",
        secret=True,
    )
    database_worker_url: str = env(
        "DATABASE_WORKER_URL",
        "postgresql://app_worker@/companon",
        "The login of relay, workers and clock; a session connection (it holds locks), no transaction pooler.",
        of="relay worker clock",
        secret=True,
    )
    database_seal_url: str = env(
        "DATABASE_SEAL_URL",
        "postgresql://app_seal@/companon",
        "The login that seals the audit trail; a session connection, no transaction pooler.",
        of="seal",
        secret=True,
    )
    database_direct_url: str = env(
        "DATABASE_DIRECT_URL",
        "postgresql://postgres@/companon",
        "The owner, for migrations and dumps.",
        of="release",
        secret=True,
    )
    redis_url: str = env(
        "REDIS_URL",
        "redis://127.0.0.1:6379/0",
        "Rate limits, and job ids if nothing else carries them.",
        of="web relay worker clock",
        secret=True,
    )
    broker_url: str = env(
        "BROKER_URL",
        "",
        "What carries job ids: `redis://`, `rediss://`, `unix://`, `sentinel://host:port,host:port/service/db` (with"
        " `?sentinel_password=`, `?tls=1`), `amqp://` or `amqps://` (RabbitMQ); `REDIS_URL` when empty.",
        of="web relay worker clock",
        secret=True,
    )
    secret_keys: str = env(
        "SECRET_KEYS",
        "",
        "Root secrets, newest first: `2:base64url,1:base64url` (32 bytes each). Every other key is derived from them.",
        of="web worker seal",
        secret=True,
    )
    auth_jwks: str = env(
        "AUTH_JWKS", "", "Private ES256 keys as a JWK set, the signing one first; access tokens.", of="web", secret=True
    )
    session_idle_days: int = env(
        "SESSION_IDLE_DAYS", 30, "Days after the last refresh when a session ends.", of="web worker"
    )
    session_days: int = env(
        "SESSION_DAYS", 90, "Days after which any session is over, and its person signs in again.", of="web"
    )
    auth_mode: str = env(
        "AUTH_MODE",
        "own",
        "`own`: accounts, sessions and tokens are ours; `supabase`: a Supabase project signs people in (docs/auth.md).",
        of="web",
    )
    supabase_url: str = env(
        "SUPABASE_URL", "", "The project that signs people in: `https://<ref>.supabase.co`.", of="web"
    )
    supabase_issuer: str = env(
        "SUPABASE_ISSUER", "", "`iss` of its tokens; `<SUPABASE_URL>/auth/v1` when empty.", of="web"
    )
    supabase_jwks_url: str = env(
        "SUPABASE_JWKS_URL", "", "Its public keys; `<SUPABASE_ISSUER>/.well-known/jwks.json` when empty.", of="web"
    )
    supabase_audience: str = env("SUPABASE_AUDIENCE", "authenticated", "`aud` of its tokens.", of="web")
    supabase_jwt_secret: str = env(
        "SUPABASE_JWT_SECRET",
        "",
        "Its legacy JWT secret; HS256 tokens are refused without it, and should be.",
        of="web",
        secret=True,
    )
    supabase_confirms_email: str = env(
        "SUPABASE_CONFIRMS_EMAIL",
        "no",
        "`yes` if the project confirms addresses before anybody signs in: invitations are taken up by address then.",
        of="web",
    )
    audit_checkpoint_url: str = env(
        "AUDIT_CHECKPOINT_URL",
        "file:var/checkpoints",
        "Where signed checkpoints of the audit trail go, outside the database: a `file:` folder, `https:` for PUT, or"
        " `s3://bucket/prefix` (docs/audit.md).",
        of="seal",
        secret=True,
    )
    audit_checkpoint_keys: str = env(
        "AUDIT_CHECKPOINT_KEYS",
        "",
        "Ed25519 keys that sign them, base64url, comma separated, the active one first; else made from SECRET_KEYS.",
        of="seal",
        secret=True,
    )
    audit_retention_years: int = env(
        "AUDIT_RETENTION_YEARS",
        7,
        "Years after which entries of the audit trail go; 0: they are kept for ever.",
        of="seal",
    )
    public_url: str = env("PUBLIC_URL", "http://127.0.0.1:8000", "Where clients reach this API.", of="web worker")
    app_url: str = env(
        "APP_URL", "", "The front end that mails link to; the API's own pages when empty.", of="web worker"
    )
    smtp_url: str = env(
        "SMTP_URL",
        "smtp://127.0.0.1:1025",
        "`smtp://` or `smtps://`, with user and password.",
        of="worker",
        secret=True,
    )
    mail_from: str = env("MAIL_FROM", "Compañon <no-reply@companon.example>", "Sender of every mail.", of="worker")
    port: int = env("PORT", 8000, "The port that the web tier listens on.", of="web")
    web_concurrency: int = env("WEB_CONCURRENCY", 2, "gunicorn worker processes.", of="web")
    web_threads: int = env(
        "WEB_THREADS", 8, "Threads (and database connections) for responders, per web process.", of="web"
    )
    web_queue: int = env("WEB_QUEUE", 64, "Requests that may wait for a thread before 503, per web process.", of="web")
    slow_threads: int = env(
        "SLOW_THREADS", 2, "Threads for sign-ins, and as many for choices of passwords, per web process.", of="web"
    )
    worker_processes: int = env("WORKER_PROCESSES", 2, "Dramatiq worker processes.", of="worker")
    worker_threads: int = env(
        "WORKER_THREADS", 8, "Threads (and database connections) per worker process.", of="worker"
    )
    worker_drain: float = env(
        "WORKER_DRAIN",
        30.0,
        "Seconds that running jobs get to end when their worker is told to stop; then they wait again.",
        of="worker",
    )
    web_connections: int = env("WEB_CONNECTIONS", 1000, "Connections that one web process holds open.", of="web")
    trusted_proxies: int = env("TRUSTED_PROXIES", 0, "How many proxies in front append to X-Forwarded-For.", of="web")
    trusted_proxy_networks: str = env(
        "TRUSTED_PROXY_NETWORKS",
        "",
        "Networks of these proxies, comma separated, e.g. `10.0.0.0/8, 2001:db8::/32`: only what they have appended is"
        " believed. Without them, TRUSTED_PROXIES has to be the exact number.",
        of="web",
    )
    allowed_hosts: str = env(
        "ALLOWED_HOSTS",
        "",
        "Names that requests may call this API by, comma separated; when empty, `PUBLIC_URL`'s, in development the"
        " names of this machine too, and in tests any.",
        of="web",
    )
    cors_origins: str = env(
        "CORS_ORIGINS", "", "Origins allowed to call the API from a browser, comma separated.", of="web"
    )
    max_body_bytes: int = env("MAX_BODY_BYTES", 262_144, "Largest request body taken, in bytes.", of="web")
    metrics_token: str = env(
        "METRICS_TOKEN",
        "",
        "Bearer token for /metrics; without one, only this machine may read it.",
        of="web",
        secret=True,
    )
    api_key_rate: str = env(
        "API_KEY_RATE",
        "600 per minute",
        "What one API key may ask in all, e.g. `10 per second; 600 per minute`.",
        of="web",
    )
    breached_passwords_url: str = env(
        "BREACHED_PASSWORDS_URL",
        "",
        "Where new passwords are looked up among stolen ones, by a part of their hash:"
        " `https://api.pwnedpasswords.com/range`, or a server of the same kind; nowhere when empty.",
        of="web",
    )
    person_rate: str = env(
        "PERSON_RATE",
        "1200 per minute",
        "What one person may ask of all endpoints that have no limit of their own; scans are not among them.",
        of="web",
    )
    address_rate: str = env(
        "ADDRESS_RATE",
        "12000 per minute",
        "The same for one address, of whoever is not known: a stadium shares one.",
        of="web",
    )
    log_level: str = env("LOG_LEVEL", "INFO", "Python log level of every process.", of="web relay worker clock seal")

    @property
    def transport_url(self) -> str:
        """What carries job ids from the relay to the workers."""
        return self.broker_url or self.redis_url

    @property
    def hosts(self) -> frozenset[str]:
        """Names that requests may call this API by, in small letters, without ports; any if there are none."""
        named = {name.strip().lower() for name in self.allowed_hosts.split(",") if name.strip()}
        if not named and self.environment != "test":
            named = {urlsplit(self.public_url).hostname or ""}
            if self.environment == "development":
                # Not any name: a page of another origin could resolve its own name to a developer's machine.
                named |= {"localhost", "127.0.0.1", "[::1]"}
        return frozenset(named)

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        """The networks of the trusted proxies.

        Raises:
            ValueError: an entry is not a network.
        """
        try:
            return tuple(ip_network(text.strip()) for text in self.trusted_proxy_networks.split(",") if text.strip())
        except ValueError as error:
            raise ValueError(f"TRUSTED_PROXY_NETWORKS: {error}") from None

    @property
    def frontend_url(self) -> str:
        """Where links in mails lead, without a trailing slash."""
        return (self.app_url or self.public_url).rstrip("/")


def load(environ: Mapping[str, str]) -> Settings:
    """Read the settings from `environ`.

    Raises:
        ValueError: a variable has a value of the wrong type, or none of those that it may have; names it.
    """
    values: dict[str, Any] = {}
    for declared in fields(Settings):
        name = declared.metadata["env"]
        if name in environ:
            values[declared.name] = _typed(name, environ[name], type(declared.default))
    loaded = Settings(**values)
    if loaded.environment not in ENVIRONMENTS:
        # A misspelt "production" must not be taken for development.
        raise ValueError(f"ENVIRONMENT must be one of {', '.join(ENVIRONMENTS)}")
    return loaded


def _typed(name: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} must be of type {kind.__name__}") from None


def variables(process: str | None = None) -> frozenset[str]:
    """The environment variables that a process of the Procfile reads; all that there are, without one."""
    declared = [known.metadata for known in fields(Settings)]
    return frozenset(one["env"] for one in declared if process is None or process in one["of"])


def table() -> str:
    """The configuration as a Markdown table."""
    rows = ["| variable | default | read by | meaning |", "| --- | --- | --- | --- |"]
    for declared in fields(Settings):
        default = f"`{declared.default}`" if declared.default != "" else ""
        of = declared.metadata["of"]
        readers = "all" if of == PROCESSES else ", ".join(of)
        rows.append(f"| `{declared.metadata['env']}` | {default} | {readers} | {declared.metadata['doc']} |")
    return "\n".join(rows)


def secrets_table() -> str:
    """Which process needs which secret, as a Markdown table."""
    rows = [f"| secret | {' | '.join(PROCESSES)} |", "| --- |" + " :-: |" * len(PROCESSES)]
    for known in (declared.metadata for declared in fields(Settings) if declared.metadata["secret"]):
        marks = " | ".join("✓" if process in known["of"] else "" for process in PROCESSES)
        rows.append(f"| `{known['env']}` | {marks} |")
    return "\n".join(rows)


settings = load(cast(Mapping[str, str], os.environ))

if __name__ == "__main__":
    print(secrets_table() if sys.argv[1:] == ["secrets"] else table())

"""Every environment variable that the system reads, typed, in one place.

`settings` is read once, at import. The README's table is made from the fields below
(`python -m settings` prints it), so a variable is documented by being declared.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast
from urllib.parse import urlsplit


def env(name: str, default: Any, doc: str, *, secret: bool = False) -> Any:
    """Declare a field that is read from the environment variable `name`."""
    return field(default=default, metadata={"env": name, "doc": doc, "secret": secret})


ENVIRONMENTS = ("development", "test", "production")


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration of one process."""

    environment: Literal["development", "test", "production"] = env(
        "ENVIRONMENT",
        "development",
        "`development`, `test` or `production`; production refuses to start with anything weak (docs/security.md).",
    )
    database_url: str = env(
        "DATABASE_URL", "postgresql://app_web@/companon", "The web tier's login; may be a transaction pooler."
    )
    database_admin_url: str = env(
        "DATABASE_ADMIN_URL", "postgresql://app_admin_web@/companon", "System admins' login and pool."
    )
    database_scan_url: str = env(
        "DATABASE_SCAN_URL", "postgresql://app_scan@/companon", "The scan writer's login: one function, nothing else."
    )
    database_worker_url: str = env(
        "DATABASE_WORKER_URL",
        "postgresql://app_worker@/companon",
        "Relay, workers and clock; a session connection (it holds an advisory lock), so no transaction pooler.",
    )
    database_direct_url: str = env(
        "DATABASE_DIRECT_URL", "postgresql://postgres@/companon", "The owner, for migrations and dumps.", secret=True
    )
    redis_url: str = env(
        "REDIS_URL", "redis://127.0.0.1:6379/0", "Rate limits, and job ids if nothing else carries them."
    )
    broker_url: str = env(
        "BROKER_URL",
        "",
        "What carries job ids: `redis://`, `rediss://`, `unix://`, `sentinel://host:port,host:port/service/db` (with"
        " `?sentinel_password=`, `?tls=1`), `amqp://` or `amqps://` (RabbitMQ); `REDIS_URL` when empty.",
        secret=True,
    )
    secret_keys: str = env(
        "SECRET_KEYS",
        "",
        "Root secrets, newest first: `2:base64url,1:base64url` (32 bytes each). Every other key is derived from them.",
        secret=True,
    )
    auth_jwks: str = env(
        "AUTH_JWKS", "", "Private ES256 keys as a JWK set, the signing one first; access tokens.", secret=True
    )
    session_idle_days: int = env(
        "SESSION_IDLE_DAYS", 30, "Days after which a session is over that nobody has refreshed."
    )
    session_days: int = env("SESSION_DAYS", 90, "Days after which any session is over, and its person signs in again.")
    auth_mode: str = env(
        "AUTH_MODE",
        "own",
        "`own`: accounts, sessions and tokens are ours; `supabase`: a Supabase project signs people in (docs/auth.md).",
    )
    supabase_url: str = env("SUPABASE_URL", "", "The project that signs people in: `https://<ref>.supabase.co`.")
    supabase_issuer: str = env("SUPABASE_ISSUER", "", "`iss` of its tokens; `<SUPABASE_URL>/auth/v1` when empty.")
    supabase_jwks_url: str = env(
        "SUPABASE_JWKS_URL", "", "Its public keys; `<SUPABASE_ISSUER>/.well-known/jwks.json` when empty."
    )
    supabase_audience: str = env("SUPABASE_AUDIENCE", "authenticated", "`aud` of its tokens.")
    supabase_jwt_secret: str = env(
        "SUPABASE_JWT_SECRET",
        "",
        "Its legacy JWT secret; HS256 tokens are refused without it, and should be.",
        secret=True,
    )
    supabase_confirms_email: str = env(
        "SUPABASE_CONFIRMS_EMAIL",
        "no",
        "`yes` if the project confirms addresses before anybody signs in: invitations are taken up by address then.",
    )
    audit_checkpoint_url: str = env(
        "AUDIT_CHECKPOINT_URL",
        "file:var/checkpoints",
        "Where signed checkpoints of the audit trail go, outside the database: a `file:` folder, `https:` for PUT, or"
        " `s3://bucket/prefix` (docs/audit.md).",
        secret=True,
    )
    audit_checkpoint_keys: str = env(
        "AUDIT_CHECKPOINT_KEYS",
        "",
        "Ed25519 keys that sign them, base64url, comma separated, the active one first; else made from SECRET_KEYS.",
        secret=True,
    )
    audit_retention_years: int = env(
        "AUDIT_RETENTION_YEARS", 7, "Years after which entries of the audit trail go; 0: they are kept for ever."
    )
    public_url: str = env("PUBLIC_URL", "http://127.0.0.1:8000", "Where clients reach this API.")
    app_url: str = env("APP_URL", "", "The front end that mails link to; the API's own pages when empty.")
    smtp_url: str = env(
        "SMTP_URL", "smtp://127.0.0.1:1025", "`smtp://` or `smtps://`, with user and password.", secret=True
    )
    mail_from: str = env("MAIL_FROM", "Compañon <no-reply@companon.example>", "Sender of every mail.")
    port: int = env("PORT", 8000, "The port that the web tier listens on.")
    web_concurrency: int = env("WEB_CONCURRENCY", 2, "gunicorn worker processes.")
    web_threads: int = env("WEB_THREADS", 8, "Threads (and database connections) for responders, per web process.")
    web_queue: int = env("WEB_QUEUE", 64, "Requests that may wait for a thread before 503, per web process.")
    slow_threads: int = env("SLOW_THREADS", 2, "Threads for password hashing and vendor calls, per web process.")
    worker_processes: int = env("WORKER_PROCESSES", 2, "Dramatiq worker processes.")
    worker_threads: int = env("WORKER_THREADS", 8, "Threads (and database connections) per worker process.")
    worker_drain: float = env(
        "WORKER_DRAIN",
        30.0,
        "Seconds that running jobs get to end when their worker is told to stop; then they wait again.",
    )
    web_connections: int = env("WEB_CONNECTIONS", 1000, "Connections that one web process holds open.")
    trusted_proxies: int = env("TRUSTED_PROXIES", 0, "How many proxies in front append to X-Forwarded-For.")
    allowed_hosts: str = env(
        "ALLOWED_HOSTS",
        "",
        "Names that requests may call this API by, comma separated; when empty, `PUBLIC_URL`'s in production and any"
        " elsewhere.",
    )
    cors_origins: str = env("CORS_ORIGINS", "", "Origins allowed to call the API from a browser, comma separated.")
    max_body_bytes: int = env("MAX_BODY_BYTES", 262_144, "Largest request body taken, in bytes.")
    metrics_token: str = env(
        "METRICS_TOKEN", "", "Bearer token for /metrics; without one, only this machine may read it.", secret=True
    )
    api_key_rate: str = env(
        "API_KEY_RATE", "600 per minute", "What one API key may ask in all, e.g. `10 per second; 600 per minute`."
    )
    breached_passwords_url: str = env(
        "BREACHED_PASSWORDS_URL",
        "",
        "Where new passwords are looked up among stolen ones, by a part of their hash:"
        " `https://api.pwnedpasswords.com/range`, or a server of the same kind; nowhere when empty.",
    )
    person_rate: str = env(
        "PERSON_RATE",
        "1200 per minute",
        "What one person may ask of all endpoints that have no limit of their own; scans are not among them.",
    )
    address_rate: str = env(
        "ADDRESS_RATE", "12000 per minute", "The same for one address, of whoever is not known: a stadium shares one."
    )
    log_level: str = env("LOG_LEVEL", "INFO", "Python log level of every process.")

    @property
    def transport_url(self) -> str:
        """What carries job ids from the relay to the workers."""
        return self.broker_url or self.redis_url

    @property
    def hosts(self) -> frozenset[str]:
        """Names that requests may call this API by, in small letters, without ports; any if there are none."""
        named = {name.strip().lower() for name in self.allowed_hosts.split(",") if name.strip()}
        if not named and self.environment == "production":
            named = {urlsplit(self.public_url).hostname or ""}
        return frozenset(named)

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


def table() -> str:
    """The configuration as a Markdown table."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for declared in fields(Settings):
        default = f"`{declared.default}`" if declared.default != "" else ""
        rows.append(f"| `{declared.metadata['env']}` | {default} | {declared.metadata['doc']} |")
    return "\n".join(rows)


settings = load(cast(Mapping[str, str], os.environ))

if __name__ == "__main__":
    print(table())

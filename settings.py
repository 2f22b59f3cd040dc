"""Declare every environment variable of the system, with its type, meaning and readers.

`settings` is read once, at its first import. `python -m settings` prints the table of docs/configuration.md from the
fields below. In production each process is checked for its own variables only (`models.operations.settings_check`).
"""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

VERSION = "0.3.0"
"""Version of this release and of its API; setup.cfg has the same. `./scripts/openapi release` keeps its document."""

Network = IPv4Network | IPv6Network

SERVICES = ("locker", "concierto", "coliseum", "mediaid", "cals")
"""Downstream services, each with a PASSPORT_*_URL and a PASSPORT_*_KEY."""

PROCESSES = ("release", "web", "relay", "worker", "clock", "seal")
"""Kinds of processes of the Procfile; `worker` has a line for each latency class."""


def env(name: str, default: Any, doc: str, *, of: str, secret: bool = False) -> Any:
    """Declare a field that the processes `of` read from the environment variable `name`."""
    return field(default=default, metadata={"env": name, "doc": doc, "of": tuple(of.split()), "secret": secret})


ENVIRONMENTS = ("development", "test", "production")


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration of one process."""

    environment: Literal["development", "test", "production"] = env(
        "ENVIRONMENT",
        "development",
        "`development`, `test` or `production`; production refuses to start with weak settings (docs/security.md).",
        of="release web relay worker clock seal",
    )
    database_url: str = env(
        "DATABASE_URL",
        "postgresql://app_web@/companon",
        "Login of the web tier for ordinary requests; may be a transaction pooler.",
        of="web",
        secret=True,
    )
    database_account_url: str = env(
        "DATABASE_ACCOUNT_URL",
        "postgresql://app_account@/companon",
        "Login of the web tier for credentials, sessions and system admins; may be a transaction pooler.",
        of="web",
        secret=True,
    )
    database_scan_url: str = env(
        "DATABASE_SCAN_URL",
        "postgresql://app_scan@/companon",
        "Login of the scan writer, which may call two functions only; may be a transaction pooler.",
        of="web",
        secret=True,
    )
    database_worker_url: str = env(
        "DATABASE_WORKER_URL",
        "postgresql://app_worker@/companon",
        "Login of relay, workers and clock; a session connection (it holds locks), no transaction pooler.",
        of="relay worker clock",
        secret=True,
    )
    database_seal_url: str = env(
        "DATABASE_SEAL_URL",
        "postgresql://app_seal@/companon",
        "Login that seals the audit trail; a session connection, no transaction pooler.",
        of="seal",
        secret=True,
    )
    database_direct_url: str = env(
        "DATABASE_DIRECT_URL",
        "postgresql://postgres@/companon",
        "Login of the owner, for migrations and dumps.",
        of="release",
        secret=True,
    )
    redis_url: str = env(
        "REDIS_URL",
        "redis://127.0.0.1:6379/0",
        "Redis for rate limits, and for job ids if BROKER_URL is empty.",
        of="web relay worker clock",
        secret=True,
    )
    broker_url: str = env(
        "BROKER_URL",
        "",
        "Broker of job ids: `redis://`, `rediss://`, `unix://`, `sentinel://host:port,host:port/service/db` (with"
        " `?sentinel_password=`, `?tls=1`), `amqp://` or `amqps://` (RabbitMQ); REDIS_URL if empty.",
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
        "AUTH_JWKS",
        "",
        "Private ES256 keys of access tokens as a JWK set, the signing key first.",
        of="web",
        secret=True,
    )
    session_idle_days: int = env(
        "SESSION_IDLE_DAYS", 30, "Days without a refresh after which a session ends.", of="web worker"
    )
    session_days: int = env(
        "SESSION_DAYS", 90, "Days after which every session ends, and the person must sign in again.", of="web"
    )
    auth_mode: str = env(
        "AUTH_MODE",
        "own",
        "`own`: this system signs people in; `supabase`: a Supabase project signs people in (docs/auth.md).",
        of="web",
    )
    geocoder: Literal["gazetteer", "nominatim"] = env(
        "GEOCODER",
        "gazetteer",
        "Source of positions of addresses: `gazetteer` (offline, cities only) or `nominatim`.",
        of="web worker",
    )
    geocoder_url: str = env(
        "GEOCODER_URL",
        "",
        "Nominatim server, if `GEOCODER` is `nominatim`; the public one if empty, which allows one request per second.",
        of="worker",
    )
    supabase_url: str = env(
        "SUPABASE_URL", "", "Supabase project that signs people in: `https://<ref>.supabase.co`.", of="web"
    )
    supabase_issuer: str = env(
        "SUPABASE_ISSUER", "", "`iss` of its tokens; `<SUPABASE_URL>/auth/v1` if empty.", of="web"
    )
    supabase_jwks_url: str = env(
        "SUPABASE_JWKS_URL", "", "URL of its public keys; `<SUPABASE_ISSUER>/.well-known/jwks.json` if empty.", of="web"
    )
    supabase_audience: str = env("SUPABASE_AUDIENCE", "authenticated", "`aud` of its tokens.", of="web")
    supabase_jwt_secret: str = env(
        "SUPABASE_JWT_SECRET",
        "",
        "Its legacy JWT secret. Leave it empty to refuse HS256 tokens.",
        of="web",
        secret=True,
    )
    supabase_confirms_email: str = env(
        "SUPABASE_CONFIRMS_EMAIL",
        "no",
        "`yes` if the project confirms addresses before a sign-in: then invitations are accepted by address.",
        of="web",
    )
    audit_checkpoint_url: str = env(
        "AUDIT_CHECKPOINT_URL",
        "file:var/checkpoints",
        "Store of signed audit checkpoints, outside the database: a `file:` folder, `https:` for PUT, or"
        " `s3://bucket/prefix` (docs/audit.md).",
        of="seal",
        secret=True,
    )
    audit_checkpoint_keys: str = env(
        "AUDIT_CHECKPOINT_KEYS",
        "",
        "Ed25519 keys that sign checkpoints, base64url, comma separated, the active one first; derived from SECRET_KEYS"
        " if empty.",
        of="seal",
        secret=True,
    )
    audit_retention_years: int = env(
        "AUDIT_RETENTION_YEARS",
        7,
        "Years after which audit entries are deleted; 0: never.",
        of="seal",
    )
    storage_url: str = env(
        "STORAGE_URL",
        "file:var/assets",
        "Storage of uploaded files: a `file:` folder, or `s3://bucket?endpoint=…&region=…`, for example of Supabase"
        " Storage (docs/assets.md).",
        of="web worker",
    )
    media_url: str = env(
        "MEDIA_URL",
        "",
        "URL under which clients find public files, for example of a CDN in front of `PUBLIC_URL/media`; that one if"
        " empty.",
        of="web",
    )
    public_url: str = env(
        "PUBLIC_URL", "http://127.0.0.1:8000", "URL at which clients reach this API.", of="web worker"
    )
    app_url: str = env(
        "APP_URL", "", "URL of the front end that mails link to; the pages of this API if empty.", of="web worker"
    )
    smtp_url: str = env(
        "SMTP_URL",
        "smtp://127.0.0.1:1025",
        "Mail server: `smtp://` or `smtps://`, with user and password.",
        of="worker",
        secret=True,
    )
    mail_from: str = env("MAIL_FROM", "Compañon <no-reply@companon.example>", "Sender of every mail.", of="worker")
    passport_locker_url: str = env(
        "PASSPORT_LOCKER_URL",
        "",
        "Server of the service locker (reward inventory); the local implementation if empty.",
        of="web worker",
    )
    passport_locker_key: str = env(
        "PASSPORT_LOCKER_KEY",
        "",
        "Key that signs requests to it: `id:base64url` (32 bytes; docs/services/README.md).",
        of="worker",
        secret=True,
    )
    passport_concierto_url: str = env(
        "PASSPORT_CONCIERTO_URL",
        "",
        "Server of the service concierto (events and check-ins); the local implementation if empty.",
        of="web worker",
    )
    passport_concierto_key: str = env(
        "PASSPORT_CONCIERTO_KEY",
        "",
        "Key that signs requests to it: `id:base64url` (32 bytes; docs/services/README.md).",
        of="worker",
        secret=True,
    )
    passport_coliseum_url: str = env(
        "PASSPORT_COLISEUM_URL",
        "",
        "Server of the service coliseum (analytics events); the local implementation if empty.",
        of="web worker",
    )
    passport_coliseum_key: str = env(
        "PASSPORT_COLISEUM_KEY",
        "",
        "Key that signs requests to it: `id:base64url` (32 bytes; docs/services/README.md).",
        of="worker",
        secret=True,
    )
    passport_mediaid_url: str = env(
        "PASSPORT_MEDIAID_URL",
        "",
        "Server of the service mediaid (identities of fans); the local implementation if empty.",
        of="web worker",
    )
    passport_mediaid_key: str = env(
        "PASSPORT_MEDIAID_KEY",
        "",
        "Key that signs requests to it: `id:base64url` (32 bytes; docs/services/README.md).",
        of="worker",
        secret=True,
    )
    passport_cals_url: str = env(
        "PASSPORT_CALS_URL",
        "",
        "Server of the service cals (contacts and activities); the local implementation if empty.",
        of="web worker",
    )
    passport_cals_key: str = env(
        "PASSPORT_CALS_KEY",
        "",
        "Key that signs requests to it: `id:base64url` (32 bytes; docs/services/README.md).",
        of="worker",
        secret=True,
    )
    port: int = env("PORT", 8000, "Port of the web tier.", of="web")
    web_concurrency: int = env("WEB_CONCURRENCY", 2, "Number of gunicorn worker processes.", of="web")
    web_threads: int = env(
        "WEB_THREADS", 8, "Threads (and database connections) for responders of one web process.", of="web"
    )
    web_queue: int = env(
        "WEB_QUEUE", 64, "Requests of one web process that may wait for a thread; more get 503.", of="web"
    )
    slow_threads: int = env(
        "SLOW_THREADS", 2, "Threads of one web process for sign-ins, and as many for new passwords.", of="web"
    )
    worker_processes: int = env(
        "WORKER_PROCESSES", 1, "Number of worker processes for ordinary jobs (queue `default`).", of="worker"
    )
    scan_worker_processes: int = env(
        "SCAN_WORKER_PROCESSES", 1, "Number of worker processes for jobs of scans (queue `scans`).", of="worker"
    )
    outward_worker_processes: int = env(
        "OUTWARD_WORKER_PROCESSES", 1, "Number of worker processes for jobs that call other systems.", of="worker"
    )
    worker_threads: int = env(
        "WORKER_THREADS", 8, "Threads (and database connections) of one worker process.", of="worker"
    )
    worker_drain: float = env(
        "WORKER_DRAIN",
        30.0,
        "Seconds in which running jobs may finish when their worker stops; then they are released.",
        of="worker",
    )
    web_connections: int = env("WEB_CONNECTIONS", 1000, "Maximum of open connections of one web process.", of="web")
    trusted_proxies: int = env("TRUSTED_PROXIES", 0, "Number of proxies that append to X-Forwarded-For.", of="web")
    trusted_proxy_networks: str = env(
        "TRUSTED_PROXY_NETWORKS",
        "",
        "Networks of these proxies, comma separated, e.g. `10.0.0.0/8, 2001:db8::/32`: other"
        " entries of X-Forwarded-For are ignored. If empty, TRUSTED_PROXIES must be exact.",
        of="web",
    )
    allowed_hosts: str = env(
        "ALLOWED_HOSTS",
        "",
        "Host names that requests may use, comma separated. If empty: the one of PUBLIC_URL, in development also the"
        " names of this machine, in tests any.",
        of="web",
    )
    cors_origins: str = env(
        "CORS_ORIGINS", "", "Origins allowed to call the API from a browser, comma separated.", of="web"
    )
    max_body_bytes: int = env("MAX_BODY_BYTES", 262_144, "Maximum size of a request body, in bytes.", of="web")
    metrics_token: str = env(
        "METRICS_TOKEN",
        "",
        "Bearer token for /metrics; if empty, only this machine may read it.",
        of="web",
        secret=True,
    )
    api_key_rate: str = env(
        "API_KEY_RATE",
        "600 per minute",
        "Rate limit of one API key over all endpoints, e.g. `10 per second; 600 per minute`.",
        of="web",
    )
    breached_passwords_url: str = env(
        "BREACHED_PASSWORDS_URL",
        "",
        "Server of breached passwords, which receives a part of the hash: `https://api.pwnedpasswords.com/range` or a"
        " compatible one; no look-up if empty.",
        of="web",
    )
    person_rate: str = env(
        "PERSON_RATE",
        "1200 per minute",
        "Rate limit of one person over all endpoints without a limit of their own; scans are not counted.",
        of="web",
    )
    address_rate: str = env(
        "ADDRESS_RATE",
        "12000 per minute",
        "Rate limit of one address for requests without credentials. A whole stadium may share one address.",
        of="web",
    )
    webhook_concurrency: int = env(
        "WEBHOOK_CONCURRENCY",
        4,
        "Deliveries of webhooks that run at once, in all workers. Fewer than the threads of `worker-outward`: slow"
        " servers of brands leave the others for mails and vendor calls.",
        of="relay worker",
    )
    webhook_local_targets: str = env(
        "WEBHOOK_LOCAL_TARGETS",
        "no",
        "`yes` lets webhook endpoints be `http:` and on this machine (127.0.0.1), for development and tests.",
        of="web worker",
    )
    log_level: str = env("LOG_LEVEL", "INFO", "Python log level of every process.", of="web relay worker clock seal")

    @property
    def transport_url(self) -> str:
        """URL of the broker of job ids."""
        return self.broker_url or self.redis_url

    @property
    def hosts(self) -> frozenset[str]:
        """Host names that requests may use, in lower case and without ports; empty: any name."""
        named = {name.strip().lower() for name in self.allowed_hosts.split(",") if name.strip()}
        if not named and self.environment != "test":
            named = {urlsplit(self.public_url).hostname or ""}
            if self.environment == "development":
                # A page of another origin could resolve its own name to a developer's machine (DNS rebinding).
                named |= {"localhost", "127.0.0.1", "[::1]"}
        return frozenset(named)

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        """Networks of the trusted proxies.

        Raises:
            ValueError: an entry is not a network.
        """
        try:
            return tuple(ip_network(text.strip()) for text in self.trusted_proxy_networks.split(",") if text.strip())
        except ValueError as error:
            raise ValueError(f"TRUSTED_PROXY_NETWORKS: {error}") from None

    @property
    def frontend_url(self) -> str:
        """URL of the pages that mails link to, without a trailing slash."""
        return (self.app_url or self.public_url).rstrip("/")


class InvalidSettings(ValueError):
    """Variables with a value of the wrong type, or one that is not allowed. `faults` has one line for each."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


def load(environ: Mapping[str, str]) -> Settings:
    """Read the settings from `environ`.

    Raises:
        InvalidSettings: names every variable that can't be read, without its value.
    """
    loaded, faults = read(environ)
    if faults:
        raise InvalidSettings(faults.values())
    return loaded


def read(environ: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """Return the settings, and a line for each variable that can't be read. Such a setting has its default."""
    values: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for declared in fields(Settings):
        name: str = declared.metadata["env"]
        kind: type = type(declared.default)
        if name not in environ:
            continue
        try:
            values[declared.name] = kind(environ[name])
        except ValueError:
            faults[name] = f"{name} must be {_KINDS[kind]}"
    if values.get("environment", "test") not in ENVIRONMENTS:
        # A misspelt "production" must not start as development.
        faults["ENVIRONMENT"] = f"ENVIRONMENT must be one of {', '.join(ENVIRONMENTS)}"
        del values["environment"]
    if not all(map(_ORIGIN.fullmatch, _listed(values.get("cors_origins", "")))):
        # No page has such an origin. Browsers would refuse each answer, and nothing would say why.
        faults["CORS_ORIGINS"] = "CORS_ORIGINS must be origins such as http://localhost:3000, separated by commas"
        del values["cors_origins"]
    return Settings(**values), faults


_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9.-]+(:[0-9]+)?|https?://\[[0-9a-f:.]+\](:[0-9]+)?")
"""Origin as browsers send it: scheme, host and port in lower case, no path."""


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


_KINDS = {int: "a whole number", float: "a number"}

SIMILAR = 0.87
"""Similarity (0 to 1, as `difflib` measures it) from which an unknown name counts as a misspelt variable."""


def misspelt(names: Iterable[str]) -> dict[str, str]:
    """Return the names that are no variable of ours but resemble one, each with that variable.

    The rest of the environment (`PATH`, `PGHOST`, variables of the platform) resembles none.
    """
    known = variables()
    suspects = {name: get_close_matches(name.upper(), known, 1, SIMILAR) for name in names if name not in known}
    return {name: close[0] for name, close in sorted(suspects.items()) if close}


def variables(process: str | None = None) -> frozenset[str]:
    """Return the environment variables that a process of the Procfile reads, or all of them."""
    declared = [known.metadata for known in fields(Settings)]
    return frozenset(one["env"] for one in declared if process is None or process in one["of"])


def table() -> str:
    """Return the configuration as a Markdown table."""
    rows = ["| variable | default | read by | meaning |", "| --- | --- | --- | --- |"]
    for declared in fields(Settings):
        default = f"`{declared.default}`" if declared.default != "" else ""
        of = declared.metadata["of"]
        readers = "all" if of == PROCESSES else ", ".join(of)
        rows.append(f"| `{declared.metadata['env']}` | {default} | {readers} | {declared.metadata['doc']} |")
    return "\n".join(rows)


def secrets_table() -> str:
    """Return the secrets of each process as a Markdown table."""
    rows = [f"| secret | {' | '.join(PROCESSES)} |", "| --- |" + " :-: |" * len(PROCESSES)]
    for known in (declared.metadata for declared in fields(Settings) if declared.metadata["secret"]):
        marks = " | ".join("✓" if process in known["of"] else "" for process in PROCESSES)
        rows.append(f"| `{known['env']}` | {marks} |")
    return "\n".join(rows)


if TYPE_CHECKING:
    settings: Settings
    """The settings of this process."""
else:

    def __getattr__(name: str) -> Settings:
        """Read `settings` when it is first imported: `./scripts/settings` reports what can't be read itself."""
        if name != "settings":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            loaded = load(os.environ)
        except InvalidSettings as invalid:
            # No traceback: the operator who misspelt a number has to read one line.
            sys.exit("\n".join(["✗ These settings can't be read:", *(f"  {fault}" for fault in invalid.faults)]))
        globals()["settings"] = loaded
        return loaded


if __name__ == "__main__":
    print(secrets_table() if sys.argv[1:] == ["secrets"] else table())

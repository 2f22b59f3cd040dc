"""Tests of the check of settings before production."""

import base64
import json
from dataclasses import fields, replace
from functools import cache
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from models.operations import settings_check, startup
from models.operations.settings_check import UnfitForProduction, find_faults, require_fit, unused_secrets
from models.operations.settings_check.secrets import randomness, token
from scripts.devstack import procfile, secrets
from scripts.devstack.environment import ROOT
from settings import PROCESSES, Settings, load, settings, variables

COMMANDS = procfile.read(ROOT / "Procfile")
MADE = secrets.make()
PASSWORD = "s3f-kjh4-kjh5-w9q"


def dsn(user, password=PASSWORD):
    return f"postgresql://{user}:{password}@db.internal/companon?sslmode=verify-full"


DSN = dsn("app_web")
METRICS_TOKEN = "5c1d0c8f6be94a07b2ae63f1d9744e20"
FIT = Settings(
    environment="production",
    database_url=DSN,
    database_account_url=dsn("app_account", "rT7-xwq2-Lm4h-v0z"),
    database_scan_url="postgresql:///companon?host=/run/pgbouncer&user=app_scan",
    database_worker_url="host=db.internal user=app_worker password='kq4 Zt8-mwp2-x7d' sslmode=verify-full",
    database_seal_url=dsn("app_seal.project", "Vb3-ncy8-Qe1j-u6k"),
    database_direct_url="postgresql://postgres@db.internal/companon?sslmode=verify-full&sslcert=/run/client.crt",
    redis_url="rediss://:hG5-dlz9-Wr2s-o1m@redis.internal:6380/0",
    broker_url="amqps://companon:Yp6-ftb3-Ka8v-e4c@rabbit.internal/companon",
    secret_keys=MADE.secret_keys,
    audit_checkpoint_url="s3://companon-audit/production?region=eu-central-1&lock_days=3650",
    storage_url="s3://companon-files?endpoint=https://project.storage.supabase.co/storage/v1/s3&region=eu-central-1",
    audit_checkpoint_keys=secrets.make().secret_keys.partition(":")[2],
    auth_jwks=MADE.auth_jwks,
    public_url="https://api.companon.com",
    app_url="https://app.companon.com",
    smtp_url="smtp://mailer:Jx2-hos7-Nd5w-i9r@mail.internal:587",
    mail_from="Compañon <no-reply@companon.com>",
    metrics_token=METRICS_TOKEN,
    trusted_proxies=1,
    cors_origins="https://app.companon.com, https://admin.companon.com:8443",
)
ELSEWHERE = replace(FIT, auth_mode="supabase", auth_jwks="", supabase_url="https://project.supabase.co")
RANDOM = "fQ2vX7pL4zR6wB1kT9mN3cJ8hG5dSyWa"


@pytest.fixture(autouse=True, scope="module")
def cached_checks():
    """Check each password and each broker URL once: most cases change another setting."""
    broker = settings_check.urls._SCHEMES["BROKER_URL"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(broker, "amqps", cache(broker["amqps"]))
        patch.setattr(settings_check.secrets, "password", cache(settings_check.secrets.password))
        yield


def reads(process, name):
    """Return whether a process reads a setting. With a broker, Redis has limits and health of services."""
    return process in ("web", "worker") if name == "redis_url" else name.upper() in variables(process)


def test_fit_settings_are_accepted_for_each_process():
    for process in PROCESSES:
        assert list(find_faults(FIT, process)) == []
        require_fit(FIT, process)


def test_process_needs_no_setting_that_it_does_not_read(caplog):
    for process in PROCESSES:
        own = {one.name: getattr(FIT, one.name) for one in fields(Settings) if reads(process, one.name)}

        require_fit(Settings(**own), process)
        startup.announce(Settings(**own), process)

        assert caplog.text == "", process


def test_unused_secrets_of_a_process_are_logged_by_name(caplog):
    startup.announce(FIT, "relay")

    assert unused_secrets(FIT, "relay") == [
        "DATABASE_URL",
        "DATABASE_ACCOUNT_URL",
        "DATABASE_SCAN_URL",
        "DATABASE_SEAL_URL",
        "DATABASE_DIRECT_URL",
        "REDIS_URL",
        "SECRET_KEYS",
        "AUTH_JWKS",
        "AUDIT_CHECKPOINT_URL",
        "AUDIT_CHECKPOINT_KEYS",
        "SMTP_URL",
        "METRICS_TOKEN",
    ]
    assert "relay does not use DATABASE_URL, DATABASE_ACCOUNT_URL, " in caplog.text
    assert PASSWORD not in caplog.text


def test_processes_are_those_of_the_procfile():
    assert tuple(dict.fromkeys(map(procfile.kind_of, COMMANDS))) == PROCESSES


def test_supabase_mode_needs_no_signing_key():
    elsewhere = replace(FIT, auth_mode="supabase", auth_jwks="", supabase_url="http://x.example")
    named = " ".join(find_faults(elsewhere, "web"))

    assert "AUTH_JWKS" not in named
    assert "SUPABASE_URL" in named


def test_development_settings_are_not_checked():
    assert list(find_faults(replace(FIT, secret_keys=""), "web")) != []
    require_fit(replace(FIT, environment="development", secret_keys=""), "web")
    require_fit(settings, "web")


def changed(**key):
    document = json.loads(MADE.auth_jwks)
    document["keys"][0] |= key
    return json.dumps(document)


def key_of(number):
    """Return a private key with this number, as a JWK."""
    numbers = ec.derive_private_key(number, ec.SECP256R1()).public_key().public_numbers()
    x, y, d = (
        base64.urlsafe_b64encode(part.to_bytes(32, "big")).rstrip(b"=").decode()
        for part in (numbers.x, numbers.y, number)
    )
    return {"kty": "EC", "crv": "P-256", "kid": "known", "x": x, "y": y, "d": d}


def key_set(*keys):
    return json.dumps({"keys": keys})


OWN_KEY = json.loads(MADE.auth_jwks)["keys"][0]
OTHER_KEY = json.loads(secrets.make().auth_jwks)["keys"][0]
OWN_ROOT = MADE.secret_keys.partition(":")[2]
OTHER_ROOT = secrets.new_root()
REDIS = FIT.redis_url
BROKER = FIT.broker_url


def test_supabase_mode_needs_the_address_of_the_project():
    elsewhere = replace(FIT, auth_mode="supabase", auth_jwks="", supabase_url="https://project.supabase.co")
    require_fit(elsewhere, "web")

    assert [line.split()[0] for line in find_faults(replace(elsewhere, supabase_url=""), "web")] == ["SUPABASE_URL"]


UNFIT = [
    ("database_url", "postgresql://app_web@/companon"),
    ("database_url", "postgresql:///companon?user=app"),
    ("database_url", DSN.replace("?sslmode=verify-full", "")),
    ("database_url", DSN.replace("verify-full", "verify-ca")),
    ("database_url", DSN.replace("verify-full", "require")),
    ("database_url", DSN.replace(PASSWORD, "postgres")),
    ("database_url", DSN.replace(":" + PASSWORD, "")),
    ("database_url", DSN.replace("db.internal", "127.0.0.1").replace("verify-full", "disable")),
    ("database_url", "mysql://x"),
    ("database_account_url", DSN.replace("verify-full", "prefer")),
    ("database_scan_url", "postgresql:///x?host=/run/pgbouncer,db.internal&user=app_scan"),
    ("database_worker_url", "host=db.internal user=app sslmode=verify-full sslnonsense=1"),
    ("database_direct_url", "postgresql://postgres@/companon"),
    ("redis_url", "redis://127.0.0.1:6379/0"),
    ("redis_url", f"redis://:{PASSWORD}@redis.internal/0"),
    ("redis_url", "rediss://redis.internal/0"),
    ("redis_url", f"rediss://:{PASSWORD}@redis.internal/0?ssl_cert_reqs=none"),
    ("redis_url", f"rediss://:{PASSWORD}@redis.internal/0?ssl_check_hostname=false"),
    ("broker_url", f"amqp://companon:{PASSWORD}@rabbit.internal/"),
    ("broker_url", "amqps://guest:guest@rabbit.internal/"),
    ("broker_url", f"amqps://companon:{PASSWORD}@rabbit.internal/?ssl_options=%7B%27protocol%27%3A2%7D"),
    ("broker_url", f"sentinel://:{PASSWORD}@a:1,b:2/main/0"),
    # Parameters that replace the server or weaken TLS.
    ("database_url", "host=/run/postgresql hostaddr=10.0.0.9 user=app_web sslmode=disable"),
    ("database_url", DSN + "&hostaddr=10.0.0.9"),
    ("database_url", DSN + "&service=elsewhere"),
    ("database_url", DSN + "&sslmode=verify-full"),
    ("database_url", f"host=a host=db.internal user=app_web password={PASSWORD} sslmode=verify-full"),
    ("database_url", DSN + "&ssl_min_protocol_version=TLSv1"),
    ("database_url", DSN + "&gssencmode=prefer"),
    ("database_url", DSN.replace("app_web", "")),
    ("database_url", DSN.replace("app_web", "postgres")),
    ("database_url", DSN.replace("app_web", "postgres.project")),
    ("database_scan_url", "postgresql:///companon?host=/run/postgresql&user=supabase_admin"),
    ("redis_url", REDIS + "?ssl_cert_reqs=none&ssl_cert_reqs=required"),
    ("redis_url", REDIS + "?ssl_check_hostname=false&ssl_check_hostname=true"),
    ("redis_url", REDIS + "?ssl_check_hostname=no"),
    ("redis_url", REDIS + "?ssl_cert_reqs=optional"),
    ("redis_url", REDIS + "?ssl_ciphers=NULL"),
    ("redis_url", "unix://"),
    ("redis_url", "rediss:"),
    ("redis_url", BROKER),
    ("redis_url", REDIS.replace("6380", "port")),
    ("broker_url", "amqps:"),
    ("broker_url", BROKER.replace("companon:Yp6-ftb3-Ka8v-e4c@", "")),
    ("broker_url", BROKER + "?ssl_options=%7B%27verify%27%3A0%7D&ssl_options=%7B%7D"),
    ("broker_url", "sentinel://:Yp6-ftb3-Ka8v-e4c@a:1,b:2/main/0?tls=1&tls=0"),
    ("broker_url", "sentinel://:Yp6-ftb3-Ka8v-e4c@a:1,b:2/main/0?tls=0&tls=1"),
    ("broker_url", "sentinel://:Yp6-ftb3-Ka8v-e4c@a:1,b:2/main/0?tls=1&sentinel_password=short"),
    # Schemes of other variables.
    *(
        (name, url)
        for name in ("redis_url", "broker_url", "smtp_url", "public_url", "app_url", "audit_checkpoint_url")
        for url in ("ftp://x.internal", "file:", "redis:", "http:")
    ),
    ("redis_url", "https://redis.internal"),
    ("broker_url", "smtp:"),
    ("smtp_url", "https://mail.internal"),
    ("smtp_url", "smtp:"),
    ("public_url", "rediss://api.companon.com"),
    ("public_url", "smtp://api.companon.com"),
    ("public_url", "https:"),
    ("public_url", "https://user:x@api.companon.com"),
    ("public_url", "https://api.companon.com?x=1"),
    ("app_url", "s3://app"),
    ("audit_checkpoint_url", "smtp:"),
    ("audit_checkpoint_url", "https:"),
    ("audit_checkpoint_url", "https://user:password@checkpoints.internal"),
    ("audit_checkpoint_url", "s3://bucket"),
    ("audit_checkpoint_url", "s3://bucket?lock_days=0"),
    ("audit_checkpoint_url", "s3://bucket?lock_days=many"),
    ("audit_checkpoint_url", "s3://bucket?lock_days=1&lock_days=0"),
    ("audit_checkpoint_url", "s3://bucket?lock_days=0&lock_days=1"),
    ("audit_checkpoint_url", "s3://bucket?lock_days=1&verify=no"),
    ("breached_passwords_url", "http://api.pwnedpasswords.com/range"),
    # Published secrets and secrets that are easy to guess.
    ("supabase_jwt_secret", "your-super-secret-jwt-token-with-at-least-32-characters-long"),
    ("supabase_jwt_secret", "super-secret-jwt-token-with-at-least-32-characters-long"),
    ("supabase_jwt_secret", "a" * 32),
    ("supabase_jwt_secret", "abcdefghij" * 4),
    ("supabase_jwt_secret", "0123456789abcdefghijklmnopqrstuv"),
    ("supabase_jwt_secret", "correct horse battery staple and so on"),
    ("metrics_token", "m" * 32),
    ("metrics_token", "0123" * 8),
    ("smtp_url", "smtp://mailer:passwordpassword@mail.internal"),
    ("redis_url", "rediss://:companoncompanon1@redis.internal"),
    ("broker_url", "amqps://companon:rabbitmq2026@rabbit.internal"),
    ("database_url", DSN.replace(PASSWORD, "aaaaaaaaaaaaaaaa")),
    ("secret_keys", f"1:{OWN_ROOT},1:{OTHER_ROOT}"),
    ("secret_keys", f"01:{OWN_ROOT},1:{OTHER_ROOT}"),
    ("secret_keys", f"-1:{OWN_ROOT}"),
    ("secret_keys", "1:" + base64.urlsafe_b64encode(bytes(range(16)) * 2).decode()),
    ("secret_keys", "1:" + base64.urlsafe_b64encode(bytes(range(32))).decode()),
    ("audit_checkpoint_keys", base64.urlsafe_b64encode(bytes(range(255, 0, -8))).decode()),
    ("audit_checkpoint_keys", f"{OTHER_ROOT},{OTHER_ROOT}"),
    ("audit_checkpoint_keys", OTHER_ROOT + OWN_ROOT[:4]),
    ("auth_jwks", key_set(key_of(1))),
    ("auth_jwks", key_set(key_of(2**255))),
    ("auth_jwks", key_set(OWN_KEY, OWN_KEY)),
    ("auth_jwks", key_set(OWN_KEY, OTHER_KEY | {"kid": OWN_KEY["kid"]})),
    ("auth_jwks", key_set(OWN_KEY, OWN_KEY | {"kid": "another"})),
    ("auth_jwks", changed(d=OTHER_KEY["d"])),
    ("auth_jwks", changed(d="")),
    # Values out of range.
    ("auth_mode", "supabse"),
    ("auth_mode", ""),
    ("supabase_confirms_email", "Yes"),
    ("supabase_audience", ""),
    ("log_level", "NOTSET"),
    ("log_level", "debug"),
    ("log_level", "TRACE"),
    ("log_level", ""),
    ("allowed_hosts", "*"),
    ("allowed_hosts", "api.companon.com, *.companon.com"),
    ("allowed_hosts", "https://api.companon.com"),
    ("allowed_hosts", "api.companon.com:443"),
    ("api_key_rate", ""),
    ("person_rate", "0 per minute"),
    ("address_rate", ""),
    ("address_rate", "1000000000 per second"),
    ("address_rate", "many"),
    ("session_idle_days", -1),
    ("session_idle_days", 366),
    ("session_days", 0),
    ("web_connections", 0),
    ("web_queue", -1),
    ("web_threads", 0),
    ("webhook_concurrency", 0),
    ("webhook_local_targets", "yes"),
    ("webhook_local_targets", ""),
    ("web_concurrency", 0),
    ("slow_threads", 0),
    ("port", 0),
    ("max_body_bytes", 0),
    ("max_body_bytes", 10**12),
    ("worker_threads", -1),
    ("worker_processes", 0),
    ("passport_locker_key", "no key"),
    ("passport_locker_key", "a:" + base64.urlsafe_b64encode(bytes(16)).decode()),
    ("worker_drain", float("nan")),
    ("audit_retention_years", 1000),
    ("secret_keys", ""),
    ("secret_keys", "1:"),
    ("secret_keys", "not base64!"),
    ("secret_keys", "x:" + MADE.secret_keys.partition(":")[2]),
    ("secret_keys", "1:" + "A" * 43),
    ("secret_keys", "1:" + MADE.secret_keys.partition(":")[2][:40]),
    ("secret_keys", "1:Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSBhbmQgc28gb24"),
    ("secret_keys", f"2:{MADE.secret_keys.partition(':')[2]},{MADE.secret_keys}"),
    ("audit_checkpoint_url", "file:var/checkpoints"),
    ("audit_checkpoint_url", "file:checkpoints"),
    ("audit_checkpoint_url", "file:///mnt/checkpoints"),
    ("audit_checkpoint_url", "/mnt/checkpoints"),
    ("audit_checkpoint_url", ""),
    ("storage_url", "file:var/assets"),
    ("storage_url", "file:relative"),
    ("storage_url", "file://host/mnt/assets"),
    ("storage_url", "https://files.internal"),
    ("storage_url", "s3:///no-bucket"),
    ("storage_url", "s3://files?endpoint=http://minio.internal"),
    ("storage_url", "s3://files?lock_days=1"),
    ("media_url", "http://cdn.example"),
    ("audit_checkpoint_url", "s3:///no-bucket"),
    ("audit_checkpoint_url", "s3://bucket?endpoint=http://minio.internal"),
    ("audit_checkpoint_keys", ""),
    ("audit_retention_years", -1),
    ("audit_checkpoint_url", "http://checkpoints.internal/"),
    ("audit_checkpoint_keys", "A" * 43),
    ("audit_checkpoint_keys", "short"),
    ("auth_jwks", ""),
    ("auth_jwks", "{"),
    ("auth_jwks", '{"keys": []}'),
    ("auth_jwks", changed(kty="RSA")),
    ("auth_jwks", changed(crv="P-384")),
    ("auth_jwks", changed(d="870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE")),
    ("public_url", "http://127.0.0.1:8000"),
    ("public_url", "http://api.companon.com"),
    ("app_url", "http://app.companon.com"),
    ("supabase_url", "http://project.supabase.co"),
    ("supabase_issuer", "http://project.supabase.co/auth/v1"),
    ("supabase_jwks_url", "http://project.supabase.co/keys"),
    ("supabase_jwt_secret", "your-jwt-secret"),
    ("smtp_url", "smtp://127.0.0.1:1025"),
    ("smtp_url", "smtp://mailer:secret@mail.internal:587"),
    ("mail_from", Settings().mail_from),
    ("mail_from", "Compañon"),
    ("metrics_token", ""),
    ("metrics_token", "short"),
    ("trusted_proxies", 0),
    ("trusted_proxies", 99),
    ("trusted_proxy_networks", "10.0.0.1/8"),
    ("trusted_proxy_networks", "proxy.internal"),
    ("trusted_proxy_networks", "10.0.0.0/8, ::/0"),
    ("cors_origins", "*"),
    ("cors_origins", "https://app.companon.com, http://localhost:3000"),
    ("cors_origins", "https://*.companon.com"),
    ("cors_origins", "https://app.companon.com/"),
    ("cors_origins", "null"),
    ("log_level", "DEBUG"),
]


UNFIT_TOGETHER = [
    ("web", {"database_account_url": DSN}),
    ("web", {"database_account_url": dsn("app_web", "rT7-xwq2-Lm4h-v0z")}),
    ("web", {"database_scan_url": "postgresql:///companon?host=/run/pgbouncer&user=app_web.project"}),
    ("web", {"database_account_url": dsn("app_account")}),
    ("seal", {"audit_checkpoint_keys": OWN_ROOT}),
    ("seal", {"audit_checkpoint_keys": f"{OTHER_ROOT},{OWN_ROOT}"}),
    ("web", {"metrics_token": OWN_ROOT}),
    ("web", {"auth_jwks": key_set(OWN_KEY), "secret_keys": "1:" + OWN_KEY["d"]}),
    ("worker", {"smtp_url": "smtp://mailer:Yp6-ftb3-Ka8v-e4c@mail.internal:587"}),
    (
        "worker",
        {"broker_url": f"rediss://:{PASSWORD}@a.internal", "smtp_url": f"smtp://mailer:{PASSWORD}@mail.internal"},
    ),
    ("web", {"session_idle_days": 30, "session_days": 7}),
    ("web", {"auth_mode": "supabase", "supabase_jwt_secret": METRICS_TOKEN, "supabase_url": "https://a.supabase.co"}),
    ("web", {"supabase_url": "https://a.supabase.co", "supabase_issuer": "https://b.supabase.co/auth/v1"}),
]


def test_settings_that_contradict_each_other_are_unfit():
    for process, changes in UNFIT_TOGETHER:
        (fault,) = find_faults(replace(FIT, **changes), process)

        assert fault.split()[0] in {
            name.upper() for name in {*changes, "database_scan_url", "redis_url", "secret_keys", "metrics_token"}
        }
        assert not any(str(value) in fault for value in changes.values())


ALSO_FIT = [
    {"broker_url": REDIS},
    {"broker_url": "sentinel://:Yp6-ftb3-Ka8v-e4c@a:1,b:2/main/0?tls=1&sentinel_password=rT7-xwq2-Lm4h-v0z"},
    {"redis_url": "unix:///run/redis.sock?db=1"},
    {"redis_url": REDIS + "?ssl_cert_reqs=required&ssl_check_hostname=true&ssl_ca_certs=/run/ca.pem"},
    {"database_url": DSN + "&connect_timeout=5"},
    {"database_url": DSN.replace("app_web", "app_web.project")},
    {"smtp_url": "smtps://relay.internal"},
    {"audit_checkpoint_url": f"https://writer:{RANDOM}@checkpoints.internal/audit"},
    {"audit_checkpoint_url": "s3://bucket?endpoint=https://minio.internal&lock_days=1"},
    {"secret_keys": f"2:{OTHER_ROOT},{MADE.secret_keys}"},
    {"auth_jwks": key_set(OWN_KEY, OTHER_KEY)},
    {"allowed_hosts": "api.companon.com, 10.0.0.7"},
    {"web_queue": 0},
    {"address_rate": "10 per second; 600 per minute"},
    {"log_level": "warning"},
    {"breached_passwords_url": "https://api.pwnedpasswords.com/range"},
    {"metrics_token": RANDOM},
]


def test_settings_within_the_rules_are_fit():
    for changes in ALSO_FIT:
        for process in PROCESSES:
            assert list(find_faults(replace(FIT, **changes), process)) == [], changes


def test_legacy_secret_that_is_random_is_fit():
    require_fit(
        replace(ELSEWHERE, supabase_jwt_secret=RANDOM, supabase_issuer="https://project.supabase.co/auth/v1"), "web"
    )


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**32))
def test_random_secrets_are_fit_and_text_is_not(raw, seed):
    drawn = Random(seed).randbytes(32)

    assert randomness(drawn) is None
    assert token(drawn.hex()) is None
    assert randomness(raw[:16] * 2)
    assert randomness(base64.b64encode(raw)[:32])


@pytest.mark.parametrize(
    "name", ["PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGGSSENCMODE", "PGSSLMINPROTOCOLVERSION"]
)
def test_variable_that_redirects_libpq_is_unfit(monkeypatch, name):
    monkeypatch.setenv(name, "10.0.0.9")

    with pytest.raises(UnfitForProduction, match=name) as refused:
        require_fit(FIT, "relay")

    assert "10.0.0.9" not in str(refused.value)


def test_unfit_setting_is_reported_without_its_value():
    for number, (name, value) in enumerate(UNFIT):
        unfit = replace(FIT, **{name: value})
        readers = [process for process in PROCESSES if reads(process, name)]
        assert readers
        for process in PROCESSES:
            faults = list(find_faults(unfit, process))
            assert [fault.split()[0] for fault in faults] == [name.upper()] * (process in readers), (number, name)
            assert not any(PASSWORD in fault or (value and str(value) in fault) for fault in faults), (number, name)


def test_unfit_settings_end_the_process_with_their_faults():
    for process in PROCESSES:
        with pytest.raises(UnfitForProduction) as refused:
            require_fit(Settings(environment="production"), process)

        assert str(refused.value).splitlines()[1:] == list(find_faults(Settings(environment="production"), process))


def test_several_proxies_without_their_networks_are_unfit():
    assert not list(find_faults(replace(FIT, trusted_proxies=2, trusted_proxy_networks="10.0.0.0/8, fd00::/8"), "web"))

    (fault,) = find_faults(replace(FIT, trusted_proxies=2), "web")
    assert fault.startswith("  TRUSTED_PROXY_NETWORKS is missing")


def test_all_missing_settings_are_reported_at_once():
    nothing = Settings(environment="production")
    named = {process: {line.split()[0] for line in find_faults(nothing, process)} for process in PROCESSES}

    web = {"DATABASE_URL", "DATABASE_ACCOUNT_URL", "DATABASE_SCAN_URL", "REDIS_URL", "SECRET_KEYS", "AUTH_JWKS"}
    assert named == {
        "release": {"DATABASE_DIRECT_URL"},
        "web": web | {"PUBLIC_URL", "METRICS_TOKEN", "STORAGE_URL", "TRUSTED_PROXIES"},
        "relay": {"DATABASE_WORKER_URL", "REDIS_URL"},
        "worker": {"DATABASE_WORKER_URL", "REDIS_URL", "SECRET_KEYS"}
        | {"PUBLIC_URL", "SMTP_URL", "MAIL_FROM", "STORAGE_URL"},
        "clock": {"DATABASE_WORKER_URL", "REDIS_URL"},
        "seal": {"DATABASE_SEAL_URL", "SECRET_KEYS", "AUDIT_CHECKPOINT_URL", "AUDIT_CHECKPOINT_KEYS"},
    }


def test_service_over_http_needs_tls_and_a_key():
    routed = replace(FIT, passport_locker_url="http://locker.internal")

    assert [fault.split()[0] for fault in find_faults(routed, "web")] == ["PASSPORT_LOCKER_URL"]
    assert [line.split()[0] for line in find_faults(routed, "worker")] == ["PASSPORT_LOCKER_URL", "PASSPORT_LOCKER_KEY"]


def test_misspelt_environment_is_refused():
    with pytest.raises(ValueError, match="ENVIRONMENT"):
        load({"ENVIRONMENT": "prod"})


def test_value_of_wrong_type_is_not_shown():
    with pytest.raises(ValueError, match="PORT") as refused:
        load({"PORT": "s3cret"})

    assert "s3cret" not in str(refused.value)

"""Production starts with settings that are fit for it, and with no others."""

import json
import os
import subprocess
from dataclasses import replace

import pytest

from models.production import UnfitForProduction, require_fit, shortcomings
from scripts.setup import procfile, secrets
from scripts.setup.environment import ROOT, VENV
from settings import Settings, load, settings

MADE = secrets.make()
PASSWORD = "s3f-kjh4-kjh5"
DSN = f"postgresql://app:{PASSWORD}@db.internal/companon?sslmode=verify-full"
FIT = Settings(
    environment="production",
    database_url=DSN,
    database_admin_url=DSN,
    database_scan_url="postgresql:///companon?host=/run/pgbouncer&user=app_scan",
    database_worker_url=f"host=db.internal user=app password={PASSWORD} sslmode=verify-full",
    database_direct_url="postgresql://postgres@db.internal/companon?sslmode=verify-full&sslcert=/run/client.crt",
    redis_url=f"rediss://:{PASSWORD}@redis.internal:6380/0",
    broker_url=f"amqps://companon:{PASSWORD}@rabbit.internal/companon",
    secret_keys=MADE.secret_keys,
    audit_checkpoint_url="s3://companon-audit/production?region=eu-central-1&lock_days=3650",
    audit_checkpoint_keys=secrets.make().secret_keys.partition(":")[2],
    auth_jwks=MADE.auth_jwks,
    public_url="https://api.companon.com",
    app_url="https://app.companon.com",
    smtp_url=f"smtp://mailer:{PASSWORD}@mail.internal:587",
    mail_from="Compañon <no-reply@companon.com>",
    metrics_token="m" * 32,
    trusted_proxies=1,
    cors_origins="https://app.companon.com, https://admin.companon.com:8443",
)


def test_what_is_fit_is_let_through():
    assert list(shortcomings(FIT)) == []
    require_fit(FIT)


def test_where_supabase_signs_people_in_no_key_of_ours_is_asked_for():
    named = " ".join(shortcomings(replace(FIT, auth_mode="supabase", auth_jwks="", supabase_url="http://x.example")))

    assert "AUTH_JWKS" not in named
    assert "SUPABASE_URL" in named


def test_nothing_is_asked_of_development_and_tests():
    assert list(shortcomings(replace(FIT, secret_keys=""))) != []
    require_fit(replace(FIT, environment="development", secret_keys=""))
    require_fit(settings)


def changed(**key):
    document = json.loads(MADE.auth_jwks)
    document["keys"][0] |= key
    return json.dumps(document)


def test_where_supabase_signs_people_in_its_address_is_needed_and_keys_of_ours_are_not():
    elsewhere = replace(FIT, auth_mode="supabase", auth_jwks="", supabase_url="https://project.supabase.co")
    require_fit(elsewhere)

    assert [line.split()[0] for line in shortcomings(replace(elsewhere, supabase_url=""))] == ["SUPABASE_URL"]


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
    ("database_admin_url", DSN.replace("verify-full", "prefer")),
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
    ("metrics_token", ""),
    ("metrics_token", "short"),
    ("trusted_proxies", 0),
    ("cors_origins", "*"),
    ("cors_origins", "https://app.companon.com, http://localhost:3000"),
    ("cors_origins", "https://*.companon.com"),
    ("cors_origins", "https://app.companon.com/"),
    ("cors_origins", "null"),
    ("log_level", "DEBUG"),
]


@pytest.mark.parametrize(("name", "value"), UNFIT, ids=[f"{name}-{number}" for number, (name, _) in enumerate(UNFIT)])
def test_what_is_not_fit_is_named_without_its_value(name, value):
    with pytest.raises(UnfitForProduction) as refused:
        require_fit(replace(FIT, **{name: value}))

    said = str(refused.value).splitlines()
    assert len(said) == 2
    assert said[1].startswith(f"  {name.upper()} ")
    assert PASSWORD not in said[1]
    assert not value or str(value) not in said[1]


def test_everything_that_is_wrong_is_said_at_once():
    named = {line.split()[0] for line in shortcomings(Settings(environment="production"))}

    assert named >= {"DATABASE_URL", "REDIS_URL", "SECRET_KEYS", "AUTH_JWKS", "PUBLIC_URL", "SMTP_URL", "METRICS_TOKEN"}


def test_a_misspelt_environment_is_not_taken_for_development():
    with pytest.raises(ValueError, match="ENVIRONMENT"):
        load({"ENVIRONMENT": "prod"})


def test_a_value_of_the_wrong_type_is_not_repeated():
    with pytest.raises(ValueError, match="PORT") as refused:
        load({"PORT": "s3cret"})

    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("name", procfile.read(ROOT / "Procfile"))
def test_no_process_starts_with_settings_that_are_not_fit(name):
    environment = os.environ | {"ENVIRONMENT": "production", "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}"}
    argv = procfile.argv(procfile.read(ROOT / "Procfile")[name])

    ended = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode != 0
    assert "  PUBLIC_URL is still that of development" in ended.stderr
    assert "Traceback" not in ended.stderr

"""Tests of TLS to each dependency: without a certificate of a trusted authority for the host, nothing is sent.

Each dependency is a real server with a certificate for `localhost`. The tests connect to that name, which works; to
`127.0.0.1`, which is not in the certificate; and with another trusted authority.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import psycopg2
import pytest
import redis
from pika.exceptions import AMQPError
from redis.sentinel import MasterNotFoundError

from jobs.audit.stores import by_url
from jobs.mail import smtp
from models.core import _connection, database
from models.identity import jwks
from models.identity.jwks import RemoteKeys
from models.jobs import brokers
from scripts.devstack import sockets
from settings import settings
from tests.support.authority import Authority, Certificate
from tests.support.encrypted import EncryptedPostgres, EncryptedRedis, HttpServer, listening, mail_server
from web.http import rate_limits
from web.http.rate_limits import RateLimiter, parse_rate

GOOD = ("localhost", "ours")
REFUSED = [
    pytest.param("127.0.0.1", "ours", id="another host"),
    pytest.param("localhost", "other", id="unknown authority"),
]


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Authority]:
    """Return the authority of the servers, and another one."""
    folder = tmp_path_factory.mktemp("authorities")
    return {name: Authority(folder, name) for name in ("ours", "other")}


@pytest.fixture(scope="module")
def certificate(authorities: dict[str, Authority]) -> Certificate:
    """Return the certificate of all servers."""
    return authorities["ours"].certify("localhost")


@pytest.fixture
def trusting(authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return `trusting("ours")`: it trusts this authority only and returns the file of its certificate."""

    def trust(name: str) -> str:
        monkeypatch.setenv("SSL_CERT_FILE", str(authorities[name].root))
        monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
        return str(authorities[name].root)

    return trust


@pytest.fixture(scope="module")
def encrypted_postgres(throwaway: Any, certificate: Certificate) -> Iterator[EncryptedPostgres]:
    """Run PostgreSQL with `ssl=on`."""
    server = EncryptedPostgres(throwaway.base / f"tls-{throwaway.worker}", certificate)
    server.start()
    yield server
    server.stop()
    sockets.remove(server.socket_dir)


def connected(monkeypatch: pytest.MonkeyPatch, port: int, host: str, root: str) -> Any:
    url = f"postgresql://supabase_admin@{host}:{port}/postgres?sslmode=verify-full&sslrootcert={quote(root)}"
    monkeypatch.setattr(_connection, "settings", replace(settings, database_url=url))
    return closing(database.connect("web"))


def test_connection_to_postgresql_with_valid_certificate_works(encrypted_postgres, trusting, monkeypatch):
    host, authority = GOOD
    with connected(monkeypatch, encrypted_postgres.port, host, trusting(authority)) as made, made.cursor() as cursor:
        cursor.execute("select ssl, version from pg_stat_ssl where pid = pg_backend_pid()")
        assert cursor.fetchone() == (True, "TLSv1.3")


@pytest.mark.parametrize(("host", "authority"), REFUSED)
def test_connection_to_postgresql_with_other_certificate_fails(
    encrypted_postgres, trusting, monkeypatch, host, authority
):
    with pytest.raises(psycopg2.OperationalError, match=r"does not match host name|certificate verify failed"):
        connected(monkeypatch, encrypted_postgres.port, host, trusting(authority))


def test_postgresql_without_tls_receives_no_login(trusting, monkeypatch):
    received = []

    def answer(client: socket.socket) -> None:
        received.append(client.recv(1024))
        client.sendall(b"N")  # response of a PostgreSQL without TLS to SSLRequest
        received.append(client.recv(1024))

    with (
        listening(answer) as port,
        pytest.raises(psycopg2.OperationalError, match="does not support SSL"),
    ):
        connected(monkeypatch, port, "localhost", trusting("ours"))

    assert received == [bytes.fromhex("0000000804d2162f"), b""]


@pytest.fixture(scope="module")
def encrypted_redis(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[EncryptedRedis]:
    """Run Redis with a port for TLS."""
    server = EncryptedRedis(tmp_path_factory.mktemp("redis"), certificate)
    server.start()
    yield server
    server.stop()


def redis_at(url: str) -> redis.Redis:
    return brokers.redis_client(url, patience=20, connect_patience=20)


def test_connection_to_redis_with_valid_certificate_works(encrypted_redis, trusting):
    host, authority = GOOD
    trusting(authority)

    assert redis_at(f"rediss://{host}:{encrypted_redis.port}/0").ping()


def test_url_of_redis_may_name_the_authority(encrypted_redis, trusting, authorities):
    trusting("other")

    assert redis_at(f"rediss://localhost:{encrypted_redis.port}/0?ssl_ca_certs={authorities['ours'].root}").ping()


@pytest.mark.parametrize(("host", "authority"), REFUSED)
def test_connection_to_redis_with_other_certificate_fails(encrypted_redis, trusting, host, authority):
    trusting(authority)

    with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        redis_at(f"rediss://{host}:{encrypted_redis.port}/0").ping()


@pytest.mark.parametrize(("host", "authority"), REFUSED)
def test_connection_to_sentinel_with_other_certificate_fails(encrypted_redis, trusting, host, authority):
    trusting(authority)

    with pytest.raises(MasterNotFoundError, match="network:ConnectionError"):
        redis_at(f"sentinel://{host}:{encrypted_redis.port}/companon/0?tls=1").ping()


def test_connection_to_sentinel_with_valid_certificate_works(encrypted_redis, trusting):
    host, authority = GOOD
    trusting(authority)

    # The server is no Sentinel. Its error response shows that the connection works.
    with pytest.raises(redis.ResponseError, match=r"(?i)unknown command.*sentinel"):
        redis_at(f"sentinel://{host}:{encrypted_redis.port}/companon/0?tls=1").ping()


@pytest.mark.parametrize(("host", "authority", "counted"), [(*GOOD, 1), *[(*case.values, 0) for case in REFUSED]])
def test_rate_limits_use_redis_with_valid_certificate_only(
    encrypted_redis, trusting, monkeypatch, host, authority, counted
):
    trusting(authority)
    monkeypatch.setattr(rate_limits, "REDIS_TIMEOUT", 20.0)
    server = redis.Redis.from_url(encrypted_redis.url)
    server.flushall()

    asyncio.run(RateLimiter(f"rediss://{host}:{encrypted_redis.port}/0").take(parse_rate("things", "5/hour"), "ann"))

    assert len(server.keys("limits*")) == counted


@pytest.mark.parametrize(
    ("host", "authority", "has_handshake"), [(*GOOD, True), *[(*case.values, False) for case in REFUSED]]
)
def test_rabbitmq_with_other_certificate_receives_no_login(certificate, trusting, host, authority, has_handshake):
    trusting(authority)
    received = []

    def answer(client: socket.socket) -> None:
        try:
            with certificate.context().wrap_socket(client, server_side=True) as encrypted:
                received.append(encrypted.recv(4))
        except OSError as error:
            received.append(type(error))

    with listening(answer) as port, pytest.raises((AMQPError, OSError)):
        brokers.amqp_connection(f"amqps://companon:secret@{host}:{port}/companon", patience=20)

    assert (received == [b"AMQP"]) is has_handshake


def send_mail(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(smtp, "settings", replace(settings, environment="production", smtp_url=url))
    monkeypatch.setattr(smtp, "TIMEOUT", 20.0)
    smtp.send(smtp.Mail("no-reply@people.example", "ana@people.example", b"Subject: hello\r\n\r\nhello\r\n"))


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_mail_server_with_valid_certificate_receives_mail(certificate, trusting, monkeypatch, scheme):
    host, authority = GOOD
    trusting(authority)

    with mail_server(certificate, scheme) as (mailbox, port):
        send_mail(monkeypatch, f"{scheme}://mailer:secret@{host}:{port}")

    assert mailbox.heard == ["password", "message"]


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
@pytest.mark.parametrize(("host", "authority"), REFUSED)
def test_mail_server_with_other_certificate_receives_nothing(
    certificate, trusting, monkeypatch, scheme, host, authority
):
    trusting(authority)

    with mail_server(certificate, scheme) as (mailbox, port), pytest.raises(ssl.SSLCertVerificationError):
        send_mail(monkeypatch, f"{scheme}://mailer:secret@{host}:{port}")

    assert mailbox.heard == []


@pytest.fixture
def https(certificate: Certificate) -> Iterator[HttpServer]:
    """Run an HTTPS server."""
    server = HttpServer(certificate)
    yield server
    server.stop()


@pytest.mark.parametrize(("host", "authority", "found"), [(*GOOD, True), *[(*case.values, False) for case in REFUSED]])
def test_keys_are_fetched_with_valid_certificate_only(https, trusting, monkeypatch, host, authority, found):
    trusting(authority)
    monkeypatch.setattr(jwks, "TIMEOUT", 20.0)
    keys = RemoteKeys(f"https://{host}:{https.port}/jwks")

    keys.fetch()

    assert (keys.find(https.key.kid) is not None) is found


def test_checkpoint_server_with_valid_certificate_gets_document(https, trusting):
    host, authority = GOOD
    trusting(authority)
    store = by_url.store_at(f"https://{host}:{https.port}/audit")

    store.put(1, "a document")

    assert store.get(1) == "a document"


@pytest.mark.parametrize(("host", "authority"), REFUSED)
def test_checkpoint_server_with_other_certificate_gets_nothing(https, trusting, host, authority):
    trusting(authority)

    with pytest.raises(ssl.SSLCertVerificationError):
        by_url.store_at(f"https://{host}:{https.port}/audit").put(1, "a document")

    assert https.documents == {}

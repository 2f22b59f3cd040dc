"""Broker URLs and their clients."""

import pytest
from redis.sentinel import SentinelConnectionPool

from models.jobs import brokers


def sentinel_pool(url: str) -> SentinelConnectionPool:
    pool = brokers.redis_client(url, patience=1.0, connect_patience=1.0).connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    return pool


def test_sentinel_url_names_hosts_service_and_database() -> None:
    pool = sentinel_pool("sentinel://a:1,b/jobs/3")

    sentinels = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"]) for one in sentinels] == [("a", 1), ("b", 26379)]
    assert (pool.service_name, pool.connection_kwargs["db"], pool.is_master) == ("jobs", 3, True)


def test_server_password_is_not_sent_to_sentinels() -> None:
    pool = sentinel_pool("sentinel://app:s%40cret@a/jobs?sentinel_password=other")

    (sentinel,) = pool.sentinel_manager.sentinels
    assert (pool.connection_kwargs["username"], pool.connection_kwargs["password"]) == ("app", "s@cret")
    assert sentinel.connection_pool.connection_kwargs["password"] == "other"
    assert sentinel.connection_pool.connection_kwargs.get("username") is None


@pytest.mark.parametrize(
    ("url", "amqp"),
    [
        ("redis://h", False),
        ("rediss://h", False),
        ("unix:///s", False),
        ("sentinel://h/s", False),
        ("amqp://h", True),
        ("amqps://h", True),
    ],
)
def test_scheme_decides_the_kind_of_broker(url: str, amqp: bool) -> None:
    assert brokers.is_amqp(url) == amqp

"""Broker URLs and clients: Redis, Redis behind Sentinels, RabbitMQ.

A client tries once and waits a short time. Its caller handles a server that is out of reach.
"""

import logging
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import pika
import redis
from pika.exceptions import AMQPError
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

WAKEUP = "companon:wakeup"
"""The list or queue at which the relay waits for wake-ups. Its items have no content."""

AMQP_ERRORS = (AMQPError, OSError)
"""Raised by Pika when RabbitMQ can't be reached, refuses, or closes the connection."""

WAKEUP_OPTIONS = {"x-max-length": 1, "x-overflow": "drop-head"}
"""Keep one wake-up at most."""

HEARTBEAT = 20
"""Seconds within which RabbitMQ and a client detect that the other has failed without closing the connection."""

_REDIS = {"redis", "rediss", "unix"}
_SENTINEL_PORT = 26379

# Pika logs a traceback for each attempt to connect. Its callers log one line.
logging.getLogger("pika").setLevel(logging.CRITICAL)


def is_amqp(url: str) -> bool:
    """Return whether the URL is one of RabbitMQ. Otherwise it is one of Redis.

    Raises:
        ValueError: the scheme is neither RabbitMQ's nor Redis's.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _REDIS | {"sentinel", "amqp", "amqps"}:
        raise ValueError(f"a broker URL must begin with redis, rediss, unix, sentinel, amqp or amqps, not {scheme!r}")
    return scheme in {"amqp", "amqps"}


def redis_client(url: str, *, patience: float, connect_patience: float) -> redis.Redis:
    """Return a client of Redis or, behind Sentinels, of the current primary. It connects on first use.

    Args:
        url: `redis://`, `rediss://`, `unix://` or `sentinel://`.
        patience: maximum seconds for an answer.
        connect_patience: maximum seconds for a connection.

    Raises:
        ValueError: the URL is not one of these.
    """
    options: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": patience,
        "socket_connect_timeout": connect_patience,
        "decode_responses": True,
        # Contents that are not UTF-8 must not raise: the reader discards them.
        "encoding_errors": "surrogateescape",
    }
    parts = urlsplit(url)
    if parts.scheme != "sentinel":
        return redis.Redis.from_url(url, **options)
    return _primary(parts, options)


def _primary(parts: SplitResult, options: dict[str, Any]) -> redis.Redis:
    """Return a client of the primary. Its user and password are the URL's; Sentinels use `sentinel_password`."""
    userinfo, _, hosts = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not hosts:
        raise ValueError("a Sentinel URL must be sentinel://host:port,host:port/service/db")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    shared = options | {"ssl": query.get("tls") == "1"}
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        [_address(host) for host in hosts.split(",")],
        sentinel_kwargs=shared | {"password": query.get("sentinel_password")},
    )
    client: redis.Redis = sentinels.master_for(  # type: ignore[no-untyped-call]
        service,
        db=int(database or 0),
        username=unquote(user) or None,
        password=unquote(password) or None,
        **shared,
    )
    return client


def _address(host: str) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    return parts.hostname or "", parts.port or _SENTINEL_PORT


def amqp_connection(url: str, *, patience: float, heartbeat: int = HEARTBEAT) -> Any:
    """Open a connection to RabbitMQ (Pika's blocking one, for one thread at a time).

    Args:
        url: `amqp://user:password@host:port/vhost` or `amqps://…`.
        patience: maximum seconds of each step of connecting, and of a blocked connection.
        heartbeat: seconds between heartbeats; 0 for none.

    Raises:
        AMQP_ERRORS: the connection fails.
    """
    parameters = pika.URLParameters(url)
    parameters.connection_attempts = 1
    parameters.socket_timeout = patience
    parameters.stack_timeout = patience * 2
    parameters.blocked_connection_timeout = patience
    parameters.heartbeat = heartbeat
    return pika.BlockingConnection(parameters)


def close_quietly(connection: Any) -> None:
    """Close a connection to RabbitMQ that may be broken already."""
    try:
        connection.close()
    except AMQP_ERRORS:
        return


def declare_wakeup_queue(channel: Any) -> None:
    """Create the queue of wake-ups if it does not exist."""
    channel.queue_declare(WAKEUP, durable=True, arguments=WAKEUP_OPTIONS)

"""The URLs of what carries job ids, and clients for them: Redis, Redis behind Sentinels, RabbitMQ.

A client tries once and waits a short time: whoever calls decides what a server that is gone means.
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

DOORBELL = "companon:doorbell"
"""The list or queue that the relay waits at; what lies in it means nothing but «look into the ledger»."""

AMQP_ERRORS = (AMQPError, OSError)
"""What Pika raises when RabbitMQ is out of reach, refuses, or goes away."""

DOORBELL_OPTIONS = {"x-max-length": 1, "x-overflow": "drop-head"}
"""However often it is rung while nobody listens, it has rung once."""

HEARTBEAT = 20
"""Seconds within which RabbitMQ and a client notice that the other is gone without a word."""

_REDIS = {"redis", "rediss", "unix"}
_SENTINEL_PORT = 26379

# Pika writes a traceback for each try of a connection. Its callers say once what went wrong.
logging.getLogger("pika").setLevel(logging.CRITICAL)


def is_amqp(url: str) -> bool:
    """Whether the URL leads to RabbitMQ; if not, it leads to Redis.

    Raises:
        ValueError: it leads to neither.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _REDIS | {"sentinel", "amqp", "amqps"}:
        raise ValueError(f"a broker's URL begins with redis, rediss, unix, sentinel, amqp or amqps, not {scheme!r}")
    return scheme in {"amqp", "amqps"}


def redis_client(url: str, *, patience: float, connect_patience: float) -> redis.Redis:
    """A client of Redis or, behind Sentinels, of whichever server is the primary. Connects when it is first used.

    Args:
        url: `redis://`, `rediss://`, `unix://` or `sentinel://`.
        patience: seconds that an answer may take.
        connect_patience: seconds that a connection may take.

    Raises:
        ValueError: the URL is not one of these.
    """
    options: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": patience,
        "socket_connect_timeout": connect_patience,
        "decode_responses": True,
        # Contents that are no UTF-8 are read like any other; their reader discards them.
        "encoding_errors": "surrogateescape",
    }
    parts = urlsplit(url)
    if parts.scheme != "sentinel":
        return redis.Redis.from_url(url, **options)
    return _primary(parts, options)


def _primary(parts: SplitResult, options: dict[str, Any]) -> redis.Redis:
    """The URL's user and password are the servers' own; the Sentinels' is `sentinel_password`."""
    userinfo, _, hosts = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not hosts:
        raise ValueError("a Sentinel's URL is sentinel://host:port,host:port/service/db")
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
    """A connection to RabbitMQ (Pika's blocking one, for one thread at a time).

    Args:
        url: `amqp://user:password@host:port/vhost` or `amqps://…`.
        patience: seconds that connecting, each step of it, or a server that takes nothing may last.
        heartbeat: seconds between signs of life; 0 for none.

    Raises:
        AMQP_ERRORS: it can't be made.
    """
    parameters = pika.URLParameters(url)
    parameters.connection_attempts = 1
    parameters.socket_timeout = patience
    parameters.stack_timeout = patience * 2
    parameters.blocked_connection_timeout = patience
    parameters.heartbeat = heartbeat
    return pika.BlockingConnection(parameters)


def declare_doorbell(channel: Any) -> None:
    """Make the doorbell's queue, if there is none."""
    channel.queue_declare(DOORBELL, durable=True, arguments=DOORBELL_OPTIONS)

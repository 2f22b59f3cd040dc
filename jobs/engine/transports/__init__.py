"""Transports of job ids: Redis and RabbitMQ."""

from jobs.engine.transports.base import Transport
from jobs.engine.transports.rabbitmq import RabbitTransport
from jobs.engine.transports.redis import RedisTransport
from models.jobs import brokers

__all__ = ["connect"]


def connect(url: str) -> Transport:
    """Return the transport over the broker at `url`. It connects on first use.

    Raises:
        ValueError: the URL's scheme is not one of a broker.
    """
    return RabbitTransport(url) if brokers.is_amqp(url) else RedisTransport(url)

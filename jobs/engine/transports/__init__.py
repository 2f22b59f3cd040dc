"""The brokers that job ids can travel by."""

from jobs.engine.transports.base import Transport
from jobs.engine.transports.rabbitmq import RabbitTransport
from jobs.engine.transports.redis import RedisTransport
from models.jobs import brokers

__all__ = ["connect"]


def connect(url: str) -> Transport:
    """The transport over the broker at `url`. Nothing is sent before it is used.

    Raises:
        ValueError: no broker has such a URL.
    """
    return RabbitTransport(url) if brokers.is_amqp(url) else RedisTransport(url)

"""Help of local implementations: one transaction, in which a key has one effect and one answer."""

import hashlib
from collections.abc import Callable
from typing import TypeVar

import msgspec

from jobs.engine.worker.current import own_transaction
from jobs.passport.contract import ServiceKeyReused
from models.core.database import execute_deferred, value

Q = TypeVar("Q", bound=msgspec.Struct)
A = TypeVar("A", bound=msgspec.Struct)

_encode = msgspec.json.Encoder(order="deterministic").encode


def once(service: str, act: Callable[[Q], A], request: Q, answer: type[A], *, key: str) -> A:
    """Run `act(request)` in a transaction of the job and store its answer, or return the answer that `key` has.

    Key, effect and answer commit together. A refusal rolls all of them back, so a repeated call is decided again.

    Args:
        service: name of the service.
        act: the operation's rule. It runs as the job's brand or fan.
        request: the request.
        answer: type of the answer.
        key: idempotency key of the call.

    Raises:
        Problem: `act` refuses.
        ServiceKeyReused: the key belongs to another request.
    """
    operation = f"{type(request).__qualname__}\n".encode()
    digest = hashlib.sha256(operation + _encode(request)).digest()
    with own_transaction():
        kept = value("SELECT app.claim_service_key(%s, %s, %s)", (service, key, digest))
        if kept is None:
            result = act(request)
            execute_deferred("SELECT app.store_service_answer(%s, %s, %s)", (service, key, _encode(result).decode()))
            return result
    if kept["digest"] != digest.hex():
        raise ServiceKeyReused("The key was used with another request.")
    return msgspec.convert(kept["answer"], answer, strict=False)

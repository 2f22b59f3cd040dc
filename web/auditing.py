"""The audit entry of an endpoint's act: written with it, or by itself when it was refused."""

import logging
from typing import Any
from uuid import UUID

from falcon.asgi import Request

from models.context import Identity
from models.errors import Problem
from web.kit import Kit

logger = logging.getLogger(__name__)

RECORDED_REFUSALS = (401, 403, 409, 410)
"""Somebody wanted to do what they may not, or may not now. Typing errors (422) are nobody's business."""


def audited(
    req: Request,
    *,
    table: str | None = None,
    record_id: UUID | None = None,
    record_key: str | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str | None = None,
    brand_id: UUID | None = None,
) -> None:
    """Say which record a responder acts on, and how; goes into the entry that its `audit=` declares."""
    details = locals()
    details.pop("req")
    req.context.audit = {name: detail for name, detail in details.items() if detail is not None}


def record_act(kit: Kit, req: Request, action: str) -> None:
    """Write the entry of an act, within its transaction."""
    kit.record(action, **getattr(req.context, "audit", {}))


def record_refusal(kit: Kit, identity: Identity, action: str, refusal: Problem) -> None:
    """Write the entry of a refusal, in a transaction of its own. If that fails, the refusal stands all the same."""
    if refusal.status not in RECORDED_REFUSALS or (refusal.status == 401 and identity.is_checked):
        return  # a session that has ended writes nothing any more
    try:
        with kit.transaction(identity, timeout=2.0):
            kit.record(action, outcome="refused", reason=refusal.code)
    except Problem as unheard:
        logger.info("the refusal of %s is not recorded: %s", action, unheard.code)  # the session has ended
    except Exception:
        logger.exception("the refusal of %s could not be recorded", action)

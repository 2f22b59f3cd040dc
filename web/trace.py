"""Ids that tie a request to its consequences: ours, the caller's, and W3C Trace Context."""

import re
import secrets

from uuid_utils import uuid7

_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


def id_of(sent: str | None) -> str | None:
    """What the client calls this request, if it may be called that."""
    return sent if sent is not None and _ID.fullmatch(sent) else None


def new_id() -> str:
    """A new id, ordered by time."""
    return str(uuid7())


def continued(traceparent: str | None) -> str:
    """Our own span in the caller's trace, or the first span of a new one (W3C Trace Context, section 3.2)."""
    trace_id, flags = _parse(traceparent or "") or (secrets.token_hex(16), "00")
    return f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"


def _parse(traceparent: str) -> tuple[str, str] | None:
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return trace_id, "01" if int(flags, 16) & 1 else "00"

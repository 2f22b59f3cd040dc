"""Ids that tie a request to its consequences: ours, the caller's, and W3C Trace Context."""

import re
import secrets

from uuid_utils import uuid7

_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)
_TRACE_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


def valid_id(sent: str | None) -> str | None:
    """What the client calls this request, if it may be called that."""
    return sent if sent is not None and _ID.fullmatch(sent) else None


def new_id() -> str:
    """A new id, ordered by time."""
    return str(uuid7())


def continue_trace(traceparent: str | None, request_id: str) -> str:
    """Our own span in the caller's trace, or the first span of a new one (W3C Trace Context, section 3.2).

    A new trace is called what the request is called, so whoever knows the one can find the other.
    """
    trace_id, flags = _parse(traceparent or "") or (_trace_of(request_id), "00")
    return f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"


def _trace_of(request_id: str) -> str:
    """Its UUID's digits, or something new where the caller has called the request something else."""
    digits = request_id.replace("-", "")
    return digits if _TRACE_ID.fullmatch(digits) and int(digits, 16) else secrets.token_hex(16)


def _parse(traceparent: str) -> tuple[str, str] | None:
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return trace_id, "01" if int(flags, 16) & 1 else "00"

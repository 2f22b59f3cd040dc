"""Ids that link a request to its jobs and log lines: our own, the caller's, and W3C Trace Context."""

import re
import secrets

from uuid_utils import uuid7

_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)
_TRACE_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


def valid_id(sent: str | None) -> str | None:
    """Return the id that a client sent, or None if it is not valid."""
    return sent if sent is not None and _ID.fullmatch(sent) else None


def new_id() -> str:
    """Return a new id, ordered by time."""
    return str(uuid7())


def continue_trace(traceparent: str | None, request_id: str) -> str:
    """Return a new span in the caller's trace, or in a new trace (W3C Trace Context, section 3.2).

    A new trace gets the id of the request, so that each can be found by the other.
    """
    trace_id, flags = _parse(traceparent or "") or (_trace_of(request_id), "00")
    return f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"


def _trace_of(request_id: str) -> str:
    """Return the digits of a request id that is a UUID, or a random trace id for other request ids."""
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

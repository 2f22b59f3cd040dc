"""Logs: one JSON object per line, without secrets and personal data."""

import json
import logging

from models.core.context import RequestInfo, request_info, set_request_info
from models.core.logs import MAX_TEXT_CHARACTERS, Formatter, redact, redact_value

JWT = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


SECRET = (
    f"Authorization: Bearer {JWT}",
    f"token was {JWT}",
    "Bearer hush-hush",
    "password=hush-hush",
    "{'password': 'hush-hush', 'name': 'x'}",
    '{"new_password": "hush-hush and more", "name": "x"}',
    "api_key: hush-hush",
    "refresh_token=hush-hush&x=1",
    "postgresql://app:hush-hush@db.internal/companon",
    "mail to hush-hush@example.com failed",
)


def test_secrets_and_personal_data_are_redacted():
    redacted = [redact(text) for text in SECRET]

    assert [text for text in redacted if "hush" in text or JWT in text or "[" not in text] == []


def test_harmless_text_is_unchanged():
    texts = ["campaign.launch took 12 ms", "3 rows @ 5/s", "GET /api/v1/campaigns", "passwords table"]

    assert [redact(text) for text in texts] == texts


def formatted(message, *args, error=None):
    exc_info = (type(error), error, error.__traceback__) if error else None
    return Formatter().format(logging.LogRecord("web.x", logging.WARNING, "x.py", 1, message, args, exc_info))


def test_log_line_is_json_with_the_ids_of_its_request():
    before = request_info()
    set_request_info(RequestInfo(request_id="request-77", correlation_id="journey-7"))
    try:
        line = json.loads(formatted("two\nlines of %s", "ann@example.com"))
    finally:
        set_request_info(before)

    assert line["message"] == "two\nlines of [e-mail]"
    assert (line["level"], line["logger"]) == ("WARNING", "web.x")
    assert (line["request_id"], line["correlation_id"]) == ("request-77", "journey-7")
    assert line["at"].startswith("20")


def test_traceback_is_redacted():
    try:
        raise ValueError("password=hush-hush")
    except ValueError as error:
        text = formatted("failed", error=error)

    assert "ValueError" in text
    assert "hush" not in text
    assert "\n" not in text


def test_long_text_is_truncated():
    text = redact("ab " * MAX_TEXT_CHARACTERS)

    assert (len(text), text[-1]) == (MAX_TEXT_CHARACTERS + 1, "…")


def test_nested_values_and_secret_fields_are_redacted():
    value = {"who": [{"mail": "ann@example.com"}, ("x", 7)], "api_key": 12, "password": None, "n": 1.5}

    assert redact_value(value) == {
        "who": [{"mail": "[e-mail]"}, ["x", 7]],
        "api_key": "[secret]",
        "password": None,
        "n": 1.5,
    }

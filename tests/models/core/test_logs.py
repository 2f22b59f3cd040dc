"""Logs: one JSON object a line, and nothing in it that must not leave the house."""

import json
import logging

import pytest

from models.core.context import RequestInfo, request_info, set_request_info
from models.core.logs import Formatter, redact

JWT = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text",
    [
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
    ],
)
def test_secrets_and_addresses_are_taken_out(text):
    redacted = redact(text)

    assert "hush" not in redacted
    assert JWT not in redacted
    assert "[" in redacted


@pytest.mark.parametrize(
    "text", ["campaign.launch took 12 ms", "3 rows @ 5/s", "GET /api/v1/campaigns", "passwords table"]
)
def test_what_is_harmless_stays(text):
    assert redact(text) == text


def formatted(message, *args, error=None):
    exc_info = (type(error), error, error.__traceback__) if error else None
    return Formatter().format(logging.LogRecord("web.x", logging.WARNING, "x.py", 1, message, args, exc_info))


def test_a_line_is_json_with_the_ids_of_its_request():
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


def test_a_traceback_is_redacted_too():
    try:
        raise ValueError("password=hush-hush")
    except ValueError as error:
        text = formatted("failed", error=error)

    assert "ValueError" in text
    assert "hush" not in text
    assert "\n" not in text

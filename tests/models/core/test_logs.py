"""Logs: one JSON object per line, without secrets and personal data."""

import json
import logging
import re
import threading

from models.core.context import RequestInfo, request_info, set_request_info
from models.core.log_lines import MAX_WRITE_BYTES, LogLines
from models.core.logs import MAX_TEXT_CHARACTERS, Formatter, redact, redact_value, timestamp

AT = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"

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
    assert re.fullmatch(AT, line["at"])


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
    value = {
        "who": [{"mail": "ann@example.com"}, ("x", 7)],
        "api_key": 12,
        "password": None,
        "n": 1.5,
        "confirms_email": True,
    }

    assert redact_value(value) == {
        "who": [{"mail": "[e-mail]"}, ["x", 7]],
        "api_key": "[secret]",
        "password": None,
        "n": 1.5,
        "confirms_email": True,
    }


def test_timestamp_is_utc_with_milliseconds():
    assert timestamp(0.0) == "1970-01-01T00:00:00.000Z"
    assert timestamp(1_796_074_380.1239) == "2026-11-30T21:33:00.123Z"


def test_extra_member_does_not_replace_the_time_of_a_line():
    record = logging.makeLogRecord({"msg": "x", "at": "never"})

    assert re.fullmatch(AT, json.loads(Formatter().format(record))["at"])


def test_batched_lines_are_written_whole_and_in_small_writes():
    written = []
    lines = LogLines(written.append)
    sizes = [10, 4000, 100, 9000, 1, *[300] * 40]
    for number, size in enumerate(sizes):
        lines.add({"number": number, "text": "x" * size})

    lines.flush()
    lines.flush()

    assert [json.loads(line)["number"] for text in written for line in text.splitlines()] == list(range(len(sizes)))
    assert all(text.endswith("\n") for text in written)
    assert [len(text) for text in written if len(text) > MAX_WRITE_BYTES and text.count("\n") > 1] == []
    assert len(written) < 10


def test_lines_of_several_threads_are_written_once_each():
    written = []
    lines = LogLines(written.append)

    def add(start):
        for number in range(start, start + 2000):
            lines.add(number)
            if number % 7 == 0:
                lines.flush()

    threads = [threading.Thread(target=add, args=(start,)) for start in (0, 2000, 4000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    lines.flush()

    assert sorted(int(line) for text in written for line in text.splitlines()) == list(range(6000))

"""Test query strings: every parameter of every operation, and unknown parameters.

Representative operations, and with `--slow` all operations, get every value in every parameter.
"""

from urllib.parse import quote_plus, urlencode

from tests.contract.examples import EXAMPLES
from tests.contract.expected import (
    REPRESENTATIVES,
    declared,
    faults,
    fits_parameter,
    is_repeatable,
    names,
    operations,
    require_none,
    undeclared,
)
from tests.contract.values import share_of

UNREADABLE = {
    "NUL": "%00",
    "NUL inside": "a%00b",
    "not UTF-8": "%ff",
    "half a character": "%e2%82",
    "surrogate": "%ed%a0%80",
    "overlong": "%c0%80",
}
"""Byte sequences that are not text."""

TEXTS = {
    "empty": "",
    "space": " ",
    "a word": "x",
    "zero": "0",
    "negative": "-1",
    "fraction": "1.5",
    "exponent": "1e2",
    "2**63": str(2**63),
    "-2**63-1": str(-(2**63) - 1),
    "3900 digits": "9" * 3000,
    "digits of another script": "٢",
    "full width": "\uff11",
    "underscore": "1_0",
    "padded": " 1 ",
    "plus": "+1",
    "hex": "0x1",
    "NaN": "nan",
    "infinity": "inf",
    "1e400": "1e400",
    "-0.0": "-0.0",
    "null": "null",
    "true": "true",
    "array": "[1]",
    "object": '{"a":1}',
    "quoted": '"x"',
    "2000 letters": "x" * 2000,
    "emoji": "👩‍👩‍👧‍👦",
    "right to left": "\u202eabc",
    "combining": "Z\u0335",
    "SQL": "' or 1=1; --",
    "format": "%s {0} %(x)s",
    "path": "../../etc/passwd",
    "header": "a\r\nX: y",
    "nil UUID": "00000000-0000-0000-0000-000000000000",
    "year 1 east": "0001-01-01T00:00:00+23:59",
    "year 9999 west": "9999-12-31T23:59:59-23:59",
    "year 0": "0000-01-01T00:00:00Z",
    "without zone": "2026-01-01T00:00:00",
    "zone as a space": "2026-01-01T00:00:00 02:00",
}
"""Texts that may be valid values, depending on the parameter."""

UNKNOWN = (
    "unexpected=1",
    "=1",
    "limit[]=1",
    "limit[$gt]=1",
    "%00=1",
    "%ff=1",
    "__proto__=1",
    "Limit=1",
    "&".join(f"p{n}=1" for n in range(2000))[:3000],
    "a",
    "é=1",
    "limit%20=1",
)


def parameters(operation):
    """Return the query parameters of an operation."""
    return [p["name"] for p in declared(operation)["parameters"] if p["in"] == "query"]


WITH_PARAMETERS = [operation for operation in operations() if parameters(operation)]


def parameter_attacks(operation, query, whole):
    """Yield attacks on each parameter: a name, the fields it is about, the query, and whether it may be valid."""
    for name in parameters(operation):
        others = {other: value for other, value in query.items() if other != name}
        unreadable = UNREADABLE if whole or operation in REPRESENTATIVES else {"NUL": "%00"}
        for what, escaped in unreadable.items():
            yield f"{name}: {what}", (name, "query"), f"{urlencode(others)}&{name}={escaped}", False
        texts = TEXTS if whole or operation in REPRESENTATIVES else share_of(TEXTS, f"{operation} {name}")
        for what, text in texts.items():
            yield f"{name}: {what}", (name,), urlencode({**others, name: text}), fits_parameter(operation, name, text)
        may_repeat = name not in query or is_repeatable(operation, name)
        yield f"{name}: twice", (name,), urlencode([*query.items(), (name, query.get(name, "x"))]), may_repeat
        empty = fits_parameter(operation, name, "")
        yield f"{name}: key without a value", (name,), f"{urlencode(others)}&{name}", empty
        yield f"{name}: raw bytes", (name, "query"), f"{urlencode(others)}&{name}=\xff\xfe", False


def unknown_parameters(query):
    """Yield queries with an unknown parameter, in the form of `parameter_attacks`."""
    for unknown in UNKNOWN:
        field = quote_plus(unknown.partition("=")[0])
        yield f"unknown {unknown[:20]}", (field,), f"{urlencode(query)}&{unknown}", False


def query_faults(raw_client, operation, example, cases):
    """Send the queries and yield the faults of their answers."""
    answers = raw_client.send_all([example.request(query=query) for _, _, query, _ in cases])
    for (name, fields, _, may_be_valid), answer in zip(cases, answers, strict=True):
        yield from (f"{name}: {fault}" for fault in undeclared(operation, answer))
        if may_be_valid and 200 <= answer.status < 300:
            continue
        yield from (f"{name}: {fault}" for fault in faults(answer))
        if not may_be_valid and answer.status != 422:
            yield f"{name}: {answer.status} {answer.code}, not 422"
        if name[:7] != "unknown" and answer.status == 422 and not any(names(answer, field) for field in fields):
            yield f"{name}: names {answer.json.get('errors')}"


def test_invalid_parameter_value_returns_422_with_its_name(seed, raw_client, writes, request):
    whole = request.config.getoption("--slow")

    def check(operation):
        example, before = EXAMPLES[operation](seed), writes.snapshot()
        yield from query_faults(
            raw_client, operation, example, list(parameter_attacks(operation, example.query, whole))
        )
        yield from writes.tables_changed_since(before) if operation[0] == "GET" else ()

    require_none(WITH_PARAMETERS, check)


def test_unknown_parameter_returns_422(seed, raw_client, writes):
    def check(operation):
        example, before = EXAMPLES[operation](seed), writes.snapshot()
        yield from query_faults(raw_client, operation, example, list(unknown_parameters(example.query)))
        yield from writes.tables_changed_since(before)

    require_none(REPRESENTATIVES, check)


def test_too_long_query_returns_414(seed, raw_client):
    def check(operation):
        answer = raw_client.send(EXAMPLES[operation](seed).request(query="a=" + "x" * 5000))
        yield from faults(answer)
        if answer.status != 414:
            yield f"{answer.status}, not 414"

    require_none(REPRESENTATIVES, check)


def test_examples_contain_every_parameter(seed):
    def check(operation):
        missing = set(parameters(operation)) - {"cursor"} - set(EXAMPLES[operation](seed).query)
        return map(str, missing)

    require_none(WITH_PARAMETERS, check)

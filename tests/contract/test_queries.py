"""Query strings: every parameter of every operation, and parameters that there are none of."""

from urllib.parse import quote_plus, urlencode

import pytest

from tests.contract.examples import EXAMPLES
from tests.contract.judge import declared, faults, fits_parameter, names, operations, undeclared

UNREADABLE = {
    "NUL": "%00",
    "NUL inside": "a%00b",
    "not UTF-8": "%ff",
    "half a character": "%e2%82",
    "surrogate": "%ed%a0%80",
    "overlong": "%c0%80",
}
"""No text at all."""

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
"""Texts that may or may not be what was asked for."""

NEVER_A_PARAMETER = (
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
    """The query parameters that the document knows."""
    return [p["name"] for p in declared(operation)["parameters"] if p["in"] == "query"]


def attacks(operation, query):
    """(what it is, the field that it is about, the query, whether it might be right)."""
    for name in parameters(operation):
        others = {other: value for other, value in query.items() if other != name}
        for what, escaped in UNREADABLE.items():
            yield f"{name}: {what}", (name, "query"), f"{urlencode(others)}&{name}={escaped}", False
        for what, text in TEXTS.items():
            yield f"{name}: {what}", (name,), urlencode({**others, name: text}), fits_parameter(operation, name, text)
        yield f"{name}: twice", (name,), urlencode([*query.items(), (name, query.get(name, "x"))]), name not in query
        yield (
            f"{name}: key without a value",
            (name,),
            f"{urlencode(others)}&{name}",
            fits_parameter(operation, name, ""),
        )
        yield f"{name}: raw bytes", (name, "query"), f"{urlencode(others)}&{name}=\xff\xfe", False
    for unknown in NEVER_A_PARAMETER:
        field = quote_plus(unknown.partition("=")[0])
        yield f"unknown {unknown[:20]}", (field,), f"{urlencode(query)}&{unknown}", False


@pytest.mark.parametrize("operation", operations(), ids=" ".join)
def test_a_query_that_is_not_what_it_should_be_is_refused(operation, world, wire, traces):
    example, before, wrong = EXAMPLES[operation](world), traces.look(), []
    cases = list(attacks(operation, example.query))
    answers = wire.send_all([example.request(query=query) for _, _, query, _ in cases])

    for (name, fields, _, may_be_right), answer in zip(cases, answers, strict=True):
        wrong += [f"{name}: {fault}" for fault in undeclared(operation, answer)]
        if may_be_right and 200 <= answer.status < 300:
            continue
        wrong += [f"{name}: {fault}" for fault in faults(answer)]
        if not may_be_right and answer.status != 422:
            wrong.append(f"{name}: {answer.status} {answer.code}, not 422")
        if name[:7] != "unknown" and answer.status == 422 and not any(names(answer, field) for field in fields):
            wrong.append(f"{name}: names {answer.json.get('errors')}")

    assert not wrong, "\n".join(wrong)
    assert operation[0] != "GET" or traces.since(before) == []


@pytest.mark.parametrize("operation", operations(), ids=" ".join)
def test_a_query_that_is_too_long_is_refused(operation, world, wire):
    example = EXAMPLES[operation](world)

    answer = wire.send(example.request(query="a=" + "x" * 5000))

    assert faults(answer) == []
    assert answer.status == 414


@pytest.mark.parametrize("operation", [o for o in operations() if parameters(o)], ids=" ".join)
def test_an_example_spells_out_every_parameter(operation, world):
    known = set(EXAMPLES[operation](world).query)

    assert known == set(parameters(operation)) - {"cursor"}

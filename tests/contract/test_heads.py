"""Header fields: conditions, keys, ids and everything else that a client may say before the body."""

import pytest

from tests.contract.examples import EXAMPLES
from tests.contract.judge import declared, faults, operations, undeclared
from tests.contract.values import words
from tests.contract.wire import Request

NOT_ASCII = "é".encode().decode("latin-1")
TEXTS = [
    *words(
        """, ; = " "" * x %00 -1 0 1e400 NaN null {} [] ${jndi:ldap://x} <script> ../../etc/passwd W/ W/" bytes=0-"""
    ),
    *words("bytes=9-1,-,0-99999999999999999999 ::1 [::1 127.0.0.1,x 0198a3f0-0000-7000-8000-00000000000a"),
    *("", " ", "\xff\xfe", NOT_ASCII, "\t", "a\x0bb", "\x7f", "; drop table", "() { :;}; true", '"unclosed', "a=b; c"),
    *("Thu, 32 Foo 20266 99:99:99 GMT", "x" * 8000, "9" * 400, "x, " * 500, "https://x" * 100),
    "00-" + "0" * 32 + "-" + "0" * 16 + "-00",
]
FIELDS = [
    *words("Accept-Charset Accept-Encoding Accept-Language Access-Control-Request-Headers Cache-Control Connection"),
    *words("Access-Control-Request-Method Cookie Date Expect Forwarded From If-Modified-Since If-None-Match"),
    *words("If-Range If-Unmodified-Since Keep-Alive Last-Event-ID Max-Forwards Origin Pragma Range Referer TE Trailer"),
    *words("Upgrade User-Agent Via X-Correlation-Id X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Real-Ip"),
    *words("X-HTTP-Method-Override X-Request-Id traceparent tracestate x"),
    "x-" + "y" * 1000,
]
"""What changes nothing about whether a request is right."""

NOT_ACCEPTABLE = [
    *words("text/html image/* application/xml;q=1 application/json;q=0"),
    "application/json;q=0, text/html",
]
ODD_ACCEPTS = [*words(", ; * / */*;q= */*;q=x json application/json;q=99 \xff/\xfe"), "", " ", "x" * 8000]

BAD_KEYS = ("", " ", "a b", "a\tb", "\xff", NOT_ASCII, "x" * 256, "\x7f", "a\x01")
BAD_MATCHES = [
    *words("""x " "x x" W/x W/"x" "x" , 'x' "\xff" 999 W/ w/"x" "*" ** "a"b" \x7f"""),
    *('"x", "y"', "", " ", '"x" "y"', '"' + "x" * 8000 + '"', '"x", ' * 500),
]

TWICE = [
    *words("Authorization Content-Type Content-Length Host Idempotency-Key If-Match Accept X-Request-Id Origin Cookie"),
    *words("traceparent Content-Encoding Transfer-Encoding"),
]

UNSAFE = [operation for operation in operations() if operation[0] != "GET"]
IDEMPOTENT = [
    operation
    for operation in operations()
    if any(parameter["name"] == "Idempotency-Key" for parameter in declared(operation)["parameters"])
]


@pytest.mark.parametrize("operation", [("GET", "/.well-known/jwks.json"), ("POST", "/api/v1/qr/scan")], ids=" ".join)
def test_what_else_the_head_says_is_never_our_fault(operation, world, wire):
    example = EXAMPLES[operation](world)
    right = example.request(raw=example.body and b"{}")
    cases = [(name, text, right.with_headers((name, text))) for name in FIELDS for text in TEXTS]
    wrong = []

    for (name, text, _), answer in zip(cases, wire.send_all([request for *_, request in cases]), strict=True):
        unchanged = (name, text) == ("If-None-Match", "*")
        if answer.status != (422 if example.body else 304 if unchanged else 200):
            wrong.append(f"{name}: {text[:40]!r}: {answer.status} {answer.body!r}")
        if answer.status >= 400:
            wrong += [f"{name}: {text[:40]!r}: {fault}" for fault in faults(answer)]

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("operation", operations(), ids=" ".join)
def test_a_right_request_stays_right_whatever_its_head_says_besides(operation, world, wire):
    request = EXAMPLES[operation](world).request()

    answer = wire.send(request.with_headers(*((name, '\xff;x=,"') for name in FIELDS)))

    assert answer.status < 300, answer.body


@pytest.mark.parametrize("operation", operations(), ids=" ".join)
def test_whoever_takes_no_json_is_told_so(operation, world, wire, traces):
    right = EXAMPLES[operation](world).request()
    before, wrong = traces.look(), []

    for accept in (*NOT_ACCEPTABLE, *ODD_ACCEPTS):
        answer = wire.send(right.with_headers(("Accept", accept)))
        if accept in NOT_ACCEPTABLE and answer.status != 406 and not operation[1].endswith(accept.replace("/*", "")):
            wrong.append(f"{accept!r}: {answer.status}, not 406")
        wrong += [f"{accept[:40]!r}: {fault}" for fault in (faults(answer) if answer.status >= 400 else [])]
        if answer.status < 300:
            right, before = EXAMPLES[operation](world).request(), traces.look()
        elif traces.since(before):
            wrong.append(f"{accept[:40]!r}: {answer.status} has left traces")

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("operation", IDEMPOTENT, ids=" ".join)
def test_a_key_that_is_none_is_refused(operation, world, wire, traces):
    right = EXAMPLES[operation](world).request()
    before, wrong = traces.look(), []

    for key in BAD_KEYS:
        answer = wire.send(right.with_headers(("Idempotency-Key", key)))
        wrong += [f"{key[:40]!r}: {fault}" for fault in faults(answer)]
        if (answer.status, answer.fields) != (422, ["Idempotency-Key"]):
            wrong.append(f"{key[:40]!r}: {answer.status} {answer.json}")

    assert not wrong, "\n".join(wrong)
    assert traces.since(before) == []


@pytest.mark.parametrize("operation", [o for o in UNSAFE if o not in IDEMPOTENT], ids=" ".join)
def test_a_key_that_nobody_asked_for_changes_nothing(operation, world, wire):
    for key in BAD_KEYS:
        answer = wire.send(EXAMPLES[operation](world).request().with_headers(("Idempotency-Key", key)))

        assert answer.status < 300


@pytest.mark.parametrize("operation", [o for o in UNSAFE if o[0] == "PUT"], ids=" ".join)
def test_a_condition_that_is_not_met_or_is_none_lets_nothing_be_overwritten(operation, world, wire, traces):
    right = EXAMPLES[operation](world).request()
    before, wrong = traces.look(), []

    for match in BAD_MATCHES:
        answer = wire.send(right.with_headers(("If-Match", match)))
        wrong += [f"{match[:40]!r}: {fault}" for fault in faults(answer)]
        wrong += undeclared(operation, answer)
        if answer.status not in (400, 412):
            wrong.append(f"{match[:40]!r}: {answer.status} {answer.code}")

    assert not wrong, "\n".join(wrong)
    assert traces.since(before) == []


@pytest.mark.parametrize("operation", [*IDEMPOTENT[:1], *(o for o in UNSAFE if o[0] == "PUT")], ids=" ".join)
def test_a_field_that_comes_twice_is_never_our_fault(operation, world, wire):
    right = EXAMPLES[operation](world).request()
    wrong = []

    for name in TWICE:
        for first, second in (("x", "y"), ("", ""), ("1", "2")):
            twice = Request(right.method, right.target, ((name, first), *right.headers, (name, second)), right.body)
            answer = wire.send(twice)
            wrong += [
                f"{name}: {first}, {second}: {fault}" for fault in (faults(answer) if answer.status >= 400 else [])
            ]

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("operation", operations(), ids=" ".join)
def test_a_head_that_is_too_large_is_refused(operation, world, wire, traces):
    right = EXAMPLES[operation](world).request()
    before = traces.look()

    for added in ([("X", "x" * 20_000)], [(f"X-{n}", "x" * 2000) for n in range(10)], [("x" * 17_000, "")]):
        answer = wire.send(right.with_headers(*added))

        assert faults(answer) == []
        assert answer.status == 431
    assert traces.since(before) == []

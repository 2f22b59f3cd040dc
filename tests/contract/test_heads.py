"""Test request heads: conditions, idempotency keys, ids and all other header fields."""

from tests.contract.examples import EXAMPLES
from tests.contract.expected import REPRESENTATIVES, declared, faults, operations, require_none, undeclared
from tests.contract.raw_client import Request
from tests.contract.values import words

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
"""Header fields that never decide whether a request is valid."""

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

CONDITIONAL = [operation for operation in operations() if operation[0] == "PUT"]
IDEMPOTENT = [
    operation
    for operation in operations()
    if any(parameter["name"] == "Idempotency-Key" for parameter in declared(operation)["parameters"])
]


def test_odd_header_values_never_cause_a_server_error(seed, raw_client):
    def check(operation):
        example = EXAMPLES[operation](seed)
        right = example.request(raw=example.body and b"{}")
        cases = [(name, text, right.with_headers((name, text))) for name in FIELDS for text in TEXTS]
        answers = raw_client.send_all([request for *_, request in cases])
        for (name, text, _), answer in zip(cases, answers, strict=True):
            unchanged = (name, text) == ("If-None-Match", "*")
            if answer.status != (422 if example.body else 304 if unchanged else 200):
                yield f"{name}: {text[:40]!r}: {answer.status} {answer.body!r}"
            if answer.status >= 400:
                yield from (f"{name}: {text[:40]!r}: {fault}" for fault in faults(answer))

    require_none([("GET", "/.well-known/jwks.json"), ("POST", "/api/v1/qr/scan")], check)


def test_valid_request_with_odd_header_fields_succeeds(seed, raw_client):
    def check(operation):
        request = EXAMPLES[operation](seed).request()
        answer = raw_client.send(request.with_headers(*((name, '\xff;x=,"') for name in FIELDS)))
        if answer.status >= 300:
            yield f"{answer.status} {answer.body!r}"

    require_none(REPRESENTATIVES, check)


def test_accept_without_json_returns_406_and_writes_nothing(seed, raw_client, writes):
    def check(operation):
        right = EXAMPLES[operation](seed).request()
        before = writes.snapshot()
        for accept in (*NOT_ACCEPTABLE, *ODD_ACCEPTS):
            answer = raw_client.send(right.with_headers(("Accept", accept)))
            if accept in NOT_ACCEPTABLE and answer.status != 406:
                yield f"{accept!r}: {answer.status}, not 406"
            yield from (f"{accept[:40]!r}: {fault}" for fault in (faults(answer) if answer.status >= 400 else []))
            if answer.status < 300:
                right, before = EXAMPLES[operation](seed).request(), writes.snapshot()
            elif tables := writes.tables_changed_since(before):
                yield f"{accept[:40]!r}: {answer.status} has written to {tables}"

    require_none(REPRESENTATIVES, check)


def test_invalid_idempotency_key_returns_422_and_writes_nothing(seed, raw_client, writes):
    def check(operation):
        right = EXAMPLES[operation](seed).request()
        before = writes.snapshot()
        for key in BAD_KEYS:
            answer = raw_client.send(right.with_headers(("Idempotency-Key", key)))
            yield from (f"{key[:40]!r}: {fault}" for fault in faults(answer))
            if (answer.status, answer.fields) != (422, ["Idempotency-Key"]):
                yield f"{key[:40]!r}: {answer.status} {answer.json}"
        yield from writes.tables_changed_since(before)

    require_none(IDEMPOTENT, check)


def test_idempotency_key_is_ignored_by_other_endpoints(seed, raw_client):
    def check(operation):
        for key in BAD_KEYS:
            answer = raw_client.send(EXAMPLES[operation](seed).request().with_headers(("Idempotency-Key", key)))
            if answer.status >= 300:
                yield f"{key[:40]!r}: {answer.status}"

    require_none([operation for operation in REPRESENTATIVES if operation not in IDEMPOTENT], check)


def test_unmet_or_invalid_if_match_is_refused_and_writes_nothing(seed, raw_client, writes):
    def check(operation):
        right = EXAMPLES[operation](seed).request()
        before = writes.snapshot()
        for match in BAD_MATCHES:
            answer = raw_client.send(right.with_headers(("If-Match", match)))
            yield from (f"{match[:40]!r}: {fault}" for fault in (*faults(answer), *undeclared(operation, answer)))
            if answer.status not in (400, 412):
                yield f"{match[:40]!r}: {answer.status} {answer.code}"
        yield from writes.tables_changed_since(before)

    require_none(CONDITIONAL, check)


def test_repeated_header_field_never_causes_a_server_error(seed, raw_client):
    def check(operation):
        right = EXAMPLES[operation](seed).request()
        for name in TWICE:
            for first, second in (("x", "y"), ("", ""), ("1", "2")):
                twice = Request(right.method, right.target, ((name, first), *right.headers, (name, second)), right.body)
                answer = raw_client.send(twice)
                if answer.status >= 400:
                    yield from (f"{name}: {first}, {second}: {fault}" for fault in faults(answer))

    require_none([*REPRESENTATIVES, IDEMPOTENT[0]], check)


def test_oversized_head_returns_431_and_writes_nothing(seed, raw_client, writes):
    def check(operation):
        right = EXAMPLES[operation](seed).request()
        before = writes.snapshot()
        for added in ([("X", "x" * 20_000)], [(f"X-{n}", "x" * 2000) for n in range(10)], [("x" * 17_000, "")]):
            answer = raw_client.send(right.with_headers(*added))
            yield from faults(answer)
            if answer.status != 431:
                yield f"{answer.status}, not 431"
        yield from writes.tables_changed_since(before)

    require_none(REPRESENTATIVES, check)

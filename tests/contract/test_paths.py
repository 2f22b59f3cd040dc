"""Test paths: malformed ids, unknown ids, ids of another tenant, and unknown paths."""

from uuid import UUID, uuid4

from models.core.context import SYSTEM_ADMIN
from tests.contract.examples import EXAMPLES
from tests.contract.expected import REPRESENTATIVES, faults, operations, require_none, undeclared
from tests.contract.raw_client import Request
from tests.contract.values import words

WITH_PATH = [operation for operation in operations() if "{" in operation[1]]
WITH_IDS = [operation for operation in WITH_PATH if "_id}" in operation[1]]

UNKNOWN_PATHS = [
    *words("/api /api/ /api/v1 /api/v1/ /api/v2/campaigns /api/v1/campaign /api/v1//campaigns /api/v1/campaigns/"),
    *words("/API/V1/CAMPAIGNS /api/v1/campaigns%2f /api/v1/%63ampaigns/x /static /static/ /static/../settings.py"),
    *words(
        "/static/%2e%2e/settings.py /static/..%2f..%2fsettings.py /.env /%00 /%ff%fe /%ed%a0%80 /% /%zz /;x=1 /a\\b * x"
    ),
    *words(
        "x:443 http://elsewhere.example/nowhere /{campaign_id} /api/v1/campaigns/{campaign_id} /s /s/ /s/%00 /s/x%20y"
    ),
    *("/\xff\xfe", "/é", "/" + "a/" * 1000),
]

OF_ONE_BRAND = frozenset(
    (
        "api_key_id",
        "asset_id",
        "campaign_id",
        "check_in_id",
        "consent_id",
        "contact_id",
        "endpoint_id",
        "export_id",
        "guest_id",
        "import_id",
        "reward_id",
        "lookup_id",
        "merge_id",
        "note_id",
        "notification_id",
        "segment_id",
        "session_id",
        "ticket_id",
    )
)
"""Ids in paths whose records system admins don't see."""


def hostile_ids(right):
    """Yield malformed and unknown ids as they are written in a URL."""
    yield from words(
        "x 0 -1 null undefined NaN %20 %00 %0a %ff %ed%a0%80 %2f .. %2e%2e % %zz {id} %7b%7d * '%20or%201=1 +"
    )
    yield from ("\xff", utf8("👾"), utf8("٣") * 32, "0" * 36, "-" * 36, "z" * 36, "x" * 3000, "9" * 3000)
    yield from (f"{right}{added}" for added in words("%00 %0a %20 ;a=1 %2f .json 0"))
    another = "h" if str(right).endswith("g") else "g"
    yield from (f"%00{right}", f"({right})", f"0x{right}", str(right)[:-1], str(right)[:-1] + another)
    yield from (str(UUID(int=0)), str(UUID(int=2**128 - 1)), str(uuid4()))


def utf8(text):
    """Return a text as unescaped UTF-8 bytes in a URL."""
    return text.encode().decode("latin-1")


def path_faults(raw_client, operation, example, values):
    """Send the example with these values of its path parameters. Yield a fault for each answer that is not a 404."""
    cases = [(f"{name}={value}", example.request(**{name: value})) for name, value in values]
    for (name, _), answer in zip(cases, raw_client.send_all([request for _, request in cases]), strict=True):
        yield from (f"{name}: {fault}" for fault in (*faults(answer), *undeclared(operation, answer)))
        if answer.status != 404 and answer.code != "bad_token":
            yield f"{name}: {answer.status} {answer.code}, not 404"


def test_malformed_or_unknown_id_returns_404_and_writes_nothing(seed, raw_client, writes):
    def check(operation):
        example, before = EXAMPLES[operation](seed), writes.snapshot()
        values = [(name, value) for name, right in example.path.items() for value in hostile_ids(right)]
        yield from path_faults(raw_client, operation, example, values)
        yield from writes.tables_changed_since(before)

    # Ids are converted by the router. Other parameters (names, tokens) are read by each endpoint.
    require_none([o for o in WITH_PATH if o not in WITH_IDS or o in REPRESENTATIVES], check)


def test_unknown_id_and_id_of_another_tenant_return_404(seed, raw_client, writes):
    def check(operation):
        example, before = EXAMPLES[operation](seed), writes.snapshot()
        ids = [name for name in example.path if name in seed.foreign]
        values = [(name, str(uuid4())) for name in ids]
        if example.caller != seed.callers[SYSTEM_ADMIN]:
            values += [(name, str(seed.foreign[name])) for name in ids]
        yield from path_faults(raw_client, operation, example, values)
        yield from writes.tables_changed_since(before)

    require_none(WITH_IDS, check)


def test_record_of_another_tenant_is_refused_to_every_role(seed, raw_client, writes):
    def check(operation):
        example, before = EXAMPLES[operation](seed), writes.snapshot()
        theirs = {name: str(seed.foreign[name]) for name in example.path if name in seed.foreign}
        for role, caller in seed.callers.items():
            if role == SYSTEM_ADMIN and operation[0] != "GET" and (example.caller == caller or "brand_id" in theirs):
                continue  # system admins may change records of all brands here
            answer = raw_client.send(example.of(caller).request(**theirs))
            if role == SYSTEM_ADMIN and not OF_ONE_BRAND & theirs.keys():
                if answer.status != 200:
                    yield f"{role}: {answer.status}, not 200: system admins read brands and jobs of all brands"
                continue
            yield from (f"{role}: {fault}" for fault in faults(answer))
            if answer.status not in (401, 403, 404):
                yield f"{role}: {answer.status} {answer.code}"
        yield from writes.tables_changed_since(before)

    require_none(WITH_IDS, check)


def test_unknown_path_is_refused_for_every_method(raw_client):
    def check(operation):
        method, path = operation
        answer = raw_client.send(Request(method, path))
        yield from faults(answer)
        if answer.status not in (400, 404, 405):
            yield f"{answer.status} {answer.code}"

    methods = ("GET", "POST", "PUT", "DELETE", "PATCH", "BREW")
    require_none([(method, path) for method in methods for path in UNKNOWN_PATHS], check)

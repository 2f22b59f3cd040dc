"""Test `Idempotency-Key` with the real database: one execution, and the same answer to every repetition."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import msgspec
import pytest

from models.core import context, database
from models.core.database import transaction
from models.core.errors import Conflict
from models.operations import housekeeping
from settings import settings
from tests.web.conftest import serving
from web.app import application, create_app
from web.http.endpoint import endpoint, etag
from web.openapi.document import endpoint_specs

KEY = {"Idempotency-Key": "8e03978e-40d5-43e8-bc93-6894a57f9324"}


class Order(msgspec.Struct, forbid_unknown_fields=True):
    item: str


class Orders:
    """Create orders, and count the calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.door = threading.Event()
        self.door.set()

    @endpoint(permission="public", body=Order, example={"item": "a"}, status=201, idempotent=True)
    def on_post(self, req, resp):
        self.calls += 1
        self.door.wait(5)
        if req.context.body.item == "sold out":
            raise Conflict("Sold out.")
        resp.location = f"/orders/{self.calls}"
        etag(resp, self.calls)
        resp.media = {
            "number": self.calls,
            "item": req.context.body.item,
            "backend": database.value("select pg_backend_pid()"),
        }

    @endpoint(permission="public", status=204, idempotent=True)
    def on_delete(self, req, resp):
        self.calls += 1

    @endpoint(permission="public", body=Order, example={"item": "a"})
    def on_put(self, req, resp):
        self.calls += 1


@pytest.fixture
def orders():
    return Orders()


@pytest.fixture
def api(db_clean, orders):
    config = replace(settings, log_level="WARNING", trusted_proxies=1, web_threads=4)
    with ExitStack() as stack:
        yield stack.enter_context(serving(create_app(config, routes=[("/orders", orders), ("/others", orders)])))


def post(api, item="tea", headers=KEY, path="/orders", address="203.0.113.1"):
    return api.post(path, json={"item": item}, headers={**headers, "X-Forwarded-For": address})


def test_repeated_key_returns_the_first_answer(api, orders):
    first, second = post(api), post(api)

    assert orders.calls == 1
    assert (second.status_code, second.content) == (201, first.content)
    for header in ("location", "etag", "content-type"):
        assert second.headers[header] == first.headers[header]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["x-request-id"] != first.headers["x-request-id"]


class Secrets:
    """Return a new secret for each call."""

    def __init__(self) -> None:
        self.calls = 0

    @endpoint(permission="public", body=Order, example={"item": "a"}, status=201, idempotent=True, secret=True)
    def on_post(self, req, resp):
        self.calls += 1
        resp.location = f"/secrets/{self.calls}"
        resp.media = {"secret": f"swordfish {self.calls}"}


@pytest.fixture
def secrets(db_clean):
    config = replace(settings, log_level="WARNING", trusted_proxies=1, web_threads=4)
    with serving(create_app(config, routes=[("/secrets", Secrets())])) as api:
        yield api


def test_answer_with_a_secret_is_stored_encrypted_and_repeated(secrets, query):
    first, second = post(secrets, path="/secrets"), post(secrets, path="/secrets")

    assert (second.status_code, second.content) == (201, first.content)
    assert second.headers["location"] == first.headers["location"]
    ((stored,),) = query("select body from app.idempotency_keys")
    assert "swordfish" not in stored


def test_encrypted_answer_of_one_key_is_no_answer_of_another(secrets, query):
    post(secrets, path="/secrets")
    other = {"Idempotency-Key": "another"}
    post(secrets, path="/secrets", headers=other)
    query("update app.idempotency_keys set body = (select body from app.idempotency_keys where key <> 'another')")

    assert post(secrets, path="/secrets", headers=other).status_code == 500
    assert post(secrets, path="/secrets").status_code == 201


def test_answer_with_a_secret_is_gone_after_five_minutes(secrets, query):
    first = post(secrets, path="/secrets")
    query("update app.idempotency_keys set secret_until = secret_until - interval '5 minutes'")

    late = post(secrets, path="/secrets")
    with transaction(context.for_system_job()):
        housekeeping.expire_answers()
    later = post(secrets, path="/secrets")

    for answer in (late, later):
        assert (answer.status_code, answer.json["code"]) == (409, "conflict")
        assert answer.headers["location"] == first.headers["location"]
    assert query("select body from app.idempotency_keys") == [(None,)]


def test_answer_under_a_retired_root_secret_is_gone(secrets, query):
    post(secrets, path="/secrets")
    query("update app.idempotency_keys set body = '99' || body")

    assert post(secrets, path="/secrets").status_code == 409


def test_repeated_key_returns_an_empty_first_answer(api, orders):
    answers = [api.delete("/orders", headers=KEY) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 204]
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert orders.calls == 1


def test_key_with_another_request_returns_422(api, orders):
    post(api)

    for answer in (post(api, item="coffee"), post(api, path="/others")):
        assert (answer.status_code, answer.json["code"]) == (422, "idempotency_key_reused")
    assert post(api).status_code == 201
    assert orders.calls == 1


def test_concurrent_requests_with_a_key_happen_once(api, orders):
    orders.door.clear()
    with ThreadPoolExecutor(3) as clients:
        answers = [clients.submit(post, api) for _ in range(3)]
        while not orders.calls:
            threading.Event().wait(0.001)
        orders.door.set()
        answers = [answer.result(60) for answer in answers]

    assert orders.calls == 1
    assert {answer.content for answer in answers} == {answers[0].content}
    assert sorted("idempotent-replayed" in answer.headers for answer in answers) == [False, True, True]


def test_key_of_refused_request_can_be_used_again(api, orders):
    assert post(api, item="sold out").status_code == 409
    assert post(api, item="sold out").status_code == 409
    assert orders.calls == 2
    assert post(api, item="tea").status_code == 201


def test_key_of_another_client_is_independent(api, orders):
    post(api, address="203.0.113.1")
    other = post(api, address="203.0.113.2", item="coffee")

    assert other.status_code == 201
    assert other.json["number"] == 2


def test_requests_without_key_are_all_executed(api, orders):
    post(api, headers={})
    post(api, headers={})

    assert orders.calls == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "é", "a\tb"])
def test_invalid_key_returns_422_without_effect(api, orders, key):
    answer = post(api, headers={"Idempotency-Key": key})

    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "Idempotency-Key")
    assert orders.calls == 0


def test_key_is_ignored_by_endpoints_without_support(api, orders):
    for _ in range(2):
        assert api.put("/orders", json={"item": "tea"}, headers=KEY).status_code == 200
    assert orders.calls == 2


HARMLESS = {
    "/api/v1/auth/accept-invitation": "the link is valid once",
    "/api/v1/auth/anonymous": "the unused fan is deleted; a key would reveal the session to all who share an address",
    "/api/v1/auth/email/confirm": "the link is valid once",
    "/api/v1/auth/email/undo": "the link is valid once",
    "/api/v1/auth/login": "the unused session expires",
    "/api/v1/auth/logout": "an ended session stays ended",
    "/api/v1/auth/mfa/verify": "a code is valid once",
    "/api/v1/auth/password/reset": "the link is valid once",
    "/api/v1/auth/refresh": "an unused successor is returned again",
    "/api/v1/auth/signup": "an address has one open sign-up, and the same link is mailed again",
    "/api/v1/auth/step-up": "a later confirmation replaces the earlier one",
    "/api/v1/auth/verify": "the link is valid once",
    "/api/v1/assets/{asset_id}/complete": "a checked upload stays checked",
    "/api/v1/campaigns/{campaign_id}/check-ins/{check_in_id}/undo": "an undone check-in stays undone",
    "/api/v1/campaigns/{campaign_id}/complete": "a completed campaign stays completed",
    "/api/v1/campaigns/{campaign_id}/pause": "a paused campaign stays paused",
    "/api/v1/campaigns/{campaign_id}/resume": "an active campaign stays active",
    "/api/v1/campaigns/{campaign_id}/versions/{version_number}/revert": "equal contents make no new version",
    "/api/v1/check-ins": "a scan checks in once",
    "/api/v1/notifications/read": "a read notification stays read",
    "/api/v1/tickets": "a person has one ticket of an event",
    "/api/v1/tickets/{ticket_id}/cancel": "a cancelled ticket stays cancelled",
    "/api/v1/audiences/preview": "a preview stores nothing",
    "/api/v1/crm/exports/{export_id}/cancel": "a cancelled export stays cancelled",
    "/api/v1/crm/imports/{import_id}/cancel": "a cancelled import stays cancelled",
    "/api/v1/venues/geocode": "the answer is kept and returned again",
    "/api/v1/jobs/{job_id}/cancel": "a cancelled job stays cancelled",
    "/api/v1/qr/scan": "`client_scan_id` identifies the scan",
    "/api/v1/users/me/mfa": "an unconfirmed authenticator replaces the earlier one",
    "/api/v1/users/me/mfa/confirm": "a code is valid once",
    "/api/v1/users/me/mfa/recovery-codes": "new codes replace the earlier ones",
    "/api/v1/users/me/password": "the present password is required, and it has changed",
}
"""POSTs without `Idempotency-Key`, and why a retry neither creates nor sends a second time."""


def test_post_takes_an_idempotency_key_unless_a_retry_is_harmless():
    specs = endpoint_specs(application)

    without = {path for (method, path), spec in specs.items() if method == "POST" and not spec.idempotent}

    assert without == HARMLESS.keys()


def test_idempotent_answer_with_a_secret_is_declared_secret():
    answers = {path: spec for (_, path), spec in endpoint_specs(application).items() if spec.idempotent}
    secrets = {"key", "secret", "access_token", "refresh_token", "recovery_codes"}  # the token of a code is printed

    found = {path for path, spec in answers.items() if secrets & set(getattr(spec.response, "__struct_fields__", ()))}

    assert {path for path, spec in answers.items() if spec.secret} == {
        # `key` is that of the reward, or of the property
        *(found - {"/api/v1/rewards/redeem", "/api/v1/crm/properties"}),
        *("/api/v1/assets", "/api/v1/rewards/{reward_id}/claim"),  # a signed URL, and a code
    }
    assert "/api/v1/api-keys" in found

"""Describe a code over HTTP before it is scanned."""

from datetime import timedelta
from uuid import uuid4

import pytest

from models.campaigns import campaigns, codes
from models.core import keys
from models.core.database import now
from models.tenants import brands
from tests.fixtures.scans import FENCE
from tests.support.brokers import until
from web.http.locales import preferred


@pytest.fixture
def describe(client):
    """`describe(token, account)`: the description of a code, for an account or an anonymous caller."""

    def ask(token, account=None, **options):
        return client.get(f"/api/v1/qr/codes/{token}", token=account and account.token, **options)

    return ask


def test_description_of_code_names_brand_campaign_and_needs(describe, brand, campaign, code_of, superuser):
    superuser.cursor().execute('update public.brands set settings = \'{"color": "#ff8800"}\'')
    made = campaign(geofence=FENCE, consent_tiers=["essential", "marketing"])

    answer = describe(code_of(made), params={"locale": "es-MX"})

    assert answer.status_code == 200
    assert answer.json["brand"] == {"id": str(brand["id"]), "name": brand["name"], "color": "#ff8800"}
    assert answer.json["campaign"] == {"id": str(made.id), "name": made.name, "type": made.type}
    assert answer.json["status"] == "active"
    assert answer.json["location_required"] is True
    assert answer.json["consent_tiers"] == ["essential", "marketing"]
    assert answer.json["missing_tiers"] is None
    notice = answer.json["notice"]
    assert (notice["key"], notice["version"], notice["locale"]) == ("default", 1, "es")
    assert notice["title"]
    assert notice["body"]


def test_description_for_an_ended_session_leaves_no_entry_of_the_fan(describe, client, fan, campaign, code_of, query):
    phone = fan()
    client.post("/api/v1/auth/logout", token=phone.token)

    answer = describe(code_of(campaign()), phone)
    client.get("/api/v1/consents", token=phone.token)  # Refusals are stored in order: this one is stored.

    assert answer.json["code"] == "session_ended"
    kept = "select details ->> 'operation' from audit_logs where outcome = 'refused'"
    until(lambda: query(kept))
    assert query(kept) == [("GET /api/v1/consents",)]


def test_description_for_person_names_missing_tiers_only(describe, fan, campaign, code_of):
    code = code_of(campaign(consent_tiers=["essential", "analytics", "marketing"]))

    answers = [describe(code, fan(*given)).json["missing_tiers"] for given in ((), ("analytics",))]

    assert answers == [["analytics", "essential", "marketing"], ["essential", "marketing"]]


def test_description_counts_consents_given_to_its_brand(describe, fan, campaign, code_of, superuser):
    made, person = campaign(), fan("essential")
    superuser.cursor().execute(
        "update public.consents set brand_id = %s where user_id = %s", (made.brand_id, person.user_id)
    )

    assert describe(code_of(made), person).json["missing_tiers"] == []


def test_description_for_api_key_names_no_missing_tiers(client, member, campaign, code_of):
    asked = {"name": "till", "scopes": ["campaigns:read"]}
    key = client.post("/api/v1/api-keys", json=asked, token=member("Brand Admin").token).json["key"]

    answer = client.get(f"/api/v1/qr/codes/{code_of(campaign())}", token=key)

    assert (answer.status_code, answer.json["missing_tiers"]) == (200, None)


def test_description_shows_whether_the_caller_needs_an_account(describe, fan, campaign, code_of, become_account):
    codes = [code_of(campaign("For all")), code_of(campaign("For accounts", requires_account=True))]
    person, owner = fan(), fan()
    become_account(owner)

    answers = [describe(code, caller).json for code in codes for caller in (None, person, owner)]

    needs = [(answer["account_required"], answer["account_missing"]) for answer in answers]
    assert needs == [(False, None), (False, False), (False, False), (True, None), (True, True), (True, False)]


def test_description_is_private_for_a_person_and_else_public(describe, fan, campaign, code_of):
    code = code_of(campaign())

    anonymous, person = describe(code), describe(code, fan())

    assert anonymous.headers["Cache-Control"] == "public, max-age=30"
    assert person.headers["Cache-Control"] == "private, no-cache"
    assert {"Accept-Language", "Authorization"} <= set(anonymous.headers["Vary"].split(", "))
    again = describe(code, headers={"If-None-Match": anonymous.headers["ETag"]})
    assert (again.status_code, again.text) == (304, "")


@pytest.mark.parametrize(
    ("status", "transitions", "config"),
    [
        ("active", [], {}),
        ("paused", ["pause"], {}),
        ("ended", ["complete"], {}),
        ("not_started", [], {"starts_at": timedelta(hours=1)}),
        ("ended", [], {"ends_at": timedelta(hours=-1)}),
    ],
)
def test_description_has_status_of_campaign(
    describe, campaign, code_of, manager, superuser, status, transitions, config
):
    made = campaign()
    for transition in transitions:
        with manager.acting():
            campaigns.transition(made.id, transition)
    for field, away in config.items():
        change = "update public.campaigns set config = config || jsonb_build_object(%s, %s)"
        superuser.cursor().execute(change, (field, (now() + away).isoformat()))

    assert describe(code_of(made)).json["status"] == status


def test_code_outside_weekly_windows_is_closed_until_the_next(describe, phone, fan, campaign, code_of):
    opening = (now() + timedelta(days=2)).replace(hour=12, minute=0, second=0, microsecond=0)
    windows = [{"days": [f"{opening:%a}".lower()], "opens": "12:00", "closes": "13:00"}]
    code, always = code_of(campaign(scan_windows=windows)), code_of(campaign("Always"))
    at = opening.isoformat().replace("+00:00", "Z")

    closed, opened = describe(code).json, describe(always).json
    # Without a consent the scan is not stored; its reason and the opening are the same.
    refused = [phone(account=fan(*given)).scan(code) for given in ((), ("essential",))]

    assert (closed["status"], closed["scan_windows"], closed["timezone"]) == ("closed", windows, "UTC")
    assert closed["opens_at"] == at
    assert (opened["status"], opened["scan_windows"], opened["opens_at"]) == ("active", [], None)
    assert [(answer.status_code, answer.json["code"], answer.json["opens_at"]) for answer in refused] == [
        (409, "scan_window_closed", at)
    ] * 2


def test_description_of_draft_is_not_started(describe, campaign, manager):
    draft = campaign(launched=False)
    with manager.acting():
        code = codes.add(draft.id, "Door")

    assert describe(codes.make_token(code.id, code.key_version)).json["status"] == "not_started"


def test_description_of_archived_brand_is_paused(describe, admin, campaign, code_of, manager):
    made, draft = campaign(), campaign("Draft", launched=False)
    with manager.acting():
        code = codes.add(draft.id, "Door")
    with admin.acting():
        brands.archive(made.brand_id)

    answers = [describe(code_of(made)), describe(codes.make_token(code.id, code.key_version))]

    assert [answer.json["status"] for answer in answers] == ["paused", "paused"]


def test_description_of_unknown_or_disabled_code_is_refused(describe, campaign, code_of, superuser):
    code, unknown = code_of(campaign()), codes.make_token(uuid4(), keys.active_version())
    superuser.cursor().execute("update public.qr_codes set disabled_at = now()")

    answers = [describe(token) for token in ("nonsense", unknown, code)]

    refusals = [(answer.status_code, answer.json["code"]) for answer in answers]
    assert refusals == [(422, "bad_token"), (404, "unknown_code"), (404, "unknown_code")]


def test_description_with_ended_session_is_refused(describe, fan, campaign, code_of, superuser):
    person, code = fan(), code_of(campaign())
    superuser.cursor().execute("update app.sessions set revoked_at = now()")

    answer = describe(code, person)

    assert (answer.status_code, answer.json["code"]) == (401, "session_ended")


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        (None, []),
        ("es-MX", ["es-MX"]),
        ("fr;q=0.5, es-MX, en;q=0.8", ["es-MX", "en", "fr"]),
        ("en;q=0, *, es", ["es"]),
        ("x" * 5000 + ",;q=,=" + ",de" * 20, ["de"] * 7),
    ],
)
def test_accept_language_is_read_best_first(header, tags):
    assert preferred(header) == tags


def test_description_takes_best_language_that_notice_has(describe, campaign, code_of):
    code = code_of(campaign())

    answers = [
        describe(code, headers={"Accept-Language": header}).json["notice"]["locale"]
        for header in ("fr, es-MX;q=0.8, en;q=0.5", "en-GB, es;q=0.9", "fr")
    ]

    assert answers == ["es", "en", "en"]

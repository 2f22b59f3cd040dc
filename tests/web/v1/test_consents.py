"""Test consents over HTTP."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from models.core.database import new_id

pytestmark = pytest.mark.usefixtures("fresh_limits")


def events_of(superuser, account):
    with superuser.cursor() as cursor:
        cursor.execute(
            "select action, consent_tier, notice_sha256, locale, source from consent_events"
            " where user_id = %s order by at",
            (account.user_id,),
        )
        return cursor.fetchall()


def missing(superuser, account, brand, *tiers):
    with superuser.cursor() as cursor:
        cursor.execute("select app.missing_consents(%s, %s, %s)", (account.user_id, brand["id"], list(tiers)))
        return cursor.fetchone()[0]


def test_default_notice_is_public_and_matches_its_hash(client):
    notice = client.get("/api/v1/consent-notices/default", params={"locale": "es"})

    assert notice.status_code == 200
    assert (notice.json["locale"], notice.json["version"]) == ("es", 1)
    assert hashlib.sha256(notice.json["body"].encode()).hexdigest() == notice.json["sha256"]
    assert notice.json["tiers"] == ["essential", "analytics", "marketing", "ai_processing"]


def test_notice_is_in_the_nearest_language(client):
    for asked, given in (("es-MX", "es"), ("en-GB", "en"), ("fr", "en"), (None, "en")):
        notice = client.get("/api/v1/consent-notices/default", params={"locale": asked} if asked else {})

        assert notice.json["locale"] == given


def test_consent_has_an_event_with_its_exact_notice(client, fan, superuser):
    phone = fan()
    notice = client.get("/api/v1/consent-notices/default", params={"locale": "es"}).json

    given = client.post("/api/v1/consents", json={"tier": "marketing", "locale": "es"}, token=phone.token)

    assert given.status_code == 201
    assert given.json["notice"] == notice
    assert (given.json["tier"], given.json["brand_id"], given.json["active"]) == ("marketing", None, True)
    assert client.get(given.headers["Location"], token=phone.token).json == given.json
    assert events_of(superuser, phone) == [("grant", "marketing", notice["sha256"], "es", "api")]


def test_consent_uses_the_notice_in_the_language_of_the_person(client):
    spanish = client.post("/api/v1/auth/anonymous", json={"locale": "es-AR"}).json["access_token"]

    given = client.post("/api/v1/consents", json={"tier": "essential"}, token=spanish)

    assert given.json["notice"]["locale"] == "es"


def test_second_consent_returns_the_one_in_force(client, fan, superuser):
    phone = fan()

    first, again = (client.post("/api/v1/consents", json={"tier": "essential"}, token=phone.token) for _ in range(2))

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json == again.json
    assert len(events_of(superuser, phone)) == 1


def test_concurrent_consents_create_one(client, fan, superuser):
    phone = fan()
    with ThreadPoolExecutor(8) as pool:
        asked = [
            pool.submit(client.post, "/api/v1/consents", json={"tier": "essential"}, token=phone.token)
            for _ in range(8)
        ]
        answers = [answer.result() for answer in asked]

    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json["id"] for answer in answers}) == 1
    assert len(events_of(superuser, phone)) == 1


def test_withdrawn_consent_is_missing_immediately(client, brand, fan, superuser):
    phone = fan()
    given = client.post("/api/v1/consents", json={"tier": "marketing"}, token=phone.token).json
    before = missing(superuser, phone, brand, "essential", "marketing")

    revoked = client.delete(f"/api/v1/consents/{given['id']}", token=phone.token)

    assert before == ["essential"]
    assert revoked.status_code == 204
    assert missing(superuser, phone, brand, "essential", "marketing") == ["essential", "marketing"]
    assert [event[0] for event in events_of(superuser, phone)] == ["grant", "withdraw"]
    (listed,) = client.get("/api/v1/consents", token=phone.token).json["items"]
    assert (listed["active"], listed["revoked_at"] is None) == (False, False)


def test_second_withdrawal_changes_nothing(client, fan, superuser):
    phone = fan()
    given = client.post("/api/v1/consents", json={"tier": "marketing"}, token=phone.token).json

    answers = [client.delete(f"/api/v1/consents/{given['id']}", token=phone.token).status_code for _ in range(2)]

    assert answers == [204, 204]
    assert len(events_of(superuser, phone)) == 2


def test_withdrawn_consent_can_be_given_again(client, fan):
    phone = fan()
    first = client.post("/api/v1/consents", json={"tier": "marketing"}, token=phone.token).json
    client.delete(f"/api/v1/consents/{first['id']}", token=phone.token)

    second = client.post("/api/v1/consents", json={"tier": "marketing"}, token=phone.token)

    assert second.status_code == 201
    assert second.json["id"] != first["id"]


def test_consent_for_one_brand_is_missing_for_another(client, fan, make_brand, superuser):
    phone, own, other = fan(), make_brand("Own"), make_brand("Other")

    given = client.post("/api/v1/consents", json={"tier": "marketing", "brand_id": str(own["id"])}, token=phone.token)

    assert given.json["brand_id"] == str(own["id"])
    assert missing(superuser, phone, own, "marketing") == []
    assert missing(superuser, phone, other, "marketing") == ["marketing"]


def test_expired_consent_is_missing_and_can_be_given_again(client, brand, fan, superuser):
    phone = fan("essential")
    superuser.cursor().execute("update consents set expires_at = now()")

    (over,) = client.get("/api/v1/consents", token=phone.token).json["items"]
    lacking = missing(superuser, phone, brand, "essential")
    again = client.post("/api/v1/consents", json={"tier": "essential"}, token=phone.token)

    assert (over["active"], lacking) == (False, ["essential"])
    assert again.status_code == 201
    assert [event[0] for event in events_of(superuser, phone)] == ["grant", "expire", "grant"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_consent_of_another_person_is_not_found(client, fan, method, superuser):
    mine, yours = fan(), fan("essential")
    (given,) = client.get("/api/v1/consents", token=yours.token).json["items"]

    refused = client.request(method, f"/api/v1/consents/{given['id']}", token=mine.token)

    assert (refused.status_code, refused.json["code"]) == (404, "not_found")
    assert client.get("/api/v1/consents", token=mine.token).json["items"] == []
    assert len(events_of(superuser, yours)) == 1


INVALID = [
    ("invalid", {"tier": "everything"}),
    ("invalid", {}),
    ("invalid", {"tier": "essential", "user_id": str(new_id())}),
    ("invalid", {"tier": "essential", "brand_id": "acme"}),
    ("unknown_brand", {"tier": "essential", "brand_id": str(new_id())}),
    ("unknown_notice", {"tier": "essential", "notice_id": str(new_id())}),
]
"""Error codes and bodies."""


def test_invalid_consent_is_refused(client, fan, superuser):
    phone = fan()

    for code, body in INVALID:
        refused = client.post("/api/v1/consents", json=body, token=phone.token)

        assert (refused.status_code, refused.json["code"]) == (422, code), body
    assert events_of(superuser, phone) == []


def test_consents_are_listed_newest_first_page_by_page(client, fan):
    phone = fan()
    tiers = ["essential", "analytics", "marketing"]
    for tier in tiers:
        client.post("/api/v1/consents", json={"tier": tier}, token=phone.token)

    first = client.get("/api/v1/consents", params={"limit": 2}, token=phone.token).json
    second = client.get("/api/v1/consents", params={"limit": 2, "cursor": first["next_cursor"]}, token=phone.token).json

    assert [c["tier"] for c in first["items"] + second["items"]] == tiers[::-1]
    assert second["next_cursor"] is None

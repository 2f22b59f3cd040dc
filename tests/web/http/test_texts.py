"""Test names, labels, language tags and time zones over HTTP, on representative endpoints."""

import unicodedata
import xml.dom.minidom
import zoneinfo

import pytest

CAMPAIGNS = "/api/v1/campaigns"


@pytest.fixture
def codes(client, manager):
    """Return the URL of a draft campaign's codes."""
    made = client.post(CAMPAIGNS, json={"name": "Summer", "type": "QR"}, token=manager.token).json
    return f"{CAMPAIGNS}/{made['id']}/codes"


@pytest.mark.parametrize("label", ["a\uffff", "a\ufffe", "\u200b", "\u3164", "\u2800", "a\u202eb", "a\x85b", " "])
def test_unreadable_label_returns_422_with_its_reason(client, manager, codes, label):
    refused = client.post(codes, json={"label": label}, token=manager.token)

    ((field, reason),) = [(error["field"], error["reason"]) for error in refused.json["errors"]]
    assert (refused.status_code, field) == (422, "label")
    assert reason.startswith("must ")


def test_labels_that_look_alike_are_one_label(client, manager, codes):
    first = client.post(codes, json={"label": "Cañón  1"}, token=manager.token)

    for label in (unicodedata.normalize("NFD", "Cañón 1"), "Cañón 1 ", "Cañón\u00a01", " Cañón\u2003 1"):
        assert client.post(codes, json={"label": label}, token=manager.token).status_code == 409

    assert first.json["label"] == "Cañón 1"


def test_image_of_code_with_any_label_is_well_formed_xml(client, manager, codes, superuser):
    code = client.post(codes, json={"label": "x"}, token=manager.token).json
    superuser.cursor().execute("update public.qr_codes set label = %s", ("a\uffff\x01<b>\u202e",))

    image = client.get(f"{codes}/{code['id']}/image.svg", token=manager.token)

    document = xml.dom.minidom.parseString(image.content)
    assert document.getElementsByTagName("title")[0].firstChild.data == "a<b>\u202e"


def test_names_and_reasons_follow_the_rule_of_labels(client, admin, member, superuser):
    person = member("Creator")

    renamed = client.patch("/api/v1/users/me", json={"name": " Ana\u00a0 Lo\u0301pez "}, token=person.token)
    refused = client.put(
        f"/api/v1/users/{person.user_id}/suspension", json={"reason": "\u2066\u2069"}, token=admin.token
    )
    found = client.get("/api/v1/users", params={"email": f" {person.email[:12]} "}, token=admin.token)

    assert renamed.json["name"] == "Ana López"
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "reason")
    assert [one["id"] for one in found.json["items"]] == [str(person.user_id)]


@pytest.mark.parametrize(
    ("tag", "kept"),
    [
        ("en-US-u-mu-celsius", "en-US"),
        ("es_MX", "es-MX"),
        ("ES", "es"),
        ("x-private", "und"),
        ("a" + "-b" * 127, "und"),
    ],
)
def test_language_tag_is_kept_as_language_and_region(client, member, brand, admin, tag, kept):
    person = member("Brand Admin")

    anonymous = client.post("/api/v1/auth/anonymous", json={"locale": tag})
    profile = client.patch("/api/v1/users/me", json={"locale": tag}, token=person.token)

    assert (anonymous.status_code, anonymous.json["user"]["locale"]) == (201, kept)
    assert (profile.status_code, profile.json["locale"]) == (200, kept)


def test_invalid_language_tag_returns_422(client):
    refused = client.post("/api/v1/auth/anonymous", json={"locale": "es MX"})

    assert (refused.status_code, refused.json["errors"]) == (
        422,
        [{"field": "locale", "reason": "must be a language tag, such as es or es-MX"}],
    )


@pytest.mark.parametrize("tag", ["en-US-u-mu-celsius", "es_MX", "es MX", "", "C.UTF-8", "a" * 300])
def test_scan_with_any_locale_is_accepted(phone, campaign, code_of, tag):
    device = {"fingerprint": "3f1b2c4d5e6f7a8b", "locale": tag}

    assert phone().scan(code_of(campaign()), device=device).status_code == 201


@pytest.mark.parametrize(("tag", "shown"), [("ES_es", "es"), ("es-u-ms-metric", "es"), ("fr-FR", "en")])
def test_scan_without_consent_shows_notice_in_language_of_device(phone, fan, campaign, code_of, tag, shown):
    device = {"fingerprint": "3f1b2c4d5e6f7a8b", "locale": tag}

    answer = phone(account=fan()).scan(code_of(campaign()), device=device)

    assert (answer.status_code, answer.json["notice"]["locale"]) == (403, shown)


@pytest.mark.parametrize("zone", ["Factory", "localtime"])
def test_unknown_time_zone_returns_422_on_every_endpoint(client, member, brand, zone):
    person = member("Brand Admin")
    brand_now = client.get(f"/api/v1/brands/{brand['id']}", token=person.token)

    answers = [
        client.patch("/api/v1/users/me", json={"timezone": zone}, token=person.token),
        client.patch(
            f"/api/v1/brands/{brand['id']}",
            json={"settings": {"timezone": zone}},
            token=person.token,
            headers={"If-Match": brand_now.headers["ETag"]},
        ),
        client.post(CAMPAIGNS, json={"name": "x", "type": "QR", "config": {"timezone": zone}}, token=person.token),
    ]

    assert zone in zoneinfo.available_timezones()
    assert [answer.status_code for answer in answers] == [422, 422, 422]


def test_locale_that_is_left_out_is_the_first_accepted_language(client):
    def locale_of(body, accepted):
        headers = {"Accept-Language": accepted} if accepted else {}
        return client.post("/api/v1/auth/anonymous", json=body, headers=headers).json["user"]["locale"]

    assert locale_of({}, "es-MX,es;q=0.9,en;q=0.8") == "es-MX"
    assert locale_of({}, "en;q=0.5, fr-CA") == "fr-CA"
    assert locale_of({"locale": "en"}, "es-MX") == "en"
    assert locale_of({}, None) == locale_of({}, "*") == "en"


def test_sign_up_without_locale_mails_in_the_accepted_language(client, drain, mailbox):
    headers = {"Accept-Language": "es-MX"}
    client.post("/api/v1/auth/signup", json={"email": "ana@example.com"}, headers=headers)
    drain()
    body = {"token": mailbox.token("ana@example.com"), "password": "paseo por el prado"}
    client.post("/api/v1/auth/verify", json=body, headers=headers)

    assert mailbox.to("ana@example.com")[0]["Content-Language"] == "es"
    login = {"email": "ana@example.com", "password": "paseo por el prado"}
    assert client.post("/api/v1/auth/login", json=login).json["user"]["locale"] == "es-MX"

"""Test the notice in force: every request that shows or accepts a notice uses the same one."""

import pytest

from models.campaigns.launch import NotReady, require_ready
from models.core.database import new_id, now

pytestmark = pytest.mark.usefixtures("fresh_limits")

DEFAULT_EN, DEFAULT_ES = (f"0197a000-0000-7000-8000-00000000000{number}" for number in (1, 2))


@pytest.fixture
def shown(client, phone, fan, campaign, code_of, publish_notice):
    """`shown(key)`: ids of the notices that a scan, a code, the default and a consent without notice use in English."""

    def ask(key="default"):
        code, person = code_of(campaign(notice_key=key)), fan()
        device = phone(account=person)
        asked = device.body(code)
        asked["device"]["locale"] = "en"
        by_scan = device.send(asked).json["notice"]["id"]
        by_code = client.get(f"/api/v1/qr/codes/{code}", params={"locale": "en"}).json["notice"]["id"]
        if key != "default":
            return {by_scan, by_code}
        default = client.get("/api/v1/consent-notices/default").json["id"]
        given = client.post("/api/v1/consents", json={"tier": "essential", "locale": "en"}, token=person.token)
        return {by_scan, by_code, default, given.json["notice"]["id"]}

    return ask


def test_notice_published_earlier_replaces_the_version_before(shown, publish_notice):
    newer = publish_notice()

    assert shown() == {str(newer)}


def test_notice_of_tomorrow_is_not_shown_today(shown, publish_notice):
    publish_notice(after="1 day")

    assert shown() == {DEFAULT_EN}


def test_retired_notice_gives_way_to_the_version_before(shown, publish_notice, retire_notice):
    retire_notice(publish_notice())

    assert shown() == {DEFAULT_EN}


def test_notice_of_another_key_is_not_shown(shown, publish_notice):
    publish_notice(key="other", version=5)

    assert shown() == {DEFAULT_EN}


def test_campaign_with_its_own_key_shows_its_notice(shown, publish_notice):
    own = publish_notice(key="own", version=1)

    assert shown("own") == {str(own)}


@pytest.mark.parametrize("after", ["0", "1 day"])
def test_consent_under_notice_not_in_force_names_current(client, fan, publish_notice, after):
    newer = str(publish_notice(after=after))
    current, other = (newer, DEFAULT_EN) if after == "0" else (DEFAULT_EN, newer)

    answer = client.post("/api/v1/consents", json={"tier": "essential", "notice_id": other}, token=fan().token)

    assert (answer.status_code, answer.json["code"]) == (409, "notice_not_in_force")
    assert (answer.json["notice"]["id"], answer.json["notice"]["key"]) == (current, "default")


def test_consent_under_retired_notice_is_refused(client, fan, retire_notice):
    retire_notice(DEFAULT_ES)
    person = fan()

    answer = client.post("/api/v1/consents", json={"tier": "essential", "notice_id": DEFAULT_ES}, token=person.token)

    assert (answer.status_code, answer.json["code"]) == (409, "notice_not_in_force")
    assert answer.json["notice"]["id"] == DEFAULT_EN


def test_consent_under_last_notice_of_key_retired_is_refused(client, fan, publish_notice, retire_notice):
    only = publish_notice(key="own", version=1)
    retire_notice(only)

    answer = client.post("/api/v1/consents", json={"tier": "essential", "notice_id": str(only)}, token=fan().token)

    assert (answer.status_code, answer.json["code"]) == (422, "unknown_notice")


def test_consent_under_each_language_in_force_is_given(client, fan, publish_notice):
    own = publish_notice(key="own", version=3)

    for notice_id in (DEFAULT_EN, DEFAULT_ES, str(own)):
        given = client.post("/api/v1/consents", json={"tier": "essential", "notice_id": notice_id}, token=fan().token)
        assert (given.status_code, given.json["notice"]["id"]) == (201, notice_id)


def test_database_takes_no_consent_under_notice_not_in_force(superuser, fan, publish_notice):
    person, tomorrow = fan(), publish_notice(after="1 day")
    give = "select app.add_consent(%s, %s, 'essential', null, %s, 'test', null)"

    with pytest.raises(Exception, match="notice_not_in_force"):
        superuser.cursor().execute(give, (str(new_id()), str(person.user_id), tomorrow))


def test_notice_changes_with_nothing_but_its_retirement(superuser, publish_notice):
    publish_notice()

    for change in ("body = 'x', retired_at = now()", "published_at = now()", "valid_for = '1 day'"):
        with pytest.raises(Exception, match="notice_is_published"):
            superuser.cursor().execute(f"update public.consent_notices set {change} where version = 2")


@pytest.mark.parametrize(
    ("key", "field"), [("nowhere", "config.notice_key"), ("narrow", "config.consent_tiers"), ("own", None)]
)
def test_launch_needs_notice_that_covers_its_tiers(campaign, manager, publish_notice, key, field):
    publish_notice(key="own", version=1)
    publish_notice(key="narrow", version=1, tiers=["analytics"])
    draft = campaign(launched=False, notice_key=key)

    with manager.acting():
        if field is None:
            require_ready(draft, at=now())
            return
        with pytest.raises(NotReady) as refused:
            require_ready(draft, at=now())
    assert [error["field"] for error in refused.value.extra["errors"]] == [field]

"""Tests of the page of a code, in a real browser against the real server."""

import json
from datetime import timedelta
from uuid import UUID

import pytest
import time_machine

from models.core.database import now
from models.identity import access_tokens
from tests.fixtures.scans import MADRID
from tests.support.browser import Browser

FENCE = {"lat": MADRID[0], "lon": MADRID[1], "radius_m": 500}

TIER = "#tiers label"


@pytest.fixture
def page(server, campaign, code_of) -> str:
    """Return the URL of a code whose scans need a consent and a location."""
    return f"{server}/s/{code_of(campaign('Summer', geofence=FENCE))}"


REFRESHES = "select count(*) from app.refresh_tokens"
PEOPLE = "select count(*) from public.users where email is null"
SCANS = "select count(*) filter (where decision = 'accepted'), count(*), count(distinct user_id) from public.qr_scans"


def agree(browser: Browser) -> None:
    browser.click("#start")
    browser.until("#notice-title")
    browser.click(TIER)
    browser.click("#agree [type=submit]")


def take_part(browser: Browser, page: str) -> None:
    """Make a first scan, which is accepted."""
    browser.open(page)
    agree(browser)
    browser.click("#share")
    assert browser.until("#outcome-title") == "It counts!"


def session(browser: Browser) -> dict[str, str]:
    return json.loads(browser.run("return localStorage.getItem('companon.session')") or "null")


def let_expire(browser: Browser) -> None:
    """Replace the access token by an expired one, as after a pause of two hours."""
    claims = access_tokens.verify(session(browser)["access_token"])
    with time_machine.travel(now() - timedelta(hours=2), tick=False):
        old = access_tokens.issue(
            user_id=UUID(claims["sub"]),
            session_id=UUID(claims["session_id"]),
            user_role=claims["app_metadata"]["user_role"],
            brand_id=None,
            is_anonymous=True,
        )
    browser.run(
        "const kept = JSON.parse(localStorage.getItem('companon.session'));"
        "localStorage.setItem('companon.session', JSON.stringify({ ...kept, access_token: arguments[0] }))",
        old,
    )


def test_first_scan_of_a_fan_is_one_accepted_scan(browser, page, look):
    browser.open(page)

    assert browser.until("#whose") == "Summer · Acme"
    browser.click("#start")
    browser.until("#notice-title")
    assert look(PEOPLE) == 0, "no consent is given yet"
    browser.click(TIER)
    browser.click("#agree [type=submit]")
    browser.click("#share")

    assert browser.until("#outcome-title") == "It counts!"
    assert look(SCANS) == (1, 1, 1)
    assert look(PEOPLE) == 1
    browser.until_true("return document.title === 'It counts! · Summer · Acme'")


def test_reload_shows_the_outcome_without_a_box_around_its_title(browser, page):
    take_part(browser, page)

    browser.command("Page.reload")
    browser.until_true("return (document.activeElement || {}).id === 'outcome-title'")

    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "none"


def test_fan_without_account_is_asked_to_sign_up(browser, server, campaign, code_of, fan, become_account, look):
    browser.open(f"{server}/s/{code_of(campaign(requires_account=True))}")

    assert browser.until("#outcome-title") == "You need an account"
    assert browser.until("#sign-up") == "Sign up"
    assert look(PEOPLE) == 0
    owner = fan("essential")
    become_account(owner)
    kept = json.dumps({"access_token": owner.token, "refresh_token": ""})
    browser.run("localStorage.setItem('companon.session', arguments[0])", kept)
    browser.click("#again")
    assert browser.until("#outcome-title") == "It counts!"
    assert look(SCANS) == (1, 1, 1)


def test_fan_who_declines_leaves_nothing(browser, page, look):
    browser.open(page)
    browser.click("#start")
    browser.click("#decline")

    assert browser.until("#outcome-title") == "Nothing was counted"
    assert look(PEOPLE) == 0
    assert session(browser) is None


def test_fan_who_returns_a_day_later_is_the_same_person(browser, page, look):
    take_part(browser, page)
    let_expire(browser)

    browser.open("about:blank")
    browser.open(page)
    browser.click("#start")
    browser.click("#share")

    assert browser.until("#outcome-title") == "It counts!"
    assert look(SCANS) == (2, 2, 1)
    assert look(PEOPLE) == 1


def test_consent_is_withdrawn_a_day_later(browser, page, look):
    take_part(browser, page)
    let_expire(browser)

    browser.open("about:blank")
    browser.open(page)
    browser.click("#consents")
    browser.click("#given button")

    assert "None is in force" in browser.until("#mine-text:not(:has(+ #given > li))")
    assert look("select revoked_at is not null from public.consents") is True


def test_two_tabs_refresh_a_session_once(browser, page, look):
    take_part(browser, page)
    let_expire(browser)
    first, before = browser.tab(), look(REFRESHES)
    # Hold the lock until three requests were refused for the expired token: one in this tab, two in the other,
    # which also sends one when it opens.
    browser.run("navigator.locks.request('companon.session', () => new Promise((done) => { window.release = done; }))")
    asking = "window.answer = ask('GET', '/api/v1/consents').then(({ status }) => status)"
    waiting = "return navigator.locks.query().then(({ pending }) => pending.length >= 3)"

    browser.run(asking)
    browser.new_tab()
    browser.open(page)
    browser.run(asking)
    browser.until_true(waiting)
    second = browser.tab()
    browser.switch_to(first)
    browser.run("window.release()")

    for tab in (second, first):
        browser.switch_to(tab)
        assert browser.run("return window.answer") == 200
        if tab == second:
            browser.run("window.close()")
    assert look(REFRESHES) == before + 1


def test_fan_whose_session_was_ended_agrees_again_as_another_person(browser, page, look, superuser):
    take_part(browser, page)
    with superuser.cursor() as cursor:
        cursor.execute("update app.sessions set revoked_at = now()")

    browser.open("about:blank")
    browser.open(page)
    browser.click("#start")
    browser.until("#notice-title")

    assert look(PEOPLE) == 1, "no consent is given yet"
    assert session(browser) is None


def test_position_of_a_receiver_1024_weeks_behind_counts(browser, page, look):
    browser.open(page)
    browser.run("localStorage.weeks = 1024")

    take_part(browser, page)

    assert look("select captured_at > now() - interval '1 hour' from public.qr_scans") is True


@pytest.mark.parametrize(
    ("status", "title"), [("Completed", "It's over"), ("Paused", "Not running"), (None, "This code is not in use")]
)
def test_code_that_is_not_in_use_shows_reason_and_stores_no_scan(browser, page, look, superuser, status, title):
    with superuser.cursor() as cursor:
        if status:
            completed = "case %s when 'Completed' then now() end"
            cursor.execute(f"update public.campaigns set status = %s, completed_at = {completed}", (status, status))
        else:
            cursor.execute("update public.qr_codes set disabled_at = now()")

    browser.open(page)

    assert browser.until("#outcome-title") == title
    assert look(SCANS) == (0, 0, 0)


def test_code_outside_its_hours_names_the_next_opening(browser, server, campaign, code_of, look):
    later = f"{now() + timedelta(days=2):%a}".lower()
    hours = {"scan_windows": [{"days": [later], "opens": "12:00", "closes": "13:00"}]}

    browser.open(f"{server}/s/{code_of(campaign('Evenings', **hours))}")

    assert browser.until("#outcome-title") == "Closed now"
    assert "Scans count again from" in browser.until("#outcome-text")
    assert look(SCANS) == (0, 0, 0)


def test_scan_in_test_mode_says_that_it_is_not_counted(browser, server, campaign, code_of, look):
    browser.open(f"{server}/s/{code_of(campaign(test_mode=True, consent_tiers=[]))}")
    browser.click("#start")

    assert browser.until("#outcome-title") == "Test received"
    first = browser.until("#reference")
    browser.click("#again")
    browser.until_true(f"return document.getElementById('reference').textContent !== '{first}'")
    assert browser.until("#outcome-title") == "Test received"
    assert look(SCANS) == (2, 2, 1)

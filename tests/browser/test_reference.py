"""Tests of the API reference, in a real browser against the real server."""

import json

import pytest

from models.identity import totp
from tests.fixtures.accounts import PASSWORD, TOTP_SECRET, forget_code

PROFILE = "#getProfile"
PRESS = """
    const found = [...document.querySelectorAll('button')].filter((one) => one.checkVisibility()
        && one.innerText.trim().startsWith(arguments[0]));
    if (found.length) found[0].click();
    return found.length;
"""


LOADS = pytest.mark.slow
"""Mark of tests that load the reference again: one load takes some seconds of processor time."""


@pytest.fixture
def reference(browser, server):
    """Return `open(fragment)`: it opens the reference at an operation and waits for it."""

    def open_at(fragment="", awaited="Quick start"):
        browser.resize(1280, 900)
        browser.open("about:blank")
        browser.open(f"{server}/docs{fragment}")
        browser.until_true(f"return document.body.innerText.includes({json.dumps(awaited)})")
        return browser

    return open_at


def press(browser, text):
    """Click the first shown button with a text, once there is one."""
    browser.until_true(f"return ((...arguments) => {{ {PRESS} }})({json.dumps(text)})")


def sign_in(browser, **fields):
    """Submit the form of the sign-in that has these fields."""
    for name, value in fields.items():
        browser.type(f"#sign-in [name={name}]", value)
    browser.click(f"#sign-in form:has([name={name}]) button")


def profile_shows(browser, person):
    """Send `GET /api/v1/users/me` from the reference and wait until the answer shows this person."""
    press(browser, "Test Request\n(get /api/v1/users/me)")
    press(browser, "Send\n")
    browser.until_true(f"return document.body.innerText.includes('{person.user_id}')")
    return True


def test_person_signs_in_with_password_and_sends_requests(reference, member, server):
    ana = member("Brand Admin")
    browser = reference(PROFILE, "getProfile")
    require_own_resources(browser, server)

    browser.click("#open")
    sign_in(browser, email=ana.email, password=PASSWORD)

    assert browser.until("#who") == ana.email
    assert profile_shows(browser, ana)
    press(browser, "Close Client")
    browser.click("#sign-out")
    assert browser.until("#open") == "Sign in"
    assert browser.run("return sessionStorage.getItem('companon.docs')") is None


def require_own_resources(browser, server):
    """Require that the page has loaded nothing from elsewhere and has violated no policy."""
    loaded = browser.run("return performance.getEntriesByType('resource').map(({ name }) => name)")
    assert len(loaded) >= 4
    assert [url for url in loaded if not url.startswith(f"{server}/")] == []
    assert browser.run("return window.violations") == []


@LOADS
def test_operation_is_found_by_link_and_search(reference):
    browser = reference("#createCampaign", "createCampaign")

    page = browser.run("return document.body.innerText")
    assert [text for text in ("Quick start", "JavaScript", "Python", "Authorization: Bearer") if text not in page] == []

    press(browser, "Open Search")
    browser.until_true("return Boolean(document.querySelector('input[role=combobox]'))")
    browser.type("input[role=combobox]", "createCampaign")
    browser.until_true("return Boolean(document.querySelector('[role=option][id$=\"/createCampaign\"]'))")


@LOADS
def test_system_admin_signs_in_with_code_after_a_wrong_password(reference, admin, superuser):
    browser = reference(PROFILE, "getProfile")

    browser.click("#open")
    sign_in(browser, email=admin.email, password="wrong")
    assert browser.until("#trouble") == "The email address or the password is wrong"
    assert browser.text("#who") == ""
    browser.run("document.querySelector('#with-password').reset()")
    sign_in(browser, email=admin.email, password=PASSWORD)
    browser.until("#with-code")
    forget_code(superuser, admin.user_id)
    sign_in(browser, code=totp.code(TOTP_SECRET))

    assert browser.until("#who") == admin.email
    assert profile_shows(browser, admin)


@LOADS
def test_pasted_token_is_sent_and_an_ending_session_refreshed(reference, member, client):
    ana = member("Creator")
    browser = reference(PROFILE, "getProfile")

    browser.click("#open")
    sign_in(browser, token=ana.token)
    assert browser.until("#who") == "Access token"
    assert profile_shows(browser, ana)

    session = client.post("/api/v1/auth/login", json={"email": ana.email, "password": PASSWORD}).json
    ending = {"token": "no longer valid", "refresh": session["refresh_token"], "name": ana.email, "until": 0}
    browser.run("sessionStorage.setItem('companon.docs', arguments[0])", json.dumps(ending))
    browser = reference(PROFILE, "getProfile")
    assert profile_shows(browser, ana)

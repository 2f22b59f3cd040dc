"""Tests of the page that completes a sign-up, in a real browser against the real server."""

import json
import re

import pytest

PASSWORD = "paseo por el prado"
ADDRESS = "ana@fans.example"
PEOPLE = "select count(*) from public.users"


@pytest.fixture
def link(client, server, drain, mailbox):
    """Return `link(locale)`: it signs up and returns the link in the mail."""

    def sign_up(locale="en"):
        client.post("/api/v1/auth/signup", json={"email": ADDRESS, "locale": locale})
        drain()
        found = re.search(r"https?://[^/\s]+(\S+#token=\S+)", mailbox.text(ADDRESS))
        assert found
        return server + found[1]

    return sign_up


def submit(browser, password=PASSWORD, *tiers):
    """Wait for the form, fill it in and submit it."""
    browser.until("#text")
    browser.type("[name=name]", "Ana")
    browser.type("[name=password]", password)
    for tier in tiers:
        browser.until("#consents")
        browser.click(f"label:has([value={tier}])")
    browser.click("[type=submit]")


def profile(client):
    """Sign in with the chosen password and return the profile of the account."""
    signed_in = client.post("/api/v1/auth/login", json={"email": ADDRESS, "password": PASSWORD})
    assert signed_in.status_code == 200
    return client.get("/api/v1/users/me", token=signed_in.json["access_token"]).json


def session(browser):
    return json.loads(browser.run("return localStorage.getItem('companon.session')") or "null")


def test_verified_account_has_the_password_name_and_ticked_consent(browser, link, client):
    browser.open(link())

    submit(browser, PASSWORD, "analytics")

    assert browser.until("#answer.good") == "Thank you. Your account is ready; you can sign in now."
    made = profile(client)
    assert (made["name"], made["consent_tiers"]) == ("Ana", ["analytics"])
    assert session(browser) is None


def test_weak_password_shows_the_reason_and_leaves_the_link_valid(browser, link, client):
    browser.open(link())

    submit(browser, "password123")

    assert browser.until("#answer.bad").startswith("Password is easy to guess: use several")
    assert browser.run("return document.activeElement.name") == "password"
    browser.run("document.activeElement.value = ''")
    browser.type("[name=password]", PASSWORD)
    browser.click("[type=submit]")
    browser.until("#answer.good")
    assert profile(client)["email"] == ADDRESS


@pytest.mark.parametrize("keeps", [True, False])
def test_anonymous_fan_becomes_the_account_if_the_reader_agrees(browser, server, link, client, keeps):
    browser.open(f"{server}/docs")
    fan = client.post("/api/v1/auth/anonymous", json={}).json
    client.post("/api/v1/consents", json={"tier": "essential"}, token=fan["access_token"])
    ended = {"access_token": fan["access_token"][:-1], "refresh_token": fan["refresh_token"], "is_anonymous": True}
    browser.run("localStorage.setItem('companon.session', arguments[0])", json.dumps(ended))

    browser.open(link())
    if keeps:
        browser.click("#keep")
    submit(browser, PASSWORD, "analytics")

    browser.until("#answer.good")
    made = profile(client)
    assert (made["id"] == fan["user"]["id"]) is keeps
    assert made["consent_tiers"] == (["essential", "analytics"] if keeps else ["analytics"])
    assert session(browser)["is_anonymous"] is not keeps


def test_link_of_a_spanish_mail_opens_a_spanish_page(browser, link):
    browser.open(link("es"))
    browser.until("#consents")

    page = browser.run("return document.body.innerText")
    assert browser.run("return document.documentElement.lang") == "es"
    assert "Nombre" in page
    assert "Acepto que mi participación se use" in page
    submit(browser, "password123")
    assert browser.until("#answer.bad").startswith("Contraseña es fácil de adivinar")


def test_used_link_in_the_same_tab_shows_the_next_steps(browser, link, look):
    address = link()
    browser.open(address)
    submit(browser)
    browser.until("#answer.good")

    browser.open(address)
    submit(browser)

    assert "sign in. If not, have a new link mailed to you." in browser.until("#answer.bad")
    assert look(PEOPLE) == 1
    browser.type("#renew [name=email]", "new@fans.example")
    browser.click("#renew [type=submit]")
    assert browser.until("#answer.good").startswith("Look at your mail")
    assert look("select email from app.signups where email <> %s", ADDRESS) == "new@fans.example"


def test_password_is_shown_on_request_and_its_rule_before_typing(browser, link):
    browser.open(link())

    assert browser.until("#rule").startswith("At least 10 characters.")
    browser.type("[name=password]", PASSWORD)
    browser.click(".secret button")
    assert browser.run("return document.querySelector('[name=password]').type") == "text"
    assert browser.text(".secret button") == "Hide"


def test_page_in_the_other_language_has_the_token_of_the_link(browser, link, client):
    browser.open(link())
    browser.click("#languages a")
    browser.until_true("return document.documentElement.lang === 'es'")
    submit(browser)

    assert browser.until("#answer.good").startswith("Gracias.")
    assert profile(client)["locale"] == "es"

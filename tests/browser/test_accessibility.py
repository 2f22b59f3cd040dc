"""Accessibility of all pages by axe-core: a phone in Spanish and dark colours, a computer in English and light ones."""

import json

import pytest

from tests.support import axe
from web.pages.mail_pages import PAGES as MAIL_PAGES

SHAPES = {"phone": (390, 844, "es", "dark"), "computer": (1280, 900, "en", "light")}
FITS = "return document.documentElement.scrollWidth <= innerWidth"
TAB = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}


@pytest.fixture(params=["phone", pytest.param("computer", marks=pytest.mark.slow)])
def shape(request, browser):
    """Return the browser in a size and colours, and a language."""
    width, height, language, colours = SHAPES[request.param]
    browser.resize(width, height)
    browser.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": colours}])
    yield browser, language
    browser.command("Emulation.setEmulatedMedia", features=[])


def faults(browser, page):
    """Return what axe finds on the shown page, and whether it is too wide."""
    wide = [] if browser.run(FITS) else ["wider than the window"]
    return [f"{page}: {fault}" for fault in (*axe.violations(browser), *wide)]


def test_mail_pages_and_errors_are_accessible(shape, server, request):
    browser, language = shape
    names = MAIL_PAGES if request.config.getoption("--slow") else ["verify-email"]  # one template makes all
    found = []

    for page in (
        *(f"{name}?lang={language}#token=x" for name in names),
        f"verify-email?lang={language}",
        "docs/errors#invalid",
        "nowhere",
    ):
        browser.open("about:blank")
        browser.open(f"{server}/{page}")
        browser.until("h1")
        found += faults(browser, page)

    assert found == []


def test_every_step_of_a_scan_is_accessible(shape, server, campaign, code_of):
    browser, language = shape
    found = []

    browser.open(f"{server}/s/{code_of(campaign('Summer'))}?lang={language}")
    for shown, then in (("#start", "#start"), ("#tiers label", "#decline"), ("#again", "")):
        browser.until(shown)
        browser.run("for (const motion of document.getAnimations()) motion.finish()")
        found += faults(browser, shown)
        if then:
            browser.click(then)

    assert found == []


@pytest.mark.slow
def test_reference_and_its_sign_in_are_accessible(shape, server):
    browser, _ = shape
    browser.open("about:blank")
    browser.open(f"{server}/docs")
    browser.until_true("return document.body.innerText.includes('Quick start')")
    found = faults(browser, "reference")

    browser.click("#open")
    found += faults(browser, "sign-in")

    assert found == []


def test_mail_page_is_complete_by_keyboard(browser, server):
    browser.resize(1280, 900)
    browser.open("about:blank")
    browser.open(f"{server}/reset-password?lang=en#token=x")
    browser.until("#text")
    reached = []

    for _ in range(4):
        for kind in ("rawKeyDown", "keyUp"):
            browser.command("Input.dispatchKeyEvent", type=kind, **TAB)
        reached.append(browser.run("const at = document.activeElement; return at.name || at.innerText"))

    assert reached == ["password", "Show", "Change", "Español"], json.dumps(reached)

"""Print the times of the first load: `./scripts/test tests/browser/test_first_load.py --slow -s`."""

import statistics

import pytest

pytestmark = pytest.mark.slow
LOADS = 5
SEEN = """
    new MutationObserver((_, observer) => {
        if (!document.body || !document.body.innerText.includes('Quick start')) return;
        window.seen = performance.now();
        observer.disconnect();
    }).observe(document, { childList: true, subtree: true });
"""


def test_first_load_of_the_reference_shows_the_quick_start(browser, server):
    browser.before_pages(SEEN)
    times = []

    for _ in range(LOADS):
        browser.open("about:blank")
        browser.command("Network.clearBrowserCache")
        browser.open(f"{server}/docs")
        browser.until_true("return window.seen")
        times.append(browser.run("return [seen, performance.getEntriesByType('navigation')[0].loadEventEnd]"))

    for name, values in zip(("quick start shown", "load event"), zip(*times, strict=True), strict=True):
        print(f"{name}: median {statistics.median(values):.0f} ms, best {min(values):.0f} ms of {LOADS} loads")
    assert len(times) == LOADS

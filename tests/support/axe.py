"""Accessibility checks of the page that a browser shows, by axe-core (https://github.com/dequelabs/axe-core)."""

from functools import cache
from importlib import resources

from tests.support.browser import Browser

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

_REPORT = """
    return (async (context, rules) => {
        const found = await axe.run(context, { runOnly: rules, resultTypes: ['violations'] });
        return found.violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target} ${node.html}`));
    })(...arguments)
"""


@cache
def _source() -> str:
    return (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def violations(browser: Browser, **context: list[str]) -> list[str]:
    """Return each violation as rule and element. `include` and `exclude` are lists of CSS selectors."""
    if not browser.run("return Boolean(window.axe)"):
        browser.run(_source())
    found: list[str] = browser.run(_REPORT, context or {"include": ["html"]}, RULES)
    return found

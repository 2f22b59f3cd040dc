"""Excerpts of documentation pages for tests that run or compare them."""

import re

from scripts.devstack.environment import ROOT


def block(page: str, name: str) -> str:
    """Return the text of a page between the markers of that name, without its fence."""
    text = (ROOT / page).read_text()
    (found,) = re.findall(rf"<!-- {name} -->\n(?:```\w*\n)?(.*?)(?:```\n)?<!-- /{name} -->", text, re.DOTALL)
    return str(found)

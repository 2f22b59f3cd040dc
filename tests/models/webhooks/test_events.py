"""Types of events, and their page."""

import re

from models.webhooks.events import EVENT_TYPES
from scripts.devstack.environment import ROOT


def test_page_lists_each_type_of_event():
    page = (ROOT / "docs" / "webhooks.md").read_text()
    rows = [line.split(" | ")[0] for line in page.splitlines() if re.match(r"\| `[a-z_]+\.[a-z_]+`", line)]

    assert sorted(name for row in rows for name in re.findall(r"`([a-z_]+\.[a-z_]+)`", row)) == sorted(EVENT_TYPES)

"""Test that the introduction of the document names operations and bodies that exist."""

import re

import msgspec

from tests.web.openapi.test_schemas import own
from web.app import application
from web.openapi.document import endpoint_specs
from web.openapi.introduction import INTRODUCTION

CALL = re.compile(r"curl (-X POST )?\$API(\S+)(?:(?!```|curl).)*?(?:--json \\\n  '([^']*)')?\n(?=curl|```)", re.DOTALL)
"""A command of the introduction: its method, path and body."""


def test_commands_of_the_introduction_fit_their_operations():
    specs, calls = endpoint_specs(application), CALL.findall(INTRODUCTION)

    for post, path, body in calls:
        spec = specs["POST" if post or body else "GET", path.replace("$CAMPAIGN", "{campaign_id}")]
        assert not body or msgspec.json.decode(body, type=spec.body)
        assert bool(body) == (spec.body is not None), path
    assert len(calls) == INTRODUCTION.count("curl ") == 8


def test_operations_that_the_introduction_names_exist():
    named = re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/api/\S+)`", INTRODUCTION)

    assert len(named) >= 6
    assert not [one for one in named if one not in endpoint_specs(application)]


def test_headers_that_the_introduction_names_are_declared():
    named = set(re.findall(r"`([A-Z][A-Za-z]+(?:-[A-Za-z]+)+)", INTRODUCTION))
    of_requests = {"Accept-Language", "Idempotency-Key", "If-Match", "If-None-Match"}

    assert named - of_requests - {"Deprecation", "Sunset"} <= own()["components"]["headers"].keys()

"""The catalogue of errors: the page agrees with the code, and describes every code."""

import re
from pathlib import Path

import jobs.actors  # noqa: F401  (declares the errors of jobs, which the page describes, too)
from models.core.errors import REGISTRY
from web.app import application
from web.openapi import error_catalogue
from web.openapi.document import endpoint_specs

CONSTANT = re.compile(r"`[a-z_.]*[A-Z][A-Z_]+`")
PAGE = Path(__file__).resolve().parents[3] / "docs" / "errors.md"
SPECS = endpoint_specs(application)


def test_catalogue_page_matches_the_code(request):
    page = error_catalogue.page(SPECS)
    if request.config.getoption("--renew-errors"):
        PAGE.write_text(page)

    assert PAGE.read_text() == page, f"If this is meant: {error_catalogue.RENEW}"


def test_every_code_is_general_internal_or_declared_by_an_operation():
    declared = {kind.code for spec in SPECS.values() for kind in spec.problems}
    by_option = {"idempotency_key_reused", "recent_authentication_required", "sign_in_is_elsewhere"}
    unlisted = set(REGISTRY) - error_catalogue.ANY_OPERATION - error_catalogue.INTERNAL - by_option - declared

    assert not unlisted, f"name {unlisted} in problems= of an endpoint"
    assert set(REGISTRY) >= error_catalogue.ANY_OPERATION | error_catalogue.INTERNAL
    assert not error_catalogue.INTERNAL & declared


def test_entry_describes_members_and_operations_of_its_code():
    by_code = {entry.code: entry for entry in error_catalogue.entries(SPECS)}

    assert [member.name for member in by_code["limit_reached"].members] == ["scope", "window", "retry_after"]
    assert [member.name for member in by_code["forbidden"].members] == ["permission?", "scope?"]
    assert by_code["limit_reached"].members[1].type == "`day`, `hour`"
    assert by_code["limit_reached"].source == "Operations: `POST /api/v1/qr/scan`."
    assert by_code["invalid"].members[0].type == "list of object with `field`, `reason`"
    assert by_code["idempotency_key_reused"].source.count("`POST ") > 5


def test_no_meaning_names_a_constant_of_the_code():
    naming = {entry.code: entry.meaning for entry in error_catalogue.entries(SPECS) if CONSTANT.search(entry.meaning)}

    assert not naming


def test_every_member_has_a_meaning():
    silent = [
        (entry.code, member.name)
        for entry in error_catalogue.entries(SPECS)
        for member in entry.members
        if not member.meaning
    ]

    assert not silent

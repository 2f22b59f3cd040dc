"""Test that every endpoint whose act must be audited declares it. The endpoints are found from the routes."""

from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest

from web.http.endpoint_spec import OPEN, EndpointSpec
from web.operations import metrics, probes
from web.v1 import ROUTES

WRITES_ITS_OWN_ENTRY = {
    "POST /api/v1/auth/signup": "app.sign_up, including throttled requests",
    "POST /api/v1/auth/verify": "app.verify_signup, once the account is known",
    "POST /api/v1/auth/accept-invitation": "app.accept_invitation, once the account is known",
    "POST /api/v1/auth/login": "app.sign_in and app.record_failed_sign_in",
    "POST /api/v1/auth/password/forgot": "app.request_password_reset, including throttled requests",
    "POST /api/v1/auth/password/reset": "app.reset_password, once the account is known",
    "POST /api/v1/auth/email/confirm": "app.confirm_email_change, once the account is known",
    "POST /api/v1/auth/email/undo": "app.undo_email_change, once the account is known",
    "POST /api/v1/users/me/invitation": "the function that accepts the invitation, with its brand",
}
IS_ITS_OWN_RECORD = {
    "POST /api/v1/auth/anonymous": "the session's row has its time and address; no person is identified yet",
    "POST /api/v1/auth/refresh": "the session's row; a token used twice ends the session, which has an entry",
    "POST /api/v1/notifications/read": "each row has the time of reading; only its person reads and changes it",
    "PUT /api/v1/notifications/{notification_id}/read": "the row has the time of reading, as above",
    "POST /api/v1/qr/scan": "a scan's row has its decision, reasons, person and place; it is never changed",
}
COUNTS_ONLY = {"POST /api/v1/audiences/preview": "stores nothing; the answer has counts, small ones withheld"}
OWN_DATA = {
    "GET /api/v1/users/me": "a person's own profile",
    "GET /api/v1/users/me/sessions": "a person's own sessions",
    "GET /api/v1/consents": "a person's own consents",
    "GET /api/v1/consents/{consent_id}": "a person's own consent",
    "GET /api/v1/actors": "the admin who has paused an actor",
    "GET /api/v1/campaigns": "the address of a venue",
    "GET /api/v1/campaigns/{campaign_id}": "the address of a venue",
    "GET /api/v1/campaigns/{campaign_id}/versions": "the address of a venue",
    "GET /api/v1/campaigns/{campaign_id}/versions/{version_number:int(min=1, max=2147483647)}": "an address of a venue",
}
PERSONAL = {"email", "by_email", "admin_email", "phone", "address", "user_agent", "args"}
"""Names of fields with personal data; arguments of jobs may contain some."""


def declared() -> dict[str, EndpointSpec]:
    found = {}
    for template, resource in [*metrics.ROUTES, *probes.routes(), *ROUTES]:
        for name in dir(resource):
            declaration = getattr(getattr(resource, name), "spec", None)
            if declaration is not None and name != "on_head":
                found[f"{name.removeprefix('on_').upper()} {template.replace(':uuid', '')}"] = declaration
    return found


def fields_of(kind: Any, seen: set[Any]) -> Iterator[str]:
    """Return the names of all fields of a type, nested ones included."""
    if kind in seen:
        return
    seen.add(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            yield field.encode_name
            yield from fields_of(field.type, seen)
    for inner in get_args(kind):
        if isinstance(inner, type) or get_args(inner):
            yield from fields_of(inner, seen)
    origin = getattr(kind, "__origin__", None)
    if isinstance(origin, type) and issubclass(origin, msgspec.Struct):
        yield from fields_of(origin, seen)


ENDPOINTS = declared()


def test_endpoints_that_write_declare_an_audit_action():
    exempt = WRITES_ITS_OWN_ENTRY | IS_ITS_OWN_RECORD | COUNTS_ONLY
    silent = {
        operation
        for operation, declaration in ENDPOINTS.items()
        if not operation.startswith("GET ") and not declaration.audit
    }

    assert silent - set(exempt) == set(), (
        'declare `audit="subject.verb"` in @endpoint, or add it to an exemption of tests/web/http/test_auditing.py'
    )


def test_reads_of_personal_data_declare_an_audit_action():
    silent = {
        operation
        for operation, declaration in ENDPOINTS.items()
        if operation.startswith("GET ")
        and not declaration.audit
        and declaration.permission not in OPEN
        and PERSONAL & set(fields_of(declaration.response, set()))
    }

    assert silent - set(OWN_DATA) == set(), "declare audit=, or add it here with the owner of the data"


@pytest.mark.parametrize(
    "exempt",
    [WRITES_ITS_OWN_ENTRY, IS_ITS_OWN_RECORD, COUNTS_ONLY, OWN_DATA],
    ids=["writes its own", "is its own record", "counts only", "own data"],
)
def test_audit_exemptions_exist_and_are_needed(exempt):
    assert {operation for operation in exempt if operation not in ENDPOINTS or ENDPOINTS[operation].audit} == set()


def test_fields_are_found_at_any_depth():
    assert "email" in set(fields_of(ENDPOINTS["GET /api/v1/brands/{brand_id}/members"].response, set()))
    assert "args" in set(fields_of(ENDPOINTS["GET /api/v1/dead-jobs/{dead_job_id}"].response, set()))


@pytest.mark.parametrize("operation", [name for name, found in ENDPOINTS.items() if found.audit])
def test_actions_are_named_subject_and_verb(operation):
    subject, _, verb = str(ENDPOINTS[operation].audit).partition(".")

    assert subject.isidentifier()
    assert verb.isidentifier()

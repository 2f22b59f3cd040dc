"""A valid request for every operation of the API. Attacks are made from it.

Bodies and queries contain every field of the operation, so that each field is attacked.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from models.core import signed_links
from models.core.context import FAN, SYSTEM_ADMIN
from models.core.database import transaction
from models.jobs import dead_letters
from models.jobs.dead_letters import Filter
from models.tenants import invitations
from tests.contract import audience_examples as audience_examples  # registers its examples
from tests.contract.example import Example
from tests.contract.registry import DECLARED as DECLARED
from tests.contract.registry import EXAMPLES
from tests.contract.registry import example as _example
from tests.contract.registry import own as _own
from tests.contract.registry import page as _page
from tests.contract.seed import (
    OTHER_PASSWORD,
    PASSWORD,
    Seed,
    address,
    notice_id,
    webhook_endpoint,
)
from web.http.pagination import encode_cursor
from web.v1.campaigns._schemas import CAMPAIGN
from web.v1.jobs.dead_letters import REPLAY
from web.v1.scans.scans import SCAN


def _own_event(seed: Seed) -> dict[str, Any]:
    return {"campaign_id": seed.own["event_id"]}


def _own_guest(seed: Seed) -> dict[str, Any]:
    return {"campaign_id": seed.own["event_id"], "guest_id": seed.own["guest_id"]}


def _own_check_in(seed: Seed) -> dict[str, Any]:
    return {"campaign_id": seed.own["event_id"], "check_in_id": seed.own["check_in_id"]}


def _sent_invitation(seed: Seed) -> dict[str, Any]:
    return {"brand_id": seed.brand_id, "invitation_id": seed.sent_invitation()}


_QUESTION = {
    "kind": "text",
    "id": "taste",
    "text": {"en": "Good?", "es": "¿Bien?"},
    "required": False,
    "max_length": 200,
}


def _every_rule(_: Seed) -> dict[str, Any]:
    more = {
        "max_accuracy_m": 100.0,
        "max_location_age_s": 60,
        "max_lateness_s": 3600,
        "scan_windows": [{"days": ["fri"], "opens": "18:00", "closes": "02:00"}],
        "venue": {"name": "x", "address": "y", "lat": 40.4, "lon": -3.7, "precision": "street"},
        "survey": {"questions": [_QUESTION]},
        "budget": {"amount": 1, "currency": "EUR"},
        "goals": [{"metric": "reach", "target": 2000}],
        "segment_ids": [],
    }
    return {
        "config": {**CAMPAIGN["config"], **more, "requires_account": False, "test_mode": False, "notice_key": "default"}
    }


def _taking_up(seed: Seed) -> Example:
    fan = seed.newcomer()
    token = signed_links.make(invitations.LINK_PURPOSE, seed.invitation(fan.email))
    return Example(("POST", "/api/v1/users/me/invitation"), fan, body={"token": token})


EXAMPLES["POST", "/api/v1/users/me/invitation"] = _taking_up


def _notifications(seed: Seed) -> dict[str, Any]:
    assert seed.notification()
    return {"limit": 2, "unread": "false"}


def _webhook_endpoint(seed: Seed) -> dict[str, Any]:
    return {"endpoint_id": seed.webhook_endpoint()}


def _invitation_token(seed: Seed) -> str:
    return signed_links.make(invitations.LINK_PURPOSE, seed.invitation())


def _scan(seed: Seed) -> dict[str, Any]:
    at = (datetime.now(UTC) - timedelta(seconds=2)).isoformat()
    return {
        "code": seed.code_token(),
        "client_scan_id": str(uuid4()),
        "scanned_at": at,
        "location": {**SCAN["location"], "captured_at": at},
        "device": {**SCAN["device"], "fingerprint": f"device-{uuid4()}"},
    }


def _letters(seed: Seed) -> dict[str, Any]:
    """Return the query that finds a new dead letter."""
    letter = seed.letter_in_full()
    period = {"from": "2026-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
    return {name: str(letter[name]) for name in ("fingerprint", "brand_id", "actor")} | period


def _replay(seed: Seed) -> dict[str, Any]:
    found = _letters(seed)
    with transaction(seed.callers[SYSTEM_ADMIN].identity):
        (letter,) = dead_letters.page(Filter(fingerprint=found["fingerprint"]), 1)
    past = datetime(2026, 1, 1, tzinfo=UTC)
    cursor = encode_cursor((datetime.now(UTC) + timedelta(hours=1), 0, past, uuid4()), REPLAY)
    single = {"ids": [str(letter.id)], "args": ["x"]}
    return {**found, **single, "rate": 2.5, "dry_run": False, "cursor": cursor}


def _announced(name: str) -> Callable[[Seed], dict[str, Any]]:
    def path(seed: Seed) -> dict[str, Any]:
        seed.announce("report.send", "reports")
        return {"name": name}

    return path


_example("GET /healthz")
_example("GET /healthz/audit")
_example("GET /healthz/{process}", path=lambda seed: {"process": seed.beat("relay")})
_example("GET /readyz")
_example("GET /metrics", address=lambda _: "127.0.0.1")
_example("GET /.well-known/jwks.json")
_example(
    "POST /api/v1/auth/signup",
    body=lambda _: {"email": address()},
)
_example(
    "POST /api/v1/auth/verify",
    body=lambda seed: {"token": seed.signup_token(), "notice_id": str(notice_id())},
)
_example(
    "POST /api/v1/auth/accept-invitation",
    body=lambda seed: {"token": _invitation_token(seed)},
)
_example("POST /api/v1/auth/login", body=lambda seed: {"email": seed.callers[FAN].email, "password": PASSWORD})
_example("POST /api/v1/auth/anonymous")
_example("POST /api/v1/auth/refresh", body=lambda seed: {"refresh_token": seed.refresh_token()})
_example("POST /api/v1/auth/logout", caller=lambda seed: seed.anonymous())
_example("GET /api/v1/users/me/sessions", caller=lambda seed: seed.again(FAN), query=_page())
_example(
    "DELETE /api/v1/users/me/sessions/{session_id}",
    FAN,
    path=lambda seed: {"session_id": seed.again(FAN).identity.session_id},
)
_example(
    "POST /api/v1/auth/step-up",
    caller=lambda seed: seed.again(FAN),
    body=lambda _: {"password": PASSWORD, "code": None},
)
_example(
    "POST /api/v1/auth/mfa/verify",
    caller=lambda seed: seed.owing(),
    body=lambda seed: {"code": seed.code(), "recovery_code": None},
)
_example("GET /api/v1/users/me/mfa", FAN)
_example("POST /api/v1/auth/password/forgot", body=lambda _: {"email": address()})
_example(
    "POST /api/v1/auth/password/reset",
    body=lambda seed: {"token": seed.reset_token()},
)
_example(
    "POST /api/v1/users/me/password",
    caller=lambda seed: seed.changing(),
    body=lambda _: {"password": OTHER_PASSWORD},
)
_example("POST /api/v1/users/me/email", caller=lambda seed: seed.again(FAN), body=lambda _: {"email": address()})
_example("POST /api/v1/auth/email/confirm", body=lambda seed: {"token": seed.change_token(confirmed=False)})
_example("POST /api/v1/auth/email/undo", body=lambda seed: {"token": seed.change_token(confirmed=True)})
_example("POST /api/v1/users/me/mfa", caller=lambda seed: seed.again(FAN))
_example("DELETE /api/v1/users/me/mfa", caller=lambda seed: seed.enrolled())
_example(
    "POST /api/v1/users/me/mfa/confirm",
    caller=lambda seed: seed.enrolling(),
    body=lambda seed: {"code": seed.code()},
)
_example("POST /api/v1/users/me/mfa/recovery-codes", caller=lambda seed: seed.enrolled())
_example("GET /api/v1/users/me", FAN)
_example(
    "GET /api/v1/users",
    SYSTEM_ADMIN,
    query=lambda seed: {
        "limit": 2,
        "email": "a",
        "role": "Creator",
        "brand_id": seed.brand_id,
        "status": "active",
    },
)
_example("GET /api/v1/users/{user_id}", SYSTEM_ADMIN, path=_own("user_id"))
_example(
    "PATCH /api/v1/users/{user_id}",
    SYSTEM_ADMIN,
    path=lambda seed: {"user_id": seed.member()},
    body=lambda seed: {"brand_id": str(seed.brand_id)},
)
_example(
    "PUT /api/v1/users/{user_id}/suspension",
    SYSTEM_ADMIN,
    path=lambda seed: {"user_id": seed.member()},
)
_example(
    "POST /api/v1/users/{user_id}/mfa/reset",
    SYSTEM_ADMIN,
    path=lambda seed: {"user_id": seed.enrolled().identity.user_id},
)
_example("DELETE /api/v1/users/{user_id}/suspension", SYSTEM_ADMIN, path=lambda seed: {"user_id": seed.member()})
_example("GET /api/v1/api-keys", "Brand Admin", query=_page())
_example("POST /api/v1/api-keys", "Brand Admin")
_example("GET /api/v1/api-keys/scopes", "Brand Admin")
_example("GET /api/v1/api-keys/{api_key_id}", "Brand Admin", path=_own("api_key_id"))
_example("DELETE /api/v1/api-keys/{api_key_id}", "Brand Admin", path=lambda seed: {"api_key_id": seed.api_key()[0]})
_example("PATCH /api/v1/users/me", FAN)


def _changed_endpoint(seed: Seed) -> Example:
    """Return the change of an endpoint by a new person: the rate of changes is limited for each."""
    operation, admin = ("PATCH", "/api/v1/webhooks/endpoints/{endpoint_id}"), seed.brand_admin()
    return Example(operation, admin, {"endpoint_id": webhook_endpoint(admin)}, body=DECLARED[operation].example)


EXAMPLES["PATCH", "/api/v1/webhooks/endpoints/{endpoint_id}"] = _changed_endpoint
_example("GET /api/v1/users/me/traits", FAN)
_example("GET /api/v1/webhooks/endpoints", "Brand Admin")
_example("POST /api/v1/webhooks/endpoints", caller=lambda seed: seed.brand_admin())
_example("GET /api/v1/webhooks/endpoints/{endpoint_id}", "Brand Admin", path=_own("endpoint_id"))
_example("DELETE /api/v1/webhooks/endpoints/{endpoint_id}", "Brand Admin", path=_webhook_endpoint)
_example("POST /api/v1/webhooks/endpoints/{endpoint_id}/secret", "Brand Admin", path=_own("endpoint_id"))
_example("POST /api/v1/webhooks/endpoints/{endpoint_id}/test", "Brand Admin", path=_own("endpoint_id"))
_example(
    "POST /api/v1/webhooks/endpoints/{endpoint_id}/replay",
    "Brand Admin",
    path=_own("endpoint_id"),
    body=lambda _: {"event_id": None},
)
_example(
    "GET /api/v1/webhooks/endpoints/{endpoint_id}/deliveries",
    "Brand Admin",
    path=_own("endpoint_id"),
    query=_page(event_id="01941f2d-3c10-7b64-9d21-8f0e5a6c7b13", failed="true"),
)


_example(
    "GET /api/v1/analytics/overview",
    "Creator",
    query=lambda seed: {
        "campaign_id": seed.own["campaign_id"],
        "from": "2026-01-01T00:00:00Z",
        "to": "2027-01-01T00:00:00Z",
    },
)


def _entries(seed: Seed) -> dict[str, Any]:
    conditions = {"action": "campaign.*", "actor": str(uuid4()), "table": "campaigns", "record": str(uuid4())}
    conditions |= {"outcome": "ok", "request_id": str(uuid4()), "brand_id": str(seed.brand_id)}
    conditions |= {"session_id": str(uuid4()), "field": "name", "reason": "forbidden", "address": "192.0.2.1"}
    return conditions | {"from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z"}


_example("GET /api/v1/audit-logs", "Brand Admin", query=lambda seed: {**_entries(seed), "limit": 2})
_example("GET /api/v1/audit-logs/{entry_id}", "Brand Admin", path=_own("entry_id"))
_example("GET /api/v1/audit-logs/export.csv", SYSTEM_ADMIN, query=_entries)
_example("GET /api/v1/audit-logs/export.json", "Brand Admin", query=_entries)
_example("GET /api/v1/brands", SYSTEM_ADMIN, query=_page(name="acme", status="active"))
_example(
    "POST /api/v1/brands",
    SYSTEM_ADMIN,
    body=lambda _: {"admin_email": address()},
)
_example(
    "PATCH /api/v1/brands/{brand_id}",
    "Brand Admin",
    path=_own("brand_id"),
    body=lambda _: {"mfa_required_from": "2099-12-31T00:00:00Z"},  # must stay in the future
)
_example("PUT /api/v1/brands/{brand_id}/archive", SYSTEM_ADMIN, path=lambda seed: {"brand_id": seed.brand()})
_example("DELETE /api/v1/brands/{brand_id}/archive", SYSTEM_ADMIN, path=lambda seed: {"brand_id": seed.brand()})
_example(
    "GET /api/v1/brands/{brand_id}/members", "Campaign Manager", path=_own("brand_id"), query=_page(role="Creator")
)
_example("GET /api/v1/brands/{brand_id}/members/{user_id}", "Campaign Manager", path=_own("brand_id", "user_id"))
_example(
    "PATCH /api/v1/brands/{brand_id}/members/{user_id}",
    "Brand Admin",
    path=lambda seed: {"brand_id": seed.brand_id, "user_id": seed.member()},
)
_example(
    "DELETE /api/v1/brands/{brand_id}/members/{user_id}",
    "Brand Admin",
    path=lambda seed: {"brand_id": seed.brand_id, "user_id": seed.member()},
)
_example("GET /api/v1/brands/{brand_id}/invitations", "Campaign Manager", path=_own("brand_id"), query=_page())
_example(
    "POST /api/v1/brands/{brand_id}/invitations",
    "Brand Admin",
    path=_own("brand_id"),
    body=lambda _: {"email": address()},
)
_example(
    "GET /api/v1/brands/{brand_id}/invitations/{invitation_id}",
    "Campaign Manager",
    path=_own("brand_id", "invitation_id"),
)
_example("DELETE /api/v1/brands/{brand_id}/invitations/{invitation_id}", "Brand Admin", path=_sent_invitation)
_example("POST /api/v1/brands/{brand_id}/invitations/{invitation_id}/resend", "Brand Admin", path=_sent_invitation)
_example(
    "GET /api/v1/campaigns/{campaign_id}/assignments",
    "Campaign Manager",
    path=lambda seed: {"campaign_id": seed.assigned()["campaign_id"]},
    query=_page(),
)
_example(
    "PUT /api/v1/campaigns/{campaign_id}/assignments/{user_id}",
    "Campaign Manager",
    path=_own("campaign_id", "user_id"),
)
_example(
    "DELETE /api/v1/campaigns/{campaign_id}/assignments/{user_id}",
    "Campaign Manager",
    path=lambda seed: seed.assigned(),
)
_example("GET /api/v1/brands/{brand_id}", "Creator", path=_own("brand_id"))
_PERIODS = {
    f"{date}_{bound}": time
    for date in ("created", "starts", "ends")
    for bound, time in (("from", "2001-01-01T00:00:00Z"), ("to", "2101-01-01T00:00:00Z"))
}
_example(
    "GET /api/v1/campaigns",
    "Campaign Manager",
    query=_page(q="a", name="a", status="Active", type="QR", archived="all", sort="-created_at", **_PERIODS),
)
_example("POST /api/v1/campaigns", "Campaign Manager", body=_every_rule)
_example("GET /api/v1/campaigns/{campaign_id}", "Creator", path=_own("campaign_id"))
_example(
    "PUT /api/v1/campaigns/{campaign_id}",
    "Campaign Manager",
    path=lambda seed: {"campaign_id": seed.draft().id},
    body=_every_rule,
)
_example(
    "PATCH /api/v1/campaigns/{campaign_id}",
    "Campaign Manager",
    path=lambda seed: {"campaign_id": seed.draft().id},
)
_example("POST /api/v1/campaigns/{campaign_id}/clone", "Campaign Manager", path=_own("campaign_id"))
for act, seeded in (("pause", "active"), ("resume", "paused"), ("complete", "active")):
    _example(
        f"POST /api/v1/campaigns/{{campaign_id}}/{act}",
        "Campaign Manager",
        path=lambda seed, seeded=seeded: {"campaign_id": getattr(seed, seeded)().id},
    )
for method, part in (("PUT", "archive"), ("DELETE", "archive"), ("PUT", "schedule"), ("DELETE", "schedule")):
    _example(
        f"{method} /api/v1/campaigns/{{campaign_id}}/{part}",
        "Campaign Manager",
        path=lambda seed: {"campaign_id": seed.draft().id},
    )
_example(
    "GET /api/v1/campaigns/{campaign_id}/versions",
    "Campaign Manager",
    path=lambda seed: {"campaign_id": seed.renamed().id},
    query=_page(),
)
_example(
    "GET /api/v1/campaigns/{campaign_id}/versions/{version_number}",
    "Creator",
    path=lambda seed: {"campaign_id": seed.own["campaign_id"], "version_number": 1},
)
_example(
    "POST /api/v1/campaigns/{campaign_id}/versions/{version_number}/revert",
    "Campaign Manager",
    path=lambda seed: {"campaign_id": seed.draft().id, "version_number": 1},
)
_example(
    "POST /api/v1/campaigns/{campaign_id}/launch",
    "Campaign Manager",
    path=lambda seed: {"campaign_id": seed.draft().id},
)
_example(
    "GET /api/v1/campaigns/{campaign_id}/codes",
    "Creator",
    path=_own("campaign_id"),
    query=lambda _: {"limit": 2, "disabled": "false"},
)
_example(
    "POST /api/v1/campaigns/{campaign_id}/codes",
    "Campaign Manager",
    path=_own("campaign_id"),
    body=lambda _: {"label": f"door {uuid4()}"},
)
_example("GET /api/v1/campaigns/{campaign_id}/codes/{code_id}", "Creator", path=_own("campaign_id", "code_id"))
for method in ("PUT", "DELETE"):
    _example(
        f"{method} /api/v1/campaigns/{{campaign_id}}/codes/{{code_id}}/disable",
        "Campaign Manager",
        path=lambda seed: seed.printed(),
    )
for kind, size in (("svg", {}), ("png", {"scale": 4})):
    _example(
        f"GET /api/v1/campaigns/{{campaign_id}}/codes/{{code_id}}/image.{kind}",
        "Creator",
        path=_own("campaign_id", "code_id"),
        query=lambda _, size=size: size,
    )
_example("GET /api/v1/consents", FAN, query=_page())
_example(
    "POST /api/v1/consents",
    FAN,
    body=lambda seed: {"brand_id": str(seed.own["brand_id"]), "locale": "es"},
)
_example("GET /api/v1/consents/{consent_id}", FAN, path=_own("consent_id"))
_example(
    "DELETE /api/v1/consents/{consent_id}",
    FAN,
    path=lambda seed: {"consent_id": seed.consent(seed.callers[FAN], "ai_processing")},
)
_example("GET /api/v1/consent-notices/default", query=lambda _: {"locale": "es"})
_example("GET /api/v1/jobs/{job_id}", "Campaign Manager", path=_own("job_id"))
_example("GET /api/v1/assets", "Campaign Manager", query=_page(purpose="import", state="pending"))
_example("POST /api/v1/assets", "Campaign Manager", body=lambda _: {"sha256": None})
_example("GET /api/v1/assets/{asset_id}", "Campaign Manager", path=_own("asset_id"))
_example("DELETE /api/v1/assets/{asset_id}", "Campaign Manager", path=lambda seed: {"asset_id": seed.asset()})
_example("POST /api/v1/assets/{asset_id}/complete", "Campaign Manager", path=lambda seed: {"asset_id": seed.asset()})
_example("GET /api/v1/notifications", "Campaign Manager", query=_notifications)
_example("PUT /api/v1/notifications/{notification_id}/read", "Campaign Manager", path=_own("notification_id"))
_example(
    "POST /api/v1/notifications/read", "Campaign Manager", body=lambda seed: {"up_to": str(seed.own["notification_id"])}
)
_example("GET /api/v1/notifications/preferences", "Campaign Manager")
_example("PUT /api/v1/notifications/preferences", "Campaign Manager")
_example("GET /api/v1/dead-jobs", SYSTEM_ADMIN, query=lambda seed: {"limit": 2, **_letters(seed)})
_example("GET /api/v1/dead-jobs/groups", SYSTEM_ADMIN, query=lambda seed: {"limit": 2, **_letters(seed)})
_example("GET /api/v1/dead-jobs/{dead_job_id}", SYSTEM_ADMIN, path=_own("dead_job_id"))
_example("GET /api/v1/passport/services", SYSTEM_ADMIN)
_example(
    "GET /api/v1/passport/calls",
    SYSTEM_ADMIN,
    query=lambda seed: {
        "limit": 2,
        "service": "locker",
        "outcome": "failed",
        "brand_id": (seed.failed_call(), str(seed.brand_id))[1],
    },
)
_example(
    "POST /api/v1/passport/calls/{call_id}/replay", SYSTEM_ADMIN, path=lambda seed: {"call_id": seed.failed_call()}
)
_example("POST /api/v1/dead-jobs/replay", SYSTEM_ADMIN, body=_replay)
_example("GET /api/v1/jobs/trail", SYSTEM_ADMIN, query=lambda _: {"request_id": "a-request-s-id"})
_example("POST /api/v1/jobs/{job_id}/cancel", SYSTEM_ADMIN, path=lambda seed: {"job_id": seed.waiting_job()})
_example("GET /api/v1/actors", SYSTEM_ADMIN)
for what, named in (("actors", "report.send"), ("queues", "reports")):
    _example(f"PUT /api/v1/{what}/{{name}}/pause", SYSTEM_ADMIN, path=_announced(named))
    _example(f"DELETE /api/v1/{what}/{{name}}/pause", SYSTEM_ADMIN, path=_announced(named))
_example(
    "GET /api/v1/qr/codes/{token}", path=lambda seed: {"token": seed.code_token()}, query=lambda _: {"locale": "es"}
)
_example("POST /api/v1/qr/scan", caller=lambda seed: seed.anonymous("essential"), body=_scan)
_example("GET /api/v1/tickets", FAN, query=_page())
_example("GET /api/v1/tickets/{ticket_id}", FAN, path=_own("ticket_id"))
_example("POST /api/v1/tickets/{ticket_id}/cancel", FAN, path=_own("ticket_id"))
_example("POST /api/v1/tickets", FAN, body=lambda seed: {"campaign_id": str(seed.own["event_id"])})
_example("GET /api/v1/campaigns/{campaign_id}/guests", "Creator", path=_own_event, query=_page(q="ana"))
_example(
    "POST /api/v1/campaigns/{campaign_id}/guests",
    "Campaign Manager",
    path=_own_event,
    body=lambda _: {"guests": [{"name": "Ana", "party": 4, "email": address(), "contact_id": None}]},
)
_example("DELETE /api/v1/campaigns/{campaign_id}/guests/{guest_id}", "Campaign Manager", path=_own_guest)
_example("GET /api/v1/campaigns/{campaign_id}/check-ins", "Creator", path=_own_event, query=_page(state="accepted"))
_example(
    "POST /api/v1/campaigns/{campaign_id}/check-ins",
    "Creator",
    path=_own_event,
    body=lambda _: {"ticket": None, "guest_id": None, "people": 1, "gate": "North", "scanned_at": None},
)
_example("GET /api/v1/campaigns/{campaign_id}/check-ins/{check_in_id}", "Creator", path=_own_check_in)
_example("POST /api/v1/campaigns/{campaign_id}/check-ins/{check_in_id}/undo", "Creator", path=_own_check_in)
_example("GET /api/v1/campaigns/{campaign_id}/attendance", "Creator", path=_own_event)
_example("POST /api/v1/check-ins", FAN, body=lambda seed: seed.own_arrival())
_example("GET /api/v1/check-ins/{check_in_id}", FAN, path=_own("check_in_id"))
_example(
    "POST /api/v1/venues/geocode",
    "Campaign Manager",
    body=lambda _: {"address": "Plaza Mayor, Madrid", "country": "ES", "language": "es"},
)
_example("GET /api/v1/venues/lookups/{lookup_id}", "Campaign Manager", path=_own("lookup_id"))
_example("GET /api/v1/rewards", FAN, query=_page())
_example("GET /api/v1/rewards/{reward_id}", FAN, path=_own("reward_id"))
_example("POST /api/v1/rewards/{reward_id}/claim", FAN, path=_own("reward_id"))
_example("POST /api/v1/rewards/redeem", "Creator", body=lambda seed: {"code": seed.reward_code()})
_example("GET /api/v1/campaigns/{campaign_id}/rewards", "Creator", path=_own("campaign_id"))
_example(
    "GET /api/v1/campaigns/{campaign_id}/rewards/grants",
    "Creator",
    path=_own("campaign_id"),
    query=_page(state="granted"),
)

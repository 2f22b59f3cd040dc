"""Example requests of audiences: engagements, segments, contacts, imports and exports."""

from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

from models.core.context import FAN
from tests.contract import crm
from tests.contract.registry import example, own, page
from tests.contract.seed import Seed, address


def _days_ago(days: int) -> date:
    return (datetime.now(UTC) - timedelta(days=days)).date()


def _conversions(seed: Seed) -> dict[str, Any]:
    order = {"external_id": f"order-{uuid4()}", "occurred_at": datetime.now(UTC).isoformat()}
    person = {"user_id": str(seed.member()), "contact_id": None}
    return {"conversions": [order | person | {"value_minor": 1990, "currency": "EUR"}]}


example(
    "POST /api/v1/campaigns/{campaign_id}/conversions", "Campaign Manager", path=own("campaign_id"), body=_conversions
)
example("GET /api/v1/users/me/engagements", FAN, query=lambda seed: {"limit": 2} | seed.engagement(()))
example(
    "GET /api/v1/engagement-events",
    "Campaign Manager",
    query=lambda seed: {
        "limit": 2,
        **seed.engagement(("campaign_id", "kind")),
        "from": "2026-01-01T00:00:00Z",
        "to": "2027-01-01T00:00:00Z",
    },
)


example(
    "GET /api/v1/audiences/{segment_id}/members",
    "Campaign Manager",
    path=own("segment_id"),
    query=lambda _: {"limit": 2, "as_of": (datetime.now(UTC) - timedelta(hours=1)).isoformat()},
)
example(
    "GET /api/v1/audiences/{segment_id}/members/{contact_id}/explain",
    "Campaign Manager",
    path=own("segment_id", "contact_id"),
)
example(
    "GET /api/v1/audiences/{segment_id}/counts",
    "Campaign Manager",
    path=own("segment_id"),
    query=lambda _: {"from": str(_days_ago(20)), "to": str(_days_ago(14)), "interval": "week"},
)
example("GET /api/v1/audiences/schema")
example("GET /api/v1/audiences/{segment_id}/computation", "Campaign Manager", path=own("segment_id"))
example("POST /api/v1/audiences/{segment_id}/computation", "Campaign Manager", path=own("segment_id"))
example("GET /api/v1/campaigns/{campaign_id}/live-metrics", "Campaign Manager", path=own("campaign_id"))
example("GET /api/v1/crm/imports", "Campaign Manager", query=page())
example(
    "POST /api/v1/crm/imports",
    "Campaign Manager",
    body=lambda seed: {
        "asset_id": str(seed.table()),
        "encoding": None,
        "day_first": True,
        "decimal_comma": False,
        "dry_run": True,
    },
)
example("GET /api/v1/crm/imports/{import_id}", "Campaign Manager", path=own("import_id"))
example(
    "POST /api/v1/crm/imports/{import_id}/cancel", "Campaign Manager", path=lambda seed: {"import_id": seed.an_import()}
)
example("GET /api/v1/crm/exports", "Brand Admin", query=page())
example("POST /api/v1/crm/exports", "Brand Admin", body=lambda _: {"segment_id": None, "tag": "vip"})
example("GET /api/v1/crm/exports/{export_id}", "Brand Admin", path=own("export_id"))
example("GET /api/v1/audiences", "Campaign Manager", query=page(name="seg", archived="true"))
example("POST /api/v1/audiences", "Campaign Manager", body=lambda _: {"name": str(uuid4()), "description": "All."})
example("GET /api/v1/audiences/{segment_id}", "Campaign Manager", path=own("segment_id"))
example(
    "PATCH /api/v1/audiences/{segment_id}",
    "Campaign Manager",
    path=lambda seed: {"segment_id": seed.a_segment()},
    body=lambda _: {
        "name": str(uuid4()),
        "description": "All.",
        "definition": {"any": [{"profile": {"field": "city", "op": "eq", "value": "Madrid"}}]},
    },
)
example("DELETE /api/v1/audiences/{segment_id}", "Campaign Manager", path=lambda seed: {"segment_id": seed.a_segment()})
example("GET /api/v1/audiences/{segment_id}/versions", "Campaign Manager", path=own("segment_id"), query=page())
example(
    "GET /api/v1/audiences/{segment_id}/versions/{version_number}/diff",
    "Campaign Manager",
    path=lambda seed: {"segment_id": seed.own["segment_id"], "version_number": 1},
    query=lambda _: {"to": 2},
)
example("GET /api/v1/audiences/{segment_id}/preview", "Campaign Manager", path=own("segment_id"))
example("POST /api/v1/audiences/preview", "Campaign Manager")
example("POST /api/v1/crm/exports/{export_id}/cancel", "Brand Admin", path=lambda seed: {"export_id": seed.an_export()})


def _new_contact(seed: Seed) -> dict[str, Any]:
    return {"contact_id": crm.contact(seed.callers["Campaign Manager"].identity)}


def _new_note(seed: Seed) -> dict[str, Any]:
    return crm.note(seed.callers["Campaign Manager"].identity)


def _new_merge(seed: Seed) -> dict[str, Any]:
    return crm.merge(seed.callers["Campaign Manager"].identity)


def _other_contact(seed: Seed) -> dict[str, Any]:
    return {"contact_id": str(_new_contact(seed)["contact_id"])}


def _profile(_: Seed) -> dict[str, Any]:
    return {"email": address(), "external_id": uuid4().hex, "properties": {"shoe_size": "small", "vip": True}}


_CONTACT = "/api/v1/crm/contacts/{contact_id}"
example(
    "GET /api/v1/crm/contacts",
    "Campaign Manager",
    query=lambda seed: {
        "limit": 2,
        "q": "ana",
        "tag": "vip",
        "property": "vip=true",
        "sort": "name",
        "external_id": "C-1",
        "email": "ana@fan.example",
        "segment_id": str(seed.brand_id),
    },
)
example("POST /api/v1/crm/contacts", "Campaign Manager", body=_profile)
example(f"GET {_CONTACT}", "Campaign Manager", path=own("contact_id"))
example(f"PATCH {_CONTACT}", "Campaign Manager", path=_new_contact, body=_profile)
example(f"DELETE {_CONTACT}", "Campaign Manager", path=_new_contact)
example(
    f"GET {_CONTACT}/timeline",
    "Campaign Manager",
    path=own("contact_id"),
    query=lambda seed: {"limit": 2, "kind": "note", "campaign_id": seed.own["campaign_id"]},
)
example(f"GET {_CONTACT}/notes", "Campaign Manager", path=own("contact_id"), query=lambda _: {"limit": 1})
example(f"POST {_CONTACT}/notes", "Campaign Manager", path=own("contact_id"))
example(f"PUT {_CONTACT}/notes/{{note_id}}", "Campaign Manager", path=_new_note)
example(f"DELETE {_CONTACT}/notes/{{note_id}}", "Campaign Manager", path=_new_note)
example(f"POST {_CONTACT}/merges", "Campaign Manager", path=_new_contact, body=_other_contact)
example(f"DELETE {_CONTACT}/merges/{{merge_id}}", "Campaign Manager", path=_new_merge)
example("GET /api/v1/crm/properties", "Campaign Manager")
_keys = count(1)
example("POST /api/v1/crm/properties", "Campaign Manager", body=lambda _: {"key": f"size_{next(_keys)}"})
example("GET /api/v1/crm/properties/{property_key}", "Campaign Manager", path=lambda _: {"property_key": "shoe_size"})
example("PATCH /api/v1/crm/properties/{property_key}", "Campaign Manager", path=lambda _: {"property_key": "shoe_size"})

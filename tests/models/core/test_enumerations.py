"""Enumerations and bounds that SQL defines, compared with their copies in Python."""

import re
from collections.abc import Iterable
from typing import get_args, get_type_hints

from models.assets.types import AssetState, Purpose, RejectionReason
from models.audiences.engagement_events import EngagementKind
from models.audiences.membership import SegmentState
from models.audiences.profile import ValueType
from models.audiences.transfer.detection import Encoding, Format
from models.audiences.transfer.imports import CannotImport, TransferState
from models.audiences.transfer.planning import Overwrite
from models.audiences.transfer.writing import ExportFormat
from models.audit.trail import AuditOutcome
from models.campaigns.check_ins import CheckInState
from models.campaigns.guests import GuestState
from models.campaigns.rewards import RewardState
from models.campaigns.statuses import TRANSITIONS, CampaignStatus, CampaignType
from models.campaigns.tickets import TicketState
from models.consents import uses
from models.consents.consents import TIERS
from models.core import emails
from models.core.enumerations import values_of
from models.identity.permissions import ROLES, MemberRole
from models.insights import overview
from models.jobs.ledger import ENDED_STATES, LIVE_STATES, JobState
from models.notifications.kinds import KINDS
from models.passport import concierto, locker
from models.passport.calls import CallOutcome, Transport
from models.passport.mediaid import SubjectKind
from models.scans.fraud import Band
from models.webhooks.endpoints import DisabledReason

SQL_ONLY = ()
"""Python has no list of the values; it names single ones."""

PYTHON: dict[str, Iterable[str]] = {
    "app.dead_jobs.state": SQL_ONLY,
    "app.heartbeats.kind": SQL_ONLY,
    "app.invitations.role_id": get_args(MemberRole),
    "app.job_groups.kind": SQL_ONLY,
    "app.job_groups.outcome": SQL_ONLY,
    "app.job_groups.state": SQL_ONLY,
    "app.job_history.state": SQL_ONLY,
    "app.jobs.state": LIVE_STATES,
    "app.limit_counters.scope": SQL_ONLY,
    "app.sessions.aal": SQL_ONLY,
    "app.webhook_endpoints.disabled_reason": values_of(DisabledReason),
    "public.assets.purpose": values_of(Purpose),
    "public.assets.reason": values_of(RejectionReason),
    "public.assets.state": values_of(AssetState),
    "public.audit_logs.outcome": values_of(AuditOutcome),
    "public.campaign_versions.type": values_of(CampaignType),
    "public.concierto_events.admission": get_args(concierto.Admission),
    "public.check_ins.state": values_of(CheckInState),
    "public.guests.state": values_of(GuestState),
    "public.tickets.state": values_of(TicketState),
    "public.campaigns.status": values_of(CampaignStatus),
    "public.campaigns.type": values_of(CampaignType),
    "public.consent_events.action": SQL_ONLY,
    "public.consents.consent_tier": TIERS,
    "public.consent_uses.purpose": uses.TIERS,
    "public.contact_exports.format": values_of(ExportFormat),
    "public.contact_exports.state": values_of(TransferState),
    "public.contact_imports.encoding": values_of(Encoding),
    "public.contact_imports.format": values_of(Format),
    "public.contact_imports.overwrite": values_of(Overwrite),
    "public.contact_imports.state": values_of(TransferState),
    "public.contact_imports.unreadable": values_of(CannotImport),
    "public.contact_properties.type": values_of(ValueType),
    "public.engagement_events.kind": values_of(EngagementKind),
    "public.notification_preferences.kind": KINDS,
    "public.notifications.kind": KINDS,
    "public.passport_calls.outcome": values_of(CallOutcome),
    "public.passport_calls.transport": values_of(Transport),
    "public.mediaid_subjects.kind": get_args(SubjectKind),
    "public.locker_reservations.state": get_args(locker.State),
    "public.qr_scans.band": [band.value for band in Band],
    "public.qr_scans.decision": SQL_ONLY,
    "public.qr_scans.geofence_status": SQL_ONLY,
    "public.rewards.state": values_of(RewardState),
    "public.scan_rollups.kind": overview.KINDS,
    "public.segment_states.state": values_of(SegmentState),
    "public.users.role_id": get_args(MemberRole),
}
"""Each column with an enumeration → the values that Python lists."""

CHECKS = r"""
    select c.conrelid::regclass::text, pg_get_constraintdef(c.oid)
    from pg_constraint c join pg_class t on t.oid = c.conrelid
    where c.contype = 'c' and c.connamespace in ('public'::regnamespace, 'app'::regnamespace)
        and pg_get_constraintdef(c.oid) ~ '= ANY \(|CHECK \(\(\w+ = '''
"""
_ENUMERATION = re.compile(r"\((\w+) = (?:ANY \(ARRAY\[(.*?)\]\)|('\w+'::text)\))")


def enumerations(query) -> dict[str, set[str]]:
    """Return column → values for each CHECK constraint that lists the values of one column."""
    roles = {str(id): name for id, name in query("select id, name from public.roles")}
    found = {}
    for table, definition in query(CHECKS):
        if not (match := _ENUMERATION.match(definition.removeprefix("CHECK ("))) and not (
            match := _ENUMERATION.match(definition.removeprefix("CHECK (("))
        ):
            continue
        column = f"{table if '.' in table else f'public.{table}'}.{match[1]}"
        values = re.findall(r"'([^']*)'|\b(\d+)\b", match[2] or match[3])
        found[column] = {text or roles[number] for text, number in values}
    return found


EMAIL_COLUMNS = r"""
    select a.attrelid::regclass || '.' || a.attname, coalesce(string_agg(pg_get_constraintdef(c.oid), '; '), 'no CHECK')
    from pg_attribute a
        join pg_class t on t.oid = a.attrelid and t.relkind in ('r', 'p') and not t.relispartition
        left join pg_constraint c on c.conrelid = t.oid and c.contype = 'c' and a.attnum = any (c.conkey)
    where t.relnamespace in ('public'::regnamespace, 'app'::regnamespace) and a.attname ~ '(^|_)email$'
        and a.atttypid = 'text'::regtype
    group by 1
"""


def test_every_email_column_is_lower_case_and_has_the_bound_of_python(query, database):
    wrong = {
        column: definition
        for column, definition in query(EMAIL_COLUMNS)
        if not re.search(rf"\((\w+) = lower\(\1\)\) AND \(length\(\1\) <= {emails.MAX_LENGTH}\)", definition)
    }

    assert wrong == {}


def test_enumerations_of_check_constraints_equal_those_of_python(query, database):
    found = enumerations(query)

    assert set(found) == set(PYTHON)
    copied = {column: set(values) for column, values in PYTHON.items() if values}
    assert {column: found[column] for column in copied} == copied


def test_roles_of_python_equal_the_table_of_roles(query, database):
    rows = query("select name, app.is_member_role(name) from public.roles order by id")

    assert [name for name, _ in rows] == list(ROLES)
    assert [name for name, is_member in rows if is_member] == list(get_args(MemberRole))


def test_tiers_of_python_equal_those_of_the_default_notice(query, database):
    ((in_notice,),) = query("select tiers from public.consent_notices where key = 'default' and locale = 'en'")

    assert tuple(in_notice) == TIERS


def test_states_of_jobs_are_those_of_live_and_ended_jobs():
    assert values_of(JobState) == LIVE_STATES + ENDED_STATES


def test_transitions_name_declared_statuses_only():
    assert get_type_hints(type(TRANSITIONS["pause"]))["target"] == get_args(CampaignStatus)[0]
    named = {status for rule in TRANSITIONS.values() for status in (*rule.sources, rule.target)}

    assert named == set(values_of(CampaignStatus))

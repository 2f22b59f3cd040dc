"""Check-ins of fans by their own scan: a fresh accepted scan of the event's code proves that the fan is there."""

from datetime import timedelta
from uuid import UUID

from models.campaigns import check_ins
from models.campaigns.check_ins import CheckIn
from models.campaigns.tickets import request_ids
from models.core.database import after_commit, new_id, rows, value
from models.core.errors import NotFound
from models.jobs.ledger import notify_relay

SCAN_LIFETIME = timedelta(minutes=15)
"""Time after a scan within which it checks its person in."""


def request(campaign_id: UUID, scan_id: UUID) -> CheckIn:
    """Request the check-in of the caller. Return the one of this scan if there is one.

    Raises:
        Problem: `not_found`, `account_required`, `campaign_ended` or `campaign_not_active`.
        ScanRequired: the caller has no fresh accepted scan of the event with this id.
    """
    arguments = (new_id(), campaign_id, scan_id, SCAN_LIFETIME, new_id(), request_ids())
    id = value("SELECT app.request_own_check_in(%s, %s, %s, %s, %s, %s)", arguments)
    after_commit(notify_relay)
    return get(id)


def get(check_in_id: UUID) -> CheckIn:
    """Return a check-in that the caller has requested.

    Raises:
        NotFound: the caller has no such check-in.
    """
    for found in rows("SELECT * FROM app.own_check_in(%s)", (check_in_id,)):
        return CheckIn(**found)
    raise NotFound


def get_admitted(check_in_id: UUID) -> CheckIn:
    """Return a check-in that the caller has requested.

    Raises:
        Problem: Concierto has refused it; `code` says why.
    """
    check_in = get(check_in_id)
    if check_in.state == "refused":
        raise check_ins.refusal_of(check_in)
    return check_in

"""An act and its audit entry commit together: where the entry can't be written, no endpoint changes anything."""

from collections.abc import Iterator

import pytest

from tests.contract.examples import EXAMPLES
from tests.web.http.test_auditing import WRITES_ITS_OWN_ENTRY
from web.app import application
from web.openapi.document import declarations

RECORDED = [
    operation
    for operation, declared in declarations(application).items()
    if declared.audit or " ".join(operation) in WRITES_ITS_OWN_ENTRY
]

REFUSE = """
    create function app.refuse_entry() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
    begin
        perform app.refuse(503, 'unavailable');
    end
    $$;
    create trigger refuse_entry before insert on public.audit_logs
        for each row execute function app.refuse_entry();
    alter table public.audit_logs disable trigger refuse_entry;
"""
REMOVE = "drop trigger refuse_entry on public.audit_logs; drop function app.refuse_entry()"


@pytest.fixture(scope="module")
def refused_entries(superuser) -> Iterator[None]:
    """Install a disabled trigger that refuses every new audit entry."""
    with superuser.cursor() as cursor:
        cursor.execute(REFUSE)
        yield
        cursor.execute(REMOVE)


@pytest.mark.parametrize("operation", RECORDED, ids=" ".join)
def test_act_without_its_entry_commits_nothing(operation, world, wire, traces, superuser, refused_entries):
    request = EXAMPLES[operation](world).request()
    with superuser.cursor() as cursor:
        cursor.execute("alter table public.audit_logs enable trigger refuse_entry")
        before = traces.look()
        answer = wire.send(request)
        written = traces.since(before)
        cursor.execute("alter table public.audit_logs disable trigger refuse_entry")

    assert (answer.status, written) == (503, [])

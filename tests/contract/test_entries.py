"""Test that an act and its audit entry commit together: without the entry, no endpoint changes a row."""

from collections.abc import Iterator

import pytest

from tests.contract.examples import EXAMPLES
from tests.contract.expected import require_none
from tests.web.http.test_auditing import WRITES_ITS_OWN_ENTRY
from web.app import application
from web.openapi.document import endpoint_specs

RECORDED = [
    operation
    for operation, declared in endpoint_specs(application).items()
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


def test_act_without_its_entry_commits_nothing(seed, raw_client, writes, superuser, refused_entries):
    def check(operation):
        request = EXAMPLES[operation](seed).request()
        with superuser.cursor() as cursor:
            cursor.execute("alter table public.audit_logs enable trigger refuse_entry")
            before = writes.snapshot()
            answer = raw_client.send(request)
            written = writes.tables_changed_since(before)
            cursor.execute("alter table public.audit_logs disable trigger refuse_entry")
        if (answer.status, written) != (503, []):
            yield f"{answer.status} {answer.code}, written: {written}"

    require_none(RECORDED, check)

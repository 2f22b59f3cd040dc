"""All grants and policies in the catalogue as text for review; `grants.txt` is the reviewed text.

Daily partitions are left out, because a lint forbids grants and policies on them. Rights of owners are left out too.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from psycopg2.extensions import cursor

from tests.rls.lints import RELATIONS

FILE = Path(__file__).with_name("grants.txt")
RENEW = "./scripts/test tests/rls/test_snapshot.py --renew-grants"
HEAD = f"""# Rights in the database: roles; tables, views, sequences, functions with grants and policies.
# Compared with the catalogue by test_snapshot.py. After an intended change: {RENEW}
"""

QUERIES = {
    "roles": r"""
        select rolname || ':' || case when rolcanlogin then ' login' else '' end
            || case when rolinherit then '' else ' noinherit' end
            || case when rolbypassrls then ' BYPASSRLS' else '' end
            || coalesce(' may be ' || (select string_agg(m.roleid::regrole::text, ', ' order by m.roleid::regrole::text)
                from pg_auth_members m where m.member = r.oid), '')
        from pg_roles r where rolname ~ '^app_' order by rolname""",
    "schemas": r"""
        select nspname || ': ' || a.grantee::regrole || ' '
            || lower(string_agg(a.privilege_type, ', ' order by a.privilege_type))
        from pg_namespace n, aclexplode(nspacl) a
        where nspname in ('app', 'app_partitions', 'public', 'extensions') and a.grantee::regrole::text ~ '^app_'
        group by nspname, a.grantee order by 1""",
    "tables and views": r"""
        select r.name || e'\n' || concat_ws(e'\n',
            (select string_agg(line, e'\n' order by line) from (
                select '  ' || whom || ' may ' || string_agg(
                    lower(privilege_type) || coalesce(' (' || columns || ')', ''), ', ' order by privilege_type) as line
                from (
                    select coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC') as whom, a.privilege_type,
                        null::text as columns
                    from aclexplode(r.relacl) a where a.grantee <> r.relowner
                    union all
                    select coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC'), a.privilege_type,
                        string_agg(t.attname, ', ' order by t.attname)
                    from pg_attribute t, aclexplode(t.attacl) a
                    where t.attrelid = r.oid and a.grantee <> r.relowner group by 1, 2
                ) as granted
                group by whom) as l),
            (select string_agg('  ' || concat_ws(' ', policyname, 'for', lower(cmd), 'to', array_to_string(roles, ', '),
                'using ' || qual, 'with check ' || with_check), e'\n' order by policyname)
                from pg_policies where schemaname || '.' || tablename = r.name))
        from relations r where kind in ('r', 'p', 'v', 'm', 'f') and (not relispartition or name !~ '_[0-9]{8}$')
        order by r.name""",
    "sequences": """
        select r.name || ': ' || a.grantee::regrole || ' ' || lower(a.privilege_type)
        from relations r, aclexplode(r.relacl) a where kind = 'S' and a.grantee <> relowner order by 1""",
    "functions": """
        select name || case when prosecdef then ' as its definer' else '' end || ': ' || coalesce((
            select string_agg(coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC'), ', ' order by 1)
            from aclexplode(acl) a where a.grantee <> proowner), 'nobody')
        from functions order by 1""",
}


def take(cur: cursor) -> str:
    """Return the grants and policies of a database as text."""
    return HEAD + "".join(f"\n## {title}\n{section}" for title, section in _sections(cur))


def _sections(cur: cursor) -> Iterator[tuple[str, str]]:
    for title, query in QUERIES.items():
        cur.execute(f"with {RELATIONS} {query}")
        yield title, "".join(_short(row[0]) + "\n" for row in cur.fetchall())


def _short(text: str) -> str:
    # `( SELECT app.brand_for('x'::text) AS brand_for)` is how PostgreSQL prints `(select app.brand_for('x'))`.
    return re.sub(r"\( SELECT ([\w.]+\([^()]*\)) AS \w+\)", r"(select \1)", text).replace("::text", "")

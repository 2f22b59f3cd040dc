"""Tests of the samplers of `./scripts/mutate`: the faults they generate and the code they skip."""

from pathlib import Path

from scripts.commands.mutate import python_faults, sql_faults
from scripts.commands.mutate.faults import Fault, sample

FUNCTION = """\
-- Comments: a = b and c
create function app.due(p_id uuid) returns boolean language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if p_id is null or not exists (select from t) then
        return false;
    end if;
    update t set state = 'a = b', runs = 3 where id = p_id and at between low and high order by at, id;
end
$$;
"""
RULE = '''\
def rule(a: int | None, *, b: bool = False) -> str | None:
    """Return a < b."""
    assert a != 1
    for x in [a]:
        if a is None or x < 2:
            continue
    return "SELECT a FROM t WHERE a = %s AND b ORDER BY c"
'''


def changes(source, find):
    faults = [Fault(Path("f"), site.line, source, make()) for site in find(source) for make in site.mutants]
    return {fault.changed_lines()[-1][1:].strip() for fault in faults}


def test_sql_faults_in_condition_swap_negate_and_drop_terms():
    found = {line for line in changes(FUNCTION, sql_faults.sites) if line.startswith("if")}

    assert found == {
        "if p_id is not null or not exists (select from t) then",
        "if p_id is null and not exists (select from t) then",
        "if p_id is null or  exists (select from t) then",
        "if false or not exists (select from t) then",
        "if p_id is null or false then",
    }


def test_sql_faults_in_update_leave_assignments_strings_and_between():
    found = {line for line in changes(FUNCTION, sql_faults.sites) if line.startswith("update")}

    start = "update t set state = 'a = b', runs = "
    assert found == {
        start + "4 where id = p_id and at between low and high order by at, id;",
        start + "2 where id = p_id and at between low and high order by at, id;",
        start + "3 where id <> p_id and at between low and high order by at, id;",
        start + "3 where id = p_id or at between low and high order by at, id;",
        start + "3 where true and at between low and high order by at, id;",
        start + "3 where id = p_id and true order by at, id;",
        start + "3 where id = p_id and at between low and high order by at desc, id;",
    }


def test_sql_faults_leave_comments_and_declarations():
    lines = {site.line for site in sql_faults.sites(FUNCTION)}

    assert lines == {4, 5, 7}


def test_sql_faults_leave_indexes_that_are_not_unique():
    found = changes(
        "create index a on t (b) where c = 1;\ncreate unique index d on t (b) where c = 1;", sql_faults.sites
    )

    assert {line.split(" where ")[0] for line in found} == {"create unique index d on t (b)"}


def test_python_faults_leave_annotations_docstrings_and_assertions():
    assert changes(RULE, python_faults.sites) == {
        "def rule(a: int | None, *, b: bool = True) -> str | None:",
        "for x in []:",
        "if not a is None or x < 2:",
        "if a is not None or x < 2:",
        "if a is None and x < 2:",
        "if a is None or x <= 2:",
        "if a is None or x >= 2:",
        "if a is None or x < 3:",
        "if a is None or x < 1:",
        "break",
        'return "SELECT a FROM t WHERE a <> %s AND b ORDER BY c"',
        'return "SELECT a FROM t WHERE a = %s or b ORDER BY c"',
        'return "SELECT a FROM t WHERE true AND b ORDER BY c"',
        'return "SELECT a FROM t WHERE a = %s AND true ORDER BY c"',
        'return "SELECT a FROM t WHERE a = %s AND b ORDER BY c desc"',
    }


def test_sample_with_same_seed_returns_same_faults(tmp_path):
    (tmp_path / "f.sql").write_text(FUNCTION)
    finders = {Path("f.sql"): sql_faults.sites}

    first, second = (sample(tmp_path, finders, 5, seed=3) for _ in range(2))

    assert len(first) == 5
    assert first == second


def test_sample_leaves_out_equivalent_faults(tmp_path):
    (tmp_path / "f.sql").write_text(FUNCTION)
    finders = {Path("f.sql"): sql_faults.sites}
    [excluded, *_] = sample(tmp_path, finders, 1, seed=3)

    assert excluded not in sample(tmp_path, finders, 100, seed=3, excluded=[excluded.key()])

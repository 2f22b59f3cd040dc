"""The registry of error codes agrees with SQL, Python and the API's document, and covers all of them."""

import ast
import builtins
import importlib
import pkgutil
import re
from collections import defaultdict
from pathlib import Path

import pytest

import jobs
import models
import schedules
import web
from jobs.passport.services import locker
from models.core import context, database
from models.core.errors import _TITLES, REGISTRY, Conflict, Forbidden, Invalid, Problem, Unauthenticated
from models.scans.outcomes import REFUSALS
from models.tenants.members import LastBrandAdmin
from web.http.problems import _BY_STATUS

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = (jobs, models, schedules, web)
REFUSE = re.compile(r"app\.refuse\(\s*(\d+),\s*'(\w+)'")
RAISE = re.compile(r"errcode = 'PT(\d+)', message = '(\w+)'")
IN_DOCUMENT = re.compile(r"`(\w+)` \((\d{3})\)")


@pytest.fixture(scope="module")
def classes():
    """Every exception class of the product by its name, with all modules imported."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    return {kind.__name__: kind for kind in _below(Problem)}


def _below(kind):
    return [found for child in kind.__subclasses__() for found in (child, *_below(child))]


@pytest.fixture
def sources(query):
    """Return the body of every SQL function of the application."""
    found = query("select prosrc from pg_proc p join pg_namespace n on n.oid = pronamespace where nspname = 'app'")
    return [source for (source,) in found]


def python_trees():
    """Return the syntax tree of every Python file of the product."""
    files = (file for package in PACKAGES for file in Path(package.__path__[0]).rglob("*.py"))
    return {file: ast.parse(file.read_text()) for file in files}


def sql_codes(sources):
    """Return the statuses with which SQL raises each code."""
    found = defaultdict(set)
    for source in sources:
        for status, code in (*REFUSE.findall(source), *RAISE.findall(source)):
            found[code].add(int(status))
    return found


def test_every_code_of_sql_is_registered_with_its_status(sources):
    found = sql_codes(sources)

    assert found["link_invalid"] == {404}
    assert {code: sorted(statuses) for code, statuses in found.items()} == {
        code: [REGISTRY[code].status] for code in found if code in REGISTRY
    }


def test_every_refusal_of_sql_has_a_literal_status_and_code(sources):
    refusals = sum(len(re.findall(r"app\.refuse\s*\(", source)) for source in sources)
    # An exception with a text and no code refuses the migration that calls `app.secure`, and no request.
    raises = sum(len(re.findall(r"raise\s+exception\s+(?!')", source, re.IGNORECASE)) for source in sources)

    assert refusals == sum(len(REFUSE.findall(source)) for source in sources)
    # The one without a literal is in `app.refuse` itself.
    assert raises == sum(len(RAISE.findall(source)) for source in sources) + 1


def test_registry_has_no_code_twice():
    assert len(REGISTRY) == sum(len(titles) for titles in _TITLES.values())


def test_every_registered_code_is_raised_somewhere(classes, sources):
    instantiated = {
        getattr(node, "attr", getattr(node, "id", None))
        for tree in python_trees().values()
        for outer in ast.walk(tree)
        if isinstance(outer, ast.Raise | ast.Call)
        for node in (outer.exc if isinstance(outer, ast.Raise) else outer.func,)
    }
    raised = {kind.code for name, kind in classes.items() if name in instantiated}
    # Falcon's errors become these; `app.record_scans` returns its reasons as text.
    raised |= {kind.code for kind in _BY_STATUS.values()} | {"internal"}
    reasons = {code for code in REFUSALS if any(f"'{code}'" in source for source in sources)}
    looked_up = {"bad_token", "unknown_code"}
    of_locker = {code for operation in locker.SERVICE.operations for code in operation.refusals}

    assert set(REGISTRY) - raised - set(sql_codes(sources)) - reasons - looked_up - of_locker == set()


def test_every_class_has_status_and_title_of_its_code(classes):
    assert len(classes) > 50
    assert {name: (kind.status, kind.title) for name, kind in classes.items()} == {
        name: (REGISTRY[kind.code].status, REGISTRY[kind.code].title) for name, kind in classes.items()
    }


def test_every_error_of_the_openapi_document_is_registered(client):
    document = client.get("/api/v1/openapi.json").json
    described = [
        (code, int(status))
        for operations in document["paths"].values()
        for operation in operations.values()
        for code, status in IN_DOCUMENT.findall(operation["description"])
    ]

    assert len(described) > 100
    assert {(code, status) for code, status in described if REGISTRY[code].status != status} == set()


def test_problem_raised_with_undeclared_member_is_refused(classes):
    with pytest.raises(TypeError, match="Unexpected keyword argument 'job_id'"):
        LastBrandAdmin(job_id="1")
    with pytest.raises(TypeError, match="Missing required argument 'job_id'"):
        classes["LaunchInProgress"]()


def test_members_of_a_code_are_those_of_its_own_class(classes):
    assert classes["NotReady"].members is Invalid.members
    assert [kind.code for kind in classes.values() if kind.members is Forbidden.members] == ["forbidden"]


def test_code_that_sql_raises_requires_no_member(classes, sources):
    """SQL raises a code and a detail only."""
    for code in sql_codes(sources):
        assert Problem.of_code(code, "Why.").detail == "Why."


def test_error_of_database_is_caught_by_class_of_its_code(db_clean):
    with pytest.raises(LastBrandAdmin, match="is needed") as refused, database.transaction(context.unauthenticated()):
        database.execute("select app.refuse(409, 'last_brand_admin', 'One is needed.')")

    assert (refused.value.status, refused.value.code) == (409, "last_brand_admin")
    assert (refused.value.title, refused.value.detail) == (LastBrandAdmin.title, "One is needed.")


def test_error_of_database_without_class_has_class_of_its_status(db_clean):
    with pytest.raises(Conflict) as refused, database.transaction(context.unauthenticated()):
        database.execute("select app.refuse(409, 'group_is_over')")

    assert type(refused.value) is Conflict
    assert (refused.value.code, refused.value.title) == ("group_is_over", REGISTRY["group_is_over"].title)


def test_error_of_database_without_session_asks_for_credentials(db_clean):
    with pytest.raises(Unauthenticated) as refused, database.transaction(context.unauthenticated()):
        database.execute("select app.refuse(401, 'account_closed')")

    assert refused.value.headers == {"WWW-Authenticate": "Bearer"}


def test_class_with_unregistered_or_foreign_code_is_refused():
    with pytest.raises(KeyError, match="no_such_code"):
        type("Unregistered", (Problem,), {"code": "no_such_code"})
    with pytest.raises(TypeError, match="has status 409"):
        type("OtherStatus", (Invalid,), {"code": "group_is_over"})
    with pytest.raises(TypeError, match="belongs to LastBrandAdmin"):
        type("Second", (Conflict,), {"code": "last_brand_admin"})


def test_exceptions_named_in_docstrings_exist(classes):
    named = {
        (module_of(file), node.name, name.strip())
        for file, tree in python_trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for names in re.findall(r"^    ([A-Z\w., ]+): ", _raises(ast.get_docstring(node)), re.MULTILINE)
        for name in names.split(",")
    }

    ours = {
        kind.__name__
        for kind in _below(BaseException)
        if kind.__module__.startswith(("jobs", "models", "settings", "web"))
    }
    unknown = {entry for entry in named if entry[2] not in ours and not _resolves(entry[2], entry[0])}
    assert len(named) > 100
    assert unknown == set()


def module_of(file):
    """Return the dotted name of the module in a file."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _raises(docstring):
    return re.split(r"\n\n(?=\S)", (docstring or "").partition("Raises:\n")[2])[0]


def _resolves(dotted, module):
    first, *rest = dotted.split(".")
    found = vars(importlib.import_module(module)).get(first) or vars(builtins).get(first)
    for name in rest:
        found = getattr(found, name, None)
    return found is not None

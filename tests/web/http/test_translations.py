"""Languages of problems: every text for callers has a Spanish text, and the client's preference decides."""

import ast
import re
import string
from functools import cache
from pathlib import Path

import pytest

from models.core.errors import REGISTRY, FieldError, Forbidden, Invalid, NotFound
from models.core.messages import Message
from web.http.endpoint import endpoint
from web.http.locales import best
from web.http.translations import LANGUAGES, spanish, translate

ROOT = Path(__file__).resolve().parents[3]
SPANISH = {**spanish.REASONS, **spanish.DETAILS}
SQL_DETAIL = re.compile(r"app\.refuse\(\s*\d+,\s*'(\w+)',\s*(?:'((?:[^']|'')*)'|([^')]+))")


@cache
def trees():
    """Return the syntax tree of every file that raises errors for callers."""
    files = [file for folder in ("models", "web") for file in (ROOT / folder).rglob("*.py")]
    return {str(file.relative_to(ROOT)): ast.parse(file.read_text()) for file in files}


def name_of(node):
    return getattr(node, "attr", getattr(node, "id", None))


def kinds(found, root):
    """Return the names of a class and of the classes below it."""
    names = {root}
    bases = {
        node.name: {name_of(base) for base in node.bases}
        for tree in found.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    while more := {child for child, of in bases.items() if of & names} - names:
        names |= more
    return names


@cache
def python_texts():
    """Return place and node of each text for callers: of messages, details and reasons."""
    return list(_python_texts())


def _python_texts():
    found = trees()
    problems, invalid = kinds(found, "Problem"), kinds(found, "Invalid")
    for file, tree in found.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name, args = name_of(node.func), node.args
            position = 1 if name in invalid | {"FieldError"} else 0 if name in problems | {"Message"} else None
            if position is not None and len(args) > position:
                yield f"{file}:{node.lineno}", args[position]


def sql_texts():
    """Yield code and detail of each refusal of SQL; the detail is None if SQL computes it."""
    for file in sorted((ROOT / "models/supabase/migrations").glob("*.sql")):
        for code, literal, _computed in SQL_DETAIL.findall(file.read_text()):
            yield code, literal.replace("''", "'") or None


def test_every_literal_text_for_callers_has_a_spanish_text():
    literals = {
        node.value: place
        for place, node in python_texts()
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    # A refusal of a service is raised with its code.
    missing = {place: text for text, place in literals.items() if text not in SPANISH and text not in REGISTRY}

    assert len(literals) > 100
    assert not missing, f"add these texts to web/http/translations/spanish.py: {missing}"


def test_every_computed_text_for_callers_is_a_message():
    """An f-string has no template that could be translated."""
    computed = {
        place: ast.unparse(node)
        for place, node in python_texts()
        if isinstance(node, ast.JoinedStr | ast.BinOp)
        or (isinstance(node, ast.Call) and name_of(node.func) in ("format", "join", "str"))
    }

    assert not computed, f"use Message(template, **values) in place of: {computed}"


def test_every_detail_of_sql_has_a_spanish_text():
    details = list(sql_texts())
    missing = {detail for _, detail in details if detail and detail not in SPANISH}

    assert len(details) > 50
    assert not missing, f"add these texts to web/http/translations/spanish.py: {missing}"


def test_every_code_has_a_spanish_title():
    assert set(spanish.TITLES) == set(REGISTRY)


def test_every_translation_is_used_and_has_the_values_of_its_template():
    used = {node.value for _, node in python_texts() if isinstance(node, ast.Constant)}
    used |= {detail for _, detail in sql_texts()}
    used |= {node.value for tree in trees().values() for node in ast.walk(tree) if isinstance(node, ast.Constant)}

    assert set(SPANISH) - used == set()
    for english, text in SPANISH.items():
        assert values_of(english) == values_of(text), english


def values_of(template):
    """Return the values of a template with their formats."""
    return {(name, form) for _, name, form, _ in string.Formatter().parse(template) if name}


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("es", "es"),
        ("ES", "es"),
        ("es-MX", "es"),
        ("es-419, en;q=0.5", "es"),
        ("en, es", "en"),
        ("es, en", "es"),
        ("es;q=0.4, en;q=0.5", "en"),
        ("fr, es;q=0.1", "es"),
        ("fr", "en"),
        ("*", "en"),
        ("fr, *;q=0.5", "en"),
        ("en;q=0, *", "es"),
        ("es;q=0", "en"),
        ("es;q=2", "en"),
        ("est", "en"),
        ("es;q=x, ;;,,", "en"),
        (", ".join(["fr"] * 10 + ["es"]), "en"),
    ],
)
def test_language_of_the_answer_is_the_preferred_one(header, language):
    assert best(header, LANGUAGES) == language


def test_value_of_a_message_is_translated_with_it():
    message = Message("must be {kind}", kind=Message("{kind} or {other}", kind=Message("a number"), other="x"))

    assert message == "must be a number or x"
    assert translate(message, "es") == "debe ser un número o x"


def test_text_without_translation_has_none():
    assert translate("Bad chunk size", "es") is None
    assert translate(Message("must be {kind}", kind=Message("a thing")), "es") is None
    assert translate("Bad chunk size", "en") == "Bad chunk size"


class Failing:
    """Raise the exception that the test sets."""

    error = NotFound()

    @endpoint(permission="public")
    def on_get(self, req, resp):
        raise self.error


@pytest.fixture
def failing():
    return Failing()


@pytest.fixture
def api(serve, failing):
    return serve({"/failing": failing})


def test_problem_is_rendered_in_spanish(api, failing):
    failing.error = Invalid(errors=[FieldError("name", Message("must be {kind}", kind=Message("text")))])

    answer = api.get("/failing", headers={"Accept-Language": "es-MX,es;q=0.9"})

    assert answer.json["title"] == "La petición no es válida"
    assert answer.json["detail"] == "name: debe ser texto"
    assert answer.json["errors"] == [{"field": "name", "reason": "debe ser texto"}]
    assert answer.headers["content-language"] == "es"
    assert "Accept-Language" in answer.headers["vary"]


def test_untranslated_detail_is_left_out_and_reason_is_general(api, failing):
    failing.error = Forbidden("Ask Ana.")
    plain = api.get("/failing", headers={"Accept-Language": "es"}).json
    failing.error = Invalid("name", "is odd")
    invalid = api.get("/failing", headers={"Accept-Language": "es"}).json

    assert (plain["title"], plain.get("detail")) == ("No está permitido", None)
    assert (invalid["errors"], invalid.get("detail")) == ([{"field": "name", "reason": "no es válido"}], None)


def test_refusals_of_the_framework_are_in_spanish(api):
    headers = {"Accept-Language": "es"}

    assert api.get("/nowhere", headers=headers).json["title"] == "No se ha encontrado"
    assert api.request("DELETE", "/failing", headers=headers).json["title"] == "El recurso no admite este método"
    assert api.get("/failing?x=1", headers=headers).json["errors"][0]["reason"] == "no es un parámetro conocido"

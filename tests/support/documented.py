"""Compare refusals with the OpenAPI document: it lists each code that an operation answers with."""

import re
from functools import cache
from typing import Any

from falcon.testing import Result

from models.core.errors import REGISTRY
from web.app import application
from web.http.problems import PROBLEM_JSON
from web.openapi.document import document
from web.openapi.problems import general_code

OF_ANY_REQUEST = {405, 406, 408, 414, 421, 431, 500, 503}
"""Statuses that any operation may answer with. The document does not list their codes for each operation."""
OF_ANY_CALLER = {
    *(code for code, entry in REGISTRY.items() if entry.status == 401),
    *("email_of_other_account", "legacy_token", "mfa_required", "unknown_role"),
}
"""Codes about the caller's session, not about the operation."""


def undocumented(method: str, path: str, answer: Result) -> str | None:
    """Return operation and code of a refusal that the document does not list, or None."""
    status = answer.status_code
    if status < 400 or status in OF_ANY_REQUEST or not answer.content:
        return None
    for verb, pattern, listed in _operations():
        if verb == method and pattern.fullmatch(path.partition("?")[0]):
            code = answer.json["code"]
            known = listed.get(status, set()) | OF_ANY_CALLER | {general_code(status)}
            return None if code in known else f"{method} {path}: {code} ({status})"
    return None


@cache
def _operations() -> list[tuple[str, re.Pattern[str], dict[int, set[str]]]]:
    """Return method, path and codes by status of each operation; fixed paths before those with parameters."""
    spec = document(application)
    found = []
    for path, item in sorted(spec["paths"].items(), key=lambda one: "{" in one[0]):
        pattern = re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)))
        for method, operation in item.items():
            answers = {status: one for status, one in operation["responses"].items() if status != "default"}
            codes = {int(status): _codes(spec, one) for status, one in answers.items()}
            found.append((method.upper(), pattern, codes))
    return found


def _codes(spec: dict[str, Any], answer: dict[str, Any]) -> set[str]:
    if "$ref" in answer:
        answer = spec["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    return set(answer.get("content", {}).get(PROBLEM_JSON, {}).get("examples", ()))

"""Test that the document describes every member and every parameter."""

from web.app import application
from web.openapi.document import document


def undescribed(spec):
    """Yield the names of undescribed members as `Schema.member`, and of parameters as `GET /path: name`."""
    for name, schema in spec["components"]["schemas"].items():
        for member, inner in schema.get("properties", {}).items():
            if not inner.get("description"):
                yield f"{name}.{member}"
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            for parameter in operation["parameters"]:
                if not parameter.get("description"):
                    yield f"{method.upper()} {path}: {parameter['name']}"


def test_members_and_parameters_of_the_document_are_described():
    missing = list(undescribed(document(application)))

    assert not missing, "Describe by `msgspec.Meta(description=…)`, as CONTRIBUTING.md says: " + ", ".join(missing)

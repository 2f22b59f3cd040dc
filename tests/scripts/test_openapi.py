"""Tests of `./scripts/openapi`: print, compare and keep documents."""

import io
import json
from datetime import UTC, datetime

import pytest

from scripts.commands.openapi import documents
from scripts.commands.openapi.main import main
from scripts.devstack.environment import ROOT
from scripts.devstack.progress import SetupError, output
from web.openapi.comparison.operations import compare
from web.openapi.comparison.rules import is_allowed
from web.openapi.introduction import VERSION


def small(version, **operations):
    """Return a document with one path."""
    found = {method: {"operationId": method, "responses": {}} for method in operations.get("methods", ["get"])}
    return {"info": {"version": version}, "paths": {"/things": found}, "components": {"schemas": {}}}


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """Keep documents in an empty directory of releases."""
    monkeypatch.setattr(documents, "RELEASES", tmp_path)

    def write(name, document):
        (tmp_path / f"{name}.json").write_text(json.dumps(document))

    return write


@pytest.fixture
def said(monkeypatch):
    """Return the text that the command prints for people."""
    text = io.StringIO()
    monkeypatch.setattr(output, "streams", [text])
    return text


def test_print_writes_the_document_of_the_checkout(capsys):
    assert main(["print", "--server", "https://api.acme.example"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed["info"]["version"] == VERSION
    assert printed["servers"] == [{"url": "https://api.acme.example"}]


@pytest.mark.parametrize(("version", "status"), [("0.2.1", 1), ("0.3.0", 0)])
def test_compare_fails_if_the_version_does_not_allow_a_breaking_change(keep, said, version, status):
    keep("0.2.0", small("0.2.0", methods=["get", "put"]))
    keep(version, small(version, methods=["get", "post"]))

    assert main(["compare", "0.2.0", version]) == status

    printed = said.getvalue()
    assert "PUT /things: the operation is gone [operation-removed]" in printed
    assert "POST /things: new operation [operation-added]" in printed
    assert ("does not allow" in printed) == bool(status)


def test_compare_takes_the_latest_release_by_default(keep, said):
    keep("0.10.0", documents.present())
    keep("0.9.0", small("0.9.0"))

    assert main(["compare"]) == 0
    assert f"0 breaking and 0 compatible changes since {VERSION}" in said.getvalue()


def test_release_writes_the_document_of_its_version(keep):
    assert main(["release", VERSION]) == 0

    assert documents.kept(VERSION) == json.loads(documents.text(documents.present()))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["release", "9.9.9"], f"The document has version {VERSION}"),
        (["compare"], "No document is kept"),
        (["compare", "0.0.1"], r"0\.0\.1: No such file.* Known versions: none"),
        (["compare", "http://127.0.0.1:1"], "openapi.json does not answer"),
    ],
)
def test_impossible_command_says_what_is_wrong(keep, arguments, sentence):
    with pytest.raises(SetupError, match=sentence):
        main(arguments)


def test_document_has_no_breaking_change_that_its_version_does_not_allow():
    latest = documents.releases()[-1]
    changes = compare(documents.kept(latest), documents.present(), today=datetime.now(UTC).date())

    broken = [str(change) for change in changes if change.is_breaking]

    assert not broken or is_allowed(latest, VERSION), (
        "These changes break clients. Undo them, or raise the version as docs/versioning.md says; before the release of"
        f" {VERSION}, run `./scripts/openapi release {VERSION}`:\n" + "\n".join(broken)
    )


def test_changelog_has_a_section_for_the_version():
    assert f"\n## {VERSION}\n" in (ROOT / "CHANGELOG.md").read_text()

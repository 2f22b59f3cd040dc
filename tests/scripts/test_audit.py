"""Tests of `./scripts/audit`: it reports each manipulation of a chain, a checkpoint or an export."""

import dataclasses
import io
import json
import os
import re
import subprocess
import sys

import pytest

from jobs.audit.stores.folder import Folder
from models.audit import checkpoints, trail
from models.audit.chain import Head
from models.core.database import new_id, transaction
from scripts.commands.audit import commands, sources
from scripts.commands.audit.verification import Verification
from scripts.devstack import progress
from scripts.devstack.environment import ROOT
from settings import settings
from tests.fixtures.audit import seal, writer

BRAND_ID = new_id()
GUARDED = ("public.audit_logs", "app.audit_chains")
TRIGGERS = ("append_only_update", "append_only_delete", "append_only_truncate")


@pytest.fixture
def run(db_clean, tmp_path, monkeypatch):
    """Return a function that runs a command in this process and returns its exit status and output."""
    own = dataclasses.replace(settings, audit_checkpoint_url=f"file://{tmp_path / 'checkpoints'}")

    def run(*arguments):
        printed = io.StringIO()
        with monkeypatch.context() as patch:
            patch.setattr(commands, "settings", own)
            patch.setattr(progress.output, "streams", [printed])
            return commands.main([*map(str, arguments)]), printed.getvalue()

    return run


@pytest.fixture
def run_alone(tmp_path):
    """Return a function that runs a command in its own process and environment."""

    def run(*arguments, **environment):
        env = os.environ | {"AUDIT_CHECKPOINT_URL": f"file://{tmp_path / 'checkpoints'}"} | environment
        command = [sys.executable, "-m", "scripts.commands.audit.commands", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout

    return run


def record(count, brand_id=BRAND_ID):
    with transaction(writer(brand_id)):
        for number in range(count):
            trail.record("test.act", after={"number": number, "text": "ñ€", "share": 0.1})
    seal(brand_id)


@pytest.fixture
def tamper(superuser):
    """Return a function that runs statements with the triggers disabled, as only a superuser can."""

    def tamper(*statements):
        with superuser.cursor() as cursor:
            for table in GUARDED:
                for trigger in TRIGGERS:
                    cursor.execute(f"alter table {table} disable trigger {trigger}")
            for statement in statements:
                cursor.execute(statement, {"brand": BRAND_ID})
            for table in GUARDED:
                for trigger in TRIGGERS:
                    cursor.execute(f"alter table {table} enable trigger {trigger}")

    return tamper


@pytest.fixture
def recorded_trail(run):
    """Record ten entries of a brand and two of the platform, and store a checkpoint."""
    record(10)
    record(2, None)
    assert run("checkpoint") == (0, "Checkpoint 1 is stored\n")


CHAIN = f"brand {BRAND_ID}"
OF = "brand_id = %(brand)s and seq"
HEAD = (
    "update app.audit_chains set seq = {0}, mac = (select mac from public.audit_logs"
    " where brand_id = %(brand)s and seq = {0}) where chain_id = %(brand)s"
)
TAMPERED = {
    "one byte changed": ((f"update public.audit_logs set reason = 'x' where {OF} = 4",), 4),
    "one removed": ((f"delete from public.audit_logs where {OF} = 4",), 4),
    "the first removed": ((f"delete from public.audit_logs where {OF} = 1",), 1),
    "two exchanged": (
        (
            f"update public.audit_logs set seq = 99 where {OF} = 4",
            f"update public.audit_logs set seq = 4 where {OF} = 7",
            f"update public.audit_logs set seq = 7 where {OF} = 99",
        ),
        4,
    ),
    "one inserted": (
        (
            "insert into public.audit_logs (action, brand_id, seq, mac, key_version, sealed_at)"
            f" select 'forged', brand_id, 11, mac, 1, now() from public.audit_logs where {OF} = 10",
        ),
        11,
    ),
    "the tail cut": ((f"delete from public.audit_logs where {OF} > 7",), 8),
    "the tail cut, and the head with it": ((f"delete from public.audit_logs where {OF} > 7", HEAD.format(7)), 8),
    "all of it cut, and the head with it": (
        (
            "delete from public.audit_logs where brand_id = %(brand)s",
            "delete from app.audit_chains where chain_id = %(brand)s",
        ),
        1,
    ),
    "the tail's seals taken off": (
        (
            f"update public.audit_logs set seq = null, mac = null, key_version = null, sealed_at = null where {OF} > 7",
            HEAD.format(7),
        ),
        8,
    ),
}  # fmt: skip


def faults(run, *arguments):
    status, printed = run("verify", "--json", *arguments)
    report = json.loads(printed)
    assert status == (0 if report["intact"] else 1)
    return [(fault["chain"], fault["seq"]) for fault in report["faults"]]


def test_unchanged_trail_is_intact(run, recorded_trail):
    record(3)

    assert run("verify") == (0, "15 entries in 2 chains, 1 checkpoints: intact\n")


@pytest.mark.parametrize("how", TAMPERED)
def test_manipulation_of_a_chain_is_reported_at_its_place(run, recorded_trail, tamper, how):
    statements, seq = TAMPERED[how]
    tamper(*statements)

    assert faults(run)[0] == (CHAIN, seq)


def test_tail_that_was_cut_and_sealed_again_is_reported(run, recorded_trail, tamper):
    tamper(
        TAMPERED["the tail's seals taken off"][0][0], HEAD.format(7), "delete from public.audit_logs where seq is null"
    )
    record(3)

    assert faults(run)[0] == (CHAIN, 10)


def test_missing_checkpoints_are_noted(run):
    record(2)

    status, printed = run("verify")

    assert status == 0
    assert "cut off at the end of a chain with its head can't be found" in printed


@pytest.fixture
def exported(run, recorded_trail, tmp_path):
    """Export the trail, and the keys for its verification on another machine."""
    path = tmp_path / "trail.jsonl"
    assert run("export", path) == (0, f"12 entries of 2 chains are in {path}\n")
    (tmp_path / "public.json").write_text(run("keys")[1])
    (tmp_path / "mac.json").write_text(run("keys", "--mac")[1])
    return path


def offline(run, path, *arguments, **environment):
    folder = path.parent
    with_keys = ("--public-keys", folder / "public.json", "--mac-keys", folder / "mac.json")
    return run("verify", path, "--checkpoints", folder / "checkpoints", *with_keys, *arguments, **environment)


def test_export_is_verified_without_database_and_secrets(run_alone, exported):
    nothing = {name: "" for name in os.environ if name.startswith("DATABASE_") or name in ("SECRET_KEYS", "AUTH_JWKS")}

    assert offline(run_alone, exported, **nothing) == (0, "12 entries in 2 chains, 1 checkpoints: intact\n")


def replace(lines, old, new):
    """Replace a text in the first line that contains it."""
    at = next(number for number, line in enumerate(lines) if old in line)
    lines[at] = lines[at].replace(old, new, 1)


def change(lines, at):
    lines[at] = lines[at].replace("test.act", "test.bct")


def capitals(line):
    """Return a line with one letter of the MAC in upper case: the same number in hexadecimal."""
    head, mac = line.split('"mac":"')
    (letter,) = re.findall("[a-f]", mac)[:1]
    return f'{head}"mac":"{mac.replace(letter, letter.upper(), 1)}'


def respelled(line):
    """Return a line with another text of the same signature: the last base64 digit has unused bits."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    head, last, tail = re.fullmatch(r'(.*"signature":"[\w-]{85})([\w-])(".*\n?)', line).groups()
    return head + digits[digits.index(last) ^ 1] + tail


EDITS = {
    "one byte changed": lambda lines: change(lines, 3),
    "one removed": lambda lines: lines.pop(3),
    "one doubled": lambda lines: lines.insert(3, lines[3]),
    "two exchanged": lambda lines: lines.__setitem__(slice(3, 5), lines[4:2:-1]),
    "the tail cut": lambda lines: lines.__delitem__(slice(-1, None)),
    "its head changed": lambda lines: replace(lines, '"seq":10', '"seq":9'),
    "no line any more": lambda lines: lines.__setitem__(3, lines[3][:40] + "\n"),
    "another spelling": lambda lines: lines.__setitem__(3, lines[3].replace('":', '": ', 1)),
    "capitals in a seal": lambda lines: lines.__setitem__(3, capitals(lines[3])),
    "a number written otherwise": lambda lines: replace(lines, '"seq":3', '"seq":3.0'),
    "a number as a text": lambda lines: replace(lines, '"seq":3', '"seq":"3"'),
    "its signature written otherwise": lambda lines: lines.__setitem__(0, respelled(lines[0])),
    "a member twice": lambda lines: lines.__setitem__(3, lines[3].replace("{", '{"action":"x",', 1)),
}


@pytest.mark.parametrize("how", EDITS)
def test_edited_export_is_reported(run, exported, how):
    lines = exported.read_text().splitlines(keepends=True)
    EDITS[how](lines)
    exported.write_text("".join(lines))

    status, printed = offline(run, exported)

    assert status == 1, printed
    assert printed.startswith("✗ ")


def test_verification_without_mac_keys_finds_missing_entries_only(run, exported):
    lines = exported.read_text().splitlines(keepends=True)
    change(lines, 3)
    exported.write_text("".join(lines))
    assert offline(run, exported, "--without-mac-keys")[0] == 0

    del lines[3]
    exported.write_text("".join(lines))
    assert offline(run, exported, "--without-mac-keys")[0] == 1


@pytest.mark.parametrize(("number", "how"), [(2, "changed"), (2, "removed"), (3, "removed")])
def test_changed_or_removed_checkpoint_is_reported(run, recorded_trail, tmp_path, number, how):
    for _ in range(2):
        run("checkpoint")
    path = tmp_path / "checkpoints" / f"checkpoint-{number:010d}.json"
    path.chmod(0o644)
    if how == "removed":
        path.unlink()
    else:
        path.write_text(path.read_text().replace('"seq":10', '"seq":11'))

    assert ("checkpoints", number) in faults(run)


STRANGE = {
    "another document of ours": lambda exported: exported.read_bytes().split(b"\n")[0],
    "no text": lambda _: b"\xff\xfe",
    "nested without end": lambda _: b"[" * 100_000,
    "its signature written otherwise": lambda exported: respelled(
        (exported.parent / "checkpoints" / "checkpoint-0000000001.json").read_text()
    ).encode(),
    "nothing": lambda _: b"",
}


@pytest.mark.parametrize("what", STRANGE)
def test_document_that_is_no_checkpoint_is_reported(run, exported, what):
    path = exported.parent / "checkpoints" / "checkpoint-0000000001.json"
    content = STRANGE[what](exported)
    path.chmod(0o644)
    path.write_bytes(content)

    assert faults(run)[0] == ("checkpoints", 1)


def test_checkpoint_of_another_key_is_reported(run, run_alone, recorded_trail):
    assert faults(run) == []

    status, printed = run_alone("verify", AUDIT_CHECKPOINT_KEYS="A" * 43)

    assert (status, "no public key" in printed) == (1, True)


def test_export_of_one_brand_is_intact(run, recorded_trail, tmp_path):
    path = tmp_path / "brand.jsonl"

    assert run("export", path, "--brand", BRAND_ID)[0] == 0

    assert run("verify", path) == (0, "10 entries in 1 chains, 1 checkpoints: intact\n")


def test_export_does_not_overwrite_a_file(run, exported):
    assert run("export", exported)[0] == 1


def entry_of(seq, mac):
    return {"seq": seq, "mac": mac, "brand_id": BRAND_ID, "personal_hashes": {}}


def test_repeated_entry_is_reported_without_mac_keys():
    verification = Verification(None)
    for seq in (1, 2, 2, 3):
        verification.check(entry_of(seq, b"mac"))

    assert [(fault.seq, fault.detail) for fault in verification.faults()] == [
        (2, "inserted, or not in order: it comes after 2")
    ]


def test_exchanged_entries_are_reported_once_without_mac_keys():
    verification = Verification(None)
    for seq in (1, 3, 2, 4):
        verification.check(entry_of(seq, b"mac"))

    assert [fault.seq for fault in verification.faults()] == [2, 2]


def test_signed_checkpoint_out_of_sequence_is_reported(tmp_path):
    def document(number, previous):
        statement = {"format": checkpoints.FORMAT, "number": number, "previous": previous, "at": "2026-11-30T12:00:00"}
        return checkpoints.sign({**statement, "chains": [], "starts": []})

    first = document(1, None)
    second = document(2, checkpoints.digest(first).hex())
    public = checkpoints.public_keys(checkpoints.public_key_set())
    for name, documents, wrong in (
        ("right", (first, second), []),
        ("other number", (first, document(3, checkpoints.digest(first).hex())), [2]),
        ("other predecessor", (first, document(2, "00" * 32)), [2]),
    ):
        store, verification = Folder(tmp_path / name), Verification(None)
        for number, text in enumerate(documents, 1):
            store.put(number, text)

        assert sources.check_checkpoints(verification, store, public) == 2
        assert [fault.seq for fault in verification.faults()] == wrong, name


def test_start_that_differs_from_a_signed_head_is_reported():
    verification = Verification(None)
    verification.add_heads({BRAND_ID: Head(8, b"signed")}, "checkpoint 1")
    verification.add_starts({BRAND_ID: Head(8, b"another")}, "checkpoint 2")

    verification.check(entry_of(9, b"mac"))

    assert [(fault.seq, fault.detail) for fault in verification.faults()] == [
        (8, "differs from the entry in checkpoint 1")
    ]


def test_chain_whose_entries_are_all_deleted_is_intact():
    verification = Verification(None)
    verification.add_heads({BRAND_ID: Head(8, b"signed")}, "checkpoint 1")
    verification.add_starts({BRAND_ID: Head(8, b"signed")}, "checkpoint 2")

    assert verification.faults() == []

"""Tests of `./scripts/replay` against the real API."""

import json
import os
import subprocess
from contextlib import contextmanager
from types import SimpleNamespace
from uuid import uuid4

import pytest

from models.core import context
from models.core.database import transaction
from models.identity import totp
from models.jobs import dead_letters
from models.jobs.ledger import enqueue
from scripts.commands.replay import main, options, session
from scripts.commands.replay.tables import table, tree
from scripts.devstack import authenticator
from scripts.devstack.api import HttpApi, Refused
from scripts.devstack.environment import ROOT
from scripts.devstack.progress import SetupError
from tests.fixtures.accounts import TOTP_SECRET


class InProcess:
    """The API in this process, with the access token of a session."""

    def __init__(self, client, token):
        self._client, self._token = client, token

    def call(self, method, path, body=None, **query):
        """Call the API as `scripts.devstack.api.Api` does."""
        asked = {name: value for name, value in query.items() if value is not None}
        answer = self._client.request(method, path, json=body, token=self._token, params=asked)
        if answer.status_code >= 400:
            raise Refused(answer.status_code, answer.text)
        return answer.json if answer.content else None


@pytest.fixture
def replay(client, admin, capsys):
    """Return `replay("jobs", "list")`: it returns the output; `answers` are the replies to questions."""

    def run(*argv, answers=(), code=0):
        given, answers = options.parser().parse_args(argv), list(answers)
        assert main.perform(given, InProcess(client, admin.token), lambda _: answers.pop(0)) == code
        return capsys.readouterr().out

    return run


def waiting(name="test.one"):
    with transaction(context.for_system_job()):
        return enqueue(name).id


def test_list_shows_groups_and_paused_actors(replay, make_dead_letter, ledger):
    ledger.register_actors({"default": ["test.one"]})
    for _ in range(3):
        make_dead_letter("test.one", message="the printer burns")
    make_dead_letter("test.two", message="out of paper")
    replay("jobs", "pause", "test.one", "--reason", "fire")

    printed = replay("jobs", "list").splitlines()

    assert printed[0].split() == ["count", "actor", "error", "place", "brands", "first", "last", "group"]
    assert "test.one" in printed[1]
    assert "VendorError: the printer burns" in printed[1]
    assert printed[1].split()[0] == "3"
    assert printed[3] == "4 dead letters in 2 groups"
    assert "test.one is paused since" in printed[4]
    assert printed[4].endswith("by root@companon.example: fire (0 wait)")


CONTROLS = "\x1b]0;owned\x07\x1b[31mAll done\x1b[8m\x9b2J\u202e\u2028"


@pytest.mark.parametrize(
    "argv",
    [
        ("jobs", "list"),
        ("jobs", "list", "--json"),
        ("jobs", "show", "{id}"),
        ("jobs", "show", "{id}", "--json"),
        ("jobs", "run", "{id}", "--dry-run"),
        ("jobs", "run", "{id}", "--dry-run", "--json"),
    ],
)
def test_control_characters_are_escaped(replay, make_dead_letter, argv):
    id = make_dead_letter("test.one", message=CONTROLS)

    printed = replay(*(part.format(id=id) for part in argv))

    assert "owned" in printed
    assert not set(CONTROLS) & set(printed) - set("ownedAll done]0;[318m2J")
    assert "\\x1b]0;owned" in printed or "\\u001b]0;owned" in printed


def test_list_with_json_prints_json(replay, make_dead_letter):
    make_dead_letter("test.one")
    make_dead_letter("test.two")

    printed = json.loads(replay("jobs", "list", "--actor", "test.two", "--json"))

    assert [group["actor"] for group in printed["groups"]] == ["test.two"]
    assert printed["paused"] == []


def test_show_prints_a_dead_letter_or_a_group(replay, make_dead_letter):
    id = make_dead_letter("test.one", "an-argument")
    group = json.loads(replay("jobs", "list", "--json"))["groups"][0]["fingerprint"]

    assert '["an-argument"]' in replay("jobs", "show", str(id))
    assert str(id) in replay("jobs", "show", group)
    assert "waiting" in replay("jobs", "show", str(waiting()))


def test_run_shows_the_forecast_and_asks(replay, make_dead_letter):
    for _ in range(7):
        make_dead_letter("test.one")

    refused = replay("jobs", "run", "--actor", "test.one", "--rate", "2", answers=["n"], code=1)
    still_there = replay("jobs", "list")
    done = replay("jobs", "run", "--actor", "test.one", "--rate", "2", answers=["y"])

    assert "… and 2 more" in refused
    assert "7 would be replayed, 2 per second: 4 s" in refused
    assert refused.endswith("Nothing was replayed\n")
    assert "7 dead letters" in still_there
    assert "7 wait again; the last is due at" in done
    assert replay("jobs", "list") == "0 dead letters in 0 groups\n"


def test_dry_run_asks_nothing_and_changes_nothing(replay, make_dead_letter):
    id = make_dead_letter("test.one")

    printed = replay("jobs", "run", str(id), "--dry-run")

    assert "1 would be replayed, all at once" in printed
    assert "1 dead letter in 1 group" in replay("jobs", "list")


def test_run_replays_one_job_with_new_arguments(replay, make_dead_letter, superuser):
    id = make_dead_letter("test.one", "wrong")

    replay("jobs", "run", str(id), "--args", '["right"]', "--yes")

    with superuser.cursor() as cursor:
        cursor.execute("select args from app.jobs where id = %s", (id,))
        assert cursor.fetchone() == (["right"],)


def test_run_replays_all_batches_and_lists_blocked_jobs(replay, make_dead_letter, monkeypatch):
    monkeypatch.setattr(dead_letters, "BATCH", 2)
    first, second = (make_dead_letter("test.one", unique="until_done") for _ in range(2))
    for _ in range(3):
        make_dead_letter("test.one")
    make_dead_letter("test.two")
    group = json.loads(replay("jobs", "list", "--actor", "test.one", "--json"))["groups"][0]["fingerprint"]

    printed = replay("jobs", "run", "--group", group, "--yes")

    assert "4 wait again" in printed
    assert f"{second} stays dead: job {first} has its unique key" in printed
    assert "2 dead letters in 2 groups" in replay("jobs", "list")


def test_run_without_terminal_requires_yes(client, admin, make_dead_letter):
    id = make_dead_letter("test.one")
    given = options.parser().parse_args(["jobs", "run", str(id)])

    with pytest.raises(SetupError, match="pass --yes"):
        main.perform(given, InProcess(client, admin.token))


def test_cancel_pause_and_resume_call_the_api(replay, ledger):
    ledger.register_actors({"mail": ["test.one", "test.two"]})

    assert "cancelled" in replay("jobs", "cancel", str(waiting()))
    assert replay("jobs", "pause", "mail", "--queue", "--reason", "because").count("is paused") == 2
    assert replay("jobs", "resume", "mail", "--queue").count("continues") == 2


def test_refusal_of_the_api_is_printed(replay):
    with pytest.raises(SetupError, match="404"):
        replay("jobs", "cancel", str(uuid4()))


def test_trail_prints_a_tree_of_jobs(replay, make_dead_letter, superuser):
    parent, dead = waiting("test.parent"), make_dead_letter("test.dead", message="no paper")
    with transaction(context.for_system_job(parent)):
        child = enqueue("test.child").id
    with superuser.cursor() as cursor:
        cursor.execute("update app.jobs set request_id = 'request-1' where id in %s", ((parent, child),))
        cursor.execute("update app.dead_jobs set request_id = 'request-1' where id = %s", (dead,))

    printed = replay("trail", "request-1").splitlines()

    assert [line.split()[2:4] for line in printed[1:]] == [
        ["test.parent", "waiting"],
        ["└─", "test.child"],
        ["test.dead", "dead"],
    ]
    assert printed[3].endswith("VendorError: no paper")
    assert replay("trail", "request-2") == "No job belongs to request-2\n"


def test_columns_fit_their_contents():
    assert table(("name", "count"), [("a", 5), ("long\nname", 1000)]) == [
        "name       count",
        "a              5",
        "long name  1,000",
    ]
    assert table(("text",), [("x" * 100,)])[1] == "x" * 59 + "…"


def test_tree_shows_parents_and_children():
    links = [{"id": id, "parent_id": parent} for id, parent in (("a", None), ("b", "a"), ("c", "b"), ("d", "a"))]

    assert [lead + link["id"] for lead, link in tree(links)] == ["a", "├─ b", "│  └─ c", "└─ d"]


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Return `opened("--api", …, run={…})`: it signs in without a terminal and returns the calls."""
    calls, shown, owed = [], [], {}

    def call(self, method, path, body=None, **_):
        calls.append((self.base, path, body and body.get("email")))
        if path == "/api/v1/auth/login":
            return {"access_token": "with one factor", "mfa_required": owed.get("mfa", "verify")}
        if body and "code" in body:
            shown.append(body["code"])
            if len(shown) <= owed.get("used", 0):
                raise Refused(403, "used")
        return {"access_token": "theirs"}

    monkeypatch.setattr(HttpApi, "call", call)
    monkeypatch.delenv(session.TOKEN, raising=False)

    @contextmanager
    def open_session(*argv, run=None, **printed):
        owed.update(printed)
        file = tmp_path / "run.json"
        if run:
            file.write_text(json.dumps(run))
        with session.session(options.parser().parse_args(["jobs", "list", "--run", str(file), *argv])) as api:
            yield api, calls

    open_session.shown = shown
    return open_session


LOCAL = {
    "api": "http://127.0.0.1:8000",
    "admin": {"email": "root@local", "password": "secret", "totp_secret": TOTP_SECRET},
}


def test_local_admin_is_signed_in_and_out(opened):
    with opened(run=LOCAL) as (api, calls):
        assert api.token == "theirs"

    assert calls == [
        (LOCAL["api"], "/api/v1/auth/login", "root@local"),
        (LOCAL["api"], "/api/v1/auth/mfa/verify", None),
        (LOCAL["api"], "/api/v1/auth/logout", None),
    ]


def test_used_code_is_followed_by_the_next_one(opened, monkeypatch):
    waited = []
    monkeypatch.setattr(authenticator, "time", SimpleNamespace(time=lambda: 3000 + sum(waited), sleep=waited.append))
    monkeypatch.setattr(totp, "time", SimpleNamespace(time=lambda: 3000 + sum(waited)))

    with opened(run=LOCAL, used=2) as (api, _):
        assert api.token == "theirs"

    assert opened.shown == [totp.code(TOTP_SECRET, at) for at in (3000, 3030, 3060)]
    assert waited == [30]


def test_code_is_asked_for_or_taken_from_the_options(opened, monkeypatch):
    answers = ["ana@companon.example", "123456 "]
    monkeypatch.setattr("builtins.input", lambda _: answers.pop(0))
    monkeypatch.setattr("getpass.getpass", lambda _: "hers")

    with opened("--api", "https://api.example"):
        pass
    with opened("--api", "https://api.example", "--email", "bo@x.example", "--code", "654321"):
        pass

    assert opened.shown == ["123456", "654321"]


def test_admin_without_authenticator_is_refused(opened, monkeypatch):
    with pytest.raises(SetupError, match="enrol one first"), opened(run=LOCAL, mfa="enrol"):
        pass


def test_refused_code_ends_the_command(opened, monkeypatch):
    monkeypatch.setattr("getpass.getpass", lambda _: "hers")
    asked = ("--api", "https://api.example", "--email", "ana@x.example", "--code", "000000")

    with pytest.raises(Refused, match="used"), opened(*asked, used=1):
        pass


def test_given_token_is_used(opened, monkeypatch):
    monkeypatch.setenv(session.TOKEN, "mine")

    with opened("--api", "https://api.example") as (api, calls):
        assert (api.base, api.token) == ("https://api.example", "mine")

    assert calls == []


def test_local_admin_password_is_sent_to_its_system_only(opened, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda _: "ana@companon.example")
    monkeypatch.setattr("getpass.getpass", lambda _: "hers")

    with opened("--api", "https://api.example", run=LOCAL) as (_, calls):
        pass

    assert calls[0] == ("https://api.example", "/api/v1/auth/login", "ana@companon.example")


def test_missing_system_is_reported(opened):
    with pytest.raises(SetupError, match="pass --api"), opened():
        pass


def test_command_reaches_a_running_system(system):
    env = {name: value for name, value in os.environ.items() if name != session.TOKEN}
    command = [ROOT / "scripts" / "replay", "jobs", "list", "--json", "--run", system.var / "run.json"]

    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert set(json.loads(done.stdout)) == {"groups", "paused"}


def test_closed_pipe_is_no_error(system):
    env = {name: value for name, value in os.environ.items() if name != session.TOKEN}
    command = [ROOT / "scripts" / "replay", "jobs", "list", "--run", system.var / "run.json"]

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        process.stdout.close()
        printed = process.stderr.read()

    assert (process.returncode, printed) == (0, "")

"""Test API keys without HTTP: their stored columns, and the limits that the database enforces."""

from datetime import timedelta

import psycopg2
import pytest

from models.core import context, keys
from models.core.database import rows, transaction, value
from models.core.errors import Problem
from models.identity import api_keys
from models.identity.api_keys import ApiKeyInvalid, UnknownScope

DAY = timedelta(days=1)


@pytest.fixture
def make(member, brand):
    def made(*scopes, by=None, lifetime=DAY):
        with (by or member("Brand Admin")).acting():
            return api_keys.create("till", list(scopes), lifetime)

    return made


def test_api_key_is_stored_as_hash_and_prefix_only(make, superuser):
    key, text = make("campaigns:read")

    with superuser.cursor() as cursor:
        cursor.execute("select k::text, key_hash from app.api_keys k")
        ((stored, key_hash),) = cursor.fetchall()
    assert text.startswith(key.prefix)
    assert len(text) == 52
    assert text[len(key.prefix) :] not in stored
    assert bytes(key_hash) == keys.keyed_hash("api-key", text.encode())


def test_api_keys_are_unique(make, member):
    boss = member("Brand Admin")

    assert len({make("campaigns:read", by=boss)[1] for _ in range(5)}) == 5


def test_forged_api_key_is_refused_without_a_query(make, monkeypatch):
    _, text = make("campaigns:read")
    monkeypatch.setattr(api_keys, "transaction", None)
    flipped = text[:20] + ("A" if text[20] != "A" else "B") + text[21:]

    for wrong in ("cpk_", "cpk_x", "cpk_" + "A" * 48, flipped, text + "A", "cpk_\xff"):
        with pytest.raises(ApiKeyInvalid):
            api_keys.identify(wrong)


def test_api_key_reads_rows_of_its_scopes_and_brand_only(make, campaign, make_brand, member):
    own = campaign("Own")
    campaign("Other", by=member("Campaign Manager", make_brand("Other")))
    _, text = make("campaigns:read")

    with transaction(api_keys.identify(text)):
        assert value("SELECT array_agg(name) FROM public.campaigns") == ["Own"]
        assert value("SELECT count(*) FROM public.scan_rollups") == 0
        assert rows("UPDATE public.campaigns SET name = 'x' RETURNING id") == []
        assert value("SELECT count(*) FROM public.users") == 0
    assert own.name == "Own"


def test_database_refuses_scopes_that_the_key_lacks(make):
    key, _ = make("campaigns:read")
    wider = context.of_api_key(key.id, key.brand_id, ["campaigns:read", "campaigns:write"])

    with pytest.raises(Problem) as refused, transaction(wider):
        value("SELECT 1")

    assert (refused.value.status, refused.value.code) == (401, "api_key_invalid")


def test_cached_api_key_is_refused_once_revoked(make, member):
    boss = member("Brand Admin")
    key, text = make("campaigns:read", by=boss)
    identity = api_keys.identify(text)
    with boss.acting():
        assert [api_keys.revoke(key.id), api_keys.revoke(key.id)] == [True, False]

    assert api_keys.identify(text) == identity  # from the cache
    with pytest.raises(Problem) as refused, transaction(identity):
        value("SELECT 1")
    assert refused.value.code == "api_key_invalid"


@pytest.mark.parametrize("scope", ["members:write", "api_keys:write", "brands:read", "nothing:at_all", "users:read"])
def test_api_key_with_scope_that_its_creator_lacks_is_refused(make, scope):
    with pytest.raises(UnknownScope) as refused:
        make("campaigns:read", scope)

    assert [error["field"] for error in refused.value.extra["errors"]] == ["scopes[1]"]


def test_scopes_show_which_ones_the_caller_may_grant(member):
    with member("Brand Admin").acting():
        found = {scope.scope: scope for scope in api_keys.scopes()}
    with member("Creator").acting():
        of_creator = {scope.scope for scope in api_keys.scopes() if scope.grantable}

    assert found["campaigns:write"].grantable
    assert found["campaigns:write"].meaning == "create and change campaigns and their codes"
    assert found.keys().isdisjoint({"api_keys:write", "members:write", "brands:read"})
    reads = {"analytics:read", "assets:read", "brand:read", "campaigns:read", "surveys:read"}
    assert of_creator == reads | {"check_ins:write", "rewards:redeem"}


def test_database_refuses_scopes_that_keys_may_not_have(member):
    with pytest.raises(Problem) as refused, member("Brand Admin").acting():
        value(
            "SELECT app.create_api_key(gen_random_uuid(), 'x', 'cpk_x', '\\x00', %s, %s, 50)", (["members:write"], DAY)
        )

    assert (refused.value.status, refused.value.code) == (422, "unknown_scope")


@pytest.mark.parametrize("role", ["Campaign Manager", "Creator"])
def test_key_creation_by_other_roles_returns_403(member, role):
    with pytest.raises(Problem) as refused, member(role).acting():
        value("SELECT app.create_api_key(gen_random_uuid(), 'x', 'cpk_x', '\\x00', '{}', %s, 50)", (DAY,))

    assert refused.value.status == 403


def test_key_above_the_limit_of_the_brand_is_refused(make, member, monkeypatch):
    monkeypatch.setattr(api_keys, "MAX_KEYS", 2)
    boss = member("Brand Admin")
    first, _ = make("campaigns:read", by=boss)
    make("campaigns:read", by=boss)
    with pytest.raises(Problem) as refused:
        make("campaigns:read", by=boss)
    with boss.acting():
        api_keys.revoke(first.id)

    assert refused.value.code == "too_many_api_keys"
    assert make("campaigns:read", by=boss)


def test_limit_of_keys_counts_live_keys_of_the_brand_only(make, member, make_brand, superuser, monkeypatch):
    monkeypatch.setattr(api_keys, "MAX_KEYS", 1)
    boss, other = member("Brand Admin"), member("Brand Admin", make_brand("Other"))
    make("campaigns:read", by=other)
    first, _ = make("campaigns:read", by=boss)
    superuser.cursor().execute("update app.api_keys set expires_at = now() where id = %s", (first.id,))
    second, _ = make("campaigns:read", by=boss)
    superuser.cursor().execute("update app.api_keys set revoked_at = now() where id = %s", (second.id,))

    assert make("campaigns:read", by=boss)


@pytest.mark.parametrize("change", ["revoked_at = now()", "expires_at = now()"])
def test_key_that_is_no_longer_live_is_not_identified(make, superuser, change):
    _, text = make("campaigns:read")
    superuser.cursor().execute(f"update app.api_keys set {change}")

    with pytest.raises(ApiKeyInvalid) as refused:
        api_keys.identify(text)

    assert refused.value.claims["app_metadata"]["scopes"] == ["campaigns:read"]


def test_use_of_a_key_is_recorded_once_a_minute(make, superuser, monkeypatch):
    _, text = make("campaigns:read")
    used = []
    for _ in range(2):
        monkeypatch.setattr(api_keys, "_known", {})
        api_keys.identify(text)
        with superuser.cursor() as cursor:
            cursor.execute("select last_used_at from app.api_keys")
            used.append(cursor.fetchone()[0])
    superuser.cursor().execute("update app.api_keys set last_used_at = now() - interval '2 minutes'")
    monkeypatch.setattr(api_keys, "_known", {})
    api_keys.identify(text)

    assert used[0] == used[1] is not None
    with superuser.cursor() as cursor:
        cursor.execute("select last_used_at > now() - interval '1 minute' from app.api_keys")
        assert cursor.fetchone() == (True,)


def test_api_key_of_an_older_root_secret_is_identified(make, monkeypatch):
    _, text = make("campaigns:read")
    before = keys.versions()
    assert before == [keys.active_version()]
    roots = {9: b"\x01" * 32, **keys._roots()}
    monkeypatch.setattr(keys, "_roots", lambda: roots)
    monkeypatch.setattr(api_keys, "_known", {})

    assert api_keys.identify(text).is_api_key


@pytest.mark.parametrize("sql", ["SELECT key_hash FROM app.api_keys", "UPDATE app.api_keys SET revoked_at = NULL"])
def test_api_key_hashes_are_not_readable_and_keys_not_writable(member, sql):
    from models.core.database import execute

    with pytest.raises(Exception) as refused, member("Brand Admin").acting():
        execute(sql)

    assert isinstance(refused.value.__cause__ or refused.value.orig, psycopg2.errors.InsufficientPrivilege)

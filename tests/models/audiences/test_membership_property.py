"""Property of memberships: after any changes, they equal a full computation as of the same time."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from models.audiences import activity, compiler, dsl, engagement_events, membership, recomputation, segments
from models.core import context
from models.core.database import new_id, rows, transaction

START = datetime(2026, 11, 20, 21, 0, tzinfo=UTC)
NOTICE = "0197a000-0000-7000-8000-000000000001"
OFTEN = {"kind": "scan", "count": {"op": "gte", "n": 2}}
SELDOM_LATELY = {"kind": "scan", "count": {"op": "lte", "n": 1}, "window": {"last": {"n": 1, "unit": "day"}}}
SPANISH = {"profile": {"field": "country", "op": "eq", "value": "ES"}}
VIP = {"profile": {"field": "properties.vip", "op": "eq", "value": True}}


def definitions(campaign_id):
    """Definitions that together have leaves of every kind."""
    addressed = {"campaign_id": str(campaign_id), "relation": "addressed"}
    return [
        {"any": [SPANISH, {"profile": {"field": "tags", "op": "contains", "value": "vip"}}]},
        {"all": [VIP, {"not": SPANISH}]},
        {"event": OFTEN},
        {"event": SELDOM_LATELY},
        {"all": [{"trait": {"name": "genre", "op": "eq", "value": "rock"}}, {"not": {"event": OFTEN}}]},
        {"consent": {"tier": "analytics", "state": "granted"}},
        {"geo": {"lat": 40.4, "lon": -3.7, "radius_m": 5000}},
        {"any": [{"campaign": {"campaign_id": str(campaign_id)}}, {"campaign": addressed}]},
    ]


class World:
    """A brand with segments, and random changes of its contacts."""

    STEPS = (
        *("add", "add", "change", "change", "record", "record", "record", "reverse", "merge", "separate"),
        *("observe", "observe", "observe", "consent", "consent", "address", "erase"),
    )
    RARE = ("apply", "apply", "apply", "wait")

    def __init__(self, seed, query, campaign, people):
        self.random, self.query, self.people = random.Random(seed), query, people
        self.campaign, self.brand_id, self.as_of = campaign, campaign.brand_id, START
        self.events = []
        query("""update brands set settings = '{"timezone": "Europe/Madrid"}' where id = %s""", self.brand_id)
        query(
            "insert into contact_properties (brand_id, key, type, label) values (%s, 'vip', 'boolean', 'VIP')",
            self.brand_id,
        )

    def pick(self, condition="true"):
        found = self.query(f"select id from contacts where {condition} order by id")
        return self.random.choice(found)[0] if found else None

    def add(self):
        known = [user for (user,) in self.query("select user_id from contacts")]
        user = self.random.choice([None, *(one for one in self.people if one not in known)])
        sql = "insert into contacts (id, brand_id, user_id, country) values (%s, %s, %s, 'ES')"
        self.query(sql, new_id(), self.brand_id, user)

    def change(self):
        column, values = self.random.choice(
            [
                ("country", ["ES", "PT", None]),
                ("tags", [["vip"], []]),
                ("properties", [json.dumps({"vip": value}) for value in (True, False)]),
                ("(lat, lon)", [(40.4, -3.7), (48.8, 2.3)]),
            ]
        )
        self.query(f"update contacts set {column} = %s where id = %s", self.random.choice(values), self.pick())

    def record(self):
        contact_id = self.pick("user_id is null")
        user_id = self.random.choice([None, *self.people]) if contact_id else self.random.choice(self.people)
        event = {
            "kind": self.random.choice(["scan", "scan", "check_in"]),
            "user_id": user_id,
            "contact_id": None if user_id else contact_id,
            "source_id": new_id(),
            "occurred_at": self.as_of - timedelta(hours=self.random.randrange(50)),
        }
        self.events.append(event)
        self.engage(event)

    def reverse(self):
        if self.events:
            self.engage(self.random.choice(self.events), reverses=self.random.random() < 0.7)

    def engage(self, event, *, reverses=False):
        with transaction(context.for_brand_job(self.brand_id)):
            engagement_events.record(**event, brand_id=self.brand_id, campaign_id=self.campaign.id, reverses=reverses)

    def merge(self):
        kept = self.pick("merged_into is null")
        merged = self.pick(
            "merged_into is null and not exists (select from contacts m where m.merged_into = contacts.id)"
        )
        if kept != merged:
            self.query("update contacts set merged_into = %s where id = %s", kept, merged)

    def separate(self):
        self.query("update contacts set merged_into = null where id = %s", self.pick("merged_into is not null"))

    def observe(self):
        user = self.random.choice(self.people)
        self.query("delete from fan_traits where user_id = %s", user)
        if self.random.random() < 0.7:
            self.query(
                "insert into fan_traits (brand_id, user_id, name, value, observed_at, usable_until)"
                " values (%s, %s, 'genre', %s, %s, %s)",
                *(self.brand_id, user, self.random.choice(["rock", "jazz"]), START),
                self.as_of + timedelta(hours=self.random.randrange(1, 40)),
            )

    def consent(self):
        user, brand = self.random.choice(self.people), self.random.choice([self.brand_id, None])
        if self.query(
            "update consents set revoked_at = now() where user_id = %s and revoked_at is null returning 1", user
        ):
            return
        self.query(
            "insert into consents (user_id, brand_id, consent_tier, notice_id, locale, expires_at)"
            " select %s, %s, 'analytics', id, locale, now() + interval '1 year' from consent_notices limit 1",
            *(user, brand),
        )

    def address(self):
        if contact := self.pick():
            self.query(
                "insert into campaign_members (brand_id, campaign_id, contact_id) values (%s, %s, %s)"
                " on conflict do nothing",
                *(self.brand_id, self.campaign.id, contact),
            )

    def erase(self):
        if self.random.random() < 0.3 and (contact := self.pick()):
            found = self.query("select user_id from contacts where id = %s or merged_into = %s", contact, contact)
            self.query("delete from contacts where id = %s", contact)
            self.events = [one for one in self.events if (one["user_id"],) not in found and one["user_id"]]

    def apply(self):
        with transaction(context.for_brand_job(self.brand_id)):
            return membership.apply(self.brand_id, as_of=self.as_of)

    def wait(self):
        """Let time pass. Segments that depend on it are recomputed."""
        self.as_of += timedelta(hours=self.random.randrange(1, 30))
        for (segment_id,) in self.query("select segment_id from segment_states where 'time' = any (kinds)"):
            self.recompute(segment_id)

    def recompute(self, segment_id):
        with transaction(context.for_brand_job(self.brand_id)):
            recomputation.begin(self.brand_id, segment_id)
            recomputation.step(self.brand_id, segment_id, None, as_of=self.as_of)

    def expected(self, segment_id):
        with transaction(context.for_brand_job(self.brand_id)):
            definition = segments.definition_of(segment_id)
            found = segments.context_of(definition, self.brand_id, segment_id=segment_id, as_of=self.as_of)
            made = compiler.compile(definition, found)
            return {one["contact_id"] for one in rows(made.sql, made.arguments)}

    def members(self, segment_id):
        found = self.query(
            "select contact_id from segment_members where segment_id = %s and left_at is null", segment_id
        )
        return {contact for (contact,) in found}


@pytest.fixture
def world(query, campaign, fan, manager):
    """`world(seed)`: a brand with segments."""

    def make(seed):
        made = World(seed, query, campaign(f"Summer {seed}"), [fan().user_id for _ in range(3)])
        with manager.acting():
            saved = [
                segments.create(name=f"Segment {number}", definition=dsl.load(one)).id
                for number, one in enumerate(definitions(made.campaign.id))
            ]
            outer = {"not": {"segment": {"segment_id": str(saved[0])}}}
            saved.append(segments.create(name="Outer", definition=dsl.load(outer)).id)
        for segment_id in saved:
            made.recompute(segment_id)
        return made, saved

    return make


def check(world, seed, steps):
    made, saved = world(seed)
    ran = []
    for _ in range(steps):
        ran.append(made.random.choice(World.STEPS if made.random.random() < 0.85 else World.RARE))
        getattr(made, ran[-1])()
    while made.apply():
        pass

    for number, segment_id in enumerate(saved):
        assert made.members(segment_id) == made.expected(segment_id), f"segment {number} after {ran}"
    with transaction(context.for_brand_job(made.brand_id)):
        assert activity.fold([contact for (contact,) in made.query("select id from contacts")]) == {}, ran


def test_members_equal_a_full_computation_after_random_changes(world):
    check(world, seed=1, steps=120)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 60))
def test_members_equal_a_full_computation_for_many_histories(world, seed):
    check(world, seed=seed, steps=150)

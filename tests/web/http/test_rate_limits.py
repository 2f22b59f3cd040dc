"""Test rate limits: their accuracy, their headers, and their behaviour without Redis."""

import asyncio

import msgspec
import pytest
import redis

from models.core.errors import TooMany
from scripts.devstack.redis import PrivateRedis
from settings import settings
from tests.web.conftest import serving, small_app
from web.http import rate_limits
from web.http.client_address import partition
from web.http.endpoint import endpoint
from web.http.rate_limits import LimitState, RateLimiter, headers, parse_rate
from web.operations import health, metrics, probes
from web.v1 import ROUTES
from web.v1.identity.sign_in import Anonymous


@pytest.fixture(params=["redis", "memory"])
def limiter_url(request, redis_url):
    if request.param == "memory":
        return None
    redis.Redis.from_url(redis_url).flushdb()
    return redis_url


def outcomes(url, rate, callers):
    """Return for each request whether it was admitted, and the state of its limit."""

    async def main():
        limiter, found = RateLimiter(url), []
        for who in callers:
            try:
                found.append(await limiter.take(rate, who))
            except TooMany as refusal:
                found.append(refusal)
        return found

    return asyncio.run(main())


def test_limit_admits_its_number_of_requests(limiter_url):
    found = outcomes(limiter_url, parse_rate("things", "3/hour"), ["ann"] * 5)

    assert [type(outcome) for outcome in found] == [LimitState] * 3 + [TooMany] * 2
    assert [state.remaining for state in found[:3]] == [2, 1, 0]


def test_callers_and_endpoints_are_counted_separately(limiter_url):
    assert isinstance(outcomes(limiter_url, parse_rate("a", "1/hour"), ["ann", "bob"])[1], LimitState)
    assert isinstance(outcomes(limiter_url, parse_rate("b", "1/hour"), ["ann"])[0], LimitState)


def test_several_limits_apply_together(limiter_url):
    found = outcomes(limiter_url, parse_rate("things", "2/minute; 3/hour"), ["ann"] * 3)

    assert isinstance(found[2], TooMany)
    assert found[2].headers["RateLimit-Policy"] == '"things-60s";q=2;w=60, "things-3600s";q=3;w=3600'


def test_refusing_limit_is_reported_when_another_is_at_zero(limiter_url):
    found = outcomes(limiter_url, parse_rate("things", "2/minute; 1/hour"), ["ann"] * 2)

    assert [type(outcome) for outcome in found] == [LimitState, TooMany]
    assert found[1].headers["RateLimit"].startswith('"things-3600s";r=0;')


@pytest.mark.parametrize("text", ["2/minute; 1/hour; 5/day", "5/day; 1/hour; 2/minute", "1/hour; 1/minute"])
def test_refusing_limit_is_reported_in_any_order(limiter_url, text):
    found = outcomes(limiter_url, parse_rate("things", text), ["ann"] * 3)

    assert [type(outcome) for outcome in found] == [LimitState, TooMany, TooMany]
    # The third request is refused by two limits: the one that refuses for longest is reported.
    assert all(refusal.headers["RateLimit"].startswith('"things-3600s";r=0;') for refusal in found[1:])
    assert all(int(refusal.headers["Retry-After"]) > 60 for refusal in found[1:])


def test_limit_with_fewest_remaining_requests_is_reported(limiter_url):
    found = outcomes(limiter_url, parse_rate("things", "9/minute; 3/hour; 7/day"), ["ann"] * 2)

    assert [(state.item.get_expiry(), state.remaining) for state in found] == [(3600, 2), (3600, 1)]


def test_exceeded_limit_returns_429_with_retry_after(limiter_url):
    refusal = outcomes(limiter_url, parse_rate("things", "1/minute"), ["ann"] * 2)[1]

    assert (refusal.status, refusal.code) == (429, "rate_limited")
    assert 1 <= int(refusal.headers["Retry-After"]) <= 60
    assert refusal.headers["RateLimit"].startswith('"things";r=0;t=')


def test_ratelimit_headers_follow_the_draft():
    rate = parse_rate("login", "10/minute")

    sent = headers(rate, LimitState(rate.items[0], remaining=7, seconds=42, refused=False))

    assert sent == {"RateLimit-Policy": '"login";q=10;w=60', "RateLimit": '"login";r=7;t=42'}


def test_failed_redis_is_not_queried_during_the_pause(caplog):
    asked = []

    async def main():
        limiter = RateLimiter("unix:///nonexistent/redis.sock?db=0")
        shared = limiter._shared
        limiter._shared = lambda url: asked.append(url) or shared(url)
        rate = parse_rate("things", "2/hour")
        results = await asyncio.gather(*[limiter.take(rate, "ann") for _ in range(2)])
        with pytest.raises(TooMany):
            await limiter.take(rate, "ann")
        return results

    states = asyncio.run(main())

    assert not any(state.refused for state in states)
    assert len(asked) <= 2
    assert "Redis fails" in caplog.text


def test_counter_of_foreign_type_is_discarded_and_counted_in_redis_again(redis_url, fresh_limits, caplog):
    server, rate = redis.Redis.from_url(redis_url), parse_rate("things", "2/hour")

    async def main():
        limiter = RateLimiter(redis_url)
        await limiter.take(rate, "ann")
        (key,) = server.keys("limits:*things*")
        server.delete(key)
        server.rpush(key, "junk")
        return [await limiter.take(rate, "ann") for _ in range(2)]

    asyncio.run(main())

    assert [server.get(key) for key in server.keys("limits:*things*")] == [b"1"]
    assert "WRONGTYPE" in caplog.text


def test_silent_redis_delays_a_request_by_its_timeout_only(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(rate_limits, "REDIS_TIMEOUT", 0.05)

    async def main():
        silent = await asyncio.start_unix_server(lambda reader, writer: None, str(tmp_path / "r"))
        state = await RateLimiter(f"unix://{tmp_path}/r?db=0").take(parse_rate("things", "2/hour"), "ann")
        silent.close()
        return state

    assert asyncio.run(main()).remaining == 1
    assert "Redis fails" in caplog.text


@pytest.mark.parametrize(
    ("address", "part"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("64:ff9b::203.0.113.7", "203.0.113.7"),
        ("64:ff9b:0:0:1::203.0.113.7", "64:ff9b::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("", "unknown"),
        ("unix:", "unknown"),
    ],
)
def test_addresses_of_one_subscriber_are_one_caller(address, part):
    assert partition(address) == part


class Word(msgspec.Struct, forbid_unknown_fields=True):
    text: str


class Words:
    @endpoint(permission="optional", body=Word, example={"text": "a"}, rate="2/minute")
    def on_post(self, req, resp):
        resp.media = {"ok": True}


def test_people_are_limited_by_id_and_anonymous_callers_by_address(serve):
    api = serve({"/words": Words()}, trusted_proxies=1)
    word = {"text": "a"}

    def say(token=None, address="203.0.113.1"):
        return api.post("/words", token=token, json=word, headers={"X-Forwarded-For": address}).status_code

    assert [say("alice") for _ in range(3)] == [200, 200, 429]
    assert [say(address="203.0.113.1") for _ in range(3)] == [200, 200, 429]
    assert say(address="203.0.113.2") == 200
    assert say("bob") == 200


class Costly:
    @endpoint(permission="optional", rate="2/minute", address_rate="3/minute")
    def on_post(self, req, resp):
        resp.media = {"ok": True}


def test_address_rate_is_shared_by_people_of_one_address(serve):
    api = serve({"/costly": Costly()}, trusted_proxies=1)

    def ask(token, address="203.0.113.1"):
        return api.post("/costly", token=token, headers={"X-Forwarded-For": address})

    asked = [ask(token) for token in ("alice", "alice", "bob", "bob")]

    assert [answer.status_code for answer in asked] == [200, 200, 200, 429]
    assert '"postCostly"' in asked[2].headers["ratelimit"]
    assert '"postCostlyAddress"' in asked[3].headers["ratelimit"]
    assert ask("bob", address="203.0.113.2").status_code == 200


class Unnamed:
    @endpoint(permission="public", rate="2/minute", total_rate="3/minute")
    def on_post(self, req, resp):
        resp.media = {"ok": True}


def test_total_rate_is_shared_by_all_callers(serve):
    api = serve({"/unnamed": Unnamed()}, trusted_proxies=1)

    def ask(number):
        return api.post("/unnamed", headers={"X-Forwarded-For": f"203.0.113.{number}"}).status_code

    # Requests that the limit of one caller refuses do not count towards the total.
    assert [ask(1), ask(1), ask(1), ask(2), ask(3)] == [200, 200, 429, 200, 429]


def test_anonymous_sessions_have_a_total_rate():
    assert Anonymous.on_post.spec.total_rate


def test_slow_endpoints_with_optional_token_have_an_address_rate():
    responders = [getattr(resource, name) for _, resource in ROUTES for name in dir(resource) if name.startswith("on_")]
    declared = [one.spec for one in responders if hasattr(one, "spec")]
    costly = [one for one in declared if one.slow and one.permission == "optional"]

    assert costly
    assert all(one.address_rate for one in costly)


def test_limit_headers_are_sent_with_refusals(serve):
    api = serve({"/words": Words()})

    first = api.post("/words", json={"text": 5})
    refused = [api.post("/words", json={"text": "a"}) for _ in range(2)][1]

    assert first.status_code == 422
    assert first.headers["ratelimit"].split(";")[1] == "r=1"
    assert refused.status_code == 429
    assert refused.json["code"] == "rate_limited"
    assert int(refused.headers["retry-after"]) >= 1
    assert "q=2;w=60" in refused.headers["ratelimit-policy"]


@pytest.fixture
def killable(tmp_path):
    """Yield a Redis for this test only."""
    server = PrivateRedis(tmp_path / "redis", durable=False)
    server.start()
    yield server
    server.stop()


def test_processes_count_alone_while_redis_is_down(killable, monkeypatch):
    monkeypatch.setattr(rate_limits, "RETRY_AFTER", 0.0)
    rate = parse_rate("things", "2/hour")

    async def let_through(processes):
        found = await asyncio.gather(
            *[process.take(rate, "ann") for process in processes for _ in range(5)], return_exceptions=True
        )
        assert {type(outcome) for outcome in found} <= {LimitState, TooMany}
        return sum(isinstance(outcome, LimitState) for outcome in found)

    async def main():
        processes = [RateLimiter(killable.url) for _ in range(3)]
        alive = await let_through(processes)
        killable.kill()
        dead = [await let_through([process]) for process in processes]
        killable.start()  # without the counters of the first Redis
        return alive, dead, await let_through(processes)

    assert asyncio.run(main()) == (2, [2, 2, 2], 2)


def test_endpoint_keeps_its_limit_while_redis_is_down(killable, notebook):
    app = small_app(notebook, {"/words": Words()}, limiter=RateLimiter(killable.url))
    with serving(app) as api:
        before = [api.post("/words", json={"text": "a"}).status_code for _ in range(3)]
        killable.kill()
        after = [api.post("/words", json={"text": "a"}) for _ in range(3)]

    assert before == [200, 200, 429]
    assert [answer.status_code for answer in after] == [200, 200, 429]
    assert all("ratelimit" in answer.headers for answer in after)


def test_counters_in_memory_are_bounded(monkeypatch):
    monkeypatch.setattr(rate_limits, "MAX_CALLERS", 10)

    async def main():
        limiter = RateLimiter(None)
        for number in range(35):
            await limiter.take(parse_rate("things", "5/hour"), str(number))
        return len(limiter._counts.storage)

    assert asyncio.run(main()) <= 10


@pytest.fixture
def long_shares(monkeypatch):
    """Prolong the validity of shares, so that a slow machine does not discard them."""
    monkeypatch.setattr(rate_limits, "BATCH_SECONDS", 600.0)
    monkeypatch.setattr(rate_limits, "REFUSAL_SECONDS", 600.0)


def test_batched_limit_is_exact_and_saves_queries(limiter_url, long_shares):
    rate = parse_rate("person", "200/hour")

    async def main():
        limiter, found, asked = RateLimiter(limiter_url), [], []
        count = limiter._count
        limiter._count = lambda *given: asked.append(given) or count(*given)
        for _ in range(300):
            try:
                found.append((await limiter.take_batched(rate, "ann")).remaining)
            except TooMany as refusal:
                found.append(refusal.headers["RateLimit"].split(";")[1])
        return found, len(asked)

    found, asked = asyncio.run(main())

    assert found[:200] == list(range(199, -1, -1))
    assert set(found[200:]) == {"r=0"}
    assert asked < 100


def test_batches_of_processes_do_not_exceed_the_limit(redis_url, fresh_limits, long_shares):
    rate = parse_rate("person", "100/hour")

    async def main():
        processes, through = [RateLimiter(redis_url) for _ in range(4)], 0
        for number in range(200):
            try:
                await processes[number % 4].take_batched(rate, "ann")
                through += 1
            except TooMany:
                pass
        return through

    assert 100 - 4 * 2 <= asyncio.run(main()) <= 100


def test_number_of_batches_is_bounded(monkeypatch):
    monkeypatch.setattr(rate_limits, "MAX_CALLERS", 10)

    async def main():
        limiter = RateLimiter(None)
        for number in range(35):
            await limiter.take_batched(parse_rate("person", "5/hour"), str(number))
        return len(limiter._batches)

    assert asyncio.run(main()) == 10


class Things:
    @endpoint(permission="optional")
    def on_get(self, req, resp):
        resp.media = {"ok": True}

    @endpoint(permission="authenticated")
    def on_put(self, req, resp):
        resp.media = {"ok": True}


class Scans:
    @endpoint(permission="authenticated", rate=None)
    def on_get(self, req, resp):
        resp.media = {"ok": True}


def general(serve, **options):
    api = serve(
        {"/things": Things(), "/words": Words(), "/scans": Scans()},
        trusted_proxies=1,
        person_rate="4/minute",
        address_rate="3/minute",
        **options,
    )

    def ask(path="/things", token=None, address="203.0.113.1", method="GET", **more):
        return api.request(method, path, token=token, headers={"X-Forwarded-For": address}, **more)

    return ask


def test_endpoints_without_own_limit_share_the_general_one(serve):
    ask = general(serve)

    assert [ask(token="alice", method=method).status_code for method in ("GET", "PUT", "GET", "PUT", "GET")] == [
        *[200] * 4,
        429,
    ]
    assert [ask().status_code for _ in range(4)] == [200, 200, 200, 429]
    assert [ask(token="bob").status_code, ask(address="203.0.113.2").status_code] == [200, 200]
    said = ask(token="bob").headers
    assert (said["ratelimit-policy"], said["ratelimit"].split(";t=")[0]) == ('"person";q=4;w=60', '"person";r=2')
    assert ask(address="203.0.113.2").headers["ratelimit-policy"] == '"address";q=3;w=60'
    refused = ask()
    assert (refused.json["code"], int(refused.headers["retry-after"]) >= 1) == ("rate_limited", True)


def test_requests_with_invalid_token_count_for_their_address(serve):
    ask = general(serve)

    assert [ask(token=f"guess{number}").status_code for number in range(5)] == [401, 401, 401, 429, 429]
    assert ask(method="PUT", address="203.0.113.2").status_code == 401


def test_endpoints_with_own_or_no_limit_do_not_count_as_general(serve):
    ask = general(serve)

    assert {ask("/scans", token="alice").status_code for _ in range(10)} == {200}
    assert {ask("/scans", token=f"guess{number}").status_code for number in range(10)} == {401}
    assert [ask("/words", token="alice", method="POST", json={"text": "a"}).status_code for _ in range(3)] == [
        200,
        200,
        429,
    ]
    assert [ask(token="alice").status_code for _ in range(5)] == [200, 200, 200, 200, 429]
    assert "ratelimit" not in ask("/scans", token="alice").headers


def test_general_limit_is_kept_while_redis_is_down(killable, serve):
    ask = general(serve, limiter=RateLimiter(killable.url))
    assert [ask(token="alice").status_code for _ in range(5)] == [200, 200, 200, 200, 429]
    killable.kill()

    assert [ask(token="bob").status_code for _ in range(5)] == [200, 200, 200, 200, 429]


def test_only_scans_and_health_checks_have_no_limit():
    assert {path for path, declared in declarations() if declared.rate is None} == {
        "/api/v1/qr/scan",
        "/healthz",
        "/healthz/audit",
        "/healthz/{process}",
        "/metrics",
        "/readyz",
    }


def declarations():
    operations = [("/healthz", health.Health()), ("/readyz", health.ready(settings)), *metrics.ROUTES, *probes.routes()]
    routes = [*operations, *ROUTES]
    for path, resource in routes:
        for method in ("get", "post", "put", "patch", "delete"):
            responder = getattr(resource, f"on_{method}", None)
            if responder is not None:
                yield path, responder.spec

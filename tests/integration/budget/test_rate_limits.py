"""Rate limits through the service's own contract, on a real database: set, counted, refused, followed, answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from dac.budget.v1 import budget_pb2 as pb
from dac.budget.v1 import limit_pb2
from dac.envoy.v3 import ratelimit_pb2, rls_pb2
from dac.type.v1 import record_pb2
from dac.type.v1.principal_pb2 import Level
from dac.type.v1.usage_pb2 import Usage
from mesh.call import Call, serving
from mesh.embedded_valkey import EmbeddedValkey
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.budget import background
from services.budget.config import BudgetConfig
from services.budget.limits.admission import SURE_S
from services.budget.server import BudgetService, build
from tests.integration.budget.test_money_flow import commit, limit, record, reserve
from tests.integration.budget.world import CENT, MakeBudget, as_key, context_for

OVER = rls_pb2.RateLimitResponse.OVER_LIMIT


def ask(*models: str, **fields: Any) -> pb.ReserveRequest:
    fields.setdefault("request_id", uuid7())
    candidates = [pb.PricedCandidate(provider="test", model=f"test/{name}") for name in models or ("free",)]
    return pb.ReserveRequest(candidates=candidates, body_hash=b"h" * 32, **fields)


async def set_limit(
    budget: BudgetService, org_id: str, *, kind: Any = Level.KIND_ORG, level_id: str = "", model: str = "", **most: int
) -> limit_pb2.RateLimit:
    level = Level(kind=kind, id=level_id)
    with as_key(org_id):
        request = limit_pb2.SetRateLimitRequest(level=level, model=model, **most)  # type: ignore[arg-type]
        return (await budget.limit.SetRateLimit(request, None)).rate_limit


async def refused(budget: BudgetService, org_id: str, request: pb.ReserveRequest, key_id: str = "") -> MeshError:
    with pytest.raises(MeshError) as error:
        await reserve(budget, org_id, request, key_id)
    assert error.value.reason is Reason.RATE_LIMITED
    return error.value


def admitting(*models: str, request_id: str = "") -> limit_pb2.AdmitRequest:
    return limit_pb2.AdmitRequest(request_id=request_id or uuid7(), models=models)


async def test_requests_a_minute(budget: BudgetService, org_id: str) -> None:
    made = await set_limit(budget, org_id, requests_per_minute=2)
    states = [(await reserve(budget, org_id, ask())).rate_limit for _ in range(2)]
    assert [(state.requests_limit, state.requests_remaining) for state in states] == [(2, 1), (2, 0)]
    assert 60 <= states[0].requests_reset_s <= 61 and states[0].tokens_limit == 0
    error = await refused(budget, org_id, ask())
    assert error.retry_after_s is not None and 0 < error.retry_after_s <= 61
    assert error.metadata["limit"] == "requests_per_minute" and error.metadata["value"] == "2"
    assert (error.metadata["level"], error.metadata["level_id"]) == ("org", org_id)
    assert error.metadata["requests_remaining"] == "0" and error.metadata["rate_limit_id"] == made.rate_limit_id
    assert "2 requests a minute" in error.message and "PUT /v1/rate-limits" in error.message
    other = uuid7()
    assert not (await reserve(budget, other, ask())).HasField("rate_limit"), "another organisation is not counted"


async def test_a_place_is_free_with_the_commit_and_with_the_release(budget: BudgetService, org_id: str) -> None:
    await set_limit(budget, org_id, concurrent_requests=1)
    held = await reserve(budget, org_id, ask(request_id=(first := uuid7())))
    error = await refused(budget, org_id, ask())
    assert error.retry_after_s == 1.0 and "may have 1 request at once" in error.message
    await commit(budget, held, record(org_id, first, "free", input_tokens=1))
    held = await reserve(budget, org_id, ask(request_id=(second := uuid7())))
    with serving(Call()):
        release = pb.ReleaseRequest(
            reservation_id=held.reservation_id,
            reservation_secret=held.reservation_secret,
            record=record(org_id, second),
        )
        await budget.budget.Release(release, None)
        await budget.budget.Release(release, None)
    await reserve(budget, org_id, ask())
    await refused(budget, org_id, ask())


async def test_a_refusal_of_the_ledger_gives_everything_back(budget: BudgetService, org_id: str) -> None:
    await limit(budget, org_id, 10 * CENT)
    await set_limit(budget, org_id, requests_per_minute=2, tokens_per_minute=600, concurrent_requests=2)
    await reserve(budget, org_id, ask("dime"))
    for _ in range(3):
        with pytest.raises(MeshError) as error:
            await reserve(budget, org_id, ask("dime"))
        assert error.value.reason is Reason.BUDGET_EXHAUSTED
    assert (await reserve(budget, org_id, ask("free"))).rate_limit.requests_remaining == 0


async def test_a_reserve_that_is_sent_again_counts_once(budget: BudgetService, org_id: str) -> None:
    await set_limit(budget, org_id, requests_per_minute=2, concurrent_requests=2)
    same = ask()
    answers = [await reserve(budget, org_id, same) for _ in range(4)]
    assert {one.rate_limit.requests_remaining for one in answers} == {1}
    other = ask(request_id=same.request_id)
    other.body_hash = b"o" * 32
    with pytest.raises(MeshError) as conflict:
        await reserve(budget, org_id, other)
    assert conflict.value.reason is Reason.REQUEST_ID_CONFLICT
    assert (await reserve(budget, org_id, ask())).rate_limit.requests_remaining == 0
    # The conflict did not give the place of the first back.
    await refused(budget, org_id, ask())


async def test_tokens_are_taken_and_corrected(budget: BudgetService, org_id: str) -> None:
    await set_limit(budget, org_id, tokens_per_minute=1000)
    unnamed = await reserve(budget, org_id, ask(input_tokens=100))
    assert unnamed.rate_limit.tokens_remaining == 1000 - 100 - 256
    request_id = uuid7()
    named = await reserve(
        budget, org_id, ask(request_id=request_id, input_tokens=100, max_output_tokens=400, asked_output_tokens=400)
    )
    assert named.rate_limit.tokens_remaining == 144
    error = await refused(budget, org_id, ask(input_tokens=100, asked_output_tokens=400))
    assert error.metadata["limit"] == "tokens_per_minute" and error.metadata["tokens_remaining"] == "144"
    await commit(
        budget, named, record(org_id, request_id, "free", input_tokens=90, input_cached_tokens=5, output_tokens=5)
    )
    assert (await reserve(budget, org_id, ask(asked_output_tokens=1))).rate_limit.tokens_remaining == 543
    never = await refused(budget, org_id, ask(input_tokens=2000))
    assert never.retry_after_s is None and "max_tokens" in never.message


async def test_a_level_counts_its_own_requests(budget: BudgetService, org_id: str) -> None:
    one, two, team = uuid7(), uuid7(), uuid7()
    await set_limit(budget, org_id, kind=Level.KIND_KEY, level_id=one, requests_per_minute=1)
    await set_limit(budget, org_id, kind=Level.KIND_TEAM, level_id=team, requests_per_minute=1)
    await reserve(budget, org_id, ask(), one)
    assert (await refused(budget, org_id, ask(), one)).metadata["level"] == "key"
    await reserve(budget, org_id, ask(), two)


async def test_a_used_up_model_is_not_covered_while_another_is(budget: BudgetService, org_id: str) -> None:
    await limit(budget, org_id, 100 * CENT)
    await set_limit(budget, org_id, model="test/dime", requests_per_minute=0)
    held = await reserve(budget, org_id, ask("dime", "free"))
    assert [one.model for one in held.uncovered] == ["test/dime"]
    assert held.reserved_nano_usd == 0, "nothing is held for a model that is not asked"
    error = await refused(budget, org_id, ask("dime"))
    assert error.metadata["model"] == "test/dime" and error.retry_after_s is None


async def test_a_limit_is_changed_listed_deleted_and_told(budget: BudgetService, org_id: str) -> None:
    first = await set_limit(budget, org_id, requests_per_minute=1)
    await reserve(budget, org_id, ask())
    again = await set_limit(budget, org_id, requests_per_minute=5, concurrent_requests=9)
    assert again.rate_limit_id == first.rate_limit_id
    assert (await reserve(budget, org_id, ask())).rate_limit.requests_remaining == 3, "what was counted stays"
    others = [await set_limit(budget, org_id, model=f"m/{n}*", tokens_per_minute=n) for n in range(3)]
    with as_key(org_id, "read"):
        page = await budget.limit.ListRateLimits(limit_pb2.ListRateLimitsRequest(page_size=3), None)
        rest = limit_pb2.ListRateLimitsRequest(page_size=3, page_token=page.next_page_token)
        found = [*page.rate_limits, *(await budget.limit.ListRateLimits(rest, None)).rate_limits]
    assert found == [again, *others]
    with as_key(uuid7()):
        assert not (await budget.limit.ListRateLimits(limit_pb2.ListRateLimitsRequest(), None)).rate_limits
        with pytest.raises(MeshError) as error:
            gone = limit_pb2.DeleteRateLimitRequest(rate_limit_id=first.rate_limit_id)
            await budget.limit.DeleteRateLimit(gone, None)
        assert error.value.reason is Reason.NOT_FOUND
    with as_key(org_id):
        for one in found:
            await budget.limit.DeleteRateLimit(limit_pb2.DeleteRateLimitRequest(rate_limit_id=one.rate_limit_id), None)
    assert not (await reserve(budget, org_id, ask())).HasField("rate_limit")
    async with budget._database.transaction(org_id) as connection:
        rows = await connection.fetch("SELECT record FROM admin_outbox WHERE org_id = $1 ORDER BY record_id", org_id)
    told = [record_pb2.AdminRecord.FromString(row[0]) for row in rows]
    assert [one.action for one in told] == ["rate_limit.set"] * 5 + ["rate_limit.delete"] * 4
    assert (
        told[1].before_json
        and json.loads(told[1].after_json)["concurrent_requests"] == "9"
        and told[-1].after_json == ""
    )
    assert told[0].target == f"rate_limit:{first.rate_limit_id}"


@pytest.mark.parametrize(
    ("field", "request_of"),
    [
        ("requests_per_minute", lambda org: limit_pb2.SetRateLimitRequest(level=Level(kind=Level.KIND_ORG))),
        (
            "tokens_per_minute",
            lambda org: limit_pb2.SetRateLimitRequest(level=Level(kind=Level.KIND_ORG), tokens_per_minute=-1),
        ),
        ("level.kind", lambda org: limit_pb2.SetRateLimitRequest(requests_per_minute=1)),
        (
            "level.id",
            lambda org: limit_pb2.SetRateLimitRequest(level=Level(kind=Level.KIND_KEY), requests_per_minute=1),
        ),
        (
            "level.id",
            lambda org: limit_pb2.SetRateLimitRequest(
                level=Level(kind=Level.KIND_ORG, id=uuid7()), requests_per_minute=1
            ),
        ),
        (
            "model",
            lambda org: limit_pb2.SetRateLimitRequest(
                level=Level(kind=Level.KIND_ORG), model="a*b", requests_per_minute=1
            ),
        ),
    ],
)
async def test_a_wrong_limit_is_refused_by_its_field(
    budget: BudgetService, org_id: str, field: str, request_of: Callable[[str], limit_pb2.SetRateLimitRequest]
) -> None:
    with as_key(org_id), pytest.raises(MeshError) as error:
        await budget.limit.SetRateLimit(request_of(org_id), None)
    assert error.value.reason is Reason.INVALID_REQUEST and error.value.metadata["field"] == field


async def test_only_administrators_set(budget: BudgetService, org_id: str) -> None:
    request = limit_pb2.SetRateLimitRequest(level=Level(kind=Level.KIND_ORG), requests_per_minute=1)
    with as_key(org_id, "chat"), pytest.raises(MeshError) as error:
        await budget.limit.SetRateLimit(request, None)
    assert error.value.reason is Reason.PERMISSION_DENIED


async def test_what_is_admitted_takes_a_request_and_no_place(budget: BudgetService, org_id: str) -> None:
    with as_key(org_id):
        assert not (await budget.limit.Admit(admitting(), None)).HasField("rate_limit")
    await set_limit(budget, org_id, requests_per_minute=3, tokens_per_minute=1, concurrent_requests=1)
    same = admitting("test/free")
    with as_key(org_id):
        for _ in range(2):
            assert (await budget.limit.Admit(same, None)).rate_limit.requests_remaining == 2
        for left in (1, 0):
            assert (await budget.limit.Admit(admitting(), None)).rate_limit.requests_remaining == left
        with pytest.raises(MeshError) as error:
            await budget.limit.Admit(admitting(), None)
    assert error.value.reason is Reason.RATE_LIMITED


async def test_another_replica_follows(make_budget: MakeBudget, org_id: str) -> None:
    here, there = await make_budget(), await make_budget(rate_limit_poll_s=0.01)
    made = await set_limit(here, org_id, requests_per_minute=0)
    async with asyncio.timeout(5):
        while org_id not in there.limits._book:
            await asyncio.sleep(0.01)
    await refused(there, org_id, ask())
    with as_key(org_id):
        await here.limit.DeleteRateLimit(limit_pb2.DeleteRateLimitRequest(rate_limit_id=made.rate_limit_id), None)
    async with asyncio.timeout(5):
        while org_id in there.limits._book:
            await asyncio.sleep(0.01)


async def test_replicas_without_redis_share_the_limits(
    make_budget: MakeBudget, org_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = await make_budget(rate_limit_poll_s=600.0), await make_budget(rate_limit_poll_s=600.0)
    clock = [100.0]
    here.limits._now = lambda: clock[0]
    with caplog.at_level(logging.WARNING):
        await here.limits.beat()
        assert "share no Redis" not in caplog.text, "one that died a moment ago is no replica"
        clock[0] += SURE_S
        for _ in range(2):
            await here.limits.beat()
    assert len([one for one in caplog.records if "2 replicas of budget share no Redis" in one.message]) == 1
    await set_limit(here, org_id, requests_per_minute=9, concurrent_requests=2)
    await there.limits.follow()
    first = uuid7()
    held = await reserve(here, org_id, ask(request_id=first))
    assert held.rate_limit.requests_limit == 4, "nine, shared by two"
    await refused(here, org_id, ask())
    # Its end is told to the other one; this one finds it in the database.
    await commit(there, held, record(org_id, first))
    await here.limits.recheck()
    await reserve(here, org_id, ask())
    await there.close()
    await here.limits.beat()
    assert (await reserve(here, org_id, ask())).rate_limit.requests_limit == 9


@pytest.fixture
def valkey(tmp_path: pathlib.Path) -> Any:
    server = EmbeddedValkey(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


async def test_replicas_with_redis_count_together(
    database_for: Callable[..., Any], valkey: EmbeddedValkey, org_id: str
) -> None:
    async def replica() -> BudgetService:
        database: Database = await database_for("budget")
        config = BudgetConfig(sweep_interval_s=3600.0, required_consumers=(), rate_limit_poll_s=600.0)
        context = context_for(database, config)
        object.__setattr__(context, "redis_url", valkey.url)
        service = build(context)
        await service.start()
        return service

    here, there = await replica(), await replica()
    await set_limit(here, org_id, requests_per_minute=5, concurrent_requests=2)
    one, two = uuid7(), uuid7()
    first = await reserve(here, org_id, ask(request_id=one))
    second = await reserve(here, org_id, ask(request_id=two))
    # The other replica does not know of the limits yet: what it is told now must not be lost.
    await commit(there, first, record(org_id, one))
    await refused(here, org_id, ask())
    await there.limits.follow()
    assert (await reserve(there, org_id, ask())).rate_limit.requests_remaining == 2
    await refused(there, org_id, ask())
    await commit(there, second, record(org_id, two))
    await reserve(here, org_id, ask())
    for service in (here, there):
        await service.close()


async def test_an_address_that_is_none_stops_the_start(database_for: Callable[..., Any]) -> None:
    context = context_for(await database_for("budget"), BudgetConfig())
    object.__setattr__(context, "redis_url", "nonsense-with-password")
    with pytest.raises(MeshError) as error:
        await build(context).start()
    assert "REDIS_URL" in error.value.message and "password" not in error.value.message


def descriptor(key: str, value: str, **more: Any) -> ratelimit_pb2.RateLimitDescriptor:
    entry = ratelimit_pb2.RateLimitDescriptor.Entry(key=key, value=value)
    return ratelimit_pb2.RateLimitDescriptor(entries=[entry], **more)


async def should(budget: BudgetService, *descriptors: Any, **more: Any) -> rls_pb2.RateLimitResponse:
    request = rls_pb2.RateLimitRequest(domain=more.pop("domain", "dac"), descriptors=descriptors, **more)
    return await budget.envoy.ShouldRateLimit(request, None)


async def test_envoy_is_answered_for_addresses_and_keys(make_budget: MakeBudget) -> None:
    budget = await make_budget(
        envoy_rate_limits=True, envoy_address_requests_per_minute=3, envoy_key_requests_per_minute=2
    )
    address, key = descriptor("remote_address", "192.0.2.7"), descriptor("key_id", "abcdefghijkl")
    answers = [await should(budget, address, key) for _ in range(3)]
    assert [one.overall_code for one in answers] == [1, 1, OVER]
    last = answers[-1]
    assert [one.code for one in last.statuses] == [1, OVER], "each is counted for itself"
    assert [(one.current_limit.requests_per_unit, one.current_limit.unit) for one in last.statuses] == [(3, 2), (2, 2)]
    assert [one.limit_remaining for one in last.statuses] == [0, 0]
    assert 50 < last.statuses[1].duration_until_reset.seconds <= 61
    (wait,) = last.response_headers_to_add
    assert wait.key == "retry-after" and 0 < int(wait.value) <= 61
    assert (await should(budget, descriptor("remote_address", "192.0.2.8"))).overall_code == 1
    free = await should(budget, descriptor("generic_key", "x"), descriptor("key_id", ""), domain="dac")
    assert free.overall_code == 1 and not any(one.HasField("current_limit") for one in free.statuses)
    assert not (await should(budget, address, domain="other")).statuses[0].HasField("current_limit")


async def test_envoys_own_limit_and_hits_count(make_budget: MakeBudget) -> None:
    budget = await make_budget(envoy_rate_limits=True, envoy_address_requests_per_minute=10)
    address = descriptor("remote_address", "192.0.2.9")
    assert (await should(budget, address, hits_addend=8)).statuses[0].limit_remaining == 2
    assert (await should(budget, address, hits_addend=3)).overall_code == OVER
    assert (await should(budget, address, hits_addend=2)).overall_code == 1
    override = ratelimit_pb2.RateLimitDescriptor.RateLimitOverride(requests_per_unit=1, unit=ratelimit_pb2.HOUR)
    hourly = descriptor("tenant", "t", limit=override)
    first, second = await should(budget, hourly), await should(budget, hourly)
    assert (first.overall_code, second.overall_code) == (1, OVER)
    assert 3500 < second.statuses[0].duration_until_reset.seconds <= 3660
    many = descriptor("remote_address", "192.0.2.10")
    many.hits_addend.value = 10
    assert (await should(budget, many)).statuses[0].limit_remaining == 0


async def test_envoy_is_refused_unless_it_was_let_in(budget: BudgetService) -> None:
    with pytest.raises(MeshError) as error:
        await should(budget, descriptor("remote_address", "192.0.2.7"))
    assert error.value.reason is Reason.FAILED_PRECONDITION and "DAC_BUDGET_ENVOY_RATE_LIMITS" in error.value.message


async def test_every_kind_of_token_counts(budget: BudgetService, org_id: str) -> None:
    kinds = [name for name in Usage.DESCRIPTOR.fields_by_name if name.endswith("_tokens")]
    await set_limit(budget, org_id, tokens_per_minute=1000)
    held = await reserve(budget, org_id, ask(request_id=(request_id := uuid7())))
    await commit(budget, held, record(org_id, request_id, "free", **dict.fromkeys(kinds, 10)))
    after = await reserve(budget, org_id, ask(asked_output_tokens=1))
    assert after.rate_limit.tokens_remaining == 1000 - 10 * len(kinds) - 1


async def test_a_job_that_loses_a_cancellation_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "STOP_AGAIN_S", 0.01)

    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    job = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await background.stop([job])
    assert job.cancelled()

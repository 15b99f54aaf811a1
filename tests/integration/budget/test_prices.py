"""The price service against PostgreSQL: the operator's prices, prices to come, what is listed, and who may."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import json
from collections.abc import AsyncIterator

import pytest

from dac.budget.v1 import price_pb2 as pb
from dac.type.v1 import record_pb2
from dac.type.v1.usage_pb2 import Usage
from mesh.catalog import ModelEntry
from mesh.errors import MeshError, Reason
from mesh.model_prices import PriceEntry
from services.budget.config import BudgetConfig
from services.budget.server import BudgetService
from tests.integration.budget.test_money_flow import asking, commit, limit, record, reserve
from tests.integration.budget.world import MODELS, USD, MakeBudget, as_key, as_service, model

DOLLAR = {"input": USD, "output": 2 * USD}
CATALOG = ModelEntry("test/shipped", "test", "shipped", 8192, price=PriceEntry(False, DOLLAR), source="catalog")
SOON = dt.timedelta(seconds=1)


@pytest.fixture
async def budget(make_budget: MakeBudget) -> AsyncIterator[BudgetService]:
    yield await make_budget(models=(*MODELS, CATALOG))
    await make_budget()


async def set_price(budget: BudgetService, org_id: str, model: str, **fields: object) -> pb.ModelPrice:
    with as_key(org_id, "operator"):
        request = pb.SetPriceRequest(model=model, **fields)  # type: ignore[arg-type]
        return (await budget.price.SetPrice(request, None)).price


async def prices(budget: BudgetService, org_id: str, **asked: object) -> list[pb.ModelPrice]:
    with as_key(org_id, "read"):
        return list((await budget.price.ListPrices(pb.ListPricesRequest(**asked), None)).prices)  # type: ignore[arg-type]


async def cost_of_one(budget: BudgetService, org_id: str, name: str, **usage: int | str) -> int:
    ask = asking(name, input_tokens_max=1_000_000)
    held = await reserve(budget, org_id, ask)
    what = record(org_id, ask.request_id, name, **usage)  # type: ignore[arg-type]
    shown = await commit(budget, held, what)
    assert shown <= held.reserved_nano_usd
    return shown


async def test_the_operators_price_counts_over_the_catalog_until_it_is_withdrawn(
    budget: BudgetService, make_budget: MakeBudget, org_id: str
) -> None:
    assert await cost_of_one(budget, org_id, "shipped", input_tokens=10) == 10_000
    made = await set_price(budget, org_id, "test/shipped", nano_usd_per_mtok={"input": 3 * USD, "output": USD})
    assert (made.source, made.provider) == ("operator", "test") and made.price_version > 0
    assert await cost_of_one(budget, org_id, "shipped", input_tokens=10) == 30_000
    again = await set_price(budget, org_id, "test/shipped", nano_usd_per_mtok={"input": 3 * USD, "output": USD})
    assert again.price_version == made.price_version, "the same price is no version"
    other = await make_budget(models=(*MODELS, CATALOG))
    assert await cost_of_one(other, org_id, "shipped", input_tokens=10) == 30_000, "a start keeps it"
    back = await set_price(budget, org_id, "test/shipped", withdraw=True)
    assert (back.source, dict(back.nano_usd_per_mtok)) == ("catalog", DOLLAR)
    assert await cost_of_one(budget, org_id, "shipped", input_tokens=10) == 10_000
    history = await prices(budget, org_id, model="test/shipped", history=True)
    assert [one.source for one in history][-3:] == ["catalog", "operator", "catalog"]
    assert history[-2].valid_until == history[-1].valid_from and not history[-1].HasField("valid_until")


async def test_a_price_makes_an_unknown_model_usable_under_a_budget(
    budget: BudgetService, make_budget: MakeBudget, org_id: str
) -> None:
    await limit(budget, org_id, USD)
    with pytest.raises(MeshError, match="dac price set") as refusal:
        await reserve(budget, org_id, asking("mystery"))
    assert refusal.value.reason is Reason.PRICE_UNKNOWN
    await set_price(budget, org_id, "test/mystery", free=True)
    assert (await reserve(budget, org_id, asking("mystery"))).reserved_nano_usd == 0
    # A file that lists the model without a price says nothing of it, and takes nothing back.
    other = await make_budget(models=(*MODELS, CATALOG))
    assert (await reserve(other, org_id, asking("mystery"))).reserved_nano_usd == 0
    assert not (await set_price(budget, org_id, "test/mystery", withdraw=True)).model
    with pytest.raises(MeshError, match="unknown"):
        await reserve(budget, org_id, asking("mystery"))


async def test_the_file_counts_over_the_operator(budget: BudgetService, org_id: str) -> None:
    with pytest.raises(MeshError, match="configuration file") as refusal:
        await set_price(budget, org_id, "test/cheap", nano_usd_per_mtok=DOLLAR)
    assert refusal.value.reason is Reason.MANAGED_BY_FILE


async def test_a_price_to_come_begins_on_its_moment_on_every_replica(
    budget: BudgetService, make_budget: MakeBudget, org_id: str
) -> None:
    other = await make_budget(models=(*MODELS, CATALOG))
    early = asking("shipped", input_tokens_max=100)
    held = await reserve(budget, org_id, early)
    begins = dt.datetime.now(dt.UTC) + SOON
    request = pb.SetPriceRequest(model="test/shipped", nano_usd_per_mtok={"input": 5 * USD, "output": USD})
    request.valid_from.FromDatetime(begins)
    with as_key(org_id, "operator"):
        told = (await budget.price.SetPrice(request, None)).price
    assert told.price_version == 0 and told.valid_from.ToDatetime(dt.UTC) == begins
    assert [one.price_version > 0 for one in await prices(budget, org_id, model="test/shipped")] == [True, False]
    assert await cost_of_one(budget, org_id, "shipped", input_tokens=10) == 10_000, "its day has not come"
    # Both replicas wait for the moment themselves: one makes the version, the other one reads it.
    await asyncio.gather(budget.price.follow(60.0), other.price.follow(60.0))
    assert dt.datetime.now(dt.UTC) >= begins
    for replica in (budget, other):
        if replica.prices.scheduled:
            await replica.price.follow(0.0)
        assert await cost_of_one(replica, org_id, "shipped", input_tokens=10) == 50_000
    (now,) = await prices(budget, org_id, model="test/shipped")
    assert now.source == "operator" and now.valid_from.ToDatetime(dt.UTC) == begins
    what = record(org_id, early.request_id, "shipped", input_tokens=10)
    assert await commit(budget, held, what) == 10_000, "a reservation keeps the price it was made with"
    await set_price(budget, org_id, "test/shipped", withdraw=True)


async def test_a_withdrawal_takes_back_what_was_to_come(budget: BudgetService, org_id: str) -> None:
    request = pb.SetPriceRequest(model="test/shipped", free=True)
    request.valid_from.FromDatetime(dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
    with as_key(org_id, "operator"):
        await budget.price.SetPrice(request, None)
    assert len(await prices(budget, org_id, model="test/shipped")) == 2
    back = await set_price(budget, org_id, "test/shipped", withdraw=True)
    assert back.source == "catalog" and len(await prices(budget, org_id, model="test/shipped")) == 1


async def test_a_files_dated_prices_begin_and_are_replaced_by_its_next_version(
    make_budget: MakeBudget, org_id: str
) -> None:
    def dated(begins: dt.datetime, rate: int) -> ModelEntry:
        later = PriceEntry(False, {"input": rate, "output": rate}, valid_from=begins)
        return dataclasses.replace(model("dated"), price=PriceEntry(False, DOLLAR, later=(later,)))

    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    try:
        first = await make_budget(models=(*MODELS, dated(tomorrow, 7 * USD)))
        assert [one.price_version > 0 for one in await prices(first, org_id, model="test/dated")] == [True, False]
        begins = dt.datetime.now(dt.UTC) + SOON
        second = await make_budget(models=(*MODELS, dated(begins, 9 * USD)))
        (_, to_come) = await prices(second, org_id, model="test/dated")
        assert to_come.nano_usd_per_mtok["input"] == 9 * USD, "what the file says no more is gone"
        await second.price.follow(60.0)
        assert await cost_of_one(second, org_id, "dated", input_tokens=10) == 90_000
        version = second.prices.latest_version
        third = await make_budget(models=(*MODELS, dated(begins, 9 * USD)))
        assert third.prices.latest_version == version, "a start after its day changes nothing"
    finally:
        await make_budget()


async def test_a_model_whose_price_is_all_to_come_has_none_yet(make_budget: MakeBudget, org_id: str) -> None:
    price = PriceEntry(False, DOLLAR, valid_from=dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
    try:
        budget = await make_budget(models=(*MODELS, dataclasses.replace(model("later"), price=price)))
        await limit(budget, org_id, USD)
        with pytest.raises(MeshError) as refusal:
            await reserve(budget, org_id, asking("later"))
        assert refusal.value.reason is Reason.PRICE_UNKNOWN
    finally:
        await make_budget()


async def test_lengths_and_tiers_are_held_shown_and_charged(budget: BudgetService, org_id: str) -> None:
    buckets = {**DOLLAR, "input>100": 2 * USD, "output>100": 4 * USD, "flex:input": USD // 2, "flex:output": USD}
    await set_price(budget, org_id, "test/shipped", nano_usd_per_mtok=buckets)
    for usage, cost in (
        ({"input_tokens": 100, "output_tokens": 1}, 102_000),
        ({"input_tokens": 50, "cache_write_1h_tokens": 51, "output_tokens": 1}, 206_000),
        ({"input_tokens": 100, "output_tokens": 1, "service_tier": "flex"}, 51_000),
        ({"input_audio_tokens": 60, "input_image_tokens": 41, "output_audio_tokens": 1}, 206_000),
    ):
        assert await cost_of_one(budget, org_id, "shipped", **usage) == cost, usage
    held = await reserve(budget, org_id, asking("shipped", input_tokens_max=101, max_output_tokens=1))
    assert held.reserved_nano_usd == 206_000
    assert [(one.service_tier, one.above_tokens) for one in held.rates[0].instead] == [
        ("", 100),
        ("flex", 0),
        ("flex", 100),
    ]
    await set_price(budget, org_id, "test/shipped", withdraw=True)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": ""}, "model"),
        ({}, "say one of them"),
        ({"free": True, "withdraw": True}, "say one of them"),
        ({"nano_usd_per_mtok": {"input": 1}}, "say at least"),
        ({"nano_usd_per_mtok": {"inputs": 1, **DOLLAR}}, "inputs"),
        ({"nano_usd_per_mtok": {"default:input": 1, **DOLLAR}}, "default:input"),
        ({"nano_usd_per_mtok": {"input": -1, "output": 1}}, "below 0"),
        ({"nano_usd_per_mtok": {"audio_second": 1, **DOLLAR}}, "not by two of them"),
        ({"nano_usd_per_mtok": DOLLAR, "valid_from": "2020-01-01T00:00:00Z"}, "gone by"),
        ({"nano_usd_per_mtok": DOLLAR, "valid_from": "2920-01-01T00:00:00Z"}, "ahead"),
        ({"withdraw": True, "valid_from": "2099-01-01T00:00:00Z"}, "leave it out"),
        ({"model": "unknown", "free": True}, "which provider"),
    ],
)
async def test_a_wrong_price_is_refused_and_changes_nothing(
    budget: BudgetService, org_id: str, fields: dict[str, object], said: str
) -> None:
    request = pb.SetPriceRequest()
    text = {"model": "test/shipped", **fields}
    begins = text.pop("valid_from", None)
    request = pb.SetPriceRequest(**text)  # type: ignore[arg-type]
    if begins:
        request.valid_from.FromJsonString(str(begins))
    version = budget.prices.latest_version
    with as_key(org_id, "operator"), pytest.raises(MeshError, match=said) as refusal:
        await budget.price.SetPrice(request, None)
    assert refusal.value.reason is Reason.INVALID_REQUEST and budget.prices.latest_version == version


async def test_only_the_operator_sets_and_readers_list(budget: BudgetService, org_id: str) -> None:
    for scope in ("admin", "read", "chat"):
        with as_key(org_id, scope), pytest.raises(MeshError) as refusal:
            await budget.price.SetPrice(pb.SetPriceRequest(model="test/shipped", free=True), None)
        assert refusal.value.reason is Reason.PERMISSION_DENIED
    with as_key(org_id, "chat"), pytest.raises(MeshError):
        await budget.price.ListPrices(pb.ListPricesRequest(), None)


async def test_a_list_comes_in_pages(budget: BudgetService, org_id: str) -> None:
    whole = await prices(budget, org_id)
    assert [(one.provider, one.model) for one in whole] == sorted((one.provider, one.model) for one in whole)
    found, token = list[pb.ModelPrice](), ""
    with as_key(org_id, "read"):
        while True:
            page = await budget.price.ListPrices(pb.ListPricesRequest(page_size=2, page_token=token), None)
            assert len(page.prices) <= 2
            found += page.prices
            token = page.next_page_token
            if not token:
                break
        assert found == whole
        for wrong in ("?", "W10=", "bm8="):
            with pytest.raises(MeshError, match="page_token"):
                await budget.price.ListPrices(pb.ListPricesRequest(page_token=wrong), None)
        with pytest.raises(MeshError, match="page_size"):
            await budget.price.ListPrices(pb.ListPricesRequest(page_size=-1), None)


async def test_a_change_is_on_the_record(budget: BudgetService, org_id: str) -> None:
    await set_price(budget, org_id, "test/shipped", nano_usd_per_mtok={"input": USD, "output": USD})
    await set_price(budget, org_id, "test/shipped", withdraw=True)
    async with budget._database.transaction(org_id) as connection:
        rows = await connection.fetch("SELECT record FROM admin_outbox WHERE org_id = $1 ORDER BY record_id", org_id)
    told = [record_pb2.AdminRecord.FromString(row[0]) for row in rows]
    assert [(one.action, one.target) for one in told] == [
        ("price.set", "price:test:test/shipped"),
        ("price.withdraw", "price:test:test/shipped"),
    ]
    assert json.loads(told[0].before_json)["source"] == "catalog"
    assert json.loads(told[0].after_json)["nano_usd_per_mtok"] == {"input": str(USD), "output": str(USD)}
    assert told[1].before_json == told[0].after_json and told[1].after_json == ""


async def test_providers_may_publish_only_prices_that_are_ones(budget: BudgetService) -> None:
    for buckets in ({"input": 1}, {"input": -1, "output": 1}, {"prompt": 1, **DOLLAR}):
        with as_service("provider"), pytest.raises(MeshError, match="prices"):
            price = pb.ModelPrice(provider="test", model="test/odd", nano_usd_per_mtok=buckets)
            await budget.price.Propose(pb.ProposeRequest(prices=[price]), None)


def test_the_defaults_follow_prices_often() -> None:
    assert BudgetConfig().price_poll_s <= 5 and Usage().service_tier == ""

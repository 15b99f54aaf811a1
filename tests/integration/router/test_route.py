"""Routes through the service: what is understood, what a dry run takes, what an operator holds, what is measured."""

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from google.protobuf import json_format

from dac.router.v1 import router_pb2
from dac.type.v1 import record_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.catalog import ModelEntry, ProviderEntry
from mesh.errors import MeshError, Reason
from mesh.model_prices import PriceEntry
from services.router.catalog.followers import LiveCatalog
from services.router.config import RouterConfig
from services.router.deciding.breakers import Breakers, State
from services.router.deciding.latency import Speeds
from services.router.router_server import RouterServicer

CONFIG = RouterConfig()
USD = 1_000_000_000
OPERATOR = Principal(kind=Principal.KIND_OPERATOR, org_id="o", scopes=["operator"])
USER = Principal(kind=Principal.KIND_USER_KEY, org_id="o", key_id="k", scopes=["chat", "admin"])


class House:
    """A router with two good models and a cheap one, and what it told audit."""

    def __init__(self) -> None:
        models = [
            ModelEntry(
                model=name,
                provider=name[0],
                name=name[2:],
                context_tokens=100_000,
                quality=quality,
                capabilities=("tools", "images", "json"),
                price=PriceEntry(False, {"input": usd * USD, "output": usd * USD}),
            )
            for name, quality, usd in (("a/best", 0.92, 9), ("b/good", 0.85, 6), ("c/cheap", 0.7, 1))
        ]
        providers = [ProviderEntry(name, "openai", "http://x") for name in "abc"]
        catalog = LiveCatalog(models, providers, CONFIG, time.monotonic)
        self.breakers, self.speeds, self.told = Breakers(time.monotonic), Speeds(time.monotonic), list[Any]()

        async def tell(record: bytes) -> None:
            self.told.append(record_pb2.AdminRecord.FromString(record))

        self.router = RouterServicer(catalog, self.breakers, CONFIG, speeds=self.speeds, tell=tell)

    def route(self, **fields: Any) -> router_pb2.RouteResponse:
        return self.router.route(json_format.ParseDict(fields, router_pb2.RouteRequest()))


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture(autouse=True)
def caller() -> Iterator[None]:
    with serving(Call(request_id="r", principal=OPERATOR)):
        yield


def first(answer: router_pb2.RouteResponse) -> str:
    return answer.candidates[0].model


def test_the_prompt_decides_between_cheap_and_good(house: House) -> None:
    simple = house.route(model="auto", prompt="hi there, how are you?")
    complex_ = house.route(
        model="auto",
        prompt="Prove that every continuous function on a compact metric space is uniformly continuous, and that "
        "there are infinitely many primes congruent to 3 modulo 4. Give every step of both proofs.",
    )
    assert first(simple) == "c/cheap" and first(complex_) != "c/cheap"
    assert simple.features.complexity < complex_.features.complexity
    assert simple.features.intent == "social_chat" and complex_.features.intent == "reasoning_math"
    assert simple.features.language == "en" and "that fit a simple small talk prompt" in simple.route.reason


def test_a_task_wins_over_what_is_read_and_unknown_words_say_nothing(house: House) -> None:
    for task in ("code_generation", "coding_help", "Code"):
        assert house.route(model="auto", prompt="hi", task_type=task).features.intent == "coding_help"
    assert house.route(model="auto", prompt="hi there", task_type="gardening").features.intent == "social_chat"


def test_a_named_model_is_not_looked_into(house: House) -> None:
    answer = house.route(model="a/best", prompt="hi there")
    assert not answer.HasField("features") and first(answer) == "a/best"


def test_a_dry_run_takes_a_conversation_in_openais_form(house: House) -> None:
    messages = [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]},
        {"role": "user", "content": [{"type": "text", "text": "Fix this Python function: def f(: pass"}]},
    ]
    answer = house.route(model="auto", messages=messages)
    assert answer.features.intent == "coding_help" and answer.features.input_tokens_estimated > 10
    picture = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    seen = house.route(model="auto", messages=[{"role": "user", "content": [picture]}] * 3, min_quality=0.8)
    assert first(seen) in ("a/best", "b/good")
    long = house.route(model="auto", messages=[{"role": "user", "content": "word " * 60_000}])
    assert long.features.input_tokens_estimated > 70_000


def test_the_same_request_and_seed_give_the_same_decision(house: House) -> None:
    answers = [house.route(model="auto", prompt="Write a poem", request_id="seed") for _ in range(5)]
    for answer in answers:
        answer.route.decision_id = ""
    assert all(answer == answers[0] for answer in answers)


def test_the_record_tells_who_was_left_out_and_why(house: House) -> None:
    record = house.route(model="auto:quality", min_quality=0.8, max_cost_nano_usd=9_000_000, input_tokens=10).route
    assert record.basis == "best" and record.fitting == 1 and record.left_out == 2
    left_out = {one.model: one.excluded for one in record.candidates if one.excluded}
    assert "above the cap of $0.009000" in left_out["a/best"]
    assert left_out["c/cheap"] == "quality 0.70 is below the 0.80 asked for"
    assert record.policy_version.startswith("default@built_in/")


async def test_an_operator_holds_a_breaker_and_audit_is_told(house: House) -> None:
    opened = router_pb2.Breaker.STATE_OPEN
    request = router_pb2.ForceBreakerRequest(model="a/best", state=opened, note="wrong answers")
    answer = await house.router.ForceBreaker(request, None)
    assert [(one.model, one.state, one.forced, one.traffic_share) for one in answer.breakers] == [
        ("a/best", opened, True, 0.0)
    ]
    assert first(house.route(model="auto:quality")) == "b/good"
    (record,) = house.told
    assert (record.action, record.target, record.actor, record.org_id) == (
        "breaker.force", "model:a/best", "operator", "o",
    )  # fmt: skip
    assert msgspec.json.decode(record.before_json) == {"a": "closed"}
    assert msgspec.json.decode(record.after_json) == {"a": "open", "note": "wrong answers"}
    status = await house.router.GetStatus(router_pb2.GetStatusRequest(), None)
    assert status.breakers[0].forced
    answer = await house.router.ForceBreaker(router_pb2.ForceBreakerRequest(model="a/best"), None)
    assert not answer.breakers[0].forced and answer.breakers[0].traffic_share == 1
    assert first(house.route(model="auto:quality")) == "a/best" and len(house.told) == 2


async def test_only_an_operator_may_and_only_what_there_is(house: House) -> None:
    with serving(Call(principal=USER)), pytest.raises(MeshError) as caught:
        await house.router.ForceBreaker(router_pb2.ForceBreakerRequest(model="a/best"), None)
    assert caught.value.reason is Reason.PERMISSION_DENIED
    half = router_pb2.Breaker.STATE_HALF_OPEN
    for fields, reason in (
        ({"model": "a/nope"}, Reason.MODEL_NOT_FOUND),
        ({"model": ""}, Reason.INVALID_REQUEST),
        ({"model": "a/best", "provider": "b"}, Reason.INVALID_REQUEST),
        ({"model": "a/best", "state": half}, Reason.INVALID_REQUEST),
    ):
        with pytest.raises(MeshError) as caught:
            await house.router.ForceBreaker(router_pb2.ForceBreakerRequest(**fields), None)  # type: ignore[arg-type]
        assert caught.value.reason is reason
    assert not house.told and house.breakers.quiet


async def test_a_change_that_audit_does_not_take_is_not_made(house: House) -> None:
    async def away(record: bytes) -> None:
        raise MeshError(Reason.UNAVAILABLE, "audit is away")

    house.router._tell = away
    with pytest.raises(MeshError):
        await house.router.ForceBreaker(
            router_pb2.ForceBreakerRequest(model="a/best", state=router_pb2.Breaker.STATE_OPEN), None
        )
    assert house.breakers.state("a/best", "a") is State.CLOSED


async def test_outcomes_teach_how_fast_models_are(house: House) -> None:
    quick = router_pb2.AttemptOutcome(
        model="a/best", provider="a", ok=True, first_token_ms=150, total_ms=1150, output_tokens=1000
    )
    unknown = router_pb2.AttemptOutcome(model="a/none", provider="a", ok=True, first_token_ms=150, total_ms=1150)
    await house.router.ReportOutcomes(router_pb2.ReportOutcomesRequest(outcomes=[quick, unknown] * 10), None)
    status = await house.router.GetStatus(router_pb2.GetStatusRequest(), None)
    (speed,) = status.speeds
    assert (speed.model, speed.first_token_p50_ms, speed.tokens_per_s, speed.answers) == ("a/best", 150, 1000, 10)
    assert first(house.route(model="auto:speed")) == "a/best"

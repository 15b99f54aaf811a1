"""The catalog over HTTP and gRPC in a running DAC: lists, search, comparison, providers, rankings, and the commands."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import grpc
import httpx
import pytest

from dac.router.v1 import catalog_pb2, catalog_pb2_grpc
from tests import programs
from tests.edge.conftest import Dac


def get(dac: Dac, path: str, **params: Any) -> Any:
    answer = dac.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(dac: Dac, path: str, status: int = 400, **params: Any) -> str:
    answer = dac.get(path, params=params)
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"]["message"])


def command(dac: Dac, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**dac.env, "DAC_BASE_URL": dac.url, "DAC_API_KEY": dac.key, "COLUMNS": "200"}
    return programs.run([*arguments], env)


def test_the_list_in_openais_form_is_ordered_as_asked(dac: Dac) -> None:
    everything = get(dac, "/v1/models")["data"]
    assert [one["quality"] for one in everything] == sorted((one["quality"] for one in everything), reverse=True)
    cheapest = [one for one in get(dac, "/v1/models", order_by="output_price")["data"] if one["price"]]
    prices = [one["price"]["output_usd_per_mtok"] for one in cheapest]
    assert prices == sorted(prices) and len(prices) > 2
    assert "prize" in refusal(dac, "/v1/models", order_by="prize")


def test_the_list_in_dacs_form_has_pages(dac: Dac) -> None:
    seen, token = [], ""
    while True:
        page = get(dac, "/v2/models", page_size=2, page_token=token, order_by="context desc, name")
        seen += page["models"]
        token = page["next_page_token"]
        if not token:
            break
    contexts = [int(one["context_tokens"]) for one in seen]
    assert contexts == sorted(contexts, reverse=True)
    assert {one["model"] for one in seen} == {one["id"] for one in get(dac, "/v1/models")["data"]}


def test_one_model_in_dacs_form_tells_its_quality_by_intent(dac: Dac) -> None:
    got = get(dac, "/v2/models/mock/gpt-4o-mini")
    assert got["model"]["provider"] == "mock"
    assert set(got["quality_by_intent"].values()) == {0.8}, "what the operator wrote holds for all"
    assert "Did you mean mock/gpt-4o-mini" in refusal(dac, "/v2/models/mock/gpt-4o-minni", 404)


def test_literal_paths_win_over_model_ids(dac: Dac) -> None:
    assert "results" in get(dac, "/v1/models/search", q="mini")
    assert "providers" in get(dac, "/v1/models/providers")
    assert "listings" not in get(dac, "/v1/models/listings")
    assert get(dac, "/v1/models/mock/gpt-4o-mini")["id"] == "mock/gpt-4o-mini"


def test_search_finds_by_name_provider_and_capability(dac: Dac) -> None:
    found = get(dac, "/v1/models/search", q="claude images")
    assert found["results"][0]["model"]["model"] == "claude/sonnet"
    assert set(found["results"][0]["matched"]) == {"name", "capability"} or "provider" in found["results"][0]["matched"]
    only = get(dac, "/v1/models/search", q="embed", provider="claude")["results"]
    assert [one["model"]["model"] for one in only] == ["claude/embed"]
    many = get(dac, "/v1/models/search", q="gpt", include_unavailable="true", page_size=3)
    assert len(many["results"]) == 3 and many["total"] > 3
    assert "q must hold a word" in refusal(dac, "/v1/models/search")
    assert '"q"' in refusal(dac, "/v1/models/search", qq="x")


def test_models_are_compared_side_by_side(dac: Dac) -> None:
    got = get(dac, "/v1/models/compare", model_ids="mock/gpt-4o-mini,claude/sonnet")
    assert [one["model"]["model"] for one in got["models"]] == ["mock/gpt-4o-mini", "claude/sonnet"]
    assert got["best"]["context"] == "claude/sonnet"
    assert got["best"]["price"] == got["best"]["quality"] == "mock/gpt-4o-mini"
    one = got["models"][0]
    assert {"quality", "balanced", "speed", "budget", "long_context"} <= set(one["score_by_profile"])
    assert one["scores"]["quality"] == 0.8 and "coding_help" in one["quality_by_intent"]
    assert "at least two" in refusal(dac, "/v1/models/compare", model_ids="claude/sonnet")
    assert "no model" in refusal(dac, "/v1/models/compare", 404, model_ids="claude/sonnet,claude/sonet")


def test_rankings_by_profile_and_by_intent(dac: Dac) -> None:
    balanced = get(dac, "/v1/rankings")
    assert balanced["profile"] == "balanced" and balanced["weights"]["quality"] == 0.4
    assert [one["rank"] for one in balanced["models"]] == list(range(1, len(balanced["models"]) + 1))
    best = get(dac, "/v1/rankings", profile="quality", intent="coding_help", page_size=1)["models"]
    assert [one["model"]["model"] for one in best] == ["mock/gpt-4o-mini"]
    assert "mock/embed" not in [one["model"]["model"] for one in balanced["models"]]
    # What it ranks first is what it would take.
    body = {"model": "auto:balanced", "input_tokens": 10}
    routed = httpx.post(f"{dac.url}/v1/route", json=body, headers=dac.headers, timeout=30).json()
    assert routed["candidates"][0]["model"] == balanced["models"][0]["model"]["model"]
    assert "cheapest" in refusal(dac, "/v1/rankings", profile="cheapest")
    assert get(dac, "/v1/rankings", profile="quality", intent="code", page_size=1)["intent"] == "coding_help"
    assert "no intent" in refusal(dac, "/v1/rankings", intent="cooking")


def test_providers_in_figures(dac: Dac) -> None:
    found = {one["provider"]: one for one in get(dac, "/v1/models/providers")["providers"]}
    mock = found["mock"]
    assert mock["configured"] and mock["available"] >= 2 and mock["best_model"] == "mock/gpt-4o-mini"
    assert mock["cheapest_model"] == "mock/gpt-4o-mini" and mock["cheapest_nano_usd_per_mtok"] == "262500000"
    assert not found["openai"]["configured"] and found["openai"]["models"] > 10 and not found["openai"]["available"]


def test_sources_are_not_asked_offline(dac: Dac) -> None:
    for headers, status in ((dac.headers, (403, 400, 409, 412)), (dac.operator_headers, (400, 409, 412))):
        answer = httpx.post(f"{dac.url}/v1/sources/refresh", json={}, headers=headers, timeout=30)
        assert answer.status_code in status, answer.text
    assert "offline" in answer.json()["error"]["message"]
    told = command(dac, "models", "refresh")
    assert told.returncode == 1 and "no source is asked" in told.stderr


async def test_the_same_through_grpc(dac: Dac) -> None:
    metadata = [("authorization", f"Bearer {dac.key}")]
    async with grpc.aio.insecure_channel(dac.grpc_address) as channel:
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        ranked = await stub.GetRankings(catalog_pb2.GetRankingsRequest(profile="budget"), metadata=metadata)
        over_http = get(dac, "/v1/rankings", profile="budget")
        assert [one.model.model for one in ranked.models] == [one["model"]["model"] for one in over_http["models"]]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.SearchModels(catalog_pb2.SearchModelsRequest(q="mini"))
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_commands(dac: Dac) -> None:
    found = command(dac, "models", "search", "claude", "images")
    assert found.returncode == 0 and "claude/sonnet" in found.stdout, found.stderr
    compared = command(dac, "models", "compare", "mock/gpt-4o-mini", "claude/sonnet")
    assert compared.returncode == 0 and "128000" in compared.stdout and "claude/sonnet" in compared.stdout
    ranked = command(dac, "model", "rankings", "--profile", "budget", "--intent", "coding_help", "--json")
    assert json.loads(ranked.stdout)["models"][0]["rank"] == 1
    table = command(dac, "models", "rankings")
    assert table.returncode == 0 and "second/small" in table.stdout
    providers = command(dac, "models", "providers")
    assert providers.returncode == 0 and "mock/gpt-4o-mini" in providers.stdout
    ordered = command(dac, "model", "list", "--sort", "context desc", "--json")
    contexts = [one["context_tokens"] for one in json.loads(ordered.stdout)["data"]]
    assert contexts == sorted(contexts, reverse=True)
    wrong = command(dac, "models", "rankings", "--profile", "cheapest")
    assert wrong.returncode != 0 and "cheapest" in wrong.stderr
    nothing = command(dac, "models", "search", "zzzzzz")
    assert nothing.returncode == 0 and "no model" in nothing.stderr

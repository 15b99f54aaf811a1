"""The catalog in a whole DAC: what sources call a model and why, rankings by what they say, and asking them anew."""

from __future__ import annotations

import asyncio
import pathlib

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from dac.router.v1 import catalog_pb2, source_pb2
from dac.router.v1.catalog_pb2_grpc import CatalogServiceStub
from mesh.call import serving
from mesh.errors import MeshError, Reason
from mesh.testing import mesh_in_process
from services.router.sources.facts import INTENTS
from tests.unit.router.sources.answers import OPENROUTER, encoded

CONFIG = """
providers:
  mock: {kind: openai, base_url: "http://127.0.0.1:9", allow_private_address: true}
models:
  - {id: mock/open, provider: mock, name: gpt-4o-mini, context_tokens: 8000, price: free}
  - {id: mock/said, provider: mock, name: said, context_tokens: 8000, price: free, quality: 0.5}
"""
ASKED = """
router:
  sources: [openrouter]
  source_addresses: ["openrouter=ADDRESS"]
  source_private_addresses: true
  source_first_s: 100000
"""


async def test_what_sources_call_a_model_is_told_with_the_reason(tmp_path: pathlib.Path) -> None:
    async with mesh_in_process(tmp_path, config=CONFIG) as mesh:
        stub = CatalogServiceStub(mesh.channel_to("router"))
        with serving(mesh.caller("read")):
            async with asyncio.timeout(30):
                while not (found := await stub.GetModel(catalog_pb2.GetModelRequest(model="mock/open"))).known_as:
                    await asyncio.sleep(0.02)
            request = catalog_pb2.GetRankingsRequest(profile="quality", intent="reasoning_math")
            ranked = {one.model.model: one for one in (await stub.GetRankings(request)).models}
            asked = catalog_pb2.CompareModelsRequest(model_ids=["mock/open,mock/said"])
            compared = await stub.CompareModels(asked)
    sources = {one.source: one for one in found.known_as}
    assert {"models_dev", "benchmarks"} & set(sources)
    assert all(one.id and one.why for one in found.known_as)
    assert set(found.quality_by_intent) == set(INTENTS)
    # Sources know better and worse sides of it; what the operator wrote holds for every intent.
    assert len(set(found.quality_by_intent.values())) > 1
    assert ranked["mock/open"].scores.quality == pytest.approx(found.quality_by_intent["reasoning_math"], abs=1e-3)
    assert ranked["mock/said"].scores.quality == 0.5
    assert list(compared.models[0].known_as) == list(found.known_as)


async def test_sources_are_asked_anew_by_who_may(tmp_path: pathlib.Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=encoded(OPENROUTER))

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    config = CONFIG + ASKED.replace("ADDRESS", str(server.make_url("/models")))
    try:
        async with mesh_in_process(tmp_path, config=config, env={"DAC_OFFLINE": "false"}) as mesh:
            stub = CatalogServiceStub(mesh.channel_to("router"))
            with serving(mesh.caller("read")), pytest.raises(MeshError) as refused:
                await stub.RefreshSources(catalog_pb2.RefreshSourcesRequest())
            with serving(mesh.caller("admin")):
                done = await stub.RefreshSources(catalog_pb2.RefreshSourcesRequest(sources=["openrouter"]))
                with pytest.raises(MeshError) as unknown:
                    await stub.RefreshSources(catalog_pb2.RefreshSourcesRequest(sources=["nowhere"]))
    finally:
        await server.close()
    assert refused.value.reason is Reason.PERMISSION_DENIED
    assert unknown.value.reason is Reason.INVALID_REQUEST and "nowhere" in unknown.value.message
    (status,) = done.sources
    assert isinstance(status, source_pb2.SourceStatus)
    assert (status.source, status.origin, status.rows, status.error) == ("openrouter", "fetched", 2, "")


async def test_offline_nobody_is_asked(tmp_path: pathlib.Path) -> None:
    async with mesh_in_process(tmp_path, config=CONFIG + "router: {offline: true}\n") as mesh:
        stub = CatalogServiceStub(mesh.channel_to("router"))
        with serving(mesh.caller("admin")), pytest.raises(MeshError) as refused:
            await stub.RefreshSources(catalog_pb2.RefreshSourcesRequest())
    assert refused.value.reason is Reason.FAILED_PRECONDITION

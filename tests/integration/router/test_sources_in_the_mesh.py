"""In a whole DAC sources fill what was left open from the first second, and the status says how old they are."""

import asyncio
import datetime as dt
import pathlib
import time

from dac.router.v1.catalog_pb2 import GetModelRequest
from dac.router.v1.catalog_pb2_grpc import CatalogServiceStub
from dac.router.v1.router_pb2 import GetStatusRequest
from dac.router.v1.router_pb2_grpc import RouterServiceStub
from mesh.app import load_settings
from mesh.call import serving
from mesh.testing import mesh_in_process

CONFIG = """
providers:
  mock: {kind: openai, base_url: "http://127.0.0.1:9", allow_private_address: true}
models:
  - {id: mock/open, provider: mock, name: gpt-4o-mini, context_tokens: 8000, price: free}
  - {id: mock/said, provider: mock, name: gpt-4o-mini, context_tokens: 8000, price: free, quality: 0.5,
     capabilities: [tools]}
"""


async def test_what_is_shipped_fills_and_is_shown(tmp_path: pathlib.Path) -> None:
    async with mesh_in_process(tmp_path, config=CONFIG) as mesh:
        with serving(mesh.caller("read")):
            catalog = CatalogServiceStub(mesh.channel_to("router"))
            async with asyncio.timeout(30):
                while (found := await catalog.GetModel(GetModelRequest(model="mock/open"))).model.quality == 0.5:
                    await asyncio.sleep(0.02)
            said = await catalog.GetModel(GetModelRequest(model="mock/said"))
            status = await RouterServiceStub(mesh.channel_to("router")).GetStatus(GetStatusRequest())
    assert 0.4 < found.model.quality < 0.6 and found.model.context_tokens == 8000
    assert {"tools", "json", "images"} <= set(found.model.capabilities)
    assert (said.model.quality, list(said.model.capabilities)) == (0.5, ["tools"])
    sources = {one.source: one for one in status.sources}
    assert (sources["models_dev"].origin, sources["models_dev"].asked) == ("shipped", False)
    assert (
        sources["models_dev"].rows > 6000
        and sources["models_dev"].age_s > 0
        and sources["models_dev"].HasField("seen_at")
    )
    assert sources["lmarena"].origin == "" and not sources["lmarena"].HasField("seen_at")
    read_on = dt.datetime.combine(load_settings(env={}).catalog_read_on or dt.date.max, dt.time(), dt.UTC)
    assert 0 <= time.time() - read_on.timestamp() - status.catalog_age_s < 60
    assert status.offline, "nobody is asked here, and it says so"

"""The test call of a provider that is added: each dialect's path, header and form of the list of models."""

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mesh.catalog import ProviderEntry
from mesh.config import Secret
from services.provider.keys.keys import list_models

ROWS = [{"id": "one", "object": "model"}, {"id": "two", "object": "model"}]


@pytest.mark.parametrize(
    ("dialect", "path", "header", "listed"),
    [
        ("plain", "/v1/models", ("authorization", "Bearer key"), {"object": "list", "data": ROWS}),
        ("azure", "/v1/models", ("api-key", "key"), {"data": ROWS}),
        ("together", "/v1/models", ("authorization", "Bearer key"), ROWS),
        ("perplexity", "/v1/v1/models", ("authorization", "Bearer key"), {"data": ROWS}),
    ],
)
async def test_the_list_of_models(dialect: str, path: str, header: tuple[str, str], listed: Any) -> None:
    seen: list[dict[str, str]] = []

    async def models(request: web.Request) -> web.Response:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        return web.json_response(listed)

    app = web.Application()
    app.router.add_get(path, models)
    async with TestServer(app) as server:
        base = str(server.make_url("/v1"))
        entry = ProviderEntry("p", "openai", base, Secret("key"), allow_private_address=True, dialect=dialect)
        assert (await list_models(entry)).upstream_models == ("one", "two")
    assert header in seen[0].items()
    assert len({"authorization", "api-key"} & seen[0].keys()) == 1

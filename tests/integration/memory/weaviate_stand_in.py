"""A small Weaviate: what DAC's index asks of one, over the HTTP and gRPC contract of Weaviate's own client.

Multi-tenant collections, batches, deletes by filter, exact nearest vectors. What it does not know it refuses.
"""

import asyncio
import json
import uuid
from collections.abc import Iterator

import grpc.aio
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from weaviate.proto.v1 import base_pb2, batch_delete_pb2, batch_pb2, search_get_pb2, weaviate_pb2_grpc

NEW_HNSW = {
    "cleanupIntervalSeconds": 300,
    "dynamicEfMin": 100,
    "dynamicEfMax": 500,
    "dynamicEfFactor": 8,
    "ef": -1,
    "efConstruction": 128,
    "flatSearchCutoff": 40000,
    "maxConnections": 32,
    "skip": False,
    "vectorCacheMaxObjects": 1000000000000,
}
NEW_INVERTED = {
    "bm25": {"b": 0.75, "k1": 1.2},
    "cleanupIntervalSeconds": 60,
    "stopwords": {"preset": "en", "additions": [], "removals": []},
}


class Stored:
    """One object."""

    def __init__(self, given: batch_pb2.BatchObject) -> None:
        self.uuid = uuid.UUID(given.uuid)
        packed = given.vectors[0].vector_bytes if given.vectors else given.vector_bytes
        self.vector = np.frombuffer(packed, "<f4") if packed else np.array(given.vector, np.float32)
        self.properties: dict[str, object] = dict(given.properties.non_ref_properties.items())
        for one in given.properties.text_array_properties:
            self.properties[one.prop_name] = list(one.values)


def matches(filters: base_pb2.Filters, one: Stored) -> bool:
    """Whether a filter lets the object through."""
    kind = base_pb2.Filters
    if filters.operator == kind.OPERATOR_AND:
        return all(matches(inner, one) for inner in filters.filters)
    name = filters.target.property or (filters.on[0] if filters.on else "")
    value = str(one.uuid) if name in ("id", "_id") else one.properties.get(name, [])
    if filters.operator == kind.OPERATOR_EQUAL:
        return bool(value == filters.value_text)
    wanted = set(filters.value_text_array.values)
    has = set(value if isinstance(value, list) else [value])
    if filters.operator == kind.OPERATOR_CONTAINS_ALL:
        return wanted <= has
    if filters.operator == kind.OPERATOR_CONTAINS_ANY:
        return bool(wanted & has)
    raise NotImplementedError(f"filter {filters}")


class StandIn(weaviate_pb2_grpc.WeaviateServicer):
    """The servers; `classes` is what there is: class → tenant → object."""

    def __init__(self) -> None:
        self.schema: dict[str, dict[str, object]] = {}
        self.classes: dict[str, dict[str, dict[uuid.UUID, Stored]]] = {}
        self.broken = False

    def objects(self) -> Iterator[tuple[str, Stored]]:
        """Every object with its tenant."""
        for tenants in self.classes.values():
            for tenant, objects in tenants.items():
                yield from ((tenant, one) for one in objects.values())

    async def _tenant(self, name: str, tenant: str, context: grpc.aio.ServicerContext) -> dict[uuid.UUID, Stored]:
        if self.broken:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
        if tenant not in self.classes.get(name, {}):
            await context.abort(grpc.StatusCode.UNKNOWN, f'tenant not found: "{tenant}"')
        return self.classes[name][tenant]

    async def BatchObjects(self, request, context):
        for one in request.objects:
            found = await self._tenant(one.collection, one.tenant, context)
            stored = Stored(one)
            assert len({len(other.vector) for other in found.values()} | {len(stored.vector)}) == 1
            found[stored.uuid] = stored
        return batch_pb2.BatchObjectsReply(took=0.001)

    async def BatchDelete(self, request, context):
        found = await self._tenant(request.collection, request.tenant, context)
        # As the real one, it does not delete everything at once.
        gone = [one for one in found.values() if matches(request.filters, one)][:300]
        for one in gone:
            del found[one.uuid]
        return batch_delete_pb2.BatchDeleteReply(matches=len(gone), successful=len(gone))

    async def Search(self, request, context):
        found = await self._tenant(request.collection, request.tenant, context)
        given = request.near_vector
        packed = given.vectors[0].vector_bytes if given.vectors else given.vector_bytes
        vector = np.frombuffer(packed, "<f4") if packed else np.array(given.vector, np.float32)
        scored = [(-float(one.vector @ vector), one) for one in found.values() if matches(request.filters, one)]
        scored.sort(key=lambda one: (one[0], one[1].uuid))
        reply = search_get_pb2.SearchReply(took=0.001)
        for distance, one in scored[: request.limit]:
            result = reply.results.add()
            result.metadata.id, result.metadata.id_as_bytes = str(one.uuid), one.uuid.bytes
            result.metadata.distance, result.metadata.distance_present = distance, True
        return reply

    async def _meta(self, request: Request) -> Response:
        return JSONResponse({"version": "1.30.0", "hostname": "", "modules": {}})

    async def _no_login(self, request: Request) -> Response:
        return Response(status_code=404)

    async def _class(self, request: Request) -> Response:
        found = self.schema.get(request.path_params["name"])
        return JSONResponse(found) if found else Response(status_code=404)

    async def _make_class(self, request: Request) -> Response:
        given = json.loads(await request.body())
        name = given["class"]
        if name in self.schema:
            return JSONResponse({"error": [{"message": f"class name {name} already exists"}]}, 422)
        assert given["multiTenancyConfig"]["enabled"] is True
        # The real one answers with what was not said.
        given.setdefault("invertedIndexConfig", NEW_INVERTED)
        given.setdefault("replicationConfig", {"factor": 1, "asyncEnabled": False})
        for one in given.get("vectorConfig", {}).values():
            one["vectorIndexConfig"] = {**NEW_HNSW, **one["vectorIndexConfig"]}
            assert one["vectorIndexConfig"]["distance"] == "dot"
        self.schema[name], self.classes[name] = given, {}
        return JSONResponse(given)

    async def _make_tenants(self, request: Request) -> Response:
        given = json.loads(await request.body())
        for one in given:
            self.classes[request.path_params["name"]].setdefault(one["name"], {})
        return JSONResponse(given)

    async def _remove_tenants(self, request: Request) -> Response:
        for one in json.loads(await request.body()):
            self.classes[request.path_params["name"]].pop(one, None)
        return Response(status_code=200)

    async def _all(self, request: Request) -> Response:
        return JSONResponse({"classes": list(self.schema.values())})

    async def _has_tenant(self, request: Request) -> Response:
        there = request.path_params["tenant"] in self.classes.get(request.path_params["name"], {})
        return Response(status_code=200 if there else 404)

    async def TenantsGet(self, request, context):
        from weaviate.proto.v1 import tenants_pb2

        names = self.classes.get(request.collection, {})
        wanted = list(request.names.values) or list(names)
        return tenants_pb2.TenantsGetReply(
            tenants=[
                tenants_pb2.Tenant(name=one, activity_status=tenants_pb2.TENANT_ACTIVITY_STATUS_HOT)
                for one in wanted
                if one in names
            ]
        )

    async def serve(self) -> None:
        """Begins to serve; `http_port` and `grpc_port` say where."""
        app = Starlette(
            routes=[
                Route("/v1/meta", self._meta),
                Route("/v1/.well-known/openid-configuration", self._no_login),
                Route("/v1/schema", self._make_class, methods=["POST"]),
                Route("/v1/schema", self._all, methods=["GET"]),
                Route("/v1/schema/{name}", self._class),
                Route("/v1/schema/{name}/tenants", self._make_tenants, methods=["POST"]),
                Route("/v1/schema/{name}/tenants", self._remove_tenants, methods=["DELETE"]),
                Route("/v1/schema/{name}/tenants/{tenant}", self._has_tenant, methods=["GET", "HEAD"]),
            ]
        )
        self._http = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
        self._http.install_signal_handlers = lambda: None
        self._serving = asyncio.create_task(self._http.serve())
        while not self._http.started:
            await asyncio.sleep(0.01)
        self.http_port = self._http.servers[0].sockets[0].getsockname()[1]
        self._grpc = grpc.aio.server()
        weaviate_pb2_grpc.add_WeaviateServicer_to_server(self, self._grpc)
        self.grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        await self._grpc.start()

    async def stop(self) -> None:
        """Ends both."""
        await self._grpc.stop(None)
        self._http.should_exit = True
        await self._serving

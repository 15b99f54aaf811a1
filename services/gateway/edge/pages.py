"""The small pages beside chat: models in OpenAI's form, health, readiness, metrics, what this is, and the docs."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from dac.memory.v1.vector_pb2 import GetEmbedderRequest
from dac.memory.v1.vector_pb2_grpc import VectorServiceStub
from dac.router.v1.catalog_pb2 import GetModelRequest, ListModelsRequest, Model
from dac.router.v1.catalog_pb2_grpc import CatalogServiceStub
from dac.router.v1.router_pb2 import GetStatusRequest
from dac.router.v1.router_pb2_grpc import RouterServiceStub
from mesh import telemetry
from mesh.call import acting_as
from mesh.errors import MeshError, Reason, invalid
from mesh.metrics_page import metrics_page
from mesh.status import from_exception
from services.gateway.edge.failures import error_body, error_headers, http_status
from services.gateway.identity.callers import Caller, Callers
from services.gateway.wire import anthropic_models, anthropic_wire

VERSION = metadata.version("dac")
PARTS = ("router", "provider", "budget", "memory", "audit")
PART_TIMEOUT_S = 2.0
STARTED = time.time()


class Pages:
    """Handlers for Starlette."""

    def __init__(
        self,
        channel_to: Callable[[str], grpc.aio.Channel],
        callers: Callers,
        *,
        openapi: Callable[[], dict[str, Any]],
        docs: Callable[[dict[str, Any]], str],
        metrics_public: bool,
        leaving: asyncio.Event,
    ) -> None:
        self._channel_to, self._callers = channel_to, callers
        self._catalog = CatalogServiceStub(channel_to("router"))
        self._router = RouterServiceStub(channel_to("router"))
        self._vectors = VectorServiceStub(channel_to("memory"))
        self._openapi, self._docs, self._metrics_public = openapi, docs, metrics_public
        self._leaving = leaving
        self._document: dict[str, Any] | None = None

    def routes(self) -> list[Route]:
        """All of them. Literal paths stand before /v1/models/{id}."""
        return [
            Route("/live", self.live, methods=["GET"]),
            Route("/ready", self.ready, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/info", self.info, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
            Route("/openapi.json", self.openapi, methods=["GET"]),
            Route("/docs", self.docs, methods=["GET"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{model_id:path}", self.model, methods=["GET"]),
        ]

    async def live(self, request: Request) -> Response:
        """The process answers."""
        return JSONResponse({"status": "live"})

    async def _part(self, name: str) -> dict[str, Any]:
        started = time.perf_counter()
        stub = health_pb2_grpc.HealthStub(self._channel_to(name))
        try:
            check = health_pb2.HealthCheckRequest(service=name)
            answer = await stub.Check(check, timeout=PART_TIMEOUT_S)
            serving = answer.status == health_pb2.HealthCheckResponse.SERVING
            state = {"status": "up" if serving else "down"}
        except MeshError as error:
            state = {"status": "down", "message": error.message}
        return {**state, "latency_ms": round((time.perf_counter() - started) * 1e3, 2)}

    async def _parts(self) -> dict[str, Any]:
        states = await asyncio.gather(*(self._part(name) for name in PARTS))
        parts = dict(zip(PARTS, states, strict=True))
        parts["database"] = {"status": "up" if self._callers.fresh() else "down"}
        return parts

    async def _embedder(self) -> dict[str, str]:
        """What embeds text in memory, and what searches it; nothing when memory does not say."""
        with acting_as("gateway"):
            try:
                found = await self._vectors.GetEmbedder(GetEmbedderRequest(), timeout=PART_TIMEOUT_S)
            except MeshError:
                return {}
        return {"embedder": found.embedder_id, "detail": found.note, "vector_index": found.vector_index}

    async def health(self, request: Request) -> Response:
        """Every part with its state and latency; 200 also when something that is not needed is down."""
        parts, embedder = await asyncio.gather(self._parts(), self._embedder())
        parts["memory"].update(embedder)
        down = sorted(name for name, part in parts.items() if part["status"] != "up")
        status = "healthy" if not down else "degraded"
        return JSONResponse({"status": status, "down": down, "parts": parts, "version": VERSION})

    async def ready(self, request: Request) -> Response:
        """200 only when a chat would be answered: its parts are up and a model is there."""
        parts = await self._parts()
        missing = [name for name in ("router", "provider", "budget", "database") if parts[name]["status"] != "up"]
        if not missing:
            with acting_as("gateway"):
                try:
                    status = await self._router.GetStatus(GetStatusRequest(), timeout=PART_TIMEOUT_S)
                    if not status.models_available:
                        missing.append("models")
                except MeshError:
                    missing.append("router")
        if self._leaving.is_set():
            missing.append("leaving")
        code = 503 if missing else 200
        return JSONResponse({"status": "not ready" if missing else "ready", "missing": missing}, code)

    async def info(self, request: Request) -> Response:
        """What this is."""
        return JSONResponse(
            {
                "name": "DAC",
                "version": VERSION,
                "uptime_s": round(time.time() - STARTED, 1),
                "services": ["gateway", *PARTS],
                "docs": "/docs",
                "openapi": "/openapi.json",
            }
        )

    async def metrics(self, request: Request) -> Response:
        """Prometheus' text format."""
        if not self._metrics_public:
            await self._callers.authenticate_header(request.headers.get("authorization", ""))
        return Response(metrics_page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def _described(self) -> dict[str, Any]:
        if self._document is None:
            self._document = self._openapi()
        return self._document

    async def openapi(self, request: Request) -> Response:
        """The OpenAPI document, made from the same descriptors as the routes."""
        return JSONResponse(self._described())

    async def docs(self, request: Request) -> Response:
        """The API on one page."""
        return HTMLResponse(self._docs(self._described()))

    async def _identified(self, request: Request) -> Caller:
        exchange = request.scope["state"]["exchange"]
        caller = await self._callers.authenticate_header(anthropic_models.authorization_of(request.headers))
        exchange.identify(caller, 30.0)
        return caller

    async def models(self, request: Request) -> Response:
        """GET /v1/models in OpenAI's form, with DAC's figures beside it; in Anthropic's for its clients. What the key
        may not ask is not in it."""
        caller = await self._identified(request)
        query, for_anthropic = request.query_params, anthropic_models.asked_by(request.headers)
        known = {"provider", "capability", "min_context", "max_price", "include_unavailable", "order_by"}
        known |= anthropic_models.PAGING if for_anthropic else set()
        for key in query:
            if key not in known:
                raise invalid(key, f'There is no filter "{key}": use {", ".join(sorted(known))}.')
        asked = ListModelsRequest(
            page_size=1000,
            provider=query.get("provider", ""),
            capability=query.get("capability", ""),
            min_context_tokens=_number(query.get("min_context"), "min_context"),
            max_output_nano_usd_per_mtok=_number(query.get("max_price"), "max_price", scale=1_000_000_000),
            include_unavailable=query.get("include_unavailable", "") in ("1", "true"),
            order_by=query.get("order_by", ""),
            allowed_models=caller.models,
        )
        models: list[Model] = []
        while True:
            page = await self._catalog.ListModels(asked)
            models += page.models
            if not page.next_page_token:
                break
            asked.page_token = page.next_page_token
        named = [(model, name) for model in models for name in (model.model, *model.aliases)]
        if for_anthropic:
            return JSONResponse(anthropic_models.page(named, query))
        return JSONResponse({"object": "list", "data": [_model_object(model, name) for model, name in named]})

    async def model(self, request: Request) -> Response:
        """One model in OpenAI's form, or in Anthropic's."""
        await self._identified(request)
        asked = request.path_params["model_id"]
        if asked == "auto" or asked.startswith("auto:"):
            raise MeshError(
                Reason.MODEL_NOT_FOUND,
                f'"{asked[:80]}" is no model but chooses one for each chat: name it there. '
                "GET /v1/models lists the models.",
            )
        model = (await self._catalog.GetModel(GetModelRequest(model=asked))).model
        name = asked if asked in model.aliases else model.model
        if anthropic_models.asked_by(request.headers):
            return JSONResponse(anthropic_models.model_alone(model, name))
        return JSONResponse(_model_object(model, name))


def _number(text: str | None, name: str, scale: int = 1) -> int:
    if not text:
        return 0
    with contextlib.suppress(ValueError, OverflowError):
        number = int(float(text) * scale)
        if -(2**63) <= number < 2**63:
            return number
    raise invalid(name, f'"{name}" must be a number, not "{text[:80]}".')


def _model_object(model: Model, name: str) -> dict[str, Any]:
    """A model under its id or one of its aliases."""
    price = None
    if model.HasField("input_nano_usd_per_mtok"):
        price = {
            "input_usd_per_mtok": model.input_nano_usd_per_mtok / 1e9,
            "output_usd_per_mtok": model.output_nano_usd_per_mtok / 1e9,
        }
    return {
        "id": name,
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": model.provider,
        "context_tokens": model.context_tokens,
        "capabilities": list(model.capabilities),
        "quality": round(model.quality, 4),
        "price": price,
        "available": model.available,
        "class": model.model_class,
        "source": model.source,
        "seen_at": model.seen_at.ToJsonString() if model.HasField("seen_at") else None,
        "probed_at": model.probed_at.ToJsonString() if model.HasField("probed_at") else None,
        "retires_on": model.retires_on or None,
        "upstream_name": model.upstream_name,
        **({} if name == model.model else {"alias_of": model.model}),
    }


def _in_anthropics_form(request: Request, error: MeshError, response: Response) -> Response:
    """The same refusal for Anthropic's clients."""
    told = anthropic_wire.error_body(error, request.scope["state"]["exchange"].call.request_id)
    headers = {key: value for key, value in response.headers.items() if not key.startswith("content-")}
    return Response(told, response.status_code, headers, "application/json")


async def not_found(request: Request, error: Exception) -> Response:
    """A path nobody serves."""
    path = request.url.path[:200]
    why = MeshError(Reason.UNIMPLEMENTED, f"{request.method} {path} is not served here. The paths are listed at /docs.")
    response = failed(why)
    if path.startswith("/v1/messages/"):
        response = _in_anthropics_form(request, why, response)
    if isinstance(error, HTTPException) and error.status_code == 405:
        response.status_code = 405
        response.headers.update(error.headers or {})
    return response


async def named_failure(request: Request, error: Exception) -> Response:
    """A failure of a route in OpenAI's form, of a list of models in the client's."""
    named = error if isinstance(error, MeshError) else from_exception(error, "a page")
    response = failed(named)
    if request.url.path.startswith("/v1/models") and anthropic_models.asked_by(request.headers):
        return _in_anthropics_form(request, named, response)
    return response


def failed(error: MeshError) -> Response:
    """A failure as a response."""
    telemetry.ERRORS.labels(error.reason.name.lower()).inc()
    headers = {key.decode(): value.decode() for key, value in error_headers(error)}
    return Response(error_body(error), http_status(error), headers, "application/json")

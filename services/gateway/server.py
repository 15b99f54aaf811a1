"""The gateway's servicers and its servers: HTTP for everybody, gRPC for callers with an API key."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import grpc.aio
import msgspec
import uvicorn
from starlette.applications import Starlette

from dac.audit.v1 import text_pb2_grpc
from dac.gateway.v1 import (
    chat_pb2,
    chat_pb2_grpc,
    identity_pb2_grpc,
    redaction_pb2_grpc,
    tenant_pb2_grpc,
    validation_pb2_grpc,
)
from dac.type.v1.chat_pb2 import Frames
from dac.type.v1.principal_pb2 import Principal
from mesh import call as calls
from mesh.admin_changes import APPEND_TIMEOUT_S, append_to_audit
from mesh.errors import MeshError, Reason, invalid
from mesh.server import ping_rules
from mesh.service import Context
from services.gateway.api import docs_page, openapi, transcoder
from services.gateway.api.http_forms import bindings
from services.gateway.api.keyed_calls import KeyedCalls
from services.gateway.chat.chat_run import ChatRun
from services.gateway.chat.pipeline import DONE, Done, Head, Pipeline, ProviderRefusal, Stubs, in_words
from services.gateway.chat.recorded_texts import RecordedTexts
from services.gateway.chat.second_sends import SecondSends
from services.gateway.chat.settlement import Settlements
from services.gateway.config import GatewayConfig
from services.gateway.console.site import Console
from services.gateway.edge.application import Edge
from services.gateway.edge.http_protocol import BoundedProtocol
from services.gateway.edge.pages import Pages, named_failure, not_found
from services.gateway.gating.inference import Inference
from services.gateway.gating.judge import Judge
from services.gateway.gating.server import ValidationServicer
from services.gateway.gating.validation import Validation
from services.gateway.gating.webhooks import Webhooks, read_urls
from services.gateway.grpc_edge import GrpcEdge
from services.gateway.idempotency.requests import IdempotentRequests
from services.gateway.idempotency.store import PostgresRequests
from services.gateway.identity.callers import Callers
from services.gateway.identity.identity import Identity
from services.gateway.identity.server import IdentityServicer
from services.gateway.identity.store import PostgresStore
from services.gateway.identity.tenant_rules import Held, tell_router_names
from services.gateway.identity.tenants import TenantServicer
from services.gateway.redaction.servicer import RedactionServicer
from services.gateway.sharing.cache_feedback import FEEDBACK, CacheFeedback
from services.gateway.sharing.line import sharing_of
from services.gateway.wire import openai_wire


class ChatServicer(chat_pb2_grpc.ChatServiceServicer):
    """ChatService over the pipeline."""

    def __init__(self, pipeline: Pipeline, callers: Callers, config: GatewayConfig) -> None:
        self._pipeline, self._callers, self._config = pipeline, callers, config

    async def Chat(
        self,
        request: chat_pb2.ChatRequest,
        context: grpc.aio.ServicerContext[chat_pb2.ChatRequest, chat_pb2.ChatResponse],
    ) -> AsyncIterator[chat_pb2.ChatResponse]:
        """Answers one chat."""
        call = calls.current()
        caller = self._callers.of_principal(calls.require_principal(), call.signed_principal)
        try:
            ask = openai_wire.parse_chat(_body_of(request), max_depth=self._config.max_body_depth)
            if ask.team_id or ask.project_id:
                caller = await self._callers.acting_for(caller, ask.team_id, ask.project_id)
                call.principal, call.signed_principal = caller.principal, caller.signed()
        except MeshError as error:
            self._pipeline.refuse(caller, call, error, client_request_id=request.client_request_id[:128], http_status=0)
            raise
        ask.thread_id = request.thread_id or ask.thread_id
        ask.profile = request.profile or ask.profile
        ask.needs_text = request.WhichOneof("input") == "typed"
        ask.enable_cache = request.enable_cache or ask.enable_cache
        if call.deadline is None:
            call.deadline = time.monotonic() + self._config.request_timeout_s
        run = ChatRun(self._pipeline, ask, caller, call, client_request_id=request.client_request_id[:128])
        events = run.events()
        try:
            async for event in events:
                if isinstance(event, bytes):
                    count = event.count(b"\n\n") if ask.stream else 1
                    yield chat_pb2.ChatResponse(frames=Frames(data=event, events=count))
                elif isinstance(event, Head):
                    head = chat_pb2.Head(
                        request_id=call.request_id, model=event.model, provider=event.provider, route=event.route
                    )
                    yield chat_pb2.ChatResponse(head=head)
                elif isinstance(event, Done):
                    if ask.stream:
                        yield chat_pb2.ChatResponse(frames=Frames(data=DONE, events=1))
                    yield chat_pb2.ChatResponse(
                        finish=chat_pb2.Finish(
                            usage=event.usage,
                            usage_source=event.usage_source,  # type: ignore[arg-type]
                            finish_reason=event.finish_reason,
                            cost_nano_usd=event.cost_nano_usd or 0,
                            text=event.text,
                            validation=run.record.validation if run.record.HasField("validation") else None,
                        )
                    )
        except ProviderRefusal as refusal:
            raise in_words(refusal) from None
        finally:
            await events.aclose()


def _body_of(request: chat_pb2.ChatRequest) -> bytes:
    """The request's body in OpenAI's form. Raises INVALID_REQUEST without one."""
    kind = request.WhichOneof("input")
    if kind == "openai_json":
        return request.openai_json
    if kind != "typed":
        raise invalid("input", "Send openai_json or typed.")
    typed = request.typed
    body = {
        "model": typed.model,
        "messages": [{"role": one.role, "content": one.content} for one in typed.messages],
        "stream": typed.stream,
    }
    if typed.HasField("temperature"):
        body["temperature"] = typed.temperature
    if typed.max_output_tokens:
        body["max_completion_tokens"] = typed.max_output_tokens
    return msgspec.json.encode(body)


class GatewayService:
    """The gateway as the mesh sees it."""

    def __init__(self, context: Context) -> None:
        assert context.database is not None
        config: GatewayConfig = context.config
        self._config, self._context = config, context
        store = PostgresStore(context.database)
        anonymous = config.auth == "off"
        self.callers = Callers(store, context.signer, context.keyring, anonymous=anonymous)
        self.identity = Identity(
            store,
            context.keyring,
            append=append_to_audit("gateway", context.channel_to, APPEND_TIMEOUT_S),
            tell_names=tell_router_names(context.channel_to),
            secrets_dir=context.data_dir / "secrets",
        )
        self.tenants = TenantServicer(self.identity, Held(context.channel_to, context.signer))
        self._stubs = stubs = Stubs(context.channel_to, context.here)
        self.settlements = Settlements(stubs.budget, timeout_s=config.commit_timeout_s)
        self.sharing = sharing_of(context)
        sends = SecondSends(config.max_rescues, config.hedge_after_s)
        self.pipeline = Pipeline(
            stubs, self.settlements, sends, self.sharing, config.context_tokens, config.auto_system_line
        )
        self.validation = self.pipeline.validation = Validation(
            stubs.memories,
            Webhooks(
                read_urls(config.validation_webhooks),
                config.validation_webhook_secret,
                allow_private=config.validation_webhook_allow_private_address,
                timeout_s=config.validation_webhook_timeout_s,
            ),
            judge=Judge(self.pipeline, timeout_s=config.validation_judge_timeout_s),
            nli=Inference(config.validation_nli_path) if config.validation_nli_path is not None else None,
        )
        if config.record_prompts:
            audit = text_pb2_grpc.TextServiceStub(context.channel_to("audit"))
            most_bytes = config.record_prompts_kib << 10
            self.pipeline.texts = RecordedTexts(audit, config.record_prompts, most_bytes)
        self._bindings = bindings()
        self.idempotent = IdempotentRequests(PostgresRequests(context.database), context.keyring)
        self._keyed = KeyedCalls(self.idempotent)
        pages = Pages(
            context.channel_to,
            self.callers,
            openapi=lambda: openapi.document(self._bindings),
            docs=docs_page.page,
            metrics_public=config.metrics_public,
            leaving=context.leaving,
        )
        console = Console(context.channel_to, self.callers, context.keyring, pages)
        self.stopping = asyncio.Event()
        first = {FEEDBACK: CacheFeedback(context.channel_to).heard}
        api = transcoder.routes(self._bindings, context.channel_to, self.callers, self.stopping, first, self._keyed)
        other = Starlette(
            routes=[*console.routes(), *api, *pages.routes()],
            exception_handlers={404: not_found, 405: not_found, MeshError: named_failure, Exception: named_failure},
        )
        # A redirect would name http and the request's own host: behind TLS, clients would send keys in the clear.
        other.router.redirect_slashes = False
        self.edge = Edge(config, self.callers, self.pipeline, other, context.leaving)
        self.edge.console_caller = console.chat_caller
        self._http: uvicorn.Server | None = None
        self._grpc: grpc.aio.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    def register(self, server: grpc.aio.Server) -> None:
        """Adds ChatService, IdentityService, TenantService and RedactionService."""
        chat_pb2_grpc.add_ChatServiceServicer_to_server(ChatServicer(self.pipeline, self.callers, self._config), server)
        identity_pb2_grpc.add_IdentityServiceServicer_to_server(
            IdentityServicer(self.identity, self._models_of, self.callers.confirm), server
        )
        tenant_pb2_grpc.add_TenantServiceServicer_to_server(self.tenants, server)
        validation_pb2_grpc.add_ValidationServiceServicer_to_server(ValidationServicer(self.validation), server)
        redaction_pb2_grpc.add_RedactionServiceServicer_to_server(RedactionServicer(), server)

    def _models_of(self, principal: Principal) -> tuple[str, ...]:
        return self.callers.of_principal(principal, b"").models

    async def start(self) -> None:
        """Makes sure of the first organisation and key, then opens the ports."""
        first_key = await self.identity.bootstrap(self._config.bootstrap_api_key, self._config.operator_token)
        if first_key is not None and self._config.bootstrap_result_file is not None:
            self._config.bootstrap_result_file.touch(0o600)
            self._config.bootstrap_result_file.write_text(first_key)
        self.callers.set_peppers(self.identity.peppers)
        self.callers.set_operator(self.identity.operator_token, self.identity.default_org_id)
        await self.callers.start()
        await self.identity.start()
        await self.sharing.start()
        self.idempotent.start()
        await self._start_http()
        if self._config.grpc_port:
            await self._start_grpc()

    async def _start_http(self) -> None:
        config = self._config
        listener = bind(
            config.http_host, config.http_port, reuse=config.reuse_port, flag="--http-port", variable="DAC_HTTP_PORT"
        )
        self._http = uvicorn.Server(
            uvicorn.Config(
                self.edge,
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=max(1, int(self._context.drain_s) - 2),
                backlog=2048,
            )
        )
        self._http.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._serving = asyncio.create_task(self._http._serve([listener]))
        while not self._http.started and not self._serving.done():
            await asyncio.sleep(0.005)
        if self._serving.done():
            self._serving.result()

    async def _start_grpc(self) -> None:
        config = self._config
        handler = GrpcEdge(self._bindings, self._context.channel_to, self.callers, self._keyed)
        options = [
            ("grpc.max_receive_message_length", 12 * 1024 * 1024),
            ("grpc.max_send_message_length", 12 * 1024 * 1024),
            ("grpc.so_reuseport", int(config.reuse_port)),
            ("grpc.max_metadata_size", 32 * 1024),
            *ping_rules(),
        ]
        self._grpc = grpc.aio.server(options=options)
        self._grpc.add_generic_rpc_handlers((handler,))
        try:
            self._grpc.add_insecure_port(f"{config.grpc_host}:{config.grpc_port}")
        except RuntimeError:
            raise port_taken(config.grpc_port, "--grpc-port", "DAC_GRPC_PORT") from None
        await self._grpc.start()

    async def close(self) -> None:
        """Takes no more, lets running requests finish, and waits until their records are stored."""
        until = time.monotonic() + self._context.drain_s
        self.stopping.set()
        if self._http is not None and self._serving is not None:
            self._http.should_exit = True
            await asyncio.wait([self._serving])
        if self._grpc is not None:
            await self._grpc.stop(max(1.0, until - time.monotonic()))
        await self.idempotent.close(max(1.0, until - time.monotonic()))
        await self.sharing.close(max(1.0, until - time.monotonic()))
        drained = max(2.0, until - time.monotonic())
        await asyncio.gather(self.settlements.drain(drained), self.pipeline.late_saves.drain(drained))
        if self.pipeline.texts is not None:
            # Behind the records: without its record no text is taken.
            await self.pipeline.texts.drain(max(2.0, until - time.monotonic()))
        await self.validation.close()
        await self._stubs.close()
        await self.identity.close()
        await self.callers.close()

    async def health(self) -> None:
        """Raises UNAVAILABLE when keys cannot be checked."""
        if not self.callers.fresh():
            raise MeshError(Reason.UNAVAILABLE, "The key database is not reachable.")


def port_taken(port: int, flag: str, variable: str) -> MeshError:
    """FAILED_PRECONDITION naming the port and how to choose another."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"Port {port} is taken by another program. Choose another with {flag} PORT or {variable}=PORT.",
        metadata={"port": str(port)},
    )


def bind(host: str, port: int, *, reuse: bool, flag: str, variable: str) -> socket.socket:
    """A listening socket. Raises FAILED_PRECONDITION when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise port_taken(port, flag, variable) from None
    listener.setblocking(False)
    return listener


def build(context: Context) -> GatewayService:
    """The gateway from its context."""
    return GatewayService(context)

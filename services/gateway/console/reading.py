"""What the console's views show, read from the services side by side. A part that fails costs its own card only."""

from __future__ import annotations

import asyncio
import datetime as dt
import urllib.parse
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any

import grpc.aio
from starlette.requests import Request

from dac.audit.v1.analytics_pb2 import ListRecommendationsRequest
from dac.audit.v1.analytics_pb2_grpc import AnalyticsServiceStub
from dac.audit.v1.audit_pb2 import GetRequestRequest, ListRequestsRequest
from dac.audit.v1.audit_pb2_grpc import AuditServiceStub
from dac.audit.v1.log_pb2 import GetCheckpointRequest
from dac.audit.v1.log_pb2_grpc import LogServiceStub
from dac.audit.v1.text_pb2 import GetTextRequest
from dac.audit.v1.text_pb2_grpc import TextServiceStub
from dac.budget.v1 import budget_pb2
from dac.budget.v1.budget_pb2 import (
    Budget,
    DeleteBudgetRequest,
    ListBudgetsRequest,
    SetBudgetRequest,
    UpdateBudgetRequest,
)
from dac.budget.v1.budget_pb2_grpc import BudgetServiceStub
from dac.gateway.v1.identity_pb2 import (
    CreateApiKeyResponse,
    ListApiKeysRequest,
    ListProjectsRequest,
    ListTeamsRequest,
    ListUsersRequest,
)
from dac.gateway.v1.identity_pb2_grpc import IdentityServiceStub
from dac.provider.v1.key_pb2 import ListProvidersRequest
from dac.provider.v1.key_pb2_grpc import KeyServiceStub
from dac.router.v1.catalog_pb2 import ListModelsRequest, Model
from dac.router.v1.catalog_pb2_grpc import CatalogServiceStub
from dac.router.v1.router_pb2 import GetStatusRequest
from dac.router.v1.router_pb2_grpc import RouterServiceStub
from dac.type.v1.principal_pb2 import Level
from mesh.errors import MeshError, Reason, invalid
from mesh.model_links import never_chats
from services.gateway.console import admin, budgets
from services.gateway.console import analytics as console_analytics
from services.gateway.console import audit as console_audit
from services.gateway.console import models as console_models
from services.gateway.console import overview as console_overview
from services.gateway.console import story as console_story
from services.gateway.console.frame import Reader, card, chat_curl, paste, trouble
from services.gateway.console.html import Safe, el, text
from services.gateway.edge.failures import http_status

READ_S = 3.0
"""How long one part may take before its card says that it does not answer."""
HOUR_PAGE = 200
REQUESTS_PAGE = 50
LATEST = 6
KEYS_PAGE = 100
NAMES_PAGE = 1000
BUDGETS_PAGE = 200
LEADS = {
    "overview": "The last hour, what was asked, and what is well.",
    "playground": "Ask a model and watch the answer come.",
    "requests": "What was asked, who answered, what it cost, and why it went there.",
    "analytics": "What requests add up to, and what would have cost less.",
    "audit": "Who changed what, and the signed log that proves it.",
    "keys": "Who may call. A key is shown once, when it is made.",
    "budgets": "How much may be spent. A request that does not fit is refused before it is sent.",
    "models": "What can answer, for how much, and whether it does now.",
    "health": "The parts of this DAC, and what it knows of its providers.",
}


def kinds_of(found: Iterable[Budget]) -> set[str]:
    """What budgets hang on: key, team, …"""
    return {Level.Kind.Name(one.level.kind).removeprefix("KIND_").lower() for one in found}


async def gathered(*reads: Awaitable[Any]) -> list[Any]:
    """Results side by side; one that failed is its MeshError."""
    return await asyncio.gather(*(_caught(one) for one in reads))


async def _caught(read: Awaitable[Any]) -> Any:
    try:
        return await read
    except MeshError as error:
        return error


def shown(found: Any, part: str, again: str, draw: Callable[[Any], Any]) -> Any:
    """The drawing of what was found, or a card that says what is the matter."""
    return trouble(part, found, again) if isinstance(found, MeshError) else draw(found)


class Reading:
    """Reads for views, as the current caller."""

    def __init__(
        self,
        channel_to: Callable[[str], grpc.aio.Channel],
        clock: Callable[[], dt.datetime],
        health: Callable[[Request], Awaitable[dict[str, Any]]],
    ) -> None:
        self._clock, self._health = clock, health
        self._audit = AuditServiceStub(channel_to("audit"))
        self._log = LogServiceStub(channel_to("audit"))
        self._texts = TextServiceStub(channel_to("audit"))
        self._analytics = AnalyticsServiceStub(channel_to("audit"))
        self._budget = BudgetServiceStub(channel_to("budget"))
        self._catalog = CatalogServiceStub(channel_to("router"))
        self._router = RouterServiceStub(channel_to("router"))
        self._providers = KeyServiceStub(channel_to("provider"))
        self.identity = IdentityServiceStub(channel_to("gateway"))

    def lead(self, view: str) -> str:
        """What a view is about."""
        return LEADS[view]

    async def overview(self, request: Request, reader: Reader, values: Mapping[str, str]) -> Safe:
        """The last hour, the latest requests, budgets, parts."""
        now = self._clock()
        hour = ListRequestsRequest(page_size=HOUR_PAGE)
        hour.started_after.FromDatetime(now - dt.timedelta(hours=1))
        last, newest, budgets, health = await gathered(
            self._audit.ListRequests(hour, timeout=READ_S),
            self._audit.ListRequests(ListRequestsRequest(page_size=LATEST), timeout=READ_S),
            self._budget.ListBudgets(ListBudgetsRequest(page_size=3), timeout=READ_S),
            self._health(request),
        )
        asked = not isinstance(newest, MeshError) and newest.requests
        limits = [] if isinstance(budgets, MeshError) else budgets.budgets
        names = await self._names(reader, kinds_of(limits))

        def figures(found: Any) -> Safe:
            more = bool(found.next_page_token)
            return text(console_overview.tiles(found.requests, more), console_overview.activity(found.requests, now))

        def money(found: Any) -> Any:
            if found.budgets:
                return console_overview.budget_lines(found.budgets, names)
            return el("p", "Nothing is limited. ", el("a", "Set a budget", href="/console/budgets"), class_="soft")

        top = (
            None if isinstance(last, MeshError) else el("section", figures(last), class_="card", aria_label="Last hour")
        )
        return text(
            top,
            el(
                "div",
                card(
                    "Latest requests",
                    shown(newest, "audit", "/", lambda found: console_overview.latest(found.requests, reader.base_url)),
                    aside=el("a", "All", href="/console/requests"),
                ),
                el(
                    "div",
                    card(
                        "Health",
                        console_overview.part_lines(health["parts"]),
                        aside=el("a", "More", href="/console/health"),
                    ),
                    card(
                        "Budgets", shown(budgets, "budget", "/", money), aside=el("a", "All", href="/console/budgets")
                    ),
                    card("Call it", paste(chat_curl(reader.base_url), "curl")) if asked else None,
                    class_="stack",
                ),
                class_="two",
            ),
        )

    async def _names(self, reader: Reader, kinds: Collection[str]) -> dict[str, str]:
        """Names by id, of these kinds: key, team, project, user. What may not be read, or fails, has none."""
        if not reader.may("admin"):
            return {}
        stub, most = self.identity, NAMES_PAGE
        reads: dict[str, Callable[[], Awaitable[Any]]] = {
            "key": lambda: stub.ListApiKeys(ListApiKeysRequest(page_size=most), timeout=READ_S),
            "team": lambda: stub.ListTeams(ListTeamsRequest(page_size=most), timeout=READ_S),
            "project": lambda: stub.ListProjects(ListProjectsRequest(page_size=most), timeout=READ_S),
            "user": lambda: stub.ListUsers(ListUsersRequest(page_size=most), timeout=READ_S),
        }
        wanted = [kind for kind in reads if kind in kinds]
        found = await gathered(*(reads[kind]() for kind in wanted))
        return {
            getattr(one, f"{kind}_id"): one.name
            for kind, listed in zip(wanted, found, strict=True)
            if not isinstance(listed, MeshError)
            for one in getattr(listed, f"{kind}s")
        }

    async def playground(self, request: Request, reader: Reader, values: Mapping[str, str]) -> Safe:
        """The form; models as far as they are known."""
        if not reader.may("chat"):
            error = MeshError(Reason.PERMISSION_DENIED, 'Chatting needs a key with scope "chat".')
            return card("Playground", trouble("gateway", error, request.url.path))
        (found,) = await gathered(self._catalog.ListModels(ListModelsRequest(page_size=1000), timeout=READ_S))
        failed = isinstance(found, MeshError)
        note = card("Models", trouble("router", found, request.url.path)) if failed else None
        return text(note, console_overview.playground(reader, [] if failed else _chatting(found.models)))

    async def requests(self, request: Request, reader: Reader, values: Mapping[str, str]) -> Safe:
        """The newest requests, filtered."""
        query = request.query_params
        model, outcome, page = query.get("model", "").strip(), query.get("outcome", ""), query.get("page", "")
        wanted = ListRequestsRequest(page_size=REQUESTS_PAGE, model=model, page_token=page)
        wanted.outcome = console_story.outcome_of(outcome)
        found, models = await gathered(
            self._audit.ListRequests(wanted, timeout=READ_S),
            self._catalog.ListModels(ListModelsRequest(page_size=200), timeout=READ_S),
        )
        names = [] if isinstance(models, MeshError) else [one.model for one in models.models]

        def draw(answer: Any) -> Safe:
            again = {"model": model, "outcome": outcome, "page": answer.next_page_token}
            older = f"/console/requests?{urllib.parse.urlencode(again)}" if answer.next_page_token else ""
            return console_story.listing(
                answer.requests, reader.base_url, model=model, outcome=outcome, models=names, older=older
            )

        if isinstance(found, MeshError):
            return card("Last requests", trouble("audit", found, "/console/requests"))
        return draw(found)

    async def analytics(self, request: Request, reader: Reader, values: Mapping[str, str]) -> Safe:
        """A window's figures, and what would have cost less."""
        window, by = console_analytics.chosen(request.query_params)
        wanted = console_analytics.wanted(window, by, self._clock())
        found, advice = await gathered(
            self._analytics.GetDashboard(wanted, timeout=READ_S),
            self._analytics.ListRecommendations(ListRecommendationsRequest(), timeout=READ_S),
        )
        if isinstance(found, MeshError):
            return card("Figures", trouble("audit", found, "/console/analytics"))
        names = await self._names(reader, (by,))
        return text(
            console_analytics.dashboard(found, window, by, names, reader.base_url),
            card("Recommendations", shown(advice, "audit", "/console/analytics", console_analytics.recommended)),
        )

    async def audit(self, request: Request, reader: Reader, values: Mapping[str, str]) -> Safe:
        """Changes, filtered, and the state of the log."""
        wanted = console_audit.chosen(request.query_params)
        found, log = await gathered(
            self._audit.ListChanges(console_audit.asked(wanted, console_audit.PAGE), timeout=READ_S),
            self._log.GetCheckpoint(GetCheckpointRequest(), timeout=READ_S),
        )
        again = f"/console/audit?{wanted._replace(page='').query()}".rstrip("?")
        listed = (
            card("Changes", trouble("audit", found, again))
            if isinstance(found, MeshError)
            else console_audit.changes(found.changes, wanted, found.next_page_token)
        )
        state = console_audit.no_log(log) if isinstance(log, MeshError) else console_audit.log_state(log)
        return text(listed, card("The log", state if state is not None else trouble("audit", log, again), id_="log"))

    async def story(self, reader: Reader, request_id: str, again: str) -> tuple[Safe, int]:
        """One request, with what was said where that is recorded and the reader may see it; the page's HTTP status."""
        (found,) = await gathered(self._audit.GetRequest(GetRequestRequest(request_id=request_id), timeout=READ_S * 2))
        back = el("p", el("a", "All requests", href="/console/requests", class_="button quiet"))
        if isinstance(found, MeshError):
            return text(back, card("Request", trouble("audit", found, again))), http_status(found)
        told = console_story.story(found.request)
        if not found.request.text_commitment or not reader.may("admin"):
            return text(back, told), 200
        (said,) = await gathered(self._texts.GetText(GetTextRequest(request_id=request_id), timeout=READ_S))
        return text(back, told, card("What was said", shown(said, "audit", again, console_story.said))), 200

    async def keys(
        self, request: Request, reader: Reader, values: Mapping[str, str], *, fresh: CreateApiKeyResponse | None = None
    ) -> Safe:
        """Keys, the form for a new one, and the one that was just made."""
        wanted = ListApiKeysRequest(page_size=KEYS_PAGE, page_token=request.query_params.get("page", ""))
        (found,) = await gathered(self.identity.ListApiKeys(wanted, timeout=READ_S))
        if isinstance(found, MeshError):
            return card("Keys", trouble("gateway", found, "/console/keys"))
        token = found.next_page_token
        older = f"/console/keys?{urllib.parse.urlencode({'page': token})}" if token else ""
        made = admin.new_token(fresh.token, fresh.key.name, reader.base_url) if fresh is not None else None
        return text(
            made,
            admin.key_list(reader, found.keys, self._clock(), older),
            admin.key_form(reader, values),
        )

    async def budgets(self, request: Request, reader: Reader, values: Mapping[str, str]) -> Safe:
        """Budgets, and for admins the form that sets them."""
        may, keys = reader.may("admin"), []
        reads: list[Any] = [self._budget.ListBudgets(ListBudgetsRequest(page_size=BUDGETS_PAGE), timeout=READ_S)]
        if may:
            reads.append(self.identity.ListApiKeys(ListApiKeysRequest(page_size=1000), timeout=READ_S))
        found, *rest = await gathered(*reads)
        if rest and not isinstance(rest[0], MeshError):
            keys = list(rest[0].keys)
        if isinstance(found, MeshError):
            return card("Budgets", trouble("budget", found, "/console/budgets"))
        levels = kinds_of(found.budgets) - {"key"}
        names = {**await self._names(reader, levels), **{key.key_id: key.name for key in keys}}
        change = request.query_params.get("change", "")
        if change and not values:
            values = next((budgets.budget_values(one, names) for one in found.budgets if one.budget_id == change), {})
        form = budgets.budget_form(reader, keys, values) if may else None
        return text(
            form if change else None, budgets.budget_list(reader, found.budgets, names), None if change else form
        )

    async def set_budget(self, level: Level, window: str, limit_nano_usd: int) -> None:
        """Sets a limit. Raises what BudgetService.SetBudget does."""
        numbers = dict(budget_pb2.Window.items())
        if window not in numbers:
            raise invalid("window", f'"{window[:40]}" is no window: use {", ".join(list(numbers)[1:])}.')
        wanted = SetBudgetRequest(level=level, window=numbers[window], limit_nano_usd=limit_nano_usd)  # type: ignore[arg-type]
        await self._budget.SetBudget(wanted, timeout=READ_S * 2)

    async def change_budget(self, budget_id: str, limit_nano_usd: int) -> None:
        """Changes a limit, and nothing else of it. Raises what BudgetService.UpdateBudget does."""
        wanted = UpdateBudgetRequest(budget_id=budget_id, limit_nano_usd=limit_nano_usd)
        await self._budget.UpdateBudget(wanted, timeout=READ_S * 2)

    async def delete_budget(self, budget_id: str) -> None:
        """Deletes a limit. Raises what BudgetService.DeleteBudget does."""
        await self._budget.DeleteBudget(DeleteBudgetRequest(budget_id=budget_id), timeout=READ_S * 2)

    async def models(self, request: Request, reader: Reader, values: Mapping[str, str]) -> Safe:
        """Models with prices and breakers."""
        everything = request.query_params.get("all") == "1"
        wanted = ListModelsRequest(page_size=1000, include_unavailable=everything)
        found, status = await gathered(
            self._catalog.ListModels(wanted, timeout=READ_S),
            self._router.GetStatus(GetStatusRequest(), timeout=READ_S),
        )
        if isinstance(found, MeshError):
            return card("Models", trouble("router", found, "/console/models"))
        known = None if isinstance(status, MeshError) else status
        return console_models.model_list(found.models, known, everything=everything)

    async def health(self, request: Request, reader: Reader, values: Mapping[str, str]) -> Safe:
        """Parts, what the router knows, providers."""
        health, status, providers = await gathered(
            self._health(request),
            self._router.GetStatus(GetStatusRequest(), timeout=READ_S),
            self._providers.ListProviders(ListProvidersRequest(page_size=1000), timeout=READ_S),
        )
        again = "/console/health"
        return text(
            card("Parts", console_models.part_table(health["parts"]), aside=console_models.verdict(health)),
            card("Routing", shown(status, "router", again, console_models.router_facts)),
            card(
                "Providers",
                shown(providers, "provider", again, lambda found: console_models.provider_table(found.providers)),
            ),
        )


def _chatting(models: Iterable[Model]) -> list[Model]:
    """Without those that only do something else."""
    return [one for one in models if not never_chats(one.capabilities)]

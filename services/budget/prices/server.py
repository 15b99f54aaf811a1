"""The price service: what models cost, told, listed, proposed and set."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from dac.budget.v1 import price_pb2, price_pb2_grpc
from mesh import call
from mesh.admin_record import Change, admin_change
from mesh.catalog import ModelEntry
from mesh.model_prices import problem_of
from mesh.postgres import Database
from services.budget import errors
from services.budget.prices import store as price_store
from services.budget.prices.book import FETCHED, OPERATOR, PriceBook, Proposal
from services.budget.prices.messages import after, listed, place_of, price_message, proposal_message
from services.budget.prices.money import Price

MAX_PROPOSED = 5000
MAX_PAGE = 500
DEFAULT_PAGE = 100
MAX_NAME_CHARS = 400
MAX_AHEAD = dt.timedelta(days=36_525)
LATE = dt.timedelta(minutes=5)
"""A price set for a moment that has just gone by counts from now on."""


def proposals_of(models: Sequence[ModelEntry]) -> list[Proposal]:
    """What the files say that models cost, each at every place where it is served."""
    found = []
    for model in models:
        for one in {each.provider: each for each in model.endpoints}.values():
            if one.price is None:
                found.append(Proposal(one.provider, model.model, None, model.source))
                continue
            for price in (one.price, *one.price.later):
                found.append(Proposal(one.provider, model.model, price.buckets, model.source, price.valid_from))
    return found


class PriceServicer(price_pb2_grpc.PriceServiceServicer):
    """See dac.budget.v1.PriceService."""

    def __init__(
        self,
        book: PriceBook,
        database: Database,
        models: Sequence[ModelEntry],
        now: Callable[[], dt.datetime],
        told: asyncio.Event,
    ) -> None:
        """`models`: from the files. `told` is set when a change waits to be told to audit."""
        self._book, self._database, self._now, self._told = book, database, now, told
        self._files = proposals_of(models)
        self._news = asyncio.Event()

    def announce(self) -> None:
        """Prices have changed."""
        self._news.set()
        self._news = asyncio.Event()

    async def load(self) -> None:
        """Writes what the files say, where that is news."""
        await price_store.propose(self._database, self._book, self._files)

    async def hear_models(self, models: Sequence[ModelEntry]) -> None:
        """Writes what the files say now. Raises MeshError."""
        self._files = proposals_of(models)
        if await price_store.propose(self._database, self._book, self._files):
            self.announce()

    async def follow(self, every_s: float) -> None:
        """Reads what other replicas wrote, and begins what is due; called every so many seconds, and what is due before
        the next call is begun when its time has come."""
        if await price_store.refresh(self._database, self._book):
            self.announce()
        change = self._book.next_change
        wait_s = (change - self._now()).total_seconds() if change is not None else every_s
        if wait_s < every_s:
            await asyncio.sleep(max(0.0, wait_s))
            if await price_store.refresh(self._database, self._book):
                self.announce()

    async def WatchPrices(  # noqa: D102
        self, request: price_pb2.WatchPricesRequest, context: Any
    ) -> AsyncIterator[price_pb2.WatchPricesResponse]:
        while True:
            news = self._news
            yield price_pb2.WatchPricesResponse(prices=[price_message(one) for one in self._book.all_in_force()])
            await news.wait()

    async def Propose(self, request: price_pb2.ProposeRequest, context: Any) -> price_pb2.ProposeResponse:  # noqa: D102
        call.require_service()
        proposals = [_published(price) for price in request.prices[:MAX_PROPOSED]]
        changed = await price_store.propose(self._database, self._book, proposals, fetched=True)
        if changed:
            self.announce()
        return price_pb2.ProposeResponse(changed=changed)

    async def ListPrices(  # noqa: D102
        self, request: price_pb2.ListPricesRequest, context: Any
    ) -> price_pb2.ListPricesResponse:
        call.require_scope("read")
        if request.page_size < 0:
            raise errors.invalid("page_size", f"{request.page_size} is negative; 0 = {DEFAULT_PAGE}")
        size = min(request.page_size, MAX_PAGE) or DEFAULT_PAGE
        found = listed(self._book, provider=request.provider, model=request.model, history=request.history)
        if request.page_token:
            try:
                found = after(found, base64.urlsafe_b64decode(request.page_token).decode())
            except ValueError:
                raise errors.invalid(
                    "page_token", "it is not one that this method returned; start without it"
                ) from None
        more = base64.urlsafe_b64encode(place_of(found[size - 1]).encode()).decode() if len(found) > size else ""
        return price_pb2.ListPricesResponse(prices=found[:size], next_page_token=more)

    async def SetPrice(self, request: price_pb2.SetPriceRequest, context: Any) -> price_pb2.SetPriceResponse:  # noqa: D102
        principal = call.require_scope("operator")
        wanted = self._wanted(request)
        files = [one for one in self._files if (one.provider, one.model) == (wanted.provider, wanted.model)]
        if wanted.buckets is not None and any(one.source == "config" and one.buckets is not None for one in files):
            raise errors.price_in_file(wanted.provider, wanted.model)
        changed = await price_store.set_price(
            self._database,
            self._book,
            wanted,
            files,
            org_id=principal.org_id,
            # Without an organisation nobody could read the record: then there is none.
            seal=self._sealer(principal.org_id) if principal.org_id else None,
        )
        if changed:
            self._told.set()
            self.announce()
        return price_pb2.SetPriceResponse(price=self._answer(wanted))

    def _answer(self, wanted: Proposal) -> price_pb2.ModelPrice | None:
        if wanted.valid_from is not None and wanted.valid_from > self._now():
            return proposal_message(wanted)
        price = self._book.in_force(wanted.provider, wanted.model)
        return price_message(price) if price is not None else None

    def _wanted(self, request: price_pb2.SetPriceRequest) -> Proposal:
        """What the request asks for. Raises INVALID_REQUEST."""
        model = request.model
        if not model or len(model) + len(request.provider) > MAX_NAME_CHARS or not model.isprintable():
            raise errors.invalid("model", "say the model by its DAC id, e.g. openai/gpt-4o-mini (GET /v1/models)")
        buckets = dict(request.nano_usd_per_mtok)
        if bool(buckets) + request.free + request.withdraw != 1:
            raise errors.invalid(
                "nano_usd_per_mtok", "say one of them: what it costs, free: true or withdraw: true; nothing is not free"
            )
        if buckets and (problem := problem_of(buckets)):
            raise errors.invalid("nano_usd_per_mtok", problem)
        begins = request.valid_from.ToDatetime(dt.UTC) if request.HasField("valid_from") else None
        if begins is not None:
            now = self._now()
            if request.withdraw:
                raise errors.invalid("valid_from", "a withdrawal is for now: leave it out")
            if not now - LATE <= begins <= now + MAX_AHEAD:
                raise errors.invalid(
                    "valid_from",
                    f"{begins:%Y-%m-%dT%H:%M:%SZ} has gone by or is more than a hundred years ahead; what was charged "
                    "stays as it was, so leave it out to begin now",
                )
        return Proposal(
            self._provider_of(model, request.provider), model, None if request.withdraw else buckets, OPERATOR, begins
        )

    def _provider_of(self, model: str, said: str) -> str:
        if said:
            return said
        places = sorted({one.provider for one in self._files if one.model == model})
        if len(places) > 1:
            raise errors.invalid("provider", f"{model} is served by {', '.join(places)}: say for which this price is")
        if not places and "/" not in model:
            raise errors.invalid("provider", f"no file knows {model[:200]!r}: say which provider serves it")
        return places[0] if places else model.partition("/")[0]

    def _sealer(self, org_id: str) -> price_store.SealPrice:
        def seal(before: Price | None, said: Proposal) -> Change:
            action = "price.withdraw" if said.buckets is None else "price.set"
            was = _public(before.buckets, before.source, None) if before is not None else None
            now = _public(said.buckets, said.source, said.valid_from) if said.buckets is not None else None
            target = f"price:{said.provider}:{said.model}"
            return admin_change(action, target, self._now(), org_id=org_id, before=was, after=now)

        return seal


def _public(buckets: Mapping[str, int], source: str, begins: dt.datetime | None) -> dict[str, object]:
    fields: dict[str, object] = {"source": source}
    if buckets:
        fields["nano_usd_per_mtok"] = {name: str(nano) for name, nano in buckets.items()}
    else:
        fields["free"] = True
    return fields | ({"valid_from": begins.isoformat()} if begins is not None else {})


def _published(price: price_pb2.ModelPrice) -> Proposal:
    buckets = dict(price.nano_usd_per_mtok)
    if not price.provider or not price.model or len(price.provider) + len(price.model) > MAX_NAME_CHARS:
        raise errors.invalid("prices", f"each names its provider and its model, at most {MAX_NAME_CHARS} characters")
    if buckets and (problem := problem_of(buckets)):
        raise errors.invalid("prices", f"{price.model[:100]!r}: {problem}")
    return Proposal(price.provider, price.model, buckets, FETCHED)

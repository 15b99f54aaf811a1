"""The servicers of budget: proto in, domain, proto out; and how the service is put together."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc.aio

from dac.budget.v1 import (
    budget_pb2,
    budget_pb2_grpc,
    limit_pb2_grpc,
    price_pb2_grpc,
    record_pb2_grpc,
    usage_pb2_grpc,
)
from dac.envoy.v3 import rls_pb2_grpc
from dac.type.v1 import principal_pb2
from mesh import call
from mesh.admin_changes import append_to_audit
from mesh.admin_record import admin_change
from mesh.carried import Carried
from mesh.ids import is_uuid, uuid7
from mesh.model_book import ModelFollower
from mesh.service import Context
from services.budget import errors, request_checks
from services.budget.administration import Administration
from services.budget.alerts.channels import channels_of
from services.budget.alerts.delivery import AlertTeller, Patience
from services.budget.background import Backlog, ChangeTeller, Sweeper, repeat, stop
from services.budget.budget_store import PostgresBudgetStore
from services.budget.config import BudgetConfig
from services.budget.ledger.operations import Adjust, Extend, Reserve, Resolve, Settlement
from services.budget.ledger.rows import Reservation, State
from services.budget.ledger.single_trip import SingleTripStore
from services.budget.ledger.store import PostgresLedgerStore
from services.budget.ledger.writer import Writer
from services.budget.limits.admission import Admission
from services.budget.limits.envoy_rate_limits import EnvoyRateLimitServicer
from services.budget.limits.server import LimitServicer
from services.budget.limits.store import PostgresRateLimitStore
from services.budget.prices.book import PriceBook
from services.budget.prices.messages import RateMessages
from services.budget.prices.server import PriceServicer
from services.budget.record_feed import RecordFeed
from services.budget.record_servicer import RecordServicer
from services.budget.record_store import PostgresRecordStore
from services.budget.request_records import about, attempts_of, draft_with, sealer, tags_of
from services.budget.reservation_secrets import ReservationSecrets
from services.budget.reserve_form import caller_of, set_time
from services.budget.session import Session
from services.budget.usage.server import UsageServicer
from services.budget.usage.store import PostgresUsageStore

ESTIMATE_MARGIN = 1.1
"""By how much "balanced" holds more than the estimate of the prompt."""


def utc_now() -> dt.datetime:
    """The wall clock."""
    return dt.datetime.now(dt.UTC)


class BudgetServicer(budget_pb2_grpc.BudgetServiceServicer):
    """See dac.budget.v1.BudgetService."""

    def __init__(
        self,
        writer: Writer,
        prices: PriceBook,
        administration: Administration,
        config: BudgetConfig,
        secret_keys: Sequence[bytes],
        carried: Carried,
        limits: Admission,
    ) -> None:
        """`secret_keys`: the subkey that reservations' secrets are made with, then those of former master keys."""
        self._carried = carried
        self._writer = writer
        self._prices = prices
        self._administration = administration
        self._config = config
        self._secrets = [ReservationSecrets(key) for key in secret_keys]
        self._rates = RateMessages()
        self._limits = limits

    async def Reserve(self, request: budget_pb2.ReserveRequest, context: Any) -> budget_pb2.ReserveResponse:  # noqa: D102
        principal = call.require_principal()
        caller = caller_of(principal.SerializeToString())
        request_checks.check_reservation(request)
        reservation_id = uuid7()
        now = utc_now()
        draft = request.draft
        draft.request_id, draft.org_id, draft.reservation_id = request.request_id, principal.org_id, reservation_id
        if not draft.HasField("started_at"):
            set_time(draft.started_at, now)
        ttl_s = min(request.ttl_s or self._config.reservation_ttl_s, self._config.max_reservation_ttl_s)
        in_steps = request.stream and self._config.reservation_mode == "balanced"
        input_tokens_max = max(request.input_tokens_max, request.input_tokens)
        if in_steps and request.input_tokens:
            input_tokens_max = min(input_tokens_max, math.ceil(request.input_tokens * ESTIMATE_MARGIN))
        admitted = await self._limits.admit(principal, request, ttl_s)
        barred = admitted.barred if admitted is not None else ()
        try:
            reservation = await self._writer.submit(
                Reserve(
                    reservation_id=reservation_id,
                    org_id=principal.org_id,
                    request_id=request.request_id,
                    levels=caller.levels,
                    candidates=tuple(
                        [(one.provider, one.model) for one in request.candidates if one.model not in barred]
                    ),
                    input_tokens_max=input_tokens_max,
                    max_output_tokens=request.max_output_tokens,
                    body_hash=request.body_hash,
                    now=now,
                    ttl_s=ttl_s,
                    draft=draft_with(caller.path, draft),
                    rescues=request.rescues,
                    audio_seconds_max=request.audio_seconds_max,
                    input_characters_max=request.input_characters_max,
                    tags=tags_of(draft),
                    names_service_tier=request.names_service_tier,
                    covers_in_steps=in_steps,
                )
            )
        except BaseException:
            await self._limits.withdraw(admitted)
            raise
        response = self._reserved(request, reservation)
        if admitted is not None:
            admitted.tell(request, response)
        return response

    def _reserved(self, request: budget_pb2.ReserveRequest, reservation: Reservation) -> budget_pb2.ReserveResponse:
        response = budget_pb2.ReserveResponse(
            reservation_id=reservation.reservation_id,
            reservation_secret=self._secrets[0].of(reservation.reservation_id),
            reserved_nano_usd=reservation.amount_nano_usd,
            output_cap_tokens=reservation.output_cap_tokens,
            price_version=reservation.price_version,
            rescues=reservation.rescues,
            covered_output_tokens=reservation.covered_output_tokens,
        )
        set_time(response.expires_at, reservation.expires_at)
        for limit, used in [(excess.limit, excess.used_nano_usd) for excess in reservation.soft_excess]:
            response.soft_excess.add(
                budget_id=limit.budget_id,
                level=principal_pb2.Level(kind=limit.level.kind, id=limit.level.level_id),  # type: ignore[arg-type]
                limit_nano_usd=limit.limit_nano_usd or 0,
                used_nano_usd=used,
            )
        for candidate in request.candidates:
            price = self._prices.in_force(candidate.provider, candidate.model, reservation.price_version)
            if price is not None:
                response.rates.append(self._rates.of(price))
            elif reservation.is_hard and reservation.counters:
                response.uncovered.add(provider=candidate.provider, model=candidate.model)
        return response

    async def Commit(self, request: budget_pb2.CommitRequest, context: Any) -> budget_pb2.CommitResponse:  # noqa: D102
        settlement = await self._resolve(request, State.COMMITTED)
        return budget_pb2.CommitResponse(cost_nano_usd=settlement.cost_nano_usd)

    async def Release(self, request: budget_pb2.ReleaseRequest, context: Any) -> budget_pb2.ReleaseResponse:  # noqa: D102
        if not request.reservation_id:
            raise errors.invalid("reservation_id", "it is empty; say which reservation to release")
        await self._resolve(request, State.RELEASED)
        return budget_pb2.ReleaseResponse()

    async def Session(  # noqa: D102
        self, request_iterator: AsyncIterator[budget_pb2.SessionRequest], context: Any
    ) -> AsyncIterator[budget_pb2.SessionResponse]:
        call.require_service()
        async with contextlib.aclosing(Session(self._carried.serve).replies(request_iterator)) as responses:
            async for response in responses:
                yield response

    async def Extend(self, request: budget_pb2.ExtendRequest, context: Any) -> budget_pb2.ExtendResponse:  # noqa: D102
        if not is_uuid(request.org_id) or not is_uuid(request.request_id):
            raise errors.invalid("request_id", "say the organisation and the request that were reserved for, as UUIDs")
        self._check_secret(request.reservation_id, request.reservation_secret)
        request_checks.check_extension(request)
        # Whole steps: a caller need not know them, and a second time means the same.
        step = self._config.extend_output_tokens
        tokens = request.max_output_tokens if request.again else -(-request.output_tokens // step) * step
        reservation = await self._writer.submit(
            Extend(
                org_id=request.org_id,
                request_id=request.request_id,
                reservation_id=request.reservation_id,
                provider=request.provider,
                model=request.model,
                output_tokens=tokens,
                now=utc_now(),
                ttl_s=min(request.ttl_s, self._config.max_reservation_ttl_s),
                again=tuple([(one.provider, one.model) for one in request.again]),
                input_tokens_max=request.input_tokens_max,
            )
        )
        response = budget_pb2.ExtendResponse(
            reserved_nano_usd=reservation.amount_nano_usd, covered_output_tokens=reservation.covered_output_tokens
        )
        response.expires_at.FromDatetime(reservation.expires_at)
        return response

    async def Adjust(self, request: budget_pb2.AdjustRequest, context: Any) -> budget_pb2.AdjustResponse:  # noqa: D102
        principal = call.require_organisation("admin")
        request_checks.check_adjustment(request)
        after = {"amount_nano_usd": str(request.amount_nano_usd), "reason": request.reason}
        target = f"request:{request.request_id}"
        adjusted = await self._writer.submit(
            Adjust(
                org_id=principal.org_id,
                request_id=request.request_id,
                adjustment_id=request.adjustment_id,
                amount_nano_usd=request.amount_nano_usd,
                attempt_id=request.attempt_id,
                now=utc_now(),
                change=admin_change("charge.adjust", target, utc_now(), org_id=principal.org_id, after=after),
            )
        )
        return budget_pb2.AdjustResponse(cost_nano_usd=adjusted.cost_nano_usd)

    async def SetBudget(self, request: budget_pb2.SetBudgetRequest, context: Any) -> budget_pb2.SetBudgetResponse:  # noqa: D102
        return budget_pb2.SetBudgetResponse(budget=await self._administration.set(request))

    async def CreateBudget(  # noqa: D102
        self, request: budget_pb2.CreateBudgetRequest, context: Any
    ) -> budget_pb2.CreateBudgetResponse:
        return budget_pb2.CreateBudgetResponse(budget=await self._administration.set(request, only_new=True))

    async def GetBudget(self, request: budget_pb2.GetBudgetRequest, context: Any) -> budget_pb2.GetBudgetResponse:  # noqa: D102
        return budget_pb2.GetBudgetResponse(budget=await self._administration.get(request))

    async def UpdateBudget(  # noqa: D102
        self, request: budget_pb2.UpdateBudgetRequest, context: Any
    ) -> budget_pb2.UpdateBudgetResponse:
        return budget_pb2.UpdateBudgetResponse(budget=await self._administration.change(request))

    async def StopSpending(  # noqa: D102
        self, request: budget_pb2.StopSpendingRequest, context: Any
    ) -> budget_pb2.StopSpendingResponse:
        return await self._administration.stop(request)

    async def ResumeSpending(  # noqa: D102
        self, request: budget_pb2.ResumeSpendingRequest, context: Any
    ) -> budget_pb2.ResumeSpendingResponse:
        return await self._administration.resume()

    async def ListBudgets(  # noqa: D102
        self, request: budget_pb2.ListBudgetsRequest, context: Any
    ) -> budget_pb2.ListBudgetsResponse:
        return await self._administration.list(request)

    async def DeleteBudget(  # noqa: D102
        self, request: budget_pb2.DeleteBudgetRequest, context: Any
    ) -> budget_pb2.DeleteBudgetResponse:
        return await self._administration.delete(request)

    async def VerifyLedger(  # noqa: D102
        self, request: budget_pb2.VerifyLedgerRequest, context: Any
    ) -> budget_pb2.VerifyLedgerResponse:
        return await self._administration.verify()

    def _check_secret(self, reservation_id: str, secret: bytes) -> None:
        # Those of a former master key, too: a replica that has only that one may have made the reservation.
        if not is_uuid(reservation_id) or not any(one.is_of(reservation_id, secret) for one in self._secrets):
            raise errors.reservation_invalid(reservation_id, "its secret does not match")

    async def _resolve(self, request: budget_pb2.CommitRequest | budget_pb2.ReleaseRequest, to: State) -> Settlement:
        record = request.record
        if not is_uuid(record.org_id):
            raise errors.invalid(
                "record.org_id", f"{record.org_id!r} is not a UUID; say the organisation of the request"
            )
        if not is_uuid(record.request_id):
            raise errors.invalid(
                "record.request_id", f"{record.request_id!r} is not a UUID; say the id that was reserved for"
            )
        reservation_id = request.reservation_id
        if reservation_id:
            self._check_secret(reservation_id, request.reservation_secret)
        else:
            principal = call.require_principal()
            if principal.org_id != record.org_id:
                raise errors.invalid("record.org_id", f"it must be the caller's organisation, {principal.org_id!r}")
        attempts = attempts_of(record)
        for attempt in attempts:
            counts = attempt.usage[:-1]
            if min(counts) < 0 or max(counts) > request_checks.MAX_TOKENS:
                request_checks.check_usage(record)
        record.reservation_id = reservation_id
        # Before it is stored: who has the whole answer may ask again at once.
        await self._limits.finish(record)
        return await self._writer.submit(
            Resolve(
                org_id=record.org_id,
                request_id=record.request_id,
                reservation_id=reservation_id,
                to=to,
                now=utc_now(),
                attempts=attempts,
                seal=sealer(record),
                about=about(record),
            )
        )


class BudgetService:
    """The assembled service."""

    def __init__(self, context: Context) -> None:
        assert context.database is not None, "budget needs PostgreSQL"
        self._config: BudgetConfig = context.config
        self._database = context.database
        self.prices = PriceBook()
        self._records = PostgresRecordStore(self._database)
        self.feed = RecordFeed(self._records, self._config)
        tokens = self._config.default_output_tokens
        general = PostgresLedgerStore(self._database, self.prices, tokens)
        store = SingleTripStore(self._database, self.prices, tokens, general)
        self.writer = Writer(store, self._config.max_batch_operations, self.feed.announce)
        self._untold = asyncio.Event()
        budgets = PostgresBudgetStore(self._database)
        administration = Administration(budgets, utc_now, self._untold)
        secret_keys = [one.subkey("reservation") for one in (context.keyring, *context.keyring.former)]
        limits = PostgresRateLimitStore(self._database)
        self.limits = Admission(limits, self._config, context.instance or uuid7(), context.redis_url)
        self.limit = LimitServicer(limits, self.limits, utc_now, self._untold)
        self.envoy = EnvoyRateLimitServicer(self.limits, self._config)
        self.budget = BudgetServicer(
            self.writer, self.prices, administration, self._config, secret_keys, context.carried, self.limits
        )
        self.price = PriceServicer(self.prices, self._database, context.models, utc_now, self._untold)
        self.record = RecordServicer(self.feed)
        self.usage = UsageServicer(PostgresUsageStore(self._database), budgets, utc_now)
        self.sweeper = Sweeper(self._database, self.writer, self._config.sweep_limit, utc_now)
        self.backlog = Backlog(self._database)
        self.teller = ChangeTeller(self._database, append_to_audit("budget", context.channel_to))
        self.alerts = AlertTeller(
            self._database, channels_of(self._config, time.time), _patience(self._config), utc_now
        )
        book = context.model_book
        self._models = ModelFollower("budget", book, self.price.hear_models) if book is not None else None
        self._tasks: list[asyncio.Task[None]] = []

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicers."""
        limit_pb2_grpc.add_LimitServiceServicer_to_server(self.limit, server)
        rls_pb2_grpc.add_RateLimitServiceServicer_to_server(self.envoy, server)
        budget_pb2_grpc.add_BudgetServiceServicer_to_server(self.budget, server)
        price_pb2_grpc.add_PriceServiceServicer_to_server(self.price, server)
        record_pb2_grpc.add_RecordServiceServicer_to_server(self.record, server)
        usage_pb2_grpc.add_UsageServiceServicer_to_server(self.usage, server)

    async def start(self) -> None:
        """Loads the prices, begins to write and to sweep."""
        await self._records.register(self._config.required_consumers)
        await self.price.load()
        await self.limits.start()
        self.writer.start()
        config = self._config
        jobs = (
            repeat("sweeping reservations", config.sweep_interval_s, self.sweeper.sweep),
            repeat("counting what is under way", config.sweep_interval_s, self.backlog.count),
            repeat("following prices", config.price_poll_s, lambda: self.price.follow(config.price_poll_s)),
            repeat("forgetting read records", config.sweep_interval_s, self._forget),
            repeat("telling audit", config.admin_retry_s, self.teller.tell, self._untold),
            repeat("telling of thresholds", config.alert_interval_s, self.alerts.tell),
        )
        self._tasks = [asyncio.create_task(job) for job in jobs]
        if self._models is not None:
            await self._models.begin()

    async def close(self) -> None:
        """Writes what is queued, then stops."""
        if self._models is not None:
            await self._models.close()
        await stop(self._tasks)
        await self.alerts.close()
        await self.writer.close()
        await self.limits.close()

    async def health(self) -> None:
        """Raises MeshError when PostgreSQL does not answer."""
        await self._database.check()

    async def _forget(self) -> None:
        await self._records.forget_read(self._config.required_consumers, self._config.consumer_forget_after_s)


def _patience(config: BudgetConfig) -> Patience:
    pauses = (config.alert_retry_first_s, config.alert_retry_last_s, config.alert_give_up_after_s)
    return Patience(*(dt.timedelta(seconds=one) for one in pauses))


def build(context: Context) -> BudgetService:
    """Puts the service together; opens nothing."""
    return BudgetService(context)

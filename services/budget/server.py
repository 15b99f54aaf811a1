"""How the service is put together; each servicer stands in a file of its own."""

from __future__ import annotations

import asyncio
import datetime as dt
import time

import grpc.aio

from dac.budget.v1 import (
    budget_pb2_grpc,
    limit_pb2_grpc,
    price_pb2_grpc,
    record_pb2_grpc,
    usage_pb2_grpc,
)
from dac.envoy.v3 import rls_pb2_grpc
from mesh.admin_changes import append_to_audit
from mesh.ids import uuid7
from mesh.model_book import ModelFollower
from mesh.service import Context
from services.budget.administration import Administration
from services.budget.alerts.channels import channels_of
from services.budget.alerts.delivery import AlertTeller, Patience
from services.budget.background import Backlog, ChangeTeller, Sweeper, repeat, stop
from services.budget.budget_servicer import BudgetServicer
from services.budget.budget_store import PostgresBudgetStore
from services.budget.config import BudgetConfig
from services.budget.ledger.single_trip import SingleTripStore
from services.budget.ledger.store import PostgresLedgerStore
from services.budget.ledger.writer import Writer
from services.budget.limits.admission import Admission
from services.budget.limits.envoy_rate_limits import EnvoyRateLimitServicer
from services.budget.limits.server import LimitServicer
from services.budget.limits.store import PostgresRateLimitStore
from services.budget.prices.book import PriceBook
from services.budget.prices.server import PriceServicer
from services.budget.record_feed import RecordFeed
from services.budget.record_servicer import RecordServicer
from services.budget.record_store import PostgresRecordStore
from services.budget.usage.folding import Folder
from services.budget.usage.server import UsageServicer
from services.budget.usage.store import PostgresUsageStore


def utc_now() -> dt.datetime:
    """The wall clock."""
    return dt.datetime.now(dt.UTC)


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
            self.writer, self.prices, administration, self._config, secret_keys, context.carried, self.limits, utc_now
        )
        self.price = PriceServicer(self.prices, self._database, context.models, utc_now, self._untold)
        self.record = RecordServicer(self.feed)
        self.usage = UsageServicer(PostgresUsageStore(self._database), budgets, utc_now)
        self.folder = Folder(self._database)
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
        await self._records.go_on()
        await self._records.register(self._config.required_consumers)
        await self.price.load()
        await self.limits.start()
        self.writer.start()
        config = self._config
        fold_s = config.usage_fold_interval_s
        jobs = (
            repeat("sweeping reservations", config.sweep_interval_s, self.sweeper.sweep),
            repeat("counting what is under way", config.sweep_interval_s, self.backlog.count),
            repeat("following prices", config.price_poll_s, lambda: self.price.follow(config.price_poll_s)),
            repeat("forgetting read records", config.sweep_interval_s, self._forget),
            # Not while it starts: nobody waits for it, and for a moment it holds back what is behind it in the outbox.
            repeat("folding usage", fold_s, self.folder.fold, first_s=fold_s),
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

"""Keeps what sources say: asks them by the clock or on demand, keeps the last good answers, joins them to the catalog.

Every process keeps its own copies, so that the router needs no database and no leader for them. Processes that share a
data folder share the copies: who finds that another has just asked takes that answer.
"""

from __future__ import annotations

import asyncio
import datetime
import functools
import logging
import pathlib
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from mesh.catalog import ModelEntry
from mesh.errors import MeshError, Reason, invalid
from services.router.config import RouterConfig
from services.router.resolving.overrides import Overrides
from services.router.sources import BrokenAnswer, Parsed, fetching, last_good
from services.router.sources.adapters import NAMES, Adapter, adapters_of
from services.router.sources.facts import Facts
from services.router.sources.joining import Wanted, join, wanted_of
from services.router.sources.kept import SHIPPED, Kept, SourceStatus

RETRY_S = 900.0
"""How long after a failure a source is asked again, when it is not due before."""
SETTLE_S = 0.2
"""News of models come in bursts: so long after the first of them all are joined at once."""
LEAST_SHARE = 0.1
"""An answer with less than this share of the rows of the last one is taken for a mistake."""
FEW_ROWS = 50
"""Below so many rows, shares say nothing."""
FRESH_SHARE = 0.5
"""Another process's answer is taken while it is younger than this share of the interval."""
Fetch = Callable[..., Awaitable[fetching.Answer]]
_log = logging.getLogger("dac.router.sources")


class Sources:
    """All sources of one process."""

    def __init__(
        self,
        config: RouterConfig,
        folder: pathlib.Path,
        tell: Callable[[Mapping[str, Facts]], None],
        *,
        overrides: Overrides | None = None,
        shipped: pathlib.Path = SHIPPED,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        fetch: Fetch = fetching.fetch,
    ) -> None:
        """`tell` is called with the facts by DAC id whenever they changed; `folder` holds the copies."""
        self._config, self._tell, self._overrides = config, tell, overrides or Overrides()
        self._now, self._jitter, self._fetch = now, jitter, fetch
        self._adapters = {} if config.offline else adapters_of(config)
        self._kept = Kept(folder, shipped, NAMES, self._adapters, now)
        self._wanted: tuple[Wanted, ...] = ()
        self._joined: tuple[object, ...] = ()
        self._changed = asyncio.Event()
        self._join_lock = asyncio.Lock()
        self._locks = {name: asyncio.Lock() for name in self._adapters}
        self._task: asyncio.Task[None] | None = None
        self._scheduler: Any = None

    async def start(self) -> None:
        """Joins what is known, and begins to ask sources, unless that is switched off."""
        self._kept.survey()
        self._changed.set()
        self._task = asyncio.create_task(self._keep_joined(), name="router-sources")
        if self._adapters:
            self._schedule()

    async def close(self) -> None:
        """Stops."""
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=False)
            self._scheduler = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def hear_overrides(self, overrides: Overrides) -> None:
        """What the operator says now of who is who."""
        if overrides != self._overrides:
            self._overrides = overrides
            self._changed.set()

    def look_at(self, entries: Iterable[ModelEntry]) -> None:
        """The models that facts are wanted for; called with every new view."""
        wanted = wanted_of(entries)
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    def statuses(self, names: Sequence[str] = ()) -> list[SourceStatus]:
        """What is known from every source (or those named), and how old it is."""
        return [self._kept.status(name) for name in NAMES if not names or name in names]

    async def refresh(self, names: Sequence[str] = ()) -> list[SourceStatus]:
        """Asks sources now (all that are asked by the clock, or those named), joins, and says how it went. Raises
        INVALID_REQUEST for a name that there is not, FAILED_PRECONDITION when none may be asked."""
        if self._config.offline:
            raise MeshError(
                Reason.FAILED_PRECONDITION, "router.offline is set: no source is asked. Switch it off to refresh."
            )
        for name in names:
            if name not in self._adapters:
                asked = ", ".join(self._adapters) or "none"
                raise invalid("sources", f'There is no source "{name[:100]}" that is asked; there are: {asked}.')
        chosen = list(dict.fromkeys(names)) or list(self._adapters)
        await asyncio.gather(*(self._ask(name, adopt=False) for name in chosen))
        await self._join()
        return self.statuses(chosen)

    def _schedule(self) -> None:
        # Imported late: a process that asks nobody does not pay for it.
        from apscheduler.schedulers.asyncio import AsyncIOScheduler

        logging.getLogger("apscheduler").setLevel(logging.WARNING)
        self._scheduler = AsyncIOScheduler(timezone=datetime.UTC)
        for name, adapter in self._adapters.items():
            self._scheduler.add_job(
                self._due,
                "interval",
                seconds=adapter.interval_s,
                jitter=max(1, int(adapter.interval_s / 10)),
                next_run_time=self._in(self._config.source_first_s),
                args=[name],
                id=name,
                coalesce=True,
                misfire_grace_time=None,
            )
        self._scheduler.start()

    def _in(self, seconds: float) -> datetime.datetime:
        """About so many seconds from now, by the scheduler's own clock."""
        return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds * (0.5 + self._jitter()))

    async def _due(self, name: str) -> None:
        age_s = self._now() - self._kept.state(name).fetched_at_s
        if 0 <= age_s < self._adapters[name].interval_s * FRESH_SHARE:
            # The copy was made shortly before a restart.
            return
        if not await self._ask(name, adopt=True) and self._scheduler is not None:
            wait_s = min(RETRY_S, self._adapters[name].interval_s)
            self._scheduler.add_job(
                self._due,
                "date",
                run_date=self._in(wait_s),
                args=[name],
                id=f"{name} again",
                replace_existing=True,
                misfire_grace_time=None,
            )
        self._changed.set()

    async def _ask(self, name: str, *, adopt: bool) -> bool:
        """Asks one source; whether what is known is good now. `adopt`: an answer that another process has just had
        will do. Never raises."""
        lock = self._locks[name]
        waited = lock.locked()
        async with lock:
            before = self._kept.state(name)
            if waited:
                # It was being asked: that answer is as good as another one.
                return not before.error
            adapter = self._adapters[name]
            try:
                fresh_s = adapter.interval_s * FRESH_SHARE
                if adopt and await asyncio.to_thread(self._kept.adopt, name, fresh_s):
                    error = ""
                else:
                    error = await self._answer(adapter)
            except Exception as failure:
                _log.exception("asking %s failed", name)
                error = f"it failed here ({type(failure).__name__})"
            self._kept.tried(name, error)
            if error and error != before.error:
                _log.warning("source %s was not refreshed, what was known stays: %s", name, error)
            return not error

    async def _answer(self, adapter: Adapter) -> str:
        """Has an answer and keeps it; why not, or nothing."""
        name = adapter.name
        try:
            answer = await self._fetch(
                adapter.addresses,
                etag=self._kept.state(name).etag,
                timeout_s=self._config.source_timeout_s,
                allow_private=self._config.source_private_addresses,
                is_last=adapter.is_last,
            )
            if answer.pages is None:
                await asyncio.to_thread(self._kept.confirm, name)
            else:
                await asyncio.to_thread(self._take, adapter, answer)
        except fetching.FetchFailed as error:
            return str(error)
        except BrokenAnswer as error:
            return f"its answer cannot be used: {error}"
        except (FileNotFoundError, last_good.Unreadable) as error:
            return f"nothing changed there, and the copy here is of no use: {error}"
        except OSError as error:
            return f"the copy could not be written ({error.strerror or type(error).__name__})"
        return ""

    def _take(self, adapter: Adapter, answer: fetching.Answer) -> None:
        """Reads an answer and keeps it. Raises BrokenAnswer, OSError."""
        now_s = self._now()
        found: Parsed = adapter.parse(answer.pages or (), now_s)
        before = self._kept.state(adapter.name).fetched_rows
        if before >= FEW_ROWS and len(found.records) < before * LEAST_SHARE:
            raise BrokenAnswer(f"it has {len(found.records)} models, and the last one had {before}")
        self._kept.take(last_good.Copy(adapter.name, now_s, found.records, found.dropped, answer.etag))

    async def _keep_joined(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(SETTLE_S)
            try:
                await self._join()
            except Exception:
                # Without this task facts would stay as they are for good.
                _log.exception("joining sources failed")

    async def _join(self) -> None:
        async with self._join_lock:
            self._changed.clear()
            inputs = (self._wanted, self._kept.generation, self._overrides)
            if inputs == self._joined:
                return
            load = {name: functools.partial(self._kept.records, name) for name in NAMES}
            facts = await asyncio.to_thread(join, inputs[0], load, inputs[2])
            self._joined = inputs
            self._tell(facts)

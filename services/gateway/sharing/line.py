"""How answers are shared: the operator's rules, the flights of this replica and the line to the others."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import time
from collections.abc import Coroutine
from typing import Any

from dac.router.v1.answers_pb2 import AnswerRules, CacheRules
from mesh.redis import connect
from mesh.service import Context
from services.gateway.config import GatewayConfig
from services.gateway.sharing.cache_control import NOTHING, SILENT, Defaults, Mode, Policy, Wish, wish_of
from services.gateway.sharing.cache_scope import temperature_of
from services.gateway.sharing.coalescing import Flights
from services.gateway.sharing.replica_line import ReplicaLine
from services.gateway.wire.openai_wire import ChatAsk

LINE_TIMEOUT_S = 0.5
"""How long a chat that has no stored answer waits for Redis to say who leads: little beside a call to a provider."""
LEADER = "leader"
"""Who made it pays for a call that several share; otherwise everybody does, as if it were their own."""
_PRESETS = frozenset(Mode)


@dataclasses.dataclass
class Sharing:
    """One for all chats of a replica."""

    defaults: Defaults = dataclasses.field(default_factory=Defaults)
    window_s: float = 5.0
    """So long after a call began equal chats join it; 0 = every chat makes its own."""
    charge: str = LEADER
    timeout_s: float = 2.0
    line: ReplicaLine | None = None

    def __post_init__(self) -> None:
        """Makes what only this object holds."""
        self.flights = Flights(window_s=self.window_s, now=time.monotonic)
        self._running: set[asyncio.Task[None]] = set()

    def wish(self, ask: ChatAsk, rules: AnswerRules | None = None) -> Wish | None:
        """What the cache is to do for a chat under the rules of its policy; None = nothing."""
        policy = SILENT if rules is None or not rules.HasField("cache") else policy_of(rules.cache)
        if not ask.enable_cache and ask.cache_said is NOTHING and not (self.defaults.on or policy.on):
            return None
        # Who asks for another answer to the same question wants no stored one.
        said = dataclasses.replace(ask.cache_said, read=False) if ask.replaces_message_id else ask.cache_said
        return wish_of(said, ask.enable_cache, temperature_of(ask), self.defaults, policy)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs what may outlive its caller's request."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def start(self) -> None:
        """Begins to listen to the other replicas."""
        if self.line is not None:
            await self.line.start()

    async def close(self, timeout_s: float) -> None:
        """Waits for calls that still run for somebody, then ends them."""
        if self._running:
            _, left = await asyncio.wait(self._running, timeout=timeout_s)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        if self.line is not None:
            await self.line.close()


def policy_of(rules: CacheRules) -> Policy:
    """What a policy says of the cache."""
    on = rules.enabled if rules.HasField("enabled") else None
    # Router lets no other preset through; one of a newer router is no reason to serve what nobody compared.
    known = rules.preset in _PRESETS
    mode = (Mode(rules.preset) if known else Mode.EXACT) if rules.preset else None
    return Policy(on, mode, float(max(0, rules.ttl_s)))


def sharing_of(context: Context) -> Sharing:
    """As the operator set it."""
    config: GatewayConfig = context.config
    line = None
    if context.redis_url and config.coalescing_window_s:
        open_store = functools.partial(connect, context.redis_url, call_timeout_s=LINE_TIMEOUT_S)
        line = ReplicaLine(open_store, context.keyring.subkey("gateway-coalescing"))
    return Sharing(
        Defaults(config.cache_by_default, Mode(config.cache_mode), config.cache_semantic_temperature_max),
        config.coalescing_window_s,
        config.coalescing_charge,
        config.cache_timeout_s,
        line,
    )

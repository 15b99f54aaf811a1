"""The headers that an answer begins with: what answered, for how much, what is left, and what was kept of it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dac.budget.v1.budget_pb2 import SoftExcess
from dac.type.v1.principal_pb2 import Level
from services.gateway.chat.pipeline import Head
from services.gateway.chat.reserved_run import ReservedRun, usd
from services.gateway.edge.exchange import Exchange
from services.gateway.edge.rate_limit_headers import headers_of

if TYPE_CHECKING:
    from services.gateway.chat.chat_run import ChatRun

UNBUFFERED = (b"x-accel-buffering", b"no")
EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")


def thread_headers(run: "ChatRun") -> list[tuple[bytes, bytes]]:
    """What the answer of a chat in a thread tells of it."""
    return [] if run.turn is None else run.turn.headers()


def head_headers(
    request: Exchange, run: ReservedRun, head: Head, cost_nano_usd: int | None = None
) -> list[tuple[bytes, bytes]]:
    """What answered, why, for how much, and what is left of the caller's limits."""
    route = " ".join(head.route.split())[:300].encode("ascii", "replace")
    cost = [] if cost_nano_usd is None else [(b"x-dac-cost-usd", usd(cost_nano_usd).encode())]
    limits = headers_of(run.rate_limit, request.wire.dialect)
    if run.exceeded:
        limits.append((b"x-dac-budget-exceeded", "; ".join(map(_excess, run.exceeded)).encode()))
    if run.record.redaction.kinds:
        limits.append((b"x-dac-redaction", told(run.record.redaction.kinds)))
    model = (b"x-dac-model", head.model.encode("ascii", "replace"))
    return [model, (b"x-dac-route", route), *cost, *limits, *run.answer_headers]


def told(kinds: Mapping[str, int]) -> bytes:
    """Kinds and counts as a header tells them, e.g. email=2,card=1."""
    return ",".join(f"{kind}={kinds[kind]}" for kind in sorted(kinds)).encode()


def _excess(one: SoftExcess) -> str:
    kind = Level.Kind.Name(one.level.kind).removeprefix("KIND_").lower()
    return f"{kind} {one.level.id}: ${usd(one.used_nano_usd)} of ${usd(one.limit_nano_usd)}"

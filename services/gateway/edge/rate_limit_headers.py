"""What is left of a rate limit, as headers: in OpenAI's names, and in Anthropic's own at its path."""

import datetime as dt
import math
from collections.abc import Mapping

from dac.budget.v1.budget_pb2 import RateLimitState
from dac.type.v1 import chat_pb2
from mesh.errors import MeshError, Reason

Headers = list[tuple[bytes, bytes]]
_KINDS = ("requests", "tokens")


def duration(seconds: float) -> str:
    """Seconds as OpenAI writes them: 20ms, 1.5s, 6m0s, 2h3m4s. Rounded up, so that nobody comes early."""
    ms = math.ceil(round(max(0.0, seconds) * 1000, 3))
    if ms < 1000:
        return f"{ms}ms"
    minutes, rest = divmod(ms, 60_000)
    text = f"{rest // 1000}" + (f".{rest % 1000:03d}".rstrip("0") if rest % 1000 else "") + "s"
    if not minutes:
        return text
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + f"{minutes}m{text}"


def headers_of(state: RateLimitState | None, dialect: chat_pb2.Dialect, now: dt.datetime | None = None) -> Headers:
    """The headers of an answer: only of limits that there are."""
    if state is None:
        return []
    found: Headers = []
    for kind in _KINDS:
        most = getattr(state, f"{kind}_limit")
        if most:
            left, reset_s = getattr(state, f"{kind}_remaining"), getattr(state, f"{kind}_reset_s")
            found += _three(kind, str(most), str(left), reset_s, dialect, now)
    return found


def headers_of_refusal(error: MeshError, dialect: chat_pb2.Dialect, now: dt.datetime | None = None) -> Headers:
    """The same on a refusal by a rate limit, and the exact wait; nothing on any other."""
    if error.reason is not Reason.RATE_LIMITED:
        return []
    found: Headers = []
    said: Mapping[str, str] = error.metadata
    for kind in _KINDS:
        if f"{kind}_limit" in said:
            reset_s = float(said[f"{kind}_reset_s"])
            found += _three(kind, said[f"{kind}_limit"], said[f"{kind}_remaining"], reset_s, dialect, now)
    if error.retry_after_s is not None:
        found.append((b"retry-after-ms", str(math.ceil(round(error.retry_after_s * 1000, 3))).encode()))
    return found


def _three(
    kind: str, most: str, left: str, reset_s: float, dialect: chat_pb2.Dialect, now: dt.datetime | None
) -> Headers:
    if dialect == chat_pb2.DIALECT_ANTHROPIC_MESSAGES:
        at = (now or dt.datetime.now(dt.UTC)) + dt.timedelta(seconds=reset_s)
        reset = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        names = (f"anthropic-ratelimit-{kind}-{word}" for word in ("limit", "remaining", "reset"))
    else:
        reset = duration(reset_s)
        names = (f"x-ratelimit-{word}-{kind}" for word in ("limit", "remaining", "reset"))
    return [(name.encode(), value.encode()) for name, value in zip(names, (most, left, reset), strict=True)]

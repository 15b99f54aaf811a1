"""Which of a model's endpoints is asked next. Pure: the clock and the chance are passed in.

Among the endpoints of the lowest priority that can be asked, two are drawn by weight and the one that is expected to
answer sooner wins: peak EWMA over the power of two choices, as Finagle and Envoy's peak_ewma have it (Mitzenmacher,
"The Power of Two Choices in Randomized Load Balancing", 2001). One that failed is left alone for a while and then asked
once before it is trusted again. docs/decisions/0007-deployments.md says what differs from the originals and why.
"""

import hashlib
import math
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import msgspec

from services.provider.calling.events import Candidate, Deployment
from services.provider.splice import fields_of

TAU_S = 10.0
"""How fast old times of first tokens lose their say."""
CLEARLY = 0.5
"""How much less the second of two must be expected to take, to win over the first, which the weights drew."""
UNMEASURED_S = 1.0
"""What is assumed of an endpoint that has been asked and has not answered yet."""
MOST_ASKED = 5
"""The most endpoints that one request asks for one model."""
BOUND = 1.25
"""How far above its fair share of what is in flight a sticky choice may load an endpoint."""
FREE_HAND = 4
"""What a sticky choice may have in flight at one endpoint whatever its share."""
PREFIX_BYTES = 4096
"""How much of a prompt's beginning counts; the providers' caches begin at about a thousand tokens."""
MOST_KNOWN = 4096
_SYSTEM = ("system", "developer")

Key = tuple[str, str]
"""(provider, upstream name)."""


class _Mean:
    """A moving average that believes a worse time at once and a better one with time."""

    __slots__ = ("at", "value")

    def __init__(self) -> None:
        self.value, self.at = -1.0, 0.0

    def saw(self, seconds: float, now: float) -> None:
        if seconds >= self.value:
            self.value = seconds
        else:
            old = math.exp(-max(0.0, now - self.at) / TAU_S)
            self.value = self.value * old + seconds * (1 - old)
        self.at = now


class _State:
    """What is known of one endpoint."""

    __slots__ = ("failures", "in_flight", "means", "trial", "until")

    def __init__(self) -> None:
        self.in_flight, self.failures, self.until = 0, 0, 0.0
        self.trial: object | None = None
        # What is not streamed shows its first token with its last.
        self.means = (_Mean(), _Mean())

    def cools(self, now: float) -> bool:
        return self.failures > 0 and (now < self.until or self.trial is not None)


class _Asking:
    """While one endpoint is asked."""

    __slots__ = ("_clock", "_state")

    def __init__(self, state: _State, clock: Callable[[], float]) -> None:
        self._state, self._clock = state, clock

    def __enter__(self) -> None:
        state = self._state
        state.in_flight += 1
        if state.failures and state.trial is None and self._clock() >= state.until:
            state.trial = self

    def __exit__(self, *_: object) -> None:
        self._state.in_flight -= 1
        if self._state.trial is self:
            self._state.trial = None


_NOTHING = nullcontext()


class Balancer:
    """Chooses among endpoints and learns from what they do."""

    def __init__(
        self, clock: Callable[[], float], chance: Callable[[], float], *, cooldown_min_s: float, cooldown_max_s: float
    ) -> None:
        self._clock, self._chance = clock, chance
        self._min_s, self._max_s = cooldown_min_s, cooldown_max_s
        self._states: dict[Key, _State] = {}

    def asking(self, candidate: Candidate) -> AbstractContextManager[None]:
        """Around an attempt at a chosen endpoint."""
        return _Asking(self._state(key_of(candidate)), self._clock) if candidate.deployments else _NOTHING

    def answered(self, candidate: Candidate, seconds: float, *, stream: bool) -> None:
        """The first token came, after so long."""
        now, state = self._clock(), self._state(key_of(candidate))
        state.means[stream].saw(seconds, now)
        # An answer that was begun before a fault ends no cooldown.
        if now >= state.until:
            state.failures = 0

    def failed(self, candidate: Candidate, retry_after_s: float | None) -> None:
        """An attempt failed, and not by its caller's fault."""
        now, state = self._clock(), self._state(key_of(candidate))
        if retry_after_s is not None:
            state.failures = state.failures or 1
            state.until = max(state.until, now + min(retry_after_s, self._max_s))
        elif now >= state.until:
            # Requests that were in flight together fail together: that is one failure, not many.
            state.failures += 1
            state.until = now + min(self._max_s, self._min_s * 2.0 ** min(state.failures - 1, 30))

    def cooling(self, deployments: Sequence[Deployment]) -> bool:
        """Whether none of them should be asked now."""
        now = self._clock()
        return all(self._state(key_of(one)).cools(now) for one in deployments)

    def ready(
        self, deployments: Sequence[Deployment], tried: Collection[Key], full: Callable[[str], bool]
    ) -> list[Deployment]:
        """Those that can be asked now and were not tried."""
        now = self._clock()
        return [
            one
            for one in deployments
            if key_of(one) not in tried and not self._state(key_of(one)).cools(now) and not full(one.provider)
        ]

    def choose(
        self,
        deployments: Sequence[Deployment],
        *,
        tried: Collection[Key] = (),
        full: Callable[[str], bool] = lambda _: False,
        prefix: bytes | None = None,
        stream: bool = True,
    ) -> Deployment:
        """The endpoint to ask next. `prefix`: the beginning of the prompt, for a sticky model."""
        ready = self.ready(deployments, tried, full)
        if ready:
            lowest = min(one.priority for one in ready)
            pool = [one for one in ready if one.priority == lowest]
            return self._better_of_two(pool, stream) if prefix is None else self._same_again(pool, prefix)
        now = self._clock()
        left = [one for one in deployments if key_of(one) not in tried] or list(deployments)
        waiting = [one for one in left if not self._state(key_of(one)).cools(now)]
        if waiting:
            return min(waiting, key=lambda one: (one.priority, self._state(key_of(one)).in_flight / one.weight))
        return min(left, key=lambda one: self._state(key_of(one)).until)

    def _better_of_two(self, pool: list[Deployment], stream: bool) -> Deployment:
        first = self._drawn(pool)
        if len(pool) == 1:
            return first
        second = self._drawn([one for one in pool if one is not first])
        a, b = self._state(key_of(first)), self._state(key_of(second))
        share = (first.weight + second.weight) / 2
        mean_a, mean_b = self._expected(a, b, stream)
        cost_a = mean_a * (1 + a.in_flight * share / first.weight)
        cost_b = mean_b * (1 + b.in_flight * share / second.weight)
        return second if cost_b < CLEARLY * cost_a else first

    def _drawn(self, pool: list[Deployment]) -> Deployment:
        point = self._chance() * sum(one.weight for one in pool)
        for one in pool:
            point -= one.weight
            if point < 0:
                return one
        return pool[-1]

    def _expected(self, a: _State, b: _State, stream: bool) -> tuple[float, float]:
        """Seconds until the first token. What is old draws near to the better of the two, so that one that was slow
        is tried again; one never measured is tried at once."""
        now = self._clock()
        means = (a.means[stream], b.means[stream])
        best = min((mean.value for mean in means if mean.value >= 0), default=UNMEASURED_S)
        found = []
        for state, mean in zip((a, b), means, strict=True):
            if mean.value < 0:
                found.append(max(best, UNMEASURED_S) if state.in_flight else 0.0)
            else:
                found.append(best + (mean.value - best) * math.exp(-max(0.0, now - mean.at) / TAU_S))
        return found[0], found[1]

    def _same_again(self, pool: list[Deployment], prefix: bytes) -> Deployment:
        """Rendezvous hashing with bounded loads (Thaler and Ravishankar 1998; Mirrokni and others 2018): the same
        beginning goes to the same endpoint, also when others come and go, unless that has too much to do."""
        flying = {key_of(one): self._state(key_of(one)).in_flight for one in pool}
        total, weights = sum(flying.values()) + 1, sum(one.weight for one in pool)
        ranked = sorted(pool, key=lambda one: _rank(one, prefix))
        for one in ranked:
            if flying[key_of(one)] < max(FREE_HAND, math.ceil(BOUND * total * one.weight / weights)):
                return one
        return ranked[0]

    def _state(self, key: Key) -> _State:
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = _State()
            if len(self._states) > MOST_KNOWN:
                self._states.pop(next(iter(self._states)))
        return state


class Picks:
    """The endpoints that one request asks for one candidate, one after the other."""

    def __init__(
        self, balancer: Balancer, candidate: Candidate, full: Callable[[str], bool], body: bytes, *, stream: bool
    ) -> None:
        self._balancer, self._candidate, self._full, self._stream = balancer, candidate, full, stream
        self._tried: set[Key] = set()
        self._last: Candidate | Deployment = candidate
        self._prefix = prefix_of(body) if body and candidate.sticky and candidate.deployments else None

    @property
    def provider(self) -> str:
        """Whose endpoint was asked last."""
        return self._last.provider

    def another(self) -> bool:
        """Whether an endpoint can be asked now that was not asked yet."""
        candidate = self._candidate
        return (
            bool(candidate.deployments)
            and len(self._tried) < MOST_ASKED
            and bool(self._balancer.ready(candidate.deployments, self._tried, self._full))
        )

    def next(self) -> Candidate:
        """The candidate at the endpoint to ask now."""
        candidate = self._candidate
        if not candidate.deployments:
            return candidate
        chosen = self._balancer.choose(
            candidate.deployments, tried=self._tried, full=self._full, prefix=self._prefix, stream=self._stream
        )
        self._tried.add(key_of(chosen))
        self._last = chosen
        return Candidate(
            candidate.model,
            chosen.provider,
            chosen.upstream_name,
            candidate.output_cap_tokens,
            candidate.context_tokens,
            candidate.deployments,
        )


def key_of(one: Candidate | Deployment) -> Key:
    """What tells endpoints apart."""
    return one.provider, one.upstream_name


def _rank(one: Deployment, prefix: bytes) -> float:
    """Ascending; the first is the prefix's own. Weighted: an endpoint is first for its share of all prefixes."""
    name = f"{one.provider}\0{one.upstream_name}\0".encode()
    number = int.from_bytes(hashlib.blake2b(name + prefix, digest_size=8).digest())
    return -math.log((number + 1) / 2.0**64) / one.weight


def prefix_of(body: bytes) -> bytes:
    """What tells conversations apart and stays the same from turn to turn: the instructions and the first message
    behind them, at most PREFIX_BYTES; empty for a body that cannot be read."""
    try:
        fields = fields_of(body)
        parts = [bytes(fields[name]) for name in ("system", "instructions") if name in fields]
        said = bytes(fields.get("messages") or fields.get("input") or b"")
        if said.lstrip().startswith(b"["):
            parts += _until_first(msgspec.json.decode(said, type=list[msgspec.Raw]))
        else:
            parts.append(said)
    except (ValueError, RecursionError):
        return b""
    return b"\0".join(parts)[:PREFIX_BYTES]


class _Role(msgspec.Struct):
    role: Any = None


def _until_first(messages: Sequence[msgspec.Raw]) -> list[bytes]:
    """The messages up to the first that is no instruction."""
    found = []
    for message in messages:
        found.append(bytes(message))
        if not bytes(message).lstrip().startswith(b"{"):
            break
        if msgspec.json.decode(message, type=_Role).role not in _SYSTEM:
            break
    return found

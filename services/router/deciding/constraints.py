"""Hard constraints: which models may answer a request at all, and why each of the others may not.

A `Shortlist` holds what does not depend on the request: the models that a policy and a key leave of a view, as columns
of numbers. It is made once for each of them, so that a request only compares columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from services.router.catalog.catalog import CatalogView, KnownModel, narrowed
from services.router.deciding.latency import Speed, Speeds
from services.router.deciding.scoring import ANSWER_TOKENS, FREE_FIRST, TYPICAL_FIRST_TOKEN_MS, latency_score, log_odds
from services.router.policies.policies import RoutingPolicy, matches
from services.router.policies.policy import Ask, may_ask, misfit
from services.router.prompt.predictor import QualityPredictor

Column = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

KEY_BARS = "this key may not use it"
MOST_SHORTLISTS = 256
"""How many are kept: one for each policy, key's model list and view in use."""
MOST_SUBSETS = 64
"""How many selections of a shortlist are remembered with their ids."""


class Bounds(msgspec.Struct, frozen=True):
    """What the policy and the request bound, the stricter one of each; 0 = not bounded."""

    min_quality: float
    max_first_token_ms: float
    max_latency_ms: float
    max_cost_nano_usd: int
    output_tokens: int
    """How long an answer is expected to be at most, for what it may cost."""

    @property
    def any(self) -> bool:
        """Whether something is bounded."""
        return bool(self.min_quality or self.max_first_token_ms or self.max_latency_ms or self.max_cost_nano_usd)


def bounds_of(ask: Ask, policy: RoutingPolicy, default_output_tokens: int) -> Bounds:
    """The bounds in force."""
    return Bounds(
        max(ask.min_quality, policy.min_quality),
        _stricter(ask.max_first_token_ms, policy.max_first_token_ms),
        _stricter(ask.max_latency_ms, policy.max_latency_ms),
        int(_stricter(ask.max_cost_nano_usd, policy.max_cost_nano_usd)),
        min(ask.max_output_tokens or default_output_tokens, default_output_tokens),
    )


def _stricter(one: float, other: float) -> float:
    return min(one, other) if one > 0 and other > 0 else max(one, other, 0)


def permitted(view: CatalogView, model: KnownModel, policy: RoutingPolicy, ask: Ask) -> tuple[KnownModel, str]:
    """The model at those of its places where policy and request allow it, and why it is nowhere allowed."""
    why = policy.bars_model(model.id, model.entry.aliases)
    if why or not (policy.bars_places or ask.regions):
        return model, why
    left, reasons = [], list[str]()
    for place in model.deployments:
        region = view.regions.get(place.provider, "")
        why = policy.bars_place(place.provider, region) or _elsewhere(place.provider, region, ask.regions)
        if why:
            reasons.append(why)
        else:
            left.append(place)
    return (narrowed(view, model, left), "") if left else (model, reasons[0])


def _elsewhere(provider: str, region: str, regions: tuple[str, ...]) -> str:
    if not regions or matches(regions, region):
        return ""
    return f"{provider} stands in {region or 'an unknown region'}, not in {', '.join(regions)}"


def cost_nano_usd(model: KnownModel, input_tokens: int, output_tokens: int) -> int | None:
    """About what an answer costs; None = its price is unknown."""
    price = model.price
    if price.input_nano_usd_per_mtok is None or price.output_nano_usd_per_mtok is None:
        return None
    whole = input_tokens * price.input_nano_usd_per_mtok + output_tokens * price.output_nano_usd_per_mtok
    return -(-whole // 1_000_000)


def pace_of(model: KnownModel, live: Speed | None) -> tuple[float, float]:
    """Milliseconds to the first token and for each token: live figures, else the catalog's; NaN = unknown."""
    first = live.first_token_ms if live else model.entry.first_token_ms
    writing = (live.tokens_per_s if live else 0.0) or model.entry.speed_tokens_per_s
    return first or math.nan, 1000 / writing if writing else math.nan


def beyond(model: KnownModel, quality: float, pace: tuple[float, float], ask: Ask, bounds: Bounds) -> str:
    """Which bound a model with that quality and pace (as of `pace_of`) is beyond; empty = none."""
    if bounds.min_quality and quality < bounds.min_quality:
        return f"quality {quality:.2f} is below the {bounds.min_quality:.2f} asked for"
    # What is not known cannot be held against a model; a cost that is not known is no cost within a cap.
    first, _ = pace
    if bounds.max_first_token_ms and first > bounds.max_first_token_ms:
        return f"its first token takes about {first:.0f} ms, more than {bounds.max_first_token_ms:.0f} ms"
    whole = whole_ms(pace, bounds.output_tokens)
    if bounds.max_latency_ms and whole > bounds.max_latency_ms:
        return f"an answer takes about {whole:.0f} ms, more than {bounds.max_latency_ms:.0f} ms"
    if not bounds.max_cost_nano_usd:
        return ""
    cost = cost_nano_usd(model, ask.input_tokens, bounds.output_tokens)
    if cost is None:
        return "its price is unknown, and the cost is capped"
    if cost <= bounds.max_cost_nano_usd:
        return ""
    return f"would cost about ${cost / 1e9:.6f}, above the cap of ${bounds.max_cost_nano_usd / 1e9:.6f}"


def whole_ms(pace: tuple[float, float], output_tokens: int) -> float:
    """About how long a whole answer takes, at a pace as of `pace_of`, if it is at most so long; NaN = unknown."""
    first, writing = pace
    if math.isnan(writing):
        return first
    return (TYPICAL_FIRST_TOKEN_MS if math.isnan(first) else first) + min(output_tokens, ANSWER_TOKENS) * writing


def _answer_tokens(bounds: Bounds) -> int:
    return min(bounds.output_tokens, ANSWER_TOKENS)


class Shortlist:
    """The models that a policy and a key leave, in order of their ids, as columns."""

    def __init__(self, view: CatalogView, policy: RoutingPolicy, ask: Ask) -> None:
        """Of `ask` only what its model list and regions say is taken."""
        self.view, self.policy = view, policy
        self.barred: list[tuple[KnownModel, str]] = []
        """Models that the policy or the key keeps out, with the reason."""
        usable: list[KnownModel] = []
        for model in sorted(view.ranked["balanced"], key=lambda one: one.id):
            if not may_ask(model, ask.allowed_models):
                self.barred.append((model, KEY_BARS))
                continue
            left, why = permitted(view, model, policy, ask)
            if why:
                self.barred.append((model, why))
            else:
                usable.append(left)
        standard = [model for model in usable if not model.demo]
        self.models = tuple(standard or usable)
        self.demos = tuple(model for model in usable if model.demo) if standard else ()
        """Demo models beside real ones: never chosen."""
        self.ids = tuple(model.id for model in self.models)
        self.providers = tuple(model.provider for model in self.models)
        self.index = {model.id: index for index, model in enumerate(self.models)}
        self._fill()
        self._by_intent: dict[str, tuple[Column, Column]] = {}
        self._heads: npt.NDArray[np.intp] | None = None
        self._ids_of: dict[bytes, tuple[str, ...]] = {}
        self._measured = False
        self._speeds: list[Speed | None] = [None] * len(self.models)
        self._speeds_version = -1
        self._rate()

    def _fill(self) -> None:
        entries, prices = [model.entry for model in self.models], [model.price for model in self.models]
        self.context = np.array([one.context_tokens for one in entries], np.float64)
        self.most_output = np.array([one.max_output_tokens or math.inf for one in entries], np.float64)
        self.can: Mapping[str, Mask] = {
            name: np.array([name in one.capabilities for one in entries], np.bool_)
            for name in ("tools", "images", "json")
        }
        self.cost = np.array([model.scores.cost for model in self.models], np.float64)
        self.window = np.array([model.scores.context for model in self.models], np.float64)
        self.input_price = np.array([_or_nan(one.input_nano_usd_per_mtok) for one in prices], np.float64)
        self.output_price = np.array([_or_nan(one.output_nano_usd_per_mtok) for one in prices], np.float64)
        self.free = np.array([one.input_nano_usd_per_mtok == one.output_nano_usd_per_mtok == 0 for one in prices])

    def _rate(self) -> None:
        """The columns of speed: live figures where there are some, else the catalog's; NaN = unknown."""
        first, writing, high = [], [], []
        for model, live in zip(self.models, self._speeds, strict=True):
            entry = model.entry
            first.append(live.first_token_ms if live else entry.first_token_ms)
            high.append(live.first_token_p95_ms if live else 0.0)
            writing.append((live.tokens_per_s if live else 0.0) or entry.speed_tokens_per_s)
        self.latency = np.array([latency_score(*pair) for pair in zip(writing, first, strict=True)], np.float64)
        self.first_token_ms = _unknown_as_nan(first)
        self.high_first_token_ms = _unknown_as_nan(high)
        self.writing_ms = 1000 / _unknown_as_nan(writing)
        """Milliseconds a token."""
        fixed = (self.latency.tolist(), self.cost.tolist(), self.window.tolist())
        self.fixed: list[tuple[float, float, float]] = list(zip(*fixed, strict=True))
        """Latency, cost and context of every model, as plain numbers."""

    def hear(self, speeds: Speeds) -> None:
        """Takes over the live figures, if they changed."""
        version = speeds.version
        if version != self._speeds_version:
            self._speeds_version = version
            found = [speeds.of(model.id, model.provider) for model in self.models]
            if found != self._speeds:
                self._speeds = found
                self._rate()

    def abilities(self, intent: str) -> tuple[Column, Column]:
        """The quality of every model for an intent, and the same as log-odds."""
        found = self._by_intent.get(intent)
        if found is None:
            of_all = [model.quality_for(intent) for model in self.models]
            odds = [log_odds(one) for one in of_all]
            found = self._by_intent[intent] = np.array(of_all, np.float64), np.array(odds, np.float64)
        return found

    def ids_of(self, places: npt.NDArray[np.intp]) -> tuple[str, ...]:
        """The ids at these places, in their order; the same places give the same tuple, as what fits repeats itself."""
        if len(places) == len(self.ids):
            return self.ids
        key = places.tobytes()
        found = self._ids_of.get(key)
        if found is None:
            if len(self._ids_of) >= MOST_SUBSETS:
                self._ids_of.clear()
            found = self._ids_of[key] = tuple(self.ids[place] for place in places.tolist())
        return found

    def heads(self, predictor: QualityPredictor) -> npt.NDArray[np.intp] | None:
        """Where the predictor has measured the models themselves; None = it measured none of them."""
        if self._heads is None:
            self._heads = predictor.places(self.ids)
            self._measured = bool((self._heads >= 0).any())
        return self._heads if self._measured else None

    def fitting(self, ask: Ask, ability: Column, bounds: Bounds, default_output_tokens: int) -> Mask:
        """Which models can take the request and lie within the bounds."""
        fits: Mask = self.context >= ask.input_tokens + (ask.max_output_tokens or default_output_tokens)
        if ask.max_output_tokens:
            fits &= self.most_output >= ask.max_output_tokens
        for needed, name in ((ask.needs_tools, "tools"), (ask.needs_images, "images"), (ask.needs_json, "json")):
            if needed:
                fits &= self.can[name]
        if bounds.any:
            if bounds.min_quality:
                fits &= ability >= bounds.min_quality
            # What is not known cannot be held against a model; a cost that is not known is no cost within a cap.
            if bounds.max_first_token_ms:
                fits &= ~(self.first_token_ms > bounds.max_first_token_ms)
            if bounds.max_latency_ms:
                fits &= ~(self._whole_ms(bounds) > bounds.max_latency_ms)
            if bounds.max_cost_nano_usd:
                fits &= self._cost(ask, bounds) <= bounds.max_cost_nano_usd
        return fits

    def _whole_ms(self, bounds: Bounds) -> Column:
        first = np.where(np.isnan(self.first_token_ms), TYPICAL_FIRST_TOKEN_MS, self.first_token_ms)
        whole = first + _answer_tokens(bounds) * self.writing_ms
        # An answer takes at least as long as its first token.
        longest: Column = np.where(np.isnan(whole), self.first_token_ms, whole)
        return longest

    def _cost(self, ask: Ask, bounds: Bounds) -> Column:
        whole = ask.input_tokens * self.input_price + bounds.output_tokens * self.output_price
        cost: Column = np.ceil(whole / 1_000_000)
        return cost

    def why_not(self, index: int, ask: Ask, ability: Column, bounds: Bounds, default_output_tokens: int) -> str:
        """Why a model that is not among the fitting ones is not."""
        model = self.models[index]
        first, writing = float(self.first_token_ms[index]), float(self.writing_ms[index])
        return misfit(model, ask, default_output_tokens) or beyond(
            model, float(ability[index]), (first, writing), ask, bounds
        )

    def slow(self, bounds: Bounds, factor: float) -> Mask | None:
        """Which models' live 95th percentile of the first token is far above the limit; None = none can be."""
        if not bounds.max_first_token_ms:
            return None
        slow: Mask = self.high_first_token_ms > factor * bounds.max_first_token_ms
        return slow if slow.any() else None

    def free_first(self, profile: str) -> bool:
        """Whether what costs nothing comes before what costs something."""
        return profile in FREE_FIRST and self.policy.weights is None and bool(self.free.any())


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _unknown_as_nan(values: list[float]) -> Column:
    return np.array([value if value > 0 else math.nan for value in values], np.float64)


class Shortlists:
    """The shortlists in use."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int, tuple[str, ...], tuple[str, ...]], Shortlist] = {}

    def of(self, view: CatalogView, policy: RoutingPolicy, ask: Ask) -> Shortlist:
        """The shortlist for a caller, made anew when view or policy changed."""
        key = (id(view), id(policy), ask.allowed_models, ask.regions)
        found = self._kept.get(key)
        # An id is given again once its owner is gone; the shortlist keeps both alive, so this is belt and braces.
        if found is not None and found.view is view and found.policy is policy:
            return found
        if len(self._kept) >= MOST_SHORTLISTS:
            self._kept.pop(next(iter(self._kept)))
        found = self._kept[key] = Shortlist(view, policy, ask)
        return found

    def forget(self) -> None:
        """Lets go of all of them: the catalog or what is known of abilities has changed."""
        self._kept.clear()

"""Who stands behind the model that answers: models of other providers early, none much weaker than it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from services.router.catalog.catalog import KnownModel
from services.router.config import RouterConfig
from services.router.deciding import reasons
from services.router.deciding.constraints import beyond, bounds_of, pace_of
from services.router.deciding.latency import Speeds
from services.router.deciding.sheet import TINY, Places, Sheet
from services.router.policies.policies import RoutingPolicy
from services.router.policies.policy import Ask

LOOKED_AT = 32
"""How far down the ranking a model of another provider is looked for."""
TOLD = 4
"""Of models that are kept out for one and the same reason a record tells of so many, so that it has room for all
reasons."""


def chain_of(
    primary: KnownModel,
    own: list[KnownModel],
    order: Places,
    sheet: Sheet,
    policy: RoutingPolicy,
    margin: float,
    *,
    named: bool = False,
) -> tuple[list[KnownModel], Iterable[tuple[KnownModel, str]], str]:
    """The primary, its own fallbacks (all of them: the operator wrote them) and, up to the limit, the best of
    `order` (which holds the primary only when it was named); who was left out, and what must be said about them."""
    shortlist, ability, standing = sheet.shortlist, sheet.ability, sheet.standing()
    models, providers = shortlist.models, shortlist.providers
    index = shortlist.index.get(primary.id)
    quality = worth = primary.entry.quality
    if index is not None:
        quality, worth = ability.item(index), standing.item(index)
    rest = order
    if own or named:
        rest = order[~np.isin(order, [shortlist.index.get(one.id, -1) for one in (primary, *own)])]
    drop = policy.max_quality_drop + TINY
    good = ability[rest] >= quality - drop
    if standing is not ability:
        # Neither by what was known of it nor by what was learned of it may a fallback be weaker than that.
        good &= standing[rest] >= worth - drop
    fit = rest[good]
    far = [] if len(fit) == len(rest) else rest[~good][:TOLD].tolist()
    fit = fit[:LOOKED_AT]
    near, able = fit.tolist(), (standing[fit] >= worth - margin - TINY).tolist()
    wanted = max(0, policy.max_candidates - 1 - len(own))
    note = reasons.NOBODY_NEAR if len(rest) and not near and not own and wanted else ""
    chain, seen = [primary, *own], {primary.provider, *(one.provider for one in own)}
    for _ in range(min(wanted, len(near))):
        picked = 0
        for at, one in enumerate(near):
            if able[at] and providers[one] not in seen:
                picked = at
                break
        place = near.pop(picked)
        del able[picked]
        chain.append(models[place])
        seen.add(providers[place])
    # What was known of it tells why, unless what was learned of it does.
    weaker = [
        (place, ability.item(place), quality)
        if ability.item(place) < quality - drop
        else (place, standing.item(place), worth)
        for place in far
    ]
    return chain, _behind(models, near[:TOLD], weaker), note


def _behind(
    models: Sequence[KnownModel], below: list[int], weaker: list[tuple[int, float, float]]
) -> Iterable[tuple[KnownModel, str]]:
    """Who could have stood behind the primary and does not. `weaker`: places, their quality and the primary's."""
    for place in below:
        yield models[place], reasons.BELOW
    for place, its, wanted in weaker:
        yield models[place], reasons.too_far_below(its, wanted)


def unfit_stand_in(
    primary: KnownModel, other: KnownModel, ask: Ask, policy: RoutingPolicy, speeds: Speeds | None, config: RouterConfig
) -> str:
    """Which bound of request or policy keeps a model from standing in for another one, though the operator wrote it
    there; empty = none. `speeds`: live figures."""
    if other.demo and not primary.demo:
        return reasons.DEMO
    quality, bounds = other.quality_for(ask.intent), bounds_of(ask, policy, config.default_output_tokens)
    live = speeds.of(other.id, other.provider) if speeds is not None else None
    if bounds.any and (why := beyond(other, quality, pace_of(other, live), ask, bounds)):
        return why
    wanted = primary.quality_for(ask.intent)
    if policy.bounds_drop and quality < wanted - policy.max_quality_drop - TINY:
        return reasons.too_far_below(quality, wanted)
    return ""


def recovering(
    chain: list[KnownModel], order: Places, sheet: Sheet, policy: RoutingPolicy, share: Callable[[KnownModel], float]
) -> list[KnownModel]:
    """Where there is room behind the chain: models of `order` that a breaker lets some requests through to. When all
    others have failed, one that recovers is better than none."""
    room = policy.max_candidates - len(chain)
    if room <= 0:
        return []
    index = sheet.shortlist.index.get(chain[0].id)
    quality = chain[0].entry.quality if index is None else float(sheet.ability[index])
    places = order[sheet.ability[order] >= quality - policy.max_quality_drop - TINY].tolist()
    found = [one for one in (sheet.shortlist.models[place] for place in places) if share(one) > 0 and one not in chain]
    return found[:room]

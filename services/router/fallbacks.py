"""Who stands behind the model that answers: models of other providers early, none much weaker than it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.router import reasons
from services.router.catalog import KnownModel
from services.router.policies import RoutingPolicy
from services.router.sheet import TINY, Places, Sheet

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
) -> tuple[list[KnownModel], list[tuple[KnownModel, str]], str]:
    """The primary, its own fallbacks (all of them: the operator wrote them) and, up to the limit, the best of
    `order` (which holds the primary only when it was named); who was left out, and what must be said about them."""
    shortlist, ability = sheet.shortlist, sheet.ability
    models, providers = shortlist.models, shortlist.providers
    index = shortlist.index.get(primary.id)
    quality = primary.entry.quality if index is None else float(ability[index])
    before = [shortlist.index.get(one.id, -1) for one in (primary, *own)]
    rest = order[~np.isin(order, before)] if own or named else order
    good = ability[rest] >= quality - policy.max_quality_drop - TINY
    near = rest[good][:LOOKED_AT].tolist()
    far = [] if good.all() else rest[~good][:TOLD].tolist()
    left_out = [(models[place], reasons.too_far_below(float(ability[place]), quality)) for place in far]
    wanted = max(0, policy.max_candidates - 1 - len(own))
    note = reasons.NOBODY_NEAR if len(rest) and not near and not own and wanted else ""
    close = quality - margin - TINY
    seen = {primary.provider, *(one.provider for one in own)}
    taken: list[KnownModel] = []
    while near and len(taken) < wanted:
        picked = next((one for one in near if providers[one] not in seen and ability[one] >= close), near[0])
        near.remove(picked)
        taken.append(models[picked])
        seen.add(providers[picked])
    below = [(models[place], reasons.BELOW) for place in near[:TOLD]]
    return [primary, *own, *taken], below + left_out, note


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

"""The decision: which model answers, which ones stand behind it, and why, in one sentence."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from services.router import errors
from services.router.breakers import Breakers, State
from services.router.catalog import CatalogView, KnownModel
from services.router.config import RouterConfig
from services.router.policy import AUDIO, Ask, find_named, is_auto, may_ask, misfit, resolve_profile

MAX_RECORDED = 12
"""The most models that a decision's record tells of."""
_OPEN = "its circuit breaker is open"
_OPEN_BUT_NAMED = f"; {_OPEN}, but a named model means that model"
_DEMO = "demo model: only used when nothing else is configured, or when named"
_BELOW = "ranked below the chain"
_UNPROVEN = "known only from its provider's list: probe it, describe it, or name it"
UNPROVEN_SHOWN = 3
"""How many of such models a record tells of."""


@dataclass(slots=True)
class Decision:
    """What was decided."""

    profile: str
    chain: list[KnownModel]
    """Best first, at least one."""
    reason: str
    left_out: list[tuple[KnownModel, str]] = field(default_factory=list)
    """Models that were looked at and not taken, with the reason."""
    basis: str = "best"
    """What spoke for the primary: best (its score), named, demo (nothing else is there) or least_bad (all are ill)."""


@dataclass(slots=True)
class _Sorted:
    """The available models, sorted by what speaks against them; each list best first."""

    fit: list[KnownModel] = field(default_factory=list)
    open: list[KnownModel] = field(default_factory=list)
    left_out: list[tuple[KnownModel, str]] = field(default_factory=list)


def decide(view: CatalogView, ask: Ask, config: RouterConfig, breakers: Breakers) -> Decision:
    """Routes one request. Raises MODEL_NOT_FOUND, NO_MODEL_AVAILABLE, PERMISSION_DENIED, CONTEXT_TOO_LONG or
    INVALID_REQUEST."""
    if ask.needs_audio and ask.needs_audio not in AUDIO:
        raise errors.unknown_need(ask.needs_audio)
    if ask.special:
        return _take_alone(view, ask, config, breakers)
    profile = resolve_profile(ask, config.default_profile)
    decision = (
        _choose(view, ask, profile, config, breakers)
        if is_auto(ask.model)
        else _take_named(view, ask, profile, config, breakers)
    )
    if not breakers.quiet:
        _begin_trial(decision.chain[0], breakers)
    return decision


def _begin_trial(model: KnownModel, breakers: Breakers) -> None:
    """Gives out the trial of a model that is closed nowhere; where it is closed somewhere, nothing need be tried."""
    if breakers.of_model(model.id, model.places) is State.HALF_OPEN:
        for provider in model.places:
            breakers.begin_trial(model.id, provider)


def _take_alone(view: CatalogView, ask: Ask, config: RouterConfig, breakers: Breakers) -> Decision:
    """The named model alone: vectors of two models are not comparable, voices differ, so nothing stands behind it."""
    if is_auto(ask.model):
        raise errors.special_not_named(ask.special, _able(view, ask))
    model, reason = _named(view, ask)
    if ask.needs_audio:
        model = _where_heard(view, model, ask.needs_audio)
    if not breakers.quiet:
        if breakers.of_model(model.id, model.places) is State.OPEN:
            reason += _OPEN_BUT_NAMED
        _begin_trial(model, breakers)
    return Decision(
        config.default_profile, [model], f"{reason}; {errors.SPECIAL[ask.special].noun} no fallback.", basis="named"
    )


def _where_heard(view: CatalogView, model: KnownModel, operation: str) -> KnownModel:
    """The model at those places alone that have OpenAI's path for it. Raises INVALID_REQUEST when none has."""
    left = tuple(one for one in model.deployments if operation in view.audio.get(one.provider, AUDIO))
    if not left:
        raise errors.no_audio(model.id, model.places, operation)
    if len(left) == len(model.deployments):
        return model
    return replace(model, deployments=left, places=tuple(dict.fromkeys(one.provider for one in left)))


def _able(view: CatalogView, ask: Ask) -> list[str]:
    return sorted(
        one.id for one in view.by_quality if one.can(ask.special) and one.available and may_ask(one, ask.allowed_models)
    )


def _named(view: CatalogView, ask: Ask) -> tuple[KnownModel, str]:
    """The named model and the reason's beginning. Raises when it cannot be used for this."""
    model, note = find_named(view, ask.model)
    if not may_ask(model, ask.allowed_models):
        raise errors.not_allowed(model.id, ask.allowed_models)
    if ask.special and not model.can(ask.special):
        raise errors.cannot(model.id, ask.special, _able(view, ask), chats=model.chats)
    if not ask.special and not model.chats:
        raise errors.does_not_chat(model.id, model.entry.capabilities)
    if not model.available:
        provider = model.provider
        raise errors.model_unavailable(
            model.id, provider, model.unavailable_because, configured=provider in view.configured
        )
    return model, f"{model.id} was named by the request" + (f" ({note})" if note else "")


def _take_named(view: CatalogView, ask: Ask, profile: str, config: RouterConfig, breakers: Breakers) -> Decision:
    model, reason = _named(view, ask)
    own, barred = _own_fallbacks(view, model, ask, config, breakers)
    if not config.named_fallbacks:
        chain, left_out, note = [model, *own], barred, ""
    else:
        sorted_ = _sort(view, ask, profile, config, breakers)
        rest = [other for other in sorted_.fit if other is not model]
        chain, left_out, note = _chain(model, own, rest, config)
        left_out = _each_once([*barred, *left_out, *sorted_.left_out])
    if breakers.of_model(model.id, model.places) is not State.OPEN:
        return Decision(profile, chain, f"{reason}{note}{_then(chain)}.", left_out, "named")
    if not own:
        return Decision(profile, chain, f"{reason}{_OPEN_BUT_NAMED}{note}{_then(chain)}.", left_out, "named")
    # Asked first, it would make everybody wait for its failure although somebody was named to stand in for it.
    chain = [*own, model, *chain[1 + len(own) :]]
    reason += f"; {_OPEN}, so its own fallbacks come first: {', '.join(one.id for one in chain)}."
    return Decision(profile, chain, reason, left_out, "named")


def _own_fallbacks(
    view: CatalogView, model: KnownModel, ask: Ask, config: RouterConfig, breakers: Breakers
) -> tuple[list[KnownModel], list[tuple[KnownModel, str]]]:
    """What the operator wrote behind the model, as far as it can take this request, and why the others cannot."""
    taken, left_out = [], []
    for name in model.entry.fallbacks:
        other = view.by_id.get(name)
        if other is None or not may_ask(other, ask.allowed_models):
            continue
        problem = other.unavailable_because or misfit(other, ask, config.default_output_tokens)
        if not problem and breakers.of_model(other.id, other.places) is State.OPEN:
            problem = _OPEN
        if problem:
            left_out.append((other, problem))
        else:
            taken.append(other)
    return taken, left_out


def _each_once(left_out: list[tuple[KnownModel, str]]) -> list[tuple[KnownModel, str]]:
    """The first word on each model."""
    return list({model.id: (model, why) for model, why in reversed(left_out)}.values())[::-1]


def _choose(view: CatalogView, ask: Ask, profile: str, config: RouterConfig, breakers: Breakers) -> Decision:
    sorted_ = _sort(view, ask, profile, config, breakers)
    if not sorted_.fit:
        return _least_bad(view, ask, profile, config, breakers, sorted_)
    primary = sorted_.fit[0]
    own, barred = _own_fallbacks(view, primary, ask, config, breakers)
    chain, left_out, note = _chain(primary, own, sorted_.fit[1:], config)
    left_out = _each_once([*barred, *left_out, *sorted_.left_out])
    scores = primary.scores
    reason = (
        f"{profile}: {primary.id} scores {primary.totals[profile]:.2f} (quality {scores.quality:.2f}, "
        f"latency {scores.latency:.2f}, cost {scores.cost:.2f}"
        + (f", context {scores.context:.2f}" if profile == "long_context" else "")
        + f"), best of {len(sorted_.fit)} that fit"
        + ("; it is a demo model, because nothing else is configured" if primary.demo else "")
        + note
        + _then(chain)
        + _unproven(view)
        + "."
    )
    left_out += [(model, _UNPROVEN) for model in view.unproven[:UNPROVEN_SHOWN] if may_ask(model, ask.allowed_models)]
    return Decision(profile, chain, reason, left_out, "demo" if primary.demo else "best")


def _unproven(view: CatalogView) -> str:
    count = len(view.unproven)
    return f"; {count} known only from providers' lists and never probed were left out" if count else ""


def _sort(view: CatalogView, ask: Ask, profile: str, config: RouterConfig, breakers: Breakers) -> _Sorted:
    """Walks the available models, best first, and says of each whether it may answer."""
    result, ranked, allowed = _Sorted(), view.ranked[profile], ask.allowed_models
    usable = [model for model in ranked if may_ask(model, allowed)] if allowed else ranked
    standard = [model for model in usable if not model.demo]
    default_output, all_closed = config.default_output_tokens, breakers.quiet
    for model in standard or usable:
        problem = misfit(model, ask, default_output)
        if problem:
            result.left_out.append((model, problem))
        elif all_closed or breakers.of_model(model.id, model.places) is not State.OPEN:
            result.fit.append(model)
        else:
            result.open.append(model)
            result.left_out.append((model, _OPEN))
    if standard and len(standard) < len(usable):
        result.left_out += [(model, _DEMO) for model in usable if model.demo]
    return result


def _chain(
    primary: KnownModel, own: list[KnownModel], rest: list[KnownModel], config: RouterConfig
) -> tuple[list[KnownModel], list[tuple[KnownModel, str]], str]:
    """The primary, its own fallbacks (all of them: the operator wrote them) and, up to the limit, the best of `rest`;
    who was left out, and what must be said about them."""
    rest = [model for model in rest if model not in own]
    quality = primary.entry.quality
    floor = quality - config.max_quality_drop
    near = [model for model in rest if model.entry.quality >= floor]
    note, left_out = "", []
    if near or not rest:
        left_out = [
            (model, f"quality {model.entry.quality:.2f} is too far below the primary's {quality:.2f}")
            for model in rest
            if model.entry.quality < floor
        ]
    elif config.max_candidates > 1 + len(own):
        near, note = rest, "; its only fallbacks are of much lower quality" if not own else ""
    close = quality - config.diversity_quality_margin
    for model in near:
        if model.provider != primary.provider and model.entry.quality >= close:
            near = [model, *(other for other in near if other is not model)]
            break
    kept = max(0, config.max_candidates - 1 - len(own))
    return [primary, *own, *near[:kept]], [(model, _BELOW) for model in near[kept:]] + left_out, note


def _then(chain: list[KnownModel]) -> str:
    return "; then " + ", ".join(model.id for model in chain[1:]) if len(chain) > 1 else ""


def _least_bad(
    view: CatalogView, ask: Ask, profile: str, config: RouterConfig, breakers: Breakers, sorted_: _Sorted
) -> Decision:
    """Nothing healthy fits: the open breaker nearest to recovery is tried, or the refusal says what is in the way."""
    if sorted_.open:
        best = min(sorted_.open, key=lambda model: min(breakers.badness(model.id, place) for place in model.places))
        left_out = [(model, why) for model, why in sorted_.left_out if model is not best]
        reason = f"{profile}: the circuit breakers of all models that fit are open; {best.id} is the least bad."
        return Decision(profile, [best], reason, left_out, "least_bad")
    if not view.available_count:
        raise errors.nothing_configured()
    if not view.ranked[profile]:
        raise errors.only_unproven([view.unproven[0].id]) if view.unproven else errors.nothing_chats()
    if not sorted_.left_out:
        raise errors.nothing_allowed(ask.allowed_models)
    needed = ask.input_tokens + (ask.max_output_tokens or config.default_output_tokens)
    largest = max(model.entry.context_tokens for model, why in sorted_.left_out if why != _DEMO)
    if needed > largest:
        raise errors.context_too_long(needed, largest)
    raise errors.nothing_fits([f"{model.id}: {why}" for model, why in sorted_.left_out])

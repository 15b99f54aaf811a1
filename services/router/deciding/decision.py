"""The decision: which model answers, which ones stand behind it, and why, in one sentence."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from services.router import errors
from services.router.catalog.catalog import CatalogView, KnownModel, narrowed
from services.router.config import RouterConfig
from services.router.deciding import reasons
from services.router.deciding.breakers import Breakers, State
from services.router.deciding.constraints import (
    Bounds,
    Column,
    Mask,
    Shortlist,
    Shortlists,
    bounds_of,
    cost_nano_usd,
    permitted,
)
from services.router.deciding.expecting import expected
from services.router.deciding.fallbacks import TOLD, chain_of, recovering, unfit_stand_in
from services.router.deciding.latency import Speeds
from services.router.deciding.refusals import refusal
from services.router.deciding.scoring import PROFILES, for_length, length_share
from services.router.deciding.sheet import TINY, Decision, Places, Sheet, draw, each_once
from services.router.learning.learning import Learned, seed_of
from services.router.policies.policies import RoutingPolicy, built_in
from services.router.policies.policy import (
    AUDIO,
    Ask,
    find_named,
    is_auto,
    may_ask,
    misfit,
    policy_version,
    resolve_profile,
)
from services.router.prompt.predictor import QualityPredictor

UNPROVEN_SHOWN = 3
"""How many of the models that only a list knows a record tells of."""


def default_policy(config: RouterConfig) -> RoutingPolicy:
    """The policy of everybody who has no other: what the settings say."""
    return built_in(
        RoutingPolicy(
            profile=config.default_profile,
            max_quality_drop=config.max_quality_drop,
            max_candidates=config.max_candidates,
            named_fallbacks=config.named_fallbacks,
        )
    )["default"]


class Decider:
    """Decides from what it is given and what it holds; waits for nothing, and knows no clock of its own."""

    def __init__(
        self,
        config: RouterConfig,
        breakers: Breakers,
        speeds: Speeds | None = None,
        learned: Learned | None = None,
        predictor: QualityPredictor | None = None,
    ) -> None:
        """Without `speeds` the catalog's figures count; without `learned` nothing is learned and nothing explored;
        without `predictor` a prompt's complexity alone tells how far models stand apart on it."""
        self.predictor = predictor
        self._config, self._breakers, self._speeds, self._learned = config, breakers, speeds, learned
        self._shortlists, self._margin = Shortlists(), config.diversity_quality_margin
        self._default, self._settings_version = default_policy(config), policy_version(config)

    def forget(self) -> None:
        """Lets go of what was worked out beforehand: the catalog, or what is known of models, has changed."""
        self._shortlists.forget()

    def decide(self, view: CatalogView, ask: Ask, policy: RoutingPolicy | None = None) -> Decision:
        """Routes one request. Raises MODEL_NOT_FOUND, NO_MODEL_AVAILABLE, PERMISSION_DENIED, CONTEXT_TOO_LONG or
        INVALID_REQUEST."""
        policy = policy or self._default
        if ask.needs_audio and ask.needs_audio not in AUDIO:
            raise errors.unknown_need(ask.needs_audio)
        if ask.special:
            decision = self._take_alone(view, ask, policy)
            decision.policy_version, decision.answers = self._version_of(policy), policy.answers
            return decision
        policy = policy.for_intent(ask.intent)
        profile = resolve_profile(ask, policy.profile)
        if is_auto(ask.model):
            decision = self._choose(view, ask, profile, policy)
        else:
            decision = self._take_named(view, ask, profile, policy)
        if not ask.dry_run and not self._breakers.quiet:
            self._begin_trial(decision.chain[0])
        decision.policy_version, decision.answers = self._version_of(policy), policy.answers
        return decision

    def _version_of(self, policy: RoutingPolicy) -> str:
        """What a record says of the rules: those of the policy, and everything else that was set."""
        return f"{policy.version}/{self._settings_version}"

    def _begin_trial(self, model: KnownModel) -> None:
        """Gives out the trial of a model that is closed nowhere; where it is closed somewhere, none is needed."""
        if self._breakers.of_model(model.id, model.places) is State.HALF_OPEN:
            for provider in model.places:
                self._breakers.begin_trial(model.id, provider)

    # --- a model that the request names

    def _take_alone(self, view: CatalogView, ask: Ask, policy: RoutingPolicy) -> Decision:
        """The named model alone: vectors of two models are not comparable, voices differ, so nothing stands behind
        it."""
        able = _able(view, ask)
        if is_auto(ask.model):
            raise errors.special_not_named(ask.special, able)
        model, reason = self._named(view, ask, policy, able)
        if ask.needs_audio:
            model = _where_heard(view, model, ask.needs_audio)
        if not self._breakers.quiet:
            if self._breakers.of_model(model.id, model.places) is State.OPEN:
                reason += reasons.OPEN_BUT_NAMED
            if not ask.dry_run:
                self._begin_trial(model)
        noun = errors.SPECIAL[ask.special].noun
        return Decision(policy.profile, [model], f"{reason}; {noun} no fallback.", basis="named")

    def _named(self, view: CatalogView, ask: Ask, policy: RoutingPolicy, able: list[str]) -> tuple[KnownModel, str]:
        """The named model and the reason's beginning. Raises when it cannot be used for this."""
        model, note = find_named(view, ask.model)
        if not may_ask(model, ask.allowed_models):
            raise errors.not_allowed(model.id, ask.allowed_models)
        if ask.special and not model.can(ask.special):
            raise errors.cannot(model.id, ask.special, able, chats=model.chats)
        if not ask.special and not model.chats:
            raise errors.does_not_chat(model.id, model.entry.capabilities)
        model, why = permitted(view, model, policy, ask)
        if why:
            raise errors.not_permitted(model.id, why)
        if not model.available:
            provider = model.provider
            raise errors.model_unavailable(
                model.id, provider, model.unavailable_because, configured=provider in view.configured
            )
        bounds = bounds_of(ask, policy, self._config.default_output_tokens)
        if bounds.max_cost_nano_usd and not ask.special:
            cost = cost_nano_usd(model, ask.input_tokens, bounds.output_tokens)
            if cost is None or cost > bounds.max_cost_nano_usd:
                raise errors.costs_too_much(model.id, cost, bounds.max_cost_nano_usd)
        if not self._breakers.quiet and self._breakers.is_held_open(model.id, model.places):
            raise errors.held_open(model.id)
        return model, f"{model.id} was named by the request" + (f" ({note})" if note else "")

    def _take_named(self, view: CatalogView, ask: Ask, profile: str, policy: RoutingPolicy) -> Decision:
        model, reason = self._named(view, ask, policy, [])
        own, barred = self._own_fallbacks(view, model, ask, policy)
        sheet, note = None, ""
        left_out: Iterable[tuple[KnownModel, str]] = barred
        if not policy.named_fallbacks:
            chain = [model, *own]
        else:
            sheet, bounds, fits = self._sheet(view, ask, profile, policy)
            order = self._order(sheet, self._healthy(sheet.shortlist, ask, fits).nonzero()[0], profile)
            chain, left_out, note = chain_of(model, own, order, sheet, policy, self._margin, named=True)
            left_out = itertools.chain(barred, left_out, self._unfit(sheet, ask, fits, bounds))
        told_of = each_once(left_out, chain)
        closed = self._breakers.quiet or self._lets(model, ask)
        if not closed and own:
            # Asked first, it would make everybody wait for its failure although somebody was named to stand in for it.
            chain = [*own, model, *chain[1 + len(own) :]]
            reason += f"; {reasons.OPEN}, so its own fallbacks come first: {', '.join(one.id for one in chain)}."
            return Decision(profile, chain, reason, told_of, "named", sheet)
        told = "" if closed or self._share(model) else reasons.OPEN_BUT_NAMED
        return Decision(profile, chain, f"{reason}{told}{note}{reasons.then(chain)}.", told_of, "named", sheet)

    def _own_fallbacks(
        self, view: CatalogView, model: KnownModel, ask: Ask, policy: RoutingPolicy
    ) -> tuple[list[KnownModel], list[tuple[KnownModel, str]]]:
        """What the operator wrote behind the model, as far as it can take this request, and why the others cannot."""
        taken, left_out = list[KnownModel](), list[tuple[KnownModel, str]]()
        for name in model.entry.fallbacks:
            other = view.by_id.get(name)
            if other is None or not may_ask(other, ask.allowed_models):
                continue
            other, problem = permitted(view, other, policy, ask)
            problem = problem or other.unavailable_because or misfit(other, ask, self._config.default_output_tokens)
            problem = problem or unfit_stand_in(model, other, ask, policy, self._speeds, self._config)
            if not problem and not self._breakers.quiet and not self._lets(other, ask):
                problem = self._illness(other)
            if problem:
                left_out.append((other, problem))
            else:
                taken.append(other)
        return taken, left_out

    # --- a model that the router chooses

    def _choose(self, view: CatalogView, ask: Ask, profile: str, policy: RoutingPolicy) -> Decision:
        sheet, bounds, fits = self._sheet(view, ask, profile, policy)
        shortlist, note = sheet.shortlist, ""
        healthy = self._healthy(shortlist, ask, fits)
        if not np.count_nonzero(healthy):
            return self._least_bad(view, ask, profile, sheet, bounds, fits)
        slow = shortlist.slow(bounds, self._config.slow_factor)
        taken = healthy if slow is None else healthy & ~slow
        if slow is not None and not taken.any():
            taken, slow = healthy, None
            note += "; all that fit are far slower than the limit just now"
        floor = policy.quality_floor_share * sheet.ability[fits].max().item() - TINY
        above = taken & (sheet.ability >= floor)
        places = above.nonzero()[0]
        if len(places):
            taken = above
        else:
            places = taken.nonzero()[0]
            note += "; it is below the quality floor, because nothing better is healthy"
        explored = self._learn(sheet, ask, places, policy, profile)
        order = self._order(sheet, places, profile)
        first = order.item(0)
        if explored:
            note += reasons.EXPLORED
        primary = shortlist.models[first]
        own, barred = self._own_fallbacks(view, primary, ask, policy)
        chain, behind, chained = chain_of(primary, own, order[1:], sheet, policy, self._margin)
        if healthy is not fits:
            ill = (fits & ~healthy & (sheet.ability >= floor)).nonzero()[0]
            if len(ill):
                chain += recovering(chain, self._order(sheet, ill, profile), sheet, policy, self._share)
        unproven = [model for model in view.unproven[:UNPROVEN_SHOWN] if may_ask(model, ask.allowed_models)]
        left_out = itertools.chain(
            barred,
            behind,
            self._not_taken(sheet, taken, healthy, fits, slow, floor),
            self._unfit(sheet, ask, fits, bounds),
            ((model, reasons.DEMO) for model in shortlist.demos[:TOLD]),
            ((model, reasons.UNPROVEN) for model in unproven),
        )
        reason = reasons.chosen(
            profile,
            primary,
            sheet.at(first),
            ask,
            count=len(order),
            notes=note + chained,
            chain=chain,
            unproven=len(view.unproven),
            shows_context=sheet.weights.context > 0,
        )
        told_of = each_once(left_out, chain)
        decision = Decision(profile, chain, reason, told_of, "demo" if primary.demo else "best", sheet)
        decision.explored = explored
        decision.fitting = int(np.count_nonzero(fits))
        decision.left_out_count = len(shortlist.models) - len(order) + len(shortlist.barred) + len(view.unproven)
        return decision

    def _sheet(self, view: CatalogView, ask: Ask, profile: str, policy: RoutingPolicy) -> tuple[Sheet, Bounds, Mask]:
        """Every model that policy and key leave, scored for the request; the bounds; and which of them fit."""
        shortlist = self._shortlists.of(view, policy, ask)
        if self._speeds is not None:
            shortlist.hear(self._speeds)
        ability, odds = shortlist.abilities(ask.intent)
        quality = expected(self.predictor, shortlist, ask, ability, odds)
        own = policy.weights if policy.weights is not None and not _asks_profile(ask) else None
        weights = for_length(own or PROFILES[profile], length_share(ask.input_tokens, ask.turns))
        total = weights.quality * quality + weights.latency * shortlist.latency + weights.cost * shortlist.cost
        if weights.context:
            total = total + weights.context * shortlist.window
        bounds = bounds_of(ask, policy, self._config.default_output_tokens)
        fits = shortlist.fitting(ask, ability, bounds, self._config.default_output_tokens)
        return Sheet(shortlist, weights, ability, quality, total), bounds, fits

    def _learn(self, sheet: Sheet, ask: Ask, places: Places, policy: RoutingPolicy, profile: str) -> bool:
        """Corrects the scores of the models that may be taken by what was learned of them; whether the best one now
        is one to learn more of."""
        if self._learned is None or not ask.org_id:
            return False
        quality, weight = sheet.quality.take(places), sheet.weights.quality
        rest = sheet.total.take(places)
        rest -= weight * quality
        ahead = self._ahead(sheet, places, profile)
        values, qualities, explored = self._learned.adjust_columns(
            ask.org_id,
            ask.intent,
            sheet.shortlist.ids_of(places),
            quality,
            lambda: seed_of(ask.seed),
            policy.exploration,
            weight=weight,
            rest=rest if ahead is None else rest + ahead,
            spend=not ask.dry_run,
        )
        sheet.learned(places, qualities, values if ahead is None else values - ahead)
        return explored

    def _order(self, sheet: Sheet, places: Places, profile: str) -> Places:
        """These places, best first; equal ones in order of their ids."""
        worth, ahead = -sheet.total.take(places), self._ahead(sheet, places, profile)
        if ahead is not None:
            worth -= ahead
        ordered: Places = places.take(worth.argsort(kind="stable"))
        return ordered

    def _ahead(self, sheet: Sheet, places: Places, profile: str) -> Column | None:
        """What puts free models ahead of all others; None where the profile does not want that."""
        return sheet.shortlist.free[places] * 2.0 if sheet.shortlist.free_first(profile) else None

    def _healthy(self, shortlist: Shortlist, ask: Ask, fits: Mask) -> Mask:
        """Those of the fitting models that breakers let this request through to; if there is none, the recovering
        ones, whose share they else are held to."""
        if self._breakers.quiet:
            return fits
        healthy, recovering = fits.copy(), list[int]()
        for name in self._breakers.troubled_models():
            index = shortlist.index.get(name)
            if index is not None and not self._lets(shortlist.models[index], ask):
                if healthy[index] and self._share(shortlist.models[index]) > 0:
                    recovering.append(index)
                healthy[index] = False
        if recovering and not healthy.any():
            healthy[recovering] = True
        return healthy

    def _share(self, model: KnownModel) -> float:
        return self._breakers.share_of_model(model.id, model.places)

    def _lets(self, model: KnownModel, ask: Ask) -> bool:
        """Whether the breakers let this request through to the model: of a recovering one, as many as its share."""
        share = self._share(model)
        return share >= 1 or (share > 0 and draw(ask.seed, model.id) < share)

    def _illness(self, model: KnownModel) -> str:
        """What keeps a request from a model that a breaker keeps out."""
        if self._breakers.is_held_open(model.id, model.places):
            return reasons.HELD
        share = self._share(model)
        return reasons.recovering(share) if share > 0 else reasons.OPEN

    def _not_taken(
        self, sheet: Sheet, taken: Mask, healthy: Mask, fits: Mask, slow: Mask | None, floor: float
    ) -> Iterable[tuple[KnownModel, str]]:
        """Those that fit and were not taken all the same: ill, slow just now, or below the floor."""
        models = sheet.shortlist.models
        for place in (fits & ~taken).nonzero()[0][:TOLD].tolist():
            if not healthy[place]:
                why = self._illness(models[place])
            elif slow is not None and slow[place]:
                why = reasons.slow(float(sheet.shortlist.high_first_token_ms[place]))
            else:
                why = reasons.below_floor(float(sheet.ability[place]), max(0.0, floor))
            yield models[place], why

    def _unfit(self, sheet: Sheet, ask: Ask, fits: Mask, bounds: Bounds) -> Iterable[tuple[KnownModel, str]]:
        """Those that cannot take the request, best first, and behind them those that policy or key keep out."""
        shortlist, default = sheet.shortlist, self._config.default_output_tokens
        places = (~fits).nonzero()[0]
        places = places[(-sheet.total[places]).argsort(kind="stable")]
        for place in places[:TOLD].tolist():
            yield shortlist.models[place], shortlist.why_not(place, ask, sheet.ability, bounds, default)
        yield from shortlist.barred[:TOLD]

    def _least_bad(
        self, view: CatalogView, ask: Ask, profile: str, sheet: Sheet, bounds: Bounds, fits: Mask
    ) -> Decision:
        """Nothing healthy fits: the breaker nearest to recovery is tried, or the refusal says what is in the way."""
        shortlist, breakers = sheet.shortlist, self._breakers
        ill = [shortlist.models[place] for place in np.flatnonzero(fits).tolist()]
        tried = [model for model in ill if not breakers.is_held_open(model.id, model.places)]
        left_out = [(model, self._illness(model)) for model in ill]
        left_out += self._unfit(sheet, ask, fits, bounds)
        if tried:
            best = min(tried, key=lambda one: min(breakers.badness(one.id, place) for place in one.places))
            reason = reasons.least_bad(profile, best)
            return Decision(profile, [best], reason, each_once(left_out, [best]), "least_bad", sheet)
        if ill:
            raise errors.held_open(ill[0].id)
        raise refusal(view, ask, profile, shortlist, left_out, self._config.default_output_tokens)


def _asks_profile(ask: Ask) -> bool:
    """Whether the request itself says what is to be weighed."""
    return bool(ask.profile) or ":" in ask.model


def _where_heard(view: CatalogView, model: KnownModel, operation: str) -> KnownModel:
    """The model at those places alone that have OpenAI's path for it. Raises INVALID_REQUEST when none has."""
    left = tuple(one for one in model.deployments if operation in view.audio.get(one.provider, AUDIO))
    if not left:
        raise errors.no_audio(model.id, model.places, operation)
    return narrowed(view, model, left)


def _able(view: CatalogView, ask: Ask) -> list[str]:
    return sorted(
        one.id for one in view.by_quality if one.can(ask.special) and one.available and may_ask(one, ask.allowed_models)
    )

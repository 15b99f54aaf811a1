"""The candidates of a request on their way from router through budget to provider: every place where a model is served
is priced, and those that budget does not cover are not asked."""

from collections.abc import Iterable, Sequence

from dac.budget.v1.budget_pb2 import PricedCandidate
from dac.provider.v1.provider_pb2 import GenerateCandidate
from dac.router.v1.router_pb2 import Candidate


def priced(candidates: Iterable[Candidate]) -> list[PricedCandidate]:
    """What budget is asked to hold: one entry for each model at each provider that may be asked."""
    places: dict[tuple[str, str], None] = {}
    for one in candidates:
        for provider in (each.provider for each in one.deployments or (one,)):
            places[provider, one.model] = None
    return [PricedCandidate(provider=provider, model=model) for provider, model in places]


def covered(candidates: Iterable[Candidate], uncovered: Iterable[PricedCandidate]) -> list[Candidate]:
    """The candidates without what budget does not cover."""
    barred = {(one.provider, one.model) for one in uncovered}
    left = (_without(one, barred) for one in candidates)
    return [one for one in left if one is not None]


def _without(candidate: Candidate, barred: set[tuple[str, str]]) -> Candidate | None:
    if not candidate.deployments:
        return None if (candidate.provider, candidate.model) in barred else candidate
    left = [one for one in candidate.deployments if (one.provider, candidate.model) not in barred]
    if len(left) == len(candidate.deployments):
        return candidate
    if not left:
        return None
    made = Candidate()
    made.CopyFrom(candidate)
    made.provider, made.upstream_name = left[0].provider, left[0].upstream_name
    del made.deployments[:]
    if len(left) > 1:
        made.deployments.extend(left)
    return made


def asked(candidates: Sequence[Candidate], *, output_cap_tokens: int = 0) -> list[GenerateCandidate]:
    """The candidates as provider takes them."""
    return [
        GenerateCandidate(
            model=one.model,
            provider=one.provider,
            upstream_name=one.upstream_name,
            output_cap_tokens=output_cap_tokens,
            context_tokens=one.context_tokens,
            deployments=one.deployments,
            sticky=one.sticky,
        )
        for one in candidates
    ]

"""What stands in the way when no model can answer: the one thing to mend, not a list of everything."""

from __future__ import annotations

from mesh.errors import MeshError
from services.router import errors
from services.router.catalog.catalog import CatalogView, KnownModel
from services.router.deciding.constraints import KEY_BARS, Shortlist
from services.router.policies.policy import Ask


def refusal(
    view: CatalogView,
    ask: Ask,
    profile: str,
    shortlist: Shortlist,
    left_out: list[tuple[KnownModel, str]],
    default_output_tokens: int,
) -> MeshError:
    """Why nothing fits, from the general to the particular: nothing is there, nothing is allowed, nothing is large
    enough, nothing can do it."""
    if not view.available_count:
        return errors.nothing_configured()
    if not view.ranked[profile]:
        if view.unproven:
            return errors.only_unproven([view.unproven[0].id])
        return errors.only_retired([model.id for model in view.retired]) if view.retired else errors.nothing_chats()
    if not shortlist.models:
        by_policy = [f"{model.id}: {why}" for model, why in shortlist.barred if why != KEY_BARS]
        return errors.nothing_permitted(by_policy) if by_policy else errors.nothing_allowed(ask.allowed_models)
    needed = ask.input_tokens + (ask.max_output_tokens or default_output_tokens)
    largest = int(shortlist.context.max())
    if needed > largest:
        return errors.context_too_long(needed, largest)
    return errors.nothing_fits([f"{model.id}: {why}" for model, why in left_out])

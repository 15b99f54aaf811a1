"""Pages and filters of the model list: AIP-158 over a view that may change between two pages."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from mesh.errors import invalid
from services.router.catalog import CatalogView, KnownModel

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


@dataclass(frozen=True)
class ModelFilter:
    """What to list; empty or 0 = any."""

    provider: str = ""
    capability: str = ""
    min_context_tokens: int = 0
    max_output_nano_usd_per_mtok: int = 0
    include_unavailable: bool = False

    def takes(self, model: KnownModel, *, available: bool) -> bool:
        """Whether the model belongs in the list. A price limit leaves out models of unknown price."""
        entry, output_price = model.entry, model.price.output_nano_usd_per_mtok
        limit = self.max_output_nano_usd_per_mtok
        return (
            (available or self.include_unavailable)
            and (not self.provider or self.provider in model.places)
            and (not self.capability or self.capability in entry.capabilities)
            and entry.context_tokens >= self.min_context_tokens
            and (not limit or (output_price is not None and output_price <= limit))
        )


def page_of(models: list[KnownModel], page_size: int, page_token: str) -> tuple[list[KnownModel], str]:
    """One page of models (best quality first) and the token of the next, empty at the end.

    The token holds the last model's place, not its index, so that a model that comes or goes shifts no page.
    """
    if page_size < 0:
        raise invalid("page_size", f"page_size must not be negative, not {page_size}")
    size = min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    if page_token:
        after = _read_token(page_token)
        models = [model for model in models if _place(model) > after]
    page = models[:size]
    return page, _make_token(page[-1]) if len(models) > size else ""


def listed(view: CatalogView, wanted: ModelFilter, unhealthy: set[tuple[str, str]]) -> list[KnownModel]:
    """The models that the filter takes, best quality first; those in `unhealthy` count as not available."""
    return [model for model in view.by_quality if wanted.takes(model, available=is_available(model, unhealthy))]


def is_available(model: KnownModel, unhealthy: set[tuple[str, str]]) -> bool:
    """Whether it can be asked somewhere where it is not in `unhealthy`."""
    return model.available and any((model.id, place) not in unhealthy for place in model.places)


def _place(model: KnownModel) -> tuple[float, str]:
    return (-model.entry.quality, model.id)


def _make_token(model: KnownModel) -> str:
    return base64.urlsafe_b64encode(f"{model.entry.quality!r} {model.id}".encode()).decode()


def _read_token(token: str) -> tuple[float, str]:
    try:
        quality, _, model = base64.urlsafe_b64decode(token.encode()).decode().partition(" ")
        return (-float(quality), model)
    except (ValueError, binascii.Error, UnicodeError):
        raise invalid("page_token", "page_token is not one that ListModels gave; leave it out to begin anew") from None

"""The order of a list of models (AIP-132's `order_by`), and pages over a view that may change between two of them."""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from mesh.errors import MeshError, invalid
from services.router.catalog.catalog import KnownModel
from services.router.deciding.scoring import INPUT_SHARE

DEFAULT_ORDER = "quality desc"
DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


def blended(model: KnownModel) -> float | None:
    """Nano-USD per million tokens of which three in four are input; None = unknown."""
    price = model.price
    if price.input_nano_usd_per_mtok is None or price.output_nano_usd_per_mtok is None:
        return None
    return INPUT_SHARE * price.input_nano_usd_per_mtok + (1 - INPUT_SHARE) * price.output_nano_usd_per_mtok


MEASURES: Mapping[str, Callable[[KnownModel], float | str | None]] = {
    "name": lambda model: model.id,
    "quality": lambda model: model.entry.quality,
    "price": blended,
    "input_price": lambda model: model.price.input_nano_usd_per_mtok,
    "output_price": lambda model: model.price.output_nano_usd_per_mtok,
    "context": lambda model: model.entry.context_tokens,
    "speed": lambda model: model.entry.speed_tokens_per_s or None,
    "first_token": lambda model: model.entry.first_token_ms or None,
}
"""What models can be ordered by; None = unknown, which comes last either way."""


@functools.total_ordering
@dataclass(frozen=True)
class _Descending:
    """A value that sorts the other way round; numbers could be negated, names cannot."""

    value: float | str

    def __lt__(self, other: _Descending) -> bool:
        return other.value < self.value  # type: ignore[operator]


@dataclass(frozen=True)
class Order:
    """A parsed `order_by`."""

    parts: tuple[tuple[str, bool], ...]
    """(measure, whether it descends)"""

    @property
    def text(self) -> str:
        """As it is written shortest."""
        return ", ".join(f"{name} desc" if down else name for name, down in self.parts)

    def values(self, model: KnownModel) -> list[float | str | None]:
        """The measures of a model, in order."""
        return [MEASURES[name](model) for name, _ in self.parts]

    def place(self, values: Sequence[float | str | None], model_id: str) -> tuple[object, ...]:
        """Where those values stand; the id decides between equals."""
        place: list[object] = []
        for (_, down), value in zip(self.parts, values, strict=True):
            if value is None:
                place += [1, 0]
            else:
                place += [0, _Descending(value) if down else value]
        return (*place, model_id)


def order_of(text: str) -> Order:
    """An `order_by` as it was written. Raises INVALID_REQUEST."""
    parts: list[tuple[str, bool]] = []
    for part in (text.strip() or DEFAULT_ORDER).split(","):
        words = part.split()
        name, direction = (words[0], words[1:]) if words else ("", [])
        if name not in MEASURES or direction not in ([], ["asc"], ["desc"]):
            raise invalid(
                "order_by",
                f'order_by: "{part.strip()[:60]}" is none of {", ".join(MEASURES)}, each with or without " desc"',
            )
        if name in [one for one, _ in parts]:
            raise invalid("order_by", f'order_by: "{name}" is there twice')
        parts.append((name, direction == ["desc"]))
    return Order(tuple(parts))


def page_of(
    models: Sequence[KnownModel], page_size: int, page_token: str, order_by: str = ""
) -> tuple[list[KnownModel], str]:
    """One page of models in order, and the token of the next, empty at the end.

    The token holds the last model's place, not its index, so that a model that comes or goes shifts no page.
    """
    if page_size < 0:
        raise invalid("page_size", f"page_size must not be negative, not {page_size}")
    size, order = min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE), order_of(order_by)
    placed = sorted((order.place(order.values(model), model.id), model) for model in _unlike(models))
    if page_token:
        after = _read_token(page_token, order)
        placed = [pair for pair in placed if pair[0] > after]
    page = [model for _, model in placed[:size]]
    return page, _make_token(page[-1], order) if len(placed) > size else ""


def _unlike(models: Sequence[KnownModel]) -> list[KnownModel]:
    """Each id once: two places that are equal would compare models."""
    return list({model.id: model for model in models}.values())


def _make_token(model: KnownModel, order: Order) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([order.text, order.values(model), model.id])).decode()


def _read_token(token: str, order: Order) -> tuple[object, ...]:
    try:
        text, values, model = msgspec.json.decode(
            base64.urlsafe_b64decode(token.encode()), type=tuple[str, list[float | str | None], str]
        )
        kinds = [str if name == "name" else float for name, _ in order.parts]
        fits = all(value is None or isinstance(value, kind) for value, kind in zip(values, kinds, strict=True))
    except (ValueError, binascii.Error, UnicodeError, msgspec.MsgspecError):
        raise _foreign() from None
    if text != order.text or not fits:
        raise _foreign()
    return order.place(values, model)


def _foreign() -> MeshError:
    return invalid("page_token", "page_token is not one that this list gave in this order; leave it out to begin anew")

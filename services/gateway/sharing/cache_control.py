"""What a request says of the response cache, in its body and its headers; what its policy allows; what else holds."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable

from mesh.errors import MeshError, Reason, invalid

MODE_HEADER = b"x-dac-cache-mode"
SIMILARITY_HEADER = b"x-dac-cache-similarity"
CONTROL_HEADER = b"cache-control"
_HEADERS = frozenset({MODE_HEADER, SIMILARITY_HEADER, CONTROL_HEADER})


class Mode(enum.StrEnum):
    """How much alike a stored question must be."""

    EXACT = "exact"
    DEFAULT = "default"
    BALANCED = "balanced"


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """What the headers of a request say."""

    read: bool = True
    store: bool = True
    only_if_cached: bool = False
    max_age_s: float = 0.0
    """0 = any age."""
    mode: Mode | None = None
    min_similarity: float = 0.0


NOTHING = Said()


@dataclasses.dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for chats that do not say."""

    on: bool = False
    mode: Mode = Mode.DEFAULT
    semantic_temperature_max: float = 1.0
    """Above it only an equal question is answered from the cache."""


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """What the routing policy of a chat says."""

    on: bool | None = None
    """True: on for chats that do not say; False: off, whatever they say; None: nothing is said."""
    mode: Mode | None = None
    """No mode beyond this one."""
    max_age_s: float = 0.0
    """0 = any age."""


SILENT = Policy()
_STRICTEST_FIRST = (Mode.EXACT, Mode.DEFAULT, Mode.BALANCED)


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """What is to be done for one chat."""

    read: bool
    store: bool
    only_if_cached: bool
    max_age_s: float
    mode: Mode
    min_similarity: float
    semantic: bool
    """Whether its own answer may be served to questions in other words."""
    lifetime_s: float = 0.0
    """How long its own answer is kept; 0 = as memory has it."""

    @property
    def shared(self) -> bool:
        """Whether it may share a call with an equal chat."""
        return self.read and self.store and not self.only_if_cached

    def terms(self) -> tuple[str, float, float]:
        """What must be equal of two chats for one to take what the other one found."""
        return self.mode.value, self.min_similarity, self.max_age_s


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> Said:
    """The cache headers of a request. Raises INVALID_REQUEST."""
    found = [(name, value) for name, value in headers if name in _HEADERS]
    if not found:
        return NOTHING
    said: dict[str, object] = {}
    for name, raw in found:
        value = raw.decode("latin-1").strip()
        if name == CONTROL_HEADER:
            said |= _directives(value)
        elif name == MODE_HEADER:
            try:
                said["mode"] = Mode(value.lower())
            except ValueError:
                raise invalid(
                    "x-dac-cache-mode", f'"{value[:40]}" is no mode: say exact, default or balanced.'
                ) from None
        else:
            said["min_similarity"] = _similarity(value)
    return Said(**said)  # type: ignore[arg-type]


def _similarity(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise invalid("x-dac-cache-similarity", f'"{value[:40]}" is no similarity: say a number from 0 to 1.')
    return number


def _directives(value: str) -> dict[str, object]:
    """Those of RFC 9111 that a cache in front of a model can keep; others are passed over, as it says."""
    said: dict[str, object] = {}
    for directive in value.lower().split(","):
        name, _, number = directive.strip().partition("=")
        if name == "no-store":
            said |= {"store": False, "read": False}
        elif name == "no-cache":
            said["read"] = False
        elif name == "only-if-cached":
            said["only_if_cached"] = True
        elif name == "max-age":
            if not number.strip('"').isdecimal() or len(number) > 12:
                raise invalid("cache-control", f'max-age is "{number[:40]}": say whole seconds, e.g. max-age=60.')
            seconds = int(number.strip('"'))
            # An answer of no age at all can only be a new one.
            said |= {"max_age_s": float(seconds)} if seconds else {"read": False}
    return said


def wish_of(
    said: Said, enabled: bool | None, temperature: float, defaults: Defaults, policy: Policy = SILENT
) -> Wish | None:
    """What to do for a chat; None = the cache has no part in it. `enabled` is what its body says, if it says.

    A request only narrows what its policy allows. Raises NOT_FOUND for one that takes a stored answer only, where the
    policy allows none.
    """
    if policy.on is False:
        if said.only_if_cached and enabled is not False:
            raise not_cached()
        return None
    on = defaults.on if policy.on is None else policy.on
    asked = enabled if enabled is not None else (said.mode is not None or said.only_if_cached or on)
    if not asked:
        return None
    if not said.read and not said.store:
        return None
    semantic = temperature <= defaults.semantic_temperature_max
    mode = said.mode or policy.mode or defaults.mode
    if policy.mode is not None:
        mode = min(mode, policy.mode, key=_STRICTEST_FIRST.index)
    return Wish(
        read=said.read,
        store=said.store,
        only_if_cached=said.only_if_cached and said.read,
        max_age_s=min((age for age in (said.max_age_s, policy.max_age_s) if age), default=0.0),
        mode=mode if semantic else Mode.EXACT,
        min_similarity=said.min_similarity,
        semantic=semantic,
        lifetime_s=policy.max_age_s,
    )


def not_cached() -> MeshError:
    """What `only-if-cached` gets when nothing is stored."""
    return MeshError(
        Reason.NOT_FOUND,
        "No stored answer fits, and the request takes no other (cache-control: only-if-cached). Leave that out.",
        metadata={"field": "cache-control"},
    )

"""What the ledger is asked to do, and what it answers.

What comes with every request is not frozen: a frozen one takes four times as long to make. Nobody changes it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

from mesh.admin_record import Change
from services.budget.ledger.rows import Level, State, model_selectors
from services.budget.prices.money import Charge, Input, Usage


@dataclass(slots=True)
class Reserve:
    """Hold the worst case of a request."""

    reservation_id: str
    org_id: str
    request_id: str
    levels: tuple[Level, ...]
    candidates: tuple[tuple[str, str], ...]
    input_tokens_max: int
    max_output_tokens: int
    body_hash: bytes
    now: dt.datetime
    ttl_s: float
    draft: bytes = b""
    rescues: int = 0
    """How often a broken answer may be taken up again, if that fits too."""
    audio_seconds_max: int = 0
    input_characters_max: int = 0
    tags: tuple[str, ...] = ()
    """Each "key=value"."""
    names_service_tier: bool = False
    """It may be served in a tier that costs more."""
    covers_in_steps: bool = False
    """Balanced: the answer is covered up to the default and extended while it runs."""

    @property
    def given(self) -> Input:
        """The most that goes to a provider."""
        return Input(self.input_tokens_max, self.audio_seconds_max, self.input_characters_max)

    def first_hold(self, default_output_tokens: int) -> tuple[bool, int]:
        """(whether the answer is covered in steps, how many of its tokens are to be held now)."""
        if self.covers_in_steps and not 0 < self.max_output_tokens <= default_output_tokens:
            return True, default_output_tokens
        return False, self.max_output_tokens or default_output_tokens

    @property
    def selectors(self) -> tuple[str, ...]:
        """What budgets that are narrowed may be narrowed to, to count this request."""
        models = dict.fromkeys(selector for _, model in self.candidates for selector in model_selectors(model))
        return (*models, *(f"tag:{tag}" for tag in self.tags))


@dataclass(frozen=True, slots=True)
class Extend:
    """Cover more of an answer that goes on."""

    org_id: str
    request_id: str
    reservation_id: str
    provider: str
    model: str
    output_tokens: int
    """How much shall be covered in all."""
    now: dt.datetime
    ttl_s: float = 0.0
    """From now; 0 = as long as it lives already."""
    again: tuple[tuple[str, str], ...] = ()
    """Another whole answer of one of these; then `output_tokens` is the most it may write, 0 = the default."""
    input_tokens_max: int = 0
    """The most that it reads."""


@dataclass(frozen=True, slots=True)
class Adjust:
    """Correct what a resolved request was charged."""

    org_id: str
    request_id: str
    adjustment_id: str
    amount_nano_usd: int
    """Added to the charge; negative gives back."""
    attempt_id: str
    """Empty = the only one."""
    now: dt.datetime
    change: Change
    """Stored with it."""


@dataclass(slots=True)
class Attempt:
    """What one call to one provider used."""

    attempt_id: str
    provider: str
    model: str
    usage: Usage
    answered: bool


@dataclass(slots=True)
class About:
    """What a request was, as the ledger's lines say it."""

    operation: str = ""
    path: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(slots=True)
class Settlement:
    """How a resolution came out: what the record's costs are filled from."""

    cost_nano_usd: int
    reserved_nano_usd: int
    charges: tuple[Charge, ...]
    state: State
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class Adjusted:
    """How a correction came out."""

    cost_nano_usd: int
    is_repeat: bool = False


@dataclass(slots=True)
class Resolve:
    """End a reservation: charge, free, or (the sweeper) charge its bound.

    Without an id: store the record, and free a reservation of this request whose answer never reached the caller.
    """

    org_id: str
    request_id: str
    reservation_id: str
    to: State
    now: dt.datetime
    attempts: tuple[Attempt, ...] = ()
    seal: Callable[[Settlement], bytes] = lambda settlement: b""
    """Writes the costs into the record and serialises it."""
    about: About = field(default_factory=About)

    @property
    def may_free_unanswered(self) -> bool:
        """Whether there can be a reservation that the caller never learnt of: nothing was sent to a provider."""
        return not self.reservation_id and not self.attempts


Operation = Reserve | Extend | Adjust | Resolve

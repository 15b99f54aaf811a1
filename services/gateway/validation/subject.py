"""What is checked, what is found, and what the validator may be given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

TOXICITY, SUPPORT, CODE, ARITHMETIC, SCHEMA, SHAPE = "toxicity", "support", "code", "arithmetic", "schema", "shape"
CHECKS: tuple[str, ...] = (TOXICITY, SUPPORT, CODE, ARITHMETIC, SCHEMA, SHAPE)
"""Every check by its name in policies."""

PASSED, FLAGGED, FAILED, NOT_CHECKED = "passed", "flagged", "failed", "not_checked"
"""Statuses, best first. Flagged: worth a look; failed: broken or over the threshold for blocking."""
INFO, WARN, ERROR = "info", "warn", "error"
"""Severities of findings."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An answer with what is known of its question."""

    text: str
    """The answer as it is shown."""
    question: str = ""
    """The user's last message; empty = unknown."""
    context: tuple[str, ...] = ()
    """Sources that the answer should rest on; without any, support is not checked."""
    task_type: str = ""
    """What the caller said the task is, such as "code"; empty = unknown."""
    schema: Mapping[str, Any] | None = None
    """The JSON Schema that the whole answer was asked to obey; None = none. {} = any JSON."""
    finish_reason: str = "stop"
    """Why the model stopped, in OpenAI's words."""
    language: str = ""
    """The language that was asked for (ISO 639-1); empty = that of the question."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say of a place in the text."""

    check: str
    severity: str
    """info, warn or error."""
    message: str
    start: int
    """The first character it is about."""
    end: int
    """The character after the last; equal to `start` when it is about the whole."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is said of one answer."""

    quality: float
    """0 to 1; the product of `parts`."""
    scores: Mapping[str, float]
    """Figures of what was checked: toxicity (0 = harmless), support (1 = all in the sources)."""
    status: Mapping[str, str]
    """For each check that was asked for: passed, flagged, failed or not_checked."""
    findings: tuple[Finding, ...]
    """In the order of the text; capped."""
    parts: Mapping[str, float]
    """What quality is made of, each from 0 to 1. A part that was not checked is absent and counts as 1."""


class Embed(Protocol):
    """Text to vectors of 384 numbers and length 1."""

    async def __call__(self, texts: Sequence[str]) -> Sequence[Sequence[float]] | None:
        """One row for each text; None = no semantic embedder."""


class Nli(Protocol):
    """A model that tells whether one text follows from another."""

    async def entailment(self, pairs: Sequence[tuple[str, str]]) -> Sequence[float] | None:
        """For each (premise, hypothesis) how likely the second follows from the first; None = it cannot be asked."""

"""What one check came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.gateway.validation.subject import ERROR, FAILED, FLAGGED, NOT_CHECKED, PASSED, WARN, Finding

FINDINGS_MAX = 20
"""The most findings of one check."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A check's status, what it found, and what it says of quality."""

    status: str
    findings: tuple[Finding, ...] = ()
    score: float | None = None
    """The check's own figure, if it has one."""
    part: float | None = None
    """Its part of the quality, 0 to 1; None = it says nothing of quality."""


UNCHECKED = Outcome(NOT_CHECKED)


def judged(findings: Sequence[Finding], *, warned: float, failed: float, score: float | None = None) -> Outcome:
    """The outcome that the worst finding makes; `warned` and `failed` are the parts of quality that then remain."""
    severities = {finding.severity for finding in findings}
    status, part = (
        (FAILED, failed) if ERROR in severities else (FLAGGED, warned) if WARN in severities else (PASSED, 1.0)
    )
    return Outcome(status, tuple(findings[:FINDINGS_MAX]), score, part)

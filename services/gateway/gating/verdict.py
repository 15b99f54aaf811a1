"""What is said of one answer: on the record, in headers, in bodies. Counts and verdicts only, no text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from dac.type.v1.record_pb2 import ValidationRecord
from services.gateway.gating.sources import HEADER
from services.gateway.validation.subject import FAILED, FLAGGED, NOT_CHECKED, PASSED, Finding, Report

BLOCKED = "blocked"
PENDING = "pending"
"""In the headers of a stream that is checked at its end."""
WHOLE, HOLD, FLAG, CACHE, COALESCED = "whole", "hold", "flag", "cache", "coalesced"
"""The ways in which an answer comes to be checked: see ValidationRecord.mode."""
MOST_NOTE_CHARS = 200
JUDGE = "judge"
"""The name of a judging model's check, and what the record of its chat says was asked for."""


@dataclasses.dataclass(slots=True)
class Verdict:
    """What was found in one answer."""

    status: str
    """passed, flagged, blocked or not_checked."""
    quality: float | None = None
    """0 to 1; None = it could not be judged."""
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    checks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    fails: bool = False
    """The policy's action applies: a check failed, or the quality is below its bound."""
    note: str = ""
    """Why it was not checked."""

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """The higher the better; an answer that could not be judged is better than one that fails."""
        return not self.fails, self.status == PASSED, -1.0 if self.quality is None else self.quality

    @property
    def failed_checks(self) -> list[str]:
        """The checks that speak against it, in their order."""
        return [name for name, status in self.checks.items() if status in (FLAGGED, FAILED)]

    def header(self, mode: str = "") -> tuple[bytes, bytes]:
        """Status, quality, and how it was checked, in one line."""
        quality = "" if self.quality is None else f"; quality={self.quality:.2f}"
        against = f"; checks={','.join(self.failed_checks)}" if self.failed_checks else ""
        return HEADER, f"{self.status}{quality}{against}{f'; mode={mode}' if mode else ''}".encode("ascii", "replace")

    def told(self, mode: str) -> dict[str, Any]:
        """The same for a body."""
        counts = findings_by_check(self.findings)
        return {
            "status": self.status,
            "quality": None if self.quality is None else round(self.quality, 4),
            "scores": {name: round(score, 4) for name, score in self.scores.items()},
            "checks": dict(self.checks),
            **({"findings": counts} if counts else {}),
            "mode": mode,
        }

    def write(self, record: ValidationRecord, *, policy: str, action: str, mode: str) -> None:
        """Writes it down; `record.answers` stays as it is."""
        record.policy, record.action, record.mode, record.status = policy, action, mode, self.status
        record.scores.update(self.scores)
        record.checks.update(self.checks)
        record.findings.update(findings_by_check(self.findings))
        record.note = self.note[:MOST_NOTE_CHARS]
        if self.quality is not None:
            record.quality = self.quality


def findings_by_check(findings: Sequence[Finding]) -> dict[str, int]:
    """How many each check has."""
    counts: dict[str, int] = {}
    for one in findings:
        counts[one.check] = counts.get(one.check, 0) + 1
    return counts


def unchecked(note: str, checks: Sequence[str] = ()) -> Verdict:
    """Nothing can be said of an answer."""
    return Verdict(NOT_CHECKED, checks=dict.fromkeys(checks, NOT_CHECKED), note=note)


@dataclasses.dataclass(frozen=True, slots=True)
class Opinion:
    """What a judge or a webhook says of an answer."""

    check: str
    """judge or webhook."""
    status: str
    quality: float | None = None
    findings: tuple[Finding, ...] = ()
    note: str = ""


def verdict_of(report: Report, opinions: Sequence[Opinion], min_quality: float) -> Verdict:
    """All of it together. Who could not check says nothing for or against."""
    checks, scores = dict(report.status), dict(report.scores)
    quality = report.quality if any(one != NOT_CHECKED for one in report.status.values()) else None
    findings = report.findings
    for one in opinions:
        checks[one.check] = one.status
        findings += one.findings
        if one.quality is not None and one.status != NOT_CHECKED:
            scores[one.check] = one.quality
            quality = one.quality if quality is None else quality * one.quality
    statuses = set(checks.values())
    note = "; ".join(one.note for one in opinions if one.note)
    if not statuses - {NOT_CHECKED}:
        return Verdict(NOT_CHECKED, None, scores, checks, findings, note=note or "no check has anything to go by")
    fails = FAILED in statuses or (quality is not None and quality < min_quality)
    status = FLAGGED if fails or FLAGGED in statuses else PASSED
    return Verdict(status, quality, scores, checks, findings, fails, note)

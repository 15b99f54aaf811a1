"""All checks of one answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from services.gateway.validation import (
    arithmetic,
    code_check,
    quality,
    schema_check,
    shape,
    toxicity,
)
from services.gateway.validation.effort import Effort
from services.gateway.validation.fences import Block, blocks, outside
from services.gateway.validation.grammars import Grammars
from services.gateway.validation.outcome import FINDINGS_MAX, UNCHECKED, Outcome, judged
from services.gateway.validation.subject import (
    ARITHMETIC,
    CHECKS,
    CODE,
    ERROR,
    SCHEMA,
    SHAPE,
    SUPPORT,
    TOXICITY,
    WARN,
    Embed,
    Finding,
    Nli,
    Report,
    Subject,
)
from services.gateway.validation.support import Comparison

REPORTED_MAX = 50
"""The most findings of a report."""
QUESTION_CHARACTERS_MAX = 500
Rows = Mapping[str, Sequence[float]]


@dataclass
class _Work:
    """What one answer needs on its way."""

    subject: Subject
    asked: list[str]
    effort: Effort
    fenced: list[Block]
    prose: str
    windows: list[tuple[int, int]] = field(default_factory=list)
    comparison: Comparison | None = None

    def pieces(self) -> list[str]:
        """The windows of the answer that are embedded."""
        return [self.subject.text[start:end] for start, end in self.windows]

    def question(self) -> str:
        """The question as it is embedded; empty = it is not compared."""
        words = self.subject.question[:QUESTION_CHARACTERS_MAX].split()
        return " ".join(words) if len(words) >= quality.QUESTION_WORDS_MIN else ""


class Validator:
    """Checks answers. One for the whole process; keeps nothing between two. Not for two threads at a time."""

    def __init__(
        self, *, embed: Embed | None, nli: Nli | None = None, clock: Callable[[], float] = time.thread_time
    ) -> None:
        """`clock` tells the CPU seconds of the thread that it is called in."""
        self._embed, self._nli, self._clock = embed, nli, clock
        self._grammars = Grammars()
        self._head: toxicity.Head | None = None

    async def check(self, subject: Subject, checks: Collection[str]) -> Report:
        """What is to be said of an answer. Never raises for its text; unknown names of checks are left out.

        No checks = all of them. The first answer also pays for loading what its checks need.
        """
        asked = [name for name in CHECKS if name in checks] if checks else list(CHECKS)
        work = self._begin(subject, asked)
        work.effort.pause()
        rows = await self._rows(work)
        entailed = await self._entailed(work)
        work.effort.go_on()
        return self._report(work, rows, entailed)

    def _begin(self, subject: Subject, asked: list[str]) -> _Work:
        if SCHEMA in asked and subject.schema is not None:
            schema_check.load()
        if TOXICITY in asked and self._embed is not None and self._head is None:
            self._head = toxicity.load_head()
        fenced = blocks(subject.text[: code_check.READ_CHARACTERS_MAX], code_check.BLOCKS_MAX)
        if CODE in asked:
            self._grammars.load({code_check.language_of(block) for block in fenced})
        effort = Effort(self._clock)
        work = _Work(subject, asked, effort, fenced, outside(subject.text, fenced))
        if self._embed is not None and (TOXICITY in asked or SHAPE in asked):
            work.windows = toxicity.windows_of(subject.text)
        if SUPPORT in asked and subject.context:
            work.comparison = Comparison(subject.text, subject.context, effort)
        return work

    async def _rows(self, work: _Work) -> Rows | None:
        """The vectors of everything that any check compares, from one call; None = there is no embedder to be had."""
        if self._embed is None:
            return None
        texts = dict.fromkeys([*work.pieces(), *(work.comparison.to_embed() if work.comparison else ())])
        if work.windows and work.question():
            texts[work.question()] = None
        if not texts:
            return None
        wanted = list(texts)
        try:
            # A lone surrogate cannot be sent.
            rows = await self._embed([one.encode("utf-8", "replace").decode("utf-8") for one in wanted])
        except Exception:
            # Whoever embeds says on its own page what is wrong with it; here its checks are not made.
            return None
        if rows is None or len(rows) != len(wanted) or any(len(row) != toxicity.DIMENSIONS for row in rows):
            return None
        return dict(zip(wanted, rows, strict=True))

    async def _entailed(self, work: _Work) -> Sequence[float] | None:
        if self._nli is None or work.comparison is None or not work.comparison.sentences:
            return None
        pairs = work.comparison.pairs()
        try:
            found = await self._nli.entailment(pairs)
        except Exception:
            return None
        return found if found is not None and len(found) == len(pairs) else None

    def _report(self, work: _Work, rows: Rows | None, entailed: Sequence[float] | None) -> Report:
        subject, effort = work.subject, work.effort
        outcomes: dict[str, Outcome] = dict.fromkeys(work.asked, UNCHECKED)
        parts: dict[str, float] = {}
        # The cheap ones first: the clock stops the dear ones.
        if SHAPE in outcomes:
            seen = shape.check(subject, work.prose)
            outcomes[SHAPE] = seen.outcome
            parts.update(seen.parts)
            question = rows.get(work.question()) if rows else None
            if question is not None and rows is not None and work.windows:
                parts["relevance"] = quality.relevance(question, [rows[piece] for piece in work.pieces()])
        if TOXICITY in outcomes and rows is not None and self._head is not None and work.windows:
            outcomes[TOXICITY] = _toxicity(work, rows, self._head)
        if work.comparison is not None:
            outcomes[SUPPORT] = work.comparison.outcome(subject.text, subject.question, rows, entailed)
        if SCHEMA in outcomes and subject.schema is not None:
            outcomes[SCHEMA] = schema_check.check(subject.text, subject.schema, effort)
        if CODE in outcomes:
            outcomes[CODE] = code_check.check(subject.text, work.fenced, subject.finish_reason, self._grammars, effort)
        if ARITHMETIC in outcomes:
            outcomes[ARITHMETIC] = arithmetic.check(work.prose, effort)
        parts |= {name: one.part for name, one in outcomes.items() if one.part is not None and name != SHAPE}
        findings = sorted((one for outcome in outcomes.values() for one in outcome.findings), key=lambda one: one.start)
        return Report(
            quality=quality.quality(parts),
            scores={name: one.score for name, one in outcomes.items() if one.score is not None},
            status={name: one.status for name, one in outcomes.items()},
            findings=tuple(findings[:REPORTED_MAX]),
            parts=parts,
        )


def _toxicity(work: _Work, rows: Rows, head: toxicity.Head) -> Outcome:
    pieces = work.pieces()
    scores = head.scores(toxicity.features_of([rows[piece] for piece in pieces], pieces))
    worst = float(scores.max())
    findings = [
        Finding(TOXICITY, ERROR if score >= toxicity.BLOCK else WARN, f"toxic ({score:.2f})", start, end)
        for score, (start, end) in zip(scores, work.windows, strict=True)
        if score >= toxicity.FLAG
    ]
    outcome = judged(findings[:FINDINGS_MAX], warned=1.0, failed=1.0)
    return Outcome(outcome.status, outcome.findings, worst, quality.harmless(worst))

"""All that can be said of one answer: the engine's checks, a judge, a webhook, at the same time and each in its time.

Nothing here raises: who fails or is late has not checked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Protocol

from dac.memory.v1.memory_pb2 import EmbedRequest
from dac.router.v1.answers_pb2 import RedactionRules
from mesh import telemetry
from mesh.call import Call
from mesh.errors import MeshError
from services.gateway.gating.inference import Inference
from services.gateway.gating.rules import Rules
from services.gateway.gating.verdict import JUDGE, Opinion, Verdict, unchecked, verdict_of
from services.gateway.gating.webhooks import WEBHOOK, Webhooks
from services.gateway.identity.callers import Caller
from services.gateway.validation.subject import CHECKS, NOT_CHECKED, Report, Subject
from services.gateway.validation.validator import Validator

if TYPE_CHECKING:
    from dac.memory.v1.memory_pb2_grpc import MemoryServiceAsyncStub

EMBED_TIMEOUT_S = 1.0
"""How long memory may take for the vectors of one answer."""
CHECKS_TIMEOUT_S = 3.0
"""How long all of the engine's checks may take, vectors included."""
_log = logging.getLogger("dac.gateway.validation")


class Embeddings:
    """Memory's vectors for the engine, which asks once for all that any check of an answer compares."""

    def __init__(self, memories: MemoryServiceAsyncStub) -> None:
        self._memories = memories

    async def __call__(self, texts: Sequence[str]) -> Sequence[Sequence[float]] | None:
        """One row for each text; None when memory has no semantic embedder or does not answer in time."""
        try:
            found = await self._memories.Embed(EmbedRequest(texts=texts), timeout=EMBED_TIMEOUT_S)
        except MeshError:
            return None
        return [vector.values for vector in found.vectors] if found.semantic else None


class Judging(Protocol):
    """Who asks the model that a policy names as judge: handed in, because it makes chats, which need this file."""

    async def ask(
        self, model: str, subject: Subject, caller: Caller, call: Call, *, redaction: RedactionRules | None = None
    ) -> Opinion:
        """What the judge says; not_checked when it says nothing in time. `redaction`: by which rules the judged
        request went."""


class Validation:
    """One for all answers of a replica."""

    def __init__(
        self, memories: MemoryServiceAsyncStub, webhooks: Webhooks, *, judge: Judging, nli: Inference | None = None
    ) -> None:
        self._nli = nli
        embed = Embeddings(memories)
        self._plain, self._webhooks, self._judge = Validator(embed=embed), webhooks, judge
        self._with_nli = self._plain if nli is None else Validator(embed=embed, nli=nli)

    async def verdict(
        self, subject: Subject, rules: Rules, caller: Caller, call: Call, *, redaction: RedactionRules | None = None
    ) -> Verdict:
        """What is to be said of an answer by these rules. `redaction`: by which rules its request went."""
        try:
            asked: list[Awaitable[Opinion]] = []
            if rules.judge_model:
                judge = self._judge.ask(rules.judge_model, subject, caller, call, redaction=redaction)
                asked.append(_timed(JUDGE, judge))
            if rules.webhook:
                asked.append(_timed(WEBHOOK, self._webhooks.ask(rules.webhook, subject, caller.principal.org_id)))
            report, opinions = await asyncio.gather(
                self.report(subject, rules.checks, nli=rules.nli), asyncio.gather(*asked)
            )
            return verdict_of(report, opinions, rules.min_quality)
        except Exception:
            _log.exception("checking the answer of request %s failed", call.request_id)
            return unchecked("checking failed inside", rules.checks or CHECKS)

    async def report(self, subject: Subject, checks: Sequence[str], *, nli: bool = False) -> Report:
        """What the engine says."""
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(CHECKS_TIMEOUT_S):
                return await (self._with_nli if nli else self._plain).check(subject, checks)
        except TimeoutError:
            return Report(1.0, {}, dict.fromkeys(checks or CHECKS, NOT_CHECKED), (), {})
        finally:
            telemetry.VALIDATION_SECONDS.labels("checks").observe(time.perf_counter() - begun)

    async def close(self) -> None:
        """Ends what is open."""
        await self._webhooks.close()
        if self._nli is not None:
            self._nli.close()


async def _timed(part: str, asking: Awaitable[Opinion]) -> Opinion:
    begun = time.perf_counter()
    try:
        return await asking
    except Exception:
        # What it could not say is not said; the other checks count.
        _log.exception("the %s of an answer failed", part)
        return Opinion(part, NOT_CHECKED, note=f"the {part} failed")
    finally:
        telemetry.VALIDATION_SECONDS.labels(part).observe(time.perf_counter() - begun)

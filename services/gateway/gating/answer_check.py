"""The part of one chat in validation: every answer gets a verdict, and then what the rules say is done.

An answer that is held (whole ones, and streams where the policy holds them) can be asked for again at the next model,
or blocked; one that is shown as it comes is checked at its end and flagged at most.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from dac.provider.v1.provider_pb2 import AttemptStarted, GenerateFinish, GenerateRequest
from dac.router.v1.answers_pb2 import AnswerRules
from dac.type.v1.record_pb2 import RequestRecord
from mesh import telemetry
from mesh.call import Call
from mesh.errors import MeshError, Reason
from services.gateway.chat.answer_stages import AnswerStages
from services.gateway.gating import verdict as verdicts
from services.gateway.gating.rules import BLOCK, Rules, rules_of
from services.gateway.gating.subjects import question_of, schema_of
from services.gateway.gating.validation import Validation
from services.gateway.gating.verdict import BLOCKED, PENDING, Verdict, unchecked
from services.gateway.identity.callers import Caller
from services.gateway.redaction.stage import in_force
from services.gateway.validation.subject import PASSED, Subject
from services.gateway.wire.openai_wire import ChatAsk

MOST_CHOICES = 16
"""How many of the choices of one answer are looked at."""


@dataclasses.dataclass(slots=True)
class Answer:
    """One whole answer of a provider, not shown yet."""

    finish: GenerateFinish
    attempt: AttemptStarted | None
    frames: list[bytes]
    end: bytes
    verdict: Verdict


class Checked(Protocol):
    """What is asked of a chat whose answers are checked; `checked_run` has it."""

    ask: ChatAsk
    call: Call
    caller: Caller
    record: RequestRecord
    rules: AnswerRules | None
    answer_stages: AnswerStages | None

    @property
    def validation(self) -> Validation:
        """What checks answers."""

    def sources(self) -> tuple[str, ...]:
        """What the answer should rest on."""

    def choices_said(self, *, shown: bool) -> list[str]:
        """The texts of all choices of an answer, as it was shown or as it came."""

    def stage(self, name: str) -> None:
        """Notes how long the step took that has just ended."""

    async def collect(self, request: GenerateRequest, *, again: bool = False) -> GenerateFinish:
        """One whole answer, kept back."""

    def collected(self) -> tuple[AttemptStarted | None, list[bytes], bytes]:
        """What answered, the answer as it came, and the end of its stream."""

    async def another_request(self) -> GenerateRequest | None:
        """What asks for another answer; None when it is not paid for or not in time."""

    def give(self, attempt: AttemptStarted | None, frames: list[bytes], end: bytes) -> None:
        """Of several answers that were kept back, the one to be shown."""


class AnswerCheck:
    """Checks the answers of one chat."""

    def __init__(self, run: Checked, rules: Rules) -> None:
        self._run, self.rules = run, rules
        self.held = not run.ask.stream or rules.hold
        """Nothing is shown before it is checked."""
        self._mode = verdicts.WHOLE if not run.ask.stream else verdicts.HOLD if rules.hold else verdicts.FLAG
        self._schema = schema_of(run.ask)
        self._question = question_of(run.ask)
        self._redaction = in_force(run.rules, asked=run.ask.redaction)
        self._policy = run.record.route.policy_version
        self.verdict: Verdict | None = None
        """Of the answer that was given; None = not known yet."""

    @property
    def scope(self) -> str:
        """Tells answers that were checked like this one from others."""
        sources = self._run.ask.validation_context
        return f"{self.rules.scope} {sources!r}" if sources else self.rules.scope

    @property
    def storable(self) -> bool:
        """Whether the cache may keep the answer."""
        return self.verdict is not None and self.verdict.status == PASSED

    @property
    def quality(self) -> float | None:
        """Of the answer that was given."""
        return None if self.verdict is None else self.verdict.quality

    def header(self) -> tuple[bytes, bytes]:
        """What the answer's headers say of it."""
        verdict = self.verdict or Verdict(PENDING)
        return verdict.header("" if self._mode == verdicts.WHOLE else self._mode)

    def told(self) -> dict[str, Any]:
        """The same for a body."""
        return (self.verdict or Verdict(PENDING)).told(self._mode)

    # --- answers of providers ---

    async def answer(self, request: GenerateRequest) -> GenerateFinish:
        """The answer that is given: the first that passes, else the best. Raises ANSWER_BLOCKED, and what the first
        call to a provider raises."""
        answers = [best := await self._take(request)]
        for _ in range(self.rules.retries):
            if not best.verdict.fails:
                break
            another = await self._again()
            if another is None:
                break
            answers.append(another)
            better = another.verdict.rank > best.verdict.rank
            telemetry.VALIDATION_RETRIES.labels("better" if better else "no_better").inc()
            best = another if better else best
        self._give(best, answers)
        return best.finish

    async def _take(self, request: GenerateRequest, *, again: bool = False) -> Answer:
        run = self._run
        finish = await run.collect(request, again=again)
        attempt, frames, end = run.collected()
        return Answer(finish, attempt, frames, end, await self._judged(finish))

    async def _again(self) -> Answer | None:
        """Another answer; None when it is not paid for, not in time or not to be had."""
        request = await self._run.another_request()
        if request is None:
            telemetry.VALIDATION_RETRIES.labels("not_covered").inc()
            return None
        try:
            return await self._take(request, again=True)
        except MeshError:
            # Its attempts are on the record; the answer that is there is given.
            telemetry.VALIDATION_RETRIES.labels("failed").inc()
            return None

    def _give(self, given: Answer, answers: list[Answer]) -> None:
        run, blocked = self._run, given.verdict.fails and self.rules.action == BLOCK
        if blocked:
            given.verdict.status = BLOCKED
        self.verdict = given.verdict
        self._write(run.record, [(one.finish, one.verdict, one is given and not blocked) for one in answers])
        last_of_record(run.record, given.finish)
        if blocked:
            raise self._blocked(given.verdict)
        run.give(given.attempt, given.frames, given.end)

    async def look(self, finish: GenerateFinish) -> None:
        """Checks an answer that was shown as it came."""
        self.verdict = await self._judged(finish, shown=True)
        self._write(self._run.record, [(finish, self.verdict, True)])

    async def _judged(self, finish: GenerateFinish, *, shown: bool = False) -> Verdict:
        """The verdict on an answer; of several choices, on the worst. `shown`: its stages have passed it."""
        run, stages = self._run, self._run.answer_stages
        texts = [finish.text] if run.ask.choices == 1 else run.choices_said(shown=shown)[:MOST_CHOICES] or [finish.text]
        if not shown and stages is not None:
            texts = [stages.told(text) for text in texts]
        if not any(texts) and finish.tool_calls_json:
            return unchecked("it calls tools and says nothing", self.rules.checks)
        worst: Verdict | None = None
        for text in texts:
            subject = Subject(
                text, self._question, run.sources(), run.ask.task_type, self._schema, finish.finish_reason
            )
            found = await run.validation.verdict(subject, self.rules, run.caller, run.call, redaction=self._redaction)
            worst = found if worst is None or found.rank < worst.rank else worst
        run.stage("validate")
        assert worst is not None
        return worst

    def _blocked(self, verdict: Verdict) -> MeshError:
        against = ", ".join(verdict.failed_checks) or f"quality below {self.rules.min_quality:g}"
        return MeshError(
            Reason.ANSWER_BLOCKED,
            f"The answer was held back: it did not pass the checks of the policy ({against}). Ask in other words; the "
            "request's record says more.",
            metadata={"validation": verdict.header(self._mode if self._mode != verdicts.WHOLE else "")[1].decode()},
        )

    def _write(self, record: RequestRecord, answers: list[tuple[GenerateFinish, Verdict, bool]]) -> None:
        assert self.verdict is not None
        made = record.validation
        self.verdict.write(made, policy=self._policy, action=self.rules.action, mode=self._mode)
        for finish, verdict, given in answers:
            last = finish.attempts[-1] if finish.attempts else None
            one = made.answers.add(status=verdict.status, given=given)
            if last is not None:
                one.attempt_id, one.model = last.attempt_id, last.model
            if verdict.quality is not None:
                one.quality = verdict.quality
        telemetry.VALIDATIONS.labels(self.verdict.status, self._mode).inc()

    # --- answers of others ---

    def share(self, verdict: Verdict | None, mode: str) -> None:
        """Takes over what is said by now of an answer that another request's call made, or that was stored."""
        self.verdict, self._mode = verdict, mode

    def write(self) -> None:
        """Writes down what was taken over."""
        if self.verdict is not None:
            self.verdict.write(
                self._run.record.validation, policy=self._policy, action=self.rules.action, mode=self._mode
            )
            telemetry.VALIDATIONS.labels(self.verdict.status, self._mode).inc()


STORED = Verdict(PASSED)
"""Of a stored answer: it passed the same rules, or it would not be there under them."""


def check_of(run: Checked) -> AnswerCheck | None:
    """The check of a chat; None when it has none."""
    rules = rules_of(run.ask.enable_validation, run.rules)
    return None if rules is None else AnswerCheck(run, rules)


def last_of_record(record: RequestRecord, finish: GenerateFinish) -> None:
    """Puts the attempts of the answer that was given behind all others, where whoever reads a record looks for it."""
    own = {one.attempt_id for one in finish.attempts}
    kept = [one for one in record.attempts if one.attempt_id not in own]
    if not kept or record.attempts[-1].attempt_id in own:
        return
    ordered = [*kept, *finish.attempts]
    del record.attempts[:]
    record.attempts.extend(ordered)

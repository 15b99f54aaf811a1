"""Which rules count for one chat: the policy's, as far as its caller lets them or may not refuse them."""

from __future__ import annotations

import dataclasses

from dac.router.v1.answers_pb2 import AnswerRules

FLAG, RETRY, BLOCK = "flag", "retry", "block"
"""What becomes of an answer that does not pass."""
HOLD = "hold"
MOST_RETRIES = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """What one chat's answers are checked for, and what follows from it."""

    checks: tuple[str, ...] = ()
    """Empty = all."""
    action: str = FLAG
    min_quality: float = 0.0
    """An answer below it does not pass, whatever its checks say."""
    hold: bool = False
    """A stream is held until it is checked."""
    retries: int = 0
    """How often another answer is asked for at most."""
    judge_model: str = ""
    nli: bool = False
    webhook: str = ""

    @property
    def scope(self) -> str:
        """Tells answers that passed these rules from those that passed others."""
        return f"validation {dataclasses.astuple(self)!r}"


PLAIN = Rules()
"""What counts where the request asks for checks and its policy says nothing of them."""


def rules_of(wanted: bool | None, answers: AnswerRules | None) -> Rules | None:
    """What counts; None = nothing is checked. `wanted`: what the request says, None = nothing.

    A request cannot refuse a policy that blocks: else nothing would be blocked for who asks for it.
    """
    given = answers.validation if answers is not None and answers.HasField("validation") else None
    if given is None or not given.enabled:
        return PLAIN if wanted else None
    if wanted is False and given.action != BLOCK:
        return None
    action = given.action or FLAG
    streams = given.streams or (HOLD if action == BLOCK else FLAG)
    retries = min(given.max_retries or 1, MOST_RETRIES) if action == RETRY else 0
    return Rules(
        checks=tuple(given.checks),
        action=action,
        min_quality=given.min_quality,
        hold=streams == HOLD,
        retries=retries,
        judge_model=given.judge_model,
        nli=given.nli,
        webhook=given.webhook,
    )

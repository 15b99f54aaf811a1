"""Redaction as a stage of a chat: placeholders go to the provider, and values come back where the policy says so."""

from __future__ import annotations

from collections.abc import Iterable

from dac.router.v1.answers_pb2 import AnswerRules, RedactionRules
from dac.type.v1 import chat_pb2
from dac.type.v1.record_pb2 import RedactionRecord
from mesh import telemetry
from mesh.errors import MeshError, Reason
from mesh.fair_share import in_turn
from services.gateway.chat.answer_stage import Staged
from services.gateway.redaction.bodies import spliced, texts_of
from services.gateway.redaction.events import StreamRestorer, whole
from services.gateway.redaction.inner import inner_texts
from services.gateway.redaction.kinds import checked_kinds, checked_regions
from services.gateway.redaction.placeholders import Redactor, Restorer

REDACT, BLOCK, FLAG = "redact", "block", "flag"
ALONE_BYTES = 16 * 1024
"""A shorter body is looked through at once: less than 30 ms for the worst text that is known."""


class RedactionStage:
    """One chat's part of redaction."""

    def __init__(
        self, rules: RedactionRules, record: RedactionRecord, dialect: chat_pb2.Dialect, *, json: bool
    ) -> None:
        """`json`: the answer was asked for as JSON."""
        self._action = rules.action or REDACT
        self._restore = rules.restore and self._action == REDACT
        self._redactor = Redactor(checked_kinds(rules.kinds), checked_regions(rules.regions))
        self._record, self._dialect, self._json = record, dialect, json
        self._restorer: Restorer | None = None
        self._events: StreamRestorer | None = None
        self.scope = f"redaction {self._action} {' '.join(sorted(self._redactor.kinds))}"
        self.private = False

    async def sent(self, body: bytes) -> bytes:
        """The body with placeholders. Raises PRIVATE_DATA_REFUSED where the policy lets nothing private through, and
        TOO_LARGE where there is too much to look through."""
        self._record.action = self._action
        try:
            made = await self._looked_through(body)
        except MeshError as error:
            if self._action != FLAG or error.reason != Reason.TOO_LARGE:
                raise
            # Nothing is kept back anyway: what was found until then is recorded.
            made = body
        self._record.kinds.update(self._redactor.counts)
        for kind, count in self._redactor.counts.items():
            telemetry.REDACTIONS.labels(kind, self._action).inc(count)
        if self._action == BLOCK and self._redactor.counts:
            raise refused(self._redactor.counts)
        if self._action != REDACT:
            return body
        if self._restore and self._redactor.values:
            self.private = True
            self._restorer = Restorer(self._redactor.values)
            self._events = StreamRestorer(self._dialect, self._restorer, in_json=self._json)
        return made

    async def _looked_through(self, body: bytes) -> bytes:
        if len(body) <= ALONE_BYTES:
            return redacted(body, self._redactor)
        # In a thread, beside which other requests have their turn.
        return await in_turn(redacted, body, self._redactor)

    def shown(self, data: bytes) -> bytes:
        """Events with values."""
        if self._events is None:
            return data
        return self._noted(self._events.shown(data))

    def rest(self) -> bytes:
        """The events that waited."""
        return b"" if self._events is None else self._noted(self._events.rest())

    def whole(self, body: bytes) -> bytes:
        """An answer with values."""
        if self._restorer is None:
            return body
        return self._noted(whole(body, self._restorer, in_json=self._json))

    def told(self, text: str) -> str:
        """The answer's text with values."""
        return text if self._restorer is None else self._restorer.text(text, in_json=self._json)

    def told_calls(self, calls_json: str) -> str:
        """The answer's tool calls, as JSON, with values."""
        if self._restorer is None or not calls_json:
            return calls_json
        return whole(calls_json.encode(), self._restorer, in_json=False).decode()

    def _noted(self, data: bytes) -> bytes:
        self._record.restored = self._restorer is not None and self._restorer.restored
        return data


def redacted(body: bytes, redactor: Redactor) -> bytes:
    """The body with placeholders in its texts; counts what they hold. Raises INVALID_REQUEST or TOO_LARGE."""
    inner = inner_texts(texts_of(body))
    joined = b"\x00".join(one.encode("utf-8", "replace").replace(b"\x00", b"\x01") for one in inner.leaves)
    found = redactor.found(joined)
    if not found:
        return body
    redactor.avoid(body)
    redactor.avoid(joined)
    redactor.count(found)
    return spliced(body, inner.changes(joined, found, redactor))


def refused(kinds: Iterable[str]) -> MeshError:
    """What a request gets whose policy lets nothing private through; it names kinds, never values."""
    named = ", ".join(sorted(kinds))
    return MeshError(
        Reason.PRIVATE_DATA_REFUSED,
        f"The request holds private values ({named}) that its policy does not let through: take them out. "
        "POST /v2/redact shows what is found.",
        metadata={"kinds": named},
    )


def in_force(rules: AnswerRules | None, *, asked: bool | None) -> RedactionRules | None:
    """What is done for a request: its policy's rules, else what it asks for. Raises PERMISSION_DENIED for a request
    that wants none where its policy has some."""
    if rules is None or not rules.redaction.enabled:
        return RedactionRules(enabled=True, restore=True) if asked else None
    if asked is False:
        raise MeshError(
            Reason.PERMISSION_DENIED,
            "This policy takes private values out of every request: leave redaction out, or have the policy changed.",
            metadata={"field": "redaction"},
        )
    return rules.redaction


def stage_of(staged: Staged) -> RedactionStage | None:
    """A chat's stage; None when neither its policy nor itself asks for redaction. Raises PERMISSION_DENIED."""
    rules = in_force(staged.rules, asked=staged.ask.redaction)
    if rules is None:
        return None
    return RedactionStage(rules, staged.record.redaction, staged.ask.dialect, json=staged.ask.needs_json)

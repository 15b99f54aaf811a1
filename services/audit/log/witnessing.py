"""Asking witnesses on other machines to cosign the newest checkpoint: what the leader does now and then."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple

from mesh import telemetry
from mesh.errors import MeshError
from mesh.tlog.cosignatures import open_cosigned
from mesh.tlog.notes import NoteError, VerifierKey, split_note
from mesh.tlog.witness import write_asked
from services.audit.config import WitnessAt

MAX_ANSWER = 16 * 1024
TRIES = 3
"""A witness that knows another size says so, and is asked again from there."""
COSIGNED, SET_BACK, FORKED, REFUSED, UNREACHABLE = OUTCOMES = "cosigned", "set_back", "forked", "refused", "unreachable"
"""What can come of asking, as the metric has it: set_back and forked say that the log is not the one it was."""

_log = logging.getLogger(__name__)


class Told(NamedTuple):
    """What a witness answered."""

    status: int
    text: str


class WitnessUnreached(Exception):
    """The witness did not answer."""


class Kept(NamedTuple):
    """The newest checkpoint that a witness has cosigned."""

    witness: str
    """Its verifier key."""
    size: int
    checkpoint: str
    """As the log signed it."""
    cosignature: str
    """The signature line."""


class NewestHead(NamedTuple):
    """What is to be cosigned."""

    size: int
    checkpoint: str


Post = Callable[[str, bytes], Awaitable[Told]]
"""Sends a body to an address. Raises WitnessUnreached."""
Prove = Callable[[int, int], Awaitable[list[bytes]]]
"""The consistency proof between two sizes."""
Keep = Callable[[Kept], Awaitable[None]]


def with_cosignatures(kept: Sequence[Kept]) -> tuple[str, list[str]]:
    """The newest cosigned checkpoint with the lines of all who cosigned that one, and their keys; ("", []) = none."""
    if not kept:
        return "", []
    newest = max(kept, key=lambda one: one.size)
    same = [one for one in kept if one.checkpoint == newest.checkpoint]
    return newest.checkpoint + "".join(one.cosignature for one in same), [one.witness for one in same]


class Refused(Exception):
    """The witness does not cosign; the text says why."""

    def __init__(self, why: str, outcome: str = REFUSED) -> None:
        super().__init__(why)
        self.outcome = outcome


async def cosign(witness: WitnessAt, head: NewestHead, known: int, post: Post, prove: Prove) -> Kept:
    """Has a checkpoint cosigned; `known`: the size it cosigned last, as far as is known.

    Raises Refused, WitnessUnreached.
    """
    if known > head.size:
        # No proof leads back. Asked from nothing, the witness says what it has seen.
        known = 0
    for _ in range(TRIES):
        proof = await prove(known, head.size) if 0 < known < head.size else []
        told = await post(f"{witness.url}/add-checkpoint", write_asked(known, proof, head.checkpoint))
        if told.status == 200:
            return _kept(witness.key, head, told.text)
        if told.status != 409:
            # 422: the proof that the log goes on from what it cosigned does not hold.
            outcome = FORKED if told.status == 422 else REFUSED
            raise Refused(f"it answered {told.status}: {told.text.strip()[:200]}", outcome)
        digits = told.text.strip()
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
            raise Refused("it answered 409 without a size")
        if int(digits) > head.size:
            raise Refused(f"it has seen {digits} entries, and the log has {head.size}: the log was set back", SET_BACK)
        if int(digits) == known:
            raise Refused(f"it has seen another log of {digits} entries: the log was rewritten", FORKED)
        known = int(digits)
    raise Refused("others have checkpoints of this log cosigned at the same time")


def _kept(key: VerifierKey, head: NewestHead, lines: str) -> Kept:
    """The witness's own line, checked; others are passed over."""
    try:
        text, _ = split_note(head.checkpoint)
        cosigned = open_cosigned(f"{text}\n{lines}", key)
    except NoteError as error:
        raise Refused(f"its answer does not hold: {error}") from None
    return Kept(str(key), cosigned.checkpoint.size, head.checkpoint, cosigned.line)


class Witnessing:
    """The leader's duty: now and then the newest checkpoint goes to every witness."""

    def __init__(
        self,
        witnesses: Sequence[WitnessAt],
        newest: Callable[[], Awaitable[NewestHead]],
        kept: Callable[[], Awaitable[Sequence[Kept]]],
        keep: Keep,
        post: Post,
        prove: Prove,
        every_s: float,
    ) -> None:
        self._witnesses, self._newest, self._kept, self._keep = witnesses, newest, kept, keep
        self._post, self._prove, self._every_s = post, prove, every_s
        self._failing: dict[str, str] = {}
        self._covered_at: dict[str, float] = {}

    async def run(self) -> None:
        """Asks for as long as this replica leads; never returns."""
        for witness in self._witnesses:
            for outcome in OUTCOMES:
                # From 0 on: Prometheus sees no growth in a series that begins at 1.
                telemetry.AUDIT_WITNESS.labels(witness.url, outcome)
        telemetry.AUDIT_WITNESS_AGE.watch("audit", self.ages)
        try:
            while True:
                started = time.monotonic()
                try:
                    await self.round()
                except MeshError as error:
                    _log.warning("witnesses are not asked now: %s", error.message)
                except Exception:
                    _log.exception("asking witnesses failed")
                await asyncio.sleep(max(0.0, self._every_s - (time.monotonic() - started)))
        finally:
            # The next leader tells it now.
            telemetry.AUDIT_WITNESS_AGE.forget("audit")

    def ages(self) -> Iterator[tuple[tuple[str, ...], float]]:
        """For each witness, seconds: what the log had so long ago is cosigned by it.

        Of one that never cosigned: since it was first asked. A log that does not grow does not age.
        """
        now = time.time()
        for url, at in self._covered_at.items():
            yield (url,), max(0.0, now - at)

    async def round(self) -> None:
        """Asks every witness that has not cosigned the newest checkpoint, side by side."""
        at = time.time()
        head = await self._newest()
        if not head.size:
            return
        known = {one.witness: one for one in await self._kept()}
        waiting = []
        for witness in self._witnesses:
            before = known.get(str(witness.key))
            if _has(before, head):
                self._covered_at[witness.url] = at
            else:
                self._covered_at.setdefault(witness.url, _cosigned_at(before, witness.key, at))
                waiting.append(self._ask(witness, head, before, at))
        await asyncio.gather(*waiting)

    async def _ask(self, witness: WitnessAt, head: NewestHead, before: Kept | None, at: float) -> None:
        try:
            kept = await cosign(witness, head, before.size if before else 0, self._post, self._prove)
        except WitnessUnreached as error:
            telemetry.AUDIT_WITNESS.labels(witness.url, UNREACHABLE).inc()
            self._tell(witness, logging.WARNING, f"it does not answer: {error}")
            return
        except Refused as error:
            telemetry.AUDIT_WITNESS.labels(witness.url, error.outcome).inc()
            self._tell(witness, logging.ERROR, str(error))
            return
        await self._keep(kept)
        telemetry.AUDIT_WITNESS.labels(witness.url, COSIGNED).inc()
        self._covered_at[witness.url] = at
        if self._failing.pop(witness.url, ""):
            _log.info("witness %s cosigns again", witness.url)

    def _tell(self, witness: WitnessAt, level: int, what: str) -> None:
        """Once for each new reason: a round comes every minute."""
        if self._failing.get(witness.url) != what:
            self._failing[witness.url] = what
            _log.log(level, "witness %s has not cosigned the audit log: %s", witness.url, what)


def _has(kept: Kept | None, head: NewestHead) -> bool:
    return kept is not None and kept.checkpoint == head.checkpoint


def _cosigned_at(kept: Kept | None, key: VerifierKey, unless: float) -> float:
    """When the witness says that it cosigned; `unless`: what holds when it does not say."""
    if kept is None:
        return unless
    try:
        return open_cosigned(kept.checkpoint + kept.cosignature, key).time_s
    except NoteError:
        return unless

"""Prompts and answers on their way to audit, for organisations whose texts are recorded: off the path of requests.

The record of a request says what its text hashes to before budget has it; the text itself follows to audit, which seals
it, and is never at rest before. What audit does not take in time is dropped and counted: no answer depends on it.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import time
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dac.audit.v1 import text_pb2 as pb
from mesh import telemetry
from mesh.call import acting_as
from mesh.errors import MeshError, Reason
from mesh.tlog.leaves import SALT_BYTES, commit_text

if TYPE_CHECKING:
    from dac.audit.v1.text_pb2_grpc import TextServiceAsyncStub
    from dac.type.v1.record_pb2 import RequestRecord

EVERY = "*"
HEAD_SHARE = 4
"""Of a text that is cut so much stands at its beginning: the newest message is at its end."""
WAITING_BYTES_MAX = 32 * 1024 * 1024
BATCH_BYTES, BATCH = 1024 * 1024, 100
GATHERED_S = 0.2
"""So long a text waits for others, and for its record to reach audit."""
GIVEN_UP_S = 60.0
TIMEOUT_S = 10.0
_KEPT, _DROPPED, _REFUSED = (telemetry.TEXTS_RECORDED.labels(outcome) for outcome in ("kept", "dropped", "refused"))
_FINAL = frozenset({Reason.FAILED_PRECONDITION, Reason.INVALID_REQUEST, Reason.PERMISSION_DENIED})
_log = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    text: pb.KeptText
    until: float


def bounded(text: bytes, most: int) -> tuple[str, int]:
    """A text of at most so many bytes and a mark, and how many bytes of its middle were left out."""
    if len(text) <= most:
        return text.decode("utf-8", "replace"), 0
    head = most // HEAD_SHARE
    tail = len(text) - (most - head)
    left_out = tail - head
    # A character that was cut in two is left out whole.
    begun, ended = (part.decode("utf-8", "ignore") for part in (text[:head], text[tail:]))
    return f"{begun}[… {left_out} bytes left out …]{ended}", left_out


class RecordedTexts:
    """Hands texts of this process to audit."""

    def __init__(self, audit: TextServiceAsyncStub, organisations: Collection[str], most_bytes: int) -> None:
        """`organisations`: ids, or EVERY; `most_bytes`: of a prompt, and of an answer."""
        self._audit, self._most = audit, most_bytes
        self._organisations = frozenset(one.lower() for one in organisations)
        self._every = EVERY in self._organisations
        self._waiting: collections.deque[_Waiting] = collections.deque()
        self._bytes = 0
        self._sending: asyncio.Task[None] | None = None
        self._said = ""

    def records(self, org_id: str) -> bool:
        """Whether this organisation's texts are recorded."""
        return self._every or org_id.lower() in self._organisations

    def begun_of(self, frames: Iterable[bytes]) -> bytes:
        """The first pieces of an answer that broke off: as many as are recorded, and one more."""
        found, size = [], 0
        for frame in frames:
            found.append(frame)
            size += len(frame)
            if size > self._most:
                break
        return b"".join(found)

    def take(self, record: RequestRecord, body: bytes, answer: bytes, tool_calls_json: str) -> None:
        """Takes what was said in a request, and has its record commit to it. `body`: as it went to the provider."""
        request, request_left_out = bounded(body, self._most)
        answered, answer_left_out = bounded(answer, self._most)
        calls, _ = bounded(tool_calls_json.encode(), self._most)
        text = pb.RecordedText(
            request=request,
            request_bytes_left_out=request_left_out,
            answer=answered,
            answer_bytes_left_out=answer_left_out,
            tool_calls_json=calls,
        ).SerializeToString()
        if self._bytes + len(text) > WAITING_BYTES_MAX:
            _DROPPED.inc()
            return
        salt = os.urandom(SALT_BYTES)
        record.text_commitment = commit_text(salt, text)
        kept = pb.KeptText(org_id=record.org_id, request_id=record.request_id, salt=salt, text=text)
        self._bytes += len(text)
        self._waiting.append(_Waiting(kept, time.monotonic() + GIVEN_UP_S))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())

    async def drain(self, timeout_s: float) -> None:
        """Waits until everything is handed over; what is not by then is dropped."""
        sending = self._sending
        if sending is not None:
            await asyncio.wait([sending], timeout=timeout_s)
            sending.cancel()

    async def _send(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(GATHERED_S)
                batch = self._batch()
                left = await self._sent(batch)
                for one in batch:
                    if one.text.request_id not in left:
                        self._bytes -= len(one.text.text)
                    elif one.until > time.monotonic():
                        self._waiting.append(one)
                    else:
                        self._bytes -= len(one.text.text)
                        _DROPPED.inc()
        finally:
            self._sending = None

    def _batch(self) -> list[_Waiting]:
        batch, size = list[_Waiting](), 0
        while self._waiting and len(batch) < BATCH and size < BATCH_BYTES:
            batch.append(self._waiting.popleft())
            size += len(batch[-1].text.text)
        return batch

    async def _sent(self, batch: Sequence[_Waiting]) -> set[str]:
        """Hands a batch over; the ids of those that are to be sent again."""
        everything = {one.text.request_id for one in batch}
        try:
            with acting_as("gateway"):
                request = pb.KeepTextsRequest(texts=[one.text for one in batch])
                answer = await self._audit.KeepTexts(request, timeout=TIMEOUT_S)
        except MeshError as error:
            if error.reason not in _FINAL:
                return everything
            _REFUSED.inc(len(batch))
            if self._said != error.message:
                self._said = error.message
                _log.error("prompts and answers are not recorded: %s", error.message)
            return set()
        except Exception:
            _log.exception("handing prompts and answers to audit failed")
            return everything
        left = set(answer.not_stored_yet)
        _KEPT.inc(sum(one.text.request_id not in left for one in batch))
        return left

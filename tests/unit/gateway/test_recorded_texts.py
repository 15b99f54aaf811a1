"""Texts on their way to audit: cut in the middle, sent again until there is a record, bounded, and never in the way."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dac.audit.v1 import text_pb2 as pb
from dac.type.v1.principal_pb2 import Principal
from dac.type.v1.record_pb2 import RequestRecord
from mesh import call, telemetry
from mesh.errors import MeshError, Reason
from services.gateway.chat import recorded_texts
from services.gateway.chat.recorded_texts import EVERY, RecordedTexts, bounded


class Audit:
    """Answers as it is told, one answer a call; then takes everything."""

    def __init__(self, *answers: MeshError | list[str]) -> None:
        self.answers, self.got = list(answers), list[list[pb.KeptText]]()

    async def KeepTexts(self, request: pb.KeepTextsRequest, timeout: float) -> pb.KeepTextsResponse:
        self.got.append(list(request.texts))
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, MeshError):
            raise answer
        return pb.KeepTextsResponse(not_stored_yet=answer)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(call, "_service_principal", lambda service: (Principal(), b""))
    monkeypatch.setattr(recorded_texts, "GATHERED_S", 0.001)
    yield


def counted(outcome: str) -> float:
    return telemetry.TEXTS_RECORDED.labels(outcome)._value.get()  # type: ignore[no-any-return]


def made(audit: Audit, most: int = 1024) -> RecordedTexts:
    return RecordedTexts(audit, (EVERY,), most)  # type: ignore[arg-type]


@given(text=st.text(max_size=300), most=st.integers(8, 400))
def test_a_text_keeps_its_ends_and_says_what_is_missing(text: str, most: int) -> None:
    raw = text.encode()
    found, left_out = bounded(raw, most)
    if len(raw) <= most:
        assert (found, left_out) == (text, 0)
        return
    begun, mark, ended = found.partition(f"[… {left_out} bytes left out …]")
    assert mark and left_out == len(raw) - most and text.startswith(begun) and text.endswith(ended)
    assert len(begun.encode()) + len(ended.encode()) > most - 8


def test_only_named_organisations_are_recorded() -> None:
    texts = RecordedTexts(Audit(), ("0192ABCD-0000-7000-8000-000000000000",), 1024)  # type: ignore[arg-type]
    assert texts.records("0192abcd-0000-7000-8000-000000000000")
    assert not texts.records("0192abcd-0000-7000-8000-000000000001") and made(Audit()).records("any")


async def test_a_text_is_sent_until_its_record_is_there_and_the_record_commits_to_it() -> None:
    audit = Audit(["r"], MeshError(Reason.UNAVAILABLE, "away"))
    texts, record, kept = made(audit), RequestRecord(org_id="o", request_id="r"), counted("kept")
    texts.take(record, b"asked", b"answered", "[]")
    await texts.drain(10)
    assert len(audit.got) == 3 and counted("kept") == kept + 1
    ((sent,),) = {tuple(one.SerializeToString() for one in batch) for batch in audit.got}
    one = pb.KeptText.FromString(sent)
    assert record.text_commitment == hashlib.sha256(b"t/v1" + one.salt + one.text).digest() and len(one.salt) == 32
    said = pb.RecordedText.FromString(one.text)
    assert (said.request, said.answer, said.tool_calls_json) == ("asked", "answered", "[]")


async def test_what_audit_refuses_is_not_sent_again_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    why = MeshError(Reason.FAILED_PRECONDITION, "records are not sealed")
    audit, refused = Audit(why, why), counted("refused")
    texts = made(audit)
    for _ in range(2):
        texts.take(RequestRecord(org_id="o", request_id="r"), b"canary", b"", "")
        await texts.drain(10)
    assert len(audit.got) == 2 and counted("refused") == refused + 2
    assert [one.message for one in caplog.records] == ["prompts and answers are not recorded: records are not sealed"]


async def test_what_waits_is_bounded_and_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_texts, "WAITING_BYTES_MAX", 2500)
    monkeypatch.setattr(recorded_texts, "GIVEN_UP_S", 0.02)
    audit, dropped = Audit(*[MeshError(Reason.UNAVAILABLE, "away")] * 1000), counted("dropped")
    texts, record = made(audit), RequestRecord(org_id="o", request_id="r")
    for _ in range(3):
        record.text_commitment = b""
        texts.take(record, b"x" * 1000, b"", "")
    assert counted("dropped") == dropped + 1 and not record.text_commitment, "nothing commits to what is not kept"
    async with asyncio.timeout(10):
        await texts.drain(10)
    assert counted("dropped") == dropped + 3
    texts.take(record, b"x" * 1000, b"", "")
    assert record.text_commitment, "there is room again"
    await texts.drain(10)

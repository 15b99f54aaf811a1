"""Redaction of texts and bodies that are made to be dear: they cost little, and nothing private goes on unseen."""

import asyncio
import json
import random
import string
import time
from collections.abc import Callable

import pytest

from dac.router.v1.answers_pb2 import RedactionRules
from dac.type.v1 import chat_pb2
from dac.type.v1.record_pb2 import RedactionRecord
from mesh.errors import MeshError, Reason
from services.gateway.redaction.bodies import DEEPEST
from services.gateway.redaction.events import StreamRestorer, whole
from services.gateway.redaction.finder import MOST_TRIED, find
from services.gateway.redaction.placeholders import Redactor, Restorer
from services.gateway.redaction.stage import RedactionStage, redacted

BYTES = 1_000_000
CPU_S, ROUNDS = 0.075, 6
"""50 ms are promised, and kept where this was measured, at a load of 19 on two cores; half as much again is for slower
machines. Without the bounds it is up to 1.5 s."""
UNITS = (
    *("1 ", "a@", "@a.b", "a@b.c ", "4111 ", "2111 1111 1111 ", "4111111111111112 ", "8.8.8.8 ", "1.1.1.0 ", "1."),
    *("2001:db8::1 ", "::1 ", "+14155552671 ", "+1415555267 ", "call 12345678 ", "call 1 ", "(415) 555-2671 "),
    *("eyJaaaaaaa-AKIAIOSFODNN7ABCDEF2-", "eyJaaaaaaaa.a.a ", "DE89 ", "DE89 1111 1111 ", "://a:b@", "password="),
    *("password=abcdef1! ", 'password="\\"a', "-----BEGIN PRIVATE KEY-----", "[EMAIL_1]", "123-45-6789 "),
    *("123 45 6789 ", "111.111.111-11 ", "1 11 11 11 111 111 11 ", "12345678A ", "PESEL 11111111111 ", "AB111111A "),
    *("SSN ", "SSN 111111111 ", "sk-aaaaaaaaaaaaaaaa ", "bearer aaaaaaaaaaaaaaaa ", "1" * 26 + " ", "a1@b.co,"),
    *(
        "bc1q" + "q" * 38 + " ",
        "0x" + "a" * 40 + " ",
        "x@" + "a." * 30 + " ",
        "漢字1",
        "aбع中é👩‍👩‍👧1 ",
        "\n",
        "é",
        "a",
    ),
)


DRAWN: dict[str, Callable[[random.Random], str]] = {
    "decimals": lambda draw: "".join(f"{draw.random()}," for _ in range(60_000)),
    "stamps": lambda draw: "".join(f"{draw.randrange(16 * 10**11, 18 * 10**11)} " for _ in range(70_000)),
    "noise": lambda draw: "".join(draw.choices(string.printable, k=BYTES)),
    "figures and signs": lambda draw: "".join(draw.choices("0123456789 -.()+/", k=BYTES)),
    "calls": lambda draw: "".join(f"call {draw.randrange(10**7, 10**9)} " for _ in range(70_000)),
    "codes": lambda draw: "".join(f"+{draw.randrange(10**7, 10**12)} " for _ in range(70_000)),
    "addresses": lambda draw: "".join(f"{draw.randrange(1, 224)}.7.3.{draw.randrange(1, 255)} " for _ in range(80_000)),
    "passwords": lambda draw: "".join(f"pwd=aB{at}x! " for at in range(70_000)),
    "emails": lambda draw: "".join(f"u{at}@ex{at % 97}.org," for at in range(60_000)),
}
"""Texts that are no repetition, by name. Made when they are asked for: every test process reads this file."""


def text_of(name: str) -> str:
    """A megabyte of it."""
    if name in DRAWN:
        return DRAWN[name](random.Random(4))
    return (name * (BYTES // len(name.encode()) + 1))[:BYTES]


BODIES: dict[str, Callable[[], bytes]] = {
    "strings": lambda: b'{"messages":[' + b'"a",' * (BYTES // 4) + b'"a"]}',
    "lists": lambda: b'{"input":[' + b"[]," * (BYTES // 3) + b"1]}",
    "objects": lambda: b'{"input":[' + b"{}," * (BYTES // 3) + b"1]}",
    "numbers": lambda: b'{"input":[' + b"1," * (BYTES // 2) + b"1]}",
    "long numbers": lambda: b'{"input":[' + b"123456789," * (BYTES // 10) + b"1]}",
    "members": lambda: b'{"metadata":{' + b",".join(b'"%d":"x"' % at for at in range(80_000)) + b"}}",
    "nested": lambda: b'{"input":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested often": lambda: b'{"input":[' + (b"[" * 400 + b'"a"' + b"]" * 400 + b",") * 1_200 + b"1]}",
    "descriptions": lambda: b'{"tools":[' + b'{"description":"a"},' * 50_000 + b"1]}",
    "calls": lambda: json.dumps(
        {"messages": [{"function": {"arguments": '{"a":"x@y.org"}'}} for _ in range(20_000)]}
    ).encode(),
    "members of calls": lambda: json.dumps(
        {"messages": [{"function": {"arguments": json.dumps({f"k{at}": f"a{at}@b.org" for at in range(30_000)})}}]}
    ).encode(),
    "nested calls": lambda: json.dumps(
        {"messages": [{"function": {"arguments": "[" * 900 + '"a@b.org"' + "]" * 900}} for _ in range(500)]}
    ).encode(),
    "placeholders": lambda: json.dumps(
        {"messages": ["".join(f"[EMAIL_{at}]" for at in range(70_000)) + " a@b.org"]}
    ).encode(),
}


def cost_s(body: bytes) -> tuple[float, bytes | None]:
    """CPU seconds of this thread, the least of some, and what is sent; None = the request is refused."""
    least, made = 9.0, None
    for _ in range(ROUNDS):
        begun = time.thread_time()
        try:
            made = redacted(body, Redactor())
        except MeshError as error:
            assert error.reason in (Reason.TOO_LARGE, Reason.INVALID_REQUEST)
            made = None
        least = min(least, time.thread_time() - begun)
        if least < CPU_S:
            break
    return least, made


@pytest.mark.parametrize("name", [*UNITS, *DRAWN])
def test_a_megabyte_of_one_thing_costs_little(name: str) -> None:
    cost, _ = cost_s(json.dumps({"messages": [{"role": "user", "content": text_of(name)}]}).encode())
    assert cost < CPU_S


@pytest.mark.parametrize("name", BODIES)
def test_a_body_of_many_values_costs_little(name: str) -> None:
    cost, made = cost_s(BODIES[name]())
    assert cost < CPU_S
    assert made is None or b"@b.org" not in made


def test_ten_megabytes_of_names_are_refused_before_they_are_read() -> None:
    # Read first, they took 0.3 s.
    cost, made = cost_s(b'{"metadata":{' + b",".join(b'"%d":"x"' % at for at in range(800_000)) + b"}}")
    assert cost < CPU_S and made is None


def test_a_body_of_as_many_messages_as_are_looked_at_goes_through() -> None:
    said = [{"role": "user", "content": [{"type": "text", "text": f'Part "{at}"'}]} for at in range(7_000)]
    body = json.dumps({"messages": [*said, {"role": "user", "content": "a@b.org"}]}).encode()
    sent = redacted(body, Redactor())
    assert json.loads(sent) == json.loads(body.replace(b"a@b.org", b"[EMAIL_1]"))


def staged(body: bytes, action: str) -> tuple[bytes, RedactionRecord]:
    record = RedactionRecord()
    stage = RedactionStage(
        RedactionRules(enabled=True, action=action), record, chat_pb2.DIALECT_OPENAI_CHAT, json=False
    )
    return asyncio.run(stage.sent(body)), record


@pytest.mark.parametrize("action", ["redact", "block"])
def test_what_cannot_be_looked_through_to_its_end_is_refused(action: str) -> None:
    # The one true card stands behind all that is looked at.
    body = json.dumps({"messages": ["4111 " * MOST_TRIED + ". 4012888888881881"]}).encode()
    with pytest.raises(MeshError) as refused:
        staged(body, action)
    assert refused.value.reason == Reason.TOO_LARGE


def test_with_flag_it_goes_on_and_what_was_found_is_recorded() -> None:
    body = json.dumps({"messages": ["a1@b.org " * MOST_TRIED]}).encode()
    sent, record = staged(body, "flag")
    assert sent == body and 1000 < record.kinds["email"] < MOST_TRIED


def test_a_dry_run_is_refused_alike() -> None:
    with pytest.raises(MeshError) as refused:
        find("8.8.8.8 " * MOST_TRIED)
    assert refused.value.reason == Reason.TOO_LARGE


def test_long_tables_and_logs_of_nothing_private_go_through() -> None:
    draw = random.Random(5)
    log = "".join(
        f"2026-11-03T10:11:{at % 60:02d}.123Z 10.0.{at % 256}.7 GET /v1/users/{at} 200 {draw.random()} "
        f"ts={draw.randrange(16 * 10**11, 18 * 10**11)}\n"
        for at in range(12_000)
    )
    assert find(log) == []
    assert redacted(b'{"input":[%s]}' % b",".join([b"%d" % at for at in range(100_000)]), Redactor())


def test_cards_and_numbers_behind_a_comma_are_found_in_tables() -> None:
    rows = "Ann,4111111111111111,x\nBob,123-45-6789,y\n7,4111 1111 1111 1111,z\n"
    assert [one.kind for one in find(rows)] == ["card", "ssn", "card"]
    assert find("it is 3,4111111111111111 or 0.4111111111111111 long") == []


def test_arguments_at_the_deepest_level_are_redacted_and_deeper_ones_refused() -> None:
    def body(depth: int) -> bytes:
        return json.dumps({"messages": [{"function": {"arguments": "[" * depth + '"a@b.org"' + "]" * depth}}]}).encode()

    assert b"a@b.org" not in redacted(body(DEEPEST), Redactor())
    with pytest.raises(MeshError) as refused:
        redacted(body(DEEPEST + 1), Redactor())
    assert refused.value.reason == Reason.INVALID_REQUEST


def test_an_answer_that_no_model_says_keeps_its_placeholders() -> None:
    answer = b'{"choices":' + b"[" * 300 + b'"[EMAIL_1]"' + b"]" * 300 + b"}"
    assert whole(answer, Restorer({"[EMAIL_1]": "a@b.org"}), in_json=False) == answer


def stream_cost_s(texts: list[str], indexes: int = 1) -> float:
    """CPU seconds of a stream of such pieces, the least of three."""
    events = [
        b"data: %s\n\n" % json.dumps({"choices": [{"index": at % indexes, "delta": {"content": text}}]}).encode()
        for at, text in enumerate(texts)
    ]
    least = 9.0
    for _ in range(3):
        stream = StreamRestorer(chat_pb2.DIALECT_OPENAI_CHAT, Restorer({"[EMAIL_1]": "a@b.org"}), in_json=False)
        begun = time.process_time()
        made = b"".join([*map(stream.shown, events), stream.rest()])
        least = min(least, time.process_time() - begun)
        assert made == b"".join(events)
    return least


@pytest.mark.parametrize(
    "texts", [["[E"] + [""] * 4000, ["[", "E"] * 2000, list("[EMAIL_9") * 500], ids=["empty", "begun", "whole"]
)
def test_a_stream_of_many_small_events_costs_little_each(texts: list[str]) -> None:
    # Joined anew with every event, the empty ones would take 5 s.
    assert stream_cost_s(texts) < 0.5


def test_one_choice_that_waits_does_not_make_the_others_dear() -> None:
    assert stream_cost_s(["[E", *["a "] * 4000], indexes=2) < 0.5

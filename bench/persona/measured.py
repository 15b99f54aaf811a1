"""The measurements: labelled claims, texts that must stay under random cuttings, CPU of a stream."""

from __future__ import annotations

import difflib
import gc
import itertools
import json
import multiprocessing
import pathlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from dac.router.v1.answers_pb2 import AnswerRules, PersonaRules
from dac.type.v1.principal_pb2 import Principal
from dac.type.v1.record_pb2 import RequestRecord
from mesh.ids import uuid7
from services.gateway.chat.answer_stage import Staged
from services.gateway.chat.answer_stages import AnswerStages, stages_of
from services.gateway.identity.callers import Caller
from services.gateway.persona.voice import Voice, rewrite
from services.gateway.wire.openai_wire import parse_chat

LABELS = pathlib.Path(__file__).parent / "labels.json"
NAME, EVENTS, ROUNDS = "DAC", 31, 60
_WORDS = "The sum is easy to see once both sides are written in the same form and then it is one step or two"
_CLAIM = "As an AI language model , I do not have an opinion of that ."
_ID = uuid7()
_ASK = parse_chat(b'{"model":"a/b","stream":true,"messages":[{"role":"user","content":"Hi"}]}')
_CALLER = Caller(Principal(org_id=_ID), ())
LONGEST = (2, 4, 12, 60, 400)
"""The longest pieces of a cutting."""
REACH = 60
"""How far behind a claim's beginning its first change may stand."""


def labels() -> dict[str, list[int]]:
    """An answer's id → where its claims begin."""
    found: dict[str, list[int]] = json.loads(LABELS.read_text())["claims"]
    return found


def answers_in(folder: pathlib.Path) -> dict[str, str]:
    """The given answers by id."""
    rows = (json.loads(line) for file in sorted(folder.rglob("halueval_general*.jsonl")) for line in file.open())
    return {str(row["ID"]): row["chatgpt_response"] for row in rows}


def rewritten_of(text: str, claims: Sequence[int]) -> int:
    """How many of the claims are put otherwise."""
    said, _ = rewrite(text, NAME)
    matcher = difflib.SequenceMatcher(None, text, said, autojunk=False)
    changes = [begin for tag, begin, *_ in matcher.get_opcodes() if tag != "equal"]
    return sum(any(claim <= one <= claim + REACH for one in changes) for claim in claims)


def in_pieces(text: str, ends: Iterable[int]) -> str:
    """The text as a stream would have said it, whose pieces end there."""
    voice = Voice(NAME)
    shown, feed, at = list[str](), voice.feed, 0
    for end in ends:
        piece = text[at:end]
        # As JSON has it, but for what is escaped there, which never passes.
        shown.append(piece if voice.passes(piece.encode("utf-8", "replace")) else feed(piece))
        at = end
    return "".join([*shown, feed(text[at:]), voice.rest()])


def cuttings_of(text: str, draw: random.Random, count: int) -> Iterator[list[int]]:
    """Where the text is cut: once behind every character, and then at random, into long pieces and short ones."""
    yield list(range(1, len(text)))
    for _ in range(count - 1):
        longest = draw.choice(LONGEST)
        sizes = draw.choices(range(1, longest + 1), k=2 * len(text) // longest + 1)
        yield [end for end in itertools.accumulate(sizes) if end < len(text)]


def _cut_alike(one: tuple[str, str, int]) -> tuple[str, bool, bool]:
    """An answer's id; whether it is the same however it is cut; whether it stays as it was."""
    name, text, cuttings = one
    whole, _ = rewrite(text, NAME)
    draw = random.Random(f"8 {name}")
    alike = all(in_pieces(text, ends) == whole for ends in cuttings_of(text, draw, cuttings))
    return name, alike, alike and whole == text


def accuracy(answers: Mapping[str, str], claims: Mapping[str, Sequence[int]], cuttings: int) -> dict[str, Any]:
    """Claims rewritten; other answers that stay, byte for byte, and all that are the same however they are cut.

    `cuttings`: how many for every answer; they are tried by as many processes as there are cores.
    """
    labelled = {one: claims[one] for one in claims if one in answers}
    wanted = sum(map(len, labelled.values()))
    done = sum(rewritten_of(answers[one], at) for one, at in labelled.items())
    stays = same = others = 0
    work = [(name, text, cuttings) for name, text in answers.items()]
    # Spawned: whoever measures may have threads, which do not live on in a fork.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        for name, alike, stayed in pool.map(_cut_alike, work, chunksize=8):
            same += alike
            if not labelled.get(name):
                others += 1
                stays += stayed
    return {
        "labelled": len(labelled),
        "claims": wanted,
        "rewritten": done,
        "rewritten_rate": done / wanted if wanted else None,
        "others": others,
        "untouched_identical": stays / others if others else None,
        "cut_alike": same / len(answers) if answers else None,
        "cuttings": cuttings,
    }


def _event(number: int, text: str) -> bytes:
    head = '{"id":"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG","object":"chat.completion.chunk","created":1741570283'
    head += ',"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_06737a9306"'
    ends = number == EVENTS - 1
    delta = "{}" if ends else json.dumps({"content": text}, separators=(",", ":"))
    reason = '"stop"' if ends else "null"
    choice = f'[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}]'
    return f'data: {head},"choices":{choice}}}\n\n'.encode()


def _stages() -> AnswerStages | None:
    rules = AnswerRules(persona=PersonaRules(enabled=True))
    return stages_of(Staged(rules, _ASK, _CALLER, RequestRecord(request_id=_ID), lambda: "openai/gpt-4o-mini"))


def _stream(events: Sequence[bytes], stages: AnswerStages | None) -> None:
    for event in events:
        if stages is not None:
            stages.shown(event)
    if stages is not None:
        stages.rest()


def _cpu_ms(run: Callable[[], object]) -> float:
    """CPU-ms of one run: the least of some rounds, because what else the machine does only adds to it."""
    took = []
    gc.disable()
    for _ in range(15):
        begun = time.process_time()
        for _ in range(ROUNDS):
            run()
        took.append((time.process_time() - begun) / ROUNDS * 1e3)
    gc.enable()
    return min(took)


def cost() -> dict[str, float]:
    """CPU-ms of a stream of 31 events: without a persona, with one, with one and a claim; its stage is made anew."""
    words = _WORDS.split()
    plain = [_event(number, f" {words[number % len(words)]}") for number in range(EVENTS)]
    said = _CLAIM.split()
    claim = [_event(number, f" {word}") for number, word in enumerate([*said, *words][: EVENTS - 1])] + [plain[-1]]
    # The patterns are made with the first of them.
    _stages()
    return {
        "off": _cpu_ms(lambda: _stream(plain, None)),
        "stream": _cpu_ms(lambda: _stream(plain, _stages())),
        "stream_with_claim": _cpu_ms(lambda: _stream(claim, _stages())),
    }

"""`python -m bench.redaction [--json] [--texts DIR]`: precision and recall by kind on made cases, and the cost.

With `--texts` the texts of a folder (.txt, .md, .json, .jsonl, .csv) are looked through as well, and what is found in
them is counted by kind: their truth is not known, so that says how often real texts are touched.
"""

import argparse
import asyncio
import collections
import contextlib
import functools
import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.redaction.cases import Case, negatives, positives
from dac.router.v1.answers_pb2 import RedactionRules
from dac.type.v1 import chat_pb2
from dac.type.v1.record_pb2 import RedactionRecord
from mesh.errors import MeshError
from services.gateway.redaction.events import StreamRestorer
from services.gateway.redaction.finder import find
from services.gateway.redaction.placeholders import Redactor, Restorer
from services.gateway.redaction.stage import RedactionStage, redacted

PROSE = (
    "The harbour master asked for another lamp because the nights in November are long and the old one is dim. "
    "He said that the boats come in late, and that nobody can see the third buoy from the pier any more. "
)
CODE = "def area(x: float, y: float) -> float:\n    return round(x * y * 3.14159, 2)  # see issue 4711 of 2026-11-03\n"
PRIVATE = (
    "Maria wrote from maria.k@example.org that +44 20 7946 0958 or (415) 555-2671 is best; card 4111 1111 1111 1111. "
)
HOSTILE = (
    *("1 ", "a@", "@a.b", "4111 ", "8.8.8.8 ", "+14155552671 ", "call 12345678 ", "eyJaaaaaaa-AKIAIOSFODNN7ABCDEF2-"),
    *("DE89 ", "://a:", ":", "password=", "-----BEGIN PRIVATE KEY-----", "[EMAIL_1]", "2001:db8::1 ", "+1415555267 "),
    *(
        "password=abcdef1! ",
        "(415) 555-2671 ",
        "PESEL 11111111111 ",
        "bearer aaaaaaaaaaaaaaaa ",
        "AB111111A ",
        "a1@b.co,",
    ),
)


def score(cases: list[Case]) -> dict[str, Any]:
    """Right and wrong matches by kind, and found values by group."""
    right, wrong, missed = collections.Counter[str](), collections.Counter[str](), collections.Counter[str]()
    groups: dict[str, list[int]] = {}
    examples: dict[str, list[str]] = {}
    for case in cases:
        start = case.text.index(case.value) if case.kind else -1
        end = start + len(case.value)
        hit = False
        for one in find(case.text):
            if one.kind == case.kind and one.start <= start and one.end >= end:
                hit = True
            elif not (case.kind and one.start < end and start < one.end and one.kind == case.kind):
                wrong[one.kind] += 1
                examples.setdefault(f"wrong {one.kind}", []).append(f"{case.group}: {case.text[one.start : one.end]}")
        if case.kind:
            (right if hit else missed)[case.kind] += 1
            counts = groups.setdefault(case.group, [0, 0])
            counts[0] += hit
            counts[1] += 1
            if not hit:
                examples.setdefault(f"missed {case.group}", []).append(case.text)
    kinds = sorted({*right, *wrong, *missed})
    return {
        "kinds": {
            kind: {
                "cases": right[kind] + missed[kind],
                "recall": round(right[kind] / max(1, right[kind] + missed[kind]), 4),
                "precision": round(right[kind] / max(1, right[kind] + wrong[kind]), 4),
                "wrong": wrong[kind],
            }
            for kind in kinds
        },
        "groups": {group: {"found": found, "of": total} for group, (found, total) in sorted(groups.items())},
        "examples": {name: found[:6] for name, found in sorted(examples.items())},
    }


def cpu_ms(work: Callable[[], object], times: int) -> float:
    """CPU milliseconds of one call, the best of five rounds."""
    rounds = []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(times):
            work()
        rounds.append((time.process_time() - begun) / times * 1e3)
    return min(rounds)


def _body(text: str, turns: int) -> bytes:
    each = len(text) // turns
    said = [{"role": "user", "content": text[at * each : (at + 1) * each]} for at in range(turns)]
    return json.dumps({"model": "m", "messages": said}).encode()


async def _stage_ms(body: bytes, times: int = 100) -> float:
    """CPU milliseconds of a whole stage on its way to the provider, the best of five rounds."""
    rules, rounds = RedactionRules(enabled=True, restore=True), []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(times):
            await RedactionStage(rules, RedactionRecord(), chat_pb2.DIALECT_OPENAI_CHAT, json=False).sent(body)
        rounds.append((time.process_time() - begun) / times * 1e3)
    return min(rounds)


def costs() -> dict[str, Any]:
    """CPU milliseconds for 1,000 characters."""
    plain, code = (PROSE * 10)[:1000], (CODE * 20)[:1000]
    mixed, dense = (PROSE * 3 + PRIVATE + PROSE * 3)[:1000], (PRIVATE * 20)[:1000]
    found = {
        "prose": cpu_ms(lambda: find(plain), 200),
        "code": cpu_ms(lambda: find(code), 200),
        "prose with four values": cpu_ms(lambda: find(mixed), 100),
        "nothing but values": cpu_ms(lambda: find(dense), 50),
    }
    found["whole stage, one message with four values"] = asyncio.run(_stage_ms(_body(mixed, 1)))
    found["whole stage, twenty messages without values"] = asyncio.run(_stage_ms(_body(plain, 20)))
    found["31 events of a stream on their way back"] = _back_ms()
    hostile = {}
    for unit in HOSTILE:
        body = _body(unit * (10**6 // len(unit)), 1)
        hostile[unit] = round(cpu_ms(functools.partial(_tried, body), 1), 1)
    return {
        "cpu_ms_per_1000_characters": {name: round(one, 3) for name, one in found.items()},
        "cpu_ms_for_a_megabyte_of": hostile,
        "cpu_ms_for_a_megabyte_of_the_worst": max(hostile.values()),
    }


def _tried(body: bytes) -> None:
    """Looks a body through, or refuses it."""
    with contextlib.suppress(MeshError):
        redacted(body, Redactor())


def _back_ms() -> float:
    """CPU milliseconds for a stream whose request had a value."""
    events = [
        b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
        + json.dumps({"content": word}).encode()
        + b',"logprobs":null,"finish_reason":null}]}\n\n'
        for word in ["I", " wrote", " to", " [", "EMAIL", "_", "1", "]", " and", *[" wait"] * 22]
    ]

    def back() -> None:
        restorer = Restorer({"[EMAIL_1]": "a@b.org"})
        stream = StreamRestorer(chat_pb2.DIALECT_OPENAI_CHAT, restorer, in_json=False)
        for event in events:
            stream.shown(event)
        stream.rest()

    return cpu_ms(back, 100)


def touched(folder: pathlib.Path) -> dict[str, Any]:
    """What is found in texts whose truth is not known."""
    kinds, characters, shown = collections.Counter[str](), 0, dict[str, list[str]]()
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".txt", ".md", ".json", ".jsonl", ".csv") and file.is_file():
            text = file.read_text("utf-8", "replace")
            characters += len(text)
            for one in find(text):
                kinds[one.kind] += 1
                shown.setdefault(one.kind, []).append(text[one.start : one.end][:60])
    examples = {kind: found[:: max(1, len(found) // 12)][:12] for kind, found in shown.items()}
    return {"characters": characters, "kinds": dict(kinds), "examples": examples}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON value on standard output")
    parser.add_argument("--examples", action="store_true", help="show some of what was missed or wrongly found")
    parser.add_argument("--texts", type=pathlib.Path, help="a folder of texts to look through")
    said = parser.parse_args()
    good, bad = list(positives()), list(negatives())
    measured = {"positives": len(good), "negatives": len(bad), **score([*good, *bad]), **costs()}
    flagged = sum(bool(find(case.text)) for case in bad)
    measured["negatives_flagged"] = flagged
    if said.texts:
        measured["texts"] = touched(said.texts)
    if not said.examples:
        measured.pop("examples")
        measured.get("texts", {}).pop("examples", None)
    json.dump(measured, sys.stdout, indent=None if said.json else 1, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()

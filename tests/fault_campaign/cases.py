"""The cases: which fault, on which wire, streamed or not, and what the caller and the record must say."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from tests.fault_campaign import answers, plays
from tests.fault_campaign.plays import Play

TOTAL_S = 4.0
"""total_timeout_s of the campaign's providers: the deadline of nearly every case."""
POSITIONS = range(20)
CODES = (400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529)
BODIES = ("json", "html", "empty", "huge")
OPENAI, ANTHROPIC = "chat", "messages"
BOTH = ((OPENAI, OPENAI), (ANTHROPIC, ANTHROPIC))
ALL_FOUR = (*BOTH, (OPENAI, ANTHROPIC), (ANTHROPIC, OPENAI))
"""(the caller's wire, the provider's dialect)."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One request."""

    name: str
    wire: str
    dialect: str
    stream: bool
    play: Play
    args: dict[str, Any] = dataclasses.field(default_factory=dict)
    status: int = 200
    """What the caller is answered."""
    ends: str = "whole"
    """whole, error (a status, or an error event and no good end), or gone: the caller leaves."""
    cost: str = "told"
    """told by the provider, counted by DAC, nothing, some: told or counted, or more: counted, and told by another."""
    leaves_after: int | None = None
    """The caller leaves after so many words; 0 = before the answer begins."""
    or_status: int = 0
    """Or this: which limit is met first is not told."""
    quick: bool = False
    """In `make test`, too."""

    @property
    def id(self) -> str:
        """A name of its own."""
        way = self.wire if self.wire == self.dialect else f"{self.wire}-to-{self.dialect}"
        return f"{self.name}-{way}-{'stream' if self.stream else 'plain'}"


def _told_status(code: int, body: str) -> int:
    """What the caller hears of a provider's status."""
    if code in (400, 404, 413, 422):
        # Its own words and status, when they are short JSON; otherwise that the request was refused.
        return code if body == "json" else 400
    if code == 429:
        return 429
    return 502


def _statuses() -> Iterator[Case]:
    variants = [*((code, "") for code in CODES), (429, "1"), (503, "1"), (429, "60")]
    for number, ((code, after), body) in enumerate(itertools.product(variants, BODIES)):
        for index, ((wire, dialect), stream) in enumerate(itertools.product(BOTH, (True, False))):
            name = f"{code}{f'-retry-after-{after}' if after else ''}-{body}"
            args = {"code": code, "body": body, "after": after}
            # One of the four, and not always the same one.
            quick = number % 4 == (number // 4) % 4 and index == number // 4 % 4
            told = _told_status(code, body)
            yield Case(name, wire, dialect, stream, plays.status, args, told, "error", "nothing", quick=quick)


NO_ANSWERS: dict[str, tuple[Play, dict[str, Any], int]] = {
    "reset": (plays.reset, {}, 502),
    "not-http": (plays.bytes_only, {"data": b"SSH-2.0-OpenSSH_9.6\r\n"}, 502),
    "half-a-status-line": (plays.bytes_only, {"data": b"HTTP/1.1 2"}, 502),
    "half-the-headers": (plays.bytes_only, {"data": b"HTTP/1.1 200 OK\r\nContent-Type: te", "wait_s": 20.0}, 504),
    "absurd-status": (plays.bytes_only, {"data": b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n"}, 502),
    "redirect": (
        plays.bytes_only,
        {"data": b"HTTP/1.1 307 Away\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n"},
        502,
    ),
    "huge-header": (plays.bytes_only, {"data": b"HTTP/1.1 200 OK\r\nX-Big: " + b"x" * 100_000 + b"\r\n\r\n"}, 502),
    "silence": (plays.silence, {"headers": False}, 504),
    "headers-then-silence": (plays.silence, {"headers": True}, 504),
    "drip": (plays.drip, {"after": 0}, 504),
    "broken-gzip": (plays.broken_gzip, {}, 502),
    "broken-chunk-first": (plays.broken_chunk, {"after": 0}, 502),
    "type-html": (plays.good, {"kind": "text/html"}, 502),
    "gzip-bomb": (plays.bomb, {}, 502),
}
"""Faults before any token: nothing may be charged."""


def _no_answers() -> Iterator[Case]:
    for (name, (play, args, told)), stream, way in itertools.product(NO_ANSWERS.items(), (True, False), BOTH):
        quick = stream is (way == BOTH[0])
        # A stream's bomb comes after words.
        started = name == "gzip-bomb" and stream
        status, cost = (200, "counted") if started else (told, "nothing")
        yield Case(name, *way, stream, play, args, status, "error", cost, quick=quick)
    for way in BOTH:
        yield Case("type-json", *way, True, plays.good, {"kind": "application/json"}, 502, "error", "nothing")
        event_stream = {"kind": "text/event-stream"}
        yield Case("type-event-stream", *way, False, plays.good, event_stream, 502, "error", "nothing")
        yield Case(
            "endless", *way, False, plays.endless, {}, 502, "error", "nothing", or_status=504, quick=way == BOTH[0]
        )
        yield Case("endless", *way, True, plays.endless, {}, 200, "error", "counted", quick=way == BOTH[0])
        yield Case("drip-later", *way, True, plays.drip, {"after": 5}, 200, "error", "counted", quick=way == BOTH[1])


USAGES: dict[str, Any] = {
    "missing": answers.MISSING,
    "null": None,
    "empty": {},
    "list": [30, 24],
    "zero": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    "texts": {"prompt_tokens": "many", "completion_tokens": "more"},
    "half": {"prompt_tokens": 30},
    "one-text": {"prompt_tokens": 30, "completion_tokens": "more"},
    "negative": {"prompt_tokens": -30, "completion_tokens": -24},
    "fractions": {"prompt_tokens": 30.5, "completion_tokens": 24.5},
    "one-fraction": {"prompt_tokens": 30, "completion_tokens": 24.5},
    "truth": {"prompt_tokens": True, "completion_tokens": True},
    "absurd": {"prompt_tokens": 10**18, "completion_tokens": 10**18},
    "beyond-the-ledger": {"prompt_tokens": 2 * 10**9, "completion_tokens": 24},
    "beyond-64-bits": {"prompt_tokens": 30, "completion_tokens": 10**30},
    "odd-details": {"prompt_tokens": 30, "completion_tokens": 24, "prompt_tokens_details": [1]},
    "text-details": {"prompt_tokens": 30, "completion_tokens": 24, "prompt_tokens_details": {"cached_tokens": "x"}},
}
"""Usage that cannot be believed never spoils the answer; then it is counted. A plain zero is believed."""
BELIEVED = {"zero": "nothing", "odd-details": "some", "text-details": "some"}


def _usages() -> Iterator[Case]:
    for (name, usage), stream, way in itertools.product(USAGES.items(), (True, False), BOTH):
        cost = BELIEVED.get(name, "counted")
        quick = stream is (way == BOTH[0])
        yield Case(f"usage-{name}", *way, stream, plays.good, {"usage": usage}, cost=cost, quick=quick)


def _in_middle(extra: bytes) -> Any:
    return lambda events: [*events[:8], extra, *events[8:]]


FORMS: dict[str, Any] = {
    "lf": lambda events: events,
    "crlf": lambda events: [event.replace(b"\n", b"\r\n") for event in events],
    "bom": lambda events: [b"\xef\xbb\xbf" + events[0], *events[1:]],
    "comments": lambda events: [b": ping\n\n" + event for event in events],
    "no-last-blank-line": lambda events: [*events[:-1], events[-1].rstrip(b"\n")],
    "byte-by-byte": lambda events: [bytes([one]) for one in b"".join(events)],
    "all-at-once": lambda events: [b"".join(events)],
    "invalid-json": _in_middle(b'data: {"choices": [{"delta":\n\n'),
    "no-object": _in_middle(b"data: 17\n\n"),
    "invalid-utf8": _in_middle(b'data: {"x": "\xff\xfe"}\n\n'),
    "deep-json": _in_middle(b"data: " + b"[" * 50_000 + b"\n\n"),
    "unknown-fields": _in_middle(b"id: 7\nretry: 10\nfoo: bar\n\n"),
    "nul-bytes": _in_middle(b"\x00\x00\x00\n\n"),
}
"""Streams whose answer is whole all the same."""


def _forms() -> Iterator[Case]:
    for (name, change), way in itertools.product(FORMS.items(), ALL_FOUR):
        yield Case(f"sse-{name}", *way, True, plays.good, {"change": change}, quick=way[0] == OPENAI)
    for way in ALL_FOUR:
        # The standard allows it and nobody sends it: it is no stream to DAC, and that is said.
        lone = {"change": lambda events: [event.replace(b"\n", b"\r") for event in events]}
        yield Case("sse-cr", *way, True, plays.good, lone, 502, "error", "nothing", quick=way[0] == way[1])
        huge = {"change": _in_middle(b"data: " + b"x" * (3 << 20) + b"\n\n")}
        yield Case("sse-huge-event", *way, True, plays.good, huge, 200, "error", "counted", quick=way[0] == way[1])
        yield Case("gzip", *way, True, plays.good, {"zipped": True}, quick=way == BOTH[0])
        yield Case("gzip", *way, False, plays.good, {"zipped": True}, quick=way == BOTH[1])
        yield Case("no-type", *way, False, plays.good, {"kind": "application/octet-stream"})
    for way, body in itertools.product(BOTH, (b"", b"null", b"[]", b'{"choices": []', b'{"error": {"message": "no"}}')):
        change = {"change": lambda _, body=body: [body]}
        name = f"body-{body.decode().split(':')[0].strip('{}[] ') or len(body)}".replace('"', "")
        yield Case(name, *way, False, plays.good, change, 502, "error", "nothing", quick=way == BOTH[0])
    for way in ALL_FOUR:
        later = {"after": 5}
        quick = way == BOTH[0]
        yield Case("broken-chunk-later", *way, True, plays.broken_chunk, later, 200, "error", "counted", quick=quick)


def _cuts() -> Iterator[Case]:
    quick = {0, 1, 10, 19}
    for after, way in itertools.product(POSITIONS, ALL_FOUR):
        how = ("closed", "reset", "ended")[after % 3]
        told, cost = (200, "counted") if after else (502, "nothing")
        same = way[0] == way[1]
        now = after in quick and same
        args = {"after": after, "how": how}
        yield Case(f"cut-{how}-{after}", *way, True, plays.cut, args, told, "error", cost, quick=now)
        if same:
            args = {"after": after, "how": how if how != "ended" else "closed"}
            yield Case(f"cut-{after}", *way, False, plays.cut, args, 502, "error", "nothing", quick=now)


def _rescues() -> Iterator[Case]:
    for after, dialect, how in itertools.product(POSITIONS, (OPENAI, ANTHROPIC), ("closed", "reset")):
        args = {"after": after, "how": how}
        # Before the first word it is a retry, and costs what the answer costs.
        cost = "told" if after == 0 else "more"
        quick = after in (0, 1, 10, 19) and how == "closed"
        yield Case(f"rescued-{how}-{after}", OPENAI, dialect, True, plays.cut_once, args, cost=cost, quick=quick)


def _departures() -> Iterator[Case]:
    for after, way in itertools.product(POSITIONS, ALL_FOUR):
        quick = after in (0, 1, 10, 19) and way[0] == way[1]
        name, args = f"leave-{after}", {"after": after}
        yield Case(name, *way, True, plays.until_left, args, 0, "gone", "counted", leaves_after=after, quick=quick)
    for way in BOTH:
        args = {"after": 0}
        yield Case("leave-0", *way, False, plays.until_left, args, 0, "gone", "counted", leaves_after=0, quick=True)


CASES = [*_statuses(), *_no_answers(), *_usages(), *_forms(), *_cuts(), *_rescues(), *_departures()]
"""All of them."""
BY_ID = {one.id: one for one in CASES}

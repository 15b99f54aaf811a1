"""Taking up an answer that broke off after its caller had seen a part of it.

The next attempt gets the request with the shown part behind it, and what it says again is taken out (overlap.py). How
the shown part is handed over depends on the provider: as the beginning of the answer where its API continues one, with
the wish to go on where not, and, where neither is possible, not at all: then the answer must come again word for word.
The first chunk of the new attempt carries `dac.rescue`, so a client that wants to know can see the seam.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from mesh import sse
from services.provider.adapters import Exchange, Shows
from services.provider.calling.events import Ask, Attempt, Candidate, Dialect, Rescue, Usage, added
from services.provider.calling.joining import Broken, ChatJoin, MessagesJoin
from services.provider.errors import ProviderFault
from services.provider.splice import fields_of, splice

MAX_SHOWN_BYTES = 4 * 1024 * 1024
"""Of a longer stream not everything is kept, so it cannot be taken up."""
ANCHOR_CHARS = 48
_WISH = (
    "Your answer above was cut off. Go on with it exactly where it stopped, in the same language and form, without any "
    "remark. Begin by repeating these last words of it, character by character, and then continue:\n{anchor}"
)
PREFILL: Mapping[str, Mapping[str, Any]] = {
    "last_message": {},
    "prefix": {"prefix": True},
    "partial": {"partial": True},
}
"""How a provider is told to continue a last message of the assistant → what that message carries; any other word: it
does not, it answers anew or refuses."""
GRAMMARS = frozenset(
    """guided_json guided_regex guided_choice guided_grammar structured_outputs structural_tag regex ebnf grammar
    json_schema""".split()  # noqa: SIM905
)
"""Fields beside OpenAI's own that hold an answer to a form."""
JOINS = {Dialect.OPENAI_CHAT: ChatJoin, Dialect.ANTHROPIC_MESSAGES: MessagesJoin}
"""Who puts the parts together, by the caller's wire format."""
_encode, _decode = msgspec.json.encode, msgspec.json.decode


class Speaks(Protocol):
    """A line as far as it matters here."""

    def prefill(self, upstream_name: str) -> str:
        """See generation.Line."""

    def exchange(self, ask: Ask, candidate: Candidate) -> Exchange:
        """See generation.Line."""


class Rescuer:
    """The rescue of one answer: how often it may still be taken up, and what was shown until now."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._left = ask.rescues if ask.stream else 0
        self._restart: set[tuple[str, str]] = set()
        self._broken: Broken | None = None
        self._earlier: list[Attempt] = []

    @property
    def active(self) -> bool:
        """A part of the answer was shown by an attempt that broke."""
        return self._broken is not None

    def takes_up(
        self, exchange: Exchange, attempt: Attempt, fault: ProviderFault, head: bytes, sent_bytes: int
    ) -> bool:
        """Whether another attempt may go on where this one broke. `head`: the first bytes its caller saw."""
        if fault.out_of_time or self._left <= 0 or sent_bytes > MAX_SHOWN_BYTES or not _is_plain_text(self._ask):
            return False
        if exchange.finished:
            # Its caller may have seen the end: nothing can come behind it.
            return False
        shown = exchange.shown() if isinstance(exchange, Shows) else None
        if shown is None:
            return False
        if self._broken is None:
            self._broken = Broken(shown, _first_chunk(head))
        else:
            self._broken = Broken(shown, self._broken.first_chunk)
        self._left -= 1
        self._earlier.append(attempt)
        return True

    def refused(self, attempt: Attempt, candidate: Candidate) -> bool:
        """After an attempt that showed nothing: whether the same provider should be asked once more, from the start,
        because it may be the shown part that it refused."""
        if attempt.rescue in (Rescue.PREFILL, Rescue.INSTRUCTION) and attempt.status_code in (400, 404, 422):
            self._restart.add((candidate.provider, candidate.upstream_name))
            return True
        return False

    def exchange(self, line: Speaks, candidate: Candidate, attempt: Attempt) -> Exchange:
        """The exchange that goes on; writes the way into the attempt. Raises ProviderFault."""
        assert self._broken is not None
        shown, ask = self._broken.shown.text, self._ask
        prefill = line.prefill(candidate.upstream_name)
        attempt.rescue = self._way(prefill, candidate)
        spent = sum(one.usage.output_tokens + one.usage.reasoning_tokens for one in self._earlier)
        if candidate.output_cap_tokens > 0:
            candidate = dataclasses.replace(candidate, output_cap_tokens=max(1, candidate.output_cap_tokens - spent))

        def inner() -> Exchange:
            body = body_again(ask.input, shown, attempt.rescue, prefill, spent_tokens=spent)
            return line.exchange(dataclasses.replace(ask, input=body), candidate)

        made = inner()
        if attempt.rescue is Rescue.PREFILL and not _can_say(made):
            # A begun answer has no word in every translation.
            attempt.rescue = Rescue.INSTRUCTION
            made = inner()
        return JOINS[ask.dialect_out](made, self._broken, attempt, self.usage_before())

    def usage_before(self) -> Usage:
        """What the attempts that broke have used."""
        return added(one.usage for one in self._earlier)

    def _way(self, prefill: str, candidate: Candidate) -> Rescue:
        assert self._broken is not None
        again = (candidate.provider, candidate.upstream_name) in self._restart
        if again or not self._broken.shown.text.strip() or _is_structured(self._ask):
            return Rescue.RESTART
        return Rescue.PREFILL if prefill in PREFILL and not _thinks(self._ask) else Rescue.INSTRUCTION


def body_again(body: bytes, shown: str, way: Rescue, prefill: str, *, spent_tokens: int) -> bytes:
    """The request with the shown part behind its messages, and its output limit lowered by what was spent."""
    fields = fields_of(body)
    changes: dict[str, bytes | None] = {}
    for name in ("max_tokens", "max_completion_tokens"):
        if name in fields and isinstance(asked := _decode(bytes(fields[name])), int):
            changes[name] = str(max(1, asked - spent_tokens)).encode()
    if way is not Rescue.RESTART:
        messages: list[Any] = msgspec.json.decode(bytes(fields["messages"]), type=list[msgspec.Raw])
        changes["messages"] = _encode([*messages, *_messages_behind(shown, way, prefill)])
    return splice(body, changes)


def _messages_behind(shown: str, way: Rescue, prefill: str) -> Sequence[Mapping[str, Any]]:
    # Blanks at the end of a last message are refused by some; the continuation's own are taken out.
    said = {"role": "assistant", "content": shown.rstrip()}
    if way is Rescue.PREFILL:
        return [{**said, **PREFILL[prefill]}]
    return [said, {"role": "user", "content": _WISH.format(anchor=anchor_of(shown))}]


def anchor_of(shown: str) -> str:
    """The last words of a text, as many as fit."""
    tail = shown.rstrip()[-ANCHOR_CHARS:]
    cut = tail.find(" ")
    return tail[cut + 1 :] if len(shown) > ANCHOR_CHARS and 0 <= cut < len(tail) - 8 else tail


def _can_say(exchange: Exchange) -> bool:
    try:
        exchange.outgoing()
    except ProviderFault:
        return False
    return True


def _is_plain_text(ask: Ask) -> bool:
    """Whether the request asks for one answer of text, which is all that can be taken up."""
    if ask.dialect_out not in JOINS:
        return False
    try:
        fields = fields_of(ask.input)
        choices = _decode(bytes(fields["n"])) if "n" in fields else 1
        kinds = _decode(bytes(fields["modalities"])) if "modalities" in fields else None
        logprobs = "logprobs" in fields and bool(_decode(bytes(fields["logprobs"])))
    except (ValueError, KeyError):
        return False
    return choices in (1, None) and (not kinds or kinds == ["text"]) and not logprobs and "functions" not in fields


def _is_structured(ask: Ask) -> bool:
    """Whether the answer must be JSON: a model that is held to a grammar cannot begin in the middle."""
    fields = fields_of(ask.input)
    wanted = _decode(bytes(fields["response_format"])) if "response_format" in fields else None
    if isinstance(wanted, dict):
        return wanted.get("type") not in (None, "text")
    # As vLLM, SGLang and llama.cpp say it, and Anthropic.
    if "output_format" in fields or not GRAMMARS.isdisjoint(fields):
        return True
    return b'"format"' in bytes(fields.get("output_config", b""))


def _thinks(ask: Ask) -> bool:
    """Whether Anthropic is told to think, which it does not in a begun answer: it refuses one then."""
    fields = fields_of(ask.input)
    thinking = _decode(bytes(fields["thinking"])) if "thinking" in fields else None
    return isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")


def _first_chunk(head: bytes) -> dict[str, Any]:
    for data in sse.events_in(head):
        chunk = sse.read_json(data)
        if isinstance(chunk, dict):
            return chunk
    return {}

"""What adapters share that say another provider's answer in OpenAI's words: its text, thoughts, calls, end and usage.

An adapter reads each piece of an answer into a delta with `say`, `think`, `open_call` and `more_arguments`; chunks,
the whole answer, the end and the counts are made here. What a model thought goes out as `reasoning_content`.
"""

import hashlib
from typing import Any

import msgspec

from mesh import sse
from mesh.usage import openai_usage
from services.provider.adapters import MAX_KEPT_BYTES, Result, Shown, counted, larger, openai_form
from services.provider.adapters.openai import text_bytes_of
from services.provider.adapters.usage import is_count
from services.provider.calling.events import Ask, Candidate, Usage, UsageSource
from services.provider.errors import cut, garbage

BROKEN = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What reading JSON of an odd shape raises."""
Delta = dict[str, Any]
_encode = msgspec.json.encode


def count_of(raw: Any) -> int | None:
    """A number of tokens as a provider tells it; None when it is missing, negative or absurd. An explicit 0 is 0."""
    if type(raw) is float and raw.is_integer():
        raw = int(raw)
    return raw if is_count(raw) else None


def text_in(value: Any) -> str:
    """A text or nothing. Raises TypeError for anything else."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("text")
    return value


class Translated:
    """For callers who speak OpenAI chat completions. A subclass adds outgoing, read_whole, read_event, error_body."""

    def __init__(self, ask: Ask, candidate: Candidate, provider: str, key: str, *, now_s: int = 0) -> None:
        self._ask, self._candidate, self._provider, self._key, self._now_s = ask, candidate, provider, key, now_s
        self._usage: Usage | None = None
        self._finish = ""
        self._text: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._extra: dict[str, Any] = {}
        self._seen_bytes = self._kept_bytes = 0
        self._id = ""
        self._model = ask.answer_model
        self._role_sent = False
        self.first = self.finished = self.done = False

    def read_whole(self, raw: bytes) -> Delta:
        """Takes in a whole answer. Raises ProviderFault, or one of BROKEN."""
        raise NotImplementedError

    def read_event(self, event: bytes) -> Delta | None:
        """Takes in one event; None or an empty delta shows nothing. Raises ProviderFault, or one of BROKEN."""
        raise NotImplementedError

    def plain(self, raw: bytes) -> bytes:
        """A chat.completion object."""
        try:
            self.read_whole(raw)
        except BROKEN:
            raise garbage(self._provider, "the body is no answer of its dialect") from None
        if not self.finished:
            raise cut(self._provider, "the answer has no finish reason")
        self.name("", "")
        self.done = True
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(self._text) if self._text or not self._calls else None,
            "refusal": None,
            "annotations": [],
        }
        if self._thoughts:
            message["reasoning_content"] = "".join(self._thoughts)
        if self._calls:
            message["tool_calls"] = self._calls
        message.update(self._extra)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason()}
        return _encode(
            {
                "id": self._id,
                "object": "chat.completion",
                "created": self._now_s,
                "model": self._model,
                "choices": [choice],
                "usage": self._openai_usage(),
            }
        )

    def event(self, event: bytes) -> bytes:
        """One OpenAI chunk for one event, or none."""
        try:
            delta = self.read_event(event)
        except BROKEN:
            raise garbage(self._provider, "an event is none of its dialect") from None
        return self._chunk(delta) if delta else b""

    def end(self) -> bytes:
        """The finish chunk, the usage chunk when asked for, and the end mark."""
        if not self.finished:
            raise cut(self._provider, "the stream ended without its end")
        tail = self._chunk({}, self.finish_reason())
        if self._ask.include_usage:
            tail += self._chunk(None, usage=self._openai_usage())
        return tail + sse.DONE

    def shown(self) -> Shown | None:
        """See adapters.Shows."""
        return None if self._calls else Shown("".join(self._text))

    def result(self, *, need_text: bool) -> Result:
        """Usage and text of what was seen so far."""
        usage, source = self._usage, UsageSource.PROVIDER
        if usage is None or not self.finished:
            guess, source = counted(text_bytes_of(self._ask.input), self._seen_bytes), UsageSource.COUNTED
            usage = larger(usage, guess) if usage is not None else guess
        if not need_text:
            return Result(usage, source, self.finish_reason())
        calls = _encode(self._calls).decode() if self._calls else ""
        return Result(usage, source, self.finish_reason(), "".join(self._text), calls)

    def finish_reason(self) -> str:
        """OpenAI's word for the end; empty before it."""
        return "tool_calls" if self._finish == "stop" and self._calls else self._finish

    def name(self, answer_id: str, model: str) -> None:
        """What the answer is called; without an id, one that is the same for the same request."""
        if not self._id:
            self._id = f"chatcmpl-{answer_id or hashlib.sha256(self._ask.input).hexdigest()[:24]}"
        self._model = self._model or model or self._candidate.upstream_name

    def say(self, delta: Delta, text: str) -> None:
        """A piece of the answer."""
        if text:
            self._keep(self._text, text)
            delta["content"] = delta.get("content", "") + text

    def think(self, delta: Delta, text: str) -> None:
        """A piece of what the model thought."""
        if text:
            self._keep(self._thoughts, text)
            delta["reasoning_content"] = delta.get("reasoning_content", "") + text

    def open_call(self, delta: Delta, name: str, arguments: str = "", *, call_id: str = "") -> int:
        """A tool call begins, or comes whole; its number. Raises ProviderFault for one without a name."""
        if not name:
            raise garbage(self._provider, "a tool call has no name")
        number = len(self._calls)
        function = {"name": name, "arguments": arguments}
        if not call_id:
            said = _encode([number, name, arguments])
            call_id = f"call_{hashlib.sha256(self._ask.input + said).hexdigest()[:24]}"
        self._calls.append({"id": call_id, "type": "function", "function": function})
        self.first = True
        self._seen_bytes += len(name) + len(arguments)
        shown = {"index": number, "id": call_id, "type": "function", "function": dict(function)}
        delta.setdefault("tool_calls", []).append(shown)
        return number

    def more_arguments(self, delta: Delta, number: int, piece: str) -> None:
        """A piece of an open call's arguments."""
        if not piece:
            return
        self._seen_bytes += len(piece)
        self._kept_bytes += len(piece)
        if self._kept_bytes <= MAX_KEPT_BYTES:
            self._calls[number]["function"]["arguments"] += piece
        delta.setdefault("tool_calls", []).append({"index": number, "function": {"arguments": piece}})

    def count(self, usage: Usage | None) -> None:
        """What the provider counted; None keeps what it said before."""
        self._usage = usage or self._usage

    def finish(self, reason: str) -> None:
        """The answer ended, for this reason of OpenAI's."""
        self._finish = reason
        self.first = self.finished = True

    def _keep(self, kept: list[str], text: str) -> None:
        self.first = True
        size = len(text.encode("utf-8", "replace"))
        self._seen_bytes += size
        if self._kept_bytes + size <= MAX_KEPT_BYTES or not self._ask.stream:
            kept.append(text)
            self._kept_bytes += size

    def _chunk(self, delta: Delta | None, finish: str | None = None, *, usage: Any = None) -> bytes:
        self.name("", "")
        if delta is not None and not self._role_sent:
            self._role_sent = True
            delta = {"role": "assistant", "content": "", "refusal": None, **delta}
        more = {"usage": usage} if self._ask.include_usage else {}
        return openai_form.chunk(self._id, self._now_s, self._model, delta, finish, **more)

    def _openai_usage(self) -> dict[str, Any]:
        return openai_usage(self.result(need_text=False).usage)

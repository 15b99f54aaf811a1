"""A chat's answers said as OpenAI responses, for callers of /v1/responses whose model's provider speaks something else.

The reading of the answer is the inner exchange's own, whatever its provider speaks; what was told to the caller (ids,
items, sequence numbers) is kept apart from it. A chat's reasoning text becomes the summary of a reasoning item. An
answer that met its limit or a filter is "incomplete", and so is its last item. Nothing is stored: `store` is false,
whatever was asked.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Any

import msgspec

from mesh.usage import answer_tokens, cached_tokens, prompt_tokens
from services.provider.adapters import Exchange, Outgoing, Result
from services.provider.adapters.chat_deltas import chunks_in, text_of
from services.provider.adapters.responses_output import MOST_BYTES, Output
from services.provider.adapters.responses_to_chat import to_chat
from services.provider.adapters.responses_tools import tools_of
from services.provider.calling.events import Ask, Usage
from services.provider.errors import ProviderFault, garbage, not_translatable

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""finish_reason → why the response is incomplete."""
_ODD = re.compile(r"[^A-Za-z0-9_-]")
_ECHOED = ("instructions", "max_output_tokens", "max_tool_calls", "prompt_cache_key", "safety_identifier")
_REASONING = ("reasoning_content", "reasoning")
_encode, _decode = msgspec.json.encode, msgspec.json.decode


class ResponsesExchange:
    """For callers who speak OpenAI responses, in front of an exchange for callers of chat completions."""

    def __init__(self, ask: Ask, provider: str, make: Callable[[Ask], Exchange], *, now: Callable[[], float]) -> None:
        self._ask, self._provider, self._make, self._now = ask, provider, make, now
        self._inner: Exchange | None = None
        self._frame: dict[str, Any] = {}
        self._output = Output(provider)
        self._begun = False
        self.first = self.finished = self.done = False

    def outgoing(self) -> Outgoing:
        """The translated request, made final by the inner exchange."""
        try:
            body = _decode(self._ask.input)
            tools = tools_of(body)
            said = _encode(to_chat(body, tools))
            self._output.tools = tools.by_name
            self._frame = frame_of(body)
            if len(_encode(self._frame)) > MOST_BYTES:
                raise not_translatable(
                    f"instructions: with the tools they have more than {MOST_BYTES >> 20} MiB, which a translated "
                    "answer cannot repeat. Send them in input."
                )
        except ProviderFault:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            raise not_translatable("The request body is not a valid responses request.") from None
        ask = self._ask
        # With the usage event, which the last event needs.
        self._inner = self._make(Ask(said, ask.candidates, stream=ask.stream, include_usage=True))
        return self._inner.outgoing()

    def plain(self, raw: bytes) -> bytes:
        """A response object."""
        inner = self._reader()
        answer = _decode(inner.plain(raw))
        self._follow(inner)
        if not answer["choices"]:
            raise garbage(self._provider, "the answer has no choice")
        self._name(answer)
        message = answer["choices"][0]["message"]
        calls = message.get("tool_calls") or []
        self._say({**message, "tool_calls": [{**call, "index": number} for number, call in enumerate(calls)]})
        return _encode(self._end()[1])

    def event(self, event: bytes) -> bytes:
        """The events of a response for one of the provider's; none for what tells nothing."""
        inner = self._reader()
        try:
            said = inner.event(event)
        finally:
            self._follow(inner)
        return self._chunks(said)

    def end(self) -> bytes:
        """The open item's end, and response.completed or response.incomplete. Raises ProviderFault when cut."""
        out = self._chunks(self._reader().end()) + self._begin({})
        closing, response = self._end()
        return out + closing + self._output.event(f"response.{response['status']}", response=response)

    def error_body(self, body: bytes) -> bytes:
        """The provider's error in OpenAI's shape: a chat's and a response's are the same."""
        return self._reader().error_body(body)

    def result(self, *, need_text: bool) -> Result:
        """The inner exchange's reading."""
        return self._reader().result(need_text=need_text)

    def _follow(self, inner: Exchange) -> None:
        # A token that was seen stays seen, also when another exchange goes on.
        self.first = self.first or inner.first
        self.finished, self.done = inner.finished, inner.done

    def _reader(self) -> Exchange:
        if self._inner is None:
            raise not_translatable("The request was not made yet.")
        return self._inner

    def _chunks(self, said: bytes) -> bytes:
        """What the inner exchange says, in events of a response."""
        out = b""
        for chunk in chunks_in(said):
            out += self._begin(chunk)
            for choice in chunk.get("choices") or []:
                if choice.get("index", 0) == 0:
                    out += self._say(choice.get("delta") or {})
        return out

    def _say(self, delta: dict[str, Any]) -> bytes:
        """The events for a chat's delta, or for its whole message."""
        output = self._output
        thought = next((text for name in _REASONING if (text := text_of(delta.get(name)))), "")
        out = output.say("summary_text", thought)
        out += output.say("output_text", text_of(delta.get("content")))
        out += output.say("refusal", text_of(delta.get("refusal")))
        for call in delta.get("tool_calls") or []:
            out += output.call(call)
        return out

    def _name(self, answer: dict[str, Any]) -> None:
        own = _ODD.sub("", str(answer.get("id") or "").removeprefix("chatcmpl-"))[:64]
        self._output.name = own or hashlib.sha256(self._ask.input).hexdigest()[:24]
        self._frame["id"] = f"resp_{self._output.name}"
        self._frame["created_at"] = int(self._now())
        self._frame["model"] = self._ask.answer_model or str(answer.get("model") or "")

    def _begin(self, chunk: dict[str, Any]) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        self._name(chunk)
        created = self._output.event("response.created", response=self._frame)
        return created + self._output.event("response.in_progress", response=self._frame)

    def _end(self) -> tuple[bytes, dict[str, Any]]:
        """(the last item's end, the response)."""
        result = self._reader().result(need_text=False)
        why = INCOMPLETE.get(result.finish_reason)
        status = "incomplete" if why else "completed"
        said_something = any(item["type"] != "reasoning" for item in self._output.items)
        out = b"" if said_something or why else self._output.begin("output_text")
        out += self._output.close(status)
        return out, {
            **self._frame,
            "status": status,
            "completed_at": None if why else int(self._now()),
            "incomplete_details": {"reason": why} if why else None,
            "output": self._output.items,
            "usage": usage_object(result.usage),
        }


def frame_of(body: dict[str, Any]) -> dict[str, Any]:
    """A response that has just begun, with what its request said."""
    reasoning = body.get("reasoning") or {}
    text = dict(body.get("text") or {})
    text["format"] = _format(text.get("format") or {"type": "text"})
    frame: dict[str, Any] = {"id": "", "object": "response", "created_at": 0, "completed_at": None, "model": ""}
    frame.update({"status": "in_progress", "background": False, "error": None, "incomplete_details": None})
    frame.update({name: body.get(name) for name in _ECHOED})
    return {
        **frame,
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "service_tier": "default",
        "store": False,
        "temperature": _or(body.get("temperature"), 1.0),
        "top_p": _or(body.get("top_p"), 1.0),
        "presence_penalty": _or(body.get("presence_penalty"), 0.0),
        "frequency_penalty": _or(body.get("frequency_penalty"), 0.0),
        "text": text,
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": [_tool(tool) for tool in body.get("tools") or []],
        "top_logprobs": 0,
        "truncation": "disabled",
        "usage": None,
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }


def usage_object(usage: Usage) -> dict[str, Any]:
    """A response's usage: totals that include their details."""
    read, written = prompt_tokens(usage), answer_tokens(usage)
    stored = usage.cache_write_tokens + usage.cache_write_1h_tokens
    cache = {"cached_tokens": cached_tokens(usage), "cache_write_tokens": stored}
    return {
        "input_tokens": read,
        "input_tokens_details": cache,
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": read + written,
    }


def _or(value: Any, default: float) -> Any:
    return default if value is None else value


def _format(wanted: dict[str, Any]) -> dict[str, Any]:
    if wanted["type"] != "json_schema":
        return wanted
    return {"description": None, **wanted, "strict": bool(wanted.get("strict"))}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    return {"description": None, "parameters": None, "strict": None, **tool} if tool["type"] == "function" else tool

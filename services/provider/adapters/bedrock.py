"""Amazon Bedrock's Converse and its binary stream ConverseStream, for callers who speak OpenAI.

The key is one of Bedrock's own (sent as a bearer) or an access key, by which each request is signed. What a model
thinks comes as `reasoning_content`, and under its signature as `extra_content.bedrock.reasoning`, to be sent back as
it came.
"""

from typing import Any
from urllib.parse import quote

import msgspec

from services.provider.adapters import Outgoing, openai_form
from services.provider.adapters.aws_events import EVENTSTREAM, read_frame
from services.provider.adapters.aws_signature import access_key_of, host_of, region_of, signed
from services.provider.adapters.bedrock_request import to_converse
from services.provider.adapters.framing import SSE
from services.provider.adapters.translated import BROKEN, Delta, Translated, count_of, text_in
from services.provider.adapters.usage import tier_of
from services.provider.calling.events import Ask, Candidate, Usage
from services.provider.errors import ProviderFault, not_configured, not_translatable, stream_error

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
"""stopReason → finish_reason. Any other (malformed_tool_use, …) is a failure."""
SERVICE = "bedrock"
_encode, _decode = msgspec.json.encode, msgspec.json.decode


def usage_of(raw: Any, service_tier: Any = None) -> Usage | None:
    """Disjoint buckets; None when the input's or the output's count is missing or absurd."""
    if not isinstance(raw, dict):
        return None
    read, wrote = count_of(raw.get("inputTokens")), count_of(raw.get("outputTokens"))
    if read is None or wrote is None:
        return None
    stored = count_of(raw.get("cacheWriteInputTokens")) or 0
    details = raw.get("cacheDetails")
    parts = [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []
    kept = min(stored, sum(count_of(one.get("inputTokens")) or 0 for one in parts if one.get("ttl") == "1h"))
    return Usage(
        read,
        count_of(raw.get("cacheReadInputTokens")) or 0,
        stored - kept,
        wrote,
        cache_write_1h_tokens=kept,
        service_tier=tier_of(service_tier.get("type")) if isinstance(service_tier, dict) else "",
    )


class BedrockExchange(Translated):
    """For callers who speak OpenAI chat completions."""

    def __init__(
        self,
        ask: Ask,
        candidate: Candidate,
        provider: str,
        key: str,
        *,
        now_s: int = 0,
        base_url: str = "",
        region: str = "",
    ) -> None:
        super().__init__(ask, candidate, provider, key, now_s=now_s)
        self._base_url, self._region = base_url, region
        self._numbers: dict[int, int] = {}
        self._thinking: dict[int, dict[str, str]] = {}

    def outgoing(self) -> Outgoing:
        """The translated request, signed when the key is an access key."""
        candidate, stream = self._candidate, self._ask.stream
        try:
            asked = _decode(self._ask.input)
            body = _encode(to_converse(asked, candidate.upstream_name, candidate.output_cap_tokens))
        except ProviderFault:
            raise
        except BROKEN:
            raise not_translatable("The request body is not a valid chat completions request.") from None
        path = f"/model/{quote(candidate.upstream_name, safe='')}/converse{'-stream' if stream else ''}"
        return Outgoing(path, self._headers(path, body), body, EVENTSTREAM if stream else SSE)

    def read_whole(self, raw: bytes) -> Delta:
        """See Translated."""
        answer, delta = _decode(raw), Delta()
        for block in answer["output"]["message"]["content"]:
            if "text" in block:
                self.say(delta, text_in(block["text"]))
            elif "toolUse" in block:
                use = block["toolUse"]
                if not isinstance(use["input"], dict):
                    raise TypeError("input")
                arguments = _encode(use["input"]).decode()
                self.open_call(delta, text_in(use["name"]), arguments, call_id=text_in(use["toolUseId"]))
            elif "reasoningContent" in block:
                self.think(delta, text_in((block["reasoningContent"].get("reasoningText") or {}).get("text")))
                self._keep_thinking(block["reasoningContent"])
        self._stop(answer["stopReason"])
        self.count(usage_of(answer.get("usage"), answer.get("serviceTier")))
        return delta

    def read_event(self, event: bytes) -> Delta | None:
        """See Translated. Frames carry checksums: a broken one is the provider's failure, and none is left out."""
        frame = read_frame(event)
        if frame.headers.get(":message-type") != "event":
            told = frame.headers.get(":exception-type") or frame.headers.get(":error-code") or ""
            raise stream_error(self._provider, told)
        kind, delta = frame.headers.get(":event-type"), Delta()
        data = _decode(frame.payload)
        if kind == "contentBlockStart":
            if "toolUse" in (data.get("start") or {}):
                use = data["start"]["toolUse"]
                number = self.open_call(delta, text_in(use["name"]), call_id=text_in(use["toolUseId"]))
                self._numbers[data["contentBlockIndex"]] = number
        elif kind == "contentBlockDelta":
            self._read_delta(delta, data["contentBlockIndex"], data["delta"])
        elif kind == "contentBlockStop":
            self._close_block(delta, data["contentBlockIndex"])
        elif kind == "messageStop":
            self._stop(data["stopReason"])
        elif kind == "metadata":
            self.count(usage_of(data.get("usage"), data.get("serviceTier")))
            self.done = self.finished
        return delta

    def error_body(self, body: bytes) -> bytes:
        """Amazon's error in OpenAI's shape."""
        try:
            told = _decode(body)
            return openai_form.error_body(told.get("message") or told.get("Message"))
        except BROKEN:
            return b""

    def _headers(self, path: str, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        access = access_key_of(self._key)
        if access is None:
            return {**headers, "Authorization": f"Bearer {self._key}"} if self._key else headers
        url = self._base_url + path
        region = self._region or region_of(host_of(url))
        if not region:
            raise not_configured(self._provider, "its address names no region: add options: [region=…]")
        return signed(url, headers, body, access, region=region, service=SERVICE, now_s=self._now_s)

    def _read_delta(self, delta: Delta, index: int, given: Any) -> None:
        if "text" in given:
            self.say(delta, text_in(given["text"]))
        elif "toolUse" in given:
            self.more_arguments(delta, self._numbers[index], text_in(given["toolUse"].get("input")))
        elif "reasoningContent" in given:
            kept = self._thinking.setdefault(index, {})
            for name, piece in given["reasoningContent"].items():
                kept[name] = kept.get(name, "") + text_in(piece)
            self.think(delta, text_in(given["reasoningContent"].get("text")))

    def _close_block(self, delta: Delta, index: int) -> None:
        kept = self._thinking.pop(index, None)
        if kept is not None:
            redacted = kept.pop("redactedContent", None)
            block = {"redactedContent": redacted} if redacted else {"reasoningText": kept}
            if self._keep_thinking(block):
                delta["extra_content"] = {"bedrock": {"reasoning": [block]}}
        elif index in self._numbers and not self._calls[self._numbers[index]]["function"]["arguments"]:
            # A call without arguments has no delta: callers parse what they get.
            self.more_arguments(delta, self._numbers[index], "{}")

    def _keep_thinking(self, block: dict[str, Any]) -> bool:
        """Keeps what must come back: only what is signed or redacted."""
        if "redactedContent" not in block and "signature" not in (block.get("reasoningText") or {}):
            return False
        self._extra.setdefault("extra_content", {"bedrock": {"reasoning": []}})["bedrock"]["reasoning"].append(block)
        return True

    def _stop(self, reason: Any) -> None:
        if reason not in FINISH:
            raise stream_error(self._provider, text_in(reason))
        self.finish(FINISH[reason])

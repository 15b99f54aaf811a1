"""For dialects whose answers need mending before a client of OpenAI's can read them; the rest passes as it came."""

import re
from typing import Any

import msgspec

from mesh import sse
from services.provider.adapters.openai import OpenAIExchange

_NAMES = {"eos": "stop", "eos_token": "stop", "stop_sequence": "stop", "model_length": "length"}
"""Finish reasons of Together, of Hugging Face's own servers, and of Mistral → OpenAI's."""
_encode = msgspec.json.encode


class MendingExchange(OpenAIExchange):
    """Reads only the events and answers in which it sees something odd."""

    odd = re.compile(rb'"finish_reason"\s*:\s*"(?:' + b"|".join(name.encode() for name in _NAMES) + rb')"')
    """What must be in the bytes for `mend` to be asked."""

    def mend(self, answer: dict[str, Any]) -> None:
        """Changes a chunk or a whole answer in place."""
        for choice in answer.get("choices") or []:
            if choice.get("finish_reason") in _NAMES:
                choice["finish_reason"] = _NAMES[choice["finish_reason"]]

    def plain(self, raw: bytes) -> bytes:
        """See OpenAIExchange."""
        return super().plain(self._mended(raw) if self.odd.search(raw) else raw)

    def event(self, event: bytes) -> bytes:
        """See OpenAIExchange."""
        if self.odd.search(event):
            event = b"data: " + self._mended(sse.data_of(event)) + b"\n\n"
        return super().event(event)

    def _mended(self, data: bytes) -> bytes:
        """The same bytes when they cannot be read: what comes next names that."""
        try:
            answer = msgspec.json.decode(data)
        except (ValueError, RecursionError):
            return data
        if isinstance(answer, dict):
            self.mend(answer)
        return _encode(answer)

"""What a chat exchange tells its caller, read once more: for translators that say it again in another form."""

from collections.abc import Iterator
from typing import Any

from mesh import sse
from services.provider.errors import garbage


def chunks_in(said: bytes) -> Iterator[dict[str, Any]]:
    """The chunks in some events of a chat stream, without [DONE]."""
    for data in sse.events_in(said):
        chunk = sse.read_json(data) if data and data != b"[DONE]" else None
        if isinstance(chunk, dict):
            yield chunk


def text_of(content: Any) -> str:
    """The text of a content: a string, or parts as some compatible servers send them."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


class CallOrder:
    """Which tool call a piece of a stream belongs to: one is open at a time."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._seen: set[int] = set()
        self._number, self._id = -1, ""
        self._open = False

    @property
    def count(self) -> int:
        """How many indices of calls were seen."""
        return len(self._seen)

    def begins(self, call: dict[str, Any]) -> bool:
        """Whether this piece begins a call. Raises ProviderFault when it goes on with one that is over."""
        number, call_id = int(call.get("index") or 0), str(call.get("id") or "")
        name = (call.get("function") or {}).get("name")
        # Some providers give every call the index 0: then another id tells them apart.
        if name and (number not in self._seen or (call_id and call_id != self._id)):
            self._number, self._id, self._open = number, call_id, True
            self._seen.add(number)
            return True
        if not self._open or number != self._number:
            raise garbage(self._provider, "the pieces of its tool calls come in no order")
        return False

    def leave(self) -> None:
        """Something else came: the open call is over."""
        self._open = False

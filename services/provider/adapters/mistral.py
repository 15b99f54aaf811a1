"""Mistral's chat completions: stricter than OpenAI's in what they take, and with thinking as parts of the content.

Mistral, "Chat completion endpoint", "Function calling", "Reasoning", "Document QnA". Earlier reasoning is not sent
back: only some models take it.
"""

import hashlib
import re
from typing import Any

import msgspec

from services.provider.adapters.mending import MendingExchange
from services.provider.errors import not_translatable
from services.provider.splice import Fields

FIELDS = {
    "system": ("role", "content"),
    "user": ("role", "content"),
    "assistant": ("role", "content", "tool_calls", "prefix"),
    "tool": ("role", "content", "tool_call_id", "name"),
}
"""The fields of a message, by its role."""
_ID = re.compile(r"[a-zA-Z0-9]{9}")
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ANY = b'"any"'
_encode, _decode = msgspec.json.encode, msgspec.json.decode


class MistralExchange(MendingExchange):
    """Pass-through but for messages, tool_choice, and content in parts."""

    odd = re.compile(rb'"content"\s*:\s*\[|"tool_calls"\s*:\s*\[|' + MendingExchange.odd.pattern)

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._calls: list[str] = []

    def changes(self, fields: Fields) -> dict[str, bytes | None]:
        """See OpenAIExchange."""
        changes = super().changes(fields)
        if bytes(fields.get("tool_choice", b"")).strip() == b'"required"':
            changes["tool_choice"] = _ANY
        messages = _decode(changes.get("messages") or bytes(fields.get("messages", b"null")))
        said = [_message(one) if isinstance(one, dict) else one for one in messages]
        if said != messages:
            changes["messages"] = _encode(said)
        return changes

    def mend(self, answer: dict[str, Any]) -> None:
        """See MendingExchange."""
        super().mend(answer)
        for choice in answer.get("choices") or []:
            said = choice.get("delta") or choice.get("message") or {}
            if isinstance(said.get("content"), list):
                _join_parts(said)
            for call in said.get("tool_calls") or []:
                call["type"] = "function"
                if "delta" in choice:
                    call["index"] = self._index(call)
                function = call.get("function") or {}
                if isinstance(function.get("arguments"), dict):
                    function["arguments"] = _encode(function["arguments"]).decode()

    def _index(self, call: dict[str, Any]) -> int:
        """The number of a call: told, or by its id; a piece without either belongs to the last one."""
        told, made_id = call.get("index"), str(call.get("id") or "")
        if made_id and made_id != "null" and made_id not in self._calls:
            self._calls.append(made_id)
        # Calls that come whole in one chunk all say 0, or nothing.
        if made_id in self._calls:
            return self._calls.index(made_id)
        return told if isinstance(told, int) and told < len(self._calls) else max(0, len(self._calls) - 1)


def _join_parts(said: dict[str, Any]) -> None:
    """The texts of a content in parts as one, thinking beside it; references and the like have no word here."""
    text, thought = "", ""
    for part in said["content"]:
        if part.get("type") == "thinking":
            inner = part.get("thinking") or []
            thought += inner if isinstance(inner, str) else "".join(str(one.get("text") or "") for one in inner)
        elif part.get("type") == "text":
            text += str(part.get("text") or "")
    said["content"] = text
    if thought:
        said["reasoning_content"] = thought


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """A message with Mistral's fields only. Raises ProviderFault for content it cannot take."""
    known = FIELDS.get(str(message.get("role")))
    if known is None:
        return message
    made = {name: message[name] for name in known if name in message}
    if isinstance(made.get("content"), list):
        made["content"] = [_part(part) if isinstance(part, dict) else part for part in made["content"]]
    if made.get("tool_calls"):
        made["tool_calls"] = [{**call, "id": call_id(str(call.get("id") or ""))} for call in made["tool_calls"]]
    elif "tool_calls" in made:
        del made["tool_calls"]
    if "tool_call_id" in made:
        made["tool_call_id"] = call_id(str(made["tool_call_id"]))
    return made


def _part(part: dict[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "text":
        return {"type": "text", "text": part.get("text")}
    if kind == "refusal":
        return {"type": "text", "text": part.get("refusal")}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return {"type": "input_audio", "input_audio": part["input_audio"].get("data")}
    if kind == "file" and isinstance(part.get("file"), dict):
        file = part["file"]
        if not file.get("file_data"):
            raise not_translatable("A file by its id cannot be sent to mistral: send its data, or name another model.")
        named = {"document_name": file["filename"]} if file.get("filename") else {}
        return {"type": "document_url", "document_url": file["file_data"], **named}
    return part


def call_id(given: str) -> str:
    """Nine letters and digits, the same for the same id: Mistral refuses ids of any other form."""
    if _ID.fullmatch(given):
        return given
    number, made = int.from_bytes(hashlib.sha256(given.encode()).digest()), ""
    for _ in range(9):
        number, digit = divmod(number, len(_ALPHABET))
        made += _ALPHABET[digit]
    return made

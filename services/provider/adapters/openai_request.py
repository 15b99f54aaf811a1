"""Reading an OpenAI chat request, for adapters that say it in another dialect. `who` names the models in refusals."""

import re
from typing import Any, NamedTuple

import msgspec

from services.provider.errors import not_translatable

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w=.+-]+)*;base64,")
_decode = msgspec.json.decode


class Call(NamedTuple):
    """A tool call of an earlier answer."""

    id: str
    name: str
    arguments: dict[str, Any]


class Inline(NamedTuple):
    """What a data URL holds."""

    media_type: str
    base64: str


def refuse_unsayable(body: dict[str, Any], who: str) -> None:
    """Raises ProviderFault for what no other dialect has and the caller would miss."""
    if (body.get("n") or 1) != 1:
        raise not_translatable(f"n: {who} are asked for one answer per request; send n=1.")
    if body.get("logprobs"):
        raise not_translatable(f"logprobs: log probabilities of {who} are not translated.")
    if "audio" in (body.get("modalities") or ()):
        raise not_translatable(f"modalities: {who} are not asked for audio.")
    if body.get("functions"):
        raise not_translatable("functions: this old form is not translated; send tools.")
    if body.get("web_search_options") is not None:
        raise not_translatable(f"web_search_options: {who} are not given a web search.")
    if body.get("parallel_tool_calls") is False and body.get("tools"):
        raise not_translatable(f"parallel_tool_calls: {who} cannot be kept to one call at a time; leave it out.")


def limit_of(body: dict[str, Any], cap: int) -> int:
    """The most output tokens, never more than the cap; 0 = nobody set one."""
    asked = body.get("max_completion_tokens") or body.get("max_tokens")
    if asked is not None and (not isinstance(asked, int) or isinstance(asked, bool) or asked < 1):
        raise not_translatable("max_completion_tokens: a whole number of 1 or more is needed.")
    return min(asked, cap) if asked and cap > 0 else asked or max(0, cap)


def stops_of(body: dict[str, Any]) -> list[str]:
    """The stop sequences."""
    stop = body.get("stop") or []
    return [stop] if isinstance(stop, str) else list(stop)


def schema_of(body: dict[str, Any], who: str) -> tuple[str, Any]:
    """(text, json_object or json_schema; the schema). Raises ProviderFault for any other response_format."""
    wanted = body.get("response_format") or {}
    kind = wanted.get("type", "text")
    if kind not in ("text", "json_object", "json_schema"):
        raise not_translatable(f"response_format: {who} cannot be asked for {kind!r}.")
    schema = wanted["json_schema"].get("schema") if kind == "json_schema" else None
    return kind, schema


def functions_of(body: dict[str, Any], who: str) -> list[dict[str, Any]]:
    """The functions that may be called. Raises ProviderFault for tools that are none."""
    functions = []
    for tool in body.get("tools") or []:
        if tool.get("type") != "function":
            raise not_translatable(f"tools: {who} are only given functions, not {tool.get('type')!r}.")
        functions.append(tool["function"])
    return functions


def choice_of(body: dict[str, Any], who: str) -> tuple[str, str]:
    """(auto, none, required or function; the function's name)."""
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        if choice.get("type") != "function":
            raise not_translatable(f"tool_choice: {choice.get('type')!r} cannot be said to {who}.")
        return "function", choice["function"]["name"]
    if choice not in ("auto", "none", "required"):
        raise not_translatable(f"tool_choice: {choice!r} is none of auto, none, required or a function.")
    return choice, ""


def parts_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """A message's content as parts."""
    content = message.get("content")
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content or [])


def text_of(message: dict[str, Any], who: str) -> str:
    """The text of a message that may hold nothing else."""
    texts = [part_text(part) for part in parts_of(message)]
    if any(text is None for text in texts):
        raise not_translatable(f"messages: a {message.get('role')} message for {who} can only hold text.")
    return "".join(text or "" for text in texts)


def part_text(part: dict[str, Any]) -> str | None:
    """The text of a part; None for another kind of part."""
    if part.get("type") not in ("text", "refusal"):
        return None
    text = part.get("text") or part.get("refusal") or ""
    if not isinstance(text, str):
        raise TypeError("text")
    return text


def calls_of(message: dict[str, Any]) -> list[Call]:
    """The tool calls of an earlier answer. Raises ProviderFault when their arguments are no object."""
    made = []
    for call in message.get("tool_calls") or []:
        function = call["function"]
        try:
            arguments = _decode(function.get("arguments") or "{}")
        except msgspec.DecodeError:
            raise not_translatable("messages: a tool call's arguments are not valid JSON.") from None
        if not isinstance(arguments, dict):
            raise not_translatable("messages: a tool call's arguments are not a JSON object.")
        made.append(Call(str(call["id"]), str(function["name"]), arguments))
    return made


def inline_of(url: str, who: str, *, what: str = "an image") -> Inline:
    """What a data URL holds. Raises ProviderFault for any other address."""
    if not url.startswith("data:"):
        raise not_translatable(f"messages: {who} fetch no image by its address; send it as a data URL.")
    head = _DATA_URL.match(url)
    if head is None:
        raise not_translatable(f"messages: {what} in a data URL must name its type and be base64.")
    return Inline(head[1], url[head.end() :])

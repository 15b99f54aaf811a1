"""An Anthropic messages request said as an OpenAI chat completions request.

What cannot be said is refused with its name: top_k, server tools, documents that are stored or fetched, prefilled
answers, fields not known here. What only hints is left out: cache_control, context_management, thinking, effort,
service_tier. Earlier thinking is left out too: nobody but the model that thought it can read it. A tool result with
is_error begins with "Error: "; what pictures and documents it shows stand in a message of the user's behind it.
"""

import hashlib
from typing import Any

import msgspec

from services.provider.adapters.tool_results import pictures_of, result_text
from services.provider.errors import not_translatable

MOST_STOPS = 4
"""How many stop sequences OpenAI takes."""
ERROR_MARK = "Error: "
"""OpenAI has no is_error: the model reads it instead."""
MOST_USER = 64
"""How long a user's id may be for OpenAI."""
UNTITLED = "document.pdf"
"""OpenAI wants a file to have a name, and tells by it what it is."""
_READ = frozenset(
    """model messages system max_tokens stop_sequences temperature top_p metadata tools tool_choice stream
    output_config""".split()  # noqa: SIM905
)
_HINTS = frozenset({"cache_control", "context_management", "thinking", "service_tier"})
_TOOL_READ = frozenset({"type", "name", "description", "input_schema", "strict"})
_TOOL_HINTS = frozenset({"cache_control", "eager_input_streaming", "input_examples"})
_THOUGHT = frozenset({"thinking", "redacted_thinking"})
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def to_chat(body: dict[str, Any], *, official: bool) -> dict[str, Any]:
    """The OpenAI request. `official`: for OpenAI itself, which names the limit differently. Raises ProviderFault."""
    for name, value in body.items():
        if name not in _READ and name not in _HINTS and value is not None:
            raise _cannot(name, "OpenAI's form has no such field. Leave it out, or name a model of Anthropic")
    messages = _system(body.get("system"))
    for index, message in enumerate(body["messages"]):
        messages.extend(_message(message, f"messages.{index}"))
    if body["messages"][-1]["role"] == "assistant":
        raise _cannot("messages", "the last one is the assistant's, and OpenAI models do not go on with a begun answer")
    made: dict[str, Any] = {"model": body["model"], "messages": messages}
    if body.get("max_tokens") is not None:
        made["max_completion_tokens" if official else "max_tokens"] = body["max_tokens"]
    stops = body.get("stop_sequences") or []
    if len(stops) > MOST_STOPS:
        raise _cannot("stop_sequences", f"OpenAI takes at most {MOST_STOPS}, not {len(stops)}")
    if stops:
        made["stop"] = stops
    for name in ("temperature", "top_p"):
        if body.get(name) is not None:
            made[name] = body[name]
    user = str((body.get("metadata") or {}).get("user_id") or "")
    if user:
        # Still the same for the same user.
        made["user"] = user if len(user) <= MOST_USER else hashlib.sha256(user.encode()).hexdigest()
    if body.get("stream"):
        made["stream"] = True
    _add_format(made, body.get("output_config") or {})
    _add_tools(made, body)
    return made


def _cannot(where: str, why: str) -> Exception:
    return not_translatable(f"{where}: {why}.")


def _system(system: Any, where: str = "system") -> list[dict[str, Any]]:
    if not system:
        return []
    if isinstance(system, str):
        return [{"role": "system", "content": system}]
    texts = []
    for number, block in enumerate(system):
        if block["type"] != "text":
            raise _cannot(f"{where}.{number}", f"a block of type {block['type']!r} cannot be said to OpenAI models")
        texts.append(block["text"])
    return [{"role": "system", "content": "\n\n".join(texts)}]


def _message(message: dict[str, Any], where: str) -> list[dict[str, Any]]:
    role, content = message["role"], message["content"]
    if role == "system":
        return _system(content, f"{where}.content")
    if role not in ("user", "assistant"):
        raise _cannot(f"{where}.role", f"{role!r} is not user, assistant or system")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    return _assistant(content, where) if role == "assistant" else _user(content, where)


def _user(content: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    results, seen, parts = [], list[dict[str, Any]](), []
    for number, block in enumerate(content):
        place = f"{where}.content.{number}"
        if block["type"] == "tool_result":
            text, pictures = _result(block, place)
            seen.extend(pictures)
            text = ERROR_MARK + text if block.get("is_error") else text
            results.append({"role": "tool", "tool_call_id": block["tool_use_id"], "content": text})
        else:
            parts.append(_part(block, place))
    # Results first: they answer the calls of the message before.
    parts = seen + parts
    return [*results, {"role": "user", "content": _plainest(parts)}] if parts else results


def _assistant(content: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    parts, calls = [], []
    for number, block in enumerate(content):
        kind = block["type"]
        if kind == "tool_use":
            function = {"name": block["name"], "arguments": msgspec.json.encode(block["input"]).decode()}
            calls.append({"id": block["id"], "type": "function", "function": function})
        elif kind == "text":
            parts.append({"type": "text", "text": block["text"]})
        elif kind not in _THOUGHT:
            raise _cannot(f"{where}.content.{number}", f"a block of type {kind!r} cannot be said to OpenAI models")
    if not parts and not calls:
        return []
    made: dict[str, Any] = {"role": "assistant", "content": _plainest(parts) if parts else None}
    if calls:
        made["tool_calls"] = calls
    return [made]


def _plainest(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One text as a string: some compatible servers read nothing else."""
    return str(parts[0]["text"]) if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _part(block: dict[str, Any], where: str) -> dict[str, Any]:
    kind = block["type"]
    if kind == "text":
        return {"type": "text", "text": block["text"]}
    if kind == "image":
        source = block["source"]
        if source["type"] == "base64":
            return {
                "type": "image_url",
                "image_url": {"url": f"data:{source['media_type']};base64,{source['data']}"},
            }
        if source["type"] == "url":
            return {"type": "image_url", "image_url": {"url": source["url"]}}
        raise _cannot(f"{where}.source", f"a picture from {source['type']!r} cannot be given to OpenAI models")
    if kind == "document":
        return _document(block, where)
    raise _cannot(where, f"a block of type {kind!r} cannot be said to OpenAI models")


def _document(block: dict[str, Any], where: str) -> dict[str, Any]:
    if (block.get("citations") or {}).get("enabled"):
        raise _cannot(f"{where}.citations", "OpenAI models do not mark what they cite. Leave it out")
    source, title = block["source"], block.get("title") or ""
    if source["type"] == "text":
        return {"type": "text", "text": "\n\n".join(text for text in (title, source["data"]) if text)}
    if source["type"] != "base64":
        raise _cannot(f"{where}.source", f"a document from {source['type']!r} cannot be given to OpenAI models")
    data = f"data:{source['media_type']};base64,{source['data']}"
    return {"type": "file", "file": {"filename": title or UNTITLED, "file_data": data}}


def _result(block: dict[str, Any], where: str) -> tuple[str, list[dict[str, Any]]]:
    """(the text of a tool's result, what the user's message behind it shows)."""
    content = block.get("content")
    if content is None or isinstance(content, str):
        return content or "", []
    texts, pictures = [], []
    for number, one in enumerate(content):
        if one["type"] == "text":
            texts.append(one["text"])
        elif one["type"] in ("image", "document"):
            pictures.append(_part(one, f"{where}.content.{number}"))
        else:
            raise _cannot(f"{where}.content.{number}", f"a result of type {one['type']!r} cannot be said to this model")
    return result_text(texts, pictures), pictures_of(block["tool_use_id"], pictures)


def _add_format(made: dict[str, Any], config: dict[str, Any]) -> None:
    for name, value in config.items():
        if name not in ("format", "effort") and value is not None:
            raise _cannot(f"output_config.{name}", "OpenAI's form has no such field")
    wanted = config.get("format")
    if not wanted:
        return
    if wanted["type"] != "json_schema":
        raise _cannot("output_config.format.type", f"{wanted['type']!r} is not known here: json_schema is")
    shape = {"name": "answer", "schema": wanted["schema"], "strict": True}
    made["response_format"] = {"type": "json_schema", "json_schema": shape}


def _add_tools(made: dict[str, Any], body: dict[str, Any]) -> None:
    tools = body.get("tools") or []
    if not tools:
        return
    made["tools"] = [_tool(tool, f"tools.{number}") for number, tool in enumerate(tools)]
    choice = body.get("tool_choice") or {"type": "auto"}
    kind = choice["type"]
    if kind == "tool":
        made["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    elif kind not in _CHOICES:
        raise _cannot("tool_choice.type", f"{kind!r} is not auto, any, tool or none")
    elif kind != "auto":
        made["tool_choice"] = _CHOICES[kind]
    if choice.get("disable_parallel_tool_use"):
        made["parallel_tool_calls"] = False


def _tool(tool: dict[str, Any], where: str) -> dict[str, Any]:
    if (tool.get("type") or "custom") != "custom":
        raise _cannot(where, f"{tool['type']!r} is a tool of Anthropic's servers, which OpenAI models do not have")
    for name, value in tool.items():
        if name not in _TOOL_READ and name not in _TOOL_HINTS and value:
            raise _cannot(f"{where}.{name}", "OpenAI's functions have no such field")
    function: dict[str, Any] = {"name": tool["name"], "parameters": tool["input_schema"]}
    if tool.get("description"):
        function["description"] = tool["description"]
    if tool.get("strict") is not None:
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}

"""The tools of an OpenAI responses request said as a chat's functions, and which tool a called function is.

A custom tool, whose input is free text, becomes a function with one text: its grammar is told to the model and not
enforced. A tool of a namespace becomes a function that has both in its name. Every other type is run by a provider or
by a model trained for it, and is refused with its name.
"""

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from services.provider.errors import not_translatable

PASSED = "Leave it out, or name a model of a provider that speaks the responses API itself"
"""The way out of what a translation cannot do."""
MOST_NAME = 64
"""How long a function's name may be for OpenAI."""
ADDED = "additional_tools"
"""The item of the input that gives further tools."""
TEXT = "input"
"""The name of a custom tool's one argument."""
_ODD = re.compile(r"[^A-Za-z0-9_-]")
_CALLABLE = frozenset({"function", "custom"})
_encode, _decode = msgspec.json.encode, msgspec.json.decode


@dataclasses.dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the caller knows it."""

    name: str
    namespace: str = ""
    custom: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Tools:
    """The tools of one request."""

    functions: list[dict[str, Any]]
    """As a chat has them."""
    by_name: Mapping[str, Tool]
    """The function's name → the tool."""

    def only(self, wanted: list[dict[str, Any]]) -> "Tools":
        """Those of allowed_tools: tools, or namespaces with all that is in them."""
        names = {tool["name"] for tool in wanted}
        kept = {name: tool for name, tool in self.by_name.items() if {tool.name, tool.namespace, name} & names}
        return Tools([one for one in self.functions if one["function"]["name"] in kept], kept)


def tools_of(body: Mapping[str, Any]) -> Tools:
    """What the body gives. Raises ProviderFault."""
    functions: list[dict[str, Any]] = []
    by_name: dict[str, Tool] = {}
    for where, tool in _given(body):
        inside = tool["tools"] if tool["type"] == "namespace" else [tool]
        namespace = tool["name"] if tool["type"] == "namespace" else ""
        for one in inside:
            made = _function(one, namespace, where)
            name = made["function"]["name"]
            if name in by_name:
                raise not_translatable(f"{where}: there is another tool that this model would know as {name!r}.")
            functions.append(made)
            by_name[name] = Tool(one["name"], namespace, one["type"] == "custom")
    return Tools(functions, by_name)


def _given(body: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where it stands, tool): those of the body and those that items of the input add."""
    lists = [("tools", body.get("tools"))]
    if isinstance(body.get("input"), list):
        for index, item in enumerate(body["input"]):
            if item.get("type") == ADDED:
                lists.append((f"input[{index}].tools", item["tools"]))
    for where, tools in lists:
        for number, tool in enumerate(tools or []):
            yield f"{where}[{number}]", tool


def function_name(name: str, namespace: str = "") -> str:
    """What a chat calls a tool."""
    if not namespace:
        return name
    whole = _ODD.sub("_", f"{namespace}__{name}")
    if len(whole) <= MOST_NAME:
        return whole
    return f"{whole[: MOST_NAME - 9]}_{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def _function(tool: dict[str, Any], namespace: str, where: str) -> dict[str, Any]:
    if tool["type"] not in _CALLABLE:
        raise not_translatable(
            f"{where}: {tool['type']!r} is a tool that a provider runs or that its model was made for, and this one "
            f"lacks it. {PASSED}."
        )
    made: dict[str, Any] = {"name": function_name(tool["name"], namespace)}
    if tool["type"] == "custom":
        made["parameters"] = {"type": "object", "properties": {TEXT: {"type": "string"}}, "required": [TEXT]}
        made["description"] = _told(tool)
    else:
        made["parameters"] = tool.get("parameters") or {"type": "object"}
        made.update({name: tool[name] for name in ("description", "strict") if tool.get(name) is not None})
    return {"type": "function", "function": made}


def _told(tool: dict[str, Any]) -> str:
    form = tool.get("format") or {"type": "text"}
    parts = [tool.get("description") or "", f'Give the text, and nothing but it, as "{TEXT}".']
    if form["type"] == "grammar":
        parts.append(f"It must follow this grammar ({form['syntax']}):\n{form['definition']}")
    return "\n\n".join(part for part in parts if part)


def custom_arguments(text: str) -> str:
    """A custom tool's input as the arguments of its function."""
    return _encode({TEXT: text}).decode()


def custom_text(arguments: str) -> str:
    """The arguments of a custom tool's function as its input; what is not in that form is the input itself."""
    try:
        said = _decode(arguments)
    except (ValueError, RecursionError):
        return arguments
    text = said.get(TEXT) if isinstance(said, dict) else None
    return text if isinstance(text, str) else arguments

"""An OpenAI responses request said as an OpenAI chat completions request.

What cannot be said is refused with its name: stored answers and conversations, OpenAI's own tools, stored files and
prompts, log probabilities, truncation, fields not known here. Free-text tools and namespaces become functions (see
responses_tools), pictures in results a message of the user's. What only hints is left out: cache keys, verbosity,
summaries of reasoning, service_tier, `include`. Earlier reasoning is left out too: nobody but the model that had it can
read it. System messages that stand together become one: some models' templates take no second.
"""

from typing import Any

from services.provider.adapters.responses_tools import ADDED, PASSED, Tools, custom_arguments, function_name
from services.provider.adapters.tool_results import pictures_of, result_text
from services.provider.errors import not_translatable

HINTS = frozenset(
    """client_metadata max_tool_calls metadata prompt_cache_key prompt_cache_options prompt_cache_retention
    safety_identifier service_tier store stream_options""".split()  # noqa: SIM905
)
"""Top-level fields that may be left out."""
_READ = frozenset(
    """model input instructions tools tool_choice parallel_tool_calls text reasoning max_output_tokens temperature top_p
    presence_penalty frequency_penalty user stream include top_logprobs truncation background previous_response_id
    conversation prompt""".split()  # noqa: SIM905
)
_STORED = frozenset({"previous_response_id", "conversation", "prompt"})
_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})
_SYSTEM = frozenset({"system", "developer"})
_SAME = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "user")


def to_chat(body: dict[str, Any], tools: Tools) -> dict[str, Any]:
    """The chat request; `tools` are the body's. Raises ProviderFault."""
    _refuse(body)
    messages = _messages(body)
    if not messages:
        raise _cannot("input", "there is no message in it. Send a text, or at least one message")
    made: dict[str, Any] = {"model": body["model"], "messages": messages}
    if body.get("max_output_tokens") is not None:
        made["max_tokens"] = body["max_output_tokens"]
    made.update({name: body[name] for name in _SAME if body.get(name) is not None})
    effort = (body.get("reasoning") or {}).get("effort")
    if effort is not None:
        made["reasoning_effort"] = effort
    if body.get("stream"):
        made["stream"] = True
    _add_format(made, (body.get("text") or {}).get("format") or {"type": "text"})
    _add_tools(made, body, tools)
    return made


def _cannot(where: str, why: str) -> Exception:
    return not_translatable(f"{where}: {why}.")


def _refuse(body: dict[str, Any]) -> None:
    for name, value in body.items():
        if name in _STORED and value is not None:
            raise _cannot(name, f"this model's provider stores nothing. Send the whole conversation as input. {PASSED}")
        if name not in _READ and name not in HINTS and value is not None:
            raise _cannot(name, f"a chat has no such field. {PASSED}")
    if body.get("background"):
        raise _cannot("background", "DAC keeps no answers to be fetched later. Leave it out")
    if body.get("truncation") not in (None, "disabled"):
        raise _cannot("truncation", "DAC cuts nothing out of a conversation. Leave it out and send less")
    if body.get("top_logprobs") or "message.output_text.logprobs" in (body.get("include") or ()):
        raise _cannot("top_logprobs", f"log probabilities are not translated. {PASSED}")


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    made = _Conversation()
    if body.get("instructions"):
        made.add_text("system", body["instructions"])
    given = body.get("input")
    if isinstance(given, str):
        made.add_text("user", given)
    else:
        for index, item in enumerate(given or []):
            made.add(item, f"input[{index}]")
        made.show()
    return made.messages


class _Conversation:
    """Items become messages: what the assistant said and called in one turn is one message of a chat."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._pictures: list[dict[str, Any]] = []

    def add(self, item: dict[str, Any], where: str) -> None:
        """Takes in one item. Raises ProviderFault."""
        kind = item.get("type") or ("message" if "role" in item else "")
        if kind not in _OUTPUTS:
            self.show()
        if kind == "message":
            self._add_message(item, where)
        elif kind in ("function_call", "custom_tool_call"):
            arguments = item["arguments"] if kind == "function_call" else custom_arguments(item["input"])
            function = {"name": function_name(item["name"], item.get("namespace") or ""), "arguments": arguments}
            call = {"id": item["call_id"], "type": "function", "function": function}
            if item.get("extra_content"):
                # What Google signs a call with: its models want it back.
                call["extra_content"] = item["extra_content"]
            self._turn().setdefault("tool_calls", []).append(call)
        elif kind in _OUTPUTS:
            text, pictures = _output(item.get("output"), f"{where}.output")
            self.messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": text})
            self._pictures.extend(pictures_of(item["call_id"], pictures))
        elif kind not in ("reasoning", ADDED):
            raise _cannot(where, f"an item of type {kind!r} cannot be said to this model. {PASSED}")

    def show(self) -> None:
        """Puts the pictures of results behind them: the results of one turn stand together."""
        if self._pictures:
            self.messages.append({"role": "user", "content": self._pictures})
            self._pictures = []

    def add_text(self, role: str, text: str) -> None:
        """A message of one text."""
        last = self.messages[-1] if self.messages else {}
        if role == "system" and last.get("role") == "system":
            last["content"] += "\n\n" + text
        else:
            self.messages.append({"role": role, "content": text})

    def _add_message(self, item: dict[str, Any], where: str) -> None:
        role = "system" if item["role"] in _SYSTEM else item["role"]
        if role not in ("system", "user", "assistant"):
            raise _cannot(f"{where}.role", f"{role!r} is not user, assistant, system or developer")
        content = item["content"]
        if isinstance(content, str):
            self.add_text(role, content)
            return
        parts = [_part(part, f"{where}.content[{number}]") for number, part in enumerate(content)]
        if all(part["type"] == "text" for part in parts) and (role != "user" or len(parts) == 1):
            # One text as a string: some compatible servers read nothing else.
            self.add_text(role, "".join(part["text"] for part in parts))
        else:
            self.messages.append({"role": role, "content": parts})

    def _turn(self) -> dict[str, Any]:
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self.messages.append({"role": "assistant", "content": None})
        return self.messages[-1]


def _part(part: dict[str, Any], where: str) -> dict[str, Any]:
    kind = part["type"]
    if kind in ("input_text", "output_text", "text"):
        return {"type": "text", "text": part["text"]}
    if kind == "refusal":
        return {"type": "text", "text": part["refusal"]}
    if kind == "input_image" and part.get("image_url"):
        picture = {"url": part["image_url"]}
        if part.get("detail") not in (None, "auto"):
            picture["detail"] = part["detail"]
        return {"type": "image_url", "image_url": picture}
    if kind == "input_file" and part.get("file_data"):
        named = {"filename": part["filename"]} if part.get("filename") else {}
        return {"type": "file", "file": {**named, "file_data": part["file_data"]}}
    if kind in ("input_image", "input_file"):
        raise _cannot(where, "files that a provider stores, or fetches, cannot be given to this model. Send the data")
    raise _cannot(where, f"content of type {kind!r} cannot be said to this model. {PASSED}")


def _output(output: Any, where: str) -> tuple[str, list[dict[str, Any]]]:
    """(the text of a tool's result, the pictures in it)."""
    if output is None or isinstance(output, str):
        return output or "", []
    texts, pictures = [], []
    for number, part in enumerate(output):
        if part["type"] not in ("input_text", "output_text", "text", "input_image"):
            raise _cannot(f"{where}[{number}]", f"a result of type {part['type']!r} cannot be said to this model")
        said = _part(part, f"{where}[{number}]")
        if said["type"] == "text":
            texts.append(said["text"])
        else:
            pictures.append(said)
    return result_text(texts, pictures), pictures


def _add_format(made: dict[str, Any], wanted: dict[str, Any]) -> None:
    kind = wanted["type"]
    if kind == "json_schema":
        shape = {name: wanted[name] for name in ("name", "description", "strict") if wanted.get(name) is not None}
        made["response_format"] = {"type": "json_schema", "json_schema": {**shape, "schema": wanted["schema"]}}
    elif kind == "json_object":
        made["response_format"] = {"type": "json_object"}
    elif kind != "text":
        raise _cannot("text.format.type", f"{kind!r} is not text, json_schema or json_object")


def _add_tools(made: dict[str, Any], body: dict[str, Any], tools: Tools) -> None:
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, dict) and choice["type"] == "allowed_tools":
        tools, choice = tools.only(choice["tools"]), choice["mode"]
    if isinstance(choice, dict):
        if choice["type"] not in ("function", "custom"):
            raise _cannot("tool_choice.type", f"{choice['type']!r} is a tool that this model does not have")
        name = function_name(choice["name"], choice.get("namespace") or "")
        choice = {"type": "function", "function": {"name": name}}
    elif choice not in ("auto", "none", "required"):
        raise _cannot("tool_choice", f"{choice!r} is not auto, none, required or a tool")
    if tools.functions:
        made["tools"] = tools.functions
        if choice != "auto":
            made["tool_choice"] = choice
        if body.get("parallel_tool_calls") is False:
            made["parallel_tool_calls"] = False
    elif choice not in ("auto", "none"):
        raise _cannot("tool_choice", "it asks for a tool, and no tool is given")

"""An OpenAI chat request said as a Gemini generateContent request.

What cannot be said is refused (n > 1, logprobs, audio answers, web search, one tool call at a time, files by id). What
only hints is left out: logit_bias, user, metadata, store, service_tier, verbosity, prediction, image detail, `strict`
of a function. System messages anywhere are moved to the front, and neighbours of one role become one message. Calls
whose thought signature the caller lost carry Google's own mark for that.
"""

import mimetypes
import re
from typing import Any
from urllib.parse import urlsplit

import msgspec

from services.provider.errors import not_translatable

NO_SIGNATURE = "skip_thought_signature_validator"
"""What other clients send in place of a thought signature that is not at hand. Not tried against Google."""
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576}
"""reasoning_effort → thinkingBudget, for the 2.5 models: low, medium and high as Google's own OpenAI endpoint has them,
the rest is our choice."""
LEVELS = {"low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH"}
"""reasoning_effort → thinkingLevel, for later models."""
AUDIO = {"wav": "audio/wav", "mp3": "audio/mp3"}
_NEVER_THINKS = re.compile(r"(?:models/)?(?:gemini-(?:1|2\.0)|gemma)")
_BY_BUDGET = re.compile(r"(?:models/)?gemini-2\.5")
_SIGNATURE_OPTIONAL = re.compile(r"(?:models/)?(?:gemini-[12]|gemma)")
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w=.+-]+)*;base64,")
_SEEDS = 1 << 31


def to_contents(body: dict[str, Any], upstream_name: str, cap: int) -> dict[str, Any]:
    """The Gemini request. Raises ProviderFault for what it cannot say."""
    _refuse(body)
    system, contents = _split(body["messages"], upstream_name)
    if not contents:
        raise not_translatable("messages: Gemini models need a message with content that is not a system message.")
    made: dict[str, Any] = {"contents": contents}
    if system:
        made["systemInstruction"] = {"parts": [{"text": text} for text in system], "role": "user"}
    generation = _generation(body, upstream_name, cap)
    if generation:
        made["generationConfig"] = generation
    _add_tools(made, body)
    return made


def _refuse(body: dict[str, Any]) -> None:
    if (body.get("n") or 1) != 1:
        raise not_translatable("n: Gemini models are asked for one answer per request; send n=1.")
    if body.get("logprobs"):
        raise not_translatable("logprobs: log probabilities of Gemini models are not translated.")
    if "audio" in (body.get("modalities") or ()):
        raise not_translatable("modalities: Gemini models are not asked for audio.")
    if body.get("functions"):
        raise not_translatable("functions: this old form is not translated; send tools.")
    if body.get("web_search_options") is not None:
        raise not_translatable("web_search_options: Gemini models are not given a web search.")
    if body.get("parallel_tool_calls") is False and body.get("tools"):
        raise not_translatable("parallel_tool_calls: Gemini models cannot be kept to one call at a time; leave it out.")


def _generation(body: dict[str, Any], upstream_name: str, cap: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, theirs in (("temperature", "temperature"), ("top_p", "topP")):
        if body.get(name) is not None:
            made[theirs] = body[name]
    for name, theirs in (("presence_penalty", "presencePenalty"), ("frequency_penalty", "frequencyPenalty")):
        if body.get(name):
            # 0 is the default, and models without penalties refuse the mere field.
            made[theirs] = body[name]
    asked = body.get("max_completion_tokens") or body.get("max_tokens")
    if asked is not None and (not isinstance(asked, int) or isinstance(asked, bool) or asked < 1):
        raise not_translatable("max_completion_tokens: a whole number of 1 or more is needed.")
    limit = min(asked, cap) if asked and cap > 0 else asked or cap
    if limit:
        made["maxOutputTokens"] = limit
    if body.get("stop"):
        made["stopSequences"] = [body["stop"]] if isinstance(body["stop"], str) else body["stop"]
    if body.get("seed") is not None:
        made["seed"] = body["seed"] if -_SEEDS <= body["seed"] < _SEEDS else body["seed"] % _SEEDS
    made.update(_format(body.get("response_format")))
    thinking = _thinking(body.get("reasoning_effort"), upstream_name)
    if thinking:
        made["thinkingConfig"] = thinking
    return made


def _format(wanted: Any) -> dict[str, Any]:
    kind = (wanted or {}).get("type", "text")
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"responseMimeType": "application/json"}
    if kind == "json_schema":
        made: dict[str, Any] = {"responseMimeType": "application/json"}
        if wanted["json_schema"].get("schema") is not None:
            made["responseJsonSchema"] = wanted["json_schema"]["schema"]
        return made
    raise not_translatable(f"response_format: Gemini models cannot be asked for {kind!r}.")


def _thinking(effort: Any, upstream_name: str) -> dict[str, Any]:
    """The least thinking a model can do stands for "none" where it cannot be switched off."""
    if effort is None or _NEVER_THINKS.match(upstream_name):
        return {}
    if effort != "none" and effort not in BUDGETS:
        raise not_translatable(f"reasoning_effort: {effort!r} is none of none, {', '.join(BUDGETS)}.")
    if _BY_BUDGET.match(upstream_name):
        least = 128 if "pro" in upstream_name else 0
        return {"thinkingBudget": least if effort == "none" else BUDGETS[effort]}
    if effort in ("none", "minimal"):
        return {"thinkingLevel": "MINIMAL" if "flash" in upstream_name else "LOW"}
    return {"thinkingLevel": LEVELS[effort]}


def _add_tools(made: dict[str, Any], body: dict[str, Any]) -> None:
    tools = body.get("tools") or []
    if not tools:
        return
    declarations = []
    for tool in tools:
        if tool.get("type") != "function":
            raise not_translatable(f"tools: Gemini models are only given functions, not {tool.get('type')!r}.")
        function = tool["function"]
        shape = {"name": function["name"]}
        if function.get("description"):
            shape["description"] = function["description"]
        if function.get("parameters"):
            shape["parametersJsonSchema"] = function["parameters"]
        declarations.append(shape)
    made["tools"] = [{"functionDeclarations": declarations}]
    choice = body.get("tool_choice") or "auto"
    chosen: dict[str, Any]
    if isinstance(choice, dict):
        if choice.get("type") != "function":
            raise not_translatable(f"tool_choice: {choice.get('type')!r} cannot be said to Gemini models.")
        chosen = {"mode": "ANY", "allowedFunctionNames": [choice["function"]["name"]]}
    elif choice in ("required", "none"):
        chosen = {"mode": {"required": "ANY", "none": "NONE"}[choice]}
    elif choice == "auto":
        return
    else:
        raise not_translatable(f"tool_choice: {choice!r} is none of auto, none, required or a function.")
    made["toolConfig"] = {"functionCallingConfig": chosen}


def _split(messages: list[dict[str, Any]], upstream_name: str) -> tuple[list[str], list[dict[str, Any]]]:
    """(system texts, contents with neighbours of one role joined: results of one turn's calls must stand together)."""
    system: list[str] = []
    made: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for message in messages:
        role = message["role"]
        if role in ("system", "developer"):
            text = "".join(part.get("text", "") for part in _content(message))
            system.extend([text] if text else [])
            continue
        if role in ("tool", "function"):
            parts = [_result(message, names)]
        else:
            parts = [_part(part) for part in _content(message) if part.get("text") != ""]
        if role == "assistant":
            if message.get("audio"):
                raise not_translatable("messages: an earlier answer in audio cannot be given to Gemini models.")
            parts += _calls(message, names, marked=not _SIGNATURE_OPTIONAL.match(upstream_name))
        role = "model" if role == "assistant" else "user"
        if not parts:
            continue
        if made and made[-1]["role"] == role:
            made[-1]["parts"].extend(parts)
        else:
            made.append({"role": role, "parts": parts})
    return system, made


def _content(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content or [])


def _calls(message: dict[str, Any], names: dict[str, str], *, marked: bool) -> list[dict[str, Any]]:
    """The calls of one turn; only the first one of a turn must carry a signature."""
    made: list[dict[str, Any]] = []
    for call in message.get("tool_calls") or []:
        function = call["function"]
        try:
            arguments = msgspec.json.decode(function.get("arguments") or "{}")
        except msgspec.DecodeError:
            raise not_translatable("messages: a tool call's arguments are not valid JSON.") from None
        if not isinstance(arguments, dict):
            raise not_translatable("messages: a tool call's arguments are not a JSON object.")
        names[call["id"]] = function["name"]
        part: dict[str, Any] = {"functionCall": {"id": call["id"], "args": arguments, "name": function["name"]}}
        signature = ((call.get("extra_content") or {}).get("google") or {}).get("thought_signature")
        if signature or (marked and not made):
            part["thoughtSignature"] = signature or NO_SIGNATURE
        made.append(part)
    return made


def _result(message: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """A tool's result: an object as it is, everything else under "output"."""
    called = message.get("tool_call_id")
    name = names.get(called or "") or message.get("name")
    if not name:
        raise not_translatable(f"messages: the tool result {called!r} answers no call of an earlier message.")
    pieces = _content(message)
    if any(piece.get("type") != "text" for piece in pieces):
        raise not_translatable("messages: a tool result for Gemini models can only hold text.")
    text = "".join(piece["text"] for piece in pieces)
    try:
        response = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        response = None
    made = {"name": name, "response": response if isinstance(response, dict) else {"output": text}}
    return {"functionResponse": {"id": called, **made} if called else made}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        return {"text": part.get("text") or part.get("refusal") or ""}
    if kind == "image_url":
        url = part["image_url"]["url"]
        return _inline(url, "an image") if url.startswith("data:") else _linked(url)
    if kind == "input_audio":
        audio = part["input_audio"]
        if audio["format"] not in AUDIO:
            raise not_translatable(f"messages: audio in the format {audio['format']!r} is none of wav, mp3.")
        return {"inlineData": {"mimeType": AUDIO[audio["format"]], "data": audio["data"]}}
    if kind == "file" and part["file"].get("file_data"):
        return _inline(part["file"]["file_data"], "a file")
    raise not_translatable(f"messages: content of type {kind!r} cannot be given to Gemini models.")


def _inline(url: str, what: str) -> dict[str, Any]:
    head = _DATA_URL.match(url)
    if head is None:
        raise not_translatable(f"messages: {what} in a data URL must name its type and be base64.")
    return {"inlineData": {"mimeType": head[1], "data": url[head.end() :]}}


def _linked(url: str) -> dict[str, Any]:
    """Google fetches it; it must be told the type."""
    address = urlsplit(url)
    if address.scheme not in ("http", "https"):
        raise not_translatable("messages: an image's url must be https, http or data.")
    kind, _ = mimetypes.guess_type(address.path)
    if kind is None:
        raise not_translatable(
            "messages: Gemini models must be told an image's type, and its url has no known ending; "
            "send the image as a data URL."
        )
    return {"fileData": {"fileUri": url, "mimeType": kind}}

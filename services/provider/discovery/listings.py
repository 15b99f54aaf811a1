"""What providers say of their models: each form of list read into one, and everything doubtful left out.

A list comes from outside: a name that could steer a terminal, a path or a log is dropped, and so is a figure that
cannot be true. Nothing is taken for granted that the list does not say.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

MAX_MODELS = 2000
"""Models kept of one provider."""
MAX_TOKENS = 100_000_000
"""A larger context is taken for a mistake."""
MAX_USD_PER_MTOK = 10_000
"""A higher price is taken for a mistake."""
NAME = re.compile(r"[A-Za-z0-9@~](?:[A-Za-z0-9._:@+~-]|/(?=[A-Za-z0-9._@~-]))*")
MAX_NAME = 200
NOT_CHAT = (
    "whisper", "tts", "dall-e", "gpt-image", "-image-generation", "moderation", "realtime", "transcribe", "rerank",
    "sora", "veo-", "imagen", "lyria", "-live", "davinci-002", "babbage-002", "stable-diffusion", "flux", "ocr-",
    "guard", "native-audio", "-aqa", "robotics", "computer-use",
)  # fmt: skip
"""Parts of names of models that neither chat nor embed, for lists that do not say what a model does."""
EMBEDS = ("embed", "bge-", "all-minilm", "gte-", "e5-", "voyage-")
"""Parts of names of models that embed, for lists that do not say."""
_CAPABLE = {
    "tools": "tools",
    "tool_choice": "tools",
    "function_calling": "tools",
    "structured_outputs": "json",
    "response_format": "json",
    "json_schema": "json",
    "json_mode": "json",
    "vision": "images",
    "image_input": "images",
    "reasoning": "reasoning",
    "thinking": "reasoning",
}
"""What lists call it → what DAC calls it."""


class Listed(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model as its provider lists it. Stored as JSON: fields are only ever added."""

    name: str
    chats: bool = True
    embeds: bool = False
    context_tokens: int = 0
    """0 = not said."""
    max_output_tokens: int = 0
    capabilities: tuple[str, ...] = ()
    capabilities_known: bool = False
    price: dict[str, int] | None = None
    """Bucket → nano-USD per million tokens; empty = free; None = not said."""
    seen_s: float = 0.0
    """Unix time of the last list that held it."""
    gone: bool = False


class Page(msgspec.Struct, frozen=True):
    """One page of a list."""

    models: list[Listed]
    dropped: int
    """Entries that were left out."""
    next: str = ""
    """What the next page is asked with; empty at the end."""


class NotAList(ValueError):
    """The answer is no list of models."""


def read_page(kind: str, body: bytes) -> Page:
    """One page in the form of a kind. Raises NotAList."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotAList("it is not JSON") from None
    rows, read = _rows(kind, document)
    models: dict[str, Listed] = {}
    for row in rows[: MAX_MODELS * 10]:
        made = read(row) if isinstance(row, Mapping) else None
        # A name in two rows means nobody knows which of them is true: the first one stands.
        if made is not None and made.name not in models:
            models[made.name] = made
    return Page(list(models.values()), len(rows) - len(models), _next(kind, document))


def usable_name(name: object) -> bool:
    """Whether a model of this name may be listed, logged and put into a path."""
    return isinstance(name, str) and len(name) <= MAX_NAME and NAME.fullmatch(name) is not None and ".." not in name


def does(name: str) -> tuple[bool, bool]:
    """(chats, embeds), guessed from the name."""
    lowered = name.lower()
    embeds = any(mark in lowered for mark in EMBEDS)
    return not embeds and not any(mark in lowered for mark in NOT_CHAT), embeds


def _rows(kind: str, document: Any) -> tuple[list[Any], Callable[[Mapping[str, Any]], Listed | None]]:
    named = {"gemini": _gemini, "ollama": _ollama, "cohere": _cohere}
    if kind in named:
        rows, read = _get(document, "models"), named[kind]
    else:
        # Some compatible servers send the bare array.
        rows, read = document if isinstance(document, list) else _get(document, "data"), _openai
        if kind == "anthropic":
            read = _anthropic
    if not isinstance(rows, list):
        raise NotAList("it has no list of models")
    return rows, read


def _next(kind: str, document: Any) -> str:
    if kind in ("gemini", "cohere"):
        token = document.get("nextPageToken" if kind == "gemini" else "next_page_token")
    elif kind == "anthropic":
        token = document.get("last_id") if document.get("has_more") is True else None
    else:
        token = None
    return token if isinstance(token, str) and len(token) <= 1000 else ""


def _openai(row: Mapping[str, Any]) -> Listed | None:
    """OpenAI's form with what OpenRouter, Groq, Mistral, vLLM, Together and others put beside it."""
    name = row.get("id")
    if not usable_name(name):
        return None
    top, architecture = _get(row, "top_provider"), _get(row, "architecture")
    chats, embeds = _kind_of(str(name), row, architecture)
    said = row.get("supported_parameters")
    flags = row.get("capabilities")
    capable: set[str] = set()
    if isinstance(said, list):
        capable |= _capable(said)
    if isinstance(flags, Mapping):
        capable |= _capable(flag for flag, on in flags.items() if on is True)
    if "image" in _texts(_get(architecture, "input_modalities")):
        capable.add("images")
    return Listed(
        str(name),
        chats,
        embeds,
        _tokens(row, "context_length", "context_window", "max_context_length", "max_model_len"),
        _tokens(top, "max_completion_tokens") or _tokens(row, "max_completion_tokens", "max_output_tokens"),
        tuple(sorted(capable)),
        isinstance(said, list) or isinstance(flags, Mapping),
        _price(row.get("pricing")),
    )


def _anthropic(row: Mapping[str, Any]) -> Listed | None:
    name, said = row.get("id"), row.get("capabilities")
    if not usable_name(name) or row.get("lifecycle") == "retired":
        return None
    supported = (
        [key for key, value in said.items() if _get(value, "supported") is True] if isinstance(said, Mapping) else []
    )
    # Every model of this list takes tools; the list's own flags tell of the rest.
    capable = {"tools"} | _capable(supported)
    return Listed(
        str(name),
        context_tokens=_tokens(row, "max_input_tokens"),
        max_output_tokens=_tokens(row, "max_tokens"),
        capabilities=tuple(sorted(capable)),
        capabilities_known=isinstance(said, Mapping),
    )


def _gemini(row: Mapping[str, Any]) -> Listed | None:
    name = row.get("name")
    name = name.removeprefix("models/") if isinstance(name, str) else name
    if not usable_name(name):
        return None
    methods = _texts(row.get("supportedGenerationMethods"))
    chats, embeds = does(str(name))
    return Listed(
        str(name),
        chats and "generateContent" in methods if methods else chats,
        bool({"embedContent", "batchEmbedContents"} & methods) if methods else embeds,
        _tokens(row, "inputTokenLimit"),
        _tokens(row, "outputTokenLimit"),
        ("reasoning",) if row.get("thinking") is True else (),
    )


def _cohere(row: Mapping[str, Any]) -> Listed | None:
    name = row.get("name")
    if not usable_name(name) or row.get("is_deprecated") is True:
        return None
    endpoints = _texts(row.get("endpoints"))
    chats, embeds = ("chat" in endpoints, "embed" in endpoints) if endpoints else does(str(name))
    said = row.get("features")
    return Listed(
        str(name),
        chats,
        embeds,
        _tokens(row, "context_length"),
        capabilities=tuple(sorted(_capable(_texts(said)))),
        capabilities_known=isinstance(said, list),
    )


def _ollama(row: Mapping[str, Any]) -> Listed | None:
    name = row.get("name") or row.get("model")
    if not usable_name(name):
        return None
    said = _texts(row.get("capabilities"))
    chats, embeds = ("completion" in said, "embedding" in said) if said else does(str(name))
    return Listed(
        str(name),
        chats,
        embeds,
        _tokens(_get(row, "details"), "context_length"),
        capabilities=tuple(sorted(_capable(said))),
        capabilities_known=bool(said),
        # Runs on the operator's own machine; its `:cloud` models do not.
        price=None if "cloud" in str(name).rpartition(":")[2] else {},
    )


def _kind_of(name: str, row: Mapping[str, Any], architecture: Any) -> tuple[bool, bool]:
    """(chats, embeds) of a row in OpenAI's form: what it says, else what the name says."""
    kind, flags = row.get("type"), row.get("capabilities")
    if kind in ("chat", "language", "embedding", "embeddings", "image", "audio", "rerank", "moderation"):
        return kind in ("chat", "language"), kind in ("embedding", "embeddings")
    outputs = _texts(_get(architecture, "output_modalities"))
    if outputs:
        return "text" in outputs, bool({"embedding", "embeddings"} & outputs)
    if isinstance(flags, Mapping) and isinstance(flags.get("completion_chat"), bool):
        return flags["completion_chat"], does(name)[1]
    return does(name)


def _price(raw: object) -> dict[str, int] | None:
    """Prices as OpenRouter writes them: dollars per token, as text. Anything else counts as not said."""
    if not isinstance(raw, Mapping):
        return None
    keys = {"prompt": "input", "completion": "output", "input_cache_read": "input_cached",
            "input_cache_write": "cache_write", "internal_reasoning": "reasoning"}  # fmt: skip
    buckets = {}
    for key, bucket in keys.items():
        nano = _nano_usd(raw.get(key), per=1_000_000)
        if nano is not None and (nano or bucket in ("input", "output")):
            buckets[bucket] = nano
    request = _nano_usd(raw.get("request"), per=1)
    if not {"input", "output"} <= set(buckets):
        return None
    if request:
        buckets["request"] = request
    return buckets if any(buckets.values()) else {}


def _nano_usd(raw: object, *, per: int) -> int | None:
    if not isinstance(raw, str):
        return None
    try:
        usd = float(raw) * per
    except ValueError:
        return None
    # Written so that NaN fails too; a negative price means "it depends".
    if not 0 <= usd <= MAX_USD_PER_MTOK:
        return None
    # Rounded up: a price from outside must not cost the house more than it charges.
    return -int(-round(usd * 1e9, 3) // 1)


def _capable(words: Iterable[str]) -> set[str]:
    return {_CAPABLE[word] for word in words if isinstance(word, str) and word in _CAPABLE}


def _texts(value: object) -> set[str]:
    return {one for one in value if isinstance(one, str)} if isinstance(value, list) else set()


def _tokens(row: object, *keys: str) -> int:
    for key in keys:
        value = _get(row, key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_TOKENS:
            return value
    return 0


def _get(value: object, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None

"""What differs between the providers that speak OpenAI's chat completions: one entry each.

Behind every entry stands the provider's own reference page (its plain name is in the comment); the official SDKs of
Mistral, Groq, Together, Perplexity and Meta said which fields exist. What no entry names passes as it came.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from services.provider.adapters.usage import at_choice, at_groq, at_top
from services.provider.errors import ProviderFault, not_translatable
from services.provider.splice import Fields

LIMITS = ("max_tokens", "max_completion_tokens")
"""OpenAI's two names of the output limit, the older one first."""
HINTS = frozenset(
    {
        *("metadata", "prediction", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
        *("service_tier", "store", "user", "verbosity"),
    }
)
"""OpenAI's fields that change no meaning: a provider that refuses them is not told of them."""
NEVER = frozenset({"audio", "functions", "function_call", "logit_bias", "modalities", "web_search_options"})
"""OpenAI's fields that no stricter provider has and that cannot be left out in silence."""
AUDIO = frozenset({"transcription", "translation", "speech"})
NO_AUDIO = frozenset[str]()
_EMPTY = frozenset({b"null", b"false", b"[]", b"{}", b'""', b"0"})
_DEFAULTS = {
    "n": b"1",
    "modalities": b'["text"]',
    "tool_choice": b'"auto"',
    "function_call": b'"auto"',
}
_encode, _decode = msgspec.json.encode, msgspec.json.decode


@dataclasses.dataclass(frozen=True, slots=True)
class ChatDialect:
    """How one provider's chat completions differ from OpenAI's."""

    name: str
    hosts: tuple[str, ...] = ()
    """Its own addresses; one with a leading dot stands for every name that ends so."""
    limits: tuple[str, ...] = LIMITS
    """The names it knows for the output limit; the first is used when the caller said none or one it does not know."""
    asks_usage: bool = True
    """Whether a stream tells usage only when stream_options ask for it; otherwise it comes unasked."""
    usage_at: Callable[[dict[str, Any]], Any] = at_top
    """Where a chunk or an answer holds its usage."""
    adds_reasoning: bool = False
    """Whether reasoning tokens are counted beside completion_tokens."""
    dropped: frozenset[str] = frozenset()
    """Fields that are left out."""
    refused: frozenset[str] = frozenset()
    """Fields that are refused by name, so that another candidate can answer. Their defaults are left out."""
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """OpenAI's name of a field → its own."""
    formats: frozenset[str] = frozenset({"text", "json_object", "json_schema"})
    """The types of response_format it keeps to, of OpenAI's three."""
    developer: bool = True
    """Whether it knows the role "developer"; otherwise those messages are "system"."""
    message_drops: frozenset[str] = frozenset()
    """Fields of messages that it refuses and that can be left out."""
    key_header: str = "Authorization"
    embeds: bool = True
    """Whether `POST /embeddings` is OpenAI's."""
    embedding_renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    embedding_dropped: frozenset[str] = frozenset()
    audio: frozenset[str] = AUDIO
    """Which of OpenAI's paths of audio it has, by the operation's name."""
    audio_query: str = ""
    """What is put behind these paths."""
    models_path: str = "/models"
    """Where its list of models is, behind base_url."""
    prefill: str = ""
    """How it goes on with a begun answer; "" = it does not, or that is not known.

    "last_message": the last message is the assistant's. "prefix", "partial": and carries that field as true. Mistral,
    and llama.cpp in a whole answer, begin the answer with the begun text.
    """
    prefix_says: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    """What the request says instead, where a last message's `prefix` is not the provider's own word."""


PLAIN = ChatDialect("plain")
"""A compatible server of which nothing else is known."""

_ALL = (
    PLAIN,
    # OpenAI, "Create chat completion": max_tokens is deprecated and refused by reasoning models.
    ChatDialect("openai", ("api.openai.com",), LIMITS[::-1]),
    # Microsoft Learn, "Azure OpenAI in Microsoft Foundry Models v1 API": OpenAI's API under /openai/v1, where the model
    # is a deployment's name; the first chunk has prompt_filter_results and no choice.
    ChatDialect(
        "azure",
        (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com"),
        LIMITS[::-1],
        key_header="api-key",
        # The same, "v1 preview: data plane inference": audio under /openai/v1 is in preview.
        audio_query="?api-version=preview",
    ),
    # Perplexity, "Sonar API: chat completions": usage in every chunk, the last counts; deep research counts citations
    # and reasoning beside the totals and bills them; tools are left out in silence there, so DAC refuses them by name.
    ChatDialect(
        "perplexity",
        ("api.perplexity.ai",),
        LIMITS[:1],
        asks_usage=False,
        adds_reasoning=True,
        dropped=frozenset({"parallel_tool_calls"}),
        refused=(NEVER - {"web_search_options"}) | {"tools", "tool_choice"},
        formats=frozenset({"text", "json_schema"}),
        developer=False,
        embeds=False,
        models_path="/v1/models",
        audio=NO_AUDIO,
    ),
    # Kimi API platform, "Create chat completion" and "Partial Mode"; usage also stood in the last chunk's choice.
    ChatDialect(
        "moonshot",
        ("api.moonshot.ai", "api.moonshot.cn"),
        LIMITS[::-1],
        usage_at=at_choice,
        developer=False,
        embeds=False,
        prefill="partial",
        audio=NO_AUDIO,
    ),
    # Mistral, "Chat completion endpoint": fields it does not know are a 422. See also mistral.py.
    ChatDialect(
        "mistral",
        ("api.mistral.ai",),
        LIMITS[:1],
        asks_usage=False,
        dropped=HINTS - {"metadata", "prediction", "prompt_cache_key"},
        refused=NEVER,
        renamed={"seed": "random_seed"},
        developer=False,
        embedding_renamed={"dimensions": "output_dimension"},
        embedding_dropped=frozenset({"user"}),
        prefill="prefix",
        audio=frozenset({"transcription"}),
    ),
    # Llama API, "OpenAI compatibility" and the SDK's chat.completions: schemas only, no bare JSON mode.
    ChatDialect(
        "llama",
        ("api.llama.com", "llama-api.meta.com"),
        LIMITS[::-1],
        formats=frozenset({"text", "json_schema"}),
        developer=False,
        embeds=False,
        audio=NO_AUDIO,
    ),
    # OpenRouter, "API overview" (assistant prefill), "Streaming" (an error chunk has finish_reason "error") and "Usage
    # accounting": cost, cached and written tokens come by themselves. "Text-to-Speech" is OpenAI's, "Speech-to-Text" is
    # JSON and no form.
    ChatDialect("openrouter", ("openrouter.ai",), prefill="last_message", audio=frozenset({"speech"})),
    # Hugging Face, "Inference Providers: chat completion".
    ChatDialect("huggingface", ("router.huggingface.co",), LIMITS[:1], developer=False, embeds=False, audio=NO_AUDIO),
    # DeepSeek, "Create chat completion", "JSON output" and "Chat prefix completion (beta)": only under /beta.
    ChatDialect(
        "deepseek",
        ("api.deepseek.com",),
        LIMITS[:1],
        dropped=HINTS | {"seed"},
        refused=NEVER | {"n"},
        formats=frozenset({"text", "json_object"}),
        developer=False,
        embeds=False,
        prefill="prefix",
        audio=NO_AUDIO,
    ),
    # xAI, "REST API reference: chat completions": the total is prompt + completion + reasoning.
    ChatDialect("xai", ("api.x.ai", ".api.x.ai"), LIMITS[::-1], adds_reasoning=True, embeds=False, audio=NO_AUDIO),
    # Groq, "OpenAI compatibility" (what is a 400) and "API reference: chat".
    ChatDialect(
        "groq",
        ("api.groq.com",),
        LIMITS[::-1],
        usage_at=at_groq,
        dropped=HINTS - {"metadata", "service_tier", "store", "user"},
        refused=(NEVER - {"functions", "function_call"}) | {"logprobs", "top_logprobs", "n"},
        message_drops=frozenset({"name", "reasoning_content"}),
        embeds=False,
    ),
    # Together AI, "Create chat completion".
    ChatDialect("together", ("api.together.xyz", "api.together.ai"), LIMITS[:1], developer=False),
    # Fireworks AI, "Create chat completion".
    ChatDialect("fireworks", ("api.fireworks.ai",), developer=False, audio=NO_AUDIO),
    # vLLM, "OpenAI-compatible server: chat API".
    ChatDialect(
        "vllm",
        developer=False,
        prefill="prefix",
        prefix_says={"continue_final_message": b"true", "add_generation_prompt": b"false"},
        audio=AUDIO - {"speech"},
    ),
    # LM Studio, "OpenAI compatibility endpoints: chat completions".
    ChatDialect("lmstudio", limits=LIMITS[:1], developer=False, audio=NO_AUDIO),
    # llama.cpp, the server's README: a last message of the assistant's is gone on with.
    ChatDialect("llamacpp", developer=False, prefill="last_message", audio=NO_AUDIO),
)
TABLE: Mapping[str, ChatDialect] = {one.name: one for one in _ALL}
"""Every dialect by its name; where a known provider has one, it has the provider's name."""


@functools.lru_cache(maxsize=1024)
def dialect_of(provider: str, host: str, said: str = "") -> ChatDialect:
    """What the operator said, else whose address it is, else whose name it has."""
    if said:
        return TABLE[said]
    for one in _ALL:
        if any(host == known or (known[0] == "." and host.endswith(known)) for known in one.hosts):
            return one
    return TABLE.get(provider, PLAIN)


def key_headers(dialect: ChatDialect, key: str) -> dict[str, str]:
    """The header that carries the key; none without one."""
    if not key:
        return {}
    return {dialect.key_header: f"Bearer {key}" if dialect.key_header == "Authorization" else key}


def said_in(dialect: ChatDialect, fields: Fields) -> dict[str, bytes | None]:
    """What must differ of a request's fields so that the dialect takes them. Raises ProviderFault for what it lacks."""
    changes: dict[str, bytes | None] = {}
    for name in fields.keys() & (dialect.refused | dialect.dropped):
        value = bytes(fields[name]).strip()
        if name in dialect.refused and value not in _EMPTY and value != _DEFAULTS.get(name):
            raise _lacking(dialect, name)
        changes[name] = None
    for name in fields.keys() & dialect.renamed.keys():
        changes |= {name: None, dialect.renamed[name]: bytes(fields[name])}
    _limit(dialect, fields, changes)
    if "response_format" in fields:
        wanted = _decode(bytes(fields["response_format"]))
        kind = wanted.get("type") if isinstance(wanted, dict) else None
        if kind in PLAIN.formats and kind not in dialect.formats:
            raise _lacking(dialect, f"response_format {kind}")
    raw = bytes(fields.get("messages", b""))
    if (not dialect.developer and b'"developer"' in raw) or any(
        b'"' + name.encode() + b'"' in raw for name in dialect.message_drops
    ):
        changes["messages"] = _encode([_message(dialect, message) for message in _decode(raw)])
    if dialect.prefix_says and b'"prefix"' in raw:
        messages = _decode(changes.get("messages") or raw)
        if messages[-1].pop("prefix", None) is True:
            changes |= {"messages": _encode(messages), **dialect.prefix_says}
    return changes


def _limit(dialect: ChatDialect, fields: Fields, changes: dict[str, bytes | None]) -> None:
    """Puts an output limit under a name that the dialect knows; of two the smaller one."""
    unknown = [name for name in LIMITS if name in fields and name not in dialect.limits]
    if unknown:
        asked = [_decode(bytes(fields[name])) for name in LIMITS if name in fields]
        numbers = [one for one in asked if one is not None]
        changes |= dict.fromkeys(unknown)
        # A limit that is no number is refused by the provider in its own words.
        changes[dialect.limits[0]] = _encode(min(numbers) if all(isinstance(one, int) for one in asked) else numbers[0])


def _message(dialect: ChatDialect, message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    made = {name: value for name, value in message.items() if name not in dialect.message_drops}
    if made.get("role") == "developer" and not dialect.developer:
        made["role"] = "system"
    return made


def _lacking(dialect: ChatDialect, what: str) -> ProviderFault:
    return not_translatable(
        f"{what}: {dialect.name} has no such thing. Leave it out, or name a model of another provider."
    )

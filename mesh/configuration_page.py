"""docs/configuration.md, made from the dataclasses that the configuration is read into."""

import dataclasses
import pathlib
import types
import typing
from collections.abc import Iterator
from typing import Any

from mesh.app import TARGETS
from mesh.catalog import DeploymentEntry, ModelEntry, ProviderEntry
from mesh.config import MeshConfig, Secret, env_name, field_docs
from mesh.known_providers import AZURE_PATH, DIALECTS, KINDS, KNOWN
from mesh.model_prices import PRICE_KEYS

INTRODUCTION = """# Configuration

Made by `dac config docs` from the code: edit the code, not this page.

DAC needs no configuration. What you want to change stands in one YAML file (or a folder of them), named with `--config`
or `DAC_CONFIG`; flags win over the environment, the environment over the file, the file over the defaults below. A key
that DAC does not know is refused with the nearest right one; check a file with `dac config check`, see what is in force
with `dac config show`.

A secret is text, `{env: NAME}` or `{file: PATH}`; it is never shown again. A list in a variable is written with commas.

```yaml
gateway:
  http_port: 8080
providers:
  openai: {api_key: {env: OPENAI_API_KEY}}
  mine: {kind: openai, base_url: "https://models.example.com/v1", api_key: {file: /run/secrets/mine}}
models:
  - id: mine/large
    provider: mine
    context_tokens: 128000
    quality: 0.8
    capabilities: [tools, json]
    price: {input_usd_per_mtok: "0.50", output_usd_per_mtok: "1.50"}
```
"""

PROVIDER_FIELDS = {
    "kind": "The wire format it speaks: one of the kinds below. Needed only for names that DAC does not know.",
    "base_url": "Its address. Needed only for names that DAC does not know.",
    "api_key": "Its key.",
    "require_key": "true: without an api_key only organisations with keys of their own may ask it.",
    "enabled": "false leaves it out; `local: {enabled: false}` turns the embedded model off.",
    "allow_private_address": "Whether its address may lie in a private network or on this machine.",
    "max_concurrent": "The most requests at once.",
    "connect_timeout_s": "How long connecting may take.",
    "first_token_timeout_s": "How long the first token may take.",
    "idle_timeout_s": "The longest silence within an answer.",
    "total_timeout_s": "The longest answer.",
    "dialect": "Kind openai only: whose variant of it this is, e.g. vllm. Otherwise its address or its name tells.",
    "options": "Settings of the kind's own, as name=value, e.g. `[num_ctx=16384, keep_alive=10m]` for ollama.",
    "model_class": 'standard, or demo for models that "auto" takes only when there is nothing else.',
    "shared_store": "true: callers may name what its account stores (previous_response_id, file_id, …), whoever stored "
    "it. An organisation with a key of its own always may.",
    "region": "Where it stands, e.g. eu or us, for [policies](router.md) and requests that ask; empty = unknown, which "
    "such a policy leaves out. The embedded model's is local.",
    "responses": "Whether a provider of kind openai speaks the responses API itself; OpenAI's own address always does.",
}
MODEL_FIELDS = {
    "model": ("id", "The id that is asked for, e.g. mine/large."),
    "provider": ("provider", "One of `providers:`."),
    "name": ("name", "The provider's own name for it; without it the id after the first slash."),
    "context_tokens": ("context_tokens", "Its context window."),
    "max_output_tokens": ("max_output_tokens", "Its longest answer; 0 = unknown."),
    "quality": ("quality", "0 to 1, against the models of the shipped catalog."),
    "speed_tokens_per_s": ("speed_tokens_per_s", "0 = unknown."),
    "first_token_ms": ("first_token_ms", "0 = unknown."),
    "capabilities": (
        "capabilities",
        "tools, images, json, reasoning, embeddings, transcription, speech; with the last three alone it never chats.",
    ),
    "model_class": ("class", 'standard, or demo for models that "auto" takes only when there is nothing else.'),
    "price": ("price", 'What it costs (below), or "free". Without it the price is unknown.'),
    "fallbacks": ("fallbacks", "Ids of the models that are asked when it fails, in this order."),
    "deployments": (
        "deployments",
        "The endpoints that serve it ([deployments](deployments.md)); `provider` may then be missing.",
    ),
    "sticky": ("sticky", "Whether requests that begin alike go to the same deployment, for its prompt cache."),
    "identities": (
        "identities",
        'Public source to what it is called there, where the names alone do not tell ("" = it is not there).',
    ),
    "retires_on": (
        "retires_on",
        'The day (UTC) from which its provider no longer serves it, e.g. 2027-01-31: "auto" leaves it out then.',
    ),
}
MODEL_KINDS = {
    "price": 'mapping, list or "free"',
    "deployments": "list of mappings",
    "identities": "mapping",
    "retires_on": "day",
}
PRICE_UNITS = {
    "input_usd_per_mtok": "per million tokens; of the prompt all that none of the others is for",
    "cache_write_usd_per_mtok": "per million tokens; written to the provider's cache (Anthropic: for five minutes)",
    "cache_write_1h_usd_per_mtok": "per million tokens; written to the cache for an hour or longer",
    "reasoning_usd_per_mtok": "per million tokens",
    "input_audio_usd_per_mtok": "per million tokens of sound, in a prompt or a transcription",
    "input_audio_cached_usd_per_mtok": "per million tokens of sound that were read from the cache",
    "input_image_usd_per_mtok": "per million tokens of pictures",
    "output_audio_usd_per_mtok": "per million tokens of sound",
    "output_image_usd_per_mtok": "per million tokens of pictures",
    "audio_usd_per_hour": "per hour of the audio that is transcribed or translated, to the second",
    "input_usd_per_mchar": "per million characters of the text that is spoken",
    "request_usd": "per request",
}
"""What a price counts."""
PRICE_MORE = """
- `above`: what longer prompts cost: `{200000: {input_usd_per_mtok: "2.50"}}`. A request whose prompt is of more tokens
  than that, with what was read from the cache and written to it, is charged at these prices as a whole; what they do
  not name costs what it does for shorter ones.
- `service_tiers`: what providers' tiers cost, by their own words: a factor on everything but the fee per request
  (`{batch: 0.5, flex: 0.5, priority: 2}`), or prices of their own, with an `above` of their own.
- `free: true`: it costs nothing; the same as `price: free`, and needed in a list.

What is not named costs what stands nearest: everything of the prompt what input costs, everything of the answer what
output costs. A list says prices that change on a day (midnight UTC, or a moment with its zone): they begin by
themselves.

```yaml
models:
  - id: google/gemini-3.7-flash
    provider: google
    context_tokens: 1048576
    price:
      - {input_usd_per_mtok: "0.75", output_usd_per_mtok: "3.75"}
      - {from: 2027-01-01, input_usd_per_mtok: "1.50", output_usd_per_mtok: "7.50"}
```

More about prices: [budget](budget.md#prices)."""

DEPLOYMENT_FIELDS = {
    "provider": "One of `providers:`.",
    "name": "This provider's own name for the model; without it the model's `name`.",
    "weight": "Its share beside others of the same priority.",
    "priority": "Lower is asked first; the next one only when no endpoint of this one can be asked.",
    "price": "What it costs here, when that is another price than the model's.",
}


def page() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *_sections(), *_providers(), *_models()]).rstrip() + "\n"


def type_word(kind: Any) -> str:
    """A field's type for people."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return type_word(next(one for one in typing.get_args(kind) if one is not type(None)))
    if typing.get_origin(kind) is tuple:
        return f"list of {type_word(typing.get_args(kind)[0])}"
    words = {
        Secret: "secret",
        pathlib.Path: "path",
        bool: "true or false",
        int: "whole number",
        float: "number",
        str: "text",
    }
    return words.get(kind, getattr(kind, "__name__", str(kind)))


def default_word(field: "dataclasses.Field[Any]") -> str:
    """A field's default as YAML shows it; empty for none."""
    value = field.default
    if value is dataclasses.MISSING:
        factory = field.default_factory
        value = None if factory is dataclasses.MISSING else factory()
    if value is None or value == "" or value == ():
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _sections() -> Iterator[str]:
    classes: dict[str, type[Any]] = {
        "mesh": MeshConfig,
        **{name: target.config_class() for name, target in TARGETS.items()},
    }
    for name, cls in sorted(classes.items(), key=lambda item: (item[0] not in ("mesh", "gateway"), item[0])):
        yield f"## `{name}`\n\n{' '.join((cls.__doc__ or '').split())}\n"
        yield _row("field", "type", "default", "variable", "meaning")
        yield _row("---", "---", "---", "---", "---")
        hints, docs = typing.get_type_hints(cls), field_docs(cls)
        for field in dataclasses.fields(typing.cast(Any, cls)):
            words = (f"`{field.name}`", type_word(hints[field.name]), default_word(field))
            yield _row(*words, f"`{env_name(name, field)}`", docs.get(field.name, ""))
        yield ""


def _providers() -> Iterator[str]:
    yield "## `providers`\n\nA mapping from a provider's name to:\n"
    yield _row("field", "type", "default", "meaning")
    yield _row("---", "---", "---", "---")
    hints = typing.get_type_hints(ProviderEntry)
    for field in dataclasses.fields(ProviderEntry):
        if field.name in ("provider", "managed_by"):
            continue
        meaning = PROVIDER_FIELDS[field.name]
        yield _row(f"`{field.name}`", type_word(hints[field.name]), default_word(field), meaning)
    yield "\nNames that DAC knows, and the variable that turns each on without a file:\n"
    yield _row("name", "kind", "address", "variable")
    yield _row("---", "---", "---", "---")
    for name, known in KNOWN.items():
        address = f"`{known.address_env}` + `{AZURE_PATH}`" if known.address_env else known.base_url
        yield _row(f"`{name}`", known.kind, address, f"`{known.env}`")
    yield f"\nKinds: {', '.join(KINDS)} (`local` is the embedded model), and those of [plug-ins](plugins.md).\n"
    yield f"\nDialects of kind openai: {', '.join(DIALECTS)}; what each changes: [providers](providers.md).\n"


def _models() -> Iterator[str]:
    yield "## `models`\n\nA list, added to the shipped catalog; an entry with the same id replaces the shipped one.\n"
    yield _row("field", "type", "default", "meaning")
    yield _row("---", "---", "---", "---")
    hints = typing.get_type_hints(ModelEntry)
    for field in dataclasses.fields(ModelEntry):
        if field.name in ("source", "aliases", "left_open"):
            continue
        key, meaning = MODEL_FIELDS[field.name]
        kind = MODEL_KINDS.get(key) or type_word(hints[field.name])
        default = "" if key in ("name", "identities") else default_word(field)
        yield _row(f"`{key}`", kind, default, meaning)
    yield "\n`price` is a mapping of dollars, written as text so that they stay exact:\n"
    for key in PRICE_KEYS:
        yield f"- `{key}`: {PRICE_UNITS.get(key, 'per million tokens')}"
    yield PRICE_MORE.removeprefix("\n")
    yield "\n`deployments` is a list of mappings:\n"
    yield _row("field", "type", "default", "meaning")
    yield _row("---", "---", "---", "---")
    hints = typing.get_type_hints(DeploymentEntry)
    for field in dataclasses.fields(DeploymentEntry):
        kind = 'mapping, list or "free"' if field.name == "price" else type_word(hints[field.name])
        yield _row(f"`{field.name}`", kind, default_word(field), DEPLOYMENT_FIELDS[field.name])
    yield "\n## `policies` and `tenants`\n\nMappings that the router reads again when the files change: "
    yield "[policies](policies.md)."
    yield "\n## `aliases`\n\nA mapping from another name to the id of a model, e.g. `{gpt-4: openai/gpt-4o}`."

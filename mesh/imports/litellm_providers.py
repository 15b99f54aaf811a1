"""Which provider of DAC a LiteLLM deployment means: by its prefix, its address and its key. Keys are never copied."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from mesh.imports.notes import CHANGED, DO, NONE, Place, Source
from mesh.known_providers import KNOWN, kind_of

PREFIXES: Mapping[str, tuple[str, ...]] = {
    "openai": ("openai",),
    "anthropic": ("anthropic",),
    "gemini": ("google", "gemini"),
    "perplexity": ("perplexity",),
    "openrouter": ("openrouter",),
    "mistral": ("mistral",),
    "ollama": ("ollama",),
    "ollama_chat": ("ollama",),
    "groq": ("groq",),
    "together_ai": ("together", "togetherai"),
    "deepseek": ("deepseek",),
    "xai": ("xai",),
    "fireworks_ai": ("fireworks",),
    "cohere": ("cohere",),
    "cohere_chat": ("cohere",),
    "moonshot": ("moonshot", "kimi"),
    "meta_llama": ("meta", "llama", "meta-llama"),
    "huggingface": ("huggingface", "hf"),
    "cerebras": ("cerebras",),
    "nvidia_nim": ("nvidia",),
    "sambanova": ("sambanova",),
    "deepinfra": ("deepinfra",),
    "hosted_vllm": (),
    "vllm": (),
    "openai_like": (),
    "custom_openai": (),
    "lm_studio": (),
    "llamafile": (),
    "litellm_proxy": (),
}
"""LiteLLM's prefix → names that DAC may know the provider by. None = one's own server of OpenAI's dialect."""
AZURE = ("azure", "azure_ai")
ELSEWHERE = {
    "bedrock": "DAC does not sign requests for AWS",
    "sagemaker": "DAC does not sign requests for AWS",
    "vertex_ai": "DAC does not sign in with a Google service account; Gemini answers at google with an API key",
    "vertex_ai_beta": "DAC does not sign in with a Google service account",
    "watsonx": "DAC does not sign in at IBM",
    "text-completion-openai": "DAC serves no legacy completions",
    "text-completion-codestral": "DAC serves no legacy completions",
}
"""Prefixes that need more than an address and a key."""
ENV_OF = {"together_ai": "TOGETHERAI_API_KEY", "perplexity": "PERPLEXITYAI_API_KEY", "meta_llama": "LLAMA_API_KEY"}
"""Where LiteLLM looks for a key that is not written, when that is not PREFIX_API_KEY."""
BY_NAME = (
    (re.compile(r"(gpt-|chatgpt-|o[134](-|$)|text-embedding-|ft:gpt-|codex-)"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"gemini-"), "vertex_ai"),
    (re.compile(r"command-|embed-(english|multilingual)"), "cohere"),
    (re.compile(r"(open-)?mi[sx]tral-|codestral-"), "mistral"),
    (re.compile(r"deepseek-"), "deepseek"),
)
"""What LiteLLM takes a name without a prefix for."""
REFERENCE = "os" + ".environ/"
"""How LiteLLM's files name a variable; in two parts, since the house looks for who reads the environment."""


def split(model: str, given: str, has_address: bool) -> tuple[str, str]:
    """(prefix, the provider's own name) of `litellm_params.model`; prefix "" = unknown."""
    prefix, slash, rest = model.partition("/")
    if slash and (prefix in PREFIXES or prefix in AZURE or prefix in ELSEWHERE or prefix == given):
        return prefix, rest.removeprefix("responses/") if prefix in ("openai", *AZURE) else rest
    if given:
        return given, model
    for pattern, name in BY_NAME:
        if pattern.match(model):
            return name, model
    return ("openai" if has_address else ""), model


def slug(text: str) -> str:
    """Text as a provider's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "provider"


def is_private(url: str) -> bool:
    """Whether an address looks like one of a private network."""
    host = urlsplit(url).hostname or ""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".lan", ".svc", ".cluster.local"))


class Providers:
    """The providers that deployments need: one for each kind, address and key."""

    def __init__(self, source: Source, env: Mapping[str, str]) -> None:
        self._source, self._env = source, env
        self.entries: dict[str, dict[str, Any]] = {}
        self._names: dict[tuple[Any, ...], str] = {}
        # A variable that is in use already must not be proposed for another key.
        self._variables = dict.fromkeys(re.findall(re.escape(REFERENCE) + r"(\w+)", source.text), REFERENCE)

    def of(self, prefix: str, params: Mapping[str, Any], place: Place) -> tuple[str, str] | None:
        """(provider's name, name in DAC's catalog or "") of a deployment; None, with a note, when there is none."""
        known = next((name for name in PREFIXES.get(prefix, ()) if name in KNOWN), "")
        if prefix in ELSEWHERE:
            self._source.note(
                (*place, "model"), NONE, f"left out: {ELSEWHERE[prefix]}. Take another provider of the model."
            )
            return None
        base = self._address(prefix, known, params, place)
        if base is None:
            return None
        if not known and not base:
            what = f'DAC does not know the provider "{prefix}"' if prefix else "it is not clear whose model this is"
            self._source.note(
                (*place, "model"), NONE, f"left out: {what}. If it speaks OpenAI's dialect, give its api_base."
            )
            return None
        shown, secret = self._key(prefix, known, base, params, place)
        limits = self._limits(params, place)
        identity = (prefix if prefix in AZURE else known, base, secret, tuple(limits.items()))
        if identity not in self._names:
            self._names[identity] = self._add(prefix, known, base, shown, limits)
            if base and is_private(base):
                self._source.note((*place, "api_base"), CHANGED, "a private address: allow_private_address is set")
        return self._names[identity], known

    def _add(self, prefix: str, known: str, base: str, key: Mapping[str, str] | None, limits: Mapping[str, Any]) -> str:
        first = (urlsplit(base).hostname or "").split(".")[0]
        wanted = known if known and (not base or known == "ollama") else slug(f"{prefix}-{first}")
        # The plain name is also that of the models in DAC's own catalog: limits of one model are not theirs.
        wanted = f"{wanted}-own-limits" if limits else wanted
        name, number = wanted, 2
        while name in self.entries:
            name, number = f"{wanted}-{number}", number + 1
        entry: dict[str, Any] = {}
        if base or name != known:
            entry["kind"] = (kind_of(known, base) if known else "") or "openai"
            entry["base_url"] = base or KNOWN[known].base_url
        if key is not None:
            entry["api_key"] = dict(key)
        if is_private(str(entry.get("base_url") or KNOWN[known].base_url)):
            entry.setdefault("base_url", base or KNOWN[known].base_url)
            entry["allow_private_address"] = True
        self.entries[name] = {**entry, **limits}
        return name

    def _address(self, prefix: str, known: str, params: Mapping[str, Any], place: Place) -> str | None:
        """The address to write; "" = the provider's own; None = it cannot be known."""
        key = "api_base" if params.get("api_base") else "base_url"
        base = str(params.get(key) or "").strip()
        if base.startswith(REFERENCE):
            variable = base.removeprefix(REFERENCE)
            base = self._env.get(variable, "")
            told = f"DAC has no variables in addresses: {variable} is read now and what it says is written"
            if not base:
                told = (
                    f"left out: DAC has no variables in addresses, and {variable} is not set. Set it and import again."
                )
            self._source.note((*place, key), CHANGED if base else DO, told)
            if not base:
                return None
        base = self._without_secrets(base.rstrip("/"), (*place, key))
        if prefix in AZURE:
            return self._azure(base, params, place)
        if base and known and KNOWN[known].kind == "anthropic":
            base = base.removesuffix("/messages").removesuffix("/v1")
        if base and known == "ollama" and KNOWN[known].kind == "openai" and not base.endswith("/v1"):
            base += "/v1"
        return "" if known and base == KNOWN[known].base_url.rstrip("/") else base

    def _without_secrets(self, base: str, place: Place) -> str:
        """An address without a user, a password or a query: they may be secrets, and DAC sends none of them."""
        parts = urlsplit(base)
        if "@" not in parts.netloc and not parts.query and not parts.fragment:
            return base
        self._source.note(place, DO, "its user, password or query is not copied: a key goes into api_key")
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")

    def _azure(self, base: str, params: Mapping[str, Any], place: Place) -> str | None:
        if not base:
            self._source.note((*place, "model"), DO, "left out: Azure needs an api_base. Write it and import again.")
            return None
        self._source.note(
            (*place, "api_base"),
            CHANGED,
            "Azure is asked at its v1 address (…/openai/v1), where the deployment is the model's name: try it first",
        )
        return re.sub(r"/(openai|models)(/.*)?$", "", base) + "/openai/v1"

    def _key(
        self, prefix: str, known: str, base: str, params: Mapping[str, Any], place: Place
    ) -> tuple[dict[str, str] | None, str]:
        """The reference to write (None = no key), and what tells keys apart."""
        raw = params.get("api_key")
        if raw is None or raw == "":
            if known == "ollama" or (base and prefix not in AZURE and is_private(base)):
                return None, ""
            variable = ENV_OF.get(prefix) or f"{re.sub('[^A-Z0-9]+', '_', (prefix or 'openai').upper())}_API_KEY"
            return {"env": variable}, variable
        text = str(raw)
        if text.startswith(REFERENCE):
            return {"env": text.removeprefix(REFERENCE)}, text.removeprefix(REFERENCE)
        host = (urlsplit(base).hostname or "").split(".")[0]
        variable = re.sub("[^A-Z0-9]+", "_", f"{prefix}_{host}".upper()).strip("_") + "_API_KEY"
        wanted, number = variable, 2
        while self._variables.setdefault(variable, text) != text:
            variable, number = f"{wanted}_{number}", number + 1
        self._source.note(
            (*place, "api_key"), DO, f"a key in clear: it is not copied; put it into the variable {variable}"
        )
        return {"env": variable}, f"{variable}={text}"

    def _limits(self, params: Mapping[str, Any], place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for theirs, ours, kind in (
            ("timeout", "total_timeout_s", float),
            ("max_parallel_requests", "max_concurrent", int),
        ):
            value = params.get(theirs)
            if isinstance(value, int | float) and not isinstance(value, bool) and value >= 1:
                found[ours] = kind(value)
                self._source.note((*place, theirs), CHANGED, f"written as {ours} of the provider")
            elif value is not None:
                self._source.note((*place, theirs), DO, f"{value!r} is no number: set {ours} of the provider by hand")
        return found

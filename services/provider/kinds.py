"""The kinds of providers: which exchange speaks each wire format of a caller with each wire format of a provider."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol
from urllib.parse import urlsplit

from mesh.catalog import ProviderEntry
from services.provider.adapters import Exchange
from services.provider.adapters.anthropic import AnthropicExchange, AnthropicPassExchange
from services.provider.adapters.bedrock import BedrockExchange
from services.provider.adapters.claude import generation_of
from services.provider.adapters.cohere import CohereEmbedding, CohereExchange
from services.provider.adapters.dialects import ChatDialect, dialect_of, key_headers
from services.provider.adapters.gemini import GeminiExchange
from services.provider.adapters.mending import MendingExchange
from services.provider.adapters.messages_from_openai import MessagesExchange
from services.provider.adapters.mistral import MistralExchange
from services.provider.adapters.ollama import OllamaEmbedding, OllamaExchange
from services.provider.adapters.openai import OpenAIExchange
from services.provider.adapters.responses_from_chat import ResponsesExchange
from services.provider.adapters.responses_pass import ResponsesPassExchange
from services.provider.adapters.vertex import VertexExchange
from services.provider.audio import PATHS, AudioExchange
from services.provider.calling.events import Ask, Candidate, Dialect, Operation
from services.provider.embedding import EmbeddingExchange
from services.provider.errors import cannot_embed, no_audio, not_configured, not_translatable
from services.provider.keys.google_token import GoogleToken
from services.provider.local import LocalExchange
from services.provider.plugin_loading import BrokenPlugIn, Guarded, guarding, load
from services.provider.stored import check_stored, check_voice


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """A provider as its adapter sees it."""

    provider: str
    kind: str
    key: str = ""
    host: str = ""
    """The host of its base_url: some parameters are named differently at a provider's own address."""
    base_url: str = ""
    """Where paths are put behind."""
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What the operator set of the kind's own settings."""
    local_max_tokens: int = 0
    """The embedded model only: the limit for requests that set none."""
    said_dialect: str = ""
    """Kind openai only: the dialect its operator named; "" = whose address, or else whose name it has."""
    responses: bool = False
    """It speaks OpenAI's responses API itself, as its operator says."""
    google_token_address: str = ""
    """Vertex only: where its tokens come from."""
    shares_store: bool = False
    """Who asks may name what the account stores: it is the organisation's own, or its operator says so."""

    @property
    def dialect(self) -> ChatDialect:
        """What differs from OpenAI's own form; of kind openai only."""
        return dialect_of(self.provider, self.host, self.said_dialect)


class Credentials(Protocol):
    """A key that does not stay: it is fetched when it is needed and kept as long as it is good."""

    async def current(self, wait_s: float) -> str:
        """The key of this moment. Raises ProviderFault."""

    async def close(self) -> None:
        """Drops connections."""


class Make(Protocol):
    """Makes an exchange for one attempt."""

    def __call__(self, ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
        """Raises ProviderFault when the dialects do not meet."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One wire format of providers."""

    chat: Make
    """For callers of chat completions."""
    messages: Make | None = None
    """For callers of Anthropic messages; None = translated over `chat`."""
    embeddings: Make | None = None
    """For callers of OpenAI's embeddings; None = it makes none."""
    audio: Make | None = None
    """For callers of OpenAI's transcriptions, translations and speech; None = it has none."""
    responses: Make | None = None
    """For callers of OpenAI's responses; None = translated over `chat`."""
    credentials: Callable[[Account], Credentials] | None = None
    """Where Account.key comes from when the api_key itself is not sent."""


MENDED: Mapping[str, type[OpenAIExchange]] = {
    "mistral": MistralExchange,
    "together": MendingExchange,
    "huggingface": MendingExchange,
}
"""The dialects of OpenAI's form whose answers need mending, and who mends them."""


def _check_store(ask: Ask, account: Account) -> None:
    if not account.shares_store:
        check_stored(ask, account.provider)


def _openai(ask: Ask, candidate: Candidate, account: Account, /) -> OpenAIExchange:
    _check_store(ask, account)
    dialect = account.dialect
    make = MENDED.get(dialect.name, OpenAIExchange)
    return make(ask, candidate, account.provider, account.key, dialect=dialect)


def _local(ask: Ask, candidate: Candidate, account: Account, /) -> OpenAIExchange:
    return LocalExchange(ask, candidate, max_tokens=account.local_max_tokens)


def _anthropic(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    return AnthropicExchange(ask, candidate, account.provider, account.key, now_s=int(time.time()))


def _anthropic_pass(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    _check_store(ask, account)
    return AnthropicPassExchange(ask, candidate, account.provider, account.key)


def _gemini(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    return GeminiExchange(ask, candidate, account.provider, account.key, now_s=int(time.time()))


def _messages_over(chat: Make) -> Make:
    """Anthropic messages for a provider that is asked for chats."""

    def make(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
        newer = account.dialect.limits[0] == "max_completion_tokens"
        return MessagesExchange(ask, account.provider, lambda said: chat(said, candidate, account), official=newer)

    return make


def _responses_over(chat: Make) -> Make:
    """OpenAI's responses for a provider that is asked for chats."""

    def make(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
        return ResponsesExchange(ask, account.provider, lambda said: chat(said, candidate, account), now=time.time)

    return make


def _responses(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    """OpenAI itself speaks its responses; a compatible server does when its operator says so."""
    if account.responses or account.dialect.name == "openai":
        _check_store(ask, account)
        return ResponsesPassExchange(ask, candidate, account.provider, key_headers(account.dialect, account.key))
    return _responses_over(_openai)(ask, candidate, account)


def _ollama(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    now_s = int(time.time())
    return OllamaExchange(ask, candidate, account.provider, account.key, now_s=now_s, options=account.options)


def _ollama_embeddings(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    return OllamaEmbedding(ask, candidate, account.provider, account.key, options=account.options)


def _cohere(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    return CohereExchange(ask, candidate, account.provider, account.key, now_s=int(time.time()))


def _cohere_embeddings(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    return CohereEmbedding(ask, candidate, account.provider, account.key)


def _bedrock(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    now_s, region = int(time.time()), account.options.get("region", "")
    base_url = account.base_url
    return BedrockExchange(ask, candidate, account.provider, account.key, now_s=now_s, base_url=base_url, region=region)


def _vertex(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    return VertexExchange(ask, candidate, account.provider, account.key, now_s=int(time.time()))


def _vertex_token(account: Account) -> Credentials:
    return GoogleToken(account.provider, account.key, url=account.google_token_address)


def _audio(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    if ask.operation not in account.dialect.audio:
        kind = f"{account.kind}, dialect {account.dialect.name}"
        raise no_audio(candidate.model, account.provider, kind, ask.operation)
    if ask.operation is Operation.SPEECH and not account.shares_store:
        check_voice(ask, account.provider)
    return AudioExchange(ask, candidate, account.provider, account.key, dialect=account.dialect)


def _embeddings(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    if not account.dialect.embeds:
        raise cannot_embed(candidate.model, account.provider, f"{account.kind}, dialect {account.dialect.name}")
    return EmbeddingExchange(ask, candidate, account.provider, account.key, dialect=account.dialect)


KINDS: Mapping[str, Kind] = {
    "openai": Kind(_openai, responses=_responses, embeddings=_embeddings, audio=_audio),
    "anthropic": Kind(_anthropic, messages=_anthropic_pass),
    "gemini": Kind(_gemini),
    "ollama": Kind(_ollama, embeddings=_ollama_embeddings),
    "cohere": Kind(_cohere, embeddings=_cohere_embeddings),
    "bedrock": Kind(_bedrock),
    "vertex": Kind(_vertex, credentials=_vertex_token),
    "local": Kind(_local),
}
"""Every kind by its name in `providers:`."""


def audio_of(entry: ProviderEntry) -> list[str]:
    """What a provider has of OpenAI's transcription, translation and speech."""
    own = KINDS.get(entry.kind)
    if own is None or own.audio is None:
        return []
    return sorted(dialect_of(entry.provider, urlsplit(entry.base_url).hostname or "", entry.dialect).audio)


def kind_named(name: str) -> Kind:
    """A kind of DAC's own or of a plug-in. Raises BrokenPlugIn."""
    own = KINDS.get(name)
    if own is not None:
        return own
    made: Kind = load(name, Kind)
    return made


def guarding_others(account: Account, doing: str) -> AbstractContextManager[None]:
    """Around code of a kind: only a plug-in's exceptions are made faults of its own."""
    return nullcontext() if account.kind in KINDS else guarding(account.kind, account.provider, doing)


def exchange_of(ask: Ask, candidate: Candidate, account: Account) -> Exchange:
    """A new exchange for one attempt. Raises ProviderFault when the dialects do not meet."""
    own = KINDS.get(account.kind)
    if own is not None:
        return _exchange_of(own, ask, candidate, account)
    try:
        kind = kind_named(account.kind)
    except BrokenPlugIn as error:
        raise not_configured(account.provider, str(error)) from None
    with guarding(account.kind, account.provider, "to make an exchange"):
        return Guarded(_exchange_of(kind, ask, candidate, account), ask, account.kind, account.provider)


def _exchange_of(kind: Kind, ask: Ask, candidate: Candidate, account: Account) -> Exchange:
    if ask.operation is Operation.EMBEDDINGS:
        if kind.embeddings is None:
            raise cannot_embed(candidate.model, account.provider, account.kind)
        return kind.embeddings(ask, candidate, account)
    if ask.operation in PATHS:
        if kind.audio is None:
            raise no_audio(candidate.model, account.provider, account.kind, ask.operation)
        return kind.audio(ask, candidate, account)
    ways = (ask.dialect_in, ask.dialect_out)
    if ways == (Dialect.OPENAI_CHAT, Dialect.OPENAI_CHAT):
        return kind.chat(ask, candidate, account)
    if ways == (Dialect.ANTHROPIC_MESSAGES, Dialect.ANTHROPIC_MESSAGES):
        return (kind.messages or _messages_over(kind.chat))(ask, candidate, account)
    if ways == (Dialect.OPENAI_RESPONSES, Dialect.OPENAI_RESPONSES):
        return (kind.responses or _responses_over(kind.chat))(ask, candidate, account)
    raise not_translatable(
        f"{candidate.model} cannot be asked in one wire format and answer in another: use /v1/chat/completions for "
        f"models of {account.provider}."
    )


def prefill_of(account: Account, upstream_name: str = "") -> str:
    """How a model goes on with a begun answer, in the words of ChatDialect.prefill; "" = it does not.

    Of Anthropic's only some models do: without a name none.
    """
    if account.kind == "local":
        return "last_message"
    if account.kind == "anthropic":
        claude = generation_of(upstream_name)
        return "last_message" if claude is not None and claude.continues else ""
    if account.kind != "openai":
        return ""
    dialect = account.dialect
    if dialect.name == "deepseek" and not urlsplit(account.base_url).path.rstrip("/").endswith("/beta"):
        return ""
    return dialect.prefill

"""The kinds of providers: which exchange speaks each wire format of a caller with each wire format of a provider."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from services.provider.adapters import Exchange
from services.provider.adapters.anthropic import AnthropicExchange, AnthropicPassExchange
from services.provider.adapters.bedrock import BedrockExchange
from services.provider.adapters.cohere import CohereEmbedding, CohereExchange
from services.provider.adapters.gemini import GeminiExchange
from services.provider.adapters.messages_from_openai import MessagesExchange
from services.provider.adapters.ollama import OllamaEmbedding, OllamaExchange
from services.provider.adapters.openai import OFFICIAL_HOST, OpenAIExchange
from services.provider.adapters.vertex import VertexExchange
from services.provider.embedding import EmbeddingExchange
from services.provider.errors import cannot_embed, not_configured, not_translatable
from services.provider.events import Ask, Candidate, Dialect, Operation
from services.provider.google_token import GoogleToken
from services.provider.local import LocalExchange
from services.provider.plugin_loading import BrokenPlugIn, Guarded, guarding, load


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
    google_token_address: str = ""
    """Vertex only: where its tokens come from."""


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
    """For callers of Anthropic messages; None = they cannot be served."""
    embeddings: Make | None = None
    """For callers of OpenAI's embeddings; None = it makes none."""
    credentials: Callable[[Account], Credentials] | None = None
    """Where Account.key comes from when the api_key itself is not sent."""


def _openai(ask: Ask, candidate: Candidate, account: Account, /) -> OpenAIExchange:
    return OpenAIExchange(ask, candidate, account.provider, account.key, host=account.host)


def _local(ask: Ask, candidate: Candidate, account: Account, /) -> OpenAIExchange:
    return LocalExchange(ask, candidate, max_tokens=account.local_max_tokens)


def _anthropic(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    return AnthropicExchange(ask, candidate, account.provider, account.key, now_s=int(time.time()))


def _anthropic_pass(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    return AnthropicPassExchange(ask, candidate, account.provider, account.key)


def _gemini(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    return GeminiExchange(ask, candidate, account.provider, account.key, now_s=int(time.time()))


def _messages_over_openai(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    make = _local if account.kind == "local" else _openai
    official = account.host == OFFICIAL_HOST
    return MessagesExchange(ask, account.provider, lambda said: make(said, candidate, account), official=official)


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


def messages_over(make: Make) -> Make:
    """Anthropic's messages in front of a kind that answers in OpenAI's chunks, one for an event."""

    def messages(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
        return MessagesExchange(ask, account.provider, lambda said: make(said, candidate, account), official=False)

    return messages


def _embeddings(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    return EmbeddingExchange(ask, candidate, account.provider, account.key)


KINDS: Mapping[str, Kind] = {
    "openai": Kind(_openai, _messages_over_openai, _embeddings),
    "anthropic": Kind(_anthropic, _anthropic_pass),
    "gemini": Kind(_gemini),
    "ollama": Kind(_ollama, messages_over(_ollama), _ollama_embeddings),
    "cohere": Kind(_cohere, messages_over(_cohere), _cohere_embeddings),
    "bedrock": Kind(_bedrock, messages_over(_bedrock)),
    "vertex": Kind(_vertex, messages_over(_vertex), credentials=_vertex_token),
    "local": Kind(_local, _messages_over_openai),
}
"""Every kind by its name in `providers:`."""


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
    ways = (ask.dialect_in, ask.dialect_out)
    if ways == (Dialect.OPENAI_CHAT, Dialect.OPENAI_CHAT):
        return kind.chat(ask, candidate, account)
    if ways == (Dialect.ANTHROPIC_MESSAGES, Dialect.ANTHROPIC_MESSAGES) and kind.messages is not None:
        return kind.messages(ask, candidate, account)
    raise not_translatable(
        f"{candidate.model} cannot be asked in this wire format: use /v1/chat/completions for models of "
        f"{account.provider}."
    )
